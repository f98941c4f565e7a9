//! What a field needs, said at the end of its description: introspection shows descriptions, but no
//! directives of the schema.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use async_graphql::registry::{MetaField, MetaType, Registry};
use async_graphql::{Context, Response, SubscriptionType};
use futures_util::Stream;

/// The root of the subscriptions, which is the last type that enters the schema; the descriptions
/// of all fields are completed behind it.
pub struct LastRoot<S>(pub S);

impl<S: SubscriptionType> SubscriptionType for LastRoot<S> {
    fn type_name() -> Cow<'static, str> {
        S::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        let name = S::create_type_info(registry);
        note_permissions(registry);
        name
    }

    fn create_field_stream<'a>(
        &'a self,
        ctx: &'a Context<'_>,
    ) -> Option<Pin<Box<dyn Stream<Item = Response> + Send + 'a>>> {
        self.0.create_field_stream(ctx)
    }
}

/// Appends to the description of every field which permissions it needs.
fn note_permissions(registry: &mut Registry) {
    let mut notes = Vec::new();
    for (ty, definition) in &registry.types {
        let Some(fields) = fields_of(definition) else { continue };
        for field in fields {
            let note = match definition {
                MetaType::Interface { possible_types, .. } => {
                    let objects = possible_types.iter().filter_map(|object| {
                        let known = fields_of(registry.types.get(object)?)?;
                        let field = known.into_iter().find(|known| known.name == field.name)?;
                        Some((object.as_str(), permissions_of(field)))
                    });
                    note_of_interface(&objects.collect())
                }
                _ => note_of_field(&permissions_of(field)),
            };
            notes.extend(note.map(|note| (ty.clone(), field.name.clone(), note)));
        }
    }
    for (ty, field, note) in notes {
        let Some(MetaType::Object { fields, .. } | MetaType::Interface { fields, .. }) =
            registry.types.get_mut(&ty)
        else {
            continue;
        };
        let Some(field) = fields.get_mut(&field) else { continue };
        let description = field.description.get_or_insert_default();
        if !description.ends_with(&note) {
            *description = format!("{} {note}", description.trim_end()).trim_start().to_owned();
        }
    }
}

fn fields_of(definition: &MetaType) -> Option<Vec<&MetaField>> {
    match definition {
        MetaType::Object { fields, .. } | MetaType::Interface { fields, .. } => {
            Some(fields.values().collect())
        }
        _ => None,
    }
}

/// The permissions that the directive of a field names.
fn permissions_of(field: &MetaField) -> BTreeSet<String> {
    let needs = field.directive_invocations.iter().filter(|directive| directive.name == "needs");
    needs
        .filter_map(|directive| directive.args.get("permission"))
        .map(ToString::to_string)
        .collect()
}

fn join_permissions(permissions: &BTreeSet<String>) -> String {
    let quoted: Vec<_> = permissions.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(" and ")
}

fn note_of_field(permissions: &BTreeSet<String>) -> Option<String> {
    (!permissions.is_empty()).then(|| format!("Needs {}.", join_permissions(permissions)))
}

/// The note of an interface's field, of which each object may need something else.
fn note_of_interface(objects: &BTreeMap<&str, BTreeSet<String>>) -> Option<String> {
    let mut kinds = objects.values();
    let first = kinds.next()?;
    if kinds.all(|permissions| permissions == first) {
        return note_of_field(first);
    }
    let gated = objects.iter().filter(|(_, permissions)| !permissions.is_empty());
    let listed: Vec<_> = gated
        .map(|(object, permissions)| format!("{} on {object}", join_permissions(permissions)))
        .collect();
    Some(format!("Needs {}.", listed.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn notes_name_every_permission() {
        assert_eq!(note_of_field(&named(&[])), None);
        assert_eq!(note_of_field(&named(&["IAM_READ"])).unwrap(), "Needs `IAM_READ`.");
        let both = note_of_field(&named(&["USER_READ", "IAM_READ"])).unwrap();
        assert_eq!(both, "Needs `IAM_READ` and `USER_READ`.");
    }

    #[test]
    fn interface_notes_name_the_objects() {
        let (read, none) = (named(&["IAM_READ"]), named(&[]));
        let same = BTreeMap::from([("Group", read.clone()), ("Role", read.clone())]);
        assert_eq!(note_of_interface(&same).unwrap(), "Needs `IAM_READ`.");
        let mixed = BTreeMap::from([("Group", read), ("User", named(&["USER_READ"])), ("X", none)]);
        assert_eq!(
            note_of_interface(&mixed).unwrap(),
            "Needs `IAM_READ` on Group, `USER_READ` on User."
        );
    }
}
