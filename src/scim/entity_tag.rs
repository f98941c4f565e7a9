//! Versions of resources as entity tags, and the preconditions about them (RFC 7644 section 3.14).
//!
//! A resource has a version, which its own changes raise and which writes are checked against. An
//! answer can also show what belongs to other resources: the groups of an account, the names of a
//! group's members. Those change without the resource, so the tag of such an answer names their
//! state behind the version. A read is compared with the whole tag, a write with the version alone:
//! no write of a resource changes what it shows of others.

use aws_lc_rs::digest::{Context, SHA256};
use axum::http::{HeaderMap, HeaderName, header};
use uuid::Uuid;

use crate::error::{Error, Result};

/// The bytes of the hash that a tag shows.
const STATE_BYTES: usize = 8;

/// The weak entity tag of one answer: `W/"7"`, or `W/"7-0123456789abcdef"` if the answer shows
/// what belongs to other resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag(String);

/// A value in an answer that belongs to another resource.
pub struct BorrowedValue<'a> {
    pub id: Uuid,
    pub name: Option<&'a str>,
    /// What the answer says beside the name: that a membership is direct, or a member a group.
    pub is_marked: bool,
}

impl EntityTag {
    /// The tag of an answer that shows the resource alone.
    pub fn of_version(version: i64) -> Self {
        Self(format!("W/\"{version}\""))
    }

    /// The tag of an answer that shows these values of other resources, too.
    pub fn of_answer<'a>(
        version: i64,
        borrowed: impl IntoIterator<Item = BorrowedValue<'a>>,
    ) -> Self {
        let mut borrowed = borrowed.into_iter().peekable();
        if borrowed.peek().is_none() {
            return Self::of_version(version);
        }
        let mut state = Context::new(&SHA256);
        for BorrowedValue { id, name, is_marked } in borrowed {
            state.update(id.as_bytes());
            state.update(&[u8::from(is_marked), u8::from(name.is_some())]);
            let name = name.unwrap_or_default();
            state.update(&name.len().to_be_bytes());
            state.update(name.as_bytes());
        }
        let state = state.finish();
        let shown = hex::encode(state.as_ref().get(..STATE_BYTES).unwrap_or_default());
        Self(format!("W/\"{version}-{shown}\""))
    }

    /// The tag as the header `ETag` has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<EntityTag> for String {
    fn from(tag: EntityTag) -> Self {
        tag.0
    }
}

/// The preconditions of RFC 7644 section 3.14.
#[derive(Debug, Clone, Default)]
pub struct Preconditions {
    if_match: Option<String>,
    if_none_match: Option<String>,
}

impl Preconditions {
    /// The preconditions of a request (RFC 7644, section 3.14).
    pub fn from_headers(headers: &HeaderMap) -> Self {
        // A header that is not text names no version, but the precondition must not be dropped.
        let text = |name: HeaderName| {
            Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned())
        };
        Self { if_match: text(header::IF_MATCH), if_none_match: text(header::IF_NONE_MATCH) }
    }

    /// RFC 7644 section 3.7: the version of a Bulk operation has the effect of If-Match.
    pub fn on_version(version: Option<String>) -> Self {
        Self { if_match: version, if_none_match: None }
    }

    /// Whether the request has a precondition.
    pub fn has_any(&self) -> bool {
        self.if_match.is_some() || self.if_none_match.is_some()
    }

    /// Whether a read is answered only if the client does not have the answer yet.
    pub fn is_conditional_read(&self) -> bool {
        self.if_none_match.is_some()
    }

    /// Checks whether a change of `version` is allowed (RFC 9110 section 13.1.1). To be called
    /// under the row's lock.
    pub fn check_version(&self, version: i64) -> Result<()> {
        let matches = self.if_match.as_deref().is_none_or(|tags| lists_version(tags, version));
        let unseen = self.if_none_match.as_deref().is_none_or(|tags| !lists_version(tags, version));
        if matches && unseen { Ok(()) } else { Err(Error::Stale { version }) }
    }

    /// Whether the client already has the answer with this tag (RFC 9110 section 13.1.2).
    pub fn is_not_modified(&self, tag: &EntityTag) -> bool {
        let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
        let wanted = opaque(tag.as_str());
        self.if_none_match
            .as_deref()
            .is_some_and(|tags| split_tags(tags).any(|tag| tag == "*" || opaque(tag) == wanted))
    }
}

/// The entity tags of a header. Those of this server have no comma in them.
fn split_tags(tags: &str) -> impl Iterator<Item = &str> {
    tags.split(',').map(str::trim)
}

/// Whether a list of entity tags names `version`, whatever else the answers showed that had them;
/// weak and strong tags count as equal.
fn lists_version(tags: &str, version: i64) -> bool {
    let version = version.to_string();
    split_tags(tags).any(|tag| {
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        let inner = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        tag == "*"
            || inner.is_some_and(|inner| match inner.split_once('-') {
                Some((number, state)) => number == version && is_state(state),
                None => inner == version,
            })
    })
}

/// Whether `text` has the form of the state in a tag.
fn is_state(text: &str) -> bool {
    text.len() == 2 * STATE_BYTES
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: Option<&str>, is_marked: bool) -> EntityTag {
        EntityTag::of_answer(7, [BorrowedValue { id: Uuid::from_u128(1), name, is_marked }])
    }

    #[test]
    fn tag_names_what_is_shown() {
        assert_eq!(EntityTag::of_answer(7, []), EntityTag::of_version(7));
        let tags = [
            EntityTag::of_version(7),
            shown(None, true),
            shown(Some(""), true),
            shown(Some("Ward"), true),
            shown(Some("Ward"), false),
        ];
        for (place, tag) in tags.iter().enumerate() {
            let header = format!("\"0\", {}", tag.as_str());
            let known = Preconditions { if_none_match: Some(header), if_match: None };
            let found: Vec<usize> =
                (0..tags.len()).filter(|place| known.is_not_modified(&tags[*place])).collect();
            assert_eq!(found, [place]);
        }
    }

    #[test]
    fn writes_compare_the_version_alone() {
        let tag = shown(Some("Ward"), true);
        assert!(Preconditions::on_version(Some(tag.as_str().into())).check_version(7).is_ok());
        let strong = tag.as_str().trim_start_matches("W/").to_owned();
        assert!(Preconditions::on_version(Some(strong)).check_version(7).is_ok());
        for other in ["W/\"7-\"", "W/\"7-x\"", "W/\"-7\"", "\"7", "7", "\"7-0123456789ABCDEF\""] {
            let given = Preconditions::on_version(Some(other.into()));
            assert!(given.check_version(7).is_err(), "{other}");
        }
        assert!(Preconditions::on_version(Some(tag.into())).check_version(8).is_err());
    }
}
