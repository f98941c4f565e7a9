//! Who holds which role, and through what: computed from memberships, mappings and grants at every question, never
//! stored. [`of_users`] and [`holders`] read the same rows from the two ends; [`moved`] tells what a change did to
//! them. What must never enter: a copy of anybody's access.

mod announce;
mod explain;
mod holders;
mod moved;
mod walk;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement, Value};
use std::collections::HashMap;
use uuid::Uuid;

use super::group::MAX_NESTING;
use super::list;
use crate::authz::Action;
use crate::context::{Cx, clock};
use crate::error::{Error, Result};

pub use announce::{announce, announced_through};
pub use explain::{Explanation, Gap, explain};
pub(super) use holders::has_holder;
pub use holders::{count_holders, holders};
pub use moved::{Moved, moved};

/// Of which moment access is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Now,
    /// As it was at this instant, what happened in it included.
    At(DateTime<Utc>),
    /// As it was at this instant but for what this event did.
    Without(DateTime<Utc>, Uuid),
}

impl Moment {
    /// Whether an interval, by its alias, is open at this moment: at the instant `at`, but for the event `event`.
    fn open(self, alias: &str, at: &str, event: &str) -> String {
        match self {
            Self::Now => format!("{alias}.until IS NULL"),
            Self::At(_) => format!("{alias}.since <= {at} AND ({alias}.until IS NULL OR {alias}.until > {at})"),
            Self::Without(..) => {
                format!("{alias}.since <= {at} AND {alias}.opened_by <> {event} AND {}", ends_after(alias, at, event))
            }
        }
    }

    /// [`Moment::open`] at the statement's own moment in parts, each of which has an index of its own.
    fn parts(self, alias: &str) -> Vec<String> {
        let begun = match self {
            Self::Now => return vec![self.open(alias, "", "")],
            Self::At(_) => format!("{alias}.since <= $2"),
            Self::Without(..) => format!("{alias}.since <= $2 AND {alias}.opened_by <> $3"),
        };
        let ended = match self {
            Self::Without(..) => format!("({alias}.until > $2 OR {alias}.closed_by = $3)"),
            _ => format!("{alias}.until > $2"),
        };
        vec![format!("{begun} AND {alias}.until IS NULL"), format!("{begun} AND {alias}.until IS NOT NULL AND {ended}")]
    }

    /// Whether the account `u` may be used at this moment.
    fn usable(self, at: &str, event: &str) -> String {
        match self {
            Self::Now => "u.active = TRUE AND u.deleted_at IS NULL".into(),
            // Looked up for each account, where EXISTS would have a planner join with everybody who ever was active.
            _ => format!(
                "(SELECT 1 FROM activation v WHERE v.organization_id = $1 AND v.user_id = u.id AND {} LIMIT 1) IS NOT NULL",
                self.open("v", at, event)
            ),
        }
    }

