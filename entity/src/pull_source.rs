//! The source that a connection reads identities from, and how it reads.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

/// How this server authenticates to the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Auth {
    /// By a bearer token that an administrator issued there.
    #[sea_orm(string_value = "BEARER")]
    Bearer,
    /// By tokens that an authorization server gives for a client's id and secret.
    #[sea_orm(string_value = "CLIENT_CREDENTIALS")]
    ClientCredentials,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "pull_source")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub connection_id: Uuid,
    /// the base URL, to which `/Users` is appended
    pub base_url: String,
    pub auth: Auth,
    pub token_url: Option<String>,
    pub client_id: Option<String>,
    pub scope: Option<String>,
    /// how many resources are asked for at once
    pub page_size: i32,
    /// which users are read, as a SCIM filter; none = all
    pub user_filter: Option<String>,
    /// how often a full run begins by itself; none = never
    pub interval_minutes: Option<i32>,
    /// how often one that reads only what changed begins in between; none = never
    pub incremental_minutes: Option<i32>,
    /// a run that would remove more than this share of the accounts asks first
    pub shrink_percent: i32,
    /// whether the source was ever seen to list the members of a group
    pub lists_members: bool,
    /// when the next full run begins by itself
    pub next_run_at: Option<DateTimeUtc>,
    /// when the next incremental one does
    pub next_incremental_at: Option<DateTimeUtc>,
    /// what changed there before this instant is known here
    pub complete_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(
        &["base_url", "auth", "token_url", "client_id", "scope", "user_filter"],
        "settings of a company, not of a person",
    )],
    ..TableNotes::of("pull_source")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
