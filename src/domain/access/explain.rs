//! Why somebody holds a role, and if not, what is missing.

use entity::role_mapping::MatchAttribute;
use uuid::Uuid;

use super::{Holding, Moment, of_users};
use crate::context::Cx;
use crate::domain::mapping::{self, Mapping};
use crate::domain::{role, user};
use crate::error::Result;

/// The most gaps that are named.
const MAX_GAPS: usize = 100;

/// Why somebody holds a role, or does not.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// All the ways in which they hold it; none = they do not.
    pub holdings: Vec<Holding>,
    /// What is missing, where they do not hold it.
    pub gaps: Vec<Gap>,
}

/// Something that is missing for somebody to hold a role.
#[derive(Debug, Clone, PartialEq)]
pub enum Gap {
    /// The account is suspended: it holds nothing.
    Suspended,
    /// A mapping gives the role to members of a group that the account is not in.
    NotAMember(Mapping),
    /// A mapping gives the role to everybody of a connection that does not own the account.
    OtherConnection(Mapping),
    /// A mapping waits for a group that has not arrived.
    Waiting(Mapping),
    /// The planned end of a mapping has passed.
    Expired(Mapping),
    /// Nothing at all gives the role to anybody through a group, and there is no grant.
    NothingGivesIt,
}

/// Why `user` holds `role`, or what is missing.
pub async fn explain(cx: &Cx, user: Uuid, role: Uuid) -> Result<Explanation> {
    let account = user::get(cx, user).await?;
    let role = role::get(cx, role).await?.id;
    let mut holdings = of_users(cx, &[user], Moment::Now).await?.remove(&user).unwrap_or_default();
    holdings.retain(|holding| holding.role_id == role);
    let mut gaps = Vec::new();
    if holdings.is_empty() {
        if !account.active {
            gaps.push(Gap::Suspended);
        }
        let now = cx.app.clock.now();
        let mappings = mapping::of_roles(cx, &[role]).await?;
        if mappings.is_empty() {
            gaps.push(Gap::NothingGivesIt);
        }
        gaps.extend(mappings.into_iter().take(MAX_GAPS).map(|row| match &row {
            row if row.expires_at.is_some_and(|at| at <= now) => Gap::Expired(row.clone()),
            row if row.match_attribute == Some(MatchAttribute::Everybody) => Gap::OtherConnection(row.clone()),
            row if row.group_id.is_none() => Gap::Waiting(row.clone()),
            _ => Gap::NotAMember(row),
        }));
        if !account.active {
            // Whoever is suspended may well be in all the groups: only membership itself can tell.
            let held = super::of_suspended(cx, user).await?;
            gaps.retain(|gap| match gap {
                Gap::NotAMember(row) | Gap::OtherConnection(row) => !held.contains(&row.mapping_id),
                _ => true,
            });
        }
    }
    Ok(Explanation { holdings, gaps })
}
