//! Sources that hang, lie, lose their cursors or change while they are read, and details that only
//! some sources have.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::hostile::{Hostile, person};
use super::{ended, look, part, pulling, pulling_as, reader, start, sync};
use crate::world::World;

#[tokio::test]
async fn hanging_source_delays_no_other_source() {
    let here = World::with(|config| {
        config.pull_private_addresses = true;
        config.pull_timeout = 1;
    })
    .await;
    let mut hanging = Vec::new();
    for (n, manner) in
        ["never answers", "never ends", "never answers", "never ends", "never answers"]
            .iter()
            .enumerate()
    {
        let (source, address) = Hostile::serve().await;
        source.behaves(manner);
        let pull = json!({ "baseUrl": address, "secret": "id+/" });
        let connection = pulling_as(&here.acme, &format!("Hanging {n}"), pull).await;
        hanging.push(start(&here.acme, &connection, "mode: FULL").await);
    }
    let (source, address) = Hostile::serve().await;
    source.lists(3);
    let connection = pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/" })).await;
    let began = Instant::now();
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(run["state"], "SUCCEEDED", "{run:#}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for run in hanging {
        let run = ended(&here.acme, &run).await;
        let reason = run["message"].as_str().unwrap();
        assert!(
            run["state"] == "FAILED"
                && (reason.contains("no answer came") || reason.contains("an answer began"))
                && reason.contains("6 times"),
            "{run:#}"
        );
    }
    here.end().await;
}

#[tokio::test]
async fn malformed_answers_change_nothing() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(3);
    let connection = pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/" })).await;
    sync(&here.acme, &connection, "mode: FULL").await;
    for (manner, words) in [
        ("breaks off", "not a JSON object"),
        ("answers an error as 200", "no list of SCIM"),
        ("lists no list", "no list of SCIM"),
    ] {
        source.behaves(manner);
        let run = sync(&here.acme, &connection, "mode: FULL").await;
        assert_eq!(run["state"], "FAILED", "{manner}: {run:#}");
        assert!(run["message"].as_str().unwrap().contains(words), "{manner}: {run:#}");
    }
    // Unknown schemas are ignored; the other attributes are read.
    source.behaves("honest");
    source.sets(0, "schemas", json!(["urn:example:nothing", 7]));
    source.sets(0, "urn:example:nothing", json!({ "password": "needle", "x": [null] }));
    source.sets(0, "title", json!("Nurse"));
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(
        (&run["state"], &run["users"]["updated"]),
        (&json!("SUCCEEDED"), &json!(1)),
        "{run:#}"
    );
    assert_eq!(here.count("\"user\" WHERE document LIKE '%needle%'", []).await, 0);
    assert_eq!(here.count("\"user\" WHERE deleted_at IS NULL", []).await, 3);
    here.end().await;
}

#[tokio::test]
async fn expired_cursor_restarts_the_list() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(25);
    let connection =
        pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/", "pageSize": 10 })).await;
    source.behaves("pages by cursor");
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(part(&run, "users", &["read", "created"]), [&json!(25), &json!(25)], "{run:#}");
    // One cursor expires in the middle: the list is read again from its beginning, so the person
    // that it missed is found.
    source.people.lock().unwrap().push(person(25));
    source.behaves("loses a cursor");
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(
        (&run["state"], &run["users"]["created"]),
        (&json!("SUCCEEDED"), &json!(1)),
        "{run:#}"
    );
    // Cursors that always expire are no paging: no account is deleted because of them.
    source.behaves("loses every cursor");
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!((&run["state"], &run["users"]["deleted"]), (&json!("FAILED"), &json!(0)), "{run:#}");
    assert!(run["message"].as_str().unwrap().contains("paging by cursor does not work"), "{run:#}");
    here.end().await;
}

