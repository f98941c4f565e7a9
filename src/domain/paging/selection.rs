//! Which users or groups a list has, beyond what a SCIM filter can say: members of a group, holders
//! of a role, words that a search has to find.
//!
//! Every condition is looked up by an index that begins with the organization.

use chrono::{DateTime, Utc};
use sea_orm::DbBackend;
use uuid::Uuid;

use super::filter_dialect::SqlDialect;
use super::live_index::LiveIndex;
use super::order::OrderBy;
use crate::context::SqlBuilder;
use crate::context::sql::join_each;
use crate::domain::audit::subject_owners::SubjectOwners;
use crate::domain::interval::only_by_group;
use crate::identity::filter::Filter;

/// Which live rows of users or groups a list has: those that match all parts.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowSelection<'a> {
    pub filter: Option<&'a Filter>,
    pub owners: SubjectOwners,
    pub narrow: &'a [RowNarrowing],
}

impl<'a> RowSelection<'a> {
    /// Everything that a SCIM filter matches.
    pub fn by_filter(filter: Option<&'a Filter>) -> Self {
        Self { filter, ..Self::default() }
    }

    /// Whether an index finds the rows without reading all of the organization.
    pub(super) fn uses_index(&self) -> bool {
        self.filter.is_some_and(Filter::uses_index)
            || self.narrow.iter().any(RowNarrowing::uses_index)
    }

    /// Whether the rows are few beside all rows of the organization, so that sorting them costs
    /// less than reading along an index in the order `by`.
    pub(super) fn finds_few(&self, by: OrderBy) -> bool {
        let same_index = |narrowing: &RowNarrowing| {
            by == OrderBy::Updated && matches!(narrowing, RowNarrowing::UpdatedSince(_))
        };
        self.filter.is_some_and(Filter::names_one)
            || self.narrow.iter().any(|narrow| narrow.uses_index() && !same_index(narrow))
    }

    /// Whether so many rows are selected that a page is soon full: it is read in its order, and
    /// each row is tested.
    pub(super) fn is_walked(&self) -> bool {
        let frequent =
            |narrowing: &RowNarrowing| matches!(narrowing, RowNarrowing::Word { rare: false, .. });
        self.narrow.iter().any(frequent) && !self.uses_index()
    }

    /// Whether it has protected rows only, which are few.
    pub(super) fn is_protected(&self) -> bool {
        self.narrow.iter().any(|narrow| matches!(narrow, RowNarrowing::Protected(true)))
    }

    /// Whether it selects by nothing but the owner.
    pub(super) fn is_whole(&self) -> bool {
        self.filter.is_none() && self.narrow.is_empty()
    }
}

/// The member that groups contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberOf {
    User(Uuid),
    Group(Uuid),
}

/// A condition on users or groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowNarrowing {
    /// A word of the row begins with this. `rare` words are looked up in the index of words, all
    /// others are tested row by row.
    Word {
        prefix: String,
        rare: bool,
    },
    /// The row has exactly this word.
    WholeWord(String),
    /// One of these ids.
    Ids(Vec<Uuid>),
    /// Users that are members of the group; `transitive` = also through groups in it.
    InGroup {
        group: Uuid,
        transitive: bool,
    },
    /// Groups that contain the member; `transitive` = also through groups.
    Contains {
        member: MemberOf,
        transitive: bool,
    },
    /// Active users that hold the role by a grant at the instant, as members of these groups, or as
    /// accounts of these connections.
    Holds {
        role: Uuid,
        groups: Vec<Uuid>,
        connections: Vec<Uuid>,
        at: DateTime<Utc>,
    },
    /// Groups that are nested in this one.
    NestedIn(Uuid),
    /// Groups with a current mapping to the role.
    MappedTo(Uuid),
    Protected(bool),
    UpdatedSince(DateTime<Utc>),
    /// Exactly this external id.
    ExternalId(String),
    /// Groups with so many direct members.
    Size {
        least: Option<u64>,
        most: Option<u64>,
    },
}

impl RowNarrowing {
    fn uses_index(&self) -> bool {
        match self {
            Self::Word { rare, .. } => *rare,
            Self::Protected(protected) => *protected,
            Self::Holds { connections, .. } => connections.is_empty(),
            Self::WholeWord(_)
            | Self::Ids(_)
            | Self::InGroup { .. }
            | Self::Contains { .. }
            | Self::NestedIn(_)
            | Self::MappedTo(_)
            | Self::UpdatedSince(_) => true,
            Self::ExternalId(_) | Self::Size { .. } => false,
        }
    }

