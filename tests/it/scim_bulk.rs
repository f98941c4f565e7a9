//! Bulk: many operations in one request, each with the effect of a single request.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Answer, Scim, World, patch};

const REQUEST: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn bulk(operations: Value) -> Value {
    json!({ "schemas": [REQUEST], "Operations": operations })
}

/// Sends the operations and returns their results.
async fn send(scim: &Scim, operations: Value) -> Vec<Value> {
    results(scim.post("/Bulk", bulk(operations)).await)
}

#[track_caller]
fn results(answer: Answer) -> Vec<Value> {
    let mut answer = answer.is(200);
    assert_eq!(
        answer.body["schemas"],
        json!(["urn:ietf:params:scim:api:messages:2.0:BulkResponse"])
    );
    assert_eq!(answer.header("content-type"), "application/scim+json");
    let Value::Array(results) = answer.body["Operations"].take() else {
        panic!("{:#}", answer.body)
    };
    for result in &results {
        assert!(result["status"].is_string(), "{result}");
        let failed = result["status"].as_str().unwrap() >= "400";
        assert_eq!(result["response"].is_object(), failed, "{result}");
        if failed {
            assert_eq!(result["response"]["status"], result["status"]);
            assert!(
                result["response"]["detail"].as_str().is_some_and(|detail| detail.len() > 8),
                "{result}"
            );
        }
    }
    results
}

fn statuses(results: &[Value]) -> Vec<&str> {
    results.iter().map(|result| result["status"].as_str().unwrap()).collect()
}

/// The id at the end of a result's location.
#[track_caller]
fn id(result: &Value) -> Uuid {
    let location = result["location"].as_str().unwrap_or_else(|| panic!("no location in {result}"));
    location.rsplit('/').next().unwrap().parse().unwrap()
}

fn user(bulk_id: &str, more: Value) -> Value {
    let mut data = json!({ "userName": bulk_id, "externalId": format!("x-{bulk_id}") });
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "method": "POST", "path": "/Users", "bulkId": bulk_id, "data": data })
}

fn group(bulk_id: &str, members: &[&str]) -> Value {
    let members: Vec<_> =
        members.iter().map(|name| json!({ "value": format!("bulkId:{name}") })).collect();
    let data = json!({ "displayName": bulk_id, "members": members });
    json!({ "method": "POST", "path": "/Groups", "bulkId": bulk_id, "data": data })
}

fn managed_by(name: &str) -> Value {
    json!({ ENTERPRISE: { "department": "Surgery", "manager": { "value": format!("bulkId:{name}") } } })
}

async fn manager(scim: &Scim, id: Uuid) -> Value {
    scim.get(&format!("/Users/{id}")).await.is(200).body[ENTERPRISE]["manager"]["value"].take()
}

/// All events except those of the review queue.
const CHANGES: &str = "event WHERE subject_kind <> 'failure'";

#[tokio::test]
async fn operations_work_like_single_requests() {
    let world = World::new().await;
    let scim = world.scim();
    let (anna, ben, cleo) =
        (scim.user("anna").await, scim.user("ben").await, scim.user("cleo").await);
    let ward = scim.group("Ward 3", &[anna, ben]).await;
    let rename = patch(json!([{ "op": "replace", "path": "displayName", "value": "Anna" }]));
    let add = patch(json!([{ "op": "add", "path": "members", "value": [{ "value": cleo }] }]));
    let done = send(
        scim,
        json!([
            { "method": "post", "path": "/Users", "bulkId": "d", "data": { "userName": "dora" } },
            { "method": "PATCH", "path": format!("/Users/{anna}"), "bulkId": "a", "version": "W/\"1\"", "data": rename },
            { "method": "PUT", "path": format!("Users/{ben}"), "data": { "userName": "benjamin" } },
            { "method": "PATCH", "path": format!("/scim/v2/acme/Groups/{ward}"), "data": add },
            { "method": "Delete", "path": format!("/Users/{ben}") },
        ]),
    )
    .await;
    let dora = id(&done[0]);
    let users = "https://scim.example/scim/v2/acme/Users";
    assert_eq!(
        json!(done),
        json!([
            { "method": "POST", "bulkId": "d", "location": format!("{users}/{dora}"), "version": "W/\"1\"", "status": "201" },
            { "method": "PATCH", "bulkId": "a", "location": format!("{users}/{anna}"), "version": "W/\"2\"", "status": "200" },
            { "method": "PUT", "location": format!("{users}/{ben}"), "version": "W/\"2\"", "status": "200" },
            {
                "method": "PATCH", "location": format!("https://scim.example/scim/v2/acme/Groups/{ward}"),
                "version": "W/\"2\"", "status": "200",
            },
            { "method": "DELETE", "location": format!("{users}/{ben}"), "status": "204" },
        ])
    );
    assert_eq!(scim.get(&format!("/Users/{dora}")).await.is(200).body["userName"], "dora");
    assert_eq!(scim.get(&format!("/Users/{anna}")).await.is(200).body["displayName"], "Anna");
    scim.get(&format!("/Users/{ben}")).await.refused(404, None);
    let mut members = scim.members(ward).await;
    members.sort_unstable();
    assert_eq!(members, [anna, cleo], "a deleted user is in no group");
    assert_eq!(world.events_of(ben).await, ["user.created", "user.updated", "user.deleted"]);
    assert_eq!(world.events_of(ward).await, ["group.created", "group.members_changed"]);
    world.end().await;
}

