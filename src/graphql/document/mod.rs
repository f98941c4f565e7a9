//! The text of a document becomes the document, exactly as the GraphQL specification says: what its
//! reference implementation (graphql-js) accepts is accepted, and nothing else.

mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use async_graphql::Pos;

pub use parser::parse_document;

/// Why a text is not a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong, in words for people.
    pub message: String,
    /// Where it is.
    pub pos: Pos,
    /// Whether the text follows the grammar, and breaks a rule of validation that only the text
    /// shows, such as a field that an input object has twice.
    pub is_grammatical: bool,
}

impl SyntaxError {
    fn new(message: impl Into<String>, pos: Pos) -> Self {
        Self { message: message.into(), pos, is_grammatical: false }
    }

    fn invalid(message: impl Into<String>, pos: Pos) -> Self {
        Self { is_grammatical: true, ..Self::new(message, pos) }
    }
}
