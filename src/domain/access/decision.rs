//! Whether a person may do something: whether one of the person's roles names the permission. Each
//! decision is read from the database as it is now, with one statement that begins at the account;
//! nothing is remembered between two of them. What must never enter: a copy of the access of an
//! account.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::try_join_all;
use sea_orm::{DbBackend, FromQueryResult, Value};
use uuid::Uuid;

use super::{AsOf, holders};
use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::access::permission_names::names_permission;
use crate::domain::directory::MAX_NESTING_DEPTH;
use crate::domain::paging;
use crate::domain::paging::Keyset;
use crate::domain::paging::live_index::LiveIndex;
use crate::error::{Error, Result};
use crate::identity::document;

/// The longest name of a person, or of a permission, that is looked up. Nothing longer exists.
const MAX_NAME_CHARACTERS: usize = 1_000;

/// The person that a decision is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DecisionSubject {
    /// The account with this id.
    Account(Uuid),
    /// The account with this user name, in any case.
    UserName(String),
    /// The account that this connection knows under this external id.
    External { connection: Uuid, external_id: String },
    /// Something that no account here can be.
    Unknown,
}

impl DecisionSubject {
    /// The person that an application means: by the account's id, by a connection's id, a slash and
    /// the external id there, or else by the user name.
    pub fn parse(text: &str) -> Self {
        if let Some(account) = parse_id("User", text) {
            return Self::Account(account);
        }
        match text.split_once('/') {
            Some((connection, external_id)) if parse_connection_id(connection).is_some() => {
                Self::of_connection(connection, external_id)
            }
            _ => Self::UserName(text.to_owned()),
        }
    }

    /// The person that a connection knows under this external id.
    pub fn of_connection(connection: &str, external_id: &str) -> Self {
        parse_connection_id(connection).map_or(Self::Unknown, |connection| Self::External {
            connection,
            external_id: external_id.to_owned(),
        })
    }
}

fn parse_connection_id(id: &str) -> Option<Uuid> {
    parse_id("IdentitySource", id)
}

/// The UUID of an object: as it is printed, or in the global id that the management API gives
/// objects of the type `kind`. Applications have either.
fn parse_id(kind: &str, id: &str) -> Option<Uuid> {
    let plain = |text: &str| Uuid::try_parse(text).ok().filter(|uuid| uuid.to_string() == text);
    plain(id).or_else(|| {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
        plain(text.strip_prefix(kind)?.strip_prefix(':')?)
    })
}

/// A decision, and why it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// One of the account's roles names the permission.
    Granted { account: Uuid },
    /// None of the account's roles names the permission.
    NotGranted { account: Uuid },
    /// The account is suspended, so it holds no role.
    Suspended { account: Uuid },
    /// There is no such account.
    UnknownSubject,
}

impl Decision {
    /// Whether the person may do it.
    pub fn allows(self) -> bool {
        matches!(self, Self::Granted { .. })
    }

    /// The account that the decision is about, if there is one.
    pub fn account(self) -> Option<Uuid> {
        match self {
            Self::Granted { account }
            | Self::NotGranted { account }
            | Self::Suspended { account } => Some(account),
            Self::UnknownSubject => None,
        }
    }

    /// Why, as a stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Granted { .. } => "GRANTED",
            Self::NotGranted { .. } => "NOT_GRANTED",
            Self::Suspended { .. } => "SUSPENDED",
            Self::UnknownSubject => "UNKNOWN_SUBJECT",
        }
    }

    /// Why, in words for people.
    pub fn message(self) -> &'static str {
        match self {
            Self::Granted { .. } => "a role of the person names the permission",
            Self::NotGranted { .. } => "no role of the person names the permission",
            Self::Suspended { .. } => "the person's account is suspended",
            Self::UnknownSubject => "there is no such person here",
        }
    }
}

/// Whether `subject` has `permission`, which is compared as it is written.
///
/// # Errors
/// Only those of the caller and of the database: an unknown person has no permission.
pub async fn decide_access(
    cx: &Cx,
    subject: &DecisionSubject,
    permission: &str,
) -> Result<Decision> {
    cx.allow(Action::Decide, None)?;
    decide_one(cx, subject, permission).await
}

/// Decides several questions at once, in their order. Questions about one person share a statement.
///
/// # Errors
/// As [`decide`].
pub async fn decide_all(cx: &Cx, asked: &[(DecisionSubject, String)]) -> Result<Vec<Decision>> {
    cx.allow(Action::Decide, None)?;
    let mut permissions: BTreeMap<&DecisionSubject, BTreeSet<&str>> = BTreeMap::new();
    for (subject, permission) in asked {
        permissions.entry(subject).or_default().insert(permission);
    }
    // On PostgreSQL the statements of several people are batched into one.
    let decided = permissions
        .into_iter()
        .map(|(subject, permissions)| decide_for_subject(cx, subject, permissions));
    let decided: HashMap<(&DecisionSubject, &str), Decision> =
        try_join_all(decided).await?.into_iter().flatten().collect();
    let decision = |(subject, permission): &(DecisionSubject, String)| {
        decided.get(&(subject, permission.as_str())).copied().unwrap_or(Decision::UnknownSubject)
    };
    Ok(asked.iter().map(decision).collect())
}

