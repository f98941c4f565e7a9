//! Runs the examples under docs/examples unchanged: the queries of an administrator's screens, and
//! the scripts.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rolecall::auth::policy::Permission;
use rolecall::domain::access::api_key;
use serde_json::{Value, json};

use crate::socket::{Events, Socket};
use crate::world::World;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name)
}

/// Runs one operation of an example and returns the answer's data.
async fn run(world: &World, file: &str, operation: &str, variables: Value) -> Value {
    let query = std::fs::read_to_string(example(file)).unwrap();
    let body = json!({ "query": query, "operationName": operation, "variables": variables });
    let request = reqwest::Client::new().post(&world.acme.graphql).bearer_auth(&world.acme.api_key);
    let request = request.header("content-type", "application/json").body(body.to_string());
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert!(answer.get("errors").is_none(), "{operation}: {answer:#}");
    answer["data"].clone()
}

#[tokio::test]
async fn example_queries_show_the_directory() {
    let world = World::new().await;
    let ada = world.scim().user("ada").await;
    world.scim().user("ben").await;
    world.scim().group("Cardiology", &[ada]).await;
    let role = "mutation { roleCreate(input: { name: \"Nurse\" }) { role { id } } }";
    let role = world.graphql(role, json!({})).await["data"]["roleCreate"]["role"]["id"].clone();

    let overview = run(&world, "screens/overview.graphql", "Overview", json!({})).await;
    let scim = &overview["organization"]["scim"];
    assert_eq!(
        (&scim["state"], &scim["counts"]["users"], &scim["counts"]["groups"]),
        (&json!("ACTIVE"), &json!(2), &json!(1))
    );
    assert_eq!(scim["recentActivity"][0]["action"], "ROLE_CREATED");
    let connection = &overview["organization"]["connections"]["nodes"][0]["id"];
    let connection = json!({ "connectionId": connection });
    let configuration =
        run(&world, "screens/configuration.graphql", "Configuration", connection).await;
    let steps = &configuration["organization"]["connection"]["diagnosis"]["steps"];
    assert_eq!(
        (&steps[3]["check"], &steps[3]["ok"]),
        (&json!("TOKEN"), &json!(true)),
        "{configuration:#}"
    );

    let editor = "screens/mapping-editor.graphql";
    let filter = json!({ "groups": { "displayNameStartsWith": "card" } });
    let editor = run(&world, editor, "MappingEditor", filter).await["organization"].clone();
    let group = editor["groups"]["nodes"][0]["id"].clone();
    assert_eq!(editor["groups"]["nodes"][0]["memberCount"], 1, "{editor:#}");
    let edits =
        json!([{ "createMapping": { "groupId": group, "roleId": role, "reason": "New ward" } }]);
    let preview = run(&world, "mappings.graphql", "PreviewEdits", json!({ "edits": edits })).await
        ["accessPreview"]["preview"]
        .clone();
    assert_eq!(
        preview["gains"]["nodes"],
        json!([{ "user": { "userName": "ada" }, "role": { "name": "Nurse" } }])
    );
    assert_eq!(world.count("role_mapping", []).await, 0, "nothing has changed");
    let applied =
        run(&world, "mappings.graphql", "ApplyPreview", json!({ "id": preview["id"] })).await;
    assert_eq!(applied["accessApply"]["change"]["gainedCount"], 1, "{applied:#}");
    let editor =
        run(&world, "screens/mapping-editor.graphql", "MappingEditor", json!({})).await
            ["organization"]
            .clone();
    let mapping = editor["roleMappings"]["nodes"][0].clone();
    assert_eq!(
        (&mapping["role"]["name"], &mapping["reason"]),
        (&json!("Nurse"), &json!("New ward"))
    );

    let filter =
        json!({ "filter": { "userNameStartsWith": "a" }, "orderBy": { "field": "USER_NAME" } });
    let users =
        run(&world, "screens/users.graphql", "Users", filter).await["organization"]["users"]
            .clone();
    assert_eq!(users["totalCount"], 1);
    let user = &users["nodes"][0];
    assert_eq!(
        (&user["userName"], &user["roles"][0]["role"]["name"]),
        (&json!("ada"), &json!("Nurse"))
    );
    let why = run(
        &world,
        "users.graphql",
        "WhyThisRole",
        json!({ "userId": user["id"], "roleId": role }),
    )
    .await;
    assert_eq!(
        why["organization"]["user"]["explain"]["sources"][0]["group"]["displayName"],
        "Cardiology"
    );
    let suspended = run(&world, "users.graphql", "SuspendUser", json!({ "id": user["id"] })).await
        ["userSuspend"]
        .clone();
    assert_eq!(
        (&suspended["user"]["active"], &suspended["user"]["roles"]),
        (&json!(false), &json!([]))
    );

    // A removed mapping can be restored, and gives its role again.
    let end =
        "mutation($id: ID!) { roleMappingRemove(input: { id: $id }) { userErrors { code } } }";
    world.graphql(end, json!({ "id": mapping["id"] })).await;
    let bin =
        run(&world, "mappings.graphql", "RemovedMappings", json!({})).await["organization"]["roleMappings"]["nodes"]
            .clone();
    assert_eq!((&bin[0]["id"], &bin[0]["state"]), (&mapping["id"], &json!("REMOVED")));
    let restored =
        run(&world, "mappings.graphql", "RestoreMapping", json!({ "id": mapping["id"] })).await;
    assert_eq!(restored["roleMappingRestore"]["userErrors"], json!([]));
    assert_eq!(world.count("role_mapping WHERE until IS NULL", []).await, 1);

    world.sealed().await;
    let filter = json!({ "filter": { "subjectId": user["id"] } });
    let audit = run(&world, "screens/audit.graphql", "Audit", filter).await;
    let rows = audit["organization"]["events"]["nodes"].as_array().unwrap();
    let actions: Vec<_> = rows.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["USER_SUSPENDED", "USER_CREATED"]);
    let leavers = run(&world, "audit.graphql", "Leavers", json!({})).await["organization"].clone();
    assert_eq!(
        (&leavers["revocationTimes"]["count"], &leavers["leavers"]["nodes"][0]["userName"]),
        (&json!(1), &json!("ada"))
    );
    let tail = json!({ "query": std::fs::read_to_string(example("audit.graphql")).unwrap(), "operationName": "AuditTail",
        "variables": { "after": rows[0]["seq"] } });
    let mut events = Events::post(&world.address, &world.acme.api_key, tail).await;
    assert_eq!(
        events.answer().await["data"]["events"]["seq"].as_i64(),
        rows[0]["seq"].as_i64().map(|seq| seq + 1)
    );
    drop(events);
    world.end().await;
}

