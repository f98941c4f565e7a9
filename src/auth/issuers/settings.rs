//! The file of trusted issuers: whose tokens open the management API beside the installation's own, and what their
//! claims mean here. Read and checked once, at the start; nothing in it is secret.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jsonwebtoken::Algorithm;
use reqwest::Url;
use serde::Deserialize;

use crate::authz::{Permission, Permissions};

/// Public-key algorithms: with a shared secret whoever checks a token could also make one.
const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// An issuer that is trusted.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// What its tokens say in `iss`, to the letter.
    pub url: String,
    /// Whom its tokens may be for: one of these must be in `aud`.
    pub audience: Vec<String>,
    pub keys: KeySource,
    /// The algorithms that its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Whether it may be reached over plain HTTP and in a private network.
    pub allow_private_addresses: bool,
    pub organizations: Organizations,
    pub claims: ClaimNames,
    /// What the issuer's own names (roles, groups) give; empty = it uses ours.
    pub permissions: BTreeMap<String, Permissions>,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// Told by its discovery document (OpenID Connect Discovery 1.0).
    Discovery(Url),
    /// Here (RFC 7517).
    Jwks(Url),
}

/// Which organizations an issuer may speak for.
#[derive(Debug, Clone)]
pub enum Organizations {
    /// All that there are; its claim holds their slugs. Only such an issuer may also give the platform's permission.
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
    /// A list of organizations, or a map from each to what the person may do there. Without it, everybody is in all
    /// of the named organizations.
    pub organizations: Option<String>,
    /// What the person may do in every organization that the token is for.
    pub permissions: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self { subject: "sub".into(), name: "name".into(), organizations: None, permissions: "permissions".into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    issuers: Vec<Entry>,
}

/// An issuer as the file writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    issuer: String,
    audience: Words,
    jwks_url: Option<String>,
    #[serde(default)]
    algorithms: Vec<String>,
    #[serde(default)]
    allow_private_addresses: bool,
    organizations: Slugs,
    #[serde(default)]
    claims: ClaimNames,
    #[serde(default)]
    permissions: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum Words {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "organizations: expected \"*\", a list of slugs, or a map from the claim's values to slugs"
)]
enum Slugs {
    Star(String),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}

/// Reads the file at `path`; `ours` is the local issuer's URL.
///
/// # Errors
/// One line that says what is wrong where.
pub fn read(path: &Path, ours: &str) -> Result<Vec<Issuer>, String> {
    let told = |what: String| format!("--issuers {}: {what}", path.display());
    let text = fs::read_to_string(path).map_err(|error| told(format!("cannot be read: {error}")))?;
    parse(&text, ours).map_err(told)
}

fn parse(text: &str, ours: &str) -> Result<Vec<Issuer>, String> {
    let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut issuers: Vec<Issuer> = Vec::new();
    for (at, entry) in file.issuers.into_iter().enumerate() {
        let name = entry.issuer.clone();
        let issuer = check(entry).map_err(|what| format!("issuers[{at}] {name:?}: {what}"))?;
        if issuer.url == ours || issuers.iter().any(|other| other.url == issuer.url) {
            return Err(format!("issuers[{at}] {name:?}: there is another issuer with this URL"));
        }
        issuers.push(issuer);
    }
    Ok(issuers)
}

