//! What an operator sees on the command line and around the server: commands create nothing that
//! they were not asked for, and errors name their cause at once.

use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rolecall::domain::connection::request_log::flush_request_counts;
use sea_orm::{ConnectionTrait, Database as Connections, Statement};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::database::{Database, on_postgres};
use crate::process::{Server, bootstrap, ok, rolecall, run};
use crate::world::World;

/// The error output of a command that must fail.
#[track_caller]
fn refusal(database: &Database, args: &[&str]) -> String {
    let output = run(database, args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{args:?}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// Every command that needs an existing installation, with its arguments.
const EXISTING: [&[&str]; 10] = [
    &["audit", "key"],
    &["audit", "verify"],
    &["audit", "checkpoint", "--organization", "acme"],
    &["jwt", "--organization", "acme"],
    &["migrate"],
    &["keys", "rotate", "prepare", "--new-master-key-file", "new.key"],
    &["keys", "rotate", "finish"],
    &["keys", "rotate-signing"],
    &["keys", "public"],
    &["tasks"],
];

fn entries(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn reading_commands_create_no_installation() {
    let database = Database::empty().await;
    let inside = database.folder().join("inside");
    std::fs::create_dir(&inside).unwrap();
    for args in EXISTING {
        // With the settings of the test, and with a folder only, which is the default.
        let mut command = rolecall(&database, args);
        let output = command
            .env("ROLECALL_DATA_DIR", inside.join("data"))
            .current_dir(&inside)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}");
        assert!(
            said.contains("no installation") && said.contains("rolecall bootstrap"),
            "{args:?}: {said}"
        );
        let mut command = rolecall(&database, args);
        let command = command.env_remove("ROLECALL_DATABASE_URL").env_remove("ROLECALL_DATA_DIR");
        let output = command.current_dir(&inside).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(
            said.contains("no installation") && said.contains("inside/rolecall-data"),
            "{args:?}: {said}"
        );
        assert_eq!(entries(&inside), Vec::<String>::new(), "{args:?}");
        assert_eq!(entries(database.folder()), ["inside"], "{args:?}");
    }
    if on_postgres() {
        let db = Connections::connect(database.url.as_str()).await.unwrap();
        let tables = "SELECT count(*) AS n FROM pg_tables WHERE schemaname = 'public'";
        let tables = sea_orm::Statement::from_string(db.get_database_backend(), tables);
        let found: i64 = db.query_one_raw(tables).await.unwrap().unwrap().try_get("", "n").unwrap();
        assert_eq!(found, 0);
        db.close().await.unwrap();
    } else {
        // An empty file is no installation either, and stays empty.
        let file = database.folder().join("rolecall.db");
        std::fs::write(&file, "").unwrap();
        assert!(refusal(&database, &["audit", "verify"]).contains("no installation"));
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 0);
        assert_eq!(entries(database.folder()).len(), 2);
    }
    database.drop().await;
}

/// A program may be newer than the servers that use the database: only `migrate`, `serve`, `demo`
/// and `bootstrap` bring its tables up to date.
#[tokio::test]
async fn reading_commands_change_no_tables() {
    let database = Database::empty().await;
    bootstrap(&database);
    let connection = Connections::connect(&database.url).await.unwrap();
    let older = "m00000000_000000_unknown";
    let changes = [
        (
            format!(
                "UPDATE seaql_migrations SET version = '{older}' \
                 WHERE version = (SELECT max(version) FROM seaql_migrations)"
            ),
            "newer version",
        ),
        (format!("DELETE FROM seaql_migrations WHERE version = '{older}'"), "older version"),
    ];
    for (change, hint) in changes {
        connection.execute_unprepared(&change).await.unwrap();
        let before = migrations(&connection).await;
        for args in EXISTING.iter().filter(|args| args[0] != "migrate") {
            let said = refusal(&database, args);
            assert!(said.contains(hint), "{args:?}: {said}");
        }
        assert_eq!(migrations(&connection).await, before);
        assert!(!Path::new("new.key").exists(), "a refused command made a key");
    }
}

async fn migrations(connection: &impl ConnectionTrait) -> u64 {
    let count = "SELECT count(*) AS migrations FROM seaql_migrations";
    let statement = Statement::from_string(connection.get_database_backend(), count);
    let row = connection.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get::<i64>("", "migrations").unwrap() as u64
}

/// An upgrade that fails in the middle can be tried again. On SQLite it changed nothing, so that the
/// older program still works.
#[tokio::test]
async fn failed_upgrade_can_be_repeated() {
    let database = Database::empty().await;
    let url =
        if on_postgres() { database.url.clone() } else { format!("{}?mode=rwc", database.url) };
    let connection = Connections::connect(url).await.unwrap();
    // A table in the way of one of the last migrations.
    connection.execute_unprepared("CREATE TABLE invitation (id int)").await.unwrap();
    let said = refusal(&database, &["bootstrap", "--organization", "acme"]);
    assert!(said.contains("invitation"), "{said}");
    if !on_postgres() {
        assert_eq!(migrations(&connection).await, 0);
        let tables = "SELECT count(*) AS found FROM sqlite_master WHERE name = 'organization'";
        let tables = Statement::from_string(connection.get_database_backend(), tables);
        let row = connection.query_one_raw(tables).await.unwrap().unwrap();
        assert_eq!(row.try_get::<i64>("", "found").unwrap(), 0);
    }
    connection.execute_unprepared("DROP TABLE invitation").await.unwrap();
    connection.close().await.unwrap();
    bootstrap(&database);
    assert!(ok(&database, &["audit", "verify"]).contains("intact"));
    database.drop().await;
}

#[tokio::test]
async fn missing_master_key_is_not_created() {
    let database = Database::empty().await;
    bootstrap(&database);
    let elsewhere = database.folder().join("elsewhere");
    let mut command = rolecall(&database, &["audit", "key"]);
    let output = command.env("ROLECALL_DATA_DIR", &elsewhere).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("master key"));
    assert!(!elsewhere.exists());
    database.drop().await;
}

