//! Proposals: a connection tried to create a person who has an account that it does not own. An
//! administrator decides.

use sea_orm::entity::prelude::*;

use crate::notes::{PersonalColumns, TableNotes};

/// Why the account was not simply linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Cause {
    /// The connection's policy is to propose.
    #[sea_orm(string_value = "POLICY")]
    Policy,
    /// The account belongs to another connection.
    #[sea_orm(string_value = "OWNED")]
    Owned,
    /// The name's domain is none of the organization's verified ones.
    #[sea_orm(string_value = "UNVERIFIED_DOMAIN")]
    UnverifiedDomain,
    /// The account is a break-glass account.
    #[sea_orm(string_value = "PROTECTED")]
    Protected,
}

/// What a person decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum ProposalState {
    /// Nothing yet.
    #[sea_orm(string_value = "PENDING")]
    Pending,
    /// The account became the connection's.
    #[sea_orm(string_value = "ACCEPTED")]
    Accepted,
    /// The account stays what it is.
    #[sea_orm(string_value = "DISMISSED")]
    Dismissed,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "adoption_proposal")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// the connection that wants the account
    pub connection_id: Uuid,
    /// the account
    pub user_id: Uuid,
    pub cause: Cause,
    /// what the connection sent last (JSON object); emptied when accepted and by an erasure
    pub document: Option<String>,
    pub state: ProposalState,
    /// the administrator's reason for the decision
    pub reason: Option<String>,
    /// how often the connection tried
    pub attempts: i64,
    pub first_at: DateTimeUtc,
    pub last_at: DateTimeUtc,
    pub decided_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    personal: Some(PersonalColumns {
        user: "user_id",
        columns: &[("document", Some("NULL")), ("reason", Some("NULL"))],
    }),
    not_personal: &[(&["cause", "state"], "one of a few words")],
    ..TableNotes::of("adoption_proposal")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
