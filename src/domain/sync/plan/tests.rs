//! The plans of random sources, performed on a model of the rows here.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::domain::sync::SyncTally;
use crate::identity::schema::{group_type, user_type};

/// A person at the source: a title, `active` if the source says it, and the manager.
#[derive(Debug, Clone)]
struct Person {
    title: u8,
    active: Option<bool>,
    manager: Option<u8>,
}

/// A group at the source: a title, and its list of members if the source shows it. Numbers under
/// [`PEOPLE`] are people, and the others groups.
#[derive(Debug, Clone)]
struct Team {
    title: u8,
    members: Option<BTreeSet<u8>>,
    readable: bool,
}

#[derive(Debug, Clone, Default)]
struct Source {
    people: BTreeMap<u8, Person>,
    teams: BTreeMap<u8, Team>,
}

const PEOPLE: u8 = 8;
const TEAMS: u8 = 4;

fn source() -> impl Strategy<Value = Source> {
    let person = (0..3u8, option::of(any::<bool>()), option::of(0..PEOPLE))
        .prop_map(|(title, active, manager)| Person { title, active, manager });
    let members = option::weighted(0.8, btree_set(0..PEOPLE + TEAMS, 0..6));
    let team = (0..3u8, members, proptest::bool::weighted(0.9))
        .prop_map(|(title, members, readable)| Team { title, members, readable });
    (btree_map(0..PEOPLE, person, 0..8), btree_map(0..TEAMS, team, 0..4))
        .prop_map(|(people, teams)| Source { people, teams })
}

fn member_name(member: u8) -> String {
    if member < PEOPLE { format!("r{member}") } else { format!("g{}", member - PEOPLE) }
}

impl Source {
    fn people(&self) -> Vec<RemoteResource> {
        let remote = |(n, person): (&u8, &Person)| {
            let mut attributes = json!({
                "id": format!("r{n}"), "userName": format!("p{n}"),
                "title": format!("title {}", person.title), "meta": { "version": 7 },
            });
            if let Some(active) = person.active {
                attributes["active"] = active.into();
            }
            if let Some(manager) = person.manager {
                attributes[ENTERPRISE_SCHEMA] =
                    json!({ "manager": { "value": format!("r{manager}") } });
            }
            remote_resource(&attributes)
        };
        self.people.iter().map(remote).collect()
    }

    fn teams(&self) -> Vec<RemoteResource> {
        let remote = |(n, team): (&u8, &Team)| {
            let mut attributes =
                json!({ "id": format!("g{n}"), "displayName": format!("Team {}", team.title) });
            if let Some(members) = &team.members {
                let members = members.iter().map(|it| json!({ "value": member_name(*it) }));
                attributes["members"] = members.collect();
            }
            if !team.readable {
                attributes["members"] = json!([7]);
            }
            remote_resource(&attributes)
        };
        self.teams.iter().map(remote).collect()
    }
}

fn remote_resource(attributes: &Value) -> RemoteResource {
    let id = attributes["id"].as_str().unwrap().to_owned();
    RemoteResource { id, attributes: attributes.as_object().unwrap().clone() }
}

#[derive(Debug, Clone)]
struct ModelRow {
    row: LocalRow,
    attributes: Map<String, Value>,
    members: BTreeSet<Uuid>,
    deleted: bool,
}

/// The rows here, by kind and the source's id.
#[derive(Debug, Clone, Default)]
struct Model {
    rows: HashMap<(SyncKind, String), ModelRow>,
    made: u128,
}

/// The counts of one pass, and whether something was not complete.
#[derive(Debug, Default, PartialEq)]
struct Pass {
    tally: SyncTally,
    incomplete: bool,
}

impl Model {
    fn live(&self, kind: SyncKind) -> HashMap<String, LocalRow> {
        let live = self.rows.iter().filter(|((of, _), row)| *of == kind && !row.deleted);
        live.map(|((_, id), row)| (id.clone(), row.row.clone())).collect()
    }

