//! Updates: a field that is left out stays, null takes a value away or is refused, and nothing else
//! changes. The fields are read from the schema: a new one needs a value in [`values`].

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{mutate, own_connection};
use crate::sdl::{Schema, Shape, named};
use crate::world::{Tenant, World, events_of_changes};

/// A mutation that updates, and how its effect is seen.
struct Update {
    mutation: &'static str,
    /// What the input says always.
    given: Value,
    /// The object in the payload, and its fields.
    object: &'static str,
    shown: &'static str,
}

const SOURCE: &str = "baseUrl auth tokenUrl clientId scope pageSize userFilter intervalMinutes \
                      incrementalMinutes shrinkPercent";

/// Objects with a value in each field that an update can change.
async fn updates(tenant: &Tenant) -> Vec<Update> {
    let made = async |mutation: &str, input: Value, object: &str| {
        let payload = mutate(tenant, mutation, input, &format!("{object} {{ id }}")).await;
        assert_eq!(payload["userErrors"], json!([]), "{mutation}: {payload:#}");
        payload[object]["id"].clone()
    };
    for (resource, urn) in [("USER", "urn:acme:1.0:Badge"), ("GROUP", "urn:acme:1.0:Ward")] {
        let attributes = json!([{ "name": "number" }, { "name": "color" }]);
        let input = json!({ "urn": urn, "resource": resource, "name": urn,
            "attributes": attributes });
        made("schemaExtensionRegister", input, "schemaExtension").await;
    }
    let badge = json!([{ "urn": "urn:acme:1.0:Badge",
        "attributes": { "number": "7", "color": "red" } }]);
    let user = json!({ "userName": "ada", "displayName": "Ada", "externalId": "x-1",
        "givenName": "Ada", "familyName": "Lovelace", "title": "Nurse", "department": "Ward 3",
        "employeeNumber": "1815", "emails": [{ "value": "ada@acme.example" }],
        "extensions": badge });
    let user = made("userCreate", user, "user").await;
    let group = json!({ "displayName": "Ward", "externalId": "g-1", "extensions": [{
        "urn": "urn:acme:1.0:Ward", "attributes": { "number": "3", "color": "blue" } }] });
    let group = made("groupCreate", group, "group").await;
    let role = json!({ "name": "Nurse", "description": "wards", "permissions": ["a", "b"],
        "priority": 3, "management": true });
    let role = made("roleCreate", role, "role").await;
    let end = "2100-01-01T00:00:00Z";
    let mapping = json!({ "groupId": group, "roleId": role, "reason": "r", "expiresAt": end });
    let mapping = made("roleMappingCreate", mapping, "roleMapping").await;
    let grant = json!({ "userId": user, "roleId": role, "reason": "r", "expiresAt": end });
    let grant = made("roleGrantCreate", grant, "roleGrant").await;
    let key = json!({ "name": "script", "permissions": ["IAM_READ"], "ownerUserId": user });
    let key = made("apiKeyIssue", key, "apiKey").await;
    let source = json!({ "name": "Source", "pull": { "baseUrl": "https://example.com/scim/v2",
        "auth": "CLIENT_CREDENTIALS", "tokenUrl": "https://example.com/token", "clientId": "c",
        "scope": "s", "secret": "x", "pageSize": 50, "userFilter": "active eq true",
        "intervalMinutes": 60, "incrementalMinutes": 15, "shrinkPercent": 10 } });
    let source = made("connectionCreate", source, "connection").await;
    let push = own_connection(tenant).await;
    // It is told of nothing that happens here.
    let destination = json!({ "kind": "EVENT_STREAM", "url": "https://receiver.invalid/one",
        "description": "Billing", "ownerUserId": user,
        "eventActions": ["ORGANIZATION_SUSPENDED"] });
    let destination = made("destinationCreate", destination, "destination").await;
    let input = json!({ "connectionId": push, "intervalMinutes": 60 });
    mutate(tenant, "reconciliationScheduleUpdate", input, "connection { id }").await;
    let input = json!({ "name": "Acme", "scimEnabled": true,
        "verifiedDomains": ["acme.example", "acme.test"] });
    mutate(tenant, "organizationUpdate", input, "organization { id }").await;
    let update = |mutation, given, object, shown| Update { mutation, given, object, shown };
    vec![
        update(
            "organizationUpdate",
            json!({}),
            "organization",
            "name scimEnabled integrationMode verifiedDomains",
        ),
        update(
            "connectionUpdate",
            json!({ "id": source }),
            "connection",
            "name provider deletionPolicy adoptionPolicy revivalDays announcesCursorPaging \
             pull { baseUrl auth tokenUrl clientId scope pageSize userFilter intervalMinutes \
             incrementalMinutes shrinkPercent }",
        ),
        update(
            "userUpdate",
            json!({ "id": user }),
            "user",
            "userName displayName externalId givenName familyName title department employeeNumber \
             emails { value } attributes",
        ),
        update("groupUpdate", json!({ "id": group }), "group", "displayName externalId"),
        update(
            "roleUpdate",
            json!({ "id": role }),
            "role",
            "name description permissions priority management",
        ),
        update(
            "roleMappingUpdate",
            json!({ "id": mapping }),
            "roleMapping",
            "groupId: group { id } roleId: role { id } reason expiresAt",
        ),
        update("roleGrantUpdate", json!({ "id": grant }), "roleGrant", "reason expiresAt"),
        update(
            "apiKeyUpdate",
            json!({ "id": key }),
            "apiKey",
            "name expiresAt ownerUserId ownerSubject",
        ),
        update(
            "destinationUpdate",
            json!({ "id": destination }),
            "destination",
            "url description ownerUserId eventActions connectionIds: connections { id } payload \
             stream { receiverKeyId }",
        ),
        update(
            "reconciliationScheduleUpdate",
            json!({ "connectionId": push }),
            "connection",
            "intervalMinutes: reconciliationSchedule { intervalMinutes }",
        ),
    ]
}

