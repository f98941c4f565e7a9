//! The limits of a document, checked before anything of it is validated or run.
//!
//! The text is scanned once for the depth of its brackets, because the parser recurses. The parsed
//! document is walked once, and the cost of each fragment is computed once, because fragments that
//! double each other would otherwise keep the validator and the executor busy for seconds.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
    ServiceDocument, TypeKind, TypeSystemDefinition,
};
use async_graphql::{Name, Positioned, Variables};
use async_graphql_value::{ConstValue, Value};

use crate::graphql::relay::MAX_PAGE_ROWS;

/// The longest document, in bytes. Data belongs in variables, which are not counted here.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// The most tokens of one document (names, values and punctuators), which determine the parser's
/// time.
const MAX_TOKENS: usize = 2_000;
/// How deep brackets of any kind may be nested.
const MAX_BRACKET_DEPTH: usize = 64;
/// How deep fields may be nested.
const MAX_DEPTH: u32 = 15;
/// How deep selections may be nested, with fragments.
const MAX_NESTING: u32 = 60;
const MAX_ALIASES: u64 = 50;
const MAX_ROOT_FIELDS: u64 = 20;
const MAX_DIRECTIVES: u64 = 50;
const MAX_COST: u64 = 10_000;
/// How deep the lists of introspection may be nested; each level multiplies the response.
const MAX_INTROSPECTION_DEPTH: u32 = 2;
/// The cost of counting a list.
const COUNT_COST: u64 = 10;

/// The cost of a selection. A list multiplies the cost of what it contains by the rows that are
/// requested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DocumentCost {
    /// The cost that is charged once.
    once: u64,
    /// The cost inside `edges` and `nodes`, which is charged for every row of the page around them.
    each: u64,
    /// The number of fields at the top level.
    width: u64,
    aliases: u64,
    directives: u64,
    depth: u32,
    nesting: u32,
    introspection: u32,
    /// Whether the schema itself is selected (introspection).
    schema: bool,
}

impl DocumentCost {
    /// The whole cost.
    pub fn total_cost(self) -> u64 {
        self.once.saturating_add(self.each)
    }

    /// Whether the schema itself is selected (introspection).
    pub fn selects_schema(self) -> bool {
        self.schema
    }

    /// The value of `extensions.cost` in a response.
    pub fn to_value(self) -> async_graphql::Value {
        async_graphql::value!({
            "requested": self.total_cost(), "limit": MAX_COST, "depth": self.depth
        })
    }

    fn add_cost(&mut self, other: DocumentCost) {
        self.once = self.once.saturating_add(other.once);
        self.each = self.each.saturating_add(other.each);
        self.width = self.width.saturating_add(other.width);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.directives = self.directives.saturating_add(other.directives);
        self.depth = self.depth.max(other.depth);
        self.nesting = self.nesting.max(other.nesting);
        self.introspection = self.introspection.max(other.introspection);
        self.schema |= other.schema;
    }

    fn check_limits(self) -> Result<(), DocumentRefusal> {
        let caps = [
            ("depth", u64::from(self.depth), u64::from(MAX_DEPTH)),
            ("nesting of fragments", u64::from(self.nesting), u64::from(MAX_NESTING)),
            (
                "nesting of introspection",
                u64::from(self.introspection),
                u64::from(MAX_INTROSPECTION_DEPTH),
            ),
            ("number of aliases", self.aliases, MAX_ALIASES),
            ("number of directives", self.directives, MAX_DIRECTIVES),
            ("cost", self.total_cost(), MAX_COST),
        ];
        caps.into_iter().try_for_each(|(what, is, most)| {
            if is > most { Err(DocumentRefusal::over_limit(what, is, most)) } else { Ok(()) }
        })
    }
}

/// Why a document is refused before it is validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentRefusal {
    /// It exceeds a limit.
    TooComplex(String),
    /// It cannot be run.
    Invalid(&'static str),
}

