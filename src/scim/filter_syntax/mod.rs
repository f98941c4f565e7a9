//! Parses filters, PATCH paths and attribute lists (RFC 7644 sections 3.4.2.2, 3.5.2 and 3.9) into
//! the trees of [`crate::identity::filter`].
//!
//! The parser checks only the grammar: whether an attribute exists, and what it may be compared
//! with, is checked where the schema is known. Every input is bounded (length, terms, depth), so
//! recursion and time are too.

use crate::error::{Error, Result, Rule};
use crate::identity::document::number_in_text;
use crate::identity::filter::{AttrPath, CompareOp, Filter, FilterLiteral};

/// Longest filter or path, in bytes.
const MAX_LENGTH: usize = 4 * 1024;
/// Longest list of attribute names, in bytes; wider than a filter because names may carry their
/// URN.
const MAX_LIST_LENGTH: usize = 16 * 1024;
/// Most comparisons in one filter.
const MAX_TERMS: usize = 64;
/// Deepest nesting of parentheses and brackets.
const MAX_DEPTH: usize = 16;

/// The target of a PATCH operation (RFC 7644 section 3.5.2, figure 7).
///
/// `emails[type eq "work"].value` has all three parts; `name.givenName` has its sub-attribute
/// inside `attr`. A bare extension URN is an `attr` with a schema and an empty name.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchPath {
    pub attr: AttrPath,
    pub filter: Option<Filter>,
    pub sub: Option<String>,
}

/// Reads a `filter` parameter.
///
/// Beyond the RFC's grammar it accepts `emails[type eq "work"].value eq "x"`, which Entra ID sends
/// to find users by a typed value: one element must satisfy both conditions.
pub fn parse_filter(text: &str) -> Result<Filter> {
    ScimFilterParser::new(text, Rule::Filter, "filter").read_filter()
}

/// Whether a filter holds a string without quotes, which [`parse_filter`] tolerates.
pub fn filter_is_unquoted(text: &str) -> bool {
    let mut parser = ScimFilterParser::new(text, Rule::Filter, "filter");
    parser.read_filter().is_ok() && parser.unquoted
}

/// Reads the `path` of a PATCH operation.
pub fn parse_path(text: &str) -> Result<PatchPath> {
    ScimFilterParser::new(text, Rule::Path, "path").read_path()
}

/// Whether a path holds a string without quotes, which [`parse_path`] tolerates.
pub fn path_is_unquoted(text: &str) -> bool {
    let mut parser = ScimFilterParser::new(text, Rule::Path, "path");
    parser.read_path().is_ok() && parser.unquoted
}

/// Reads a comma-separated list of attributes: `attributes`, `excludedAttributes`, `sortBy`.
pub fn parse_attr_list(text: &str) -> Result<Vec<AttrPath>> {
    let mut parser = ScimFilterParser::new(text, Rule::Value, "attributes");
    parser.check_input(MAX_LIST_LENGTH)?;
    let mut list = Vec::new();
    loop {
        while parser.peek() == Some(',') {
            parser.advance();
        }
        if parser.peek().is_none() {
            return Ok(list);
        }
        list.push(parser.read_attribute()?);
        if !matches!(parser.peek(), None | Some(',')) {
            return Err(parser.expected_error("a comma"));
        }
    }
}

/// The state of the parser, with the rule and the field that an error names.
struct ScimFilterParser<'a> {
    text: &'a str,
    /// Byte offset of the next character; always on a character boundary.
    at: usize,
    terms: usize,
    depth: usize,
    /// Whether a string had no quotes.
    unquoted: bool,
    rule: Rule,
    field: &'static str,
}

impl<'a> ScimFilterParser<'a> {
    fn new(text: &'a str, rule: Rule, field: &'static str) -> Self {
        Self { text, at: 0, terms: 0, depth: 0, unquoted: false, rule, field }
    }

    fn read_filter(&mut self) -> Result<Filter> {
        self.check_input(MAX_LENGTH)?;
        let filter = self.read_alternatives(false)?;
        self.expect_end("\"and\", \"or\" or the end")?;
        Ok(filter)
    }

    fn read_path(&mut self) -> Result<PatchPath> {
        self.check_input(MAX_LENGTH)?;
        let attr = self.read_attribute()?;
        let mut path = PatchPath { attr, filter: None, sub: None };
        if self.peek() == Some('[') {
            path.filter = Some(self.read_brackets(&path.attr)?);
            path.sub = self.read_trailing_sub()?;
        }
        self.expect_end("the end of the path")?;
        Ok(path)
    }

    fn check_input(&self, max: usize) -> Result<()> {
        if self.text.len() > max {
            return Err(self.syntax_error(format!("is longer than {max} bytes")));
        }
        if self.text.contains('\0') {
            return Err(self.syntax_error("contains a NUL character".to_owned()));
        }
        Ok(())
    }

