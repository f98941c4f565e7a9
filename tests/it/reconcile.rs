//! What an identity provider says against what is here: differences are found, known again, put right, accepted, and gone.

use reqwest::header::CONTENT_TYPE;
use rolecall::authz::Permission;
use rolecall::domain::{erasure, user};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::walk::codes;
use crate::world::{Answer, Tenant, World};

/// Hands an export in, with the organization's key.
pub async fn upload(
    tenant: &Tenant,
    connection: &str,
    parameters: &str,
    content_type: &str,
    body: impl Into<reqwest::Body>,
) -> Answer {
    upload_as(tenant, &tenant.api_key, connection, parameters, content_type, body).await
}

async fn upload_as(
    tenant: &Tenant,
    credential: &str,
    connection: &str,
    parameters: &str,
    content_type: &str,
    body: impl Into<reqwest::Body>,
) -> Answer {
    let root = tenant.graphql.trim_end_matches("/graphql");
    let request = tenant.scim.http.post(format!("{root}/reconciliations?connection={connection}&{parameters}"));
    let request = request.bearer_auth(credential).header(CONTENT_TYPE, content_type).body(body);
    Answer::of(request.send().await.unwrap()).await
}

async fn csv(world: &World, text: impl Into<String>) -> Answer {
    upload(&world.acme, &connection(world).await, "kind=users", "text/csv", text.into()).await
}

/// The global id of acme's connection.
async fn connection(world: &World) -> String {
    let answer = world.graphql("{ organization { connections(first: 1) { nodes { id } } } }", json!({})).await;
    answer["data"]["organization"]["connections"]["nodes"][0]["id"].as_str().unwrap().to_owned()
}

const FINDING: &str = "{ id kind state source label accountClass leaver rolesHeld count resolution reason acceptedUntil \
     decidedBy nextStep user { userName } group { displayName } \
     differences { attribute theirs ours changedBy } }";

/// All findings that match, the first to appear first.
pub async fn findings(world: &World, filter: &str) -> Vec<Value> {
    let query = format!(
        "{{ organization {{ findings(first: 100, order: OLDEST_FIRST, filter: {{ {filter} }}) {{
            totalCount nodes {FINDING} }} }} }}"
    );
    let answer = world.graphql(&query, json!({})).await;
    let page = &answer["data"]["organization"]["findings"];
    let nodes = page["nodes"].as_array().unwrap_or_else(|| panic!("{answer:#}")).clone();
    assert_eq!(page["totalCount"], nodes.len(), "{answer:#}");
    nodes
}

/// The finding about whom is called so.
pub async fn about(world: &World, label: &str) -> Value {
    let all = findings(world, "").await;
    let mut found = all.iter().filter(|finding| finding["label"] == label);
    let one = found.next().unwrap_or_else(|| panic!("nothing about {label} in {all:#?}"));
    assert!(found.next().is_none(), "more than one about {label}");
    one.clone()
}

async fn resolve(world: &World, finding: &Value, rest: &str) -> Value {
    resolve_as(world, &world.acme.api_key, finding, rest).await
}

async fn resolve_as(world: &World, credential: &str, finding: &Value, rest: &str) -> Value {
    let mutation = format!(
        "mutation($id: ID!) {{ findingResolve(input: {{ id: $id, {rest} }}) {{
            finding {FINDING} userErrors {{ code field message }} }} }}"
    );
    world.acme.graphql_as(credential, &[], &mutation, json!({ "id": finding["id"] })).await.body
}

/// The finding after something was done about it.
async fn done(world: &World, label: &str, rest: &str) -> Value {
    let answer = resolve(world, &about(world, label).await, rest).await;
    let payload = &answer["data"]["findingResolve"];
    assert_eq!(payload["userErrors"], json!([]), "{answer:#}");
    payload["finding"].clone()
}

