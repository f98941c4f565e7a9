//! Alerts: what raises and resolves them, how often mail about them is due, and who may change the
//! rules. The mail itself is sent by tests/mail.

use std::cell::Cell;
use std::time::Duration;

use chrono::TimeDelta;
use rolecall::context::Cx;
use rolecall::domain::access::api_key;
use rolecall::domain::alert;
use rolecall::domain::alert::recipient;
use rolecall::domain::connection::{request_log, scim_token};
use serde_json::{Value, json};

use crate::world::World;

const ALERTS: &str = "query($f: AlertFilter) { organization { alerts(first: 50, filter: $f) { \
    totalCount nodes { kind state urgency message nextStep count raisedAt resolvedAt \
    connectionId } } } }";

thread_local! {
    /// How many changes of alerts the test has seen; each test has a thread of its own.
    static CHANGES_SEEN: Cell<u64> = const { Cell::new(0) };
}

impl World {
    /// Evaluates the rules. Returns how many alerts began or ended since the last call: the server
    /// evaluates them by itself, too, and one of both is first.
    async fn evaluate(&self) -> u64 {
        request_log::flush_request_counts(&self.app).await.unwrap();
        scim_token::flush_credential_uses(&self.app).await.unwrap();
        alert::evaluate_organization(&self.system()).await.unwrap();
        let changes = "event WHERE action IN ('alert.raised', 'alert.resolved')";
        let total = u64::try_from(self.count(changes, []).await).unwrap();
        total - CHANGES_SEEN.replace(total)
    }

    async fn alerts(&self, filter: Value) -> Vec<Value> {
        let answer = self.graphql(ALERTS, json!({ "f": filter })).await;
        let found = &answer["data"]["organization"]["alerts"];
        let nodes = found["nodes"].as_array().unwrap_or_else(|| panic!("{answer:#}")).clone();
        assert_eq!(found["totalCount"], nodes.len());
        nodes
    }

    /// The kinds of the alerts that are raised now.
    async fn raised(&self) -> Vec<String> {
        let found = self.alerts(json!({ "state": "RAISED" })).await;
        let mut kinds: Vec<String> =
            found.iter().map(|row| row["kind"].as_str().unwrap().to_owned()).collect();
        kinds.sort();
        kinds
    }

    async fn set_rule(&self, input: Value) -> Value {
        let text = "mutation($i: AlertRuleSetInput!) { alertRuleSet(input: $i) { \
            alertRule { kind enabled byMail threshold } userErrors { path message } } }";
        self.graphql(text, json!({ "i": input })).await["data"]["alertRuleSet"].clone()
    }

    async fn add_recipient(&self, address: &str) -> Value {
        let text = "mutation($a: String!) { mailRecipientAdd(input: { address: $a }) { \
            mailRecipient { id address } userErrors { path reason message } } }";
        self.graphql(text, json!({ "a": address })).await["data"]["mailRecipientAdd"].clone()
    }

    /// The subjects of the mails that are due now, as if the mail server accepted each.
    async fn deliver(&self) -> Vec<String> {
        let mut subjects = Vec::new();
        for mail in recipient::claim_due_mails(&self.app).await.unwrap() {
            subjects.push(mail.message.subject.clone());
            mail.mark_sent().await.unwrap();
        }
        subjects
    }
}

fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3_600)
}

fn days(n: u64) -> Duration {
    hours(24 * n)
}

