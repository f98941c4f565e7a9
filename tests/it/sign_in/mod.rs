//! What sign-ins do: memberships of groups, accounts, findings, and the change of the mode.

mod availability;
mod groups;
mod lockout;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use entity::assertion_source::{AccountCreation, GroupIdentity, Protocol};
use entity::connection::{
    AdoptionPolicy, ConnectionKind, ConnectionStatus, DeletionPolicy, Provider,
};
use entity::organization::IntegrationMode;
use entity::{assertion_source, connection};
use futures_util::StreamExt;
use rolecall::domain::access::role_mapping::{MappingTarget, NewMapping};
use rolecall::domain::access::{self, invitation, role, role_mapping};
use rolecall::domain::connection::delete;
use rolecall::domain::directory::{erasure, group, user};
use rolecall::domain::sign_in::{
    self, ClaimedGroup, GroupClaims, ProviderTenant, SignInOutcome, VerifiedAssertion,
};
use rolecall::domain::tenant::organization;
use rolecall::error::{Error, RefusalReason};
use sea_orm::EntityTrait;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, count_of};

/// A server whose organization reads sign-ins of one connection.
struct SignIns {
    world: World,
    connection: Uuid,
}

/// What of a source differs from test to test.
struct SourceRules {
    identity: GroupIdentity,
    claimed: Option<Value>,
    days: Option<i32>,
    creation: AccountCreation,
    provider: Provider,
}

impl Default for SourceRules {
    fn default() -> Self {
        Self {
            identity: GroupIdentity::ExternalId,
            claimed: None,
            days: Some(30),
            creation: AccountCreation::None,
            provider: Provider::Keycloak,
        }
    }
}

async fn add_source(world: &World, rules: SourceRules) -> Uuid {
    let (id, now) = (Uuid::now_v7(), world.app.clock.now());
    let row = connection::Model {
        organization_id: world.acme.organization,
        id,
        name: format!("Sign-in {id}"),
        kind: ConnectionKind::Assertion,
        provider: rules.provider,
        status: ConnectionStatus::Active,
        deletion_policy: DeletionPolicy::Soft,
        adoption_policy: AdoptionPolicy::Propose,
        revival_days: 30,
        announces_cursor_paging: true,
        credentials: None,
        last_contact_at: None,
        version: 1,
        created_at: now,
        updated_at: now,
        deleted_at: None,
    };
    let db = &world.app.store.write;
    let insert = connection::Entity::insert(connection::ActiveModel::from(row));
    insert.exec_without_returning(db).await.unwrap();
    let row = assertion_source::Model {
        organization_id: world.acme.organization,
        connection_id: id,
        protocol: Protocol::Oidc,
        settings: json!({}),
        group_identity: rules.identity,
        claimed_groups: rules.claimed,
        claims_expire_days: rules.days,
        account_creation: rules.creation,
    };
    let insert = assertion_source::Entity::insert(assertion_source::ActiveModel::from(row));
    insert.exec_without_returning(db).await.unwrap();
    id
}

async fn change_organization(world: &World, settings: organization::OrganizationSettings) {
    organization::update_organization(&world.system(), settings).await.unwrap();
}

async fn set_mode(world: &World, mode: IntegrationMode) {
    let settings =
        organization::OrganizationSettings { integration_mode: Some(mode), ..Default::default() };
    change_organization(world, settings).await;
}

async fn prove_domain(world: &World) {
    let settings = organization::OrganizationSettings {
        verified_domains: Some(vec!["acme.test".into()]),
        ..Default::default()
    };
    change_organization(world, settings).await;
    world.execute("UPDATE organization_domain SET state = 'PROVEN'", []).await;
}

impl SignIns {
    async fn new(mode: IntegrationMode, rules: SourceRules) -> Self {
        let world = World::new().await;
        let connection = add_source(&world, rules).await;
        prove_domain(&world).await;
        set_mode(&world, mode).await;
        Self { world, connection }
    }

    async fn accept(&self, assertion: VerifiedAssertion) -> SignInOutcome {
        let cx = &self.world.system();
        sign_in::accept_assertion(cx, self.connection, assertion).await.unwrap()
    }

    /// The open memberships of an account, by the external ids of the groups.
    async fn groups_of(&self, user: Uuid) -> BTreeSet<String> {
        let sql = "SELECT g.external_id FROM membership m JOIN \"group\" g \
                   ON g.organization_id = m.organization_id AND g.id = m.group_id \
                   WHERE m.organization_id = $1 AND m.user_id = $2 AND m.until IS NULL";
        let values = [self.world.acme.organization.into(), user.into()];
        let rows = self.world.rows(sql, values).await;
        rows.iter().map(|row| row["external_id"].as_str().unwrap().to_owned()).collect()
    }

