//! The workloads: which requests are sent, and what the answer must be like.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::client::{Job, Jobs};
use crate::store::{WARDS, account, account_id, by_name};
use crate::target::Target;

pub const USERS: &str = "/scim/v2/acme/Users";
pub const GROUPS: &str = "/scim/v2/acme/Groups";
pub const DECISION: &str = "/access/v1/evaluation";

/// A workload: its name, and its requests to one server.
pub struct Workload {
    pub name: String,
    pub jobs: Box<dyn Fn(&Target) -> Jobs>,
    /// The number of requests at a time, when it is the same for every server.
    pub clients: Option<usize>,
    /// Whether the floor can answer it.
    pub has_floor: bool,
}

impl Workload {
    /// The same with this many requests at a time on every server.
    pub fn by(self, clients: usize) -> Self {
        Self { name: format!("{}, {clients} clients", self.name), clients: Some(clients), ..self }
    }
}

/// A workload whose requests to a server are numbered.
pub fn workload<F, J>(name: String, jobs: F) -> Workload
where
    F: Fn(&Target) -> J + 'static,
    J: Fn(u64) -> Option<Job> + Send + Sync + 'static,
{
    let jobs = move |target: &Target| {
        let (next, job) = (AtomicU64::new(0), jobs(target));
        let numbered: Jobs = Arc::new(move || job(next.fetch_add(1, Ordering::Relaxed)));
        numbered
    };
    Workload { name, jobs: Box::new(jobs), clients: None, has_floor: true }
}

pub fn job(
    method: Method,
    path: String,
    body: String,
    check: impl FnOnce(StatusCode, &str) -> bool + Send + 'static,
) -> Job {
    Job { method, path, body, check: Box::new(check) }
}

fn get(path: String, check: impl FnOnce(StatusCode, &str) -> bool + Send + 'static) -> Job {
    job(Method::GET, path, String::new(), check)
}

/// Spreads the numbers: the same numbers in another order, far from each other.
pub fn scatter(n: u64, among: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % among
}

/// Finds one account by userName; a tenth of the names do not exist.
pub fn lookup(accounts: u64) -> Workload {
    workload(format!("lookup by userName, {accounts} accounts"), move |_| {
        move |n| Some(lookup_job(n, accounts))
    })
}

fn lookup_job(n: u64, accounts: u64) -> Job {
    let who = scatter(n, accounts);
    let (mark, found) =
        if n % 10 == 9 { (format!("missing-{who}"), 0) } else { (format!("user-{who}"), 1) };
    get(format!("{USERS}?{}", by_name(&mark)), move |status, body| {
        let total = format!("\"totalResults\":{found},");
        status == 200
            && body.contains(&total)
            && body.contains(&format!("{mark}@bench.example")) == (found == 1)
    })
}

pub fn create(accounts: u64) -> Workload {
    workload(format!("create, {accounts} accounts"), move |_| {
        move |n| Some(create_job(&format!("new-{accounts}-{n}")))
    })
}

fn create_job(mark: &str) -> Job {
    let name = format!("\"userName\":\"{mark}@bench.example\"");
    job(Method::POST, USERS.into(), account(mark), move |status, body| {
        status == 201 && body.contains(&name)
    })
}

/// How many accounts are inactive at the same time: more than there are clients.
const OFF: u64 = 32;

/// Entra ID's way to deactivate an account, and a little later to activate it again: every request
/// changes something. The accounts are those from `known` on, which no other workload has changed.
pub fn suspend(known: u64, accounts: u64) -> Workload {
    workload(format!("PATCH active, {accounts} accounts"), move |_| {
        move |n| {
            let who = known + (n / (2 * OFF) * OFF + n % OFF) % (accounts - known);
            let active = n / OFF % 2 == 1;
            let value = if active { "True" } else { "False" };
            // rolecall and the floor write JSON with and without spaces.
            let written = [format!("\"active\":{active}"), format!("\"active\": {active}")];
            Some(job(
                Method::PATCH,
                format!("{USERS}/{}", account_id(who)),
                patch("Replace", "active", &json!(value)),
                move |status, body| status == 200 && written.iter().any(|text| body.contains(text)),
            ))
        }
    })
}

pub fn patch(op: &str, path: &str, value: &serde_json::Value) -> String {
    format!(
        r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{{"op":"{op}","path":"{path}","value":{value}}}]}}"#
    )
}

