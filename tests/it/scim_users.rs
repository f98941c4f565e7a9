//! Users are created, changed, suspended, deleted and created again.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

fn at(id: Uuid) -> String {
    format!("/Users/{id}")
}

/// How many open intervals of activity the account has.
async fn open_activations(world: &World, id: Uuid) -> i64 {
    world.count("activation WHERE user_id = $1 AND until IS NULL", [id.into()]).await
}

#[tokio::test]
async fn created_user_is_returned_and_stored() {
    let world = World::new().await;
    let answer = world
        .scim()
        .post(
            "/Users",
            json!({
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
                "userName": "Ada.Lovelace@Example.org", "externalId": "a-1", "active": true,
                "name": { "givenName": "Ada", "familyName": "Lovelace" },
                "emails": [{ "value": "Ada@Example.org", "type": "work", "primary": true }],
                "password": "forget me",
            }),
        )
        .await
        .is(201);
    let id = answer.id();
    // RFC 7644 section 3.3: the location of the new resource is in the header and in the body.
    let location = format!("https://scim.example/scim/v2/acme/Users/{id}");
    assert_eq!(answer.header("location"), location);
    assert_eq!(answer.header("etag"), "W/\"1\"");
    assert_eq!(answer.header("content-type"), "application/scim+json");
    assert_eq!(answer.body["meta"]["location"], location);
    assert_eq!(answer.body["meta"]["version"], "W/\"1\"");
    assert_eq!(answer.body["meta"]["resourceType"], "User");
    assert_eq!(answer.body["meta"]["created"], answer.body["meta"]["lastModified"]);
    assert_eq!(answer.body["userName"], "Ada.Lovelace@Example.org", "the name as it was written");
    assert_eq!(answer.body["password"], Value::Null);

    assert_eq!(world.scim().get(&at(id)).await.is(200).body, answer.body);
    let rows =
        world.rows("SELECT user_name_key, active, document, version FROM \"user\"", []).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["user_name_key"], "ada.lovelace@example.org");
    assert!(!rows[0]["document"].as_str().unwrap().contains("forget me"));
    assert_eq!(world.count("user_email WHERE value_key = $1", ["ada@example.org".into()]).await, 1);
    assert_eq!(open_activations(&world, id).await, 1);
    assert_eq!(world.events_of(id).await, ["user.created"]);
    let told = world.last_payload().await;
    assert_eq!(told["before"], Value::Null);
    assert_eq!(told["after"]["name"], json!({ "givenName": "Ada", "familyName": "Lovelace" }));
    assert!(!told.to_string().contains("forget me"), "a password is in no ledger");
    world.end().await;
}

#[tokio::test]
async fn events_name_actor_and_request() {
    let world = World::new().await;
    let request = "0198c0de-0000-7000-8000-00000000abcd";
    let body = Some(json!({ "userName": "ada" }));
    let id = world
        .scim()
        .send(reqwest::Method::POST, "/Users", body, &[("x-request-id", request)])
        .await
        .is(201)
        .id();
    let told =
        "SELECT actor_kind, actor_id, actor_name, subject_kind FROM event WHERE subject_id = $1";
    let row = world.rows(told, [id.into()]).await.swap_remove(0);
    let connection = world.acme.connection.to_string();
    let expected = json!({
        "actor_kind": "CONNECTION", "actor_id": connection, "actor_name": "Identity provider", "subject_kind": "user",
    });
    assert_eq!(row, expected);
    let request: Uuid = request.parse().unwrap();
    assert_eq!(
        world
            .count("event WHERE request_id = $1 AND subject_id = $2", [request.into(), id.into()])
            .await,
        1
    );
    world.end().await;
}

