//! A filter as SQL over the rows of users and groups, for SQLite and PostgreSQL.
//!
//! Every expression is true or false, never NULL, so that `not` means what RFC 7644 says. Literals
//! are always bound; only names from the schema tables are written into the text. Common attributes
//! are compared by indexed columns, all others by the folded search document. Types in that
//! document are checked before values are read: a damaged document matches nothing instead of
//! failing the statement.

use chrono::DateTime;
use sea_orm::{DbBackend, Value};
use uuid::Uuid;

use crate::context::SqlBuilder;
use crate::domain::paging::filter_dialect::SqlDialect;
use crate::domain::paging::live_index::LiveIndex;
use crate::error::{Error, Result};
use crate::identity::filter::typed::{TypedFilter, ValueTest, compare_text, type_filter};
use crate::identity::filter::{AttrPath, CompareOp, Filter};
use crate::identity::schema::{AttributeKind, ResourceType, ReturnedRule, SchemaAttribute};

/// The filter as a condition on the row alias `r` (a user or a group, as `ty` says).
///
/// Its literals are bound to `sql`, whose `$1` must be the organization's id. For a reader that is
/// `confined` to a connection `$2` must be that connection's id: it does not see groups of others.
/// `ne` on a multi-valued attribute is true when no element equals.
pub fn compile_filter(
    filter: &Filter,
    ty: &ResourceType,
    backend: DbBackend,
    sql: &mut SqlBuilder,
    confined: bool,
) -> Result<String> {
    let node = type_filter(filter, ty)?;
    let mut writer = FilterWriter { dialect: SqlDialect::of(backend), confined, sql };
    Ok(writer.write_node(&node, SqlScope::Row))
}

/// The value to sort by, as an expression over the row alias `r`; NULL if the resource has none.
///
/// Of a multi-valued attribute it is the primary element's value, or else the first one's (RFC 7644
/// section 3.4.2.3).
pub fn compile_order(path: &AttrPath, ty: &ResourceType, backend: DbBackend) -> Result<String> {
    let refuse = |why: &str| Error::invalid("sortBy", format!("`{path}` {why}"));
    let found = ty.resolve_path(path).ok_or_else(|| refuse("is not an attribute"))?;
    let attribute = found.attribute;
    let sub = match found.sub {
        None if attribute.kind == AttributeKind::Complex => Some(
            attribute
                .sub_attribute("value")
                .ok_or_else(|| refuse("is complex: name one of its sub-attributes"))?,
        ),
        sub => sub,
    };
    let mut place: Vec<&str> =
        found.extension.into_iter().chain([attribute.name.as_str()]).collect();
    let tail: Vec<&str> = sub.iter().map(|sub| sub.name.as_str()).collect();
    let leaf = sub.unwrap_or(attribute);

    let secret = |attribute: &SchemaAttribute| attribute.returned == ReturnedRule::Never;
    if secret(attribute) || secret(leaf) {
        return Err(refuse("cannot be sorted by"));
    }
    let dialect = SqlDialect::of(backend);
    if attribute.multi_valued {
        if matches!(place.as_slice(), ["groups" | "members"]) {
            return Err(refuse("cannot be sorted by"));
        }
        return Ok(dialect.primary_value(&place, &tail, leaf.kind));
    }
    place.extend(tail);
    if let Some(column) = column_of(&place) {
        return Ok(column.to_owned());
    }
    if place.first() == Some(&"meta") {
        return Err(refuse("cannot be sorted by"));
    }
    Ok(dialect.sortable_value(SqlScope::Row, &place, leaf.kind))
}

/// Where the names of a node begin: at the row's search document, an element of one of its arrays
/// (alias `e`), or the other side of a membership or nesting.
#[derive(Clone, Copy)]
pub(crate) enum SqlScope {
    Row,
    Element,
    Relation(MemberRelation),
}

/// One element of `groups` or `members`, which is a row of memberships or nestings.
#[derive(Clone, Copy)]
pub(crate) struct MemberRelation {
    /// The column that holds the element's `value`.
    value: &'static str,
    /// The element's `type`, folded.
    kind: &'static str,
}

/// The columns that hold the folded value of an attribute.
fn column_of(place: &[&str]) -> Option<&'static str> {
    match place {
        ["id"] => Some("r.id"),
        ["userName"] => Some("r.user_name_key"),
        ["externalId"] => Some("r.external_id"),
        ["displayName"] => Some("r.display_name_key"),
        ["active"] => Some("r.active"),
        ["meta", "created"] => Some("r.created_at"),
        ["meta", "lastModified"] => Some("r.updated_at"),
        ["meta", "version"] => Some("r.version"),
        _ => None,
    }
}

