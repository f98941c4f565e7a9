//! Reading a verified assertion: the person, the audience, the times.

use chrono::{DateTime, TimeDelta, Utc};
use uppsala::{Document, NodeId};

use super::{ExpectedRequest, ResponseExpectation};
use crate::ResponseRefusal;
use crate::namespace::ASSERTION;
use crate::xml::{attribute, child_elements, children_named, is_element, only_child, text_of};

const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
/// Identity providers give minutes, or an hour. The store of seen assertions has to keep each as
/// long as it is valid.
const MAX_LIFETIME: TimeDelta = TimeDelta::days(1);

/// What a verified assertion says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    pub id: String,
    pub issuer: String,
    pub issued_at: DateTime<Utc>,
    /// When the identity provider authenticated the person.
    pub authenticated_at: DateTime<Utc>,
    /// From then on, it would be refused (without the skew).
    pub expires_at: DateTime<Utc>,
    /// The person's name, of the form that `name_id_format` says.
    pub name_id: String,
    pub name_id_format: Option<String>,
    pub session_index: Option<String>,
    pub attributes: Vec<Attribute>,
    /// SHA-256 of the signed text.
    pub fingerprint: [u8; 32],
}

/// An attribute with all its values. One that the assertion repeats is one here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    pub friendly_name: Option<String>,
    pub values: Vec<String>,
}

impl Assertion {
    /// The values of an attribute, by its name or else its friendly name. None = it is absent.
    pub fn values(&self, name: &str) -> Option<&[String]> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name == name)
            .or_else(|| {
                self.attributes
                    .iter()
                    .find(|attribute| attribute.friendly_name.as_deref() == Some(name))
            })
            .map(|attribute| &attribute.values[..])
    }

    /// The first value of an attribute that is not empty.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name)?.iter().map(String::as_str).find(|value| !value.is_empty())
    }
}

/// Reads an assertion out of the verified text, and checks all that it says about itself.
pub fn read_assertion(
    document: &Document<'_>,
    node: NodeId,
    fingerprint: &[u8],
    expected: &ResponseExpectation<'_>,
) -> Result<Assertion, ResponseRefusal> {
    if attribute(document, node, "Version") != Some("2.0") {
        return Err(ResponseRefusal::Incomplete("version 2.0"));
    }
    let id = attribute(document, node, "ID")
        .filter(|id| !id.is_empty() && id.len() <= 256)
        .ok_or(ResponseRefusal::Incomplete("an ID"))?;
    let issuer = only_child(document, node, ASSERTION, "Issuer")
        .map(|issuer| text_of(document, issuer))
        .ok_or(ResponseRefusal::Issuer)?;
    if issuer != expected.identity_provider {
        return Err(ResponseRefusal::Issuer);
    }
    let issued_at = read_time(document, node, "IssueInstant")?
        .ok_or(ResponseRefusal::Incomplete("IssueInstant"))?;
    if issued_at > expected.now + expected.skew {
        return Err(ResponseRefusal::NotYetValid);
    }
    let conditions_end = check_conditions(document, node, expected)?;

    let subject = only_child(document, node, ASSERTION, "Subject")
        .ok_or(ResponseRefusal::Incomplete("a subject"))?;
    if !children_named(document, subject, ASSERTION, "EncryptedID").is_empty() {
        return Err(ResponseRefusal::EncryptedPart);
    }
    let name = only_child(document, subject, ASSERTION, "NameID")
        .ok_or(ResponseRefusal::Incomplete("a NameID"))?;
    let name_id = text_of(document, name);
    if name_id.is_empty() {
        return Err(ResponseRefusal::Incomplete("a NameID"));
    }
    let confirmation_end = check_confirmation(document, subject, expected)?;
    let (authenticated_at, session_index) = read_statement(document, node, expected)?;

    Ok(Assertion {
        id: id.to_owned(),
        issuer,
        issued_at,
        authenticated_at,
        expires_at: conditions_end.map_or(confirmation_end, |end| end.min(confirmation_end)),
        name_id,
        name_id_format: attribute(document, name, "Format").map(ToOwned::to_owned),
        session_index,
        attributes: read_attributes(document, node)?,
        fingerprint: fingerprint.try_into().map_err(|_| ResponseRefusal::Digest)?,
    })
}

/// An instant in UTC, as SAML wants all of them. None = the attribute is absent.
fn read_time(
    document: &Document<'_>,
    node: NodeId,
    name: &'static str,
) -> Result<Option<DateTime<Utc>>, ResponseRefusal> {
    let Some(text) = attribute(document, node, name) else { return Ok(None) };
    let instant =
        DateTime::parse_from_rfc3339(text.trim()).map_err(|_| ResponseRefusal::Incomplete(name))?;
    let instant = instant.with_timezone(&Utc);
    // So that sums with the skew cannot leave the calendar.
    if instant.timestamp().unsigned_abs() > 253_402_300_799 - 86_400 {
        return Err(ResponseRefusal::Incomplete(name));
    }
    Ok(Some(instant))
}

