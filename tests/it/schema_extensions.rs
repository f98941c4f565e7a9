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
