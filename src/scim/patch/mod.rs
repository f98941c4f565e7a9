//! PATCH (RFC 7644 section 3.5.2): from the message to a new document and the changes of members.
//! Pure functions: the same operations on the same document always give the same result, so a
//! change can be tried again under a lock.
//!
//! Identity providers differ in how they write the same change. Every form that is unambiguous is
//! accepted from every provider, in this one place; no code asks which provider sent it.

use serde_json::{Map, Value};

use crate::error::{Error, Result, Rule};
use crate::identity::document;
use crate::identity::document::{MemberChange, extension_section};
use crate::identity::filter::{AttrPath, CompareOp, Filter, FilterLiteral, matching_elements};
use crate::identity::schema::{
    AttributeKind, MemberMeaning, ResolvedAttribute, ResourceType, SchemaDefinition,
};
use crate::scim::filter_syntax::{PatchPath, parse_path};

mod edit;
mod spelling;
#[cfg(test)]
mod tests;

pub use spelling::{only_element, parse_json_text, single_in_list};

/// The most operations in one request.
pub const MAX_OPERATIONS: usize = 1_000;

/// How many comparisons with values of a resource the operations of one request may need: a
/// thousand can be added to an attribute one by one. Without this limit one request could keep a
/// thread busy for many seconds.
const MAX_COMPARISONS: usize = 600_000;

/// The verb of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchVerb {
    Add,
    Replace,
    Remove,
}

/// One operation of a PATCH message.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchOperation {
    pub verb: PatchVerb,
    pub path: Option<PatchPath>,
    pub value: Option<Value>,
}

/// The result of a PATCH of a group: its new document, in the form of [`apply_user`], and the
/// changes of its members, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupPatch {
    pub document: Map<String, Value>,
    pub members: Vec<MemberChange>,
}

/// Reads a PATCH message. Its `schemas` may be missing, and names come in any case.
pub fn parse_operations(body: &Value) -> Result<Vec<PatchOperation>> {
    let wrong = |why: &'static str| Err(Error::broken(Rule::Syntax, "Operations", why));
    let operations = match find_field(body, "Operations") {
        // An empty list changes nothing; Microsoft's validator expects it to succeed.
        Some(Value::Array(operations)) => operations,
        Some(_) => return wrong("must be an array"),
        None => return wrong("is missing"),
    };
    if operations.len() > MAX_OPERATIONS {
        let why = format!("has more than {MAX_OPERATIONS} elements");
        return Err(Error::broken(Rule::TooMany, "Operations", why));
    }
    operations.iter().map(parse_operation).collect()
}

fn parse_operation(body: &Value) -> Result<PatchOperation> {
    let verb = match find_field(body, "op").and_then(Value::as_str) {
        Some(verb) if verb.eq_ignore_ascii_case("add") => PatchVerb::Add,
        Some(verb) if verb.eq_ignore_ascii_case("replace") => PatchVerb::Replace,
        Some(verb) if verb.eq_ignore_ascii_case("remove") => PatchVerb::Remove,
        _ => return Err(Error::broken(Rule::Syntax, "op", "must be add, replace or remove")),
    };
    let path = match find_field(body, "path") {
        None | Some(Value::Null) => None,
        Some(Value::String(path)) if path.trim().is_empty() => None,
        Some(Value::String(path)) => Some(parse_path(path)?),
        Some(_) => return Err(Error::broken(Rule::Path, "path", "must be a string")),
    };
    Ok(PatchOperation { verb, path, value: find_field(body, "value").cloned() })
}

fn find_field<'a>(body: &'a Value, name: &str) -> Option<&'a Value> {
    body.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The document of a user after the operations: all of them or, on an error, none. It is not in its
/// canonical form: the code that stores it normalizes it.
pub fn apply_user(
    ops: &[PatchOperation],
    ty: &ResourceType,
    current: &Map<String, Value>,
) -> Result<Map<String, Value>> {
    // A user has no members, so no change of members is lost.
    apply_group(ops, ty, current).map(|patch| patch.document)
}

/// The document of a group after the operations, and the changes of its members.
pub fn apply_group(
    ops: &[PatchOperation],
    ty: &ResourceType,
    current: &Map<String, Value>,
) -> Result<GroupPatch> {
    let mut draft =
        PatchDraft { ty, document: current.clone(), members: Vec::new(), comparisons: 0 };
    for op in ops {
        draft.apply_operation(op)?;
        // One operation can write a long string into many values.
        document::check_size(ty, &draft.document)?;
    }
    Ok(GroupPatch { document: draft.document, members: draft.members })
}

/// A resource while operations are applied to it.
struct PatchDraft<'a> {
    ty: &'a ResourceType,
    document: Map<String, Value>,
    members: Vec<MemberChange>,
    /// How many comparisons the operations needed so far.
    comparisons: usize,
}

