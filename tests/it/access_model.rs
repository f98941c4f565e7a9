//! Who holds which role after random changes, compared with a model made of sets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rolecall::auth::policy::{Actor, Scope};
use rolecall::context::Cx;
use rolecall::domain::access;
use rolecall::domain::access::AsOf;
use rolecall::domain::access::change_set;
use rolecall::domain::access::change_set::AccessEdit;
use rolecall::domain::access::role_grant;
use rolecall::domain::access::role_grant::NewGrant;
use rolecall::domain::access::role_mapping;
use rolecall::domain::access::role_mapping::MappingTarget;
use rolecall::domain::directory::group;
use rolecall::domain::directory::group::GroupEdit;
use rolecall::domain::directory::user;
use rolecall::domain::paging::Keyset;
use rolecall::domain::paging::order::OrderBy;
use rolecall::identity::document::MemberChange;
use rolecall::ledger::EventKind;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::access::{new_role, to_role};
use crate::world::World;

/// The state of the directory as a model made of sets.
#[derive(Clone, Default)]
struct Model {
    users: BTreeMap<Uuid, bool>,
    members: BTreeMap<Uuid, BTreeSet<Uuid>>,
    nested: BTreeMap<Uuid, BTreeSet<Uuid>>,
    mappings: BTreeMap<Uuid, (Uuid, Uuid)>,
    grants: BTreeMap<Uuid, (Uuid, Uuid)>,
}

impl Model {
    fn all_members_of(&self, group: Uuid, seen: &mut BTreeSet<Uuid>) -> BTreeSet<Uuid> {
        if !seen.insert(group) {
            return BTreeSet::new();
        }
        let mut all = self.members.get(&group).cloned().unwrap_or_default();
        for inner in self.nested.get(&group).into_iter().flatten() {
            all.extend(self.all_members_of(*inner, seen));
        }
        all
    }

    /// Pairs of role and account.
    fn access(&self) -> BTreeSet<(Uuid, Uuid)> {
        let mut held = BTreeSet::new();
        for (group, role) in self.mappings.values() {
            held.extend(
                self.all_members_of(*group, &mut BTreeSet::new())
                    .into_iter()
                    .map(|user| (*role, user)),
            );
        }
        held.extend(self.grants.values().map(|(user, role)| (*role, *user)));
        held.retain(|(_, user)| self.users.get(user) == Some(&true));
        held
    }
}

/// A seeded source of choices: every run makes the same ones.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % sides.max(1)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.roll(from.len())])
    }
}

#[tokio::test]
async fn access_matches_a_model_of_sets() {
    let world = World::new().await;
    let cx = &world.system();
    let actor = Actor::Connection {
        id: world.acme.connection,
        name: "IdP".into(),
        scopes: Scope::ALL.into_iter().collect(),
    };
    let provider = &Cx::new(world.app.clone(), actor, cx.organization(), Uuid::now_v7());
    for seed in 1..=3u64 {
        story(&world, cx, provider, Dice(seed * 7919)).await;
    }
    world.end().await;
}

