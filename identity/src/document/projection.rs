//! The selection of attributes in an answer (RFC 7644 section 3.9).

use serde_json::{Map, Value};

use crate::error::{InvalidInput, Result, Rule};
use crate::filter::AttrPath;
use crate::schema::{
    GROUP_SCHEMA, MemberMeaning, ResourceType, ReturnedRule, SchemaAttribute, USER_SCHEMA,
};

/// The most names that one request may list.
const MAX_NAMES: usize = 200;

/// The attributes that a client includes or excludes. If both lists are empty, the answer holds the
/// attributes that are returned by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Projection {
    pub only: Vec<AttrPath>,
    pub except: Vec<AttrPath>,
}

impl Projection {
    /// Reads the parameters `attributes` and `excludedAttributes`. Names that no schema has are
    /// allowed and match nothing.
    pub fn parse(attributes: Option<&str>, excluded: Option<&str>) -> Result<Projection> {
        let only = parse_names("attributes", attributes)?;
        let except = parse_names("excludedAttributes", excluded)?;
        // RFC 7644 section 3.9: one of the two, never both.
        if !only.is_empty() && !except.is_empty() {
            return Err(InvalidInput::invalid_value(
                "excludedAttributes",
                "cannot be combined with attributes",
            ));
        }
        Ok(Projection { only, except })
    }

    /// Whether the answer can hold any part of this core attribute. If not, it need not be loaded
    /// from the database.
    pub fn includes_attribute(&self, name: &str) -> bool {
        let named = |path: &AttrPath| match &path.schema {
            None => path.name.eq_ignore_ascii_case(name),
            Some(urn)
                if [USER_SCHEMA, GROUP_SCHEMA]
                    .iter()
                    .any(|core| core.eq_ignore_ascii_case(urn)) =>
            {
                path.name.is_empty() || path.name.eq_ignore_ascii_case(name)
            }
            // The URN of a whole schema; the parser took its last part for a name.
            Some(urn) => [USER_SCHEMA, GROUP_SCHEMA]
                .iter()
                .any(|core| core.eq_ignore_ascii_case(&format!("{urn}:{}", path.name))),
        };
        let excluded = |path: &AttrPath| path.sub.is_none() && named(path);
        (self.only.is_empty() || self.only.iter().any(named)) && !self.except.iter().any(excluded)
    }

    /// Removes from a complete resource the attributes that the client did not select, and those
    /// that are never returned.
    pub fn apply_to(&self, ty: &ResourceType, document: &mut Map<String, Value>) {
        let scope = ResolvedNames {
            only: resolve_targets(ty, &self.only),
            except: resolve_targets(ty, &self.except),
        };
        let limited = !self.only.is_empty();
        document.retain(|key, value| match ty.locate_member(key) {
            Some(MemberMeaning::Attribute(found)) => {
                scope.keeps_attribute(limited, "", found.attribute, value)
            }
            Some(MemberMeaning::Schema(schema)) => {
                let Some(section) = value.as_object_mut() else { return false };
                section.retain(|key, value| {
                    ty.locate_in(schema, key).is_some_and(|found| {
                        scope.keeps_attribute(limited, &schema.urn, found.attribute, value)
                    })
                });
                !section.is_empty()
            }
            None => !limited,
        });
    }
}

fn parse_names(parameter: &'static str, list: Option<&str>) -> Result<Vec<AttrPath>> {
    let names: Vec<&str> =
        list.unwrap_or("").split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.len() > MAX_NAMES {
        return Err(InvalidInput::of_rule(
            Rule::TooMany,
            parameter,
            format!("lists more than {MAX_NAMES} names"),
        ));
    }
    Ok(names.into_iter().map(attr_path).collect())
}

fn attr_path(text: &str) -> AttrPath {
    let (schema, name) = match text.rsplit_once(':') {
        Some((urn, name)) => (Some(urn.to_owned()), name),
        None => (None, text),
    };
    let (name, sub) = match name.split_once('.') {
        Some((name, sub)) => (name, Some(sub.to_owned())),
        None => (name, None),
    };
    AttrPath { schema, name: name.to_owned(), sub }
}

/// A list of names, resolved once for a whole resource.
struct ResolvedNames<'a> {
    only: Vec<ProjectionTarget<'a>>,
    except: Vec<ProjectionTarget<'a>>,
}

/// One name: a schema as a whole, an attribute of it, or a sub-attribute of that.
struct ProjectionTarget<'a> {
    /// Empty for the core and common attributes.
    extension: &'a str,
    attribute: Option<&'a str>,
    sub: Option<&'a str>,
}

fn resolve_targets<'a>(ty: &'a ResourceType, names: &[AttrPath]) -> Vec<ProjectionTarget<'a>> {
    let target = |path: &AttrPath| {
        if let Some(schema) = ty.find_schema(path) {
            let extension = if schema.urn == ty.core.urn { "" } else { schema.urn.as_str() };
            return Some(ProjectionTarget { extension, attribute: None, sub: None });
        }
        let found = ty.resolve_path(path)?;
        Some(ProjectionTarget {
            extension: found.extension.unwrap_or(""),
            attribute: Some(&found.attribute.name),
            sub: found.sub.map(|sub| sub.name.as_str()),
        })
    };
    names.iter().filter_map(target).collect()
}

impl ResolvedNames<'_> {
    /// Whether the attribute stays. Sub-attributes that were not selected are removed from `value`.
    fn keeps_attribute(
        &self,
        limited: bool,
        extension: &str,
        attribute: &SchemaAttribute,
        value: &mut Value,
    ) -> bool {
        let names = |target: &&ProjectionTarget<'_>| {
            target.extension == extension
                && target.attribute.is_none_or(|name| name == attribute.name)
        };
        let only: Vec<&ProjectionTarget<'_>> = self.only.iter().filter(names).collect();
        let except: Vec<&ProjectionTarget<'_>> = self.except.iter().filter(names).collect();
        let whole = only.iter().any(|target| target.sub.is_none());
        let excluded = except.iter().any(|target| target.sub.is_none());
        let keep = match attribute.returned {
            ReturnedRule::Always => return true,
            ReturnedRule::Never => false,
            ReturnedRule::Default => (!limited || !only.is_empty()) && !excluded,
            ReturnedRule::Request => !only.is_empty() && !excluded,
        };
        if !keep {
            return false;
        }
        let stays = |key: &str| {
            let asked = |target: &&ProjectionTarget<'_>| target.sub == Some(key);
            match attribute.sub_attribute(key).map_or(ReturnedRule::Default, |sub| sub.returned) {
                ReturnedRule::Always => true,
                ReturnedRule::Never => false,
                ReturnedRule::Default => {
                    (!limited || whole || only.iter().any(asked)) && !except.iter().any(asked)
                }
                ReturnedRule::Request => only.iter().any(asked),
            }
        };
        match value {
            Value::Array(elements) if elements.is_empty() => true,
            Value::Object(fields) => {
                fields.retain(|key, _| stays(key));
                !fields.is_empty()
            }
            Value::Array(elements) => {
                for element in elements.iter_mut().filter_map(Value::as_object_mut) {
                    element.retain(|key, _| stays(key));
                }
                elements
                    .retain(|element| element.as_object().is_none_or(|fields| !fields.is_empty()));
                !elements.is_empty()
            }
            _ => true,
        }
    }
}
