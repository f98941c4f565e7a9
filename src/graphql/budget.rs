//! What one caller may spend in a minute, in the cost that [`limits`](super::limits) computes.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::operation::Fault;

type Limiter = RateLimiter<String, DefaultKeyedStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// Callers are forgotten after so many takings, if by then they have all that they may have anyway.
const SWEEP: u32 = 10_000;

/// What each caller may still spend. Refilled evenly; at most a minute's worth is saved up.
#[derive(Debug)]
pub struct Budgets {
    limiter: Option<Limiter>,
    per_minute: u32,
    taken: AtomicU32,
}

/// What is left after a taking.
#[derive(Debug, Clone, Copy)]
pub struct Balance {
    per_minute: u32,
    left: u32,
}

impl Balance {
    /// `extensions.budget` of an answer.
    pub fn to_value(self) -> async_graphql::Value {
        async_graphql::value!({ "perMinute": self.per_minute, "remaining": self.left })
    }
}

impl Budgets {
    /// 0 = without a limit.
    pub fn new(per_minute: u32) -> Self {
        let quota = NonZeroU32::new(per_minute).map(|cost| Quota::per_minute(cost).allow_burst(cost));
        Self {
            limiter: quota.map(|quota| RateLimiter::keyed(quota).with_middleware()),
            per_minute,
            taken: AtomicU32::new(0),
        }
    }

    /// Takes what something costs off a caller's budget; what is left, if there is a limit.
    ///
    /// # Errors
    /// A [`Fault`] with the seconds until there is enough again.
    pub fn take(&self, principal: &String, cost: u64) -> Result<Option<Balance>, Fault> {
        match self.try_take(principal, cost) {
            Ok(balance) => Ok(balance),
            Err(None) => {
                let most = self.per_minute;
                Err(Fault::limited(format!("this costs {cost}; a caller has {most} a minute"), 60))
            }
            Err(Some(wait)) => {
                let message = format!("the budget of {} a minute is spent", self.per_minute);
                Err(Fault::limited(message, wait.as_secs() + 1))
            }
        }
    }

    /// Waits until a caller can pay for the next answer of a subscription: who spends too much hears later.
    pub async fn pay(&self, principal: &String, cost: u64) {
        while let Err(Some(wait)) = self.try_take(principal, cost) {
            tokio::time::sleep(wait).await;
        }
    }

    /// What is left; or how long to wait, for ever if there will never be enough.
    fn try_take(&self, principal: &String, cost: u64) -> Result<Option<Balance>, Option<Duration>> {
        let Some(limiter) = &self.limiter else { return Ok(None) };
        if self.taken.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            limiter.retain_recent();
        }
        let cost = NonZeroU32::new(u32::try_from(cost).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
        match limiter.check_key_n(principal, cost) {
            Ok(Ok(state)) => Ok(Some(Balance { per_minute: self.per_minute, left: state.remaining_burst_capacity() })),
            Ok(Err(until)) => Err(Some(until.wait_time_from(DefaultClock::default().now()))),
            Err(_) => Err(None),
        }
    }
}
