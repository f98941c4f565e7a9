//! A 2xx answer means that the change is on the disk, whatever fails: a full disk, a killed
//! backend, a database that does not answer.

use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rolecall::context::App;
use rolecall::db::Store;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::database::{Database, on_postgres};
use crate::world::{Scim, World};

/// Creates a user as an identity provider does; returns the status, Retry-After and the body.
async fn create(scim: &Scim, name: &str) -> (u16, Option<String>, Value) {
    let body = json!({ "userName": name, "externalId": name }).to_string();
    let request = scim
        .request("POST".parse().unwrap(), "/Users")
        .header("content-type", "application/scim+json");
    let response = request.body(body).send().await.unwrap();
    let status = response.status().as_u16();
    let retry_after =
        response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    (
        status,
        retry_after,
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")),
    )
}

async fn user_names(app: &App) -> HashSet<String> {
    let text = "SELECT user_name FROM \"user\" WHERE deleted_at IS NULL";
    let rows = app
        .store
        .read
        .query_all_raw(Statement::from_string(app.store.backend(), text))
        .await
        .unwrap();
    rows.iter().map(|row| row.try_get("", "user_name").unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_after_a_full_disk_are_kept() {
    if on_postgres() {
        return;
    }
    let world = World::new().await;
    let mut acknowledged = HashSet::new();
    for round in 0..5 {
        // The one connection that writes may not make the file larger, so SQLite answers as on a
        // full disk.
        let pages = Statement::from_string(DbBackend::Sqlite, "PRAGMA page_count");
        let row = world.app.store.write.query_one_raw(pages).await.unwrap().unwrap();
        let pages: i32 = row.try_get_by_index(0).unwrap();
        let limit = format!("PRAGMA max_page_count = {}", pages + 2);
        world.app.store.write.execute_unprepared(&limit).await.unwrap();
        let mut refused = false;
        for n in 0..400 {
            let name = format!("before-{round}-{n}");
            let (status, retry_after, body) = create(world.scim(), &name).await;
            if status == 201 {
                acknowledged.insert(name);
                continue;
            }
            assert_eq!((status, &body["status"]), (503, &json!("503")), "{body}");
            assert!(retry_after.is_some(), "a client is told when to come again");
            refused = true;
            break;
        }
        assert!(refused, "the file could grow");
        let not_ready = reqwest::get(format!("{}/readyz", world.address)).await.unwrap();
        let recovered = Instant::now();
        for n in 0..20 {
            let name = format!("after-{round}-{n}");
            let (status, _, body) = create(world.scim(), &name).await;
            assert_eq!(status, 201, "{body}");
            acknowledged.insert(name);
        }
        assert_eq!(not_ready.status(), 503, "readiness tells that writes fail");
        while reqwest::get(format!("{}/readyz", world.address)).await.unwrap().status() != 200 {
            assert!(recovered.elapsed() < Duration::from_secs(4), "readiness comes back by itself");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // A second server reads what is in the file.
    let other = App::open(world.config()).await.unwrap();
    let kept = user_names(&other).await;
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged users are lost",
        lost.len(),
        acknowledged.len()
    );
    other.store.clone().close().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_backends_lose_no_acknowledged_write() {
    if !on_postgres() {
        return;
    }
    let world = World::new().await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (scim, stop) = (world.scim().clone(), stop.clone());
            tokio::spawn(async move {
                let (mut acknowledged, mut told_unknown) = (HashSet::new(), HashSet::new());
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = format!("user-{client}-{n}");
                    let (status, retry_after, body) = create(&scim, &name).await;
                    match status {
                        201 => drop(acknowledged.insert(name)),
                        503 => {
                            assert!(retry_after.is_some(), "{body}");
                            let detail = body["detail"].as_str().unwrap();
                            if detail.contains("may or may not") {
                                told_unknown.insert(name);
                            }
                        }
                        _ => panic!("{status}: {body}"),
                    }
                }
                (acknowledged, told_unknown)
            })
        })
        .collect();
    let killer = Store::open_database(&world.config().database_url).await.unwrap();
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let text = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        killer.read.query_all_raw(Statement::from_string(DbBackend::Postgres, text)).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut told_unknown) = (HashSet::new(), HashSet::new());
    for client in clients {
        let (yes, unknown) = client.await.unwrap();
        acknowledged.extend(yes);
        told_unknown.extend(unknown);
    }
    let kept = user_names(&world.app).await;
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged users are lost",
        lost.len(),
        acknowledged.len()
    );
    let unexpected: Vec<_> = kept
        .iter()
        .filter(|name| !acknowledged.contains(*name) && !told_unknown.contains(*name))
        .collect();
    assert!(unexpected.is_empty(), "clients were told that nothing was done: {unexpected:?}");
    assert!(acknowledged.len() > 20, "{} writes in all", acknowledged.len());
    killer.close().await;
    world.end().await;
}

