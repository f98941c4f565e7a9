//! Each field of each filter, with rows that it must leave.

use std::collections::BTreeSet;

use rolecall::auth::policy::Permissions;
use rolecall::context::Cx;
use rolecall::domain::access::api_key;
use serde_json::{Value, json};

use super::{Lists, all_nodes, furnished, nodes, page, place_of};
use crate::KIND_STORIES;
use crate::walk::Ids;
use crate::world::World;

/// Whether a row is selected, by what it shows. Ids of known things stand there as `{User}`, `{Group}`
/// and so on, and instants as `early` or `late`.
pub type Keep = fn(&Value) -> bool;

/// A case: the list, what a row shows, the filter, and which rows it leaves.
pub struct Case(pub &'static str, pub &'static str, pub &'static str, pub Keep);

fn is(node: &Value, path: &str, wanted: &str) -> bool {
    node.pointer(path).and_then(Value::as_str) == Some(wanted)
}

pub fn has(node: &Value, path: &str, part: &str) -> bool {
    let text = node.pointer(path).and_then(Value::as_str).unwrap_or_default();
    text.to_lowercase().contains(part)
}

/// A field that no row of the furnished world tells apart, and why.
const NOT_TOLD_APART: &[(&str, &str, &str)] = &[
    ("RequestLogEntryFilter", "connectionId", "tests/it/request_log.rs"),
    ("RequestLogEntryFilter", "troublesOnly", "tests/it/request_log.rs"),
    ("RequestLogEntryFilter", "since", "rows of one hour are one row"),
    ("RequestLogEntryFilter", "until", "rows of one hour are one row"),
    ("FailureFilter", "connectionId", "tests/it/failures.rs"),
    ("AlertFilter", "kinds", "tests/it/alerts.rs"),
    ("AlertFilter", "state", "tests/it/alerts.rs"),
    ("AlertFilter", "connectionId", "tests/it/alerts.rs"),
    ("FailureFilter", "assignedTo", "tests/it/failures.rs"),
    ("FailureFilter", "userId", "failures of one account"),
    ("FindingFilter", "states", "tests/it/reconcile"),
    ("FindingFilter", "connectionId", "tests/it/reconcile"),
    ("FindingFilter", "leaversOnly", "tests/it/reconcile"),
    ("FindingFilter", "groupId", "findings of memberships"),
    ("AdoptionProposalFilter", "connectionId", "one connection proposes"),
    ("BulkJobFilter", "states", "all jobs here have ended alike"),
    ("DeletionJobFilter", "states", "all deletions here have ended alike"),
    ("SyncRunFilter", "states", "all runs here have failed alike"),
    ("SyncRunFilter", "modes", "all runs here are full ones"),
    ("ReconciliationFilter", "connectionId", "tests/it/sync/source_comparison.rs"),
    ("ReconciliationFilter", "states", "all comparisons here have succeeded"),
    ("ReconciliationFilter", "sources", "all comparisons here are of uploads"),
    ("AccessReportEntryFilter", "asOf", "tests/it/access.rs"),
    ("IdentitySourceFilter", "states", "all connections here are active"),
    ("EventFilter", "actorId", "stories.rs"),
    ("EventFilter", "requestId", "stories.rs"),
    ("EventFilter", "concerns", "stories.rs"),
    ("EventFilter", "subjectName", "stories.rs"),
    ("RoleMappingFilter", "includeRemoved", "it widens: stories.rs"),
    ("RoleGrantFilter", "includeEnded", "it widens: stories.rs"),
    ("RoleMappingFilter", "connectionId", "default roles: tests/it/access.rs"),
    ("DeletedGroupFilter", "connectionId", "one connection deletes"),
    ("ApiKeyFilter", "ownerUserId", "keys of persons: tests/it/rights/api_keys.rs"),
    ("FailureFilter", "states", "stories.rs"),
    ("DestinationFilter", "kinds", "all destinations here are webhooks"),
    ("DestinationFilter", "states", "all destinations here are paused"),
    ("InvitationFilter", "states", "tests/it/invitations.rs"),
    ("InvitationFilter", "userId", "accepted ones: tests/it/invitations.rs"),
];

const CASES: &[Case] = &[
    Case("users", "id", "ids: [\"{User}\"]", |n| is(n, "/id", "{User}")),
    Case("users", "userName", "search: \"BEN\"", |n| has(n, "/userName", "ben")),
    Case("users", "userName", "userName: \"ADA.person\"", |n| is(n, "/userName", "ada.person")),
    Case("users", "userName", "userNameStartsWith: \"Ben.\"", |n| has(n, "/userName", "ben.")),
    Case("users", "emails { value }", "email: \"X@home.example\"", |n| {
        is(n, "/emails/0/value", "x@home.example")
    }),
    Case("users", "displayName", "displayNameContains: \"LOVE\"", |n| {
        has(n, "/displayName", "love")
    }),
    Case("users", "department", "department: \"RADIOLOGY\"", |n| is(n, "/department", "Radiology")),
    Case("users", "externalId", "externalId: \"E-1\"", |n| is(n, "/externalId", "E-1")),
    Case("users", "id", "scimId: \"{uuid}\"", |n| is(n, "/id", "{User}")),
    Case("users", "active", "active: false", |n| n["active"] == false),
    Case("users", "protected", "protected: true", |n| n["protected"] == true),
    Case("users", "protected", "protected: false", |n| n["protected"] == false),
    Case("users", "connection { id }", "connectionId: \"{IdentitySource}\"", |n| {
        is(n, "/connection/id", "{IdentitySource}")
    }),
    Case("users", "origin", "provisioned: true", |n| is(n, "/origin", "SCIM")),
    Case("users", "origin", "provisioned: false", |n| is(n, "/origin", "MANUAL")),
    Case("users", "groups(first: 9) { nodes { id } }", "group: { groupId: \"{Group}\" }", |n| {
        n["groups"].to_string().contains("{Group}")
    }),
    Case("users", "roles { role { id } }", "roleId: \"{Role}\"", |n| {
        n["roles"].to_string().contains("{Role}")
    }),
    Case("users", "updatedAt", "updatedSince: \"{middle}\"", |n| is(n, "/updatedAt", "late")),
    Case("groups", "id", "ids: [\"{Group}\"]", |n| is(n, "/id", "{Group}")),
    Case("groups", "displayName", "search: \"grou BE\"", |n| is(n, "/displayName", "ben group")),
    Case("groups", "displayName", "displayName: \"BEN group\"", |n| {
        is(n, "/displayName", "ben group")
    }),
    Case("groups", "displayName", "displayNameStartsWith: \"Cleo\"", |n| {
        has(n, "/displayName", "cleo")
    }),
    Case("groups", "externalId", "externalId: \"G-1\"", |n| is(n, "/externalId", "G-1")),
    Case("groups", "connection { id }", "connectionId: \"{IdentitySource}\"", |n| {
        is(n, "/connection/id", "{IdentitySource}")
    }),
    Case("groups", "roleMappings { role { id } }", "roleId: \"{Role}\"", |n| {
        n["roleMappings"].to_string().contains("{Role}")
    }),
    Case("groups", "memberCount", "membersAtLeast: 1", |n| n["memberCount"] != 0),
    Case("groups", "memberCount", "membersAtMost: 0", |n| n["memberCount"] == 0),
    Case("groups", "updatedAt", "updatedSince: \"{middle}\"", |n| is(n, "/updatedAt", "late")),
    Case("roles", "id", "ids: [\"{Role}\"]", |n| is(n, "/id", "{Role}")),
    Case("roles", "name", "search: \"BE\"", |n| has(n, "/name", "be")),
    Case("roles", "permissions", "permission: \"charts:read\"", |n| {
        n["permissions"].to_string().contains("charts:read")
    }),
    Case("roles", "management", "management: true", |n| n["management"] == true),
    Case("connections", "name", "search: \"BEN\"", |n| has(n, "/name", "ben")),
    Case("connections", "kind", "kinds: [SCIM_PULL]", |n| is(n, "/kind", "SCIM_PULL")),
    Case("connections", "provider", "providers: [OKTA]", |n| is(n, "/provider", "OKTA")),
    Case("roleMappings", "role { id }", "roleId: \"{Role}\"", |n| is(n, "/role/id", "{Role}")),
    Case("roleMappings", "group { id }", "groupId: \"{Group}\"", |n| is(n, "/group/id", "{Group}")),
    Case("roleMappings", "expiresAt", "expiresBefore: \"2100-01-01T00:00:00Z\"", |n| {
        n["expiresAt"].is_string()
    }),
    Case("roleGrants", "user { id }", "userId: \"{User}\"", |n| is(n, "/user/id", "{User}")),
    Case("roleGrants", "role { id }", "roleId: \"{Role}\"", |n| is(n, "/role/id", "{Role}")),
    Case("roleGrants", "expiresAt", "expiresBefore: \"2100-01-01T00:00:00Z\"", |n| {
        n["expiresAt"].is_string()
    }),
    Case("deletedUsers", "userName", "search: \"BEN\"", |n| has(n, "/userName", "ben")),
    Case("deletedUsers", "connection { id }", "connectionId: \"{IdentitySource}\"", |n| {
        is(n, "/connection/id", "{IdentitySource}")
    }),
    Case("deletedUsers", "deletedAt", "deletedSince: \"{middle}\"", |n| {
        is(n, "/deletedAt", "late")
    }),
    Case("deletedUsers", "deletedAt", "deletedUntil: \"{middle}\"", |n| {
        is(n, "/deletedAt", "early")
    }),
    Case("deletedGroups", "displayName", "search: \"LATE w\"", |n| {
        has(n, "/displayName", "late w")
    }),
    Case("deletedGroups", "deletedAt", "deletedSince: \"{middle}\"", |n| {
        is(n, "/deletedAt", "late")
    }),
    Case("deletedGroups", "deletedAt", "deletedUntil: \"{middle}\"", |n| {
        is(n, "/deletedAt", "early")
    }),
    Case("leavers", "revokedAt", "since: \"{middle}\"", |n| is(n, "/revokedAt", "late")),
    Case("leavers", "revokedAt", "until: \"{middle}\"", |n| is(n, "/revokedAt", "early")),
    Case("adoptionProposals", "state", "states: [DISMISSED]", |n| is(n, "/state", "DISMISSED")),
    Case("adoptionProposals", "user { userName }", "userId: \"{ByHand}\"", |n| {
        is(n, "/user/userName", "ada.by.hand")
    }),
    Case("accessReport", "roles { role { id } }", "roleId: \"{Role}\"", |n| {
        n["roles"].to_string().contains("{Role}")
    }),
    Case("events", "action", "actions: [USER_CREATED, ROLE_CREATED]", |n| {
        is(n, "/action", "USER_CREATED") || is(n, "/action", "ROLE_CREATED")
    }),
    Case("events", "action", "notActions: [USER_CREATED, USER_ACCESS_CHANGED]", |n| {
        !is(n, "/action", "USER_CREATED") && !is(n, "/action", "USER_ACCESS_CHANGED")
    }),
    Case("events", "subjectId", "subjectId: \"{User}\"", |n| is(n, "/subjectId", "{User}")),
    Case("events", "subjectKind", "subjectKind: GROUP", |n| is(n, "/subjectKind", "GROUP")),
    Case("events", "connectionId", "connectionId: \"{IdentitySource}\"", |n| {
        is(n, "/connectionId", "{IdentitySource}")
    }),
    Case("events", "actor { kind }", "actorKind: API_KEY", |n| is(n, "/actor/kind", "API_KEY")),
    Case("events", "at", "since: \"{middle}\"", |n| is(n, "/at", "late")),
    Case("events", "at", "until: \"{middle}\"", |n| is(n, "/at", "early")),
    Case("requestLog", "outcome", "outcome: CREATED", |n| is(n, "/outcome", "CREATED")),
    Case("failures", "cause", "causes: [UNIQUENESS]", |n| is(n, "/cause", "UNIQUENESS")),
    Case("failures", "label", "search: \"ADA\"", |n| has(n, "/label", "ada")),
    Case("failures", "lastAt", "seenSince: \"{middle}\"", |n| is(n, "/lastAt", "late")),
    Case("findings", "kind", "kinds: [MISSING_HERE]", |n| is(n, "/kind", "MISSING_HERE")),
    Case("findings", "user { id }", "userId: \"{User}\"", |n| is(n, "/user/id", "{User}")),
    Case("findings", "lastSeenAt", "seenSince: \"{middle}\"", |n| is(n, "/lastSeenAt", "late")),
    Case("syncRuns", "connection { name }", "connectionId: \"{Source}\"", |n| {
        is(n, "/connection/name", "ada source")
    }),
    Case("syncRuns", "createdAt", "since: \"{middle}\"", |n| is(n, "/createdAt", "late")),
    Case("syncRuns", "createdAt", "until: \"{middle}\"", |n| is(n, "/createdAt", "early")),
    Case("destinations", "description", "search: \"BEN\"", |n| has(n, "/description", "ben")),
    Case("invitations", "email", "email: \"BEN@guests.example\"", |n| {
        is(n, "/email", "ben@guests.example")
    }),
    Case("deletionJobs", "connection { name }", "connectionId: \"{Empty}\"", |n| {
        is(n, "/connection/name", "ada empty")
    }),
    Case("setupLinks", "connection { id }", "connectionId: \"{IdentitySource}\"", |n| {
        is(n, "/connection/id", "{IdentitySource}")
    }),
    Case("setupLinks", "state", "states: [REVOKED, EXPIRED]", |n| is(n, "/state", "REVOKED")),
    Case("apiKeys", "name", "search: \"SPARE\"", |n| has(n, "/name", "spare")),
    Case("apiKeys", "live", "live: true", |n| n["live"] == true),
    Case("apiKeys", "live", "live: false", |n| n["live"] == false),
    Case("apiKeys", "expiresAt", "expiresBefore: \"{soon}\"", |n| {
        n["expiresAt"].is_string() && is(n, "/expiresAt", "early")
    }),
];

/// The cases above, and those of the stories of single kinds.
fn all_cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(KIND_STORIES.iter().flat_map(|story| story.filter_cases))
}

