//! What the claims of a verified ID token say about a person: by the names that the connection has
//! set, and by the forms in which providers write groups.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use entity::connection::Provider;
use serde_json::{Map, Value};

use super::{VerifiedToken, refusal_error};
use crate::domain::connection::assertion_source::oidc::ClaimPointers;
use crate::domain::sign_in::{ClaimedGroup, GroupClaims, ProviderTenant, VerifiedAssertion};
use crate::error::{RefusalReason, Result};

/// The longest subject, name or key of a group.
const MAX_TEXT_LENGTH: usize = 500;

/// A claim that is an instant (RFC 7519 section 2, NumericDate): seconds, with a fraction or
/// without.
///
/// # Errors
/// [`crate::error::Error::Held`] for another value.
pub fn read_instant(claims: &Map<String, Value>, name: &str) -> Result<Option<DateTime<Utc>>> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64));
    let instant = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    // Sums with the allowed skew must not overflow.
    let instant = instant.filter(|at| (0..=253_402_300_000).contains(&at.timestamp()));
    instant.map(Some).ok_or_else(|| {
        refusal_error(
            RefusalReason::AssertionUnreadable,
            "a time in the token is not a NumericDate",
        )
    })
}

/// What is said about a person: by the ID token, and by UserInfo where the token says nothing.
#[derive(Clone, Copy)]
pub struct PersonClaims<'a> {
    token: &'a Map<String, Value>,
    user_info: Option<&'a Map<String, Value>>,
}

impl<'a> PersonClaims<'a> {
    /// The claims of a token, and of UserInfo where it was asked.
    pub fn new(token: &'a Map<String, Value>, user_info: Option<&'a Map<String, Value>>) -> Self {
        Self { token, user_info }
    }

    /// The claims among which the one at this pointer is to be read.
    fn sayer_of(self, pointer: &str) -> &'a Map<String, Value> {
        match self.user_info {
            Some(said) if !says_claim(pointer, self.token) => said,
            _ => self.token,
        }
    }

    fn claim_at(self, pointer: &str) -> Option<&'a Value> {
        claim_at(self.sayer_of(pointer), pointer)
    }

    /// Whether the address is verified. The word of UserInfo about another address than the
    /// token's says nothing of this one.
    fn find_verified(self, names: &ClaimPointers) -> Option<&'a Value> {
        let pointer = names.email_verified.as_deref()?;
        let Some(address) = names.email.as_deref() else { return claim_at(self.token, pointer) };
        let sayer = self.sayer_of(address);
        claim_at(sayer, pointer).or_else(|| {
            let said = self.user_info?;
            let same = claim_at(said, address)? == claim_at(sayer, address)?;
            claim_at(said, pointer).filter(|_| same)
        })
    }
}

/// Whether a token says something about a claim: its value, or that it was left out.
fn says_claim(pointer: &str, claims: &Map<String, Value>) -> bool {
    claim_at(claims, pointer).is_some() || says_overage(pointer, claims)
}

/// Whether a token lacks one of the claims that are read.
pub fn lacks_claims(names: &ClaimPointers, claims: &Map<String, Value>) -> bool {
    let ClaimPointers {
        subject,
        user_name,
        email,
        email_verified,
        display_name,
        given_name,
        family_name,
        groups,
        roles,
    } = names;
    let optional = [email, email_verified, display_name, given_name, family_name, groups, roles];
    let mut pointers = optional.into_iter().flatten().chain([subject, user_name]);
    pointers.any(|pointer| !says_claim(pointer, claims))
}