/// Audience and times. Returns the end, if one is said.
fn check_conditions(
    document: &Document<'_>,
    assertion: NodeId,
    expected: &ResponseExpectation<'_>,
) -> Result<Option<DateTime<Utc>>, ResponseRefusal> {
    let conditions = only_child(document, assertion, ASSERTION, "Conditions")
        .ok_or(ResponseRefusal::Incomplete("conditions"))?;
    let end = check_times(document, conditions, expected)?;
    let mut restricted = false;
    for condition in child_elements(document, conditions) {
        if is_element(document, condition, ASSERTION, "AudienceRestriction") {
            restricted = true;
            let named = children_named(document, condition, ASSERTION, "Audience");
            let meant = named.into_iter().any(|audience| {
                let audience = text_of(document, audience);
                expected.audiences.contains(&audience)
            });
            if !meant {
                return Err(ResponseRefusal::Audience);
            }
        } else if !is_element(document, condition, ASSERTION, "OneTimeUse")
            && !is_element(document, condition, ASSERTION, "ProxyRestriction")
        {
            // Each is used once anyway, and never passed on.
            return Err(ResponseRefusal::Condition);
        }
    }
    if restricted { Ok(end) } else { Err(ResponseRefusal::Audience) }
}

fn check_times(
    document: &Document<'_>,
    node: NodeId,
    expected: &ResponseExpectation<'_>,
) -> Result<Option<DateTime<Utc>>, ResponseRefusal> {
    if read_time(document, node, "NotBefore")?
        .is_some_and(|start| start > expected.now + expected.skew)
    {
        return Err(ResponseRefusal::NotYetValid);
    }
    let end = read_time(document, node, "NotOnOrAfter")?;
    if end.is_some_and(|end| end + expected.skew <= expected.now) {
        return Err(ResponseRefusal::Expired);
    }
    Ok(end)
}

/// One confirmation by bearer must fit in all parts. Returns its end.
fn check_confirmation(
    document: &Document<'_>,
    subject: NodeId,
    expected: &ResponseExpectation<'_>,
) -> Result<DateTime<Utc>, ResponseRefusal> {
    let mut refusal = ResponseRefusal::Confirmation("there is none");
    for confirmation in children_named(document, subject, ASSERTION, "SubjectConfirmation") {
        if attribute(document, confirmation, "Method") != Some(BEARER) {
            continue;
        }
        match check_bearer(document, confirmation, expected) {
            Ok(end) => return Ok(end),
            Err(reason) => refusal = reason,
        }
    }
    Err(refusal)
}

fn check_bearer(
    document: &Document<'_>,
    confirmation: NodeId,
    expected: &ResponseExpectation<'_>,
) -> Result<DateTime<Utc>, ResponseRefusal> {
    let data = only_child(document, confirmation, ASSERTION, "SubjectConfirmationData")
        .ok_or(ResponseRefusal::Confirmation("it has no data"))?;
    let recipient = attribute(document, data, "Recipient").unwrap_or_default();
    if !expected.recipients.iter().any(|own| own == recipient) {
        return Err(ResponseRefusal::Confirmation("it has another recipient"));
    }
    let end = check_times(document, data, expected)?
        .ok_or(ResponseRefusal::Confirmation("it has no NotOnOrAfter"))?;
    if end > expected.now + MAX_LIFETIME + expected.skew {
        return Err(ResponseRefusal::LongLived);
    }
    match (expected.request, attribute(document, data, "InResponseTo")) {
        (ExpectedRequest::Unsolicited, None) => Ok(end),
        (ExpectedRequest::Unsolicited, Some(_)) => Err(ResponseRefusal::UnexpectedRequest),
        (ExpectedRequest::Id(id), Some(answered)) if id == answered => Ok(end),
        (ExpectedRequest::Id(_), _) => Err(ResponseRefusal::Request),
    }
}

/// When the person was authenticated, and in which session.
fn read_statement(
    document: &Document<'_>,
    assertion: NodeId,
    expected: &ResponseExpectation<'_>,
) -> Result<(DateTime<Utc>, Option<String>), ResponseRefusal> {
    let statements = children_named(document, assertion, ASSERTION, "AuthnStatement");
    let statement = *statements.first().ok_or(ResponseRefusal::Incomplete("an AuthnStatement"))?;
    let authenticated_at = read_time(document, statement, "AuthnInstant")?
        .ok_or(ResponseRefusal::Incomplete("AuthnInstant"))?;
    if authenticated_at > expected.now + expected.skew {
        return Err(ResponseRefusal::NotYetValid);
    }
    if read_time(document, statement, "SessionNotOnOrAfter")?
        .is_some_and(|end| end + expected.skew <= expected.now)
    {
        return Err(ResponseRefusal::Expired);
    }
    let index = attribute(document, statement, "SessionIndex").map(ToOwned::to_owned);
    Ok((authenticated_at, index))
}

fn read_attributes(
    document: &Document<'_>,
    assertion: NodeId,
) -> Result<Vec<Attribute>, ResponseRefusal> {
    let mut attributes: Vec<Attribute> = Vec::new();
    for statement in children_named(document, assertion, ASSERTION, "AttributeStatement") {
        if !children_named(document, statement, ASSERTION, "EncryptedAttribute").is_empty() {
            return Err(ResponseRefusal::EncryptedPart);
        }
        for node in children_named(document, statement, ASSERTION, "Attribute") {
            let name = attribute(document, node, "Name")
                .ok_or(ResponseRefusal::Incomplete("the name of an attribute"))?;
            let values = children_named(document, node, ASSERTION, "AttributeValue");
            let values = values.into_iter().map(|value| text_of(document, value));
            // Keycloak writes one attribute for each value, unless it is told otherwise.
            match attributes.iter_mut().find(|known| known.name == name) {
                Some(known) => known.values.extend(values),
                None => attributes.push(Attribute {
                    name: name.to_owned(),
                    friendly_name: attribute(document, node, "FriendlyName").map(ToOwned::to_owned),
                    values: values.collect(),
                }),
            }
        }
    }
    Ok(attributes)
}