#[tokio::test]
async fn verify_fails_without_an_organization() {
    let database = Database::empty().await;
    // A refused slug leaves an installation without an organization.
    assert!(refusal(&database, &["bootstrap", "--organization", "No Slug"]).contains("slug"));
    let nothing = run(&database, &["audit", "verify"]);
    assert!(!nothing.status.success());
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("--allow-empty"));
    assert_eq!(
        ok(&database, &["audit", "verify", "--allow-empty"]),
        "checked 0 organizations, 0 events\n"
    );
    bootstrap(&database);
    let server = Server::start(&database).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(server);
    let checked = ok(&database, &["audit", "verify"]);
    let sealed = checked.split("intact, ").nth(1).unwrap().split(' ').next().unwrap();
    assert_ne!(sealed, "0");
    assert!(checked.ends_with(&format!("checked 1 organizations, {sealed} events\n")), "{checked}");
    database.drop().await;
}

#[tokio::test]
async fn unreachable_database_is_reported_at_once() {
    let database = Database::empty().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut cases = vec![(format!("postgres://u:secret-word@{free}/x"), "connection refused")];
    if on_postgres() {
        let db = Connections::connect(database.url.as_str()).await.unwrap();
        db.execute_unprepared(
            "DROP ROLE IF EXISTS connectionless; CREATE ROLE connectionless LOGIN PASSWORD \
             'secret-word' CONNECTION LIMIT 0",
        )
        .await
        .unwrap();
        db.close().await.unwrap();
        let (_, place) = database.url.split_once('@').unwrap();
        let (place, name) = place.split_once('/').unwrap();
        cases.push((
            format!("postgres://postgres:secret-word@{place}/{name}"),
            "password authentication failed",
        ));
        let (account, _) = database.url.split_once('@').unwrap();
        cases.push((format!("{account}@{place}/no_such_database"), "does not exist"));
        cases.push((
            format!("postgres://connectionless:secret-word@{place}/{name}"),
            "too many connections",
        ));
    }
    for (url, reason) in cases {
        for args in [&["serve"][..], &["audit", "verify"], &["bootstrap", "--organization", "acme"]]
        {
            let began = Instant::now();
            let output =
                rolecall(&database, args).env("ROLECALL_DATABASE_URL", &url).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success(), "{args:?}");
            assert!(said.contains(reason) && !said.contains("secret-word"), "{args:?}: {said}");
            assert!(began.elapsed() < Duration::from_secs(5), "{args:?}: {:?}", began.elapsed());
        }
    }
    database.drop().await;
}

#[tokio::test]
async fn second_server_on_sqlite_is_refused() {
    if on_postgres() {
        return;
    }
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let mut server = Server::start(&database).await;
    let link = database.folder().join("link.db");
    std::os::unix::fs::symlink(database.folder().join("rolecall.db"), &link).unwrap();
    for url in [database.url.clone(), format!("sqlite://{}", link.display())] {
        let mut second = rolecall(&database, &["serve"]);
        let output = second.env("ROLECALL_DATABASE_URL", &url).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains("another rolecall server"),
            "{url}: {said}"
        );
    }
    // Short commands work while the server runs.
    ok(&database, &["audit", "verify"]);
    ok(&database, &["jwt", "--organization", "acme"]);
    ok(&database, &["bootstrap", "--organization", "globex"]);
    server.scim(&made).get("/Users").await.is(200);
    // A killed server leaves no lock behind.
    server.kill();
    let server = Server::start(&database).await;
    server.scim(&made).get("/Users").await.is(200);
    for (name, mode) in
        [("rolecall.db", 0o600), ("rolecall.db-wal", 0o600), ("rolecall.db.lock", 0o600)]
    {
        let found =
            std::fs::metadata(database.folder().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name}");
    }
    database.drop().await;
}

