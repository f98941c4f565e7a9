//! The budget of each caller per minute, in the cost that
//! [`document_limits`](super::document_limits) computes.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::graphql::execute::RequestError;

type BudgetLimiter =
    RateLimiter<String, DefaultKeyedStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// After this many charges, callers whose budgets are full again are removed from memory.
const CHARGES_PER_SWEEP: u32 = 10_000;

/// What each caller may still spend. A budget is refilled evenly, up to the amount of one minute.
#[derive(Debug)]
pub struct CallerBudgets {
    limiter: Option<BudgetLimiter>,
    per_minute: u32,
    taken: AtomicU32,
}

/// What is left of a caller's budget after a charge.
#[derive(Debug, Clone, Copy)]
pub struct BudgetBalance {
    per_minute: u32,
    left: u32,
}

impl BudgetBalance {
    /// `extensions.budget` of a response.
    pub fn to_value(self) -> async_graphql::Value {
        async_graphql::value!({ "perMinute": self.per_minute, "remaining": self.left })
    }
}

impl CallerBudgets {
    /// `per_minute` is the budget of one caller; 0 = without a limit.
    pub fn new(per_minute: u32) -> Self {
        let quota =
            NonZeroU32::new(per_minute).map(|cost| Quota::per_minute(cost).allow_burst(cost));
        Self {
            limiter: quota.map(|quota| RateLimiter::keyed(quota).with_middleware()),
            per_minute,
            taken: AtomicU32::new(0),
        }
    }

    /// Charges a cost to a caller's budget. Returns what is left; none if there is no limit.
    ///
    /// # Errors
    /// A [`RequestError`] with the seconds until the budget is sufficient again.
    pub fn charge_cost(
        &self,
        principal: &String,
        cost: u64,
    ) -> Result<Option<BudgetBalance>, RequestError> {
        match self.try_charge(principal, cost) {
            Ok(balance) => Ok(balance),
            Err(None) => {
                let most = self.per_minute;
                Err(RequestError::rate_limited(
                    format!("this request costs {cost}; a caller may spend {most} a minute"),
                    60,
                ))
            }
            Err(Some(wait)) => {
                let message = format!("the budget of {} a minute is spent", self.per_minute);
                Err(RequestError::rate_limited(message, wait.as_secs() + 1))
            }
        }
    }

    /// Waits until the caller's budget is sufficient for the next response of a subscription, and
    /// charges it: a caller that spends too much gets its responses later.
    pub async fn wait_and_charge(&self, principal: &String, cost: u64) {
        while let Err(Some(wait)) = self.try_charge(principal, cost) {
            tokio::time::sleep(wait).await;
        }
    }

    /// What is left; or how long to wait, none if the cost exceeds the budget of a whole minute.
    fn try_charge(
        &self,
        principal: &String,
        cost: u64,
    ) -> Result<Option<BudgetBalance>, Option<Duration>> {
        let Some(limiter) = &self.limiter else { return Ok(None) };
        if self.taken.fetch_add(1, Ordering::Relaxed) % CHARGES_PER_SWEEP == CHARGES_PER_SWEEP - 1 {
            limiter.retain_recent();
        }
        let cost =
            NonZeroU32::new(u32::try_from(cost).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
        match limiter.check_key_n(principal, cost) {
            Ok(Ok(state)) => Ok(Some(BudgetBalance {
                per_minute: self.per_minute,
                left: state.remaining_burst_capacity(),
            })),
            Ok(Err(until)) => Err(Some(until.wait_time_from(DefaultClock::default().now()))),
            Err(_) => Err(None),
        }
    }
}
