//! The identity provider whose sign-in assertions a connection accepts, and what they may do.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

/// The form of the assertions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Protocol {
    /// ID tokens of OpenID Connect.
    #[sea_orm(string_value = "OIDC")]
    Oidc,
    /// Responses of SAML 2.0.
    #[sea_orm(string_value = "SAML")]
    Saml,
}

/// Which value of a claimed group tells it apart from others, and finds the group that is known
/// here already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum GroupIdentity {
    /// An id of the identity provider, as SCIM sends it in `externalId`.
    #[sea_orm(string_value = "EXTERNAL_ID")]
    ExternalId,
    /// The id that this server gave the group.
    #[sea_orm(string_value = "ID")]
    Id,
    /// The display name.
    #[sea_orm(string_value = "DISPLAY_NAME")]
    DisplayName,
}

/// Whether a sign-in makes accounts and changes their attributes (just-in-time provisioning).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum AccountCreation {
    /// A sign-in makes no account.
    #[sea_orm(string_value = "NONE")]
    None,
    /// The first sign-in makes the account.
    #[sea_orm(string_value = "CREATE")]
    Create,
    /// The first sign-in makes the account, and later ones update names and e-mail addresses.
    #[sea_orm(string_value = "CREATE_AND_UPDATE")]
    CreateAndUpdate,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "assertion_source")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub connection_id: Uuid,
    pub protocol: Protocol,
    /// What only the protocol's verifier reads: issuer, audiences, keys, names of claims.
    pub settings: Json,
    pub group_identity: GroupIdentity,
    /// A JSON list of the group keys (folded when they are names) that the identity provider
    /// claims: absence counts only for them. None = all groups of the connection.
    pub claimed_groups: Option<Json>,
    /// After this many days without a new sign-in, claims give no roles any more; none = never.
    pub claims_expire_days: Option<i32>,
    pub account_creation: AccountCreation,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[(
        &["protocol", "settings", "group_identity", "claimed_groups", "account_creation"],
        "settings of a company, and names of its groups",
    )],
    ..TableNotes::of("assertion_source")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
