//! Deletion of all provisioned accounts, restoring of deleted accounts, and what an erasure must
//! empty.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rolecall::auth::policy::{Actor, Permission, Permissions, Scope};
use rolecall::context::Cx;
use rolecall::domain::access::{api_key, lockout_guard, role};
use rolecall::domain::directory::adoption;
use rolecall::domain::directory::deletion;
use rolecall::domain::directory::deletion::job::BatchOutcome;
use rolecall::domain::directory::erasure;
use rolecall::domain::directory::user;
use rolecall::domain::directory::user::User;
use rolecall::domain::paging::Keyset;
use rolecall::domain::paging::order::OrderBy;
use rolecall::domain::tenant::organization;
use rolecall::error::{Error, RefusalReason};
use rolecall::ledger;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::database::on_postgres;
use crate::world::World;

async fn by_hand(world: &World, name: &str) -> User {
    let Value::Object(attributes) = json!({ "userName": name }) else { unreachable!() };
    user::create_user(&world.system(), attributes).await.unwrap()
}

/// How a deletion of all provisioned accounts ended.
#[derive(Debug, PartialEq, Eq)]
pub struct DeletionOutcome {
    pub count: u64,
    pub protected: u64,
}

/// Deletes all provisioned accounts, and waits until the job has ended.
pub async fn delete_all(
    cx: &Cx,
    connection: Option<Uuid>,
    confirm_count: i64,
) -> Result<DeletionOutcome, Error> {
    let id = deletion::begin_deletion(cx, connection, confirm_count).await?.id;
    Ok(await_deletion(cx, id).await)
}