#[tokio::test]
async fn name_is_unique_in_any_spelling() {
    let world = World::new().await;
    let id = world.scim().user("Zoë@Example.org").await;
    let other = world.scim().user("other").await;
    let before = world.everything().await;
    for name in
        ["Zoë@Example.org", "ZOË@EXAMPLE.ORG", " zoë@example.org ", "zoe\u{308}@example.org"]
    {
        world
            .scim()
            .post("/Users", json!({ "userName": name }))
            .await
            .refused(409, Some("uniqueness"));
        world
            .scim()
            .put(&at(other), json!({ "userName": name }))
            .await
            .refused(409, Some("uniqueness"));
        let rename = json!([{ "op": "replace", "path": "userName", "value": name }]);
        world.scim().patch(&at(other), rename).await.refused(409, Some("uniqueness"));
    }
    // The externalId identifies a person within a connection (RFC 7643 section 3.1), and its case
    // matters.
    let same = json!({ "userName": "another person", "externalId": "x-other" });
    world.scim().post("/Users", same).await.refused(409, Some("uniqueness"));
    assert_eq!(world.everything().await, before);
    world
        .scim()
        .post("/Users", json!({ "userName": "another", "externalId": "X-OTHER" }))
        .await
        .is(201);
    // An account may take another spelling of its own name.
    world.scim().put(&at(id), json!({ "userName": "ZOË@example.org" })).await.is(200);
    // A user name is unique in the organization, an externalId in the connection.
    let second = world.tenant("acme", "Second").await;
    second
        .scim
        .post("/Users", json!({ "userName": "OTHER" }))
        .await
        .refused(409, Some("uniqueness"));
    second
        .scim
        .post("/Users", json!({ "userName": "theirs", "externalId": "x-other" }))
        .await
        .is(201);
    let globex = world.second_organization().await;
    globex.scim.user("other").await;
    world.end().await;
}

#[tokio::test]
async fn one_of_many_concurrent_creates_succeeds() {
    let world = World::new().await;
    let requests = (0..8).map(|n| {
        let scim = world.scim().clone();
        tokio::spawn(async move {
            scim.post("/Users", json!({ "userName": "Ada", "externalId": n.to_string() })).await
        })
    });
    let mut won = 0;
    for answer in futures_util::future::join_all(requests).await {
        let answer = answer.unwrap();
        match answer.status.as_u16() {
            201 => won += 1,
            _ => drop(answer.refused(409, Some("uniqueness"))),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(world.count("\"user\"", []).await, 1);
    world.end().await;
}

#[tokio::test]
async fn put_and_patch_change_a_user() {
    let world = World::new().await;
    let body = json!({ "userName": "ada", "externalId": "a-1", "title": "Nurse", "emails": [{ "value": "a@x.org" }] });
    let id = world.scim().post("/Users", body).await.is(201).id();

    // PUT replaces all attributes (RFC 7644 section 3.5.1), but an absent identifier or state stays
    // as it is.
    world
        .scim()
        .patch(&at(id), json!([{ "op": "replace", "path": "active", "value": false }]))
        .await
        .is(200);
    let answer = world
        .scim()
        .put(&at(id), json!({ "userName": "ada", "displayName": "Ada L." }))
        .await
        .is(200);
    assert_eq!(answer.body["displayName"], "Ada L.");
    assert_eq!((&answer.body["title"], &answer.body["emails"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&answer.body["externalId"], &answer.body["active"]),
        (&json!("a-1"), &json!(false))
    );
    assert_eq!(world.count("user_email", []).await, 0);

    let operations = json!([
        { "op": "add", "path": "emails", "value": [{ "value": "new@x.org", "type": "work" }] },
        { "op": "replace", "path": "userName", "value": "ada.king" },
        { "op": "remove", "path": "displayName" },
        { "op": "replace", "path": "active", "value": true },
    ]);
    let answer = world.scim().patch(&at(id), operations).await.is(200);
    assert_eq!(answer.body["userName"], "ada.king");
    assert_eq!(answer.body["meta"]["version"], "W/\"4\"");
    assert_eq!(answer.body, world.scim().get(&at(id)).await.body);
    let row = world
        .rows("SELECT user_name_key, display_name, active, version FROM \"user\"", [])
        .await
        .swap_remove(0);
    assert_eq!(
        row,
        json!({ "user_name_key": "ada.king", "display_name": null, "active": true, "version": 4 })
    );
    assert_eq!(world.count("user_email WHERE value_key = 'new@x.org'", []).await, 1);
    let told = world.events_of(id).await;
    assert_eq!(told, ["user.created", "user.suspended", "user.updated", "user.reactivated"]);
    let payload = world.last_payload().await;
    assert_eq!(payload["before"]["userName"], "ada");
    assert_eq!(payload["after"]["userName"], "ada.king");
    assert_eq!(
        payload["after"]["externalId"],
        Value::Null,
        "unchanged attributes are not in the event"
    );
    world.end().await;
}

#[tokio::test]
async fn failed_patch_changes_nothing() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    let before = world.everything().await;
    let operations = json!([
        { "op": "replace", "path": "title", "value": "Chief" },
        { "op": "replace", "path": "noSuchThing", "value": "x" },
    ]);
    world.scim().patch(&at(id), operations).await.refused(400, Some("invalidPath"));
    assert_eq!(world.scim().get(&at(id)).await.body["title"], Value::Null);
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn repeated_change_changes_nothing() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    let suspend = json!([{ "op": "replace", "path": "active", "value": "False" }]);
    let first = world.scim().patch(&at(id), suspend.clone()).await.is(200);
    let before = world.everything().await;
    for _ in 0..3 {
        assert_eq!(world.scim().patch(&at(id), suspend.clone()).await.is(200).body, first.body);
    }
    let same = world.scim().get(&at(id)).await.body;
    assert_eq!(world.scim().put(&at(id), same.clone()).await.is(200).body, same);
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn suspended_user_can_be_reactivated() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[id]).await;
    for (active, open) in [(false, 0), (true, 1)] {
        let operation = json!([{ "op": "Replace", "value": { "active": active } }]);
        let answer = world.scim().patch(&at(id), operation).await.is(200);
        assert_eq!(answer.body["active"], active);
        assert_eq!(open_activations(&world, id).await, open);
        assert_eq!(world.scim().members(group).await, [id], "a suspension touches no membership");
    }
    assert_eq!(world.count("activation WHERE user_id = $1", [id.into()]).await, 2);
    assert_eq!(world.events_of(id).await, ["user.created", "user.suspended", "user.reactivated"]);
    world.end().await;
}

#[tokio::test]
async fn user_shows_its_groups() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[id]).await;
    let expected = json!([{
        "value": group, "$ref": format!("https://scim.example/scim/v2/acme/Groups/{group}"), "display": "Ward 3",
        "type": "direct",
    }]);
    assert_eq!(world.scim().get(&at(id)).await.is(200).body["groups"], expected);
    assert_eq!(world.scim().get("/Users").await.is(200).body["Resources"][0]["groups"], expected);
    let answer = world
        .scim()
        .patch(&at(id), json!([{ "op": "add", "path": "title", "value": "Nurse" }]))
        .await
        .is(200);
    assert_eq!(answer.body["groups"], expected);
    let narrow = world.scim().get(&format!("{}?excludedAttributes=groups", at(id))).await.is(200);
    assert_eq!(narrow.body["groups"], Value::Null);
    world.end().await;
}