#[tokio::test]
async fn alert_begins_and_ends_with_an_event() {
    let world = World::new().await;
    world.scim().user("ada@acme.example").await;
    world.scim().post("/Users", json!({ "userName": "" })).await.is(400);
    assert_eq!(world.evaluate().await, 0);
    assert_eq!(world.raised().await, [] as [&str; 0]);
    world.app.clock.advance(hours(25));
    assert_eq!(world.evaluate().await, 1);
    assert_eq!(world.evaluate().await, 0);
    let found = world.alerts(json!({ "kinds": ["FAILURES_WAIT"] })).await;
    let [one] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!(
        (&one["state"], &one["urgency"], &one["count"]),
        (&json!("RAISED"), &json!("WARNING"), &json!(1))
    );
    let message = one["message"].as_str().unwrap();
    assert!(message.starts_with("Identity provider: 1 failed write in the review queue"));
    assert!(one["nextStep"].as_str().unwrap().contains("organization.failures"));
    let query = "{ organization { connections(first: 1) { nodes { id } } } }";
    let seen = world.graphql(query, json!({})).await;
    let id = &seen["data"]["organization"]["connections"]["nodes"][0]["id"];
    assert_eq!(one["connectionId"], *id);
    assert_eq!(world.alerts(json!({ "connectionId": id })).await, found);
    assert!(world.alerts(json!({ "kinds": ["RUN_WAITS"] })).await.is_empty());
    let payload = world.last_payload().await;
    assert_eq!(
        (&payload["after"]["kind"], &payload["after"]["message"]),
        (&json!("FAILURES_WAIT"), &one["message"])
    );

    let end = "UPDATE failure SET finished_at = first_at WHERE organization_id = $1";
    world.execute(end, [world.acme.organization.into()]).await;
    assert_eq!(world.evaluate().await, 1);
    assert_eq!(world.raised().await, [] as [&str; 0]);
    let found = world.alerts(json!({ "state": "RESOLVED" })).await;
    assert!(found[0]["resolvedAt"].is_string(), "{found:#?}");
    let ends = "event WHERE action = 'alert.resolved' AND subject_kind = 'alert'";
    assert_eq!(world.count(ends, []).await, 1);
    world.end().await;
}

#[tokio::test]
async fn silent_connection_raises_an_alert() {
    let world = World::new().await;
    for _ in 0..20 {
        world.scim().get("/Users?filter=userName%20eq%20%22ada%22").await.is(200);
        request_log::flush_request_counts(&world.app).await.unwrap();
        scim_token::flush_credential_uses(&world.app).await.unwrap();
        world.app.clock.advance(hours(12));
    }
    assert_eq!(world.evaluate().await, 0);
    world.app.clock.advance(hours(13));
    assert_eq!(world.evaluate().await, 1);
    let found = world.alerts(json!({ "state": "RAISED" })).await;
    assert_eq!(
        (&found[0]["kind"], &found[0]["urgency"]),
        (&json!("CONNECTION_STALLED"), &json!("CRITICAL"))
    );
    world.scim().get("/Users?filter=userName%20eq%20%22ada%22").await.is(200);
    assert_eq!(world.evaluate().await, 1);
    assert_eq!(world.raised().await, [] as [&str; 0]);
    world.end().await;
}

#[tokio::test]
async fn ends_of_keys_are_told_thrice() {
    let world = World::new().await;
    let app = &world.app;
    let end = app.clock.now() + TimeDelta::days(60);
    let cx = world.system();
    let held = [rolecall::auth::policy::Permission::IamRead].into();
    let owner = api_key::KeyOwner::Subject("ops".into());
    api_key::issue_to(&cx, "batch", held, Some(end), Some(owner)).await.unwrap();
    world.add_recipient("ops@acme.example").await;
    let mut told = Vec::new();
    // Every twelve hours for two months; what else an idle connection raises is not of interest.
    for kind in ["CONNECTION_STALLED", "CREDENTIAL_OLD", "COMPARISON_MISSING"] {
        world.set_rule(json!({ "kind": kind, "enabled": false })).await;
    }
    for half in 0..122 {
        world.evaluate().await;
        for subject in world.deliver().await {
            told.push((half / 2, subject.contains("ends at"), subject.contains("over")));
        }
        app.clock.advance(hours(12));
    }
    let beginnings: Vec<i32> = told.iter().filter(|mail| mail.1).map(|mail| mail.0).collect();
    assert_eq!(beginnings, [30, 53, 59], "{told:?}");
    assert_eq!(told.iter().filter(|mail| mail.2).count(), 1, "{told:?}");
    world.end().await;
}

#[tokio::test]
async fn mass_deprovisioning_raises_an_alert() {
    let world = World::new().await;
    let mut people = Vec::new();
    for n in 0..40 {
        people.push(world.scim().user(&format!("person.{n}@acme.example")).await);
    }
    world.app.clock.advance(hours(2));
    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    for id in &people[..10] {
        world.scim().patch(&format!("/Users/{id}"), off.clone()).await.is(200);
    }
    // A quarter of all, but ten people are not many.
    assert_eq!(world.evaluate().await, 0);
    world.scim().delete(&format!("/Users/{}", people[10])).await.is(204);
    assert_eq!(world.evaluate().await, 1);
    let found = world.alerts(json!({ "kinds": ["MASS_DEPROVISIONING"] })).await;
    assert_eq!(
        found[0]["message"], "11 of 40 people were suspended or deleted within an hour.",
        "{found:#?}"
    );
    // It stays for a day, although all who left did so more than an hour ago.
    world.app.clock.advance(hours(20));
    assert_eq!(world.evaluate().await, 0);
    world.app.clock.advance(hours(5));
    assert_eq!(world.evaluate().await, 1);
    // A larger share is needed where the organization says so.
    let rule = world.set_rule(json!({ "kind": "MASS_DEPROVISIONING", "threshold": 50 })).await;
    assert_eq!(rule["alertRule"]["threshold"], 50, "{rule:#}");
    for id in &people[11..23] {
        world.scim().patch(&format!("/Users/{id}"), off.clone()).await.is(200);
    }
    assert_eq!(world.evaluate().await, 0);
    world.set_rule(json!({ "kind": "MASS_DEPROVISIONING", "threshold": null })).await;
    assert_eq!(world.evaluate().await, 1);
    world.end().await;
}

