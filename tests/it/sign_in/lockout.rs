//! An identity provider cannot lock out the administrators by what it says at sign-ins, as it
//! cannot by SCIM.

use super::*;
use crate::access::{new_role, to_role};
use rolecall::domain::access::lockout_guard;

/// Sign-ins where the members of the claimed group `admins` hold a management role.
async fn with_management_role() -> SignIns {
    let sign_ins = SignIns::new(IntegrationMode::SignIn, SourceRules::default()).await;
    let cx = &sign_ins.world.system();
    let role = new_role(cx, "Owner", true).await;
    let (connection, value) = (sign_ins.connection, "admins".to_owned());
    let target = MappingTarget::Awaited { connection, external_id: true, value };
    role_mapping::create_mapping(cx, to_role(target, role)).await.unwrap();
    sign_ins
}

#[tokio::test]
async fn claims_spare_the_last_holder() {
    let sign_ins = with_management_role().await;
    let world = &sign_ins.world;
    let ada = new_account(world, "ada").await;
    let grace = new_account(world, "grace").await;
    let now = world.app.clock.now();
    let at = |seconds| now + TimeDelta::seconds(seconds);
    let held = BTreeSet::from(["admins".to_owned()]);
    assert_eq!(role_names(&sign_ins.accept(complete("ada", &["admins"], at(0))).await), ["Owner"]);
    let before = world.everything().await;
    let refused = sign_ins.accept(complete("ada", &["other"], at(1))).await;
    assert_eq!(reason(&refused), Some(RefusalReason::LastHolder));
    assert_eq!((refused.user, refused.active, refused.changed), (Some(ada), true, false));
    assert_eq!(role_names(&refused), ["Owner"], "the person still signs in as before");
    assert_eq!(sign_ins.groups_of(ada).await, held);
    assert_eq!(claim_events(world, ada).await.len(), 1);
    let groups = |rows: &Value| rows["membership"].clone();
    assert_eq!(groups(&world.everything().await), groups(&before));
    // With a second holder one of the two may leave, whichever comes first.
    sign_ins.accept(complete("grace", &["admins"], at(2))).await;
    let (one, two) = tokio::join!(
        sign_ins.accept(complete("ada", &[], at(3))),
        sign_ins.accept(complete("grace", &[], at(3)))
    );
    let reasons = [reason(&one), reason(&two)];
    assert!(reasons.contains(&None), "{reasons:?}");
    assert!(reasons.contains(&Some(RefusalReason::LastHolder)), "{reasons:?}");
    let members = sign_ins.groups_of(ada).await.len() + sign_ins.groups_of(grace).await.len();
    assert_eq!(members, 1);
    sign_ins.end().await;
}

#[tokio::test]
async fn claims_spare_protected_accounts() {
    let sign_ins = with_management_role().await;
    let world = &sign_ins.world;
    let ada = new_account(world, "ada").await;
    let now = world.app.clock.now();
    let at = |seconds| now + TimeDelta::seconds(seconds);
    sign_ins.accept(complete("ada", &["admins", "staff"], at(0))).await;
    lockout_guard::set_protection(&world.system(), ada, true, None).await.unwrap();
    let refused = sign_ins.accept(complete("ada", &["staff"], at(1))).await;
    assert_eq!(reason(&refused), Some(RefusalReason::ProtectedAccount));
    assert_eq!(role_names(&refused), ["Owner"]);
    assert_eq!(sign_ins.groups_of(ada).await.len(), 2);
    // Nor do claims that grow old take groups away, whether they were said before or after.
    let ends = "membership WHERE until IS NULL AND expires_at IS NOT NULL";
    assert_eq!(world.count(ends, []).await, 0);
    sign_ins.accept(complete("ada", &["admins", "staff", "more"], at(2))).await;
    sign_ins.accept(complete("ada", &["admins", "staff", "more"], at(3))).await;
    assert_eq!((world.count(ends, []).await, sign_ins.groups_of(ada).await.len()), (0, 3));
    world.days_pass(40);
    sign_in::expiry::end_old_claims(&world.app).await.unwrap();
    let held = access::of_users(&world.system(), &[ada], access::AsOf::Now).await.unwrap();
    assert_eq!(held.get(&ada).map_or(0, Vec::len), 1);
    // An ordinary account again: its next sign-in plans the end.
    lockout_guard::set_protection(&world.system(), ada, false, None).await.unwrap();
    let keys = ["admins", "staff", "more"];
    sign_ins.accept(complete("ada", &keys, world.app.clock.now())).await;
    assert_eq!(world.count(ends, []).await, 3);
    sign_ins.end().await;
}

