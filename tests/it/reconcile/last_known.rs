//! Changes that were made here by hand and that the identity provider does not know of.

use rolecall::buffers::last_reads::{Kind, ListPage, ListReader};
use rolecall::context::App;
use rolecall::domain::reconcile::reads;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{connection, create_person, csv, findings};
use crate::world::World;

#[tokio::test]
async fn changes_after_the_last_write_drift() {
    let world = World::new().await;
    let (ada, bob, eve) = (
        create_person(&world, "ada", "Nurse").await,
        create_person(&world, "bob", "Nurse").await,
        create_person(&world, "eve", "Nurse").await,
    );
    let ward = world.scim().group("Ward 3", &[ada, bob]).await;
    let id = connection(&world).await;
    let start = "mutation($c: ID!) { reconciliationStart(input: { connectionId: $c }) {
        reconciliation { id state source scope numbers { rows drifted missingHere memberships leavers opened gone agreed } }
        userErrors { code } } }";
    let compare = async |what: &str| {
        let answer = world.graphql(start, json!({ "c": id })).await;
        let run = answer["data"]["reconciliationStart"]["reconciliation"].clone();
        assert_eq!(run["state"], "SUCCEEDED", "{what}: {answer:#}");
        run["numbers"].clone()
    };
    assert_eq!(compare("nothing").await["rows"], 0, "nothing was changed by hand");

    let global = async |name: &str| {
        let query = "query($n: String!) { organization { user(userName: $n) { id } } }";
        world.graphql(query, json!({ "n": name })).await["data"]["organization"]["user"]["id"]
            .clone()
    };
    let edit = "mutation($u: ID!, $t: String!) { userUpdate(input: { id: $u, title: $t }) { \
                userErrors { message } } }";
    world.graphql(edit, json!({ "u": global("ada").await, "t": "Doctor" })).await;
    let groups =
        world.graphql("{ organization { groups(first: 1) { nodes { id } } } }", json!({})).await;
    let group = &groups["data"]["organization"]["groups"]["nodes"][0]["id"];
    for (mutation, name) in [("groupRemoveMembers", "bob"), ("groupAddMembers", "eve")] {
        let change = format!(
            "mutation($g: ID!, $u: ID!) {{ {mutation}(input: {{ id: $g, memberIds: [$u] }}) {{ \
             userErrors {{ message }} }} }}"
        );
        let answer = world.graphql(&change, json!({ "g": group, "u": global(name).await })).await;
        assert_eq!(answer["data"][mutation]["userErrors"], json!([]), "{answer:#}");
    }
    // The identity provider suspends the account, and an administrator reactivates it: a leaver who
    // is still active here.
    world
        .scim()
        .patch(
            &format!("/Users/{eve}"),
            json!([{ "op": "replace", "path": "active", "value": false }]),
        )
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

    // The identity provider writes again. Another attribute changes nothing in the finding; the
    // same attribute ends it.
    world
        .scim()
        .patch(
            &format!("/Users/{ada}"),
            json!([{ "op": "replace", "path": "nickName", "value": "A" }]),
        )
        .await
        .is(200);
    assert_eq!(compare("another attribute").await["drifted"], 2);
    world
        .scim()
        .patch(
            &format!("/Users/{ada}"),
            json!([{ "op": "replace", "path": "title", "value": "Nurse" }]),
        )
        .await
        .is(200);
    world
        .scim()
        .patch(
            &format!("/Groups/{ward}"),
            json!([{ "op": "add", "path": "members", "value": [{ "value": bob }] }]),
        )
        .await
        .is(200);
    let counts = compare("written again").await;
    assert_eq!(
        (&counts["gone"], &counts["drifted"], &counts["memberships"]),
        (&json!(2), &json!(1), &json!(1)),
        "{counts:#}"
    );

    // Deleted by hand, while the identity provider believes that the account exists.
    let delete = "mutation($u: ID!) { userDelete(input: { id: $u }) { userErrors { message } } }";
    let answer = world.graphql(delete, json!({ "u": global("bob").await })).await;
    assert_eq!(answer["data"]["userDelete"]["userErrors"], json!([]), "{answer:#}");
    assert_eq!(compare("deleted").await["missingHere"], 1);
    // A comparison with an export does not end findings of a comparison with the last write.
    csv(&world, "userName,title\nada,Nurse\neve,Nurse\n").await.is(200);
    assert_eq!(findings(&world, "states: [OPEN], kinds: [MISSING_HERE]").await.len(), 1);
    world.end().await;
}