/// The decisions about one person, with the question of each.
async fn decide_for_subject<'a>(
    cx: &Cx,
    subject: &'a DecisionSubject,
    permissions: BTreeSet<&'a str>,
) -> Result<Vec<((&'a DecisionSubject, &'a str), Decision)>> {
    if let (1, Some(permission)) = (permissions.len(), permissions.first()) {
        let decision = decide_one(cx, subject, permission).await?;
        return Ok(vec![((subject, *permission), decision)]);
    }
    let held = read_permissions(cx, subject).await?;
    let decide = |permission| ((subject, permission), held.decide_permission(permission));
    Ok(permissions.into_iter().map(decide).collect())
}

/// The permissions of `subject` that begin with `prefix`, sorted and without it; none for a
/// person who is unknown or suspended.
pub async fn list_permissions(
    cx: &Cx,
    subject: &DecisionSubject,
    prefix: &str,
) -> Result<BTreeSet<String>> {
    cx.allow(Action::Decide, None)?;
    let held = read_permissions(cx, subject).await?;
    let rest = |name: &String| Some(name.strip_prefix(prefix)?.to_owned());
    Ok(held.permissions.iter().filter_map(rest).filter(|rest| !rest.is_empty()).collect())
}

/// A person that has a permission.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct PermissionHolder {
    pub id: Uuid,
    pub user_name: String,
}

/// People who have `permission` now, by id, after the account `after`; and whether more follow.
/// If `permission` is none, there are none.
pub async fn list_permission_holders(
    cx: &Cx,
    permission: Option<&str>,
    after: Option<Uuid>,
    limit: u64,
) -> Result<(Vec<PermissionHolder>, bool)> {
    cx.allow(Action::Decide, None)?;
    let Some(permission) = permission.filter(|name| is_possible_name(name)) else {
        return Ok((Vec::new(), false));
    };
    let roles = find_roles(cx, permission).await?;
    let moment = AsOf::Now.pin_instant(cx);
    let keyset = &Keyset { after, limit, ..Keyset::default() };
    let held = roles
        .into_iter()
        .map(|role| holders::list_holders_unchecked(cx, Some(role), moment, keyset));
    let (mut found, mut more) = (BTreeSet::new(), false);
    for slice in try_join_all(held).await? {
        more |= slice.has_next;
        found.extend(slice.rows);
    }
    more |= found.len() as u64 > limit;
    let page: Vec<Uuid> = found.into_iter().take(limit as usize).collect();
    if page.is_empty() {
        return Ok((Vec::new(), false));
    }
    let text = format!(
        "SELECT r.id, r.user_name FROM {} WHERE r.deleted_at IS NULL",
        paging::each_of(cx.backend(), (1, 2), "user", "r", "id")
    );
    let statement = cx.statement(text, [paging::bind_ids(&page)]);
    let mut people = PermissionHolder::find_by_statement(statement).all(cx.db()).await?;
    people.sort_unstable_by_key(|person| person.id);
    Ok((people, more))
}

/// The live roles that name `permission`.
async fn find_roles(cx: &Cx, permission: &str) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct NamingRole {
        id: Uuid,
    }
    let text = format!(
        "SELECT r.id FROM role r WHERE r.organization_id = $1 AND r.deleted_at IS NULL AND {} \
         ORDER BY r.id",
        names_permission(cx.backend(), "r", "$2")
    );
    let statement = cx.statement(text, [permission.into()]);
    let roles = NamingRole::find_by_statement(statement).all(cx.db()).await?;
    Ok(roles.into_iter().map(|role| role.id).collect())
}

/// A text of NUL cannot be stored, and a longer one never was.
fn is_possible_name(name: &str) -> bool {
    !name.contains('\0') && name.chars().count() <= MAX_NAME_CHARACTERS
}

#[derive(FromQueryResult)]
struct DecidedRow {
    id: Uuid,
    active: bool,
    granted: i32,
}

