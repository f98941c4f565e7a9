//! Whole stories: who is in which group and why, what happened to a person, and lists inside lists.

use serde_json::{Value, json};

use crate::walk::codes;
use crate::world::World;

async fn ask(world: &World, query: &str, variables: Value) -> Value {
    let answer = world.graphql(query, variables).await;
    assert_eq!(codes(&answer), Vec::<&str>::new(), "{query}\n{answer:#}");
    answer["data"].clone()
}

fn global(kind: &str, id: uuid::Uuid) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{kind}:{id}"))
}

/// Ada is in Ward 3, which is in Clinic, which is in Hospital; and Hospital gives the role Nurse.
async fn hospital(world: &World) -> [String; 6] {
    let ada = world.scim().user("ada").await;
    let ben = world.scim().user("ben").await;
    let ward = world.scim().group("Ward 3", &[ada]).await;
    let clinic = world.scim().group("Clinic", &[ward, ben]).await;
    let hospital = world.scim().group("Hospital", &[clinic]).await;
    let role = ask(
        world,
        "mutation { roleCreate(input: { name: \"Nurse\" }) { role { id } } }",
        json!({}),
    )
    .await["roleCreate"]["role"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let map = "mutation($g: ID!, $r: ID!) { roleMappingCreate(input: { groupId: $g, roleId: $r }) { \
               userErrors { message } } }";
    let made = ask(world, map, json!({ "g": global("Group", hospital), "r": role })).await;
    assert_eq!(made["roleMappingCreate"]["userErrors"], json!([]));
    [
        global("User", ada),
        global("User", ben),
        global("Group", ward),
        global("Group", clinic),
        global("Group", hospital),
        role,
    ]
}

fn names(list: &Value) -> Vec<&str> {
    let nodes = list["nodes"].as_array().unwrap();
    let name = |node: &'_ Value, field: &str| node[field].as_str().is_some();
    nodes
        .iter()
        .map(|node| match name(node, "displayName") {
            true => node["displayName"].as_str().unwrap(),
            false => node["userName"].as_str().unwrap(),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_read_from_below() {
    let world = World::new().await;
    let [ada, _, ward, clinic, hospital, role] = hospital(&world).await;
    let query = "query($g: ID!) { node(id: $g) { ... on Group {
        direct: parents(first: 9) { totalCount nodes { displayName } }
        all: parents(first: 9, filter: { transitive: true }, orderBy: { field: DISPLAY_NAME }) { totalCount nodes { displayName } }
        effectiveRoles { role { id } sources { direct group { displayName } memberOf { displayName }
          path { fromGroup { displayName } toGroup { displayName } since madeBy { action actor { kind } } } } } } } }";
    let seen = ask(&world, query, json!({ "g": ward })).await["node"].clone();
    assert_eq!(names(&seen["direct"]), ["Clinic"]);
    assert_eq!(names(&seen["all"]), ["Clinic", "Hospital"]);
    assert_eq!(seen["all"]["totalCount"], 2);
    let given = &seen["effectiveRoles"][0];
    assert_eq!(given["role"]["id"], role);
    let source = &given["sources"][0];
    assert_eq!(
        (&source["direct"], &source["group"]["displayName"]),
        (&json!(false), &json!("Hospital"))
    );
    let links: Vec<_> = source["path"]
        .as_array()
        .unwrap()
        .iter()
        .map(|link| {
            assert!(link["since"].is_string());
            assert_eq!(
                link["madeBy"],
                json!({ "action": "GROUP_CREATED", "actor": { "kind": "CONNECTION" } })
            );
            (link["fromGroup"]["displayName"].clone(), link["toGroup"]["displayName"].clone())
        })
        .collect();
    let step = |from: &str, to: &str| (json!(from), json!(to));
    assert_eq!(links, [step("Ward 3", "Clinic"), step("Clinic", "Hospital")]);
    // From the account: its membership comes first.
    let query = "query($u: ID!) { node(id: $u) { ... on User {
        direct: groups(first: 9) { nodes { displayName } }
        all: groups(first: 9, filter: { transitive: true }, orderBy: { field: DISPLAY_NAME }) { totalCount nodes { displayName } }
        named: groups(first: 9, filter: { transitive: true, group: { search: \"hosp\" } }) { nodes { displayName } }
        roles { sources { path { fromGroup { displayName } toGroup { displayName } madeBy { action } } } } } } }";
    let seen = ask(&world, query, json!({ "u": ada })).await["node"].clone();
    assert_eq!(names(&seen["direct"]), ["Ward 3"]);
    assert_eq!(names(&seen["all"]), ["Clinic", "Hospital", "Ward 3"]);
    assert_eq!(names(&seen["named"]), ["Hospital"]);
    let path = &seen["roles"][0]["sources"][0]["path"];
    let first = json!({ "fromGroup": null, "toGroup": { "displayName": "Ward 3" }, "madeBy": { "action": "GROUP_CREATED" } });
    assert_eq!((path.as_array().unwrap().len(), &path[0]), (3, &first));
    // Members and holders, by the filter and the order of accounts.
    let query = "query($w: ID!, $c: ID!, $r: ID!) {
        clinic: node(id: $c) { ... on Group {
          all: members(first: 9) { totalCount nodes { ... on User { userName } ... on Group { displayName } } }
          groups: members(first: 9, filter: { kind: GROUP }) { totalCount nodes { ... on Group { displayName } } }
          people: members(first: 9, filter: { transitive: true }, orderBy: { field: USER_NAME, direction: DESC }) { totalCount nodes { ... on User { userName } } }
          found: members(first: 9, filter: { user: { search: \"ad\" }, transitive: true }) { nodes { ... on User { userName } } } } }
        role: node(id: $r) { ... on Role {
          holders(first: 9, filter: { user: { group: { groupId: $w } } }, orderBy: { field: DISPLAY_NAME }) { totalCount nodes { user { userName } sources { kind } } } } } }";
    let seen = ask(&world, query, json!({ "w": ward, "c": clinic, "r": role })).await;
    let clinic = &seen["clinic"];
    assert_eq!(names(&clinic["all"]), ["ben", "Ward 3"]);
    assert_eq!(names(&clinic["groups"]), ["Ward 3"]);
    assert_eq!(names(&clinic["people"]), ["ben", "ada"]);
    assert_eq!(names(&clinic["found"]), ["ada"]);
    assert_eq!(
        seen["role"]["holders"],
        json!({ "totalCount": 1, "nodes": [{ "user": { "userName": "ada" }, "sources": [{ "kind": "MAPPING" }] }] })
    );
    let mixed = world
        .graphql(
            "query($c: ID!) { node(id: $c) { ... on Group { members(first: 9, orderBy: { field: USER_NAME }) { totalCount } } } }",
            json!({ "c": hospital }),
        )
        .await;
    assert_eq!(codes(&mixed), ["BAD_USER_INPUT"], "{mixed:#}");
    world.end().await;
}

const STORY: &str = "query($id: ID!, $not: [EventAction!]) { organization { events(first: 50,
    filter: { concerns: $id, notActions: $not }, orderBy: { field: AT }) { totalCount nodes {
      action subjectName subjectId subject { __typename id } requestId } } } }";

fn list_actions(story: &Value) -> Vec<String> {
    let nodes = story["organization"]["events"]["nodes"].as_array().unwrap();
    assert_eq!(story["organization"]["events"]["totalCount"], nodes.len());
    nodes.iter().map(|node| node["action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn story_has_grants_and_groups() {
    let world = World::new().await;
    let [ada, ben, ward, _, _, role] = hospital(&world).await;
    let grant = "mutation($u: ID!, $r: ID!) { roleGrantCreate(input: { userId: $u, roleId: $r }) { \
                 roleGrant { id } } }";
    let grant = ask(&world, grant, json!({ "u": ada, "r": role })).await["roleGrantCreate"]
        ["roleGrant"]["id"]
        .clone();
    let rename = "mutation($u: ID!) { userUpdate(input: { id: $u, displayName: \"Countess\" }) { \
                  userErrors { message } } userSuspend(input: { id: $u }) { userErrors { message } } }";
    ask(&world, rename, json!({ "u": ada })).await;
    let not = json!(["USER_ACCESS_CHANGED"]);
    let story = ask(&world, STORY, json!({ "id": ada, "not": not })).await;
    assert_eq!(
        list_actions(&story),
        ["USER_CREATED", "GROUP_CREATED", "ROLE_GRANT_CREATED", "USER_UPDATED", "USER_SUSPENDED"]
    );
    let nodes = &story["organization"]["events"]["nodes"];
    // Each event calls its subject as it was called then, and links what is still there.
    assert_eq!(
        (&nodes[0]["subjectName"], &nodes[4]["subjectName"]),
        (&json!("ada"), &json!("Countess"))
    );
    assert_eq!(nodes[1]["subjectName"], "Ward 3");
    assert_eq!(nodes[1]["subject"], json!({ "__typename": "Group", "id": ward }));
    assert_eq!(nodes[2]["subject"], json!({ "__typename": "RoleGrant", "id": grant }));
    // A grant is called by the person and the role.
    let called = |story: &Value, action: &str| -> Vec<Value> {
        let nodes = story["organization"]["events"]["nodes"].as_array().unwrap();
        let those = nodes.iter().filter(|node| node["action"] == action);
        those.map(|node| node["subjectName"].clone()).collect()
    };
    let role_name = ask(
        &world,
        "query($r: ID!) { node(id: $r) { ... on Role { name } } }",
        json!({ "r": role }),
    )
    .await["node"]["name"]
        .clone();
    let role_name = role_name.as_str().unwrap();
    assert_eq!(called(&story, "ROLE_GRANT_CREATED"), [format!("ada → {role_name}")]);
    let started = std::time::Instant::now();
    loop {
        let whole = ask(&world, STORY, json!({ "id": ada })).await;
        let names = called(&whole, "USER_ACCESS_CHANGED");
        if names.len() >= 2 {
            assert!(names.iter().all(Value::is_string), "{whole:#}");
            break;
        }
        assert!(started.elapsed().as_secs() < 20, "{whole:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // Ben's story has nothing of Ada's.
    let story = ask(&world, STORY, json!({ "id": ben, "not": not })).await;
    assert_eq!(list_actions(&story), ["USER_CREATED", "GROUP_CREATED"]);
    let story = ask(&world, STORY, json!({ "id": role, "not": not })).await;
    assert_eq!(
        list_actions(&story),
        ["ROLE_CREATED", "ROLE_MAPPING_CREATED", "ROLE_GRANT_CREATED"]
    );
    let mapped = called(&story, "ROLE_MAPPING_CREATED");
    let mapped = mapped[0].as_str().unwrap();
    assert!(mapped.ends_with(&format!(" → {role_name}")), "{mapped}");
    // The connection did the first five.
    let connection =
        ask(&world, "{ organization { connections(first: 1) { nodes { id } } } }", json!({})).await;
    let connection = &connection["organization"]["connections"]["nodes"][0]["id"];
    let by = "query($a: ID!) { organization { events(first: 50, filter: { actorId: $a }) { totalCount nodes { actor { kind } requestId } } } }";
    let did = ask(&world, by, json!({ "a": connection })).await["organization"]["events"].clone();
    assert_eq!(
        (&did["totalCount"], &did["nodes"][0]["actor"]["kind"]),
        (&json!(5), &json!("CONNECTION"))
    );
    let request = &did["nodes"][0]["requestId"];
    let of = "query($q: UUID!) { organization { events(first: 9, filter: { requestId: $q }) { totalCount } } }";
    let of = ask(&world, of, json!({ "q": request })).await;
    assert_eq!(of["organization"]["events"]["totalCount"], 1);
    // An erased name is gone from every event about the person, and about grants to the person.
    let delete = "mutation($u: ID!) { userDelete(input: { id: $u }) { userErrors { message } } \
                  userPurge(input: { id: $u }) { userErrors { message } } }";
    ask(&world, delete, json!({ "u": ada })).await;
    let story = ask(&world, STORY, json!({ "id": ada })).await;
    let nodes = story["organization"]["events"]["nodes"].as_array().unwrap();
    let about: Vec<_> = nodes.iter().filter(|node| node["subjectId"] == ada).collect();
    assert!(about.len() >= 4, "{story:#}");
    for node in about {
        assert_eq!(
            (&node["subjectName"], &node["subject"]),
            (&json!(null), &json!(null)),
            "{node:#}"
        );
    }
    assert_eq!(called(&story, "ROLE_GRANT_CREATED"), [Value::Null]);
    world.end().await;
}

/// Applies edits of access, and returns what the event calls its subject.
async fn name_of_change(world: &World, edits: Value) -> Value {
    let apply = "mutation($e: [AccessEditInput!]!) { accessApply(input: { edits: $e }) {
        change { event { id action subjectName } } userErrors { message } } }";
    let done = ask(world, apply, json!({ "e": edits })).await["accessApply"].clone();
    let event = &done["change"]["event"];
    assert_eq!(event["action"], "ACCESS_CHANGED", "{done:#}");
    event["subjectName"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn access_changes_name_people() {
    let world = World::new().await;
    let [ada, ben, _, _, _, _] = hospital(&world).await;
    let make = "mutation($m: [ID!]!) { groupCreate(input: { displayName: \"Night\", \
                memberIds: $m }) { group { id } } }";
    let night = ask(&world, make, json!({ "m": [ada, ben] })).await;
    let night = &night["groupCreate"]["group"]["id"];
    let mut roles = Vec::new();
    for name in ["Porter", "Clerk", "Cook", "Driver"] {
        let make = "mutation($n: String!) { roleCreate(input: { name: $n }) { role { id } } }";
        let made = ask(&world, make, json!({ "n": name })).await;
        roles.push(made["roleCreate"]["role"]["id"].clone());
    }
    let grant = |user: &str, role: usize| json!({ "createGrant": { "userId": user, "roleId": roles[role] } });
    let one = name_of_change(&world, json!([grant(&ada, 0)])).await;
    assert_eq!(one, "ada → Porter");
    let several = json!([grant(&ada, 1), grant(&ben, 1), grant(&ben, 2), grant(&ben, 3)]);
    let several = name_of_change(&world, several).await;
    assert_eq!(several, "ada → Clerk, ben → Clerk, ben → Cook and 1 more");
    // What changes members is read later, so no erasure empties it, and it names no person: the
    // grant has an event of its own, which does, and which has the reason.
    let map = json!({ "createMapping": { "groupId": night, "roleId": roles[0] } });
    let members = json!({ "removeMembers": { "id": night, "memberIds": [ada] } });
    let mut with_reason = grant(&ada, 2);
    with_reason["createGrant"]["reason"] = json!("Ada cooks");
    let mixed = name_of_change(&world, json!([map, members, with_reason])).await;
    assert_eq!(mixed, "Night → Porter, Night");
    let not = json!(["USER_ACCESS_CHANGED", "USER_CREATED", "GROUP_CREATED"]);
    let named = async |id: &str| -> Vec<(String, Value)> {
        let story = ask(&world, STORY, json!({ "id": id, "not": not })).await;
        let nodes = story["organization"]["events"]["nodes"].as_array().unwrap().clone();
        let last = nodes.iter().skip(2);
        last.map(|node| (node["action"].as_str().unwrap().to_owned(), node["subjectName"].clone()))
            .collect()
    };
    let of_ada = named(&ada).await;
    assert!(of_ada.contains(&("ACCESS_CHANGED".into(), mixed.clone())), "{of_ada:?}");
    assert!(of_ada.contains(&("ROLE_GRANT_CREATED".into(), json!("ada → Cook"))), "{of_ada:?}");
    assert_eq!((of_ada.len(), named(&ben).await), (2, Vec::new()), "{of_ada:?}");
    let reasons = "SELECT action FROM event WHERE payload LIKE '%Ada cooks%'";
    assert_eq!(world.rows(reasons, []).await, [json!({ "action": "role_grant.created" })]);

    let erase = "mutation($u: ID!) { userDelete(input: { id: $u }) { userErrors { message } } \
                 userPurge(input: { id: $u }) { userErrors { message } } }";
    ask(&world, erase, json!({ "u": ada })).await;
    let query = "{ organization { events(first: 9, filter: { actions: [ACCESS_CHANGED] }, \
                 orderBy: { field: AT }) { nodes { subjectName } } } }";
    let left = ask(&world, query, json!({})).await["organization"]["events"]["nodes"].clone();
    let left: Vec<_> = left.as_array().unwrap().iter().map(|node| &node["subjectName"]).collect();
    assert_eq!(left, [&Value::Null, &Value::Null, &mixed]);
    let kept = world.rows("SELECT payload FROM event WHERE payload IS NOT NULL", []).await;
    assert!(kept.iter().all(|row| !row.to_string().contains("ada →")), "{kept:?}");
    assert!(kept.iter().all(|row| !row.to_string().contains("Ada cooks")), "{kept:?}");
    world.end().await;
}

/// The names of the subjects of events that a search by name finds, and how many there are.
async fn search_names(world: &World, filter: &str) -> (Vec<String>, u64) {
    let query = format!(
        "{{ organization {{ events(first: 50, orderBy: {{ field: AT }}, filter: {{ {filter}, \
         notActions: [USER_ACCESS_CHANGED] }}) {{ totalCount nodes {{ subjectName }} }} }} }}"
    );
    let found = ask(world, &query, json!({})).await["organization"]["events"].clone();
    let names = found["nodes"].as_array().unwrap().iter();
    let names = names.map(|node| node["subjectName"].as_str().unwrap().to_owned()).collect();
    (names, found["totalCount"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_by_former_names() {
    let world = World::new().await;
    let [ada, ..] = hospital(&world).await;
    let rename = "mutation($u: ID!, $n: String) { userUpdate(input: { id: $u, displayName: $n }) { \
                  userErrors { message } } }";
    for name in ["Countess \"Ö\" Lovelace", "Baroness"] {
        ask(&world, rename, json!({ "u": ada, "n": name })).await;
    }
    let found = |names: &[&str]| {
        (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), names.len() as u64)
    };
    // The name that it had then, whole or in part, in any case; values beside the name do not count.
    let countess = found(&["Countess \"Ö\" Lovelace"]);
    assert_eq!(search_names(&world, "subjectName: \"COUNTESS\"").await, countess);
    assert_eq!(search_names(&world, "subjectName: \"\\\"Ö\\\" love\"").await, countess);
    assert_eq!(search_names(&world, "subjectName: \"ward 3\"").await, found(&["Ward 3"]));
    assert_eq!(search_names(&world, "subjectName: \"hosp\"").await.0.len(), 2);
    assert_eq!(search_names(&world, "subjectName: \"displayName\"").await, found(&[]));
    assert_eq!(search_names(&world, "subjectName: \"%\"").await, found(&[]));
    // Together with other fields, and in a story.
    let both = "subjectName: \"a\", actions: [GROUP_CREATED, USER_UPDATED], subjectKind: GROUP";
    assert_eq!(search_names(&world, both).await, found(&["Ward 3", "Hospital"]));
    let story = format!("subjectName: \"ess\", concerns: \"{ada}\"");
    let story = search_names(&world, &story).await;
    assert_eq!(story, found(&["Countess \"Ö\" Lovelace", "Baroness"]));
    // Pages of one, from the newest.
    let page = "query($after: String) { organization { events(first: 1, after: $after, filter: { \
                subjectName: \"ess\" }) { nodes { subjectName } pageInfo { endCursor hasNextPage } } } }";
    let first = ask(&world, page, json!({})).await["organization"]["events"].clone();
    let after = &first["pageInfo"]["endCursor"];
    let second =
        ask(&world, page, json!({ "after": after })).await["organization"]["events"].clone();
    assert_eq!(
        [&first["nodes"][0]["subjectName"], &second["nodes"][0]["subjectName"]],
        [&json!("Baroness"), &json!("Countess \"Ö\" Lovelace")]
    );
    // Whoever may not read names does not find by them.
    let key = "mutation { apiKeyIssue(input: { name: \"auditor\", permissions: [AUDIT_READ], \
               ownerSubject: \"auditor\" }) { secret userErrors { message } } }";
    let key =
        ask(&world, key, json!({})).await["apiKeyIssue"]["secret"].as_str().unwrap().to_owned();
    let query =
        "{ organization { events(first: 9, filter: { subjectName: \"ada\" }) { totalCount } } }";
    let refused = world.acme.graphql_as(&key, &[], query, json!({})).await.body;
    assert_eq!(codes(&refused), ["FORBIDDEN"], "{refused:#}");
    let empty =
        "{ organization { events(first: 9, filter: { subjectName: \" \" }) { totalCount } } }";
    assert_eq!(codes(&world.graphql(empty, json!({})).await), ["BAD_USER_INPUT"]);
    // An erased name is not found any more.
    let erase = "mutation($u: ID!) { userDelete(input: { id: $u }) { userErrors { message } } \
                 userPurge(input: { id: $u }) { userErrors { message } } }";
    ask(&world, erase, json!({ "u": ada })).await;
    assert_eq!(search_names(&world, "subjectName: \"ess\"").await, found(&[]));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_action_is_refused() {
    let world = World::new().await;
    let typo =
        "{ organization { events(first: 1, filter: { actions: [USER_CREATE] }) { totalCount } } }";
    let refused = world.graphql(typo, json!({})).await;
    assert!(refused.get("data").is_none_or(Value::is_null), "{refused:#}");
    let recent = "{ organization { scim { recentActivity(first: 50) { action }
        all: recentActivity(first: 50, includeConsequences: true) { action } } } }";
    hospital(&world).await;
    let mut all = Vec::new();
    // What follows from the mapping is written a moment later.
    for _ in 0..100 {
        let seen = ask(&world, recent, json!({})).await["organization"]["scim"].clone();
        assert!(!seen["recentActivity"].to_string().contains("USER_ACCESS_CHANGED"));
        all = seen["all"].as_array().unwrap().clone();
        if all.iter().any(|event| event["action"] == "USER_ACCESS_CHANGED") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(all.iter().any(|event| event["action"] == "USER_ACCESS_CHANGED"), "{all:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_and_ended_are_included() {
    let world = World::new().await;
    let [ada, _, _, _, _, role] = hospital(&world).await;
    let made = ask(
        &world,
        "mutation($u: ID!, $r: ID!) { roleGrantCreate(input: { userId: $u, roleId: $r }) { roleGrant { id } } }",
        json!({ "u": ada, "r": role }),
    )
    .await;
    let lists = "{ organization { roleMappings(first: 1) { nodes { id } }
        now: roleMappings(first: 9) { totalCount } then: roleMappings(first: 9, filter: { includeRemoved: true }) { totalCount }
        live: roleGrants(first: 9) { totalCount } all: roleGrants(first: 9, filter: { includeEnded: true }) { totalCount } } }";
    let before = ask(&world, lists, json!({})).await["organization"].clone();
    let end = "mutation($m: ID!, $g: ID!) { roleMappingRemove(input: { id: $m }) { userErrors { message } }
        roleGrantRemove(input: { id: $g }) { userErrors { message } } }";
    ask(
        &world,
        end,
        json!({ "m": before["roleMappings"]["nodes"][0]["id"], "g": made["roleGrantCreate"]["roleGrant"]["id"] }),
    )
    .await;
    let after = ask(&world, lists, json!({})).await["organization"].clone();
    let counts = |seen: &Value| {
        ["now", "then", "live", "all"].map(|list| seen[list]["totalCount"].as_i64().unwrap())
    };
    assert_eq!((counts(&before), counts(&after)), ([1, 1, 1, 1], [0, 1, 0, 1]));
    world.end().await;
}
