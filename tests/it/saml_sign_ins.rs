//! Sign-ins with SAML: responses that applications hand over, replays, our metadata, and signing in
//! here. What the verifier refuses about a response itself is tested in the crate `saml`, with
//! responses of implementations by others.

use std::io::Read;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use flate2::read::DeflateDecoder;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rolecall::domain::sign_in::replay::forget_expired_assertions;
use saml::ServiceKey;
use serde_json::{Value, json};

use crate::assertions::{key_with, world};
use crate::world::{Answer, Tenant, World};

pub const ENTITY: &str = "https://idp.example/saml";
pub const FORM: &str = "application/x-www-form-urlencoded";
const APP: &str = "https://app.example/back";

/// An identity provider that signs assertions. It writes them in canonical form, so that it needs
/// no canonicalization.
pub struct IdentityProvider {
    key: KeyPair,
    certificate: String,
}

/// What an assertion says.
pub struct Said {
    id: String,
    audience: String,
    recipient: String,
    request: Option<String>,
    name: String,
    groups: Vec<&'static str>,
    issued_at: DateTime<Utc>,
}

impl Said {
    /// A sign-in of a person at this moment, which answers a request of an application.
    pub fn of_ada(id: &str, audience: &str, recipient: &str, request: &str) -> Self {
        Self {
            id: id.into(),
            audience: audience.into(),
            recipient: recipient.into(),
            request: Some(request.into()),
            name: "ada".into(),
            groups: Vec::new(),
            issued_at: Utc::now(),
        }
    }
}

impl IdentityProvider {
    pub fn new() -> Self {
        Self::since(Utc::now())
    }

    /// One whose certificate was made at this time.
    pub fn since(made_at: DateTime<Utc>) -> Self {
        let (key, certificate) = ServiceKey::generate_key("idp", made_at).unwrap();
        Self { key: KeyPair::from_pkcs8(&key).unwrap(), certificate: STANDARD.encode(certificate) }
    }

    pub fn metadata(&self) -> String {
        format!(
            "<EntityDescriptor xmlns=\"urn:oasis:names:tc:SAML:2.0:metadata\" \
             entityID=\"{ENTITY}\"><IDPSSODescriptor \
             protocolSupportEnumeration=\"urn:oasis:names:tc:SAML:2.0:protocol\"><KeyDescriptor>\
             <KeyInfo xmlns=\"http://www.w3.org/2000/09/xmldsig#\"><X509Data><X509Certificate>{}\
             </X509Certificate></X509Data></KeyInfo></KeyDescriptor><SingleSignOnService \
             Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect\" \
             Location=\"https://idp.example/sign-in\"/></IDPSSODescriptor></EntityDescriptor>",
            self.certificate
        )
    }

    /// A response with a signed assertion, as a form field.
    pub fn respond(&self, said: &Said) -> String {
        let time = |offset: i64| {
            let instant = said.issued_at + TimeDelta::seconds(offset);
            instant.to_rfc3339_opts(SecondsFormat::Secs, true)
        };
        let request = said.request.as_ref();
        let answered = request.map_or(String::new(), |id| format!("InResponseTo=\"{id}\" "));
        let groups: String = said
            .groups
            .iter()
            .map(|group| format!("<saml:AttributeValue>{group}</saml:AttributeValue>"))
            .collect();
        let groups = if groups.is_empty() {
            String::new()
        } else {
            format!(
                "<saml:AttributeStatement><saml:Attribute Name=\"groups\">{groups}\
                 </saml:Attribute></saml:AttributeStatement>"
            )
        };
        let assertion = format!(
            "<saml:Assertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" ID=\"{}\" \
             IssueInstant=\"{}\" Version=\"2.0\"><saml:Issuer>{ENTITY}</saml:Issuer>\
             <saml:Subject><saml:NameID>{}</saml:NameID><saml:SubjectConfirmation \
             Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\"><saml:SubjectConfirmationData \
             {answered}NotOnOrAfter=\"{}\" Recipient=\"{}\"></saml:SubjectConfirmationData>\
             </saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore=\"{}\" \
             NotOnOrAfter=\"{}\"><saml:AudienceRestriction><saml:Audience>{}</saml:Audience>\
             </saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement \
             AuthnInstant=\"{}\"></saml:AuthnStatement>{groups}</saml:Assertion>",
            said.id,
            time(0),
            said.name,
            time(300),
            said.recipient,
            time(-30),
            time(300),
            said.audience,
            time(-60),
        );
        let digest = STANDARD.encode(digest(&SHA256, assertion.as_bytes()));
        let info = format!(
            "<ds:SignedInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">\
             <ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\">\
             </ds:CanonicalizationMethod><ds:SignatureMethod \
             Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\">\
             </ds:SignatureMethod><ds:Reference URI=\"#{}\"><ds:Transforms><ds:Transform \
             Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>\
             <ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:Transform>\
             </ds:Transforms><ds:DigestMethod \
             Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"></ds:DigestMethod>\
             <ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>",
            said.id
        );
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key.sign(&RSA_PKCS1_SHA256, &random, info.as_bytes(), &mut signature).unwrap();
        let signature = format!(
            "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">{info}\
             <ds:SignatureValue>{}</ds:SignatureValue></ds:Signature>",
            STANDARD.encode(signature)
        );
        let signed = assertion.replacen("</saml:Issuer>", &format!("</saml:Issuer>{signature}"), 1);
        STANDARD.encode(format!(
            "<samlp:Response xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" ID=\"_r\" \
             {answered}Version=\"2.0\"><samlp:Status><samlp:StatusCode \
             Value=\"urn:oasis:names:tc:SAML:2.0:status:Success\"/></samlp:Status>{signed}\
             </samlp:Response>"
        ))
    }
}

