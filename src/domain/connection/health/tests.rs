use chrono::{DateTime, Duration, Utc};
use entity::connection::{
    self, AdoptionPolicy, ConnectionKind, ConnectionStatus, DeletionPolicy, Provider,
};
use uuid::Uuid;

use crate::domain::connection::health::{
    HealthReason, HealthSignals, HealthWindow, State, judge_health, silence,
};

fn at(hours: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + Duration::hours(hours)
}

fn now() -> DateTime<Utc> {
    at(0)
}

fn connection(kind: ConnectionKind) -> connection::Model {
    connection::Model {
        organization_id: Uuid::nil(),
        id: Uuid::nil(),
        name: "Entra".into(),
        kind,
        provider: Provider::EntraId,
        status: ConnectionStatus::Active,
        deletion_policy: DeletionPolicy::Soft,
        adoption_policy: AdoptionPolicy::Refuse,
        revival_days: 30,
        announces_cursor_paging: true,
        credentials: None,
        last_contact_at: Some(at(-1)),
        version: 1,
        created_at: at(-100),
        updated_at: at(-100),
        deleted_at: None,
    }
}

fn signs(change: impl FnOnce(&mut HealthSignals)) -> HealthSignals {
    let mut signs = HealthSignals::new(&connection(ConnectionKind::ScimPush), true, now());
    signs.has_token = true;
    change(&mut signs);
    signs
}

fn window(operations: u64, failures: u64) -> HealthWindow {
    HealthWindow { since: at(-2), operations, failures }
}

#[track_caller]
fn is(change: impl FnOnce(&mut HealthSignals), state: State, reasons: &[HealthReason]) {
    assert_eq!(judge_health(&signs(change), now()), (state, reasons.to_vec()));
}

#[test]
fn each_rule_has_its_bounds() {
    is(|_| {}, State::Healthy, &[]);
    is(|s| s.active = false, State::Inactive, &[HealthReason::Deactivated]);
    is(|s| s.served = false, State::Inactive, &[HealthReason::ProvisioningOff]);
    is(|s| s.last_contact_at = None, State::Inactive, &[HealthReason::NeverHeard]);
    is(|s| s.day = window(10, 10), State::Quarantined, &[HealthReason::EverythingFails]);
    is(|s| s.day = window(11, 10), State::Healthy, &[]);
    is(|s| s.day = window(9, 9), State::Healthy, &[]);
    is(|s| s.has_token = false, State::Stalled, &[HealthReason::NoToken]);
    is(|s| s.silent = true, State::Stalled, &[HealthReason::Silent]);
    is(|s| s.hour = window(50, 5), State::Degraded, &[HealthReason::ErrorsInHour]);
    is(|s| s.hour = window(51, 5), State::Healthy, &[]);
    is(|s| s.hour = window(4, 4), State::Healthy, &[]);
    is(|s| s.day = window(400, 20), State::Degraded, &[HealthReason::ErrorsInDay]);
    is(|s| s.day = window(401, 20), State::Healthy, &[]);
    is(|s| s.oldest_pending_at = Some(at(-25)), State::Degraded, &[HealthReason::WorkWaits]);
    is(|s| s.oldest_pending_at = Some(at(-24)), State::Healthy, &[]);
}

#[test]
fn the_gravest_state_wins_with_all_of_its_reasons_and_none_of_a_lesser() {
    let all_at_once = |s: &mut HealthSignals| {
        (s.has_token, s.silent) = (false, true);
        s.hour = window(10, 9);
        s.oldest_pending_at = Some(at(-30));
    };
    is(all_at_once, State::Stalled, &[HealthReason::NoToken, HealthReason::Silent]);
    is(
        |s| {
            all_at_once(s);
            s.active = false;
        },
        State::Inactive,
        &[HealthReason::Deactivated],
    );
}

