//! The latest sign-in of each person through a connection of the kind ASSERTION.

use sea_orm::entity::prelude::*;

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

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
