//! An identity provider creates an account that exists here already.

use entity::connection::AdoptionPolicy;
use rolecall::auth::policy::{Actor, Permission, Scope};
use rolecall::context::Cx;
use rolecall::domain::access::role_grant;
use rolecall::domain::access::role_grant::NewGrant;
use rolecall::domain::access::{lockout_guard, role};
use rolecall::domain::audit::subject_owners::SubjectOwners;
use rolecall::domain::connection;
use rolecall::domain::directory::adoption;
use rolecall::domain::directory::adoption::ProposalQuery;
use rolecall::domain::directory::adoption::{Cause, Proposal, ProposalState};
use rolecall::domain::directory::user;
use rolecall::domain::directory::user::User;
use rolecall::domain::directory::user::UserQuery;
use rolecall::domain::paging::Keyset;
use rolecall::domain::paging::order::OrderBy;
use rolecall::domain::tenant::{domain, organization};
use rolecall::error::{Error, RefusalReason};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Tenant, World};

/// An account that an administrator made by hand.
async fn by_hand(world: &World, attributes: Value) -> User {
    let Value::Object(attributes) = attributes else { panic!("attributes are an object") };
    user::create_user(&world.system(), attributes).await.unwrap()
}

async fn ada_by_hand(world: &World) -> User {
    let ada = json!({
        "userName": "Ada@Example.org", "externalId": "old-hr-4", "displayName": "Ada", "title": "Analyst", "nickName": "A",
        "emails": [{ "value": "ada@private.example", "type": "home" }],
    });
    by_hand(world, ada).await
}

/// The same person as the identity provider sends them.
fn ada_of_the_provider() -> Value {
    json!({
        "userName": "ada@example.ORG", "externalId": "a-1", "displayName": "Ada Lovelace", "title": "Countess",
        "emails": [{ "value": "ada@evil.example", "type": "work" }],
    })
}

async fn policy(cx: &Cx, connection: Uuid, policy: AdoptionPolicy) {
    let settings =
        connection::ConnectionSettings { adoption_policy: Some(policy), ..Default::default() };
    connection::update_connection(cx, connection, settings, Default::default(), None)
        .await
        .unwrap();
}

async fn domains(cx: &Cx, domains: &[&str]) -> Vec<String> {
    let verified_domains = Some(domains.iter().map(|domain| (*domain).to_owned()).collect());
    let settings = organization::OrganizationSettings { verified_domains, ..Default::default() };
    organization::update_organization(cx, settings).await.unwrap();
    domain::list_names(cx).await.unwrap()
}

/// Acme owns example.org, and its connection links accounts.
async fn link_accounts(world: &World) {
    domains(&world.system(), &["example.org"]).await;
    policy(&world.system(), world.acme.connection, AdoptionPolicy::Link).await;
}

async fn proposals(cx: &Cx, state: Option<ProposalState>) -> Vec<Proposal> {
    let which = ProposalQuery { states: state.into_iter().collect(), ..Default::default() };
    let keyset = Keyset { limit: 100, ..Default::default() };
    let found = adoption::list_proposals(cx, &which, OrderBy::Age, &keyset).await.unwrap();
    found.rows.into_iter().map(|(proposal, _)| proposal).collect()
}

