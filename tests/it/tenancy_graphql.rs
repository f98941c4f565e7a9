//! Walks the management API along its own schema: every parameter that takes an id, with another
//! organization's ids, finds nothing, shows nothing and changes nothing.

use rolecall::auth::policy::Permission;
use rolecall::context::local_issuer;
use serde_json::{Value, json};

use crate::rights::global;
use crate::sdl::Route;
use crate::walk::{Ids, Walk, codes, furnish, has_mistakes, kind_of};
use crate::world::{Tenant, World};

/// Whether an answer contains nothing: null, a list of nulls, or an empty page.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().all(is_nothing),
        // An object with an id exists, whatever its other fields say.
        Value::Object(thing) if thing.get("id").is_some_and(Value::is_string) => false,
        Value::Object(page) => page.values().all(|part| match part {
            Value::Array(items) => items.is_empty(),
            Value::Object(_) => true,
            Value::Number(count) => count.as_i64() == Some(0),
            other => other.is_null() || other.is_string(),
        }),
        _ => false,
    }
}

/// A list of an object other than the one whose ids are asked for: the runs of the first connection,
/// which is not read. It is asked for by itself.
const LIST_OF_ANOTHER: (&str, &str) = ("IdentitySource", "syncRuns");

/// Filters that find nothing by the first account or connection here: no deletion and no delivery was
/// begun. The tests of deletions and of webhooks hold that they find what they name.
const IDS_OF_ANOTHER: [(&str, &str); 4] = [
    // The alert here is about an export; `tests/it/alerts.rs` has one about a connection.
    ("alerts", "connectionId"),
    ("deletionJobs", "connectionId"),
    ("deliveries", "eventId"),
    ("deliveries", "userId"),
];

/// Gives each list something for each of its filters, and returns the ids by which it is found, where
/// they are not those of the first account, group or connection: by the list and the filter.
async fn relate(tenant: &Tenant, own: &Ids) -> Vec<(&'static str, &'static str, String)> {
    let ask = async |query: &str, variables: Value| {
        let answer = tenant.graphql(query, variables).await;
        assert!(answer["errors"].is_null() && answer["data"].is_object(), "{query}: {answer:#}");
        answer["data"].clone()
    };
    // A default role of the first connection, and a key of the first account.
    let made = ask(
        "mutation($c: ID!, $r: ID!, $u: ID!) {
           roleMappingCreate(input: { connectionId: $c, roleId: $r }) { userErrors { message } }
           apiKeyIssue(input: { name: \"owned\", permissions: [], ownerUserId: $u }) {
             userErrors { message } } }",
        json!({ "c": own["IdentitySource"], "r": own["Role"], "u": own["User"] }),
    )
    .await;
    for name in ["roleMappingCreate", "apiKeyIssue"] {
        assert_eq!(made[name]["userErrors"], json!([]), "{made:#}");
    }
    // A difference in a membership of the first group.
    let names = "query($g: ID!, $u: ID!) { group: node(id: $g) { ... on Group { displayName } }
        user: node(id: $u) { ... on User { userName } }
        organization { users(first: 9, filter: { provisioned: true }) { nodes { userName } } } }";
    let names = ask(names, json!({ "g": own["Group"], "u": own["User"] })).await;
    let users = names["organization"]["users"]["nodes"].as_array().unwrap();
    let other = users.iter().map(|user| &user["userName"]);
    let other = other.clone().find(|name| **name != names["user"]["userName"]);
    let other = other.expect("a second account");
    let export = format!(
        "group,userName\n{group},{}\n{group},{}\n",
        names["user"]["userName"].as_str().unwrap(),
        other.as_str().unwrap(),
        group = names["group"]["displayName"].as_str().unwrap(),
    );
    let connection = &own["IdentitySource"];
    crate::reconcile::upload(tenant, connection, "kind=memberships", "text/csv", export)
        .await
        .is(200);
    // A group around the first one, with the same role.
    let around = tenant.scim.group("around", &[uuid_of(&own["Group"])]).await;
    let around = global("Group", around);
    let map = "mutation($g: ID!, $r: ID!) { roleMappingCreate(input: { groupId: $g, roleId: $r }) {
        userErrors { message } } }";
    ask(map, json!({ "g": around, "r": own["Role"] })).await;
    // An invitation that was accepted for the first account.
    let role = "mutation { roleCreate(input: { name: \"Guest\" }) { role { id } } }";
    let role = ask(role, json!({})).await["roleCreate"]["role"]["id"].clone();
    let invite = "mutation($r: [ID!]) { invitationCreate(input: { email: \"guest@guests.example\",
        roles: $r }) { invitation { id } } }";
    let invited = ask(invite, json!({ "r": [role] })).await;
    let accept = "mutation($i: ID!, $u: ID!) { invitationAccept(input: { id: $i, userId: $u }) {
        userErrors { message } } }";
    let invitation = &invited["invitationCreate"]["invitation"]["id"];
    let accepted = ask(accept, json!({ "i": invitation, "u": own["User"] })).await;
    assert_eq!(accepted["invitationAccept"]["userErrors"], json!([]), "{accepted:#}");
    // A write to the first account that fails.
    let path = format!("/Users/{}", uuid_of(&own["User"]));
    let wrong = json!([{ "op": "replace", "path": "userName", "value": "" }]);
    tenant.scim.patch(&path, wrong).await.is(400);
    let related = ask(
        "{ organization { adoptionProposals(first: 1) { nodes { user { id } } }
           failures(first: 50) { nodes { user { id } } }
           findings(first: 50) { nodes { group { id } } }
           syncRuns(first: 1) { nodes { connection { id } } } } }",
        json!({}),
    )
    .await["organization"]
        .clone();
    let first = |list: &str, field: &str| {
        let nodes = related[list]["nodes"].as_array().unwrap();
        let mut ids = nodes.iter().filter_map(|node| node[field]["id"].as_str());
        ids.next().unwrap_or_else(|| panic!("no {field} in {list}: {related:#}")).to_owned()
    };
    vec![
        ("adoptionProposals", "userId", first("adoptionProposals", "user")),
        ("failures", "userId", first("failures", "user")),
        ("findings", "groupId", first("findings", "group")),
        ("syncRuns", "connectionId", first("syncRuns", "connection")),
        ("parents", "ids", around),
    ]
}

