//! What a document may cost, judged before anything of it is validated or run.
//!
//! The text is scanned once for how deep its brackets go, because the parser recurses. The parsed document is
//! walked once with every fragment costed once, because fragments that double each other would otherwise take
//! the validator and the executor seconds.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet, ServiceDocument, TypeKind,
    TypeSystemDefinition,
};
use async_graphql::{Name, Positioned, Variables};
use async_graphql_value::{ConstValue, Value};

use super::page::MAX_PAGE;

/// The longest document, in bytes. Variables carry data; a document is code.
const MAX_DOCUMENT: usize = 64 * 1024;
/// Names, values and signs of one document: what the parser's time goes into.
const MAX_TOKENS: usize = 2_000;
/// How deep brackets of any kind may stand in each other.
const MAX_BRACKETS: usize = 64;
/// How deep fields may stand in each other.
const MAX_DEPTH: u32 = 15;
/// How deep selections may stand in each other, fragments counted.
const MAX_NESTING: u32 = 60;
const MAX_ALIASES: u64 = 50;
const MAX_ROOT_FIELDS: u64 = 20;
const MAX_DIRECTIVES: u64 = 50;
const MAX_COST: u64 = 10_000;
/// How deep introspection's lists of fields may stand in each other; each level multiplies the answer.
const MAX_INTROSPECTION: u32 = 2;
/// What counting a list costs.
const COUNT_COST: u64 = 10;

/// What a selection costs. A list multiplies what stands in it by the rows that were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// What is paid once.
    once: u64,
    /// What stands in `edges` and `nodes` and is paid for every row of the page around it.
    each: u64,
    /// Fields side by side at the top.
    width: u64,
    aliases: u64,
    directives: u64,
    depth: u32,
    nesting: u32,
    introspection: u32,
    /// Whether the schema itself is asked for.
    schema: bool,
}

impl Cost {
    /// All of it.
    pub fn total(self) -> u64 {
        self.once.saturating_add(self.each)
    }

    /// Whether the schema itself is asked for.
    pub fn asks_for_schema(self) -> bool {
        self.schema
    }

    /// `extensions.cost` of an answer.
    pub fn to_value(self) -> async_graphql::Value {
        async_graphql::value!({ "requested": self.total(), "limit": MAX_COST, "depth": self.depth })
    }

    fn add(&mut self, other: Cost) {
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

    fn check(self) -> Result<(), Excess> {
        let caps = [
            ("depth", u64::from(self.depth), u64::from(MAX_DEPTH)),
            ("nesting of fragments", u64::from(self.nesting), u64::from(MAX_NESTING)),
            ("nesting of introspection", u64::from(self.introspection), u64::from(MAX_INTROSPECTION)),
            ("number of aliases", self.aliases, MAX_ALIASES),
            ("number of directives", self.directives, MAX_DIRECTIVES),
            ("cost", self.total(), MAX_COST),
        ];
        caps.into_iter()
            .try_for_each(|(what, is, most)| if is > most { Err(Excess::over(what, is, most)) } else { Ok(()) })
    }
}

/// Why a document is refused unseen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Excess {
    /// More than a cap allows.
    TooComplex(String),
    /// Not a document that could be run.
    Invalid(&'static str),
}

impl Excess {
    fn over(what: &str, is: u64, most: u64) -> Self {
        let shown = if is == u64::MAX { "far more".to_owned() } else { is.to_string() };
        Self::TooComplex(format!("the query's {what} is {shown}; at most {most} is allowed"))
    }
}

/// Judges the text of a document before it is parsed.
pub fn check_text(text: &str) -> Result<(), Excess> {
    if text.len() > MAX_DOCUMENT {
        return Err(Excess::over("length in bytes", text.len() as u64, MAX_DOCUMENT as u64));
    }
    let (depth, tokens) = scan(text.as_bytes());
    if tokens > MAX_TOKENS {
        return Err(Excess::over("number of tokens", tokens as u64, MAX_TOKENS as u64));
    }
    if depth > MAX_BRACKETS {
        return Err(Excess::over("depth of brackets", depth as u64, MAX_BRACKETS as u64));
    }
    Ok(())
}

/// How deep brackets stand in each other, and how many tokens there are, outside of comments. Where the text is not
/// well formed the counts may only come out too high.
fn scan(text: &[u8]) -> (usize, usize) {
    let (mut depth, mut deepest, mut tokens, mut at) = (0usize, 0usize, 0usize, 0usize);
    let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        tokens += usize::from(!matches!(rest, [b'#' | b',' | b' ' | b'\t' | b'\r' | b'\n', ..]));
        at += match rest {
            [b'#', ..] => rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len()),
            [b'"', b'"', b'"', rest @ ..] => block_string(rest) + 3,
            [b'"', rest @ ..] => string(rest) + 1,
            [b'{' | b'[' | b'(', ..] => {
                depth += 1;
                deepest = deepest.max(depth);
                1
            }
            [b'}' | b']' | b')', ..] => {
                depth = depth.saturating_sub(1);
                1
            }
            [first, ..] if in_word(first) => rest.iter().position(|byte| !in_word(byte)).unwrap_or(rest.len()),
            _ => 1,
        };
    }
    (deepest, tokens)
}

