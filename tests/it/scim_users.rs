//! People join, change, leave and come back.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

fn at(id: Uuid) -> String {
    format!("/Users/{id}")
}

/// Whether the account is open to use at this moment, by its intervals.
async fn open_activations(world: &World, id: Uuid) -> i64 {
    world.count("activation WHERE user_id = $1 AND until IS NULL", [id.into()]).await
}

#[tokio::test]
async fn somebody_joins() {
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
    // RFC 7644 section 3.3: the place of the new resource is in the header and in the body.
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
    let rows = world.rows("SELECT user_name_key, active, document, version FROM \"user\"", []).await;
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
async fn the_ledger_says_who_did_it_and_under_which_request() {
    let world = World::new().await;
    let request = "0198c0de-0000-7000-8000-00000000abcd";
    let body = Some(json!({ "userName": "ada" }));
    let id = world.scim().send(reqwest::Method::POST, "/Users", body, &[("x-request-id", request)]).await.is(201).id();
    let told = "SELECT actor_kind, actor_id, actor_name, subject_kind FROM event WHERE subject_id = $1";
    let row = world.rows(told, [id.into()]).await.swap_remove(0);
    let connection = world.acme.connection.to_string();
    let expected = json!({
        "actor_kind": "CONNECTION", "actor_id": connection, "actor_name": "Identity provider", "subject_kind": "user",
    });
    assert_eq!(row, expected);
    let request: Uuid = request.parse().unwrap();
    assert_eq!(world.count("event WHERE request_id = $1 AND subject_id = $2", [request.into(), id.into()]).await, 1);
    world.end().await;
}

#[tokio::test]
async fn a_name_is_taken_in_any_spelling() {
    let world = World::new().await;
    let id = world.scim().user("Zoë@Example.org").await;
    let other = world.scim().user("other").await;
    let before = world.everything().await;
    for name in ["Zoë@Example.org", "ZOË@EXAMPLE.ORG", " zoë@example.org ", "zoe\u{308}@example.org"] {
        world.scim().post("/Users", json!({ "userName": name })).await.refused(409, Some("uniqueness"));
        world.scim().put(&at(other), json!({ "userName": name })).await.refused(409, Some("uniqueness"));
        let rename = json!([{ "op": "replace", "path": "userName", "value": name }]);
        world.scim().patch(&at(other), rename).await.refused(409, Some("uniqueness"));
    }
    // The externalId is what tells people apart within a connection (RFC 7643 section 3.1), and it is case exact.
    let same = json!({ "userName": "somebody else", "externalId": "x-other" });
    world.scim().post("/Users", same).await.refused(409, Some("uniqueness"));
    assert_eq!(world.everything().await, before);
    world.scim().post("/Users", json!({ "userName": "another", "externalId": "X-OTHER" })).await.is(201);
    // One's own name in another spelling is nobody else's.
    world.scim().put(&at(id), json!({ "userName": "ZOË@example.org" })).await.is(200);
    // A name belongs to the organization, an externalId to the connection.
    let second = world.tenant("acme", "Second").await;
    second.scim.post("/Users", json!({ "userName": "OTHER" })).await.refused(409, Some("uniqueness"));
    second.scim.post("/Users", json!({ "userName": "theirs", "externalId": "x-other" })).await.is(201);
    let globex = world.second_organization().await;
    globex.scim.user("other").await;
    world.end().await;
}

#[tokio::test]
async fn of_many_who_take_one_name_at_once_one_gets_it() {
    let world = World::new().await;
    let everybody = (0..8).map(|n| {
        let scim = world.scim().clone();
        tokio::spawn(
            async move { scim.post("/Users", json!({ "userName": "Ada", "externalId": n.to_string() })).await },
        )
    });
    let mut won = 0;
    for answer in futures_util::future::join_all(everybody).await {
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
async fn somebody_changes_by_put_and_by_patch() {
    let world = World::new().await;
    let body = json!({ "userName": "ada", "externalId": "a-1", "title": "Nurse", "emails": [{ "value": "a@x.org" }] });
    let id = world.scim().post("/Users", body).await.is(201).id();

    // PUT says all that is left (RFC 7644 section 3.5.1), but absence decides nothing about identity and state.
    world.scim().patch(&at(id), json!([{ "op": "replace", "path": "active", "value": false }])).await.is(200);
    let answer = world.scim().put(&at(id), json!({ "userName": "ada", "displayName": "Ada L." })).await.is(200);
    assert_eq!(answer.body["displayName"], "Ada L.");
    assert_eq!((&answer.body["title"], &answer.body["emails"]), (&Value::Null, &Value::Null));
    assert_eq!((&answer.body["externalId"], &answer.body["active"]), (&json!("a-1"), &json!(false)));
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
    let row = world.rows("SELECT user_name_key, display_name, active, version FROM \"user\"", []).await.swap_remove(0);
    assert_eq!(row, json!({ "user_name_key": "ada.king", "display_name": null, "active": true, "version": 4 }));
    assert_eq!(world.count("user_email WHERE value_key = 'new@x.org'", []).await, 1);
    let told = world.events_of(id).await;
    assert_eq!(told, ["user.created", "user.suspended", "user.updated", "user.reactivated"]);
    let payload = world.last_payload().await;
    assert_eq!(payload["before"]["userName"], "ada");
    assert_eq!(payload["after"]["userName"], "ada.king");
    assert_eq!(payload["after"]["externalId"], Value::Null, "what did not change is not told");
    world.end().await;
}

#[tokio::test]
async fn all_operations_of_a_patch_or_none() {
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
async fn a_repeated_change_is_no_change() {
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
async fn somebody_is_suspended_and_reactivated() {
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
async fn an_account_shows_its_groups() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[id]).await;
    let expected = json!([{
        "value": group, "$ref": format!("https://scim.example/scim/v2/acme/Groups/{group}"), "display": "Ward 3",
        "type": "direct",
    }]);
    assert_eq!(world.scim().get(&at(id)).await.is(200).body["groups"], expected);
    assert_eq!(world.scim().get("/Users").await.is(200).body["Resources"][0]["groups"], expected);
    let answer = world.scim().patch(&at(id), json!([{ "op": "add", "path": "title", "value": "Nurse" }])).await.is(200);
    assert_eq!(answer.body["groups"], expected);
    let narrow = world.scim().get(&format!("{}?excludedAttributes=groups", at(id))).await.is(200);
    assert_eq!(narrow.body["groups"], Value::Null);
    world.end().await;
}

#[tokio::test]
async fn somebody_leaves() {
    let world = World::new().await;
    let (id, stays) = (world.scim().user("ada").await, world.scim().user("ben").await);
    let group = world.scim().group("Ward 3", &[id, stays]).await;
    world.scim().delete(&at(id)).await.is(204);

    // RFC 7644 section 3.6: gone for every operation, absent from every list, and the name is free.
    world.scim().get(&at(id)).await.refused(404, None);
    world.scim().put(&at(id), json!({ "userName": "ada" })).await.refused(404, None);
    world.scim().patch(&at(id), json!([{ "op": "add", "path": "title", "value": "x" }])).await.refused(404, None);
    world.scim().delete(&at(id)).await.refused(404, None);
    assert_eq!(world.scim().ids("/Users").await, [stays]);
    assert!(world.scim().ids("/Users?filter=userName%20eq%20%22ada%22").await.is_empty());
    assert_eq!(world.scim().members(group).await, [stays]);
    let add = json!([{ "op": "add", "path": "members", "value": [{ "value": id }] }]);
    world.scim().patch(&format!("/Groups/{group}"), add).await.refused(400, Some("invalidValue"));

    assert_eq!(open_activations(&world, id).await, 0);
    assert_eq!(world.count("membership WHERE user_id = $1 AND until IS NULL", [id.into()]).await, 0);
    let closed = "membership m JOIN event e ON e.id = m.closed_by WHERE m.user_id = $1 AND e.action = 'user.deleted'";
    assert_eq!(world.count(closed, [id.into()]).await, 1, "the interval names the event that ended it");
    assert_eq!(world.count("user_email WHERE user_id = $1", [id.into()]).await, 0);
    let kept = "\"user\" WHERE id = $1 AND deleted_at IS NOT NULL AND purge_after IS NULL";
    assert_eq!(world.count(kept, [id.into()]).await, 1, "a soft deletion keeps the row");
    assert_eq!(world.events_of(id).await, ["user.created", "user.deleted"]);
    assert_eq!(world.last_payload().await["before"]["memberships"], 1);
    world.end().await;
}

#[tokio::test]
async fn under_the_hard_policy_a_deletion_says_when_the_data_goes() {
    use entity::connection::DeletionPolicy;
    use rolecall::domain::connection::{self, Settings};
    let world = World::new().await;
    let settings =
        Settings { deletion_policy: Some(DeletionPolicy::Hard), revival_days: Some(7), ..Default::default() };
    connection::update(&world.system(), world.acme.connection, settings).await.unwrap();
    let id = world.scim().user("ada").await;
    world.scim().delete(&at(id)).await.is(204);
    // Within the window the person may come back; so nothing may be purged before its end.
    let user = "\"user\" WHERE id = $1 AND purge_after";
    let now = world.app.clock.now();
    let bound = |days| [id.into(), (now + chrono::Duration::days(days)).into()];
    assert_eq!(world.count(&format!("{user} > $2"), bound(6)).await, 1);
    assert_eq!(world.count(&format!("{user} < $2"), bound(8)).await, 1);
    assert_eq!(world.scim().user("ada").await, id);
    assert_eq!(world.count("\"user\" WHERE purge_after IS NULL", []).await, 1, "whoever is back is not purged");
    world.end().await;
}

#[tokio::test]
async fn somebody_comes_back_within_the_window() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[id]).await;
    world.scim().delete(&at(id)).await.is(204);
    world.days_pass(29);
    let body = json!({ "userName": "ada.king", "externalId": "x-ada", "displayName": "Ada King" });
    let answer = world.scim().post("/Users", body).await.is(201);
    assert_eq!(answer.id(), id, "the same externalId of the same connection is the same person");
    assert_eq!((&answer.body["active"], &answer.body["userName"]), (&json!(true), &json!("ada.king")));
    assert_eq!(answer.body["groups"], Value::Null);
    assert_eq!(world.scim().get(&at(id)).await.is(200).body["groups"], Value::Null, "without the memberships");
    assert!(world.scim().members(group).await.is_empty());
    assert_eq!(world.count("\"user\"", []).await, 1);
    assert_eq!(open_activations(&world, id).await, 1);
    assert_eq!(world.events_of(id).await, ["user.created", "user.deleted", "user.revived"]);
    world.end().await;
}

#[tokio::test]
async fn whoever_comes_back_too_late_is_somebody_new() {
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
async fn a_recycled_name_inherits_nothing() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[id]).await;
    world.scim().delete(&at(id)).await.is(204);
    for body in [json!({ "userName": "ada" }), json!({ "userName": "ada", "externalId": "another person" })] {
        let new = world.scim().post("/Users", body).await.is(201).id();
        assert_ne!(new, id);
        assert!(world.scim().members(group).await.is_empty());
        assert_eq!(world.events_of(new).await, ["user.created"]);
        world.scim().delete(&at(new)).await.is(204);
    }
    // Nor does another connection's person of the same externalId.
    let second = world.tenant("acme", "Second").await;
    assert_ne!(second.scim.user("ada").await, id);
    world.end().await;
}

#[tokio::test]
async fn a_post_of_a_suspended_person_reactivates_them() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[id]).await;
    world.scim().patch(&at(id), json!([{ "op": "replace", "path": "active", "value": false }])).await.is(200);

    // A suspended person who is sent again, still suspended, is no news …
    let body = json!({ "userName": "ada", "externalId": "x-ada", "active": false });
    let answer = world.scim().post("/Users", body).await.is(201);
    assert_eq!((answer.id(), &answer.body["active"]), (id, &json!(false)));
    assert_eq!(world.events_of(id).await, ["user.created", "user.suspended"]);
    // … and a change of theirs is called what it is.
    let body = json!({ "userName": "ada", "externalId": "x-ada", "active": false, "title": "On leave" });
    world.scim().post("/Users", body).await.is(201);
    assert_eq!(world.events_of(id).await, ["user.created", "user.suspended", "user.updated"]);

    let answer = world.scim().post("/Users", json!({ "userName": "ada", "externalId": "x-ada" })).await.is(201);
    assert_eq!((answer.id(), &answer.body["active"]), (id, &json!(true)));
    assert_eq!(answer.body["groups"][0]["value"], group.to_string(), "a suspension took nothing away");
    assert_eq!(open_activations(&world, id).await, 1);
    assert_eq!(world.events_of(id).await.last().unwrap(), "user.reactivated");
    world.end().await;
}

