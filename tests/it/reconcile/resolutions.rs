//! How findings are resolved, by which callers, and which accounts a resolution never changes.

use rolecall::auth::policy::Permission;
use rolecall::domain::directory::{erasure, user};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    EXPORT, connection, create_person, csv, differing, find_by_label, findings,
    list_finding_events, resolve_as, resolve_done, resolve_refused, upload_as,
};
use crate::walk::codes;
use crate::world::World;

#[tokio::test]
async fn each_choice_resolves_its_findings() {
    let world = differing().await;
    let role = world
        .graphql("mutation { roleCreate(input: { name: \"Ward\" }) { role { id } } }", json!({}))
        .await;
    let orphan =
        world.graphql("{ organization { user(userName: \"orphaned\") { id } } }", json!({})).await;
    let grant = "mutation($u: ID!, $r: ID!) { roleGrantCreate(input: { userId: $u, roleId: $r }) \
                 { userErrors { code } } }";
    let role = &role["data"]["roleCreate"]["role"]["id"];
    world
        .graphql(grant, json!({ "u": orphan["data"]["organization"]["user"]["id"], "r": role }))
        .await;
    csv(&world, EXPORT).await.is(200);
    assert_eq!(find_by_label(&world, "orphaned").await["rolesHeld"], 1);

    // ADOPT: the account without a connection now belongs to this one. Its user name stays; the
    // other attributes come from the export.
    let adopted =
        resolve_done(&world, "listed.by.hand", "choice: ADOPT, reason: \"same person\"").await;
    assert_eq!(
        (&adopted["state"], &adopted["resolution"]),
        (&json!("RESOLVED"), &json!("ADOPTED"))
    );
    let mine =
        world.scim().get("/Users?filter=userName%20eq%20%22listed.by.hand%22").await.is(200).body;
    assert_eq!(
        (&mine["totalResults"], &mine["Resources"][0]["title"]),
        (&json!(1), &json!("Clerk")),
        "{mine:#}"
    );
    assert_eq!(mine["Resources"][0]["externalId"], "x-hand");
    assert_eq!(mine["Resources"][0]["emails"], Value::Null);
    let id: Uuid = mine["Resources"][0]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(world.events_of(id).await, ["user.created", "user.adopted"]);
    let payload = "SELECT payload FROM event WHERE action = 'user.adopted'";
    assert!(world.rows(payload, []).await[0]["payload"].as_str().unwrap().contains("same person"));

    // There is no account to adopt: the message says what to do.
    let (code, why) = resolve_refused(&world, "missing", "choice: ADOPT").await;
    assert!(code == "HELD" && why.contains("provision"), "{why}");
    assert_eq!(resolve_refused(&world, "missing", "choice: SUSPEND").await.0, "HELD");
    assert_eq!(resolve_refused(&world, "orphaned", "choice: ADOPT").await.0, "HELD");

    // SUSPEND changes the account and the finding in one transaction. The finding stays resolved
    // while the account is inactive.
    let suspended = resolve_done(&world, "left", "choice: SUSPEND").await;
    assert_eq!(
        (&suspended["resolution"], &suspended["decidedBy"].is_string()),
        (&json!("SUSPENDED"), &true)
    );
    let left = world.rows("SELECT id, active FROM \"user\" WHERE user_name = 'left'", []).await;
    assert!(left[0]["active"] == false || left[0]["active"] == 0, "{left:?}");
    let rows = "SELECT action FROM event WHERE request_id = (SELECT request_id FROM event WHERE action = 'finding.resolved' \
        ORDER BY pos DESC LIMIT 1) ORDER BY pos";
    let rows = world.rows(rows, []).await;
    assert_eq!(
        rows,
        [json!({ "action": "user.suspended" }), json!({ "action": "finding.resolved" })]
    );

    // DELETE.
    resolve_done(&world, "orphaned", "choice: DELETE, reason: \"left in May\"").await;
    assert_eq!(
        world.count("\"user\" WHERE user_name = 'orphaned' AND deleted_at IS NULL", []).await,
        0
    );
    assert_eq!(world.count("role_grant WHERE until IS NULL", []).await, 0);
    // A resolved finding cannot be resolved again.
    let (code, why) = resolve_refused(&world, "orphaned", "choice: DELETE").await;
    assert!(code == "HELD" && why.contains("already"), "{why}");

    // The next comparison finds the remaining differences; the resolved findings stay resolved.
    let answer = csv(&world, EXPORT).await.is(200);
    let counts = &answer.body["reconciliation"]["counts"];
    assert_eq!((&counts["reopened"], &counts["opened"]), (&json!(0), &json!(1)), "{counts:#}");
    // An adoption does not take over e-mail addresses, so they differ now.
    let drifted = findings(&world, "kinds: [DRIFTED], states: [OPEN]").await;
    let addresses = drifted.iter().find(|finding| finding["label"] == "listed.by.hand").unwrap();
    assert_eq!(addresses["differences"][0]["attribute"], "emails");
    for (label, state) in
        [("left", "RESOLVED"), ("orphaned", "RESOLVED"), ("drifted", "OPEN"), ("by.hand", "OPEN")]
    {
        assert_eq!(find_by_label(&world, label).await["state"], state, "{label}");
    }
    world.end().await;
}

