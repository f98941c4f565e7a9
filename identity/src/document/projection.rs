//! Which attributes of a resource an answer holds (RFC 7644 section 3.9).

use serde_json::{Map, Value};

use crate::domain::schema::{Attribute, GROUP, Place, ResourceType, Returned, USER};
use crate::domain::search::AttrPath;
use crate::error::{Error, Result, Rule};

/// The most names that one request may list.
const MAX_NAMES: usize = 200;

/// The attributes that a client asked for, or asked to be spared. Both empty means the usual ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Projection {
    pub only: Vec<AttrPath>,
    pub except: Vec<AttrPath>,
}

impl Projection {
    /// Reads the parameters `attributes` and `excludedAttributes`. Names that no schema has are allowed and match
    /// nothing.
    pub fn parse(attributes: Option<&str>, excluded: Option<&str>) -> Result<Projection> {
        let only = names("attributes", attributes)?;
        let except = names("excludedAttributes", excluded)?;
        // RFC 7644 section 3.9: one of the two, never both.
        if !only.is_empty() && !except.is_empty() {
            return Err(Error::invalid("excludedAttributes", "cannot be combined with attributes"));
        }
        Ok(Projection { only, except })
    }

    /// Whether the answer can hold any part of this core attribute, so that what is dear to load is loaded only when
    /// it is wanted.
    pub fn wants(&self, name: &str) -> bool {
        let named = |path: &AttrPath| match &path.schema {
            None => path.name.eq_ignore_ascii_case(name),
            Some(urn) if [USER, GROUP].iter().any(|core| core.eq_ignore_ascii_case(urn)) => {
                path.name.is_empty() || path.name.eq_ignore_ascii_case(name)
            }
            // The URN of a schema as a whole, its last part taken for a name.
            Some(urn) => [USER, GROUP].iter().any(|core| core.eq_ignore_ascii_case(&format!("{urn}:{}", path.name))),
        };
        let excluded = |path: &AttrPath| path.sub.is_none() && named(path);
        (self.only.is_empty() || self.only.iter().any(named)) && !self.except.iter().any(excluded)
    }

    /// Takes out of a complete resource what the client did not ask for, and what is never returned.
    pub fn apply(&self, ty: &ResourceType, document: &mut Map<String, Value>) {
        let scope = Scope { only: targets(ty, &self.only), except: targets(ty, &self.except) };
        let limited = !self.only.is_empty();
        document.retain(|key, value| match ty.locate(key) {
            Some(Place::Attribute(found)) => scope.keep(limited, "", found.attribute, value),
            Some(Place::Schema(schema)) => {
                let Some(section) = value.as_object_mut() else { return false };
                section.retain(|key, value| {
                    ty.locate_in(schema, key)
                        .is_some_and(|found| scope.keep(limited, &schema.urn, found.attribute, value))
                });
                !section.is_empty()
            }
            None => !limited,
        });
    }
}

fn names(parameter: &'static str, list: Option<&str>) -> Result<Vec<AttrPath>> {
    let names: Vec<&str> = list.unwrap_or("").split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.len() > MAX_NAMES {
        return Err(Error::broken(Rule::TooMany, parameter, format!("lists more than {MAX_NAMES} names")));
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
struct Scope<'a> {
    only: Vec<Target<'a>>,
    except: Vec<Target<'a>>,
}

/// One name: a schema as a whole, an attribute of it, or a sub-attribute of that.
struct Target<'a> {
    /// Empty for the core and common attributes.
    extension: &'a str,
    attribute: Option<&'a str>,
    sub: Option<&'a str>,
}

fn targets<'a>(ty: &'a ResourceType, names: &[AttrPath]) -> Vec<Target<'a>> {
    let target = |path: &AttrPath| {
        if let Some(schema) = ty.schema(path) {
            let extension = if schema.urn == ty.core.urn { "" } else { schema.urn.as_str() };
            return Some(Target { extension, attribute: None, sub: None });
        }
        let found = ty.resolve(path)?;
        Some(Target {
            extension: found.extension.unwrap_or(""),
            attribute: Some(&found.attribute.name),
            sub: found.sub.map(|sub| sub.name.as_str()),
        })
    };
    names.iter().filter_map(target).collect()
}

impl Scope<'_> {
    /// Whether the attribute stays; its sub-attributes are thinned out on the way.
    fn keep(&self, limited: bool, extension: &str, attribute: &Attribute, value: &mut Value) -> bool {
        let names = |target: &&Target<'_>| {
            target.extension == extension && target.attribute.is_none_or(|name| name == attribute.name)
        };
        let only: Vec<&Target<'_>> = self.only.iter().filter(names).collect();
        let except: Vec<&Target<'_>> = self.except.iter().filter(names).collect();
        let whole = only.iter().any(|target| target.sub.is_none());
        let spared = except.iter().any(|target| target.sub.is_none());
        let keep = match attribute.returned {
            Returned::Always => return true,
            Returned::Never => false,
            Returned::Default => (!limited || !only.is_empty()) && !spared,
            Returned::Request => !only.is_empty() && !spared,
        };
        if !keep {
            return false;
        }
        let stays = |key: &str| {
            let asked = |target: &&Target<'_>| target.sub == Some(key);
            match attribute.sub(key).map_or(Returned::Default, |sub| sub.returned) {
                Returned::Always => true,
                Returned::Never => false,
                Returned::Default => (!limited || whole || only.iter().any(asked)) && !except.iter().any(asked),
                Returned::Request => only.iter().any(asked),
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
                elements.retain(|element| element.as_object().is_none_or(|fields| !fields.is_empty()));
                !elements.is_empty()
            }
            _ => true,
        }
    }
}