async fn refused(world: &World, label: &str, rest: &str) -> (String, String) {
    let answer = resolve(world, &about(world, label).await, rest).await;
    let error = &answer["data"]["findingResolve"]["userErrors"][0];
    assert!(answer["data"]["findingResolve"]["finding"].is_null(), "{answer:#}");
    (error["code"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
}

async fn by_hand(world: &World, name: &str) -> Uuid {
    let Value::Object(attributes) = json!({ "userName": name, "title": "Local" }) else { unreachable!() };
    user::create(&world.system(), attributes).await.unwrap().id
}

/// What the ledger tells of findings, in its order.
async fn told(world: &World) -> Vec<String> {
    let rows = world.rows("SELECT action FROM event WHERE subject_kind = 'finding' ORDER BY pos", []).await;
    rows.iter().map(|row| row["action"].as_str().unwrap().to_owned()).collect()
}

async fn somebody(world: &World, name: &str, title: &str) -> Uuid {
    let body = json!({ "userName": name, "externalId": format!("x-{name}"), "title": title, "name": { "givenName": "A" },
        "emails": [{ "value": format!("{name}@example.org") }, { "value": format!("{name}@home.example") }] });
    world.scim().post("/Users", body).await.is(201).id()
}

/// An organization of which an export differs in every way.
async fn differing() -> World {
    let world = World::new().await;
    for (name, title) in [("agreed", "Nurse"), ("drifted", "Nurse"), ("orphaned", "Nurse"), ("left", "Nurse")] {
        somebody(&world, name, title).await;
    }
    by_hand(&world, "listed.by.hand").await;
    by_hand(&world, "by.hand").await;
    world
}

const EXPORT: &str = "userPrincipalName,externalId,mail,givenName,jobTitle,accountEnabled\r\n\
    AGREED,x-agreed,Agreed@Example.org,A,Nurse,True\r\n\
    drifted,x-drifted,drifted@example.org,A,Doctor,True\r\n\
    left,x-left,left@example.org,A,Nurse,False\r\n\
    missing,x-missing,missing@example.org,M,Clerk,True\r\n\
    listed.by.hand,x-hand,hand@example.org,H,Clerk,True\r\n\
    never.here,x-never,,,,False\r\n";

#[tokio::test]
async fn every_way_to_differ_is_found_and_known_again() {
    let world = differing().await;
    let before = world.everything().await;
    let answer = csv(&world, EXPORT).await.is(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let run = &answer.body["reconciliation"];
    assert_eq!(
        run["counts"],
        json!({ "rows": 6, "unread": 0, "agreed": 1, "missingHere": 2, "orphanedHere": 2, "drifted": 2, "memberships": 0,
            "leavers": 2, "localAccounts": 2, "unassignedAccounts": 2, "assignedAccounts": 2, "opened": 6, "reopened": 0,
            "gone": 0 })
    );
    let shown: Vec<_> = findings(&world, "").await;
    let mut shown: Vec<_> = shown
        .iter()
        .map(|it| {
            let differences = it["differences"].as_array().unwrap().iter();
            let attributes: Vec<_> = differences.map(|it| it["attribute"].as_str().unwrap()).collect();
            (
                it["label"].as_str().unwrap(),
                it["kind"].as_str().unwrap(),
                it["accountClass"].clone(),
                it["leaver"] == true,
                attributes,
            )
        })
        .collect();
    shown.sort_by_key(|(label, ..)| *label);
    assert_eq!(
        shown,
        [
            ("by.hand", "ORPHANED_HERE", json!("LOCAL"), false, vec!["active"]),
            ("drifted", "DRIFTED", json!("ASSIGNED"), false, vec!["title"]),
            ("left", "DRIFTED", json!("UNASSIGNED"), true, vec!["active"]),
            (
                "listed.by.hand",
                "MISSING_HERE",
                json!("LOCAL"),
                false,
                vec!["active", "emails", "externalId", "name.givenName", "title", "userName"]
            ),
            (
                "missing",
                "MISSING_HERE",
                Value::Null,
                false,
                vec!["active", "emails", "externalId", "name.givenName", "title", "userName"]
            ),
            ("orphaned", "ORPHANED_HERE", json!("UNASSIGNED"), true, vec!["active"]),
        ]
    );
    let drifted = about(&world, "drifted").await;
    assert_eq!(
        drifted["differences"],
        json!([{ "attribute": "title", "theirs": "Doctor", "ours": "Nurse", "changedBy": null }])
    );
    assert_eq!((&drifted["user"]["userName"], &drifted["count"]), (&json!("drifted"), &json!(1)));
    assert_eq!(findings(&world, "leaversOnly: true, states: [OPEN]").await.len(), 2);
    assert_eq!(findings(&world, "kinds: [MISSING_HERE]").await.len(), 2);
    assert_eq!(told(&world).await, vec!["finding.opened"; 6]);
    // Nothing but the findings came of it.
    let after = world.everything().await;
    for (table, n) in before.as_object().unwrap() {
        let new = ["finding", "reconciliation", "events of changes"].contains(&table.as_str());
        assert_eq!(new, after[table] != *n, "{table}");
    }

    // The same again: counted, and no row of the ledger tells anything new of them.
    let answer = csv(&world, EXPORT).await.is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["opened"], 0);
    assert_eq!(told(&world).await.len(), 6);
    assert_eq!(about(&world, "drifted").await["count"], 2);

    // What is put right at the source, or here, is gone; what differs otherwise is still the same finding.
    let export =
        EXPORT.replace("Doctor", "Surgeon").replace("left@example.org,A,Nurse,False", "left@example.org,A,Nurse,True");
    let answer =
        csv(&world, format!("{export}orphaned,x-orphaned,orphaned@home.example,A,Nurse,True\r\n")).await.is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["gone"], 2, "{:#}", answer.body);
    assert_eq!(about(&world, "orphaned").await["state"], "GONE");
    assert_eq!(about(&world, "left").await["state"], "GONE");
    let drifted = about(&world, "drifted").await;
    assert_eq!((&drifted["state"], &drifted["differences"][0]["theirs"]), (&json!("OPEN"), &json!("Surgeon")));
    // And if it comes again, it is open again.
    let answer = csv(&world, EXPORT).await.is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["reopened"], 2);
    assert_eq!(about(&world, "left").await["state"], "OPEN");
    let runs =
        "{ organization { reconciliations(first: 10) { totalCount nodes { state scope source requestedBy finishedAt
        counts { rows leavers } troubles { line why } reason } } } }";
    let runs = world.graphql(runs, json!({})).await["data"]["organization"]["reconciliations"].clone();
    assert_eq!((&runs["totalCount"], &runs["nodes"][0]["state"]), (&json!(4), &json!("SUCCEEDED")), "{runs:#}");
    assert_eq!(runs["nodes"][0]["counts"], json!({ "rows": 6, "leavers": 2 }));
    world.end().await;
}

