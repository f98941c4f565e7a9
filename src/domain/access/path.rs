//! The way from an account or a group to a group that is mapped to a role: each membership and each
//! nesting, with the event that made it; and the roles that a group gives to its members.

use std::collections::{HashMap, HashSet, VecDeque};

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::{AsOf, RoleSource};
use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::paging;
use crate::error::Result;

/// One link of a way: a membership of an account, or of a group in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLink {
    /// None where the member is the account.
    pub from_group: Option<Uuid>,
    pub to_group: Uuid,
    pub since: DateTime<Utc>,
    /// The event that made the link.
    pub made_by: Uuid,
}

/// A way to find: from the account, if there is one, through the group that it is a member of, to
/// the mapped group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WantedPath {
    pub user: Option<Uuid>,
    pub member_of: Uuid,
    pub group: Uuid,
}

#[derive(Debug, FromQueryResult)]
struct LinkRow {
    member: Uuid,
    group_id: Uuid,
    since: DateTime<Utc>,
    opened_by: Uuid,
}

/// The shortest way for each of these; an empty one where there is none at that moment.
pub async fn find_paths(
    cx: &Cx,
    wanted: &[WantedPath],
    moment: AsOf,
) -> Result<HashMap<WantedPath, Vec<AccessLink>>> {
    cx.allow(Action::ReadIam, None)?;
    let nestings = read_nestings(cx, wanted, moment).await?;
    let memberships = read_memberships(cx, wanted, moment).await?;
    let mut above: HashMap<Uuid, Vec<&LinkRow>> = HashMap::new();
    for row in &nestings {
        above.entry(row.member).or_default().push(row);
    }
    let found = wanted.iter().map(|path| {
        let joined = path.user.and_then(|user| {
            memberships.iter().find(|row| row.member == user && row.group_id == path.member_of)
        });
        let mut links: Vec<AccessLink> = joined
            .map(|row| AccessLink {
                from_group: None,
                to_group: row.group_id,
                since: row.since,
                made_by: row.opened_by,
            })
            .into_iter()
            .collect();
        links.extend(shortest_path(&above, path.member_of, path.group));
        (*path, links)
    });
    Ok(found.collect())
}

/// The nestings between two groups; none if the one is not inside the other.
fn shortest_path(above: &HashMap<Uuid, Vec<&LinkRow>>, from: Uuid, to: Uuid) -> Vec<AccessLink> {
    let mut came_by: HashMap<Uuid, &LinkRow> = HashMap::new();
    let mut seen = HashSet::from([from]);
    let mut queue = VecDeque::from([from]);
    while let Some(group) = queue.pop_front() {
        if group == to {
            break;
        }
        for link in above.get(&group).into_iter().flatten() {
            if seen.insert(link.group_id) {
                came_by.insert(link.group_id, link);
                queue.push_back(link.group_id);
            }
        }
    }
    let mut links = Vec::new();
    let mut place = to;
    while place != from {
        let Some(link) = came_by.get(&place) else { return Vec::new() };
        links.push(AccessLink {
            from_group: Some(link.member),
            to_group: link.group_id,
            since: link.since,
            made_by: link.opened_by,
        });
        place = link.member;
    }
    links.reverse();
    links
}

/// The nestings of all groups around those that the ways begin with.
async fn read_nestings(cx: &Cx, wanted: &[WantedPath], moment: AsOf) -> Result<Vec<LinkRow>> {
    let starts: HashSet<Uuid> =
        wanted.iter().filter(|path| path.member_of != path.group).map(|p| p.member_of).collect();
    if starts.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = moment.begin_sql(cx);
    sql.bind(paging::bind_ids(&starts));
    let nesting = |member: &str| {
        let condition = format!("n.organization_id = $1 AND n.member_id = {member} AND {{open n}}");
        paging::join_each(cx.backend(), "group_nesting", "n", &condition)
    };
    let text = format!(
        "WITH RECURSIVE around(id, depth) AS (SELECT wanted.id, 0 FROM {wanted} \
           UNION SELECT n.group_id, a.depth + 1 FROM around a {nested} WHERE a.depth < {{depth}}) \
         SELECT DISTINCT n.member_id AS member, n.group_id, n.since, n.opened_by \
         FROM around a {nested} WHERE n.organization_id = $1",
        wanted = paging::wanted_ids(cx.backend(), 4),
        nested = nesting("a.id"),
    );
    sql.push(&moment.fill_template(&text, cx.backend()));
    Ok(LinkRow::find_by_statement(cx.build_statement(sql)).all(cx.db()).await?)
}

