//! Signing in here: the code flow with a provider on this machine, for the console and for an
//! application, and what must not work.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::{connect, key_with, signed, world};
use crate::issuers::{Issuer, Key, Page, with_claims};
use crate::world::{Answer, World};

pub(super) const APP: &str = "https://app.example/back";

/// A browser that follows nothing by itself.
fn browser() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

/// A provider with a page to sign in, and a connection that trusts it.
pub(super) async fn provide(world: &World) -> (Issuer, Key, String) {
    provide_with(world, &["IAM_READ", "AUDIT_READ"]).await
}

/// The same, where sign-ins open the console with at most these permissions.
async fn provide_with(world: &World, permissions: &[&str]) -> (Issuer, Key, String) {
    let issuer = Issuer::start().await;
    let key = Key::new("RS256", "one");
    issuer.publishes(&[&key]);
    let at = |path: &str| format!("{}{path}", issuer.url);
    let discovery = json!({ "issuer": issuer.url, "jwks_uri": at("/keys"),
        "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
        "end_session_endpoint": at("/end") });
    issuer.shows("/.well-known/openid-configuration", Page::Json(discovery));
    let oidc = json!({ "issuer": issuer.url, "clientId": "rolecall", "clientSecret": "s3cret",
        "redirectUrls": [APP], "consolePermissions": permissions });
    let (id, _) = connect(&world.acme, "Sign-in", "GENERIC", oidc, json!({})).await;
    (issuer, key, id)
}

/// A sign-in that has begun: where the browser is sent, with its parameters, and the cookie.
pub(super) struct Begun {
    pub(super) url: Url,
    pub(super) cookie: String,
}

impl Begun {
    pub(super) fn parameter(&self, name: &str) -> String {
        let found = self.url.query_pairs().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no {name} in {}", self.url)).1.into_owned()
    }
}

pub(super) async fn begin(world: &World, query: &str) -> Begun {
    let url = format!("{}/sign-in/acme{query}", world.address);
    let answer = Answer::of(browser().get(url).send().await.unwrap()).await.is(303);
    let cookie = answer.header("set-cookie").to_owned();
    for part in ["__Host-rolecall-sign-in=", "HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    Begun { url: Url::parse(answer.header("location")).unwrap(), cookie }
}

/// The cookie with which the browser of a sign-in redeems its link.
fn link_cookie(done: &Answer) -> String {
    let set = done.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok());
    let mut set = set.filter(|line| line.starts_with("__Host-rolecall-link="));
    let line = set.next().unwrap_or_else(|| panic!("{:?}", done.headers));
    for part in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/", "Max-Age=60"] {
        assert!(line.contains(part), "{line}");
    }
    line.split(';').next().unwrap().to_owned()
}

pub(super) async fn come_back(world: &World, cookie: &str, query: &str) -> Answer {
    // The cookie's value begins with the connection.
    let id = cookie.split_once('=').and_then(|(_, value)| value.split_once('.'));
    let id = id.map_or("00000000-0000-0000-0000-000000000000", |(id, _)| id);
    come_back_to(world, &format!("oidc/{id}/callback"), cookie, query).await
}

async fn come_back_to(world: &World, path: &str, cookie: &str, query: &str) -> Answer {
    let url = format!("{}/sign-in/acme/{path}?{query}", world.address);
    Answer::of(browser().get(url).header("cookie", cookie).send().await.unwrap()).await
}

/// Opens the console by the link to which a sign-in has sent the browser.
pub(super) async fn open_link(world: &World, done: &Answer) -> Answer {
    let code = done.header("location").split_once("#link=").unwrap().1;
    let url = format!("{}/console/redeem", world.address);
    let request = browser().post(url).header("cookie", link_cookie(done));
    Answer::of(request.json(&json!({ "code": code })).send().await.unwrap()).await
}

pub(super) fn claims(world: &World, issuer: &Issuer, begun: &Begun) -> Value {
    let now = world.app.clock.now().timestamp();
    json!({ "iss": issuer.url, "aud": "rolecall", "sub": "7", "preferred_username": "ada",
        "iat": now, "exp": now + 300, "nonce": begun.parameter("nonce") })
}