impl DocumentRefusal {
    fn over_limit(what: &str, is: u64, most: u64) -> Self {
        let shown = if is == u64::MAX { "far more".to_owned() } else { is.to_string() };
        Self::TooComplex(format!("the query's {what} is {shown}; at most {most} is allowed"))
    }
}

/// Checks the text of a document before it is parsed.
pub fn check_text(text: &str) -> Result<(), DocumentRefusal> {
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(DocumentRefusal::over_limit(
            "length in bytes",
            text.len() as u64,
            MAX_DOCUMENT_BYTES as u64,
        ));
    }
    let (depth, tokens) = measure_text(text.as_bytes());
    if tokens > MAX_TOKENS {
        return Err(DocumentRefusal::over_limit(
            "number of tokens",
            tokens as u64,
            MAX_TOKENS as u64,
        ));
    }
    if depth > MAX_BRACKET_DEPTH {
        return Err(DocumentRefusal::over_limit(
            "depth of brackets",
            depth as u64,
            MAX_BRACKET_DEPTH as u64,
        ));
    }
    Ok(())
}

/// How deep brackets are nested, and how many tokens there are, without comments. If the text is
/// not well formed, the numbers may be too high but never too low.
fn measure_text(text: &[u8]) -> (usize, usize) {
    let (mut depth, mut deepest, mut tokens, mut at) = (0usize, 0usize, 0usize, 0usize);
    let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        tokens += usize::from(!matches!(rest, [b'#' | b',' | b' ' | b'\t' | b'\r' | b'\n', ..]));
        at += match rest {
            [b'#', ..] => {
                rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len())
            }
            [b'"', b'"', b'"', rest @ ..] => block_string_length(rest) + 3,
            [b'"', rest @ ..] => string_length(rest) + 1,
            [b'{' | b'[' | b'(', ..] => {
                depth += 1;
                deepest = deepest.max(depth);
                1
            }
            [b'}' | b']' | b')', ..] => {
                depth = depth.saturating_sub(1);
                1
            }
            [first, ..] if in_word(first) => {
                rest.iter().position(|byte| !in_word(byte)).unwrap_or(rest.len())
            }
            _ => 1,
        };
    }
    (deepest, tokens)
}

/// The length of a string after its opening quote, in bytes; it ends with its line at the latest.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\n' | b'\r' => return at,
            b'"' if !escaped => return at + 1,
            _ => escaped = *byte == b'\\' && !escaped,
        }
    }
    text.len()
}

fn block_string_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        at += match rest {
            [b'\\', b'"', b'"', b'"', ..] => 4,
            [b'"', b'"', b'"', ..] => return at + 3,
            _ => 1,
        };
    }
    text.len()
}

/// Checks a parsed document: every operation and every fragment in it, used or not. Returns the
/// cost of its operations.
pub fn check_document(
    document: &ExecutableDocument,
    variables: &Variables,
) -> Result<DocumentCost, DocumentRefusal> {
    let mut walk = CostWalk { document, variables, fragments: HashMap::new() };
    let mut all = DocumentCost::default();
    for (_, operation) in document.operations.iter() {
        let OperationDefinition { selection_set, directives, .. } = &operation.node;
        let cost = walk.selection_set_cost(selection_set, 0)?;
        if cost.width > MAX_ROOT_FIELDS {
            return Err(DocumentRefusal::over_limit(
                "number of root fields",
                cost.width,
                MAX_ROOT_FIELDS,
            ));
        }
        if operation.node.ty == OperationType::Mutation {
            walk.refuse_duplicate_fields(selection_set, &mut HashSet::new(), &mut HashSet::new())?;
        }
        all.add_cost(cost);
        all.directives = all.directives.saturating_add(directives.len() as u64);
        all.check_limits()?;
    }
    for name in document.fragments.keys() {
        walk.fragment_cost(name, 0)?.check_limits()?;
    }
    Ok(all)
}