    async fn end(self) {
        self.world.end().await;
    }
}

fn claimed(keys: &[&str]) -> Vec<ClaimedGroup> {
    let group = |key: &&str| ClaimedGroup { key: (*key).into(), display_name: None };
    keys.iter().map(group).collect()
}

fn said(name: &str, groups: GroupClaims, issued_at: DateTime<Utc>) -> VerifiedAssertion {
    let mut fingerprint = [0; 32];
    fingerprint[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    VerifiedAssertion {
        id: None,
        fingerprint,
        subject: format!("subject of {name}"),
        user_name: format!("{name}@acme.test"),
        email: Some(format!("{name}@acme.test")),
        email_verified: true,
        display_name: Some(format!("Person {name}")),
        given_name: None,
        family_name: None,
        tenant: ProviderTenant::Own,
        groups,
        issued_at,
        authenticated_at: None,
    }
}

fn complete(name: &str, keys: &[&str], at: DateTime<Utc>) -> VerifiedAssertion {
    said(name, GroupClaims::Complete(claimed(keys)), at)
}

async fn new_account(world: &World, name: &str) -> Uuid {
    let attributes = json!({ "userName": format!("{name}@acme.test") });
    let attributes = attributes.as_object().unwrap().clone();
    user::create_user(&world.system(), attributes).await.unwrap().id
}

/// A role for the members of the group with this external id, which may not exist yet.
async fn map_role(world: &World, connection: Uuid, key: &str, name: &str) {
    map_role_by(world, connection, true, key, name).await;
}

/// The same for the group with this external id or, without `external_id`, of this name.
async fn map_role_by(world: &World, connection: Uuid, external_id: bool, key: &str, name: &str) {
    let cx = &world.system();
    let settings = role::RoleSettings { name: Some(name.into()), ..Default::default() };
    let role = role::create_role(cx, settings).await.unwrap().id;
    let target = MappingTarget::Awaited { connection, external_id, value: key.into() };
    let new = NewMapping { target, role, reason: None, expires_at: None };
    role_mapping::create_mapping(cx, new).await.unwrap();
}

fn role_names(outcome: &SignInOutcome) -> Vec<&str> {
    outcome.roles.iter().map(|role| role.name.as_str()).collect()
}

fn reason(outcome: &SignInOutcome) -> Option<RefusalReason> {
    outcome.refusal.as_ref().map(|refusal| refusal.reason)
}

/// The kinds of events about an account that tell of claims.
async fn claim_events(world: &World, user: Uuid) -> Vec<String> {
    let all = world.events_of(user).await;
    all.into_iter().filter(|action| action.starts_with("user.claims")).collect()
}

#[tokio::test]
async fn claims_are_memberships() {
    let sign_ins = SignIns::new(IntegrationMode::SignIn, SourceRules::default()).await;
    let world = &sign_ins.world;
    let user = new_account(world, "ada").await;
    map_role(world, sign_ins.connection, "g-nurses", "Nurse").await;
    let now = world.app.clock.now();

    let first = sign_ins.accept(complete("ada", &["g-nurses", "g-staff"], now)).await;
    assert_eq!((first.user, first.active, first.changed), (Some(user), true, true));
    assert_eq!((role_names(&first), first.groups_complete), (vec!["Nurse"], true));
    assert_eq!(reason(&first), None);
    assert_eq!(sign_ins.groups_of(user).await.len(), 2);
    assert_eq!(claim_events(world, user).await, ["user.claims_changed"]);

    let explained = "{ organization { users(first: 5) { nodes { roles { sources {
        saidAtSignIn { text expiresAt } } } } } } }";
    let explained = world.graphql(explained, json!({})).await;
    let user_roles = &explained["data"]["organization"]["users"]["nodes"][0]["roles"];
    let claim = &user_roles[0]["sources"][0]["saidAtSignIn"];
    let text = claim["text"].as_str().unwrap_or_else(|| panic!("{explained}"));
    assert!(text.starts_with("said by Sign-in "), "{text}");
    assert!(claim["expiresAt"].is_string());

    let at = now + TimeDelta::seconds(1);
    let second = sign_ins.accept(complete("ada", &["g-staff"], at)).await;
    assert_eq!((role_names(&second), second.changed), (vec![], true));
    assert_eq!(sign_ins.groups_of(user).await, BTreeSet::from(["g-staff".to_owned()]));
    assert_eq!(claim_events(world, user).await.len(), 2);
    let told = world.last_payload().await;
    assert_eq!(told["before"]["groups"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(told["after"]["connectionId"], json!(sign_ins.connection));

    // An empty list that is complete says that the person is in no group.
    let at = now + TimeDelta::seconds(2);
    sign_ins.accept(complete("ada", &[], at)).await;
    assert_eq!(sign_ins.groups_of(user).await, BTreeSet::new());
    sign_ins.end().await;
}

/// The roles of an account, by name.
async fn roles_now(world: &World, user: Uuid) -> Vec<String> {
    let query =
        "{ organization { users(first: 5) { nodes { userName roles { role { name } } } } } }";
    let answer = world.graphql(query, json!({})).await;
    assert_eq!(world.count("\"user\" WHERE id = $1", [user.into()]).await, 1);
    let roles = answer["data"]["organization"]["users"]["nodes"][0]["roles"].as_array();
    let roles = roles.unwrap_or_else(|| panic!("{answer:#}"));
    roles.iter().map(|held| held["role"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn deleted_connection_ends_its_memberships() {
    let sign_ins = SignIns::new(IntegrationMode::SignIn, SourceRules::default()).await;
    let world = &sign_ins.world;
    let cx = &world.system();
    let user = new_account(world, "ada").await;
    // A group that was made by hand: the connection owns nothing.
    let ward = json!({ "displayName": "Nurses", "externalId": "g-nurses" });
    let ward = ward.as_object().unwrap().clone();
    let group = group::create_group(cx, ward, vec![]).await.unwrap().id;
    let role = role::RoleSettings { name: Some("Nurse".into()), ..Default::default() };
    let role = role::create_role(cx, role).await.unwrap().id;
    let new =
        NewMapping { target: MappingTarget::Group(group), role, reason: None, expires_at: None };
    role_mapping::create_mapping(cx, new).await.unwrap();
    let first = sign_ins.accept(complete("ada", &["g-nurses"], world.app.clock.now())).await;
    assert_eq!(role_names(&first), ["Nurse"]);
    assert_eq!(roles_now(world, user).await, ["Nurse"]);
    let counted = "{ organization { connections(first: 5) { nodes { kind \
                   claimedMembershipCount } } } }";
    let counted = world.graphql(counted, json!({})).await;
    let nodes = counted["data"]["organization"]["connections"]["nodes"].as_array().unwrap();
    let of = nodes.iter().find(|node| node["kind"] == "ASSERTION").unwrap();
    assert_eq!(of["claimedMembershipCount"], 1, "{counted:#}");
    let deleted = delete::delete_connection(cx, sign_ins.connection, false, None).await.unwrap();
    assert_eq!(deleted.claimed, 1);
    let told = world.last_payload().await;
    assert_eq!(told["before"]["membershipsEnded"], 1, "{told}");
    // The role ends at once, and the membership is closed by an event.
    assert!(roles_now(world, user).await.is_empty());
    sign_in::expiry::end_old_claims(&world.app).await.unwrap();
    assert!(sign_ins.groups_of(user).await.is_empty());
    assert_eq!(claim_events(world, user).await.last().unwrap(), "user.claims_expired");
    sign_ins.end().await;
}

#[tokio::test]
async fn released_groups_keep_claimed_members() {
    let sign_ins = SignIns::new(IntegrationMode::SignIn, SourceRules::default()).await;
    let world = &sign_ins.world;
    let cx = &world.system();
    let user = new_account(world, "ada").await;
    // The sign-in makes the group, so the connection owns it.
    map_role(world, sign_ins.connection, "g-nurses", "Nurse").await;
    sign_ins.accept(complete("ada", &["g-nurses"], world.app.clock.now())).await;
    let held = delete::delete_connection(cx, sign_ins.connection, false, None).await.unwrap_err();
    assert_eq!(held.reason(), RefusalReason::ConnectionOwns);
    assert_eq!(roles_now(world, user).await, ["Nurse"]);
    let left = delete::delete_connection(cx, sign_ins.connection, true, None).await.unwrap();
    assert_eq!((left.groups, left.claimed), (1, 1));
    world.app.clock.advance(std::time::Duration::from_secs(40 * 86_400));
    sign_in::expiry::end_old_claims(&world.app).await.unwrap();
    assert_eq!(roles_now(world, user).await, ["Nurse"]);
    let made = "membership WHERE user_id = $1 AND until IS NULL AND claimed_by IS NULL \
                AND expires_at IS NULL";
    assert_eq!(world.count(made, [user.into()]).await, 1);
    sign_ins.end().await;
}

#[tokio::test]
async fn same_claims_change_nothing() {
    let sign_ins = SignIns::new(IntegrationMode::SignIn, SourceRules::default()).await;
    let world = &sign_ins.world;
    let user = new_account(world, "ada").await;
    map_role(world, sign_ins.connection, "g-nurses", "Nurse").await;
    let now = world.app.clock.now();
    let token = complete("ada", &["g-nurses"], now);
    let first = sign_ins.accept(token.clone()).await;
    let before = world.everything().await;
    let again = sign_ins.accept(token.clone()).await;
    assert_eq!(SignInOutcome { changed: false, ..first }, again);
    // A later sign-in that says the same leaves no event, and moves the planned end.
    let ends = "SELECT expires_at FROM membership WHERE user_id = $1";
    let end = world.rows(ends, [user.into()]).await;
    let later = complete("ada", &["g-nurses"], now + TimeDelta::seconds(30));
    assert!(!sign_ins.accept(later).await.changed);
    assert_ne!(world.rows(ends, [user.into()]).await, end);
    assert_eq!(world.everything().await, before);
    sign_ins.end().await;
}

#[tokio::test]
async fn incomplete_lists_remove_nobody() {
    let sign_ins = SignIns::new(IntegrationMode::SignIn, SourceRules::default()).await;
    let world = &sign_ins.world;
    let user = new_account(world, "ada").await;
    let now = world.app.clock.now();
    sign_ins.accept(complete("ada", &["a", "b"], now)).await;
    let at = |seconds| now + TimeDelta::seconds(seconds);
    sign_ins.accept(said("ada", GroupClaims::Absent, at(1))).await;
    assert_eq!(sign_ins.groups_of(user).await.len(), 2);
    let more = GroupClaims::Incomplete(claimed(&["c"]));
    let outcome = sign_ins.accept(said("ada", more, at(2))).await;
    assert!(!outcome.groups_complete);
    assert_eq!(sign_ins.groups_of(user).await.len(), 3);
    // Only the directory's complete answer replaces.
    let cx = &world.system();
    let answer = sign_in::replace_claimed_groups(
        cx,
        sign_ins.connection,
        "subject of ada",
        claimed(&["c", "d"]),
        at(3),
    );
    assert!(answer.await.unwrap().groups_complete);
    let held = BTreeSet::from(["c".to_owned(), "d".to_owned()]);
    assert_eq!(sign_ins.groups_of(user).await, held);
    // An older list comes late.
    assert!(!sign_ins.accept(complete("ada", &["a"], at(1))).await.changed);
    assert_eq!(sign_ins.groups_of(user).await, held);
    // One of the future is refused.
    let future = complete("ada", &[], now + TimeDelta::hours(1));
    let refused =
        sign_in::accept_assertion(&world.system(), sign_ins.connection, future).await.unwrap_err();
    let Error::Held { reason, .. } = refused else { panic!("{refused}") };
    assert_eq!(reason, RefusalReason::IssuedInFuture);
    sign_ins.end().await;
}

#[tokio::test]
async fn absence_counts_in_listed_groups_only() {
    let rules = SourceRules { claimed: Some(json!(["a", "b"])), ..Default::default() };
    let sign_ins = SignIns::new(IntegrationMode::SignIn, rules).await;
    let user = new_account(&sign_ins.world, "ada").await;
    let now = sign_ins.world.app.clock.now();
    sign_ins.accept(complete("ada", &["a", "b", "other"], now)).await;
    sign_ins.accept(complete("ada", &["a"], now + TimeDelta::seconds(1))).await;
    let held = BTreeSet::from(["a".to_owned(), "other".to_owned()]);
    assert_eq!(sign_ins.groups_of(user).await, held);
    sign_ins.end().await;
}

#[tokio::test]
async fn old_claims_give_no_roles() {
    let sign_ins = SignIns::new(IntegrationMode::SignIn, SourceRules::default()).await;
    let world = &sign_ins.world;
    let user = new_account(world, "ada").await;
    map_role(world, sign_ins.connection, "g-nurses", "Nurse").await;
    let now = world.app.clock.now();
    sign_ins.accept(complete("ada", &["g-nurses"], now)).await;
    let held = || async {
        let held = access::of_users(&world.system(), &[user], access::AsOf::Now).await.unwrap();
        held.get(&user).map_or(0, Vec::len)
    };
    assert_eq!(held().await, 1);
    world.days_pass(31);
    // The planned end counts before anybody closes the interval.
    assert_eq!(held().await, 0);
    sign_in::expiry::end_old_claims(&world.app).await.unwrap();
    let events = claim_events(world, user).await;
    assert_eq!(events, ["user.claims_changed", "user.claims_expired"]);
    assert_eq!(sign_ins.groups_of(user).await, BTreeSet::new());
    let again = sign_ins.accept(complete("ada", &["g-nurses"], world.app.clock.now())).await;
    assert_eq!(role_names(&again), ["Nurse"]);
    sign_ins.end().await;
}

/// How many sign-ins of one new person race; `ROLECALL_SIGN_IN_RACERS` says another number.
const RACERS: usize = 200;

#[tokio::test]
async fn racing_sign_ins_make_one_account() {
    let rules = SourceRules { creation: AccountCreation::Create, ..Default::default() };
    let sign_ins = SignIns::new(IntegrationMode::SignIn, rules).await;
    let world = &sign_ins.world;
    let now = world.app.clock.now();
    let cx = &world.system();
    let tries = (0..count_of("ROLECALL_SIGN_IN_RACERS", RACERS)).map(|_| async {
        let assertion = complete("grace", &["a"], now);
        loop {
            let done = sign_in::accept_assertion(cx, sign_ins.connection, assertion.clone()).await;
            // No connection was free in time, or others were always faster: an application that is
            // told so tries again.
            if !matches!(done, Err(Error::Unavailable(_) | Error::Busy(_))) {
                break done.unwrap();
            }
        }
    });
    let tries = futures_util::stream::iter(tries).buffer_unordered(64);
    let outcomes: Vec<SignInOutcome> = tries.collect().await;
    let users: BTreeSet<Uuid> = outcomes.iter().filter_map(|outcome| outcome.user).collect();
    assert_eq!(users.len(), 1);
    assert!(outcomes.iter().all(|outcome| outcome.refusal.is_none()));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.created).count(), 1);
    assert_eq!(world.count("\"user\" WHERE user_name_key = 'grace@acme.test'", []).await, 1);
    let user = users.into_iter().next().unwrap();
    assert_eq!(sign_ins.groups_of(user).await, BTreeSet::from(["a".to_owned()]));
    assert_eq!(claim_events(world, user).await, ["user.claims_changed"]);
    assert_eq!(world.count("\"group\" WHERE external_id = 'a'", []).await, 1);
    sign_ins.end().await;
}

#[tokio::test]
async fn removed_people_stay_removed() {
    let rules = SourceRules { creation: AccountCreation::CreateAndUpdate, ..Default::default() };
    let sign_ins = SignIns::new(IntegrationMode::SignIn, rules).await;
    let world = &sign_ins.world;
    let cx = &world.system();
    let now = || world.app.clock.now();
    let made = sign_ins.accept(complete("ada", &["a"], now())).await;
    let user = made.user.unwrap();
    assert!(made.created);
    // Names follow the sign-in.
    let renamed = VerifiedAssertion {
        display_name: Some("Ada Lovelace".into()),
        ..complete("ada", &["a"], now() + TimeDelta::seconds(1))
    };
    sign_ins.accept(renamed).await;
    let shown = user::get_user(cx, user).await.unwrap();
    assert_eq!(shown.display_name.as_deref(), Some("Ada Lovelace"));
    // Suspended.
    user::change_user(cx, user, |_, known| {
        let mut changed = known.clone();
        changed.insert("active".into(), false.into());
        Ok(Some(changed))
    })
    .await
    .unwrap();
    let outcome = sign_ins.accept(complete("ada", &["a", "b"], now())).await;
    assert_eq!(reason(&outcome), Some(RefusalReason::AccountSuspended));
    assert_eq!((outcome.user, outcome.active), (Some(user), false));
    assert_eq!(sign_ins.groups_of(user).await, BTreeSet::from(["a".to_owned()]));
    // Removed: by the person's id, and by the name under another id.
    user::delete_user(cx, user, |_| Ok(())).await.unwrap();
    let before = world.everything().await;
    let other = VerifiedAssertion { subject: "new".into(), ..complete("ada", &[], now()) };
    for assertion in [complete("ada", &["a"], now()), other.clone()] {
        let outcome = sign_ins.accept(assertion).await;
        assert_eq!(reason(&outcome), Some(RefusalReason::AccountRemoved));
        assert_eq!(outcome.user, None);
    }
    assert_eq!(world.everything().await, before);
    // Erased.
    erasure::purge_user(cx, user).await.unwrap();
    for assertion in [complete("ada", &["a"], now()), other] {
        let outcome = sign_ins.accept(assertion).await;
        assert_eq!(reason(&outcome), Some(RefusalReason::AccountErased));
    }
    let rows = world.rows("SELECT subject, groups FROM sign_in", []).await;
    assert_eq!(rows, [json!({ "subject": null, "groups": null })]);
    // Another domain.
    let stranger =
        VerifiedAssertion { user_name: "eve@elsewhere.test".into(), ..complete("eve", &[], now()) };
    let outcome = sign_ins.accept(stranger).await;
    assert_eq!(reason(&outcome), Some(RefusalReason::DomainNotProven));
    sign_ins.end().await;
}

#[tokio::test]
async fn recycled_name_inherits_nothing() {
    let sign_ins = SignIns::new(IntegrationMode::SignIn, SourceRules::default()).await;
    let world = &sign_ins.world;
    new_account(world, "ada").await;
    let now = world.app.clock.now();
    sign_ins.accept(complete("ada", &["a"], now)).await;
    let other = VerifiedAssertion { subject: "another".into(), ..complete("ada", &["b"], now) };
    let outcome = sign_ins.accept(other).await;
    assert_eq!((outcome.user, reason(&outcome)), (None, Some(RefusalReason::OtherSubject)));
    // Nobody is made where sign-ins make no accounts.
    let unknown = sign_ins.accept(complete("grace", &[], now)).await;
    assert_eq!(reason(&unknown), Some(RefusalReason::AccountUnknown));
    sign_ins.end().await;
}

#[tokio::test]
async fn disabled_provisioning_changes_nothing() {
    let rules = SourceRules { creation: AccountCreation::Create, ..Default::default() };
    let sign_ins = SignIns::new(IntegrationMode::SignIn, rules).await;
    let world = &sign_ins.world;
    let user = new_account(world, "ada").await;
    let off =
        organization::OrganizationSettings { scim_enabled: Some(false), ..Default::default() };
    change_organization(world, off).await;
    let before = world.everything().await;
    let now = world.app.clock.now();
    let known = sign_ins.accept(complete("ada", &["a"], now)).await;
    assert_eq!(reason(&known), Some(RefusalReason::OrganizationDisabled));
    assert_eq!((known.user, known.active), (Some(user), true));
    let unknown = sign_ins.accept(complete("grace", &["a"], now)).await;
    assert_eq!(reason(&unknown), Some(RefusalReason::OrganizationDisabled));
    assert_eq!(world.everything().await, before);
    sign_ins.end().await;
}

#[tokio::test]
async fn claims_beside_scim_are_findings() {
    let sign_ins = SignIns::new(IntegrationMode::Scim, SourceRules::default()).await;
    let world = &sign_ins.world;
    let user = world.scim().user("ada@acme.test").await;
    let group = json!({ "displayName": "Nurses", "externalId": "g-nurses", "members": [] });
    let group = world.scim().post("/Groups", group).await.is(201).id();
    let now = world.app.clock.now();
    let finding = || async {
        let sql = "SELECT kind, state, detail FROM finding";
        let rows = world.rows(sql, []).await;
        assert!(rows.len() <= 1, "{rows:?}");
        rows.into_iter().next().unwrap_or_default()
    };
    let outcome = sign_ins.accept(complete("ada", &["g-nurses"], now)).await;
    assert_eq!((outcome.user, outcome.changed), (Some(user), false));
    assert_eq!(sign_ins.groups_of(user).await, BTreeSet::new());
    let open = finding().await;
    assert_eq!((&open["kind"], &open["state"]), (&json!("CLAIMS_DIFFER"), &json!("OPEN")));
    let detail = match &open["detail"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        detail => detail.clone(),
    };
    assert_eq!(detail["groups"]["theirs"], json!(["Nurses"]), "{detail}");
    assert_eq!(detail["groups"]["ours"], json!([]));
    // The same again is no second finding, and no event.
    let before = world.everything().await;
    sign_ins.accept(complete("ada", &["g-nurses"], now + TimeDelta::seconds(1))).await;
    assert_eq!(world.everything().await, before);
    // SCIM catches up.
    let add = json!([{ "op": "add", "path": "members", "value": [{ "value": user }] }]);
    world.scim().patch(&format!("/Groups/{group}"), add).await;
    sign_in::close_agreed_findings(&world.app).await.unwrap();
    assert_eq!(finding().await["state"], "GONE");
    // And they differ again, in the other direction.
    sign_ins.accept(complete("ada", &[], now + TimeDelta::seconds(2))).await;
    assert_eq!(finding().await["state"], "OPEN");
    sign_ins.end().await;
}

#[tokio::test]
async fn scim_takes_over_account() {
    let rules = SourceRules { creation: AccountCreation::Create, ..Default::default() };
    let sign_ins = SignIns::new(IntegrationMode::Scim, rules).await;
    let world = &sign_ins.world;
    let now = world.app.clock.now();
    let post = |name: &str| {
        let body = json!({ "userName": format!("{name}@ACME.test"), "externalId": name });
        async move { world.scim().post("/Users", body).await.is(201).id() }
    };
    // The sign-in comes first.
    let made = sign_ins.accept(complete("ada", &[], now)).await.user.unwrap();
    assert_eq!(post("ada").await, made);
    assert_eq!(
        user::get_user(&world.system(), made).await.unwrap().connection_id,
        Some(world.acme.connection)
    );
    let events = world.events_of(made).await;
    assert_eq!(events, ["user.created", "user.adopted"]);
    // SCIM comes first.
    let made = post("grace").await;
    let outcome = sign_ins.accept(complete("grace", &[], now)).await;
    assert_eq!((outcome.user, outcome.created), (Some(made), false));
    // Both at once.
    for number in 0..10 {
        let name = format!("both{number}");
        let (posted, outcome) =
            tokio::join!(post(&name), sign_ins.accept(complete(&name, &[], now)));
        assert_eq!(outcome.user, Some(posted));
    }
    assert_eq!(world.count("\"user\" WHERE deleted_at IS NULL", []).await, 12);
    world.sealed().await;
    let cx = &world.system();
    let counted = organization::provisioned_users(cx, Some(world.acme.connection));
    assert_eq!(counted.await.unwrap(), 12);
    let counted = organization::provisioned_users(cx, Some(sign_ins.connection));
    assert_eq!(counted.await.unwrap(), 0);
    let overview = "{ organization { scim { provisioning { plan deprovisionedBy } } } }";
    let shown = world.graphql(overview, json!({})).await;
    let shown = &shown["data"]["organization"]["scim"]["provisioning"];
    assert_eq!(shown["plan"], "JIT_AND_SCIM", "{shown}");
    sign_ins.end().await;
}

#[tokio::test]
async fn switching_back_loses_nothing() {
    let rules = SourceRules { provider: Provider::EntraId, ..Default::default() };
    let sign_ins = SignIns::new(IntegrationMode::Scim, rules).await;
    let world = &sign_ins.world;
    let user = world.scim().user("ada@acme.test").await;
    for name in ["a", "b"] {
        let members = json!([{ "value": user }]);
        let body = json!({ "displayName": name, "externalId": name, "members": members });
        world.scim().post("/Groups", body).await.is(201);
    }
    map_role(world, world.acme.connection, "b", "Nurse").await;
    let both = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    let now = world.app.clock.now();
    // Both groups were claimed once, so absence counts for both.
    sign_ins.accept(complete("ada", &["a", "b"], now)).await;
    sign_ins.accept(complete("ada", &["a"], now + TimeDelta::seconds(1))).await;
    let before = world.everything().await;
    let preview = "query($mode: IntegrationMode!) { organization {
        integrationModePreview(mode: $mode) {
            lostCount gainedCount knownCount unknownCount losses { user { userName } role { name } }
        } } }";
    let shown = world.graphql(preview, json!({ "mode": "ENTRA_NATIVE" })).await;
    let shown = &shown["data"]["organization"]["integrationModePreview"];
    assert_eq!((&shown["lostCount"], &shown["gainedCount"]), (&json!(1), &json!(0)), "{shown}");
    assert_eq!((&shown["knownCount"], &shown["unknownCount"]), (&json!(1), &json!(0)));
    assert_eq!(shown["losses"][0]["role"]["name"], "Nurse");
    assert_eq!(world.everything().await, before);

    set_mode(world, IntegrationMode::EntraNative).await;
    assert_eq!(sign_ins.groups_of(user).await, both, "nothing is lost by the change itself");
    let at = now + TimeDelta::seconds(2);
    let outcome = sign_ins.accept(complete("ada", &["a"], at)).await;
    assert!(outcome.changed && outcome.roles.is_empty());
    assert_eq!(sign_ins.groups_of(user).await, BTreeSet::from(["a".to_owned()]));
    let shown = world.graphql(preview, json!({ "mode": "SCIM" })).await;
    let shown = &shown["data"]["organization"]["integrationModePreview"];
    assert_eq!((&shown["lostCount"], &shown["gainedCount"]), (&json!(0), &json!(1)), "{shown}");

    set_mode(world, IntegrationMode::Scim).await;
    assert_eq!(sign_ins.groups_of(user).await, both);
    let rows = "membership WHERE set_aside = TRUE OR (until IS NULL AND claimed_by IS NOT NULL)";
    assert_eq!(world.count(rows, []).await, 0);
    sign_ins.end().await;
}

