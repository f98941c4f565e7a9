//! Back-channel logout: only the provider that a session of the console came from ends it.

use reqwest::Client;
use serde_json::{Value, json};

use super::relying_party::{begin, claims, come_back, open_link, provide};
use super::{connect, world};
use crate::issuers::{Issuer, Key, Page, with_claims};
use crate::saml_sign_ins::{FORM, form_body};
use crate::world::{Answer, World};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// A role that opens the console, for an account of this name.
async fn new_reader(world: &World, name: &str) {
    world.scim().user(name).await;
    let find = "query($n: String!) { organization { user(userName: $n) { id } roles(first: 1) { \
                nodes { id } } } }";
    let found = world.graphql(find, json!({ "n": name })).await;
    let found = &found["data"]["organization"];
    let mut role = found["roles"]["nodes"][0]["id"].clone();
    if role.is_null() {
        let make = "mutation { roleCreate(input: { name: \"Reader\", permissions: [\"IAM_READ\"] \
                    }) { role { id } } }";
        role = world.graphql(make, json!({})).await["data"]["roleCreate"]["role"]["id"].clone();
    }
    let grant = "mutation($u: ID!, $r: ID!) { roleGrantCreate(input: { userId: $u, roleId: $r }) \
                 { userErrors { message } } }";
    let granted = world.graphql(grant, json!({ "u": found["user"]["id"], "r": role })).await;
    assert_eq!(granted["data"]["roleGrantCreate"]["userErrors"], json!([]), "{granted:#}");
}

/// Signs a person in here; the answer is the address with the link, and what opens it.
async fn sign_in(world: &World, issuer: &Issuer, key: &Key, changes: Value) -> Answer {
    let begun = begin(world, "").await;
    let claims = with_claims(&claims(world, issuer, &begun), changes);
    let token = key.token_with(json!({ "alg": key.algorithm, "kid": "one" }), claims);
    issuer.shows("/token", Page::Json(json!({ "id_token": token })));
    let query = format!("code=c&state={}", begun.parameter("state"));
    come_back(world, &begun.cookie, &query).await.is(303)
}

/// The same, with the session of the console that follows.
async fn open_session(world: &World, issuer: &Issuer, key: &Key, changes: Value) -> String {
    let done = sign_in(world, issuer, key, changes).await;
    open_link(world, &done).await.is(200).body["token"].as_str().unwrap().to_owned()
}

async fn is_open(world: &World, session: &str) -> bool {
    let query = "{ viewer { kind } }";
    world.acme.graphql_as(session, &[], query, json!({})).await.status == 200
}

/// The claims of a logout token.
fn logout_claims(world: &World, issuer: &Issuer, changes: Value) -> Value {
    let now = world.app.clock.now().timestamp();
    let claims = json!({ "iss": issuer.url, "aud": "rolecall", "iat": now, "exp": now + 120,
        "jti": uuid::Uuid::new_v4().to_string(), "events": { EVENT: {} } });
    with_claims(&claims, changes)
}

fn logout_token(key: &Key, claims: &Value) -> String {
    let header = json!({ "alg": key.algorithm, "kid": "one", "typ": "logout+jwt" });
    key.token_with(header, claims.clone())
}

async fn post_form(world: &World, path: &str, form: &[(&str, &str)]) -> Answer {
    let url = format!("{}{path}", world.address);
    let request = Client::new().post(url).header("Content-Type", FORM).body(form_body(form));
    Answer::of(request.send().await.unwrap()).await
}

/// The path at which the connection's provider says that a session is over.
async fn logout_path(world: &World, id: &str) -> String {
    let query = "query($c: ID!) { node(id: $c) { ... on IdentitySource { assertionSource { \
                 logoutUrl } } } }";
    let found = world.graphql(query, json!({ "c": id })).await;
    let url = found["data"]["node"]["assertionSource"]["logoutUrl"].as_str();
    let url = url.unwrap_or_else(|| panic!("{found:#}"));
    url.strip_prefix("https://scim.example").unwrap().to_owned()
}

