//! How many requests each connection may send in a second, or each address where no client has
//! signed in yet.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use uuid::Uuid;

use crate::error::{Error, Result};

/// Addresses that are remembered before idle ones are forgotten.
const MAX_IDLE_ADDRESSES: usize = 10_000;

/// Requests per second and connection, with bursts of two seconds' worth.
#[derive(Debug)]
pub struct RateLimits(Option<(NonZeroU32, DefaultKeyedRateLimiter<Uuid>)>);

impl RateLimits {
    pub(super) fn new(per_second: u32) -> Self {
        Self(NonZeroU32::new(per_second).map(|rate| {
            let burst = rate.saturating_add(rate.get());
            (burst, RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)))
        }))
    }

    /// Takes one request off a connection's share.
    ///
    /// # Errors
    /// [`Error::Limited`] with the seconds until there is one again.
    pub fn take_request(&self, connection: Uuid) -> Result<()> {
        self.take_many(connection, 1)
    }

    /// Takes the operations of one request, which has been taken, off a connection's share: all or
    /// none. A request for more than the whole share takes all of it.
    ///
    /// # Errors
    /// [`Error::Limited`] with the seconds until there are so many again.
    pub fn take_operations(&self, connection: Uuid, operations: usize) -> Result<()> {
        let further = operations.saturating_sub(1);
        let Some((burst, _)) = &self.0 else { return Ok(()) };
        self.take_many(connection, u32::try_from(further).unwrap_or(u32::MAX).min(burst.get() - 1))
    }

    /// Takes one request off the share of an address. Addresses of one IPv6 network of 64 bits have
    /// one share, because one host has all of them; clients without a known address have one too.
    ///
    /// # Errors
    /// [`Error::Limited`] with the seconds until there is one again.
    pub fn take_from_address(&self, address: Option<IpAddr>) -> Result<()> {
        if let Some((_, limiter)) = &self.0
            && limiter.len() > MAX_IDLE_ADDRESSES
        {
            limiter.retain_recent();
        }
        let key = match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => u128::from(address.to_ipv6_mapped()),
            Some(IpAddr::V6(address)) => u128::from(address) >> 64 << 64,
            None => 0,
        };
        self.take_many(Uuid::from_u128(key), 1)
    }

    fn take_many(&self, connection: Uuid, requests: u32) -> Result<()> {
        let (Some((_, limiter)), Some(requests)) = (&self.0, NonZeroU32::new(requests)) else {
            return Ok(());
        };
        // The outer error is for more than a burst, which is never requested here.
        limiter.check_key_n(&connection, requests).unwrap_or(Ok(())).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Error::Limited { seconds: wait.as_secs() + 1 }
        })
    }
}
