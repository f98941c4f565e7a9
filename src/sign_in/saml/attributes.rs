//! What the attributes of a verified assertion say about a person: by the names that the connection
//! has set, and by the forms in which providers write groups.

use std::collections::BTreeSet;

use ::saml::Assertion;

use crate::domain::connection::assertion_source::saml::SamlAttributes;
use crate::domain::sign_in::{ClaimedGroup, GroupClaims, ProviderTenant, VerifiedAssertion};
use crate::error::{RefusalReason, Result};
use crate::sign_in::oidc::refusal_error;

/// The longest subject, name or key of a group.
const MAX_TEXT_LENGTH: usize = 500;
/// Entra ID's attribute in place of the groups of a person who is in more than 150.
const OVERAGE: &str = "http://schemas.microsoft.com/claims/groups.link";

/// What a verified assertion says.
///
/// # Errors
/// [`crate::error::Error::Held`] if it does not say who the person is.
pub fn read_assertion(names: &SamlAttributes, assertion: Assertion) -> Result<VerifiedAssertion> {
    let missing = |why| refusal_error(RefusalReason::AssertionClaim, why);
    let text = |name: &Option<String>| named_text(&assertion, name.as_deref()?);
    let or_name_id = |name: &Option<String>| match name {
        Some(name) => named_text(&assertion, name),
        None => check_text(&assertion.name_id),
    };
    let subject = or_name_id(&names.subject)
        .ok_or_else(|| missing("the assertion does not say who the person is (subject)"))?;
    let user_name = or_name_id(&names.user_name)
        .ok_or_else(|| missing("the assertion does not say how the person signs in (userName)"))?;
    let verified = text(&names.email_verified);
    Ok(VerifiedAssertion {
        id: Some(assertion.id.chars().take(200).collect()),
        fingerprint: assertion.fingerprint,
        subject,
        user_name,
        email: text(&names.email),
        email_verified: verified
            .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")),
        display_name: text(&names.display_name),
        given_name: text(&names.given_name),
        family_name: text(&names.family_name),
        tenant: ProviderTenant::Own,
        groups: read_groups(names, &assertion),
        issued_at: assertion.issued_at,
        authenticated_at: Some(assertion.authenticated_at),
    })
}

fn named_text(assertion: &Assertion, name: &str) -> Option<String> {
    check_text(assertion.value(name)?)
}

/// The text, if it can be a name.
fn check_text(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.chars().count() <= MAX_TEXT_LENGTH;
    (fits && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// The groups, and the roles that count as groups. A list that is absent, or that is said to be
/// incomplete, makes the whole incomplete: what it would have named must not be taken away.
fn read_groups(names: &SamlAttributes, assertion: &Assertion) -> GroupClaims {
    let lists: Vec<Option<&[String]>> = [&names.groups, &names.roles]
        .into_iter()
        .flatten()
        .map(|name| assertion.values(name))
        .collect();
    let left_out = names.groups.is_some() && assertion.values(OVERAGE).is_some();
    if lists.iter().all(Option::is_none) && !left_out {
        return GroupClaims::Absent;
    }
    let mut complete = !left_out && lists.iter().all(Option::is_some);
    let mut found = BTreeSet::new();
    for value in lists.into_iter().flatten().flatten() {
        if value.is_empty() {
            // An element without a text: the way of some providers to say that there is none.
            continue;
        }
        match check_text(value) {
            Some(key) => {
                found.insert(ClaimedGroup { key, display_name: None });
            }
            None => complete = false,
        }
    }
    let found = found.into_iter().collect();
    if complete { GroupClaims::Complete(found) } else { GroupClaims::Incomplete(found) }
}

#[cfg(test)]
mod tests {
    use ::saml::Attribute;
    use entity::connection::Provider;

    use super::*;

    fn assertion(attributes: &[(&str, &[&str])]) -> Assertion {
        let instant = "2026-11-30T00:00:00Z".parse().unwrap();
        Assertion {
            id: "_a".into(),
            issuer: "https://idp.test".into(),
            issued_at: instant,
            authenticated_at: instant,
            expires_at: instant,
            name_id: "ada@example.com".into(),
            name_id_format: None,
            session_index: None,
            attributes: attributes
                .iter()
                .map(|(name, values)| Attribute {
                    name: (*name).into(),
                    friendly_name: None,
                    values: values.iter().map(|value| (*value).into()).collect(),
                })
                .collect(),
            fingerprint: [0; 32],
        }
    }

    fn read(provider: Provider, attributes: &[(&str, &[&str])]) -> VerifiedAssertion {
        read_assertion(&SamlAttributes::preset(provider), assertion(attributes)).unwrap()
    }

    fn keys(groups: &GroupClaims) -> (bool, Vec<&str>) {
        let (complete, groups) = match groups {
            GroupClaims::Absent => panic!("absent"),
            GroupClaims::Complete(groups) => (true, groups),
            GroupClaims::Incomplete(groups) => (false, groups),
        };
        (complete, groups.iter().map(|group| group.key.as_str()).collect())
    }

    #[test]
    fn names_of_entra_are_read() {
        let groups = "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups";
        let assertion = read(
            Provider::EntraId,
            &[
                ("http://schemas.microsoft.com/identity/claims/objectidentifier", &["8f1c"]),
                ("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name", &["ada@a.test"]),
                ("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/givenname", &["Ada"]),
                (groups, &["2", "1", "2"]),
            ],
        );
        assert_eq!(
            (assertion.subject.as_str(), assertion.user_name.as_str()),
            ("8f1c", "ada@a.test")
        );
        assert_eq!(assertion.given_name.as_deref(), Some("Ada"));
        assert_eq!(keys(&assertion.groups), (true, vec!["1", "2"]));
        assert!(!assertion.email_verified);
    }

    #[test]
    fn overage_of_entra_is_incomplete() {
        let person: (&str, &[&str]) =
            ("http://schemas.microsoft.com/identity/claims/objectidentifier", &["8f1c"]);
        let name: (&str, &[&str]) =
            ("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name", &["ada@a.test"]);
        let link: (&str, &[&str]) = (OVERAGE, &["https://graph.windows.net/8f1c/users/1"]);
        let assertion = read(Provider::EntraId, &[person, name, link]);
        assert_eq!(keys(&assertion.groups), (false, vec![]));
        let assertion = read(Provider::EntraId, &[person, name]);
        assert_eq!(assertion.groups, GroupClaims::Absent);
    }

    #[test]
    fn names_of_others_are_read() {
        let assertion =
            read(Provider::Okta, &[("groups", &["Staff", ""]), ("email", &["a@a.test"])]);
        assert_eq!(assertion.subject, "ada@example.com");
        assert_eq!(assertion.email.as_deref(), Some("a@a.test"));
        assert_eq!(keys(&assertion.groups), (true, vec!["Staff"]));
        let assertion = read(Provider::Keycloak, &[("member", &["/staff/core"])]);
        assert_eq!(keys(&assertion.groups), (true, vec!["/staff/core"]));
        let assertion = read(Provider::Okta, &[("groups", &[""])]);
        assert_eq!(keys(&assertion.groups), (true, vec![]));
        // Something that is not understood takes nothing away.
        let assertion = read(Provider::Okta, &[("groups", &["a\u{7}b", "c"])]);
        assert_eq!(keys(&assertion.groups), (false, vec!["c"]));
    }
}
