//! Decisions about many failures, findings and adoption proposals in one call.

use serde_json::{Value, json};

use crate::world::World;

/// Acme with `count` failures of one cause.
async fn failing(count: usize) -> (World, Vec<Value>) {
    let world = World::new().await;
    for n in 0..count {
        let body = json!({ "userName": "x".repeat(2_000 + n), "externalId": format!("x-{n}") });
        world.scim().post("/Users", body).await.is(400);
    }
    let list = "{ organization { failures(first: 100) { nodes { id state assignedTo \
                adoptionProposal { id } } } } }";
    let started = std::time::Instant::now();
    loop {
        let seen = world.graphql(list, json!({})).await;
        let nodes = seen["data"]["organization"]["failures"]["nodes"].as_array().unwrap().clone();
        if nodes.len() == count {
            return (world, nodes);
        }
        assert!(started.elapsed().as_secs() < 60, "{seen:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn ids(nodes: &[Value]) -> Vec<Value> {
    nodes.iter().map(|node| node["id"].clone()).collect()
}

#[tokio::test]
async fn failures_are_decided_together() {
    let (world, nodes) = failing(4).await;
    let all = ids(&nodes);
    let assign = "mutation($f: FailureFilter) { failuresAssign(input: { filter: $f, assignedTo: \
                  \"ada\" }) { doneCount skipped { reason count ids } userErrors { code } } }";
    let assigned = world.graphql(assign, json!({ "f": {} })).await;
    let expected = json!({ "doneCount": 4, "skipped": [], "userErrors": [] });
    assert_eq!(assigned["data"]["failuresAssign"], expected, "{assigned:#}");
    let resolve = "mutation($ids: [ID!]) { failuresResolve(input: { ids: $ids, fix: FIXED_HERE }) { \
                   doneCount skipped { reason message count ids } userErrors { code } } }";
    // One id is given twice, one is of nothing.
    let given = json!([all[0], all[1], all[0], "nothing"]);
    let resolved = world.graphql(resolve, json!({ "ids": given })).await;
    let payload = &resolved["data"]["failuresResolve"];
    assert_eq!((&payload["doneCount"], &payload["userErrors"]), (&json!(2), &json!([])));
    assert_eq!(payload["skipped"][0]["reason"], "NOT_FOUND", "{resolved:#}");
    assert_eq!(payload["skipped"][0]["ids"], json!(["nothing"]));
    let dismiss = "mutation($ids: [ID!], $f: FailureFilter) { failuresDismiss(input: { ids: $ids, \
                   filter: $f, reason: \"old\" }) { doneCount skipped { reason count } \
                   userErrors { code } } }";
    for wrong in [json!({}), json!({ "ids": [all[2]], "f": {} }), json!({ "ids": [] })] {
        let refused = world.graphql(dismiss, wrong).await;
        let payload = &refused["data"]["failuresDismiss"];
        assert_eq!(payload["doneCount"], Value::Null, "{refused:#}");
        assert_eq!(payload["userErrors"][0]["code"], "INVALID", "{refused:#}");
    }
    let many: Vec<_> = (0..1_001).map(|n| n.to_string()).collect();
    let refused = world.graphql(dismiss, json!({ "ids": many })).await;
    assert_eq!(refused["data"]["failuresDismiss"]["userErrors"][0]["code"], "TOO_MANY");
    let search = "mutation($f: FailureFilter) { failuresRetry(input: { filter: $f }) { userErrors \
                  { code path } } }";
    let long = world.graphql(search, json!({ "f": { "search": "a".repeat(300) } })).await;
    let wrong = json!([{ "code": "INVALID", "path": ["input", "filter", "search"] }]);
    assert_eq!(long["data"]["failuresRetry"]["userErrors"], wrong, "{long:#}");
    // The unfinished ones, by a filter; once more there are none.
    let dismissed = world.graphql(dismiss, json!({ "f": { "assignedTo": "ada" } })).await;
    let expected = json!({ "doneCount": 2, "skipped": [], "userErrors": [] });
    assert_eq!(dismissed["data"]["failuresDismiss"], expected, "{dismissed:#}");
    let again = world.graphql(dismiss, json!({ "f": {} })).await;
    assert_eq!(again["data"]["failuresDismiss"]["userErrors"][0]["code"], "NOT_FOUND");
    // What names nothing says so where the client wrote it.
    let told = "mutation($ids: [ID!], $f: FailureFilter) { failuresDismiss(input: { ids: $ids, \
                filter: $f, reason: \"old\" }) { doneCount userErrors { code reason path message } } }";
    for (given, code, reason, path, says) in [
        (json!({ "f": {} }), "NOT_FOUND", "NOT_FOUND", json!(["input", "filter"]), "the filter"),
        (json!({ "ids": [] }), "INVALID", "REQUIRED", json!(["input", "ids"]), "at least one"),
        (
            json!({ "ids": ["nothing"] }),
            "NOT_FOUND",
            "NOT_FOUND",
            json!(["input", "ids", "0"]),
            "the failure",
        ),
    ] {
        let answer = world.graphql(told, given).await;
        let mistake = &answer["data"]["failuresDismiss"]["userErrors"][0];
        assert_eq!(
            (&mistake["code"], &mistake["reason"], &mistake["path"]),
            (&json!(code), &json!(reason), &path),
            "{answer:#}"
        );
        assert!(mistake["message"].as_str().unwrap().contains(says), "{answer:#}");
    }
    // Each has an event of its own.
    for (action, count) in
        [("failure.assigned", 4), ("failure.resolved", 2), ("failure.dismissed", 2)]
    {
        assert_eq!(
            world.count("event WHERE action = $1", [action.into()]).await,
            count,
            "{action}"
        );
    }
    world.end().await;
}

#[tokio::test]
async fn proposals_are_decided_together() {
    let world = World::new().await;
    for name in ["ada", "ben"] {
        let make = "mutation($n: String!) { userCreate(input: { userName: $n }) { user { id } } }";
        world.graphql(make, json!({ "n": name })).await;
        world.scim().post("/Users", json!({ "userName": name })).await.is(409);
    }
    let list = "{ organization { adoptionProposals(first: 5) { nodes { id } }
        failures(first: 5) { nodes { adoptionProposal { id } } } } }";
    let started = std::time::Instant::now();
    let seen = loop {
        let seen = world.graphql(list, json!({})).await["data"]["organization"].clone();
        if seen["failures"]["nodes"].as_array().unwrap().len() == 2 {
            break seen;
        }
        assert!(started.elapsed().as_secs() < 60, "{seen:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let proposals = ids(seen["adoptionProposals"]["nodes"].as_array().unwrap());
    assert_eq!(proposals.len(), 2);
    for failure in seen["failures"]["nodes"].as_array().unwrap() {
        assert!(proposals.contains(&failure["adoptionProposal"]["id"]), "{seen:#}");
    }
    let decide = "mutation($ids: [ID!], $d: AdoptionDecision!) { adoptionProposalsDecide(input: { \
                  ids: $ids, decision: $d, reason: \"agreed\" }) { doneCount skipped { reason count } \
                  userErrors { code } } }";
    let accepted = world.graphql(decide, json!({ "ids": proposals, "d": "ACCEPT" })).await;
    assert_eq!(accepted["data"]["adoptionProposalsDecide"]["doneCount"], 2, "{accepted:#}");
    assert_eq!(world.count("event WHERE action = 'user.adopted'", []).await, 2);
    let again = world.graphql(decide, json!({ "ids": proposals, "d": "DISMISS" })).await;
    let payload = &again["data"]["adoptionProposalsDecide"];
    assert_eq!(payload["doneCount"], 0, "{again:#}");
    assert_eq!(payload["skipped"][0]["count"], 2, "{again:#}");
    world.end().await;
}