    fn plan(&self, kind: SyncKind, source: &Source) -> PagePlan {
        let ids = |kind| self.live(kind).into_iter().map(|(remote, row)| (remote, row.id));
        match kind {
            SyncKind::User => {
                let page = source.people().into_iter().map(ListedUser::from_remote).collect();
                let (known, managers) = (self.live(kind), ids(kind).collect());
                plan_users(user_type(), page, LocalUsers { known, managers })
            }
            SyncKind::Group => {
                let page = source.teams().into_iter();
                let page = page.map(|it| ListedGroup::from_remote(group_type(), it)).collect();
                let members = ids(SyncKind::User).chain(ids(SyncKind::Group)).collect();
                let groups = self.rows.iter().filter(|((of, _), _)| *of == kind);
                let current = groups.map(|(_, it)| (it.row.id, it.members.clone())).collect();
                let known = self.live(kind);
                plan_groups(page, LocalGroups { known, members, current }, false)
            }
        }
    }

    /// Does what the domain does with a step; returns none for a step that fails.
    fn perform(&mut self, step: &SyncStep) -> Option<StepResult> {
        let key = (step.kind, step.remote_id.clone());
        if let StepAction::Delete { .. } = step.action {
            let gone = self.rows.get_mut(&key).unwrap();
            (gone.deleted, gone.row.version) = (true, gone.row.version + 1);
            gone.members.clear();
            let id = gone.row.id;
            for row in self.rows.values_mut() {
                row.row.version += i64::from(row.members.remove(&id));
            }
            return Some(StepResult::Deleted);
        }
        let before = step.local_row().cloned();
        let Some(document) = step.document() else {
            let skips = matches!(step.action, StepAction::Skip { .. });
            return skips.then_some(StepResult::Unchanged);
        };
        let mut attributes = document.attributes.clone();
        let says_active = attributes.remove("active").map(|said| said == json!(true));
        self.made += 1;
        let fresh = ModelRow {
            row: LocalRow {
                id: Uuid::from_u128(self.made),
                version: 0,
                active: true,
                applied: None,
            },
            attributes: Map::new(),
            members: BTreeSet::new(),
            deleted: true,
        };
        let known = self.rows.entry(key).or_insert(fresh);
        assert_eq!(known.deleted, before.is_none(), "{step:?}");
        let mut members = known.members.clone();
        match &step.action {
            StepAction::CreateGroup { members: listed, .. } => members = listed.clone(),
            StepAction::UpdateGroup { moved, .. } => {
                assert!(moved.come.is_disjoint(&members) && moved.go.is_subset(&members));
                members.retain(|member| !moved.go.contains(member));
                members.extend(&moved.come);
            }
            _ => {}
        }
        let active = says_active.unwrap_or(known.deleted || known.row.active);
        let is_same = (&attributes, active, &members)
            == (&known.attributes, known.row.active, &known.members);
        if known.deleted || !is_same {
            known.row.version += 1;
        }
        (known.deleted, known.attributes, known.members) = (false, attributes, members);
        known.row.active = active;
        if !document.incomplete {
            known.row.applied = Some((document.digest.clone(), known.row.version));
        }
        let after = RowAfter { id: known.row.id, version: known.row.version, active };
        Some(StepResult::of(step.kind, before.as_ref(), after))
    }

    fn count(pass: &mut Pass, step: &SyncStep, result: Option<StepResult>) {
        match result {
            Some(result) => {
                pass.tally.count_result(result);
                pass.incomplete |= step.document().is_some_and(|document| document.incomplete);
            }
            None => pass.tally.failed += 1,
        }
    }

    fn apply(&mut self, steps: &[SyncStep]) -> Pass {
        let mut pass = Pass::default();
        for step in steps {
            let result = self.perform(step);
            Self::count(&mut pass, step, result);
        }
        pass
    }

    /// Performs each step and undoes it.
    fn rehearse(&self, steps: &[SyncStep]) -> Pass {
        let mut pass = Pass::default();
        for step in steps {
            let result = self.clone().perform(step);
            Self::count(&mut pass, step, result);
        }
        pass
    }

    /// A full run: both lists, again where something was incomplete, and the removals.
    fn run(&mut self, source: &Source) {
        for kind in [SyncKind::User, SyncKind::Group] {
            if self.apply(&self.plan(kind, source).steps).incomplete {
                self.apply(&self.plan(kind, source).steps);
            }
        }
        for kind in [SyncKind::Group, SyncKind::User] {
            self.apply(&self.removals(kind, source));
        }
    }

    fn removals(&self, kind: SyncKind, source: &Source) -> Vec<SyncStep> {
        let listed: BTreeSet<String> = match kind {
            SyncKind::User => source.people.keys().map(|n| format!("r{n}")).collect(),
            SyncKind::Group => source.teams.keys().map(|n| format!("g{n}")).collect(),
        };
        let absent = self.live(kind).into_iter().filter(|(remote, _)| !listed.contains(remote));
        plan_removals(kind, absent.map(|(remote, row)| (row.id, remote)).collect())
    }

