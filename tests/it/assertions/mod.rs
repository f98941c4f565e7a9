//! Sign-ins that applications hand over: tokens in the documented forms of providers, forged and
//! wrong ones, and the settings of connections that accept them.

mod cost;
mod graph;
mod logout;
mod recorded;
mod relying_party;
mod settings;
mod user_info;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rolecall::context::Cx;
use rolecall::domain::connection::assertion_source;
use rolecall::domain::sign_in::{GroupClaims, VerifiedAssertion};
use rolecall::sign_in::oidc::TokenVerifier;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::issuers::{Issuer, Key, Page, with_claims};
use crate::world::{Answer, Tenant, World};

/// A server that may read the keys of issuers on this machine.
pub async fn world() -> World {
    World::with(|config| config.pull_private_addresses = true).await
}

/// A connection that accepts ID tokens of this issuer; its global id and its UUID.
pub async fn connect(
    tenant: &Tenant,
    name: &str,
    provider: &str,
    oidc: Value,
    claims: Value,
) -> (String, Uuid) {
    let create = "mutation($i: ConnectionCreateInput!) { connectionCreate(input: $i) { \
                  connection { id } userErrors { message path } } }";
    let input = json!({ "name": name, "provider": provider, "assertion": { "oidc": oidc },
        "claims": claims });
    let made = tenant.graphql(create, json!({ "i": input })).await;
    let id = made["data"]["connectionCreate"]["connection"]["id"].as_str();
    let id = id.unwrap_or_else(|| panic!("{made:#}")).to_owned();
    (id.clone(), uuid_of(&id))
}

/// The UUID in a global id.
pub fn uuid_of(id: &str) -> Uuid {
    let decoded = String::from_utf8(BASE64.decode(id).unwrap()).unwrap();
    let uuid = decoded.rsplit(':').next().unwrap().parse();
    uuid.unwrap_or_else(|_| panic!("{decoded}"))
}

/// An API key with one permission.
pub async fn key_with(tenant: &Tenant, permission: &str) -> String {
    let issue = "mutation($p: Permission!) { apiKeyIssue(input: { name: \"app\", permissions: [$p] \
                 }) { secret userErrors { message } } }";
    let issued = tenant.graphql(issue, json!({ "p": permission })).await;
    let secret = issued["data"]["apiKeyIssue"]["secret"].as_str();
    secret.unwrap_or_else(|| panic!("{issued:#}")).to_owned()
}

/// Hands over a token.
pub async fn submit(world: &World, slug: &str, key: &str, token: &str) -> Answer {
    let url = format!("{}/assertions/{slug}", world.address);
    let request = world.acme.scim.http.post(url).bearer_auth(key);
    let request = request.header("content-type", "application/jwt").body(token.to_owned());
    Answer::of(request.send().await.unwrap()).await
}

/// The claims of a good token of this issuer for the person `sub`.
fn good_claims(world: &World, issuer: &Issuer, sub: &str) -> Value {
    let now = world.app.clock.now().timestamp();
    json!({ "iss": issuer.url, "aud": "rolecall", "sub": sub, "iat": now, "exp": now + 300,
        "preferred_username": sub, "name": "Ada" })
}

fn signed(key: &Key, claims: &Value) -> String {
    key.token_with(json!({ "alg": key.algorithm, "kid": "one", "typ": "JWT" }), claims.clone())
}

/// Verifies a token at a connection, without what follows from it.
async fn verify(
    cx: &Cx,
    connection: Uuid,
    token: &str,
) -> rolecall::error::Result<VerifiedAssertion> {
    let accepting = assertion_source::find_accepting(cx, connection).await?;
    let verifier = TokenVerifier::of_connection(cx, &accepting)?;
    verifier.verify_id_token(token, None, cx.app.clock.now()).await
}

const TOKENS: [&str; 13] = [
    include_str!("tokens/entra.json"),
    include_str!("tokens/entra-v1.json"),
    include_str!("tokens/entra-names.json"),
    include_str!("tokens/entra-roles.json"),
    include_str!("tokens/entra-overage.json"),
    include_str!("tokens/entra-v1-overage.json"),
    include_str!("tokens/auth0.json"),
    include_str!("tokens/okta.json"),
    include_str!("tokens/google.json"),
    include_str!("tokens/keycloak.json"),
    include_str!("tokens/keycloak-roles.json"),
    include_str!("tokens/zitadel.json"),
    include_str!("tokens/zitadel-project.json"),
];