#[tokio::test]
async fn console_session_follows_roles() {
    let world = world().await;
    let (issuer, key, _) = provide(&world).await;
    let user = world.scim().user("ada").await;
    let make = "mutation { roleCreate(input: { name: \"Reader\", permissions: [\"IAM_READ\", \
                \"TOKEN_MANAGE\"] }) { role { id } } }";
    let role = world.graphql(make, json!({})).await["data"]["roleCreate"]["role"]["id"].clone();
    let begun = begin(&world, "").await;
    assert_eq!(begun.url.path(), "/authorize");
    assert_eq!(begun.parameter("response_type"), "code");
    assert_eq!(begun.parameter("code_challenge_method"), "S256");
    let find = "{ organization { connections(first: 2, filter: { kinds: [ASSERTION] }) { nodes { \
                assertionSource { oidc { redirectUri } } } } } }";
    let found = world.graphql(find, json!({})).await;
    let source = &found["data"]["organization"]["connections"]["nodes"][0]["assertionSource"];
    assert_eq!(begun.parameter("redirect_uri"), source["oidc"]["redirectUri"], "{found:#}");
    let token = signed(&key, &claims(&world, &issuer, &begun));
    issuer.shows("/token", Page::Json(json!({ "id_token": token })));
    let query = format!("code=c&state={}", begun.parameter("state"));
    // A person without a role that the connection lets into the console is refused.
    let refused = come_back(&world, &begun.cookie, &query).await.is(422);
    assert!(refused.body.as_str().unwrap().contains("none of your roles"), "{}", refused.body);
    let users = "{ organization { users(first: 1) { nodes { id } } } }";
    let users = world.graphql(users, json!({})).await;
    let ada = users["data"]["organization"]["users"]["nodes"][0]["id"].clone();
    let grant = "mutation($u: ID!, $r: ID!) { roleGrantCreate(input: { userId: $u, roleId: $r }) { \
                 roleGrant { id } } }";
    let grant = world.graphql(grant, json!({ "u": ada, "r": role })).await;
    let grant = grant["data"]["roleGrantCreate"]["roleGrant"]["id"].clone();
    let done = come_back(&world, &begun.cookie, &query).await.is(303);
    let target = done.header("location").to_owned();
    let code = target.strip_prefix("https://scim.example/sign-in#link=");
    let code = code.unwrap_or_else(|| panic!("{target}"));
    assert!(done.header("set-cookie").contains("Max-Age=0"), "the sign-in is over");
    let redeem = async |code: &str, cookie: &str| {
        let url = format!("{}/console/redeem", world.address);
        let request = browser().post(url).header("cookie", cookie).json(&json!({ "code": code }));
        Answer::of(request.send().await.unwrap()).await
    };
    // The link opens nothing in another browser, and stays whole for this one.
    let cookie = link_cookie(&done);
    for other in ["", "__Host-rolecall-link=AAAA", &cookie.to_lowercase(), &format!("x{cookie}")] {
        let refused = redeem(code, other).await.is(403);
        assert_eq!(refused.body["code"], "LINK_OF_OTHER_BROWSER", "{:#}", refused.body);
    }
    let session = redeem(code, &cookie).await.is(200);
    redeem(code, &cookie).await.is(410);
    let session = session.body["token"].as_str().unwrap().to_owned();
    let viewer = async || {
        let query = "{ viewer { kind permissions } }";
        world.acme.graphql_as(&session, &[], query, json!({})).await
    };
    // Of what the role names, only what the connection allows.
    let seen = viewer().await.is(200).body;
    assert_eq!(seen["data"]["viewer"]["permissions"], json!(["IAM_READ"]), "{seen:#}");
    // With the role goes the right, at once.
    let revoke =
        "mutation($g: ID!) { roleGrantRemove(input: { id: $g }) { userErrors { message } } }";
    let revoked = world.graphql(revoke, json!({ "g": grant })).await;
    assert_eq!(revoked["data"]["roleGrantRemove"]["userErrors"], json!([]), "{revoked:#}");
    let seen = viewer().await.is(200).body;
    assert_eq!(seen["data"]["viewer"]["permissions"], json!([]), "{seen:#}");
    // A session that is not used is over, and so is one whose account is suspended.
    world.app.clock.advance(Duration::from_secs(61 * 60));
    viewer().await.is(401);
    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&format!("/Users/{user}"), off).await.is(200);
    let begun = begin(&world, "").await;
    let token = signed(&key, &claims(&world, &issuer, &begun));
    issuer.shows("/token", Page::Json(json!({ "id_token": token })));
    let query = format!("code=c&state={}", begun.parameter("state"));
    come_back(&world, &begun.cookie, &query).await.is(422);
    world.end().await;
}

