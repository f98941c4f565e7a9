//! The file of trusted issuers: whose tokens open the management API beside the installation's own,
//! and what their claims mean here. Read and checked once, at the start; nothing in it is secret.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jsonwebtoken::Algorithm;
use reqwest::Url;
use serde::Deserialize;

use crate::auth::policy::{Permission, Permissions};

/// Public-key algorithms only: with a shared secret, each server that checks a token could also
/// sign one.
const PUBLIC_KEY_ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// An issuer that is trusted.
#[derive(Debug, Clone)]
pub struct TrustedIssuer {
    /// The exact value of `iss` in its tokens.
    pub url: String,
    /// The audiences that are accepted: one of these must be in `aud`.
    pub audience: Vec<String>,
    pub keys: KeySource,
    /// The algorithms that its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Whether it may be reached over plain HTTP and in a private network.
    pub allow_private_addresses: bool,
    pub organizations: AllowedOrganizations,
    pub claims: ClaimNames,
    /// What the issuer's own names (roles, groups) give; empty = it uses ours.
    pub permissions: BTreeMap<String, Permissions>,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// At the address in its discovery document (OpenID Connect Discovery 1.0).
    Discovery(Url),
    /// At this address, as a JWK Set (RFC 7517).
    Jwks(Url),
}

/// Which organizations an issuer may speak for.
#[derive(Debug, Clone)]
pub enum AllowedOrganizations {
    /// All that there are; its claim holds their slugs. Only such an issuer may also give the
    /// platform's permission.
    Any,
    /// These: the slug by the value that its claim holds.
    Named(BTreeMap<String, String>),
}

/// Which claims say what: a name, or a JSON Pointer (RFC 6901) into a nested one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimNames {
    pub subject: String,
    pub name: String,
    /// A list of organizations, or a map from each to what the person may do there. Without it,
    /// each person is in all of the named organizations.
    pub organizations: Option<String>,
    /// What the person may do in every organization that the token is for.
    pub permissions: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            subject: "sub".into(),
            name: "name".into(),
            organizations: None,
            permissions: "permissions".into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuersFile {
    issuers: Vec<IssuerEntry>,
}

/// An issuer as the file writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerEntry {
    issuer: String,
    audience: OneOrMany,
    jwks_url: Option<String>,
    #[serde(default)]
    algorithms: Vec<String>,
    #[serde(default)]
    allow_private_addresses: bool,
    organizations: SlugSetting,
    #[serde(default)]
    claims: ClaimNames,
    #[serde(default)]
    permissions: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "organizations: expected \"*\", a list of slugs, or a map from the claim's values \
                 to slugs"
)]
enum SlugSetting {
    Star(String),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}

/// Reads the file at `path`; `ours` is the local issuer's URL.
///
/// # Errors
/// One line that says what is wrong where.
pub fn read_issuers_file(path: &Path, ours: &str) -> Result<Vec<TrustedIssuer>, String> {
    let describe = |what: String| format!("--issuers {}: {what}", path.display());
    let text =
        fs::read_to_string(path).map_err(|error| describe(format!("cannot be read: {error}")))?;
    parse(&text, ours).map_err(describe)
}

fn parse(text: &str, ours: &str) -> Result<Vec<TrustedIssuer>, String> {
    let file: IssuersFile = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut issuers: Vec<TrustedIssuer> = Vec::new();
    for (at, entry) in file.issuers.into_iter().enumerate() {
        let name = entry.issuer.clone();
        let issuer =
            check_entry(entry).map_err(|what| format!("issuers[{at}] {name:?}: {what}"))?;
        if issuer.url == ours || issuers.iter().any(|other| other.url == issuer.url) {
            return Err(format!("issuers[{at}] {name:?}: there is another issuer with this URL"));
        }
        issuers.push(issuer);
    }
    Ok(issuers)
}

fn check_entry(entry: IssuerEntry) -> Result<TrustedIssuer, String> {
    let private = entry.allow_private_addresses;
    let discovery =
        format!("{}/.well-known/openid-configuration", entry.issuer.trim_end_matches('/'));
    let discovery = check_address("issuer", &discovery, private)?;
    let keys = match &entry.jwks_url {
        Some(text) => KeySource::Jwks(check_address("jwks_url", text, private)?),
        None => KeySource::Discovery(discovery),
    };
    let audience = match entry.audience {
        OneOrMany::One(word) => vec![word],
        OneOrMany::Many(words) => words,
    };
    if audience.is_empty() || audience.iter().any(String::is_empty) {
        return Err("audience must name the intended recipients of the tokens".into());
    }
    let algorithms = if entry.algorithms.is_empty() {
        // Every OpenID provider supports it (OpenID Connect Core 1.0, section 15.1).
        vec![Algorithm::RS256]
    } else {
        entry.algorithms.iter().map(|name| parse_algorithm(name)).collect::<Result<_, _>>()?
    };
    let organizations = match entry.organizations {
        SlugSetting::Star(star) if star == "*" => AllowedOrganizations::Any,
        SlugSetting::Star(other) => {
            return Err(format!("organizations must be \"*\", a list or a map, not {other:?}"));
        }
        SlugSetting::List(slugs) => AllowedOrganizations::Named(
            slugs.into_iter().map(|slug| (slug.clone(), slug)).collect(),
        ),
        SlugSetting::Map(slugs) => AllowedOrganizations::Named(slugs),
    };
    match &organizations {
        AllowedOrganizations::Any if entry.claims.organizations.is_none() => {
            return Err(
                "organizations \"*\" needs claims.organizations, the claim that names them".into(),
            );
        }
        AllowedOrganizations::Named(slugs) if slugs.is_empty() => {
            return Err("organizations must name at least one".into());
        }
        _ => {}
    }
    let permissions = entry.permissions.into_iter().map(|(theirs, ours)| {
        let ours = ours.iter().map(|name| name.parse::<Permission>());
        let ours =
            ours.collect::<Result<_, _>>().map_err(|why| format!("permissions.{theirs}: {why}"))?;
        Ok((theirs, ours))
    });
    Ok(TrustedIssuer {
        permissions: permissions.collect::<Result<_, String>>()?,
        url: entry.issuer,
        audience,
        keys,
        algorithms,
        allow_private_addresses: private,
        organizations,
        claims: entry.claims,
    })
}