async fn only_proposal(world: &World) -> Proposal {
    let mut all = proposals(&world.system(), None).await;
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// The number of live accounts, and of those that came through SCIM. The numbers are the same
/// before and after the ledger's rows join the chain. All other accounts were made by hand.
async fn populations(world: &World) -> (u64, u64) {
    let cx = world.system();
    let counts = async || {
        let count = async |owners| {
            user::count_users(&cx, &UserQuery { owners, ..UserQuery::default() }).await.unwrap()
        };
        let (all, by_hand) = (count(SubjectOwners::Any).await, count(SubjectOwners::None).await);
        let provisioned = organization::provisioned_users(&cx, None).await.unwrap();
        assert_eq!(all, by_hand + provisioned);
        (all, provisioned)
    };
    let before = counts().await;
    world.sealed().await;
    assert_eq!(counts().await, before, "sealing changes no count");
    before
}

#[tokio::test]
async fn existing_account_becomes_a_proposal() {
    let world = World::new().await;
    let account = ada_by_hand(&world).await;
    let before = world.rows("SELECT * FROM \"user\"", []).await;
    for _ in 0..3 {
        world.scim().post("/Users", ada_of_the_provider()).await.refused(409, Some("uniqueness"));
    }
    assert_eq!(world.rows("SELECT * FROM \"user\"", []).await, before, "no account was changed");

    let proposal = only_proposal(&world).await;
    assert_eq!((proposal.user_id, proposal.connection_id), (account.id, world.acme.connection));
    assert_eq!(
        (proposal.cause, proposal.state, proposal.attempts),
        (Cause::Policy, ProposalState::Pending, 3)
    );
    assert!(proposal.last_at > proposal.first_at);
    let wanted = adoption::proposal_attributes(&world.system(), &proposal).unwrap().unwrap();
    assert_eq!(wanted["title"], "Countess");
    assert_eq!(
        world.events_of(account.id).await,
        ["user.created", "user.adoption_proposed"],
        "only the first attempt is recorded"
    );
    assert_eq!(world.last_payload().await["after"]["proposalId"], proposal.id.to_string());
    assert_eq!(populations(&world).await, (1, 0));
    world.end().await;
}

#[tokio::test]
async fn bulk_create_makes_a_proposal() {
    let world = World::new().await;
    ada_by_hand(&world).await;
    let bulk = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [{ "method": "POST", "path": "/Users", "bulkId": "a", "data": ada_of_the_provider() }],
    });
    let answer = world.scim().post("/Bulk", bulk).await.is(200);
    assert_eq!(answer.body["Operations"][0]["status"], "409");
    assert_eq!(only_proposal(&world).await.attempts, 1);
    world.end().await;
}

#[tokio::test]
async fn refuse_policy_makes_no_proposal() {
    let world = World::new().await;
    policy(&world.system(), world.acme.connection, AdoptionPolicy::Refuse).await;
    let account = ada_by_hand(&world).await;
    let before = world.everything().await;
    world.scim().post("/Users", ada_of_the_provider()).await.refused(409, Some("uniqueness"));
    assert_eq!(world.everything().await, before);
    assert_eq!(world.count("adoption_proposal", []).await, 0);
    assert_eq!(world.events_of(account.id).await, ["user.created"]);
    world.end().await;
}

