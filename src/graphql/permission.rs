//! What every field requires of its caller, and the one place that decides it.
//!
//! The directive `@needs` on every field is the rule: the requirements are read from the schema
//! itself, so what the SDL says is what is enforced. A field without the directive is refused to
//! every caller. A query is decided as a whole before it is run, if its caller may read every field
//! that it selects ([`allows_query`]); otherwise each field is decided when it is reached.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextResolve, ResolveInfo,
};
use async_graphql::parser::types::{
    BaseType, ExecutableDocument, FieldDefinition, OperationDefinition, Selection, SelectionSet,
    Type, TypeKind, TypeSystemDefinition,
};
use async_graphql::{
    Enum, Name, PathSegment, Response, ServerError, ServerResult, TypeDirective, Value,
};
use async_graphql_value::ConstValue;

use super::auth::ApiCaller;
use super::budget::BudgetBalance;
use crate::auth::policy;
use crate::error::{Error, Result};
use crate::graphql::cost::OperationCost;
use crate::graphql::{idempotency, relay};

/// A permission. An API key or a person's token carries a set of them.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "policy::Permission")]
pub enum Permission {
    /// Read connections, their state and their tokens' metadata, groups, roles, mappings and
    /// grants, and the bulk jobs of all callers.
    IamRead,
    /// Create, change, activate, deactivate and delete connections; change the organization's
    /// settings and schemas; cancel the bulk jobs of other callers.
    IamWrite,
    /// Issue, rotate and revoke SCIM tokens and API keys.
    TokenManage,
    /// Delete all users that came through SCIM; erase personal data for good.
    DeleteAll,
    /// Read personal data of users.
    UserRead,
    /// Create, change and delete users and groups by hand.
    UserWrite,
    /// Preview and make changes of access: roles, role mappings and direct grants; protect accounts
    /// from the identity provider.
    AccessWrite,
    /// Read the ledger of changes.
    AuditRead,
    /// Retry, resolve, dismiss and assign entries of the review queue.
    ReviewWrite,
    /// Ask whether people may do something, and who may do it: with `decision`, or over AuthZEN.
    /// It opens nothing else.
    DecisionRead,
    /// Say that an application ended the sessions of an account that left (`revocationConfirm`).
    /// It opens nothing else.
    RevocationConfirm,
    /// The permission of the operator, for people only and not for API keys: create, suspend and
    /// resume organizations. It opens nothing inside them. In an organization, a person who has it
    /// may use other permissions only while the organization lets the operator in
    /// (`operatorAccessGrant`).
    PlatformAdmin,
}

/// The permission that a caller needs to select this field. Without an argument, every
/// authenticated caller may select it.
#[TypeDirective(location = "FieldDefinition")]
pub fn needs(permission: Option<Permission>) {}

/// Marks a request whose caller may read every field that it selects.
pub struct QueryAllowed;

/// Whether the caller may read all fields that the query selects. False also if a name is not known
/// here: then the fields are decided one by one.
pub fn allows_query(
    document: &ExecutableDocument,
    query: &OperationDefinition,
    caller: &ApiCaller,
) -> bool {
    PermissionWalk { document, caller, seen: HashSet::new() }
        .allows_selection_set("Query", &query.selection_set.node)
}

struct PermissionWalk<'a> {
    document: &'a ExecutableDocument,
    caller: &'a ApiCaller,
    /// The fragments that were checked.
    seen: HashSet<&'a Name>,
}

impl<'a> PermissionWalk<'a> {
    fn allows_selection_set(&mut self, ty: &str, set: &'a SelectionSet) -> bool {
        set.items.iter().all(|item| match &item.node {
            Selection::Field(field) if field.node.name.node == "__typename" => true,
            Selection::Field(field) => {
                let Some(requirement) = find_requirement(ty, &field.node.name.node) else {
                    return false;
                };
                check_requirement(requirement, self.caller).is_ok()
                    && self.allows_selection_set(&requirement.ty, &field.node.selection_set.node)
            }
            Selection::InlineFragment(inline) => {
                let on = inline
                    .node
                    .type_condition
                    .as_ref()
                    .map_or(ty, |condition| &condition.node.on.node);
                self.allows_selection_set(on, &inline.node.selection_set.node)
            }
            Selection::FragmentSpread(spread) => {
                let Some((name, fragment)) =
                    self.document.fragments.get_key_value(&spread.node.fragment_name.node)
                else {
                    return false;
                };
                !self.seen.insert(name)
                    || self.allows_selection_set(
                        &fragment.node.type_condition.node.on.node,
                        &fragment.node.selection_set.node,
                    )
            }
        })
    }
}