#[tokio::test]
async fn deleted_user_is_gone_everywhere() {
    let world = World::new().await;
    let (id, stays) = (world.scim().user("ada").await, world.scim().user("ben").await);
    let group = world.scim().group("Ward 3", &[id, stays]).await;
    world.scim().delete(&at(id)).await.is(204);

    // RFC 7644 section 3.6: no operation and no list finds it any more, and the name is free.
    world.scim().get(&at(id)).await.refused(404, None);
    world.scim().put(&at(id), json!({ "userName": "ada" })).await.refused(404, None);
    world
        .scim()
        .patch(&at(id), json!([{ "op": "add", "path": "title", "value": "x" }]))
        .await
        .refused(404, None);
    world.scim().delete(&at(id)).await.refused(404, None);
    assert_eq!(world.scim().ids("/Users").await, [stays]);
    assert!(world.scim().ids("/Users?filter=userName%20eq%20%22ada%22").await.is_empty());
    assert_eq!(world.scim().members(group).await, [stays]);
    let add = json!([{ "op": "add", "path": "members", "value": [{ "value": id }] }]);
    world.scim().patch(&format!("/Groups/{group}"), add).await.refused(400, Some("invalidValue"));

    assert_eq!(open_activations(&world, id).await, 0);
    assert_eq!(
        world.count("membership WHERE user_id = $1 AND until IS NULL", [id.into()]).await,
        0
    );
    let closed = "membership m JOIN event e ON e.id = m.closed_by WHERE m.user_id = $1 AND \
                  e.action = 'user.deleted'";
    assert_eq!(
        world.count(closed, [id.into()]).await,
        1,
        "the interval names the event that ended it"
    );
    assert_eq!(world.count("user_email WHERE user_id = $1", [id.into()]).await, 0);
    let kept = "\"user\" WHERE id = $1 AND deleted_at IS NOT NULL AND purge_after IS NULL";
    assert_eq!(world.count(kept, [id.into()]).await, 1, "a soft deletion keeps the row");
    assert_eq!(world.events_of(id).await, ["user.created", "user.deleted"]);
    assert_eq!(world.last_payload().await["before"]["memberships"], 1);
    world.end().await;
}

