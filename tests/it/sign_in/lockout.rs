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
