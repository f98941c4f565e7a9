//! Fills the databases. One account and one membership are made over SCIM; SQL copies them many
//! times, so a copy has the columns that the server wrote.

use std::time::{Duration, Instant};

use hyper::Method;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use crate::Result;
use crate::target::{Kind, Target, number};

/// Rows cloned by one statement.
const BATCH: u64 = 20_000;
/// The newest rows of the floor's ledger.
const RECENT_EVENTS: &str = "INSERT INTO ledger (id, at, action, subject, payload) \
     SELECT id, now(), 'user.created', id, document::text FROM account LIMIT 100";
/// The groups of every account that the GraphQL workloads look at.
pub const WARDS: u64 = 10;

/// The id of account number `n`. The ids have the order of the numbers and are older than any id
/// that the servers make.
pub fn account_id(n: u64) -> String {
    let millis = 0x018f_0000_0000 + n;
    format!("{:08x}-{:04x}-7000-8000-{n:012x}", millis >> 16, millis & 0xffff)
}

/// What Entra ID sends for a new account: about 1.1 kB.
pub fn account(mark: &str) -> String {
    json!({
        "schemas": [
            "urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
        ],
        "externalId": format!("ext-{mark}"), "userName": format!("{mark}@bench.example"), "active": true,
        "displayName": format!("{mark} Okafor"), "title": "Registered nurse", "preferredLanguage": "en-GB",
        "emails": [
            { "primary": true, "type": "work", "value": format!("{mark}@bench.example") },
            { "type": "other", "value": format!("{mark}@mail.bench.example") },
        ],
        "meta": { "resourceType": "User" },
        "name": { "formatted": "Adaeze Okafor", "familyName": "Okafor", "givenName": "Adaeze" },
        "addresses": [{
            "type": "work", "streetAddress": "12 Harbour Street", "locality": "Bristol", "region": "Avon",
            "postalCode": "BS1 4QD", "country": "United Kingdom", "formatted": "12 Harbour Street, Bristol BS1 \
                4QD",
        }],
        "phoneNumbers": [{ "type": "work", "value": "+44 117 496 0000" }, { "type": "mobile", "value": "+44 7700 900000" }],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
            "employeeNumber": "70118", "department": "Cardiology", "costCenter": "4130", "organization": "St. Mary's",
            "manager": { "value": "018f0000-0000-7000-8000-00000000abcd" },
        },
    })
    .to_string()
}

