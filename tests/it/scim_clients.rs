//! Requests of real clients, besides the recordings of single identity providers: each is
//! understood, or refused with an error.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Answer, World, patch};

fn user_at(id: Uuid) -> String {
    format!("/Users/{id}")
}

fn group_at(id: Uuid) -> String {
    format!("/Groups/{id}")
}

fn filtered(endpoint: &str, filter: &str) -> String {
    format!("{endpoint}?filter={}", filter.replace(' ', "%20").replace('"', "%22"))
}

#[tokio::test]
async fn removed_active_keeps_its_stored_value() {
    let world = World::new().await;
    let scim = world.scim();
    let id = scim.user("ada").await;
    scim.patch(&user_at(id), json!([{ "op": "replace", "path": "active", "value": false }]))
        .await
        .is(200);
    let core = "urn:ietf:params:scim:schemas:core:2.0:User";
    let suspended = world.everything().await;
    for operation in [
        json!({ "op": "remove", "path": "active" }),
        json!({ "op": "Remove", "path": "active", "value": true }),
        json!({ "op": "remove", "path": format!("{core}:active"), "value": "x" }),
        json!({ "op": "replace", "path": "active", "value": null }),
        json!({ "op": "add", "path": "active", "value": null }),
        json!({ "op": "replace", "value": { "active": null } }),
        json!({ "op": "add", "value": { core: { "active": null } } }),
    ] {
        let answer = scim.patch(&user_at(id), json!([operation])).await.is(200);
        assert_eq!(answer.body["active"], false, "{operation}");
        let bulk = json!({ "Operations": [{
            "method": "PATCH", "path": user_at(id), "data": patch(json!([operation])),
        }] });
        assert_eq!(scim.post("/Bulk", bulk).await.is(200).body["Operations"][0]["status"], "200");
    }
    scim.put(&user_at(id), json!({ "userName": "ada", "externalId": "x-ada", "active": null }))
        .await
        .is(200);
    for path in [user_at(id), filtered("/Users", "active eq false")] {
        let body = scim.get(&path).await.is(200).body;
        let user = if body["Resources"].is_array() { &body["Resources"][0] } else { &body };
        assert_eq!(user["active"], false, "{path}");
    }
    assert_eq!(world.everything().await, suspended, "none of these requests changes anything");
    // The other operation of the same request is done, and the account stays inactive.
    let both = json!([{ "op": "remove", "path": "active" }, { "op": "add", "path": "title", "value": "Nurse" }]);
    let answer = scim.patch(&user_at(id), both).await.is(200);
    assert_eq!((&answer.body["active"], &answer.body["title"]), (&json!(false), &json!("Nurse")));
    assert_eq!(world.events_of(id).await, ["user.created", "user.suspended", "user.updated"]);
    world.end().await;
}

#[tokio::test]
async fn missing_element_is_no_target() {
    let world = World::new().await;
    let scim = world.scim();
    let emails = json!([{ "value": "ada@x.org", "type": "work" }]);
    let id = scim.post("/Users", json!({ "userName": "ada", "emails": emails })).await.is(201).id();
    let before = world.everything().await;
    for (path, value) in [
        ("emails[value eq \"gone@x.org\"].type", json!("home")),
        ("emails[value eq \"gone@x.org\"]", json!({ "type": "home" })),
        ("emails[type eq \"home\" and value eq \"gone@x.org\"].display", json!("x")),
        ("addresses[locality eq \"Rome\"].country", json!("IT")),
    ] {
        let operation = json!([{ "op": "replace", "path": path, "value": value }]);
        scim.patch(&user_at(id), operation).await.refused(400, Some("noTarget"));
    }
    let text =
        json!([{ "op": "replace", "path": "emails[type eq \"work\"]", "value": "other@x.org" }]);
    scim.patch(&user_at(id), text).await.refused(400, Some("invalidValue"));
    assert_eq!(world.everything().await, before);
    assert_eq!(scim.get(&user_at(id)).await.body["emails"], emails);
    let made = json!([
        { "op": "replace", "path": "phoneNumbers[type eq \"work\" and primary eq \
                                    \"True\"].value", "value": "1" },
        { "op": "Add", "path": "roles[primary eq true].value", "value": "nurse" },
    ]);
    let answer = scim.patch(&user_at(id), made).await.is(200);
    assert_eq!(
        answer.body["phoneNumbers"],
        json!([{ "value": "1", "type": "work", "primary": true }])
    );
    assert_eq!(answer.body["roles"], json!([{ "value": "nurse", "primary": true }]));
    world.end().await;
}