    // RFC 7644 section 3.4.2.2: "and" binds tighter than "or". `inner` is true inside brackets.
    fn read_alternatives(&mut self, inner: bool) -> Result<Filter> {
        let first = self.read_conjunction(inner)?;
        let mut list = vec![first];
        while self.take_keyword("or") {
            list.push(self.read_conjunction(inner)?);
        }
        Ok(combine_filters(list, Filter::Or))
    }

    fn read_conjunction(&mut self, inner: bool) -> Result<Filter> {
        let first = self.read_term(inner)?;
        let mut list = vec![first];
        while self.take_keyword("and") {
            list.push(self.read_term(inner)?);
        }
        Ok(combine_filters(list, Filter::And))
    }

    fn read_term(&mut self, inner: bool) -> Result<Filter> {
        if self.peek() == Some('(') {
            return self.read_group(inner);
        }
        // An attribute could be called "not": only a parenthesis makes it the operator.
        let before = self.at;
        if self.take_keyword("not") {
            if self.peek() == Some('(') {
                return Ok(Filter::Not(Box::new(self.read_group(inner)?)));
            }
            self.at = before;
        }
        let attr = self.read_attribute()?;
        if self.peek() != Some('[') {
            return self.read_expression(attr);
        }
        // RFC 7644 figure 1: a valFilter holds no second valuePath.
        if inner {
            return Err(self.expected_error("an operator (brackets cannot be nested)"));
        }
        let mut condition = self.read_brackets(&attr)?;
        if let Some(sub) = self.read_trailing_sub()? {
            let last = self.read_expression(AttrPath { schema: None, name: sub, sub: None })?;
            condition = Filter::And(vec![condition, last]);
        }
        Ok(Filter::Element(attr, Box::new(condition)))
    }

    fn read_group(&mut self, inner: bool) -> Result<Filter> {
        self.advance();
        self.enter_level()?;
        let filter = self.read_alternatives(inner)?;
        self.close_level(')', "\"and\", \"or\" or a closing parenthesis")?;
        Ok(filter)
    }

    fn read_brackets(&mut self, attr: &AttrPath) -> Result<Filter> {
        if attr.sub.is_some() {
            return Err(self.expected_error("no brackets after a sub-attribute"));
        }
        self.advance();
        self.enter_level()?;
        let filter = self.read_alternatives(true)?;
        self.close_level(']', "\"and\", \"or\" or a closing bracket")?;
        Ok(filter)
    }

    fn enter_level(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.syntax_error(format!("is nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }

    fn close_level(&mut self, bracket: char, wanted: &str) -> Result<()> {
        if self.peek() != Some(bracket) {
            return Err(self.expected_error(wanted));
        }
        self.advance();
        self.depth -= 1;
        Ok(())
    }

    /// The `.value` directly behind a closing bracket.
    fn read_trailing_sub(&mut self) -> Result<Option<String>> {
        if !self.rest().starts_with('.') {
            return Ok(None);
        }
        self.advance();
        let name = self.peek_word();
        if !is_name(name) {
            return Err(self.expected_error("the name of a sub-attribute"));
        }
        self.at += name.len();
        Ok(Some(name.to_owned()))
    }

    fn read_expression(&mut self, attr: AttrPath) -> Result<Filter> {
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return Err(self.syntax_error(format!("has more than {MAX_TERMS} comparisons")));
        }
        self.skip_space();
        let word = self.peek_word();
        if word.eq_ignore_ascii_case("pr") {
            self.at += word.len();
            return Ok(Filter::Present(attr));
        }
        let Some(op) =
            OPERATORS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, op)| *op)
        else {
            return Err(self.expected_error("an operator (eq, ne, co, sw, ew, gt, ge, lt, le, pr)"));
        };
        self.at += word.len();
        Ok(Filter::Compare(attr, op, self.read_literal()?))
    }

    // RFC 7644 figure 1, compValue: a JSON scalar. The three words may be in any case, and a string
    // without spaces and brackets may have no quotes.
    fn read_literal(&mut self) -> Result<FilterLiteral> {
        if self.peek() == Some('"') {
            return self.read_string();
        }
        let word = self.peek_bare_value();
        let literal = if word.eq_ignore_ascii_case("null") {
            FilterLiteral::Null
        } else if word.eq_ignore_ascii_case("true") {
            FilterLiteral::Bool(true)
        } else if word.eq_ignore_ascii_case("false") {
            FilterLiteral::Bool(false)
        } else if let Some(number) = number_in_text(word) {
            FilterLiteral::Number(number)
        } else if is_bare_text(word, self.rest()) {
            self.unquoted = true;
            FilterLiteral::String(word.to_owned())
        } else {
            return Err(self.expected_error(
                "a value: a string in double quotes, a number, true, false or null",
            ));
        };
        self.at += word.len();
        Ok(literal)
    }

    fn read_string(&mut self) -> Result<FilterLiteral> {
        let rest = self.rest();
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, c)| {
            let closes = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        let Some((end, _)) = end else {
            return Err(self.expected_error("a string that ends with a double quote"));
        };
        let quoted = rest.get(..=end).unwrap_or_default();
        let Ok(value) = serde_json::from_str::<String>(quoted) else {
            return Err(
                self.expected_error("a JSON string with valid escapes and no control characters")
            );
        };
        if value.contains('\0') {
            return Err(self.syntax_error("contains a NUL character".to_owned()));
        }
        self.at += quoted.len();
        Ok(FilterLiteral::String(value))
    }