/// What the sweep of each minute does with claims.
async fn sweep(world: &World) -> (u64, u64) {
    let kept = sign_in::expiry::keep_last_holders(&world.app).await.unwrap();
    (kept, sign_in::expiry::end_old_claims(&world.app).await.unwrap())
}

async fn attention(world: &World) -> Value {
    let query = "{ organization { attention { kind count message nextStep } } }";
    let answer = world.graphql(query, json!({})).await;
    let items = answer["data"]["organization"]["attention"].as_array().unwrap().clone();
    items.into_iter().find(|item| item["kind"] == "CLAIMS_KEPT").unwrap_or_default()
}

#[tokio::test]
async fn old_claims_spare_the_last_holder() {
    let sign_ins = with_management_role().await;
    let world = &sign_ins.world;
    let ada = new_account(world, "ada").await;
    let grace = new_account(world, "grace").await;
    let now = world.app.clock.now();
    sign_ins.accept(complete("ada", &["admins", "staff"], now)).await;
    sign_ins.accept(complete("grace", &["admins", "staff"], now)).await;
    let cx = &world.system();
    let holders = || async {
        let held = access::of_users(cx, &[ada, grace], access::AsOf::Now).await.unwrap();
        held.into_keys().collect::<Vec<_>>()
    };
    // A little before the end one of the two is chosen, so that the role is never without a holder.
    world.days_pass(30);
    world.app.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(holders().await, Vec::<Uuid>::new(), "no sweep came in time");
    assert_eq!(sweep(world).await, (1, 2));
    let left = holders().await;
    assert_eq!(left.len(), 1);
    let (last, gone) = if left == [ada] { (ada, grace) } else { (grace, ada) };
    // Of the last holder's memberships only the one that gives the role stays.
    assert_eq!(sign_ins.groups_of(last).await, BTreeSet::from(["admins".to_owned()]));
    assert_eq!(sign_ins.groups_of(gone).await, BTreeSet::new());
    let told = claim_events(world, last).await;
    assert_eq!(told, ["user.claims_changed", "user.claims_kept", "user.claims_expired"]);
    let item = attention(world).await;
    assert_eq!(item["count"], 1, "{item}");
    // Day by day, without another event.
    for _ in 0..3 {
        world.days_pass(1);
        assert_eq!(sweep(world).await, (1, 0));
        assert_eq!(holders().await, [last]);
    }
    assert_eq!(claim_events(world, last).await.len(), 3);
    // Another holder comes: what was kept ends by its planned end.
    let name = if gone == ada { "ada" } else { "grace" };
    sign_ins.accept(complete(name, &["admins"], world.app.clock.now())).await;
    world.days_pass(2);
    assert_eq!(sweep(world).await, (0, 1));
    assert_eq!(holders().await, [gone]);
    assert_eq!(attention(world).await, Value::Null);
    sign_ins.end().await;
}

#[tokio::test]
async fn sign_in_renews_what_was_kept() {
    let sign_ins = with_management_role().await;
    let world = &sign_ins.world;
    let ada = new_account(world, "ada").await;
    sign_ins.accept(complete("ada", &["admins"], world.app.clock.now())).await;
    // Before the end: nobody notices.
    world.days_pass(30);
    world.app.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(sweep(world).await, (1, 0));
    assert_eq!(attention(world).await["count"], 1);
    let again = sign_ins.accept(complete("ada", &["admins"], world.app.clock.now())).await;
    assert_eq!(role_names(&again), ["Owner"]);
    assert_eq!(attention(world).await, Value::Null, "it is an ordinary membership again");
    // A suspended account is no holder, so nothing is kept for it.
    user::change_user(&world.system(), ada, |_, known| {
        let mut changed = known.clone();
        changed.insert("active".into(), false.into());
        Ok(Some(changed))
    })
    .await
    .unwrap();
    world.days_pass(31);
    assert_eq!(sweep(world).await, (0, 1));
    sign_ins.end().await;
}