#[tokio::test]
async fn hard_deletion_schedules_the_purge() {
    use entity::connection::DeletionPolicy;
    use rolecall::domain::connection;
    use rolecall::domain::connection::ConnectionSettings;
    let world = World::new().await;
    let settings = ConnectionSettings {
        deletion_policy: Some(DeletionPolicy::Hard),
        revival_days: Some(7),
        ..Default::default()
    };
    connection::update_connection(
        &world.system(),
        world.acme.connection,
        settings,
        Default::default(),
        None,
    )
    .await
    .unwrap();
    let id = world.scim().user("ada").await;
    world.scim().delete(&at(id)).await.is(204);
    // The person may return until the end of the window, so the data is purged after it.
    let user = "\"user\" WHERE id = $1 AND purge_after";
    let now = world.app.clock.now();
    let bound = |days| [id.into(), (now + chrono::Duration::days(days)).into()];
    assert_eq!(world.count(&format!("{user} > $2"), bound(6)).await, 1);
    assert_eq!(world.count(&format!("{user} < $2"), bound(8)).await, 1);
    assert_eq!(world.scim().user("ada").await, id);
    assert_eq!(
        world.count("\"user\" WHERE purge_after IS NULL", []).await,
        1,
        "a returned account is not purged"
    );
    world.end().await;
}

#[tokio::test]
async fn deleted_user_returns_within_the_window() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[id]).await;
    world.scim().delete(&at(id)).await.is(204);
    world.days_pass(29);
    let body = json!({ "userName": "ada.king", "externalId": "x-ada", "displayName": "Ada King" });
    let answer = world.scim().post("/Users", body).await.is(201);
    assert_eq!(answer.id(), id, "the same externalId of the same connection is the same person");
    assert_eq!(
        (&answer.body["active"], &answer.body["userName"]),
        (&json!(true), &json!("ada.king"))
    );
    assert_eq!(answer.body["groups"], Value::Null);
    assert_eq!(
        world.scim().get(&at(id)).await.is(200).body["groups"],
        Value::Null,
        "without the memberships"
    );
    assert!(world.scim().members(group).await.is_empty());
    assert_eq!(world.count("\"user\"", []).await, 1);
    assert_eq!(open_activations(&world, id).await, 1);
    assert_eq!(world.events_of(id).await, ["user.created", "user.deleted", "user.revived"]);
    world.end().await;
}

#[tokio::test]
async fn late_return_makes_a_new_account() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    world.scim().delete(&at(id)).await.is(204);
    world.days_pass(31);
    let new = world.scim().user("ada").await;
    assert_ne!(new, id);
    assert_eq!(world.events_of(new).await, ["user.created"]);
    world.scim().get(&at(id)).await.refused(404, None);
    world.end().await;
}

#[tokio::test]
async fn reused_name_inherits_nothing() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[id]).await;
    world.scim().delete(&at(id)).await.is(204);
    for body in
        [json!({ "userName": "ada" }), json!({ "userName": "ada", "externalId": "another person" })]
    {
        let new = world.scim().post("/Users", body).await.is(201).id();
        assert_ne!(new, id);
        assert!(world.scim().members(group).await.is_empty());
        assert_eq!(world.events_of(new).await, ["user.created"]);
        world.scim().delete(&at(new)).await.is(204);
    }
    // The same holds for the same externalId at another connection.
    let second = world.tenant("acme", "Second").await;
    assert_ne!(second.scim.user("ada").await, id);
    world.end().await;
}

