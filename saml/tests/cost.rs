//! What verifying costs: `tests/long/saml-cost` builds this with optimizations and runs it.

mod common;

use std::time::{Duration, Instant};

use common::{Setting, fixture};

/// CPU of one thread, as long as nothing else needs the core: the fastest of several rounds.
fn cost_of(rounds: u32, mut work: impl FnMut()) -> Duration {
    let round = |work: &mut dyn FnMut()| {
        let begin = Instant::now();
        for _ in 0..rounds {
            work();
        }
        begin.elapsed() / rounds
    };
    (0..10).map(|_| round(&mut work)).min().unwrap()
}

#[test]
#[ignore = "a measurement: it needs optimizations and a core of its own"]
fn verifying_ten_kilobytes_is_cheap() {
    let text = fixture!("samlp_large");
    assert!((10_000..12_000).contains(&text.len()), "{}", text.len());
    let setting = Setting::default();
    let cost = cost_of(100, || drop(setting.verify(text).unwrap()));
    println!("a response of {} bytes: {} us", text.len(), cost.as_micros());
    assert!(cost < Duration::from_millis(3), "{cost:?}");
    let encrypted = Setting { keys: vec![common::service_key()], ..Setting::default() };
    let text = fixture!("samlp_encrypted");
    let cost = cost_of(50, || drop(encrypted.verify(text).unwrap()));
    println!("an encrypted one of {} bytes: {} us", text.len(), cost.as_micros());
}
