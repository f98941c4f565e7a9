//! Finding users and groups: a neutral filter tree, its SQL, and its meaning in memory.
//!
//! Both facades build the tree; it is typed against the schema once ([`typed`]), and the two readings of the typed
//! tree, SQL over the rows and a walk over one folded document, must agree (a property test holds them together).
//! Text is compared folded and by code point. The syntax that clients write does not belong here.

mod dialect;
mod memory;
mod sql;
mod typed;

use std::fmt;

pub use memory::{matches, matching_elements};
pub use sql::{Sql, compile, order};

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::schema::ResourceType;

/// Which attribute a filter or a path speaks of; names are as the client wrote them (any case).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttrPath {
    /// The schema URN, when the client qualified the name with one.
    pub schema: Option<String>,
    pub name: String,
    pub sub: Option<String>,
}

/// Comparison operators of RFC 7644 section 3.4.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
}

/// A filter over one kind of resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Present(AttrPath),
    Compare(AttrPath, Op, Literal),
    /// `emails[type eq "work"]`: one element of a multi-valued attribute satisfies the whole inner filter.
    Element(AttrPath, Box<Filter>),
}

impl Filter {
    /// Whether it asks for one resource by a name that an index knows: what clients do before each write.
    pub fn names_one(&self) -> bool {
        let Self::Compare(AttrPath { schema: None, name, sub: None }, Op::Eq, Literal::String(_)) = self else {
            return false;
        };
        ["id", "userName", "externalId"].iter().any(|indexed| name.eq_ignore_ascii_case(indexed))
    }

    /// Calls `visit` with the attribute and the sub-attribute of every value that the filter looks at, by the names that
    /// `ty` has for them.
    pub fn visit(&self, ty: &ResourceType, visit: &mut impl FnMut(&str, Option<&str>)) {
        match self {
            Self::And(list) | Self::Or(list) => list.iter().for_each(|inner| inner.visit(ty, visit)),
            Self::Not(inner) => inner.visit(ty, visit),
            Self::Present(path) | Self::Compare(path, ..) => {
                if let Some(found) = ty.resolve(path) {
                    visit(&found.attribute.name, found.sub.map(|sub| sub.name.as_str()));
                }
            }
            Self::Element(outer, inner) => {
                let Some(found) = ty.resolve(outer) else { return };
                visit(&found.attribute.name, None);
                inner.visit_element(&found.attribute.name, visit);
            }
        }
    }

    fn visit_element(&self, attribute: &str, visit: &mut impl FnMut(&str, Option<&str>)) {
        match self {
            Self::And(list) | Self::Or(list) => list.iter().for_each(|inner| inner.visit_element(attribute, visit)),
            Self::Not(inner) | Self::Element(_, inner) => inner.visit_element(attribute, visit),
            Self::Present(path) | Self::Compare(path, ..) => {
                visit(attribute, Some(&path.name.to_ascii_lowercase()));
            }
        }
    }

    /// Whether an index finds the few resources that it can match.
    pub fn narrows(&self) -> bool {
        match self {
            Self::Compare(AttrPath { schema: None, name, sub }, op, Literal::String(_)) => {
                let indexed = |names: &[&str]| names.iter().any(|indexed| name.eq_ignore_ascii_case(indexed));
                let value = sub.as_deref().is_none_or(|sub| sub.eq_ignore_ascii_case("value"));
                match op {
                    Op::Eq if sub.is_none() && indexed(&["id", "userName", "externalId", "displayName"]) => true,
                    Op::Eq => value && indexed(&["emails", "groups", "members"]),
                    Op::Sw => sub.is_none() && indexed(&["userName", "displayName"]),
                    Op::Gt | Op::Ge => indexed(&["meta"]),
                    _ => false,
                }
            }
            Self::And(list) => list.iter().any(Self::narrows),
            _ => false,
        }
    }

    /// The same question put to `ty` in a search over several kinds: an attribute that only `other` has has no value
    /// here (RFC 7644 section 3.4.2.1). What neither has stays, to be refused.
    pub fn put_to(&self, ty: &ResourceType, other: &ResourceType) -> Self {
        let foreign = |path: &AttrPath| ty.resolve(path).is_none() && other.resolve(path).is_some();
        let all = |list: &[Self]| list.iter().map(|inner| inner.put_to(ty, other)).collect();
        match self {
            Self::And(list) => Self::And(all(list)),
            Self::Or(list) => Self::Or(all(list)),
            Self::Not(inner) => Self::Not(Box::new(inner.put_to(ty, other))),
            // What has no value is null, and differs from every value; nothing else holds of it.
            Self::Compare(path, op, literal) if foreign(path) => {
                match (*op == Op::Ne) != (*literal == Literal::Null && matches!(op, Op::Eq | Op::Ne)) {
                    true => Self::And(Vec::new()),
                    false => Self::Or(Vec::new()),
                }
            }
            Self::Present(path) | Self::Element(path, _) if foreign(path) => Self::Or(Vec::new()),
            known => known.clone(),
        }
    }
}

impl Op {
    /// The operator as SCIM writes it.
    pub fn name(self) -> &'static str {
        match self {
            Op::Eq => "eq",
            Op::Ne => "ne",
            Op::Co => "co",
            Op::Sw => "sw",
            Op::Ew => "ew",
            Op::Gt => "gt",
            Op::Ge => "ge",
            Op::Lt => "lt",
            Op::Le => "le",
        }
    }
}

impl fmt::Display for AttrPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) if self.name.is_empty() => f.write_str(schema)?,
            Some(schema) => write!(f, "{schema}:{}", self.name)?,
            None => f.write_str(&self.name)?,
        }
        self.sub.iter().try_for_each(|sub| write!(f, ".{sub}"))
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Null => f.write_str("null"),
            Literal::Bool(value) => write!(f, "{value}"),
            Literal::Number(value) => write!(f, "{value}"),
            // A JSON value prints itself with every escape it needs.
            Literal::String(value) => write!(f, "{}", Value::from(value.as_str())),
        }
    }
}

/// Prints the filter so that reading the text again gives the same tree.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Filter::And(list) => join(f, list, " and "),
            Filter::Or(list) => join(f, list, " or "),
            Filter::Not(inner) => write!(f, "not ({inner})"),
            Filter::Present(path) => write!(f, "{path} pr"),
            Filter::Compare(path, op, literal) => write!(f, "{path} {} {literal}", op.name()),
            Filter::Element(path, inner) => write!(f, "{path}[{inner}]"),
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, list: &[Filter], word: &str) -> fmt::Result {
    for (index, filter) in list.iter().enumerate() {
        if index > 0 {
            f.write_str(word)?;
        }
        match filter {
            Filter::And(_) | Filter::Or(_) => write!(f, "({filter})")?,
            _ => write!(f, "{filter}")?,
        }
    }
    Ok(())
}
