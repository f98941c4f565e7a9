//! Sign-in with tokens of external issuers: which tokens the management API accepts, which it
//! refuses, and how the issuers' keys change.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rolecall::auth::issuers::settings;
use rolecall::auth::policy::Permission;
use rolecall::context::local_issuer;
use serde_json::{Value, json};

use crate::walk::codes;
use crate::world::{Answer, World};

/// An issuer on this machine: its pages by path, and how many requests it has had.
#[derive(Clone)]
pub struct Issuer {
    pub url: String,
    pages: Arc<Mutex<HashMap<String, Page>>>,
    asked: Arc<AtomicUsize>,
}

#[derive(Clone)]
pub enum Page {
    Json(Value),
    Moved(String),
    Down,
    /// For requests with this authorization alone: a media type and a text.
    Guarded {
        authorization: String,
        kind: &'static str,
        text: String,
    },
}

impl Issuer {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let issuer = Self { url, pages: Arc::default(), asked: Arc::default() };
        let serving = issuer.clone();
        let answer = move |uri: Uri, headers: HeaderMap| {
            serving.asked.fetch_add(1, Ordering::SeqCst);
            let page = serving.pages.lock().unwrap().get(uri.path()).cloned();
            async move {
                match page {
                    Some(Page::Json(body)) => axum::Json(body).into_response(),
                    Some(Page::Moved(to)) => {
                        (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
                    }
                    Some(Page::Down) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                    Some(Page::Guarded { authorization, kind, text }) => {
                        let given = headers.get(header::AUTHORIZATION);
                        if given.is_some_and(|given| given == authorization.as_str()) {
                            ([(header::CONTENT_TYPE, kind)], text).into_response()
                        } else {
                            StatusCode::UNAUTHORIZED.into_response()
                        }
                    }
                    None => StatusCode::NOT_FOUND.into_response(),
                }
            }
        };
        tokio::spawn(
            async move { axum::serve(listener, axum::Router::new().fallback(answer)).await },
        );
        let discovery = json!({ "issuer": issuer.url, "jwks_uri": format!("{}/keys", issuer.url) });
        issuer.shows("/.well-known/openid-configuration", Page::Json(discovery));
        issuer
    }

    pub fn shows(&self, path: &str, page: Page) {
        self.pages.lock().unwrap().insert(path.into(), page);
    }

    pub fn publishes(&self, keys: &[&Key]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk.clone()).collect();
        self.shows("/keys", Page::Json(json!({ "keys": keys })));
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A server that trusts this issuer, with further settings.
    async fn trusted(&self, settings: Value) -> World {
        let mut entry = json!({
            "issuer": self.url, "audience": ["rolecall"], "algorithms": ["EdDSA"], "allow_private_addresses": true,
            "organizations": ["acme"],
        });
        entry.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json!({ "issuers": [entry] }).to_string()).unwrap();
        let issuers = settings::read_issuers_file(file.path(), "https://scim.example").unwrap();
        World::with(|config| config.issuers = issuers).await
    }
}

/// A key pair of an issuer.
pub struct Key {
    pub algorithm: &'static str,
    pair: Pair,
    pub jwk: Value,
}

pub enum Pair {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
    Rsa(Box<aws_lc_rs::signature::RsaKeyPair>),
}