/// The memberships of the accounts that the ways begin with.
async fn read_memberships(cx: &Cx, wanted: &[WantedPath], moment: AsOf) -> Result<Vec<LinkRow>> {
    let users: HashSet<Uuid> = wanted.iter().filter_map(|path| path.user).collect();
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let groups: HashSet<Uuid> = wanted.iter().map(|path| path.member_of).collect();
    let mut sql = moment.begin_sql(cx);
    sql.bind(paging::bind_ids(&users));
    let among = sql.bind_ids(cx.backend(), &groups);
    let text = format!(
        "SELECT m.user_id AS member, m.group_id, m.since, m.opened_by FROM {} \
         WHERE {{open m}} AND m.group_id {among} \
         AND (m.expires_at IS NULL OR m.expires_at > $2)",
        paging::each_of(cx.backend(), (1, 4), "membership", "m", "user_id")
    );
    sql.push(&moment.fill_template(&text, cx.backend()));
    Ok(LinkRow::find_by_statement(cx.build_statement(sql)).all(cx.db()).await?)
}

#[derive(Debug, FromQueryResult)]
struct GroupRoleRow {
    member_of: Uuid,
    role_id: Uuid,
    mapping_id: Uuid,
    group_id: Uuid,
    given_by: Uuid,
}

/// The roles that each of these groups gives to its members now, through its own mappings and those
/// of the groups around it; by role. A source is that of a member, without an account.
pub async fn of_groups(cx: &Cx, groups: &[Uuid]) -> Result<HashMap<Uuid, Vec<RoleSource>>> {
    cx.allow(Action::ReadIam, None)?;
    let backend = cx.backend();
    let mut sql = AsOf::Now.begin_sql(cx);
    sql.bind(paging::bind_ids(groups));
    let nesting = paging::join_each(
        backend,
        "group_nesting",
        "n",
        "n.organization_id = $1 AND n.member_id = r.group_id AND {open n}",
    );
    let mapping = paging::join_each(
        backend,
        "role_mapping",
        "x",
        "x.organization_id = $1 AND x.group_id = r.group_id AND {open x} \
         AND (x.expires_at IS NULL OR x.expires_at > $2)",
    );
    let text = format!(
        "WITH RECURSIVE reach(member_of, group_id, depth) AS ( \
           SELECT g.id, g.id, 0 FROM {start} WHERE g.deleted_at IS NULL \
           UNION SELECT r.member_of, n.group_id, r.depth + 1 FROM reach r {nesting} \
           WHERE r.depth < {{depth}}) \
         SELECT DISTINCT r.member_of, x.role_id, x.mapping_id, r.group_id, \
         x.opened_by AS given_by FROM reach r {mapping} ORDER BY 2, 3",
        start = paging::each_of(backend, (1, 4), "group", "g", "id"),
    );
    sql.push(&AsOf::Now.fill_template(&text, backend));
    let rows = GroupRoleRow::find_by_statement(cx.build_statement(sql)).all(cx.db()).await?;
    let mut found: HashMap<Uuid, Vec<RoleSource>> = HashMap::new();
    for row in rows {
        found.entry(row.member_of).or_default().push(RoleSource {
            user_id: Uuid::nil(),
            role_id: row.role_id,
            mapping_id: Some(row.mapping_id),
            group_id: Some(row.group_id),
            member_of: Some(row.member_of),
            grant_id: None,
            joined_by: None,
            given_by: row.given_by,
        });
    }
    Ok(found)
}
