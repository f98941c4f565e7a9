use axum::http::Request;

use super::*;
use crate::cli::bootstrap;
use crate::config::{Config, DEFAULT_PULL_TIMEOUT, GraphqlSettings, KeySource};
use crate::domain::paging::Keyset;
use crate::domain::review;
use crate::domain::review::{Cause, FailureQuery};
use crate::scim::http::{ScimBody as Sent, ScimCaller};

async fn breaks(_: ScimCaller, _: Sent) -> Result<(), ScimFailure> {
    panic!("a fault of the handler")
}

#[tokio::test]
async fn panicking_handler_leaves_an_open_failure() {
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
        decision_rate_limit: 0,
        pull_private_addresses: false,
        pull_timeout: DEFAULT_PULL_TIMEOUT,
        signal_private_addresses: false,
        api_key_days: crate::config::DEFAULT_API_KEY_DAYS,
        graphql: GraphqlSettings::default(),
        issuers: Vec::new(),
        trusted_proxies: Default::default(),
        dns_server: None,
        smtp: None,
    };
    let app = App::open(config).await.unwrap();
    let acme = bootstrap::run_bootstrap(
        &app,
        "acme",
        "Identity provider",
        entity::connection::Provider::Okta,
    )
    .await
    .unwrap();
    let router = with_observability(Router::new().route("/Users", post(breaks)), app.clone());
    for _ in 0..2 {
        let request = Request::post("/scim/v2/acme/Users")
            .header("authorization", format!("Bearer {}", acme.scim.token));
        let request = request.header("content-type", "application/scim+json");
        let request = request.body(Body::from("{\"userName\": \"ada\"}")).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    review::flush_repeats(&app).await.unwrap();
    let cx = Cx::system(app, acme.organization.id);
    let keyset = Keyset { limit: 10, ..Keyset::default() };
    let open = review::list_failures(&cx, &FailureQuery::default(), &keyset).await.unwrap().rows;
    assert_eq!(open.len(), 1);
    let failure = &open[0];
    assert_eq!(
        (failure.cause, failure.count, failure.label.as_deref()),
        (Cause::Internal, 2, Some("ada"))
    );
    assert!(
        failure.payload.is_some() && failure.next_attempt_at.is_some(),
        "it is retried automatically"
    );
}
