//! Calls along the management API's own schema, with a value of the test's choice at one position.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::bulk;
use crate::lists::filters::Case as FilterCase;
use crate::sdl::{Field, Route, Schema};
use crate::world::Tenant;

/// A global id of each type in an organization.
pub type Ids = BTreeMap<String, String>;

/// What the story of one kind of thing adds to the tests that look at all kinds.
pub struct KindStory {
    /// The type's name in the schema.
    pub kind: &'static str,
    /// Makes one in an organization, called `name`; returns its global id.
    pub furnish: for<'a> fn(&'a Tenant, &'a str) -> BoxFuture<'a, String>,
    /// The fields of its filter, tried on what `furnish` has made.
    pub filter_cases: &'static [FilterCase],
    /// The fields of its filter that its own tests try: the filter, the field, and where.
    pub filters_tried_elsewhere: &'static [(&'static str, &'static str, &'static str)],
}

/// Creates one object of each type in an organization, all called `name`.
pub async fn furnish(tenant: &Tenant, name: &str) -> Ids {
    let user = tenant.scim.user(&format!("{name}.person")).await;
    tenant.scim.group(&format!("{name} group"), &[user]).await;
    let gone = tenant.scim.user(&format!("{name}.gone")).await;
    tenant.scim.delete(&format!("/Users/{gone}")).await.is(204);
    let gone = tenant.scim.group(&format!("{name} closed"), &[]).await;
    tenant.scim.delete(&format!("/Groups/{gone}")).await.is(204);
    let made = tenant.graphql(
        "mutation($n: String!) { roleCreate(input: { name: $n }) { role { id } } }",
        json!({ "n": name }),
    );
    let role = made.await["data"]["roleCreate"]["role"]["id"].clone();
    let seen =
        tenant.graphql("{ organization { groups(first: 1) { nodes { id } } } }", json!({})).await;
    let group = &seen["data"]["organization"]["groups"]["nodes"][0]["id"];
    let map = "mutation($g: ID!, $r: ID!) { roleMappingCreate(input: { groupId: $g, roleId: $r }) \
               { roleMapping { id } } }";
    tenant.graphql(map, json!({ "g": group, "r": role })).await;
    let people =
        tenant.graphql("{ organization { users(first: 1) { nodes { id } } } }", json!({})).await;
    let person = &people["data"]["organization"]["users"]["nodes"][0]["id"];
    let edit = json!([{ "createGrant": { "userId": person, "roleId": role } }]);
    let preview = "mutation($e: [AccessEditInput!]!) { accessPreview(input: { edits: $e }) { \
                   preview { id } } }";
    let preview = tenant.graphql(preview, json!({ "e": edit })).await["data"]["accessPreview"]["preview"]["id"].clone();
    let grant = "mutation($u: ID!, $r: ID!) { roleGrantCreate(input: { userId: $u, roleId: $r }) \
                 { roleGrant { id } } }";
    let grant = tenant.graphql(grant, json!({ "u": person, "r": role })).await;
    assert!(grant["data"]["roleGrantCreate"]["roleGrant"]["id"].is_string(), "{grant:#}");
    // An account made by hand that the identity provider would also create.
    let by_hand =
        "mutation($n: String!) { userCreate(input: { userName: $n }) { userErrors { message } } }";
    tenant.graphql(by_hand, json!({ "n": format!("{name}.by.hand") })).await;
    tenant.scim.post("/Users", json!({ "userName": format!("{name}.by.hand") })).await.is(409);
    let extend = "mutation($u: String!, $n: String!) { schemaExtensionRegister(input: {
        urn: $u, resource: USER, name: $n, attributes: [{ name: \"badge\" }] }) { userErrors { \
            message } } }";
    let registered =
        tenant.graphql(extend, json!({ "u": format!("urn:{name}:1.0:Badge"), "n": name })).await;
    assert_eq!(
        registered["data"]["schemaExtensionRegister"]["userErrors"],
        json!([]),
        "{registered:#}"
    );
    let all = "{ organization { SchemaExtension: schemaExtensions { id }
        AdoptionProposal: adoptionProposals(first: 1) { nodes { id } } Failure: failures(first: 1) { nodes { id } } Organization: id __typename
        IdentitySource: connections(first: 1) { nodes { id tokens { id } } } User: users(first: 1) { nodes { id } }
        Group: groups(first: 1) { nodes { id } } Role: roles(first: 1) { nodes { id } }
        RoleMapping: roleMappings(first: 1) { nodes { id } } RoleGrant: roleGrants(first: 1) { nodes { id } } ApiKey: apiKeys(first: 1) { nodes { id } }
        Event: events(first: 1) { nodes { id } } } }";
    let answer = tenant.graphql(all, json!({})).await;
    let found = answer["data"]["organization"].as_object().unwrap_or_else(|| panic!("{answer:#}"));
    let mut ids = Ids::new();
    for (kind, value) in found.iter().filter(|(kind, _)| *kind != "__typename") {
        let id = value
            .as_str()
            .or_else(|| value["nodes"][0]["id"].as_str())
            .or_else(|| value[0]["id"].as_str());
        ids.insert(
            kind.clone(),
            id.unwrap_or_else(|| panic!("no {kind} in {answer:#}")).to_owned(),
        );
    }
    let token = &found["IdentitySource"]["nodes"][0]["tokens"][0]["id"];
    ids.insert("ScimToken".into(), token.as_str().unwrap().to_owned());
    ids.insert("AccessPreview".into(), preview.as_str().unwrap().to_owned());
    let job =
        bulk::upload(tenant, "{\"operation\": \"roleDelete\", \"input\": {\"id\": \"none\"}}")
            .await
            .is(202);
    let job = job.body["bulkJob"]["id"].as_str().unwrap().to_owned();
    // The job must have ended: its background work would look like an effect of a call.
    bulk::ended(tenant, &job).await;
    ids.insert("BulkJob".into(), job);
    // A deletion of the accounts of a connection that has none.
    let make =
        "mutation($n: String!) { connectionCreate(input: { name: $n }) { connection { id } } }";
    let made = tenant.graphql(make, json!({ "n": format!("{name} empty") })).await;
    let empty = &made["data"]["connectionCreate"]["connection"]["id"];
    let delete = "mutation($c: ID!) { provisionedUsersDelete(input: { connectionId: $c, \
                  confirmCount: 0 }) { job { id } } }";
    let begun = tenant.graphql(delete, json!({ "c": empty })).await;
    let deletion = begun["data"]["provisionedUsersDelete"]["job"]["id"].clone();
    let look = "query($j: ID!) { node(id: $j) { ... on DeletionJob { state } } }";
    while tenant.graphql(look, json!({ "j": deletion })).await["data"]["node"]["state"]
        != "SUCCEEDED"
    {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    ids.insert("DeletionJob".into(), deletion.as_str().unwrap().to_owned());
    let make = "mutation($c: ID!) { setupLinkCreate(input: { connectionId: $c }) { setupLink { id } \
                userErrors { message } } }";
    let made = tenant.graphql(make, json!({ "c": ids["IdentitySource"] })).await;
    let link = made["data"]["setupLinkCreate"]["setupLink"]["id"].as_str();
    ids.insert("SetupLink".into(), link.unwrap_or_else(|| panic!("{made:#}")).to_owned());
    // A source that no server reads, because its address is not public.
    let make = "mutation($n: String!) { connectionCreate(input: { name: $n, pull: {
        baseUrl: \"http://127.0.0.1:9/scim/v2\", secret: \"x\" } }) { connection { id } } }";
    let made = tenant.graphql(make, json!({ "n": format!("{name} source") })).await;
    let id = &made["data"]["connectionCreate"]["connection"]["id"];
    let start = "mutation($c: ID!) { syncStart(input: { connectionId: $c }) { syncRun { id } } }";
    let run = tenant.graphql(start, json!({ "c": id })).await["data"]["syncStart"]["syncRun"]["id"]
        .clone();
    crate::sync::ended(tenant, &run).await;
    ids.insert("SyncRun".into(), run.as_str().unwrap().to_owned());
    let export = format!("userName,title\n{name}.person,Nurse\n{name}.missing,\n");
    let compared =
        crate::reconcile::upload(tenant, &ids["IdentitySource"], "kind=users", "text/csv", export)
            .await
            .is(200);
    ids.insert(
        "Reconciliation".into(),
        compared.body["reconciliation"]["id"].as_str().unwrap().to_owned(),
    );
    let found =
        tenant.graphql("{ organization { findings(first: 1) { nodes { id } } } }", json!({})).await;
    let finding = &found["data"]["organization"]["findings"]["nodes"][0]["id"];
    ids.insert("Finding".into(), finding.as_str().unwrap().to_owned());
    let (destination, delivery) = crate::webhooks::furnish(tenant, name).await;
    ids.insert("Destination".into(), destination);
    ids.insert("Delivery".into(), delivery);
    let add = "mutation($a: String!) { mailRecipientAdd(input: { address: $a }) { \
               mailRecipient { id } } }";
    let added = tenant.graphql(add, json!({ "a": format!("{name}@alerts.example") })).await;
    let recipient = &added["data"]["mailRecipientAdd"]["mailRecipient"]["id"];
    ids.insert("MailRecipient".into(), recipient.as_str().unwrap().to_owned());
    for story in crate::KIND_STORIES {
        ids.insert(story.kind.into(), (story.furnish)(tenant, name).await);
    }
    let invite = "mutation($e: String!, $r: [ID!]) { invitationCreate(input: { email: $e, roles: $r \
                  }) { invitation { id } userErrors { message } } }";
    let address = format!("{name}@guests.example");
    let invited = tenant.graphql(invite, json!({ "e": address, "r": [role] })).await;
    let invitation = &invited["data"]["invitationCreate"]["invitation"]["id"];
    let invitation = invitation.as_str().unwrap_or_else(|| panic!("{invited:#}"));
    ids.insert("Invitation".into(), invitation.to_owned());
    // An export raises an alert as soon as the rules are evaluated.
    let url =
        tenant.graphql.replace("/graphql", "/evidence/mappings.csv?from=2026-01-01T00:00:00Z");
    let exported = tenant.scim.http.get(url).bearer_auth(&tenant.api_key).send().await.unwrap();
    exported.text().await.unwrap();
    let set = "mutation($t: Int!) { alertRuleSet(input: { kind: COMPARISON_MISSING, \
               threshold: $t }) { userErrors { message } } }";
    tenant.graphql(set, json!({ "t": 30 + name.len() })).await;
    let alerts = "{ organization { alerts(first: 1, filter: { kinds: [EXPORT_MADE] }) { \
                  nodes { id } } } }";
    let alert = loop {
        let seen = tenant.graphql(alerts, json!({})).await;
        let id = &seen["data"]["organization"]["alerts"]["nodes"][0]["id"];
        if let Some(id) = id.as_str() {
            break id.to_owned();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    ids.insert("Alert".into(), alert);
    for kind in Schema::new().nodes() {
        assert!(
            ids.contains_key(kind),
            "a new kind of thing has ids: say in `KIND_STORIES` how to make a {kind}"
        );
    }
    ids
}

/// The type that an id stands for: by the argument's name, or else by the field.
pub fn kind_of(field: &str, argument: &str) -> &'static str {
    let meant = if argument == "id" || argument == "ids" { field } else { argument };
    let prefixes = [
        ("bulkJob", "BulkJob"),
        ("alert", "Alert"),
        ("mailRecipient", "MailRecipient"),
        ("job", "SyncRun"),
        ("syncStart", "IdentitySource"),
        ("sync", "SyncRun"),
        ("connection", "IdentitySource"),
        ("pullSource", "IdentitySource"),
        ("failure", "Failure"),
        ("finding", "Finding"),
        ("reconciliation", "Reconciliation"),
        ("adoptionProposal", "AdoptionProposal"),
        ("schemaExtension", "SchemaExtension"),
        ("scimToken", "ScimToken"),
        ("scimSelfTest", "IdentitySource"),
        ("setupLink", "SetupLink"),
        ("apiKey", "ApiKey"),
        ("destination", "Destination"),
        ("delivery", "Delivery"),
        ("invitation", "Invitation"),
        ("actor", "IdentitySource"),
        ("roleMapping", "RoleMapping"),
        ("roleGrant", "RoleGrant"),
        ("preview", "AccessPreview"),
        ("mapping", "RoleMapping"),
        ("role", "Role"),
        ("group", "Group"),
        ("event", "Event"),
        ("organization", "Organization"),
    ];
    let by_story = crate::KIND_STORIES.iter().map(|story| story.kind).find(|kind| {
        let first = kind[..1].to_lowercase();
        meant.strip_prefix(&first).is_some_and(|rest| rest.starts_with(&kind[1..]))
    });
    by_story.unwrap_or_else(|| {
        let found = prefixes.iter().find(|(prefix, _)| meant.starts_with(prefix));
        found.map_or("User", |(_, kind)| kind)
    })
}

/// Whether a payload, or the result of one item of a batch in it, names a mistake.
pub fn has_mistakes(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(name, inner)| match inner {
            Value::Array(errors) if name == "userErrors" => !errors.is_empty(),
            _ => has_mistakes(inner),
        }),
        Value::Array(items) => items.iter().any(has_mistakes),
        _ => false,
    }
}