#[tokio::test]
async fn acceptance_needs_a_reason_and_ends() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    assert_eq!(resolve_refused(&world, "by.hand", "choice: ACCEPT").await.0, "INVALID");
    assert_eq!(
        resolve_refused(&world, "by.hand", "choice: ACCEPT, reason: \" \"").await.0,
        "INVALID"
    );
    let past = "choice: ACCEPT, reason: \"x\", until: \"2001-01-01T00:00:00Z\"";
    assert_eq!(resolve_refused(&world, "by.hand", past).await.0, "INVALID");
    let end = (world.app.clock.now() + chrono::Duration::days(30)).to_rfc3339();
    let until = format!("choice: SUSPEND, until: \"{end}\"");
    assert_eq!(resolve_refused(&world, "by.hand", &until).await.0, "INVALID");

    let accepted = resolve_done(
        &world,
        "by.hand",
        &format!("choice: ACCEPT, reason: \"break glass\", until: \"{end}\""),
    )
    .await;
    assert_eq!(
        (&accepted["state"], &accepted["reason"]),
        (&json!("ACCEPTED"), &json!("break glass"))
    );
    resolve_done(&world, "drifted", "choice: ACCEPT, reason: \"locum\"").await;
    let answer = csv(&world, EXPORT).await.is(200);
    assert_eq!(answer.body["reconciliation"]["counts"]["reopened"], 0);
    assert_eq!(findings(&world, "states: [ACCEPTED]").await.len(), 2);
    // The accepted difference has changed, so the finding is open again.
    csv(&world, EXPORT.replace("Doctor", "Surgeon")).await.is(200);
    assert_eq!(find_by_label(&world, "drifted").await["state"], "OPEN");

    // When an acceptance ends, the finding is open at once. The event follows when a worker writes
    // it down.
    world.days_pass(31);
    assert_eq!(find_by_label(&world, "by.hand").await["state"], "OPEN");
    assert_eq!(findings(&world, "states: [ACCEPTED]").await.len(), 0);
    assert!(
        findings(&world, "states: [OPEN]")
            .await
            .iter()
            .any(|finding| finding["label"] == "by.hand")
    );
    rolecall::domain::reconcile::reopen_due(&world.app).await.unwrap();
    let open = find_by_label(&world, "by.hand").await;
    assert_eq!((&open["state"], &open["reason"]), (&json!("OPEN"), &Value::Null));
    assert_eq!(
        list_finding_events(&world)
            .await
            .iter()
            .filter(|action| *action == "finding.acceptance_ended")
            .count(),
        1
    );
    world.end().await;
}

