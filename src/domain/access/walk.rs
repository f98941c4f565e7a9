//! The accounts of several sources by their id, each source walked along an index no farther than is needed.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement, Value};
use uuid::Uuid;

use super::Moment;
use crate::context::Cx;
use crate::domain::list;
use crate::error::Result;

/// Groups that are walked one by one; of more the database decides how. SQLite joins at most 500 selects.
const ONE_BY_ONE: usize = 100;

/// One statement of several arms.
#[derive(Debug)]
pub(super) struct Walk {
    values: Vec<Value>,
    /// Conditions on `{id}`.
    bounds: String,
    direction: &'static str,
    limit: u64,
    arms: Vec<String>,
}

#[derive(FromQueryResult)]
struct Account {
    id: Uuid,
}

impl Walk {
    /// The first `limit` accounts between two ids, both exclusive. The arms name `values` by their numbers.
    pub fn new(values: Vec<Value>, low: Option<Uuid>, high: Option<Uuid>, descending: bool, limit: u64) -> Self {
        let direction = if descending { "DESC" } else { "ASC" };
        let mut walk = Self { values, bounds: String::new(), direction, limit, arms: Vec::new() };
        for (operator, bound) in [(">", low), ("<", high)] {
            if let Some(bound) = bound {
                let number = walk.value(bound.into());
                walk.bounds.push_str(&format!(" AND {{id}} {operator} ${number}"));
            }
        }
        walk
    }

    fn value(&mut self, value: Value) -> usize {
        self.values.push(value);
        self.values.len()
    }

    /// SQL for "is one of these ids".
    pub fn among(&mut self, backend: DbBackend, ids: &BTreeSet<Uuid>) -> String {
        let number = self.value(list::ids(ids));
        list::among(backend, number)
    }

    /// One source: the expression of an account's id, and what follows FROM, with a WHERE at its end.
    pub fn arm(&mut self, id: &str, from: &str) {
        let Self { bounds, direction, limit, .. } = self;
        let bounds = bounds.replace("{id}", id);
        let arm = format!(
            "SELECT * FROM (SELECT DISTINCT {id} AS id FROM {from}{bounds} ORDER BY {id} {direction} LIMIT {limit}) AS arm"
        );
        self.arms.push(arm);
    }

    /// The members `m` of these groups, joined with what `join` says. Each of `parts` is a condition on the interval
    /// for which there is an index.
    pub fn members(&mut self, backend: DbBackend, groups: &BTreeSet<Uuid>, join: &str, parts: &[String]) {
        let which: Vec<String> = match groups.len() {
            0 => return,
            1..=ONE_BY_ONE => groups.iter().map(|group| format!("= ${}", self.value((*group).into()))).collect(),
            _ => vec![self.among(backend, groups)],
        };
        for which in which {
            for part in parts {
                let from =
                    format!("membership m {join} WHERE m.organization_id = $1 AND m.group_id {which} AND {part}");
                self.arm("m.user_id", &from);
            }
        }
    }

    /// The accounts, in the order of their ids.
    pub async fn read<C: ConnectionTrait>(self, cx: &Cx, db: &C, moment: Moment) -> Result<BTreeSet<Uuid>> {
        if self.arms.is_empty() {
            return Ok(BTreeSet::new());
        }
        let text = moment.fill(&self.arms.join(" UNION "), cx.backend());
        let text = format!("{text} ORDER BY 1 {} LIMIT {}", self.direction, self.limit);
        let rows = Account::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, self.values));
        Ok(rows.all(db).await?.into_iter().map(|row| row.id).collect())
    }
}