#[tokio::test]
async fn example_operations_sync_a_source() {
    let source = World::new().await;
    let ada = source.scim().user("ada").await;
    source.scim().group("Cardiology", &[ada]).await;
    let world = World::with(|config| config.pull_private_addresses = true).await;
    let address = json!({ "baseUrl": source.scim().base, "secret": source.scim().token });
    let made = run(&world, "sync.graphql", "Connect", address).await["connectionCreate"].clone();
    assert_eq!(made["userErrors"], json!([]));
    assert!(made["connection"]["pull"]["nextIncrementalAt"].is_string(), "{made:#}");
    let connection = made["connection"]["id"].clone();
    let tried =
        run(&world, "sync.graphql", "TestSource", json!({ "connectionId": connection })).await;
    assert_eq!(tried["pullSourceTest"]["ok"], true, "{tried:#}");
    let begin = json!({ "connectionId": connection, "mode": "FULL" });
    let begun =
        run(&world, "sync.graphql", "StartSync", begin).await["syncStart"]["syncRun"].clone();
    let follow = json!({ "query": std::fs::read_to_string(example("sync.graphql")).unwrap(),
        "operationName": "SyncProgress", "variables": { "id": begun["id"] } });
    let mut progress = Events::post(&world.address, &world.acme.api_key, follow).await;
    let last = loop {
        let seen = progress.answer().await["data"]["jobProgress"].clone();
        if seen["state"] != "QUEUED" && seen["state"] != "RUNNING" {
            break seen;
        }
    };
    assert_eq!(
        (&last["state"], &last["users"]["created"]),
        (&json!("SUCCEEDED"), &json!(1)),
        "{last:#}"
    );
    let runs = run(&world, "sync.graphql", "SyncRuns", json!({})).await["organization"].clone();
    let named = runs["connections"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "HR")
        .unwrap();
    assert_eq!(
        (&named["syncRuns"]["nodes"][0]["id"], &runs["failures"]["nodes"]),
        (&begun["id"], &json!([]))
    );
    // The source no longer lists any account: the run waits for an approval.
    source.scim().delete(&format!("/Users/{ada}")).await.is(204);
    let begin = json!({ "connectionId": connection, "mode": "FULL" });
    let begun =
        run(&world, "sync.graphql", "StartSync", begin).await["syncStart"]["syncRun"].clone();
    for _ in 0..400 {
        let runs = run(&world, "sync.graphql", "SyncRuns", json!({})).await;
        if runs.to_string().contains("WAITING") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let approved =
        run(&world, "sync.graphql", "ApproveRemovals", json!({ "id": begun["id"] })).await;
    assert_eq!(approved["syncApprove"]["userErrors"], json!([]), "{approved:#}");
    source.end().await;
    world.end().await;
}

/// Runs an example script with a key that has only the permissions that the script says it needs.
async fn script(
    world: &World,
    name: &str,
    arguments: &[&str],
    input: &str,
    permissions: &[Permission],
) -> Output {
    let issued =
        api_key::issue_key(&world.system(), name, permissions.iter().copied().collect(), None)
            .await
            .unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("input"), input).unwrap();
    let mut command = Command::new(example(name));
    command.args(arguments).current_dir(folder.path()).env("NO_PROXY", "127.0.0.1");
    command.env("ROLECALL_URL", &world.address).env("ROLECALL_KEY", &issued.secret);
    command.stdin(std::fs::File::open(folder.path().join("input")).unwrap());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    drop(folder);
    output
}

