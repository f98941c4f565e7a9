//! The counts of a run, the predictions of a dry run, and changes of a source that need an
//! approval.

use serde_json::{Value, json};

use super::hostile::{Hostile, person};
use super::{ended, part, pulling, reader, sync};
use crate::world::World;

/// A source with this many people, and a connection that reads it.
async fn source_of(here: &World, people: usize) -> (std::sync::Arc<Hostile>, Value) {
    let (source, address) = Hostile::serve().await;
    source.lists(people);
    let pull = json!({ "baseUrl": address, "secret": "id+/", "pageSize": 25 });
    (source, pulling(&here.acme, pull).await)
}

fn group(n: usize, members: std::ops::Range<usize>) -> Value {
    let members: Vec<Value> = members.map(|n| json!({ "value": format!("r{n}") })).collect();
    json!({ "id": format!("g{n}"), "displayName": format!("Group {n}"), "members": members, "schemas": [] })
}

async fn approve(here: &World, run: &Value) -> Value {
    let approve = "mutation($r: ID!) { syncApprove(input: { id: $r }) { userErrors { message } } }";
    let approved = here.graphql(approve, json!({ "r": run["id"] })).await;
    assert_eq!(approved["data"]["syncApprove"]["userErrors"], json!([]), "{approved:#}");
    ended(&here.acme, &run["id"]).await
}

/// The source lists 400 people. 60 of them fail: 20 have the user name of an account that was made
/// by hand, 20 have the user name of another listed person, and 20 have no user name.
#[tokio::test]
async fn each_failure_is_counted_once_and_predicted() {
    let here = reader().await;
    let (source, connection) = source_of(&here, 400).await;
    for n in 0..20 {
        here.scim().user(&format!("p{n}")).await;
        source.sets(20 + n, "userName", json!(format!("P{}", 100 + n)));
        source.sets(40 + n, "userName", json!(null));
    }
    // A manager that is listed after its report makes the run read the people twice.
    source.sets(
        60,
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
        json!({ "manager": { "value": "r399" } }),
    );
    *source.groups.lock().unwrap() = vec![group(0, 100..103), group(1, 0..0)];
    source.groups.lock().unwrap()[1]["displayName"] = json!(7);
    let names = ["read", "created", "updated", "unchanged", "failed"];
    let expected = [400, 340, 0, 0, 60].map(|count| json!(count));

    let (users, events) = (
        here.count("\"user\"", []).await,
        here.count("event WHERE action LIKE 'user.%'", []).await,
    );
    let dry = sync(&here.acme, &connection, "mode: DRY_RUN").await;
    assert_eq!(part(&dry, "users", &names), expected.each_ref(), "{dry:#}");
    assert_eq!(
        (&dry["groups"]["created"], &dry["groups"]["failed"]),
        (&json!(1), &json!(1)),
        "{dry:#}"
    );
    assert_eq!(dry["troubles"].as_array().unwrap().len(), 61, "{dry:#}");
    assert_eq!(here.count("\"user\"", []).await, users);
    assert_eq!(here.count("event WHERE action LIKE 'user.%'", []).await, events);
    assert_eq!(here.count("failure", []).await, 0);

    let full = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(part(&full, "users", &names), expected.each_ref(), "{full:#}");
    assert_eq!(
        (&full["groups"]["created"], &full["groups"]["failed"]),
        (&json!(1), &json!(1)),
        "{full:#}"
    );
    assert_eq!(full["troubles"].as_array().unwrap().len(), 61, "{full:#}");
    assert_eq!(here.count("failure", []).await, 61);
    here.end().await;
}

