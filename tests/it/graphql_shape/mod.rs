//! Rules that hold for the whole schema: ids, payloads, versions, reasons, cursors. The tests read
//! the schema, so that a new type, field or mutation is covered without a new test.

mod mistakes;
mod updates;

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::sdl::{Schema, Shape, named};
use crate::walk::{Walk, codes, furnish};
use crate::world::{Tenant, World};

/// Mutations whose names end like this take something away.
const TAKES_AWAY: [&str; 9] = [
    "Delete",
    "Remove",
    "Revoke",
    "Suspend",
    "Deactivate",
    "Dismiss",
    "Purge",
    "Unprotect",
    "RemoveMembers",
];

/// Calls a mutation; returns its payload.
pub async fn mutate(tenant: &Tenant, name: &str, input: Value, shown: &str) -> Value {
    let ty = format!("{}{}Input", name[..1].to_uppercase(), &name[1..]);
    let query = format!(
        "mutation($i: {ty}!) {{ {name}(input: $i) {{ {shown} userErrors {{ code reason message \
         nextStep path }} }} }}"
    );
    let answer = tenant.graphql(&query, json!({ "i": input })).await;
    assert!(answer["data"][name].is_object(), "{name}: {answer:#}");
    answer["data"][name].clone()
}

/// The fields of the input of a mutation.
fn input_fields<'a>(schema: &'a Schema, mutation: &crate::sdl::Field) -> Vec<&'a str> {
    let input = mutation.arguments.iter().find(|argument| argument.name == "input");
    let input = input.unwrap_or_else(|| panic!("{} has no input", mutation.name));
    match schema.shape(named(&input.ty)) {
        Shape::Input(fields) | Shape::OneOf(fields) => {
            fields.iter().map(|field| field.name.as_str()).collect()
        }
        _ => panic!("the input of {} is no object", mutation.name),
    }
}

#[test]
fn only_nodes_have_ids() {
    let schema = Schema::new();
    for object in schema.readable() {
        let has_id = schema.fields(object).iter().any(|field| field.name == "id");
        let is_node = schema.nodes().iter().any(|node| node == object);
        assert_eq!(has_id, is_node, "{object}: the field id is for the object's own global id");
    }
}

#[test]
fn each_mutation_has_its_payload() {
    let schema = Schema::new();
    for field in schema.fields("Mutation") {
        let expected = format!("{}{}Payload", field.name[..1].to_uppercase(), &field.name[1..]);
        assert_eq!(named(&field.ty), expected);
        let errors = schema.fields(&expected).iter().find(|field| field.name == "userErrors");
        assert_eq!(errors.unwrap().ty.to_string(), "[UserError!]!", "{expected}");
        let input = field.arguments.iter().find(|argument| argument.name == "input").unwrap();
        assert_eq!(named(&input.ty), expected.replace("Payload", "Input"));
    }
}

#[test]
fn taking_away_takes_a_reason() {
    let schema = Schema::new();
    let mut found = 0;
    for field in schema.fields("Mutation") {
        if TAKES_AWAY.iter().any(|verb| field.name.ends_with(verb)) {
            assert!(input_fields(&schema, field).contains(&"reason"), "{}", field.name);
            found += 1;
        }
    }
    assert!(found >= 14, "{found}");
}

#[test]
fn versions_can_be_expected() {
    let schema = Schema::new();
    let versioned = ["User", "Group", "Role", "IdentitySource"];
    for object in schema.nodes() {
        let has_version = schema.fields(object).iter().any(|field| field.name == "version");
        assert_eq!(has_version, versioned.contains(&object.as_str()), "{object}");
    }
    for field in schema.fields("Mutation") {
        let inputs = input_fields(&schema, field);
        let about = ["user", "group", "role", "connection"].iter().any(|noun| {
            field.name.strip_prefix(noun).is_some_and(|verb| {
                verb.starts_with(char::is_uppercase)
                    && !["Create", "Restore", "Purge", "Mapping", "Grant"]
                        .iter()
                        .any(|other| verb.starts_with(other))
            })
        });
        if about {
            assert!(inputs.contains(&"expectedVersion"), "{}", field.name);
        }
    }
}

#[test]
fn state_is_never_called_status() {
    let schema = Schema::new();
    for object in schema.readable() {
        for field in schema.fields(object) {
            assert!(field.name != "status", "{object}.{}: say state", field.name);
        }
    }
}