    /// Changes rows by hand: another title, another state, one member less.
    fn edit(&mut self, edited: &BTreeSet<u8>) {
        for n in edited {
            let Some(user) = self.rows.get_mut(&(SyncKind::User, format!("r{n}"))) else {
                continue;
            };
            user.attributes.insert("title".into(), "by hand".into());
            (user.row.active, user.row.version) = (!user.row.active, user.row.version + 1);
            let Some(team) = self.rows.get_mut(&(SyncKind::Group, format!("g{n}"))) else {
                continue;
            };
            team.members.pop_first();
            team.row.version += 1;
        }
    }

    /// The rows here after a run of `before` and some changes by hand.
    fn after(before: &Source, edited: &BTreeSet<u8>) -> Self {
        let mut model = Self::default();
        model.run(before);
        model.edit(edited);
        model
    }

    fn get(&self, kind: SyncKind, remote_id: &str) -> Option<&ModelRow> {
        self.rows.get(&(kind, remote_id.to_owned())).filter(|row| !row.deleted)
    }

    fn id_of(&self, member: u8) -> Option<Uuid> {
        let kind = if member < PEOPLE { SyncKind::User } else { SyncKind::Group };
        Some(self.get(kind, &member_name(member))?.row.id)
    }
}

proptest! {
    /// A run leaves what the source lists: the same people with the same values, and the same
    /// members of each group that can be read.
    #[test]
    fn applied_plan_makes_local_equal_source(
        before in source(), edited in btree_set(0..PEOPLE, 0..4), source in source(),
    ) {
        let mut model = Model::after(&before, &edited);
        let known = model.clone();
        model.run(&source);
        prop_assert_eq!(model.live(SyncKind::User).len(), source.people.len());
        for (n, person) in &source.people {
            let row = model.get(SyncKind::User, &format!("r{n}")).unwrap();
            prop_assert_eq!(&row.attributes["title"], &json!(format!("title {}", person.title)));
            if let Some(active) = person.active {
                prop_assert_eq!(row.row.active, active);
            }
            let manager = person.manager.and_then(|manager| {
                // A manager that the source no longer lists is removed after the people are read.
                model.id_of(manager).or_else(|| known.id_of(manager))
            });
            let expected = manager.map_or(Value::Null, |id| json!({ "value": id.to_string() }));
            let shown = row.attributes.get(ENTERPRISE_SCHEMA);
            let shown = shown.map_or(&Value::Null, |extension| &extension["manager"]);
            prop_assert_eq!(shown, &expected);
        }
        let lists = source.teams.values().any(|team| {
            team.readable && team.members.as_ref().is_some_and(|members| !members.is_empty())
        });
        for (n, team) in source.teams.iter().filter(|(_, team)| team.readable) {
            let row = model.get(SyncKind::Group, &format!("g{n}")).unwrap();
            prop_assert_eq!(&row.attributes["displayName"], &json!(format!("Team {}", team.title)));
            let listed = team.members.clone().or(lists.then(BTreeSet::new));
            let Some(listed) = listed else { continue };
            let expected = listed.iter().filter_map(|it| model.id_of(*it));
            let expected: BTreeSet<Uuid> = expected.collect();
            prop_assert_eq!(&row.members, &expected);
        }
        let unlisted = model.live(SyncKind::Group).into_keys().filter(|remote| {
            !source.teams.contains_key(&remote[1..].parse().unwrap())
        });
        prop_assert_eq!(unlisted.count(), 0);
    }

    /// After a run the next one changes nothing, and skips all that is complete.
    #[test]
    fn plan_after_a_run_changes_nothing(
        before in source(), edited in btree_set(0..PEOPLE, 0..4), source in source(),
    ) {
        let mut model = Model::after(&before, &edited);
        model.run(&source);
        // What was removed at the end of the run leaves documents that name it.
        model.run(&source);
        for kind in [SyncKind::User, SyncKind::Group] {
            let plan = model.plan(kind, &source);
            prop_assert!(model.removals(kind, &source).is_empty());
            for step in &plan.steps {
                let is_skip = matches!(step.action, StepAction::Skip { .. });
                let is_incomplete = step.document().is_none_or(|document| document.incomplete);
                prop_assert!(is_skip || is_incomplete, "{:?}", step);
            }
            let Pass { tally, .. } = model.apply(&plan.steps);
            prop_assert_eq!(tally.failed + tally.unchanged, plan.steps.len() as u64);
            prop_assert_eq!(plan.loss_count() + plan.gain_count(), 0);
        }
    }

    /// Steps do not depend on each other, so a dry run, which undoes each of them, counts the same.
    #[test]
    fn dry_run_counts_equal_the_real_ones(
        before in source(), edited in btree_set(0..PEOPLE, 0..4), source in source(),
    ) {
        let mut model = Model::after(&before, &edited);
        for kind in [SyncKind::User, SyncKind::Group] {
            let plan = model.plan(kind, &source);
            let removals = model.removals(kind, &source);
            prop_assert_eq!(model.rehearse(&plan.steps), model.clone().apply(&plan.steps));
            let rehearsed = model.rehearse(&removals);
            model.apply(&plan.steps);
            prop_assert_eq!(rehearsed, model.apply(&removals));
        }
    }

    /// What the plan says about access that is taken away and given is what its steps do, and the
    /// steps that wait are those that take access away.
    #[test]
    fn plan_counts_what_it_takes_and_gives(
        before in source(), edited in btree_set(0..PEOPLE, 0..4), source in source(),
    ) {
        let mut model = Model::after(&before, &edited);
        let plan = model.plan(SyncKind::User, &source);
        let waiting = plan.steps.iter().filter(|step| step.takes_access()).count() as u64;
        let suspended = model.apply(&plan.steps).tally.suspended;
        prop_assert_eq!((plan.loss_count(), waiting, plan.gain_count()), (suspended, suspended, 0));

        let plan = model.plan(SyncKind::Group, &source);
        let (mut ended, mut begun) = (0, 0);
        for step in &plan.steps {
            let members = |model: &Model| {
                model.get(SyncKind::Group, &step.remote_id).map(|row| row.members.clone())
            };
            let old = members(&model);
            model.perform(step);
            let Some((old, new)) = old.zip(members(&model)) else { continue };
            let lost = old.difference(&new).count() as u64;
            prop_assert_eq!(step.takes_access(), lost > 0);
            (ended, begun) = (ended + lost, begun + new.difference(&old).count() as u64);
        }
        prop_assert_eq!((plan.loss_count(), plan.gain_count()), (ended, begun));
    }
}

