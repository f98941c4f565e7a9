//! Who may do what: permissions and scopes give nothing that their holder does not have.

mod giving;
mod keys;
mod last_holder;
mod managed;
mod off;
mod scopes;
mod sign_ins;
mod uploads;

use base64::Engine;
use rolecall::context::Cx;
use rolecall::domain::mapping::{self, NewMapping, Target};
use rolecall::domain::role;
use serde_json::Value;
use uuid::Uuid;

/// The global id of a thing.
pub fn global(kind: &str, id: Uuid) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{kind}:{id}"))
}

/// Makes a role and maps `target` to it; returns the role and the mapping.
pub async fn map_to_role(cx: &Cx, name: &str, target: Target) -> (Uuid, Uuid) {
    let settings = role::Settings { name: Some(name.into()), ..Default::default() };
    let role = role::create(cx, settings).await.unwrap().id;
    let new = NewMapping { target, role, reason: None, expires_at: None };
    (role, mapping::create(cx, new).await.unwrap().mapping_id)
}

/// The code of the only error of an answer; empty if there is none.
fn error_code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
}