#[test]
fn every_filter_field_has_a_case() {
    let all = Lists::read();
    let filter_of = |list: &str| {
        let found =
            all.lists.iter().find(|known| known.object == "Organization" && known.field == list);
        found.unwrap_or_else(|| panic!("no list {list}")).filter.clone().unwrap()
    };
    let mut known: BTreeSet<(String, String)> = all_cases()
        .map(|Case(list, _, filter, _)| {
            (filter_of(list), filter.split(':').next().unwrap().to_owned())
        })
        .collect();
    known.extend(
        KIND_STORIES
            .iter()
            .flat_map(|story| story.filters_tried_elsewhere)
            .chain(NOT_TOLD_APART)
            .map(|(filter, field, _)| ((*filter).to_owned(), (*field).to_owned())),
    );
    let lists = all.lists.iter().filter(|list| list.object == "Organization");
    let there: BTreeSet<(String, String)> = lists
        .filter_map(|list| list.filter.clone())
        .flat_map(|filter| {
            let fields = all.fields_of(&filter).to_vec();
            fields.into_iter().map(move |field| (filter.clone(), field))
        })
        .collect();
    let missing: Vec<_> = there.difference(&known).collect();
    assert!(missing.is_empty(), "without a case: {missing:?}");
    let vanished: Vec<_> = known.difference(&there).collect();
    assert!(vanished.is_empty(), "no longer in the schema: {vanished:?}");
}