struct CostWalk<'a> {
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    /// The cost of each fragment; none while it is being computed.
    fragments: HashMap<&'a Name, Option<DocumentCost>>,
}

impl<'a> CostWalk<'a> {
    fn selection_set_cost(
        &mut self,
        set: &'a Positioned<SelectionSet>,
        level: u32,
    ) -> Result<DocumentCost, DocumentRefusal> {
        if level > MAX_NESTING {
            return Err(DocumentRefusal::over_limit("nesting", level.into(), MAX_NESTING.into()));
        }
        let mut sum = DocumentCost::default();
        for item in &set.node.items {
            let mut cost = match &item.node {
                Selection::Field(field) => self.field_cost(&field.node, level)?,
                Selection::InlineFragment(inline) => {
                    self.selection_set_cost(&inline.node.selection_set, level + 1)?
                }
                Selection::FragmentSpread(spread) => {
                    self.fragment_cost(&spread.node.fragment_name.node, level)?
                }
            };
            for directive in item.node.directives() {
                cost.directives = cost.directives.saturating_add(1);
                refuse_nul(directive.node.arguments.iter().map(|(_, value)| &value.node))?;
            }
            sum.add_cost(cost);
        }
        sum.nesting += 1;
        Ok(sum)
    }

    fn field_cost(
        &mut self,
        field: &'a Field,
        level: u32,
    ) -> Result<DocumentCost, DocumentRefusal> {
        refuse_nul(field.arguments.iter().map(|(_, value)| &value.node))?;
        let mut cost = self.selection_set_cost(&field.selection_set, level + 1)?;
        cost.depth += 1;
        cost.width = 1;
        cost.aliases = cost.aliases.saturating_add(field.alias.is_some().into());
        let name = field.name.node.as_str();
        match name {
            "edges" | "nodes" if field.arguments.is_empty() => {
                return Ok(DocumentCost {
                    once: 0,
                    each: cost.total_cost().saturating_add(1),
                    ..cost
                });
            }
            "__schema" | "__type" => cost.schema = true,
            "fields" | "interfaces" | "inputFields" | "possibleTypes" => cost.introspection += 1,
            "totalCount" | "memberCount" | "userCount" | "groupCount" | "counts" => {
                cost.once = cost.once.saturating_add(COUNT_COST);
            }
            _ => {}
        }
        let rows = match LIST_FIELDS.get(name) {
            Some(ListKind::Page) => {
                let once =
                    cost.once.saturating_add(cost.each.saturating_mul(self.requested_rows(field)));
                return Ok(DocumentCost { once: once.saturating_add(1), each: 0, ..cost });
            }
            Some(ListKind::Plain) => self.requested_rows(field),
            None if name == "nodes" => self.requested_ids(field),
            None => 1,
        };
        let once = cost.total_cost().saturating_mul(rows).saturating_add(1);
        Ok(DocumentCost { once, each: 0, ..cost })
    }

    /// Refuses a mutation that is selected twice under one response key. By the GraphQL
    /// specification, section 6.3.2, the two are one field, but the executor would run each of
    /// them.
    fn refuse_duplicate_fields(
        &self,
        set: &'a Positioned<SelectionSet>,
        keys: &mut HashSet<&'a Name>,
        fragments: &mut HashSet<&'a Name>,
    ) -> Result<(), DocumentRefusal> {
        let twice = DocumentRefusal::Invalid(
            "a mutation is selected twice under one name; give each an alias of its own",
        );
        for item in &set.node.items {
            match &item.node {
                Selection::Field(field) if keys.insert(&field.node.response_key().node) => {}
                Selection::Field(_) => return Err(twice),
                Selection::InlineFragment(inline) => {
                    self.refuse_duplicate_fields(&inline.node.selection_set, keys, fragments)?
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if !fragments.insert(name) {
                        return Err(twice);
                    }
                    if let Some(fragment) = self.document.fragments.get(name) {
                        self.refuse_duplicate_fields(
                            &fragment.node.selection_set,
                            keys,
                            fragments,
                        )?;
                    }
                }
            }
        }
        Ok(())
    }