async fn decide_one(cx: &Cx, subject: &DecisionSubject, permission: &str) -> Result<Decision> {
    if !is_possible_name(permission) {
        let held = read_permissions(cx, subject).await?;
        return Ok(held.decide_permission(permission));
    }
    let Some((kind, mut values)) = bind_subject(cx, subject) else {
        return Ok(Decision::UnknownSubject);
    };
    values.push(permission.into());
    let statement = cx.statement(DECIDE.text(cx.backend(), kind), values);
    let rows = cx.db().query_batched(statement).await?;
    let row = rows.first().map(|row| DecidedRow::from_query_result(row, "")).transpose()?;
    Ok(match row {
        None => Decision::UnknownSubject,
        Some(DecidedRow { id, active: false, .. }) => Decision::Suspended { account: id },
        Some(DecidedRow { id, granted: 0, .. }) => Decision::NotGranted { account: id },
        Some(DecidedRow { id, .. }) => Decision::Granted { account: id },
    })
}

/// The account of a subject, and all permissions of its roles.
struct HeldPermissions {
    account: Option<(Uuid, bool)>,
    permissions: BTreeSet<String>,
}

impl HeldPermissions {
    fn decide_permission(&self, permission: &str) -> Decision {
        match self.account {
            None => Decision::UnknownSubject,
            Some((account, false)) => Decision::Suspended { account },
            Some((account, true)) if self.permissions.contains(permission) => {
                Decision::Granted { account }
            }
            Some((account, true)) => Decision::NotGranted { account },
        }
    }
}

#[derive(FromQueryResult)]
struct HeldNamesRow {
    id: Uuid,
    active: bool,
    /// A JSON array; none for an account that holds no role, or may hold none.
    permissions: Option<String>,
}

async fn read_permissions(cx: &Cx, subject: &DecisionSubject) -> Result<HeldPermissions> {
    let mut held = HeldPermissions { account: None, permissions: BTreeSet::new() };
    let Some((kind, values)) = bind_subject(cx, subject) else { return Ok(held) };
    let statement = cx.statement(HELD.text(cx.backend(), kind), values);
    let rows = cx.db().query_batched(statement).await?;
    let row = rows.first().map(|row| HeldNamesRow::from_query_result(row, "")).transpose()?;
    if let Some(HeldNamesRow { id, active, permissions }) = row {
        held.account = Some((id, active));
        if let Some(names) = permissions {
            held.permissions =
                serde_json::from_str(&names).map_err(|error| Error::Internal(error.to_string()))?;
        }
    }
    Ok(held)
}

/// By which index an account is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SubjectKind {
    Account,
    UserName,
    External,
}

impl SubjectKind {
    /// The number of the permission among the values of a statement.
    fn permission_place(self) -> &'static str {
        match self {
            Self::Account | Self::UserName => "$4",
            Self::External => "$5",
        }
    }
}

/// The values by which a statement finds the account, from `$2`, which is the instant, on. None
/// where no account can be meant.
fn bind_subject(cx: &Cx, subject: &DecisionSubject) -> Option<(SubjectKind, Vec<Value>)> {
    let now = cx.app.clock.now().into();
    match subject {
        DecisionSubject::Account(id) => Some((SubjectKind::Account, vec![now, (*id).into()])),
        DecisionSubject::UserName(name) if is_possible_name(name) => {
            Some((SubjectKind::UserName, vec![now, document::fold_text(name).into()]))
        }
        DecisionSubject::External { connection, external_id } if is_possible_name(external_id) => {
            let external_id = external_id.clone().into();
            Some((SubjectKind::External, vec![now, (*connection).into(), external_id]))
        }
        _ => None,
    }
}

/// The texts of one statement, by the database and the kind of subject. They are made once.
struct StatementTexts(LazyLock<[[String; 3]; 2]>);

impl StatementTexts {
    fn text(&self, backend: DbBackend, kind: SubjectKind) -> &str {
        let [postgres, sqlite] = &*self.0;
        let [account, user_name, external] =
            if backend == DbBackend::Postgres { postgres } else { sqlite };
        match kind {
            SubjectKind::Account => account,
            SubjectKind::UserName => user_name,
            SubjectKind::External => external,
        }
    }
}

const KINDS: [SubjectKind; 3] =
    [SubjectKind::Account, SubjectKind::UserName, SubjectKind::External];
const BACKENDS: [DbBackend; 2] = [DbBackend::Postgres, DbBackend::Sqlite];

/// Whether one role of the account names the permission. The search ends at the first one.
static DECIDE: StatementTexts = StatementTexts(LazyLock::new(|| {
    BACKENDS.map(|backend| {
        KINDS.map(|kind| {
            let named = names_permission(backend, "p", kind.permission_place());
            let role = paging::join_each(
                backend,
                "role",
                "p",
                &format!("p.organization_id = $1 AND p.id = w.role_id AND {named}"),
            );
            format!(
                "SELECT r.id, r.active, CASE WHEN r.active = TRUE AND EXISTS ({} SELECT 1 FROM \
                 ({}) AS w {role}) THEN 1 ELSE 0 END AS granted FROM \"user\" r WHERE {}",
                reach_sql(backend),
                role_ways_sql(backend),
                found_subject(backend, kind)
            )
        })
    })
}));