#[tokio::test]
async fn session_loses_streams_and_decisions_with_role() {
    let world = world().await;
    let permissions = ["IAM_READ", "IAM_WRITE", "DECISION_READ"];
    let (issuer, key, _) = provide_with(&world, &permissions).await;
    world.scim().user("ada").await;
    let find = "{ organization { user(userName: \"ada\") { id } } }";
    let ada = world.graphql(find, json!({})).await["data"]["organization"]["user"]["id"].clone();
    let make = "mutation { roleCreate(input: { name: \"Desk\", permissions: [\"IAM_READ\", \
                \"IAM_WRITE\", \"DECISION_READ\"] }) { role { id } } }";
    let role = world.graphql(make, json!({})).await["data"]["roleCreate"]["role"]["id"].clone();
    let grant = "mutation($u: ID!, $r: ID!) { roleGrantCreate(input: { userId: $u, roleId: $r }) { \
                 roleGrant { id } } }";
    let grant = world.graphql(grant, json!({ "u": ada, "r": role })).await;
    let grant = grant["data"]["roleGrantCreate"]["roleGrant"]["id"].clone();
    let begun = begin(&world, "").await;
    let token = signed(&key, &claims(&world, &issuer, &begun));
    issuer.shows("/token", Page::Json(json!({ "id_token": token })));
    let query = format!("code=c&state={}", begun.parameter("state"));
    let back = come_back(&world, &begun.cookie, &query).await.is(303);
    let opened = open_link(&world, &back).await.is(200);
    let session = opened.body["token"].as_str().unwrap().to_owned();
    let list_streams = async || {
        let url = format!("{}/ssf/acme/streams", world.address);
        Answer::of(browser().get(url).bearer_auth(&session).send().await.unwrap()).await
    };
    let decide = async || {
        let url = format!("{}/access/v1/evaluation", world.address);
        let asked = json!({ "subject": { "type": "user", "id": "ada" },
            "action": { "name": "read" }, "resource": { "type": "charts", "id": "1" } });
        let request = browser().post(url).bearer_auth(&session).json(&asked);
        Answer::of(request.send().await.unwrap()).await
    };
    list_streams().await.is(200);
    decide().await.is(200);
    let remove =
        "mutation($g: ID!) { roleGrantRemove(input: { id: $g }) { userErrors { message } } }";
    let removed = world.graphql(remove, json!({ "g": grant })).await;
    assert_eq!(removed["data"]["roleGrantRemove"]["userErrors"], json!([]), "{removed:#}");
    list_streams().await.is(403);
    decide().await.is(403);
    world.end().await;
}