#[tokio::test]
async fn broken_ledger_raises_an_alert() {
    let world = World::new().await;
    world.scim().user("ada@acme.example").await;
    world.sealed().await;
    assert_eq!(world.evaluate().await, 0);
    world.scim().user("bob@acme.example").await;
    world.sealed().await;
    let set = |name: &str| {
        format!(
            "UPDATE event SET actor_name = {name} WHERE organization_id = $1 AND pos = (SELECT \
             max(pos) FROM event WHERE organization_id = $1 AND action = 'user.created')"
        )
    };
    world.execute(&set("actor_name || ' forged'"), [world.acme.organization.into()]).await;
    // The next check is due in an hour.
    assert_eq!(world.evaluate().await, 0);
    world.app.clock.advance(hours(1));
    assert_eq!(world.evaluate().await, 1);
    let found = world.alerts(json!({ "kinds": ["LEDGER_BROKEN"] })).await;
    assert_eq!(found[0]["urgency"], "CRITICAL", "{found:#?}");
    let message = found[0]["message"].as_str().unwrap();
    assert!(message.contains("does not follow from the one before it"), "{message}");
    world
        .execute(&set("replace(actor_name, ' forged', '')"), [world.acme.organization.into()])
        .await;
    world.end().await;
}

#[tokio::test]
async fn old_tokens_and_missing_comparisons() {
    let world = World::new().await;
    world.scim().user("ada@acme.example").await;
    world.set_rule(json!({ "kind": "CONNECTION_STALLED", "enabled": false })).await;
    world.app.clock.advance(days(29));
    assert_eq!(world.evaluate().await, 0);
    world.app.clock.advance(days(2));
    world.evaluate().await;
    assert_eq!(world.raised().await, ["COMPARISON_MISSING"]);
    world.app.clock.advance(days(61));
    world.evaluate().await;
    let found = world.alerts(json!({ "kinds": ["CREDENTIAL_OLD"] })).await;
    let message = found[0]["message"].as_str().unwrap();
    assert!(message.contains("was last used at"), "{message}");
    world.scim().get("/Users?count=1").await.is(200);
    world.evaluate().await;
    assert_eq!(world.raised().await, ["COMPARISON_MISSING"]);
    // In use, but a year old; the key of the organization ends soon, too.
    world.app.clock.advance(days(275));
    let text = "UPDATE scim_token SET last_used_at = $1";
    world.execute(text, [world.app.clock.now().into()]).await;
    world.evaluate().await;
    let found = alert::list_rules(&world.system()).await.unwrap();
    assert!(found.iter().all(|rule| rule.by_mail));
    let query = alert::AlertQuery { kinds: vec![alert::Kind::CredentialOld], ..Default::default() };
    let keyset = rolecall::domain::paging::Keyset { limit: 5, ..Default::default() };
    let rows = alert::list_alerts(&world.system(), &query, Default::default(), &keyset).await;
    let rows = rows.unwrap().rows;
    assert!(rows[0].0.resolved_at.is_none() && rows[0].0.message.contains("was issued at"));
    assert!(rows[0].0.next_step.contains("secret manager"), "{:?}", rows[0].0);
    world.end().await;
}

