//! Heavy filters of one tenant do not slow other tenants down. The server runs with its default
//! settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rolecall::context::in_background;
use rolecall::db::Store;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::database::Database;
use crate::process::{Server, ok};
use crate::world::{Answer, Scim, World};

/// As many clients as once blocked all other tenants.
const HEAVY_CLIENTS: usize = 24;
/// The longest time that a client of the quiet tenant may wait.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The longest time for a single request: other tests use the machine at the same time.
const LONGEST_HICCUP: Duration = Duration::from_secs(4);

/// The shortest and the longest time that the busy tenant is busy.
const BUSY_TIME: Duration = Duration::from_secs(3);
const LONGEST_BUSY_TIME: Duration = Duration::from_secs(30);

/// An organization that was made on the command line, with clients for SCIM and the management API.
struct Customer {
    scim: Scim,
    api_key: String,
    graphql: String,
}

impl Customer {
    fn new(database: &Database, server: &str, slug: &str) -> Self {
        let made = ok(database, &["bootstrap", "--organization", slug, "--json"]);
        let made: Value = serde_json::from_str(&made).unwrap();
        Self {
            scim: Scim::new(
                &format!("{server}/scim/v2/{slug}"),
                made["scim"]["token"].as_str().unwrap(),
            ),
            api_key: made["graphql"]["api_key"].as_str().unwrap().to_owned(),
            graphql: format!("{server}/graphql"),
        }
    }

    /// How many live accounts the management API counts.
    async fn count_users(&self) -> Value {
        let query = json!({ "query": "{ organization { users(first: 2) { totalCount nodes { \
                                      userName } } } }" });
        let request = self.scim.http.post(&self.graphql).bearer_auth(&self.api_key);
        let request = request.header("content-type", "application/json").body(query.to_string());
        let answer = Answer::of(request.send().await.unwrap()).await.is(200);
        answer.body["data"]["organization"]["users"]["totalCount"].clone()
    }

    /// Typical requests of the tenant's users and of its identity provider. Returns the time that
    /// each one took.
    async fn work(&self, n: usize) -> Vec<Duration> {
        let mut waits = Vec::new();
        let mut sent = Instant::now();
        let mut lap = || waits.push(std::mem::replace(&mut sent, Instant::now()).elapsed());
        let name = format!("user-{n}");
        let id = self.scim.user(&name).await;
        lap();
        assert_eq!(self.scim.get(&format!("/Users/{id}")).await.is(200).id(), id);
        lap();
        assert_eq!(
            self.scim.ids(&format!("/Users?filter=userName%20eq%20%22{name}%22")).await,
            [id]
        );
        lap();
        assert!(!self.scim.ids("/Users?count=5&sortBy=userName").await.is_empty());
        lap();
        assert!(self.scim.ids("/Users?filter=title%20pr").await.is_empty());
        lap();
        assert_eq!(self.count_users().await, n + 1);
        lap();
        waits
    }
}

/// Hundreds of people with many addresses.
async fn populate(scim: &Scim) {
    let addresses: Vec<Value> = (0..20)
        .map(|n| json!({ "type": "work", "locality": format!("Town {n} by the sea") }))
        .collect();
    for part in 0..7 {
        let operations = (part * 100..part * 100 + 100).map(|n| {
            let person = json!({ "userName": format!("person-{n}"), "addresses": addresses });
            json!({ "method": "POST", "path": "/Users", "bulkId": format!("u{n}"), "data": person })
        });
        let body = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
            "Operations": operations.collect::<Vec<_>>() });
        let answer = scim.post("/Bulk", body).await.is(200);
        let done = answer.body["Operations"].as_array().unwrap();
        assert!(done.iter().all(|operation| operation["status"] == "201"), "{:#}", done[0]);
    }
}

