//! The limits of a document's form, checked before anything of it is validated or run. What it
//! costs to run is in [`cost`](super::cost).
//!
//! The text is scanned once for the depth of its brackets, because the parser recurses. The parsed
//! document is walked once, and each fragment is measured once, because fragments that double each
//! other would otherwise keep the validator and the executor busy for seconds.
//!
//! A `__typename` in each selection set is free in every respect, because some clients add it by
//! themselves.

use std::collections::HashMap;

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned};
use async_graphql_value::Value;

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
/// How deep the lists of introspection may be nested; each level multiplies the response.
const MAX_INTROSPECTION_DEPTH: u32 = 2;
/// The most rows of one page.
pub const MAX_PAGE_ROWS: i32 = 100;

/// What the form of a selection is limited by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DocumentForm {
    /// The number of fields at the top level.
    width: u64,
    aliases: u64,
    directives: u64,
    depth: u32,
    nesting: u32,
    /// How deep fields are nested whose names are those of the lists of introspection.
    lists: u32,
    /// How deep the lists of introspection are nested.
    introspection: u32,
    /// Whether the schema itself is selected (introspection).
    schema: bool,
}

impl DocumentForm {
    /// Whether the schema itself is selected (introspection).
    pub fn selects_schema(self) -> bool {
        self.schema
    }

    /// How deep fields are nested.
    pub fn depth(self) -> u32 {
        self.depth
    }

    fn add_form(&mut self, other: DocumentForm) {
        self.width = self.width.saturating_add(other.width);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.directives = self.directives.saturating_add(other.directives);
        self.depth = self.depth.max(other.depth);
        self.nesting = self.nesting.max(other.nesting);
        self.lists = self.lists.max(other.lists);
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
    /// The refusal of a document of which something is above its limit.
    pub fn over_limit(what: &str, is: u64, most: u64) -> Self {
        let shown = if is == u64::MAX { "far more".to_owned() } else { is.to_string() };
        Self::TooComplex(format!("the query's {what} is {shown}; at most {most} is allowed"))
    }
}

/// Checks the text of a document before it is parsed.
pub fn check_text(text: &str) -> Result<(), DocumentRefusal> {
    let TextMeasure { depth, tokens, bytes } = measure_text(text.as_bytes());
    let caps = [
        ("length in bytes", bytes, MAX_DOCUMENT_BYTES),
        ("number of tokens", tokens, MAX_TOKENS),
        ("depth of brackets", depth, MAX_BRACKET_DEPTH),
    ];
    caps.into_iter().try_for_each(|(what, is, most)| {
        if is <= most {
            return Ok(());
        }
        Err(DocumentRefusal::over_limit(what, is as u64, most as u64))
    })
}

/// The size of a text, without one `__typename` for each opening brace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TextMeasure {
    /// How deep brackets are nested.
    depth: usize,
    /// Without comments.
    tokens: usize,
    bytes: usize,
}