#[tokio::test]
async fn provider_ends_console_sessions() {
    let world = world().await;
    let (issuer, key, id) = provide(&world).await;
    new_reader(&world, "ada").await;
    new_reader(&world, "grace").await;
    let path = logout_path(&world, &id).await;
    let ada = |sid: &str| json!({ "sub": "7", "preferred_username": "ada", "sid": sid });
    let grace = json!({ "sub": "8", "preferred_username": "grace", "sid": "g" });
    let one = open_session(&world, &issuer, &key, ada("a1")).await;
    let two = open_session(&world, &issuer, &key, ada("a2")).await;
    let other = open_session(&world, &issuer, &key, grace).await;
    let end = async |changes: Value| {
        let token = logout_token(&key, &logout_claims(&world, &issuer, changes));
        post_form(&world, &path, &[("logout_token", &token)]).await
    };
    // An unknown session, and the session of another person.
    end(json!({ "sid": "unknown" })).await.is(200);
    end(json!({ "sid": "a1", "sub": "8" })).await.is(200);
    assert!(is_open(&world, &one).await && is_open(&world, &other).await);
    let done = end(json!({ "sid": "a1", "sub": "7" })).await.is(200);
    assert_eq!(done.header("cache-control"), "no-store");
    assert!(!is_open(&world, &one).await);
    assert!(is_open(&world, &two).await && is_open(&world, &other).await);
    let told = "SELECT actor_kind, payload FROM event WHERE action = 'api_key.revoked'";
    let told = world.rows(told, []).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["actor_kind"], "CONNECTION", "{told:?}");
    assert!(told[0].to_string().contains("back-channel logout"), "{told:?}");
    // All sessions of a person, and a link that was not opened yet.
    let waiting = sign_in(&world, &issuer, &key, ada("a3")).await;
    end(json!({ "sub": "7" })).await.is(200);
    assert!(!is_open(&world, &two).await);
    open_link(&world, &waiting).await.is(410);
    assert!(is_open(&world, &other).await, "another person's goes on");
    let told = "SELECT e.actor_kind, e.payload FROM event e JOIN console_link l \
                ON l.organization_id = e.organization_id AND l.id = e.subject_id \
                WHERE e.action = 'console_link.closed' AND l.redeemed_at IS NULL";
    let told = world.rows(told, []).await;
    assert_eq!((told.len(), &told[0]["actor_kind"]), (1, &json!("CONNECTION")), "{told:?}");
    assert!(told[0].to_string().contains("back-channel logout"), "{told:?}");
    // A link that is closed stays as it is.
    end(json!({ "sub": "7" })).await.is(200);
    assert_eq!(world.count("event WHERE action = 'console_link.closed'", []).await, 1);
    // A sign-in after that is a new session.
    let again = open_session(&world, &issuer, &key, ada("a4")).await;
    assert!(is_open(&world, &again).await);
    assert_eq!(world.count("provider_session", []).await, 2);
    world.days_pass(2);
    rolecall::domain::sign_in::provider_session::forget_ended_sessions(&world.app).await.unwrap();
    assert_eq!(world.count("provider_session", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn forged_logouts_end_nothing() {
    let world = world().await;
    let (issuer, key, id) = provide(&world).await;
    new_reader(&world, "ada").await;
    let path = logout_path(&world, &id).await;
    let person = json!({ "sub": "7", "preferred_username": "ada", "sid": "a1" });
    let session = open_session(&world, &issuer, &key, person).await;
    let refused = async |token: &str, why: &str| {
        let answer = post_form(&world, &path, &[("logout_token", token)]).await.is(400);
        assert_eq!(answer.body["error"], "invalid_request", "{why}: {:#}", answer.body);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(is_open(&world, &session).await, "{why}");
    };
    let now = world.app.clock.now().timestamp();
    let good = || logout_claims(&world, &issuer, json!({ "sub": "7", "sid": "a1" }));
    let changed = [
        ("another issuer", json!({ "iss": "https://evil.example" })),
        ("another audience", json!({ "aud": "other" })),
        ("no audience", json!({ "aud": null })),
        ("shared with others", json!({ "aud": ["rolecall", "other"] })),
        ("no time of issue", json!({ "iat": null })),
        ("of the future", json!({ "iat": now + 65, "exp": now + 300 })),
        ("expired", json!({ "iat": now - 300, "exp": now - 61 })),
        ("old, and without an end", json!({ "iat": now - 7_200, "exp": now + 86_400 })),
        ("no id", json!({ "jti": null })),
        ("an empty id", json!({ "jti": "" })),
        ("an id that is a number", json!({ "jti": 7 })),
        ("a nonce", json!({ "nonce": "n" })),
        ("an empty nonce", json!({ "nonce": null })),
        ("no events", json!({ "events": null })),
        ("another event", json!({ "events": { "http://schemas.openid.net/event/other": {} } })),
        ("an event that is no object", json!({ "events": { EVENT: true } })),
        ("events as a list", json!({ "events": [EVENT] })),
        ("a person that is a list", json!({ "sub": ["7"] })),
        ("a session that is a number", json!({ "sid": 1 })),
    ];
    for (why, change) in changed {
        refused(&logout_token(&key, &with_claims(&good(), change)), why).await;
    }
    let unnamed = logout_claims(&world, &issuer, json!({}));
    refused(&logout_token(&key, &unnamed), "neither a person nor a session").await;
    for (why, header) in [
        ("none", json!({ "alg": "none", "kid": "one", "typ": "logout+jwt" })),
        ("an access token", json!({ "alg": "RS256", "kid": "one", "typ": "at+jwt" })),
        ("a security event token", json!({ "alg": "RS256", "kid": "one", "typ": "secevent+jwt" })),
        ("a key of its own", json!({ "alg": "RS256", "jwk": key.jwk, "typ": "logout+jwt" })),
        ("another algorithm", json!({ "alg": "RS512", "kid": "one", "typ": "logout+jwt" })),
    ] {
        refused(&key.token_with(header, good()), why).await;
    }
    refused(&logout_token(&Key::new("RS256", "one"), &good()), "another key").await;
    // An ID token of the very session.
    let id_token = json!({ "sub": "7", "sid": "a1", "events": null, "nonce": "n" });
    let id_token =
        key.token_with(json!({ "alg": "RS256", "kid": "one" }), with_claims(&good(), id_token));
    refused(&id_token, "an ID token").await;
    for broken in ["", "a.b.c", "x"] {
        refused(broken, "no token").await;
    }
    // The same token of another tenant's connection, and a form that says two things.
    let token = logout_token(&key, &good());
    let other = world.second_organization().await;
    let oidc = json!({ "issuer": issuer.url, "clientId": "rolecall" });
    let (_, theirs) = connect(&other, "Sign-in", "GENERIC", oidc, json!({})).await;
    let form = [("logout_token", token.as_str())];
    post_form(&world, &format!("/sign-in/globex/oidc/{theirs}/logout"), &form).await.is(200);
    assert!(is_open(&world, &session).await, "it is for the other organization only");
    post_form(&world, &path.replace("acme", "globex"), &form).await.is(400);
    post_form(&world, &path.replace("acme", "absent"), &form).await.is(400);
    let twice = [("logout_token", token.as_str()), ("logout_token", "x")];
    post_form(&world, &path, &twice).await.is(400);
    let url = format!("{}{path}", world.address);
    Answer::of(Client::new().get(url).send().await.unwrap()).await.is(405);
    assert!(is_open(&world, &session).await);
    // What is genuine counts once.
    let old = with_claims(&good(), json!({ "exp": now + 300, "sid": "before" }));
    let old = logout_token(&key, &old);
    post_form(&world, &path, &[("logout_token", &old)]).await.is(200);
    refused(&old, "the same token again").await;
    post_form(&world, &path, &form).await.is(200);
    assert!(!is_open(&world, &session).await);
    world.end().await;
}

#[tokio::test]
async fn replayed_logout_spares_later_sessions() {
    let world = world().await;
    let (issuer, key, id) = provide(&world).await;
    new_reader(&world, "ada").await;
    let path = logout_path(&world, &id).await;
    let person = json!({ "sub": "7", "preferred_username": "ada" });
    let first = open_session(&world, &issuer, &key, person.clone()).await;
    // Providers of before the final standard set no end and no type.
    let mut claims = logout_claims(&world, &issuer, json!({ "sub": "7" }));
    claims.as_object_mut().unwrap().remove("exp");
    let token = key.token_with(json!({ "alg": "RS256", "kid": "one" }), claims);
    post_form(&world, &path, &[("logout_token", &token)]).await.is(200);
    assert!(!is_open(&world, &first).await);
    let second = open_session(&world, &issuer, &key, person).await;
    post_form(&world, &path, &[("logout_token", &token)]).await.is(400);
    // Nor at another server.
    let world = world.restart_with(|config| config.pull_private_addresses = true).await;
    post_form(&world, &path, &[("logout_token", &token)]).await.is(400);
    assert!(is_open(&world, &second).await);
    world.app.clock.advance(std::time::Duration::from_secs(240));
    post_form(&world, &path, &[("logout_token", &token)]).await.is(400);
    assert!(is_open(&world, &second).await);
    world.end().await;
}