    /// What leaves only accounts, by the expression of their id, that may be used at this moment.
    fn only_usable(self, id: &str) -> String {
        match self {
            Self::Now => {
                format!(r#"JOIN "user" u ON u.organization_id = $1 AND u.id = {id} AND {}"#, self.usable("", ""))
            }
            _ => format!(
                "WHERE (SELECT 1 FROM activation v WHERE v.organization_id = $1 AND v.user_id = {id} AND {} LIMIT 1) IS NOT NULL",
                self.open("v", "$2", "$3")
            ),
        }
    }

    /// Whose the account `u` is at this moment.
    fn owner(self, at: &str, event: &str) -> String {
        match self {
            Self::Now => "u.connection_id".into(),
            _ => format!(
                "(SELECT v.connection_id FROM activation v WHERE v.organization_id = $1 AND v.user_id = u.id AND {} LIMIT 1)",
                self.open("v", at, event)
            ),
        }
    }

    /// The accounts of all connections at this moment, as rows of `id` and `connection_id`.
    fn owned(self) -> String {
        match self {
            Self::Now => r#"(SELECT u.id, u.connection_id FROM "user" u WHERE u.organization_id = $1)"#.into(),
            _ => format!(
                "(SELECT v.user_id AS id, v.connection_id FROM activation v WHERE v.organization_id = $1 AND {})",
                self.open("v", "$2", "$3")
            ),
        }
    }

    /// The first three values of every statement here: organization, instant, event left out.
    fn values(self, cx: &Cx) -> Vec<Value> {
        let (at, without) = match self {
            Self::Now => (cx.app.clock.now(), Uuid::nil()),
            Self::At(at) => (at, Uuid::nil()),
            Self::Without(at, event) => (at, event),
        };
        vec![cx.organization().into(), at.into(), without.into()]
    }

    /// Fills in what a template leaves to the moment. `{open x}` is about the statement's moment, whose instant is `$2`
    /// and whose event `$3`; `{open x of y}` about the one that the row `y` brings along.
    fn fill(self, template: &str, backend: DbBackend) -> String {
        let no_id = if backend == DbBackend::Postgres { "NULL::uuid" } else { "NULL" };
        let mut text = template.to_owned();
        for alias in ["m", "n", "x", "g"] {
            text = text.replace(&format!("{{open {alias}}}"), &self.open(alias, "$2", "$3"));
            for row in ["a", "r"] {
                let (at, event) = (format!("{row}.at"), format!("{row}.event"));
                text = text.replace(&format!("{{open {alias} of {row}}}"), &self.open(alias, &at, &event));
            }
        }
        text.replace("{usable}", &self.usable("$2", "$3"))
            .replace("{owner}", &self.owner("$2", "$3"))
            .replace("{owner of e}", &self.owner("e.at", "e.id"))
            .replace("{owned}", &self.owned())
            .replace("{usable of e}", &self.usable("e.at", "e.id"))
            .replace("{depth}", &MAX_NESTING.to_string())
            .replace("{no_id}", no_id)
    }
}

/// Whether an interval ends after the instant `at`, or by the event `event`. What has ended is said to have, so that a
/// planner sees that the indexes of the past hold it.
fn ends_after(alias: &str, at: &str, event: &str) -> String {
    format!(
        "({alias}.until IS NULL OR {alias}.until IS NOT NULL AND ({alias}.until > {at} OR {alias}.closed_by = {event}))"
    )
}

/// One way in which somebody holds a role.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Holding {
    pub user_id: Uuid,
    pub role_id: Uuid,
    /// The mapping that gives it; none for a direct grant.
    pub mapping_id: Option<Uuid>,
    /// The group that is mapped; none where everybody of a connection is.
    pub group_id: Option<Uuid>,
    /// The group that the account is itself in; another than `group_id` where groups stand in groups.
    pub member_of: Option<Uuid>,
    /// The direct grant that gives it; none for a mapping.
    pub grant_id: Option<Uuid>,
    /// The event that brought the account into `member_of`.
    pub joined_by: Option<Uuid>,
    /// The event that made the mapping or the grant what it is.
    pub given_by: Uuid,
}

/// Access, as rows of [`Holding`], of the accounts that `{accounts}` selects, each with the instant and the event of
/// the moment that is asked for. Suspended and deleted accounts hold nothing, and what has a planned end up to `due`
/// gives nothing.
///
/// From the account on, each table is looked up by the row before it.
fn definition(backend: DbBackend) -> String {
    let open = [
        ("{memberships}", "membership", "m", "m.organization_id = $1 AND m.user_id = a.id AND {open m of a}"),
        ("{nestings}", "group_nesting", "n", "n.organization_id = $1 AND n.member_id = r.group_id AND {open n of r}"),
        (
            "{mappings}",
            "role_mapping",
            "x",
            "x.organization_id = $1 AND x.group_id = r.group_id AND {open x of r} \
             AND (x.expires_at IS NULL OR x.expires_at > r.due)",
        ),
        (
            "{everybody}",
            "role_mapping",
            "x",
            "x.organization_id = $1 AND x.connection_id = a.connection_id AND x.match_attribute = 'EVERYBODY' \
             AND {open x of a} AND (x.expires_at IS NULL OR x.expires_at > a.due)",
        ),
        (
            "{grants}",
            "role_grant",
            "g",
            "g.organization_id = $1 AND g.user_id = a.id AND {open g of a} \
             AND (g.expires_at IS NULL OR g.expires_at > a.due)",
        ),
    ];
    open.iter().fold(DEFINITION.to_owned(), |text, (name, table, alias, condition)| {
        text.replace(name, &list::each(backend, table, alias, condition))
    })
}