#[tokio::test]
async fn application_redeems_its_code_once() {
    let world = world().await;
    let (issuer, key, _) = provide(&world).await;
    let user = world.scim().user("ada").await;
    let begun = begin(&world, &format!("?redirect_url={APP}&state=mine")).await;
    let token = signed(&key, &claims(&world, &issuer, &begun));
    issuer.shows("/token", Page::Json(json!({ "id_token": token })));
    let query = format!("code=c&state={}", begun.parameter("state"));
    let done = come_back(&world, &begun.cookie, &query).await.is(303);
    let target = Url::parse(done.header("location")).unwrap();
    assert!(target.as_str().starts_with(APP), "{target}");
    let found = |name: &str| {
        let pair = target.query_pairs().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    assert_eq!(found("state"), "mine");
    let code = found("code");
    let app = key_with(&world.acme, "ASSERTION_WRITE").await;
    let redeem = async |key: &str, slug: &str, code: &str, url: &str| {
        let to = format!("{}/sign-in/{slug}/redeem", world.address);
        let body = json!({ "code": code, "redirectUrl": url });
        Answer::of(browser().post(to).bearer_auth(key).json(&body).send().await.unwrap()).await
    };
    redeem("rck_wrong", "acme", &code, APP).await.is(401);
    let reader = key_with(&world.acme, "IAM_READ").await;
    redeem(&reader, "acme", &code, APP).await.is(403);
    let other = world.second_organization().await;
    let foreign = key_with(&other, "ASSERTION_WRITE").await;
    redeem(&foreign, "acme", &code, APP).await.is(404);
    redeem(&foreign, "globex", &code, APP).await.is(422);
    let who = redeem(&app, "acme", &code, APP).await.is(200);
    assert_eq!(who.body["userId"], json!(user), "{:#}", who.body);
    assert_eq!(who.body["userName"], "ada");
    assert_eq!(who.body["active"], true);
    let again = redeem(&app, "acme", &code, APP).await.is(422);
    assert_eq!(again.body["code"], "ENDED");
    world.end().await;
}

#[tokio::test]
async fn foreign_answers_and_ends_are_refused() {
    let world = world().await;
    let (issuer, key, id) = provide(&world).await;
    world.scim().user("ada").await;
    let start = async |query: &str| {
        let url = format!("{}/sign-in/{query}", world.address);
        let answer = Answer::of(browser().get(url).send().await.unwrap()).await;
        assert!(answer.headers.get("location").is_none(), "{query}: {:?}", answer.headers);
        answer.status.as_u16()
    };
    // The server redirects only to addresses that the connection names.
    for url in ["https://evil.example/", "https://app.example/back/x", "//evil.example", ""] {
        let status = start(&format!("acme?redirect_url={url}")).await;
        assert!(status == 404 || status == 400, "{url}: {status}");
    }
    assert_eq!(start("absent").await, 404);
    assert_eq!(start(&format!("acme?connection={}", uuid::Uuid::new_v4())).await, 404);
    let to_app = format!("?redirect_url={APP}");
    let begun = begin(&world, &to_app).await;
    let state = begun.parameter("state");
    let good = claims(&world, &issuer, &begun);
    let show = |claims: &Value| {
        let token = signed(&key, claims);
        issuer.shows("/token", Page::Json(json!({ "id_token": token })));
    };
    show(&good);
    let other = begin(&world, &to_app).await;
    let query = format!("code=c&state={state}");
    let refusals = [
        ("no cookie", String::new(), query.clone()),
        ("another browser's cookie", other.cookie.clone(), query.clone()),
        ("another state", begun.cookie.clone(), "code=c&state=x".to_owned()),
        ("no state", begun.cookie.clone(), "code=c".to_owned()),
        ("no code", begun.cookie.clone(), format!("state={state}")),
        ("another issuer", begun.cookie.clone(), format!("{query}&iss=https://evil.example")),
        ("an error", begun.cookie.clone(), format!("error=access_denied&state={state}")),
        ("a forged cookie", format!("{}A", begun.cookie), query.clone()),
    ];
    for (why, cookie, query) in refusals {
        let answer = come_back(&world, &cookie, &query).await;
        assert_eq!(answer.status, 422, "{why}: {:#}", answer.body);
        assert!(answer.headers.get("location").is_none(), "{why}");
    }
    for (why, change) in [
        ("another sign-in's token", json!({ "nonce": other.parameter("nonce") })),
        ("a token without a nonce", json!({ "nonce": null })),
        ("a token for another application", json!({ "aud": "other" })),
    ] {
        show(&with_claims(&good, change));
        come_back(&world, &begun.cookie, &query).await.is(422);
        assert_eq!(world.count("sign_in_code", []).await, 0, "{why}");
    }
    show(&good);
    issuer.shows("/token", Page::Down);
    come_back(&world, &begun.cookie, &query).await.is(422);
    show(&good);
    world.app.clock.advance(Duration::from_secs(601));
    come_back(&world, &begun.cookie, &query).await.is(422);
    // Signing out ends at the provider, and comes back here.
    let url = format!("{}/sign-in/acme/sign-out", world.address);
    let out = Answer::of(browser().get(url).send().await.unwrap()).await.is(303);
    assert!(out.header("location").starts_with(&format!("{}/end?", issuer.url)), "{out:?}");
    // What gives permissions in the console is set by those who hold them.
    let limited = key_with(&world.acme, "IAM_WRITE").await;
    let update = "mutation($i: ConnectionUpdateInput!) { connectionUpdate(input: $i) { userErrors { \
                  message } } }";
    let evil = json!({ "id": id, "assertion": { "oidc": { "issuer": "https://evil.example",
        "clientSecret": "x" } } });
    let refused = world.acme.graphql_as(&limited, &[], update, json!({ "i": evil })).await;
    assert_eq!(crate::walk::codes(&refused.body), ["FORBIDDEN"], "{:#}", refused.body);
    world.end().await;
}

#[tokio::test]
async fn answers_of_other_providers_are_refused() {
    let world = world().await;
    let (issuer, key, honest) = provide(&world).await;
    world.scim().user("ada").await;
    let evil = Issuer::start().await;
    evil.publishes(&[&key]);
    let at = |path: &str| format!("{}{path}", evil.url);
    let discovery = json!({ "issuer": evil.url, "jwks_uri": at("/keys"),
        "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token") });
    evil.shows("/.well-known/openid-configuration", Page::Json(discovery));
    let oidc = json!({ "issuer": evil.url, "clientId": "rolecall", "redirectUrls": [APP] });
    let (evil_id, evil_uuid) = connect(&world.acme, "Partner", "GENERIC", oidc, json!({})).await;
    let honest_uuid = super::uuid_of(&honest);
    let own = |id: uuid::Uuid| format!("oidc/{id}/callback");
    let uri = |path: &str| format!("https://scim.example/sign-in/acme/{path}");

    // The hostile provider sends the person on to the honest one: the code comes back to the
    // honest one's address, in a browser that began at the hostile one, and goes nowhere.
    let lured = begin(&world, &format!("?connection={evil_uuid}&redirect_url={APP}")).await;
    assert_eq!(lured.parameter("redirect_uri"), uri(&own(evil_uuid)));
    let asked = evil.asked();
    let query = format!("code=c&state={}", lured.parameter("state"));
    for path in [own(honest_uuid), "callback".into(), own(uuid::Uuid::new_v4())] {
        let refused = come_back_to(&world, &path, &lured.cookie, &query).await.is(422);
        assert!(refused.headers.get("location").is_none(), "{path}");
    }
    assert_eq!(evil.asked(), asked, "no code went to the hostile provider");

    // A connection of earlier times keeps the shared address while no other could be meant.
    let older = if world.app.store.backend() == sea_orm::DbBackend::Postgres {
        "UPDATE assertion_source SET settings = \
         jsonb_set(settings, '{ownRedirect}', 'false') WHERE connection_id = $1"
    } else {
        "UPDATE assertion_source SET settings = \
         json_set(settings, '$.ownRedirect', json('false')) WHERE connection_id = $1"
    };
    world.execute(older, [honest_uuid.into()]).await;
    let to_app = format!("?connection={honest_uuid}&redirect_url={APP}");
    let begun = begin(&world, &to_app).await;
    assert_eq!(begun.parameter("redirect_uri"), uri(&own(honest_uuid)));
    let query = format!("code=c&state={}", begun.parameter("state"));
    let told = come_back_to(&world, "callback", &begun.cookie, &query).await.is(422);
    let told = told.body.as_str().unwrap().to_owned();
    assert!(told.contains(&uri(&own(honest_uuid))), "{told}");
    let delete =
        "mutation($c: ID!) { connectionDelete(input: { id: $c }) { userErrors { message } } }";
    let deleted = world.graphql(delete, json!({ "c": evil_id })).await;
    assert_eq!(deleted["data"]["connectionDelete"]["userErrors"], json!([]), "{deleted:#}");
    let begun = begin(&world, &to_app).await;
    assert_eq!(begun.parameter("redirect_uri"), uri("callback"));
    let token = signed(&key, &claims(&world, &issuer, &begun));
    issuer.shows("/token", Page::Json(json!({ "id_token": token })));
    let query = format!("code=c&state={}", begun.parameter("state"));
    come_back_to(&world, &own(honest_uuid), &begun.cookie, &query).await.is(422);
    come_back_to(&world, "callback", &begun.cookie, &query).await.is(303);
    world.end().await;
}

