//! Streams of security event tokens: what a destination of that kind has beyond the others.

use sea_orm::entity::prelude::*;

use crate::notes::TableNotes;

/// How the events about sessions, credentials and accounts name their subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum SubjectFormat {
    /// By the account's id.
    #[sea_orm(string_value = "OPAQUE")]
    Opaque,
    /// By the issuer of the tokens and the account's id.
    #[sea_orm(string_value = "ISS_SUB")]
    IssSub,
    /// By the account's e-mail address.
    #[sea_orm(string_value = "EMAIL")]
    Email,
}

/// What the tokens of a stream are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum SigningAlgorithm {
    /// RSA with 2048 bits.
    #[sea_orm(string_value = "RS256")]
    Rs256,
    /// The curve P-256.
    #[sea_orm(string_value = "ES256")]
    Es256,
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "event_stream")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub destination_id: Uuid,
    /// the receiver of the tokens (`aud`)
    pub audience: String,
    /// the types of events that the receiver requested; none = all
    pub events_requested: Option<Json>,
    pub subject_format: SubjectFormat,
    pub signing_algorithm: SigningAlgorithm,
    /// the key pairs, the oldest first: public half, sealed private half, since and until when
    pub signing_keys: Json,
    /// the header with which the receiver wants to be called, sealed
    pub push_authorization: Option<Vec<u8>>,
    /// the API key with which the receiver polls; none = only administrators' keys do
    pub receiver_key_id: Option<Uuid>,
    /// when the receiver last asked for a verification
    pub verified_at: Option<DateTimeUtc>,
    /// the status that the receiver is to be told, because it did not ask for it
    pub notice: Option<String>,
    pub notice_reason: Option<String>,
    /// names the token that tells it
    pub notice_id: Option<Uuid>,
    pub notice_at: Option<DateTimeUtc>,
    /// how often it was tried to tell
    pub notice_tries: i32,
}

/// What is said of the table.
pub const NOTES: TableNotes = TableNotes {
    not_personal: &[
        (
            &[
                "audience",
                "events_requested",
                "subject_format",
                "signing_algorithm",
                "signing_keys",
            ],
            "settings of a company, and keys",
        ),
        (
            &["push_authorization", "notice", "notice_reason"],
            "a sealed secret of a receiver, and sentences of ours",
        ),
    ],
    ..TableNotes::of("event_stream")
};

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
