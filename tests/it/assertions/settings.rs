//! Connections that accept sign-ins: made, changed, tested.

use serde_json::{Value, json};

use super::{connect, world};
use crate::issuers::{Issuer, Key, Page};
use crate::world::Tenant;

const SHOWN: &str = "connection { version hasCredentials assertionSource { groupIdentity \
    claimedGroups claimsExpireDays accountCreation oidc { issuer clientId audiences algorithms \
    discoveryUrl jwksUri skewSeconds scopes userInfo redirectUrls consolePermissions graph { baseUrl tokenUrl } \
    claims { subject userName email emailVerified displayName givenName familyName groups roles } \
    } } } userErrors { path reason message }";

async fn update(tenant: &Tenant, id: &str, input: Value) -> Value {
    let mut input = input;
    input["id"] = id.into();
    let mutation = format!(
        "mutation($i: ConnectionUpdateInput!) {{ connectionUpdate(input: $i) {{ {SHOWN} }} }}"
    );
    let done = tenant.graphql(&mutation, json!({ "i": input })).await;
    assert!(done["data"]["connectionUpdate"].is_object(), "{done:#}");
    done["data"]["connectionUpdate"].clone()
}

fn oidc(input: Value) -> Value {
    json!({ "assertion": { "oidc": input } })
}

