//! UserInfo: asked during a sign-in here, for what the ID token does not say. What is absent stays
//! absent, and no answer takes anything away.

use std::collections::{BTreeMap, BTreeSet};

use entity::organization::IntegrationMode;
use reqwest::Url;
use serde_json::{Value, json};
use uuid::Uuid;

use super::recorded::{await_group, claimed_groups, set_mode};
use super::relying_party::{APP, Begun, begin, come_back};
use super::{connect, key_with, signed, submit, world};
use crate::issuers::{Issuer, Key, Page, with_claims};
use crate::world::{Answer, World};

/// A provider whose ID tokens say only who the person is, and a connection to it.
struct Provided {
    world: World,
    issuer: Issuer,
    key: Key,
    connection: Uuid,
    id: String,
    app: String,
}

impl Provided {
    async fn start(provider: &str, settings: Value) -> Self {
        let world = world().await;
        let issuer = Issuer::start().await;
        let key = Key::new("RS256", "one");
        issuer.publishes(&[&key]);
        let at = |path: &str| format!("{}{path}", issuer.url);
        let discovery = json!({ "issuer": issuer.url, "jwks_uri": at("/keys"),
            "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
            "userinfo_endpoint": at("/userinfo") });
        issuer.shows("/.well-known/openid-configuration", Page::Json(discovery));
        let oidc = json!({ "issuer": issuer.url, "clientId": "rolecall", "redirectUrls": [APP] });
        let (id, connection) =
            connect(&world.acme, "Sign-in", provider, with_claims(&oidc, settings), json!({}))
                .await;
        world.scim().user("ada").await;
        await_group(&world, connection, false, "Staff", "Worker").await;
        set_mode(&world, IntegrationMode::SignIn).await;
        let app = key_with(&world.acme, "ASSERTION_WRITE").await;
        Self { world, issuer, key, connection, id, app }
    }

    /// Signs in with these claims beside those about the token.
    async fn sign_in(&self, claims: Value) -> Answer {
        let begun = begin(&self.world, &format!("?redirect_url={APP}")).await;
        let token = self.token(&begun, claims);
        let tokens = json!({ "id_token": token, "access_token": "at-1", "token_type": "Bearer" });
        self.issuer.shows("/token", Page::Json(tokens));
        let query = format!("code=c&state={}", begun.parameter("state"));
        come_back(&self.world, &begun.cookie, &query).await
    }

    fn token(&self, begun: &Begun, claims: Value) -> String {
        let now = self.world.app.clock.now().timestamp();
        let token = json!({ "iss": self.issuer.url, "aud": "rolecall", "sub": "7", "iat": now,
            "exp": now + 300, "nonce": begun.parameter("nonce") });
        signed(&self.key, &with_claims(&token, claims))
    }

    /// Signs in, and redeems the code.
    async fn who(&self, claims: Value) -> Value {
        let done = self.sign_in(claims).await.is(303);
        let target = Url::parse(done.header("location")).unwrap();
        let code = target.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
        let to = format!("{}/sign-in/acme/redeem", self.world.address);
        let request = reqwest::Client::new().post(to).bearer_auth(&self.app);
        let redeemed = request.json(&json!({ "code": code, "redirectUrl": APP })).send().await;
        Answer::of(redeemed.unwrap()).await.is(200).body
    }

    /// UserInfo says this to the access token of the sign-in.
    fn says(&self, claims: &Value) {
        self.answers("application/json", claims.to_string());
    }

    fn answers(&self, kind: &'static str, text: String) {
        let authorization = "Bearer at-1".to_owned();
        self.issuer.shows("/userinfo", Page::Guarded { authorization, kind, text });
    }

    async fn groups(&self) -> BTreeSet<String> {
        claimed_groups(&self.world, self.connection, "display_name").await
    }