    /// RFC 7644 section 3.10: an attribute, optionally qualified by a schema URN, optionally with a
    /// sub-attribute.
    fn read_attribute(&mut self) -> Result<AttrPath> {
        self.skip_space();
        let word = self.peek_word();
        let Some(path) = parse_attribute_path(word) else {
            return Err(self.expected_error("the name of an attribute"));
        };
        self.at += word.len();
        Ok(path)
    }

    /// Consumes a word of the grammar if it comes next.
    fn take_keyword(&mut self, keyword: &str) -> bool {
        self.skip_space();
        let word = self.peek_word();
        let found = word.eq_ignore_ascii_case(keyword);
        if found {
            self.at += word.len();
        }
        found
    }

    fn expect_end(&mut self, wanted: &str) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected_error(wanted)),
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Everything up to the next character that separates words.
    fn peek_word(&self) -> &'a str {
        let rest = self.rest();
        rest.split(|c: char| c.is_whitespace() || "()[]\",".contains(c)).next().unwrap_or_default()
    }

    /// Everything up to the next character that ends a value without quotes.
    fn peek_bare_value(&self) -> &'a str {
        let rest = self.rest();
        rest.split(|c: char| c.is_whitespace() || "()[]\"".contains(c)).next().unwrap_or_default()
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.rest().chars().next()
    }

    fn advance(&mut self) {
        self.at += self.rest().chars().next().map_or(0, char::len_utf8);
    }

    /// An error that says where the parser stopped, what it expected, and what it found.
    fn expected_error(&mut self, wanted: &str) -> Error {
        self.skip_space();
        let position = self.text.get(..self.at).unwrap_or_default().chars().count() + 1;
        let next = match self.peek_word() {
            "" => self.rest().chars().take(20).collect::<String>(),
            word => word.chars().take(40).collect(),
        };
        let found = if next.is_empty() { "the end".to_owned() } else { format!("`{next}`") };
        self.syntax_error(format!("at position {position}: expected {wanted}, found {found}"))
    }

    fn syntax_error(&self, why: String) -> Error {
        Error::broken(self.rule, self.field, why)
    }
}

const OPERATORS: [(&str, CompareOp); 9] = [
    ("eq", CompareOp::Eq),
    ("ne", CompareOp::Ne),
    ("co", CompareOp::Co),
    ("sw", CompareOp::Sw),
    ("ew", CompareOp::Ew),
    ("gt", CompareOp::Gt),
    ("ge", CompareOp::Ge),
    ("lt", CompareOp::Lt),
    ("le", CompareOp::Le),
];

fn combine_filters(mut list: Vec<Filter>, many: fn(Vec<Filter>) -> Filter) -> Filter {
    match list.pop() {
        Some(only) if list.is_empty() => only,
        Some(last) => {
            list.push(last);
            many(list)
        }
        None => many(list),
    }
}

fn parse_attribute_path(word: &str) -> Option<AttrPath> {
    let (schema, rest) = match word.rsplit_once(':') {
        Some((schema, last)) => {
            // `urn:…:2.0:User` alone is the whole extension: the version of a schema is followed by
            // its name, and only then by an attribute.
            let version = schema.rsplit(':').next().unwrap_or_default();
            if is_version(version) && is_name(last) {
                return Some(AttrPath {
                    schema: Some(word.to_owned()),
                    name: String::new(),
                    sub: None,
                });
            }
            if schema.is_empty() || !schema.chars().all(|c| c.is_ascii_graphic()) {
                return None;
            }
            (Some(schema.to_owned()), last)
        }
        None => (None, word),
    };
    let (name, sub) = match rest.split_once('.') {
        Some((name, sub)) => (name, Some(sub)),
        None => (rest, None),
    };
    if !is_name(name) || sub.is_some_and(|sub| !is_name(sub)) {
        return None;
    }
    Some(AttrPath { schema, name: name.to_owned(), sub: sub.map(str::to_owned) })
}

/// RFC 7643 section 2.1, with the `$` of `$ref` (section 2.3.7) and the underscore that some
/// products start with.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '$' || c == '_')
        && text.chars().skip(1).all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Whether `word`, with which `rest` begins, can be a string without quotes. A word in single or
/// typographic quotes is refused: where such a string ends is not guessed.
fn is_bare_text(word: &str, rest: &str) -> bool {
    let follower = rest.get(word.len()..).unwrap_or_default();
    !word.is_empty()
        && !word.starts_with(['\'', '\u{2018}', '\u{201c}', '\u{201e}', '\u{ab}'])
        && !follower.starts_with(['"', '(', '['])
}

fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

#[cfg(test)]
mod meaning_tests;
#[cfg(test)]
mod tests;
