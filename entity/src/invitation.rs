//! Invitations of people: only the hash of a link's secret is stored, and the secret itself,
//! sealed, until its mail was sent.

use sea_orm::entity::prelude::*;

use crate::notes::{PersonalColumns, TableNotes};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "invitation")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// none once it was erased
    pub email: Option<String>,
    /// folded
    pub email_key: Option<String>,
    /// a JSON list of the roles that it grants
    pub role_ids: Json,
    /// a JSON list of the groups that the person joins
    pub group_ids: Json,
    /// the planned end of the grants
    pub access_expires_at: Option<DateTimeUtc>,
    pub reason: Option<String>,
    /// SHA-256 of the whole secret of the link
    pub hash: Vec<u8>,
    pub sealed_secret: Option<Vec<u8>>,
    pub created_at: DateTimeUtc,
    pub expires_at: DateTimeUtc,
    /// how many links were made
    pub sent_count: i32,
    /// when the link was used
    pub redeemed_at: Option<DateTimeUtc>,
    pub accepted_at: Option<DateTimeUtc>,
    /// the account that it was accepted for
    pub user_id: Option<Uuid>,
    pub revoked_at: Option<DateTimeUtc>,
    /// when it was accepted, revoked or closed at its end
    pub closed_at: Option<DateTimeUtc>,
    pub mail_due_at: Option<DateTimeUtc>,
    pub mail_attempts: i32,
    /// what the mail server said last
    pub mail_error: Option<String>,
    pub mailed_at: Option<DateTimeUtc>,
    /// names of the permissions that its maker held; none for those from before this was kept
    pub maker_permissions: Option<Json>,
    /// since when it waits, because it would give more than its maker might
    pub held_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    personal: Some(PersonalColumns {
        user: "user_id",
        columns: &[
            ("email", Some("NULL")),
            ("email_key", Some("NULL")),
            ("reason", Some("NULL")),
            ("mail_error", Some("NULL")),
        ],
    }),
    not_personal: &[
        (&["role_ids", "group_ids"], "ids of roles and groups"),
        (&["maker_permissions"], "names of permissions"),
        (&["hash", "sealed_secret"], "a credential that works once"),
    ],
    ..TableNotes::of("invitation")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