/// The past settles while an answer is made, so two places of one answer may tell two instants.
const MOVING_FIELD: &str = "settledUntil";

/// What a client's cache holds: the values of each object, by its type and id.
#[derive(Default)]
struct ClientCache {
    objects: BTreeMap<(String, String), Map<String, Value>>,
}

impl ClientCache {
    /// Stores an answer as relay-runtime and Apollo Client do.
    fn store(&mut self, what: &str, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.store(what, item)),
            Value::Object(fields) => {
                fields.values().for_each(|value| self.store(what, value));
                let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
                let (Some(ty), Some(id)) = (text("__typename"), text("id")) else { return };
                let known = self.objects.entry((ty.clone(), id)).or_default();
                let leaves = fields.iter().filter(|(_, value)| {
                    !value.is_object() && !value.is_array() && !value.is_null()
                });
                for (name, value) in leaves.filter(|(name, _)| *name != MOVING_FIELD) {
                    let known = known.entry(name.clone()).or_insert_with(|| value.clone());
                    assert_eq!(known, value, "{what}: two objects share an id: {ty}.{name}");
                }
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_id_names_one_object() {
    let world = World::new().await;
    let own = furnish(&world.acme, "mine").await;
    // Each answer is stored by itself: between two of them values may change.
    let walk = Walk { depth: 2, ..Walk::new(&world.acme, own.clone()) };
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for object in walk.schema.readable() {
        let Some(route) = walk.schema.route(object) else { continue };
        for field in walk.schema.fields(object) {
            let inner = named(&field.ty);
            if matches!(walk.schema.shape(inner), Shape::Leaf(_))
                || field.arguments.iter().any(|argument| argument.required())
            {
                continue;
            }
            let page = field.arguments.iter().any(|argument| argument.name == "first");
            let mut arguments = Map::new();
            if page {
                arguments.insert("first".into(), json!(5));
            }
            let query = walk.schema.operation("query", &route, field, &arguments, 1);
            let answer = world.acme.graphql_as(&walk.key, &[], &query, arguments.into()).await.body;
            let mut cache = ClientCache::default();
            cache.store(&format!("{object}.{}", field.name), &answer["data"]);
            for (ty, id) in cache.objects.into_keys() {
                let known = ids.entry(id).or_insert_with(|| ty.clone());
                assert_eq!(*known, ty, "{object}.{}: an id of two types", field.name);
            }
        }
    }
    assert!(ids.len() > 15, "{ids:#?}");
    for (id, ty) in &ids {
        let node = "query($id: ID!) { node(id: $id) { __typename id } }";
        let found = world.graphql(node, json!({ "id": id })).await;
        assert_eq!(found["data"]["node"], json!({ "__typename": ty, "id": id }), "{found:#}");
    }
    world.end().await;
}

#[tokio::test]
async fn cursors_show_nothing_and_belong_home() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    for name in ["ada", "bob", "cyd"] {
        world.scim().user(name).await;
        globex.scim.user(name).await;
    }
    let query = "query($after: String) { organization { users(first: 1, after: $after, orderBy: {
        field: USER_NAME }) { nodes { userName } edges { cursor } pageInfo { endCursor } } } }";
    let page = async |tenant: &Tenant, after: Value| {
        tenant.graphql(query, json!({ "after": after })).await
    };
    let first = page(&world.acme, Value::Null).await["data"]["organization"]["users"].clone();
    let cursor = first["pageInfo"]["endCursor"].as_str().unwrap().to_owned();
    assert_eq!(first["edges"][0]["cursor"], cursor, "{first}");
    let bytes = URL_SAFE_NO_PAD.decode(&cursor).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("ada"), "{cursor}");
    let again = page(&world.acme, Value::Null).await["data"]["organization"]["users"].clone();
    assert_eq!(again["pageInfo"]["endCursor"], cursor, "equal places give equal cursors");
    let second = page(&world.acme, json!(cursor)).await;
    assert_eq!(second["data"]["organization"]["users"]["nodes"][0]["userName"], "bob");
    let mut altered = bytes.clone();
    altered[14] ^= 1;
    let plain = URL_SAFE_NO_PAD.encode("ada");
    for (tenant, bad) in
        [(&world.acme, URL_SAFE_NO_PAD.encode(&altered)), (&world.acme, plain), (&globex, cursor)]
    {
        let refused = page(tenant, json!(bad)).await;
        assert_eq!(codes(&refused), ["BAD_USER_INPUT"], "{refused:#}");
        let message = refused["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("not a cursor of this list"), "{message}");
    }
    world.end().await;
}

