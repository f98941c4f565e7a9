//! Failed sign-ins are counted at every interface, and no client can fill the log of an
//! organization.

use rolecall::auth::policy::Permission;
use rolecall::domain::access::api_key;
use rolecall::domain::connection::request_log;
use rolecall::domain::connection::request_log::RequestLogQuery;
use rolecall::domain::paging::Keyset;
use serde_json::{Value, json};

use crate::socket::Socket;
use crate::world::{Scim, World};

/// At which interface failed sign-ins were counted, why, and how often.
async fn list_failed_sign_ins(world: &World) -> Vec<(String, String, i64)> {
    request_log::flush_request_counts(&world.app).await.unwrap();
    let keyset = Keyset { limit: 1_000, ..Default::default() };
    let rows = request_log::list_request_log(&world.system(), RequestLogQuery::default(), &keyset)
        .await
        .unwrap()
        .rows;
    let failed = rows.into_iter().filter(|row| row.meaning == "authenticate");
    let mut counted: Vec<_> = failed
        .map(|row| {
            (
                row.resource.unwrap_or_else(|| "SCIM".into()),
                row.reason.unwrap_or_default(),
                row.count,
            )
        })
        .collect();
    counted.sort();
    counted
}

#[tokio::test]
async fn failed_sign_ins_are_counted_everywhere() {
    let world = World::new().await;
    let http = reqwest::Client::new();
    let revoked = api_key::issue_key(&world.system(), "old", [Permission::IamRead].into(), None)
        .await
        .unwrap();
    api_key::revoke_key(&world.system(), revoked.key.id).await.unwrap();
    let root = world.address.clone();
    let requests = [
        (
            "GraphQL",
            http.post(format!("{root}/graphql"))
                .header("content-type", "application/json")
                .body("{}"),
        ),
        (
            "event stream",
            http.post(format!("{root}/graphql")).header("accept", "text/event-stream").body("{}"),
        ),
        ("bulk upload", http.post(format!("{root}/bulk")).body("{}")),
        ("export", http.get(format!("{root}/bulk/x/result.jsonl"))),
        ("reconciliation upload", http.post(format!("{root}/reconciliations")).body("")),
        ("export", http.get(format!("{root}/evidence/access.csv"))),
    ];
    for (name, request) in requests {
        let before = list_failed_sign_ins(&world).await;
        for (secret, organization) in [
            (revoked.secret.as_str(), None),
            ("rck_0000000000000000000000000000000000000000000000000", Some("acme")),
            ("nonsense", Some("acme")),
            (world.scim().token.as_str(), Some("acme")),
        ] {
            let mut request = request.try_clone().unwrap().bearer_auth(secret);
            if let Some(slug) = organization {
                request = request.header("rolecall-organization", slug);
            }
            assert_eq!(request.send().await.unwrap().status(), 401, "{name}");
        }
        let sum = |rows: &[(String, String, i64)], reason: &str| {
            rows.iter().filter(|row| row.0 == name && row.1 == reason).map(|row| row.2).sum::<i64>()
        };
        let after = list_failed_sign_ins(&world).await;
        for (reason, n) in
            [("CREDENTIAL_DEAD", 1), ("CREDENTIAL_UNKNOWN", 2), ("CREDENTIAL_KIND", 1)]
        {
            assert_eq!(
                sum(&after, reason) - sum(&before, reason),
                n,
                "{name}, {reason}: {after:?}"
            );
        }
    }
    // A WebSocket whose client authenticates in its first message.
    for authorization in [revoked.secret.clone(), "rck_wrong".into()] {
        let mut socket = Socket::fresh(&world.address).await;
        let payload = json!({ "Authorization": format!("Bearer {authorization}"), "Rolecall-Organization": "acme" });
        socket.say(json!({ "type": "connection_init", "payload": payload })).await;
        socket.closed().await;
    }
    let after = list_failed_sign_ins(&world).await;
    assert!(after.contains(&("WebSocket".into(), "CREDENTIAL_DEAD".into(), 1)), "{after:?}");
    assert!(after.contains(&("WebSocket".into(), "CREDENTIAL_UNKNOWN".into(), 1)), "{after:?}");
    // Each row names a next step. Opening the GraphiQL page is not a failed sign-in.
    let keyset = Keyset { limit: 1_000, ..Default::default() };
    let rows = request_log::list_request_log(&world.system(), RequestLogQuery::default(), &keyset)
        .await
        .unwrap()
        .rows;
    assert!(rows.iter().all(|row| request_log::next_step(row).is_some_and(|step| step.len() > 20)));
    let before = list_failed_sign_ins(&world).await;
    http.get(format!("{root}/graphql")).header("accept", "text/html").send().await.unwrap();
    assert_eq!(list_failed_sign_ins(&world).await, before);
    world.end().await;
}