#[tokio::test]
async fn nested_groups_follow_the_source() {
    let (source, here) = (World::new().await, reader().await);
    let ada = source.scim().user("ada").await;
    let bob = source.scim().user("bob").await;
    // The outer group is listed first, before the inner one is known here.
    let outer = source.scim().group("Hospital", &[ada]).await;
    let inner = source.scim().group("Ward", &[bob]).await;
    let nest = json!([{ "op": "add", "path": "members", "value": [{ "value": inner }] }]);
    source.scim().patch(&format!("/Groups/{outer}"), nest).await.is(200);
    let connection = pulling(&here.acme, super::of(source.scim())).await;
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!((&run["state"], &run["message"]), (&json!("SUCCEEDED"), &Value::Null), "{run:#}");
    let nested = r#"SELECT o.display_name AS outer_name, i.display_name AS inner_name FROM group_nesting n
        JOIN "group" o ON o.organization_id = n.organization_id AND o.id = n.group_id
        JOIN "group" i ON i.organization_id = n.organization_id AND i.id = n.member_id WHERE n.until IS NULL"#;
    let expected = [json!({ "outer_name": "Hospital", "inner_name": "Ward" })];
    assert_eq!(here.rows(nested, []).await, expected);
    assert_eq!(super::picture(&here).await, super::picture(&source).await);
    // Removed from the outer group at the source, and then here.
    let part = json!([{ "op": "remove", "path": format!("members[value eq \"{inner}\"]") }]);
    source.scim().patch(&format!("/Groups/{outer}"), part).await.is(200);
    sync(&here.acme, &connection, "mode: INCREMENTAL").await;
    assert_eq!(here.rows(nested, []).await, Vec::<Value>::new());
    assert_eq!(super::picture(&here).await, super::picture(&source).await);
    source.end().await;
    here.end().await;
}

#[tokio::test]
async fn skipped_person_is_read_and_stays() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(11);
    let connection =
        pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/", "pageSize": 5 })).await;
    sync(&here.acme, &connection, "mode: FULL").await;
    // A person on the first page is removed while the second one is read, so r5 is on neither page.
    // Only r10 was really removed.
    source.sets(5, "title", json!("Nurse"));
    source.people.lock().unwrap().pop();
    source.behaves("shifts");
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(part(&run, "users", &["deleted", "updated"]), [&json!(1), &json!(1)], "{run:#}");
    assert_eq!(source.asked_for_one.load(std::sync::atomic::Ordering::Relaxed), 2);
    let live = here.rows(
        "SELECT external_id FROM \"user\" WHERE deleted_at IS NULL AND external_id IN \
                   ('r5', 'r10')",
        [],
    );
    assert_eq!(live.await, [json!({ "external_id": "r5" })]);
    assert_eq!(
        here.count("\"user\" WHERE document LIKE '%Nurse%'", []).await,
        1,
        "and its change is written"
    );
    here.end().await;
}

#[tokio::test]
async fn unconfirmed_absence_deletes_no_account() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(3);
    let connection = pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/" })).await;
    sync(&here.acme, &connection, "mode: FULL").await;
    source.people.lock().unwrap().pop();
    let live = async || here.count("\"user\" WHERE deleted_at IS NULL", []).await;
    let cancel = "mutation($r: ID!) { syncCancel(input: { id: $r }) { userErrors { message } } }";
    for manner in ["answers nothing for one", "answers with another one", "knows no ids"] {
        source.behaves(manner);
        let run = sync(&here.acme, &connection, "mode: FULL").await;
        assert_eq!((&run["state"], live().await), (&json!("WAITING"), 3), "{manner}: {run:#}");
        let reason = run["message"].as_str().unwrap();
        assert!(reason.contains("1 of 3 accounts and cannot be asked"), "{manner}: {run:#}");
        here.graphql(cancel, json!({ "r": run["id"] })).await;
    }
    source.behaves("forbids one");
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!((&run["state"], live().await), (&json!("FAILED"), 3), "{run:#}");
    // An administrator approves the removal instead.
    source.behaves("knows no ids");
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    let approve = "mutation($r: ID!) { syncApprove(input: { id: $r }) { userErrors { message } } }";
    here.graphql(approve, json!({ "r": run["id"] })).await;
    let run = ended(&here.acme, &run["id"]).await;
    assert_eq!((&run["state"], live().await), (&json!("SUCCEEDED"), 2), "{run:#}");
    here.end().await;
}

