//! Many clients change access at the same time. The access in the end must be the result of the
//! same changes one after another, in some order.

use std::collections::BTreeSet;
use std::time::Duration;

use rolecall::auth::policy::{Actor, Scope};
use rolecall::context::Cx;
use rolecall::domain::access;
use rolecall::domain::access::AsOf;
use rolecall::domain::access::change_set;
use rolecall::domain::access::change_set::AccessEdit;
use rolecall::domain::access::role;
use rolecall::domain::access::role_grant::NewGrant;
use rolecall::domain::access::role_mapping;
use rolecall::domain::access::role_mapping::MappingQuery;
use rolecall::domain::access::role_mapping::{MappingTarget, NewMapping};
use rolecall::domain::directory::group;
use rolecall::domain::directory::group::GroupEdit;
use rolecall::domain::directory::user;
use rolecall::domain::paging::Keyset;
use rolecall::domain::paging::order::OrderBy;
use rolecall::error::{Error, RefusalReason, Result};
use rolecall::identity::document::MemberChange;
use rolecall::ledger::EventKind;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::world::World;

/// The objects that the changes are about.
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

/// One change, chosen by `choice`. It may be refused because of another change at the same time.
async fn change_something(stage: &Stage, choice: usize) -> Result<()> {
    let Stage { cx, provider, users, groups, roles } = stage;
    let pick = |from: &[Uuid], salt: usize| from[(choice / salt) % from.len()];
    let (who, of, what) = (pick(users, 7), pick(groups, 91), pick(roles, 1_000));
    let map =
        NewMapping { target: MappingTarget::Group(of), role: what, reason: None, expires_at: None };
    match choice % 7 {
        0 => role_mapping::create_mapping(cx, map).await.map(|_| ()),
        1 => {
            let first = Keyset { limit: 1, ..Default::default() };
            let live =
                role_mapping::list_mappings(cx, MappingQuery::default(), OrderBy::Age, &first)
                    .await?;
            match live.rows.first() {
                Some((mapping, _)) => {
                    role_mapping::remove_mapping(cx, mapping.mapping_id).await.map(|_| ())
                }
                None => Ok(()),
            }
        }
        side @ (2 | 3) => {
            let ids = vec![who.to_string()];
            let change = if side == 2 { MemberChange::Add(ids) } else { MemberChange::Remove(ids) };
            let edit = GroupEdit { members: vec![change], ..GroupEdit::default() };
            group::change_group(provider, of, |_| Ok(edit.clone())).await.map(|_| ())
        }
        4 => {
            let active = !choice.is_multiple_of(3);
            let edit = |_: &user::User, known: &Map<String, Value>| {
                let mut document = known.clone();
                document.insert("active".into(), active.into());
                Ok(Some(document))
            };
            user::change_user(provider, who, edit).await.map(|_| ())
        }
        5 => {
            let grant = NewGrant {
                user: who,
                role: what,
                reason: Some("at once".into()),
                expires_at: None,
            };
            change_set::apply_edits(cx, vec![AccessEdit::CreateGrant(grant)]).await.map(|_| ())
        }
        _ => {
            let ids = vec![who.to_string()];
            let edits = vec![
                AccessEdit::CreateMapping(map),
                AccessEdit::ChangeMembers(of, MemberChange::Add(ids)),
            ];
            let preview = change_set::preview_edits(cx, edits).await?;
            change_set::apply_preview(cx, preview.id).await.map(|_| ())
        }
    }
}

/// Whether another edit came first.
fn is_refused_edit(error: &Error) -> bool {
    match error {
        Error::Taken { .. } | Error::NotFound(_) | Error::Invalid { .. } => true,
        Error::InEdit { error, .. } => is_refused_edit(error),
        Error::Several(errors) => errors.iter().all(is_refused_edit),
        Error::Held { reason, .. } => *reason == RefusalReason::PreviewStale,
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_edits_have_a_serial_order() {
    let world = World::new().await;
    let cx = world.system();
    let actor = Actor::Connection {
        id: world.acme.connection,
        name: "IdP".into(),
        scopes: Scope::ALL.into_iter().collect(),
    };
    let provider = Cx::new(world.app.clone(), actor, cx.organization(), Uuid::now_v7());
    let mut stage =
        Stage { cx, provider, users: Vec::new(), groups: Vec::new(), roles: Vec::new() };
    for number in 0..6 {
        stage.users.push(world.scim().user(&format!("user{number}")).await);
    }
    for number in 0..3 {
        stage.groups.push(world.scim().group(&format!("Group {number}"), &[]).await);
        let settings =
            role::RoleSettings { name: Some(format!("Role {number}")), ..Default::default() };
        stage.roles.push(role::create_role(&stage.cx, settings).await.unwrap().id);
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
                    Err(error) if is_refused_edit(&error) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            done
        }));
    }
    // A role is deleted at the same time.
    let ended = stage.roles[2];
    role::delete_role(&stage.cx, ended, None).await.unwrap();
    let mut done = 0;
    for hand in hands {
        done += hand.await.unwrap();
    }
    assert!(done > 60, "{done} of 160 changes went through");

    // The ledger's instants give the order: each change event of an account begins with the roles
    // that the one before ended with.
    world.app.clock.advance(Duration::from_secs(60));
    world.sealed().await;
    let through = async || access::announced_through(&stage.cx).await.unwrap();
    let last = world
        .rows(
            "SELECT seq FROM event_sealed WHERE seq IS NOT NULL AND action <> $1 ORDER BY seq \
             DESC LIMIT 1",
            [EventKind::UserAccessChanged.name().into()],
        )
        .await[0]["seq"]
        .as_i64()
        .unwrap();
    while through().await < last {
        access::announce_changes(&world.app).await.unwrap();
    }
    let held = access::of_users(&stage.cx, &stage.users, AsOf::Now).await.unwrap();
    let mut moves = 0;
    for user in &stage.users {
        let sql = "SELECT payload FROM event WHERE organization_id = $1 AND subject_id = $2 AND \
                   action = $3";
        let values = [
            world.acme.organization.into(),
            (*user).into(),
            EventKind::UserAccessChanged.name().into(),
        ];
        let rows = world.rows(sql, values).await;
        let mut told: Vec<Value> = rows
            .iter()
            .map(|row| serde_json::from_str(row["payload"].as_str().unwrap()).unwrap())
            .collect();
        told.sort_by_key(|told| told["after"]["cause"]["at"].as_str().unwrap().to_owned());
        let roles = |side: &Value| -> BTreeSet<Uuid> {
            side["roles"]
                .as_array()
                .unwrap()
                .iter()
                .map(|role| role["id"].as_str().unwrap().parse().unwrap())
                .collect()
        };
        let mut since = BTreeSet::new();
        for told in &told {
            assert_eq!(roles(&told["before"]), since, "the roles before {told}");
            since = roles(&told["after"]);
        }
        moves += told.len();
        let now: BTreeSet<Uuid> =
            held.get(user).into_iter().flatten().map(|row| row.role_id).collect();
        assert_eq!(now, since, "the last event has the roles that are held now");
        assert!(!now.contains(&ended), "a deleted role has no holders");
    }
    assert!(moves > 6, "only {moves} changes were recorded");
    world.end().await;
}