/// [`definition`], with a name in braces for each table that is looked up.
const DEFINITION: &str = r#"
WITH RECURSIVE account(id, connection_id, at, due, event) AS ({accounts}),
reach(user_id, group_id, member_of, joined_by, depth, at, due, event) AS (
  SELECT m.user_id, m.group_id, m.group_id, m.opened_by, 0, a.at, a.due, a.event FROM account a {memberships}
  UNION
  SELECT r.user_id, n.group_id, r.member_of, r.joined_by, r.depth + 1, r.at, r.due, r.event FROM reach r {nestings}
    WHERE r.depth < {depth})
SELECT r.user_id, x.role_id, x.mapping_id, r.group_id, r.member_of, {no_id} AS grant_id, r.joined_by,
    x.opened_by AS given_by, r.event
  FROM reach r {mappings}
UNION
SELECT a.id, x.role_id, x.mapping_id, {no_id}, {no_id}, {no_id}, {no_id}, x.opened_by, a.event
  FROM account a {everybody}
UNION
SELECT g.user_id, g.role_id, {no_id}, {no_id}, {no_id}, g.id, {no_id}, g.opened_by, a.event FROM account a {grants}
ORDER BY 1, 2"#;

/// The accounts `$4` at the moment of the statement.
const ACCOUNTS: &str = "SELECT u.id, {owner}, $2, $2, $3 FROM {users} WHERE {usable}";

/// What each of these accounts holds, or held.
pub async fn of_users(cx: &Cx, users: &[Uuid], moment: Moment) -> Result<HashMap<Uuid, Vec<Holding>>> {
    cx.allow(Action::ReadIam, None)?;
    let mut holdings: HashMap<Uuid, Vec<Holding>> = HashMap::new();
    for row in holdings_of(cx, cx.db(), users, moment).await? {
        holdings.entry(row.user_id).or_default().push(row);
    }
    Ok(holdings)
}

/// The accounts `$4`, for FROM.
fn accounts(backend: DbBackend) -> String {
    list::each_of(backend, (1, 4), "user", "u", "id")
}

async fn holdings_of<C: ConnectionTrait>(cx: &Cx, db: &C, users: &[Uuid], moment: Moment) -> Result<Vec<Holding>> {
    let text = definition(cx.backend()).replace("{accounts}", ACCOUNTS);
    let text = moment.fill(&text, cx.backend()).replace("{users}", &accounts(cx.backend()));
    let mut values = moment.values(cx);
    values.push(list::ids(users));
    Ok(Holding::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(db).await?)
}

/// The mappings that would give `user` a role but for the account's suspension.
async fn of_suspended(cx: &Cx, user: Uuid) -> Result<Vec<Uuid>> {
    let text = definition(cx.backend()).replace("{accounts}", ACCOUNTS).replace("{usable}", "TRUE");
    let text = Moment::Now.fill(&text, cx.backend()).replace("{users}", &accounts(cx.backend()));
    let mut values = Moment::Now.values(cx);
    values.push(list::ids(&[user]));
    let rows = Holding::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values));
    Ok(rows.all(cx.db()).await?.into_iter().filter_map(|row| row.mapping_id).collect())
}

/// The moment that a reader asks for: now, or an instant of which nothing can change any more.
///
/// # Errors
/// [`Error::Invalid`] for an instant after the [`watermark`].
pub async fn moment(cx: &Cx, as_of: Option<DateTime<Utc>>) -> Result<Moment> {
    let Some(at) = as_of else { return Ok(Moment::Now) };
    let watermark = clock::settle(&cx.app, Some(at)).await?;
    if at > watermark {
        let why = format!("must not be after {}: until then the past is settled", watermark.to_rfc3339());
        return Err(Error::invalid("asOf", why));
    }
    Ok(Moment::At(at))
}

/// Up to when the past is settled: no write can add to it any more, so an answer stays the same for ever.
pub async fn watermark(cx: &Cx) -> Result<DateTime<Utc>> {
    Ok(clock::settle(&cx.app, None).await?)
}