#[tokio::test]
async fn verified_domain_account_is_linked() {
    let world = World::new().await;
    link_accounts(&world).await;
    let account = ada_by_hand(&world).await;
    assert_eq!(populations(&world).await, (1, 0));

    let answer = world.scim().post("/Users", ada_of_the_provider()).await.is(201);
    assert_eq!(answer.id(), account.id, "the same account");
    assert_eq!(answer.body["userName"], "Ada@Example.org", "a login identifier stays as it was");
    assert_eq!(answer.body["emails"], json!([{ "value": "ada@private.example", "type": "home" }]));
    assert_eq!(answer.body["externalId"], "a-1");
    assert_eq!(
        (&answer.body["displayName"], &answer.body["title"]),
        (&json!("Ada Lovelace"), &json!("Countess"))
    );
    assert_eq!(answer.body["nickName"], "A", "what the provider does not mention stays");

    let row = world
        .rows(
            "SELECT connection_id, external_id, user_name_key, display_name_key FROM \"user\"",
            [],
        )
        .await;
    assert_eq!(row.len(), 1);
    assert_eq!(row[0]["external_id"], "a-1");
    assert_eq!(
        (&row[0]["user_name_key"], &row[0]["display_name_key"]),
        (&json!("ada@example.org"), &json!("ada lovelace"))
    );
    assert_eq!(
        world.count("\"user\" WHERE connection_id = $1", [world.acme.connection.into()]).await,
        1
    );
    assert_eq!(
        world.count("user_email WHERE value_key = $1", ["ada@private.example".into()]).await,
        1
    );
    assert_eq!(world.count("user_email", []).await, 1);

    assert_eq!(world.events_of(account.id).await, ["user.created", "user.adopted"]);
    let told = world.last_payload().await;
    let connection = world.acme.connection.to_string();
    assert_eq!(
        told["before"],
        json!({ "externalId": "old-hr-4", "displayName": "Ada", "title": "Analyst", "connectionId": null })
    );
    assert_eq!(
        told["after"],
        json!({ "externalId": "a-1", "displayName": "Ada Lovelace", "title": "Countess", "connectionId": connection })
    );
    assert_eq!(
        populations(&world).await,
        (1, 1),
        "still one account, and now one that came through SCIM"
    );
    assert_eq!(world.count("adoption_proposal", []).await, 0);

    // From now on the connection changes and deletes it like any other account of its own.
    let path = format!("/Users/{}", account.id);
    world.scim().get(&path).await.is(200);
    let rename = json!([{ "op": "replace", "path": "userName", "value": "countess@example.org" }]);
    world.scim().patch(&path, rename).await.is(200);
    world.scim().delete(&path).await.is(204);
    assert_eq!(populations(&world).await, (0, 0));
    world.end().await;
}