/// Another value for a field of an update, and whether null takes it away (if not, it is refused).
fn values(mutation: &str, field: &str, other: &Value) -> Option<(Value, bool)> {
    let at = "2100-02-02T00:00:00Z";
    let soon = (chrono::Utc::now() + chrono::Duration::days(20)).to_rfc3339();
    Some(match (mutation, field) {
        ("organizationUpdate", "name") => (json!("Acme Ltd"), false),
        ("organizationUpdate", "scimEnabled") => (json!(false), false),
        ("organizationUpdate", "integrationMode") => (json!("ENTRA_NATIVE"), false),
        ("organizationUpdate", "verifiedDomains") => (json!(["acme.org"]), true),
        ("connectionUpdate", "name") => (json!("Other"), false),
        ("connectionUpdate", "provider") => (json!("OKTA"), false),
        ("connectionUpdate", "deletionPolicy") => (json!("HARD"), false),
        ("connectionUpdate", "adoptionPolicy") => (json!("REFUSE"), false),
        ("connectionUpdate", "revivalDays") => (json!(7), false),
        ("connectionUpdate", "announcesCursorPaging") => (json!(false), false),
        ("connectionUpdate", "pull") => (json!({ "shrinkPercent": 30 }), false),
        ("connectionUpdate", "pull.baseUrl") => (json!("https://example.com/scim/v3"), false),
        ("connectionUpdate", "pull.auth") => (json!("BEARER"), false),
        ("connectionUpdate", "pull.tokenUrl") => (json!("https://example.com/token2"), true),
        ("connectionUpdate", "pull.clientId") => (json!("d"), true),
        ("connectionUpdate", "pull.scope") => (json!("t"), true),
        ("connectionUpdate", "pull.secret") => (json!("y"), false),
        ("connectionUpdate", "pull.pageSize") => (json!(60), false),
        ("connectionUpdate", "pull.userFilter") => (json!("active eq false"), true),
        ("connectionUpdate", "pull.intervalMinutes") => (json!(90), true),
        ("connectionUpdate", "pull.incrementalMinutes") => (json!(20), true),
        ("connectionUpdate", "pull.shrinkPercent") => (json!(30), false),
        ("userUpdate", "userName") => (json!("ada2"), false),
        ("userUpdate", "emails") => (json!([{ "value": "ada@other.example" }]), true),
        ("userUpdate", "extensions") => {
            let attributes = json!({ "color": "green" });
            (json!([{ "urn": "urn:acme:1.0:Badge", "attributes": attributes }]), false)
        }
        ("userUpdate", _) => (json!(format!("new {field}")), true),
        ("groupUpdate", "displayName") => (json!("Other ward"), false),
        ("groupUpdate", "externalId") => (json!("g-2"), true),
        ("groupUpdate", "extensions") => {
            let attributes = json!({ "color": "green" });
            (json!([{ "urn": "urn:acme:1.0:Ward", "attributes": attributes }]), false)
        }
        ("roleUpdate", "name") => (json!("Doctor"), false),
        ("roleUpdate", "description") => (json!("other"), true),
        ("roleUpdate", "permissions") => (json!(["c"]), false),
        ("roleUpdate", "priority") => (json!(9), true),
        ("roleUpdate", "management") => (json!(false), false),
        ("roleMappingUpdate", "groupId" | "roleId") => (other[field].clone(), false),
        ("roleMappingUpdate" | "roleGrantUpdate", "reason") => (json!("other"), true),
        ("roleMappingUpdate" | "roleGrantUpdate", "expiresAt") => (json!(at), true),
        ("apiKeyUpdate", "name") => (json!("other"), false),
        ("apiKeyUpdate", "expiresAt") => (json!(soon), false),
        ("apiKeyUpdate", "ownerUserId") => (other["userId"].clone(), false),
        ("apiKeyUpdate", "ownerSubject") => (json!("eve"), false),
        ("destinationUpdate", "url") => (json!("https://receiver.invalid/two"), false),
        ("destinationUpdate", "description") => (json!("Payroll"), false),
        ("destinationUpdate", "ownerUserId") => (other["userId"].clone(), true),
        ("destinationUpdate", "eventActions") => (json!(["ORGANIZATION_RESUMED"]), true),
        ("destinationUpdate", "connectionIds") => (json!([other["connectionId"]]), true),
        ("destinationUpdate", "payload") => (json!("FULL"), false),
        ("destinationUpdate", "receiverKeyId") => (other["apiKeyId"].clone(), true),
        ("reconciliationScheduleUpdate", "intervalMinutes") => (json!(90), true),
        _ => return None,
    })
}

