//! Exports of an identity provider: how they are uploaded, and when they are not believed.

use serde_json::{Value, json};

use super::{
    EXPORT, connection, create_person, csv, differing, find_by_label, findings, resolve_done,
    resolve_refused, upload,
};
use crate::walk::codes;
use crate::world::World;

#[tokio::test]
async fn partial_export_needs_a_confirmation() {
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
    let answer = upload(&world.acme, &id, "confirm=true", "text/csv", format!("userName\n{half}"))
        .await
        .is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["orphanedHere"], 15);

    // An account whose line cannot be read does not count as missing, and such an export ends no
    // finding.
    let most: String = (0..29).map(|n| format!("person{n}\n")).collect();
    let answer = csv(&world, format!("userName\n{most}\u{0}\n")).await.is(200);
    let run = &answer.body["reconciliation"];
    assert_eq!(
        (&run["counts"]["orphanedHere"], &run["counts"]["gone"]),
        (&json!(0), &json!(0)),
        "{run:#}"
    );
    assert_eq!(run["troubles"][0]["line"], 31);
    assert!(run["message"].as_str().unwrap().contains("not judged"));
    assert_eq!(findings(&world, "states: [OPEN]").await.len(), 15);
    let answer = csv(&world, format!("userName\n{most}person29\n")).await.is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["gone"], 15);
    world.end().await;
}

#[tokio::test]
async fn absent_columns_change_no_finding() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    // The next export has titles only, so it says nothing about who is active.
    let titles = "userName,title\nagreed,Nurse\ndrifted,Nurse\nleft,Doctor\norphaned,Nurse\n";
    csv(&world, titles).await.is(200);
    assert_eq!(find_by_label(&world, "drifted").await["state"], "GONE");
    let left = find_by_label(&world, "left").await;
    let attributes =
        left["differences"].as_array().unwrap().iter().map(|it| it["attribute"].as_str().unwrap());
    assert_eq!(attributes.collect::<Vec<_>>(), ["active", "title"]);
    csv(&world, titles.replace("Doctor", "Nurse")).await.is(200);
    let left = find_by_label(&world, "left").await;
    assert_eq!(
        (&left["state"], left["differences"].as_array().unwrap().len()),
        (&json!("OPEN"), 1)
    );
    csv(&world, "userName,active\nagreed,true\ndrifted,true\nleft,true\norphaned,true\n")
        .await
        .is(200);
    assert_eq!(find_by_label(&world, "left").await["state"], "GONE");
    world.end().await;
}

#[tokio::test]
async fn exported_own_list_has_no_differences() {
    let world = World::new().await;
    let ada = create_person(&world, "ada", "Nurse").await;
    let bob = world.scim().user("bob").await;
    world
        .scim()
        .patch(
            &format!("/Users/{bob}"),
            json!([{ "op": "replace", "path": "active", "value": false }]),
        )
        .await
        .is(200);
    world.scim().group("Ward 3", &[ada, bob]).await;
    let id = connection(&world).await;
    for (list, kind, agreed) in [("/Users", "users", 2), ("/Groups", "memberships", 2)] {
        let listed = world.scim().get(list).await.is(200);
        let resources = listed.body["Resources"].as_array().unwrap();
        let lines: String = resources.iter().map(|resource| format!("{resource}\n")).collect();
        let answer = upload(&world.acme, &id, &format!("kind={kind}"), "application/jsonl", lines)
            .await
            .is(200);
        let run = &answer.body["reconciliation"];
        assert_eq!(
            (&run["counts"]["agreed"], &run["counts"]["opened"]),
            (&json!(agreed), &json!(0)),
            "{run:#}"
        );
    }
    world.end().await;
}

#[tokio::test]
async fn membership_export_finds_differences() {
    let world = World::new().await;
    let (ada, bob, eve) = (
        world.scim().user("ada").await,
        world.scim().user("bob").await,
        world.scim().user("eve").await,
    );
    let ward = world.scim().group("Ward 3", &[ada, bob]).await;
    world.scim().group("Other", &[eve]).await;
    let id = connection(&world).await;
    let export = "Group Name,userPrincipalName\nward 3,ada\nWard \
                  3,EVE\nOther,eve\nOther,stranger\nNowhere,ada\n";
    let answer = upload(&world.acme, &id, "kind=memberships", "text/csv", export).await.is(200);
    let run = &answer.body["reconciliation"];
    assert_eq!(
        (&run["counts"]["memberships"], &run["counts"]["agreed"]),
        (&json!(2), &json!(2)),
        "{run:#}"
    );
    assert!(run["message"].as_str().unwrap().starts_with("1 groups and 1 members"), "{run:#}");
    let (extra, lacking) = (find_by_label(&world, "bob").await, find_by_label(&world, "eve").await);
    let theirs = |finding: &Value| finding["differences"][0]["theirs"].clone();
    assert_eq!((theirs(&extra), theirs(&lacking)), (json!(false), json!(true)));
    assert_eq!(extra["group"]["displayName"], "Ward 3");
    assert_eq!(resolve_refused(&world, "bob", "choice: SUSPEND").await.0, "HELD");
    assert_eq!(resolve_refused(&world, "eve", "choice: DELETE").await.0, "HELD");
    resolve_done(&world, "bob", "choice: DELETE").await;
    assert_eq!(world.scim().members(ward).await, [ada]);
    world
        .scim()
        .patch(
            &format!("/Groups/{ward}"),
            json!([{ "op": "add", "path": "members", "value": [{ "value": eve }] }]),
        )
        .await
        .is(200);
    let answer = upload(&world.acme, &id, "kind=memberships", "text/csv", export).await.is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["gone"], 1);
    assert_eq!(find_by_label(&world, "eve").await["state"], "GONE");
    let refused =
        upload(&world.acme, &id, "kind=memberships", "text/csv", "group,userName\nNowhere,ada\n")
            .await
            .is(409);
    assert_eq!(codes(&refused.body), ["HELD"]);
    world.end().await;
}