/// Waits until the server has carried a deletion out.
async fn await_deletion(cx: &Cx, id: Uuid) -> DeletionOutcome {
    let started = Instant::now();
    loop {
        let job = deletion::get_deletion(cx, id).await.unwrap();
        if job.finished_at.is_some() {
            assert_eq!(job.state, deletion::State::Completed, "{job:?}");
            let (count, protected) = (job.done.unsigned_abs(), job.protected.unsigned_abs());
            return DeletionOutcome { count, protected };
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{job:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn count_provisioned(world: &World) -> u64 {
    let cx = world.system();
    let before = organization::provisioned_users(&cx, None).await.unwrap();
    world.sealed().await;
    assert_eq!(
        organization::provisioned_users(&cx, None).await.unwrap(),
        before,
        "sealing changes no count"
    );
    before
}

/// A caller in acme with these permissions only.
fn with_only(world: &World, permissions: &[Permission]) -> Cx {
    let permissions: Permissions = permissions.iter().copied().collect();
    let actor = Actor::Key { id: Uuid::nil(), name: "script".into(), permissions };
    Cx::new(world.app.clone(), actor, world.acme.organization, Uuid::now_v7())
}

#[tokio::test]
async fn restored_account_has_no_memberships() {
    let world = World::new().await;
    let cx = world.system();
    let body = json!({ "userName": "ada", "externalId": "a-1", "emails": [{ "value": "Ada@Example.org" }] });
    let ada = world.scim().post("/Users", body).await.is(201).id();
    let group = world.scim().group("Ward 3", &[ada]).await;
    world.scim().delete(&format!("/Users/{ada}")).await.is(204);
    assert_eq!(count_provisioned(&world).await, 0);

    let back = deletion::restore_user(&cx, ada).await.unwrap();
    assert_eq!((back.id, back.user_name.as_str(), back.deleted_at), (ada, "ada", None));
    assert_eq!(back.connection_id, Some(world.acme.connection));
    assert_eq!(count_provisioned(&world).await, 1);
    let shown = world.scim().get(&format!("/Users/{ada}")).await.is(200);
    assert_eq!(shown.body["emails"][0]["value"], "Ada@Example.org");
    let found = world.scim().ids("/Users?filter=emails.value%20eq%20%22ada@example.org%22").await;
    assert_eq!(found, [ada]);
    assert!(world.scim().members(group).await.is_empty(), "memberships stay closed");
    assert_eq!(
        world.count("activation WHERE user_id = $1 AND until IS NULL", [ada.into()]).await,
        1
    );
    assert_eq!(world.events_of(ada).await, ["user.created", "user.deleted", "user.restored"]);

    let again = deletion::restore_user(&cx, ada).await;
    assert!(matches!(again, Err(Error::NotFound(_))), "a live account is not restored: {again:?}");
    world.end().await;
}

#[tokio::test]
async fn taken_name_prevents_the_restore() {
    let world = World::new().await;
    let old = world.scim().user("ada").await;
    world.scim().delete(&format!("/Users/{old}")).await.is(204);
    let new = world
        .scim()
        .post("/Users", json!({ "userName": "Ada", "externalId": "x-2" }))
        .await
        .is(201)
        .id();
    let before = world.everything().await;
    let refused = deletion::restore_user(&world.system(), old).await;
    assert!(matches!(refused, Err(Error::Taken { field: "userName" })), "{refused:?}");
    assert_eq!(world.everything().await, before);
    world.scim().delete(&format!("/Users/{new}")).await.is(204);
    deletion::restore_user(&world.system(), old).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn only_own_administrators_restore_accounts() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let ada = world.scim().user("ada").await;
    world.scim().delete(&format!("/Users/{ada}")).await.is(204);
    let before = world.everything().await;
    let provider = Actor::Connection {
        id: world.acme.connection,
        name: "x".into(),
        scopes: Scope::ALL.into(),
    };
    let provider = Cx::new(world.app.clone(), provider, world.acme.organization, Uuid::now_v7());
    assert!(
        deletion::restore_user(&provider, ada).await.is_err(),
        "a connection has a window of its own"
    );
    let refused = deletion::restore_user(
        &with_only(&world, &[Permission::UserRead, Permission::DeleteAll]),
        ada,
    )
    .await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    let stranger = Cx::system(world.app.clone(), globex.organization);
    assert!(matches!(deletion::restore_user(&stranger, ada).await, Err(Error::NotFound(_))));
    assert_eq!(world.everything().await, before);

    erasure::purge_user(&world.system(), ada).await.unwrap();
    let refused = deletion::restore_user(&world.system(), ada).await;
    assert!(matches!(refused, Err(Error::NotFound(_))), "nothing is left to restore: {refused:?}");
    world.end().await;
}

#[tokio::test]
async fn delete_all_deletes_provisioned_accounts() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let rival = world.tenant("acme", "Rival").await;
    let cx = world.system();
    let theirs = globex.scim.user("ada").await;
    let made_by_hand = by_hand(&world, "manual").await;
    let mut gone = Vec::new();
    for (scim, name) in [(world.scim(), "ada"), (world.scim(), "bob"), (&rival.scim, "cleo")] {
        gone.push(scim.user(name).await);
    }
    let glass = world.scim().user("break-glass").await;
    lockout_guard::set_protection(&cx, glass, true, None).await.unwrap();
    let group = world.scim().group("Ward 3", &[gone[0], gone[1], glass]).await;
    let deleted_before = world.scim().user("dora").await;
    world.scim().delete(&format!("/Users/{deleted_before}")).await.is(204);

    // Four accounts came through SCIM. One of them is protected, so three are deleted.
    assert_eq!(count_provisioned(&world).await, 4);
    let before = world.everything().await;
    for wrong in [0, 3, 5] {
        let Err(Error::Invalid { field, why, .. }) = delete_all(&cx, None, wrong).await else {
            panic!("{wrong} was accepted instead of 4")
        };
        assert_eq!(field, "confirmCount");
        assert!(why.contains('4'), "{why}");
    }
    assert_eq!(world.everything().await, before);
    assert_eq!(delete_all(&cx, None, 4).await.unwrap(), DeletionOutcome { count: 3, protected: 1 });

    assert_eq!(count_provisioned(&world).await, 1, "the protected one");
    for id in &gone {
        assert_eq!(
            world.count("\"user\" WHERE id = $1 AND deleted_at IS NULL", [(*id).into()]).await,
            0
        );
        assert_eq!(
            world.count("\"user\" WHERE id = $1 AND purged_at IS NOT NULL", [(*id).into()]).await,
            1
        );
        for table in ["activation", "membership"] {
            let open = format!("{table} WHERE user_id = $1 AND until IS NULL");
            assert_eq!(world.count(&open, [(*id).into()]).await, 0, "{table}");
        }
    }
    world.scim().get(&format!("/Users/{}", gone[0])).await.is(404);
    assert_eq!(world.scim().members(group).await, [glass]);
    for id in [made_by_hand.id, glass, theirs] {
        assert_eq!(
            world.count("\"user\" WHERE id = $1 AND deleted_at IS NULL", [id.into()]).await,
            1
        );
    }
    assert_eq!(
        world.count("\"user\" WHERE id = $1 AND purged_at IS NULL", [deleted_before.into()]).await,
        1
    );

    // One event for each connection. The closed intervals name the event, and it names the accounts
    // by id.
    let told = "SELECT id, payload FROM event WHERE action = 'users.deleted_all' ORDER BY pos";
    let told = world.rows(told, []).await;
    assert_eq!(told.len(), 2);
    let mut listed = BTreeSet::new();
    for row in &told {
        let payload: Value = serde_json::from_str(row["payload"].as_str().unwrap()).unwrap();
        listed.extend(
            payload["before"]["ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(listed, gone.iter().map(Uuid::to_string).collect());
    let closed = r#"activation a JOIN event e ON e.organization_id = a.organization_id AND e.id = a.closed_by
        WHERE e.action = 'users.deleted_all'"#;
    assert_eq!(world.count(closed, []).await, 3);

    // A new sync creates the same people as new accounts.
    let fresh = world.scim().user("ada").await;
    assert!(!gone.contains(&fresh));
    assert_eq!(count_provisioned(&world).await, 2);
    world.end().await;
}

#[tokio::test]
async fn accounts_of_one_connection_are_deleted() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let rival = world.tenant("acme", "Rival").await;
    let kept = world.scim().user("ada").await;
    rival.scim.user("bob").await;
    let cx = world.system();
    let foreign = delete_all(&cx, Some(globex.connection), 0).await;
    assert!(matches!(foreign, Err(Error::NotFound(_))), "{foreign:?}");
    let deleted = delete_all(&cx, Some(rival.connection), 1).await.unwrap();
    assert_eq!(deleted, DeletionOutcome { count: 1, protected: 0 });
    assert_eq!(world.scim().ids("/Users").await, [kept]);
    assert!(rival.scim.ids("/Users").await.is_empty());
    assert_eq!(
        delete_all(&cx, Some(rival.connection), 0).await.unwrap().count,
        0,
        "no account is left"
    );
    world.end().await;
}

#[tokio::test]
async fn delete_all_requires_its_own_permission() {
    let world = World::new().await;
    world.scim().user("ada").await;
    let others: Vec<_> =
        Permission::ALL.into_iter().filter(|p| *p != Permission::DeleteAll).collect();
    let refused = delete_all(&with_only(&world, &others), None, 1).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    let provider = Actor::Connection {
        id: world.acme.connection,
        name: "x".into(),
        scopes: Scope::ALL.into(),
    };
    let provider = Cx::new(world.app.clone(), provider, world.acme.organization, Uuid::now_v7());
    assert!(delete_all(&provider, None, 1).await.is_err());
    assert_eq!(count_provisioned(&world).await, 1);
    // The job works with the permissions that the key has while it runs.
    let held = [Permission::DeleteAll].into();
    let key = api_key::issue_key(&world.system(), "eraser", held, None).await.unwrap().key;
    let actor =
        Actor::Key { id: key.id, name: key.name, permissions: [Permission::DeleteAll].into() };
    let allowed = Cx::new(world.app.clone(), actor, world.acme.organization, Uuid::now_v7());
    assert_eq!(delete_all(&allowed, None, 1).await.unwrap().count, 1);
    world.end().await;
}

#[tokio::test]
async fn only_one_deletion_runs_at_once() {
    let mut world = World::new().await;
    let provider = Actor::Connection {
        id: world.acme.connection,
        name: "IdP".into(),
        scopes: Scope::ALL.into(),
    };
    let provider = Cx::new(world.app.clone(), provider, world.acme.organization, Uuid::now_v7());
    for n in 0..501 {
        let Value::Object(attributes) = json!({ "userName": format!("user{n}") }) else {
            unreachable!()
        };
        user::create_user(&provider, attributes).await.unwrap();
    }
    world.sealed().await;
    // Without its workers, so that neither can end before the other begins.
    world.stop().await;
    let cx = world.system();
    let begin = || deletion::begin_deletion(&cx, None, 501);
    let (one, other) = tokio::join!(begin(), begin());
    let (begun, refused) = if one.is_ok() { (one, other) } else { (other, one) };
    assert!(
        matches!(refused, Err(Error::Held { reason: RefusalReason::AlreadyRunning, .. })),
        "{refused:?}"
    );
    let world = world.restart().await;
    let cx = world.system();
    let done = await_deletion(&cx, begun.unwrap().id).await;
    assert_eq!(done, DeletionOutcome { count: 501, protected: 0 });
    assert_eq!(count_provisioned(&world).await, 0);
    assert_eq!(
        world.count("event WHERE action = 'users.deleted_all'", []).await,
        2,
        "one row for each batch"
    );
    assert_eq!(world.count("deletion_target", []).await, 0, "the next one may start");
    world.end().await;
}

#[tokio::test]
async fn dead_deletion_is_continued_once() {
    let mut world = World::new().await;
    let rival = world.tenant("acme", "Rival").await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(world.scim().user(&format!("ada{n}")).await);
        ids.push(rival.scim.user(&format!("bob{n}")).await);
    }
    world.sealed().await;
    // Without its workers, the test carries the job out itself.
    world.stop().await;
    let cx = world.system();
    let begun = deletion::begin_deletion(&cx, None, 6).await.unwrap();
    let second = deletion::begin_deletion(&cx, None, 6).await;
    assert!(
        matches!(second, Err(Error::Held { reason: RefusalReason::AlreadyRunning, .. })),
        "{second:?}"
    );
    assert_eq!(deletion::unfinished_deletion(&cx).await.unwrap().unwrap().id, begun.id);
    let claim = async || deletion::job::claim_next_deletion(&world.app).await.unwrap();
    let dead = claim().await.unwrap();
    assert_eq!(dead.delete_next_batch().await.unwrap(), BatchOutcome::More);
    assert!(claim().await.is_none(), "the job is held");
    let created = world.count("deletion_target", []).await;
    assert_eq!(created, 3, "a batch is of one connection, and leaves the list with its accounts");
    world.execute("UPDATE deletion_job SET until = created_at", []).await;
    let next = claim().await.unwrap();
    // The run that was thought dead writes nothing any more.
    assert!(dead.delete_next_batch().await.is_err());
    assert_eq!(world.count("deletion_target", []).await, 3);
    assert_eq!(next.delete_next_batch().await.unwrap(), BatchOutcome::More);
    assert_eq!(next.delete_next_batch().await.unwrap(), BatchOutcome::Ended);
    let job = deletion::get_deletion(&cx, begun.id).await.unwrap();
    assert_eq!((job.done, job.total, job.state), (6, 6, deletion::State::Completed));
    for id in ids {
        let erased = "\"user\" WHERE id = $1 AND purged_at IS NOT NULL";
        assert_eq!(world.count(erased, [id.into()]).await, 1);
    }
    assert_eq!(world.count("event WHERE action = 'users.deleted_all'", []).await, 2);
    let told =
        world.rows("SELECT action FROM event WHERE subject_kind = 'deletion' ORDER BY pos", []);
    let told: Vec<_> = told.await.iter().map(|row| row["action"].clone()).collect();
    assert_eq!(told, ["deletion.requested", "deletion.completed"]);
    ledger::seal_ledgers(&world.app.store).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn deletion_ends_with_its_key() {
    let mut world = World::new().await;
    let ada = world.scim().user("ada").await;
    world.sealed().await;
    world.stop().await;
    let held = [Permission::DeleteAll, Permission::IamRead].into();
    let issued = api_key::issue_key(&world.system(), "script", held, None).await.unwrap();
    let cx = api_key::authenticate_key(&world.app, &issued.secret, Uuid::now_v7()).await.unwrap();
    let begun = deletion::begin_deletion(&cx, None, 1).await.unwrap();
    api_key::revoke_key(&world.system(), issued.key.id).await.unwrap();
    let claim = deletion::job::claim_next_deletion(&world.app).await.unwrap().unwrap();
    assert_eq!(claim.delete_next_batch().await.unwrap(), BatchOutcome::Ended);
    let job = deletion::get_deletion(&cx, begun.id).await.unwrap();
    assert_eq!((job.done, job.state), (0, deletion::State::Stopped));
    assert!(job.stopped_because.unwrap().contains("revoked"));
    let live = "\"user\" WHERE id = $1 AND deleted_at IS NULL";
    assert_eq!(world.count(live, [ada.into()]).await, 1);
    assert_eq!(world.count("deletion_target", []).await, 0);
    ledger::seal_ledgers(&world.app.store).await.unwrap();
    world.end().await;
}

/// A column that could hold text from a client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Column {
    table: String,
    name: String,
    bytes: bool,
}

/// Every column of text, JSON or bytes, from the database's own catalogue.
async fn catalogue(world: &World) -> Vec<Column> {
    let text = match on_postgres() {
        true => {
            "SELECT CAST(table_name AS text), CAST(column_name AS text), CAST(data_type AS text) \
             FROM information_schema.columns WHERE table_schema = 'public' \
             AND table_name IN (SELECT tablename FROM pg_tables WHERE schemaname = 'public') \
             AND data_type NOT IN ('uuid', 'bigint', 'integer', 'boolean', 'timestamp with time zone')"
        }
        false => {
            "SELECT t.name, c.name, lower(c.type) FROM sqlite_master t JOIN pragma_table_info(t.name) c \
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND lower(c.type) NOT IN ('bigint', 'integer', 'boolean')"
        }
    };
    let statement = Statement::from_string(world.app.store.backend(), text);
    let rows = world.app.store.read.query_all_raw(statement).await.unwrap();
    let column = |row: &sea_orm::QueryResult| {
        let at = |n| row.try_get_by_index::<String>(n).unwrap();
        Column { table: at(0), name: at(1), bytes: ["bytea", "blob"].contains(&at(2).as_str()) }
    };
    let mut columns: Vec<Column> =
        rows.iter().map(column).filter(|column| !id_or_instant(column)).collect();
    columns.sort();
    assert!(columns.len() > 40, "the catalogue was read");
    columns
}

/// SQLite stores ids as bytes and instants as text; PostgreSQL has types for both.
fn id_or_instant(column: &Column) -> bool {
    let name = column.name.as_str();
    let id = ["id", "opened_by", "closed_by", "claimed_by", "erased_by", "holder"].contains(&name)
        || name.ends_with("_id");
    let instant = ["at", "since", "until", "purge_after", "hour"].contains(&name)
        || name.ends_with("_at")
        || name.ends_with("_until")
        || name.ends_with("_since");
    !on_postgres() && ((column.bytes && id) || (!column.bytes && instant))
}

#[tokio::test]
async fn every_column_has_an_erasure_rule() {
    let world = World::new().await;
    let there: BTreeSet<(String, String)> =
        catalogue(&world).await.into_iter().map(|column| (column.table, column.name)).collect();
    let mut with_rule = BTreeSet::new();
    let personal = entity::all_tables().flat_map(|notes| {
        let columns = notes.personal.map_or(&[][..], |personal| personal.columns);
        columns.iter().map(move |(column, _)| (notes.table, *column))
    });
    let other = entity::all_tables().flat_map(|notes| {
        let columns = notes.not_personal.iter().flat_map(|(columns, _)| *columns);
        columns.map(move |column| (notes.table, *column))
    });
    // Hashes of the chain, in a table of their own on PostgreSQL.
    let links = [(if on_postgres() { "chain" } else { "event" }, "hash")];
    for (table, column) in personal.chain(other).chain(links) {
        assert!(
            with_rule.insert((table.to_owned(), column.to_owned())),
            "{table}.{column} is listed twice"
        );
    }
    let forgotten: Vec<_> = there.difference(&with_rule).collect();
    assert!(
        forgotten.is_empty(),
        "say in the notes of their tables what an erasure does to {forgotten:?}"
    );
    let vanished: Vec<_> = with_rule.difference(&there).collect();
    assert!(vanished.is_empty(), "listed, but not in the database: {vanished:?}");
    world.end().await;
}

/// The columns in which `needle` can still be read.
async fn found_in(world: &World, needle: &str) -> Vec<String> {
    let mut places = Vec::new();
    for Column { table, name, bytes } in catalogue(world).await {
        let text = match on_postgres() && bytes {
            true => format!("encode({name}, 'escape')"),
            false => format!("CAST({name} AS text)"),
        };
        let hits = world
            .count(&format!("\"{table}\" WHERE {text} LIKE $1"), [format!("%{needle}%").into()])
            .await;
        if hits > 0 {
            places.push(format!("{table}.{name}"));
        }
    }
    places
}

#[tokio::test]
async fn erased_data_is_in_no_column() {
    let world = World::new().await;
    let rival = world.tenant("acme", "Rival").await;
    let cx = world.system();
    let person = json!({
        "userName": "needle-name", "externalId": "needle-external", "displayName": "needle-display",
        "name": { "familyName": "needle-family" }, "emails": [{ "value": "needle@example.org" }],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "department": "needle-department" },
    });
    let ada = world.scim().post("/Users", person.clone()).await.is(201).id();
    let rename = json!([{ "op": "replace", "path": "title", "value": "needle-title" }]);
    world.scim().patch(&format!("/Users/{ada}"), rename).await.is(200);
    let group = world.scim().group("Ward 3", &[ada]).await;
    world.scim().get(&format!("/Groups/{group}")).await.is(200);
    // A second connection wants the account. The proposal holds its attributes and a reviewer's
    // reason.
    rival.scim.post("/Users", person).await.is(409);
    let page = Keyset { limit: 1, ..Default::default() };
    let all = adoption::ProposalQuery::default();
    let (proposal, _) =
        adoption::list_proposals(&cx, &all, OrderBy::Age, &page).await.unwrap().rows.remove(0);
    adoption::dismiss_proposal(&cx, proposal.id, Some("the other needle")).await.unwrap();
    let role = role::RoleSettings { name: Some("Nurse".into()), ..Default::default() };
    let role = role::create_role(&cx, role).await.unwrap().id;
    let grant =
        "INSERT INTO role_grant (organization_id, id, user_id, role_id, reason, since, opened_by)
        VALUES ($1, $2, $3, $4, 'needle asked for it', $5, $2)";
    let (organization, id, since) =
        (world.acme.organization, Uuid::now_v7(), world.app.clock.now());
    world
        .execute(grant, [organization.into(), id.into(), ada.into(), role.into(), since.into()])
        .await;

    let known = found_in(&world, "needle").await;
    for place in [
        "user.document",
        "user.search",
        "user_email.value_key",
        "event.payload",
        "adoption_proposal.document",
    ] {
        assert!(
            known.iter().any(|known| known == place),
            "{place} is among {known:?}: the search finds what is there"
        );
    }
    assert_eq!(delete_all(&cx, None, 1).await.unwrap().count, 1);
    assert_eq!(found_in(&world, "needle").await, Vec::<String>::new());
    assert_eq!(
        world.count("\"user\" WHERE id = $1 AND user_name LIKE 'purged:%'", [ada.into()]).await,
        1
    );
    world.end().await;
}