#[tokio::test]
async fn rotation_names_retired_tokens() {
    let world = World::new().await;
    let connection = own_connection(&world.acme).await;
    let shown = "scimToken { id } secret warning retiredTokens { id live retiresAt }";
    let rotate = async |overlap: i64| {
        let input = json!({
            "connectionId": connection, "overlapSeconds": overlap, "reason": "a leak",
        });
        mutate(&world.acme, "scimTokenRotate", input, shown).await
    };
    let before = "{ organization { connections(first: 1) { nodes { tokens { id } } } } }";
    let before = world.graphql(before, json!({})).await;
    let old = &before["data"]["organization"]["connections"]["nodes"][0]["tokens"][0]["id"];
    let kept = rotate(3_600).await;
    assert_eq!(kept["userErrors"], json!([]), "{kept:#}");
    let retired = &kept["retiredTokens"];
    assert_eq!((retired.as_array().unwrap().len(), &retired[0]["id"]), (1, old), "{kept:#}");
    assert_eq!(retired[0]["live"], true);
    let until = retired[0]["retiresAt"].as_str().unwrap();
    let warning = kept["warning"].as_str().unwrap();
    assert!(warning.contains(&until[..10]) && warning.contains("Enter the new token"), "{warning}");
    assert_eq!(world.last_payload().await["after"]["reason"], "a leak");
    let at_once = rotate(0).await;
    let warning = at_once["warning"].as_str().unwrap();
    assert!(warning.contains("refused already"), "{warning}");
    let live: Vec<_> =
        at_once["retiredTokens"].as_array().unwrap().iter().map(|t| &t["live"]).collect();
    assert!(live.iter().all(|live| **live == false) && live.len() == 2, "{at_once:#}");
    world.end().await;
}

/// The global id of the tenant's first connection.
pub async fn own_connection(tenant: &Tenant) -> Value {
    let query = "{ organization { connections(first: 1) { nodes { id } } } }";
    let answer = tenant.graphql(query, json!({})).await;
    answer["data"]["organization"]["connections"]["nodes"][0]["id"].clone()
}

#[tokio::test]
async fn reasons_stand_in_the_ledger() {
    let world = World::new().await;
    let id = |payload: &Value, name: &str| payload[name]["id"].clone();
    let tenant = &world.acme;
    let user = mutate(tenant, "userCreate", json!({ "userName": "ada" }), "user { id }").await;
    let user = id(&user, "user");
    let input = json!({ "displayName": "Ward", "memberIds": [user] });
    let group = mutate(tenant, "groupCreate", input, "group { id }").await;
    let group = id(&group, "group");
    let role = mutate(tenant, "roleCreate", json!({ "name": "Nurse" }), "role { id }").await;
    let role = id(&role, "role");
    let input = json!({ "userId": user, "roleId": role });
    let grant = mutate(tenant, "roleGrantCreate", input, "roleGrant { id }").await;
    let grant = id(&grant, "roleGrant");
    let input = json!({ "groupId": group, "roleId": role, "reason": "why it was made" });
    let mapping = mutate(tenant, "roleMappingCreate", input, "roleMapping { id }").await;
    let mapping = id(&mapping, "roleMapping");
    for (name, input) in [
        ("roleMappingRemove", json!({ "id": mapping })),
        ("roleGrantRemove", json!({ "id": grant })),
        ("groupRemoveMembers", json!({ "id": group, "memberIds": [user] })),
        ("userSuspend", json!({ "id": user })),
        ("groupDelete", json!({ "id": group })),
        ("roleDelete", json!({ "id": role })),
        ("userDelete", json!({ "id": user })),
    ] {
        let mut input = input;
        input["reason"] = json!("x".repeat(1_001));
        let refused = mutate(tenant, name, input.clone(), "__typename").await;
        assert_eq!(refused["userErrors"][0]["path"], json!(["input", "reason"]), "{refused:#}");
        assert_eq!(refused["userErrors"][0]["reason"], "TOO_LONG", "{refused:#}");
        input["reason"] = json!(format!("because of {name}"));
        let done = mutate(tenant, name, input, "__typename").await;
        assert_eq!(done["userErrors"], json!([]), "{name}: {done:#}");
        let payload = world.last_payload().await;
        assert_eq!(payload["after"]["reason"], format!("because of {name}"), "{payload:#}");
    }
    let latest = "{ organization { events(first: 20) { nodes { action reason } } } }";
    let latest = world.graphql(latest, json!({})).await["data"]["organization"]["events"].clone();
    let deleted = latest["nodes"].as_array().unwrap().iter();
    let deleted = deleted.filter(|event| event["action"] == "USER_DELETED");
    let reasons: Vec<_> = deleted.map(|event| &event["reason"]).collect();
    assert_eq!(reasons, ["because of userDelete"]);
    world.end().await;
}