/// Measures a text. If it is not well formed, the numbers may be too high but never too low.
fn measure_text(text: &[u8]) -> TextMeasure {
    let (mut depth, mut deepest, mut tokens, mut at) = (0usize, 0usize, 0usize, 0usize);
    // The bytes of each free `__typename`, with the space before it.
    let (mut free, mut free_bytes, mut braces, mut space) = (0usize, 0usize, 0usize, 0usize);
    let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let is_space = matches!(rest, [b',' | b' ' | b'\t' | b'\r' | b'\n', ..]);
        tokens += usize::from(!is_space && !matches!(rest, [b'#', ..]));
        let length = match rest {
            [b'#', ..] => {
                rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len())
            }
            [b'"', b'"', b'"', rest @ ..] => block_string_length(rest) + 3,
            [b'"', rest @ ..] => string_length(rest) + 1,
            [b'{' | b'[' | b'(', ..] => {
                braces += usize::from(rest.starts_with(b"{"));
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
        if rest.get(..length) == Some(b"__typename") && free < braces {
            free += 1;
            free_bytes += length + space;
        }
        space = if is_space { space + length } else { 0 };
        at += length;
    }
    TextMeasure { depth: deepest, tokens: tokens - free, bytes: text.len() - free_bytes }
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

/// Checks a parsed document: every operation and every fragment in it, used or not. Returns what it
/// measured of the operations.
pub fn check_document(document: &ExecutableDocument) -> Result<DocumentForm, DocumentRefusal> {
    let mut walk = FormWalk { document, fragments: HashMap::new() };
    let mut all = DocumentForm::default();
    for (_, operation) in document.operations.iter() {
        let OperationDefinition { selection_set, directives, .. } = &operation.node;
        let form = walk.measure_selection_set(selection_set, 0)?;
        if form.width > MAX_ROOT_FIELDS {
            return Err(DocumentRefusal::over_limit(
                "number of root fields",
                form.width,
                MAX_ROOT_FIELDS,
            ));
        }
        all.add_form(form);
        all.directives = all.directives.saturating_add(directives.len() as u64);
        all.check_limits()?;
    }
    for name in document.fragments.keys() {
        walk.measure_fragment(name, 0)?.check_limits()?;
    }
    Ok(all)
}

struct FormWalk<'a> {
    document: &'a ExecutableDocument,
    /// The form of each fragment; none while it is being measured.
    fragments: HashMap<&'a Name, Option<DocumentForm>>,
}

impl<'a> FormWalk<'a> {
    fn measure_selection_set(
        &mut self,
        set: &'a Positioned<SelectionSet>,
        level: u32,
    ) -> Result<DocumentForm, DocumentRefusal> {
        if level > MAX_NESTING {
            return Err(DocumentRefusal::over_limit("nesting", level.into(), MAX_NESTING.into()));
        }
        let mut sum = DocumentForm::default();
        for item in &set.node.items {
            let mut form = match &item.node {
                Selection::Field(field) => self.measure_field(&field.node, level)?,
                Selection::InlineFragment(inline) => {
                    self.measure_selection_set(&inline.node.selection_set, level + 1)?
                }
                Selection::FragmentSpread(spread) => {
                    self.measure_fragment(&spread.node.fragment_name.node, level)?
                }
            };
            for directive in item.node.directives() {
                form.directives = form.directives.saturating_add(1);
                refuse_nul(directive.node.arguments.iter().map(|(_, value)| &value.node))?;
            }
            sum.add_form(form);
        }
        sum.nesting += 1;
        Ok(sum)
    }

    fn measure_field(
        &mut self,
        field: &'a Field,
        level: u32,
    ) -> Result<DocumentForm, DocumentRefusal> {
        refuse_nul(field.arguments.iter().map(|(_, value)| &value.node))?;
        let mut form = self.measure_selection_set(&field.selection_set, level + 1)?;
        form.depth += 1;
        form.width = u64::from(field.name.node != "__typename");
        form.aliases = form.aliases.saturating_add(field.alias.is_some().into());
        match field.name.node.as_str() {
            "__schema" | "__type" => {
                form.schema = true;
                form.introspection = form.lists;
            }
            "fields" | "interfaces" | "inputFields" | "possibleTypes" => form.lists += 1,
            _ => {}
        }
        Ok(form)
    }

    fn measure_fragment(
        &mut self,
        name: &'a Name,
        level: u32,
    ) -> Result<DocumentForm, DocumentRefusal> {
        match self.fragments.get(name) {
            Some(None) => {
                return Err(DocumentRefusal::Invalid("fragments must not contain themselves"));
            }
            Some(Some(form)) => return Ok(*form),
            None => {}
        }
        // The validation reports a fragment that does not exist.
        let Some(fragment) = self.document.fragments.get(name) else {
            return Ok(DocumentForm::default());
        };
        self.fragments.insert(name, None);
        let form = self.measure_selection_set(&fragment.node.selection_set, level + 1)?;
        self.fragments.insert(name, Some(form));
        Ok(form)
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