/// A connection for a recorded token, and the token as recorded, but of the issuer on this machine
/// and of this hour.
async fn prepare(world: &World, issuer: &Issuer, key: &Key, recorded: &Value) -> (Uuid, String) {
    let claims = &recorded["claims"];
    let client = claims["azp"].as_str().or(claims["aud"].as_str()).unwrap();
    let mut audiences = vec![client.to_owned()];
    for audience in claims["aud"].as_array().into_iter().flatten() {
        audiences.push(audience.as_str().unwrap().to_owned());
    }
    let mut oidc = json!({ "issuer": issuer.url, "clientId": client, "audiences": audiences });
    if recorded["pointers"].is_object() {
        oidc["claims"] = recorded["pointers"].clone();
    }
    let mut rules = json!({});
    if recorded["identity"].is_string() {
        rules["groupIdentity"] = recorded["identity"].clone();
    }
    let provider = recorded["provider"].as_str().unwrap();
    let (_, connection) = connect(&world.acme, &issuer.url, provider, oidc, rules).await;
    let now = world.app.clock.now().timestamp();
    let times = json!({ "iss": issuer.url, "iat": now, "exp": now + 300 });
    let mut claims = with_claims(claims, times);
    if claims.get("nbf").is_some() {
        claims["nbf"] = now.into();
    }
    (connection, key.token_with(recorded["header"].clone(), claims))
}