#[tokio::test]
async fn identical_account_is_linked() {
    let world = World::new().await;
    link_accounts(&world).await;
    let account = by_hand(&world, json!({ "userName": "ada@example.org" })).await;
    let answer =
        world.scim().post("/Users", json!({ "userName": "ada@example.org" })).await.is(201);
    assert_eq!(answer.id(), account.id);
    assert_eq!(
        world.count("\"user\" WHERE connection_id = $1", [world.acme.connection.into()]).await,
        1
    );
    // When it is sent again, it belongs to the connection: there is no second account and no
    // proposal.
    world
        .scim()
        .post("/Users", json!({ "userName": "ada@example.org" }))
        .await
        .refused(409, Some("uniqueness"));
    assert_eq!(world.count("adoption_proposal", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn only_explicit_active_reactivates_an_account() {
    let world = World::new().await;
    link_accounts(&world).await;
    for (name, said, active) in [("ada", None, false), ("bob", Some(true), true)] {
        let name = format!("{name}@example.org");
        let account = by_hand(&world, json!({ "userName": name, "active": false })).await;
        let mut body = json!({ "userName": name });
        if let Some(said) = said {
            body["active"] = said.into();
        }
        let answer = world.scim().post("/Users", body).await.is(201);
        assert_eq!((answer.id(), &answer.body["active"]), (account.id, &json!(active)));
        let open = world
            .count("activation WHERE user_id = $1 AND until IS NULL", [account.id.into()])
            .await;
        assert_eq!(open, i64::from(active));
    }
    world.end().await;
}

#[tokio::test]
async fn unverified_domain_account_is_not_linked() {
    let world = World::new().await;
    link_accounts(&world).await;
    let names = [
        "ada",
        "ada@example.com",
        "ada@sub.example.org",
        "ada@evil-example.org",
        "ada@example.org@example.com",
    ];
    for name in names {
        by_hand(&world, json!({ "userName": name })).await;
        world
            .scim()
            .post("/Users", json!({ "userName": name }))
            .await
            .refused(409, Some("uniqueness"));
    }
    let all = proposals(&world.system(), Some(ProposalState::Pending)).await;
    assert_eq!(all.len(), names.len());
    assert!(all.iter().all(|proposal| proposal.cause == Cause::UnverifiedDomain));
    assert_eq!(world.count("\"user\" WHERE connection_id IS NOT NULL", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn domains_of_earlier_versions_are_folded() {
    let world = World::new().await;
    link_accounts(&world).await;
    // As they were stored before the width of letters was mapped.
    let stored = "UPDATE organization_domain SET name = 'ｅxample.org'";
    world.app.store.write.execute_unprepared(stored).await.unwrap();
    let account = ada_by_hand(&world).await;
    let linked = world.scim().post("/Users", ada_of_the_provider()).await.is(201);
    assert_eq!(linked.id(), account.id);
    assert_eq!(domain::list_names(&world.system()).await.unwrap(), ["example.org"]);
    world.end().await;
}

#[tokio::test]
async fn owned_and_protected_accounts_stay_unlinked() {
    let world = World::new().await;
    link_accounts(&world).await;
    let rival = world.tenant("acme", "Rival").await;
    let owned = rival.scim.user("ada@example.org").await;
    let protected = by_hand(&world, json!({ "userName": "root@example.org" })).await;
    lockout_guard::set_protection(&world.system(), protected.id, true, None).await.unwrap();
    for name in ["ada@example.org", "root@example.org"] {
        world
            .scim()
            .post("/Users", json!({ "userName": name }))
            .await
            .refused(409, Some("uniqueness"));
    }
    let all = proposals(&world.system(), None).await;
    let causes: Vec<_> = all.iter().map(|proposal| (proposal.user_id, proposal.cause)).collect();
    assert_eq!(causes, [(owned, Cause::Owned), (protected.id, Cause::Protected)]);

    let refused = adoption::accept_proposal(&world.system(), all[0].id, None).await;
    assert!(
        matches!(refused, Err(Error::Held { reason: RefusalReason::AlreadyOwned, .. })),
        "{refused:?}"
    );
    assert_eq!(
        world.count("\"user\" WHERE connection_id = $1", [rival.connection.into()]).await,
        1
    );
    // An administrator may link it, and it stays protected.
    adoption::accept_proposal(&world.system(), all[1].id, None).await.unwrap();
    world.scim().delete(&format!("/Users/{}", protected.id)).await.refused(403, None);
    world.end().await;
}

#[tokio::test]
async fn other_organizations_accounts_are_not_matched() {
    let world = World::new().await;
    link_accounts(&world).await;
    let globex = world.second_organization().await;
    let theirs = globex.scim.user("ada@example.org").await;
    let ours = world.scim().post("/Users", ada_of_the_provider()).await.is(201).id();
    assert_ne!(ours, theirs);
    assert_eq!(world.count("adoption_proposal", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn accepted_proposal_links_the_account() {
    let world = World::new().await;
    let account = ada_by_hand(&world).await;
    world.scim().post("/Users", ada_of_the_provider()).await.is(409);
    let proposal = only_proposal(&world).await;
    let cx = world.system();
    let accepted = adoption::accept_proposal(&cx, proposal.id, Some(" asked her ")).await.unwrap();
    assert_eq!(
        (accepted.state, accepted.reason.as_deref()),
        (ProposalState::Accepted, Some("asked her"))
    );
    assert_eq!(accepted.document, None, "what was accepted is kept once, in the account");

    let shown = world.scim().get(&format!("/Users/{}", account.id)).await.is(200);
    assert_eq!(
        (&shown.body["userName"], &shown.body["title"]),
        (&json!("Ada@Example.org"), &json!("Countess"))
    );
    assert_eq!(
        world.events_of(account.id).await,
        ["user.created", "user.adoption_proposed", "user.adopted"]
    );
    let told = world.last_payload().await;
    assert_eq!(
        (&told["after"]["reason"], &told["after"]["proposalId"]),
        (&json!("asked her"), &json!(proposal.id))
    );
    assert_eq!(populations(&world).await, (1, 1));

    let before = world.everything().await;
    assert_eq!(
        adoption::accept_proposal(&cx, proposal.id, None).await.unwrap(),
        accepted,
        "a retry changes nothing"
    );
    let refused = adoption::dismiss_proposal(&cx, proposal.id, None).await;
    assert!(
        matches!(refused, Err(Error::Held { reason: RefusalReason::AlreadyAccepted, .. })),
        "{refused:?}"
    );
    assert_eq!(world.everything().await, before);
    // From now on the account belongs to the connection.
    world.scim().post("/Users", ada_of_the_provider()).await.refused(409, Some("uniqueness"));
    assert_eq!(only_proposal(&world).await.attempts, 1);
    world.end().await;
}

#[tokio::test]
async fn dismissed_proposal_can_still_be_accepted() {
    let world = World::new().await;
    let account = ada_by_hand(&world).await;
    world.scim().post("/Users", ada_of_the_provider()).await.is(409);
    let proposal = only_proposal(&world).await;
    let cx = world.system();
    let dismissed =
        adoption::dismiss_proposal(&cx, proposal.id, Some("another Ada")).await.unwrap();
    assert_eq!(
        (dismissed.state, dismissed.reason.as_deref()),
        (ProposalState::Dismissed, Some("another Ada"))
    );
    let events = ["user.created", "user.adoption_proposed", "user.adoption_dismissed"];
    assert_eq!(world.events_of(account.id).await, events);

    world.scim().post("/Users", ada_of_the_provider()).await.refused(409, Some("uniqueness"));
    let again = only_proposal(&world).await;
    assert_eq!((again.state, again.attempts), (ProposalState::Dismissed, 2), "it stays dismissed");
    assert!(proposals(&cx, Some(ProposalState::Pending)).await.is_empty());
    assert_eq!(world.events_of(account.id).await, events);

    adoption::accept_proposal(&cx, proposal.id, None).await.unwrap();
    assert_eq!(populations(&world).await, (1, 1));
    world.end().await;
}

#[tokio::test]
async fn proposal_of_changed_account_is_refused() {
    let world = World::new().await;
    let account = ada_by_hand(&world).await;
    world.scim().post("/Users", ada_of_the_provider()).await.is(409);
    let proposal = only_proposal(&world).await;
    let cx = world.system();
    let rename = |name: &'static str| {
        user::change_user(&cx, account.id, move |_, known| {
            let mut attributes = known.clone();
            attributes.insert("userName".into(), name.into());
            Ok(Some(attributes))
        })
    };
    rename("bob@example.org").await.unwrap();
    let refused = adoption::accept_proposal(&cx, proposal.id, None).await;
    assert!(
        matches!(refused, Err(Error::Held { reason: RefusalReason::Renamed, .. })),
        "{refused:?}"
    );
    rename("ADA@example.org").await.unwrap();
    user::delete_user(&cx, account.id, |_| Ok(())).await.unwrap();
    let refused = adoption::accept_proposal(&cx, proposal.id, None).await;
    assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
    assert_eq!(only_proposal(&world).await.state, ProposalState::Pending);
    world.end().await;
}

#[tokio::test]
async fn only_reviewers_of_the_same_organization_decide() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    ada_by_hand(&world).await;
    world.scim().post("/Users", ada_of_the_provider()).await.is(409);
    let proposal = only_proposal(&world).await;
    let before = world.everything().await;

    let all_but =
        |missing| Permission::in_organization().into_iter().filter(|p| *p != missing).collect();
    let key = |missing| Actor::Key {
        id: Uuid::nil(),
        name: "script".into(),
        permissions: all_but(missing),
    };
    let as_who = |actor| Cx::new(world.app.clone(), actor, world.acme.organization, Uuid::now_v7());
    let provider = Actor::Connection {
        id: world.acme.connection,
        name: "x".into(),
        scopes: Scope::ALL.into(),
    };
    for actor in [key(Permission::ReviewWrite), provider] {
        let cx = as_who(actor);
        assert!(adoption::accept_proposal(&cx, proposal.id, None).await.is_err());
        assert!(adoption::dismiss_proposal(&cx, proposal.id, None).await.is_err());
    }
    let blind = as_who(key(Permission::UserRead));
    assert!(matches!(adoption::proposal_attributes(&blind, &proposal), Err(Error::Forbidden(_))));
    let reader = as_who(key(Permission::IamRead));
    let all = ProposalQuery::default();
    let keyset = Keyset::default();
    assert!(adoption::list_proposals(&reader, &all, OrderBy::Age, &keyset).await.is_err());

    let stranger = Cx::system(world.app.clone(), globex.organization);
    assert!(matches!(
        adoption::accept_proposal(&stranger, proposal.id, None).await,
        Err(Error::NotFound(_))
    ));
    assert!(matches!(
        adoption::dismiss_proposal(&stranger, proposal.id, None).await,
        Err(Error::NotFound(_))
    ));
    assert!(proposals(&stranger, None).await.is_empty());
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn one_of_two_connections_gets_account() {
    let world = World::new().await;
    link_accounts(&world).await;
    let rival: Tenant = world.tenant("acme", "Rival").await;
    policy(&world.system(), rival.connection, AdoptionPolicy::Link).await;
    for n in 0..5 {
        let name = format!("ada{n}@example.org");
        let account = by_hand(&world, json!({ "userName": name })).await;
        let body = json!({ "userName": name, "externalId": name });
        let (one, other) = tokio::join!(
            world.scim().post("/Users", body.clone()),
            rival.scim.post("/Users", body.clone())
        );
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "{} {}", one.body, other.body);
        let winner = if one.status == 201 { one } else { other };
        assert_eq!(winner.id(), account.id);
        let adoptions = world
            .events_of(account.id)
            .await
            .into_iter()
            .filter(|action| action == "user.adopted")
            .count();
        assert_eq!(adoptions, 1);
    }
    assert_eq!(populations(&world).await, (5, 5));
    world.end().await;
}

#[tokio::test]
async fn adoption_never_suspends_the_last_holder() {
    let world = World::new().await;
    link_accounts(&world).await;
    let cx = world.system();
    let ada = ada_by_hand(&world).await;
    let settings = role::RoleSettings {
        name: Some("Keeper".into()),
        management: Some(true),
        ..Default::default()
    };
    let keeper = role::create_role(&cx, settings).await.unwrap().id;
    role_grant::create_grant(
        &cx,
        NewGrant { user: ada.id, role: keeper, reason: None, expires_at: None },
    )
    .await
    .unwrap();
    let before = world.everything().await;
    let mut body = ada_of_the_provider();
    body["active"] = false.into();
    world.scim().post("/Users", body).await.refused(403, None);
    assert_eq!(world.everything().await, before);
    assert!(user::get_user(&cx, ada.id).await.unwrap().active);
    world.end().await;
}

#[tokio::test]
async fn verified_domains_must_be_domain_names() {
    let world = World::new().await;
    let cx = world.system();
    let kept = domains(&cx, &[" Example.ORG ", "bücher.example", "example.org"]).await;
    assert_eq!(kept, ["bücher.example", "example.org"], "folded, each once, in order");
    assert_eq!(world.last_payload().await["before"], json!({ "verifiedDomains": [] }));
    for bad in [
        "org",
        "",
        ".",
        "example..org",
        "-a.example",
        "ada@example.org",
        "example.org/",
        "*.example.org",
    ] {
        let settings = organization::OrganizationSettings {
            verified_domains: Some(vec![bad.into()]),
            ..Default::default()
        };
        let refused = organization::update_organization(&cx, settings).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{bad:?}: {refused:?}");
    }
    assert!(domains(&cx, &[]).await.is_empty(), "an explicit empty list empties it");
    world.end().await;
}