/// The names of all permissions of the account's roles, as JSON.
static HELD: StatementTexts = StatementTexts(LazyLock::new(|| {
    BACKENDS.map(|backend| {
        KINDS.map(|kind| {
            let role = paging::join_each(
                backend,
                "role",
                "p",
                "p.organization_id = $1 AND p.id = w.role_id",
            );
            let (names, each) = match backend {
                DbBackend::Postgres => (
                    "jsonb_agg(DISTINCT named.value)::text",
                    "CROSS JOIN LATERAL jsonb_array_elements_text(p.permissions) AS named(value)",
                ),
                _ => (
                    "json_group_array(DISTINCT named.value)",
                    "CROSS JOIN json_each(p.permissions) AS named",
                ),
            };
            format!(
                "SELECT r.id, r.active, CASE WHEN r.active = TRUE THEN ({} SELECT {names} FROM \
                 ({}) AS w {role} {each}) END AS permissions FROM \"user\" r WHERE {}",
                reach_sql(backend),
                role_ways_sql(backend),
                found_subject(backend, kind)
            )
        })
    })
}));

/// SQL: the condition on the live account `r`.
fn found_subject(backend: DbBackend, kind: SubjectKind) -> String {
    let condition = match kind {
        SubjectKind::Account => "r.id = $3".to_owned(),
        SubjectKind::UserName => {
            format!("r.user_name_key = $3{}", LiveIndex::UserName.index_condition(backend))
        }
        SubjectKind::External => "r.connection_id = $3 AND r.external_id = $4".to_owned(),
    };
    format!("r.organization_id = $1 AND {condition} AND r.deleted_at IS NULL")
}

/// SQL: the groups that the account `r` is in, with those around them.
fn reach_sql(backend: DbBackend) -> String {
    let around = paging::join_each(
        backend,
        "group_nesting",
        "n",
        "n.organization_id = $1 AND n.member_id = a.group_id AND n.until IS NULL",
    );
    format!(
        "WITH RECURSIVE reach(group_id, depth) AS (SELECT m.group_id, 0 FROM membership m WHERE \
         m.organization_id = $1 AND m.user_id = r.id AND m.until IS NULL AND (m.expires_at IS NULL \
         OR m.expires_at > $2) UNION SELECT n.group_id, \
         a.depth + 1 FROM reach a {around} WHERE a.depth < {MAX_NESTING_DEPTH})"
    )
}

/// SQL: the roles of the account `r`, one row for each way to hold one. The groups are those of
/// [`reach_sql`].
fn role_ways_sql(backend: DbBackend) -> String {
    let lasts = |alias: &str| format!("({alias}.expires_at IS NULL OR {alias}.expires_at > $2)");
    let mapped = paging::join_each(
        backend,
        "role_mapping",
        "x",
        &format!(
            "x.organization_id = $1 AND x.group_id = a.group_id AND x.until IS NULL AND {}",
            lasts("x")
        ),
    );
    format!(
        "SELECT g.role_id FROM role_grant g WHERE g.organization_id = $1 AND g.user_id = r.id AND \
         g.until IS NULL AND {} UNION ALL SELECT x.role_id FROM reach a {mapped} UNION ALL SELECT \
         e.role_id FROM role_mapping e WHERE e.organization_id = $1 AND e.connection_id = \
         r.connection_id AND e.match_attribute = 'EVERYBODY' AND e.until IS NULL AND {}",
        lasts("g"),
        lasts("e")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_is_parsed_by_its_form() {
        let id = Uuid::from_u128(7);
        let name = DecisionSubject::UserName("Ada@acme/ward".into());
        assert_eq!(DecisionSubject::parse("Ada@acme/ward"), name);
        assert_eq!(DecisionSubject::parse(&id.to_string()), DecisionSubject::Account(id));
        let global = |kind: &str| URL_SAFE_NO_PAD.encode(format!("{kind}:{id}"));
        assert_eq!(DecisionSubject::parse(&global("User")), DecisionSubject::Account(id));
        assert!(matches!(DecisionSubject::parse(&global("Group")), DecisionSubject::UserName(_)));
        let external = DecisionSubject::External { connection: id, external_id: "x/1".into() };
        assert_eq!(DecisionSubject::parse(&format!("{id}/x/1")), external);
        let source = global("IdentitySource");
        assert_eq!(DecisionSubject::parse(&format!("{source}/x/1")), external);
        assert_eq!(DecisionSubject::of_connection(&source, "x/1"), external);
        assert_eq!(DecisionSubject::of_connection("none", "x"), DecisionSubject::Unknown);
    }
}
