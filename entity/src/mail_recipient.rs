//! Addresses that get alerts of an organization by mail.

use sea_orm::entity::prelude::*;

use crate::notes::{TableNotes, UniqueIndex};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "mail_recipient")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub address: String,
    /// in lower case; unique in an organization
    pub address_key: String,
    /// for people to read; may be empty
    pub name: String,
    pub created_at: DateTimeUtc,
    /// what became due by then was mailed
    pub mailed_until: DateTimeUtc,
    /// when the last mail was accepted
    pub mailed_at: Option<DateTimeUtc>,
    /// a test mail was asked for
    pub test_due_at: Option<DateTimeUtc>,
    /// failed attempts since the last mail that was accepted
    pub attempts: i64,
    pub first_failed_at: Option<DateTimeUtc>,
    /// why the last attempt failed
    pub last_error: Option<String>,
    /// no attempt before this instant: one is being made, or the last one failed
    pub next_attempt_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    unique: &[UniqueIndex {
        name: "mail_recipient_address",
        columns: "mail_recipient.address_key",
        field: "address",
    }],
    not_personal: &[(
        &["address", "address_key", "name", "last_error"],
        "an address that administrators chose for alerts; it goes when they remove it",
    )],
    ..TableNotes::of("mail_recipient")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