#[tokio::test]
async fn each_choice_puts_right_what_it_can() {
    let world = differing().await;
    let role = world.graphql("mutation { roleCreate(input: { name: \"Ward\" }) { role { id } } }", json!({})).await;
    let orphan = world.graphql("{ organization { user(userName: \"orphaned\") { id } } }", json!({})).await;
    let grant =
        "mutation($u: ID!, $r: ID!) { roleGrantCreate(input: { userId: $u, roleId: $r }) { userErrors { code } } }";
    let role = &role["data"]["roleCreate"]["role"]["id"];
    world.graphql(grant, json!({ "u": orphan["data"]["organization"]["user"]["id"], "r": role })).await;
    csv(&world, EXPORT).await.is(200);
    assert_eq!(about(&world, "orphaned").await["rolesHeld"], 1);

    // Adopted: the account of nobody is the connection's; the name stays, the rest is what the export says.
    let adopted = done(&world, "listed.by.hand", "choice: ADOPT, reason: \"same person\"").await;
    assert_eq!((&adopted["state"], &adopted["resolution"]), (&json!("RESOLVED"), &json!("ADOPTED")));
    let mine = world.scim().get("/Users?filter=userName%20eq%20%22listed.by.hand%22").await.is(200).body;
    assert_eq!((&mine["totalResults"], &mine["Resources"][0]["title"]), (&json!(1), &json!("Clerk")), "{mine:#}");
    assert_eq!(mine["Resources"][0]["externalId"], "x-hand");
    assert_eq!(mine["Resources"][0]["emails"], Value::Null);
    let id: Uuid = mine["Resources"][0]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(world.events_of(id).await, ["user.created", "user.adopted"]);
    let payload = "SELECT payload FROM event WHERE action = 'user.adopted'";
    assert!(world.rows(payload, []).await[0]["payload"].as_str().unwrap().contains("same person"));

    // Nobody to adopt: what to do instead is said.
    let (code, why) = refused(&world, "missing", "choice: ADOPT").await;
    assert!(code == "HELD" && why.contains("provision"), "{why}");
    assert_eq!(refused(&world, "missing", "choice: SUSPEND").await.0, "HELD");
    assert_eq!(refused(&world, "orphaned", "choice: ADOPT").await.0, "HELD");

    // Suspended, in one transaction with the finding; and it stays put right while nobody turns the account on.
    let suspended = done(&world, "left", "choice: SUSPEND").await;
    assert_eq!((&suspended["resolution"], &suspended["decidedBy"].is_string()), (&json!("SUSPENDED"), &true));
    let left = world.rows("SELECT id, active FROM \"user\" WHERE user_name = 'left'", []).await;
    assert!(left[0]["active"] == false || left[0]["active"] == 0, "{left:?}");
    let rows = "SELECT action FROM event WHERE request_id = (SELECT request_id FROM event WHERE action = 'finding.resolved' \
        ORDER BY pos DESC LIMIT 1) ORDER BY pos";
    let rows = world.rows(rows, []).await;
    assert_eq!(rows, [json!({ "action": "user.suspended" }), json!({ "action": "finding.resolved" })]);

    // Deleted.
    done(&world, "orphaned", "choice: DELETE, reason: \"left in May\"").await;
    assert_eq!(world.count("\"user\" WHERE user_name = 'orphaned' AND deleted_at IS NULL", []).await, 0);
    assert_eq!(world.count("role_grant WHERE until IS NULL", []).await, 0);
    // What is done is not done twice.
    let (code, why) = refused(&world, "orphaned", "choice: DELETE").await;
    assert!(code == "HELD" && why.contains("already"), "{why}");

    // The next comparison finds what is left, and that the rest is gone or stays right.
    let answer = csv(&world, EXPORT).await.is(200);
    let counts = &answer.body["reconciliation"]["counts"];
    assert_eq!((&counts["reopened"], &counts["opened"]), (&json!(0), &json!(1)), "{counts:#}");
    // Addresses are not taken over by an adoption; so they differ now.
    let drifted = findings(&world, "kinds: [DRIFTED], states: [OPEN]").await;
    let addresses = drifted.iter().find(|finding| finding["label"] == "listed.by.hand").unwrap();
    assert_eq!(addresses["differences"][0]["attribute"], "emails");
    for (label, state) in [("left", "RESOLVED"), ("orphaned", "RESOLVED"), ("drifted", "OPEN"), ("by.hand", "OPEN")] {
        assert_eq!(about(&world, label).await["state"], state, "{label}");
    }
    world.end().await;
}