/// Creates a [`PermissionGuard`] for every request.
pub struct PermissionGuardFactory;

impl ExtensionFactory for PermissionGuardFactory {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(PermissionGuard::default())
    }
}

/// Decides every field that was not decided before, and limits what the error of one field affects
/// to what the schema says: a nullable field that fails is null, with its error in `errors`.
#[derive(Default)]
struct PermissionGuard {
    /// Whether the query was allowed as a whole.
    is_allowed: AtomicBool,
    /// Whether the answer may contain secrets whose places must be known.
    keeps_secret_paths: AtomicBool,
    errors: Mutex<Vec<ServerError>>,
}

#[async_trait::async_trait]
impl Extension for PermissionGuard {
    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        self.is_allowed.store(ctx.data_opt::<QueryAllowed>().is_some(), Ordering::Relaxed);
        let keeps_secret_paths = ctx.data_opt::<idempotency::SecretPaths>().is_some();
        self.keeps_secret_paths.store(keeps_secret_paths, Ordering::Relaxed);
        let mut response = next.run(ctx, name).await;
        response.errors.append(&mut self.errors.lock().unwrap_or_else(PoisonError::into_inner));
        if !response.errors.is_empty() {
            let request_id =
                ctx.data_opt::<ApiCaller>().map(|caller| caller.cx.request_id).unwrap_or_default();
            for error in &mut response.errors {
                relay::translate_error(error, request_id);
            }
        }
        if let Some(cost) = ctx.data_opt::<OperationCost>() {
            response.extensions.insert("cost".into(), cost.to_value());
        }
        if let Some(balance) = ctx.data_opt::<BudgetBalance>() {
            response.extensions.insert("budget".into(), balance.to_value());
        }
        response
    }

    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        let nullable = !info.return_type.ends_with('!');
        let path = info.path_node;
        if self.keeps_secret_paths.load(Ordering::Relaxed)
            && info.name == idempotency::SECRET_FIELD_NAME
            && let Some(secrets) = ctx.data_opt::<idempotency::SecretPaths>()
        {
            secrets.add_path(path.to_string_vec());
        }
        let position = info.field.name.pos;
        let allowed =
            if self.is_allowed.load(Ordering::Relaxed) { Ok(()) } else { check_field(ctx, &info) };
        let result = match allowed {
            Ok(()) => next.run(ctx, info).await,
            Err(error) => Err(relay::to_graphql_error(error).into_server_error(position)),
        };
        result.or_else(|mut error| {
            if error.path.is_empty() {
                error.path = to_path_segments(path.to_string_vec());
            }
            if !nullable {
                return Err(error);
            }
            self.errors.lock().unwrap_or_else(PoisonError::into_inner).push(error);
            Ok(Some(Value::Null))
        })
    }
}

fn to_path_segments(names: Vec<String>) -> Vec<PathSegment> {
    names
        .into_iter()
        .map(|name| name.parse().map_or(PathSegment::Field(name), PathSegment::Index))
        .collect()
}

/// Decides one field when it is reached.
fn check_field(ctx: &ExtensionContext<'_>, info: &ResolveInfo<'_>) -> Result<()> {
    // Introspection returns what the published schema says; elements of a list are checked with the
    // list.
    if info.is_for_introspection || info.name.starts_with("__") || info.parent_type.starts_with('[')
    {
        return Ok(());
    }
    match (find_requirement(info.parent_type, info.name), ctx.data_opt::<ApiCaller>()) {
        (Some(requirement), Some(caller)) => check_requirement(requirement, caller),
        _ => Err(Error::Internal(format!(
            "{}.{} has no usable @needs, or no caller",
            info.parent_type, info.name
        ))),
    }
}