/// What a verified token says, and UserInfo beside it.
///
/// # Errors
/// [`crate::error::Error::Held`] if it does not say who the person is.
pub fn read_assertion(
    names: &ClaimPointers,
    provider: Provider,
    said: PersonClaims<'_>,
    token: &VerifiedToken,
) -> Result<VerifiedAssertion> {
    let text = |pointer: &str| {
        let text = said.claim_at(pointer)?.as_str()?.trim();
        let fits = !text.is_empty() && text.chars().count() <= MAX_TEXT_LENGTH;
        (fits && !text.chars().any(char::is_control)).then(|| text.to_owned())
    };
    let optional = |pointer: &Option<String>| text(pointer.as_deref()?);
    let missing = |why| refusal_error(RefusalReason::AssertionClaim, why);
    let subject = text(&names.subject)
        .ok_or_else(|| missing("the token does not say who the person is (subject)"))?;
    let user_name = text(&names.user_name)
        .ok_or_else(|| missing("the token does not say how the person signs in (userName)"))?;
    let verified = said.find_verified(names);
    // At some providers people enter any address: until it is verified, it identifies no person.
    let email = optional(&names.email);
    let doubted = verified.is_some_and(|value| !is_true(value));
    if doubted && email.as_deref() == Some(user_name.as_str()) {
        return Err(missing(
            "the person's user name is an e-mail address that the identity provider has not \
             verified: the person verifies it there",
        ));
    }
    let claims = &token.claims;
    Ok(VerifiedAssertion {
        id: claims.get("jti").and_then(Value::as_str).map(|id| id.chars().take(200).collect()),
        fingerprint: token.fingerprint,
        subject,
        user_name,
        email: email.filter(|_| !doubted),
        email_verified: verified.is_some_and(is_true),
        display_name: optional(&names.display_name),
        given_name: optional(&names.given_name),
        family_name: optional(&names.family_name),
        tenant: read_tenant(provider, claims),
        groups: read_groups(names, provider, said),
        issued_at: token.issued_at,
        authenticated_at: read_instant(claims, "auth_time")?,
    })
}

/// All customers of Google, and people without an organization, have accounts of one issuer. The
/// domain of the organization is in `hd`, and not in the address, which may be of any domain.
fn read_tenant(provider: Provider, claims: &Map<String, Value>) -> ProviderTenant {
    match provider {
        Provider::GoogleWorkspace => {
            ProviderTenant::Shared(claims.get("hd").and_then(Value::as_str).map(Into::into))
        }
        _ => ProviderTenant::Own,
    }
}

/// Some providers write booleans as texts or numbers.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::String(text) => text == "1" || text.eq_ignore_ascii_case("true"),
        Value::Number(number) => number.as_i64() == Some(1),
        _ => false,
    }
}

/// RFC 6901. Null says nothing.
fn claim_at<'a>(claims: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let (first, rest) = match pointer.strip_prefix('/')?.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (pointer.strip_prefix('/')?, None),
    };
    let value = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
    let value = match rest {
        Some(rest) => value.pointer(&format!("/{rest}"))?,
        None => value,
    };
    (!value.is_null()).then_some(value)
}

/// One list of a token.
enum ClaimedList {
    /// The token does not have it.
    Absent,
    Complete(BTreeSet<ClaimedGroup>),
    /// The provider left something out, or wrote something that is not understood.
    Incomplete(BTreeSet<ClaimedGroup>),
}

/// The groups, and the roles that count as groups. A list that is absent, or that is said to be
/// incomplete, makes the whole incomplete: what it would have named must not be taken away.
fn read_groups(names: &ClaimPointers, provider: Provider, said: PersonClaims<'_>) -> GroupClaims {
    let pointers = [names.groups.as_deref(), names.roles.as_deref()];
    let lists: Vec<ClaimedList> = pointers
        .into_iter()
        .flatten()
        .map(|pointer| read_list(pointer, provider, said.sayer_of(pointer)))
        .collect();
    if lists.iter().all(|list| matches!(list, ClaimedList::Absent)) {
        return GroupClaims::Absent;
    }
    let complete = lists.iter().all(|list| matches!(list, ClaimedList::Complete(_)));
    let found: BTreeSet<ClaimedGroup> = lists
        .into_iter()
        .flat_map(|list| match list {
            ClaimedList::Absent => BTreeSet::new(),
            ClaimedList::Complete(groups) | ClaimedList::Incomplete(groups) => groups,
        })
        .collect();
    let found = found.into_iter().collect();
    if complete { GroupClaims::Complete(found) } else { GroupClaims::Incomplete(found) }
}

