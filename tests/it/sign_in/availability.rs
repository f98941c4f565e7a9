//! Sign-ins while nothing may be provisioned: each reason has its code and its remedy, and nothing
//! changes.

use rolecall::context::App;

use super::*;

/// The reason and the remedy of two sign-ins: of a known and of a new person. Nothing changes.
async fn refused(sign_ins: &SignIns, user: Uuid) -> (RefusalReason, String) {
    let world = &sign_ins.world;
    let before = world.everything().await;
    let now = world.app.clock.now();
    let known = sign_ins.accept(complete("ada", &["a"], now)).await;
    assert_eq!((known.user, known.active, known.changed), (Some(user), true, false));
    let unknown = sign_ins.accept(complete("grace", &["a"], now)).await;
    assert_eq!((unknown.user, unknown.active), (None, false));
    assert_eq!(unknown.refusal, known.refusal);
    let cx = &world.system();
    let directory = sign_in::replace_claimed_groups(
        cx,
        sign_ins.connection,
        "subject of ada",
        claimed(&["a"]),
        now,
    );
    assert_eq!(directory.await.unwrap().refusal, known.refusal, "nor does a directory's answer");
    assert_eq!(world.everything().await, before);
    let refusal = known.refusal.unwrap();
    (refusal.reason, refusal.why.into_owned())
}

#[tokio::test]
async fn each_refusal_has_its_remedy() {
    let rules = SourceRules { creation: AccountCreation::CreateAndUpdate, ..Default::default() };
    let sign_ins = SignIns::new(IntegrationMode::SignIn, rules).await;
    let user = new_account(&sign_ins.world, "ada").await;
    let invited = invitation::NewInvitation {
        email: "ada@acme.test".into(),
        roles: vec![crate::access::new_role(&sign_ins.world.system(), "Guest", false).await],
        ..Default::default()
    };
    let now = sign_ins.world.app.clock.now();
    sign_ins.accept(said("ada", GroupClaims::Absent, now - TimeDelta::seconds(9))).await;
    invitation::create_invitation(&sign_ins.world.system(), invited).await.unwrap();

    // The operator has not released provisioning.
    let release = "UPDATE organization SET provisioning_released = ";
    sign_ins.world.execute(&format!("{release}FALSE"), []).await;
    let (reason, remedy) = refused(&sign_ins, user).await;
    assert_eq!(reason, RefusalReason::ProvisioningNotReleased);
    assert!(remedy.contains("operator"), "{remedy}");
    sign_ins.world.execute(&format!("{release}TRUE"), []).await;

    // The organization has turned provisioning off.
    let turn =
        |on| organization::OrganizationSettings { scim_enabled: Some(on), ..Default::default() };
    change_organization(&sign_ins.world, turn(false)).await;
    let (reason, remedy) = refused(&sign_ins, user).await;
    assert_eq!(reason, RefusalReason::OrganizationDisabled);
    assert!(remedy.contains("scimEnabled"), "{remedy}");
    change_organization(&sign_ins.world, turn(true)).await;

    // The connection is not active.
    let status = "UPDATE connection SET status = $1 WHERE id = $2";
    let set = async |to: ConnectionStatus| {
        use sea_orm::ActiveEnum;
        let values = [to.to_value().into(), sign_ins.connection.into()];
        sign_ins.world.execute(status, values).await;
    };
    set(ConnectionStatus::Inactive).await;
    let (reason, remedy) = refused(&sign_ins, user).await;
    assert_eq!(reason, RefusalReason::ConnectionInactive);
    assert!(remedy.contains("activate"), "{remedy}");
    set(ConnectionStatus::Active).await;

    // The deployment offers no provisioning.
    let mut config = sign_ins.world.config();
    config.scim_enabled = false;
    let app = App::open(config).await.unwrap();
    let cx = &rolecall::context::Cx::system(app.clone(), sign_ins.world.acme.organization);
    let before = sign_ins.world.everything().await;
    let assertion = complete("ada", &["a"], app.clock.now());
    let outcome = sign_in::accept_assertion(cx, sign_ins.connection, assertion).await.unwrap();
    let refusal = outcome.refusal.unwrap();
    assert_eq!(refusal.reason, RefusalReason::PlatformDisabled);
    assert!(refusal.why.contains("ROLECALL_SCIM_ENABLED=true"), "{}", refusal.why);
    assert_eq!(sign_ins.world.everything().await, before);

    // With all of it on, the same sign-in does what it says.
    let outcome = sign_ins.accept(complete("ada", &["a"], sign_ins.world.app.clock.now())).await;
    assert_eq!((outcome.refusal.clone(), outcome.changed), (None, true));
    assert_eq!(role_names(&outcome), ["Guest"]);
    sign_ins.end().await;
}