#[tokio::test]
async fn left_out_stays_and_null_removes() {
    let world = world().await;
    let tenant = &world.acme;
    let settings = json!({ "issuer": "https://login.microsoftonline.com/8f1c/v2.0",
        "clientId": "app", "clientSecret": "s3cret" });
    let (id, _) = connect(tenant, "Entra", "ENTRA_ID", settings, json!({})).await;
    let first = update(tenant, &id, json!({})).await;
    let shown = &first["connection"];
    assert_eq!(shown["version"], 1, "nothing was to be changed: {first:#}");
    assert_eq!(shown["hasCredentials"], true);
    let source = &shown["assertionSource"];
    assert_eq!(source["groupIdentity"], "EXTERNAL_ID");
    assert_eq!(source["claimsExpireDays"], 30);
    assert_eq!(source["accountCreation"], "NONE");
    assert_eq!(source["oidc"]["audiences"], json!(["app"]));
    assert_eq!(source["oidc"]["algorithms"], json!(["RS256"]));
    assert_eq!(source["oidc"]["claims"]["subject"], "/oid");
    assert_eq!(source["oidc"]["userInfo"], "NEVER");
    // Each field changes alone; null takes it away, or is refused at its path.
    let changes = [
        ("audiences", json!(["app", "api://app"]), None),
        ("algorithms", json!(["RS256", "ES256"]), None),
        ("skewSeconds", json!(5), None),
        ("scopes", json!(["openid", "groups"]), None),
        ("userInfo", json!("WHEN_CLAIMS_MISSING"), None),
        ("redirectUrls", json!(["https://app.example/back"]), None),
        ("consolePermissions", json!(["IAM_READ"]), None),
        ("jwksUri", json!("https://login.example/keys"), Some(Value::Null)),
    ];
    for (field, value, removed) in changes {
        let before = update(tenant, &id, json!({})).await["connection"].clone();
        let done = update(tenant, &id, oidc(json!({ field: value }))).await;
        assert_eq!(done["userErrors"], json!([]), "{field}: {done:#}");
        let mut expected = before.clone();
        expected["version"] = (before["version"].as_i64().unwrap() + 1).into();
        expected["assertionSource"]["oidc"][field] = value;
        assert_eq!(done["connection"], expected, "{field}");
        let null = update(tenant, &id, oidc(json!({ field: null }))).await;
        match removed {
            Some(gone) => {
                assert_eq!(null["connection"]["assertionSource"]["oidc"][field], gone, "{field}");
            }
            None => {
                let path = json!(["input", "assertion", "oidc", field]);
                assert_eq!(null["userErrors"][0]["path"], path, "{null:#}");
                assert_eq!(null["userErrors"][0]["reason"], "REQUIRED", "{null:#}");
            }
        }
    }
    // Names of claims, one by one, and all back to the preset.
    let claims = json!({ "groups": null, "roles": "/roles" });
    let done = update(tenant, &id, oidc(json!({ "claims": claims }))).await;
    let named = &done["connection"]["assertionSource"]["oidc"]["claims"];
    assert_eq!((&named["groups"], &named["roles"]), (&Value::Null, &json!("/roles")), "{done:#}");
    assert_eq!(named["subject"], "/oid");
    let done = update(tenant, &id, oidc(json!({ "claims": null }))).await;
    let named = &done["connection"]["assertionSource"]["oidc"]["claims"];
    assert_eq!((&named["groups"], &named["roles"]), (&json!("/groups"), &Value::Null), "{done:#}");
    let wrong = json!({ "claims": { "groups": "groups" } });
    let wrong = update(tenant, &id, oidc(wrong)).await;
    let path = json!(["input", "assertion", "oidc", "claims", "groups"]);
    assert_eq!(wrong["userErrors"][0]["path"], path, "{wrong:#}");
    // What claims may do.
    let rules = json!({ "claimedGroups": ["a", "b"], "claimsExpireDays": null,
        "accountCreation": "CREATE", "groupIdentity": "ID" });
    let done = update(tenant, &id, json!({ "claims": rules })).await;
    let source = &done["connection"]["assertionSource"];
    assert_eq!(source["claimedGroups"], json!(["a", "b"]), "{done:#}");
    assert_eq!(source["claimsExpireDays"], Value::Null);
    assert_eq!(source["accountCreation"], "CREATE");
    let none = update(tenant, &id, json!({ "claims": { "claimedGroups": [] } })).await;
    let path = json!(["input", "claims", "claimedGroups"]);
    assert_eq!(none["userErrors"][0]["path"], path, "absence is not empty: {none:#}");
    let wrong = json!({ "claims": { "claimedGroups": ["fine", " ", "good", ""] } });
    let wrong = update(tenant, &id, wrong).await;
    let places = ["1", "3"].map(|place| json!(["input", "claims", "claimedGroups", place]));
    let found = wrong["userErrors"].as_array().unwrap().iter().map(|error| error["path"].clone());
    assert_eq!(found.collect::<Vec<_>>(), places, "{wrong:#}");
    let urls = json!(["https://app.example/a", "ftp://app.example"]);
    let wrong = json!({ "redirectUrls": urls, "audiences": ["a b", "fine"] });
    let wrong = update(tenant, &id, oidc(wrong)).await;
    let places = [("audiences", "0"), ("redirectUrls", "1")];
    let places = places.map(|(list, place)| json!(["input", "assertion", "oidc", list, place]));
    let found = wrong["userErrors"].as_array().unwrap().iter().map(|error| error["path"].clone());
    assert_eq!(found.collect::<Vec<_>>(), places, "{wrong:#}");
    let all = update(tenant, &id, json!({ "claims": { "claimedGroups": null } })).await;
    assert_eq!(all["connection"]["assertionSource"]["claimedGroups"], Value::Null, "{all:#}");
    world.end().await;
}