#[tokio::test]
async fn resolutions_keep_the_last_holder() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    let query = "{ organization { user(userName: \"orphaned\") { id } } }";
    let global =
        world.graphql(query, json!({})).await["data"]["organization"]["user"]["id"].clone();
    let role = "mutation { roleCreate(input: { name: \"Admin\", management: true }) { role { id } \
                userErrors { message } } }";
    let role = world.graphql(role, json!({})).await;
    let grant = "mutation($u: ID!, $r: ID!) { roleGrantCreate(input: { userId: $u, roleId: $r }) \
                 { userErrors { code } } }";
    let made = world
        .graphql(grant, json!({ "u": global, "r": role["data"]["roleCreate"]["role"]["id"] }))
        .await;
    assert_eq!(made["data"]["roleGrantCreate"]["userErrors"], json!([]), "{made:#} {role:#}");
    let before = world.everything().await;
    for choice in ["SUSPEND", "DELETE"] {
        let (code, why) = resolve_refused(&world, "orphaned", &format!("choice: {choice}")).await;
        assert!(code == "HELD" && why.contains("last holder"), "{why}");
    }
    assert_eq!(world.everything().await, before);
    world.execute("UPDATE \"user\" SET protected = TRUE WHERE connection_id IS NULL", []).await;
    for (label, choice) in
        [("by.hand", "SUSPEND"), ("by.hand", "DELETE"), ("listed.by.hand", "ADOPT")]
    {
        let (code, why) = resolve_refused(&world, label, &format!("choice: {choice}")).await;
        assert!(code == "HELD" && why.contains("protected"), "{why}");
    }
    world.end().await;
}

/// Makes another connection of acme.
async fn other_connection(world: &World) -> Uuid {
    let make = "mutation { connectionCreate(input: { name: \"Other\" }) { connection { id } \
                userErrors { message } } }";
    let made = world.graphql(make, json!({})).await;
    assert_eq!(made["data"]["connectionCreate"]["userErrors"], json!([]), "{made:#}");
    rolecall::domain::connection::find_connection_by_name(&world.system(), "Other")
        .await
        .unwrap()
        .unwrap()
        .id
}

#[tokio::test]
async fn resolutions_spare_listed_and_foreign_accounts() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    let other = other_connection(&world).await;
    // The accounts now belong to another connection than at the comparison.
    for name in ["by.hand", "orphaned"] {
        let change = "UPDATE \"user\" SET connection_id = $1 WHERE user_name = $2";
        world.execute(change, [other.into(), name.into()]).await;
    }
    let before = world.everything().await;
    for choice in ["SUSPEND", "DELETE"] {
        for label in ["by.hand", "orphaned"] {
            let (code, why) = resolve_refused(&world, label, &format!("choice: {choice}")).await;
            assert!(code == "HELD" && why.contains("another owner"), "{label}: {why}");
        }
        // The identity provider lists these accounts, so they may not be suspended or deleted.
        for label in ["drifted", "listed.by.hand"] {
            let (code, why) = resolve_refused(&world, label, &format!("choice: {choice}")).await;
            assert!(code == "HELD" && why.contains("or accept"), "{label}: {why}");
        }
    }
    assert_eq!(world.everything().await, before);
    // A listed person whose name belongs to another connection's account cannot be created.
    csv(&world, format!("{EXPORT}by.hand,x-other,,,,True\r\n")).await.is(200);
    let all = findings(&world, "kinds: [MISSING_HERE]").await;
    let missing = all
        .iter()
        .find(|finding| finding["label"] == "by.hand")
        .unwrap_or_else(|| panic!("{all:#?}"));
    assert_eq!(
        (&missing["user"]["userName"], &missing["accountClass"]),
        (&json!("by.hand"), &Value::Null)
    );
    assert!(missing["nextStep"].as_str().unwrap().contains("another connection"), "{missing:#}");
    world.end().await;
}

