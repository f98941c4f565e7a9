//! The only ways to a raw statement, outside the database layer and the ledger.
//!
//! A statement is about one organization, whose id is bound as `$1` here and nowhere else; or it
//! is about all of them, which its method's name and its reason say. `clippy.toml` forbids to make
//! a [`Statement`] in another way.

use sea_orm::{Statement, Value};
use uuid::Uuid;

use super::{App, Cx, Tx};
use crate::db::SqlBuilder;

impl App {
    /// A statement about `organization`, which is its `$1`; `values` are `$2` and so on.
    pub fn statement(
        &self,
        organization: Uuid,
        text: impl Into<String>,
        values: impl IntoIterator<Item = Value>,
    ) -> Statement {
        let text = text.into();
        debug_assert!(names_organization(&text), "the organization is not compared: {text}");
        let values = std::iter::once(organization.into()).chain(values);
        #[allow(clippy::disallowed_methods, reason = "the organization is bound here")]
        Statement::from_sql_and_values(self.store.backend(), text, values)
    }

    /// A statement over the rows of every organization, for work that looks for what is due
    /// anywhere, or that counts for the operator. What it finds names its organization, and is
    /// changed in the context of that one. `values` are `$1` and so on.
    pub fn statement_for_all_organizations(
        &self,
        text: impl Into<String>,
        values: impl IntoIterator<Item = Value>,
        reason: &'static str,
    ) -> Statement {
        let text = text.into();
        tracing::trace!(reason, text, "a statement about all organizations");
        #[allow(clippy::disallowed_methods, reason = "the caller says why it is for all")]
        Statement::from_sql_and_values(self.store.backend(), text, values)
    }
}

impl Cx {
    /// A raw statement about this organization, which is its `$1`; `values` are `$2` and so on.
    pub fn statement(
        &self,
        text: impl Into<String>,
        values: impl IntoIterator<Item = Value>,
    ) -> Statement {
        self.app.statement(self.organization, text, values)
    }

    /// The beginning of a statement about this organization, which is its `$1`; `values` are `$2`
    /// and so on, and more can be bound. [`Cx::build_statement`] ends it.
    pub fn sql(&self, values: impl IntoIterator<Item = Value>) -> SqlBuilder {
        SqlBuilder::with_values(std::iter::once(self.organization.into()).chain(values))
    }

    /// The statement that was begun by [`Cx::sql`].
    pub fn build_statement(&self, sql: SqlBuilder) -> Statement {
        let (text, values) = sql.into_parts();
        let mut values = values.into_iter();
        let first = values.next();
        debug_assert_eq!(first, Some(self.organization.into()), "begun by another: {text}");
        self.statement(text, values)
    }
}

impl Tx<'_> {
    /// [`Cx::statement`] for this write's organization.
    pub fn statement(
        &self,
        text: impl Into<String>,
        values: impl IntoIterator<Item = Value>,
    ) -> Statement {
        self.cx.statement(text, values)
    }

    /// [`Cx::sql`] for this write's organization.
    pub fn sql(&self, values: impl IntoIterator<Item = Value>) -> SqlBuilder {
        self.cx.sql(values)
    }

    /// [`Cx::build_statement`].
    pub fn build_statement(&self, sql: SqlBuilder) -> Statement {
        self.cx.build_statement(sql)
    }
}

/// Whether the rows that a statement reads or changes are compared with the organization `$1`, or
/// the rows that it inserts belong to it.
fn names_organization(text: &str) -> bool {
    let followed = |before: &str| {
        text.match_indices(before).any(|(at, _)| {
            let rest = text.get(at + before.len()..).unwrap_or_default();
            !rest.starts_with(|next: char| next.is_ascii_digit())
        })
    };
    followed("organization_id = $1")
        || (text.starts_with("INSERT INTO ")
            && text.contains("(organization_id, ")
            && (followed("VALUES ($1") || followed("SELECT $1")))
}

#[cfg(test)]
mod tests {
    use super::names_organization;

    #[test]
    fn organization_must_be_compared() {
        for text in [
            "SELECT 1 FROM failure WHERE organization_id = $1 AND id = $2",
            "SELECT 1 FROM failure f WHERE f.id = $2 AND f.organization_id = $1",
            "INSERT INTO lease (organization_id, name) VALUES ($1, $2)",
            "INSERT INTO membership (organization_id, id) SELECT $1, $2",
        ] {
            assert!(names_organization(text), "{text}");
        }
        for text in [
            "SELECT 1 FROM failure WHERE id = $2",
            "SELECT 1 FROM failure WHERE organization_id = $10",
            "SELECT 1 FROM failure WHERE organization_id = $2 AND id = $1",
            "SELECT organization_id, $1 FROM failure",
            "INSERT INTO lease (organization_id, name) VALUES ($2, $1)",
            "INSERT INTO task_lease (name, holder) VALUES ($1, $2)",
        ] {
            assert!(!names_organization(text), "{text}");
        }
    }
}