#[tokio::test]
async fn documented_tokens_are_understood() {
    let world = world().await;
    for text in TOKENS {
        let recorded: Value = serde_json::from_str(text).unwrap();
        let issuer = Issuer::start().await;
        let key = Key::new("RS256", "one");
        issuer.publishes(&[&key]);
        let (connection, token) = prepare(&world, &issuer, &key, &recorded).await;
        let provider = recorded["provider"].as_str().unwrap();
        let now = world.app.clock.now().timestamp();
        let said = verify(&world.system(), connection, &token).await;
        let said = said.unwrap_or_else(|error| panic!("{provider}: {error}"));
        assert_eq!(said.subject, recorded["subject"].as_str().unwrap(), "{provider}");
        assert_eq!(said.user_name, recorded["userName"].as_str().unwrap(), "{provider}");
        assert_eq!(said.email_verified, recorded["emailVerified"], "{provider}");
        assert!((now - 5..=now).contains(&said.issued_at.timestamp()), "{provider}");
        let (complete, groups) = match said.groups {
            GroupClaims::Absent => (Value::Null, Vec::new()),
            GroupClaims::Complete(groups) => (json!(true), groups),
            GroupClaims::Incomplete(groups) => (json!(false), groups),
        };
        let groups: Vec<_> = groups.into_iter().map(|group| group.key).collect();
        assert_eq!(
            (complete, json!(groups)),
            (recorded["complete"].clone(), recorded["groups"].clone()),
            "{provider}"
        );
        let again = verify(&world.system(), connection, &token).await.unwrap();
        assert_eq!(again.fingerprint, said.fingerprint);
    }
    world.end().await;
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let world = world().await;
    let issuer = Issuer::start().await;
    let (key, other) = (Key::new("RS256", "one"), Key::new("RS256", "one"));
    issuer.publishes(&[&key]);
    let oidc = json!({ "issuer": issuer.url, "clientId": "rolecall" });
    let (_, connection) = connect(&world.acme, "Sign-in", "GENERIC", oidc, json!({})).await;
    let cx = world.system();
    let good = good_claims(&world, &issuer, "ada");
    let now = world.app.clock.now().timestamp();
    verify(&cx, connection, &signed(&key, &good)).await.unwrap();
    let code = async |token: &str| match verify(&cx, connection, token).await {
        Ok(said) => panic!("accepted: {said:?}"),
        Err(error) => error.reason().as_str(),
    };
    let changed = [
        ("another issuer", json!({ "iss": "https://evil.example" }), "ASSERTION_ISSUER"),
        ("a longer issuer", json!({ "iss": format!("{}/", issuer.url) }), "ASSERTION_ISSUER"),
        ("another audience", json!({ "aud": "other" }), "ASSERTION_AUDIENCE"),
        ("no audience", json!({ "aud": null }), "ASSERTION_AUDIENCE"),
        ("shared, no azp", json!({ "aud": ["rolecall", "other"] }), "ASSERTION_AUDIENCE"),
        ("issued to another", json!({ "azp": "other" }), "ASSERTION_AUDIENCE"),
        ("expired", json!({ "exp": now - 61 }), "ASSERTION_EXPIRED"),
        ("never expires", json!({ "exp": null }), "ASSERTION_UNREADABLE"),
        ("no issue time", json!({ "iat": null }), "ASSERTION_UNREADABLE"),
        ("not yet valid", json!({ "nbf": now + 65 }), "ASSERTION_NOT_YET_VALID"),
        ("of the future", json!({ "iat": now + 65 }), "ASSERTION_NOT_YET_VALID"),
        ("huge time", json!({ "exp": 9e30 }), "ASSERTION_UNREADABLE"),
        ("time in words", json!({ "exp": "tomorrow" }), "ASSERTION_UNREADABLE"),
        ("no subject", json!({ "sub": null }), "ASSERTION_CLAIM"),
        ("no user name", json!({ "preferred_username": " " }), "ASSERTION_CLAIM"),
    ];
    for (why, change, expected) in changed {
        assert_eq!(code(&signed(&key, &with_claims(&good, change))).await, expected, "{why}");
    }
    let with_header = |header: Value| key.token_with(header, good.clone());
    let headers = [
        ("none", json!({ "alg": "none", "kid": "one" }), "ASSERTION_UNREADABLE"),
        (
            "an access token",
            json!({ "alg": "RS256", "kid": "one", "typ": "at+jwt" }),
            "ASSERTION_KIND",
        ),
        (
            "a logout token",
            json!({ "alg": "RS256", "kid": "one", "typ": "logout+jwt" }),
            "ASSERTION_KIND",
        ),
        (
            "an extension",
            json!({ "alg": "RS256", "kid": "one", "crit": ["x"], "x": 1 }),
            "ASSERTION_UNREADABLE",
        ),
        ("a key of its own", json!({ "alg": "RS256", "jwk": other.jwk }), "ASSERTION_UNREADABLE"),
        (
            "keys elsewhere",
            json!({ "alg": "RS256", "kid": "one", "jku": "https://evil.example" }),
            "ASSERTION_UNREADABLE",
        ),
        ("another algorithm", json!({ "alg": "RS512", "kid": "one" }), "ASSERTION_ALGORITHM"),
    ];
    for (why, header, expected) in headers {
        assert_eq!(code(&with_header(header)).await, expected, "{why}");
    }
    assert_eq!(code(&signed(&other, &good)).await, "ASSERTION_SIGNATURE", "another key");
    // A key that the token brings, and signed with it.
    let own = json!({ "alg": "RS256", "jwk": other.jwk });
    let own = other.token_with(own, good.clone());
    assert_eq!(code(&own).await, "ASSERTION_UNREADABLE", "its own key");
    let unknown = Key::new("RS256", "two");
    let unknown = unknown.token_with(json!({ "alg": "RS256", "kid": "two" }), good.clone());
    assert_eq!(code(&unknown).await, "ASSERTION_KEY", "an unknown key");
    // The public key as a shared secret.
    let secret = BASE64.decode(key.jwk["n"].as_str().unwrap()).unwrap();
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some("one".into());
    let confused =
        jsonwebtoken::encode(&header, &good, &jsonwebtoken::EncodingKey::from_secret(&secret));
    assert_eq!(code(&confused.unwrap()).await, "ASSERTION_ALGORITHM", "HS256");
    let token = signed(&key, &good);
    let (signed_part, _) = token.rsplit_once('.').unwrap();
    for broken in [format!("{signed_part}."), signed_part.to_owned(), "a.b.c".into(), "".into()] {
        assert!(code(&broken).await.starts_with("ASSERTION_"), "{broken}");
    }
    let claims = BASE64.encode(with_claims(&good, json!({ "sub": "eve" })).to_string());
    let parts: Vec<_> = token.split('.').collect();
    let moved = format!("{}.{claims}.{}", parts[0], parts[2]);
    assert_eq!(code(&moved).await, "ASSERTION_SIGNATURE", "other claims");
    let long = signed(&key, &with_claims(&good, json!({ "x": "x".repeat(70_000) })));
    assert_eq!(code(&long).await, "ASSERTION_UNREADABLE", "too long");
    // Clocks may differ by a minute; a token for several applications names its own.
    for change in [
        json!({ "exp": now - 50, "iat": now - 300 }),
        json!({ "nbf": now + 50 }),
        json!({ "aud": ["other", "rolecall"], "azp": "rolecall" }),
    ] {
        verify(&cx, connection, &signed(&key, &with_claims(&good, change))).await.unwrap();
    }
    world.end().await;
}