fn read_list(pointer: &str, provider: Provider, claims: &Map<String, Value>) -> ClaimedList {
    let left_out = says_overage(pointer, claims);
    let Some(value) = claim_at(claims, pointer) else {
        return if left_out {
            ClaimedList::Incomplete(BTreeSet::new())
        } else {
            ClaimedList::Absent
        };
    };
    let mut groups = BTreeSet::new();
    let understood = match value {
        Value::Array(items) => {
            let added = items.iter().map(|item| add_group(item, provider, &mut groups));
            // One value that is not understood does not keep those after it out.
            added.filter(|understood| !understood).count() == 0
        }
        Value::String(_) => add_group(value, provider, &mut groups),
        // Zitadel's roles: an object whose names are the roles, each with the organizations that
        // give it.
        Value::Object(roles) => {
            let added = roles
                .keys()
                .map(|role| add_group(&Value::String(role.clone()), provider, &mut groups));
            added.filter(|understood| !understood).count() == 0
        }
        _ => false,
    };
    if understood && !left_out {
        ClaimedList::Complete(groups)
    } else {
        ClaimedList::Incomplete(groups)
    }
}

/// Adds a group, if it can be understood.
fn add_group(item: &Value, provider: Provider, groups: &mut BTreeSet<ClaimedGroup>) -> bool {
    let Some(text) = item.as_str().map(str::trim) else { return false };
    // Keycloak writes the path of a group, where the mapper is set to full paths. The path is its
    // name here, too: `/visitors/admins` must not pass for a group `admins`.
    let path = text.strip_prefix('/').filter(|_| provider == Provider::Keycloak);
    let key = path.unwrap_or(text);
    let fits = !key.is_empty()
        && key.chars().count() <= MAX_TEXT_LENGTH
        && !key.chars().any(char::is_control);
    if fits {
        groups.insert(ClaimedGroup { key: key.to_owned(), display_name: None });
    }
    fits
}

