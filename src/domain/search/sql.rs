//! A filter as SQL over the rows of users and groups, for SQLite and PostgreSQL.
//!
//! Every expression is true or false, never NULL, so that `not` means what RFC 7644 says. Literals are always bound;
//! only names from the schema tables are written into the text. Common attributes are answered by indexed columns,
//! all others by the folded search document, whose shape is checked before it is read: a document that is not as it
//! should be matches nothing instead of failing the statement.

use chrono::DateTime;
use sea_orm::{DbBackend, Value};
use uuid::Uuid;

use super::dialect::Dialect;
use super::typed::{Node, Test, compare_text, typed};
use super::{AttrPath, Filter, Op};
use crate::domain::live_index::LiveIndex;
use crate::domain::schema::{Attribute, Kind, ResourceType, Returned};
use crate::error::{Error, Result};

/// A piece of SQL with the values of its placeholders, in order.
#[derive(Debug, Clone)]
pub struct Sql {
    pub text: String,
    pub values: Vec<Value>,
}

/// The filter as a condition on the row alias `r` (a user or a group, as `ty` says).
///
/// Placeholders start at `bound + 1`; `$1` of the whole statement must be the organization's id. For a reader that is
/// `confined` to a connection `$2` must be that connection's id: groups of others do not exist for it. `ne` on a
/// multi-valued attribute is true when no element equals.
pub fn compile(filter: &Filter, ty: &ResourceType, backend: DbBackend, bound: usize, confined: bool) -> Result<Sql> {
    let node = typed(filter, ty)?;
    let mut writer = Writer { dialect: Dialect::of(backend), bound, confined, values: Vec::new() };
    let text = writer.node(&node, Scope::Row);
    Ok(Sql { text, values: writer.values })
}

/// The value to sort by, as an expression over the row alias `r`; NULL where the resource has none.
///
/// Of a multi-valued attribute it is the primary element's value, or else the first one's (RFC 7644 section 3.4.2.3).
pub fn order(path: &AttrPath, ty: &ResourceType, backend: DbBackend) -> Result<String> {
    let refuse = |why: &str| Error::invalid("sortBy", format!("`{path}` {why}"));
    let found = ty.resolve(path).ok_or_else(|| refuse("is not an attribute"))?;
    let attribute = found.attribute;
    let sub = match found.sub {
        None if attribute.kind == Kind::Complex => {
            Some(attribute.sub("value").ok_or_else(|| refuse("is complex: name one of its sub-attributes"))?)
        }
        sub => sub,
    };
    let mut place: Vec<&str> = found.extension.into_iter().chain([attribute.name.as_str()]).collect();
    let tail: Vec<&str> = sub.iter().map(|sub| sub.name.as_str()).collect();
    let leaf = sub.unwrap_or(attribute);

    let secret = |attribute: &Attribute| attribute.returned == Returned::Never;
    if secret(attribute) || secret(leaf) {
        return Err(refuse("cannot be sorted by"));
    }
    let dialect = Dialect::of(backend);
    if attribute.multi_valued {
        if matches!(place.as_slice(), ["groups" | "members"]) {
            return Err(refuse("cannot be sorted by"));
        }
        return Ok(dialect.primary(&place, &tail, leaf.kind));
    }
    place.extend(tail);
    if let Some(column) = column(&place) {
        return Ok(column.to_owned());
    }
    if place.first() == Some(&"meta") {
        return Err(refuse("cannot be sorted by"));
    }
    Ok(dialect.sortable(Scope::Row, &place, leaf.kind))
}

/// What the names of a node start from: the row's search document, an element of one of its arrays (alias `e`), or
/// the other side of a membership or nesting.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    Row,
    Element,
    Relation(Relation),
}

/// One element of `groups` or `members`, which is a row of memberships or nestings.
#[derive(Clone, Copy)]
pub(super) struct Relation {
    /// The column that holds the element's `value`.
    value: &'static str,
    /// The element's `type`, folded.
    kind: &'static str,
}