#[tokio::test]
async fn references_are_resolved_in_any_order() {
    let world = World::new().await;
    let scim = world.scim();
    let old = scim.group("Old", &[]).await;
    let add =
        patch(json!([{ "op": "add", "path": "members", "value": [{ "value": "bulkId:ada" }] }]));
    let boss = patch(json!([{ "op": "add", "path": "manager", "value": "bulkId:ada" }]));
    let done = send(
        scim,
        json!([
            group("outer", &["inner", "ada"]),
            group("inner", &["ben"]),
            { "method": "PATCH", "path": format!("/Groups/{old}"), "data": add },
            user("ben", json!({})),
            user("ada", json!({})),
            { "method": "PATCH", "path": "/Users/bulkId:ben", "data": boss },
            user("cyd", json!({ ENTERPRISE: { "manager": {
                "value": "bulkId:ben", "$ref": "https://scim.example/scim/v2/acme/Users/bulkId:ben",
            } } })),
        ]),
    )
    .await;
    assert_eq!(statuses(&done), ["201", "201", "200", "201", "201", "200", "201"]);
    let names: Vec<_> = done.iter().map(|result| result["bulkId"].as_str()).collect();
    assert_eq!(
        names[..5],
        [Some("outer"), Some("inner"), None, Some("ben"), Some("ada")],
        "in the request's order"
    );
    let (outer, inner, ben, ada, cyd) =
        (id(&done[0]), id(&done[1]), id(&done[3]), id(&done[4]), id(&done[6]));
    assert_eq!(scim.members(outer).await, [ada, inner], "users come first");
    assert_eq!(scim.members(inner).await, [ben]);
    assert_eq!(scim.members(old).await, [ada]);
    assert_eq!(id(&done[5]), ben);
    assert_eq!(manager(scim, ben).await, json!(ada));
    let told = scim.get(&format!("/Users/{cyd}")).await.is(200).body[ENTERPRISE]["manager"].take();
    assert_eq!(
        told,
        json!({ "value": ben, "$ref": format!("https://scim.example/scim/v2/acme/Users/{ben}") })
    );
    assert_eq!(world.events_of(outer).await, ["group.created"], "a waiting group is written once");
    world.end().await;
}

#[tokio::test]
async fn circular_manager_references_are_resolved() {
    let world = World::new().await;
    let scim = world.scim();
    let done = send(
        scim,
        json!([
            user("ada", managed_by("ben")),
            user("ben", managed_by("ada")),
            user("self", managed_by("self")),
            group("all", &["ada", "ben"])
        ]),
    )
    .await;
    assert_eq!(statuses(&done), ["201"; 4]);
    let (ada, ben, own) = (id(&done[0]), id(&done[1]), id(&done[2]));
    assert_eq!(manager(scim, ada).await, json!(ben));
    assert_eq!(manager(scim, ben).await, json!(ada));
    assert_eq!(manager(scim, own).await, json!(own));
    // The answer to a read also names the state of the account's groups, behind the version.
    let answer = scim.get(&format!("/Users/{ada}")).await;
    let (version, _) = answer.header("etag").split_once('-').unwrap();
    assert_eq!(done[0]["version"], format!("{version}\""), "the last one");
    assert_eq!(
        (done[0]["version"].as_str(), done[1]["version"].as_str()),
        (Some("W/\"2\""), Some("W/\"1\""))
    );
    assert_eq!(scim.members(id(&done[3])).await, [ada, ben]);
    assert_eq!(world.events_of(ada).await, ["user.created", "user.updated"]);
    assert_eq!(world.events_of(ben).await, ["user.created"]);
    // The version of a resource that does not exist yet is ignored.
    let mut odd = user("odd", managed_by("odd"));
    odd["version"] = "W/\"7\"".into();
    let done = send(scim, json!([odd])).await;
    assert_eq!(
        (statuses(&done), manager(scim, id(&done[0])).await),
        (vec!["201"], json!(id(&done[0])))
    );
    // Some clients repeat a group's members at the users, where `groups` is read-only.
    let echo = json!({ "groups": [{ "value": "bulkId:g" }] });
    let done = send(scim, json!([group("g", &["eve"]), user("eve", echo)])).await;
    assert_eq!(statuses(&done), ["201", "201"]);
    assert_eq!(scim.members(id(&done[0])).await, [id(&done[1])]);
    world.end().await;
}

