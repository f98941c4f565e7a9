//! Which accounts hold which roles, and through what. This is computed from memberships, mappings
//! and grants for every query and never stored. [`of_users`] reads it by account, [`list_holders`]
//! by role; [`find_role_moves`] finds how a change affected it. What must never enter: a copy of
//! the access of an account.

mod account_union;
pub mod api_key;
mod change_events;
pub mod change_set;
pub mod console_link;
pub mod console_session;
pub mod decision;
mod diff;
pub mod expiry;
mod explain;
pub(in crate::domain) mod giving;
mod holders;
pub mod invitation;
pub mod lockout_guard;
mod path;
mod permission_names;
pub mod role;
pub mod role_grant;
pub mod role_mapping;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult};
use std::collections::HashMap;
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::SqlBuilder;
use crate::context::{Cx, clock};
use crate::domain::directory::MAX_NESTING_DEPTH;
use crate::domain::interval::IS_OPEN;
use crate::domain::{interval, paging};
use crate::error::{Error, Result};

pub use change_events::{announce_changes, announced_through};
pub use diff::{RoleMove, find_role_moves};
pub use explain::{HoldingExplanation, RoleGap, explain_access};
pub use holders::{count_holders, list_holders};
pub(super) use holders::{find_sources, has_holder, has_holder_at};
pub use path::{AccessLink, WantedPath, find_paths, of_groups};

/// The moment whose access is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    Now,
    /// As it will be at this instant if only what is planned ends until then.
    Planned(DateTime<Utc>),
    /// As it was at this instant, with the changes of this instant.
    At(DateTime<Utc>),
    /// As it was at this instant, without the changes of this event.
    Without(DateTime<Utc>, Uuid),
}

impl AsOf {
    /// SQL: whether the interval `alias` is open at this moment: at the instant `at`, without the
    /// changes of the event `event`.
    fn open_condition(self, alias: &str, at: &str, event: &str) -> String {
        match self {
            Self::Now | Self::Planned(_) => format!("{alias}.{IS_OPEN}"),
            Self::At(_) => interval::is_open_at(alias, at),
            Self::Without(..) => interval::is_open_without(alias, at, event),
        }
    }

    /// [`AsOf::open_condition`] at the statement's own moment, in parts: each part has an index of
    /// its own.
    fn open_condition_parts(self, alias: &str) -> Vec<String> {
        let begun = match self {
            Self::Now | Self::Planned(_) => return vec![self.open_condition(alias, "", "")],
            Self::At(_) => format!("{alias}.since <= $2"),
            Self::Without(..) => format!("{alias}.since <= $2 AND {alias}.opened_by <> $3"),
        };
        let ended = match self {
            Self::Without(..) => interval::has_ended_after(alias, "$2", "$3"),
            _ => format!("{alias}.until IS NOT NULL AND {alias}.until > $2"),
        };
        vec![format!("{begun} AND {alias}.{IS_OPEN}"), format!("{begun} AND {ended}")]
    }

    /// SQL: whether the account `u` may be used at this moment.
    fn usable_condition(self, at: &str, event: &str) -> String {
        match self {
            Self::Now | Self::Planned(_) => "u.active = TRUE AND u.deleted_at IS NULL".into(),
            // A lookup for each account: with EXISTS, a planner would join all accounts that were
            // ever active.
            _ => format!(
                "(SELECT 1 FROM activation v WHERE v.organization_id = $1 AND v.user_id = u.id \
                 AND {} LIMIT 1) IS NOT NULL",
                self.open_condition("v", at, event)
            ),
        }
    }

    /// SQL that keeps only accounts that may be used at this moment; `id` is the expression of an
    /// account's id.
    fn only_usable(self, id: &str) -> String {
        match self {
            Self::Now | Self::Planned(_) => {
                format!(
                    r#"JOIN "user" u ON u.organization_id = $1 AND u.id = {id} AND {}"#,
                    self.usable_condition("", "")
                )
            }
            _ => format!(
                "WHERE (SELECT 1 FROM activation v WHERE v.organization_id = $1 AND v.user_id = \
                 {id} AND {} LIMIT 1) IS NOT NULL",
                self.open_condition("v", "$2", "$3")
            ),
        }
    }

    /// SQL: the owner of the account `u` at this moment.
    fn owner_expression(self, at: &str, event: &str) -> String {
        match self {
            Self::Now | Self::Planned(_) => "u.connection_id".into(),
            _ => format!(
                "(SELECT v.connection_id FROM activation v WHERE v.organization_id = $1 AND \
                 v.user_id = u.id AND {} LIMIT 1)",
                self.open_condition("v", at, event)
            ),
        }
    }