struct FilterWriter<'a> {
    dialect: SqlDialect,
    confined: bool,
    /// The statement that the literals are bound to.
    sql: &'a mut SqlBuilder,
}

impl FilterWriter<'_> {
    fn bind_value(&mut self, value: impl Into<Value>) -> String {
        self.sql.bind(value).to_string()
    }

    fn write_node(&mut self, node: &TypedFilter, scope: SqlScope) -> String {
        match node {
            TypedFilter::All(list) => self.write_joined(list, scope, " AND ", "TRUE"),
            TypedFilter::Any(list) => self.write_joined(list, scope, " OR ", "FALSE"),
            TypedFilter::Not(inner) => format!("NOT {}", self.write_node(inner, scope)),
            TypedFilter::Always(true) => "TRUE".to_owned(),
            TypedFilter::Always(false) => "FALSE".to_owned(),
            TypedFilter::Element(place, inner) => self.write_element(place, inner),
            TypedFilter::Leaf(place, test) => match scope {
                SqlScope::Relation(relation) => self.relation_test(relation, place, test),
                SqlScope::Element => self.json_test(scope, place, test),
                SqlScope::Row => match place.as_slice() {
                    ["groups"] => self.write_groups(&TypedFilter::Always(true)),
                    ["members"] => self.write_members(&TypedFilter::Always(true)),
                    _ => match column_of(place) {
                        Some(column) => self.column_test(column, test),
                        None => self.json_test(scope, place, test),
                    },
                },
            },
        }
    }

    fn write_joined(
        &mut self,
        list: &[TypedFilter],
        scope: SqlScope,
        word: &str,
        empty: &str,
    ) -> String {
        if list.is_empty() {
            return empty.to_owned();
        }
        let parts: Vec<String> = list.iter().map(|inner| self.write_node(inner, scope)).collect();
        format!("({})", parts.join(word))
    }

    fn write_element(&mut self, place: &[&str], inner: &TypedFilter) -> String {
        match place {
            ["groups"] => return self.write_groups(inner),
            ["members"] => return self.write_members(inner),
            ["emails"] => {
                if let Some(address) = required_value(inner) {
                    let key = self.bind_value(address);
                    let found = format!(
                        "r.id {}",
                        self.dialect.is_among(&format!(
                            "SELECT k.user_id FROM user_email k WHERE k.organization_id = $1 AND \
                             k.value_key = {key}"
                        ))
                    );
                    // The address alone decides, or limits the rows whose elements must be
                    // compared.
                    return match inner {
                        TypedFilter::Leaf(..) => found,
                        _ => format!("({found} AND {})", self.any_element(place, inner)),
                    };
                }
            }
            _ => {}
        }
        self.any_element(place, inner)
    }

    fn any_element(&mut self, place: &[&str], inner: &TypedFilter) -> String {
        let inner = self.write_node(inner, SqlScope::Element);
        format!("EXISTS (SELECT 1 FROM {} AND {inner})", self.dialect.array_elements(place))
    }

    /// Users with a current group that satisfies `inner`: a group that they are members of, or one
    /// that contains it.
    fn write_groups(&mut self, inner: &TypedFilter) -> String {
        let direct = MemberRelation { value: "m.group_id", kind: "direct" };
        let (group, condition) = self.group_of(direct, inner);
        // Memberships that are found through the group use the condition of its index for open
        // ones.
        let open = self.dialect.open_by_group();
        let direct = format!(
            "SELECT m.user_id FROM {group}membership m WHERE m.organization_id = $1 AND m.until \
             IS NULL{open}{condition}"
        );
        // Every user of a group that contains another is a direct member of some group.
        if matches!(inner, TypedFilter::Always(_)) {
            return format!("r.id {}", self.dialect.is_among(&direct));
        }
        let indirect = MemberRelation { value: "n.group_id", kind: "indirect" };
        let (group, condition) = self.group_of(indirect, inner);
        // A user who is also a direct member of the group counts as `direct` only.
        let other_way = if mentions_attribute(inner, "type") {
            " AND NOT EXISTS (SELECT 1 FROM membership d WHERE d.organization_id = $1 \
             AND d.group_id = b.top AND d.user_id = m.user_id AND d.until IS NULL)"
        } else {
            ""
        };
        let indirect = format!(
            "SELECT m.user_id FROM (WITH RECURSIVE below(top, id) AS (\
               SELECT n.group_id, n.member_id FROM {group}group_nesting n \
               WHERE n.organization_id = $1 AND n.until IS NULL{condition} \
               UNION SELECT a.top, n.member_id FROM below a CROSS JOIN group_nesting n \
               WHERE n.organization_id = $1 AND n.group_id = a.id AND n.until IS NULL) \
               SELECT top, id FROM below) b \
             CROSS JOIN membership m WHERE m.organization_id = $1 AND m.group_id = b.id \
             AND m.until IS NULL{open}{other_way}"
        );
        format!("r.id {}", self.dialect.is_among(&format!("{direct} UNION ALL {indirect}")))
    }

    /// The condition on the group of a relation, and the SQL for the group's row if it is needed.
    fn group_of(
        &mut self,
        relation: MemberRelation,
        inner: &TypedFilter,
    ) -> (&'static str, String) {
        let mut condition =
            format!(" AND {}", self.write_node(inner, SqlScope::Relation(relation)));
        let own = if self.confined { " AND g.connection_id = $2" } else { "" };
        let row = format!("g.organization_id = $1 AND g.id = {}{own}", relation.value);
        if mentions_attribute(inner, "display") {
            // The name comes first, because SQLite joins in the order of the text.
            let by_name = self.dialect.group_by_display_name();
            return (
                r#""group" g CROSS JOIN "#,
                format!("{condition} AND {row} AND g.deleted_at IS NULL{by_name}"),
            );
        }
        if self.confined {
            condition.push_str(&format!(r#" AND EXISTS (SELECT 1 FROM "group" g WHERE {row})"#));
        }
        ("", condition)
    }

    /// Groups with a current direct member, a user or a group, that satisfies `inner`.
    fn write_members(&mut self, inner: &TypedFilter) -> String {
        let mut arms = Vec::new();
        for (table, value, kind) in
            [("membership", "m.user_id", "user"), ("group_nesting", "m.member_id", "group")]
        {
            let inner = self.write_node(inner, SqlScope::Relation(MemberRelation { value, kind }));
            arms.push(format!(
                "SELECT m.group_id FROM {table} m WHERE m.organization_id = $1 AND m.until IS \
                 NULL AND {inner}"
            ));
        }
        format!("r.id {}", self.dialect.is_among(&arms.join(" UNION ALL ")))
    }

    fn relation_test(
        &mut self,
        relation: MemberRelation,
        place: &[&str],
        test: &ValueTest,
    ) -> String {
        match (place, test) {
            (["type"], ValueTest::Text(op, operand)) => {
                let matches = compare_text(*op, relation.kind, operand);
                if matches { "TRUE".to_owned() } else { "FALSE".to_owned() }
            }
            (["display"], test) => self.column_test("g.display_name_key", test),
            (_, ValueTest::Text(_, text)) => self.uuid_test(relation.value, text),
            _ => "TRUE".to_owned(),
        }
    }

    /// Ids are compared in their canonical spelling; a text that is not an id matches nothing.
    fn uuid_test(&mut self, column: &str, text: &str) -> String {
        match Uuid::try_parse(text) {
            Ok(id) if id.to_string() == text => format!("{column} = {}", self.bind_value(id)),
            _ => "FALSE".to_owned(),
        }
    }

    fn column_test(&mut self, column: &str, test: &ValueTest) -> String {
        let index = match (column, test) {
            ("r.user_name_key", ValueTest::Text(..)) => Some(LiveIndex::UserName),
            ("r.display_name_key", ValueTest::Text(..)) => Some(LiveIndex::DisplayName),
            ("r.updated_at", ValueTest::Instant(..)) => Some(LiveIndex::Change),
            _ => None,
        };
        let index = index.map_or("", |index| index.index_condition(self.dialect.backend()));
        match (column, test) {
            ("r.id", ValueTest::Text(_, text)) => self.uuid_test(column, text),
            ("r.version", ValueTest::Text(_, text)) => match parse_version(text) {
                Some(version) => format!("r.version = {}", self.bind_value(version)),
                None => "FALSE".to_owned(),
            },
            // The value is part of the text, so that the partial index of inactive accounts can be
            // used.
            (_, ValueTest::Boolean(true)) => format!("{column} = TRUE"),
            (_, ValueTest::Boolean(false)) => format!("{column} = FALSE"),
            (_, ValueTest::Present) => format!("({column} IS NOT NULL AND {column} <> '')"),
            (_, ValueTest::Text(op, text)) => {
                let test = self.text_test(column, *op, text);
                format!("({column} IS NOT NULL AND {test}{index})")
            }
            (_, ValueTest::Instant(op, micros)) => match DateTime::from_timestamp_micros(*micros) {
                Some(instant) => format!(
                    "({column} {} {}{index})",
                    operator_symbol(*op),
                    self.bind_value(instant)
                ),
                None => "FALSE".to_owned(),
            },
            // No column holds an attribute that is a number.
            (_, ValueTest::Number(..)) => "FALSE".to_owned(),
        }
    }

    fn text_test(&mut self, text: &str, op: CompareOp, operand: &str) -> String {
        let collate = self.dialect.collation();
        match op {
            // Every text contains the empty text. The functions of the two databases differ here.
            CompareOp::Co | CompareOp::Sw | CompareOp::Ew if operand.is_empty() => {
                "TRUE".to_owned()
            }
            CompareOp::Co => {
                let operand = self.bind_value(operand);
                self.dialect.contains_text(text, &operand)
            }
            CompareOp::Ew => {
                let operand = self.bind_value(operand);
                self.dialect.ends_with(text, &operand)
            }
            // A range of code points: the form of a prefix search that every index can serve.
            CompareOp::Sw => {
                let from = self.bind_value(operand);
                match prefix_successor(operand) {
                    Some(end) => format!(
                        "({text}{collate} >= {from} AND {text}{collate} < {})",
                        self.bind_value(end)
                    ),
                    None => format!("{text}{collate} >= {from}"),
                }
            }
            CompareOp::Eq | CompareOp::Ne => format!("{text} = {}", self.bind_value(operand)),
            CompareOp::Gt | CompareOp::Ge | CompareOp::Lt | CompareOp::Le => {
                format!("{text}{collate} {} {}", operator_symbol(op), self.bind_value(operand))
            }
        }
    }

    fn json_test(&mut self, scope: SqlScope, place: &[&str], test: &ValueTest) -> String {
        match test {
            ValueTest::Present => self.dialect.is_present_sql(scope, place),
            ValueTest::Boolean(value) => self.dialect.is_boolean(scope, place, *value),
            ValueTest::Text(op, operand) => {
                let test = self.text_test(&self.dialect.text_value(scope, place), *op, operand);
                self.dialect.guarded_test(scope, place, "text", &test)
            }
            ValueTest::Number(op, operand) => {
                let operand = match operand.as_i64() {
                    Some(integer) => self.bind_value(integer),
                    None => {
                        let operand = self.bind_value(operand.as_f64());
                        self.dialect.float_operand(&operand)
                    }
                };
                self.number_test(scope, place, *op, &operand)
            }
            ValueTest::Instant(op, micros) => {
                let operand = self.bind_value(*micros);
                self.number_test(scope, place, *op, &operand)
            }
        }
    }

    fn number_test(&self, scope: SqlScope, place: &[&str], op: CompareOp, operand: &str) -> String {
        let test = format!(
            "{} {} {operand}",
            self.dialect.number_value(scope, place),
            operator_symbol(op)
        );
        self.dialect.guarded_test(scope, place, "number", &test)
    }
}

/// The value that every matching element must have, if the filter asks for one.
fn required_value<'n>(node: &'n TypedFilter) -> Option<&'n str> {
    match node {
        TypedFilter::Leaf(place, ValueTest::Text(CompareOp::Eq, text)) if place == &["value"] => {
            Some(text)
        }
        TypedFilter::All(list) => list.iter().find_map(required_value),
        _ => None,
    }
}