async fn story(world: &World, cx: &Cx, provider: &Cx, mut dice: Dice) {
    let mut model = Model::default();
    let mut roles = Vec::new();
    for number in 0..4 {
        roles.push(new_role(cx, &format!("Role {number} of {}", dice.0), false).await);
    }
    let mut past = Vec::new();
    for step in 0..120 {
        world.app.clock.advance(Duration::from_millis(10));
        let before = model.access();
        let (users, groups): (Vec<Uuid>, Vec<Uuid>) =
            (model.users.keys().copied().collect(), model.members.keys().copied().collect());
        let mut told = None;
        match dice.roll(if step < 15 { 2 } else { 11 }) {
            0 => {
                let body = json!({ "userName": format!("u{step}-{}", dice.0) });
                let id = user::create_user(provider, body.as_object().unwrap().clone())
                    .await
                    .unwrap()
                    .id;
                model.users.insert(id, true);
            }
            1 => {
                let members: BTreeSet<Uuid> =
                    (0..dice.roll(5)).filter_map(|_| dice.pick(&users)).collect();
                let body = json!({ "displayName": format!("g{step}") });
                let ids = members.iter().map(Uuid::to_string).collect();
                let id = group::create_group(provider, body.as_object().unwrap().clone(), ids)
                    .await
                    .unwrap()
                    .id;
                model.members.insert(id, members);
                model.nested.insert(id, BTreeSet::new());
            }
            2 | 3 => {
                let (Some(of), Some(who)) = (dice.pick(&groups), dice.pick(&users)) else {
                    continue;
                };
                let add = dice.roll(2) == 0;
                let ids = vec![who.to_string()];
                let change = if add { MemberChange::Add(ids) } else { MemberChange::Remove(ids) };
                let edit = GroupEdit { members: vec![change], ..GroupEdit::default() };
                group::change_group(provider, of, |_| Ok(edit.clone())).await.unwrap();
                let members = model.members.get_mut(&of).unwrap();
                if add {
                    members.insert(who)
                } else {
                    members.remove(&who)
                };
            }
            4 => {
                let (Some(outer), Some(inner)) = (dice.pick(&groups), dice.pick(&groups)) else {
                    continue;
                };
                let edit = GroupEdit {
                    members: vec![MemberChange::Add(vec![inner.to_string()])],
                    ..GroupEdit::default()
                };
                // The server refuses an edit that would close a circle, and the model does not
                // change.
                if group::change_group(provider, outer, |_| Ok(edit.clone())).await.is_ok() {
                    model.nested.get_mut(&outer).unwrap().insert(inner);
                }
            }
            5 => {
                let Some(who) = dice.pick(&users) else { continue };
                let active = dice.roll(2) == 0;
                user::change_user(provider, who, |_, known| {
                    let mut document = known.clone();
                    document.insert("active".into(), active.into());
                    Ok(Some(document))
                })
                .await
                .unwrap();
                model.users.insert(who, active);
            }
            6 => {
                let Some(who) = dice.pick(&users).filter(|_| dice.roll(3) == 0) else { continue };
                user::delete_user(provider, who, |_| Ok(())).await.unwrap();
                model.users.remove(&who);
                model
                    .members
                    .values_mut()
                    .for_each(|members| members.retain(|member| *member != who));
                model.grants.retain(|_, (user, _)| *user != who);
            }
            7 => {
                let Some(of) = dice.pick(&groups).filter(|_| dice.roll(3) == 0) else { continue };
                group::delete_group(provider, of, |_| Ok(())).await.unwrap();
                model.members.remove(&of);
                model.nested.remove(&of);
                model.nested.values_mut().for_each(|nested| nested.retain(|inner| *inner != of));
                model.mappings.retain(|_, (group, _)| *group != of);
            }
            _ => {
                // Several edits in one change, previewed first.
                let mut edits = Vec::new();
                let mut after = model.clone();
                for _ in 0..=dice.roll(3) {
                    match dice.roll(6) {
                        4 => {
                            let (Some(of), Some(who)) = (dice.pick(&groups), dice.pick(&users))
                            else {
                                continue;
                            };
                            let add = dice.roll(2) == 0;
                            let ids = vec![who.to_string()];
                            let change = if add {
                                MemberChange::Add(ids)
                            } else {
                                MemberChange::Remove(ids)
                            };
                            let Some(members) = after.members.get_mut(&of) else { continue };
                            if add {
                                members.insert(who)
                            } else {
                                members.remove(&who)
                            };
                            edits.push(AccessEdit::ChangeMembers(of, change));
                        }
                        5 => {
                            let Some(of) = dice.pick(&groups).filter(|_| dice.roll(3) == 0) else {
                                continue;
                            };
                            if after.members.remove(&of).is_none() {
                                continue;
                            }
                            after.nested.remove(&of);
                            after
                                .nested
                                .values_mut()
                                .for_each(|nested| nested.retain(|inner| *inner != of));
                            after.mappings.retain(|_, (group, _)| *group != of);
                            edits.push(AccessEdit::DeleteGroup(of));
                        }
                        0 | 1 => {
                            let (Some(of), Some(to)) = (dice.pick(&groups), dice.pick(&roles))
                            else {
                                continue;
                            };
                            if after.members.contains_key(&of)
                                && after.mappings.values().all(|pair| *pair != (of, to))
                            {
                                edits.push(AccessEdit::CreateMapping(to_role(
                                    MappingTarget::Group(of),
                                    to,
                                )));
                                after.mappings.insert(Uuid::now_v7(), (of, to));
                            }
                        }
                        2 => {
                            let known: Vec<Uuid> = model.mappings.keys().copied().collect();
                            let Some(id) =
                                dice.pick(&known).filter(|id| after.mappings.contains_key(id))
                            else {
                                continue;
                            };
                            edits.push(AccessEdit::RemoveMapping(id));
                            after.mappings.remove(&id);
                        }
                        _ => {
                            let (Some(who), Some(to)) = (dice.pick(&users), dice.pick(&roles))
                            else {
                                continue;
                            };
                            if after.grants.values().all(|pair| *pair != (who, to)) {
                                let new = NewGrant {
                                    user: who,
                                    role: to,
                                    reason: None,
                                    expires_at: None,
                                };
                                edits.push(AccessEdit::CreateGrant(new));
                                after.grants.insert(Uuid::now_v7(), (who, to));
                            }
                        }
                    }
                }
                if edits.is_empty() {
                    continue;
                }
                let preview = change_set::preview_edits(cx, edits.clone()).await.unwrap();
                told = Some(change_set::apply_edits(cx, edits).await.unwrap());
                let told = told.unwrap();
                assert_eq!((preview.gained as u64, preview.lost as u64), (told.gained, told.lost));
                (model.members, model.nested) = (after.members.clone(), after.nested.clone());
                // Takes over the ids that the server gave.
                let all = role_mapping::list_mappings(
                    cx,
                    role_mapping::MappingQuery::default(),
                    OrderBy::Age,
                    &Keyset { limit: 1000, ..Default::default() },
                )
                .await
                .unwrap()
                .rows;
                let ours = |group: &Uuid| model.members.contains_key(group);
                model.mappings = all
                    .iter()
                    .filter_map(|(row, _)| {
                        Some((row.mapping_id, (row.group_id.filter(ours)?, row.role_id)))
                    })
                    .collect();
                let whole = Keyset { limit: 1000, ..Default::default() };
                let any = role_grant::GrantFilter::default();
                let granted = role_grant::list_grants(cx, any, OrderBy::Age, &whole);
                let ours = |user: &Uuid| model.users.contains_key(user);
                model.grants = granted
                    .await
                    .unwrap()
                    .rows
                    .iter()
                    .filter(|(row, _)| ours(&row.user_id))
                    .map(|(row, _)| (row.id, (row.user_id, row.role_id)))
                    .collect();
                let pairs = |map: &BTreeMap<Uuid, (Uuid, Uuid)>| {
                    map.values().copied().collect::<BTreeSet<_>>()
                };
                assert_eq!(pairs(&model.mappings), pairs(&after.mappings));
                assert_eq!(pairs(&model.grants), pairs(&after.grants));
            }
        }
        let now = model.access();
        if let Some(told) = told {
            let difference =
                (now.difference(&before).count() as u64, before.difference(&now).count() as u64);
            assert_eq!((told.gained, told.lost), difference, "step {step}");
        }
        world.app.clock.advance(Duration::from_millis(10));
        past.push((world.app.clock.now(), now, model.users.keys().copied().collect::<Vec<_>>()));
    }
    let all_users: BTreeSet<Uuid> =
        past.iter().flat_map(|(_, _, users)| users.iter().copied()).collect();
    let all_users: Vec<Uuid> = all_users.into_iter().collect();
    let found = async |moment: AsOf| {
        let held = access::of_users(cx, &all_users, moment).await.unwrap();
        let held: BTreeSet<_> =
            held.into_values().flatten().map(|row| (row.role_id, row.user_id)).collect();
        let mut seen = BTreeSet::new();
        for role in &roles {
            let mut keyset = Keyset { limit: 7, ..Default::default() };
            loop {
                let page = access::list_holders(cx, Some(*role), moment, &keyset).await.unwrap();
                seen.extend(page.rows.iter().map(|user| (*role, *user)));
                keyset.after = page.rows.last().copied();
                if !page.has_next {
                    break;
                }
            }
            let count = access::count_holders(cx, Some(*role), moment).await.unwrap();
            assert_eq!(count, seen.iter().filter(|(of, _)| of == role).count() as u64);
        }
        assert_eq!(seen, held, "the roles of accounts and the holders of roles agree");
        let whole = Keyset { limit: 1_000, ..Default::default() };
        let report_users: BTreeSet<_> = access::list_holders(cx, None, moment, &whole)
            .await
            .unwrap()
            .rows
            .into_iter()
            .collect();
        assert_eq!(
            access::count_holders(cx, None, moment).await.unwrap(),
            report_users.len() as u64
        );
        let report_users: BTreeSet<Uuid> =
            report_users.into_iter().filter(|user| all_users.contains(user)).collect();
        assert_eq!(
            report_users,
            held.iter().map(|(_, user)| *user).collect(),
            "the report names exactly the accounts that hold a role"
        );
        held
    };
    assert_eq!(found(AsOf::Now).await, model.access());
    world.app.clock.advance(Duration::from_secs(60));
    check_change_events(world, &past).await;
    for (at, was, _) in past.iter().step_by(4) {
        let moment = access::resolve_moment(cx, Some(*at)).await.unwrap();
        assert_eq!(&found(moment).await, was);
    }
}