    /// SQL: the accounts of all connections at this moment, as rows of `id` and `connection_id`.
    fn owned_accounts(self) -> String {
        match self {
            Self::Now | Self::Planned(_) => {
                r#"(SELECT u.id, u.connection_id FROM "user" u WHERE u.organization_id = $1)"#
                    .into()
            }
            _ => format!(
                "(SELECT v.user_id AS id, v.connection_id FROM activation v WHERE \
                 v.organization_id = $1 AND {})",
                self.open_condition("v", "$2", "$3")
            ),
        }
    }

    /// The same moment for several statements that answer one question. Else what is planned to end
    /// while they run would have ended for some of them: who keeps a role by another way would be
    /// in none.
    fn pin_instant(self, cx: &Cx) -> Self {
        match self {
            Self::Now => Self::Planned(cx.app.clock.now()),
            moment => moment,
        }
    }

    /// The beginning of every statement here: its first three values are the organization, the
    /// instant, and the event left out.
    fn begin_sql(self, cx: &Cx) -> SqlBuilder {
        let (at, without) = match self {
            Self::Now => (cx.app.clock.now(), Uuid::nil()),
            Self::At(at) | Self::Planned(at) => (at, Uuid::nil()),
            Self::Without(at, event) => (at, event),
        };
        cx.sql([at.into(), without.into()])
    }

    /// Fills in the parts of a template that depend on the moment. `{open x}` is about the
    /// statement's moment, whose instant is `$2` and whose event is `$3`. `{open x of y}` is about
    /// the moment in the columns of the row `y`.
    fn fill_template(self, template: &str, backend: DbBackend) -> String {
        let no_id = if backend == DbBackend::Postgres { "NULL::uuid" } else { "NULL" };
        let mut text = template.to_owned();
        for alias in ["m", "n", "x", "g"] {
            text =
                text.replace(&format!("{{open {alias}}}"), &self.open_condition(alias, "$2", "$3"));
            for row in ["a", "r"] {
                let (at, event) = (format!("{row}.at"), format!("{row}.event"));
                text = text.replace(
                    &format!("{{open {alias} of {row}}}"),
                    &self.open_condition(alias, &at, &event),
                );
            }
        }
        text.replace("{usable}", &self.usable_condition("$2", "$3"))
            .replace("{owner}", &self.owner_expression("$2", "$3"))
            .replace("{owner of e}", &self.owner_expression("e.at", "e.id"))
            .replace("{owned}", &self.owned_accounts())
            .replace("{usable of e}", &self.usable_condition("e.at", "e.id"))
            .replace("{depth}", &MAX_NESTING_DEPTH.to_string())
            .replace("{no_id}", no_id)
    }
}

/// One way in which an account holds a role.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct RoleSource {
    pub user_id: Uuid,
    pub role_id: Uuid,
    /// The mapping that gives it; none for a direct grant.
    pub mapping_id: Option<Uuid>,
    /// The group that is mapped; none if the mapping is for all users of a connection.
    pub group_id: Option<Uuid>,
    /// The group that the account is a direct member of: `group_id`, or a group that is nested in
    /// it.
    pub member_of: Option<Uuid>,
    /// The direct grant that gives it; none for a mapping.
    pub grant_id: Option<Uuid>,
    /// The event that made the account a member of `member_of`.
    pub joined_by: Option<Uuid>,
    /// The event that created the mapping or the grant, or last changed it.
    pub given_by: Uuid,
}

