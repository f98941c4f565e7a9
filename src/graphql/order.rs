//! The orders of lists: an input of a field and a direction for each kind of row.

use async_graphql::Enum;

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

/// An order as the domain takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListOrder {
    /// The field to sort by.
    pub by: OrderBy,
    /// Whether the greatest or latest come first.
    pub descending: bool,
}

impl ListOrder {
    /// The order of creation, the oldest first.
    pub const OLDEST_FIRST: Self = Self { by: OrderBy::Age, descending: false };
    /// The order of creation, the latest first.
    pub const NEWEST_FIRST: Self = Self { by: OrderBy::Age, descending: true };
}

/// Declares the order of a list: its input, and the fields to sort by. A list of one file may have
/// it there.
macro_rules! list_order {
    (
        $(#[$order_meta:meta])* $order:ident,
        $(#[$field_meta:meta])* $field:ident { $($(#[$doc:meta])* $name:ident = $by:expr,)+ }
    ) => {
        $(#[$field_meta])*
        #[derive(async_graphql::Enum, Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(clippy::enum_variant_names, reason = "the names of the schema's fields")]
        pub enum $field {
            $($(#[$doc])* $name,)+
        }

        $(#[$order_meta])*
        #[derive(async_graphql::InputObject, Debug, Clone, Copy)]
        pub struct $order {
            /// The field to sort by. Rows with equal values are sorted by age.
            field: $field,
            /// The direction of the order.
            #[graphql(default)]
            direction: $crate::graphql::order::OrderDirection,
        }

        impl From<$order> for $crate::graphql::order::ListOrder {
            fn from(order: $order) -> Self {
                let by = match order.field {
                    $($field::$name => $by,)+
                };
                let descending =
                    order.direction == $crate::graphql::order::OrderDirection::Desc;
                Self { by, descending }
            }
        }
    };
}

pub(super) use list_order;

list_order! {
    /// The order of a list of accounts.
    UserOrder,
    /// The fields by which accounts can be sorted.
    UserOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
        /// The time of the last change.
        UpdatedAt = OrderBy::Updated,
        /// The name to sign in with, regardless of case.
        UserName = OrderBy::UserName,
        /// The name for people to read, regardless of case.
        DisplayName = OrderBy::DisplayName,
    }
}

list_order! {
    /// The order of a list of groups.
    GroupOrder,
    /// The fields by which groups can be sorted.
    GroupOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
        /// The time of the last change.
        UpdatedAt = OrderBy::Updated,
        /// The name, regardless of case.
        DisplayName = OrderBy::DisplayName,
    }
}

list_order! {
    /// The order of a list of roles.
    RoleOrder,
    /// The fields by which roles can be sorted.
    RoleOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
        /// The name, regardless of case.
        Name = OrderBy::RoleName,
        /// The priority; roles without one come last.
        Priority = OrderBy::Priority,
    }
}

list_order! {
    /// The order of a list of role mappings.
    RoleMappingOrder,
    /// The fields by which role mappings can be sorted.
    RoleMappingOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
        /// The planned end; mappings without one come last.
        ExpiresAt = OrderBy::Expires,
    }
}

list_order! {
    /// The order of a list of role grants.
    RoleGrantOrder,
    /// The fields by which role grants can be sorted.
    RoleGrantOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
        /// The planned end; grants without one come last.
        ExpiresAt = OrderBy::Expires,
    }
}

list_order! {
    /// The order of a list of connections.
    IdentitySourceOrder,
    /// The fields by which connections can be sorted.
    IdentitySourceOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
        /// The time of the last change of the settings.
        UpdatedAt = OrderBy::Updated,
        /// The name, capital letters before small ones.
        Name = OrderBy::Name,
    }
}

list_order! {
    /// The order of a list of setup links.
    SetupLinkOrder,
    /// The fields by which setup links can be sorted.
    SetupLinkOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
        /// When the link ends.
        ExpiresAt = OrderBy::Expires,
    }
}

list_order! {
    /// The order of a list of API keys.
    ApiKeyOrder,
    /// The fields by which API keys can be sorted.
    ApiKeyOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
        /// The name, capital letters before small ones.
        Name = OrderBy::Name,
        /// The end of the key; keys without one come last.
        ExpiresAt = OrderBy::Expires,
        /// The last use; keys that were never used come last.
        LastUsedAt = OrderBy::LastUsed,
    }
}

list_order! {
    /// The order of the SCIM tokens of a connection.
    ScimTokenOrder,
    /// The fields by which SCIM tokens can be sorted.
    ScimTokenOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
        /// The end of the token; tokens without one come last.
        ExpiresAt = OrderBy::Expires,
        /// The last use; tokens that were never used come last.
        LastUsedAt = OrderBy::LastUsed,
    }
}