    /// The condition on the row `r` of `table`, whose values are bound to `sql`.
    pub(super) fn write_condition(
        &self,
        table: &str,
        backend: DbBackend,
        sql: &mut SqlBuilder,
    ) -> String {
        let dialect = SqlDialect::of(backend);
        let among = |select: &str| format!("r.id {}", dialect.is_among(select));
        let open = dialect.open_by_group();
        match self {
            Self::Word { prefix, rare } => {
                let range = word_range(backend, prefix, sql);
                let (words, id) = word_table(table);
                if *rare {
                    let by_word = by_word_condition(backend);
                    return among(&format!(
                        "SELECT w.{id} FROM {words} w WHERE w.organization_id = $1 \
                         AND {range}{by_word}"
                    ));
                }
                format!(
                    "(SELECT 1 FROM {words} w WHERE w.organization_id = $1 AND w.{id} = r.id \
                     AND {range} LIMIT 1) IS NOT NULL"
                )
            }
            Self::WholeWord(word) => {
                let (words, id) = word_table(table);
                let by_word = by_word_condition(backend);
                let word = sql.bind(word.as_str());
                among(&format!(
                    "SELECT w.{id} FROM {words} w WHERE w.organization_id = $1 \
                     AND w.word = {word}{by_word}"
                ))
            }
            Self::Ids(ids) => format!("r.id {}", sql.bind_ids(backend, ids)),
            Self::InGroup { group, transitive } => {
                in_group_condition(backend, sql, *group, *transitive)
            }
            Self::Contains { member, transitive } => {
                contains_condition(backend, sql, *member, *transitive)
            }
            Self::Holds { role, groups, connections, at } => {
                holder_condition(backend, sql, (*role, *at), groups, connections)
            }
            Self::NestedIn(group) => {
                let group = sql.bind(*group);
                among(&format!(
                    "SELECT n.member_id FROM group_nesting n WHERE n.organization_id = $1 \
                     AND n.group_id = {group} AND n.until IS NULL{}",
                    open.replace("m.", "n.")
                ))
            }
            Self::MappedTo(role) => {
                let role = sql.bind(*role);
                among(&format!(
                    "SELECT x.group_id FROM role_mapping x WHERE x.organization_id = $1 \
                     AND x.role_id = {role} AND x.until IS NULL AND x.group_id IS NOT NULL"
                ))
            }
            // The value is part of the text, so that the partial index of protected accounts can be
            // used.
            Self::Protected(true) => "r.protected = TRUE".into(),
            Self::Protected(false) => "r.protected = FALSE".into(),
            Self::UpdatedSince(at) => {
                let by_change = LiveIndex::Change.index_condition(backend);
                format!("r.updated_at >= {}{by_change}", sql.bind(*at))
            }
            Self::ExternalId(id) => format!("r.external_id = {}", sql.bind(id.as_str())),
            Self::Size { least, most } => size_condition(backend, *least, *most),
        }
    }
}

/// Users that are members of `group`; `transitive` = also of groups in it.
fn in_group_condition(
    backend: DbBackend,
    sql: &mut SqlBuilder,
    group: Uuid,
    transitive: bool,
) -> String {
    let dialect = SqlDialect::of(backend);
    let among = |select: &str| format!("r.id {}", dialect.is_among(select));
    let open = dialect.open_by_group();
    let group = sql.bind(group);
    if !transitive {
        return among(&format!(
            "SELECT m.user_id FROM membership m WHERE m.organization_id = $1 \
             AND m.group_id = {group} AND m.until IS NULL{open}"
        ));
    }
    let nested = format!(
        "n.organization_id = $1 AND n.group_id = b.id AND n.until IS NULL{}",
        open.replace("m.", "n.")
    );
    let members = format!("m.organization_id = $1 AND m.group_id = b.id AND m.until IS NULL{open}");
    among(&format!(
        r#"WITH RECURSIVE below(id) AS (
             SELECT g.id FROM "group" g WHERE g.organization_id = $1 AND g.id = {group}
             UNION SELECT n.member_id FROM below b {})
           SELECT m.user_id FROM below b {}"#,
        join_each(backend, "group_nesting", "n", &nested),
        join_each(backend, "membership", "m", &members),
    ))
}