#[tokio::test]
async fn an_acceptance_needs_a_reason_and_ends() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    assert_eq!(refused(&world, "by.hand", "choice: ACCEPT").await.0, "INVALID");
    assert_eq!(refused(&world, "by.hand", "choice: ACCEPT, reason: \" \"").await.0, "INVALID");
    let past = "choice: ACCEPT, reason: \"x\", until: \"2001-01-01T00:00:00Z\"";
    assert_eq!(refused(&world, "by.hand", past).await.0, "INVALID");
    let end = (world.app.clock.now() + chrono::Duration::days(30)).to_rfc3339();
    let until = format!("choice: SUSPEND, until: \"{end}\"");
    assert_eq!(refused(&world, "by.hand", &until).await.0, "INVALID");

    let accepted = done(&world, "by.hand", &format!("choice: ACCEPT, reason: \"break glass\", until: \"{end}\"")).await;
    assert_eq!((&accepted["state"], &accepted["reason"]), (&json!("ACCEPTED"), &json!("break glass")));
    done(&world, "drifted", "choice: ACCEPT, reason: \"locum\"").await;
    let answer = csv(&world, EXPORT).await.is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["reopened"], 0);
    assert_eq!(findings(&world, "states: [ACCEPTED]").await.len(), 2);
    // What was accepted is not what it is any more.
    csv(&world, EXPORT.replace("Doctor", "Surgeon")).await.is(200);
    assert_eq!(about(&world, "drifted").await["state"], "OPEN");

    // From its end on it is open, also before anybody has written that down, and then that is told.
    world.days_pass(31);
    assert_eq!(about(&world, "by.hand").await["state"], "OPEN");
    assert_eq!(findings(&world, "states: [ACCEPTED]").await.len(), 0);
    assert!(findings(&world, "states: [OPEN]").await.iter().any(|finding| finding["label"] == "by.hand"));
    rolecall::domain::reconcile::reopen_due(&world.app).await.unwrap();
    let open = about(&world, "by.hand").await;
    assert_eq!((&open["state"], &open["reason"]), (&json!("OPEN"), &Value::Null));
    assert_eq!(told(&world).await.iter().filter(|action| *action == "finding.acceptance_ended").count(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_partial_export_is_not_believed() {
    let world = World::new().await;
    for n in 0..30 {
        world.scim().user(&format!("person{n}")).await;
    }
    let half: String = (0..15).map(|n| format!("person{n}\n")).collect();
    let before = world.count("finding", []).await;
    for text in [format!("userName\n{half}"), "userName\nstranger\n".into()] {
        let refused = csv(&world, text).await.is(409);
        assert_eq!(codes(&refused.body), ["HELD"]);
        assert!(refused.body.to_string().contains("confirm=true"), "{:#}", refused.body);
    }
    assert_eq!(world.count("finding", []).await, before);
    assert_eq!(world.count("reconciliation WHERE state = 'REFUSED'", []).await, 2);
    assert_eq!(world.count("event WHERE action = 'reconciliation.refused'", []).await, 2);
    let id = connection(&world).await;
    let answer = upload(&world.acme, &id, "confirm=true", "text/csv", format!("userName\n{half}")).await.is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["orphanedHere"], 15);

    // Whoever stands in a line that cannot be read is not gone, and nothing is closed by that.
    let most: String = (0..29).map(|n| format!("person{n}\n")).collect();
    let answer = csv(&world, format!("userName\n{most}\u{0}\n")).await.is(200);
    let run = &answer.body["reconciliation"];
    assert_eq!((&run["counts"]["orphanedHere"], &run["counts"]["gone"]), (&json!(0), &json!(0)), "{run:#}");
    assert_eq!(run["troubles"][0]["line"], 31);
    assert!(run["reason"].as_str().unwrap().contains("not judged"));
    assert_eq!(findings(&world, "states: [OPEN]").await.len(), 15);
    let answer = csv(&world, format!("userName\n{most}person29\n")).await.is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["gone"], 15);
    world.end().await;
}

#[tokio::test]
async fn what_an_export_does_not_speak_of_is_left_as_it_was() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    // Titles are compared in the next one, and nothing else: nobody's activity is known to agree by that.
    let titles = "userName,title\nagreed,Nurse\ndrifted,Nurse\nleft,Doctor\norphaned,Nurse\n";
    csv(&world, titles).await.is(200);
    assert_eq!(about(&world, "drifted").await["state"], "GONE");
    let left = about(&world, "left").await;
    let attributes = left["differences"].as_array().unwrap().iter().map(|it| it["attribute"].as_str().unwrap());
    assert_eq!(attributes.collect::<Vec<_>>(), ["active", "title"]);
    csv(&world, titles.replace("Doctor", "Nurse")).await.is(200);
    let left = about(&world, "left").await;
    assert_eq!((&left["state"], left["differences"].as_array().unwrap().len()), (&json!("OPEN"), 1));
    csv(&world, "userName,active\nagreed,true\ndrifted,true\nleft,true\norphaned,true\n").await.is(200);
    assert_eq!(about(&world, "left").await["state"], "GONE");
    world.end().await;
}

#[tokio::test]
async fn our_own_list_handed_back_differs_in_nothing() {
    let world = World::new().await;
    let ada = somebody(&world, "ada", "Nurse").await;
    let bob = world.scim().user("bob").await;
    world
        .scim()
        .patch(&format!("/Users/{bob}"), json!([{ "op": "replace", "path": "active", "value": false }]))
        .await
        .is(200);
    world.scim().group("Ward 3", &[ada, bob]).await;
    let id = connection(&world).await;
    for (list, kind, agreed) in [("/Users", "users", 2), ("/Groups", "memberships", 2)] {
        let listed = world.scim().get(list).await.is(200);
        let resources = listed.body["Resources"].as_array().unwrap();
        let lines: String = resources.iter().map(|resource| format!("{resource}\n")).collect();
        let answer = upload(&world.acme, &id, &format!("kind={kind}"), "application/jsonl", lines).await.is(200);
        let run = &answer.body["reconciliation"];
        assert_eq!((&run["counts"]["agreed"], &run["counts"]["opened"]), (&json!(agreed), &json!(0)), "{run:#}");
    }
    world.end().await;
}

#[tokio::test]
async fn memberships_differ_too() {
    let world = World::new().await;
    let (ada, bob, eve) =
        (world.scim().user("ada").await, world.scim().user("bob").await, world.scim().user("eve").await);
    let ward = world.scim().group("Ward 3", &[ada, bob]).await;
    world.scim().group("Other", &[eve]).await;
    let id = connection(&world).await;
    let export = "Group Name,userPrincipalName\nward 3,ada\nWard 3,EVE\nOther,eve\nOther,stranger\nNowhere,ada\n";
    let answer = upload(&world.acme, &id, "kind=memberships", "text/csv", export).await.is(200);
    let run = &answer.body["reconciliation"];
    assert_eq!((&run["counts"]["memberships"], &run["counts"]["agreed"]), (&json!(2), &json!(2)), "{run:#}");
    assert!(run["reason"].as_str().unwrap().starts_with("1 groups and 1 members"), "{run:#}");
    let (extra, lacking) = (about(&world, "bob").await, about(&world, "eve").await);
    let theirs = |finding: &Value| finding["differences"][0]["theirs"].clone();
    assert_eq!((theirs(&extra), theirs(&lacking)), (json!(false), json!(true)));
    assert_eq!(extra["group"]["displayName"], "Ward 3");
    assert_eq!(refused(&world, "bob", "choice: SUSPEND").await.0, "HELD");
    assert_eq!(refused(&world, "eve", "choice: DELETE").await.0, "HELD");
    done(&world, "bob", "choice: DELETE").await;
    assert_eq!(world.scim().members(ward).await, [ada]);
    world
        .scim()
        .patch(&format!("/Groups/{ward}"), json!([{ "op": "add", "path": "members", "value": [{ "value": eve }] }]))
        .await
        .is(200);
    let answer = upload(&world.acme, &id, "kind=memberships", "text/csv", export).await.is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["gone"], 1);
    assert_eq!(about(&world, "eve").await["state"], "GONE");
    let refused =
        upload(&world.acme, &id, "kind=memberships", "text/csv", "group,userName\nNowhere,ada\n").await.is(409);
    assert_eq!(codes(&refused.body), ["HELD"]);
    world.end().await;
}