#[tokio::test]
async fn token_of_another_tenant_is_refused() {
    let world = world().await;
    let other = world.second_organization().await;
    let issuer = Issuer::start().await;
    let key = Key::new("EdDSA", "one");
    issuer.publishes(&[&key]);
    let oidc = json!({ "issuer": issuer.url, "clientId": "rolecall", "algorithms": ["EDDSA"] });
    connect(&world.acme, "Sign-in", "GENERIC", oidc, json!({})).await;
    let token = signed(&key, &good_claims(&world, &issuer, "ada"));
    let (ours, theirs) =
        (key_with(&world.acme, "ASSERTION_WRITE").await, key_with(&other, "ASSERTION_WRITE").await);
    let refused = submit(&world, "globex", &theirs, &token).await.is(422);
    assert_eq!(refused.body["code"], "ASSERTION_ISSUER");
    // An organization's address and another one's key.
    for (slug, key) in [("globex", &ours), ("acme", &theirs), ("absent", &ours)] {
        let refused = submit(&world, slug, key, &token).await.is(404);
        assert_eq!(refused.body["code"], "NOT_FOUND");
    }
    // The key is looked at before the address.
    let wrong = submit(&world, "absent", "rck_wrong", &token).await.is(401);
    assert_eq!(wrong.header("www-authenticate"), "Bearer realm=\"rolecall\"");
    submit(&world, "acme", &world.acme.scim.token, &token).await.is(401);
    let read = key_with(&world.acme, "IAM_READ").await;
    submit(&world, "acme", &read, &token).await.is(403);
    let answer = submit(&world, "acme", &ours, &token).await.is(200);
    assert_eq!(answer.body["userId"], json!(null), "{:#}", answer.body);
    assert_eq!(answer.body["active"], false);
    assert!(answer.body["reason"].is_string(), "{:#}", answer.body);
    // The same by the management API.
    let mutation = "mutation($t: String!) { assertionSubmit(input: { assertion: { idToken: $t } }) \
                    { signIn { userId active reason message } userErrors { reason } } }";
    let same = world.acme.graphql_as(&ours, &[], mutation, json!({ "t": token })).await.body;
    let same = &same["data"]["assertionSubmit"]["signIn"];
    assert_eq!(same["message"], answer.body["message"], "{same:#}");
    let foreign = other.graphql_as(&theirs, &[], mutation, json!({ "t": token })).await.body;
    let mistake = &foreign["data"]["assertionSubmit"]["userErrors"][0]["reason"];
    assert_eq!(mistake, "ASSERTION_ISSUER", "{foreign:#}");
    world.end().await;
}