#[tokio::test]
async fn pull_connection_adopts_no_exported_account() {
    let world = differing().await;
    world.execute("UPDATE connection SET kind = 'SCIM_PULL'", []).await;
    // A pulled account is matched by the source's id; the source's own externalId is not stored
    // here.
    csv(&world, EXPORT.replace("x-agreed", "y-agreed")).await.is(200);
    let all = findings(&world, "kinds: [DRIFTED]").await;
    assert!(
        !all.iter().any(|finding| finding["label"] == "AGREED" || finding["label"] == "agreed"),
        "{all:#?}"
    );
    let before = world.everything().await;
    let (code, why) = resolve_refused(&world, "listed.by.hand", "choice: ADOPT").await;
    assert!(code == "HELD" && why.contains("its source"), "{why}");
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn comparisons_and_decisions_require_permissions() {
    let world = differing().await;
    let globex = world.second_organization().await;
    let id = connection(&world).await;
    let key =
        async |permissions: &[Permission]| crate::bulk::key_with(&world, permissions).await.secret;
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
        // A caller without the permission does not learn whether the connection exists.
        (&reader, &"nonsense".to_owned(), 403),
        (&globex.api_key, &id, 404),
        (&world.acme.api_key, &"nonsense".to_owned(), 404),
    ] {
        upload_as(&world.acme, credential, connection, "", "text/csv", EXPORT).await.is(status);
    }
    assert_eq!(world.everything().await, before);
    // A caller who may start comparisons gets counts. The findings need a permission of their own.
    upload_as(&world.acme, &writer, &id, "", "text/csv", EXPORT).await.is(200);
    let orphan = find_by_label(&world, "orphaned").await;
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
async fn erasure_deletes_findings() {
    let world = World::new().await;
    let cx = world.system();
    let needle = create_person(&world, "needle", "needle").await;
    csv(&world, "userName,externalId,title\nneedle,x-needle,Doctor\nmissing,x-missing,Clerk\n")
        .await
        .is(200);
    resolve_done(&world, "needle", "choice: ACCEPT, reason: \"needle asked for it\"").await;
    user::delete_user(&cx, needle, |_| Ok(())).await.unwrap();
    // After the deletion the person is missing here, and the finding names them by user name only.
    csv(&world, "userName,externalId,title\nneedle,x-needle,Doctor\nother,x-other,\n")
        .await
        .is(200);
    assert_eq!(world.count("finding WHERE label = 'needle'", []).await, 2);
    erasure::purge_user(&cx, needle).await.unwrap();
    assert_eq!(world.count("finding WHERE label = 'needle'", []).await, 0);
    assert!(world.count("finding", []).await > 0, "findings about other people stay");
    let told = "SELECT payload FROM event WHERE subject_kind IN ('finding', 'reconciliation')";
    assert!(
        !world
            .rows(told, [])
            .await
            .iter()
            .any(|row| row["payload"].as_str().unwrap().contains("needle"))
    );
    world.end().await;
}

#[tokio::test]
async fn erasure_deletes_findings_by_external_id() {
    let world = World::new().await;
    let cx = world.system();
    let needle = create_person(&world, "needle", "Nurse").await;
    user::delete_user(&cx, needle, |_| Ok(())).await.unwrap();
    csv(&world, "userName,externalId,title\nrenamed,x-needle,Doctor\nother,x-other,\n")
        .await
        .is(200);
    assert_eq!(world.count("finding WHERE label = 'renamed'", []).await, 1);
    erasure::purge_user(&cx, needle).await.unwrap();
    assert_eq!(world.count("finding WHERE label = 'renamed'", []).await, 0);
    assert_eq!(world.count("finding WHERE label = 'other'", []).await, 1);
    world.end().await;
}