#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn example_script_rotates_a_token() {
    let world = World::new().await;
    let needs = [
        Permission::IamRead,
        Permission::TokenManage,
        Permission::UserRead,
        Permission::UserWrite,
        Permission::AccessWrite,
    ];
    let output = script(&world, "rotate-token.sh", &["Identity provider", "0"], "", &needs).await;
    let token = printed(&output).trim().to_owned();
    assert!(token.starts_with("rcs_"), "{output:?}");
    world.scim().get("/Users").await.refused(401, None);
    world.scim().with_token(&token).get("/Users").await.is(200);
    // With an overlap the old token stays valid for some time.
    let output = script(&world, "rotate-token.sh", &["Identity provider"], "", &needs).await;
    let newest = printed(&output).trim().to_owned();
    for token in [&token, &newest] {
        world.scim().with_token(token).get("/Users").await.is(200);
    }
    let output = script(&world, "rotate-token.sh", &["Unknown"], "", &needs).await;
    assert!(
        !output.status.success()
            && String::from_utf8_lossy(&output.stderr).contains("no connection"),
        "{output:?}"
    );
    let output = script(&world, "rotate-token.sh", &["Identity provider"], "", &needs[..1]).await;
    assert!(
        !output.status.success()
            && String::from_utf8_lossy(&output.stderr).contains("TOKEN_MANAGE"),
        "{output:?}"
    );
    assert!(output.stdout.is_empty());
    world.end().await;
}

#[tokio::test]
async fn example_script_applies_a_mapping_file() {
    let world = World::new().await;
    let ada = world.scim().user("ada").await;
    let (one, two) =
        (world.scim().group("Cardiology", &[ada]).await, world.scim().group("Surgery", &[]).await);
    for name in ["Nurse", "Doctor"] {
        world
            .graphql(
                "mutation($n: String!) { roleCreate(input: { name: $n }) { role { id } } }",
                json!({ "n": name }),
            )
            .await;
    }
    let needs = [Permission::IamRead, Permission::UserRead, Permission::AccessWrite];
    let file = "Cardiology\tNurse\nSurgery\tDoctor\n";
    let output = script(&world, "edit-mappings.sh", &[], file, &needs).await;
    assert!(
        printed(&output).starts_with("1 would be gained, 0 lost\n+ ada: Nurse\n"),
        "{output:?}"
    );
    assert_eq!(world.count("role_mapping", []).await, 0, "nothing was changed");
    let output = script(&world, "edit-mappings.sh", &["--yes"], file, &needs).await;
    assert!(printed(&output).ends_with("done: 1 gained, 0 lost\n"), "{output:?}");
    let open = "role_mapping WHERE until IS NULL AND group_id = $1";
    assert_eq!(
        (world.count(open, [one.into()]).await, world.count(open, [two.into()]).await),
        (1, 1)
    );
    assert_eq!(
        world.count("event WHERE action = 'access.changed'", []).await,
        1,
        "one transaction"
    );
    assert_eq!(
        printed(&script(&world, "edit-mappings.sh", &["--yes"], file, &needs).await),
        "nothing to do\n"
    );
    // A file that is empty or unreadable ends no mapping.
    for (file, words) in [
        ("", "no line"),
        ("\n\n", "no line"),
        ("Surgery Doctor\n", "not a group"),
        ("Surgery\t\n", "not a group"),
    ] {
        let output = script(&world, "edit-mappings.sh", &["--yes"], file, &needs).await;
        assert!(
            !output.status.success() && String::from_utf8_lossy(&output.stderr).contains(words),
            "{output:?}"
        );
        assert_eq!(
            (world.count(open, [one.into()]).await, world.count(open, [two.into()]).await),
            (1, 1)
        );
    }
    // No account is in Surgery. Its mapping is named all the same.
    let output = script(&world, "edit-mappings.sh", &["--remove-all"], "", &needs).await;
    let shown = printed(&output);
    assert!(
        shown.contains("ends: Cardiology to Nurse\n")
            && shown.contains("ends: Surgery to Doctor\n"),
        "{shown}"
    );
    assert!(shown.contains("nothing was changed"), "{shown}");
    // A mapping that the file does not list ends.
    let output =
        script(&world, "edit-mappings.sh", &["--yes"], "Surgery\tDoctor\nSurgery\tNurse\n", &needs)
            .await;
    assert!(printed(&output).ends_with("done: 0 gained, 1 lost\n"), "{output:?}");
    assert_eq!(
        (world.count(open, [one.into()]).await, world.count(open, [two.into()]).await),
        (0, 2)
    );
    let output = script(&world, "edit-mappings.sh", &["--yes"], "Nowhere\tNurse\n", &needs).await;
    assert!(
        !output.status.success()
            && String::from_utf8_lossy(&output.stderr).contains("0 groups are called Nowhere"),
        "{output:?}"
    );
    assert_eq!(world.count(open, [two.into()]).await, 2);
    world.end().await;
}