/// A seeded source of choices: every run makes the same ones.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % sides.max(1)
    }
}

/// What a person's memberships must be.
#[derive(Default)]
struct ModelPerson {
    groups: BTreeSet<String>,
    listed_at: Option<i64>,
    seen: BTreeSet<[u8; 32]>,
}

impl ModelPerson {
    fn hear(&mut self, assertion: &VerifiedAssertion, second: i64) {
        let (groups, complete) = match &assertion.groups {
            GroupClaims::Absent => return,
            GroupClaims::Complete(groups) => (groups, true),
            GroupClaims::Incomplete(groups) => (groups, false),
        };
        let repeated = !self.seen.insert(assertion.fingerprint);
        if self.listed_at.is_some_and(|at| at > second || (at == second && repeated)) {
            return;
        }
        self.listed_at = Some(second);
        if complete {
            self.groups.clear();
        }
        self.groups.extend(groups.iter().map(|group| group.key.clone()));
    }
}

/// How many sequences of sign-ins are tried; `ROLECALL_SIGN_IN_SEQUENCES` says another number.
const SEQUENCES: usize = 40;

#[tokio::test]
async fn sign_ins_match_a_model() {
    let sequences = count_of("ROLECALL_SIGN_IN_SEQUENCES", SEQUENCES);
    let sign_ins = SignIns::new(IntegrationMode::SignIn, SourceRules::default()).await;
    let world = &sign_ins.world;
    let start = world.app.clock.now() - TimeDelta::seconds(60);
    let mut dice = Dice(42);
    for sequence in 0..sequences {
        let name = format!("p{sequence}");
        let user = new_account(world, &name).await;
        let mut model = ModelPerson::default();
        let mut sent: Vec<(VerifiedAssertion, i64)> = Vec::new();
        for _ in 0..8 {
            let keys: Vec<String> =
                (0..6).filter(|_| dice.roll(2) == 0).map(|key| format!("k{key}")).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let second = dice.roll(12) as i64;
            let groups = match dice.roll(6) {
                0 => GroupClaims::Absent,
                1 => GroupClaims::Incomplete(Vec::new()),
                2 => GroupClaims::Incomplete(claimed(&keys)),
                3 => GroupClaims::Complete(Vec::new()),
                _ => GroupClaims::Complete(claimed(&keys)),
            };
            let (assertion, second) = match dice.roll(5) {
                0 if !sent.is_empty() => sent[dice.roll(sent.len())].clone(),
                _ => (said(&name, groups, start + TimeDelta::seconds(second)), second),
            };
            sent.push((assertion.clone(), second));
            let before = sign_ins.groups_of(user).await;
            let removes = matches!(assertion.groups, GroupClaims::Complete(_));
            model.hear(&assertion, second);
            sign_ins.accept(assertion).await;
            let after = sign_ins.groups_of(user).await;
            assert_eq!(after, model.groups, "sequence {sequence}: {sent:?}");
            assert!(removes || before.is_subset(&after), "overage or absence removed somebody");
        }
    }
    // What the ledger tells adds up to what is there.
    let sql = "SELECT subject_id, payload FROM event WHERE action = 'user.claims_changed' \
               ORDER BY pos";
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in world.rows(sql, []).await {
        let payload: Value = serde_json::from_str(row["payload"].as_str().unwrap()).unwrap();
        let groups = told.entry(row["subject_id"].to_string()).or_default();
        let ids = |side: &str| -> BTreeSet<String> {
            let ids = payload[side]["groups"].as_array().unwrap();
            ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
        };
        assert!(ids("before").is_subset(groups) && ids("after").is_disjoint(groups));
        groups.retain(|id| !ids("before").contains(id));
        groups.extend(ids("after"));
    }
    let open = world.count("membership WHERE until IS NULL", []).await;
    assert_eq!(told.values().map(BTreeSet::len).sum::<usize>() as i64, open);
    sign_ins.end().await;
}

#[tokio::test]
async fn verified_address_accepts_invitation() {
    let rules = SourceRules { creation: AccountCreation::Create, ..Default::default() };
    let sign_ins = SignIns::new(IntegrationMode::SignIn, rules).await;
    let world = &sign_ins.world;
    let cx = &world.system();
    let settings = role::RoleSettings { name: Some("Guest".into()), ..Default::default() };
    let role = role::create_role(cx, settings).await.unwrap().id;
    let email = "ADA@acme.test".to_owned();
    let new = invitation::NewInvitation { email, roles: vec![role], ..Default::default() };
    invitation::create_invitation(cx, new).await.unwrap();
    let mut unverified = complete("ada", &[], world.app.clock.now());
    unverified.email_verified = false;
    let first = sign_ins.accept(unverified).await;
    assert!(first.user.is_some() && role_names(&first).is_empty(), "{first:?}");
    let second = sign_ins.accept(complete("ada", &[], world.app.clock.now())).await;
    assert_eq!(role_names(&second), ["Guest"]);
    assert_eq!(world.count("event WHERE action = 'invitation.accepted'", []).await, 1);
    sign_ins.end().await;
}