#[tokio::test]
async fn unreadable_line_ends_no_finding() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    let export = EXPORT.replace("left,x-left,left@example.org,A,Nurse,False", ",,,,,False");
    let export = export.replace("drifted,x-drifted,drifted@example.org,A,Doctor", ",,,,")
        + "by.hand,,,,,False\r\n";
    let answer = csv(&world, export).await.is(200);
    let counts = &answer.body["reconciliation"]["counts"];
    assert_eq!(
        (&counts["unread"], &counts["gone"], &counts["leavers"]),
        (&json!(2), &json!(0), &json!(1)),
        "{counts:#}"
    );
    for label in ["left", "drifted", "missing"] {
        assert_eq!(find_by_label(&world, label).await["state"], "OPEN", "{label}");
    }
    // An account that is listed as inactive still becomes a finding.
    assert_eq!(find_by_label(&world, "by.hand").await["leaver"], true);
    world.end().await;
}

#[tokio::test]
async fn unowned_members_become_no_finding() {
    let world = World::new().await;
    let mut members = Vec::new();
    for name in ["ada", "bob", "hand"] {
        members.push(world.scim().user(name).await);
    }
    world.scim().group("Ward 3", &members).await;
    // The state after another connection was deleted and left its accounts.
    world.execute("UPDATE \"user\" SET connection_id = NULL WHERE user_name = 'hand'", []).await;
    let id = connection(&world).await;
    // An account that belongs to no connection becomes no finding, listed or not.
    for (rows, agreed) in
        [("Ward 3,ada\nWard 3,bob\nWard 3,HAND\n", 3), ("Ward 3,ada\nWard 3,bob\n", 2)]
    {
        let export = format!("group,userName\n{rows}");
        let answer = upload(&world.acme, &id, "kind=memberships", "text/csv", export).await.is(200);
        let run = &answer.body["reconciliation"];
        assert_eq!(
            (&run["counts"]["agreed"], &run["counts"]["memberships"]),
            (&json!(agreed), &json!(0)),
            "{run:#}"
        );
        assert_eq!(run["message"], Value::Null, "{run:#}");
    }
    // A protected account keeps its groups. The reason for another removal is stored where an
    // erasure finds it.
    upload(&world.acme, &id, "kind=memberships", "text/csv", "group,userName\nWard 3,ada\n")
        .await
        .is(200);
    world.execute("UPDATE \"user\" SET protected = TRUE WHERE user_name = 'bob'", []).await;
    let before = world.everything().await;
    let (code, why) = resolve_refused(&world, "bob", "choice: DELETE").await;
    assert!(code == "HELD" && why.contains("protected"), "{why}");
    assert_eq!(world.everything().await, before);
    world.execute("UPDATE \"user\" SET protected = FALSE WHERE user_name = 'bob'", []).await;
    let done = resolve_done(&world, "bob", "choice: DELETE, reason: \"needle left\"").await;
    assert_eq!(done["reason"], "needle left");
    let told = world
        .rows("SELECT payload FROM event WHERE subject_kind = 'group' ORDER BY pos DESC", [])
        .await;
    let told: Vec<_> = told.iter().map(|row| row["payload"].as_str().unwrap()).collect();
    assert!(told[0].contains("findingId") && !told[0].contains("needle"), "{}", told[0]);
    world.end().await;
}

#[tokio::test]
async fn slow_upload_blocks_no_other_organization() {
    let world = differing().await;
    let globex = world.second_organization().await;
    let (id, key) = (connection(&world).await, &world.acme.api_key);
    let theirs = globex
        .graphql("{ organization { connections(first: 1) { nodes { id } } } }", json!({}))
        .await;
    let theirs = theirs["data"]["organization"]["connections"]["nodes"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = world
        .acme
        .graphql
        .trim_start_matches(&world.address)
        .trim_end_matches("/graphql")
        .to_owned();
    let head = format!(
        "POST {path}/reconciliations?connection={id}&kind=users HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\
         content-type: text/csv\r\ncontent-length: 1000\r\n\r\nuserName\n"
    );
    let begin = async || {
        let address = world.address.trim_start_matches("http://");
        let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut slow, head.as_bytes()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        slow
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let mut slow = begin().await;
    while csv(&world, EXPORT).await.status != 429 {
        assert!(std::time::Instant::now() < until, "the slow upload holds no place");
        // The quick upload came first, so the slow one begins again.
        slow = begin().await;
    }
    upload(&globex, &theirs, "kind=users", "text/csv", "userName\nada\n").await.is(200);
    drop(slow);
    while csv(&world, EXPORT).await.status != 200 {
        assert!(std::time::Instant::now() < until, "the place is not given back");
    }
    world.end().await;
}

#[tokio::test]
async fn malformed_and_oversized_exports_are_refused() {
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
        let refused =
            upload(&world.acme, &id, parameters, content_type, body.to_owned()).await.is(status);
        assert_eq!(codes(&refused.body), ["BAD_USER_INPUT"]);
        assert!(refused.body.to_string().contains(word), "{word}: {:#}", refused.body);
    }
    assert_eq!(world.everything().await, before);
    world.end().await;
}