#[tokio::test]
async fn circular_groups_are_refused() {
    let world = World::new().await;
    let before = world.count("\"group\"", []).await;
    let done = send(
        world.scim(),
        json!([
            group("a", &["b"]),
            group("b", &["a", "u"]),
            group("c", &["a"]),
            group("d", &["u"]),
            user("u", json!({})),
            group("own", &["own"])
        ]),
    )
    .await;
    assert_eq!(statuses(&done), ["409", "409", "400", "201", "201", "409"]);
    assert_eq!(done[2]["response"]["scimType"], "invalidValue");
    assert!(done[0].get("location").is_none());
    assert_eq!(world.count("\"group\"", []).await - before, 1);
    world.end().await;
}

#[tokio::test]
async fn failure_affects_only_dependent_operations() {
    let world = World::new().await;
    let scim = world.scim();
    let anna = scim.user("anna").await;
    let missing_group = Uuid::now_v7();
    let events = world.count(CHANGES, []).await;
    let done = send(
        scim,
        json!([
            user("anna", json!({})),
            group("lost", &["anna"]),
            { "method": "PUT", "path": format!("/Users/{anna}"), "version": "W/\"7\"", "data": { "userName": "other" } },
            { "method": "DELETE", "path": format!("/Groups/{missing_group}") },
            { "method": "PATCH", "path": "/Users/bulkId:anna", "data": patch(json!([{ "op": "remove", "path": "title" }])) },
            group("stranger", &["unheard-of"]),
            { "method": "POST", "path": "/Users", "data": { "userName": "nameless" } },
            { "method": "FETCH", "path": "/Users", "bulkId": "f" },
            { "method": "POST", "path": "/Users", "bulkId": "empty", "data": { "displayName": "No user name" } },
            user("fine", json!({})),
        ]),
    )
    .await;
    assert_eq!(
        statuses(&done),
        ["409", "400", "412", "404", "400", "400", "400", "400", "400", "201"]
    );
    assert_eq!(done[0]["response"]["scimType"], "uniqueness");
    assert_eq!(
        done[0]["response"]["schemas"],
        json!(["urn:ietf:params:scim:api:messages:2.0:Error"])
    );
    assert!(done[0].get("location").is_none(), "nothing was created");
    assert_eq!(done[1]["response"]["scimType"], "invalidValue");
    assert_eq!(id(&done[2]), anna);
    assert_eq!(id(&done[3]), missing_group);
    assert!(done[5]["response"]["detail"].as_str().unwrap().contains("unheard-of"));
    assert_eq!(done[6]["response"]["scimType"], "invalidSyntax");
    assert_eq!((done[7]["bulkId"].as_str(), done[7].get("method")), (Some("f"), None));
    assert_eq!(world.count(CHANGES, []).await - events, 1, "only what succeeded changed anything");
    assert_eq!(scim.get(&format!("/Users/{anna}")).await.is(200).body["userName"], "anna");
    world.end().await;
}

#[tokio::test]
async fn half_resolved_circle_is_reported() {
    let world = World::new().await;
    let scim = world.scim();
    scim.user("ben").await;
    let done = send(
        scim,
        json!([
            user("ada", managed_by("ben")),
            user("ben", managed_by("ada")),
            group("g", &["ada"])
        ]),
    )
    .await;
    assert_eq!(statuses(&done), ["409", "409", "201"]);
    assert_eq!(done[1]["response"]["scimType"], "uniqueness");
    let ada = id(&done[0]);
    assert_eq!(
        manager(scim, ada).await,
        Value::Null,
        "the account exists, and the result has its location"
    );
    assert_eq!(scim.members(id(&done[2])).await, [ada]);
    world.end().await;
}