/// Fills a database from `known` to `wanted` accounts.
pub async fn grow(target: &Target, known: u64, wanted: u64) -> Result<()> {
    if target.kind == Kind::Floor {
        for from in (known..wanted).step_by(BATCH as usize) {
            let to = wanted.min(from + BATCH);
            let document = account("template").replace('\'', "''");
            let sql = format!(
                "INSERT INTO account (id, user_name, external_id, active, document, version, updated_at) \
                 SELECT {id}, m.mark || '@bench.example', 'ext-' || m.mark, TRUE, \
                        replace('{document}', 'template', m.mark)::jsonb, 1, now() \
                 FROM (SELECT n, 'user-' || n AS mark FROM generate_series({from}, {to} - 1) AS s(n)) AS m",
                id = id_sql(DbBackend::Postgres, "m.n")
            );
            target.db.execute_unprepared(&sql).await?;
        }
        // Enough for a page of the audit log; the server has the rows of what was made over SCIM.
        target.db.execute_unprepared(RECENT_EVENTS).await?;
    } else {
        let body: Value = serde_json::from_str(&account("template"))?;
        let path = "/scim/v2/acme/Users";
        let template = match known {
            0 => target.ask(Method::POST, path, body).await?["id"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            _ => {
                let found = target
                    .ask(Method::GET, &format!("{path}?{}", by_name("template")), Value::Null)
                    .await?;
                found["Resources"][0]["id"].as_str().unwrap_or_default().to_owned()
            }
        };
        let backend = target.db.get_database_backend();
        let own = format!("'{}'", template);
        let own = if backend == DbBackend::Sqlite {
            format!("x'{}'", template.replace('-', ""))
        } else {
            own
        };
        let marked = |column: &str| format!("replace(t.{column}, 'template', 'user-' || s.n)");
        let json = |column: &str| match backend {
            DbBackend::Postgres => {
                format!("replace(t.{column}::text, 'template', 'user-' || s.n)::jsonb")
            }
            _ => marked(column),
        };
        let id = id_sql(backend, "s.n");
        let other_id = id_sql(backend, "(s.n + 268435456)");
        for from in (known..wanted).step_by(BATCH as usize) {
            let to = wanted.min(from + BATCH);
            let mut user: Vec<(&str, String)> =
                vec![("id", id.clone()), ("search", json("search"))];
            let texts = [
                "external_id",
                "user_name",
                "user_name_key",
                "display_name",
                "display_name_key",
                "document",
            ];
            user.extend(texts.map(|column| (column, marked(column))));
            clone(&target.db, "user", &format!("t.id = {own}"), &user, from, to).await?;
            let email = [("user_id", id.clone()), ("value_key", marked("value_key"))];
            clone(&target.db, "user_email", &format!("t.user_id = {own}"), &email, from, to)
                .await?;
            let active = [("id", other_id.clone()), ("user_id", id.clone())];
            clone(&target.db, "activation", &format!("t.user_id = {own}"), &active, from, to)
                .await?;
        }
        target.settle().await?;
        let more = wanted - known;
        target
            .db
            .execute_unprepared(&format!("UPDATE tally SET n = n + {more} WHERE kind = 'user'"))
            .await?;
    }
    tidy(target).await
}

/// Gives the planner its statistics and writes everything to the disk now, and not while the
/// benchmark measures. SQLite collects no statistics by itself, so it has none here.
async fn tidy(target: &Target) -> Result<()> {
    match target.kind {
        Kind::Sqlite => target.db.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await?,
        Kind::Floor | Kind::Postgres => {
            target.db.execute_unprepared("VACUUM ANALYZE").await?;
            target.db.execute_unprepared("CHECKPOINT").await?
        }
    };
    Ok(())
}

/// The filter of a lookup by userName.
pub fn by_name(mark: &str) -> String {
    format!("filter=userName%20eq%20%22{mark}%40bench.example%22")
}

/// SQL for the id of account number `n`.
fn id_sql(backend: DbBackend, n: &str) -> String {
    const BASE: u64 = 0x018f_0000_0000;
    match backend {
        DbBackend::Postgres => {
            format!(
                "(lpad(to_hex({BASE} + {n}), 12, '0') || '70008000' || lpad(to_hex({n}), 12, \
                 '0'))::uuid"
            )
        }
        _ => format!("unhex(printf('%012x70008000%012x', {BASE} + {n}, {n}))"),
    }
}

/// Clones the rows of `table` that `which` finds, once for every number from `from` to below `to`,
/// with other values in some columns.
async fn clone(
    db: &DatabaseConnection,
    table: &str,
    which: &str,
    other: &[(&str, String)],
    from: u64,
    to: u64,
) -> Result<()> {
    let backend = db.get_database_backend();
    let columns = match backend {
        DbBackend::Postgres => {
            format!(
                "SELECT column_name::text FROM information_schema.columns WHERE table_name = \
                 '{table}'"
            )
        }
        _ => format!("SELECT name FROM pragma_table_info('{table}')"),
    };
    let rows = db.query_all_raw(Statement::from_string(backend, columns)).await?;
    let names: Vec<String> =
        rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
    let values = names.iter().map(|name| {
        let changed = other.iter().find(|(column, _)| column == name);
        changed.map_or_else(|| format!("t.{name}"), |(_, value)| value.clone())
    });
    let values: Vec<String> = values.collect();
    let sql = format!(
        "WITH RECURSIVE s(n) AS (SELECT CAST({from} AS bigint) WHERE {from} < {to} UNION ALL SELECT n + 1 FROM s WHERE n + 1 < {to}) \
         INSERT INTO \"{table}\" ({}) SELECT {} FROM \"{table}\" AS t, s WHERE {which}",
        names.join(", "),
        values.join(", ")
    );
    db.execute_unprepared(&sql).await?;
    Ok(())
}

/// Puts the accounts from 0 to below `members` into the group of that size.
pub async fn fill(target: &Target, members: u64) -> Result<()> {
    let group = target.groups.get(&members).ok_or("no such group")?.clone();
    put(target, &group, members, members << 20).await?;
    tidy(target).await
}

async fn put(target: &Target, group: &str, members: u64, salt: u64) -> Result<()> {
    if target.kind == Kind::Floor {
        let id = id_sql(DbBackend::Postgres, "n");
        let sql = format!(
            "INSERT INTO membership (team_id, account_id) SELECT '{group}', {id} FROM \
             generate_series(0, {members} - 1) AS s(n)"
        );
        target.db.execute_unprepared(&sql).await?;
        return Ok(());
    }
    // The first one is added over SCIM.
    let body = crate::work::add_member(&account_id(0));
    target
        .ask(Method::PATCH, &format!("/scim/v2/acme/Groups/{group}"), serde_json::from_str(&body)?)
        .await?;
    let backend = target.db.get_database_backend();
    let own = match backend {
        DbBackend::Postgres => format!("'{group}'"),
        _ => format!("x'{}'", group.replace('-', "")),
    };
    let first = match backend {
        DbBackend::Postgres => format!("'{}'", account_id(0)),
        _ => format!("x'{}'", account_id(0).replace('-', "")),
    };
    let which = format!("t.group_id = {own} AND t.user_id = {first} AND t.until IS NULL");
    let other =
        [("id", id_sql(backend, &format!("(s.n + {salt})"))), ("user_id", id_sql(backend, "s.n"))];
    for from in (1..members).step_by(BATCH as usize) {
        clone(&target.db, "membership", &which, &other, from, members.min(from + BATCH)).await?;
    }
    Ok(())
}

/// Puts the first accounts into ten groups, each mapped to a role.
pub async fn wards(target: &mut Target, members: u64) -> Result<()> {
    let mut groups = Vec::new();
    for n in 0..WARDS {
        let group = target.make_group(&format!("Ward {n}")).await?;
        put(target, &group, members, (n + 1) << 36).await?;
        groups.push(group);
    }
    target.ward = groups.first().cloned().unwrap_or_default();
    // The largest of the later groups is mapped, too: the last workload edits its mapping.
    let largest =
        target.groups.last_key_value().map(|(_, group)| group.clone()).unwrap_or_default();
    groups.push(largest);
    for (n, group) in groups.iter().enumerate() {
        let (mapping, role) = match target.kind {
            Kind::Floor => {
                let sql = format!(
                    "WITH r AS (INSERT INTO role (name) VALUES ('Role {n}') RETURNING id) \
                     INSERT INTO mapping (team_id, role_id, reason) SELECT '{group}', id, 'bench' FROM r"
                );
                target.db.execute_unprepared(&sql).await?;
                (group.clone(), number(&target.db, "SELECT max(id) FROM role").await?.to_string())
            }
            Kind::Postgres | Kind::Sqlite => {
                let named = format!("Ward {n}");
                let name = if (n as u64) < WARDS {
                    named
                } else {
                    format!("Group of {}", target.groups.keys().last().unwrap_or(&0))
                };
                map(target, &name, n).await?
            }
        };
        target.mapping = mapping;
        if n == 0 {
            target.role = role;
        }
    }
    tidy(target).await
}

/// Maps a group to a role of its own; returns the mapping and the role.
async fn map(target: &Target, group: &str, n: usize) -> Result<(String, String)> {
    let group = graphql(
        target,
        &format!(
            "{{ organization {{ groups(first: 1, filter: {{ displayName: \"{group}\" }}) {{ nodes \
             {{ id }} }} }} }}"
        ),
    )
    .await?;
    let group = &group["organization"]["groups"]["nodes"][0]["id"];
    let role = graphql(
        target,
        &format!(
            "mutation {{ roleCreate(input: {{ name: \"Role {n}\", \
        permissions: [\"charts:read\"] }}) {{ role {{ id }} }} }}"
        ),
    )
    .await?;
    let role = &role["roleCreate"]["role"]["id"];
    let made = graphql(
        target,
        &format!(
            "mutation {{ roleMappingCreate(input: {{ roleId: {role}, \
        groupId: {group}, reason: \"bench\" }}) {{ roleMapping {{ id }} userErrors {{ message }} \
        }} }}"
        ),
    )
    .await?;
    let id = made["roleMappingCreate"]["roleMapping"]["id"].as_str();
    Ok((id.ok_or_else(|| made.to_string())?.into(), role.as_str().unwrap_or_default().into()))
}

async fn graphql(target: &Target, query: &str) -> Result<Value> {
    let answer = target.ask(Method::POST, "/graphql", json!({ "query": query })).await?;
    match answer.get("errors") {
        None => Ok(answer["data"].clone()),
        Some(errors) => Err(format!("{query}: {errors}").into()),
    }
}

/// What one client reaches on SQLite without a server: it writes an account and its ledger row in a
/// durable transaction.
pub async fn bare_sqlite(time: Duration) -> Result<String> {
    let folder = tempfile::Builder::new().prefix("rolecall-bench").tempdir()?;
    let mut db = SqliteConnectOptions::new()
        .filename(folder.path().join("bare.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await?;
    sqlx::raw_sql(
        "CREATE TABLE account (id blob PRIMARY KEY, user_name text UNIQUE, document text); \
         CREATE TABLE ledger (pos integer PRIMARY KEY, id blob, action text, payload text)",
    )
    .execute(&mut db)
    .await?;
    let (start, mut n) = (Instant::now(), 0u64);
    while start.elapsed() < time {
        let document = account(&format!("bare-{n}"));
        sqlx::query("BEGIN IMMEDIATE").execute(&mut db).await?;
        sqlx::query("INSERT INTO account VALUES ($1, $2, $3)")
            .bind(uuid::Uuid::now_v7())
            .bind(format!("bare-{n}"))
            .bind(&document)
            .execute(&mut db)
            .await?;
        sqlx::query("INSERT INTO ledger (id, action, payload) VALUES ($1, 'user.created', $2)")
            .bind(uuid::Uuid::now_v7())
            .bind(&document)
            .execute(&mut db)
            .await?;
        sqlx::query("COMMIT").execute(&mut db).await?;
        n += 1;
    }
    let rate = n as f64 / start.elapsed().as_secs_f64();
    db.close().await?;
    Ok(format!("bare SQLite, one client in its own process: {rate:.0} durable creates a second"))
}