impl Key {
    pub fn new(algorithm: &'static str, id: &str) -> Self {
        let curve = |alg, name: &str| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(alg, &SystemRandom::new()).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(alg, pkcs8.as_ref()).unwrap();
            let (x, y) =
                pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
            let jwk =
                json!({ "kty": "EC", "crv": name, "x": BASE64.encode(x), "y": BASE64.encode(y) });
            (Pair::Ec(pair), jwk)
        };
        let (pair, mut jwk) = match algorithm {
            "EdDSA" => {
                let pair = Ed25519KeyPair::generate().unwrap();
                let x = BASE64.encode(pair.public_key().as_ref());
                (Pair::Ed(pair), json!({ "kty": "OKP", "crv": "Ed25519", "x": x }))
            }
            "ES256" => curve(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            "ES384" => curve(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            _ => {
                let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
                let number = |bytes: &[u8]| BASE64.encode(bytes);
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let jwk = json!({
                    "kty": "RSA", "n": number(n.big_endian_without_leading_zero()),
                    "e": number(e.big_endian_without_leading_zero()),
                });
                (Pair::Rsa(Box::new(pair)), jwk)
            }
        };
        jwk["kid"] = id.into();
        Self { algorithm, pair, jwk }
    }

    pub fn token(&self, claims: Value) -> String {
        self.token_with(
            json!({ "alg": self.algorithm, "kid": self.jwk["kid"], "typ": "at+jwt" }),
            claims,
        )
    }

    pub fn token_with(&self, header: Value, claims: Value) -> String {
        let signed =
            format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ed(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
            Pair::Ec(pair) => pair.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if self.algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", BASE64.encode(signature))
    }
}

/// The claims of a good token of this issuer.
fn claims(world: &World, issuer: &Issuer) -> Value {
    let now = world.app.clock.now().timestamp();
    json!({
        "iss": issuer.url, "aud": "rolecall", "sub": "ada", "name": "Ada Okafor", "exp": now + 300, "nbf": now,
        "permissions": ["IAM_READ"],
    })
}

/// The claims with some of them changed.
pub fn with_claims(claims: &Value, changes: Value) -> Value {
    let mut claims = claims.clone();
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims
}

async fn ask(world: &World, token: &str) -> Answer {
    let query = "{ viewer { kind name permissions } organization { slug } }";
    world.acme.graphql_as(token, &[], query, json!({})).await
}

#[track_caller]
fn check_refusal(answer: Answer, why: &str) {
    assert_eq!(answer.status, 401, "{why}: {:#}", answer.body);
    assert_eq!(codes(&answer.body), ["UNAUTHENTICATED"], "{why}");
}

#[tokio::test]
async fn trusted_token_grants_its_permissions() {
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let issuer = Issuer::start().await;
        let key = Key::new(algorithm, "one");
        let alien =
            json!({ "kty": "OKP", "crv": "X25519", "kid": "alien", "use": "enc", "x": "AAAA" });
        issuer.shows("/keys", Page::Json(json!({ "keys": [alien, key.jwk] })));
        let world = issuer.trusted(json!({ "algorithms": [algorithm] })).await;
        let token = key.token(with_claims(
            &claims(&world, &issuer),
            json!({ "permissions": ["IAM_READ", "ACCESS_WRITE"] }),
        ));
        let answer = ask(&world, &token).await.is(200);
        let viewer = json!({ "kind": "PERSON", "name": "Ada Okafor", "permissions": ["IAM_READ", "ACCESS_WRITE"] });
        assert_eq!(
            answer.body["data"],
            json!({ "viewer": viewer, "organization": { "slug": "acme" } })
        );
        let create = "mutation { roleCreate(input: { name: \"Nurse\" }) { role { name } } }";
        let made = world.acme.graphql_as(&token, &[], create, json!({})).await.is(200);
        assert_eq!(made.body["data"]["roleCreate"]["role"]["name"], "Nurse", "{}", made.body);
        let by = world
            .rows(
                "SELECT actor_kind, actor_id, actor_name FROM event WHERE action = 'role.created'",
                [],
            )
            .await;
        let actor = json!({
            "actor_kind": "PERSON", "actor_id": format!("{}#ada", issuer.url), "actor_name": "Ada Okafor",
        });
        assert_eq!(by, [actor]);
        world.end().await;
    }
}

#[tokio::test]
async fn wrong_tokens_are_refused_alike() {
    let issuer = Issuer::start().await;
    let (key, other) = (Key::new("EdDSA", "one"), Key::new("EdDSA", "one"));
    issuer.publishes(&[&key]);
    let world = issuer.trusted(json!({})).await;
    let good = claims(&world, &issuer);
    let now = world.app.clock.now().timestamp();
    ask(&world, &key.token(good.clone())).await.is(200);
    // Clocks may differ by a minute.
    ask(&world, &key.token(with_claims(&good, json!({ "exp": now - 50, "nbf": now + 50 }))))
        .await
        .is(200);
    ask(
        &world,
        &key.token(with_claims(
            &good,
            json!({ "aud": ["another", "rolecall"], "exp": f64::from(now as i32) + 9.5 }),
        )),
    )
    .await
    .is(200);
    // A token without a key id is accepted when there is one key only.
    ask(&world, &key.token_with(json!({ "alg": "EdDSA" }), good.clone())).await.is(200);

    let wrong = [
        ("another audience", json!({ "aud": "another" })),
        ("no audience", json!({ "aud": null })),
        ("expired", json!({ "exp": now - 61 })),
        ("never expires", json!({ "exp": null })),
        ("not yet", json!({ "nbf": now + 65 })),
        ("another issuer", json!({ "iss": "https://evil.example" })),
        ("a prefix of the issuer", json!({ "iss": format!("{}/", issuer.url) })),
        ("the local issuer", json!({ "iss": "https://scim.example" })),
        ("no subject", json!({ "sub": null })),
        ("a time in words", json!({ "exp": "tomorrow" })),
    ];
    for (why, changes) in wrong {
        check_refusal(ask(&world, &key.token(with_claims(&good, changes))).await, why);
    }
    check_refusal(ask(&world, &other.token(good.clone())).await, "another key by the same name");
    let unsigned =
        format!("{}.{}.", BASE64.encode(r#"{"alg":"none"}"#), BASE64.encode(good.to_string()));
    check_refusal(ask(&world, &unsigned).await, "no signature");
    check_refusal(
        ask(&world, &key.token_with(json!({ "alg": "none", "kid": "one" }), good.clone())).await,
        "alg none",
    );
    let crit = json!({ "alg": "EdDSA", "kid": "one", "crit": ["exp"], "exp": 0 });
    check_refusal(
        ask(&world, &key.token_with(crit, good.clone())).await,
        "an extension that must be understood",
    );
    // The public key used as a shared secret: the confusion of algorithms that a fixed list of
    // algorithms prevents.
    let secret = BASE64.decode(key.jwk["x"].as_str().unwrap()).unwrap();
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some("one".into());
    let confused =
        jsonwebtoken::encode(&header, &good, &jsonwebtoken::EncodingKey::from_secret(&secret))
            .unwrap();
    check_refusal(ask(&world, &confused).await, "HMAC with the public key");
    let curve = Key::new("ES256", "curve");
    issuer.publishes(&[&key, &curve]);
    world.app.clock.advance(Duration::from_secs(11));
    check_refusal(
        ask(&world, &curve.token(good.clone())).await,
        "an algorithm that is not allowed",
    );
    world.end().await;
}

#[tokio::test]
async fn forged_tokens_cause_no_key_request() {
    let issuer = Issuer::start().await;
    let (old, new) = (Key::new("EdDSA", "old"), Key::new("EdDSA", "new"));
    issuer.publishes(&[&old]);
    let world = issuer.trusted(json!({})).await;
    ask(&world, &old.token(claims(&world, &issuer))).await.is(200);
    let asked = issuer.asked();
    for _ in 0..20 {
        ask(&world, &old.token(claims(&world, &issuer))).await.is(200);
        check_refusal(
            ask(&world, &Key::new("EdDSA", "forged").token(claims(&world, &issuer))).await,
            "a forged key",
        );
    }
    assert_eq!(issuer.asked(), asked, "known keys and forgers cost no call");

    issuer.publishes(&[&old, &new]);
    world.app.clock.advance(Duration::from_secs(11));
    ask(&world, &new.token(claims(&world, &issuer))).await.is(200);
    assert_eq!(
        issuer.asked(),
        asked + 2,
        "one request for the discovery document and one for the keys"
    );
    ask(&world, &old.token(claims(&world, &issuer))).await.is(200);

    // The issuer is down: its known keys stay valid, and unknown keys stay refused.
    issuer.shows("/keys", Page::Down);
    world.app.clock.advance(Duration::from_secs(3600));
    world.app.issuers.refresh_all_keys(world.app.clock.now()).await;
    ask(&world, &new.token(claims(&world, &issuer))).await.is(200);
    // An issuer that publishes no key at all is treated as broken, and the known keys stay valid …
    issuer.shows("/keys", Page::Json(json!({ "keys": [] })));
    world.app.clock.advance(Duration::from_secs(11));
    world.app.issuers.refresh_all_keys(world.app.clock.now()).await;
    ask(&world, &new.token(claims(&world, &issuer))).await.is(200);
    // … but a single key that it no longer publishes is refused.
    issuer.publishes(&[&new]);
    world.app.clock.advance(Duration::from_secs(11));
    world.app.issuers.refresh_all_keys(world.app.clock.now()).await;
    ask(&world, &new.token(claims(&world, &issuer))).await.is(200);
    check_refusal(
        ask(&world, &old.token(claims(&world, &issuer))).await,
        "a key that was withdrawn",
    );
    world.end().await;
}

#[tokio::test]
async fn faulty_key_documents_are_refused() {
    let key = Key::new("EdDSA", "one");
    let elsewhere = Issuer::start().await;
    elsewhere.publishes(&[&key]);
    let cases = [
        ("a redirect", "/keys", Page::Moved(format!("{}/keys", elsewhere.url))),
        (
            "too long",
            "/keys",
            Page::Json(json!({ "keys": [key.jwk], "more": "x".repeat(300 * 1024) })),
        ),
        ("no JSON Web Keys", "/keys", Page::Json(json!("keys"))),
        (
            "another issuer's document",
            "/.well-known/openid-configuration",
            Page::Json(
                json!({ "issuer": elsewhere.url, "jwks_uri": format!("{}/keys", elsewhere.url) }),
            ),
        ),
    ];
    for (why, path, page) in cases {
        let issuer = Issuer::start().await;
        issuer.publishes(&[&key]);
        issuer.shows(path, page);
        let world = issuer.trusted(json!({})).await;
        let answer = ask(&world, &key.token(claims(&world, &issuer))).await.is(503);
        assert_eq!(codes(&answer.body), ["BUSY"], "{why}");
        // As soon as the issuer is repaired, the token is accepted.
        issuer.publishes(&[&key]);
        let discovery = json!({ "issuer": issuer.url, "jwks_uri": format!("{}/keys", issuer.url) });
        issuer.shows("/.well-known/openid-configuration", Page::Json(discovery));
        world.app.clock.advance(Duration::from_secs(11));
        ask(&world, &key.token(claims(&world, &issuer))).await.is(200);
        world.end().await;
    }
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn private_issuer_addresses_are_not_called() {
    let key = Key::new("EdDSA", "one");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433"] {
        let url = format!("https://{host}:{port}");
        let issuer = Issuer { url, pages: Arc::default(), asked: Arc::default() };
        let world = issuer.trusted(json!({ "allow_private_addresses": false })).await;
        ask(&world, &key.token(claims(&world, &issuer))).await.is(503);
        world.end().await;
    }
    let called = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(called.is_err(), "the server connected: {called:?}");
}

#[tokio::test]
async fn local_issuer_publishes_its_public_key() {
    let world = World::new().await;
    let answer =
        Answer::of(reqwest::get(format!("{}/.well-known/jwks.json", world.address)).await.unwrap())
            .await
            .is(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.header("cache-control").contains("public"), "{:?}", answer.headers);
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(answer.body.clone()).unwrap();
    assert!(!answer.body.to_string().contains("\"d\""), "{}", answer.body);
    let claims = local_issuer::IssuerClaims {
        subject: "ada".into(),
        organizations: [("acme".to_owned(), [Permission::IamRead].into())].into(),
        ..Default::default()
    };
    let token = local_issuer::issue_token(&world.app, &claims, chrono::Duration::hours(1)).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
    let thumbprint = set.keys[0].thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap();
    assert_eq!(kid, thumbprint);
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_audience(&["rolecall"]);
    let read = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap().claims;
    assert_eq!(read["organizations"], json!({ "acme": ["IAM_READ"] }));
    world.end().await;
}
