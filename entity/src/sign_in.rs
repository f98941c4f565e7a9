//! The latest sign-in of each person through a connection of the kind ASSERTION.

use sea_orm::entity::prelude::*;

use crate::notes::{PersonalColumns, TableNotes, UniqueIndex};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sign_in")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub connection_id: Uuid,
    /// keyed hash of the person's id at the identity provider; stays after an erasure
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject_key: Vec<u8>,
    pub user_id: Uuid,
    /// the person's id at the identity provider; none after an erasure
    pub subject: Option<String>,
    pub issued_at: DateTimeUtc,
    pub received_at: DateTimeUtc,
    /// JSON list of the fingerprints of the lists that were issued at `listed_at`
    pub fingerprints: Json,
    /// when the latest list of groups was issued; none = no assertion had one
    pub listed_at: Option<DateTimeUtc>,
    /// whether the latest list of groups was complete
    pub complete: bool,
    /// JSON list of the keys of the groups in the latest list, with their names
    pub groups: Option<Json>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    unique: &[
        UniqueIndex { name: "sign_in_pkey", columns: "sign_in.subject_key", field: "subject" },
        UniqueIndex { name: "sign_in_user", columns: "sign_in.user_id", field: "subject" },
    ],
    // What stays is a keyed hash, by which a sign-in finds that the person was erased.
    personal: Some(PersonalColumns {
        user: "user_id",
        columns: &[
            ("subject", Some("NULL")),
            ("groups", Some("NULL")),
            ("fingerprints", Some("'[]'")),
        ],
    }),
    not_personal: &[(
        &["subject_key"],
        "a keyed hash: without the organization's key it says nothing",
    )],
    ..TableNotes::of("sign_in")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