#[tokio::test]
async fn post_reactivates_a_suspended_user() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[id]).await;
    world
        .scim()
        .patch(&at(id), json!([{ "op": "replace", "path": "active", "value": false }]))
        .await
        .is(200);

    // A POST of a suspended person that leaves it suspended changes nothing …
    let body = json!({ "userName": "ada", "externalId": "x-ada", "active": false });
    let answer = world.scim().post("/Users", body).await.is(201);
    assert_eq!((answer.id(), &answer.body["active"]), (id, &json!(false)));
    assert_eq!(world.events_of(id).await, ["user.created", "user.suspended"]);
    // … and one with a new title is an update.
    let body =
        json!({ "userName": "ada", "externalId": "x-ada", "active": false, "title": "On leave" });
    world.scim().post("/Users", body).await.is(201);
    assert_eq!(world.events_of(id).await, ["user.created", "user.suspended", "user.updated"]);

    let answer = world
        .scim()
        .post("/Users", json!({ "userName": "ada", "externalId": "x-ada" }))
        .await
        .is(201);
    assert_eq!((answer.id(), &answer.body["active"]), (id, &json!(true)));
    assert_eq!(
        answer.body["groups"][0]["value"],
        group.to_string(),
        "a suspension took nothing away"
    );
    assert_eq!(open_activations(&world, id).await, 1);
    assert_eq!(world.events_of(id).await.last().unwrap(), "user.reactivated");
    world.end().await;
}

#[tokio::test]
async fn stale_user_version_is_refused() {
    use reqwest::Method;
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    let path = at(id);
    let patch = |title| {
        Some(crate::world::patch(json!([{ "op": "replace", "path": "title", "value": title }])))
    };
    let send = |method, body, header, tag| {
        let (scim, path) = (world.scim(), &path);
        async move { scim.send(method, path, body, &[(header, tag)]).await }
    };
    // RFC 7644 section 3.14.
    send(Method::GET, None, "if-none-match", "W/\"1\"").await.is(304);
    send(Method::PATCH, patch("first"), "if-match", "W/\"1\"").await.is(200);
    send(Method::GET, None, "if-none-match", "W/\"1\"").await.is(200);
    let before = world.everything().await;
    let put = Some(json!({ "userName": "ada" }));
    send(Method::PATCH, patch("second"), "if-match", "W/\"1\"").await.refused(412, None);
    send(Method::PUT, put, "if-match", "W/\"1\"").await.refused(412, None);
    send(Method::DELETE, None, "if-match", "W/\"1\"").await.refused(412, None);
    send(Method::DELETE, None, "if-match", "garbage").await.refused(412, None);
    assert_eq!(world.everything().await, before);
    send(Method::PATCH, patch("second"), "if-match", "*").await.is(200);
    send(Method::PATCH, patch("third"), "if-match", "\"9\", W/\"3\"").await.is(200);
    send(Method::DELETE, None, "if-match", "W/\"4\"").await.is(204);
    world.end().await;
}

#[tokio::test]
async fn clients_cannot_choose_ids() {
    let world = World::new().await;
    let wished = "11111111-1111-4111-8111-111111111111";
    let body = json!({ "id": wished, "userName": wished, "externalId": wished, "meta": { "version": "W/\"9\"" } });
    let answer = world.scim().post("/Users", body).await.is(201);
    assert_ne!(answer.id().to_string(), wished);
    assert_eq!(answer.body["meta"]["version"], "W/\"1\"");
    world.scim().get(&format!("/Users/{wished}")).await.refused(404, None);
    // Another spelling of an id is not accepted as the same id.
    for odd in [
        answer.id().simple().to_string(),
        answer.id().to_string().to_uppercase(),
        format!("{{{}}}", answer.id()),
    ] {
        world.scim().get(&format!("/Users/{odd}")).await.refused(404, None);
    }
    world.end().await;
}

#[tokio::test]
async fn connection_can_hide_cursor_paging() {
    let world = World::new().await;
    let config = world.scim().get("/ServiceProviderConfig").await.is(200).body;
    assert_eq!(config["pagination"]["cursor"], true);
    let hide = r#"mutation($id: ID!) { connectionUpdate(input: { id: $id, announcesCursorPaging: false }) {
        connection { announcesCursorPaging } userErrors { message } } }"#;
    let known = world
        .graphql("{ organization { connections(first: 1) { nodes { id } } } }", json!({}))
        .await;
    let id = &known["data"]["organization"]["connections"]["nodes"][0]["id"];
    let done = world.graphql(hide, json!({ "id": id })).await;
    assert_eq!(
        done["data"]["connectionUpdate"]["connection"]["announcesCursorPaging"], false,
        "{done}"
    );
    let config = world.scim().get("/ServiceProviderConfig").await.is(200).body;
    assert_eq!(config.get("pagination"), None);
    world.scim().get("/Users?cursor=").await.is(200);
    world.end().await;
}