    async fn set(&self, wanted: &str) {
        let update = "mutation($i: ConnectionUpdateInput!) { connectionUpdate(input: $i) { \
                      userErrors { message } } }";
        let input = json!({ "id": self.id, "assertion": { "oidc": { "userInfo": wanted } } });
        let done = self.world.graphql(update, json!({ "i": input })).await;
        assert_eq!(done["data"]["connectionUpdate"]["userErrors"], json!([]), "{done:#}");
    }

    /// How often UserInfo was asked with which outcome, as the request log has it.
    async fn asked(&self) -> Vec<(String, i64)> {
        rolecall::domain::connection::request_log::flush_request_counts(&self.world.app)
            .await
            .unwrap();
        let sql = "SELECT outcome, count FROM request_log WHERE meaning = 'read UserInfo'";
        let mut asked = BTreeMap::new();
        for row in self.world.rows(sql, []).await {
            let outcome = row["outcome"].as_str().unwrap().to_owned();
            *asked.entry(outcome).or_insert(0) += row["count"].as_i64().unwrap();
        }
        asked.into_iter().collect()
    }
}

fn staff() -> Value {
    json!({ "sub": "7", "preferred_username": "ada", "name": "Ada", "given_name": "Ada",
        "family_name": "Lovelace", "email": "ada@acme.test", "email_verified": true,
        "groups": ["Staff"] })
}

#[tokio::test]
async fn user_info_alone_names_person_and_groups() {
    let at = Provided::start("OKTA", json!({})).await;
    at.says(&staff());
    let who = at.who(json!({})).await;
    assert_eq!(who["userName"], "ada", "{who:#}");
    assert_eq!((&who["roles"], &who["groupsComplete"]), (&json!(["Worker"]), &json!(true)));
    assert_eq!(at.groups().await, ["Staff".to_owned()].into());
    // The same as a signed answer, which is for this client.
    let signed_info = |claims: Value| signed(&at.key, &claims);
    let about = json!({ "iss": at.issuer.url, "aud": "rolecall" });
    at.answers("application/jwt", signed_info(with_claims(&staff(), about.clone())));
    let same = at.who(json!({})).await;
    assert_eq!(same, who);
    // What the token says counts, and an empty list there is a list.
    let mut own = staff();
    own["groups"] = json!([]);
    let asked = at.asked().await;
    assert_eq!(asked, [("ANSWERED".to_owned(), 2)]);
    let left = at.who(own).await;
    assert_eq!(left["roles"], json!([]), "{left:#}");
    assert_eq!(at.asked().await, asked, "a token that says everything needs no question");
    assert_eq!(at.groups().await, BTreeSet::new());
    at.world.end().await;
}

