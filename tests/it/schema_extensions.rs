//! An organization registers attributes of its own over GraphQL, and SCIM accepts them from the
//! next request on.

use serde_json::json;

use crate::world::World;

const WARD: &str = "urn:example:params:scim:schemas:extension:ward:2.0:User";

const REGISTER: &str = r#"mutation($input: SchemaExtensionRegisterInput!) {
    schemaExtensionRegister(input: $input) { schemaExtension { id urn attributes { name type } } userErrors { code path message } } }"#;

fn ward() -> serde_json::Value {
    json!({ "input": {
        "urn": WARD, "resource": "USER", "name": "Ward",
        "attributes": [
            { "name": "badge", "type": "STRING", "caseExact": true },
            { "name": "beds", "type": "INTEGER" },
            { "name": "locker", "returned": "REQUEST" },
            { "name": "shifts", "type": "COMPLEX", "multiValued": true,
              "subAttributes": [{ "name": "value" }, { "name": "night", "type": "BOOLEAN" }] },
        ],
    }})
}

#[tokio::test]
async fn extension_attributes_work_like_core_attributes() {
    let world = World::new().await;
    let scim = world.scim();

    // An attribute that is not registered is ignored and not stored.
    let body = |name: &str, badge: serde_json::Value| json!({ "userName": name, WARD: badge });
    let early = scim.post("/Users", body("early@x.org", json!({ "badge": "A1" }))).await;
    assert_eq!(early.status, 201);
    assert_eq!(early.body.get(WARD), None);

    let done = world.graphql(REGISTER, ward()).await;
    assert_eq!(done["data"]["schemaExtensionRegister"]["userErrors"], json!([]), "{done}");
    let id = done["data"]["schemaExtensionRegister"]["schemaExtension"]["id"].clone();

    // The schema lists it.
    let schemas = scim.get("/Schemas").await;
    assert!(
        schemas.body["Resources"].as_array().unwrap().iter().any(|schema| schema["id"] == WARD)
    );
    let types = scim.get("/ResourceTypes/User").await;
    assert!(
        types.body["schemaExtensions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["schema"] == WARD)
    );

    // Values are stored, validated and filtered by its own rules.
    let values = json!({ "badge": "A1", "beds": 4, "locker": "7", "shifts": [{ "value": "mon", "night": true }] });
    let nurse = scim.post("/Users", body("nurse@x.org", values)).await;
    assert_eq!(nurse.status, 201, "{}", nurse.body);
    assert_eq!(nurse.body[WARD]["beds"], 4);
    assert_eq!(nurse.body[WARD].get("locker"), None, "returned on request only");
    let wrong = scim.post("/Users", body("wrong@x.org", json!({ "beds": "many" }))).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.body["scimType"].as_str()),
        (400, Some("invalidValue"))
    );
    for (filter, hits) in [
        (format!("{WARD}:badge eq \"A1\""), 1),
        (format!("{WARD}:badge eq \"a1\""), 0),
        (format!("{WARD}:beds ge 4"), 1),
        (format!("{WARD}:shifts[night eq true].value eq \"MON\""), 1),
    ] {
        let found = scim
            .get(&format!("/Users?filter={}", filter.replace(' ', "%20").replace('"', "%22")))
            .await;
        assert_eq!(found.body["totalResults"], hits, "{filter}: {}", found.body);
    }
    let path = format!("/Users/{}", nurse.body["id"].as_str().unwrap());
    let asked = scim.get(&format!("{path}?attributes={WARD}:locker")).await;
    assert_eq!(asked.body[WARD], json!({ "locker": "7" }));
    let operation =
        json!({ "Operations": [{ "op": "replace", "path": format!("{WARD}:beds"), "value": 6 }] });
    assert_eq!(scim.patch(&path, operation["Operations"].clone()).await.body[WARD]["beds"], 6);

    // It cannot be removed while an account has values in it.
    let remove = "mutation($id: ID!) { schemaExtensionRemove(input: { id: $id }) { \
                  removedSchemaExtensionId userErrors { code } } }";
    let held = world.graphql(remove, json!({ "id": id })).await;
    assert_eq!(held["data"]["schemaExtensionRemove"]["userErrors"][0]["code"], "HELD", "{held}");
    let operation = json!({ "Operations": [{ "op": "remove", "path": WARD }] });
    assert_eq!(scim.patch(&path, operation["Operations"].clone()).await.status, 200);
    let gone = world.graphql(remove, json!({ "id": id })).await;
    assert_eq!(gone["data"]["schemaExtensionRemove"]["removedSchemaExtensionId"], id, "{gone}");
    assert_eq!(scim.get(&format!("/Schemas/{WARD}")).await.status, 404);
    world.end().await;
}

