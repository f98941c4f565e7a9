//! What the claims of an issuer's tokens mean here.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::auth::issuers::settings::{AllowedOrganizations, TrustedIssuer};
use crate::auth::policy::{Permission, Permissions};

/// What a token says about a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IssuerClaims {
    /// Who this is, for as long as the issuer exists.
    pub subject: String,
    /// A name for people to read.
    pub name: String,
    /// What the person may do, by the slug of the organization.
    pub organizations: BTreeMap<String, Permissions>,
    /// What the person may do in every organization that the token names, and on the installation
    /// as a whole.
    pub permissions: Permissions,
    /// Until when the token vouches for all this.
    pub until: Option<DateTime<Utc>>,
}

/// What a token of `issuer` says here; none where it does not say who it is about.
pub fn read_claims(issuer: &TrustedIssuer, token: &Map<String, Value>) -> Option<IssuerClaims> {
    let word = |name: &str| {
        claim_at(token, name).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
    };
    let subject = word(&issuer.claims.subject)?;
    let name = word(&issuer.claims.name).or_else(|| word("preferred_username")).unwrap_or(subject);
    let organizations = match &issuer.claims.organizations {
        Some(claim) => claim_at(token, claim)
            .map(|claim| claimed_organizations(issuer, claim))
            .unwrap_or_default(),
        None => match &issuer.organizations {
            AllowedOrganizations::Named(slugs) => {
                slugs.values().map(|slug| (slug.clone(), Permissions::new())).collect()
            }
            AllowedOrganizations::Any => BTreeMap::new(),
        },
    };
    Some(IssuerClaims {
        // Issuers name their people independently of each other (OpenID Connect Core 1.0, section
        // 5.7).
        subject: format!("{}#{subject}", issuer.url),
        name: name.to_owned(),
        organizations,
        permissions: claim_at(token, &issuer.claims.permissions)
            .map(|claim| granted_permissions(issuer, claim))
            .unwrap_or_default(),
        until: None,
    })
}

/// A claim by its name, or by a JSON Pointer into a nested one.
fn claim_at<'a>(token: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some(pointer) = name.strip_prefix('/') else { return token.get(name) };
    let (first, rest) =
        pointer.split_once('/').map_or((pointer, None), |(first, rest)| (first, Some(rest)));
    let value = token.get(&first.replace("~1", "/").replace("~0", "~"))?;
    rest.map_or(Some(value), |rest| value.pointer(&format!("/{rest}")))
}

/// A list of organizations, or a map from each to what the person may do there; those that the
/// issuer may not speak for are passed over.
fn claimed_organizations(issuer: &TrustedIssuer, claim: &Value) -> BTreeMap<String, Permissions> {
    let mut held: BTreeMap<String, Permissions> = BTreeMap::new();
    let mut enter = |value: &str, permissions: Permissions| {
        let slug = match &issuer.organizations {
            AllowedOrganizations::Any => Some(value),
            AllowedOrganizations::Named(slugs) => slugs.get(value).map(String::as_str),
        };
        if let Some(slug) = slug {
            held.entry(slug.to_owned()).or_default().extend(permissions);
        }
    };
    match claim {
        Value::Object(map) => map.iter().for_each(|(value, permissions)| {
            enter(value, granted_permissions(issuer, permissions))
        }),
        other => claim_words(other).for_each(|value| enter(value, Permissions::new())),
    }
    held
}

/// The permissions that a claim grants: by the issuer's own names where the settings translate
/// them, otherwise by the names of [`Permission`]. An unknown name grants nothing. An issuer that
/// is limited to some organizations cannot grant [`Permission::PlatformAdmin`].
fn granted_permissions(issuer: &TrustedIssuer, claim: &Value) -> Permissions {
    let named = claim_words(claim).flat_map(|name| {
        if issuer.permissions.is_empty() {
            name.parse().into_iter().collect()
        } else {
            issuer.permissions.get(name).cloned().unwrap_or_default()
        }
    });
    let everywhere = matches!(issuer.organizations, AllowedOrganizations::Any);
    named.filter(|permission| everywhere || *permission != Permission::PlatformAdmin).collect()
}