#[tokio::test]
async fn stale_versions_are_refused() {
    let world = World::new().await;
    let tenant = &world.acme;
    let user =
        mutate(tenant, "userCreate", json!({ "userName": "ada" }), "user { id version }").await;
    let group =
        mutate(tenant, "groupCreate", json!({ "displayName": "Ward" }), "group { id }").await;
    let role = mutate(tenant, "roleCreate", json!({ "name": "Nurse" }), "role { id }").await;
    let connection = own_connection(tenant).await;
    let before = world.everything().await;
    let schema = Schema::new();
    let mut tried = 0;
    for field in schema.fields("Mutation") {
        if !input_fields(&schema, field).contains(&"expectedVersion") {
            continue;
        }
        let id = match field.name.as_str() {
            name if name.starts_with("user") => &user["user"]["id"],
            name if name.starts_with("group") => &group["group"]["id"],
            name if name.starts_with("role") => &role["role"]["id"],
            _ => &connection,
        };
        // What changes a part of a connection names the connection.
        let part = input_fields(&schema, field).contains(&"connectionId");
        let named = if part { "connectionId" } else { "id" };
        let mut input = json!({ named: id, "expectedVersion": 77 });
        if field.name.ends_with("Members") {
            input["memberIds"] = json!([user["user"]["id"]]);
        }
        let refused = mutate(tenant, &field.name, input, "__typename").await;
        let mistake = &refused["userErrors"][0];
        assert_eq!(
            (&mistake["code"], &mistake["reason"], &mistake["path"]),
            (&json!("STALE"), &json!("STALE"), &json!(["input", "expectedVersion"])),
            "{}: {refused:#}",
            field.name
        );
        assert_eq!(world.everything().await, before, "{}", field.name);
        tried += 1;
    }
    assert!(tried >= 15, "{tried}");
    let input = json!({ "id": user["user"]["id"], "expectedVersion": user["user"]["version"] });
    let done = mutate(tenant, "userSuspend", input, "user { active }").await;
    assert_eq!(done["user"]["active"], false, "{done:#}");
    world.end().await;
}

#[tokio::test]
async fn prolonged_key_needs_its_permissions() {
    let world = World::with(|config| config.api_key_days = 90).await;
    let now = world.app.clock.now();
    let day = |days: i64| json!(now + chrono::Duration::days(days));
    let input = json!({ "name": "all", "permissions": ["TOKEN_MANAGE", "DELETE_ALL"],
        "expiresAt": day(10) });
    let key = mutate(&world.acme, "apiKeyIssue", input, "apiKey { id }").await;
    let id = &key["apiKey"]["id"];
    let input = json!({ "name": "few", "permissions": ["TOKEN_MANAGE"] });
    let few = mutate(&world.acme, "apiKeyIssue", input, "secret").await;
    let few = few["secret"].as_str().unwrap();
    let query = "mutation($i: ApiKeyUpdateInput!) { apiKeyUpdate(input: $i) { apiKey { name \
                 expiresAt } userErrors { path } } }";
    let ask = async |key: &str, end: &Value| {
        let input = json!({ "i": { "id": id, "expiresAt": end, "name": "renamed" } });
        world.acme.graphql_as(key, &[], query, input).await.body
    };
    let refused = ask(few, &day(20)).await;
    assert_eq!(codes(&refused), ["FORBIDDEN"], "{refused:#}");
    let sooner = ask(few, &day(5)).await;
    assert_eq!(sooner["data"]["apiKeyUpdate"]["apiKey"]["name"], "renamed", "{sooner:#}");
    let own = &world.acme.api_key;
    let late = ask(own, &day(91)).await;
    let mistakes = &late["data"]["apiKeyUpdate"]["userErrors"];
    assert_eq!(mistakes[0]["path"], json!(["input", "expiresAt"]), "{late:#}");
    let later = ask(own, &day(80)).await;
    assert_eq!(later["data"]["apiKeyUpdate"]["userErrors"], json!([]), "{later:#}");
    world.end().await;
}