/// The length of a string after its opening quote; it ends with its line at the latest.
fn string(text: &[u8]) -> usize {
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

fn block_string(text: &[u8]) -> usize {
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

/// Judges a parsed document: every operation and every fragment in it, used or not. Returns what its operations
/// cost.
pub fn check_document(document: &ExecutableDocument, variables: &Variables) -> Result<Cost, Excess> {
    let mut walk = Walk { document, variables, fragments: HashMap::new() };
    let mut all = Cost::default();
    for (_, operation) in document.operations.iter() {
        let OperationDefinition { selection_set, directives, .. } = &operation.node;
        let cost = walk.set(selection_set, 0)?;
        if cost.width > MAX_ROOT_FIELDS {
            return Err(Excess::over("number of root fields", cost.width, MAX_ROOT_FIELDS));
        }
        if operation.node.ty == OperationType::Mutation {
            walk.each_once(selection_set, &mut HashSet::new(), &mut HashSet::new())?;
        }
        all.add(cost);
        all.directives = all.directives.saturating_add(directives.len() as u64);
        all.check()?;
    }
    for name in document.fragments.keys() {
        walk.fragment(name, 0)?.check()?;
    }
    Ok(all)
}

struct Walk<'a> {
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    /// What each fragment costs; none while it is being walked.
    fragments: HashMap<&'a Name, Option<Cost>>,
}

impl<'a> Walk<'a> {
    fn set(&mut self, set: &'a Positioned<SelectionSet>, level: u32) -> Result<Cost, Excess> {
        if level > MAX_NESTING {
            return Err(Excess::over("nesting", level.into(), MAX_NESTING.into()));
        }
        let mut sum = Cost::default();
        for item in &set.node.items {
            let mut cost = match &item.node {
                Selection::Field(field) => self.field(&field.node, level)?,
                Selection::InlineFragment(inline) => self.set(&inline.node.selection_set, level + 1)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, level)?,
            };
            for directive in item.node.directives() {
                cost.directives = cost.directives.saturating_add(1);
                clean(directive.node.arguments.iter().map(|(_, value)| &value.node))?;
            }
            sum.add(cost);
        }
        sum.nesting += 1;
        Ok(sum)
    }

    fn field(&mut self, field: &'a Field, level: u32) -> Result<Cost, Excess> {
        clean(field.arguments.iter().map(|(_, value)| &value.node))?;
        let mut cost = self.set(&field.selection_set, level + 1)?;
        cost.depth += 1;
        cost.width = 1;
        cost.aliases = cost.aliases.saturating_add(field.alias.is_some().into());
        let name = field.name.node.as_str();
        match name {
            "edges" | "nodes" if field.arguments.is_empty() => {
                return Ok(Cost { once: 0, each: cost.total().saturating_add(1), ..cost });
            }
            "__schema" | "__type" => cost.schema = true,
            "fields" | "interfaces" | "inputFields" | "possibleTypes" => cost.introspection += 1,
            "totalCount" | "memberCount" | "userCount" | "groupCount" | "counts" => {
                cost.once = cost.once.saturating_add(COUNT_COST);
            }
            _ => {}
        }
        let rows = match LISTS.get(name) {
            Some(List::Page) => {
                let once = cost.once.saturating_add(cost.each.saturating_mul(self.rows(field)));
                return Ok(Cost { once: once.saturating_add(1), each: 0, ..cost });
            }
            Some(List::Plain) => self.rows(field),
            None if name == "nodes" => self.ids(field),
            None => 1,
        };
        let once = cost.total().saturating_mul(rows).saturating_add(1);
        Ok(Cost { once, each: 0, ..cost })
    }

    /// GraphQL specification, section 6.3.2: fields with one response key are one field. The executor would run a
    /// mutation once for each time that it is written, so none may be written twice.
    fn each_once(
        &self,
        set: &'a Positioned<SelectionSet>,
        keys: &mut HashSet<&'a Name>,
        fragments: &mut HashSet<&'a Name>,
    ) -> Result<(), Excess> {
        let twice = Excess::Invalid("a mutation stands here twice under one name; give each an alias of its own");
        for item in &set.node.items {
            match &item.node {
                Selection::Field(field) if keys.insert(&field.node.response_key().node) => {}
                Selection::Field(_) => return Err(twice),
                Selection::InlineFragment(inline) => self.each_once(&inline.node.selection_set, keys, fragments)?,
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if !fragments.insert(name) {
                        return Err(twice);
                    }
                    if let Some(fragment) = self.document.fragments.get(name) {
                        self.each_once(&fragment.node.selection_set, keys, fragments)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn fragment(&mut self, name: &'a Name, level: u32) -> Result<Cost, Excess> {
        match self.fragments.get(name) {
            Some(None) => return Err(Excess::Invalid("fragments must not contain themselves")),
            Some(Some(cost)) => return Ok(*cost),
            None => {}
        }
        // A fragment that is not there is the validator's to report.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(Cost::default()) };
        self.fragments.insert(name, None);
        let cost = self.set(&fragment.node.selection_set, level + 1)?;
        self.fragments.insert(name, Some(cost));
        Ok(cost)
    }

    /// How many rows a page was asked for. Whatever is not a number between 1 and the cap counts as the cap.
    fn rows(&self, field: &Field) -> u64 {
        let asked = ["first", "last"].into_iter().filter_map(|name| match &field.get_argument(name)?.node {
            Value::Number(number) => number.as_u64(),
            Value::Variable(name) => match self.variables.get(name)? {
                ConstValue::Number(number) => number.as_u64(),
                _ => None,
            },
            _ => None,
        });
        let cap = u64::from(MAX_PAGE.unsigned_abs());
        asked.max().filter(|rows| (1..=cap).contains(rows)).unwrap_or(cap)
    }

    /// How many things `nodes(ids:)` was asked for.
    fn ids(&self, field: &Field) -> u64 {
        let asked = match field.get_argument("ids").map(|value| &value.node) {
            Some(Value::List(ids)) => Some(ids.len()),
            Some(Value::Variable(name)) => match self.variables.get(name) {
                Some(ConstValue::List(ids)) => Some(ids.len()),
                _ => None,
            },
            _ => None,
        };
        asked.map_or(u64::from(MAX_PAGE.unsigned_abs()), |ids| ids as u64)
    }
}

/// Refuses the character NUL, which PostgreSQL cannot hold.
fn clean<'a>(values: impl Iterator<Item = &'a Value>) -> Result<(), Excess> {
    for value in values {
        match value {
            Value::String(text) if text.contains('\0') => {
                return Err(Excess::Invalid("strings must not contain the character NUL"));
            }
            Value::List(values) => clean(values.iter())?,
            Value::Object(fields) => clean(fields.values())?,
            _ => {}
        }
    }
    Ok(())
}

/// Fields whose `first` or `last` multiplies.
enum List {
    /// A Relay connection: what stands in `edges` and `nodes` is multiplied.
    Page,
    /// A list of things: all of it is multiplied.
    Plain,
}

/// Read off the schema, so that no new list is forgotten.
static LISTS: LazyLock<HashMap<String, List>> = LazyLock::new(|| {
    let document =
        async_graphql::parser::parse_schema(super::sdl()).unwrap_or(ServiceDocument { definitions: Vec::new() });
    let mut lists = HashMap::new();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(ty) = definition else { continue };
        let TypeKind::Object(object) = ty.node.kind else { continue };
        for field in object.fields {
            let field = field.node;
            if field.arguments.iter().any(|argument| argument.node.name.node == "first") {
                let page = field.ty.node.to_string().trim_end_matches('!').ends_with("Connection");
                let list = if page { List::Page } else { List::Plain };
                lists.insert(field.name.node.to_string(), list);
            }
        }
    }
    lists
});