/// Checks that the caller holds what a field requires.
///
/// # Errors
/// [`Error::Forbidden`] names the missing permission.
fn check_requirement(requirement: &FieldRequirement, caller: &ApiCaller) -> Result<()> {
    for permission in &requirement.permissions {
        if *permission != policy::Permission::PlatformAdmin {
            caller.require_organization()?;
        }
        if !caller.cx.holds(*permission) {
            let why = format!("this needs the permission {permission}");
            return Err(Error::lacks_permission(permission.name(), why));
        }
    }
    Ok(())
}

fn find_requirement(ty: &str, field: &str) -> Option<&'static FieldRequirement> {
    FIELD_REQUIREMENTS.get(ty)?.get(field)
}

/// The permissions that a field needs, and the type of its value.
#[derive(Debug, Clone)]
struct FieldRequirement {
    permissions: Vec<policy::Permission>,
    ty: String,
}

/// The fields of every type, read from the schema so that what it says is what is enforced. A field
/// without `@needs` is not among them.
static FIELD_REQUIREMENTS: LazyLock<HashMap<String, HashMap<String, FieldRequirement>>> =
    LazyLock::new(|| {
        let mut types = HashMap::new();
        let mut shown_as: Vec<(String, String)> = Vec::new();
        let Ok(document) = async_graphql::parser::parse_schema(super::export_sdl()) else {
            return types;
        };
        for definition in document.definitions {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            let name = ty.node.name.node.to_string();
            let fields = match ty.node.kind {
                TypeKind::Object(object) => {
                    shown_as.extend(
                        object
                            .implements
                            .iter()
                            .map(|shown| (shown.node.to_string(), name.clone())),
                    );
                    object.fields
                }
                TypeKind::Interface(interface) => interface.fields,
                TypeKind::Union(_) => Vec::new(),
                _ => continue,
            };
            types.insert(
                name,
                fields
                    .iter()
                    .filter_map(|field| parse_requirement(&field.node))
                    .collect::<HashMap<_, _>>(),
            );
        }
        // A field of an interface needs the permissions that it needs in any type that implements
        // it.
        for (interface, object) in shown_as {
            let Some(of_object) = types.get(&object).cloned() else { continue };
            let Some(of_interface) = types.get_mut(&interface) else { continue };
            of_interface.retain(|name, need: &mut FieldRequirement| {
                let known = of_object.get(name);
                need.permissions.extend(known.into_iter().flat_map(|known| &known.permissions));
                known.is_some()
            });
        }
        types
    });

fn parse_requirement(field: &FieldDefinition) -> Option<(String, FieldRequirement)> {
    let directive =
        field.directives.iter().find(|directive| directive.node.name.node == "needs")?;
    let permissions =
        match directive.node.arguments.iter().find(|(name, _)| name.node == "permission") {
            None => Vec::new(),
            Some((_, value)) => match &value.node {
                ConstValue::Enum(name) => vec![policy::Permission::from_str(name).ok()?],
                _ => return None,
            },
        };
    Some((
        field.name.node.to_string(),
        FieldRequirement { permissions, ty: base_type_name(&field.ty.node).to_string() },
    ))
}

fn base_type_name(ty: &Type) -> &Name {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(of) => base_type_name(of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_schema_is_known_with_what_it_needs() {
        let schema = async_graphql::parser::parse_schema(super::super::export_sdl()).unwrap();
        let mut fields = 0;
        for definition in schema.definitions {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            let TypeKind::Object(object) = ty.node.kind else { continue };
            for field in object.fields {
                let known = FIELD_REQUIREMENTS[ty.node.name.node.as_str()]
                    .contains_key(field.node.name.node.as_str());
                assert!(known, "{}.{}", ty.node.name.node, field.node.name.node);
                fields += 1;
            }
        }
        assert!(fields > 100);
        assert_eq!(
            FIELD_REQUIREMENTS["User"]["userName"].permissions,
            [policy::Permission::UserRead]
        );
        assert_eq!(FIELD_REQUIREMENTS["User"]["groups"].ty, "GroupConnection");
    }
}