/// Fields that name the object or guard the update; and those of connections of another kind, which
/// tests/it/assertions tries.
const NOT_CHANGED: [&str; 5] = ["id", "connectionId", "expectedVersion", "assertion", "claims"];

/// The fields of an input, with those of nested updates.
fn optional_fields(schema: &Schema, input: &str, prefix: &str) -> Vec<String> {
    let Shape::Input(fields) = schema.shape(input) else { panic!("{input}") };
    let mut names = Vec::new();
    for field in fields.iter().filter(|field| !NOT_CHANGED.contains(&field.name.as_str())) {
        names.push(format!("{prefix}{}", field.name));
        let inner = named(&field.ty);
        if inner.ends_with("UpdateInput") {
            names.extend(optional_fields(schema, inner, &format!("{prefix}{}.", field.name)));
        }
    }
    names
}

/// The object's values, each by the path of its field.
fn flatten(object: &Value) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        match value {
            Value::Object(inner) if name == "pull" => {
                flat.extend(inner.iter().map(|(key, value)| (format!("pull.{key}"), value.clone())))
            }
            Value::Object(inner) if name == "stream" => flat.extend(inner.clone()),
            value => drop(flat.insert(name.clone(), value.clone())),
        }
    }
    flat
}

/// The input that sets one field, perhaps of a nested update.
fn with_field(given: &Value, field: &str, value: &Value) -> Value {
    let mut input = given.clone();
    match field.split_once('.') {
        Some((outer, inner)) => {
            input[outer] = Value::Object(Map::from_iter([(inner.to_owned(), value.clone())]));
            // A secret goes only to the address that it was given for.
            if ["baseUrl", "tokenUrl", "auth"].contains(&inner) {
                input[outer]["secret"] = json!("x");
            }
            if inner == "auth" {
                for name in ["tokenUrl", "clientId", "scope"] {
                    input[outer][name] = Value::Null;
                }
            }
        }
        None => input[field] = value.clone(),
    }
    input
}

#[test]
fn source_is_shown_as_a_whole() {
    let schema = Schema::new();
    let shown: Vec<&str> = SOURCE.split_whitespace().collect();
    let fields = optional_fields(&schema, "PullSourceUpdateInput", "");
    for field in fields.iter().filter(|field| *field != "secret") {
        assert!(shown.contains(&field.as_str()), "{field}");
    }
}

