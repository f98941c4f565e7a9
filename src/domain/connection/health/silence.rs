//! How long a connection usually sends no requests. Some identity providers send requests every
//! forty minutes, others only when a person joins or leaves, and all send fewer at night and on
//! weekends. So a silence is compared with the longest silence of the same connection.

use chrono::{DateTime, Duration, Utc};

/// How far back requests are looked for.
pub const RHYTHM_MEMORY: Duration = Duration::days(28);
/// A silence up to this is never too long.
pub const MIN_SILENCE: Duration = Duration::hours(6);
/// Hours with requests that are needed to know what is usual.
const MIN_HOURS_WITH_REQUESTS: usize = 5;
/// A connection with requests over less than a week is perhaps only being set up: only a silence
/// longer than [`RHYTHM_MEMORY`] is too long for it.
const MIN_OBSERVED_TIME: Duration = Duration::days(7);

/// Whether a connection sent no request for too long: more than twice as long as ever between its
/// `hours` with requests, which are in order. `since` is the last request, or when requests became
/// possible again, if that is later.
pub fn is_too_long(now: DateTime<Utc>, since: DateTime<Utc>, hours: &[DateTime<Utc>]) -> bool {
    let silence = now - since;
    let (Some(first), Some(end)) = (hours.first(), hours.last()) else { return false };
    if silence <= MIN_SILENCE || hours.len() < MIN_HOURS_WITH_REQUESTS {
        return false;
    }
    if silence > RHYTHM_MEMORY {
        return true;
    }
    let usual = hours.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    *end - *first >= MIN_OBSERVED_TIME && silence > (usual * 2).max(MIN_SILENCE)
}
