//! Authorization: permissions and scopes give a caller nothing that it does not have.

mod administration;
mod api_keys;
mod granting_roles;
mod last_holder;
mod scim_disabled;
mod scopes;
mod sign_ins;
mod uploads;

use base64::Engine;
use rolecall::context::Cx;
use rolecall::domain::access::role;
use rolecall::domain::access::role_mapping;
use rolecall::domain::access::role_mapping::{MappingTarget, NewMapping};
use serde_json::Value;
use uuid::Uuid;

/// The global id of an object.
pub fn global(kind: &str, id: Uuid) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{kind}:{id}"))
}

/// Makes a role and maps `target` to it; returns the role and the mapping.
pub async fn map_to_role(cx: &Cx, name: &str, target: MappingTarget) -> (Uuid, Uuid) {
    let settings = role::RoleSettings { name: Some(name.into()), ..Default::default() };
    let role = role::create_role(cx, settings).await.unwrap().id;
    let new = NewMapping { target, role, reason: None, expires_at: None };
    (role, role_mapping::create_mapping(cx, new).await.unwrap().mapping_id)
}

/// The code of an answer's only error; empty if there is none.
fn error_code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
}