/// More rows, after an instant in the middle: what the cases tell apart.
async fn add_variety(world: &World, ids: &mut Ids) -> String {
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let early = world.scim().group("Early ward", &[]).await;
    world.scim().delete(&format!("/Groups/{early}")).await.is(204);
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let middle = world.app.clock.now().to_rfc3339();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let person = json!({ "userName": "grace", "displayName": "Grace Loveday", "externalId": "E-1",
        "emails": [{ "value": "x@home.example" }],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "department": "Radiology" } });
    let grace = world.scim().post("/Users", person).await.is(201).id();
    let late = world.scim().user("late.leaver").await;
    world.scim().delete(&format!("/Users/{late}")).await.is(204);
    let asleep = json!({ "userName": "asleep", "active": false });
    world.scim().post("/Users", asleep).await.is(201);
    let group = json!({ "displayName": "Empty ward", "externalId": "G-1" });
    world.scim().post("/Groups", group).await.is(201);
    let gone = world.scim().group("Late ward", &[grace]).await;
    world.scim().delete(&format!("/Groups/{gone}")).await.is(204);
    world.scim().post("/Users", json!({ "userName": "" })).await.is(400);
    let others = world
        .graphql(
            "mutation { other: userCreate(input: { userName: \"other\" }) { user { id } }
               gone: userCreate(input: { userName: \"gone.by.hand\" }) { user { id } } }",
            json!({}),
        )
        .await;
    let (other, gone_by_hand) =
        (&others["data"]["other"]["user"]["id"], &others["data"]["gone"]["user"]["id"]);
    let made = world
        .graphql(
            "mutation($u: ID!, $r: ID!, $g: ID!, $p: ID!, $gone: ID!, $end: DateTime!) {
               userProtect(input: { id: $u }) { userErrors { message } }
               roleCreate(input: { name: \"Chief\", permissions: [\"charts:read\"], management: true }) { role { id } }
               connectionCreate(input: { name: \"Okta\", provider: OKTA }) { userErrors { message } }
               groupCreate(input: { displayName: \"By hand\" }) { group { id } }
               adoptionProposalDismiss(input: { id: $p }) { userErrors { message } }
               roleGrantRemove(input: { id: $g }) { userErrors { message } }
               again: roleGrantCreate(input: { userId: $u, roleId: $r, expiresAt: $end }) { userErrors { message } }
               gone: userDelete(input: { id: $gone }) { userErrors { message } } }",
            json!({ "gone": gone_by_hand, "u": ids["User"], "r": ids["Role"], "g": ids["RoleGrant"],
                "p": ids["AdoptionProposal"],
                "end": world.app.clock.now() + chrono::Duration::days(90) }),
        )
        .await;
    assert_eq!(made.get("errors"), None, "{made:#}");
    assert!(!made.to_string().contains("message"), "{made:#}");
    let chief = &made["data"]["roleCreate"]["role"]["id"];
    let by_hand = &made["data"]["groupCreate"]["group"]["id"];
    let mapped = world
        .graphql(
            "mutation($g: ID!, $r: ID!, $other: ID!, $end: DateTime!) {
               roleMappingCreate(input: { groupId: $g, roleId: $r, expiresAt: $end }) {
                 userErrors { message } }
               roleGrantCreate(input: { userId: $other, roleId: $r }) { userErrors { message } } }",
            json!({ "other": other, "g": by_hand, "r": chief,
                "end": world.app.clock.now() + chrono::Duration::days(90) }),
        )
        .await;
    assert_eq!(mapped["data"]["roleMappingCreate"]["userErrors"], json!([]), "{mapped:#}");
    let cx: Cx = world.system();
    let end = world.app.clock.now() + chrono::Duration::days(5);
    let spare = api_key::issue_key(&cx, "Spare", Permissions::default(), Some(end)).await.unwrap();
    api_key::revoke_key(&cx, spare.key.id).await.unwrap();
    // The rest of the furniture, after the instant in the middle.
    crate::walk::furnish(&world.acme, "dora").await;
    let names = "{ organization {
        connections(first: 100) { nodes { id name } }
        users(first: 1, filter: { userName: \"ada.by.hand\" }) { nodes { id } } } }";
    let names = world.graphql(names, json!({})).await["data"]["organization"].clone();
    let source = names["connections"]["nodes"].as_array().unwrap().iter();
    let source = source.clone().find(|node| node["name"] == "ada source").unwrap();
    ids.insert("Source".into(), source["id"].as_str().unwrap().into());
    let by_hand = names["users"]["nodes"][0]["id"].as_str().unwrap();
    ids.insert("ByHand".into(), by_hand.into());
    let connection = |name: &str| {
        let mut all = names["connections"]["nodes"].as_array().unwrap().iter();
        all.find(|node| node["name"] == name).unwrap()["id"].as_str().unwrap().to_owned()
    };
    ids.insert("Empty".into(), connection("ada empty"));
    let make =
        "mutation($c: ID!) { setupLinkCreate(input: { connectionId: $c }) { setupLink { id } } }";
    let made = world.graphql(make, json!({ "c": connection("Okta") })).await;
    let link = &made["data"]["setupLinkCreate"]["setupLink"]["id"];
    let revoke =
        "mutation($l: ID!) { setupLinkRevoke(input: { id: $l }) { userErrors { message } } }";
    let revoked = world.graphql(revoke, json!({ "l": link })).await;
    assert_eq!(revoked["data"]["setupLinkRevoke"]["userErrors"], json!([]), "{revoked:#}");
    middle
}

/// The node with known ids by their names, and instants as `early` or `late`.
fn readable(node: &Value, ids: &Ids, middle: &str, soon: &str) -> Value {
    match node {
        Value::Object(map) => {
            let each = map.iter().map(|(name, value)| {
                let bound = if name == "expiresAt" { soon } else { middle };
                (name.clone(), readable(value, ids, bound, soon))
            });
            Value::Object(each.collect())
        }
        Value::Array(list) => list.iter().map(|value| readable(value, ids, middle, soon)).collect(),
        Value::String(text) => {
            if let Some((kind, _)) = ids.iter().find(|(_, id)| *id == text) {
                return json!(format!("{{{kind}}}"));
            }
            let instant = chrono::DateTime::parse_from_rfc3339(text);
            let middle = chrono::DateTime::parse_from_rfc3339(middle).unwrap();
            match instant {
                Ok(at) => json!(if at < middle { "early" } else { "late" }),
                Err(_) => node.clone(),
            }
        }
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_field_narrows() {
    let (world, mut ids) = furnished().await;
    let middle = add_variety(&world, &mut ids).await;
    let soon = (world.app.clock.now() + chrono::Duration::days(30)).to_rfc3339();
    let place = place_of("Organization", &ids).unwrap();
    let uuid = {
        use base64::Engine;
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let text = String::from_utf8(engine.decode(&ids["User"]).unwrap()).unwrap();
        text.split_once(':').unwrap().1.to_owned()
    };
    let mut faults = Vec::new();
    for Case(list, row, filter, keep) in all_cases() {
        let mut wanted = (*filter).to_owned();
        for (kind, id) in &ids {
            wanted = wanted.replace(&format!("{{{kind}}}"), id);
        }
        wanted =
            wanted.replace("{middle}", &middle).replace("{uuid}", &uuid).replace("{soon}", &soon);
        let arguments = format!("first: 100, filter: {{ {wanted} }}");
        // Background work may add an event between the two reads.
        let mut attempts = 0;
        let (all, expected, found) = loop {
            let all = all_nodes(&world, &place, list, row).await;
            let expected: Vec<Value> = all
                .iter()
                .filter(|node| keep(&readable(node, &ids, &middle, &soon)))
                .cloned()
                .collect();
            let found = page(&world, &place, list, &arguments, row).await;
            attempts += 1;
            if found["totalCount"] == expected.len() || attempts == 3 {
                break (all, expected, found);
            }
        };
        if expected.is_empty() || expected.len() == all.len() {
            faults.push(format!("{list} {filter}: {} of {} rows", expected.len(), all.len()));
            continue;
        }
        let first = expected.iter().take(100).cloned().collect::<Vec<_>>();
        if nodes(&found) != first || found["totalCount"] != expected.len() {
            let found = nodes(&found);
            faults.push(format!("{list} {filter}:\n  {found:?}\n  instead of\n  {expected:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    world.end().await;
}
