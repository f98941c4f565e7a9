//! What is said of a table beside its model, in the model's file. What follows from it is made from
//! these notes: the errors about unique columns, the erasure of a person's data, and tests that
//! look at all tables.

/// What is said of a table.
#[derive(Debug, Clone, Copy)]
pub struct TableNotes {
    /// The table's name.
    pub table: &'static str,
    /// Which field each of its unique indexes speaks of.
    pub unique: &'static [UniqueIndex],
    /// Its columns with personal data of users, if it has any.
    pub personal: Option<PersonalColumns>,
    /// The other columns with text or bytes, and why an erasure need not empty them.
    pub not_personal: &'static [(&'static [&'static str], &'static str)],
    /// Whether background work adds and removes rows at any time.
    pub is_bookkeeping: bool,
}

impl TableNotes {
    /// A table of which nothing is said but its name.
    pub const fn of(table: &'static str) -> Self {
        Self { table, unique: &[], personal: None, not_personal: &[], is_bookkeeping: false }
    }
}

/// A unique index that writes of clients may meet.
#[derive(Debug, Clone, Copy)]
pub struct UniqueIndex {
    /// The name, which PostgreSQL's error has.
    pub name: &'static str,
    /// The columns as SQLite's error has them.
    pub columns: &'static str,
    /// The field that the client sent.
    pub field: &'static str,
}

/// The columns of a table that hold personal data of users, and what an erasure does to them.
#[derive(Debug, Clone, Copy)]
pub struct PersonalColumns {
    /// The column with the user's id.
    pub user: &'static str,
    /// The personal columns, each with the SQL of its new value; none = the whole row is deleted.
    pub columns: &'static [(&'static str, Option<&'static str>)],
}

/// Stands for a pseudonym that is made from the row's id.
pub const PSEUDONYM: &str = "{pseudonym}";

/// The tables that have no model: raw statements alone read and write them.
pub(crate) const WITHOUT_MODEL: &[TableNotes] = &[
    TableNotes { is_bookkeeping: true, ..TableNotes::of("chain") },
    TableNotes {
        not_personal: &[(&["word"], "the names and ids of groups")],
        ..TableNotes::of("group_word")
    },
    TableNotes {
        not_personal: &[(&["table_name"], "the names of tables")],
        is_bookkeeping: true,
        ..TableNotes::of("name_key_renewal")
    },
    TableNotes {
        not_personal: &[(&["fingerprints"], "digests of the installation's keys")],
        is_bookkeeping: true,
        ..TableNotes::of("replica")
    },
    TableNotes {
        not_personal: &[(&["version"], "the names of migrations")],
        is_bookkeeping: true,
        ..TableNotes::of("seaql_migrations")
    },
    TableNotes {
        not_personal: &[(&["signature"], "a signature over a hash over hashes")],
        is_bookkeeping: true,
        ..TableNotes::of("signed_head")
    },
    TableNotes { is_bookkeeping: true, ..TableNotes::of("unsealed") },
    TableNotes {
        personal: Some(PersonalColumns { user: "user_id", columns: &[("word", None)] }),
        ..TableNotes::of("user_word")
    },
];