#[tokio::test]
async fn answers_have_a_request_id() {
    let world = World::new().await;
    let scim = world.scim();
    let id = scim.user("ada").await;
    let given = "0198c0de-0000-7000-8000-00000000abcd";
    let anonymous = scim.with_token("rcs_nothing");
    let named = |answer: Answer, status: u16| {
        assert_eq!(answer.status, status);
        answer.header("x-request-id").parse::<Uuid>().unwrap().to_string()
    };
    for (method, path, body, status) in [
        (Method::POST, "/Users".to_owned(), Some(json!({ "userName": "bob" })), 201),
        (Method::GET, user_at(id), None, 200),
        (Method::GET, "/Users?count=x".into(), None, 400),
        (Method::GET, "/Schemas?filter=a".into(), None, 403),
        (Method::GET, "/Nothing".into(), None, 404),
        (Method::PUT, "/Users".into(), Some(json!({})), 405),
        (Method::POST, "/Users".into(), Some(json!({ "userName": "ada" })), 409),
        (Method::POST, "/Users".into(), Some(json!({ "userName": "x".repeat(1_100_000) })), 413),
        (Method::GET, "/Me".into(), None, 501),
        (Method::DELETE, user_at(id), None, 204),
    ] {
        let fresh = named(scim.send(method.clone(), &path, body.clone(), &[]).await, status);
        let again = scim.send(method, &path, body, &[("x-request-id", given)]).await;
        assert_ne!(fresh, given);
        assert_eq!(again.header("x-request-id"), given, "{path}");
    }
    named(anonymous.get("/Users").await, 401);
    let told =
        scim.send(Method::POST, "/Users", Some(json!({ "userName": "eve" })), &[]).await.is(201);
    let told: Uuid = told.header("x-request-id").parse().unwrap();
    assert_eq!(
        world.count("event WHERE request_id = $1", [told.into()]).await,
        1,
        "the ledger names the same"
    );
    world.end().await;
}

#[tokio::test]
async fn discovery_endpoints_refuse_filters() {
    let world = World::new().await;
    for path in [
        "/ServiceProviderConfig",
        "/ResourceTypes",
        "/ResourceTypes/User",
        "/Schemas",
        "/Schemas/urn:ietf:params:scim:schemas:core:2.0:User",
    ] {
        world.scim().get(path).await.is(200);
        world.scim().get(&format!("{path}?count=1")).await.is(200);
        for query in ["filter=id%20pr", "filter", "filter=", "count=1&%66ilter=x", "Filter=x"] {
            world.scim().get(&format!("{path}?{query}")).await.refused(403, None);
        }
    }
    world.end().await;
}

#[tokio::test]
async fn cursor_without_page_gives_the_total() {
    let world = World::new().await;
    for name in ["ada", "bob", "cyd"] {
        world.scim().user(name).await;
    }
    let second = world.scim().get("/Users?cursor&count=1").await.is(200);
    let next = second.body["nextCursor"].as_str().unwrap();
    for query in
        ["cursor&count=0", "cursor=&count=0&sortBy=userName", &format!("cursor={next}&count=0")]
    {
        let body = world.scim().get(&format!("/Users?{query}")).await.is(200).body;
        assert_eq!(
            (&body["totalResults"], &body["itemsPerPage"]),
            (&json!(3), &json!(0)),
            "{query}"
        );
        assert_eq!(
            (&body["Resources"], &body["nextCursor"]),
            (&json!([]), &Value::Null),
            "{query}"
        );
        assert_eq!(body["previousCursor"], Value::Null);
    }
    world.scim().get("/Users?cursor&count=-1").await.refused(400, Some("invalidCount"));
    world.end().await;
}