/// Acme's accounts, changed by hand and read by its identity provider.
struct Ward<'a> {
    world: &'a World,
    connection: String,
}

impl<'a> Ward<'a> {
    async fn of(world: &'a World) -> Self {
        Self { world, connection: connection(world).await }
    }

    /// Changes a title by hand.
    async fn titles(&self, name: &str, title: &str) {
        let edit = "mutation($u: ID!, $t: String!) { userUpdate(input: { id: $u, title: $t }) { \
                    userErrors { message } } }";
        self.by_hand("userUpdate", edit, json!({ "u": self.global(name).await, "t": title })).await;
    }

    /// Adds or removes a member of the only group by hand.
    async fn moves(&self, mutation: &str, name: &str) {
        let groups = self
            .world
            .graphql("{ organization { groups(first: 1) { nodes { id } } } }", json!({}))
            .await;
        let group = &groups["data"]["organization"]["groups"]["nodes"][0]["id"];
        let change = format!(
            "mutation($g: ID!, $u: ID!) {{ {mutation}(input: {{ id: $g, memberIds: [$u] }}) {{ \
             userErrors {{ message }} }} }}"
        );
        self.by_hand(mutation, &change, json!({ "g": group, "u": self.global(name).await })).await;
    }

    async fn user(&self, mutation: &str, name: &str) {
        let change = format!(
            "mutation($u: ID!) {{ {mutation}(input: {{ id: $u }}) {{ userErrors {{ message }} }} }}"
        );
        self.by_hand(mutation, &change, json!({ "u": self.global(name).await })).await;
    }

    async fn by_hand(&self, mutation: &str, change: &str, values: Value) {
        let answer = self.world.graphql(change, values).await;
        assert_eq!(answer["data"][mutation]["userErrors"], json!([]), "{answer:#}");
    }

    async fn global(&self, name: &str) -> Value {
        let query = "query($n: String!) { organization { user(userName: $n) { id } } }";
        self.world.graphql(query, json!({ "n": name })).await["data"]["organization"]["user"]["id"]
            .clone()
    }

    /// The counts of a comparison with the last read or the last write.
    async fn compare(&self, source: &str) -> Value {
        let start = format!(
            "mutation($c: ID!) {{ reconciliationStart(input: {{ connectionId: $c, source: {source} }}) {{
                reconciliation {{ state source numbers {{
                    rows unread agreed drifted missingHere orphanedHere memberships leavers opened gone }} }}
                userErrors {{ code message }} }} }}"
        );
        let answer = self.world.graphql(&start, json!({ "c": self.connection })).await;
        let run = &answer["data"]["reconciliationStart"]["reconciliation"];
        assert_eq!(
            (&run["state"], &run["source"]),
            (&json!("SUCCEEDED"), &json!(source)),
            "{answer:#}"
        );
        run["numbers"].clone()
    }

    /// Of the accounts that were changed by hand: how many were not read, are as they were read,
    /// and have drifted since.
    async fn read(&self) -> [u64; 3] {
        let counts = self.compare("LAST_READ").await;
        ["unread", "agreed", "drifted"].map(|name| counts[name].as_u64().unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        self.world.scim().get(path).await.is(200).body
    }
}