/// The columns that answer for an attribute; they hold the folded value.
fn column(place: &[&str]) -> Option<&'static str> {
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

struct Writer {
    dialect: Dialect,
    bound: usize,
    confined: bool,
    values: Vec<Value>,
}

impl Writer {
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.bound + self.values.len())
    }

    fn node(&mut self, node: &Node, scope: Scope) -> String {
        match node {
            Node::All(list) => self.joined(list, scope, " AND ", "TRUE"),
            Node::Any(list) => self.joined(list, scope, " OR ", "FALSE"),
            Node::Not(inner) => format!("NOT {}", self.node(inner, scope)),
            Node::Always(true) => "TRUE".to_owned(),
            Node::Always(false) => "FALSE".to_owned(),
            Node::Element(place, inner) => self.element(place, inner),
            Node::Leaf(place, test) => match scope {
                Scope::Relation(relation) => self.relation_test(relation, place, test),
                Scope::Element => self.json_test(scope, place, test),
                Scope::Row => match place.as_slice() {
                    ["groups"] => self.groups(&Node::Always(true)),
                    ["members"] => self.members(&Node::Always(true)),
                    _ => match column(place) {
                        Some(column) => self.column_test(column, test),
                        None => self.json_test(scope, place, test),
                    },
                },
            },
        }
    }

    fn joined(&mut self, list: &[Node], scope: Scope, word: &str, empty: &str) -> String {
        if list.is_empty() {
            return empty.to_owned();
        }
        let parts: Vec<String> = list.iter().map(|inner| self.node(inner, scope)).collect();
        format!("({})", parts.join(word))
    }

    fn element(&mut self, place: &[&str], inner: &Node) -> String {
        match place {
            ["groups"] => return self.groups(inner),
            ["members"] => return self.members(inner),
            ["emails"] => {
                if let Some(address) = required_value(inner) {
                    let key = self.bind(address);
                    let found = format!(
                        "r.id {}",
                        self.dialect.among(&format!(
                            "SELECT k.user_id FROM user_email k WHERE k.organization_id = $1 AND k.value_key = {key}"
                        ))
                    );
                    // The address alone decides, or narrows the rows whose elements must be looked at.
                    return match inner {
                        Node::Leaf(..) => found,
                        _ => format!("({found} AND {})", self.any_element(place, inner)),
                    };
                }
            }
            _ => {}
        }
        self.any_element(place, inner)
    }

    fn any_element(&mut self, place: &[&str], inner: &Node) -> String {
        let inner = self.node(inner, Scope::Element);
        format!("EXISTS (SELECT 1 FROM {} AND {inner})", self.dialect.elements(place))
    }

    /// Users with a current group that satisfies `inner`: a group that they are in, or one around that.
    fn groups(&mut self, inner: &Node) -> String {
        let direct = Relation { value: "m.group_id", kind: "direct" };
        let (group, condition) = self.group_of(direct, inner);
        // What is found through the group is open as its index says it.
        let open = self.dialect.open_by_group();
        let direct = format!(
            "SELECT m.user_id FROM {group}membership m WHERE m.organization_id = $1 AND m.until IS NULL{open}{condition}"
        );
        // A group around another has only users that are in a group themselves.
        if matches!(inner, Node::Always(_)) {
            return format!("r.id {}", self.dialect.among(&direct));
        }
        let indirect = Relation { value: "n.group_id", kind: "indirect" };
        let (group, condition) = self.group_of(indirect, inner);
        // A user who is in the group itself as well is in it directly alone.
        let other_way = match mentions(inner, "type") {
            true => {
                " AND NOT EXISTS (SELECT 1 FROM membership d WHERE d.organization_id = $1 AND d.group_id = b.top \
                 AND d.user_id = m.user_id AND d.until IS NULL)"
            }
            false => "",
        };
        let indirect = format!(
            "SELECT m.user_id FROM (WITH RECURSIVE below(top, id) AS (\
               SELECT n.group_id, n.member_id FROM {group}group_nesting n \
               WHERE n.organization_id = $1 AND n.until IS NULL{condition} \
               UNION SELECT a.top, n.member_id FROM below a CROSS JOIN group_nesting n \
               WHERE n.organization_id = $1 AND n.group_id = a.id AND n.until IS NULL) SELECT top, id FROM below) b \
             CROSS JOIN membership m WHERE m.organization_id = $1 AND m.group_id = b.id AND m.until IS NULL{open}{other_way}"
        );
        format!("r.id {}", self.dialect.among(&format!("{direct} UNION ALL {indirect}")))
    }

    /// What must hold of the group of a relation, and where its row comes from if that is needed.
    fn group_of(&mut self, relation: Relation, inner: &Node) -> (&'static str, String) {
        let mut condition = format!(" AND {}", self.node(inner, Scope::Relation(relation)));
        let own = if self.confined { " AND g.connection_id = $2" } else { "" };
        let row = format!("g.organization_id = $1 AND g.id = {}{own}", relation.value);
        if mentions(inner, "display") {
            // From the name to the members: SQLite joins in the order of the text.
            let by_name = self.dialect.group_by_display_name();
            return (r#""group" g CROSS JOIN "#, format!("{condition} AND {row} AND g.deleted_at IS NULL{by_name}"));
        }
        if self.confined {
            condition.push_str(&format!(r#" AND EXISTS (SELECT 1 FROM "group" g WHERE {row})"#));
        }
        ("", condition)
    }

    /// Groups with a current direct member, a user or a group, that satisfies `inner`.
    fn members(&mut self, inner: &Node) -> String {
        let mut arms = Vec::new();
        for (table, value, kind) in [("membership", "m.user_id", "user"), ("group_nesting", "m.member_id", "group")] {
            let inner = self.node(inner, Scope::Relation(Relation { value, kind }));
            arms.push(format!(
                "SELECT m.group_id FROM {table} m WHERE m.organization_id = $1 AND m.until IS NULL AND {inner}"
            ));
        }
        format!("r.id {}", self.dialect.among(&arms.join(" UNION ALL ")))
    }

    fn relation_test(&mut self, relation: Relation, place: &[&str], test: &Test) -> String {
        match (place, test) {
            (["type"], Test::Text(op, operand)) => match compare_text(*op, relation.kind, operand) {
                true => "TRUE".to_owned(),
                false => "FALSE".to_owned(),
            },
            (["display"], test) => self.column_test("g.display_name_key", test),
            (_, Test::Text(_, text)) => self.uuid_test(relation.value, text),
            _ => "TRUE".to_owned(),
        }
    }

    /// Ids compare in their canonical spelling; what is not an id matches nothing.
    fn uuid_test(&mut self, column: &str, text: &str) -> String {
        match Uuid::try_parse(text) {
            Ok(id) if id.to_string() == text => format!("{column} = {}", self.bind(id)),
            _ => "FALSE".to_owned(),
        }
    }

    fn column_test(&mut self, column: &str, test: &Test) -> String {
        let index = match (column, test) {
            ("r.user_name_key", Test::Text(..)) => Some(LiveIndex::UserName),
            ("r.display_name_key", Test::Text(..)) => Some(LiveIndex::DisplayName),
            ("r.updated_at", Test::Instant(..)) => Some(LiveIndex::Change),
            _ => None,
        };
        let index = index.map_or("", |index| index.condition(self.dialect.backend()));
        match (column, test) {
            ("r.id", Test::Text(_, text)) => self.uuid_test(column, text),
            ("r.version", Test::Text(_, text)) => match version(text) {
                Some(version) => format!("r.version = {}", self.bind(version)),
                None => "FALSE".to_owned(),
            },
            // Written out, so that the partial index of inactive accounts can be used.
            (_, Test::Boolean(true)) => format!("{column} = TRUE"),
            (_, Test::Boolean(false)) => format!("{column} = FALSE"),
            (_, Test::Present) => format!("({column} IS NOT NULL AND {column} <> '')"),
            (_, Test::Text(op, text)) => {
                let test = self.text_test(column, *op, text);
                format!("({column} IS NOT NULL AND {test}{index})")
            }
            (_, Test::Instant(op, micros)) => match DateTime::from_timestamp_micros(*micros) {
                Some(instant) => format!("({column} {} {}{index})", symbol(*op), self.bind(instant)),
                None => "FALSE".to_owned(),
            },
            // No column holds numbers of an attribute.
            (_, Test::Number(..)) => "FALSE".to_owned(),
        }
    }

    fn text_test(&mut self, text: &str, op: Op, operand: &str) -> String {
        let collate = self.dialect.collate();
        match op {
            // Every text contains the empty one, and the functions of the two databases disagree about it.
            Op::Co | Op::Sw | Op::Ew if operand.is_empty() => "TRUE".to_owned(),
            Op::Co => {
                let operand = self.bind(operand);
                self.dialect.contains(text, &operand)
            }
            Op::Ew => {
                let operand = self.bind(operand);
                self.dialect.ends_with(text, &operand)
            }
            // A range of code points: the form of a prefix search that every index can serve.
            Op::Sw => {
                let from = self.bind(operand);
                match successor(operand) {
                    Some(end) => format!("({text}{collate} >= {from} AND {text}{collate} < {})", self.bind(end)),
                    None => format!("{text}{collate} >= {from}"),
                }
            }
            Op::Eq | Op::Ne => format!("{text} = {}", self.bind(operand)),
            Op::Gt | Op::Ge | Op::Lt | Op::Le => format!("{text}{collate} {} {}", symbol(op), self.bind(operand)),
        }
    }

    fn json_test(&mut self, scope: Scope, place: &[&str], test: &Test) -> String {
        match test {
            Test::Present => self.dialect.present(scope, place),
            Test::Boolean(value) => self.dialect.is_boolean(scope, place, *value),
            Test::Text(op, operand) => {
                let test = self.text_test(&self.dialect.text(scope, place), *op, operand);
                self.dialect.guarded(scope, place, "text", &test)
            }
            Test::Number(op, operand) => {
                let operand = match operand.as_i64() {
                    Some(integer) => self.bind(integer),
                    None => {
                        let operand = self.bind(operand.as_f64());
                        self.dialect.float(&operand)
                    }
                };
                self.number_test(scope, place, *op, &operand)
            }
            Test::Instant(op, micros) => {
                let operand = self.bind(*micros);
                self.number_test(scope, place, *op, &operand)
            }
        }
    }

    fn number_test(&self, scope: Scope, place: &[&str], op: Op, operand: &str) -> String {
        let test = format!("{} {} {operand}", self.dialect.number(scope, place), symbol(op));
        self.dialect.guarded(scope, place, "number", &test)
    }
}

/// The value that every matching element must have, if the filter asks for one.
fn required_value<'n>(node: &'n Node) -> Option<&'n str> {
    match node {
        Node::Leaf(place, Test::Text(Op::Eq, text)) if place == &["value"] => Some(text),
        Node::All(list) => list.iter().find_map(required_value),
        _ => None,
    }
}

/// Whether a filter inside brackets asks about this sub-attribute.
fn mentions(node: &Node, name: &str) -> bool {
    match node {
        Node::All(list) | Node::Any(list) => list.iter().any(|inner| mentions(inner, name)),
        Node::Not(inner) => mentions(inner, name),
        Node::Leaf(place, _) => place == &[name],
        Node::Element(..) | Node::Always(_) => false,
    }
}

/// RFC 7644 section 3.14: our versions are weak entity tags of a number.
fn version(text: &str) -> Option<i64> {
    let number: i64 = text.strip_prefix("W/\"")?.strip_suffix('"')?.parse().ok()?;
    (format!("W/\"{number}\"") == text).then_some(number)
}

/// The smallest text above every text that starts with `prefix`; none where there is no such text.
fn successor(prefix: &str) -> Option<String> {
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

fn symbol(op: Op) -> &'static str {
    match op {
        Op::Gt => ">",
        Op::Ge => ">=",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Eq | Op::Ne | Op::Co | Op::Sw | Op::Ew => "=",
    }
}