fn uuid_of(id: &str) -> uuid::Uuid {
    use base64::Engine;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let text = String::from_utf8(engine.decode(id).unwrap()).unwrap();
    text.split_once(':').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn queries_stay_within_the_organization() {
    let world = World::new().await;
    let own = furnish(&world.acme, "mine").await;
    world.scim().user("mine.second").await;
    let related = relate(&world.acme, &own).await;
    let theirs = furnish(&world.second_organization().await, "zzsecret").await;
    let before = world.everything().await;
    let walk = Walk::new(&world.acme, own);
    let schema = &walk.schema;
    let (mut places, mut not_found) = (0, Vec::new());
    for object in schema.readable() {
        for field in schema.fields(object) {
            for place in schema.places(&field.arguments, &["ID"]) {
                let route = schema
                    .route(object)
                    .unwrap_or_else(|| panic!("no way to {object}.{}", field.name));
                for (kind, id) in &theirs {
                    let (title, value, answer) =
                        walk.call("query", &route, field, &place, &json!(id)).await;
                    assert!(is_nothing(&value), "{title} of their {kind}: {answer:#}");
                    assert!(
                        !answer.to_string().contains("zzsecret"),
                        "{title} of their {kind}: {answer:#}"
                    );
                    assert!(
                        codes(&answer)
                            .iter()
                            .all(|code| ["NOT_FOUND", "BAD_USER_INPUT"].contains(code)),
                        "{answer:#}"
                    );
                }
                let filter = place.last().map_or("", String::as_str);
                if LIST_OF_ANOTHER == (object, field.name.as_str()) {
                    let source = related.iter().find(|(list, ..)| *list == "syncRuns").unwrap();
                    let runs = "query($c: ID!) { node(id: $c) { ... on IdentitySource {
                        syncRuns(first: 1, filter: { connectionId: $c }) { nodes { id } } } } }";
                    let found = world.graphql(runs, json!({ "c": source.2 })).await;
                    let runs = &found["data"]["node"]["syncRuns"]["nodes"];
                    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{found:#}");
                    continue;
                }
                if IDS_OF_ANOTHER.contains(&(field.name.as_str(), filter)) {
                    continue;
                }
                // The same query with an id of one's own finds it, so the query was valid.
                let special = related
                    .iter()
                    .find(|(list, name, _)| *list == field.name && *name == filter)
                    .map(|(.., id)| id);
                let mine = special
                    .unwrap_or_else(|| &walk.own[kind_of(&field.name, place.last().unwrap())]);
                let (title, value, answer) =
                    walk.call("query", &route, field, &place, &json!(mine)).await;
                if is_nothing(&value) {
                    not_found.push(format!("{object}: {title}: {answer:#}"));
                }
                places += 1;
            }
        }
    }
    assert!(not_found.is_empty(), "not found with ids of my own: {}", not_found.join("\n"));
    assert!(places >= 9, "{places}");
    assert_eq!(world.everything().await, before);
    world.end().await;
}