#[tokio::test]
async fn what_was_changed_here_after_the_last_write_has_drifted() {
    let world = World::new().await;
    let (ada, bob, eve) = (
        somebody(&world, "ada", "Nurse").await,
        somebody(&world, "bob", "Nurse").await,
        somebody(&world, "eve", "Nurse").await,
    );
    let ward = world.scim().group("Ward 3", &[ada, bob]).await;
    let id = connection(&world).await;
    let start = "mutation($c: ID!) { reconciliationStart(input: { connectionId: $c }) {
        reconciliation { id state source scope counts { rows drifted missingHere memberships leavers opened gone agreed } }
        userErrors { code } } }";
    let compare = async |what: &str| {
        let answer = world.graphql(start, json!({ "c": id })).await;
        let run = answer["data"]["reconciliationStart"]["reconciliation"].clone();
        assert_eq!(run["state"], "SUCCEEDED", "{what}: {answer:#}");
        run["counts"].clone()
    };
    assert_eq!(compare("nothing").await["rows"], 0, "nobody has changed anything by hand");

    let global = async |name: &str| {
        let query = "query($n: String!) { organization { user(userName: $n) { id } } }";
        world.graphql(query, json!({ "n": name })).await["data"]["organization"]["user"]["id"].clone()
    };
    let edit = "mutation($u: ID!, $t: String!) { userUpdate(input: { id: $u, title: $t }) { userErrors { message } } }";
    world.graphql(edit, json!({ "u": global("ada").await, "t": "Doctor" })).await;
    let groups = world.graphql("{ organization { groups(first: 1) { nodes { id } } } }", json!({})).await;
    let group = &groups["data"]["organization"]["groups"]["nodes"][0]["id"];
    for (mutation, name) in [("groupRemoveMembers", "bob"), ("groupAddMembers", "eve")] {
        let change = format!(
            "mutation($g: ID!, $u: ID!) {{ {mutation}(input: {{ id: $g, memberIds: [$u] }}) {{ userErrors {{ message }} }} }}"
        );
        let answer = world.graphql(&change, json!({ "g": group, "u": global(name).await })).await;
        assert_eq!(answer["data"][mutation]["userErrors"], json!([]), "{answer:#}");
    }
    // Turned off by the identity provider, and on again by hand: they left, and are still active here.
    world
        .scim()
        .patch(&format!("/Users/{eve}"), json!([{ "op": "replace", "path": "active", "value": false }]))
        .await
        .is(200);
    let on = "mutation($u: ID!) { userReactivate(input: { id: $u }) { userErrors { message } } }";
    let answer = world.graphql(on, json!({ "u": global("eve").await })).await;
    assert_eq!(answer["data"]["userReactivate"]["userErrors"], json!([]), "{answer:#}");

    let counts = compare("changes").await;
    assert_eq!(
        (&counts["drifted"], &counts["memberships"], &counts["leavers"], &counts["opened"]),
        (&json!(2), &json!(2), &json!(1), &json!(4)),
        "{counts:#}"
    );
    let drifted = findings(&world, "kinds: [DRIFTED]").await;
    let ada_drifted = drifted.iter().find(|finding| finding["label"] == "ada").unwrap();
    let difference = &ada_drifted["differences"][0];
    assert_eq!((&difference["theirs"], &difference["ours"]), (&json!("Nurse"), &json!("Doctor")));
    assert!(difference["changedBy"].is_string(), "{difference:#}");
    assert_eq!(findings(&world, "leaversOnly: true").await[0]["label"], "eve");

    // The identity provider has its say again: by another attribute it says nothing of this one, by this one it does.
    world
        .scim()
        .patch(&format!("/Users/{ada}"), json!([{ "op": "replace", "path": "nickName", "value": "A" }]))
        .await
        .is(200);
    assert_eq!(compare("another attribute").await["drifted"], 2);
    world
        .scim()
        .patch(&format!("/Users/{ada}"), json!([{ "op": "replace", "path": "title", "value": "Nurse" }]))
        .await
        .is(200);
    world
        .scim()
        .patch(&format!("/Groups/{ward}"), json!([{ "op": "add", "path": "members", "value": [{ "value": bob }] }]))
        .await
        .is(200);
    let counts = compare("written again").await;
    assert_eq!(
        (&counts["gone"], &counts["drifted"], &counts["memberships"]),
        (&json!(2), &json!(1), &json!(1)),
        "{counts:#}"
    );

    // Deleted by hand, and believed to be there.
    let delete = "mutation($u: ID!) { userDelete(input: { id: $u }) { userErrors { message } } }";
    let answer = world.graphql(delete, json!({ "u": global("bob").await })).await;
    assert_eq!(answer["data"]["userDelete"]["userErrors"], json!([]), "{answer:#}");
    assert_eq!(compare("deleted").await["missingHere"], 1);
    // The two sources know nothing of each other's findings.
    csv(&world, "userName,title\nada,Nurse\neve,Nurse\n").await.is(200);
    assert_eq!(findings(&world, "states: [OPEN], kinds: [MISSING_HERE]").await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn nobody_is_locked_out_by_a_list() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    let query = "{ organization { user(userName: \"orphaned\") { id } } }";
    let global = world.graphql(query, json!({})).await["data"]["organization"]["user"]["id"].clone();
    let role =
        "mutation { roleCreate(input: { name: \"Admin\", management: true }) { role { id } userErrors { message } } }";
    let role = world.graphql(role, json!({})).await;
    let grant =
        "mutation($u: ID!, $r: ID!) { roleGrantCreate(input: { userId: $u, roleId: $r }) { userErrors { code } } }";
    let made = world.graphql(grant, json!({ "u": global, "r": role["data"]["roleCreate"]["role"]["id"] })).await;
    assert_eq!(made["data"]["roleGrantCreate"]["userErrors"], json!([]), "{made:#} {role:#}");
    let before = world.everything().await;
    for choice in ["SUSPEND", "DELETE"] {
        let (code, why) = refused(&world, "orphaned", &format!("choice: {choice}")).await;
        assert!(code == "HELD" && why.contains("last holder"), "{why}");
    }
    assert_eq!(world.everything().await, before);
    world.execute("UPDATE \"user\" SET protected = TRUE WHERE connection_id IS NULL", []).await;
    for (label, choice) in [("by.hand", "SUSPEND"), ("by.hand", "DELETE"), ("listed.by.hand", "ADOPT")] {
        let (code, why) = refused(&world, label, &format!("choice: {choice}")).await;
        assert!(code == "HELD" && why.contains("protected"), "{why}");
    }
    world.end().await;
}