#[tokio::test]
async fn old_keys_are_told_like_tokens() {
    let world = World::new().await;
    let cx = world.system();
    let held = [rolecall::auth::policy::Permission::IamRead].into();
    let owner = || Some(api_key::KeyOwner::Subject("ops".into()));
    let issued = api_key::issue_to(&cx, "batch", held, None, owner()).await.unwrap();
    // The connection's token, and the key of the requests below, are used.
    let keep_using = async || {
        world.scim().get("/Users?count=1").await.is(200);
        world.raised().await;
    };
    world.app.clock.advance(days(89));
    keep_using().await;
    world.evaluate().await;
    let told = async || {
        let found = world.alerts(json!({ "kinds": ["CREDENTIAL_OLD"], "state": "RAISED" })).await;
        let texts = found.iter().map(|row| (row["message"].clone(), row["nextStep"].clone()));
        texts.map(|(a, b)| format!("{a} {b}")).collect::<Vec<_>>()
    };
    assert_eq!(told().await, [] as [&str; 0]);
    world.app.clock.advance(days(2));
    world.evaluate().await;
    let found = told().await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("\\\"batch\\\"") && found[0].contains("was never used"), "{found:?}");
    assert!(found[0].contains("apiKeyRevoke"), "{found:?}");
    // A key that ended is told of no more.
    api_key::revoke_key(&cx, issued.key.id).await.unwrap();
    world.evaluate().await;
    assert_eq!(told().await, [] as [&str; 0]);
    // In use, but older than the threshold.
    world.set_rule(json!({ "kind": "CREDENTIAL_OLD", "threshold": 91 })).await;
    world.app.clock.advance(days(1));
    keep_using().await;
    world.evaluate().await;
    let found = told().await;
    assert_eq!(found.len(), 2, "the token and the key: {found:?}");
    assert!(found.iter().all(|text| text.contains("was issued at")), "{found:?}");
    assert!(found.iter().any(|text| text.contains("apiKeyIssue")), "{found:?}");
    world.end().await;
}

#[tokio::test]
async fn exports_and_bootstrap_keys_are_told() {
    let world = World::new().await;
    let url =
        world.acme.graphql.replace("/graphql", "/evidence/leavers.csv?from=2026-01-01T00:00:00Z");
    for _ in 0..2 {
        let answer = world.scim().http.get(&url).bearer_auth(&world.acme.api_key).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        answer.text().await.unwrap();
    }
    let owner = "UPDATE api_key SET owner_subject = NULL WHERE organization_id = $1";
    world.execute(owner, [world.acme.organization.into()]).await;
    assert_eq!(world.evaluate().await, 2);
    assert_eq!(world.raised().await, ["BOOTSTRAP_KEY_ALIVE", "EXPORT_MADE"]);
    let found = world.alerts(json!({ "kinds": ["EXPORT_MADE"] })).await;
    assert_eq!(found[0]["count"], 2);
    assert!(found[0]["message"].as_str().unwrap().starts_with("2 exports of evidence"));
    // A rule that is turned off ends its alerts.
    world.set_rule(json!({ "kind": "BOOTSTRAP_KEY_ALIVE", "enabled": false })).await;
    world.evaluate().await;
    assert_eq!(world.raised().await, ["EXPORT_MADE"]);
    world.app.clock.advance(hours(25));
    world.evaluate().await;
    assert_eq!(world.raised().await, [] as [&str; 0]);
    world.end().await;
}