#[tokio::test]
async fn secret_goes_to_its_own_address_only() {
    let world = world().await;
    let tenant = &world.acme;
    let settings = json!({ "issuer": "https://login.example/8f1c/v2.0", "clientId": "app",
        "clientSecret": "s3cret", "graph": {} });
    let (id, _) = connect(tenant, "Entra", "ENTRA_ID", settings, json!({})).await;
    let moves = [
        json!({ "issuer": "https://evil.example" }),
        json!({ "discoveryUrl": "https://evil.example/discovery" }),
        json!({ "graph": { "tokenUrl": "https://evil.example/token" } }),
        // The token that the secret gives goes there.
        json!({ "graph": { "baseUrl": "https://evil.example/v1.0" } }),
    ];
    for change in moves {
        let refused = update(tenant, &id, oidc(change.clone())).await;
        let path = json!(["input", "assertion", "oidc", "clientSecret"]);
        assert_eq!(refused["userErrors"][0]["path"], path, "{change}: {refused:#}");
        let mut again = change;
        again["clientSecret"] = "other".into();
        let done = update(tenant, &id, oidc(again)).await;
        assert_eq!(done["userErrors"], json!([]), "{done:#}");
    }
    let gone = update(tenant, &id, oidc(json!({ "clientSecret": null }))).await;
    assert_eq!(gone["connection"]["hasCredentials"], false, "{gone:#}");
    let payloads = world.rows("SELECT payload FROM event", []).await;
    assert!(!payloads.iter().any(|row| row.to_string().contains("s3cret")));
    let stored = world.rows("SELECT settings FROM assertion_source", []).await;
    assert!(!stored.iter().any(|row| row.to_string().contains("s3cret")));
    world.end().await;
}

#[tokio::test]
async fn test_says_which_step_fails() {
    let world = world().await;
    let issuer = Issuer::start().await;
    let key = Key::new("RS256", "one");
    issuer.publishes(&[&key]);
    let settings = json!({ "issuer": issuer.url, "clientId": "app" });
    let (id, _) = connect(&world.acme, "Sign-in", "GENERIC", settings, json!({})).await;
    let steps = async || {
        let test = "mutation($c: ID!) { assertionSourceTest(input: { connectionId: $c }) { ok \
                    steps { probe ok nextStep } userErrors { message } } }";
        let done = world.graphql(test, json!({ "c": id })).await;
        let done = &done["data"]["assertionSourceTest"];
        let steps = done["steps"].as_array().unwrap_or_else(|| panic!("{done:#}"));
        let steps: Vec<_> = steps
            .iter()
            .map(|step| {
                assert_eq!(step["ok"], step["nextStep"].is_null(), "{step}");
                (step["probe"].as_str().unwrap().to_owned(), step["ok"] == true)
            })
            .collect();
        (done["ok"] == true, steps)
    };
    let step = |name: &str, ok: bool| (name.to_owned(), ok);
    assert_eq!(steps().await, (true, vec![step("DISCOVERY", true), step("KEYS", true)]));
    issuer.shows("/keys", Page::Down);
    assert_eq!(steps().await, (false, vec![step("DISCOVERY", true), step("KEYS", false)]));
    issuer.publishes(&[&Key::new("EdDSA", "one")]);
    assert_eq!(steps().await, (false, vec![step("DISCOVERY", true), step("KEYS", false)]));
    // Each sign-in is to ask an endpoint that there is not.
    let always = update(&world.acme, &id, oidc(json!({ "userInfo": "ALWAYS" }))).await;
    assert_eq!(always["userErrors"], json!([]), "{always:#}");
    assert_eq!(steps().await, (false, vec![step("DISCOVERY", false)]));
    update(&world.acme, &id, oidc(json!({ "userInfo": "NEVER" }))).await;
    let foreign = json!({ "issuer": "https://other.example", "jwks_uri": issuer.url });
    issuer.shows("/.well-known/openid-configuration", Page::Json(foreign));
    assert_eq!(steps().await, (false, vec![step("DISCOVERY", false)]));
    // A connection of another kind has no identity provider to test.
    let push = "{ organization { connections(first: 1, filter: { kinds: [SCIM_PUSH] }) { nodes { \
                id assertionSource { protocol } } } } }";
    let push = world.graphql(push, json!({})).await;
    let push = &push["data"]["organization"]["connections"]["nodes"][0];
    assert_eq!(push["assertionSource"], Value::Null, "{push:#}");
    let test = "mutation($c: ID!) { assertionSourceTest(input: { connectionId: $c }) { steps { ok \
                } userErrors { path } } }";
    let done = world.graphql(test, json!({ "c": push["id"] })).await;
    let path = &done["data"]["assertionSourceTest"]["userErrors"][0]["path"];
    assert_eq!(*path, json!(["input", "connectionId"]), "{done:#}");
    world.end().await;
}