/// Another connection of acme.
async fn other_connection(world: &World) -> Uuid {
    let make = "mutation { connectionCreate(input: { name: \"Other\" }) { connection { id } userErrors { message } } }";
    let made = world.graphql(make, json!({})).await;
    assert_eq!(made["data"]["connectionCreate"]["userErrors"], json!([]), "{made:#}");
    rolecall::domain::connection::by_name(&world.system(), "Other").await.unwrap().unwrap().id
}

#[tokio::test]
async fn a_list_takes_nothing_from_those_whom_it_does_not_speak_against() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    let other = other_connection(&world).await;
    // Whose account it was when it was found is not whose it is now.
    for name in ["by.hand", "orphaned"] {
        let change = "UPDATE \"user\" SET connection_id = $1 WHERE user_name = $2";
        world.execute(change, [other.into(), name.into()]).await;
    }
    let before = world.everything().await;
    for choice in ["SUSPEND", "DELETE"] {
        for label in ["by.hand", "orphaned"] {
            let (code, why) = refused(&world, label, &format!("choice: {choice}")).await;
            assert!(code == "HELD" && why.contains("somebody else"), "{label}: {why}");
        }
        // And of these the identity provider says that they are there.
        for label in ["drifted", "listed.by.hand"] {
            let (code, why) = refused(&world, label, &format!("choice: {choice}")).await;
            assert!(code == "HELD" && why.contains("or accept"), "{label}: {why}");
        }
    }
    assert_eq!(world.everything().await, before);
    // Who bears a name that another connection's account bears cannot simply be provisioned.
    csv(&world, format!("{EXPORT}by.hand,x-other,,,,True\r\n")).await.is(200);
    let all = findings(&world, "kinds: [MISSING_HERE]").await;
    let missing = all.iter().find(|finding| finding["label"] == "by.hand").unwrap_or_else(|| panic!("{all:#?}"));
    assert_eq!((&missing["user"]["userName"], &missing["accountClass"]), (&json!("by.hand"), &Value::Null));
    assert!(missing["nextStep"].as_str().unwrap().contains("another connection"), "{missing:#}");
    world.end().await;
}

#[tokio::test]
async fn who_is_read_from_a_source_is_not_adopted_by_an_export() {
    let world = differing().await;
    world.execute("UPDATE connection SET kind = 'SCIM_PULL'", []).await;
    // The source's ids are known here, and not what the source itself calls externalId.
    csv(&world, EXPORT.replace("x-agreed", "y-agreed")).await.is(200);
    let all = findings(&world, "kinds: [DRIFTED]").await;
    assert!(!all.iter().any(|finding| finding["label"] == "AGREED" || finding["label"] == "agreed"), "{all:#?}");
    let before = world.everything().await;
    let (code, why) = refused(&world, "listed.by.hand", "choice: ADOPT").await;
    assert!(code == "HELD" && why.contains("its source"), "{why}");
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn a_line_that_cannot_be_read_closes_nothing() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    let export = EXPORT.replace("left,x-left,left@example.org,A,Nurse,False", ",,,,,False");
    let export = export.replace("drifted,x-drifted,drifted@example.org,A,Doctor", ",,,,") + "by.hand,,,,,False\r\n";
    let answer = csv(&world, export).await.is(200);
    let counts = &answer.body["reconciliation"]["counts"];
    assert_eq!(
        (&counts["unread"], &counts["gone"], &counts["leavers"]),
        (&json!(2), &json!(0), &json!(1)),
        "{counts:#}"
    );
    for label in ["left", "drifted", "missing"] {
        assert_eq!(about(&world, label).await["state"], "OPEN", "{label}");
    }
    // Who is listed as inactive is judged all the same.
    assert_eq!(about(&world, "by.hand").await["leaver"], true);
    world.end().await;
}