/// Whether the provider says that it left groups out. Entra ID does so above 200 groups: by a
/// distributed claim (OpenID Connect Core 1.0, section 5.6.2), by `hasgroups`, or by `groups:src1`.
fn says_overage(pointer: &str, claims: &Map<String, Value>) -> bool {
    let name = pointer.strip_prefix('/').unwrap_or(pointer);
    let name = name.replace("~1", "/").replace("~0", "~");
    let distributed = claims
        .get("_claim_names")
        .and_then(Value::as_object)
        .is_some_and(|names| names.contains_key(&name));
    let in_groups = name == "groups";
    let has_groups = in_groups && claims.get("hasgroups").is_some_and(is_true);
    let linked = claims.keys().any(|claim| {
        claim.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(":src"))
            || (in_groups && (claim == "groups.link" || claim == "groups_link"))
    });
    distributed || has_groups || linked
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn groups_of(provider: Provider, claims: Value) -> GroupClaims {
        let names = ClaimPointers::preset(provider);
        read_groups(&names, provider, PersonClaims::new(claims.as_object().unwrap(), None))
    }

    fn keys(claims: GroupClaims) -> (Option<bool>, Vec<String>) {
        let (complete, groups) = match claims {
            GroupClaims::Absent => (None, Vec::new()),
            GroupClaims::Complete(groups) => (Some(true), groups),
            GroupClaims::Incomplete(groups) => (Some(false), groups),
        };
        (complete, groups.into_iter().map(|group| group.key).collect())
    }

    fn read(
        provider: Provider,
        claims: Value,
        user_info: Option<Value>,
    ) -> Result<VerifiedAssertion> {
        let claims = claims.as_object().unwrap().clone();
        let issued_at = DateTime::UNIX_EPOCH;
        let token = VerifiedToken { claims, fingerprint: [0; 32], issued_at };
        let more = user_info.as_ref().and_then(Value::as_object);
        let said = PersonClaims::new(&token.claims, more);
        read_assertion(&ClaimPointers::preset(provider), provider, said, &token)
    }

    #[test]
    fn user_info_fills_what_is_absent() {
        let token = json!({ "sub": "1", "preferred_username": "ann", "name": "Ann", "jti": "t" });
        let more = json!({ "sub": "1", "preferred_username": "eve", "name": "Eve", "jti": "u",
            "given_name": "Ann", "email": "ann@acme.test", "email_verified": true,
            "groups": ["Staff"], "hd": "acme.test", "auth_time": 1 });
        let said = read(Provider::Okta, token.clone(), Some(more.clone())).unwrap();
        assert_eq!((said.user_name.as_str(), said.display_name.as_deref()), ("ann", Some("Ann")));
        assert_eq!(said.given_name.as_deref(), Some("Ann"));
        assert_eq!((said.email.as_deref(), said.email_verified), (Some("ann@acme.test"), true));
        assert_eq!(keys(said.groups), (Some(true), vec!["Staff".into()]));
        // What is about the token is only in the token.
        assert_eq!((said.id.as_deref(), said.authenticated_at), (Some("t"), None));
        // What the token says, or says that it left out, is not replaced.
        for (kept, complete) in [
            (json!({ "groups": [] }), true),
            (json!({ "hasgroups": true }), false),
            (json!({ "_claim_names": { "groups": "src1" } }), false),
        ] {
            let mut token = token.clone();
            token.as_object_mut().unwrap().extend(kept.as_object().unwrap().clone());
            let said = read(Provider::Okta, token, Some(more.clone())).unwrap();
            assert_eq!(keys(said.groups), (Some(complete), vec![]), "{kept}");
        }
        // What neither says is absent, and left out there is left out.
        let none = read(Provider::Okta, token.clone(), Some(json!({ "sub": "1" }))).unwrap();
        assert_eq!(keys(none.groups), (None, vec![]));
        let left_out = json!({ "sub": "1", "groups:src1": "https://idp.example/groups" });
        let said = read(Provider::Okta, token, Some(left_out)).unwrap();
        assert_eq!(keys(said.groups), (Some(false), vec![]));
    }

    #[test]
    fn verified_is_said_of_one_address() {
        let token = json!({ "sub": "1", "preferred_username": "ann", "email": "ann@acme.test" });
        let verified = |address: &str| {
            let more = json!({ "sub": "1", "email": address, "email_verified": true });
            let said = read(Provider::Okta, token.clone(), Some(more)).unwrap();
            assert_eq!(said.email.as_deref(), Some("ann@acme.test"));
            said.email_verified
        };
        assert!(verified("ann@acme.test"));
        assert!(!verified("eve@acme.test"), "the word about another address");
    }

    #[test]
    fn missing_claims_are_noticed() {
        let lacks = |claims: Value| {
            let names = ClaimPointers::preset(Provider::Zitadel);
            lacks_claims(&names, claims.as_object().unwrap())
        };
        let mut whole = json!({ "sub": "1", "preferred_username": "ann", "name": "Ann Lee",
            "given_name": "Ann", "family_name": "Lee", "email": "ann@acme.test",
            "email_verified": false, "urn:zitadel:iam:org:project:roles": {} });
        assert!(!lacks(whole.clone()));
        for name in ["email_verified", "urn:zitadel:iam:org:project:roles", "sub"] {
            let mut less = whole.clone();
            less[name] = Value::Null;
            assert!(lacks(less), "{name}");
        }
        whole["groups"] = Value::Null;
        assert!(!lacks(whole), "a claim that is not read");
    }

    #[test]
    fn unverified_addresses_name_nobody() {
        let read = |claims: Value| read(Provider::GoogleWorkspace, claims, None);
        let person = |verified: Value| {
            let email = "ann@acme.test";
            json!({ "sub": "1", "email": email, "email_verified": verified })
        };
        assert!(read(person(json!(true))).is_ok());
        assert!(read(person(json!(false))).is_err());
        assert!(read(person(json!("false"))).is_err());
    }

    #[test]
    fn absent_is_not_empty() {
        use Provider::{EntraId, Generic, GoogleWorkspace};
        assert_eq!(keys(groups_of(EntraId, json!({}))), (None, vec![]));
        assert_eq!(keys(groups_of(EntraId, json!({ "groups": null }))), (None, vec![]));
        assert_eq!(keys(groups_of(EntraId, json!({ "groups": [] }))), (Some(true), vec![]));
        let listed = groups_of(GoogleWorkspace, json!({ "groups": ["a"] }));
        assert_eq!(keys(listed), (None, vec![]), "Google lists no groups in ID tokens");
        let one = groups_of(Generic, json!({ "groups": "staff" }));
        assert_eq!(keys(one), (Some(true), vec!["staff".into()]));
    }

    #[test]
    fn overage_is_incomplete() {
        for claims in [
            json!({ "_claim_names": { "groups": "src1" }, "_claim_sources": { "src1": {} } }),
            json!({ "hasgroups": true }),
            json!({ "hasgroups": "true" }),
            json!({ "groups:src1": "https://graph.example" }),
        ] {
            assert_eq!(keys(groups_of(Provider::EntraId, claims)), (Some(false), vec![]));
        }
        let some = json!({ "groups": ["a"], "hasgroups": true });
        let listed = keys(groups_of(Provider::EntraId, some));
        assert_eq!(listed, (Some(false), vec!["a".into()]));
        let odd = json!({ "groups": ["a", 7] });
        assert_eq!(keys(groups_of(Provider::Okta, odd)), (Some(false), vec!["a".into()]));
        let odd = json!({ "groups": 7 });
        assert_eq!(keys(groups_of(Provider::Okta, odd)), (Some(false), vec![]));
    }

    #[test]
    fn forms_of_providers_are_understood() {
        let roles = json!({ "urn:zitadel:iam:org:project:roles": {
            "admin": { "2001": "acme.zitadel.example" }, "reader": { "2001": "acme.example" } } });
        let listed = keys(groups_of(Provider::Zitadel, roles));
        assert_eq!(listed, (Some(true), vec!["admin".into(), "reader".into()]));
        let paths = json!({ "groups": ["/staff", "/staff/nurses", "plain"] });
        let GroupClaims::Complete(listed) = groups_of(Provider::Keycloak, paths) else { panic!() };
        let listed: Vec<_> =
            listed.iter().map(|it| (it.key.as_str(), it.display_name.as_deref())).collect();
        let expected = [("plain", None::<&str>), ("staff", None), ("staff/nurses", None)];
        assert_eq!(listed, expected);
    }

    #[test]
    fn absent_list_keeps_the_whole_incomplete() {
        let names = ClaimPointers {
            roles: Some("/realm_access/roles".into()),
            ..ClaimPointers::preset(Provider::Keycloak)
        };
        let claims = json!({ "realm_access": { "roles": ["auditor"] } });
        let said = PersonClaims::new(claims.as_object().unwrap(), None);
        let found = read_groups(&names, Provider::Keycloak, said);
        assert_eq!(keys(found), (Some(false), vec!["auditor".into()]));
    }

    #[test]
    fn nested_claims_are_found_by_pointers() {
        let claims = json!({ "https://x.example/groups": ["a"], "a": { "b~c": [1, { "d": 2 }] } });
        let claims = claims.as_object().unwrap();
        assert!(claim_at(claims, "/https:~1~1x.example~1groups").is_some());
        assert_eq!(claim_at(claims, "/a/b~0c/1/d"), Some(&json!(2)));
        assert_eq!(claim_at(claims, "/a/b/1/d"), None);
    }
}