#[tokio::test]
async fn updates_change_what_they_name() {
    let schema = Schema::new();
    let mutations: Vec<_> = schema.fields("Mutation").iter().collect();
    let named_update = mutations.iter().filter(|field| field.name.ends_with("Update"));
    let mut missing: Vec<_> = named_update.map(|field| field.name.clone()).collect();
    // Each update in an organization of its own: what one has changed does not disturb the next.
    let world = World::new().await;
    let count = updates(&world.acme).await.len();
    world.end().await;
    for place in 0..count {
        let world = World::new().await;
        let tenant = &world.acme;
        let update = updates(tenant).await.swap_remove(place);
        missing.retain(|name| name != update.mutation);
        let other = mutate(tenant, "userCreate", json!({ "userName": "bob" }), "user { id }").await;
        let group =
            mutate(tenant, "groupCreate", json!({ "displayName": "B" }), "group { id }").await;
        let role = mutate(tenant, "roleCreate", json!({ "name": "B" }), "role { id }").await;
        let key = json!({ "name": "receiver", "permissions": ["SIGNAL_RECEIVE"] });
        let key = mutate(tenant, "apiKeyIssue", key, "apiKey { id }").await;
        let other = json!({ "apiKeyId": key["apiKey"]["id"],
            "userId": other["user"]["id"], "groupId": group["group"]["id"],
            "roleId": role["role"]["id"], "connectionId": own_connection(tenant).await });
        let shown = format!("{} {{ {} }}", update.object, update.shown);
        let call = async |input: Value| mutate(tenant, update.mutation, input, &shown).await;
        // What gave access before is announced at some time of its own.
        let events = async || world.count(events_of_changes!(), []).await;
        let input =
            format!("{}{}Input", update.mutation[..1].to_uppercase(), &update.mutation[1..]);
        let before = events().await;
        let first = call(update.given.clone()).await;
        assert_eq!(first["userErrors"], json!([]), "{}: {first:#}", update.mutation);
        assert_eq!(events().await, before, "{}: nothing was to be changed", update.mutation);
        for field in optional_fields(&schema, &input, "") {
            let title = format!("{}: {field}", update.mutation);
            let (value, nullable) = values(update.mutation, &field, &other)
                .unwrap_or_else(|| panic!("{title}: give it a value in `values`"));
            let was = flatten(&call(update.given.clone()).await[update.object]);
            let done = call(with_field(&update.given, &field, &value)).await;
            assert_eq!(done["userErrors"], json!([]), "{title}: {done:#}");
            let is = flatten(&done[update.object]);
            check_change(&title, &field, &was, &is);
            // The type of this field does not allow null.
            if field == "extensions" {
                continue;
            }
            // Null takes the value away, or is refused with the path to the field.
            let null = call(with_field(&update.given, &field, &Value::Null)).await;
            let after = flatten(&call(update.given.clone()).await[update.object]);
            let needed = ["pull.tokenUrl", "pull.clientId"].contains(&field.as_str());
            if nullable && !needed {
                assert_eq!(null["userErrors"], json!([]), "{title}: {null:#}");
                let gone = after.get(&field).is_none_or(|value| {
                    // Without a display name, the user name is shown.
                    let replaced = field == "displayName" && Some(value) == after.get("userName");
                    value.is_null() || replaced || value.as_array().is_some_and(Vec::is_empty)
                });
                assert!(gone, "{title}: {after:#?}");
                check_change(&title, &field, &is, &after);
            } else {
                let mut path = vec!["input"];
                path.extend(field.split('.'));
                let mistake = &null["userErrors"][0];
                assert_eq!(mistake["path"], json!(path), "{title}: {null:#}");
                assert_eq!(mistake["reason"], "REQUIRED", "{title}: {null:#}");
                assert_eq!(after, is, "{title}: nothing changes");
            }
            // Back to a value that other fields may need.
            if nullable || field == "pull.auth" {
                restore(&update, &call, &was).await;
            }
            if update.mutation == "organizationUpdate" && field == "integrationMode" {
                call(json!({ "integrationMode": "SCIM" })).await;
            }
        }
        world.end().await;
    }
    assert!(missing.is_empty(), "these updates are not tried: {missing:?}");
}