#[tokio::test]
async fn fail_on_errors_stops_the_rest() {
    let world = World::new().await;
    let scim = world.scim();
    scim.user("anna").await;
    let broken =
        |name: &str| json!({ "method": "POST", "path": "/Users", "bulkId": name, "data": {} });
    let body = |most: Value| {
        json!({ "failOnErrors": most, "Operations": [
            user("ben", json!({})), broken("b1"), group("waiting", &["last"]), user("cleo", json!({})), broken("b2"),
            user("last", json!({})),
        ] })
    };
    let done = results(scim.post("/Bulk", body(json!(2))).await);
    let told: Vec<_> = done.iter().map(|result| result["bulkId"].as_str().unwrap()).collect();
    assert_eq!(told, ["ben", "b1", "cleo", "b2"]);
    assert_eq!(statuses(&done), ["201", "400", "201", "400"]);
    scim.get(&format!("/Users/{}", id(&done[2]))).await.is(200);
    let found = scim.ids("/Users?filter=userName%20eq%20%22last%22").await;
    assert_eq!(found, [] as [Uuid; 0]);
    // A client that has no limit writes 0.
    let all = json!({ "failOnErrors": 0, "Operations": [broken("b3"), broken("b4"), user("nora", json!({}))] });
    let done = results(scim.post("/Bulk", all).await);
    assert_eq!(statuses(&done), ["400", "400", "201"]);
    // An operation that had begun before the stop reports a conflict.
    let cut = json!({ "failOnErrors": 1, "Operations": [
        user("dora", managed_by("eve")), user("eve", json!({ "manager": "bulkId:dora", "active": "perhaps" })),
        group("never", &["eve"]),
    ] });
    let done = results(scim.post("/Bulk", cut).await);
    assert_eq!(statuses(&done), ["409", "400"]);
    world.end().await;
}

#[tokio::test]
async fn changes_of_one_resource_keep_their_order() {
    let world = World::new().await;
    let scim = world.scim();
    let anna = scim.user("anna").await;
    let ward = scim.group("Ward 3", &[anna]).await;
    let path = format!("/Groups/{ward}");
    let add =
        patch(json!([{ "op": "add", "path": "members", "value": [{ "value": "bulkId:new" }] }]));
    let empty = patch(json!([{ "op": "remove", "path": "members" }]));
    let done = send(
        scim,
        json!([
            { "method": "PATCH", "path": path, "data": add },
            { "method": "PATCH", "path": path, "data": empty },
            user("new", json!({})),
        ]),
    )
    .await;
    assert_eq!(statuses(&done), ["200", "200", "201"]);
    assert_eq!(
        scim.members(ward).await,
        [] as [Uuid; 0],
        "the later change wins, although the first one had to wait"
    );
    world.end().await;
}

#[tokio::test]
async fn bulk_limits_are_named_when_exceeded() {
    let world = World::new().await;
    let scim = world.scim();
    let config = scim.get("/ServiceProviderConfig").await.is(200).body;
    assert_eq!(
        config["bulk"],
        json!({ "supported": true, "maxOperations": 1000, "maxPayloadSize": 10_485_760 })
    );
    let before = world.everything().await;
    let many: Vec<_> = (0..1001).map(|n| user(&format!("u{n}"), json!({}))).collect();
    let answer = scim.post("/Bulk", bulk(json!(many))).await.refused(413, None);
    assert!(answer.body["detail"].as_str().unwrap().contains("1000"), "{}", answer.body);
    let padding = "x".repeat(10_485_760);
    let answer = scim
        .post("/Bulk", json!({ "Operations": [], "padding": padding }))
        .await
        .refused(413, None);
    assert!(answer.body["detail"].as_str().unwrap().contains("10485760"), "{}", answer.body);
    let twice = bulk(json!([user("a", json!({})), user("a", json!({}))]));
    scim.post("/Bulk", twice).await.refused(400, Some("invalidSyntax"));
    scim.post("/Bulk", bulk(json!([]))).await.refused(400, Some("invalidSyntax"));
    scim.get("/Bulk").await.refused(405, None);
    assert_eq!(world.everything().await, before);
    // Together these are larger than a single request may be; each operation is small enough,
    // except the last one.
    let title = "x".repeat(60_000);
    let mut operations: Vec<_> =
        (0..30).map(|n| user(&format!("u{n}"), json!({ "title": title }))).collect();
    let large: Vec<_> = (0..20).map(|_| title.as_str()).collect();
    operations.push(user("large", json!({ "x": large })));
    let done = send(scim, json!(operations)).await;
    assert_eq!(statuses(&done[..30]), ["201"; 30]);
    assert_eq!(done[30]["status"], "413");
    let single =
        scim.post("/Users", json!({ "userName": "v", "x": large })).await.refused(413, None);
    assert!(single.body["detail"].as_str().unwrap().contains("1048576"), "{}", single.body);
    world.end().await;
}