#[tokio::test]
async fn members_of_other_owners_are_known_by_name() {
    let world = World::new().await;
    let mut members = Vec::new();
    for name in ["ada", "bob", "hand"] {
        members.push(world.scim().user(name).await);
    }
    world.scim().group("Ward 3", &members).await;
    // As when another connection was deleted and left its people behind.
    world.execute("UPDATE \"user\" SET connection_id = NULL WHERE user_name = 'hand'", []).await;
    let id = connection(&world).await;
    // Listed or not: of somebody whom no identity provider knows nothing is found.
    for (rows, agreed) in [("Ward 3,ada\nWard 3,bob\nWard 3,HAND\n", 3), ("Ward 3,ada\nWard 3,bob\n", 2)] {
        let export = format!("group,userName\n{rows}");
        let answer = upload(&world.acme, &id, "kind=memberships", "text/csv", export).await.is(200);
        let run = &answer.body["reconciliation"];
        assert_eq!((&run["counts"]["agreed"], &run["counts"]["memberships"]), (&json!(agreed), &json!(0)), "{run:#}");
        assert_eq!(run["reason"], Value::Null, "{run:#}");
    }
    // A protected account keeps its groups, and why somebody else left one is told where an erasure reaches it.
    upload(&world.acme, &id, "kind=memberships", "text/csv", "group,userName\nWard 3,ada\n").await.is(200);
    world.execute("UPDATE \"user\" SET protected = TRUE WHERE user_name = 'bob'", []).await;
    let before = world.everything().await;
    let (code, why) = refused(&world, "bob", "choice: DELETE").await;
    assert!(code == "HELD" && why.contains("protected"), "{why}");
    assert_eq!(world.everything().await, before);
    world.execute("UPDATE \"user\" SET protected = FALSE WHERE user_name = 'bob'", []).await;
    let done = done(&world, "bob", "choice: DELETE, reason: \"needle left\"").await;
    assert_eq!(done["reason"], "needle left");
    let told = world.rows("SELECT payload FROM event WHERE subject_kind = 'group' ORDER BY pos DESC", []).await;
    let told: Vec<_> = told.iter().map(|row| row["payload"].as_str().unwrap()).collect();
    assert!(told[0].contains("findingId") && !told[0].contains("needle"), "{}", told[0]);
    world.end().await;
}