impl PatchDraft<'_> {
    fn apply_operation(&mut self, op: &PatchOperation) -> Result<()> {
        match (&op.path, op.verb) {
            // RFC 7644 section 3.5.2.2: a removal without a path fails with noTarget.
            (None, PatchVerb::Remove) => Err(Error::broken(
                Rule::NoTarget,
                "path",
                "is missing: nothing says what to remove",
            )),
            (None, verb) => self.apply_to_resource(verb, op.value.as_ref()),
            (Some(path), verb) => self.apply_path(verb, path, op.value.as_ref()),
        }
    }

    /// RFC 7644 sections 3.5.2.1 and 3.5.2.3: without a path, the value holds attributes of the
    /// resource.
    fn apply_to_resource(&mut self, verb: PatchVerb, value: Option<&Value>) -> Result<()> {
        let parsed = value.and_then(parse_json_text);
        let value = parsed.as_ref().or(value);
        let Some(Value::Object(fields)) = value.map(|value| only_element(value).unwrap_or(value))
        else {
            return Err(Error::invalid(
                "value",
                "must be an object when the operation has no path",
            ));
        };
        let ty = self.ty;
        for (key, value) in fields {
            match ty.locate_member(key) {
                Some(MemberMeaning::Attribute(found)) => self.apply_field(verb, found, value)?,
                Some(MemberMeaning::Schema(schema)) => self.apply_to_schema(verb, schema, value)?,
                // Entra ID writes whole paths as names.
                None if key.contains('[') => {
                    self.apply_path(verb, &parse_path(key)?, Some(value))?
                }
                // As in POST and PUT, what no schema defines is left out.
                None => {}
            }
        }
        Ok(())
    }

    /// An object that holds attributes of one schema.
    fn apply_to_schema(
        &mut self,
        verb: PatchVerb,
        schema: &SchemaDefinition,
        value: &Value,
    ) -> Result<()> {
        if value.is_null() {
            self.document.remove(&schema.urn);
            return Ok(());
        }
        let ty = self.ty;
        let value = parse_json_text(value).unwrap_or_else(|| value.clone());
        for (key, value) in document::schema_object(schema, value)? {
            if let Some(found) = ty.locate_in(schema, &key) {
                self.apply_field(verb, found, &value)?;
            }
        }
        Ok(())
    }

    /// Applies an attribute that came inside an object. Clients send back what they have read, so a
    /// read-only attribute is no error here; and `members` that are null count as left out.
    fn apply_field(
        &mut self,
        verb: PatchVerb,
        found: ResolvedAttribute<'_>,
        value: &Value,
    ) -> Result<()> {
        if found.read_only() || (found.attribute.name == "members" && value.is_null()) {
            return Ok(());
        }
        self.apply_attribute(verb, found, None, Some(value))
    }

    fn apply_path(
        &mut self,
        verb: PatchVerb,
        path: &PatchPath,
        value: Option<&Value>,
    ) -> Result<()> {
        let ty = self.ty;
        let whole = path.filter.is_none() && path.sub.is_none();
        if let Some(schema) = ty.find_schema(&path.attr).filter(|_| whole) {
            let removal = verb == PatchVerb::Remove || value.is_some_and(Value::is_null);
            if removal && schema.urn == ty.core.urn {
                return Err(Error::broken(
                    Rule::Mutability,
                    schema.urn.clone(),
                    "cannot be removed",
                ));
            }
            return match value {
                _ if removal => self.apply_to_schema(verb, schema, &Value::Null),
                Some(value) => self.apply_to_schema(verb, schema, value),
                None => Err(missing_value(&schema.urn)),
            };
        }
        let sub = path.sub.clone().or_else(|| path.attr.sub.clone());
        let name = AttrPath { sub, ..path.attr.clone() };
        let Some(found) = ty.resolve_path(&name) else {
            return Err(Error::broken(
                Rule::Path,
                name.to_string(),
                format!("is no attribute of a {}", ty.name),
            ));
        };
        // RFC 7644 section 3.5.2: a read-only target is an error.
        if found.read_only() {
            return Err(Error::broken(Rule::Mutability, found.canonical_path(), "is read-only"));
        }
        self.apply_attribute(verb, found, path.filter.as_ref(), value)
    }

    fn apply_attribute(
        &mut self,
        verb: PatchVerb,
        found: ResolvedAttribute<'_>,
        filter: Option<&Filter>,
        value: Option<&Value>,
    ) -> Result<()> {
        let attribute = found.attribute;
        // Only for an attribute that holds objects: in any other, text with JSON is the value
        // itself.
        let holds_objects = attribute.kind == AttributeKind::Complex && found.sub.is_none();
        let parsed = value.filter(|_| holds_objects).and_then(parse_json_text);
        let value = parsed.as_ref().or(value);
        if attribute.name == "members" {
            return self.apply_members(verb, found, filter, value);
        }
        // A password is accepted and not stored; `schemas` is computed from the document.
        if !document::is_stored(attribute) {
            return Ok(());
        }
        if filter.is_some() && !attribute.multi_valued {
            return Err(Error::broken(
                Rule::Path,
                found.canonical_path(),
                "has one value, so it takes no filter",
            ));
        }
        let value = match filter {
            Some(_) => value.map(|value| only_element(value).unwrap_or(value)),
            None => value,
        };
        let target = found.sub.unwrap_or(attribute);
        let value = value.map(|value| spelling::single_value(target, value));
        if verb != PatchVerb::Remove && value.is_none() {
            return Err(missing_value(&found.canonical_path()));
        }
        let null = value.is_some_and(Value::is_null);
        if null && verb == PatchVerb::Add && attribute.multi_valued {
            return Ok(());
        }
        let removal = verb == PatchVerb::Remove || null;
        // RFC 7644 section 3.5.2.2: removing a required attribute is an error of mutability.
        if removal && found.sub.unwrap_or(attribute).required {
            return Err(Error::broken(
                Rule::Mutability,
                found.canonical_path(),
                "is required and cannot be removed",
            ));
        }
        let Some(section) = extension_section(&mut self.document, found.extension) else {
            return Ok(());
        };
        let current = section.remove(&attribute.name);
        let values = current.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
        self.comparisons += values * filter.map_or(1, count_terms);
        if self.comparisons > MAX_COMPARISONS {
            let why = "look at too many values together: send fewer in one request";
            return Err(Error::broken(Rule::TooMany, "Operations", why));
        }
        let changed = match current {
            current if !attribute.multi_valued => {
                edit::edit_single_value(found, current, value.filter(|_| !removal))?
            }
            Some(Value::Array(elements)) => {
                edit::edit_values(verb, found, filter, elements, value)?
            }
            _ => edit::edit_values(verb, found, filter, Vec::new(), value)?,
        };
        if let Some(changed) = changed {
            section.insert(attribute.name.clone(), changed);
        }
        Ok(())
    }

    fn apply_members(
        &mut self,
        verb: PatchVerb,
        found: ResolvedAttribute<'_>,
        filter: Option<&Filter>,
        value: Option<&Value>,
    ) -> Result<()> {
        let immutable =
            |why: &'static str| Err(Error::broken(Rule::Mutability, found.canonical_path(), why));
        // RFC 7643 section 4.2: the id of a member cannot be edited.
        if found.sub.is_some() {
            return immutable("cannot be changed: remove the member and add another");
        }
        let change = match (verb, filter, value) {
            (PatchVerb::Remove, Some(filter), _) => member_removal(found, filter)?,
            (_, Some(_), _) => return immutable("are not edited in place: use the path members"),
            // RFC 7644 section 3.5.2.2: without a filter and a value, all are removed.
            (PatchVerb::Remove, None, None | Some(Value::Null)) => MemberChange::Clear,
            // A list in a `remove` means these members, never all; an empty list means no member.
            (PatchVerb::Remove, None, Some(value)) => {
                MemberChange::Remove(document::member_ids(value)?.unwrap_or_default())
            }
            (_, None, None) => return Err(missing_value("members")),
            (PatchVerb::Add, None, Some(value)) => {
                MemberChange::Add(document::member_ids(value)?.unwrap_or_default())
            }
            // Only an explicit list replaces the members.
            (PatchVerb::Replace, None, Some(value)) => match document::member_ids(value)? {
                Some(ids) => MemberChange::Replace(ids),
                None => {
                    return Err(Error::invalid(
                        "members",
                        "null does not empty a group: send [] or remove",
                    ));
                }
            },
        };
        let nothing =
            matches!(&change, MemberChange::Add(ids) | MemberChange::Remove(ids) if ids.is_empty());
        if !nothing {
            self.members.push(change);
        }
        Ok(())
    }
}

