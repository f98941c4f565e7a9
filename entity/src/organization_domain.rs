//! The domains that belong to an organization.

use sea_orm::entity::prelude::*;

use crate::notes::{TableNotes, UniqueIndex};

/// How it is known that a domain belongs to the organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum DomainState {
    /// An administrator says so.
    #[sea_orm(string_value = "ASSERTED")]
    Asserted,
    /// The DNS has the record that this server asked for.
    #[sea_orm(string_value = "PROVEN")]
    Proven,
    /// It was proven, and the DNS does not have the record any more.
    #[sea_orm(string_value = "LOST")]
    Lost,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "organization_domain")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// folded, with the letters of its language
    pub name: String,
    pub state: DomainState,
    /// what the record in the DNS must say
    pub challenge: String,
    /// the name in the form of the DNS, while it is proven: unique over all organizations
    pub proven_name: Option<String>,
    pub created_at: DateTimeUtc,
    pub proven_at: Option<DateTimeUtc>,
    /// since when the record is missing
    pub lost_at: Option<DateTimeUtc>,
    /// when the DNS answered last
    pub checked_at: Option<DateTimeUtc>,
    /// why the DNS did not answer since then
    pub check_error: Option<String>,
    pub next_check_at: Option<DateTimeUtc>,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    unique: &[
        UniqueIndex {
            name: "organization_domain_name",
            columns: "organization_domain.organization_id, organization_domain.name",
            field: "name",
        },
        UniqueIndex {
            name: "organization_domain_proven",
            columns: "organization_domain.proven_name",
            field: "provenName",
        },
    ],
    not_personal: &[(
        &["name", "state", "challenge", "proven_name", "check_error"],
        "names of a company's domains, and what the DNS says of them",
    )],
    ..TableNotes::of("organization_domain")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