/// A filter within all limits. It compares each address of each person many times and finds none.
fn heavy_filter() -> String {
    let terms: Vec<String> =
        (10..70).map(|n| format!("addresses[locality co \"inland{n}\"]")).collect();
    terms.join(" or ")
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_filters_slow_no_other_tenant() {
    let database = Database::empty().await;
    ok(&database, &["bootstrap", "--organization", "first", "--json"]);
    let server = Server::start(&database).await;
    let busy = Customer::new(&database, &server.address, "busy").scim;
    let quiet = Customer::new(&database, &server.address, "quiet");
    populate(&busy).await;
    let search = json!({ "filter": heavy_filter() });
    let began = Instant::now();
    let alone = busy.post("/Users/.search", search.clone()).await.is(200);
    assert_eq!(alone.body["totalResults"], 0);
    let heavy_alone = began.elapsed();

    let (running, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let crowd: Vec<_> = (0..HEAVY_CLIENTS)
        .map(|_| {
            let (busy, search) = (busy.clone(), search.clone());
            let (running, answered) = (running.clone(), answered.clone());
            tokio::spawn(async move {
                loop {
                    running.fetch_add(1, Ordering::Relaxed);
                    let answer = busy.post("/Users/.search", search.clone()).await;
                    running.fetch_sub(1, Ordering::Relaxed);
                    // A client that waits too long for its own tenant gets a 503.
                    assert!(
                        [200, 503].contains(&answer.status.as_u16()),
                        "{} {}",
                        answer.status,
                        answer.body
                    );
                    answered.fetch_add(usize::from(answer.status == 200), Ordering::Relaxed);
                }
            })
        })
        .collect();
    while running.load(Ordering::Relaxed) < HEAVY_CLIENTS {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (mut waits, mut rounds, began) = (Vec::new(), 0, Instant::now());
    // Until all heavy filters have begun and some have ended.
    while began.elapsed() < BUSY_TIME || answered.load(Ordering::Relaxed) == 0 {
        assert!(began.elapsed() < LONGEST_BUSY_TIME, "no filter of the busy tenant was answered");
        waits.extend(quiet.work(rounds).await);
        rounds += 1;
        assert!(
            running.load(Ordering::Relaxed) > HEAVY_CLIENTS / 2,
            "the other tenant is not busy"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for client in crowd {
        assert!(!client.is_finished(), "a client of the busy tenant failed: {:?}", client.await);
        client.abort();
    }
    // Statements of clients that left have ended, and take nothing from the tenant's share.
    let left = Instant::now();
    for _ in 0..3 {
        assert_eq!(busy.ids("/Users?count=2&sortBy=userName").await.len(), 2);
    }
    assert!(left.elapsed() < LONGEST_HICCUP, "its own share was free after {:?}", left.elapsed());
    waits.sort();
    let typical = waits[waits.len() / 2];
    println!(
        "a heavy filter alone: {heavy_alone:?}; beside {HEAVY_CLIENTS}: typical {typical:?}, \
         longest {:?}",
        waits[waits.len() - 1]
    );
    assert!(heavy_alone > Duration::from_millis(100), "the filter is not heavy: {heavy_alone:?}");
    assert!(
        typical < LONGEST_WAIT && waits[waits.len() - 1] < LONGEST_HICCUP,
        "the quiet tenant waited {waits:?}"
    );
    ok(&database, &["audit", "verify"]);
    drop(server);
    database.drop().await;
}

/// A statement that needs its connection for about `seconds`.
fn long_statement(store: &Store, seconds: u32) -> Statement {
    let text = match store.backend() {
        DbBackend::Postgres => format!("SELECT pg_sleep({seconds})"),
        _ => format!(
            "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {seconds}000000) \
             SELECT count(*) FROM number"
        ),
    };
    Statement::from_string(store.backend(), text)
}

/// Uses more connections than one kind of work has; calls back when they begin.
async fn occupy<F: Future<Output = ()> + Send + 'static>(
    work: impl Fn(Store) -> F,
    store: &Store,
) -> Vec<JoinHandle<()>> {
    let tasks = (0..30).map(|_| tokio::spawn(work(store.clone()))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_background_work_have_separate_connections() {
    let world = World::new().await;
    let store = world.app.store.clone();
    let read = |store: Store| async move {
        drop(store.read.query_all_raw(long_statement(&store, 3)).await)
    };
    let short = Duration::from_millis(1500);

    let busy = occupy(read, &store).await;
    assert!(timeout(short, in_background(store.read.ping())).await.is_ok_and(|done| done.is_ok()));
    assert!(
        timeout(Duration::from_millis(300), store.read.ping()).await.is_err(),
        "requests wait for each other"
    );
    busy.iter().for_each(JoinHandle::abort);
    timeout(Duration::from_secs(20), async { while store.read.ping().await.is_err() {} })
        .await
        .unwrap();

    let busy = occupy(move |store| in_background(read(store)), &store).await;
    assert!(timeout(short, store.read.ping()).await.is_ok_and(|done| done.is_ok()));
    assert!(timeout(Duration::from_millis(300), in_background(store.read.ping())).await.is_err());
    busy.iter().for_each(JoinHandle::abort);
    world.end().await;
}
