//! Finding users and groups: a neutral filter tree, its SQL, and its meaning in memory.

use serde_json::Number;

/// Which attribute a filter or a path speaks of; names are as the client wrote them (any case).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttrPath {
    /// The schema URN, when the client qualified the name with one.
    pub schema: Option<String>,
    pub name: String,
    pub sub: Option<String>,
}

/// Comparison operators of RFC 7644 section 3.4.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Eq,
    Ne,
    Co,
    Sw,
    Ew,
    Gt,
    Ge,
    Lt,
    Le,
}

/// The right-hand side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
}

/// A filter over one kind of resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Present(AttrPath),
    Compare(AttrPath, Op, Literal),
    /// `emails[type eq "work"]`: one element of a multi-valued attribute satisfies the whole inner filter.
    Element(AttrPath, Box<Filter>),
}
