//! What keeps a SAML connection working: metadata that are read again, certificates that end, our
//! own keys that are renewed, and the test of a connection.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Utc};
use rolecall::sign_in::saml::metadata::refresh_due_metadata;
use serde_json::{Value, json};

use crate::assertions::{key_with, world};
use crate::issuers::{Issuer, Key};
use crate::saml_sign_ins::{
    Connected, ENTITY, FORM, IdentityProvider, connect, form_body, said, submit,
};
use crate::world::{Answer, World};

/// A server whose metadata a test changes.
#[derive(Clone, Default)]
struct MetadataServer {
    text: Arc<Mutex<String>>,
    asked: Arc<Mutex<u32>>,
}

impl MetadataServer {
    async fn start() -> (Self, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metadata", listener.local_addr().unwrap());
        let server = Self::default();
        let serving = server.clone();
        let answer = move || {
            *serving.asked.lock().unwrap() += 1;
            let text = serving.text.lock().unwrap().clone();
            async move { text }
        };
        let router = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, url)
    }

    fn publishes(&self, text: String) {
        *self.text.lock().unwrap() = text;
    }

    fn asked(&self) -> u32 {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// What the management API shows of the connection's source.
async fn shown(world: &World, connected: &Connected) -> Value {
    let query = "query($id: ID!) { node(id: $id) { ... on IdentitySource { version health { state \
                 reasons { code } } assertionSource { saml { certificates { fingerprint } \
                 metadataRefresh { readAt nextAt failingSince failureCount reason message nextStep } \
                 serviceCertificates { state certificate retiresAt } } } } } }";
    world.graphql(query, json!({ "id": connected.id })).await["data"]["node"].clone()
}

async fn accepted(world: &World, key: &str, provider: &IdentityProvider, of: &Connected) -> Value {
    let id = format!("_{}", uuid::Uuid::now_v7());
    let response = provider.respond(&said(world, of, &id, Some("_q")));
    let form = [("SAMLResponse", response.as_str()), ("requestId", "_q")];
    submit(world, "acme", key, &form, None).await.body
}

#[tokio::test]
async fn unknown_certificates_have_metadata_read() {
    let world = world().await;
    let (server, url) = MetadataServer::start().await;
    let (old, new, third) =
        (IdentityProvider::new(), IdentityProvider::new(), IdentityProvider::new());
    server.publishes(old.metadata());
    let connected = connect(&world.acme, "SAML", json!({ "metadata": { "url": url } })).await;
    let app = key_with(&world.acme, "ASSERTION_WRITE").await;
    let user = world.scim().user("ada").await;
    assert_eq!(accepted(&world, &app, &old, &connected).await["userId"], json!(user));
    assert_eq!(server.asked(), 1);
    // The first response that a new key signs is accepted.
    server.publishes(new.metadata());
    assert_eq!(accepted(&world, &app, &new, &connected).await["userId"], json!(user));
    assert_eq!(server.asked(), 1);
    let payload = world
        .rows("SELECT payload, actor_kind FROM event WHERE action = 'connection.updated'", [])
        .await;
    assert_eq!(payload.len(), 1, "{payload:#?}");
    assert_eq!(payload[0]["actor_kind"], "SYSTEM");
    assert!(payload[0]["payload"].to_string().contains("METADATA_READ"), "{payload:#?}");
    // The old key does not count any more, and a stranger cannot have them read all the time.
    assert_eq!(accepted(&world, &app, &old, &connected).await["code"], "ASSERTION_SIGNATURE");
    server.publishes(third.metadata());
    assert_eq!(accepted(&world, &app, &third, &connected).await["code"], "ASSERTION_SIGNATURE");
    assert_eq!(server.asked(), 0);
    world.app.clock.advance(Duration::from_secs(301));
    assert_eq!(accepted(&world, &app, &third, &connected).await["userId"], json!(user));
    world.end().await;
}

#[tokio::test]
async fn metadata_are_read_again_daily() {
    let world = world().await;
    let (server, url) = MetadataServer::start().await;
    let (old, new) = (IdentityProvider::new(), IdentityProvider::new());
    server.publishes(old.metadata());
    let connected = connect(&world.acme, "SAML", json!({ "metadata": { "url": url } })).await;
    let saml = |shown: &Value| shown["assertionSource"]["saml"].clone();
    let before = shown(&world, &connected).await;
    assert_eq!(saml(&before)["metadataRefresh"]["failureCount"], 0);
    refresh_due_metadata(&world.app).await.unwrap();
    assert_eq!(server.asked(), 1, "only when it was made");
    // The same again is no change.
    world.app.clock.advance(Duration::from_secs(25 * 3_600));
    refresh_due_metadata(&world.app).await.unwrap();
    assert_eq!(server.asked(), 1);
    let same = shown(&world, &connected).await;
    assert_eq!(same["version"], before["version"]);
    assert!(
        saml(&same)["metadataRefresh"]["readAt"].as_str()
            > saml(&before)["metadataRefresh"]["readAt"].as_str()
    );
    // Another entity id at the same address: nothing is taken in, and health says so at once.
    server.publishes(new.metadata().replace(ENTITY, "https://evil.example"));
    world.app.clock.advance(Duration::from_secs(25 * 3_600));
    refresh_due_metadata(&world.app).await.unwrap();
    let other = shown(&world, &connected).await;
    assert_eq!(saml(&other)["certificates"], saml(&before)["certificates"]);
    assert_eq!(saml(&other)["metadataRefresh"]["reason"], "ASSERTION_ISSUER");
    let app = key_with(&world.acme, "ASSERTION_WRITE").await;
    world.scim().user("ada").await;
    assert_eq!(accepted(&world, &app, &old, &connected).await["active"], true);
    rolecall::domain::connection::scim_token::flush_credential_uses(&world.app).await.unwrap();
    let other = shown(&world, &connected).await;
    assert_eq!(other["health"]["reasons"], json!([{ "code": "METADATA_UNREAD" }]), "{other:#}");
    assert_eq!(other["health"]["state"], "DEGRADED");
    // It is tried again soon, and then all is well.
    server.publishes(new.metadata());
    world.app.clock.advance(Duration::from_secs(600));
    refresh_due_metadata(&world.app).await.unwrap();
    let well = shown(&world, &connected).await;
    assert_ne!(saml(&well)["certificates"], saml(&before)["certificates"]);
    assert_eq!(saml(&well)["metadataRefresh"]["failingSince"], Value::Null);
    assert_eq!(well["health"]["state"], "HEALTHY", "{well:#}");
    // Metadata that are given as a text are not read again.
    let update = "mutation($i: ConnectionUpdateInput!) { connectionUpdate(input: $i) { \
                  userErrors { message } } }";
    let text = json!({ "metadata": { "xml": old.metadata() } });
    let input = json!({ "id": connected.id, "assertion": { "saml": text } });
    world.graphql(update, json!({ "i": input })).await;
    assert_eq!(world.count("metadata_refresh", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn ended_certificates_are_told_and_count() {
    let world = world().await;
    // Its certificate is valid for ten years: it ends in 20 days.
    let provider = IdentityProvider::since(Utc::now() - TimeDelta::days(3_630));
    let saml = json!({ "metadata": { "xml": provider.metadata() } });
    let connected = connect(&world.acme, "SAML", saml).await;
    let app = key_with(&world.acme, "ASSERTION_WRITE").await;
    world.scim().user("ada").await;
    let told = async || {
        let query = "{ organization { attention { kind urgency message connection { id } } } }";
        let answer = world.graphql(query, json!({})).await;
        let items = answer["data"]["organization"]["attention"].as_array().unwrap().clone();
        let mut items = items.into_iter().filter(|item| item["kind"] == "CERTIFICATE_ENDS");
        let item = items.next().unwrap_or_else(|| panic!("{answer:#}"));
        assert_eq!(items.next(), None);
        assert_eq!(item["connection"]["id"], json!(connected.id));
        item
    };
    let alerts = async || {
        rolecall::domain::alert::evaluate_organization(&world.system()).await.unwrap();
        let text = "SELECT stage, urgency FROM alert WHERE kind = 'CREDENTIAL_ENDS' \
                    AND resolved_at IS NULL";
        let rows = world.rows(text, []).await;
        assert_eq!(rows.len(), 1, "{rows:#?}");
        (rows[0]["stage"].clone(), rows[0]["urgency"].clone())
    };
    assert_eq!(told().await["urgency"], "NOTICE");
    assert_eq!(alerts().await, (json!(30), json!("NOTICE")));
    world.app.clock.advance(Duration::from_secs(15 * 86_400));
    assert_eq!(told().await["urgency"], "WARNING");
    assert_eq!(alerts().await, (json!(7), json!("WARNING")));
    world.app.clock.advance(Duration::from_secs(10 * 86_400));
    assert!(told().await["message"].as_str().unwrap().contains("ended at"));
    assert_eq!(alerts().await, (json!(0), json!("WARNING")));
    // Its key still counts.
    assert_eq!(accepted(&world, &app, &provider, &connected).await["active"], true);
    world.end().await;
}

#[tokio::test]
async fn saml_connections_can_be_tested() {
    let world = world().await;
    let (server, url) = MetadataServer::start().await;
    let provider = IdentityProvider::new();
    server.publishes(provider.metadata());
    let connected = connect(&world.acme, "SAML", json!({ "metadata": { "url": url } })).await;
    let test = async || {
        let test = "mutation($c: ID!) { assertionSourceTest(input: { connectionId: $c }) { ok \
                    steps { probe ok message nextStep } userErrors { message } } }";
        let done = world.graphql(test, json!({ "c": connected.id })).await;
        done["data"]["assertionSourceTest"].clone()
    };
    let done = test().await;
    let steps: Vec<_> = done["steps"].as_array().unwrap().iter().collect();
    let results: Vec<_> = steps.iter().map(|step| (&step["probe"], &step["ok"])).collect();
    // The public URL of the test's server leads nowhere.
    let expected = [
        (json!("METADATA"), json!(true)),
        (json!("CERTIFICATES"), json!(true)),
        (json!("SIGN_IN_ADDRESS"), json!(true)),
        (json!("SERVICE_METADATA"), json!(false)),
    ];
    let expected: Vec<_> = expected.iter().map(|(probe, ok)| (probe, ok)).collect();
    assert_eq!(results, expected, "{done:#}");
    assert!(steps[2]["message"].as_str().unwrap().contains("https://idp.example/sign-in"));
    let new = IdentityProvider::new();
    server.publishes(new.metadata());
    let message = test().await["steps"][1]["message"].to_string();
    assert!(message.contains("not taken in yet"), "{message}");
    server.publishes("<a/>".into());
    let failed = test().await;
    assert_eq!(failed["ok"], false);
    assert_eq!(failed["steps"].as_array().unwrap().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn repeated_key_gets_the_stored_answer() {
    let world = world().await;
    let provider = IdentityProvider::new();
    let saml = json!({ "metadata": { "xml": provider.metadata() } });
    let connected = connect(&world.acme, "SAML", saml).await;
    let issuer = Issuer::start().await;
    let key = Key::new("RS256", "one");
    issuer.publishes(&[&key]);
    let oidc = json!({ "issuer": issuer.url, "clientId": "rolecall" });
    crate::assertions::connect(&world.acme, "OIDC", "GENERIC", oidc, json!({})).await;
    let app = key_with(&world.acme, "ASSERTION_WRITE").await;
    let user = world.scim().user("ada").await;
    let now = world.app.clock.now().timestamp();
    let claims = json!({ "iss": issuer.url, "aud": "rolecall", "sub": "ada", "iat": now,
        "exp": now + 300, "preferred_username": "ada" });
    let token = key.token_with(json!({ "alg": "RS256", "kid": "one", "typ": "JWT" }), claims);
    let response = provider.respond(&said(&world, &connected, "_1", Some("_q")));
    let form = form_body(&[("SAMLResponse", &response), ("requestId", "_q")]);
    let send = async |world: &World, media: &str, body: &str, key: &str| {
        let url = format!("{}/assertions/acme", world.address);
        let request = world.acme.scim.http.post(url).bearer_auth(&app);
        let request = request.header("content-type", media).header("idempotency-key", key);
        Answer::of(request.body(body.to_owned()).send().await.unwrap()).await
    };
    let bodies = [("application/jwt", token.as_str(), "jwt"), (FORM, form.as_str(), "form")];
    let mut first = Vec::new();
    for (media, body, key) in bodies {
        let answer = send(&world, media, body, key).await.is(200);
        assert_eq!(answer.body["userId"], json!(user), "{:#}", answer.body);
        first.push(answer.body);
    }
    // The same key for something else.
    let other = send(&world, "application/jwt", &token, "form").await.is(422);
    assert_eq!(other.body["code"], "IDEMPOTENCY_KEY_REUSED");
    // What was true then is answered again, long after the assertions have expired and on another
    // server.
    let suspend = format!("/Users/{user}");
    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&suspend, off).await.is(200);
    let world = world.restart_with(|config| config.pull_private_addresses = true).await;
    world.app.clock.advance(Duration::from_secs(3_600));
    for ((media, body, key), first) in bodies.into_iter().zip(&first) {
        let again = send(&world, media, body, key).await.is(200);
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(again.body, *first);
    }
    // Without the key, or after an erasure, it is verified as if it came for the first time.
    let refused = send(&world, "application/jwt", &token, "another").await.is(422);
    assert_eq!(refused.body["code"], "ASSERTION_EXPIRED");
    world.execute("UPDATE idempotency SET answer = NULL", []).await;
    let refused = send(&world, "application/jwt", &token, "jwt").await.is(422);
    assert_eq!(refused.body["code"], "ASSERTION_EXPIRED");
    world.end().await;
}

/// The same response with its assertion encrypted for a certificate.
fn encrypt(response: &str, certificate: &str) -> String {
    let text = String::from_utf8(STANDARD.decode(response).unwrap()).unwrap();
    let begin = text.find("<saml:Assertion").unwrap();
    let end = text.find("</samlp:Response>").unwrap();
    let secret = [7; 32];
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &secret).unwrap());
    let mut sealed = text.as_bytes()[begin..end].to_vec();
    let nonce = Nonce::assume_unique_for_key([9; 12]);
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed).unwrap();
    let sealed = STANDARD.encode([&[9; 12], sealed.as_slice()].concat());
    // The public key of RSA with 2,048 bits: a header of 24 bytes, and 270 bytes.
    let der = STANDARD.decode(certificate).unwrap();
    let header = [0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a];
    let at = der.windows(header.len()).position(|part| part == header).unwrap();
    let public = PublicEncryptingKey::from_der(&der[at..at + 294]).unwrap();
    let public = OaepPublicEncryptingKey::new(public).unwrap();
    let mut wrapped = vec![0; public.ciphertext_size()];
    let wrapped = public.encrypt(&OAEP_SHA256_MGF1SHA256, &secret, &mut wrapped, None).unwrap();
    let wrapped = STANDARD.encode(wrapped);
    let encrypted = format!(
        "<saml:EncryptedAssertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">\
         <xenc:EncryptedData xmlns:xenc=\"http://www.w3.org/2001/04/xmlenc#\">\
         <xenc:EncryptionMethod Algorithm=\"http://www.w3.org/2009/xmlenc11#aes256-gcm\"/>\
         <ds:KeyInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><xenc:EncryptedKey>\
         <xenc:EncryptionMethod Algorithm=\"http://www.w3.org/2009/xmlenc11#rsa-oaep\">\
         <ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"/>\
         <xenc11:MGF xmlns:xenc11=\"http://www.w3.org/2009/xmlenc11#\" \
         Algorithm=\"http://www.w3.org/2009/xmlenc11#mgf1sha256\"/></xenc:EncryptionMethod>\
         <xenc:CipherData><xenc:CipherValue>{wrapped}</xenc:CipherValue></xenc:CipherData>\
         </xenc:EncryptedKey></ds:KeyInfo><xenc:CipherData><xenc:CipherValue>{sealed}\
         </xenc:CipherValue></xenc:CipherData></xenc:EncryptedData></saml:EncryptedAssertion>"
    );
    // What is encrypted does not say who has issued it.
    let issuer = format!(
        "<saml:Issuer xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">{ENTITY}</saml:Issuer>\
         <samlp:Status>"
    );
    let head = text[..begin].replacen("<samlp:Status>", &issuer, 1);
    STANDARD.encode(format!("{head}{encrypted}{}", &text[end..]))
}

#[tokio::test]
async fn own_key_is_renewed_with_overlap() {
    let world = world().await;
    let provider = IdentityProvider::new();
    let saml = json!({ "metadata": { "xml": provider.metadata() } });
    let connected = connect(&world.acme, "SAML", saml).await;
    let app = key_with(&world.acme, "ASSERTION_WRITE").await;
    world.scim().user("ada").await;
    let change = async |what: &str, more: Value| {
        let text = format!(
            "mutation($i: {}Input!) {{ done: {what}(input: $i) {{ connection {{ version }} \
             userErrors {{ reason path }} }} }}",
            what.replace("saml", "Saml")
        );
        let mut input = json!({ "connectionId": connected.id });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.graphql(&text, json!({ "i": input })).await["data"]["done"].clone()
    };
    let own = async || {
        let shown = shown(&world, &connected).await;
        let list = shown["assertionSource"]["saml"]["serviceCertificates"].clone();
        let list = list.as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let pair = |one: &Value| (text(&one["state"]), text(&one["certificate"]));
        list.iter().map(pair).collect::<Vec<_>>()
    };
    let metadata = async || {
        let url = connected.metadata.replace("https://scim.example", &world.address);
        reqwest::get(&url).await.unwrap().text().await.unwrap()
    };
    let opens = async |certificate: &str| {
        let id = format!("_{}", uuid::Uuid::now_v7());
        let response = provider.respond(&said(&world, &connected, &id, Some("_q")));
        let response = encrypt(&response, certificate);
        let form = [("SAMLResponse", response.as_str()), ("requestId", "_q")];
        let answer = submit(&world, "acme", &app, &form, None).await;
        answer.body["active"] == true
    };
    let nothing = change("samlKeyActivate", json!({})).await;
    assert_eq!(nothing["userErrors"][0]["reason"], "NOT_WAITING", "{nothing:#}");
    let prepared = change("samlKeyPrepare", json!({ "reason": "yearly" })).await;
    assert_eq!(prepared["userErrors"], json!([]), "{prepared:#}");
    assert!(world.last_payload().await.to_string().contains("KEY_PREPARED"));
    let again = change("samlKeyPrepare", json!({})).await;
    assert_eq!(again["userErrors"][0]["reason"], "ALREADY_RUNNING", "{again:#}");
    let both = own().await;
    let [(active, old), (waiting, new)] = both.as_slice() else { panic!("{both:?}") };
    assert_eq!((active.as_str(), waiting.as_str()), ("ACTIVE", "PREPARED"));
    let text = metadata().await;
    assert!(text.contains(old.as_str()) && text.contains(new.as_str()));
    assert!(opens(old).await && opens(new).await);
    let wrong = change("samlKeyActivate", json!({ "overlapSeconds": 2_592_001 })).await;
    assert_eq!(wrong["userErrors"][0]["path"], json!(["input", "overlapSeconds"]));
    let done = change("samlKeyActivate", json!({ "overlapSeconds": 3_600 })).await;
    assert_eq!(done["userErrors"], json!([]), "{done:#}");
    let states: Vec<_> = own().await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["ACTIVE", "RETIRING"]);
    assert_eq!(own().await[0].1, *new);
    let text = metadata().await;
    assert!(!text.contains(old.as_str()) && text.contains(new.as_str()));
    assert!(opens(old).await && opens(new).await);
    world.app.clock.advance(Duration::from_secs(3_601));
    assert!(!opens(old).await && opens(new).await);
    assert_eq!(own().await.len(), 1);
    world.end().await;
}