#[tokio::test]
async fn account_without_source_id_stays() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(3);
    let connection = pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/" })).await;
    sync(&here.acme, &connection, "mode: FULL").await;
    here.execute("UPDATE \"user\" SET external_id = NULL WHERE external_id = 'r2'", []).await;
    source.people.lock().unwrap().pop();
    let dry = sync(&here.acme, &connection, "mode: DRY_RUN").await;
    assert_eq!(part(&dry, "users", &["read", "deleted"]), [&json!(2), &json!(0)], "{dry:#}");
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(
        (&run["state"], &run["users"]["deleted"]),
        (&json!("SUCCEEDED"), &json!(0)),
        "{run:#}"
    );
    assert_eq!(here.count("\"user\" WHERE deleted_at IS NULL", []).await, 3);
    here.end().await;
}

#[tokio::test]
async fn managers_are_accounts_here() {
    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(4);
    // The first person's manager comes last, the third one's is unknown to the source, and the
    // fourth one's is written in another way.
    source.sets(
        0,
        ENTERPRISE,
        json!({ "manager": { "value": "r3", "$ref": "../Users/r3", "displayName": "Boss" } }),
    );
    source.sets(
        2,
        ENTERPRISE,
        json!({ "manager": { "value": "elsewhere" }, "department": "Engines" }),
    );
    source.sets(3, &format!("{ENTERPRISE}:manager"), json!("r1"));
    let connection =
        pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/", "pageSize": 2 })).await;
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(
        (&run["state"], &run["users"]["created"]),
        (&json!("SUCCEEDED"), &json!(4)),
        "{run:#}"
    );
    assert!(
        run["message"].as_str().unwrap().contains("managers that the source does not list"),
        "{run:#}"
    );
    let rows = async || {
        here.rows("SELECT id, external_id, document FROM \"user\" ORDER BY external_id", []).await
    };
    let id = |rows: &[Value], n: usize| rows[n]["id"].as_str().unwrap().to_owned();
    let extension = |rows: &[Value], n: usize| {
        let document =
            rows[n]["document"].as_str().map(|text| serde_json::from_str::<Value>(text).unwrap());
        document.unwrap_or_else(|| rows[n]["document"].clone())[ENTERPRISE].clone()
    };
    let all = rows().await;
    assert_eq!(extension(&all, 0), json!({ "manager": { "value": id(&all, 3) } }));
    assert_eq!(extension(&all, 1), Value::Null);
    assert_eq!(extension(&all, 2), json!({ "department": "Engines" }));
    assert_eq!(extension(&all, 3), json!({ "manager": { "value": id(&all, 1) } }));
    // A second run writes nothing. A new manager at the source becomes the manager here.
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(part(&run, "users", &["unchanged", "updated"]), [&json!(4), &json!(0)], "{run:#}");
    source.sets(0, ENTERPRISE, json!({ "manager": [{ "value": "r2" }] }));
    sync(&here.acme, &connection, "mode: INCREMENTAL").await;
    let all = rows().await;
    assert_eq!(extension(&all, 0), json!({ "manager": { "value": id(&all, 2) } }));
    here.end().await;
}

#[tokio::test]
async fn progress_is_reported_until_the_end() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(30);
    let connection =
        pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/", "pageSize": 5 })).await;
    source.behaves("throttles");
    let run = start(&here.acme, &connection, "mode: FULL").await;
    let query = "subscription($r: ID!) { jobProgress(id: $r) { id state ... on SyncRun { users { read } } } }";
    let response = reqwest::Client::new()
        .post(&here.acme.graphql)
        .bearer_auth(&here.acme.api_key)
        .header("accept", "text/event-stream")
        .json(&json!({ "query": query, "variables": { "r": run } }))
        .send();
    let text = tokio::time::timeout(Duration::from_secs(60), async {
        response.await.unwrap().text().await.unwrap()
    });
    let text = text.await.expect("the stream ends with the run");
    let read: Vec<u64> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?).ok())
        .filter_map(|message| message["data"]["jobProgress"]["users"]["read"].as_u64())
        .collect();
    assert!(read.len() > 2 && read.is_sorted() && read.last() == Some(&30), "{text}");
    assert!(text.contains("SUCCEEDED") && text.contains("RUNNING"), "{text}");
    assert_eq!(look(&here.acme, &run).await["state"], "SUCCEEDED");
    here.end().await;
}