#[tokio::test]
async fn confusing_extensions_are_refused() {
    let world = World::new().await;
    let mut cases = Vec::new();
    for urn in ["ward", "urn:ietf:params:scim:schemas:core:2.0:User", "urn:x", "urn:a:b c:d"] {
        let mut input = ward();
        input["input"]["urn"] = urn.into();
        cases.push(input);
    }
    for attributes in [
        json!([]),
        json!([{ "name": "members" }]),
        json!([{ "name": "a b" }]),
        json!([{ "name": "a" }, { "name": "A" }]),
        json!([{ "name": "a", "type": "COMPLEX" }]),
    ] {
        let mut input = ward();
        input["input"]["attributes"] = attributes;
        cases.push(input);
    }
    for input in cases {
        let answer = world.graphql(REGISTER, input.clone()).await;
        let payload = &answer["data"]["schemaExtensionRegister"];
        assert_eq!(payload["userErrors"][0]["code"], "INVALID", "{input}: {answer}");
    }
    assert_eq!(
        world.graphql(REGISTER, ward()).await["data"]["schemaExtensionRegister"]["userErrors"],
        json!([])
    );
    let again = world.graphql(REGISTER, ward()).await;
    assert_eq!(again["data"]["schemaExtensionRegister"]["userErrors"][0]["code"], "TAKEN");
    world.end().await;
}

#[tokio::test]
async fn plain_values_are_wrapped_in_objects() {
    let world = World::new().await;
    let scim = world.scim();
    let input = json!({ "input": { "urn": WARD, "resource": "USER", "name": "Ward",
        "attributes": [{ "name": "keys", "type": "STRING", "multiValued": true }] } });
    let done = world.graphql(REGISTER, input).await;
    assert_eq!(done["data"]["schemaExtensionRegister"]["userErrors"], json!([]), "{done}");
    let wrapped = json!([{ "value": "1" }, { "Value": "2", "type": "door", "primary": true }, "3"]);
    let body = json!({ "userName": "ada", WARD: { "keys": wrapped } });
    let answer = scim.post("/Users", body.clone()).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body[WARD]["keys"]),
        (201, &json!(["1", "2", "3"]))
    );
    let path = format!("/Users/{}", answer.id());
    assert_eq!(scim.put(&path, body).await.is(200).body[WARD]["keys"], json!(["1", "2", "3"]));
    for (op, value, keys) in [
        ("add", json!([{ "value": "4" }]), json!(["1", "2", "3", "4"])),
        ("remove", json!([{ "value": "1" }, { "value": "4" }]), json!(["2", "3"])),
        ("replace", json!({ "value": "5" }), json!(["5"])),
    ] {
        let operation = json!([{ "op": op, "path": format!("{WARD}:keys"), "value": value }]);
        assert_eq!(scim.patch(&path, operation).await.is(200).body[WARD]["keys"], keys, "{op}");
    }
    let filtered = json!([{ "op": "replace", "path": format!("{WARD}:keys[value eq \"5\"]"), "value": [{ "value": "6" }] }]);
    assert_eq!(scim.patch(&path, filtered).await.is(200).body[WARD]["keys"], json!(["6"]));
    let other = json!({ "userName": "bob", WARD: { "keys": [{ "key": "1" }] } });
    scim.post("/Users", other).await.refused(400, Some("invalidValue"));
    world.end().await;
}