#[tokio::test]
async fn mail_is_grouped_and_repeated_daily() {
    let world = World::new().await;
    let owner = "UPDATE api_key SET owner_subject = NULL WHERE organization_id = $1";
    world.execute(owner, [world.acme.organization.into()]).await;
    let added = world.add_recipient("Ops@acme.example").await;
    assert_eq!(added["mailRecipient"]["address"], "Ops@acme.example", "{added:#}");
    let again = world.add_recipient("ops@ACME.example").await;
    assert_eq!(again["userErrors"][0]["reason"], "TAKEN", "{again:#}");
    let wrong = world.add_recipient("ops@acme.example\r\nBcc: eve@example.org").await;
    assert_eq!(wrong["userErrors"][0]["path"], json!(["input", "address"]), "{wrong:#}");
    world.add_recipient("second@acme.example").await;

    assert_eq!(world.evaluate().await, 1);
    let mut first = recipient::claim_due_mails(&world.app).await.unwrap();
    assert_eq!(first.len(), 2);
    // Another server finds nothing to send meanwhile.
    assert!(recipient::claim_due_mails(&world.app).await.unwrap().is_empty());
    let (one, other) = (first.pop().unwrap(), first.pop().unwrap());
    one.mark_sent().await.unwrap();
    other.mark_failed("550 no\r\nsuch user").await.unwrap();
    let query =
        "{ organization { mailEnabled mailRecipients { lastMailedAt failingSince lastError } } }";
    let seen = world.graphql(query, json!({})).await["data"]["organization"].clone();
    assert_eq!(seen["mailEnabled"], false);
    let rows = seen["mailRecipients"].as_array().unwrap();
    assert_eq!(rows.iter().filter(|row| row["lastMailedAt"].is_string()).count(), 1, "{seen:#}");
    assert_eq!(rows.iter().filter(|row| row["lastError"] == "550 no  such user").count(), 1);
    // The one that failed is tried again, and the other does not get the same mail twice.
    assert!(world.deliver().await.is_empty());
    world.app.clock.advance(Duration::from_secs(90));
    assert_eq!(world.deliver().await.len(), 1);
    assert!(world.deliver().await.is_empty());

    // Nothing new within a day, and then once more.
    for _ in 0..23 {
        world.app.clock.advance(hours(1));
        world.evaluate().await;
        assert!(world.deliver().await.is_empty());
    }
    world.app.clock.advance(hours(1));
    world.evaluate().await;
    assert_eq!(world.deliver().await.len(), 2);
    let rule = json!({ "kind": "BOOTSTRAP_KEY_ALIVE", "byMail": false });
    world.set_rule(rule).await;
    world.app.clock.advance(hours(25));
    world.evaluate().await;
    assert!(world.deliver().await.is_empty());
    assert!(world.deliver().await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn recurring_alert_sends_no_flood() {
    let world = World::new().await;
    world.add_recipient("ops@acme.example").await;
    let owner = "UPDATE api_key SET owner_subject = $2 WHERE organization_id = $1";
    let mut mails = 0;
    // It comes and goes every ten minutes for eight hours.
    for turn in 0..48 {
        let subject = (turn % 2 == 1).then(|| "operator".to_owned());
        world.execute(owner, [world.acme.organization.into(), subject.into()]).await;
        assert_eq!(world.evaluate().await, 1, "{turn}");
        mails += world.deliver().await.len();
        world.app.clock.advance(Duration::from_secs(600));
    }
    assert_eq!(mails, 2);
    let events = "event WHERE action IN ('alert.raised', 'alert.resolved')";
    assert_eq!(world.count(events, []).await, 48);
    assert_eq!(world.count("alert", []).await, 1);
    world.end().await;
}

#[tokio::test]
async fn rules_and_recipients_have_limits() {
    let world = World::new().await;
    for (input, path) in [
        (json!({ "kind": "RUN_WAITS", "threshold": 3 }), "threshold"),
        (json!({ "kind": "MASS_DEPROVISIONING", "threshold": 0 }), "threshold"),
        (json!({ "kind": "FAILURES_WAIT", "threshold": 721 }), "threshold"),
        (json!({ "kind": "FAILURES_WAIT", "enabled": null }), "enabled"),
    ] {
        let answer = world.set_rule(input.clone()).await;
        assert_eq!(answer["userErrors"][0]["path"], json!(["input", path]), "{input} {answer:#}");
    }
    let before = world.count("event", []).await;
    world.set_rule(json!({ "kind": "FAILURES_WAIT", "threshold": 24 })).await;
    world.set_rule(json!({ "kind": "FAILURES_WAIT", "enabled": true })).await;
    assert_eq!(world.count("event WHERE action = 'alert_rule.updated'", []).await, 0);
    assert_eq!(world.count("event", []).await, before);
    world.set_rule(json!({ "kind": "FAILURES_WAIT", "threshold": 25 })).await;
    assert_eq!(world.last_payload().await["before"]["threshold"], 24);
    for n in 0..20 {
        let added = world.add_recipient(&format!("p{n}@acme.example")).await;
        assert_eq!(added["userErrors"], json!([]), "{added:#}");
    }
    let more = world.add_recipient("one.more@acme.example").await;
    assert_eq!(more["userErrors"][0]["reason"], "LIMIT_REACHED", "{more:#}");
    // Without a mail server there is no test.
    let rows = recipient::list_recipients(&world.system()).await.unwrap();
    let test = recipient::request_test(&world.system(), rows[0].id).await.unwrap_err();
    assert!(test.to_string().contains("--smtp-url"), "{test}");
    let globex = world.second_organization().await;
    let other = Cx::system(world.app.clone(), globex.organization);
    assert!(recipient::remove_recipient(&other, rows[0].id).await.is_err());
    recipient::remove_recipient(&world.system(), rows[0].id).await.unwrap();
    assert_eq!(world.count("mail_recipient", []).await, 19);
    world.end().await;
}