#[tokio::test]
async fn failed_user_info_takes_nothing_away() {
    let at = Provided::start("OKTA", json!({})).await;
    at.says(&staff());
    at.who(json!({})).await;
    let known = json!({ "preferred_username": "ada" });
    let other_key = Key::new("RS256", "one");
    let about = with_claims(&staff(), json!({ "iss": at.issuer.url, "aud": "rolecall" }));
    let none = with_claims(&staff(), json!({ "groups": null }));
    let json_kind = "application/json";
    let jwt_kind = "application/jwt";
    let now = at.world.app.clock.now().timestamp();
    let foreign = signed(&at.key, &with_claims(&about, json!({ "aud": "other" })));
    let late = signed(&at.key, &with_claims(&about, json!({ "exp": now - 500 })));
    let empty_list = with_claims(&staff(), json!({ "groups": [] }));
    let guarded = |kind: &'static str, text: String| Page::Guarded {
        authorization: "Bearer at-1".into(),
        kind,
        text,
    };
    let failures = [
        ("no answer", Page::Down),
        ("a redirect", Page::Moved(format!("{}/elsewhere", at.issuer.url))),
        (
            "another access token",
            Page::Guarded {
                authorization: "Bearer at-2".into(),
                kind: json_kind,
                text: empty_list.to_string(),
            },
        ),
        ("not JSON", guarded(json_kind, "{ \"sub\": ".into())),
        ("a list", guarded(json_kind, "[]".into())),
        ("no subject", guarded(json_kind, json!({ "groups": [] }).to_string())),
        (
            "too long",
            guarded(json_kind, json!({ "sub": "7", "x": "x".repeat(300_000) }).to_string()),
        ),
        ("another key", guarded(jwt_kind, signed(&other_key, &about))),
        ("for another client", guarded(jwt_kind, foreign)),
        ("expired", guarded(jwt_kind, late)),
    ];
    at.issuer.shows("/elsewhere", Page::Json(empty_list.clone()));
    let count = failures.len() as i64;
    for (n, (why, page)) in failures.into_iter().enumerate() {
        at.issuer.shows("/userinfo", page);
        let who = at.who(known.clone()).await;
        assert_eq!(who["roles"], json!(["Worker"]), "{why}: {who:#}");
        assert_eq!(at.groups().await, ["Staff".to_owned()].into(), "{why}");
        if n > 1 {
            continue;
        }
        // The token alone does not say who the person is.
        let refused = at.sign_in(json!({})).await.is(422);
        let told = refused.body.as_str().unwrap();
        assert!(told.contains("UserInfo could not be read"), "{why}: {told}");
    }
    let expected = [("ANSWERED".to_owned(), 1), ("FAILED".to_owned(), count + 2)];
    assert_eq!(at.asked().await, expected);
    // An answer without the list is no empty list.
    at.says(&none);
    let who = at.who(known.clone()).await;
    assert_eq!(who["roles"], json!(["Worker"]), "{who:#}");
    // An answer about another person stops the sign-in, also where nothing is missing but a name.
    at.says(&with_claims(&staff(), json!({ "sub": "8", "groups": [] })));
    let refused = at.sign_in(known).await.is(422);
    assert!(refused.body.as_str().unwrap().contains("another person"), "{}", refused.body);
    assert_eq!(at.groups().await, ["Staff".to_owned()].into());
    at.world.end().await;
}

#[tokio::test]
async fn connection_decides_when_user_info_is_asked() {
    let at = Provided::start("GENERIC", json!({ "userInfo": "NEVER" })).await;
    at.says(&staff());
    let known = json!({ "preferred_username": "ada" });
    let who = at.who(known.clone()).await;
    assert_eq!((&who["roles"], at.asked().await), (&json!([]), vec![]), "{who:#}");
    at.set("ALWAYS").await;
    let who = at.who(staff()).await;
    assert_eq!(who["roles"], json!(["Worker"]), "{who:#}");
    assert_eq!(at.asked().await, [("ANSWERED".to_owned(), 1)], "also where nothing is missing");
    at.issuer.shows("/userinfo", Page::Down);
    let refused = at.sign_in(staff()).await.is(422);
    assert!(refused.body.as_str().unwrap().contains("UserInfo could not be read"));
    // Another type of access token is not sent as if it were a bearer token.
    at.says(&staff());
    let begun = begin(&at.world, &format!("?redirect_url={APP}")).await;
    let token = at.token(&begun, staff());
    let tokens = json!({ "id_token": token, "access_token": "at-1", "token_type": "DPoP" });
    at.issuer.shows("/token", Page::Json(tokens));
    let query = format!("code=c&state={}", begun.parameter("state"));
    let refused = come_back(&at.world, &begun.cookie, &query).await.is(422);
    assert!(refused.body.as_str().unwrap().contains("access token"), "{}", refused.body);
    // A token that an application hands over comes alone.
    at.set("WHEN_CLAIMS_MISSING").await;
    let asked = at.issuer.asked();
    let now = at.world.app.clock.now().timestamp();
    let alone = json!({ "iss": at.issuer.url, "aud": "rolecall", "sub": "7", "iat": now,
        "exp": now + 300, "preferred_username": "ada" });
    let handed = submit(&at.world, "acme", &at.app, &signed(&at.key, &alone)).await.is(200);
    assert_eq!(handed.body["roles"], json!(["Worker"]), "{:#}", handed.body);
    assert_eq!(at.issuer.asked(), asked, "nothing was asked");
    at.world.end().await;
}