/// An instant, who held which role then, and which accounts existed.
type Day = (DateTime<Utc>, BTreeSet<(Uuid, Uuid)>, Vec<Uuid>);

/// The events of each step name exactly the roles that accounts gained and lost in it.
async fn check_change_events(world: &World, past: &[Day]) {
    world.sealed().await;
    let through = async || access::announced_through(&world.system()).await.unwrap();
    let last = world
        .rows("SELECT seq FROM event_sealed WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1", [])
        .await[0]["seq"]
        .as_i64()
        .unwrap();
    while through().await < last {
        access::announce_changes(&world.app).await.unwrap();
    }
    let sql = "SELECT subject_id, payload FROM event WHERE organization_id = $1 AND action = $2 \
               ORDER BY pos";
    let rows = world
        .rows(sql, [world.acme.organization.into(), EventKind::UserAccessChanged.name().into()])
        .await;
    let told: Vec<(DateTime<Utc>, Uuid, Value)> = rows
        .iter()
        .map(|row| {
            let after: Value = serde_json::from_str(row["payload"].as_str().unwrap()).unwrap();
            let after = after["after"].clone();
            (
                after["cause"]["at"].as_str().unwrap().parse().unwrap(),
                id_of(&row["subject_id"]),
                after,
            )
        })
        .collect();
    let mut before = BTreeSet::new();
    let mut from = past[0].0 - chrono::Duration::milliseconds(20);
    for (until, now, _) in past {
        for (side, expected) in
            [("gained", now.difference(&before)), ("lost", before.difference(now))]
        {
            let mut found = Vec::new();
            for (_, user, after) in told.iter().filter(|(at, ..)| *at > from && at <= until) {
                found.extend(
                    after[side].as_array().unwrap().iter().map(|role| (id_of(&role["id"]), *user)),
                );
            }
            found.sort_unstable();
            assert_eq!(found, expected.copied().collect::<Vec<_>>(), "{side} until {until}");
        }
        (before, from) = (now.clone(), *until);
    }
}

/// An id in JSON: text, or the bytes that SQLite stores.
fn id_of(value: &Value) -> Uuid {
    match value {
        Value::String(text) => text.parse().unwrap(),
        Value::Array(bytes) => {
            let bytes: Vec<u8> = bytes.iter().map(|byte| byte.as_u64().unwrap() as u8).collect();
            Uuid::from_slice(&bytes).unwrap()
        }
        other => panic!("{other}"),
    }
}