/// The codes of an answer's errors.
pub fn codes(answer: &Value) -> Vec<&str> {
    let errors = answer["errors"].as_array().into_iter().flatten();
    errors.map(|error| error["extensions"]["code"].as_str().unwrap_or("none")).collect()
}

/// The caller is acme, with ids of its own wherever else an id is needed.
pub struct Walk<'a> {
    pub schema: Schema,
    pub acme: &'a Tenant,
    pub own: Ids,
    /// The credential of the calls.
    pub key: String,
    /// How deep answers are read.
    pub depth: usize,
}

impl<'a> Walk<'a> {
    /// Calls with acme's own key, which has all permissions there.
    pub fn new(acme: &'a Tenant, own: Ids) -> Self {
        Self { schema: Schema::new(), acme, own, key: acme.api_key.clone(), depth: 2 }
    }

    /// Calls `field`, at the end of `route`, with `value` at `place`. Returns a title for messages,
    /// the field's part of the answer, and the whole answer.
    pub async fn call(
        &self,
        kind: &str,
        route: &Route,
        field: &Field,
        place: &[String],
        value: &Value,
    ) -> (String, Value, Value) {
        let title = format!("{kind} {}: {}", field.name, place.join("."));
        let own = |name: &str| self.own[kind_of(&field.name, name)].clone();
        let arguments = self.schema.values(&field.arguments, place, value, &own);
        // Fields that may return any type are read less deeply: all types together would make too
        // long a document.
        let depth = if field.name.starts_with("node") { self.depth.min(1) } else { self.depth };
        let operation = self.schema.operation(kind, route, field, &arguments, depth);
        let answer = self.acme.graphql_as(&self.key, &[], &operation, arguments.into()).await.body;
        // A value that does not fit its type is refused before anything runs.
        let is_too_large = value.as_i64().is_some_and(|number| i32::try_from(number).is_err());
        let executed = answer.get("data").is_some()
            || codes(&answer) == ["BAD_USER_INPUT"]
            || (is_too_large && codes(&answer) == ["GRAPHQL_VALIDATION_FAILED"]);
        assert!(executed, "{title} was not executed: {answer:#}\n{operation}");
        let step = |value: &'_ Value, step: &String| {
            let value = &value[step.split('(').next().unwrap_or_default()];
            if value.is_array() { value[0].clone() } else { value.clone() }
        };
        let value = route
            .steps
            .iter()
            .fold(answer["data"].clone(), |value, name| step(&value, name))["the"]
            .clone();
        (title, value, answer)
    }
}