#[tokio::test]
async fn bulk_takes_groups_over_one_megabyte() {
    let world = World::new().await;
    let scim = world.scim();
    let made: Vec<_> = (0..100).map(|n| user(&format!("m{n}"), json!({}))).collect();
    let people = send(scim, json!(made)).await;
    let display = "x".repeat(12_000);
    let members: Vec<_> = people
        .iter()
        .map(|person| json!({ "value": id(person), "display": display, "type": "User" }))
        .chain([json!({ "value": "bulkId:late", "display": "x" })])
        .collect();
    let data = json!({ "displayName": "Everybody", "members": members });
    assert!(data.to_string().len() > 1_048_576);
    let whole = json!({ "method": "POST", "path": "/Groups", "bulkId": "all", "data": data });
    let done = send(scim, json!([whole, user("late", json!({}))])).await;
    assert_eq!(statuses(&done), ["201", "201"]);
    let group = scim.get(&format!("/Groups/{}", id(&done[0]))).await.is(200).body;
    let listed = group["members"].as_array().unwrap();
    assert_eq!(listed.len(), 101);
    assert!(listed.iter().any(|member| member["value"] == json!(id(&done[1]))));
    world.end().await;
}

#[tokio::test]
async fn bulk_operations_count_as_requests() {
    // Five a second, so ten at the same time.
    let world = World::with(|config| config.scim_rate_limit = 5).await;
    let scim = world.scim();
    let newcomers = |name: &str| {
        json!((0..6).map(|n| user(&format!("{name}{n}"), json!({}))).collect::<Vec<_>>())
    };
    assert_eq!(statuses(&send(scim, newcomers("a")).await), ["201"; 6]);
    let before = world.everything().await;
    let limited = scim
        .post(
            "/Bulk",
            bulk(json!((0..10).map(|n| user(&format!("b{n}"), json!({}))).collect::<Vec<_>>())),
        )
        .await
        .refused(429, None);
    assert_eq!(world.everything().await, before, "all or none");
    let seconds: u64 = limited.header("retry-after").parse().unwrap();
    assert!((1..=3).contains(&seconds), "{seconds}");
    tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    assert_eq!(statuses(&send(scim, newcomers("b")).await), ["201"; 6]);
    // A request with more operations than the limit uses a whole share and succeeds.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let many: Vec<_> = (0..20).map(|n| user(&format!("c{n}"), json!({}))).collect();
    assert_eq!(statuses(&send(scim, json!(many)).await), ["201"; 20]);
    world.end().await;
}

#[tokio::test]
async fn bulk_stays_within_its_tenant() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let theirs = globex.scim.user("theirs").await;
    let anonymous = Scim::new(&world.scim().base, "rcs_unknown");
    let before = world.everything().await;
    anonymous.post("/Bulk", bulk(json!([user("a", json!({}))]))).await.refused(401, None);
    let add = patch(json!([{ "op": "replace", "path": "displayName", "value": "mine" }]));
    let done = send(
        world.scim(),
        json!([
            { "method": "PATCH", "path": format!("/Users/{theirs}"), "data": add },
            { "method": "DELETE", "path": format!("/Users/{theirs}") },
            { "method": "DELETE", "path": format!("/scim/v2/globex/Users/{theirs}") },
            { "method": "POST", "bulkId": "g", "path": "/Groups", "data": { "displayName": "g", "members": [{ "value": theirs }] } },
        ]),
    )
    .await;
    assert_eq!(statuses(&done), ["404", "404", "404", "400"]);
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn one_bulk_creates_a_thousand_users() {
    let world = World::new().await;
    let scim = world.scim();
    let names: Vec<String> = (0..999).map(|n| format!("u{n}")).collect();
    let mut operations = vec![group("all", &names.iter().map(String::as_str).collect::<Vec<_>>())];
    operations.extend(names.iter().map(|name| user(name, json!({}))));
    let done = send(scim, json!(operations)).await;
    assert_eq!(statuses(&done), ["201"; 1000]);
    let group = id(&done[0]);
    assert_eq!(
        world.count("membership WHERE group_id = $1 AND until IS NULL", [group.into()]).await,
        999
    );
    assert_eq!(world.events_of(group).await, ["group.created"]);
    world.end().await;
}