list_order! {
    /// The order of a list of deleted accounts.
    DeletedUserOrder,
    /// The fields by which deleted accounts can be sorted.
    DeletedUserOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
        /// The time of the deletion.
        DeletedAt = OrderBy::Deleted,
    }
}

list_order! {
    /// The order of a list of deleted groups.
    DeletedGroupOrder,
    /// The fields by which deleted groups can be sorted.
    DeletedGroupOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
        /// The time of the deletion.
        DeletedAt = OrderBy::Deleted,
    }
}

list_order! {
    /// The order of a list of adoption proposals.
    AdoptionProposalOrder,
    /// The fields by which adoption proposals can be sorted.
    AdoptionProposalOrderField {
        /// The first attempt of the connection.
        FirstAt = OrderBy::Age,
        /// The last attempt of the connection.
        LastAt = OrderBy::LastAt,
    }
}

list_order! {
    /// The order of a list of alerts.
    AlertOrder,
    /// The fields by which alerts can be sorted.
    AlertOrderField {
        /// When it was raised for the first time.
        CreatedAt = OrderBy::Age,
    }
}

list_order! {
    /// The order of the request log.
    RequestLogEntryOrder,
    /// The fields by which the request log can be sorted.
    RequestLogEntryOrderField {
        /// The first request of the entry.
        FirstAt = OrderBy::Age,
        /// The last request of the entry.
        LastAt = OrderBy::LastAt,
    }
}

list_order! {
    /// The order of a list of failures.
    FailureOrder,
    /// The fields by which failures can be sorted.
    FailureOrderField {
        /// The first occurrence.
        FirstAt = OrderBy::Age,
        /// The last occurrence.
        LastAt = OrderBy::LastAt,
    }
}

list_order! {
    /// The order of a list of findings.
    FindingOrder,
    /// The fields by which findings can be sorted.
    FindingOrderField {
        /// When it was first seen.
        FirstSeenAt = OrderBy::Age,
        /// When it was last seen.
        LastSeenAt = OrderBy::LastSeen,
    }
}

list_order! {
    /// The order of a list of bulk jobs.
    BulkJobOrder,
    /// The fields by which bulk jobs can be sorted.
    BulkJobOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
    }
}

list_order! {
    /// The order of a list of deletions of all provisioned users.
    DeletionJobOrder,
    /// The fields by which such deletions can be sorted.
    DeletionJobOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
    }
}

list_order! {
    /// The order of a list of sync runs.
    SyncRunOrder,
    /// The fields by which sync runs can be sorted.
    SyncRunOrderField {
        /// The time at which the run was asked for.
        CreatedAt = OrderBy::Age,
    }
}

list_order! {
    /// The order of a list of reconciliations.
    ReconciliationOrder,
    /// The fields by which reconciliations can be sorted.
    ReconciliationOrderField {
        /// The time of the beginning.
        StartedAt = OrderBy::Age,
    }
}

list_order! {
    /// The order of a list of events.
    EventOrder,
    /// The fields by which events can be sorted.
    EventOrderField {
        /// The place in the ledger, which is the order of the changes.
        At = OrderBy::Age,
    }
}

list_order! {
    /// The order of a list of leavers.
    LeaverOrder,
    /// The fields by which leavers can be sorted.
    LeaverOrderField {
        /// The place in the ledger, which is the order in which they left.
        RevokedAt = OrderBy::Age,
    }
}

list_order! {
    /// The order of the access report.
    AccessReportEntryOrder,
    /// The fields by which the access report can be sorted.
    AccessReportEntryOrderField {
        /// The age of the account.
        CreatedAt = OrderBy::Age,
    }
}

list_order! {
    /// The order of the accounts that gain or lose a role.
    AccessMoveOrder,
    /// The fields by which the accounts that gain or lose a role can be sorted.
    AccessMoveOrderField {
        /// The age of the role, then that of the account.
        Role = OrderBy::Age,
    }
}

list_order! {
    /// The order of a list of invitations.
    InvitationOrder,
    /// The fields by which invitations can be sorted.
    InvitationOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
        /// When the invitation ends.
        ExpiresAt = OrderBy::Expires,
    }
}

list_order! {
    /// The order of a list of destinations.
    DestinationOrder,
    /// The fields by which destinations can be sorted.
    DestinationOrderField {
        /// The time of creation.
        CreatedAt = OrderBy::Age,
        /// The time of the last change of the settings.
        UpdatedAt = OrderBy::Updated,
    }
}

list_order! {
    /// The order of a list of deliveries.
    DeliveryOrder,
    /// The fields by which deliveries can be sorted.
    DeliveryOrderField {
        /// The time of the event.
        EventAt = OrderBy::Age,
        /// The last attempt.
        LastAt = OrderBy::LastAt,
    }
}
