//! Search: by the beginnings of words, in one organization, and what becomes of its index.

use std::time::{Duration, Instant};

use rolecall::domain::directory::erasure;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::database::on_postgres;
use crate::walk::codes;
use crate::world::{Tenant, World};

const SEARCH: &str = "query($s: String!) { organization { users(first: 50, filter: { search: $s },
    orderBy: { field: USER_NAME }) { totalCount nodes { userName } } } }";

async fn search_as(tenant: &Tenant, text: &str) -> Vec<String> {
    let answer = tenant.graphql(SEARCH, json!({ "s": text })).await;
    assert_eq!(codes(&answer), Vec::<&str>::new(), "{answer:#}");
    let users = &answer["data"]["organization"]["users"];
    let nodes = users["nodes"].as_array().unwrap();
    assert_eq!(users["totalCount"], nodes.len());
    nodes.iter().map(|node| node["userName"].as_str().unwrap().to_owned()).collect()
}

async fn search(world: &World, text: &str) -> Vec<String> {
    search_as(&world.acme, text).await
}

fn ada() -> Value {
    json!({
        "userName": "Ada.Lovelace@acme.example", "displayName": "Ada O'Neill Lovelace",
        "externalId": "00uA-17", "name": { "givenName": "Augusta", "familyName": "King" },
        "emails": [{ "value": "countess@home.example" }],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
            "employeeNumber": "4711", "department": "Analytical Engines",
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_found_by_beginnings() {
    let world = World::new().await;
    world.scim().post("/Users", ada()).await.is(201);
    world.scim().post("/Users", json!({ "userName": "adam" })).await.is(201);
    let ada = ["Ada.Lovelace@acme.example"];
    for text in [
        "lovel",
        "LOVELACE",
        "neil",
        "o'ne",
        "ada.love",
        "ada love",
        "king aug",
        "countess",
        "4711",
        "00ua-17",
        "ada lovelace 4711",
    ] {
        assert_eq!(search(&world, text).await, ada, "{text}");
    }
    assert_eq!(search(&world, "ada").await, ["Ada.Lovelace@acme.example", "adam"]);
    // The middle of a word, a department, the domain of an address, and a word too many.
    for text in ["velace", "analytical", "acme.example", "ada lovelace 4712"] {
        assert_eq!(search(&world, text).await, [""; 0], "{text}");
    }
    for text in ["", " ", &"x".repeat(201), "a b c d e f g h i"] {
        let answer = world.graphql(SEARCH, json!({ "s": text })).await;
        assert_eq!(codes(&answer), ["BAD_USER_INPUT"], "{text}: {answer:#}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn index_follows_every_change() {
    let world = World::new().await;
    let id = world.scim().post("/Users", ada()).await.is(201).id();
    let path = format!("/Users/{id}");
    let change = json!([{ "op": "replace", "path": "displayName", "value": "Ada Byron" }]);
    world.scim().patch(&path, change).await.is(200);
    assert_eq!(search(&world, "byron").await.len(), 1);
    assert_eq!(search(&world, "neill").await.len(), 0);
    world.scim().delete(&path).await.is(204);
    assert_eq!(search(&world, "byron").await.len(), 0);
    assert_eq!(world.count("user_word WHERE user_id = $1", [id.into()]).await, 0);
    let restored = world.graphql(
        "mutation($id: ID!) { userRestore(input: { id: $id }) { userErrors { message } } }",
        json!({ "id": id }),
    );
    assert_eq!(restored.await["data"]["userRestore"]["userErrors"], json!([]));
    assert_eq!(search(&world, "byron").await.len(), 1);
    world.scim().delete(&path).await.is(204);
    erasure::purge_user(&world.system(), id).await.unwrap();
    assert_eq!(world.count("user_word WHERE user_id = $1", [id.into()]).await, 0);
    // A group likewise.
    let group = world.scim().group("Night shift", &[]).await;
    let rename = json!([{ "op": "replace", "path": "displayName", "value": "Day shift" }]);
    world.scim().patch(&format!("/Groups/{group}"), rename).await;
    let groups = "query($s: String!) { organization { groups(first: 9, filter: { search: $s }) { \
                  nodes { displayName } } } }";
    for (text, found) in [("day", 1), ("night", 0), ("shift d", 1)] {
        let answer = world.graphql(groups, json!({ "s": text })).await;
        let nodes = answer["data"]["organization"]["groups"]["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), found, "{text}");
    }
    world.scim().delete(&format!("/Groups/{group}")).await.is(204);
    assert_eq!(world.count("group_word WHERE group_id = $1", [group.into()]).await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_from_before_are_filled() {
    let world = World::new().await;
    world.scim().post("/Users", ada()).await.is(201);
    let gone = world.scim().user("gone").await;
    world.scim().delete(&format!("/Users/{gone}")).await.is(204);
    world.scim().group("Night shift", &[]).await;
    let words = async |world: &World| {
        let users = world.rows("SELECT user_id, word FROM user_word ORDER BY 1, 2", []).await;
        let groups = world.rows("SELECT group_id, word FROM group_word ORDER BY 1, 2", []).await;
        (users, groups)
    };
    let before = words(&world).await;
    assert!(before.0.len() > 5 && before.1.len() == 2, "{before:?}");
    for text in [
        "DELETE FROM user_word",
        "DELETE FROM group_word",
        "INSERT INTO name_key_renewal (table_name) VALUES ('user_word'), ('group_word')",
    ] {
        world.execute(text, []).await;
    }
    rolecall::domain::directory::name_key::renew_keys(&world.app).await.unwrap();
    assert_eq!(words(&world).await, before);
    assert_eq!(world.count("name_key_renewal", []).await, 0);
    // What is there already is left as it is.
    world.execute("INSERT INTO name_key_renewal (table_name) VALUES ('user_word')", []).await;
    rolecall::domain::directory::name_key::renew_keys(&world.app).await.unwrap();
    assert_eq!(words(&world).await, before);
    world.end().await;
}

/// The plan of a search in the index of words, as one text.
async fn plan_of(world: &World, sql: &str) -> String {
    let explain = if on_postgres() { "EXPLAIN" } else { "EXPLAIN QUERY PLAN" };
    let sql = format!("{explain} {sql}");
    let rows = world
        .app
        .store
        .read
        .query_all_raw(sea_orm::Statement::from_string(world.app.store.backend(), sql));
    let column = if on_postgres() { "QUERY PLAN" } else { "detail" };
    let rows = rows.await.unwrap();
    let lines = rows.iter().map(|row| row.try_get::<String>("", column).unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// Creates an account with several words; returns how long it took.
async fn time_create(world: &World, mark: &str, n: u32) -> Duration {
    let name = format!("{mark}{n}.lovelace@king.example");
    let person = json!({
        "userName": name, "displayName": format!("Ada {mark} Lovelace King {n}"),
        "emails": [{ "value": name, "primary": true }],
    });
    let began = Instant::now();
    world.scim().post("/Users", person).await.is(201);
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tenants_cost_nothing() {
    let (world, alone) = (World::new().await, World::new().await);
    world.scim().post("/Users", ada()).await.is(201);
    // 99 other tenants, each with a thousand accounts of the same words.
    let others: Vec<Uuid> = (0..99).map(|_| Uuid::now_v7()).collect();
    for other in &others {
        let (numbers, id) = if on_postgres() {
            ("generate_series(1, 1000) AS n", "gen_random_uuid()")
        } else {
            (
                "(WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000) \
              SELECT n FROM n) AS n",
                "randomblob(16)",
            )
        };
        for word in ["lovelace", "king"] {
            let insert = format!(
                "INSERT INTO user_word (organization_id, user_id, word) \
                 SELECT $1, {id}, '{word}' FROM {numbers}"
            );
            world.execute(&insert, [(*other).into()]).await;
        }
    }
    for n in 0..30 {
        time_create(&world, "beside", n).await;
        time_create(&alone, "alone", n).await;
    }
    assert_eq!(search(&world, "lovel").await.len(), 31, "those of this organization");
    // The quickest of some is what it costs without waiting for anything else on the machine. A
    // server without other tenants is measured in turns with this one, so that both meet the same
    // machine, and so often that each has a quiet moment.
    let (mut with_others, mut without) = (Duration::MAX, Duration::MAX);
    for n in 30..430 {
        with_others = with_others.min(time_create(&world, "beside", n).await);
        without = without.min(time_create(&alone, "alone", n).await);
        if n >= 60 && with_others <= without * 3 / 2 + Duration::from_millis(1) {
            break;
        }
    }
    let most = without * 3 / 2 + Duration::from_millis(1);
    assert!(with_others <= most, "a create takes {with_others:?}, and {without:?} alone");
    let ours = if on_postgres() {
        format!("'{}'::uuid", world.acme.organization)
    } else {
        format!("x'{}'", world.acme.organization.simple())
    };
    let by_word = if on_postgres() { " AND w.word <> 'by word'" } else { "" };
    let plan = plan_of(
        &world,
        &format!(
            "SELECT w.user_id FROM user_word w WHERE w.organization_id = {ours} \
             AND w.word >= 'lovel' AND w.word < 'lovem'{by_word}"
        ),
    )
    .await;
    assert!(plan.contains("user_word_search"), "{plan}");
    let condition =
        if on_postgres() { "Index Cond: ((organization_id = " } else { "(organization_id=?" };
    assert!(plan.contains(condition) && plan.contains("word"), "{plan}");
    assert!(!plan.contains("Seq Scan") && !plan.contains("SCAN"), "{plan}");
    world
        .execute(
            "DELETE FROM user_word WHERE organization_id <> $1",
            [world.acme.organization.into()],
        )
        .await;
    alone.end().await;
    world.end().await;
}