/// Reads the whole list by cursor; each client continues where another one stopped.
pub fn page_by_cursor(accounts: u64) -> Workload {
    workload(format!("page of 100 by cursor, {accounts} accounts"), move |_| {
        let next = Arc::new(Mutex::new(String::new()));
        move |_| {
            let (cursor, next) =
                (next.lock().unwrap_or_else(PoisonError::into_inner).clone(), next.clone());
            Some(get(format!("{USERS}?count=100&cursor={cursor}"), move |status, body| {
                let cursor =
                    body.split_once("\"nextCursor\":\"").and_then(|(_, rest)| rest.split_once('"'));
                let cursor = cursor.map(|(cursor, _)| cursor.to_owned()).unwrap_or_default();
                let last = cursor.is_empty();
                *next.lock().unwrap_or_else(PoisonError::into_inner) = cursor;
                status == 200 && (last || body.contains("\"itemsPerPage\":100,"))
            }))
        }
    })
}

/// Any page by number, with the total.
pub fn page_by_index(accounts: u64) -> Workload {
    workload(format!("page of 100 by index, {accounts} accounts"), move |_| {
        move |n| Some(index_job(1 + 100 * scatter(n, accounts / 100), accounts))
    })
}

pub fn first_page(accounts: u64) -> Workload {
    workload(format!("first page by index, {accounts} accounts"), move |_| {
        move |_| Some(index_job(1, accounts))
    })
}

fn index_job(start: u64, accounts: u64) -> Job {
    get(format!("{USERS}?startIndex={start}&count=100"), move |status, body| {
        let total = body.split_once("\"totalResults\":").and_then(|(_, rest)| rest.split_once(','));
        let total: u64 = total.and_then(|(total, _)| total.parse().ok()).unwrap_or_default();
        status == 200 && body.contains("\"itemsPerPage\":100,") && total >= accounts
    })
}

/// The body of a PATCH that adds one member.
pub fn add_member(id: &str) -> String {
    patch("add", "members", &json!([{ "value": id }]))
}

pub fn changed(status: StatusCode, _: &str) -> bool {
    status == 200 || status == 204
}

/// Adds and removes one member in turns. All clients change one group, which keeps its size.
pub fn member(members: u64, accounts: u64) -> Workload {
    workload(format!("one member in or out, group of {members}"), move |target| {
        let group = target.groups.get(&members).cloned().unwrap_or_default();
        let members = Members::new(group, (members..accounts).map(account_id));
        move |n| Some(members.job(n))
    })
}

/// The accounts that were not in the group at the beginning: those that are in it now, and those
/// that are not.
pub struct Members {
    group: String,
    outside: Queue,
    inside: Queue,
}

type Queue = Arc<Mutex<VecDeque<String>>>;

impl Members {
    /// `outside` are the ids of accounts that are not in the group.
    pub fn new(group: String, outside: impl Iterator<Item = String>) -> Self {
        Self { group, outside: Arc::new(Mutex::new(outside.collect())), inside: Queue::default() }
    }

    pub fn job(&self, n: u64) -> Job {
        let path = format!("{GROUPS}/{}", self.group);
        let leaver = if n % 2 == 1 { taken(&self.inside) } else { None };
        let (op, who, to) = match leaver {
            Some(who) => ("remove", who, self.outside.clone()),
            None => ("add", taken(&self.outside).unwrap_or_default(), self.inside.clone()),
        };
        job(
            Method::PATCH,
            path,
            patch(op, "members", &json!([{ "value": &who }])),
            move |status, body| {
                to.lock().unwrap_or_else(PoisonError::into_inner).push_back(who);
                changed(status, body)
            },
        )
    }
}

fn taken(queue: &Queue) -> Option<String> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// Adds the first `many` accounts to one group, each with a request of its own.
pub fn add_each(group: &str, many: u64) -> Jobs {
    let (path, next) = (format!("{GROUPS}/{group}"), AtomicU64::new(0));
    Arc::new(move || {
        let who = next.fetch_add(1, Ordering::Relaxed);
        (who < many)
            .then(|| job(Method::PATCH, path.clone(), add_member(&account_id(who)), changed))
    })
}

/// The mix of one Entra ID cycle: 70 % lookups, 10 % creates, 10 % changes of a user, 10 % of a
/// group.
pub fn mixed(accounts: u64) -> Workload {
    workload(format!("mixed cycle, {accounts} accounts"), move |target| {
        // Accounts on the first page stay out of it: their groups would make later answers longer.
        let members =
            Members::new(target.spare_group.clone(), (accounts / 2..accounts).map(account_id));
        move |n| {
            Some(match n % 10 {
                7 => create_job(&format!("mixed-{n}")),
                8 => title_job(n, accounts),
                9 => members.job(n / 10),
                _ => lookup_job(n, accounts),
            })
        }
    })
}

