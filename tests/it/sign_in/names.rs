//! Whose account a user name means: other spellings of a domain, and providers that all share.

use super::*;

fn named(name: &str, subject: &str, at: DateTime<Utc>) -> VerifiedAssertion {
    VerifiedAssertion {
        subject: subject.into(),
        user_name: name.into(),
        email: None,
        ..said("any", GroupClaims::Absent, at)
    }
}

#[tokio::test]
async fn other_spelling_makes_no_other_person() {
    let rules = SourceRules { creation: AccountCreation::Create, ..Default::default() };
    let sign_ins = SignIns::new(IntegrationMode::SignIn, rules).await;
    let world = &sign_ins.world;
    let settings = organization::OrganizationSettings {
        verified_domains: Some(vec!["acme.test".into(), "münchen.test".into()]),
        ..Default::default()
    };
    change_organization(world, settings).await;
    world.execute("UPDATE organization_domain SET state = 'PROVEN'", []).await;
    let now = world.app.clock.now();
    let bob = new_account(world, "bob").await;
    let suspend = world.execute("UPDATE \"user\" SET active = FALSE", []);
    suspend.await;
    // A soft hyphen, an ideographic full stop, letters of another width.
    for (n, name) in ["bob@ac\u{ad}me.test", "bob@acme\u{3002}test", "BOB@\u{ff41}cme.test"]
        .into_iter()
        .enumerate()
    {
        let outcome = sign_ins.accept(named(name, &n.to_string(), now)).await;
        assert_eq!(reason(&outcome), Some(RefusalReason::AccountSuspended), "{name}");
        assert_eq!(outcome.user, Some(bob), "{name}");
    }
    user::delete_user(&world.system(), bob, |_| Ok(())).await.unwrap();
    let outcome = sign_ins.accept(named("bob@ac\u{ad}me.test", "other", now)).await;
    assert_eq!(reason(&outcome), Some(RefusalReason::AccountRemoved));
    // An account that is made has the usual spelling, and is found by the others.
    let made = sign_ins.accept(named("Eve@xn--mnchen-3ya.test", "eve", now)).await;
    assert!(made.created, "{made:?}");
    let rows = world.rows("SELECT user_name FROM \"user\" WHERE deleted_at IS NULL", []).await;
    assert_eq!(rows, [json!({ "user_name": "Eve@münchen.test" })]);
    let again = sign_ins.accept(named("eve@M\u{fc}nchen.test", "eve", now)).await;
    assert_eq!((again.user, again.created), (made.user, false));
    let second = sign_ins.accept(named("eve@münchen\u{3002}test", "not eve", now)).await;
    assert_eq!(reason(&second), Some(RefusalReason::OtherSubject));
    assert_eq!(world.count("\"user\" WHERE deleted_at IS NULL", []).await, 1);
    sign_ins.end().await;
}

#[tokio::test]
async fn shared_provider_must_name_the_organization() {
    let rules = SourceRules {
        creation: AccountCreation::Create,
        provider: Provider::GoogleWorkspace,
        ..Default::default()
    };
    let sign_ins = SignIns::new(IntegrationMode::SignIn, rules).await;
    let world = &sign_ins.world;
    let now = world.app.clock.now();
    new_account(world, "ceo").await;
    let of = |name: &str, domain: Option<&str>| VerifiedAssertion {
        tenant: ProviderTenant::Shared(domain.map(Into::into)),
        ..named(&format!("{name}@acme.test"), name, now)
    };
    let before = world.everything().await;
    // Neither a link to an account that is here, nor a new one.
    for name in ["ceo", "new"] {
        for domain in [None, Some("evil.test"), Some("sub.acme.test"), Some("")] {
            let outcome = sign_ins.accept(of(name, domain)).await;
            assert_eq!(reason(&outcome), Some(RefusalReason::DomainNotProven), "{domain:?}");
            assert_eq!(outcome.user, None);
        }
    }
    assert_eq!(world.everything().await, before);
    for name in ["ceo", "new"] {
        let outcome = sign_ins.accept(of(name, Some("acme.test"))).await;
        assert!(outcome.active && outcome.user.is_some(), "{outcome:?}");
        // Who is known stays known.
        assert_eq!(sign_ins.accept(of(name, None)).await.user, outcome.user);
    }
    sign_ins.end().await;
}
