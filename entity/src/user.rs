//! An account.

use sea_orm::entity::prelude::*;

use crate::notes::{PSEUDONYM, PersonalColumns, TableNotes, UniqueIndex};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "user")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// the owner; none = made by hand
    pub connection_id: Option<Uuid>,
    pub external_id: Option<String>,
    pub user_name: String,
    /// folded; unique among the live accounts of an organization
    pub user_name_key: String,
    pub display_name: Option<String>,
    pub display_name_key: Option<String>,
    pub active: bool,
    /// a break-glass account: SCIM cannot change it
    pub protected: bool,
    /// the attributes as served (JSON object)
    pub document: String,
    /// the same, folded for filters
    pub search: Json,
    pub version: i64,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    pub deleted_at: Option<DateTimeUtc>,
    pub purge_after: Option<DateTimeUtc>,
    /// when its personal data was erased for good
    pub purged_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    unique: &[
        UniqueIndex { name: "user_name_live", columns: "user.user_name_key", field: "userName" },
        UniqueIndex {
            name: "user_external_live",
            columns: "user.external_id",
            field: "externalId",
        },
    ],
    personal: Some(PersonalColumns {
        user: "id",
        columns: &[
            ("external_id", Some("NULL")),
            ("user_name", Some(PSEUDONYM)),
            ("user_name_key", Some(PSEUDONYM)),
            ("display_name", Some("NULL")),
            ("display_name_key", Some("NULL")),
            ("document", Some("'{}'")),
            ("search", Some("'{}'")),
        ],
    }),
    ..TableNotes::of("user")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
