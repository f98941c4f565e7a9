//! The accounts of several sources, sorted by id. Each source is read along an index, no farther
//! than needed.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult};
use uuid::Uuid;

use super::AsOf;
use crate::context::Cx;
use crate::context::SqlBuilder;
use crate::error::Result;

/// The most groups that get an arm each; for more groups the database chooses the plan. SQLite
/// allows at most 500 SELECTs in one UNION.
const ONE_BY_ONE: usize = 100;

/// One statement of several arms.
#[derive(Debug)]
pub(super) struct AccountUnion {
    sql: SqlBuilder,
    /// Conditions on `{id}`.
    bounds: String,
    direction: &'static str,
    limit: u64,
    arms: Vec<String>,
}

#[derive(FromQueryResult)]
struct UnionAccount {
    id: Uuid,
}

impl AccountUnion {
    /// The first `limit` accounts between two ids, both exclusive. The arms refer to the values
    /// of `sql` by number.
    pub fn new(
        sql: SqlBuilder,
        low: Option<Uuid>,
        high: Option<Uuid>,
        descending: bool,
        limit: u64,
    ) -> Self {
        let direction = if descending { "DESC" } else { "ASC" };
        let mut walk = Self { sql, bounds: String::new(), direction, limit, arms: Vec::new() };
        for (operator, bound) in [(">", low), ("<", high)] {
            if let Some(bound) = bound {
                let bound = walk.sql.bind(bound);
                walk.bounds.push_str(&format!(" AND {{id}} {operator} {bound}"));
            }
        }
        walk
    }

    /// SQL for "is one of these ids".
    pub fn bind_ids(&mut self, backend: DbBackend, ids: &BTreeSet<Uuid>) -> String {
        self.sql.bind_ids(backend, ids)
    }

    /// Adds a source: the expression of an account's id, and the SQL after FROM, which ends with a
    /// WHERE clause.
    pub fn add_arm(&mut self, id: &str, from: &str) {
        let Self { bounds, direction, limit, .. } = self;
        let bounds = bounds.replace("{id}", id);
        let arm = format!(
            "SELECT * FROM (SELECT DISTINCT {id} AS id FROM {from}{bounds} ORDER BY {id} \
             {direction} LIMIT {limit}) AS arm"
        );
        self.arms.push(arm);
    }

    /// Adds the members `m` of these groups, with the SQL `join` for further tables. Each of
    /// `parts` is a condition on the interval that an index serves.
    pub fn add_members(
        &mut self,
        backend: DbBackend,
        groups: &BTreeSet<Uuid>,
        join: &str,
        parts: &[String],
    ) {
        let which: Vec<String> = match groups.len() {
            0 => return,
            1..=ONE_BY_ONE => {
                groups.iter().map(|group| format!("= {}", self.sql.bind(*group))).collect()
            }
            _ => vec![self.bind_ids(backend, groups)],
        };
        for which in which {
            for part in parts {
                let from = format!(
                    "membership m {join} WHERE m.organization_id = $1 AND m.group_id {which} AND \
                     {part}"
                );
                self.add_arm("m.user_id", &from);
            }
        }
    }

    /// The accounts, in the order of their ids.
    pub async fn read_accounts<C: ConnectionTrait>(
        mut self,
        cx: &Cx,
        db: &C,
        moment: AsOf,
    ) -> Result<BTreeSet<Uuid>> {
        if self.arms.is_empty() {
            return Ok(BTreeSet::new());
        }
        let text = moment.fill_template(&self.arms.join(" UNION "), cx.backend());
        self.sql.push(&format!("{text} ORDER BY 1 {} LIMIT {}", self.direction, self.limit));
        let rows = UnionAccount::find_by_statement(cx.build_statement(self.sql));
        Ok(rows.all(db).await?.into_iter().map(|row| row.id).collect())
    }
}