#[test]
fn a_connection_that_reads_is_judged_by_its_runs() {
    let pull = |change: fn(&mut HealthSignals)| {
        let mut signs = HealthSignals::new(&connection(ConnectionKind::ScimPull), true, now());
        signs.runs.due = vec![(at(1), Duration::hours(1)), (at(0), Duration::minutes(15))];
        change(&mut signs);
        judge_health(&signs, now())
    };
    assert_eq!(pull(|_| {}), (State::Healthy, vec![]));
    assert_eq!(
        pull(|s| s.runs.failed_in_a_row = 2),
        (State::Degraded, vec![HealthReason::RunFailed])
    );
    assert_eq!(
        pull(|s| s.runs.failed_in_a_row = 3),
        (State::Quarantined, vec![HealthReason::RunsFail])
    );
    assert_eq!(pull(|s| s.runs.left = 1), (State::Degraded, vec![HealthReason::RunLeftSome]));
    assert_eq!(pull(|s| s.runs.waiting = true), (State::Stalled, vec![HealthReason::RunWaits]));
    // What it last did is long ago: only its own schedule says whether that is too long.
    assert_eq!(pull(|s| s.last_success_at = Some(at(-400))), (State::Healthy, vec![]));
    assert_eq!(pull(|s| s.runs.due[0].0 = at(-2)), (State::Healthy, vec![]));
    assert_eq!(pull(|s| s.runs.due[0].0 = at(-3)), (State::Stalled, vec![HealthReason::Overdue]));
    assert_eq!(
        pull(|s| s.runs.due[1].0 = at(-1)),
        (State::Stalled, vec![HealthReason::Overdue]),
        "of changes only"
    );
    assert_eq!(
        pull(|s| (s.runs.due[0].0, s.runs.running) = (at(-3), true)),
        (State::Healthy, vec![])
    );
    // Provisioning that is turned off does not stop runs that read a source.
    assert_eq!(pull(|s| s.served = false), (State::Healthy, vec![]));
}

#[test]
fn every_reason_says_what_was_found_and_what_to_do() {
    let signs = signs(|_| {});
    for (place, reason) in HealthReason::ALL.into_iter().enumerate() {
        assert!(
            reason.finding_text(&signs).ends_with('.') && reason.next_step().ends_with('.'),
            "{reason:?}"
        );
        let rank = |reason: HealthReason| match reason.state() {
            State::Inactive => 0,
            State::Quarantined => 1,
            State::Stalled => 2,
            State::Degraded => 3,
            State::Healthy => 4,
        };
        assert!(
            HealthReason::ALL[..place].iter().all(|before| rank(*before) <= rank(reason)),
            "the gravest first"
        );
    }
}

/// Hours in which something was heard: so many, every `step` hours, the last one at −`silence`.
fn heard(n: i64, step: i64, silence: i64) -> Vec<DateTime<Utc>> {
    (0..n).rev().map(|i| at(-silence - i * step)).collect()
}

fn too_long(hours: &[DateTime<Utc>]) -> bool {
    silence::is_too_long(now(), *hours.last().unwrap(), hours)
}

#[test]
fn silence_is_judged_by_the_longest_that_was() {
    // Every hour for two weeks.
    assert!(!too_long(&heard(24 * 14, 1, 6)));
    assert!(too_long(&heard(24 * 14, 1, 7)));
    // Once a day for three weeks.
    assert!(!too_long(&heard(21, 24, 48)));
    assert!(too_long(&heard(21, 24, 49)));
    // Weekdays only: a weekend is usual, two are not.
    let mut weekdays = heard(5, 24, 24 * 9);
    weekdays.extend(heard(5, 24, 24 * 2));
    assert!(!too_long(&weekdays));
    let later: Vec<_> = weekdays.iter().map(|hour| *hour - Duration::days(9)).collect();
    assert!(too_long(&later));
}

#[test]
fn who_is_not_known_for_a_week_may_be_silent_for_four_and_who_is_hardly_known_for_ever() {
    // Set up within two days, and then no person joined or left.
    assert!(!too_long(&heard(48, 1, 96)));
    assert!(!too_long(&heard(48, 1, 24 * 28)));
    assert!(too_long(&heard(48, 1, 24 * 28 + 1)));
    assert!(!too_long(&heard(4, 1, 24 * 28 + 1)));
    assert!(!too_long(&heard(1, 1, 24 * 400)));
}

#[test]
fn deactivated_time_is_no_silence() {
    // Every hour for two weeks; then deactivated for ten days, until five hours ago.
    let hours = heard(24 * 14, 1, 24 * 10);
    assert!(too_long(&hours));
    assert!(!silence::is_too_long(now(), at(-5), &hours));
    assert!(silence::is_too_long(now(), at(-7), &hours));
}