#[tokio::test]
async fn immutable_values_are_set_once() {
    let world = World::new().await;
    let scim = world.scim();
    for resource in ["USER", "GROUP"] {
        let urn = if resource == "USER" { WARD.to_owned() } else { WARD.replace("User", "Group") };
        let input = json!({ "input": { "urn": urn, "resource": resource, "name": "Ward", "attributes": [
            { "name": "badge", "mutability": "IMMUTABLE" },
            { "name": "keys", "mutability": "IMMUTABLE", "multiValued": true },
            { "name": "desk", "type": "COMPLEX",
              "subAttributes": [{ "name": "room", "mutability": "IMMUTABLE" }, { "name": "floor" }] },
            { "name": "shift" },
        ] } });
        let done = world.graphql(REGISTER, input).await;
        assert_eq!(done["data"]["schemaExtensionRegister"]["userErrors"], json!([]), "{done}");
        let endpoint = if resource == "USER" { "/Users" } else { "/Groups" };
        let body = |values: serde_json::Value| json!({ "userName": "ada", "displayName": "Ada", (urn.as_str()): values });
        let path =
            format!("{endpoint}/{}", scim.post(endpoint, body(json!({}))).await.is(201).id());
        let patch = |op: &str, name: &str, value: serde_json::Value| {
            let path = if name.is_empty() { urn.clone() } else { format!("{urn}:{name}") };
            json!([{ "op": op, "path": path, "value": value }])
        };
        let set =
            json!({ "badge": "A1", "keys": ["1", "2"], "desk": { "room": "7", "floor": "1" } });
        scim.patch(&path, patch("add", "", set.clone())).await.is(200);
        for (op, name, value) in [
            ("replace", "badge", json!("A2")),
            ("remove", "badge", json!(null)),
            ("add", "keys", json!(["3"])),
            ("replace", "keys", json!(["2"])),
            ("replace", "desk.room", json!("8")),
            ("remove", "desk.room", json!(null)),
            ("remove", "", json!(null)),
        ] {
            let answer = scim.patch(&path, patch(op, name, value)).await;
            answer.refused(400, Some("mutability"));
        }
        scim.put(&path, body(json!({ "badge": "A2" }))).await.refused(400, Some("mutability"));
        let bulk = json!({ "Operations": [{ "method": "PUT", "path": path, "data": body(json!({ "badge": "A2" })) }] });
        let bulk = scim.post("/Bulk", bulk).await.is(200).body;
        assert_eq!(bulk["Operations"][0]["response"]["scimType"], "mutability");
        assert_eq!(scim.get(&path).await.is(200).body[&urn], set);
        // The same value is no change, and a PUT that says nothing about it keeps it.
        scim.patch(&path, patch("replace", "badge", json!("A1"))).await.is(200);
        scim.patch(&path, patch("replace", "keys", json!(["2", "1"]))).await.is(200);
        scim.patch(&path, patch("replace", "desk.floor", json!("2"))).await.is(200);
        scim.put(&path, body(json!({ "shift": "night" }))).await.is(200);
        assert_eq!(
            scim.get(&path).await.is(200).body[&urn],
            json!({ "badge": "A1", "keys": ["2", "1"], "shift": "night" })
        );
    }
    world.end().await;
}

#[tokio::test]
async fn numbers_may_come_as_text() {
    let world = World::new().await;
    let scim = world.scim();
    let input = json!({ "input": { "urn": WARD, "resource": "USER", "name": "Ward", "attributes": [
        { "name": "beds", "type": "INTEGER" }, { "name": "hours", "type": "DECIMAL" }] } });
    let done = world.graphql(REGISTER, input).await;
    assert_eq!(done["data"]["schemaExtensionRegister"]["userErrors"], json!([]), "{done}");
    let body = json!({ "userName": "ada", WARD: { "beds": "4", "hours": " 7.5 " } });
    let ada = scim.post("/Users", body).await.is(201);
    assert_eq!(ada.body[WARD], json!({ "beds": 4, "hours": 7.5 }));
    let path = format!("/Users/{}", ada.id());
    let beds = |value: serde_json::Value| json!([{ "op": "replace", "path": format!("{WARD}:beds"), "value": value }]);
    assert_eq!(scim.patch(&path, beds(json!("-5"))).await.is(200).body[WARD]["beds"], -5);
    for wrong in [json!("five"), json!("1.5"), json!(""), json!("0x1"), json!("1 2")] {
        scim.patch(&path, beds(wrong)).await.refused(400, Some("invalidValue"));
    }
    for (filter, found) in [("beds eq \"-5\"", 1), ("beds gt \"0\"", 0), ("hours lt \"7.6\"", 1)] {
        let filter = format!("{WARD}:{filter}").replace(' ', "%20").replace('"', "%22");
        let page = scim.get(&format!("/Users?filter={filter}")).await.is(200).body;
        assert_eq!(page["totalResults"], found, "{filter}");
    }
    world.end().await;
}
