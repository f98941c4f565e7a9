//! PATCH (RFC 7644 section 3.5.2): from the message to a new document and a delta of members. Pure functions: the
//! same operations on the same document always give the same result, so a change may be tried again under a lock.
//!
//! Identity providers differ in how they write the same change. What is unambiguous is accepted from everybody, in
//! this one place; nothing asks which provider is speaking.

use serde_json::{Map, Value};

use super::filter::{PatchPath, parse_path};
use crate::domain::document::{self, MemberChange, section};
use crate::domain::schema::{Kind, Place, Resolved, ResourceType, Schema};
use crate::domain::search::{AttrPath, Filter, Literal, Op, matching_elements};
use crate::error::{Error, Result, Rule};

mod edit;
mod spelling;
#[cfg(test)]
mod tests;

pub use spelling::{json_text, only_element};

/// The most operations in one request.
pub const MAX_OPERATIONS: usize = 1_000;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Add,
    Replace,
    Remove,
}

/// One operation of a PATCH message.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    pub verb: Verb,
    pub path: Option<PatchPath>,
    pub value: Option<Value>,
}

/// What a PATCH makes of a group: its new document, as [`apply_user`] gives it, and what happens to its members, in
/// order.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupPatch {
    pub document: Map<String, Value>,
    pub members: Vec<MemberChange>,
}

/// Reads a PATCH message. Its `schemas` may be missing, and names come in any case.
pub fn parse(body: &Value) -> Result<Vec<Operation>> {
    let wrong = |why: &'static str| Err(Error::broken(Rule::Syntax, "Operations", why));
    let operations = match member(body, "Operations") {
        // None at all is a change of nothing: Microsoft's validator expects it to succeed.
        Some(Value::Array(operations)) => operations,
        Some(_) => return wrong("must be an array"),
        None => return wrong("is missing"),
    };
    if operations.len() > MAX_OPERATIONS {
        let why = format!("has more than {MAX_OPERATIONS} elements");
        return Err(Error::broken(Rule::TooMany, "Operations", why));
    }
    operations.iter().map(operation).collect()
}

fn operation(body: &Value) -> Result<Operation> {
    let verb = match member(body, "op").and_then(Value::as_str) {
        Some(verb) if verb.eq_ignore_ascii_case("add") => Verb::Add,
        Some(verb) if verb.eq_ignore_ascii_case("replace") => Verb::Replace,
        Some(verb) if verb.eq_ignore_ascii_case("remove") => Verb::Remove,
        _ => return Err(Error::broken(Rule::Syntax, "op", "must be add, replace or remove")),
    };
    let path = match member(body, "path") {
        None | Some(Value::Null) => None,
        Some(Value::String(path)) if path.trim().is_empty() => None,
        Some(Value::String(path)) => Some(parse_path(path)?),
        Some(_) => return Err(Error::broken(Rule::Path, "path", "must be a string")),
    };
    Ok(Operation { verb, path, value: member(body, "value").cloned() })
}

fn member<'a>(body: &'a Value, name: &str) -> Option<&'a Value> {
    body.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The document of a user after the operations: all of them or, on an error, none. Not in its canonical form: whoever
/// keeps it sees to that.
pub fn apply_user(ops: &[Operation], ty: &ResourceType, current: &Map<String, Value>) -> Result<Map<String, Value>> {
    // No path of a user leads to members, so there is no delta to lose.
    apply_group(ops, ty, current).map(|patch| patch.document)
}

/// The document of a group after the operations, and the delta of its members.
pub fn apply_group(ops: &[Operation], ty: &ResourceType, current: &Map<String, Value>) -> Result<GroupPatch> {
    let mut draft = Draft { ty, document: current.clone(), members: Vec::new() };
    for op in ops {
        draft.run(op)?;
        // One operation can write a long string into many values.
        document::check_size(ty, &draft.document)?;
    }
    Ok(GroupPatch { document: draft.document, members: draft.members })
}

/// A resource while operations are applied to it.
struct Draft<'a> {
    ty: &'a ResourceType,
    document: Map<String, Value>,
    members: Vec<MemberChange>,
}