/// A connection that trusts the identity provider, as its administrator sees it.
pub struct Connected {
    pub id: String,
    pub entity: String,
    pub consumer: String,
    pub metadata: String,
}

pub async fn connect(tenant: &Tenant, name: &str, saml: Value) -> Connected {
    let create = "mutation($i: ConnectionCreateInput!) { connectionCreate(input: $i) { \
                  connection { id assertionSource { protocol oidc { issuer } saml { entityId \
                  serviceEntityId serviceMetadataUrl consumerUrl signInUrl \
                  certificates { fingerprint } } } } userErrors { message path } } }";
    let input = json!({ "name": name, "provider": "GENERIC", "assertion": { "saml": saml } });
    let made = tenant.graphql(create, json!({ "i": input })).await;
    let connection = &made["data"]["connectionCreate"]["connection"];
    let source = &connection["assertionSource"];
    assert_eq!(source["protocol"], "SAML", "{made:#}");
    assert_eq!(source["oidc"], Value::Null);
    assert_eq!(source["saml"]["entityId"], ENTITY);
    assert_eq!(source["saml"]["signInUrl"], "https://idp.example/sign-in");
    assert_eq!(source["saml"]["certificates"].as_array().unwrap().len(), 1);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Connected {
        id: text(&connection["id"]),
        entity: text(&source["saml"]["serviceEntityId"]),
        consumer: text(&source["saml"]["consumerUrl"]),
        metadata: text(&source["saml"]["serviceMetadataUrl"]),
    }
}

pub fn said(world: &World, connected: &Connected, id: &str, request: Option<&str>) -> Said {
    Said {
        id: id.into(),
        audience: connected.entity.clone(),
        recipient: connected.consumer.clone(),
        request: request.map(Into::into),
        name: "ada".into(),
        groups: Vec::new(),
        issued_at: world.app.clock.now(),
    }
}