fn check_address(field: &str, text: &str, private: bool) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|_| format!("{field} must be a full URL, like https://login.example.com"))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if private => Ok(url),
        "http" => Err(format!(
            "{field} must be https; for development, \"allow_private_addresses\": true allows http"
        )),
        _ => Err(format!("{field} must be an https URL")),
    }
}

fn parse_algorithm(name: &str) -> Result<Algorithm, String> {
    let known = PUBLIC_KEY_ALGORITHMS.contains(&name).then(|| name.parse().ok()).flatten();
    known.ok_or_else(|| {
        format!("algorithms: {name:?} is not one of {}", PUBLIC_KEY_ALGORITHMS.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> String {
        parse(text, "https://rolecall.example").unwrap_err()
    }

    fn one(more: &str) -> String {
        format!(r#"{{ "issuer": "https://idp.example", "audience": "rolecall"{more} }}"#)
    }

    fn entry(more: &str) -> String {
        format!(r#"{{ "issuers": [{}] }}"#, one(more))
    }

    #[test]
    fn an_issuer_needs_little_and_gets_what_openid_connect_promises() {
        let issuers =
            parse(&entry(r#", "organizations": ["acme"]"#), "https://rolecall.example").unwrap();
        assert_eq!(issuers[0].algorithms, [Algorithm::RS256]);
        assert_eq!(issuers[0].audience, ["rolecall"]);
        let KeySource::Discovery(url) = &issuers[0].keys else { panic!("{issuers:?}") };
        assert_eq!(url.as_str(), "https://idp.example/.well-known/openid-configuration");
        assert!(!issuers[0].allow_private_addresses);
    }

    #[test]
    fn the_documented_example_is_read() {
        let page = include_str!("../../../docs/graphql/authentication.md");
        let example = page.split("```json\n").skip(1).filter_map(|rest| rest.split_once("```"));
        let (example, _) =
            example.into_iter().find(|(text, _)| text.contains("\"issuers\"")).unwrap();
        let issuers = parse(example, "https://rolecall.example").unwrap();
        assert_eq!(issuers.len(), 2);
        assert_eq!(issuers[0].permissions["auditor"], [Permission::AuditRead].into());
        assert!(matches!(issuers[1].keys, KeySource::Jwks(_)));
    }

    #[test]
    fn every_mistake_is_told_in_one_line_with_its_place() {
        let acme = r#", "organizations": ["acme"]"#;
        let twice = format!(r#"{{ "issuers": [{0}, {0}] }}"#, one(acme));
        let mistakes = [
            (entry(""), "missing field `organizations`"),
            (entry(&format!("{acme}, \"algorithm\": \"RS256\"")), "unknown field `algorithm`"),
            (
                entry(&format!("{acme}, \"algorithms\": [\"HS256\"]")),
                "\"HS256\" is not one of RS256",
            ),
            (entry(&format!("{acme}, \"algorithms\": [\"none\"]")), "\"none\" is not one of RS256"),
            (
                entry(&format!("{acme}, \"jwks_url\": \"http://idp.example/keys\"")),
                "jwks_url must be https",
            ),
            (entry(&format!("{acme}, \"jwks_url\": \"keys\"")), "jwks_url must be a full URL"),
            (
                entry(&format!("{acme}, \"permissions\": {{ \"boss\": [\"ALL\"] }}")),
                "unknown permission \"ALL\"",
            ),
            (entry(r#", "organizations": "acme""#), "organizations must be \"*\""),
            (entry(r#", "organizations": 1"#), "organizations: expected \"*\""),
            (entry(r#", "organizations": []"#), "at least one"),
            (entry(r#", "organizations": "*""#), "needs claims.organizations"),
            (
                entry(acme).replace("idp.example", "rolecall.example"),
                "another issuer with this URL",
            ),
            (twice, "another issuer with this URL"),
            (entry(acme).replace("\"rolecall\"", "[]"), "audience must name"),
            ("{".into(), "EOF while parsing"),
        ];
        for (text, expected) in mistakes {
            let told = mistake(&text);
            assert!(told.contains(expected) && !told.contains('\n'), "{text}\n{told}");
        }
    }
}