#[tokio::test]
async fn empty_and_long_patches_succeed() {
    let world = World::new().await;
    let scim = world.scim();
    let (user, group) = (scim.user("ada").await, scim.group("Ward 3", &[]).await);
    let before = world.everything().await;
    assert_eq!(scim.patch(&user_at(user), json!([])).await.is(200).id(), user);
    assert_eq!(scim.patch(&group_at(group), json!([])).await.is(200).id(), group);
    scim.patch(&user_at(Uuid::now_v7()), json!([])).await.refused(404, None);
    let stale = scim
        .send(Method::PATCH, &user_at(user), Some(patch(json!([]))), &[("if-match", "W/\"7\"")])
        .await;
    stale.refused(412, None);
    assert_eq!(world.everything().await, before);
    let mut people = Vec::new();
    for n in 0..40 {
        people.push(scim.user(&n.to_string()).await);
    }
    let add = |n: usize| json!({ "op": "add", "path": "members", "value": [{ "value": people[n % 40] }] });
    let operations: Vec<_> = (0..1_000).map(add).collect();
    scim.patch(&group_at(group), operations.into()).await.is(200);
    assert_eq!(scim.members(group).await.len(), 40);
    let title = |n: usize| json!({ "op": "replace", "path": "title", "value": n.to_string() });
    let operations: Vec<_> = (0..1_000).map(title).collect();
    assert_eq!(scim.patch(&user_at(user), operations.into()).await.is(200).body["title"], "999");
    world.end().await;
}

#[tokio::test]
async fn filters_accept_unquoted_values() {
    let world = World::new().await;
    let scim = world.scim();
    let (jane, other) = (scim.user("jane@acme.example").await, scim.user("other").await);
    scim.patch(&user_at(other), json!([{ "op": "add", "path": "externalId", "value": "00123" }]))
        .await
        .is(200);
    let third =
        scim.post("/Users", json!({ "userName": "true", "externalId": "77" })).await.is(201).id();
    for (filter, found) in [
        ("userName eq jane@acme.example", vec![jane]),
        ("externalId eq 00123 and active eq true", vec![other]),
        ("externalId eq 77", vec![third]),
        ("userName eq True", vec![third]),
        ("(userName eq jane@acme.example or userName eq other)", vec![jane, other]),
        ("emails[value eq jane@acme.example]", vec![]),
        ("meta.created lt 2020-01-01T00:00:00Z", vec![]),
    ] {
        assert_eq!(scim.ids(&filtered("/Users", filter)).await, found, "{filter}");
        let search = scim.post("/Users/.search", json!({ "filter": filter })).await.is(200);
        assert_eq!(search.body["totalResults"], found.len(), "{filter}");
    }
    scim.get(&filtered("/Users", "displayName eq Ward 3"))
        .await
        .refused(400, Some("invalidFilter"));
    world.end().await;
}

#[tokio::test]
async fn byte_order_mark_is_ignored() {
    let world = World::new().await;
    let scim = world.scim();
    let send = async |method: Method, path: &str, body: Value| {
        let body = [b"\xef\xbb\xbf".as_slice(), body.to_string().as_bytes()].concat();
        Answer::of(
            scim.request(method, path)
                .header("content-type", "application/json")
                .body(body)
                .send()
                .await
                .unwrap(),
        )
        .await
    };
    let id = send(Method::POST, "/Users", json!({ "userName": "ada" })).await.is(201).id();
    send(
        Method::PATCH,
        &user_at(id),
        patch(json!([{ "op": "add", "path": "title", "value": "x" }])),
    )
    .await
    .is(200);
    let group =
        send(Method::POST, "/Groups", json!({ "displayName": "W", "members": [{ "value": id }] }))
            .await
            .is(201);
    send(Method::POST, "/.search", json!({})).await.is(200);
    let delete = json!({ "Operations": [{ "method": "DELETE", "path": group_at(group.id()) }] });
    assert_eq!(
        send(Method::POST, "/Bulk", delete).await.is(200).body["Operations"][0]["status"],
        "204"
    );
    world.end().await;
}