impl Draft<'_> {
    fn run(&mut self, op: &Operation) -> Result<()> {
        match (&op.path, op.verb) {
            // RFC 7644 section 3.5.2.2: a removal without a path fails with noTarget.
            (None, Verb::Remove) => {
                Err(Error::broken(Rule::NoTarget, "path", "is missing: nothing says what to remove"))
            }
            (None, verb) => self.resource(verb, op.value.as_ref()),
            (Some(path), verb) => self.path(verb, path, op.value.as_ref()),
        }
    }

    /// RFC 7644 sections 3.5.2.1 and 3.5.2.3: without a path, the value holds attributes of the resource.
    fn resource(&mut self, verb: Verb, value: Option<&Value>) -> Result<()> {
        let parsed = value.and_then(json_text);
        let value = parsed.as_ref().or(value);
        let Some(Value::Object(fields)) = value.map(|value| only_element(value).unwrap_or(value)) else {
            return Err(Error::invalid("value", "must be an object when the operation has no path"));
        };
        let ty = self.ty;
        for (key, value) in fields {
            match ty.locate(key) {
                Some(Place::Attribute(found)) => self.field(verb, found, value)?,
                Some(Place::Schema(schema)) => self.schema(verb, schema, value)?,
                // Entra ID writes whole paths as names.
                None if key.contains('[') => self.path(verb, &parse_path(key)?, Some(value))?,
                // As in POST and PUT, what no schema defines is left out.
                None => {}
            }
        }
        Ok(())
    }

    /// An object that holds attributes of one schema.
    fn schema(&mut self, verb: Verb, schema: &Schema, value: &Value) -> Result<()> {
        if value.is_null() {
            self.document.remove(&schema.urn);
            return Ok(());
        }
        let ty = self.ty;
        let value = json_text(value).unwrap_or_else(|| value.clone());
        for (key, value) in document::schema_object(schema, value)? {
            if let Some(found) = ty.locate_in(schema, &key) {
                self.field(verb, found, &value)?;
            }
        }
        Ok(())
    }

    /// An attribute that came inside an object. Clients repeat what they have read, so what they may not write is no
    /// error here; and members that are null are members that were not mentioned.
    fn field(&mut self, verb: Verb, found: Resolved<'_>, value: &Value) -> Result<()> {
        if found.read_only() || (found.attribute.name == "members" && value.is_null()) {
            return Ok(());
        }
        self.attribute(verb, found, None, Some(value))
    }

    fn path(&mut self, verb: Verb, path: &PatchPath, value: Option<&Value>) -> Result<()> {
        let ty = self.ty;
        let whole = path.filter.is_none() && path.sub.is_none();
        if let Some(schema) = ty.schema(&path.attr).filter(|_| whole) {
            let removal = verb == Verb::Remove || value.is_some_and(Value::is_null);
            if removal && schema.urn == ty.core.urn {
                return Err(Error::broken(Rule::Mutability, schema.urn.clone(), "cannot be removed"));
            }
            return match value {
                _ if removal => self.schema(verb, schema, &Value::Null),
                Some(value) => self.schema(verb, schema, value),
                None => Err(no_value(&schema.urn)),
            };
        }
        let sub = path.sub.clone().or_else(|| path.attr.sub.clone());
        let name = AttrPath { sub, ..path.attr.clone() };
        let Some(found) = ty.resolve(&name) else {
            return Err(Error::broken(Rule::Path, name.to_string(), format!("is no attribute of a {}", ty.name)));
        };
        // RFC 7644 section 3.5.2: a read-only target is an error.
        if found.read_only() {
            return Err(Error::broken(Rule::Mutability, found.path(), "is read-only"));
        }
        self.attribute(verb, found, path.filter.as_ref(), value)
    }

    fn attribute(
        &mut self,
        verb: Verb,
        found: Resolved<'_>,
        filter: Option<&Filter>,
        value: Option<&Value>,
    ) -> Result<()> {
        let attribute = found.attribute;
        // Only an attribute that holds objects: in any other, such a text is the value itself.
        let holds_objects = attribute.kind == Kind::Complex && found.sub.is_none();
        let parsed = value.filter(|_| holds_objects).and_then(json_text);
        let value = parsed.as_ref().or(value);
        if attribute.name == "members" {
            return self.members(verb, found, filter, value);
        }
        // A password is accepted and forgotten; the schemas follow from what is there.
        if !document::stored(attribute) {
            return Ok(());
        }
        if filter.is_some() && !attribute.multi_valued {
            return Err(Error::broken(Rule::Path, found.path(), "has one value, so it takes no filter"));
        }
        let value = match filter {
            Some(_) => value.map(|value| only_element(value).unwrap_or(value)),
            None => value,
        };
        if verb != Verb::Remove && value.is_none() {
            return Err(no_value(&found.path()));
        }
        let null = value.is_some_and(Value::is_null);
        if null && verb == Verb::Add && attribute.multi_valued {
            return Ok(());
        }
        let removal = verb == Verb::Remove || null;
        // RFC 7644 section 3.5.2.2: removing a required attribute is an error of mutability.
        if removal && found.sub.unwrap_or(attribute).required {
            return Err(Error::broken(Rule::Mutability, found.path(), "is required and cannot be removed"));
        }
        let Some(section) = section(&mut self.document, found.extension) else { return Ok(()) };
        let current = section.remove(&attribute.name);
        let changed = match current {
            current if !attribute.multi_valued => edit::one(found, current, value.filter(|_| !removal))?,
            Some(Value::Array(elements)) => edit::many(verb, found, filter, elements, value)?,
            _ => edit::many(verb, found, filter, Vec::new(), value)?,
        };
        if let Some(changed) = changed {
            section.insert(attribute.name.clone(), changed);
        }
        Ok(())
    }

    fn members(
        &mut self,
        verb: Verb,
        found: Resolved<'_>,
        filter: Option<&Filter>,
        value: Option<&Value>,
    ) -> Result<()> {
        let immutable = |why: &'static str| Err(Error::broken(Rule::Mutability, found.path(), why));
        // RFC 7643 section 4.2: who a member is cannot be edited.
        if found.sub.is_some() {
            return immutable("cannot be changed: remove the member and add another");
        }
        let change = match (verb, filter, value) {
            (Verb::Remove, Some(filter), _) => removal(found, filter)?,
            (_, Some(_), _) => return immutable("are not edited in place: use the path members"),
            // RFC 7644 section 3.5.2.2: without a filter and a value, all are removed.
            (Verb::Remove, None, None | Some(Value::Null)) => MemberChange::Clear,
            // A list beside `remove` means these members, never all of them, and an empty list nobody.
            (Verb::Remove, None, Some(value)) => MemberChange::Remove(document::member_ids(value)?.unwrap_or_default()),
            (_, None, None) => return Err(no_value("members")),
            (Verb::Add, None, Some(value)) => MemberChange::Add(document::member_ids(value)?.unwrap_or_default()),
            // Only an explicit list says who is left.
            (Verb::Replace, None, Some(value)) => match document::member_ids(value)? {
                Some(ids) => MemberChange::Replace(ids),
                None => return Err(Error::invalid("members", "null does not empty a group: send [] or remove")),
            },
        };
        let nothing = matches!(&change, MemberChange::Add(ids) | MemberChange::Remove(ids) if ids.is_empty());
        if !nothing {
            self.members.push(change);
        }
        Ok(())
    }
}