/// SQL: the access, as rows of [`RoleSource`], of the accounts that `{accounts}` selects, each with
/// the instant and the event of the moment that is read. Suspended and deleted accounts hold no
/// roles. A mapping or a grant with a planned end up to `due` gives no role.
///
/// The lookups begin at the account: each table is looked up by the row before it.
fn access_definition(backend: DbBackend) -> String {
    let open = [
        (
            "{memberships}",
            "membership",
            "m",
            "m.organization_id = $1 AND m.user_id = a.id AND {open m of a} \
             AND (m.expires_at IS NULL OR m.expires_at > a.due)",
        ),
        (
            "{nestings}",
            "group_nesting",
            "n",
            "n.organization_id = $1 AND n.member_id = r.group_id AND {open n of r}",
        ),
        (
            "{mappings}",
            "role_mapping",
            "x",
            "x.organization_id = $1 AND x.group_id = r.group_id AND {open x of r} \
             AND (x.expires_at IS NULL OR x.expires_at > r.due)",
        ),
        (
            "{all_users}",
            "role_mapping",
            "x",
            "x.organization_id = $1 AND x.connection_id = a.connection_id \
             AND x.match_attribute = 'EVERYBODY' \
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
    open.iter().fold(ACCESS_DEFINITION.to_owned(), |text, (name, table, alias, condition)| {
        text.replace(name, &paging::join_each(backend, table, alias, condition))
    })
}

/// [`access_definition`], with a name in braces for each table that is looked up.
const ACCESS_DEFINITION: &str = r#"
WITH RECURSIVE account(id, connection_id, at, due, event) AS ({accounts}),
reach(user_id, group_id, member_of, joined_by, depth, at, due, event) AS (
  SELECT m.user_id, m.group_id, m.group_id, m.opened_by, 0, a.at, a.due, a.event
  FROM account a {memberships}
  UNION
  SELECT r.user_id, n.group_id, r.member_of, r.joined_by, r.depth + 1, r.at, r.due, r.event
  FROM reach r {nestings}
    WHERE r.depth < {depth})
SELECT r.user_id, x.role_id, x.mapping_id, r.group_id, r.member_of, {no_id} AS grant_id,
r.joined_by,
    x.opened_by AS given_by, r.event
  FROM reach r {mappings}
UNION
SELECT a.id, x.role_id, x.mapping_id, {no_id}, {no_id}, {no_id}, {no_id}, x.opened_by, a.event
  FROM account a {all_users}
UNION
SELECT g.user_id, g.role_id, {no_id}, {no_id}, {no_id}, g.id, {no_id}, g.opened_by, a.event
FROM account a {grants}
ORDER BY 1, 2"#;

/// The accounts `$4` at the moment of the statement.
const ACCOUNTS_AT_MOMENT: &str = "SELECT u.id, {owner}, $2, $2, $3 FROM {users} WHERE {usable}";

/// The roles that each of these accounts holds, or held.
pub async fn of_users(
    cx: &Cx,
    users: &[Uuid],
    moment: AsOf,
) -> Result<HashMap<Uuid, Vec<RoleSource>>> {
    cx.allow(Action::ReadIam, None)?;
    let mut holdings: HashMap<Uuid, Vec<RoleSource>> = HashMap::new();
    for row in holdings_of(cx, cx.db(), users, moment).await? {
        holdings.entry(row.user_id).or_default().push(row);
    }
    Ok(holdings)
}

/// The accounts `$4`, for FROM.
fn accounts_clause(backend: DbBackend) -> String {
    paging::each_of(backend, (1, 4), "user", "u", "id")
}

async fn holdings_of<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    users: &[Uuid],
    moment: AsOf,
) -> Result<Vec<RoleSource>> {
    let text = access_definition(cx.backend()).replace("{accounts}", ACCOUNTS_AT_MOMENT);
    let text = moment
        .fill_template(&text, cx.backend())
        .replace("{users}", &accounts_clause(cx.backend()));
    let mut sql = moment.begin_sql(cx);
    sql.bind(paging::bind_ids(users));
    sql.push(&text);
    Ok(RoleSource::find_by_statement(cx.build_statement(sql)).all(db).await?)
}

/// The mappings that would give `user` a role if the account were not suspended.
async fn of_suspended(cx: &Cx, user: Uuid) -> Result<Vec<Uuid>> {
    let text = access_definition(cx.backend())
        .replace("{accounts}", ACCOUNTS_AT_MOMENT)
        .replace("{usable}", "TRUE");
    let text = AsOf::Now
        .fill_template(&text, cx.backend())
        .replace("{users}", &accounts_clause(cx.backend()));
    let mut sql = AsOf::Now.begin_sql(cx);
    sql.bind(paging::bind_ids(&[user]));
    sql.push(&text);
    let rows = RoleSource::find_by_statement(cx.build_statement(sql));
    Ok(rows.all(cx.db()).await?.into_iter().filter_map(|row| row.mapping_id).collect())
}

/// The moment that a reader asks for: now, or a settled instant, whose past cannot change any more.
///
/// # Errors
/// [`Error::Invalid`] for an instant after the [`settled_watermark`].
pub async fn resolve_moment(cx: &Cx, as_of: Option<DateTime<Utc>>) -> Result<AsOf> {
    let Some(at) = as_of else { return Ok(AsOf::Now) };
    let watermark = clock::settled_until(&cx.app, Some(at)).await?;
    if at > watermark {
        let why =
            format!("must not be after {}: until then the past is settled", watermark.to_rfc3339());
        return Err(Error::invalid("asOf", why));
    }
    Ok(AsOf::At(at))
}

/// The instant up to which the past is settled: no write can add to it any more, so an answer about
/// it never changes.
pub async fn settled_watermark(cx: &Cx) -> Result<DateTime<Utc>> {
    Ok(clock::settled_until(&cx.app, None).await?)
}