/// Sets what a source needs as it was before.
async fn restore(
    update: &Update,
    call: &impl AsyncFn(Value) -> Value,
    was: &BTreeMap<String, Value>,
) {
    if update.mutation != "connectionUpdate" {
        return;
    }
    let mut pull = json!({ "secret": "x" });
    for (name, value) in was {
        if let Some(inner) = name.strip_prefix("pull.") {
            pull[inner] = value.clone();
        }
    }
    let mut input = update.given.clone();
    input["pull"] = pull;
    let done = call(input).await;
    assert_eq!(done["userErrors"], json!([]), "{done:#}");
}

/// Only `field` has changed; with it the document of an account.
fn check_change(
    title: &str,
    field: &str,
    was: &BTreeMap<String, Value>,
    is: &BTreeMap<String, Value>,
) {
    let mut expected: Vec<&str> = vec![field, "attributes"];
    match field {
        "pull" => expected.push("pull.shrinkPercent"),
        "pull.auth" => expected.extend(["pull.tokenUrl", "pull.clientId", "pull.scope"]),
        "ownerUserId" | "ownerSubject" => expected.extend(["ownerUserId", "ownerSubject"]),
        _ => {}
    }
    let names: std::collections::BTreeSet<_> = was.keys().chain(is.keys()).collect();
    for name in names.into_iter().filter(|name| was.get(*name) != is.get(*name)) {
        assert!(expected.contains(&name.as_str()), "{title} changed {name}: {was:#?} {is:#?}");
    }
}

#[tokio::test]
async fn extension_values_are_merged() {
    let world = World::new().await;
    let tenant = &world.acme;
    let extend = json!({ "urn": "urn:acme:1.0:Badge", "resource": "USER", "name": "Badge",
        "attributes": [{ "name": "number", "type": "INTEGER" }, { "name": "color" }] });
    mutate(tenant, "schemaExtensionRegister", extend, "__typename").await;
    let badge =
        |attributes: Value| json!([{ "urn": "urn:acme:1.0:Badge", "attributes": attributes }]);
    let input = json!({ "userName": "ada", "extensions": badge(json!({ "number": 7 })) });
    let made = mutate(tenant, "userCreate", input, "user { id attributes }").await;
    assert_eq!(made["userErrors"], json!([]), "{made:#}");
    let shown = |payload: &Value| payload["user"]["attributes"]["urn:acme:1.0:Badge"].clone();
    assert_eq!(shown(&made), json!({ "number": 7 }));
    let id = made["user"]["id"].clone();
    let update = async |extensions: Value| {
        let input = json!({ "id": id, "extensions": extensions });
        mutate(tenant, "userUpdate", input, "user { attributes }").await
    };
    let more = update(badge(json!({ "color": "red" }))).await;
    assert_eq!(shown(&more), json!({ "number": 7, "color": "red" }), "{more:#}");
    let less = update(badge(json!({ "number": null }))).await;
    assert_eq!(shown(&less), json!({ "color": "red" }), "{less:#}");
    let wrong = update(badge(json!({ "number": "seven" }))).await;
    assert_eq!(
        wrong["userErrors"][0]["path"],
        json!(["input", "extensions", "0", "attributes", "number"]),
        "{wrong:#}"
    );
    let unknown = update(json!([{ "urn": "urn:other", "attributes": {} }])).await;
    assert_eq!(
        unknown["userErrors"][0]["path"],
        json!(["input", "extensions", "0", "urn"]),
        "{unknown:#}"
    );
    // Over SCIM it is the same document.
    let listed = world.scim().ids("/Users").await;
    assert!(listed.is_empty(), "an account by hand belongs to no connection");
    world.end().await;
}

#[tokio::test]
async fn connected_group_keeps_its_external_id() {
    let world = World::new().await;
    world.scim().group("Ward", &[]).await;
    let groups = "{ organization { groups(first: 1) { nodes { id } } } }";
    let groups = world.graphql(groups, json!({})).await;
    let id = &groups["data"]["organization"]["groups"]["nodes"][0]["id"];
    let input = json!({ "id": id, "externalId": "mine" });
    let refused = mutate(&world.acme, "groupUpdate", input, "group { id }").await;
    assert_eq!(refused["userErrors"][0]["path"], json!(["input", "externalId"]), "{refused:#}");
    assert_eq!(refused["userErrors"][0]["reason"], "READ_ONLY", "{refused:#}");
    world.end().await;
}