#[tokio::test]
async fn dry_run_predicts_changes_and_removals() {
    let here = reader().await;
    let (source, connection) = source_of(&here, 30).await;
    *source.groups.lock().unwrap() = vec![group(0, 0..20)];
    sync(&here.acme, &connection, "mode: FULL").await;
    source.sets(0, "active", json!(false));
    source.sets(1, "displayName", json!("Renamed"));
    source.sets(2, "userName", json!("p3"));
    source.people.lock().unwrap().truncate(28);
    *source.groups.lock().unwrap() = vec![group(0, 1..20)];
    let names = ["updated", "suspended", "deleted", "failed"];
    let dry = sync(&here.acme, &connection, "mode: DRY_RUN").await;
    assert_eq!(here.count("\"user\" WHERE deleted_at IS NOT NULL OR NOT active", []).await, 0);
    let full = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(
        part(&dry, "users", &names),
        [1, 1, 2, 1].map(|count| json!(count)).each_ref(),
        "{dry:#}"
    );
    assert_eq!(part(&full, "users", &names), part(&dry, "users", &names), "{full:#}");
    assert_eq!(
        (&dry["groups"]["updated"], &full["groups"]["updated"]),
        (&json!(1), &json!(1)),
        "{full:#}"
    );
    here.end().await;
}

#[tokio::test]
async fn suspending_all_accounts_needs_an_approval() {
    let here = reader().await;
    let (source, connection) = source_of(&here, 40).await;
    *source.groups.lock().unwrap() = vec![group(0, 0..20)];
    sync(&here.acme, &connection, "mode: FULL").await;
    let active = async || here.count("\"user\" WHERE active AND deleted_at IS NULL", []).await;
    let before = active().await;
    for n in 0..40 {
        source.sets(n, "active", json!("False"));
    }
    let dry = sync(&here.acme, &connection, "mode: DRY_RUN").await;
    assert_eq!(
        (&dry["state"], &dry["users"]["suspended"]),
        (&json!("SUCCEEDED"), &json!(40)),
        "{dry:#}"
    );
    assert!(
        dry["message"].as_str().unwrap().contains("would ask before it suspends 40 of 40"),
        "{dry:#}"
    );
    for mode in ["mode: FULL", "mode: INCREMENTAL"] {
        let run = sync(&here.acme, &connection, mode).await;
        assert_eq!((&run["state"], active().await), (&json!("WAITING"), before), "{mode}: {run:#}");
        assert!(
            run["message"].as_str().unwrap().contains("suspends 40 of 40 active accounts"),
            "{run:#}"
        );
        let cancel =
            "mutation($r: ID!) { syncCancel(input: { id: $r }) { userErrors { message } } }";
        here.graphql(cancel, json!({ "r": run["id"] })).await;
    }
    // The approval of suspensions is no approval of removals.
    source.people.lock().unwrap().truncate(20);
    let waiting = sync(&here.acme, &connection, "mode: FULL").await;
    assert!(waiting["message"].as_str().unwrap().contains("suspends 20 of 40"), "{waiting:#}");
    let waiting = approve(&here, &waiting).await;
    assert_eq!(
        (&waiting["state"], active().await),
        (&json!("WAITING"), before - 20),
        "{waiting:#}"
    );
    assert!(waiting["message"].as_str().unwrap().contains("20 of 40 accounts"), "{waiting:#}");
    let run = approve(&here, &waiting).await;
    assert_eq!(run["state"], "SUCCEEDED", "{run:#}");
    let counts = part(&run, "users", &["read", "suspended", "deleted", "failed"]);
    assert_eq!(counts, [20, 20, 20, 0].map(|count| json!(count)).each_ref(), "{run:#}");
    assert_eq!(active().await, before - 40);
    here.end().await;
}

#[tokio::test]
async fn few_suspensions_need_no_approval() {
    let here = reader().await;
    let (source, connection) = source_of(&here, 40).await;
    sync(&here.acme, &connection, "mode: FULL").await;
    for n in 0..10 {
        source.sets(n, "active", json!(false));
    }
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(
        (&run["state"], &run["users"]["suspended"]),
        (&json!("SUCCEEDED"), &json!(10)),
        "{run:#}"
    );
    assert_eq!(
        (&run["users"]["read"], &run["users"]["unchanged"]),
        (&json!(40), &json!(30)),
        "{run:#}"
    );
    let again = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(again["users"]["unchanged"], 40, "{again:#}");
    here.end().await;
}