/// Groups that contain `member`; `transitive` = also through groups.
fn contains_condition(
    backend: DbBackend,
    sql: &mut SqlBuilder,
    member: MemberOf,
    transitive: bool,
) -> String {
    let dialect = SqlDialect::of(backend);
    let among = |select: &str| format!("r.id {}", dialect.is_among(select));
    let (table, column, id) = match member {
        MemberOf::User(id) => ("membership", "user_id", id),
        MemberOf::Group(id) => ("group_nesting", "member_id", id),
    };
    let direct = format!(
        "SELECT d.group_id FROM {table} d WHERE d.organization_id = $1 \
         AND d.{column} = {} AND d.until IS NULL",
        sql.bind(id)
    );
    if !transitive {
        return among(&direct);
    }
    let around = "n.organization_id = $1 AND n.member_id = a.id AND n.until IS NULL";
    among(&format!(
        "WITH RECURSIVE above(id) AS ({direct} UNION SELECT n.group_id FROM above a \
         {}) SELECT id FROM above",
        join_each(backend, "group_nesting", "n", around)
    ))
}

/// Active users that hold `role` at `at`, by a grant, as members of `groups`, or as accounts of
/// `connections`.
fn holder_condition(
    backend: DbBackend,
    sql: &mut SqlBuilder,
    (role, at): (Uuid, DateTime<Utc>),
    groups: &[Uuid],
    connections: &[Uuid],
) -> String {
    let dialect = SqlDialect::of(backend);
    let among = |select: &str| format!("r.id {}", dialect.is_among(select));
    let open = dialect.open_by_group();
    let (role, at) = (sql.bind(role), sql.bind(at));
    let mut ways = format!(
        "SELECT g.user_id FROM role_grant g WHERE g.organization_id = $1 \
         AND g.role_id = {role} AND g.until IS NULL \
         AND (g.expires_at IS NULL OR g.expires_at > {at})"
    );
    if !groups.is_empty() {
        ways.push_str(&format!(
            " UNION ALL SELECT m.user_id FROM membership m \
             WHERE m.organization_id = $1 AND m.group_id {} AND m.until IS NULL{open}",
            sql.bind_ids(backend, groups)
        ));
    }
    let mut any = among(&ways);
    if !connections.is_empty() {
        let owned = sql.bind_ids(backend, connections);
        any = format!("({any} OR r.connection_id {owned})");
    }
    format!("r.active = TRUE AND {any}")
}

/// Groups with so many direct members.
fn size_condition(backend: DbBackend, least: Option<u64>, most: Option<u64>) -> String {
    let open = SqlDialect::of(backend).open_by_group();
    // No more members are counted than the bound needs.
    let users = format!("{open}{}", only_by_group(backend, "m.", "user_id"));
    let groups =
        format!("{}{}", open.replace("m.", "n."), only_by_group(backend, "n.", "member_id"));
    let counted = |most: u64| {
        format!(
            "(SELECT count(*) FROM (SELECT one FROM (SELECT 1 AS one FROM membership m \
             WHERE m.organization_id = $1 AND m.group_id = r.id \
             AND m.until IS NULL{users} ORDER BY m.user_id LIMIT {most}) AS direct \
             UNION ALL SELECT 1 FROM group_nesting n WHERE n.organization_id = $1 \
             AND n.group_id = r.id AND n.until IS NULL{groups} LIMIT {most}) \
             AS counted)"
        )
    };
    let least = least.map(|least| format!("{} >= {least}", counted(least)));
    let most = most.map(|most| format!("{} <= {most}", counted(most + 1)));
    let both: Vec<String> = least.into_iter().chain(most).collect();
    if both.is_empty() { "TRUE".into() } else { both.join(" AND ") }
}

/// The table of the words of users or of groups, and its column of ids.
pub(in crate::domain) fn word_table(table: &str) -> (&'static str, &'static str) {
    match table {
        "user" => ("user_word", "user_id"),
        _ => ("group_word", "group_id"),
    }
}

/// SQL: whether the word `w` begins with `prefix`: a range of code points, which an index serves.
pub(in crate::domain) fn word_range(
    backend: DbBackend,
    prefix: &str,
    sql: &mut SqlBuilder,
) -> String {
    let collate = SqlDialect::of(backend).collation();
    let from = sql.bind(prefix);
    match super::filter_sql::prefix_successor(prefix) {
        Some(end) => {
            format!("w.word{collate} >= {from} AND w.word{collate} < {}", sql.bind(end))
        }
        None => format!("w.word{collate} >= {from}"),
    }
}

/// ` AND …`: the condition that only the index by word fulfils (see [`LiveIndex`]).
pub(in crate::domain) fn by_word_condition(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => " AND w.word <> 'by word'",
        _ => "",
    }
}
