//! One operation of a bulk job: the input, until it is carried out, and then its result.

use sea_orm::entity::prelude::*;

use crate::notes::{PersonalColumns, TableNotes};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "bulk_line")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub job_id: Uuid,
    /// its number in the uploaded file
    #[sea_orm(primary_key, auto_increment = false)]
    pub line: i64,
    /// the request that the ledger names for what it does
    pub request_id: Uuid,
    /// the account that the input is about, while there is an input
    pub user_id: Option<Uuid>,
    /// the line as it was uploaded; none once it was carried out, or its account was erased
    pub input: Option<Vec<u8>>,
    pub failed: bool,
    /// its result, without messages; none = not carried out yet
    pub result: Option<String>,
    /// the messages of the result, which may repeat values of the input
    pub words: Option<String>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    // A line that was not executed yet; an executed line has no input any more.
    personal: Some(PersonalColumns { user: "user_id", columns: &[("input", Some("NULL"))] }),
    not_personal: &[
        (&["result"], "ids and codes"),
        (&["words"], "may repeat personal data of a line: every erasure empties all of them"),
    ],
    ..TableNotes::of("bulk_line")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
