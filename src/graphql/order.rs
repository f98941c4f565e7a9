//! The orders of the lists that can be sorted in more than one way.

use async_graphql::{Enum, InputObject};

use crate::domain::paging::order::OrderBy;

/// The direction of an order.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OrderDirection {
    /// Ascending: the smallest or earliest first, A before Z. Rows without a value come last.
    #[default]
    Asc,
    /// Descending: the reverse of ASC.
    Desc,
}

/// The fields by which accounts can be sorted.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserOrderField {
    /// The time of creation.
    CreatedAt,
    /// The time of the last change.
    UpdatedAt,
    /// The name to sign in with, regardless of case.
    UserName,
    /// The name for people to read, regardless of case.
    DisplayName,
}

/// The fields by which groups can be sorted.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupOrderField {
    /// The time of creation.
    CreatedAt,
    /// The time of the last change.
    UpdatedAt,
    /// The name, regardless of case.
    DisplayName,
}

/// The fields by which roles can be sorted.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleOrderField {
    /// The time of creation.
    CreatedAt,
    /// The name, regardless of case.
    Name,
    /// The priority; roles without one come last.
    Priority,
}

/// The order of a list of accounts.
#[derive(InputObject)]
pub struct UserOrder {
    /// The field to sort by. Rows with equal values are sorted by age.
    field: UserOrderField,
    /// The direction of the order.
    #[graphql(default)]
    direction: OrderDirection,
}

/// The order of a list of groups.
#[derive(InputObject)]
pub struct GroupOrder {
    /// The field to sort by. Rows with equal values are sorted by age.
    field: GroupOrderField,
    /// The direction of the order.
    #[graphql(default)]
    direction: OrderDirection,
}

/// The order of a list of roles.
#[derive(InputObject)]
pub struct RoleOrder {
    /// The field to sort by. Rows with equal values are sorted by age.
    field: RoleOrderField,
    /// The direction of the order.
    #[graphql(default)]
    direction: OrderDirection,
}

/// The field to sort by (none = by age), and whether the order is descending.
pub type ListOrder = (Option<OrderBy>, bool);

impl From<UserOrder> for ListOrder {
    fn from(order: UserOrder) -> Self {
        let by = match order.field {
            UserOrderField::CreatedAt => None,
            UserOrderField::UpdatedAt => Some(OrderBy::Updated),
            UserOrderField::UserName => Some(OrderBy::UserName),
            UserOrderField::DisplayName => Some(OrderBy::DisplayName),
        };
        (by, order.direction == OrderDirection::Desc)
    }
}

impl From<GroupOrder> for ListOrder {
    fn from(order: GroupOrder) -> Self {
        let by = match order.field {
            GroupOrderField::CreatedAt => None,
            GroupOrderField::UpdatedAt => Some(OrderBy::Updated),
            GroupOrderField::DisplayName => Some(OrderBy::DisplayName),
        };
        (by, order.direction == OrderDirection::Desc)
    }
}

impl From<RoleOrder> for ListOrder {
    fn from(order: RoleOrder) -> Self {
        let by = match order.field {
            RoleOrderField::CreatedAt => None,
            RoleOrderField::Name => Some(OrderBy::RoleName),
            RoleOrderField::Priority => Some(OrderBy::Priority),
        };
        (by, order.direction == OrderDirection::Desc)
    }
}
