//! Many change who holds what at once: what anybody holds then is what some order of the changes, one after another,
//! comes to.

use std::collections::BTreeSet;
use std::time::Duration;

use rolecall::authz::{Actor, Scope};
use rolecall::context::Cx;
use rolecall::domain::access::{self, Moment};
use rolecall::domain::change::{self, Edit};
use rolecall::domain::document::MemberChange;
use rolecall::domain::grant::NewGrant;
use rolecall::domain::group::{self, GroupEdit};
use rolecall::domain::list::Keyset;
use rolecall::domain::mapping::{self, NewMapping, Target};
use rolecall::domain::{role, user};
use rolecall::error::{Error, Result};
use rolecall::ledger::EventKind;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::world::World;

/// Everything that is changed.
#[derive(Clone)]
struct Stage {
    /// The administrator.
    cx: Cx,
    /// The identity provider.
    provider: Cx,
    users: Vec<Uuid>,
    groups: Vec<Uuid>,
    roles: Vec<Uuid>,
}

/// One change of somebody's choice. What another made impossible meanwhile is refused, and that is no fault.
async fn change_something(stage: &Stage, choice: usize) -> Result<()> {
    let Stage { cx, provider, users, groups, roles } = stage;
    let pick = |from: &[Uuid], salt: usize| from[(choice / salt) % from.len()];
    let (who, of, what) = (pick(users, 7), pick(groups, 91), pick(roles, 1_000));
    let map = NewMapping { target: Target::Group(of), role: what, reason: None, expires_at: None };
    match choice % 7 {
        0 => mapping::create(cx, map).await.map(|_| ()),
        1 => {
            let first = Keyset { limit: 1, ..Default::default() };
            let live = mapping::list(cx, false, &first).await?;
            match live.rows.first() {
                Some(mapping) => mapping::remove(cx, mapping.mapping_id).await.map(|_| ()),
                None => Ok(()),
            }
        }
        side @ (2 | 3) => {
            let ids = vec![who.to_string()];
            let change = if side == 2 { MemberChange::Add(ids) } else { MemberChange::Remove(ids) };
            let edit = GroupEdit { members: vec![change], ..GroupEdit::default() };
            group::change(provider, of, |_| Ok(edit.clone())).await.map(|_| ())
        }
        4 => {
            let active = !choice.is_multiple_of(3);
            let edit = |_: &user::User, known: &Map<String, Value>| {
                let mut document = known.clone();
                document.insert("active".into(), active.into());
                Ok(Some(document))
            };
            user::change(provider, who, edit).await.map(|_| ())
        }
        5 => {
            let grant = NewGrant { user: who, role: what, reason: Some("at once".into()), expires_at: None };
            change::apply(cx, vec![Edit::CreateGrant(grant)]).await.map(|_| ())
        }
        _ => {
            let ids = vec![who.to_string()];
            let edits = vec![Edit::CreateMapping(map), Edit::ChangeMembers(of, MemberChange::Add(ids))];
            let preview = change::preview(cx, edits).await?;
            change::apply_preview(cx, preview.id).await.map(|_| ())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_at_once_leave_access_that_some_order_explains() {
    let world = World::new().await;
    let cx = world.system();
    let actor =
        Actor::Connection { id: world.acme.connection, name: "IdP".into(), scopes: Scope::ALL.into_iter().collect() };
    let provider = Cx::new(world.app.clone(), actor, cx.organization(), Uuid::now_v7());
    let mut stage = Stage { cx, provider, users: Vec::new(), groups: Vec::new(), roles: Vec::new() };
    for number in 0..6 {
        stage.users.push(world.scim().user(&format!("user{number}")).await);
    }
    for number in 0..3 {
        stage.groups.push(world.scim().group(&format!("Group {number}"), &[]).await);
        let settings = role::Settings { name: Some(format!("Role {number}")), ..Default::default() };
        stage.roles.push(role::create(&stage.cx, settings).await.unwrap().id);
    }
    let mut hands = Vec::new();
    for hand in 0..8usize {
        let stage = stage.clone();
        hands.push(tokio::spawn(async move {
            let mut done = 0;
            for step in 0..20usize {
                let choice = (hand * 20 + step).wrapping_mul(2_654_435_761) >> 3;
                match change_something(&stage, choice).await {
                    Ok(()) => done += 1,
                    Err(Error::Taken { .. } | Error::NotFound(_) | Error::Invalid { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            done
        }));
    }
    // And a role ends among it all.
    let ended = stage.roles[2];
    role::delete(&stage.cx, ended).await.unwrap();
    let mut done = 0;
    for hand in hands {
        done += hand.await.unwrap();
    }
    assert!(done > 60, "{done} of 160 changes went through");

    // The order is that of the instants in the ledger: each account's moves, one after another, join without a gap.
    world.app.clock.advance(Duration::from_secs(60));
    world.sealed().await;
    let through = async || access::announced_through(&stage.cx).await.unwrap();
    let last = world
        .rows(
            "SELECT seq FROM event_sealed WHERE seq IS NOT NULL AND action <> $1 ORDER BY seq DESC LIMIT 1",
            [EventKind::UserAccessChanged.name().into()],
        )
        .await[0]["seq"]
        .as_i64()
        .unwrap();
    while through().await < last {
        access::announce(&world.app).await.unwrap();
    }
    let held = access::of_users(&stage.cx, &stage.users, Moment::Now).await.unwrap();
    let mut moves = 0;
    for user in &stage.users {
        let sql = "SELECT payload FROM event WHERE organization_id = $1 AND subject_id = $2 AND action = $3";
        let values = [world.acme.organization.into(), (*user).into(), EventKind::UserAccessChanged.name().into()];
        let rows = world.rows(sql, values).await;
        let mut told: Vec<Value> =
            rows.iter().map(|row| serde_json::from_str(row["payload"].as_str().unwrap()).unwrap()).collect();
        told.sort_by_key(|told| told["after"]["cause"]["at"].as_str().unwrap().to_owned());
        let roles = |side: &Value| -> BTreeSet<Uuid> {
            side["roles"].as_array().unwrap().iter().map(|role| role["id"].as_str().unwrap().parse().unwrap()).collect()
        };
        let mut since = BTreeSet::new();
        for told in &told {
            assert_eq!(roles(&told["before"]), since, "what was held before {told}");
            since = roles(&told["after"]);
        }
        moves += told.len();
        let now: BTreeSet<Uuid> = held.get(user).into_iter().flatten().map(|row| row.role_id).collect();
        assert_eq!(now, since, "what the moves come to is what is held");
        assert!(!now.contains(&ended), "a role that has ended is held by nobody");
    }
    assert!(moves > 6, "{moves} moves were told");
    world.end().await;
}
