//! The names of permissions that a role's row holds.

use entity::role;
use sea_orm::DbBackend;

/// SQL: whether the role `alias` names the permission `name`.
pub(super) fn names_permission(backend: DbBackend, alias: &str, name: &str) -> String {
    match backend {
        DbBackend::Postgres => format!("jsonb_exists({alias}.permissions, {name})"),
        _ => format!(
            "EXISTS (SELECT 1 FROM json_each({alias}.permissions) AS named WHERE named.value = \
             {name})"
        ),
    }
}

/// The permission names that a role's row holds.
pub fn role_permissions(role: &role::Model) -> Vec<String> {
    role.permissions
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect()
}
