use axum::http::Request;

use super::wire::{Body as Sent, Caller};
use super::*;
use crate::bootstrap;
use crate::config::{Config, DEFAULT_PULL_TIMEOUT, Graphql, KeySource};
use crate::domain::failure::{self, Cause, Which};
use crate::domain::list::Keyset;

async fn breaks(_: Caller, _: Sent) -> Result<(), Failure> {
    panic!("a fault of ours")
}

#[tokio::test]
async fn a_handler_that_breaks_off_leaves_work_for_somebody() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        database_url: format!("sqlite://{}", folder.path().join("test.db").display()),
        data_dir: folder.path().to_owned(),
        master_key: KeySource::File(folder.path().join("master.key")),
        new_master_key: None,
        public_url: "https://example.com".into(),
        scim_enabled: true,
        metrics: false,
        scim_rate_limit: 0,
        pull_private_addresses: false,
        pull_timeout: DEFAULT_PULL_TIMEOUT,
        api_key_days: crate::config::DEFAULT_API_KEY_DAYS,
        graphql: Graphql::default(),
        issuers: Vec::new(),
        trusted_proxies: Default::default(),
    };
    let app = App::open(config).await.unwrap();
    let acme = bootstrap::run(&app, "acme", "Identity provider", entity::connection::Provider::Okta).await.unwrap();
    let router = listened_to(Router::new().route("/Users", post(breaks)), app.clone());
    for _ in 0..2 {
        let request =
            Request::post("/scim/v2/acme/Users").header("authorization", format!("Bearer {}", acme.scim.token));
        let request = request.header("content-type", "application/scim+json");
        let request = request.body(Body::from("{\"userName\": \"ada\"}")).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    failure::flush(&app).await.unwrap();
    let cx = Cx::system(app, acme.organization.id);
    let keyset = Keyset { limit: 10, ..Keyset::default() };
    let open = failure::list(&cx, &Which::default(), &keyset).await.unwrap().rows;
    assert_eq!(open.len(), 1);
    let failure = &open[0];
    assert_eq!((failure.cause, failure.count, failure.label.as_deref()), (Cause::Internal, 2, Some("ada")));
    assert!(failure.payload.is_some() && failure.next_attempt_at.is_some(), "it is tried again by itself");
}
