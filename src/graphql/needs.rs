//! What a query needs as a whole: if its caller may see every field that it selects, no field has to be asked about when
//! it is resolved, once for every row.
//!
//! Only a yes is an answer. Whatever is not plainly allowed, because the caller lacks a permission or because this walk
//! does not know a name, is left to the [`Gatekeeper`](super::auth), which decides field by field.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::LazyLock;

use async_graphql::Name;
use async_graphql::parser::types::{
    BaseType, ExecutableDocument, FieldDefinition, OperationDefinition, Selection, SelectionSet, Type, TypeKind,
    TypeSystemDefinition,
};
use async_graphql_value::ConstValue;

use super::auth::Caller;
use crate::authz::Permission;

/// Whether the caller may see all that the query selects.
pub fn met(document: &ExecutableDocument, query: &OperationDefinition, caller: &Caller) -> bool {
    Walk { document, caller, seen: HashSet::new() }.set("Query", &query.selection_set.node)
}

struct Walk<'a> {
    document: &'a ExecutableDocument,
    caller: &'a Caller,
    /// Fragments that were walked.
    seen: HashSet<&'a Name>,
}

impl<'a> Walk<'a> {
    fn set(&mut self, ty: &str, set: &'a SelectionSet) -> bool {
        set.items.iter().all(|item| match &item.node {
            Selection::Field(field) if field.node.name.node == "__typename" => true,
            Selection::Field(field) => {
                let Some(need) = NEEDS.get(ty).and_then(|fields| fields.get(field.node.name.node.as_str())) else {
                    return false;
                };
                self.holds(need) && self.set(&need.ty, &field.node.selection_set.node)
            }
            Selection::InlineFragment(inline) => {
                let on = inline.node.type_condition.as_ref().map_or(ty, |condition| &condition.node.on.node);
                self.set(on, &inline.node.selection_set.node)
            }
            Selection::FragmentSpread(spread) => {
                let Some((name, fragment)) = self.document.fragments.get_key_value(&spread.node.fragment_name.node)
                else {
                    return false;
                };
                !self.seen.insert(name)
                    || self.set(&fragment.node.type_condition.node.on.node, &fragment.node.selection_set.node)
            }
        })
    }

    fn holds(&self, need: &Need) -> bool {
        need.permissions.iter().all(|permission| {
            (*permission == Permission::PlatformAdmin || self.caller.inside().is_ok())
                && self.caller.cx.holds(*permission)
        })
    }
}

/// What a field needs, and the type of what it shows.
#[derive(Debug, Clone)]
struct Need {
    permissions: Vec<Permission>,
    ty: String,
}

/// Every type's fields, read off the schema, so that what it says is what is asked. A field that says nothing is not
/// in it.
static NEEDS: LazyLock<HashMap<String, HashMap<String, Need>>> = LazyLock::new(|| {
    let mut types = HashMap::new();
    let mut shown_as: Vec<(String, String)> = Vec::new();
    let Ok(document) = async_graphql::parser::parse_schema(super::sdl()) else { return types };
    for definition in document.definitions {
        let TypeSystemDefinition::Type(ty) = definition else { continue };
        let name = ty.node.name.node.to_string();
        let fields = match ty.node.kind {
            TypeKind::Object(object) => {
                shown_as.extend(object.implements.iter().map(|shown| (shown.node.to_string(), name.clone())));
                object.fields
            }
            TypeKind::Interface(interface) => interface.fields,
            TypeKind::Union(_) => Vec::new(),
            _ => continue,
        };
        types.insert(name, fields.iter().filter_map(|field| need(&field.node)).collect::<HashMap<_, _>>());
    }
    // A field of an interface needs what it needs of any type that is shown as it.
    for (interface, object) in shown_as {
        let Some(of_object) = types.get(&object).cloned() else { continue };
        let Some(of_interface) = types.get_mut(&interface) else { continue };
        of_interface.retain(|name, need: &mut Need| {
            let known = of_object.get(name);
            need.permissions.extend(known.into_iter().flat_map(|known| &known.permissions));
            known.is_some()
        });
    }
    types
});

fn need(field: &FieldDefinition) -> Option<(String, Need)> {
    let requires = field.directives.iter().find(|directive| directive.node.name.node == "requires")?;
    let permissions = match requires.node.arguments.iter().find(|(name, _)| name.node == "permission") {
        None => Vec::new(),
        Some((_, value)) => match &value.node {
            ConstValue::Enum(name) => vec![Permission::from_str(name).ok()?],
            _ => return None,
        },
    };
    Some((field.name.node.to_string(), Need { permissions, ty: base(&field.ty.node).to_string() }))
}

fn base(ty: &Type) -> &Name {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(of) => base(of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_schema_is_known_with_what_it_needs() {
        let schema = async_graphql::parser::parse_schema(super::super::sdl()).unwrap();
        let mut fields = 0;
        for definition in schema.definitions {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            let TypeKind::Object(object) = ty.node.kind else { continue };
            for field in object.fields {
                let known = NEEDS[ty.node.name.node.as_str()].contains_key(field.node.name.node.as_str());
                assert!(known, "{}.{}", ty.node.name.node, field.node.name.node);
                fields += 1;
            }
        }
        assert!(fields > 100);
        assert_eq!(NEEDS["User"]["userName"].permissions, [Permission::UserRead]);
        assert_eq!(NEEDS["User"]["groups"].ty, "GroupConnection");
    }
}
