//! In which order lists come, where there is more than one that makes sense.

use async_graphql::{Enum, InputObject};

use crate::domain::order::By;

/// Which end of an order comes first.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OrderDirection {
    /// The smallest, the earliest, A before Z. Rows without a value come last.
    #[default]
    Asc,
    /// The same in reverse.
    Desc,
}

/// What accounts can be ordered by.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserOrderField {
    /// When they were made.
    CreatedAt,
    /// When they last changed.
    UpdatedAt,
    /// The name to sign in with, in any case.
    UserName,
    /// The name for people to read, in any case.
    DisplayName,
}

/// What groups can be ordered by.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupOrderField {
    /// When they were made.
    CreatedAt,
    /// When they last changed.
    UpdatedAt,
    /// The name, in any case.
    DisplayName,
}

/// What roles can be ordered by.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleOrderField {
    /// When they were made.
    CreatedAt,
    /// The name, in any case.
    Name,
    /// The priority; roles without one come last.
    Priority,
}

/// An order of accounts.
#[derive(InputObject)]
pub struct UserOrder {
    /// What to order by; ties are broken by age.
    field: UserOrderField,
    /// Which end comes first.
    #[graphql(default)]
    direction: OrderDirection,
}

/// An order of groups.
#[derive(InputObject)]
pub struct GroupOrder {
    /// What to order by; ties are broken by age.
    field: GroupOrderField,
    /// Which end comes first.
    #[graphql(default)]
    direction: OrderDirection,
}

/// An order of roles.
#[derive(InputObject)]
pub struct RoleOrder {
    /// What to order by; ties are broken by age.
    field: RoleOrderField,
    /// Which end comes first.
    #[graphql(default)]
    direction: OrderDirection,
}

/// What to order by (none = by age), and whether the greatest comes first.
pub type Order = (Option<By>, bool);

impl From<UserOrder> for Order {
    fn from(order: UserOrder) -> Self {
        let by = match order.field {
            UserOrderField::CreatedAt => None,
            UserOrderField::UpdatedAt => Some(By::Updated),
            UserOrderField::UserName => Some(By::UserName),
            UserOrderField::DisplayName => Some(By::DisplayName),
        };
        (by, order.direction == OrderDirection::Desc)
    }
}

impl From<GroupOrder> for Order {
    fn from(order: GroupOrder) -> Self {
        let by = match order.field {
            GroupOrderField::CreatedAt => None,
            GroupOrderField::UpdatedAt => Some(By::Updated),
            GroupOrderField::DisplayName => Some(By::DisplayName),
        };
        (by, order.direction == OrderDirection::Desc)
    }
}

impl From<RoleOrder> for Order {
    fn from(order: RoleOrder) -> Self {
        let by = match order.field {
            RoleOrderField::CreatedAt => None,
            RoleOrderField::Name => Some(By::RoleName),
            RoleOrderField::Priority => Some(By::Priority),
        };
        (by, order.direction == OrderDirection::Desc)
    }
}