#[tokio::test]
async fn closed_output_is_no_error() {
    let database = Database::empty().await;
    bootstrap(&database);
    let file = database.folder().join("checkpoint.jws");
    let key = ok(&database, &["audit", "key"]);
    let checkpoint = ok(&database, &["audit", "checkpoint", "--organization", "acme"]);
    std::fs::write(&file, checkpoint).unwrap();
    let key = format!("--key={}", key.trim());
    let commands: [&[&str]; 10] = [
        &["schema"],
        &["audit", "key"],
        &["audit", "verify"],
        &["audit", "checkpoint", "--organization", "acme"],
        &["audit", "check", file.to_str().unwrap(), &key],
        &["jwt", "--organization", "acme"],
        &["migrate"],
        &["keys", "public"],
        &["bootstrap", "--organization", "acme", "--new-credentials"],
        &["--help"],
    ];
    for args in commands {
        let mut child = rolecall(&database, args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let status = child.wait().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(status.success() && said.is_empty(), "{args:?}: {status} {said}");
    }
    // A command whose error output is closed fails without a panic.
    let mut command = rolecall(&database, &["audit", "verify", "--organization", "elsewhere"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    // A command whose output cannot be written to the disk fails.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = rolecall(&database, &["audit", "key"]).stdout(full).output().unwrap();
    assert!(
        !output.status.success()
            && String::from_utf8_lossy(&output.stderr).contains("standard output")
    );
    database.drop().await;
}

/// The address from which acme's token was last used.
async fn last_from(world: &World) -> Value {
    let started = Instant::now();
    loop {
        let rows = world
            .rows("SELECT last_used_from FROM scim_token WHERE last_used_from IS NOT NULL", [])
            .await;
        if let Some(row) = rows.first() {
            return row["last_used_from"].clone();
        }
        assert!(started.elapsed() < Duration::from_secs(15), "no use was recorded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn only_trusted_proxies_set_the_address() {
    let trusted = "127.0.0.0/8".parse().unwrap();
    for (trusted, from) in [(trusted, "192.0.2.7"), (Default::default(), "127.0.0.1")] {
        let world = World::with(|config| config.trusted_proxies = trusted).await;
        let headers = [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "192.0.2.7, 127.0.0.2")];
        let mut request = world.scim().request(reqwest::Method::GET, "/Users");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        assert_eq!(request.send().await.unwrap().status(), 200);
        assert_eq!(last_from(&world).await, from);
        let mut stranger =
            reqwest::Client::new().get(format!("{}/scim/v2/acme/Users", world.address));
        for (name, value) in headers {
            stranger = stranger.header(name, value);
        }
        assert_eq!(stranger.bearer_auth("rct_wrong").send().await.unwrap().status(), 401);
        flush_request_counts(&world.app).await.unwrap();
        let log = world.rows("SELECT source FROM request_log WHERE source IS NOT NULL", []).await;
        assert!(!log.is_empty() && log.iter().all(|row| row["source"] == from), "{log:?}");
        world.end().await;
    }
}

/// A port that accepts no connection: its queue is full, and the kernel drops new connections.
async fn full_port() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await
    {
        waiting.push(connected.unwrap());
    }
    (address, listener, waiting)
}

#[tokio::test]
async fn connection_test_names_the_silent_step() {
    let world = World::with(|config| config.pull_private_addresses = true).await;
    let (full, _listener, _waiting) = full_port().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(silent.accept().await.unwrap());
        }
    });
    let cases = [
        (format!("http://{full}"), "no connection"),
        (format!("https://{full}"), "no connection"),
        (format!("https://{address}"), "TLS"),
        (format!("http://{address}"), "no answer"),
    ];
    for (number, (base, finding)) in cases.into_iter().enumerate() {
        let make = "mutation($n: String!, $p: PullSourceInput!) { connectionCreate(input: { name: $n, pull: $p }) {
            connection { id } userErrors { message } } }";
        let pull = json!({ "baseUrl": base, "secret": "x" });
        let made = world.graphql(make, json!({ "n": format!("Source {number}"), "p": pull })).await;
        let connection = &made["data"]["connectionCreate"]["connection"]["id"];
        let test = "mutation($c: ID!) { pullSourceTest(input: { connectionId: $c }) {
            ok steps { probe ok message nextStep } userErrors { message } } }";
        let began = Instant::now();
        let tested = world.graphql(test, json!({ "c": connection })).await;
        let step = &tested["data"]["pullSourceTest"]["steps"][1];
        assert_eq!(
            (&step["probe"], &step["ok"]),
            (&json!("REACHED"), &json!(false)),
            "{base}: {tested:#}"
        );
        assert!(step["message"].as_str().unwrap().contains(finding), "{base}: {tested:#}");
        assert!(step["nextStep"].is_string(), "{base}: {tested:#}");
        assert!(began.elapsed() < Duration::from_secs(13), "{base}: {:?}", began.elapsed());
    }
    held.abort();
    world.end().await;
}