/// The removal of the members that a filter selects.
fn removal(found: Resolved<'_>, filter: &Filter) -> Result<MemberChange> {
    if let Some(ids) = named_ids(filter) {
        return Ok(MemberChange::Remove(ids));
    }
    if !selects_by_identity(filter) {
        return Err(Error::broken(Rule::Filter, "members", "can be selected by value and type only"));
    }
    // What the filter cannot mean is refused whatever members there are.
    matching_elements(filter, found.attribute, &[])?;
    Ok(MemberChange::RemoveWhere(filter.clone()))
}

/// The ids that a filter names, if it does nothing else.
fn named_ids(filter: &Filter) -> Option<Vec<String>> {
    match filter {
        Filter::Compare(path, Op::Eq, Literal::String(id))
            if path.name.eq_ignore_ascii_case("value") && path.sub.is_none() =>
        {
            Some(vec![id.clone()])
        }
        Filter::Or(any) => Some(any.iter().map(named_ids).collect::<Option<Vec<_>>>()?.concat()),
        _ => None,
    }
}

/// Whether a filter looks only at which resource a member is.
fn selects_by_identity(filter: &Filter) -> bool {
    match filter {
        Filter::And(all) | Filter::Or(all) => all.iter().all(selects_by_identity),
        Filter::Not(inner) => selects_by_identity(inner),
        Filter::Present(path) | Filter::Compare(path, ..) => {
            ["value", "type"].iter().any(|name| path.name.eq_ignore_ascii_case(name))
        }
        Filter::Element(..) => false,
    }
}

fn no_value(at: &str) -> Error {
    Error::invalid(at.to_owned(), "the operation has no value")
}