#[tokio::test]
async fn members_are_removed_by_filter() {
    let world = World::new().await;
    let scim = world.scim();
    let (ada, bob) = (scim.user("ada").await, scim.user("bob").await);
    let (inner, second) = (scim.group("Inner", &[]).await, scim.group("Second", &[]).await);
    let group = scim.group("Ward 3", &[ada, bob, inner, second]).await;
    let remove = |filter: String| json!([{ "op": "remove", "path": format!("members[{filter}]") }]);
    let nothing = world.everything().await;
    for filter in ["type eq \"Device\"".into(), format!("value eq \"{ada}\" and type eq \"Group\"")]
    {
        scim.patch(&group_at(group), remove(filter)).await.is(200);
    }
    assert_eq!(world.everything().await, nothing);
    scim.patch(&group_at(group), remove(format!("type eq \"group\" and value ne \"{second}\"")))
        .await
        .is(200);
    assert_eq!(scim.members(group).await, [ada, bob, second]);
    assert_eq!(world.last_payload().await["before"], json!({ "members": [inner] }));
    // The filter also selects what the same request adds.
    let operations = json!([
        { "op": "add", "path": "members", "value": [{ "value": inner }] },
        { "op": "remove", "path": "members[type eq \"Group\"]" },
    ]);
    scim.patch(&group_at(group), operations).await.is(200);
    assert_eq!(scim.members(group).await, [ada, bob]);
    scim.patch(&group_at(group), remove(format!("value ne \"{bob}\""))).await.is(200);
    assert_eq!(scim.members(group).await, [bob]);
    scim.patch(&group_at(group), remove("value pr".into())).await.is(200);
    assert!(scim.members(group).await.is_empty());
    scim.patch(&group_at(group), remove("display eq \"ada\"".into()))
        .await
        .refused(400, Some("invalidFilter"));
    world.end().await;
}

#[tokio::test]
async fn outer_groups_are_indirect() {
    let world = World::new().await;
    let scim = world.scim();
    let (ada, bob) = (scim.user("ada").await, scim.user("bob").await);
    let ward = scim.group("Ward 3", &[ada]).await;
    let floor = scim.group("Floor", &[ward, bob]).await;
    let house = scim.group("Anatomy House", &[floor, ada]).await;
    let groups = async |id: Uuid| {
        let body = scim.get(&user_at(id)).await.is(200).body;
        let listed = scim.get(&filtered("/Users", &format!("id eq \"{id}\""))).await.is(200).body;
        assert_eq!(listed["Resources"][0]["groups"], body["groups"]);
        let told = |group: &Value| {
            assert_eq!(
                group["$ref"],
                format!(
                    "https://scim.example/scim/v2/acme/Groups/{}",
                    group["value"].as_str().unwrap()
                )
            );
            (
                group["display"].as_str().unwrap().to_owned(),
                group["type"].as_str().unwrap().to_owned(),
            )
        };
        body["groups"].as_array().into_iter().flatten().map(told).collect::<Vec<_>>()
    };
    let named = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
    };
    // Each group is listed once; a direct membership counts before an indirect one.
    let expected =
        named(&[("Anatomy House", "direct"), ("Floor", "indirect"), ("Ward 3", "direct")]);
    assert_eq!(groups(ada).await, expected);
    assert_eq!(groups(bob).await, named(&[("Anatomy House", "indirect"), ("Floor", "direct")]));
    for (filter, found) in [
        (format!("groups.value eq \"{floor}\""), vec![ada, bob]),
        (format!("groups[value eq \"{floor}\" and type eq \"direct\"]"), vec![bob]),
        (format!("groups[value eq \"{house}\" and type eq \"indirect\"]"), vec![bob]),
        ("groups.display eq \"anatomy HOUSE\"".into(), vec![ada, bob]),
        ("groups[display eq \"Floor\" and type eq \"indirect\"]".into(), vec![ada]),
        ("groups[display sw \"Ward\"]".into(), vec![ada]),
        ("groups.display eq \"Nowhere\"".into(), vec![]),
        ("groups.type eq \"indirect\"".into(), vec![ada, bob]),
    ] {
        assert_eq!(scim.ids(&filtered("/Users", &filter)).await, found, "{filter}");
    }
    for (filter, found) in [
        (format!("members[value eq \"{ada}\" and type eq \"User\"]"), vec![ward, house]),
        (format!("members[value eq \"{ward}\" and type eq \"User\"]"), vec![]),
        ("members.type eq \"Group\"".into(), vec![floor, house]),
    ] {
        assert_eq!(scim.ids(&filtered("/Groups", &filter)).await, found, "{filter}");
    }
    // Groups of another connection are not listed, even with the same name.
    let second = world.tenant("acme", "Second").await;
    let theirs = second.scim.user("theirs").await;
    second.scim.group("Floor", &[theirs]).await;
    assert_eq!(scim.ids(&filtered("/Users", "groups.display eq \"Floor\"")).await, [ada, bob]);
    scim.delete(&group_at(floor)).await.is(204);
    assert_eq!(groups(bob).await, []);
    world.end().await;
}