    fn fragment_cost(
        &mut self,
        name: &'a Name,
        level: u32,
    ) -> Result<DocumentCost, DocumentRefusal> {
        match self.fragments.get(name) {
            Some(None) => {
                return Err(DocumentRefusal::Invalid("fragments must not contain themselves"));
            }
            Some(Some(cost)) => return Ok(*cost),
            None => {}
        }
        // The validator reports a fragment that does not exist.
        let Some(fragment) = self.document.fragments.get(name) else {
            return Ok(DocumentCost::default());
        };
        self.fragments.insert(name, None);
        let cost = self.selection_set_cost(&fragment.node.selection_set, level + 1)?;
        self.fragments.insert(name, Some(cost));
        Ok(cost)
    }

    /// How many rows of a page are requested. Anything but a number between 1 and the limit counts
    /// as the limit.
    fn requested_rows(&self, field: &Field) -> u64 {
        let asked = ["first", "last"].into_iter().filter_map(|name| {
            match &field.get_argument(name)?.node {
                Value::Number(number) => number.as_u64(),
                Value::Variable(name) => match self.variables.get(name)? {
                    ConstValue::Number(number) => number.as_u64(),
                    _ => None,
                },
                _ => None,
            }
        });
        let cap = u64::from(MAX_PAGE_ROWS.unsigned_abs());
        asked.max().filter(|rows| (1..=cap).contains(rows)).unwrap_or(cap)
    }

    /// How many ids `nodes(ids:)` has.
    fn requested_ids(&self, field: &Field) -> u64 {
        let asked = match field.get_argument("ids").map(|value| &value.node) {
            Some(Value::List(ids)) => Some(ids.len()),
            Some(Value::Variable(name)) => match self.variables.get(name) {
                Some(ConstValue::List(ids)) => Some(ids.len()),
                _ => None,
            },
            _ => None,
        };
        asked.map_or(u64::from(MAX_PAGE_ROWS.unsigned_abs()), |ids| ids as u64)
    }
}

/// Refuses the character NUL, which PostgreSQL cannot store.
fn refuse_nul<'a>(values: impl Iterator<Item = &'a Value>) -> Result<(), DocumentRefusal> {
    for value in values {
        match value {
            Value::String(text) if text.contains('\0') => {
                return Err(DocumentRefusal::Invalid("strings must not contain the character NUL"));
            }
            Value::List(values) => refuse_nul(values.iter())?,
            Value::Object(fields) => refuse_nul(fields.values())?,
            _ => {}
        }
    }
    Ok(())
}

/// How `first` and `last` multiply the cost of a field.
enum ListKind {
    /// A Relay connection: the cost inside `edges` and `nodes` is multiplied.
    Page,
    /// A plain list: the whole cost is multiplied.
    Plain,
}

/// The list fields by name, read from the schema so that no new list is forgotten.
static LIST_FIELDS: LazyLock<HashMap<String, ListKind>> = LazyLock::new(|| {
    let document = async_graphql::parser::parse_schema(super::export_sdl())
        .unwrap_or(ServiceDocument { definitions: Vec::new() });
    let mut lists = HashMap::new();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(ty) = definition else { continue };
        let TypeKind::Object(object) = ty.node.kind else { continue };
        for field in object.fields {
            let field = field.node;
            if field.arguments.iter().any(|argument| argument.node.name.node == "first") {
                let page = field.ty.node.to_string().trim_end_matches('!').ends_with("Connection");
                let list = if page { ListKind::Page } else { ListKind::Plain };
                lists.insert(field.name.node.to_string(), list);
            }
        }
    }
    lists
});
