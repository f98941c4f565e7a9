//! Which index of live users or groups answers a statement.
//!
//! PostgreSQL plans shared statements once, perhaps while a table is empty. Then several indexes
//! that begin with the organization look equally good, and PostgreSQL may choose one by which it
//! reads all rows of the organization. So on PostgreSQL each index of live rows serves only
//! statements that select it: its condition contains a comparison that is always true and that no
//! statement makes by accident. A document is a JSON object, and so never one of these words.

use sea_orm::DbBackend;
use sea_orm::sea_query::Expr;

/// An index of live rows, by its first columns after the organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveIndex {
    /// The folded `userName`.
    UserName,
    /// The folded display name, then the id.
    DisplayName,
    /// The instant of the last change, then the id.
    Change,
    /// The owning connection, then the id.
    Owner,
}

/// The condition on live users, by the table's own name, under which their folded `userName` is
/// found by its index.
pub fn found_by_user_name(backend: DbBackend) -> Expr {
    match backend {
        DbBackend::Postgres => Expr::cust(r#""user"."document" <> 'by userName'"#),
        _ => Expr::value(true),
    }
}

impl LiveIndex {
    /// ` AND …`, a condition on the row `r` that only this index fulfils.
    pub fn index_condition(self, backend: DbBackend) -> &'static str {
        match (backend, self) {
            (DbBackend::Postgres, Self::UserName) => " AND r.document <> 'by userName'",
            (DbBackend::Postgres, Self::DisplayName) => " AND r.document <> 'by displayName'",
            (DbBackend::Postgres, Self::Change) => " AND r.document <> 'by change'",
            (DbBackend::Postgres, Self::Owner) => " AND r.document <> 'by owner'",
            // SQLite plans each statement by its text alone and uses the index that fits most of
            // it.
            _ => "",
        }
    }
}
