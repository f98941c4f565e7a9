//! Filters over users and groups: a tree that does not depend on the protocol, and its evaluation
//! in memory.
//!
//! SCIM and GraphQL both build the tree, and the schema gives each part its type ([`typed`]). The
//! typed tree is evaluated in two ways: as SQL over the rows, and in memory on one folded document.
//! Both must agree, which a property test checks. Text is compared folded and by code point. The
//! syntax that clients write does not belong here.

mod memory;
pub mod typed;

use std::fmt;

pub use memory::{matches_document, matching_elements};

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::schema::ResourceType;

/// The attribute that a filter or a path names; names are as the client wrote them, in any case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttrPath {
    /// The schema URN, if the client qualified the name with one.
    pub schema: Option<String>,
    pub name: String,
    pub sub: Option<String>,
}

/// Comparison operators of RFC 7644 section 3.4.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CompareOp {
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
pub enum FilterLiteral {
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
    Compare(AttrPath, CompareOp, FilterLiteral),
    /// `emails[type eq "work"]`: one element of a multi-valued attribute satisfies the whole inner
    /// filter.
    Element(AttrPath, Box<Filter>),
}

impl Filter {
    /// Whether the filter looks for one resource by an indexed name. Clients send such a filter
    /// before each write.
    pub fn names_one(&self) -> bool {
        let Self::Compare(
            AttrPath { schema: None, name, sub: None },
            CompareOp::Eq,
            FilterLiteral::String(_),
        ) = self
        else {
            return false;
        };
        ["id", "userName", "externalId"].iter().any(|indexed| name.eq_ignore_ascii_case(indexed))
    }

    /// Calls `visit` with the attribute and the sub-attribute of every value that the filter reads,
    /// under their names in `ty`.
    pub fn visit_attributes(&self, ty: &ResourceType, visit: &mut impl FnMut(&str, Option<&str>)) {
        match self {
            Self::And(list) | Self::Or(list) => {
                list.iter().for_each(|inner| inner.visit_attributes(ty, visit))
            }
            Self::Not(inner) => inner.visit_attributes(ty, visit),
            Self::Present(path) | Self::Compare(path, ..) => {
                if let Some(found) = ty.resolve_path(path) {
                    visit(&found.attribute.name, found.sub.map(|sub| sub.name.as_str()));
                }
            }
            Self::Element(outer, inner) => {
                let Some(found) = ty.resolve_path(outer) else { return };
                visit(&found.attribute.name, None);
                inner.visit_element(&found.attribute.name, visit);
            }
        }
    }

    fn visit_element(&self, attribute: &str, visit: &mut impl FnMut(&str, Option<&str>)) {
        match self {
            Self::And(list) | Self::Or(list) => {
                list.iter().for_each(|inner| inner.visit_element(attribute, visit))
            }
            Self::Not(inner) | Self::Element(_, inner) => inner.visit_element(attribute, visit),
            Self::Present(path) | Self::Compare(path, ..) => {
                visit(attribute, Some(&path.name.to_ascii_lowercase()));
            }
        }
    }

    /// Whether the database can answer the filter with an index.
    pub fn uses_index(&self) -> bool {
        match self {
            Self::Compare(AttrPath { schema: None, name, sub }, op, FilterLiteral::String(_)) => {
                let indexed =
                    |names: &[&str]| names.iter().any(|indexed| name.eq_ignore_ascii_case(indexed));
                let value = sub.as_deref().is_none_or(|sub| sub.eq_ignore_ascii_case("value"));
                match op {
                    CompareOp::Eq
                        if sub.is_none()
                            && indexed(&["id", "userName", "externalId", "displayName"]) =>
                    {
                        true
                    }
                    CompareOp::Eq => value && indexed(&["emails", "groups", "members"]),
                    CompareOp::Sw => sub.is_none() && indexed(&["userName", "displayName"]),
                    CompareOp::Gt | CompareOp::Ge => indexed(&["meta"]),
                    _ => false,
                }
            }
            Self::And(list) => list.iter().any(Self::uses_index),
            _ => false,
        }
    }

    /// This filter for the resources of type `ty`, in a search over two resource types. An
    /// attribute that only `other` has counts as an attribute without a value (RFC 7644 section
    /// 3.4.2.1). An attribute that neither type has stays in the filter, so that it is refused
    /// later.
    pub fn put_to(&self, ty: &ResourceType, other: &ResourceType) -> Self {
        let foreign =
            |path: &AttrPath| ty.resolve_path(path).is_none() && other.resolve_path(path).is_some();
        let all = |list: &[Self]| list.iter().map(|inner| inner.put_to(ty, other)).collect();
        match self {
            Self::And(list) => Self::And(all(list)),
            Self::Or(list) => Self::Or(all(list)),
            Self::Not(inner) => Self::Not(Box::new(inner.put_to(ty, other))),
            // An attribute without a value equals null and differs from every value. Every other
            // comparison with it is false.
            Self::Compare(path, op, literal) if foreign(path) => {
                let null_test =
                    *literal == FilterLiteral::Null && matches!(op, CompareOp::Eq | CompareOp::Ne);
                let holds = (*op == CompareOp::Ne) != null_test;
                if holds { Self::And(Vec::new()) } else { Self::Or(Vec::new()) }
            }
            Self::Present(path) | Self::Element(path, _) if foreign(path) => Self::Or(Vec::new()),
            known => known.clone(),
        }
    }
}

impl CompareOp {
    /// The operator as SCIM writes it.
    pub fn name(self) -> &'static str {
        match self {
            CompareOp::Eq => "eq",
            CompareOp::Ne => "ne",
            CompareOp::Co => "co",
            CompareOp::Sw => "sw",
            CompareOp::Ew => "ew",
            CompareOp::Gt => "gt",
            CompareOp::Ge => "ge",
            CompareOp::Lt => "lt",
            CompareOp::Le => "le",
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

impl fmt::Display for FilterLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterLiteral::Null => f.write_str("null"),
            FilterLiteral::Bool(value) => write!(f, "{value}"),
            FilterLiteral::Number(value) => write!(f, "{value}"),
            // A JSON value prints itself with every escape it needs.
            FilterLiteral::String(value) => write!(f, "{}", Value::from(value.as_str())),
        }
    }
}

/// Prints the filter as text; parsing that text gives the same tree.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Filter::And(list) => join_filters(f, list, " and "),
            Filter::Or(list) => join_filters(f, list, " or "),
            Filter::Not(inner) => write!(f, "not ({inner})"),
            Filter::Present(path) => write!(f, "{path} pr"),
            Filter::Compare(path, op, literal) => write!(f, "{path} {} {literal}", op.name()),
            Filter::Element(path, inner) => write!(f, "{path}[{inner}]"),
        }
    }
}

fn join_filters(f: &mut fmt::Formatter<'_>, list: &[Filter], word: &str) -> fmt::Result {
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