fn check(entry: Entry) -> Result<Issuer, String> {
    let private = entry.allow_private_addresses;
    let discovery = format!("{}/.well-known/openid-configuration", entry.issuer.trim_end_matches('/'));
    let discovery = address("issuer", &discovery, private)?;
    let keys = match &entry.jwks_url {
        Some(text) => KeySource::Jwks(address("jwks_url", text, private)?),
        None => KeySource::Discovery(discovery),
    };
    let audience = match entry.audience {
        Words::One(word) => vec![word],
        Words::Many(words) => words,
    };
    if audience.is_empty() || audience.iter().any(String::is_empty) {
        return Err("audience must name whom tokens are for".into());
    }
    let algorithms = match entry.algorithms.is_empty() {
        // What every issuer of OpenID Connect can do (OpenID Connect Core 1.0, section 15.1).
        true => vec![Algorithm::RS256],
        false => entry.algorithms.iter().map(|name| algorithm(name)).collect::<Result<_, _>>()?,
    };
    let organizations = match entry.organizations {
        Slugs::Star(star) if star == "*" => Organizations::Any,
        Slugs::Star(other) => return Err(format!("organizations must be \"*\", a list or a map, not {other:?}")),
        Slugs::List(slugs) => Organizations::Named(slugs.into_iter().map(|slug| (slug.clone(), slug)).collect()),
        Slugs::Map(slugs) => Organizations::Named(slugs),
    };
    match &organizations {
        Organizations::Any if entry.claims.organizations.is_none() => {
            return Err("organizations \"*\" needs claims.organizations, the claim that names them".into());
        }
        Organizations::Named(slugs) if slugs.is_empty() => return Err("organizations must name at least one".into()),
        _ => {}
    }
    let permissions = entry.permissions.into_iter().map(|(theirs, ours)| {
        let ours = ours.iter().map(|name| name.parse::<Permission>());
        let ours = ours.collect::<Result<_, _>>().map_err(|why| format!("permissions.{theirs}: {why}"))?;
        Ok((theirs, ours))
    });
    Ok(Issuer {
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

fn address(field: &str, text: &str, private: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| format!("{field} must be a full URL, like https://login.example.com"))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if private => Ok(url),
        "http" => Err(format!("{field} must be https; for development, \"allow_private_addresses\": true allows http")),
        _ => Err(format!("{field} must be an https URL")),
    }
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    let known = ALGORITHMS.contains(&name).then(|| name.parse().ok()).flatten();
    known.ok_or_else(|| format!("algorithms: {name:?} is not one of {}", ALGORITHMS.join(", ")))
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
        let issuers = parse(&entry(r#", "organizations": ["acme"]"#), "https://rolecall.example").unwrap();
        assert_eq!(issuers[0].algorithms, [Algorithm::RS256]);
        assert_eq!(issuers[0].audience, ["rolecall"]);
        let KeySource::Discovery(url) = &issuers[0].keys else { panic!("{issuers:?}") };
        assert_eq!(url.as_str(), "https://idp.example/.well-known/openid-configuration");
        assert!(!issuers[0].allow_private_addresses);
    }

    #[test]
    fn the_documented_example_is_read() {
        let page = include_str!("../../docs/graphql/authentication.md");
        let example = page.split("```json\n").skip(1).filter_map(|rest| rest.split_once("```"));
        let (example, _) = example.into_iter().find(|(text, _)| text.contains("\"issuers\"")).unwrap();
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
            (entry(&format!("{acme}, \"algorithms\": [\"HS256\"]")), "\"HS256\" is not one of RS256"),
            (entry(&format!("{acme}, \"algorithms\": [\"none\"]")), "\"none\" is not one of RS256"),
            (entry(&format!("{acme}, \"jwks_url\": \"http://idp.example/keys\"")), "jwks_url must be https"),
            (entry(&format!("{acme}, \"jwks_url\": \"keys\"")), "jwks_url must be a full URL"),
            (entry(&format!("{acme}, \"permissions\": {{ \"boss\": [\"ALL\"] }}")), "unknown permission \"ALL\""),
            (entry(r#", "organizations": "acme""#), "organizations must be \"*\""),
            (entry(r#", "organizations": 1"#), "organizations: expected \"*\""),
            (entry(r#", "organizations": []"#), "at least one"),
            (entry(r#", "organizations": "*""#), "needs claims.organizations"),
            (entry(acme).replace("idp.example", "rolecall.example"), "another issuer with this URL"),
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