#[tokio::test]
async fn unknown_tenants_displace_no_tenant() {
    let world = World::new().await;
    request_log::flush_request_counts(&world.app).await.unwrap();
    let (scim, http) = (world.scim(), world.scim().http.clone());
    for n in 0..2_200 {
        let url = format!("{}/Users", scim.base.replace("acme", &format!("guess-{n}")));
        assert_eq!(http.get(url).bearer_auth("rcs_wrong").send().await.unwrap().status(), 401);
    }
    scim.with_token("rcs_wrong").get("/Users").await.is(401);
    assert!(list_failed_sign_ins(&world).await.contains(&(
        "SCIM".into(),
        "TOKEN_UNKNOWN".into(),
        1
    )));
    // The first failed sign-in of a new organization is counted, too.
    let globex = world.second_organization().await;
    request_log::flush_request_counts(&world.app).await.unwrap();
    let wrong = Scim { token: "rcs_wrong".into(), ..globex.scim.clone() };
    wrong.get("/Users").await.is(401);
    request_log::flush_request_counts(&world.app).await.unwrap();
    let theirs = "request_log WHERE organization_id = $1 AND reason = 'TOKEN_UNKNOWN'";
    assert_eq!(world.count(theirs, [globex.organization.into()]).await, 1);
    world.end().await;
}

#[tokio::test]
async fn many_failed_sign_ins_need_attention() {
    let world = World::new().await;
    let kinds = async || {
        request_log::flush_request_counts(&world.app).await.unwrap();
        let query = "{ organization { attention { kind count } } }";
        let answer = world.graphql(query, json!({})).await;
        let items: Vec<Value> =
            answer["data"]["organization"]["attention"].as_array().unwrap().clone();
        items.into_iter().find(|item| item["kind"] == "SIGN_INS_FAIL")
    };
    for _ in 0..99 {
        world.scim().with_token("rcs_wrong").get("/Users").await.is(401);
    }
    assert_eq!(kinds().await, None);
    world.scim().with_token("rcs_wrong").get("/Users").await.is(401);
    assert_eq!(kinds().await.unwrap()["count"], 100);
    world.days_pass(2);
    assert_eq!(kinds().await, None, "it ends after two days");
    world.end().await;
}

#[tokio::test]
async fn wrong_kind_of_credential_is_named() {
    let world = World::new().await;
    let refused =
        world.scim().with_token(&world.acme.api_key).get("/Users").await.refused(401, None);
    let words = refused.body["detail"].as_str().unwrap();
    assert!(words.contains("API key (rck_)") && words.contains("token (rcs_)"), "{words}");
    let refused = world
        .acme
        .graphql_as(&world.scim().token, &[], "{ viewer { kind } }", json!({}))
        .await
        .is(401);
    let words = refused.body["errors"][0]["message"].as_str().unwrap();
    assert!(words.contains("SCIM token (rcs_)") && words.contains("API key (rck_)"), "{words}");
    world.end().await;
}