#[tokio::test]
async fn what_is_finished_is_forgotten() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    done(&world, "left", "choice: SUSPEND").await;
    csv(&world, EXPORT.replace("missing,x-missing,missing@example.org,M,Clerk,True\r\n", "")).await.is(200);
    let open = world.count("finding WHERE state = 'OPEN'", []).await;
    world.days_pass(89);
    rolecall::domain::reconcile::forget(&world.app).await.unwrap();
    assert_eq!(world.count("finding WHERE state IN ('GONE', 'RESOLVED')", []).await, 2);
    world.days_pass(2);
    rolecall::domain::reconcile::forget(&world.app).await.unwrap();
    assert_eq!(world.count("finding WHERE state IN ('GONE', 'RESOLVED')", []).await, 0);
    assert_eq!(world.count("finding", []).await, open);
    assert_eq!(world.count("reconciliation", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn a_slow_upload_is_in_the_way_of_its_own_organization_alone() {
    let world = differing().await;
    let globex = world.second_organization().await;
    let (id, key) = (connection(&world).await, &world.acme.api_key);
    let theirs = globex.graphql("{ organization { connections(first: 1) { nodes { id } } } }", json!({})).await;
    let theirs = theirs["data"]["organization"]["connections"]["nodes"][0]["id"].as_str().unwrap().to_owned();
    let mut slow = tokio::net::TcpStream::connect(world.address.trim_start_matches("http://")).await.unwrap();
    let path = world.acme.graphql.trim_start_matches(&world.address).trim_end_matches("/graphql").to_owned();
    let head = format!(
        "POST {path}/reconciliations?connection={id}&kind=users HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\
         content-type: text/csv\r\ncontent-length: 1000\r\n\r\nuserName\n"
    );
    tokio::io::AsyncWriteExt::write_all(&mut slow, head.as_bytes()).await.unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while csv(&world, EXPORT).await.status != 429 {
        assert!(std::time::Instant::now() < until, "the slow upload holds no place");
    }
    upload(&globex, &theirs, "kind=users", "text/csv", "userName\nada\n").await.is(200);
    drop(slow);
    while csv(&world, EXPORT).await.status != 200 {
        assert!(std::time::Instant::now() < until, "the place is not given back");
    }
    world.end().await;
}

#[tokio::test]
async fn who_may_compare_and_who_may_decide() {
    let world = differing().await;
    let globex = world.second_organization().await;
    let id = connection(&world).await;
    let key = async |permissions: &[Permission]| crate::bulk::key_with(&world, permissions).await.secret;
    let (reader, reviewer, writer) = (
        key(&[Permission::IamRead, Permission::UserRead]).await,
        key(&[Permission::IamRead, Permission::UserRead, Permission::ReviewWrite]).await,
        key(&[Permission::IamWrite]).await,
    );
    let before = world.everything().await;
    for (credential, connection, status) in [
        ("", &id, 401),
        (world.scim().token.as_str(), &id, 401),
        (&reader, &id, 403),
        // Who may not is not told what is there.
        (&reader, &"nonsense".to_owned(), 403),
        (&globex.api_key, &id, 404),
        (&world.acme.api_key, &"nonsense".to_owned(), 404),
    ] {
        upload_as(&world.acme, credential, connection, "", "text/csv", EXPORT).await.is(status);
    }
    assert_eq!(world.everything().await, before);
    // Whoever may compare learns numbers; the findings are for those who may read them.
    upload_as(&world.acme, &writer, &id, "", "text/csv", EXPORT).await.is(200);
    let orphan = about(&world, "orphaned").await;
    let answer = resolve_as(&world, &reader, &orphan, "choice: ACCEPT, reason: \"x\"").await;
    assert_eq!(codes(&answer), ["FORBIDDEN"]);
    for choice in ["SUSPEND", "DELETE"] {
        for finding in [&orphan, &json!({ "id": "nonsense" })] {
            let answer = resolve_as(&world, &reviewer, finding, &format!("choice: {choice}")).await;
            assert_eq!(codes(&answer), ["FORBIDDEN"], "{answer:#}");
        }
    }
    let answer = resolve_as(&world, &reviewer, &orphan, "choice: ACCEPT, reason: \"x\"").await;
    assert_eq!(answer["data"]["findingResolve"]["finding"]["state"], "ACCEPTED", "{answer:#}");
    world.end().await;
}

#[tokio::test]
async fn rubbish_and_too_much_are_refused_and_leave_nothing() {
    let world = differing().await;
    let id = connection(&world).await;
    let before = world.everything().await;
    let long = format!("userName,title\nada,{}\n", "x".repeat(20_000));
    let many = format!("userName\n{}", "a\n".repeat(250_001));
    for (parameters, content_type, body, status, word) in [
        ("", "text/csv", "", 400, "no row"),
        ("", "text/csv", "a,b\n1,2\n", 400, "line 1"),
        ("", "text/csv", "userName,title\nada\n", 400, "line 2"),
        ("", "text/csv", "userName,title\n,x\n", 400, "line 2"),
        ("", "application/jsonl", "{\"userName\": \"ada\"\n", 400, "line 1"),
        ("", "application/x-ndjson", "[]\n", 400, "line 1"),
        ("", "text/csv", &long, 400, "line 2"),
        ("", "text/csv", &many, 413, "250000"),
        ("", "text/plain", EXPORT, 415, "text/csv"),
        ("", "", EXPORT, 415, "text/csv"),
        ("kind=nonsense", "text/csv", EXPORT, 400, "kind"),
        ("confirm=perhaps", "text/csv", EXPORT, 400, "confirm"),
        ("other=1", "text/csv", EXPORT, 400, "other"),
        ("kind=memberships", "text/csv", "userName\nada\n", 400, "line 1"),
        ("kind=memberships", "application/jsonl", "{\"displayName\": \"Ward\"}\n", 400, "line 1"),
    ] {
        let refused = upload(&world.acme, &id, parameters, content_type, body.to_owned()).await.is(status);
        assert_eq!(codes(&refused.body), ["BAD_USER_INPUT"]);
        assert!(refused.body.to_string().contains(word), "{word}: {:#}", refused.body);
    }
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn an_erasure_reaches_findings() {
    let world = World::new().await;
    let cx = world.system();
    let needle = somebody(&world, "needle", "needle").await;
    csv(&world, "userName,externalId,title\nneedle,x-needle,Doctor\nmissing,x-missing,Clerk\n").await.is(200);
    done(&world, "needle", "choice: ACCEPT, reason: \"needle asked for it\"").await;
    user::delete(&cx, needle, |_| Ok(())).await.unwrap();
    // Once deleted they are missing, by name alone.
    csv(&world, "userName,externalId,title\nneedle,x-needle,Doctor\nother,x-other,\n").await.is(200);
    assert_eq!(world.count("finding WHERE label = 'needle'", []).await, 2);
    erasure::purge(&cx, needle).await.unwrap();
    assert_eq!(world.count("finding WHERE label = 'needle'", []).await, 0);
    assert!(world.count("finding", []).await > 0, "those about others stay");
    let told = "SELECT payload FROM event WHERE subject_kind IN ('finding', 'reconciliation')";
    assert!(!world.rows(told, []).await.iter().any(|row| row["payload"].as_str().unwrap().contains("needle")));
    world.end().await;
}

#[tokio::test]
async fn an_erasure_reaches_whoever_is_listed_under_another_name() {
    let world = World::new().await;
    let cx = world.system();
    let needle = somebody(&world, "needle", "Nurse").await;
    user::delete(&cx, needle, |_| Ok(())).await.unwrap();
    csv(&world, "userName,externalId,title\nrenamed,x-needle,Doctor\nother,x-other,\n").await.is(200);
    assert_eq!(world.count("finding WHERE label = 'renamed'", []).await, 1);
    erasure::purge(&cx, needle).await.unwrap();
    assert_eq!(world.count("finding WHERE label = 'renamed'", []).await, 0);
    assert_eq!(world.count("finding WHERE label = 'other'", []).await, 1);
    world.end().await;
}

#[tokio::test]
async fn one_comparison_of_a_connection_at_a_time() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    world.execute("UPDATE reconciliation SET state = 'RUNNING', finished_at = NULL", []).await;
    let refused = csv(&world, EXPORT).await.is(409);
    assert_eq!(codes(&refused.body), ["HELD"]);
    // A dead server's comparison is in nobody's way.
    world.app.clock.advance(std::time::Duration::from_secs(11 * 60));
    csv(&world, EXPORT).await.is(200);
    assert_eq!(world.count("reconciliation WHERE state = 'FAILED'", []).await, 1);
    // And with the connection goes what was found.
    let delete =
        "mutation($c: ID!) { connectionDelete(input: { id: $c, usersBecomeManual: true }) { userErrors { message } } }";
    let answer = world.graphql(delete, json!({ "c": connection(&world).await })).await;
    assert_eq!(answer["data"]["connectionDelete"]["userErrors"], json!([]), "{answer:#}");
    assert_eq!(findings(&world, "states: [OPEN, ACCEPTED]").await.len(), 0);
    world.end().await;
}
