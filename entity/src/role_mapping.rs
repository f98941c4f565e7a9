//! An interval in which a group is mapped to a role. An edit closes one row and opens the next
//! under the same `mapping_id`.

use sea_orm::entity::prelude::*;

use crate::notes::{TableNotes, UniqueIndex};

/// How a mapping recognizes the group that it waits for; or that it is for all users of a
/// connection instead of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum MatchAttribute {
    /// By the identity provider's id.
    #[sea_orm(string_value = "EXTERNAL_ID")]
    ExternalId,
    /// By display name, folded.
    #[sea_orm(string_value = "DISPLAY_NAME")]
    DisplayName,
    /// It is for all accounts that the connection owns.
    #[sea_orm(string_value = "EVERYBODY")]
    AllUsers,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "role_mapping")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// the mapping, through all its edits
    pub mapping_id: Uuid,
    /// none while it waits for its group
    pub group_id: Option<Uuid>,
    /// where a waiting mapping looks for its group, or whose accounts it is for
    pub connection_id: Option<Uuid>,
    pub match_attribute: Option<MatchAttribute>,
    pub match_value: Option<String>,
    pub role_id: Uuid,
    pub reason: Option<String>,
    pub expires_at: Option<DateTimeUtc>,
    pub since: DateTimeUtc,
    /// set when closed
    pub until: Option<DateTimeUtc>,
    /// the event that opened it
    pub opened_by: Uuid,
    pub closed_by: Option<Uuid>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    unique: &[
        UniqueIndex {
            name: "role_mapping_pair_live",
            columns: "role_mapping.role_id",
            field: "mapping",
        },
        UniqueIndex {
            name: "role_mapping_waiting_live",
            columns: "role_mapping.match_value",
            field: "mapping",
        },
    ],
    not_personal: &[(&["match_attribute", "match_value", "reason"], "about a group and a role")],
    ..TableNotes::of("role_mapping")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