#[tokio::test]
async fn versions_guard_against_changing_what_one_has_not_seen() {
    use reqwest::Method;
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    let path = at(id);
    let patch = |title| Some(crate::world::patch(json!([{ "op": "replace", "path": "title", "value": title }])));
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
async fn a_client_never_chooses_our_ids() {
    let world = World::new().await;
    let wished = "11111111-1111-4111-8111-111111111111";
    let body = json!({ "id": wished, "userName": wished, "externalId": wished, "meta": { "version": "W/\"9\"" } });
    let answer = world.scim().post("/Users", body).await.is(201);
    assert_ne!(answer.id().to_string(), wished);
    assert_eq!(answer.body["meta"]["version"], "W/\"1\"");
    world.scim().get(&format!("/Users/{wished}")).await.refused(404, None);
    // Two spellings of one id would be two keys of one thing.
    for odd in
        [answer.id().simple().to_string(), answer.id().to_string().to_uppercase(), format!("{{{}}}", answer.id())]
    {
        world.scim().get(&format!("/Users/{odd}")).await.refused(404, None);
    }
    world.end().await;
}

#[tokio::test]
async fn a_connection_may_keep_paging_by_cursor_to_itself() {
    let world = World::new().await;
    let config = world.scim().get("/ServiceProviderConfig").await.is(200).body;
    assert_eq!(config["pagination"]["cursor"], true);
    let hide = r#"mutation($id: ID!) { connectionUpdate(input: { id: $id, announcesCursorPaging: false }) {
        connection { announcesCursorPaging } userErrors { message } } }"#;
    let known = world.graphql("{ organization { connections(first: 1) { nodes { id } } } }", json!({})).await;
    let id = &known["data"]["organization"]["connections"]["nodes"][0]["id"];
    let done = world.graphql(hide, json!({ "id": id })).await;
    assert_eq!(done["data"]["connectionUpdate"]["connection"]["announcesCursorPaging"], false, "{done}");
    let config = world.scim().get("/ServiceProviderConfig").await.is(200).body;
    assert_eq!(config.get("pagination"), None);
    world.scim().get("/Users?cursor=").await.is(200);
    world.end().await;
}