/// Here an unknown id is ignored, because removing an account that is not a member is no mistake.
const PASSED_OVER: [&str; 1] = ["mutation groupRemoveMembers: input.memberIds"];

#[tokio::test]
async fn mutations_stay_within_the_organization() {
    let world = World::new().await;
    let own = furnish(&world.acme, "mine").await;
    let theirs = furnish(&world.second_organization().await, "zzsecret").await;
    let before = world.everything().await;
    let walk = Walk::new(&world.acme, own);
    let schema = &walk.schema;
    let mut tried = 0;
    for field in schema.fields("Mutation") {
        for place in schema.places(&field.arguments, &["ID"]) {
            for (kind, id) in &theirs {
                let (title, value, answer) =
                    walk.call("mutation", &Route::default(), field, &place, &json!(id)).await;
                assert!(
                    !answer.to_string().contains("zzsecret"),
                    "{title} of their {kind}: {answer:#}"
                );
                assert!(
                    codes(&answer)
                        .iter()
                        .all(|code| ["NOT_FOUND", "BAD_USER_INPUT"].contains(code)),
                    "{answer:#}"
                );
                let passed_over = PASSED_OVER.contains(&title.as_str());
                assert!(
                    value.is_null() || has_mistakes(&value) || passed_over,
                    "{title} of their {kind}: {answer:#}"
                );
                assert_eq!(world.everything().await, before, "{title} of their {kind}");
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
    world.end().await;
}

#[tokio::test]
async fn credential_opens_only_its_organization() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let (mine, theirs) = (furnish(&world.acme, "mine").await, furnish(&globex, "zzsecret").await);
    let slug = "{ organization { slug } }";
    assert_eq!(world.graphql(slug, json!({})).await["data"]["organization"]["slug"], "acme");
    assert_eq!(globex.graphql(slug, json!({})).await["data"]["organization"]["slug"], "globex");
    // A key stays in its organization, whatever organization the request names.
    let other = [("rolecall-organization", "globex")];
    let answer = world.acme.graphql_as(&world.acme.api_key, &other, slug, json!({})).await;
    assert!(answer.body["data"]["organization"]["slug"] != "globex", "{}", answer.body);
    // A person's token is valid for the organizations that it names, and for no other.
    let claims = local_issuer::IssuerClaims {
        subject: "ada".into(),
        organizations: [("acme".to_owned(), Permission::in_organization())].into(),
        ..Default::default()
    };
    let token = local_issuer::issue_token(&world.app, &claims, chrono::Duration::hours(1)).unwrap();
    assert_eq!(
        world.acme.graphql_as(&token, &[], slug, json!({})).await.body["data"]["organization"]["slug"],
        "acme"
    );
    for elsewhere in ["globex", "unknown", ""] {
        let answer = world
            .acme
            .graphql_as(&token, &[("rolecall-organization", elsewhere)], slug, json!({}))
            .await;
        assert_eq!(codes(&answer.body), ["NOT_FOUND"], "{elsewhere}: {}", answer.body);
    }
    let both = json!({ "ids": mine.values().chain(theirs.values()).collect::<Vec<_>>() });
    let nodes = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }";
    let answer = world.acme.graphql_as(&token, &[], nodes, both).await.body;
    let found: Vec<_> =
        answer["data"]["nodes"].as_array().unwrap().iter().filter(|node| !node.is_null()).collect();
    assert_eq!(found.len(), mine.len(), "{answer:#}");

    let expired = {
        let token =
            local_issuer::issue_token(&world.app, &claims, chrono::Duration::hours(1)).unwrap();
        world.days_pass(1);
        token
    };
    let foreign = token.rsplit_once('.').map(|(head, _)| format!("{head}.AAAA")).unwrap();
    let wrong =
        ["", "x", "rck_wrong", &world.scim().token, &expired, &foreign, &world.acme.api_key[..20]];
    for credential in wrong {
        for query in [
            slug,
            "mutation { roleCreate(input: { name: \"x\" }) { role { id } } }",
            "{ __typename }",
            "{",
        ] {
            let answer = world.acme.graphql_as(credential, &[], query, json!({})).await.is(401);
            assert_eq!(codes(&answer.body), ["UNAUTHENTICATED"], "{}", answer.body);
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
    world.end().await;
}