/// The words of a claim: a list of strings, or one string of words with spaces between them (RFC
/// 8693 section 4.2).
fn claim_words(claim: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match claim {
        Value::String(text) => Box::new(text.split_ascii_whitespace()),
        Value::Array(items) => Box::new(items.iter().filter_map(Value::as_str)),
        _ => Box::new(std::iter::empty()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn issuer(settings: Value) -> TrustedIssuer {
        let mut entry = json!({
            "issuer": "https://idp.example", "audience": "rolecall", "organizations": ["acme"],
        });
        entry.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json!({ "issuers": [entry] }).to_string()).unwrap();
        crate::auth::issuers::settings::read_issuers_file(file.path(), "https://rolecall.example")
            .unwrap()
            .remove(0)
    }

    fn claims(settings: Value, token: Value) -> IssuerClaims {
        read_claims(&issuer(settings), token.as_object().unwrap()).unwrap()
    }

    #[test]
    fn roles_of_a_realm_become_permissions() {
        let settings = json!({
            "claims": { "permissions": "/realm_access/roles" },
            "permissions": { "iam-admin": ["IAM_READ", "IAM_WRITE"], "auditor": ["AUDIT_READ"] },
        });
        let token = json!({ "sub": "7", "preferred_username": "ada",
            "realm_access": { "roles": ["auditor", "offline_access", "USER_READ"] } });
        let claims = claims(settings, token);
        assert_eq!(claims.subject, "https://idp.example#7");
        assert_eq!(claims.name, "ada");
        assert_eq!(claims.permissions, [Permission::AuditRead].into());
        assert_eq!(claims.organizations.keys().collect::<Vec<_>>(), ["acme"]);
    }

    #[test]
    fn tenants_become_organizations_and_foreign_ones_are_passed_over() {
        let settings = json!({
            "organizations": { "8f1c": "acme", "77aa": "globex" },
            "claims": { "subject": "oid", "organizations": "tid", "permissions": "roles" },
        });
        let token = json!({ "oid": "1", "tid": "77aa", "roles": ["IAM_READ", "PLATFORM_ADMIN"] });
        let mine = claims(settings.clone(), token);
        assert_eq!(mine.organizations, [("globex".to_owned(), Permissions::new())].into());
        assert_eq!(
            mine.permissions,
            [Permission::IamRead].into(),
            "one tenant's issuer cannot give the platform"
        );
        for tid in [json!("globex"), json!("acme"), json!(null), json!(["x"])] {
            assert!(
                claims(settings.clone(), json!({ "oid": "1", "tid": tid }))
                    .organizations
                    .is_empty()
            );
        }
    }

    #[test]
    fn a_map_gives_each_organization_its_own() {
        let settings = json!({
            "organizations": "*", "claims": { "organizations": "https://x.example/orgs" },
        });
        let token = json!({ "sub": "1", "permissions": "USER_READ PLATFORM_ADMIN",
            "https://x.example/orgs": { "acme": ["IAM_READ"], "globex": [] } });
        let claims = claims(settings, token);
        let acme: Permissions = [Permission::IamRead].into();
        assert_eq!(
            claims.organizations,
            [("acme".to_owned(), acme), ("globex".to_owned(), Permissions::new())].into()
        );
        assert_eq!(claims.permissions, [Permission::UserRead, Permission::PlatformAdmin].into());
    }

    #[test]
    fn a_token_without_a_subject_is_none() {
        for token in [json!({}), json!({ "sub": "" }), json!({ "sub": 7 })] {
            assert_eq!(read_claims(&issuer(json!({})), token.as_object().unwrap()), None);
        }
    }
}
