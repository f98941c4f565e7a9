//! How long a connection is usually silent. Some identity providers call every forty minutes, others only when
//! somebody joins or leaves, and nights and weekends are quiet everywhere: so silence is judged against the longest
//! silence that the connection itself is known to keep.

use chrono::{DateTime, Duration, Utc};

/// How far back a rhythm is looked for.
pub const MEMORY: Duration = Duration::days(28);
/// No silence is too long before this.
pub const SHORTEST: Duration = Duration::hours(6);
/// Hours in which something was heard that make a rhythm.
const KNOWN: usize = 5;
/// What is known for less than a week has perhaps only been set up, and its silence is judged by [`MEMORY`] alone.
const WEEK: Duration = Duration::days(7);

/// Whether it is silent for too long, `since` when it could have been heard: more than twice as long as ever between the
/// hours in which it was heard, which are in order.
pub fn too_long(now: DateTime<Utc>, since: DateTime<Utc>, hours: &[DateTime<Utc>]) -> bool {
    let silence = now - since;
    let (Some(first), Some(end)) = (hours.first(), hours.last()) else { return false };
    if silence <= SHORTEST || hours.len() < KNOWN {
        return false;
    }
    if silence > MEMORY {
        return true;
    }
    let usual = hours.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    *end - *first >= WEEK && silence > (usual * 2).max(SHORTEST)
}