/// Whether a filter inside brackets compares this sub-attribute.
fn mentions_attribute(node: &TypedFilter, name: &str) -> bool {
    match node {
        TypedFilter::All(list) | TypedFilter::Any(list) => {
            list.iter().any(|inner| mentions_attribute(inner, name))
        }
        TypedFilter::Not(inner) => mentions_attribute(inner, name),
        TypedFilter::Leaf(place, _) => place == &[name],
        TypedFilter::Element(..) | TypedFilter::Always(_) => false,
    }
}

/// RFC 7644 section 3.14: versions of this server are weak entity tags that begin with a number.
/// Behind it an answer can name the state of what it shows of other resources; a filter compares
/// the resource itself.
fn parse_version(text: &str) -> Option<i64> {
    let tag = text.strip_prefix("W/\"")?.strip_suffix('"')?;
    let digits = tag.split_once('-').map_or(tag, |(digits, _)| digits);
    let number: i64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// The smallest text above every text that starts with `prefix`; none if there is no such text.
pub(super) fn prefix_successor(prefix: &str) -> Option<String> {
    let mut prefix = prefix.to_owned();
    while let Some(last) = prefix.pop() {
        // The range of characters skips the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            prefix.push(next);
            return Some(prefix);
        }
    }
    None
}

fn operator_symbol(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Gt => ">",
        CompareOp::Ge => ">=",
        CompareOp::Lt => "<",
        CompareOp::Le => "<=",
        CompareOp::Eq | CompareOp::Ne | CompareOp::Co | CompareOp::Sw | CompareOp::Ew => "=",
    }
}