#[tokio::test]
async fn nonsense_closes_every_connection() {
    const PAGE: u64 = 4096;
    if on_postgres() {
        return;
    }
    let database = Database::ready().await;
    let app = App::open(database.config()).await.unwrap();
    let statement = |text: &str| Statement::from_string(DbBackend::Sqlite, text.to_owned());
    // A setting of one connection shows whether it is still the same connection.
    let cache_size = async || {
        let asked = app.store.authentication.query_one_raw(statement("PRAGMA cache_size"));
        asked.await.unwrap().unwrap().try_get::<i64>("", "cache_size").unwrap()
    };
    app.store.authentication.execute_unprepared("PRAGMA cache_size = -777").await.unwrap();
    assert_eq!(cache_size().await, -777);
    let root = "SELECT rootpage FROM sqlite_master WHERE name = 'schema_extension'";
    let root = app.store.read.query_one_raw(statement(root)).await.unwrap().unwrap();
    let place = (root.try_get::<i64>("", "rootpage").unwrap().unsigned_abs() - 1) * PAGE;
    let path = database.url.trim_start_matches("sqlite://");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut page = [0; PAGE as usize];
    file.read_exact_at(&mut page, place).unwrap();
    file.write_all_at(&[0xff; PAGE as usize], place).unwrap();
    let count = "SELECT count(*) AS n FROM schema_extension NOT INDEXED";
    let refused = app.store.read.query_one_raw(statement(count)).await.unwrap_err();
    assert!(refused.to_string().contains("malformed"), "{refused}");
    assert!(app.store.health.current_failure().is_some());
    file.write_all_at(&page, place).unwrap();
    app.store.read.query_one_raw(statement(count)).await.unwrap();
    assert_ne!(cache_size().await, -777, "the other connections are still open");
    app.store.clone().close().await;
}