#[tokio::test]
async fn schemas_contain_the_external_id() {
    let world = World::new().await;
    for name in ["User", "Group"] {
        let path = format!("/Schemas/urn:ietf:params:scim:schemas:core:2.0:{name}");
        let body = world.scim().get(&path).await.is(200).body;
        let attributes = body["attributes"].as_array().unwrap();
        let external =
            attributes.iter().find(|attribute| attribute["name"] == "externalId").unwrap();
        assert_eq!(
            (&external["caseExact"], &external["mutability"]),
            (&json!(true), &json!("readWrite"))
        );
    }
    world.end().await;
}

#[tokio::test]
async fn fullwidth_names_equal_plain_names() {
    let world = World::new().await;
    let scim = world.scim();
    let emails = json!([{ "value": "Ｊａｎｅ@Ａcme.example" }]);
    let body =
        json!({ "userName": "ＪＡＮＥ＠acme.example", "displayName": "ｶﾞｰﾄﾞ", "emails": emails });
    let id = scim.post("/Users", body.clone()).await.is(201).id();
    assert_eq!(
        scim.get(&user_at(id)).await.body["userName"],
        "ＪＡＮＥ＠acme.example",
        "as it was written"
    );
    for name in ["jane@acme.example", "Ｊane@acme.example", "JANE＠ACME．EXAMPLE"] {
        scim.post("/Users", json!({ "userName": name })).await.refused(409, Some("uniqueness"));
    }
    let group = scim.group("Ｗard　３", &[]).await;
    for filter in [
        "userName eq \"jane@acme.example\"",
        "userName eq \"ｊａｎｅ＠acme.example\"",
        "userName sw \"ＪA\"",
        "displayName eq \"ガード\"",
        "emails.value eq \"jane@acme.example\"",
        "emails[value co \"ＡＣＭＥ\"]",
    ] {
        assert_eq!(scim.ids(&filtered("/Users", filter)).await, [id], "{filter}");
    }
    assert_eq!(scim.ids(&filtered("/Groups", "displayName eq \"ward 3\"")).await, [group]);
    world.end().await;
}

/// Sets the keys of a user to those of an earlier version.
async fn age_keys(world: &World, id: Uuid, key: &str) {
    let sql = "UPDATE \"user\" SET user_name_key = $2 WHERE id = $1";
    world.execute(sql, [id.into(), key.into()]).await;
}