#[tokio::test]
async fn strangers_learn_of_no_organization() {
    let world = world().await;
    world.second_organization().await;
    let some = uuid::Uuid::new_v4();
    for path in [
        String::new(),
        format!("?connection={some}"),
        "?connection=x".into(),
        "/callback?code=c&state=s".into(),
        format!("/oidc/{some}/callback?code=c&state=s"),
        "/oidc/x/callback?code=c&state=s".into(),
        "/sign-out".into(),
        format!("/saml/{some}/metadata"),
        "/saml/x/metadata".into(),
    ] {
        let ask = async |slug: &str| {
            let url = format!("{}/sign-in/{slug}{path}", world.address);
            let answer = Answer::of(browser().get(url).send().await.unwrap()).await;
            (answer.status, answer.body)
        };
        assert_eq!(ask("nobody").await, ask("globex").await, "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn administrator_accepts_invitation_for_another() {
    let world = world().await;
    let permissions = ["IAM_READ", "USER_READ", "USER_WRITE", "ACCESS_WRITE"];
    let (issuer, key, _) = provide_with(&world, &permissions).await;
    world.scim().user("ada").await;
    let made = async |mutation: &str, what: &str| {
        let made = world.graphql(mutation, json!({})).await;
        let id = made["data"].as_object().unwrap().values().next().unwrap()[what]["id"].clone();
        assert!(id.is_string(), "{made:#}");
        id
    };
    let desk = "mutation { roleCreate(input: { name: \"Desk\", permissions: [\"USER_READ\", \
                \"USER_WRITE\"] }) { role { id } } }";
    let desk = made(desk, "role").await;
    let access = "mutation { roleCreate(input: { name: \"Access\", permissions: [\"ACCESS_WRITE\", \
                  \"IAM_READ\"] }) { role { id } } }";
    let access = made(access, "role").await;
    let guest = "mutation { roleCreate(input: { name: \"Guest\" }) { role { id } } }";
    let guest = made(guest, "role").await;
    let bob = "mutation { userCreate(input: { userName: \"bob\" }) { user { id } } }";
    let bob = made(bob, "user").await;
    let find = "{ organization { user(userName: \"ada\") { id } } }";
    let ada = world.graphql(find, json!({})).await["data"]["organization"]["user"]["id"].clone();
    let grant = async |role: &Value| {
        let grant = "mutation($u: ID!, $r: ID!) { roleGrantCreate(input: { userId: $u, roleId: $r \
                     }) { userErrors { message } } }";
        let done = world.graphql(grant, json!({ "u": ada, "r": role })).await;
        assert_eq!(done["data"]["roleGrantCreate"]["userErrors"], json!([]), "{done:#}");
    };
    let invite = "mutation($r: ID!) { invitationCreate(input: { email: \"bob@elsewhere.example\", \
                  roles: [$r] }) { invitation { id } userErrors { message } } }";
    let invited = world.graphql(invite, json!({ "r": guest })).await;
    let invited = invited["data"]["invitationCreate"]["invitation"]["id"].clone();

    // Who signs in has the rights of the roles at that moment; a role that comes later counts from
    // the next sign-in on.
    let open_console = async || {
        let begun = begin(&world, "").await;
        let token = signed(&key, &claims(&world, &issuer, &begun));
        issuer.shows("/token", Page::Json(json!({ "id_token": token })));
        let query = format!("code=c&state={}", begun.parameter("state"));
        let done = come_back(&world, &begun.cookie, &query).await.is(303);
        let code = done.header("location").split_once("#link=").unwrap().1.to_owned();
        let url = format!("{}/console/redeem", world.address);
        let request = browser().post(url).header("cookie", link_cookie(&done));
        let session = request.json(&json!({ "code": code })).send().await.unwrap();
        let session = Answer::of(session).await.is(200);
        session.body["token"].as_str().unwrap().to_owned()
    };
    let accept = async |session: &str| {
        let accept = "mutation($i: ID!, $u: ID!) { invitationAccept(input: { id: $i, userId: $u, \
                      reason: \"showed a passport\" }) { invitation { state user { userName } } \
                      userErrors { reason } } }";
        let variables = json!({ "i": invited, "u": bob });
        world.acme.graphql_as(session, &[], accept, variables).await.body
    };
    grant(&desk).await;
    let session = open_console().await;
    let refused = accept(&session).await;
    assert_eq!(crate::walk::codes(&refused), ["FORBIDDEN"], "{refused:#}");
    assert_eq!(world.count("role_grant", []).await, 1);
    grant(&access).await;
    assert_eq!(crate::walk::codes(&accept(&session).await), ["FORBIDDEN"]);
    let session = open_console().await;
    let accepted = accept(&session).await;
    let invitation = &accepted["data"]["invitationAccept"]["invitation"];
    assert_eq!(invitation["state"], "ACCEPTED", "{accepted:#}");
    assert_eq!(invitation["user"]["userName"], "bob");
    let roles = "{ organization { user(userName: \"bob\") { roles { role { name } } } } }";
    let roles = world.graphql(roles, json!({})).await;
    let held = &roles["data"]["organization"]["user"]["roles"];
    assert_eq!(held, &json!([{ "role": { "name": "Guest" } }]), "{roles:#}");
    let again = accept(&session).await;
    assert_eq!(again["data"]["invitationAccept"]["userErrors"][0]["reason"], "ENDED", "{again:#}");
    assert_eq!(world.count("event WHERE action = 'invitation.accepted'", []).await, 1);
    world.end().await;
}