#[test]
fn managers_come_in_several_forms() {
    for value in [json!("r1"), json!({ "VALUE": "r1" }), json!([{ "value": "r1" }])] {
        for attributes in [
            json!({ "id": "r0", "manager": value }),
            json!({ "id": "r0", ENTERPRISE_SCHEMA: { "Manager": value } }),
            json!({ "id": "r0", format!("{ENTERPRISE_SCHEMA}:manager"): value }),
        ] {
            let listed = ListedUser::from_remote(remote_resource(&attributes));
            assert_eq!(listed.manager.as_deref(), Some("r1"), "{attributes}");
        }
    }
    for value in [json!(""), json!("r\0"), json!(7), json!([])] {
        let listed =
            ListedUser::from_remote(remote_resource(&json!({ "id": "r0", "manager": value })));
        assert_eq!(listed.manager, None);
    }
}

#[test]
fn unreadable_group_is_skipped_if_unchanged() {
    let group = || {
        let attributes = json!({ "id": "g0", "displayName": "Staff", "members": [7] });
        ListedGroup::from_remote(group_type(), remote_resource(&attributes))
    };
    let row = |applied| LocalRow { id: Uuid::nil(), version: 3, active: true, applied };
    let plan = |here: Option<LocalRow>| {
        let known = here.map(|here| ("g0".to_owned(), here)).into_iter().collect();
        let local = LocalGroups { known, ..LocalGroups::default() };
        plan_groups(vec![group()], local, false).steps.remove(0)
    };
    let same = row(Some((group().digest, 3)));
    assert!(matches!(plan(Some(same)).action, StepAction::Skip { .. }));
    let changed = plan(Some(row(Some((group().digest, 2)))));
    assert!(matches!(changed.action, StepAction::FailGroup { here: Some(_), .. }));
    assert_eq!(changed.operation(), SyncOperation::Update);
    assert_eq!(plan(None).operation(), SyncOperation::Create);
}