#[tokio::test]
async fn old_name_keys_are_renewed() {
    let world = World::new().await;
    let scim = world.scim();
    let emails = json!([{ "value": "ｊane@acme.example" }]);
    let body =
        json!({ "userName": "Ｊane", "displayName": "Ｊane", "title": "Ｎurse", "emails": emails });
    let id = scim.post("/Users", body).await.is(201).id();
    let group = scim.group("Ｗard", &[id]).await;
    // The rows of an earlier version: keys with full-width letters, and a document without
    // `active`.
    age_keys(&world, id, "ｊane").await;
    let row = &world.rows("SELECT document FROM \"user\"", []).await[0];
    let mut document: Value = serde_json::from_str(row["document"].as_str().unwrap()).unwrap();
    document.as_object_mut().unwrap().remove("active");
    let sql =
        "UPDATE \"user\" SET document = $1, active = FALSE, display_name_key = $2, search = $3";
    world
        .execute(
            sql,
            [document.to_string().into(), "ｊane".into(), json!({ "title": "ｎurse" }).into()],
        )
        .await;
    world.execute("UPDATE \"group\" SET display_name_key = $1", ["ｗard".into()]).await;
    world.execute("UPDATE user_email SET value_key = $1", ["ｊane@acme.example".into()]).await;
    world.execute("DELETE FROM name_key_renewal", []).await;
    world
        .execute(
            "INSERT INTO name_key_renewal (table_name) VALUES ('user'), ('group'), ('role')",
            [],
        )
        .await;
    let before = world.everything().await;
    assert!(scim.ids(&filtered("/Users", "userName eq \"jane\"")).await.is_empty());
    rolecall::domain::directory::name_key::renew_keys(&world.app).await.unwrap();
    for filter in [
        "userName eq \"jane\"",
        "displayName eq \"jane\"",
        "title eq \"nurse\"",
        "emails eq \"jane@acme.example\"",
    ] {
        assert_eq!(scim.ids(&filtered("/Users", filter)).await, [id], "{filter}");
    }
    assert_eq!(scim.ids(&filtered("/Groups", "displayName eq \"ward\"")).await, [group]);
    assert_eq!(world.count("user_email", []).await, 1);
    assert_eq!(world.count("name_key_renewal", []).await, 0);
    assert_eq!(scim.get(&user_at(id)).await.is(200).body["active"], false);
    assert_eq!(world.everything().await, before, "no version and no event");
    world.end().await;
}

#[tokio::test]
async fn clashing_accounts_keep_their_keys() {
    let world = World::new().await;
    let scim = world.scim();
    let (wide, narrow) = (scim.user("first").await, scim.user("jane").await);
    let sql = "UPDATE \"user\" SET user_name = $2, user_name_key = $3, document = \
               replace(document, 'first', $2) WHERE id = $1";
    world.execute(sql, [wide.into(), "Ｊane".into(), "ｊane".into()]).await;
    world
        .execute(
            "INSERT INTO name_key_renewal (table_name) VALUES ('user') ON CONFLICT DO NOTHING",
            [],
        )
        .await;
    for _ in 0..2 {
        rolecall::domain::directory::name_key::renew_keys(&world.app).await.unwrap();
        world.execute("INSERT INTO name_key_renewal (table_name) VALUES ('user')", []).await;
    }
    // Both accounts can be found, and there is one finding about each.
    assert_eq!(scim.ids(&filtered("/Users", "userName eq \"jane\"")).await, [narrow]);
    assert!(scim.ids(&filtered("/Users", "userName eq \"Ｊane\"")).await.contains(&wide));
    let open = "finding WHERE kind = 'NAME_CLASH' AND state = 'OPEN'";
    assert_eq!(world.count(open, []).await, 2);
    let query = "{ organization { findings(first: 10) { nodes { kind label nextStep } } attention \
                 { kind count } } }";
    let told = world.graphql(query, json!({})).await;
    assert_eq!(
        told["data"]["organization"]["findings"]["nodes"].as_array().unwrap().len(),
        2,
        "{told}"
    );
    rolecall::domain::reconcile::close_settled_clashes(&world.app).await.unwrap();
    assert_eq!(world.count(open, []).await, 2, "the names still clash");
    // A change of another attribute leaves the key; a rename makes a new one.
    scim.patch(&user_at(wide), json!([{ "op": "add", "path": "title", "value": "x" }]))
        .await
        .is(200);
    assert_eq!(world.count("\"user\" WHERE user_name_key = $1", ["ｊane".into()]).await, 1);
    let rename = |name: &str| json!([{ "op": "replace", "path": "userName", "value": name }]);
    scim.patch(&user_at(wide), rename("ＪＡＮＥ")).await.refused(409, Some("uniqueness"));
    scim.patch(&user_at(wide), rename("Ｅva")).await.is(200);
    assert_eq!(scim.ids(&filtered("/Users", "userName eq \"eva\"")).await, [wide]);
    rolecall::domain::reconcile::close_settled_clashes(&world.app).await.unwrap();
    assert_eq!(world.count(open, []).await, 0);
    world.end().await;
}