#[tokio::test]
async fn example_script_uploads_a_bulk_file() {
    let world = World::new().await;
    let line = |name: &str| {
        json!({ "operation": "userCreate", "input": { "userName": name } }).to_string() + "\n"
    };
    let needs = [Permission::UserWrite];
    let output = script(&world, "bulk.sh", &["input"], &(line("ada") + &line("ben")), &needs).await;
    assert_eq!(printed(&output), "");
    assert_eq!(world.count("\"user\"", []).await, 2);
    let output = script(&world, "bulk.sh", &["input"], &(line("cyd") + &line("Ada")), &needs).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let failed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&failed["line"], &failed["payload"]["userErrors"][0]["code"]),
        (&json!(2), &json!("TAKEN"))
    );
    assert_eq!(world.count("\"user\"", []).await, 3);
    world.end().await;
}

/// The blocks of a page of docs/graphql in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/graphql").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let begin = format!("```{language}\n");
    let parts = text.split(&begin).skip(1).filter_map(|rest| rest.split("```").next());
    parts.map(str::to_owned).collect()
}

/// Compares with what a page shows, where … stands for what is different each time.
#[track_caller]
fn assert_shown(shown: &str, found: &str) {
    let parts: Vec<&str> = shown.split('…').collect();
    let mut rest = found.strip_prefix(parts[0]).unwrap_or_else(|| panic!("{shown}\n{found}"));
    for part in &parts[1..] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part} of {shown}\n{found}"));
        rest = &rest[at + part.len()..];
    }
    assert!(rest.is_empty(), "{shown}\n{found}");
}

#[tokio::test]
async fn documented_bulk_file_answers_as_shown() {
    let world = World::new().await;
    let [input, results] = &blocks("bulk.md", "json")[..] else { panic!("two blocks of JSON") };
    let url = world.acme.graphql.replace("/graphql", "/bulk");
    let http = reqwest::Client::new();
    let request = http.post(&url).bearer_auth(&world.acme.api_key);
    let request = request.header("content-type", "application/jsonl").body(input.clone());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let job: Value = answer.json().await.unwrap();
    assert_eq!(
        (&job["bulkJob"]["state"], &job["bulkJob"]["lineCount"]),
        (&json!("QUEUED"), &json!(2)),
        "{job:#}"
    );
    let id = job["bulkJob"]["id"].as_str().unwrap();
    crate::bulk::ended(&world.acme, id).await;
    let request = http.get(format!("{url}/{id}/result.jsonl")).bearer_auth(&world.acme.api_key);
    let found = request.send().await.unwrap().text().await.unwrap();
    assert_eq!(found.lines().count(), results.lines().count(), "{found}");
    for (shown, found) in results.lines().zip(found.lines()) {
        assert_shown(shown, found);
    }
    world.end().await;
}

#[tokio::test]
async fn documented_socket_messages_work() {
    let world = World::new().await;
    let shown = blocks("subscriptions.md", "sh");
    let block = shown.iter().find(|block| block.starts_with("websocat ")).unwrap();
    let mut lines = block.lines();
    let command: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let ["websocat", "--protocol", protocol, url] = command[..] else { panic!("{command:?}") };
    assert!(url.ends_with("/graphql"), "{url}");
    let mut socket = Socket::open(&world.address, &[("sec-websocket-protocol", protocol)]).await;
    for line in lines {
        let message = line.replace("rck_…", &world.acme.api_key);
        socket.say_text(&message).await;
        if message.contains("connection_init") {
            assert_eq!(socket.hear().await, json!({ "type": "connection_ack" }));
        }
    }
    world.scim().user("ada").await;
    // On PostgreSQL what was done before the test joins the ledger a moment later.
    let mut heard = socket.next("1").await;
    while heard["data"]["events"]["action"] != "USER_CREATED" {
        heard = socket.next("1").await;
    }
    assert!(heard["data"]["events"]["seq"].is_i64(), "{heard:#}");
    assert!(socket.leave().await);
    world.end().await;
}
