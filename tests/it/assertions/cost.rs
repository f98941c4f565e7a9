//! What verifying an ID token costs: `tests/long/oidc-cost` builds this with optimizations and runs
//! it.

use std::time::{Duration, Instant};

use rolecall::domain::connection::assertion_source;
use rolecall::sign_in::oidc::TokenVerifier;
use serde_json::json;
use uuid::Uuid;

use super::{connect, good_claims, signed, world};
use crate::issuers::{Issuer, Key, with_claims};

/// The most that one token may cost.
const MOST: Duration = Duration::from_millis(1);

#[tokio::test]
#[ignore = "a measurement: it needs optimizations and a core of its own"]
async fn verifying_a_token_is_cheap() {
    let world = world().await;
    let cx = world.system();
    let now = world.app.clock.now();
    // As many groups as Entra ID lists.
    let groups: Vec<String> = (0..200).map(|_| Uuid::new_v4().to_string()).collect();
    for (algorithm, name) in
        [("RS256", "RS256"), ("PS256", "PS256"), ("ES256", "ES256"), ("EdDSA", "EDDSA")]
    {
        let issuer = Issuer::start().await;
        let key = Key::new(algorithm, "one");
        issuer.publishes(&[&key]);
        let oidc = json!({ "issuer": issuer.url, "clientId": "rolecall", "algorithms": [name] });
        let (_, id) = connect(&world.acme, algorithm, "GENERIC", oidc, json!({})).await;
        let accepting = assertion_source::find_accepting(&cx, id).await.unwrap();
        let verifier = TokenVerifier::of_connection(&cx, &accepting).unwrap();
        for groups in [&groups[..0], &groups[..]] {
            let claims =
                with_claims(&good_claims(&world, &issuer, "ada"), json!({ "groups": groups }));
            let token = signed(&key, &claims);
            verifier.verify_id_token(&token, None, now).await.unwrap();
            // The fastest of several rounds: nothing else needed the core meanwhile.
            let mut cost = Duration::MAX;
            for _ in 0..10 {
                let begin = Instant::now();
                for _ in 0..100 {
                    verifier.verify_id_token(&token, None, now).await.unwrap();
                }
                cost = cost.min(begin.elapsed() / 100);
            }
            let (size, groups) = (token.len(), groups.len());
            println!("{algorithm}, {groups} groups, {size} bytes: {} us", cost.as_micros());
            assert!(cost < MOST, "{algorithm}, {groups} groups: {cost:?}");
        }
    }
    world.end().await;
}