#[tokio::test]
async fn changes_after_the_last_read_drift() {
    let world = World::new().await;
    let ada = create_person(&world, "ada", "Nurse").await;
    let ward = Ward::of(&world).await;
    // Before its first read nothing is known about what the identity provider has read.
    ward.titles("ada", "Doctor").await;
    assert_eq!(ward.read().await, [1, 0, 0]);
    // The request with which Entra ID looks an account up.
    let lookup = "/Users?filter=userName%20eq%20%22ada%22";
    assert_eq!(ward.get(lookup).await["Resources"][0]["title"], "Doctor");
    assert_eq!(ward.read().await, [0, 1, 0]);

    ward.titles("ada", "Surgeon").await;
    assert_eq!(ward.read().await, [0, 0, 1]);
    let query = "{ organization { findings(first: 9) { nodes {
        label source state kind differences { attribute theirs ours changedBy changedAt } } } } }";
    let found =
        world.graphql(query, json!({})).await["data"]["organization"]["findings"]["nodes"].clone();
    assert_eq!(found.as_array().unwrap().len(), 1, "{found:#}");
    assert_eq!((&found[0]["label"], &found[0]["source"]), (&json!("ada"), &json!("LAST_READ")));
    let difference = &found[0]["differences"][0];
    assert_eq!(
        (&difference["attribute"], &difference["theirs"], &difference["ours"]),
        (&json!("title"), &json!("Doctor"), &json!("Surgeon")),
        "{found:#}"
    );
    let told =
        "SELECT actor_name FROM event WHERE action = 'user.updated' ORDER BY pos DESC LIMIT 1";
    assert_eq!(difference["changedBy"], world.rows(told, []).await[0]["actor_name"]);
    assert!(difference["changedAt"].is_string(), "{found:#}");

    // An answer with a part of the attributes, or without a body, does not count as a read.
    for path in
        [format!("{lookup}&attributes=title"), format!("/Users/{ada}?excludedAttributes=groups")]
    {
        ward.get(&path).await;
    }
    world.scim().send(reqwest::Method::HEAD, &format!("/Users/{ada}"), None, &[]).await.is(200);
    assert_eq!(ward.read().await, [0, 0, 1]);
    ward.get(&format!("/Users/{ada}")).await;
    assert_eq!(ward.compare("LAST_READ").await["gone"], 1);
    assert_eq!(findings(&world, "states: [OPEN]").await.len(), 0);
    // It never wrote the new title, so the comparison with its last write still differs.
    assert_eq!(ward.compare("LAST_WRITE").await["drifted"], 1);

    // What it writes after a read is newer than the read.
    ward.titles("ada", "Locum").await;
    assert_eq!(ward.read().await, [0, 0, 1]);
    let word = json!([{ "op": "replace", "path": "title", "value": "Nurse" }]);
    world.scim().patch(&format!("/Users/{ada}"), word).await.is(200);
    assert_eq!(ward.read().await, [0, 1, 0]);

    // Suspended by hand and read in that state, then reactivated by hand: the identity provider
    // believes that the account is inactive.
    ward.user("userSuspend", "ada").await;
    ward.get(lookup).await;
    assert_eq!(ward.read().await, [0, 1, 0]);
    ward.user("userReactivate", "ada").await;
    let counts = ward.compare("LAST_READ").await;
    assert_eq!((&counts["drifted"], &counts["leavers"]), (&json!(1), &json!(1)), "{counts:#}");
    // Deleted by hand and not read since.
    ward.user("userDelete", "ada").await;
    assert_eq!(ward.compare("LAST_READ").await["missingHere"], 1);
    // After 90 days the last reads are deleted.
    rolecall::domain::reconcile::reads::forget_old_reads(&world.app).await.unwrap();
    assert_eq!(world.count("last_read", []).await, 1);
    world.days_pass(91);
    rolecall::domain::reconcile::reads::forget_old_reads(&world.app).await.unwrap();
    assert_eq!(world.count("last_read", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn complete_list_traversal_reads_all_accounts() {
    let world = World::new().await;
    for name in ["ada", "bob", "eve", "joe", "zoe"] {
        create_person(&world, name, "Nurse").await;
    }
    let ward = Ward::of(&world).await;
    for (round, pages) in [
        (
            "index",
            vec!["/Users?count=2", "/Users?count=2&startIndex=3", "/Users?count=2&startIndex=5"],
        ),
        ("one page", vec!["/Users"]),
        ("cursor", vec!["/Users?count=2&cursor="; 3]),
    ] {
        ward.titles("zoe", round).await;
        let before = ward.read().await;
        assert_eq!(before[1], 0, "{round}: {before:?}");
        let mut next = String::new();
        for (n, page) in pages.iter().enumerate() {
            let listed = ward.get(&format!("{page}{next}")).await;
            next = listed["nextCursor"].as_str().unwrap_or_default().to_owned();
            // Only a client that has read the last page has read all accounts.
            let known = n + 1 == pages.len();
            assert_eq!(ward.read().await[1], u64::from(known), "{round}, page {}", n + 1);
        }
    }
    // One row for the whole list.
    assert_eq!(world.count("last_read", []).await, 1);
    // A part of each account, a part of the list, and a list in an order that may change between
    // pages.
    ward.titles("zoe", "Doctor").await;
    for path in [
        "/Users?attributes=userName",
        "/Users?count=2",
        "/Users?startIndex=4",
        "/Users?sortBy=title",
    ] {
        ward.get(path).await;
    }
    assert_eq!(ward.read().await, [0, 0, 1]);
    // A deleted account counts as missing until the identity provider reads the list again. After a
    // restore it counts as unknown to it, until the next read.
    let eve = ward.global("eve").await;
    ward.user("userDelete", "eve").await;
    assert_eq!(ward.compare("LAST_READ").await["missingHere"], 1);
    ward.get("/Users").await;
    assert_eq!(ward.compare("LAST_READ").await["missingHere"], 0);
    let restore = "mutation($u: ID!) { userRestore(input: { id: $u }) { userErrors { message } } }";
    ward.by_hand("userRestore", restore, json!({ "u": eve })).await;
    let counts = ward.compare("LAST_READ").await;
    assert_eq!((&counts["orphanedHere"], &counts["drifted"]), (&json!(1), &json!(0)), "{counts:#}");
    ward.get("/Users").await;
    assert_eq!(ward.compare("LAST_READ").await["orphanedHere"], 0);
    // An account that was created after the traversal began was not read by it.
    create_person(&world, "late", "Nurse").await;
    ward.titles("late", "Doctor").await;
    assert_eq!(ward.read().await, [1, 2, 0]);
    // The last reads are deleted together with the connection.
    let delete = "mutation($c: ID!) { connectionDelete(input: { id: $c, usersBecomeManual: true \
                  }) { userErrors { message } } }";
    ward.by_hand("connectionDelete", delete, json!({ "c": ward.connection })).await;
    assert_eq!(world.count("last_read", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn reading_a_group_reads_its_members() {
    let world = World::new().await;
    let (ada, bob) = (world.scim().user("ada").await, world.scim().user("bob").await);
    world.scim().user("eve").await;
    let group = world.scim().group("Ward 3", &[ada, bob]).await;
    let ward = Ward::of(&world).await;
    let memberships = async || {
        let counts = ward.compare("LAST_READ").await;
        [counts["unread"].as_u64().unwrap(), counts["memberships"].as_u64().unwrap()]
    };
    ward.moves("groupRemoveMembers", "bob").await;
    assert_eq!(memberships().await, [1, 0]);
    world.scim().get(&format!("/Groups/{group}?excludedAttributes=members")).await.is(200);
    assert_eq!(memberships().await, [1, 0]);
    world.scim().get(&format!("/Groups/{group}")).await.is(200);
    assert_eq!(memberships().await, [0, 0]);

    ward.moves("groupAddMembers", "bob").await;
    ward.moves("groupRemoveMembers", "ada").await;
    // Added and removed again: no difference.
    ward.moves("groupAddMembers", "eve").await;
    ward.moves("groupRemoveMembers", "eve").await;
    assert_eq!(memberships().await, [0, 2]);
    let found = findings(&world, "kinds: [MEMBERSHIP], states: [OPEN]").await;
    let mut shown: Vec<_> = found
        .iter()
        .map(|finding| {
            let difference = &finding["differences"][0];
            assert!(difference["changedBy"].is_string(), "{finding:#}");
            (
                finding["label"].as_str().unwrap(),
                difference["theirs"].clone(),
                difference["ours"].clone(),
            )
        })
        .collect();
    shown.sort_by_key(|(label, ..)| *label);
    assert_eq!(shown, [("ada", json!(true), json!(false)), ("bob", json!(false), json!(true))]);
    // Only one of the two differs from the last write: bob is where the identity provider put him.
    assert_eq!(ward.compare("LAST_WRITE").await["memberships"], 1);

    // It knows what it wrote itself, and what it read.
    let put = json!([{ "op": "add", "path": "members", "value": [{ "value": ada }] }]);
    world.scim().patch(&format!("/Groups/{group}"), put).await;
    assert_eq!(memberships().await, [0, 1]);
    let look = "/Groups?filter=displayName%20eq%20%22Ward%203%22";
    assert_eq!(ward.get(look).await["totalResults"], 1);
    assert_eq!(memberships().await, [0, 0]);
    ward.moves("groupAddMembers", "eve").await;
    assert_eq!(memberships().await, [0, 1]);
    ward.get("/Groups?cursor=").await;
    assert_eq!(memberships().await, [0, 0]);
    world.end().await;
}

#[tokio::test]
async fn replicas_keep_the_latest_read() {
    let world = World::new().await;
    let ada = create_person(&world, "ada", "Nurse").await;
    let other = App::open(world.app.config.clone()).await.unwrap();
    let reader =
        ListReader { organization: world.acme.organization, connection: world.acme.connection };
    let now = world.app.clock.now();
    let at = |minutes: i64| now + chrono::Duration::minutes(minutes);
    let instants = async || {
        let rows = "SELECT at FROM last_read ORDER BY subject_id DESC";
        world.rows(rows, []).await.iter().map(|row| row["at"].to_string()).collect::<Vec<_>>()
    };
    let mut seen = Vec::new();
    // The later read is written first. An earlier one changes nothing, and neither does the same
    // one again.
    for (app, minutes) in [(&world.app, 1), (&other, 0), (&other, 1), (&world.app, 2)] {
        app.reads.note_read(reader, Kind::User, ada, minutes, at(minutes));
        app.reads.note_list_page(
            reader,
            Kind::User,
            ListPage::Index { from: 0, to: 1, total: 1 },
            at(minutes),
        );
        reads::flush_reads(app).await.unwrap();
        seen.push(instants().await);
    }
    assert_eq!(seen[0].len(), 2, "{seen:?}");
    assert!(seen[0] == seen[1] && seen[1] == seen[2] && seen[2] != seen[3], "{seen:?}");
    // Two servers write many reads at the same time, in any order.
    let many: Vec<Uuid> = (0..1_500).map(|_| Uuid::now_v7()).collect();
    for (app, minutes) in [(&world.app, 3), (&other, 4)] {
        many.iter()
            .for_each(|id| app.reads.note_read(reader, Kind::Group, *id, minutes, at(minutes)));
    }
    let (here, there) = tokio::join!(reads::flush_reads(&world.app), reads::flush_reads(&other));
    here.unwrap();
    there.unwrap();
    assert_eq!(
        world.count("last_read WHERE kind = 'GROUP' AND at = $1", [at(4).into()]).await,
        1_500
    );
    other.store.clone().close().await;
    world.end().await;
}

#[tokio::test]
async fn pull_connection_has_no_last_read() {
    let world = World::new().await;
    let id = connection(&world).await;
    world.execute("UPDATE connection SET kind = 'SCIM_PULL'", []).await;
    let start =
        "mutation($c: ID!) { reconciliationStart(input: { connectionId: $c, source: LAST_READ }) {
        reconciliation { id } userErrors { code path } } }";
    let answer = world.graphql(start, json!({ "c": id })).await;
    let error = &answer["data"]["reconciliationStart"]["userErrors"][0];
    assert_eq!(
        (&error["code"], &error["path"]),
        (&json!("INVALID"), &json!(["input", "source"])),
        "{answer:#}"
    );
    assert_eq!(world.count("reconciliation", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn deleted_manager_is_a_finding() {
    let world = World::new().await;
    let urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    let boss = create_person(&world, "boss", "Head").await;
    let heir = create_person(&world, "heir", "Head").await;
    let ada = json!({ "userName": "ada", urn: { "manager": { "value": boss } } });
    let ada = world.scim().post("/Users", ada).await.is(201).id();
    let id = connection(&world).await;
    let start = "mutation($c: ID!) { reconciliationStart(input: { connectionId: $c }) {
        reconciliation { state } } }";
    let compare = async || {
        let answer = world.graphql(start, json!({ "c": id })).await;
        let run = &answer["data"]["reconciliationStart"]["reconciliation"];
        assert_eq!(run["state"], "SUCCEEDED", "{answer:#}");
        findings(&world, "states: [OPEN], kinds: [MANAGER_GONE]").await
    };
    assert!(compare().await.is_empty());
    world.scim().delete(&format!("/Users/{boss}")).await.is(204);
    let found = compare().await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["label"], "ada");
    let difference = &found[0]["differences"][0];
    assert_eq!(
        (&difference["attribute"], &difference["ours"]),
        (&json!("manager"), &json!(boss.to_string()))
    );
    assert!(found[0]["nextStep"].as_str().unwrap().contains("name another manager"));
    assert_eq!(compare().await.len(), 1);
    let other =
        json!([{ "op": "replace", "path": format!("{urn}:manager"), "value": { "value": heir } }]);
    world.scim().patch(&format!("/Users/{ada}"), other).await.is(200);
    assert!(compare().await.is_empty());
    world.end().await;
}