/// How many comparisons a filter makes with one value.
fn count_terms(filter: &Filter) -> usize {
    match filter {
        Filter::And(all) | Filter::Or(all) => all.iter().map(count_terms).sum(),
        Filter::Not(inner) | Filter::Element(_, inner) => count_terms(inner),
        Filter::Present(_) | Filter::Compare(..) => 1,
    }
}

/// The removal of the members that a filter selects.
fn member_removal(found: ResolvedAttribute<'_>, filter: &Filter) -> Result<MemberChange> {
    if let Some(ids) = named_ids(filter) {
        return Ok(MemberChange::Remove(ids));
    }
    if !selects_by_identity(filter) {
        return Err(Error::broken(
            Rule::Filter,
            "members",
            "can be selected by value and type only",
        ));
    }
    // An invalid filter is refused, whatever members the group has.
    matching_elements(filter, found.attribute, &[])?;
    Ok(MemberChange::RemoveWhere(filter.clone()))
}

/// The ids that a filter names, if it only names ids.
fn named_ids(filter: &Filter) -> Option<Vec<String>> {
    match filter {
        Filter::Compare(path, CompareOp::Eq, FilterLiteral::String(id))
            if path.name.eq_ignore_ascii_case("value") && path.sub.is_none() =>
        {
            Some(vec![id.clone()])
        }
        Filter::Or(any) => Some(any.iter().map(named_ids).collect::<Option<Vec<_>>>()?.concat()),
        _ => None,
    }
}

/// Whether a filter uses only the `value` and `type` of members.
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

fn missing_value(at: &str) -> Error {
    Error::invalid(at.to_owned(), "the operation has no value")
}