pub fn form_body(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

pub async fn submit(
    world: &World,
    slug: &str,
    key: &str,
    form: &[(&str, &str)],
    repeatable: Option<&str>,
) -> Answer {
    let url = format!("{}/assertions/{slug}", world.address);
    let mut request = world.acme.scim.http.post(url).bearer_auth(key);
    request = request.header("content-type", FORM).body(form_body(form));
    if let Some(key) = repeatable {
        request = request.header("idempotency-key", key);
    }
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn saml_response_counts_once() {
    let world = world().await;
    let provider = IdentityProvider::new();
    let saml = json!({ "metadata": { "xml": provider.metadata() } });
    let connected = connect(&world.acme, "SAML", saml).await;
    let app = key_with(&world.acme, "ASSERTION_WRITE").await;
    let user = world.scim().user("ada").await;
    let response = provider.respond(&said(&world, &connected, "_1", Some("_q")));
    let form = [("SAMLResponse", response.as_str()), ("requestId", "_q")];
    let first = submit(&world, "acme", &app, &form, None).await.is(200);
    assert_eq!(first.body["userId"], json!(user), "{:#}", first.body);
    assert_eq!(first.body["active"], true);
    let refused = submit(&world, "acme", &app, &form, None).await.is(422);
    assert_eq!(refused.body["code"], "ASSERTION_REPLAYED");
    let refused = submit(&world, "acme", &app, &form, Some("late")).await.is(422);
    assert_eq!(refused.body["code"], "ASSERTION_REPLAYED", "the first had no key");
    // With a key, the very same submission can be repeated, by the same caller.
    let response = provider.respond(&said(&world, &connected, "_2", Some("_q")));
    let form = [("SAMLResponse", response.as_str()), ("requestId", "_q")];
    let first = submit(&world, "acme", &app, &form, Some("k")).await.is(200);
    let again = submit(&world, "acme", &app, &form, Some("k")).await.is(200);
    assert_eq!(again.body, first.body);
    let refused = submit(&world, "acme", &app, &form, Some("other")).await.is(422);
    assert_eq!(refused.body["code"], "ASSERTION_REPLAYED");
    let another = key_with(&world.acme, "ASSERTION_WRITE").await;
    submit(&world, "acme", &another, &form, Some("k")).await.is(422);
    // Another text with the same id is not a repetition.
    let changed = Said { groups: vec!["Ward"], ..said(&world, &connected, "_2", Some("_q")) };
    let changed = provider.respond(&changed);
    let changed = [("SAMLResponse", changed.as_str()), ("requestId", "_q")];
    submit(&world, "acme", &app, &changed, Some("k")).await.is(422);
    // Of many at once, and on another server, exactly one counts.
    let response = provider.respond(&said(&world, &connected, "_3", Some("_q")));
    let form = [("SAMLResponse", response.as_str()), ("requestId", "_q")];
    let racing = (0..8).map(|_| submit(&world, "acme", &app, &form, None));
    let answers = futures_util::future::join_all(racing).await;
    let accepted = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(accepted, 1);
    let world = world.restart().await;
    let refused = submit(&world, "acme", &app, &form, None).await.is(422);
    assert_eq!(refused.body["code"], "ASSERTION_REPLAYED");
    // What has expired need not be remembered.
    assert_eq!(world.count("used_assertion", []).await, 3);
    world.app.clock.advance(Duration::from_secs(3_600));
    assert_eq!(forget_expired_assertions(&world.app).await.unwrap(), 3);
    let refused = submit(&world, "acme", &app, &form, None).await.is(422);
    assert_eq!(refused.body["code"], "ASSERTION_EXPIRED");
    world.end().await;
}

#[tokio::test]
async fn wrong_saml_responses_are_refused() {
    let world = world().await;
    let other = world.second_organization().await;
    let (provider, stranger) = (IdentityProvider::new(), IdentityProvider::new());
    let saml = json!({ "metadata": { "xml": provider.metadata() } });
    let connected = connect(&world.acme, "SAML", saml.clone()).await;
    let app = key_with(&world.acme, "ASSERTION_WRITE").await;
    let good = || said(&world, &connected, "_1", Some("_q"));
    let code = async |response: &str, request: &str| {
        let form = [("SAMLResponse", response), ("requestId", request)];
        let refused = submit(&world, "acme", &app, &form, None).await.is(422);
        refused.body["code"].as_str().unwrap().to_owned()
    };
    let tampered = String::from_utf8(STANDARD.decode(provider.respond(&good())).unwrap()).unwrap();
    let tampered = STANDARD.encode(tampered.replace(">ada<", ">eve<"));
    assert_eq!(code(&tampered, "_q").await, "ASSERTION_SIGNATURE");
    assert_eq!(code(&stranger.respond(&good()), "_q").await, "ASSERTION_SIGNATURE");
    assert_eq!(code(&provider.respond(&good()), "_other").await, "ASSERTION_NONCE");
    let wrong = Said { audience: "https://else.example".into(), ..good() };
    assert_eq!(code(&provider.respond(&wrong), "_q").await, "ASSERTION_AUDIENCE");
    let wrong = Said { recipient: "https://else.example".into(), ..good() };
    assert_eq!(code(&provider.respond(&wrong), "_q").await, "ASSERTION_AUDIENCE");
    let late = Said { issued_at: world.app.clock.now() - TimeDelta::hours(1), ..good() };
    assert_eq!(code(&provider.respond(&late), "_q").await, "ASSERTION_EXPIRED");
    let early = Said { issued_at: world.app.clock.now() + TimeDelta::hours(1), ..good() };
    assert_eq!(code(&provider.respond(&early), "_q").await, "ASSERTION_NOT_YET_VALID");
    let bomb = STANDARD.encode("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>");
    assert_eq!(code(&bomb, "_q").await, "ASSERTION_UNREADABLE");
    // Nothing of that was used up.
    assert_eq!(world.count("used_assertion", []).await, 0);
    // Without a request, only where the connection allows it; and then none may be answered.
    assert_eq!(code(&provider.respond(&good()), "").await, "ASSERTION_NONCE");
    let unsolicited = Said { request: None, ..good() };
    assert_eq!(code(&provider.respond(&unsolicited), "").await, "ASSERTION_NONCE");
    let update = "mutation($i: ConnectionUpdateInput!) { connectionUpdate(input: $i) { \
                  userErrors { message path } } }";
    let allow = json!({ "id": connected.id, "assertion": { "saml": { "allowIdpInitiated": true,
        "attributes": { "groups": "team" } } } });
    let updated = world.graphql(update, json!({ "i": allow })).await;
    let mistakes = &updated["data"]["connectionUpdate"]["userErrors"];
    assert_eq!(mistakes, &json!([]), "{updated:#}");
    assert_eq!(code(&provider.respond(&good()), "").await, "ASSERTION_NONCE");
    let response = provider.respond(&unsolicited);
    submit(&world, "acme", &app, &[("SAMLResponse", &response)], None).await.is(200);
    // Another organization does not trust this identity provider, or for its own address only.
    let theirs = key_with(&other, "ASSERTION_WRITE").await;
    let response = provider.respond(&Said { id: "_2".into(), ..good() });
    let form = [("SAMLResponse", response.as_str()), ("requestId", "_q")];
    let refused = submit(&world, "globex", &theirs, &form, None).await.is(422);
    assert_eq!(refused.body["code"], "ASSERTION_ISSUER");
    connect(&other, "SAML", saml).await;
    let refused = submit(&world, "globex", &theirs, &form, None).await.is(422);
    assert_eq!(refused.body["code"], "ASSERTION_AUDIENCE");
    // The same by the management API.
    let mutation = "mutation($r: String!, $q: String) { assertionSubmit(input: { assertion: { \
                    samlResponse: { response: $r, requestId: $q } } }) { signIn { active } \
                    userErrors { reason } } }";
    let done = json!({ "r": response, "q": "_q" });
    let done = world.acme.graphql_as(&app, &[], mutation, done).await.body;
    assert_eq!(done["data"]["assertionSubmit"]["userErrors"], json!([]), "{done:#}");
    world.end().await;
}

#[tokio::test]
async fn metadata_are_read_and_shown() {
    let world = world().await;
    let provider = IdentityProvider::new();
    let create = "mutation($i: ConnectionCreateInput!) { connectionCreate(input: $i) { \
                  connection { id } userErrors { message path } } }";
    let wrong = json!({ "name": "SAML", "provider": "OKTA",
        "assertion": { "saml": { "metadata": { "xml": "<a/>" } } } });
    let refused = world.graphql(create, json!({ "i": wrong })).await;
    let mistake = &refused["data"]["connectionCreate"]["userErrors"][0];
    let path = json!(["input", "assertion", "saml", "metadata", "xml"]);
    assert_eq!(mistake["path"], path, "{refused:#}");
    let saml = json!({ "metadata": { "xml": provider.metadata() } });
    let connected = connect(&world.acme, "SAML", saml).await;
    assert_eq!(connected.metadata, connected.entity);
    let url = connected.metadata.replace("https://scim.example", &world.address);
    let shown = reqwest::get(&url).await.unwrap();
    assert_eq!(shown.headers()["content-type"], "application/samlmetadata+xml");
    let text = shown.text().await.unwrap();
    assert!(text.contains(&format!("entityID=\"{}\"", connected.entity)), "{text}");
    assert!(text.contains(&format!("Location=\"{}\"", connected.consumer)), "{text}");
    assert!(text.contains("use=\"encryption\""), "{text}");
    let elsewhere = url.replace("/acme/", "/globex/");
    assert_eq!(reqwest::get(&elsewhere).await.unwrap().status(), 404);
    // The key is sealed: neither it nor its text is in the settings or in the ledger.
    let held = "connection c JOIN assertion_source s ON s.connection_id = c.id \
                WHERE c.credentials IS NOT NULL AND s.protocol = 'SAML'";
    assert_eq!(world.count(held, []).await, 1);
    world.end().await;
}

/// A browser that follows nothing by itself.
fn browser() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

#[tokio::test]
async fn people_sign_in_here_with_saml() {
    let world = world().await;
    let provider = IdentityProvider::new();
    let saml = json!({ "metadata": { "xml": provider.metadata() }, "redirectUrls": [APP] });
    let connected = connect(&world.acme, "SAML", saml).await;
    let user = world.scim().user("ada").await;
    let begin = format!("{}/sign-in/acme?redirect_url={APP}&state=mine", world.address);
    let begun = Answer::of(browser().get(&begin).send().await.unwrap()).await.is(303);
    let cookie = begun.header("set-cookie").to_owned();
    assert!(cookie.contains("SameSite=None") && cookie.contains("Secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let url = Url::parse(begun.header("location")).unwrap();
    assert_eq!(url.host_str(), Some("idp.example"));
    let parameter = |name: &str| {
        let found = url.query_pairs().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no {name} in {url}")).1.into_owned()
    };
    let mut request = String::new();
    let deflated = STANDARD.decode(parameter("SAMLRequest")).unwrap();
    DeflateDecoder::new(&deflated[..]).read_to_string(&mut request).unwrap();
    assert!(request.contains(&connected.consumer), "{request}");
    let (_, id) = request.split_once(" ID=\"").unwrap();
    let id = id.split('"').next().unwrap().to_owned();
    let consume = connected.consumer.replace("https://scim.example", &world.address);
    let state = parameter("RelayState");
    let post = async |response: &str, state: &str, cookie: &str| {
        let form = [("SAMLResponse", response), ("RelayState", state)];
        let request = browser().post(&consume).header("cookie", cookie);
        let request = request.header("content-type", FORM).body(form_body(&form));
        Answer::of(request.send().await.unwrap()).await
    };
    let response = provider.respond(&said(&world, &connected, "_1", Some(&id)));
    // Another browser, another state, another request.
    post(&response, &state, "").await.is(422);
    post(&response, "other", &cookie).await.is(422);
    let other = provider.respond(&said(&world, &connected, "_2", Some("_other")));
    post(&other, &state, &cookie).await.is(422);
    let done = post(&response, &state, &cookie).await.is(303);
    let target = Url::parse(done.header("location")).unwrap();
    assert!(target.as_str().starts_with(APP), "{target}");
    let query: Vec<_> = target.query_pairs().into_owned().collect();
    assert_eq!(query[1], ("state".to_owned(), "mine".to_owned()));
    let app = key_with(&world.acme, "ASSERTION_WRITE").await;
    let url = format!("{}/sign-in/acme/redeem", world.address);
    let code = json!({ "code": query[0].1, "redirectUrl": APP });
    let redeemed = browser().post(&url).bearer_auth(&app).json(&code).send().await.unwrap();
    let redeemed = Answer::of(redeemed).await.is(200);
    assert_eq!(redeemed.body["userId"], json!(user), "{:#}", redeemed.body);
    // The response was used.
    let again = post(&response, &state, &cookie).await.is(422);
    assert!(again.body.as_str().unwrap().contains("ASSERTION_REPLAYED"), "{}", again.body);
    // There is no single logout: signing out comes back here.
    let connection = connected.consumer.rsplit('/').nth(1).unwrap();
    let url = format!("{}/sign-in/acme/sign-out?connection={connection}", world.address);
    let out = Answer::of(browser().get(url).send().await.unwrap()).await.is(303);
    assert!(out.header("location").ends_with("/sign-in"), "{out:?}");
    world.end().await;
}