#[tokio::test]
async fn emptying_groups_needs_an_approval() {
    let here = reader().await;
    let (source, connection) = source_of(&here, 60).await;
    let full = || (0..3).map(|n| group(n, 20 * n..20 * n + 20)).collect::<Vec<_>>();
    *source.groups.lock().unwrap() = full();
    sync(&here.acme, &connection, "mode: FULL").await;
    let members = async || here.count("membership WHERE until IS NULL", []).await;
    assert_eq!(members().await, 60);

    *source.groups.lock().unwrap() = (0..3).map(|n| group(n, 0..0)).collect();
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!((&run["state"], members().await), (&json!("WAITING"), 60), "{run:#}");
    assert!(run["message"].as_str().unwrap().contains("ends 60 of 60 memberships"), "{run:#}");
    let run = approve(&here, &run).await;
    assert_eq!((&run["state"], members().await), (&json!("SUCCEEDED"), 0), "{run:#}");
    assert_eq!(part(&run, "groups", &["read", "updated"]), [&json!(3), &json!(3)], "{run:#}");

    // People who only move to another group do not count as removed.
    *source.groups.lock().unwrap() = full();
    sync(&here.acme, &connection, "mode: FULL").await;
    *source.groups.lock().unwrap() = vec![group(0, 0..0), group(1, 0..40), group(2, 40..60)];
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!((&run["state"], members().await), (&json!("SUCCEEDED"), 60), "{run:#}");
    let again = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(again["groups"]["unchanged"], 3, "{again:#}");
    here.end().await;
}

/// Round after round, some people are renamed, suspended, gone, new or back, and groups change.
#[tokio::test]
async fn dry_run_counts_like_the_full_run() {
    let here = reader().await;
    here.scim().user("taken").await;
    let (source, connection) = source_of(&here, 24).await;
    let names =
        ["read", "created", "updated", "suspended", "restored", "deleted", "unchanged", "failed"];
    // Each number decides what happens to one person or group.
    let mut state = 7usize;
    let mut next = move |below: usize| {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        (state >> 8) % below
    };
    for round in 0..6 {
        if round > 0 {
            source.lists(24 + round);
            for n in 0..24 {
                match next(6) {
                    0 => source.sets(n, "displayName", json!(format!("Name {}", next(3)))),
                    1 => source.sets(n, "active", json!(false)),
                    2 => source.sets(n, "userName", json!(format!("p{n} of round {round}"))),
                    3 if next(3) == 0 => source.sets(n, "userName", json!("Taken")),
                    _ => {}
                }
            }
            source.people.lock().unwrap().remove(12 + next(12));
        }
        // Groups of people who are here already: a dry run does not know what it would create.
        let groups = (0..3).map(|n| group(n, n..n + 3 + next(3))).collect();
        *source.groups.lock().unwrap() = if round == 0 { Vec::new() } else { groups };
        let dry = sync(&here.acme, &connection, "mode: DRY_RUN").await;
        let full = sync(&here.acme, &connection, "mode: FULL").await;
        assert_eq!(full["state"], "SUCCEEDED", "round {round}: {full:#}");
        for kind in ["users", "groups"] {
            let (predicted, done) = (part(&dry, kind, &names), part(&full, kind, &names));
            assert_eq!(predicted, done, "round {round}: {dry:#} {full:#}");
        }
    }
    here.end().await;
}

#[tokio::test]
async fn protected_account_fails_in_the_dry_run() {
    let here = reader().await;
    let (source, connection) = source_of(&here, 5).await;
    sync(&here.acme, &connection, "mode: FULL").await;
    let find = "{ organization { user(userName: \"p0\") { id } } }";
    let id = here.graphql(find, json!({})).await["data"]["organization"]["user"]["id"].clone();
    let protect = "mutation($u: ID!) { userProtect(input: { id: $u }) { userErrors { message } } }";
    let done = here.graphql(protect, json!({ "u": id })).await;
    assert_eq!(done["data"]["userProtect"]["userErrors"], json!([]), "{done:#}");
    source.sets(0, "active", json!(false));
    source.people.lock().unwrap().push(person(5));
    for mode in ["mode: DRY_RUN", "mode: FULL"] {
        let run = sync(&here.acme, &connection, mode).await;
        let counts = part(&run, "users", &["created", "suspended", "failed"]);
        assert_eq!(counts, [1, 0, 1].map(|count| json!(count)).each_ref(), "{mode}: {run:#}");
    }
    here.end().await;
}