fn title_job(n: u64, accounts: u64) -> Job {
    let (path, title) =
        (format!("{USERS}/{}", account_id(scatter(n, accounts))), format!("Nurse {n}"));
    let body = patch("Replace", "title", &json!(title));
    job(Method::PATCH, path, body, move |status, body| status == 200 && body.contains(&title))
}

fn graphql(
    name: &str,
    query: &str,
    variables: serde_json::Value,
    check: impl FnOnce(StatusCode, &str) -> bool + Send + 'static,
) -> Job {
    let body = json!({ "operationName": name, "query": query, "variables": variables }).to_string();
    job(Method::POST, "/graphql".into(), body, move |status, body| {
        status == 200 && !body.contains("\"errors\"") && check(status, body)
    })
}

const PAGE: &str = "query Page { organization { users(first: 50) { nodes { id userName displayName active emails { value } \
    groups(first: 10) { nodes { id displayName roleMappings { role { name } } } } } } } }";

/// A page of 50 users with e-mail addresses, 10 groups and their roles.
pub fn graphql_page() -> Workload {
    workload("GraphQL: 50 users, 10 groups each, roles".into(), |_| {
        |_| {
            Some(graphql("Page", PAGE, json!({}), |_, body| {
                body.matches("\"userName\"").count() == 50
                    && body.matches("\"displayName\"").count() == 50 + 50 * WARDS as usize
            }))
        }
    })
}

const ACCESS: &str = "query Access($userName: String!) { organization { user(userName: $userName) { active \
    roles { role { name } sources { kind group { displayName } } } } } }";

/// What one user may do, and why.
pub fn graphql_access(accounts: u64) -> Workload {
    workload("GraphQL: effective access of one user".into(), move |_| {
        move |n| {
            let name = format!("user-{}@bench.example", scatter(n, accounts));
            // An account that an earlier workload suspended holds no role.
            Some(graphql("Access", ACCESS, json!({ "userName": name }), |_, body| {
                body.contains("\"roles\"")
            }))
        }
    })
}

/// One AuthZEN evaluation for each request; half of the answers are yes. Each account is in ten
/// groups, and each group is mapped to a role.
pub fn decision(accounts: u64) -> Workload {
    workload("AuthZEN: decision about one user".into(), move |_| {
        move |n| {
            let name = format!("user-{}@bench.example", scatter(n, accounts));
            let (action, expected) =
                if n % 2 == 0 { ("read", "\"decision\":true") } else { ("write", "NOT_GRANTED") };
            let body = json!({
                "subject": { "type": "user", "id": name }, "action": { "name": action },
                "resource": { "type": "charts", "id": "1" },
            });
            Some(job(Method::POST, DECISION.into(), body.to_string(), move |status, body| {
                // An earlier workload suspended some accounts.
                status == 200 && (body.contains(expected) || body.contains("SUSPENDED"))
            }))
        }
    })
}

const HOLDERS: &str = "query Holders($id: ID!) { node(id: $id) { ... on Role { holders(first: 50) { nodes { \
    user { id userName displayName active } } } } } }";

/// A page of the accounts that hold a role through a group.
pub fn graphql_holders(accounts: u64) -> Workload {
    workload("GraphQL: 50 holders of a role".into(), move |target| {
        let role = target.role.clone();
        move |_| {
            Some(graphql("Holders", HOLDERS, json!({ "id": role }), move |_, body| {
                body.matches("\"userName\"").count() as u64 == accounts.min(50)
            }))
        }
    })
}

const MAPPING: &str = "mutation Mapping($id: ID!, $reason: String!) { roleMappingUpdate(input: { id: $id, reason: $reason }) { \
    roleMapping { reason } userErrors { message } } }";

/// Changes the reason of the mapping of the largest group.
pub fn graphql_mapping() -> Workload {
    workload("GraphQL: edit the largest group's mapping".into(), |target| {
        let mapping = target.mapping.clone();
        move |n| {
            let reason = format!("reason {n}");
            let expected = reason.clone();
            let variables = json!({ "id": mapping, "reason": reason });
            Some(graphql("Mapping", MAPPING, variables, move |_, body| body.contains(&expected)))
        }
    })
}