#[tokio::test]
async fn sign_in_tells_who_it_is() {
    let world = world().await;
    let issuer = Issuer::start().await;
    let key = Key::new("ES256", "one");
    issuer.publishes(&[&key]);
    let oidc = json!({ "issuer": issuer.url, "clientId": "rolecall", "algorithms": ["ES256"] });
    let (id, _) = connect(&world.acme, "Sign-in", "GENERIC", oidc, json!({})).await;
    let app = key_with(&world.acme, "ASSERTION_WRITE").await;
    let user = world.scim().user("ada").await;
    let claims = good_claims(&world, &issuer, "ada");
    let token = signed(&key, &claims);
    let first = submit(&world, "acme", &app, &token).await.is(200);
    assert_eq!(first.body["userId"], json!(user), "{:#}", first.body);
    assert_eq!(first.body["userName"], "ada");
    assert_eq!(first.body["active"], true);
    assert_eq!(first.header("cache-control"), "no-store");
    let before = world.everything().await;
    let again = submit(&world, "acme", &app, &token).await.is(200);
    assert_eq!(again.body, first.body, "the same token gets the same answer");
    assert_eq!(world.everything().await, before, "and changes nothing");
    // A suspended person is told as suspended.
    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&format!("/Users/{user}"), off).await.is(200);
    let suspended = submit(&world, "acme", &app, &token).await.is(200);
    assert_eq!(suspended.body["active"], false, "{:#}", suspended.body);
    // Refused ones are counted at their connection, and say nothing of the token.
    let late = signed(&key, &with_claims(&claims, json!({ "exp": 1 })));
    let refused = submit(&world, "acme", &app, &late).await.is(422);
    assert_eq!(refused.body["code"], "ASSERTION_EXPIRED");
    rolecall::domain::connection::request_log::flush_request_counts(&world.app).await.unwrap();
    rolecall::domain::connection::scim_token::flush_credential_uses(&world.app).await.unwrap();
    let log = "query($c: ID!) { organization { requestLog(first: 20, filter: { connectionId: $c }) \
               { nodes { meaning outcome code count } } } }";
    let log = world.graphql(log, json!({ "c": id })).await;
    let rows = log["data"]["organization"]["requestLog"]["nodes"].as_array();
    let rows = rows.unwrap_or_else(|| panic!("{log:#}"));
    let expired = rows.iter().find(|row| row["code"] == "ASSERTION_EXPIRED");
    assert_eq!(expired.unwrap_or_else(|| panic!("{rows:#?}"))["outcome"], "REFUSED");
    assert!(rows.iter().all(|row| row["meaning"] == "sign in"), "{rows:#?}");
    let seen = "query($c: ID!) { node(id: $c) { ... on IdentitySource { kind lastContactAt \
                health { state reasons { code } } diagnosis { steps { ok } } \
                assertionSource { protocol submitUrl oidc { issuer } } } } }";
    let seen = world.graphql(seen, json!({ "c": id })).await["data"]["node"].clone();
    assert_eq!(seen["kind"], "ASSERTION", "{seen:#}");
    assert!(seen["lastContactAt"].is_string(), "{seen:#}");
    assert_eq!(seen["assertionSource"]["oidc"]["issuer"], issuer.url, "{seen:#}");
    // A deactivated connection accepts nothing.
    let off = "mutation($c: ID!) { connectionDeactivate(input: { id: $c }) { userErrors { message \
               } } }";
    world.graphql(off, json!({ "c": id })).await;
    let refused = submit(&world, "acme", &app, &token).await.is(422);
    assert_eq!(refused.body["code"], "CONNECTION_INACTIVE");
    world.end().await;
}

#[tokio::test]
async fn withdrawn_key_is_refused() {
    let world = world().await;
    let issuer = Issuer::start().await;
    let (old, new) = (Key::new("EdDSA", "old"), Key::new("EdDSA", "new"));
    issuer.publishes(&[&old]);
    let oidc = json!({ "issuer": issuer.url, "clientId": "rolecall", "algorithms": ["EDDSA"] });
    let (_, connection) = connect(&world.acme, "Sign-in", "GENERIC", oidc, json!({})).await;
    let cx = world.system();
    let by = |key: &Key| {
        key.token_with(
            json!({ "alg": "EdDSA", "kid": key.jwk["kid"] }),
            good_claims(&world, &issuer, "ada"),
        )
    };
    verify(&cx, connection, &by(&old)).await.unwrap();
    let asked = issuer.asked();
    for _ in 0..5 {
        verify(&cx, connection, &by(&old)).await.unwrap();
        verify(&cx, connection, &by(&new)).await.unwrap_err();
    }
    assert_eq!(issuer.asked(), asked, "invented keys cost no call");
    issuer.publishes(&[&new]);
    world.app.clock.advance(Duration::from_secs(11));
    verify(&cx, connection, &by(&new)).await.unwrap();
    verify(&cx, connection, &by(&old)).await.unwrap_err();
    // While the issuer is down, its known keys stay.
    issuer.shows("/keys", Page::Down);
    world.app.clock.advance(Duration::from_secs(3_600));
    verify(&cx, connection, &by(&new)).await.unwrap();
    world.end().await;
}
