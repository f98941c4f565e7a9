//! Users and groups: accounts, groups, memberships, and their adoption, deletion and erasure.

pub mod adoption;
pub mod deletion;
pub mod erasure;
pub mod group;
pub mod membership;
pub mod name_key;
pub mod schema_extension;
pub(in crate::domain) mod search_word;
pub mod user;

use serde_json::{Map, Value};

use crate::context::Cx;
use crate::error::{Error, Result};
use crate::identity::document;
use crate::identity::schema::ResourceType;

/// How many levels deep groups can be nested.
pub const MAX_NESTING_DEPTH: u32 = 16;

/// The canonical document of `body`, a changed version of `known`. A person is told all mistakes at
/// once; a SCIM response has room for one.
///
/// # Errors
/// [`Error::Invalid`] or [`Error::Several`].
fn normalize_input(
    cx: &Cx,
    ty: &ResourceType,
    known: &Map<String, Value>,
    body: Map<String, Value>,
) -> Result<Map<String, Value>> {
    if cx.confined_to().is_some() {
        return Ok(document::normalize_from(ty, known, body)?);
    }
    document::normalize_from(ty, known, body.clone()).map_err(|first| {
        let mut mistakes = document::find_mistakes(ty, known, &body);
        match mistakes.len() {
            0 => first.into(),
            1 => mistakes.remove(0).into(),
            _ => Error::Several(mistakes.drain(..).map(Into::into).collect()),
        }
    })
}
