//! Why an account holds a role, or what is missing.

use entity::role_mapping::MatchAttribute;
use uuid::Uuid;

use super::{AsOf, RoleSource, of_users};
use crate::context::Cx;
use crate::domain::access::role;
use crate::domain::access::role_mapping;
use crate::domain::access::role_mapping::Mapping;
use crate::domain::directory::user;
use crate::error::Result;

/// The most gaps that are listed.
const MAX_GAPS: usize = 100;

/// Why an account holds a role, or does not hold it.
#[derive(Debug, Clone, PartialEq)]
pub struct HoldingExplanation {
    /// Every way in which it holds the role; empty if it does not.
    pub holdings: Vec<RoleSource>,
    /// What is missing; empty if it holds the role.
    pub gaps: Vec<RoleGap>,
}

/// Something that is missing for an account to hold a role.
#[derive(Debug, Clone, PartialEq)]
pub enum RoleGap {
    /// The account is suspended, so it holds no role.
    Suspended,
    /// A mapping gives the role to members of a group that the account is not in.
    NotAMember(Mapping),
    /// A mapping gives the role to all users of a connection that does not own the account.
    OtherConnection(Mapping),
    /// A mapping waits for a group that does not exist yet.
    Waiting(Mapping),
    /// The planned end of a mapping has passed.
    Expired(Mapping),
    /// There is no mapping to the role, and the account has no grant of it.
    NothingGivesIt,
}

/// Why `user` holds `role`, or what is missing.
pub async fn explain_access(cx: &Cx, user: Uuid, role: Uuid) -> Result<HoldingExplanation> {
    let account = user::get_user(cx, user).await?;
    let role = role::get_role(cx, role).await?.id;
    let mut holdings = of_users(cx, &[user], AsOf::Now).await?.remove(&user).unwrap_or_default();
    holdings.retain(|holding| holding.role_id == role);
    let mut gaps = Vec::new();
    if holdings.is_empty() {
        if !account.active {
            gaps.push(RoleGap::Suspended);
        }
        let now = cx.app.clock.now();
        let mappings = role_mapping::of_roles(cx, &[role]).await?;
        if mappings.is_empty() {
            gaps.push(RoleGap::NothingGivesIt);
        }
        gaps.extend(mappings.into_iter().take(MAX_GAPS).map(|row| match &row {
            row if row.expires_at.is_some_and(|at| at <= now) => RoleGap::Expired(row.clone()),
            row if row.match_attribute == Some(MatchAttribute::AllUsers) => {
                RoleGap::OtherConnection(row.clone())
            }
            row if row.group_id.is_none() => RoleGap::Waiting(row.clone()),
            _ => RoleGap::NotAMember(row),
        }));
        if !account.active {
            // A suspended account may be a member of the groups. A mapping that would give it the
            // role without the suspension is no gap.
            let held = super::of_suspended(cx, user).await?;
            gaps.retain(|gap| match gap {
                RoleGap::NotAMember(row) | RoleGap::OtherConnection(row) => {
                    !held.contains(&row.mapping_id)
                }
                _ => true,
            });
        }
    }
    Ok(HoldingExplanation { holdings, gaps })
}