/// Makes accounts in the database: a hundred thousand requests would take too long.
async fn create_many_users(world: &World, n: usize) -> Vec<Uuid> {
    let first = world.scim().user("person-0").await;
    let ids: Vec<Uuid> = (1..n).map(|_| Uuid::now_v7()).collect();
    for (part, chunk) in ids.chunks(10_000).enumerate() {
        let pairs: Vec<_> = chunk
            .iter()
            .enumerate()
            .map(|(at, id)| {
                json!([id.simple().to_string(), format!("person-{}", part * 10_000 + at + 1)])
            })
            .collect();
        let (each, id, name) = match world.app.store.backend() {
            sea_orm::DbBackend::Postgres => {
                ("jsonb_array_elements($1) AS pair(value)", "(value->>0)::uuid", "value->>1")
            }
            _ => ("json_each($1) AS pair", "unhex(pair.value->>0)", "pair.value->>1"),
        };
        let sql = format!(
            "INSERT INTO \"user\" (organization_id, id, connection_id, user_name, user_name_key, active, protected, document, \
               search, version, created_at, updated_at) \
             SELECT u.organization_id, {id}, u.connection_id, {name}, {name}, TRUE, FALSE, u.document, u.search, 1, \
               u.created_at, u.updated_at FROM \"user\" u CROSS JOIN {each} WHERE u.user_name = \
                   'person-0'"
        );
        world.execute(&sql, [json!(pairs).into()]).await;
    }
    std::iter::once(first).chain(ids).collect()
}

#[tokio::test]
async fn large_group_fits_one_request() {
    let world = World::new().await;
    let scim = world.scim();
    let people = create_many_users(&world, 100_000).await;
    let member = |id: &Uuid| {
        json!({
            "value": id, "type": "User", "$ref": format!("{}/Users/{id}", scim.base), "display": "A rather long name",
        })
    };
    let members = |of: &[Uuid]| of.iter().map(member).collect::<Vec<_>>();
    let body = json!({ "displayName": "All", "externalId": "all", "members": members(&people) });
    assert!(body.to_string().len() > 15_000_000);
    let group = scim.post("/Groups?attributes=displayName", body).await.is(201).id();
    let open = "membership WHERE until IS NULL";
    assert_eq!(world.count(open, []).await, 100_000);
    let (some, rest) = people.split_at(30_000);
    let put = json!({ "displayName": "All", "members": members(some) });
    scim.put(&format!("{}?attributes=displayName", group_at(group)), put).await.is(200);
    assert_eq!(world.count(open, []).await, 30_000);
    let add = json!([{ "op": "add", "path": "members", "value": members(rest) }]);
    scim.patch(&group_at(group), add).await.is(204);
    assert_eq!(world.count(open, []).await, 100_000);
    world.end().await;
}

#[tokio::test]
async fn large_bodies_are_limited() {
    let world = World::new().await;
    let scim = world.scim();
    let group = scim.group("Ward 3", &[]).await;
    let stranger =
        |n: usize| json!({ "value": Uuid::now_v7(), "display": n.to_string(), "type": "User" });
    // A refused body of more than 64 KiB becomes a failure, and is not stored as a whole.
    let members: Vec<_> = (0..20_000).map(stranger).collect();
    let body = json!({ "displayName": "Large", "externalId": "l", "members": members });
    scim.post("/Groups", body).await.refused(400, Some("invalidValue"));
    let small = json!({ "displayName": "Small", "externalId": "s", "members": [{ "value": Uuid::now_v7() }] });
    scim.post("/Groups", small).await.refused(400, Some("invalidValue"));
    let kept = world.count("failure WHERE payload IS NOT NULL", []).await;
    assert_eq!((world.count("failure", []).await, kept), (2, 1));
    // The body for a whole group may have 32 MiB. The server reads none of it from a caller that
    // may not write groups.
    let address = world.address.trim_start_matches("http://");
    for (token, length, status) in
        [("rcs_wrong", 20_000_000, " 401 "), (scim.token.as_str(), 33_554_433, " 413 ")]
    {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!(
            "PATCH /scim/v2/acme/Groups/{group} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-type: application/scim+json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 64];
        let read =
            tokio::time::timeout(std::time::Duration::from_secs(5), stream.read(&mut answer));
        let length = read.await.expect("answered before the body").unwrap();
        assert!(String::from_utf8_lossy(&answer[..length]).contains(status));
    }
    world.end().await;
}