#[tokio::test]
async fn malformed_file_is_never_ready() {
    const PAGE: u64 = 4096;
    const LIMIT: Duration = Duration::from_millis(300);
    if on_postgres() {
        return;
    }
    let database = Database::ready().await;
    let app = App::open(database.config()).await.unwrap();
    app.store.await_ready(LIMIT).await.unwrap();
    // Test writes go to this table, so the database does not recover.
    let root = "SELECT rootpage FROM sqlite_master WHERE name = 'task_lease'";
    let root = Statement::from_string(DbBackend::Sqlite, root);
    let root = app.store.read.query_one_raw(root).await.unwrap().unwrap();
    let place = (root.try_get::<i64>("", "rootpage").unwrap().unsigned_abs() - 1) * PAGE;
    app.store.write.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    let path = database.url.trim_start_matches("sqlite://");
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0xff; PAGE as usize], place).unwrap();
    let began = Instant::now();
    let refused = app.store.probe_writes().await.unwrap_err();
    assert!(refused.to_string().contains("malformed"), "{refused}");
    let reason = app.store.await_ready(LIMIT).await.unwrap_err();
    assert!(reason.contains("does not take writes"), "{reason}");
    assert!(reason.contains("malformed"), "{reason}");
    assert!(began.elapsed() >= LIMIT);
    app.store.clone().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_statements_are_cancelled() {
    let database = Database::ready().await;
    let app = App::open(database.config()).await.unwrap();
    let endless = match app.store.backend() {
        DbBackend::Postgres => "SELECT 1 AS n FROM pg_sleep(60)",
        _ => {
            "WITH RECURSIVE a(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a) SELECT count(*) AS n \
             FROM a"
        }
    };
    let statement = |text: &str| Statement::from_string(app.store.backend(), text.to_owned());
    // More statements than there are connections, so each connection is abandoned during one.
    let left = (0..40).map(|_| {
        tokio::time::timeout(
            Duration::from_millis(300),
            app.store.read.query_all_raw(statement(endless)),
        )
    });
    assert!(futures_util::future::join_all(left).await.iter().all(Result::is_err));
    let began = Instant::now();
    app.store.read.query_all_raw(statement("SELECT 1 AS n")).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "the connections are free after {:?}",
        began.elapsed()
    );
    if on_postgres() {
        let running = "SELECT CAST(count(*) AS bigint) AS n FROM pg_stat_activity \
             WHERE datname = current_database() AND state = 'active' AND query LIKE '%pg_sleep(60)%' \
             AND pid <> pg_backend_pid()";
        loop {
            let row = app.store.read.query_one_raw(statement(running)).await.unwrap().unwrap();
            let still: i64 = row.try_get("", "n").unwrap();
            if still == 0 {
                break;
            }
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{still} statements go on without their clients"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    app.store.clone().close().await;
    drop(app);
    database.drop().await;
}

/// Forwards connections to PostgreSQL until the test freezes them, like a host that disappears.
struct Proxy {
    address: String,
    swallow: Arc<tokio::sync::watch::Sender<bool>>,
}

impl Proxy {
    async fn start(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let swallow = Arc::new(tokio::sync::watch::Sender::new(false));
        let gate = swallow.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (upstream, mut swallowed) = (upstream.clone(), gate.subscribe());
                tokio::spawn(async move {
                    let forward = async {
                        let mut client = client;
                        let mut server = TcpStream::connect(&upstream).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                        let _ = server.shutdown().await;
                    };
                    tokio::pin!(forward);
                    tokio::select! {
                        () = &mut forward => {}
                        // The frozen connection is never polled again: nothing is forwarded, and
                        // nothing is closed.
                        () = async { drop(swallowed.wait_for(|swallowed| *swallowed).await) } => {
                            std::future::pending::<()>().await;
                        }
                    }
                });
            }
        });
        Self { address, swallow }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_database_is_found_again() {
    if !on_postgres() {
        return;
    }
    let server = std::env::var("ROLECALL_TEST_POSTGRES").unwrap();
    let upstream = server.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    let proxy = Proxy::start(upstream.clone()).await;
    let address = proxy.address.clone();
    let world = World::with(|config| {
        config.database_url = config.database_url.replace(&upstream, &address)
    })
    .await;
    for n in 0..30 {
        assert_eq!(create(world.scim(), &format!("before-{n}")).await.0, 201);
    }
    // The present connections freeze. A new connection reaches the database at the same address.
    proxy.swallow.send_replace(true);
    tokio::time::sleep(Duration::from_millis(50)).await;
    proxy.swallow.send_replace(false);
    let answers = (0..32).map(|n| {
        let scim = world.scim().clone();
        async move {
            let began = Instant::now();
            let (status, retry_after, body) = create(&scim, &format!("during-{n}")).await;
            assert!(status == 201 || status == 503 && retry_after.is_some(), "{status}: {body}");
            began.elapsed()
        }
    });
    let slowest = futures_util::future::join_all(answers).await.into_iter().max().unwrap();
    assert!(slowest < Duration::from_secs(16), "a client waited {slowest:?}");
    let began = Instant::now();
    assert_eq!(create(world.scim(), "after").await.0, 201);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "it took {:?} to find the database again",
        began.elapsed()
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_tenant_slows_no_other_tenant() {
    let database = Database::ready().await;
    let app = App::open(database.config()).await.unwrap();
    let (busy, quiet) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    let heavy = match app.store.backend() {
        DbBackend::Postgres => "SELECT 1 AS n FROM pg_sleep(8)",
        _ => {
            "WITH RECURSIVE a(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a) SELECT count(*) AS n \
             FROM a"
        }
    };
    let statement = |text: &str| Statement::from_string(app.store.backend(), text.to_owned());
    let crowd: Vec<_> = (0..24)
        .map(|_| {
            let (db, heavy) = (app.store.for_tenant(busy), statement(heavy));
            tokio::spawn(async move { db.query_all_raw(heavy).await.map(drop) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..5 {
        let began = Instant::now();
        app.store.for_tenant(quiet).query_all_raw(statement("SELECT 1 AS n")).await.unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "the quiet tenant waited {:?}",
            began.elapsed()
        );
    }
    assert!(crowd.iter().all(|one| !one.is_finished()), "the busy tenant is still busy");
    for one in &crowd {
        one.abort();
    }
    futures_util::future::join_all(crowd).await;
    app.store.clone().close().await;
    drop(app);
    database.drop().await;
}
