//! The screens of an administrator: the documents of `docs/examples/screens`, each one query, and
//! the floor of those whose rows the floor has.
//!
//! The floor has no connections, credentials, requests, failures, runs and findings, so the screens
//! about these are measured without one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Method;
use serde_json::{Value, json};

use crate::client::Job;
use crate::store::account_id;
use crate::target::{Kind, Target};
use crate::work::{Workload, job, scatter, workload};

/// What a screen is about.
#[derive(Clone, Copy)]
enum About {
    Everything,
    /// One of the accounts that are in ten groups.
    Account,
    /// A group whose members are these accounts.
    Group,
    Connection,
}

struct Screen {
    name: &'static str,
    document: &'static str,
    about: About,
    /// What the answer has.
    shows: &'static str,
    /// The same answer by one statement; `$1` is the id of what the screen is about.
    floor: Option<&'static str>,
}

macro_rules! screens {
    ($($name:literal $about:ident $shows:literal $floor:expr;)+) => {
        const SCREENS: &[Screen] = &[$(Screen {
            name: $name,
            document: include_str!(concat!("../../docs/examples/screens/", $name, ".graphql")),
            about: About::$about,
            shows: $shows,
            floor: $floor,
        }),+];
    };
}

screens! {
    "overview" Everything "\"recentActivity\"" None;
    "configuration" Connection "\"lastFour\"" None;
    "users" Everything "\"userName\"" Some(USERS);
    "user" Account "Ward 0" Some(USER);
    "group" Group "\"memberCount\"" Some(GROUP);
    "mapping-editor" Everything "Ward 0" Some(MAPPING_EDITOR);
    "health" Everything "\"connections\"" None;
    "review-queue" Everything "\"failures\"" None;
    "audit" Everything "\"action\"" Some(AUDIT);
    "access-report" Everything "Ward 0" Some(ACCESS_REPORT);
    "rotation" Connection "\"lastFour\"" None;
    "delete-all" Everything "\"counts\"" None;
    "keys" Everything "\"apiKeys\"" None;
    "runs-and-findings" Everything "\"syncRuns\"" None;
}

/// The statement of the floor for a document's operation, and whether it takes an id.
pub fn floor_statement(operation: &str) -> Option<(&'static str, bool)> {
    let screen = SCREENS.iter().find(|screen| operation_name(screen.document) == operation)?;
    Some((screen.floor?, screen.floor?.contains("$1")))
}

/// The name of the one operation of a document.
fn operation_name(document: &str) -> &str {
    let named = document.split_once("\nquery ").map_or("", |(_, rest)| rest);
    named.split(['(', ' ', '{']).next().unwrap_or_default()
}

/// A workload for each screen, with `accounts` accounts in ten groups.
pub fn all_screens(accounts: u64) -> impl Iterator<Item = Workload> {
    SCREENS.iter().map(move |screen| {
        let named = workload(format!("screens: {}", screen.name), move |target| {
            let (about, kind) = (screen.about, target.kind);
            let (ward, connection) = (target.ward.clone(), target.connection.clone());
            move |n| {
                let variables = match about {
                    About::Everything => json!({}),
                    About::Account => {
                        json!({ "id": global_id(kind, "User", &account_id(scatter(n, accounts))) })
                    }
                    About::Group => json!({ "id": global_id(kind, "Group", &ward) }),
                    About::Connection => json!({ "connectionId": connection }),
                };
                Some(ask(screen, &variables))
            }
        });
        Workload { has_floor: screen.floor.is_some(), ..named }
    })
}

/// The global id of an object of rolecall; the floor has no kinds.
fn global_id(kind: Kind, name: &str, id: &str) -> String {
    match kind {
        Kind::Floor => id.to_owned(),
        Kind::Postgres | Kind::Sqlite => URL_SAFE_NO_PAD.encode(format!("{name}:{id}")),
    }
}

fn ask(screen: &'static Screen, variables: &Value) -> Job {
    let body = json!({
        "operationName": operation_name(screen.document), "query": screen.document,
        "variables": variables,
    });
    job(Method::POST, "/graphql".into(), body.to_string(), |status, body| {
        status == 200 && !body.contains("\"errors\"") && body.contains(screen.shows)
    })
}

/// Reads the global id of the connection; the floor has none.
pub async fn find_connection(target: &mut Target) -> crate::Result<()> {
    if target.kind != Kind::Floor {
        let query = "{ organization { connections(first: 1) { nodes { id } } } }";
        let found = target.ask(Method::POST, "/graphql", json!({ "query": query })).await?;
        let id = found["data"]["organization"]["connections"]["nodes"][0]["id"].as_str();
        target.connection = id.ok_or_else(|| found.to_string())?.into();
    }
    Ok(())
}

// A total is what the database knows: counting a million rows for it would be no floor.

const USERS: &str = "SELECT json_build_object('data', json_build_object('organization', json_build_object('users', json_build_object(
  'totalCount', (SELECT reltuples::bigint FROM pg_class WHERE oid = 'account'::regclass),
  'nodes', json_agg(json_build_object('id', a.id, 'userName', a.user_name, 'displayName', a.document->>'displayName',
    'active', a.active, 'updatedAt', a.updated_at, 'emails', a.document->'emails',
    'department', a.document->'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User'->>'department',
    'groups', json_build_object('totalCount', (SELECT count(*) FROM membership s WHERE s.account_id = a.id),
      'nodes', (SELECT json_agg(json_build_object('id', g.id, 'displayName', g.name))
        FROM (SELECT t.id, t.name FROM membership s JOIN team t ON t.id = s.team_id
              WHERE s.account_id = a.id ORDER BY t.id LIMIT 5) g)),
    'roles', (SELECT json_agg(json_build_object('role', json_build_object('id', r.id, 'name', r.name)))
      FROM membership s JOIN mapping m ON m.team_id = s.team_id JOIN role r ON r.id = m.role_id
      WHERE s.account_id = a.id)))))))::text
  FROM (SELECT id, user_name, active, document, updated_at FROM account ORDER BY id LIMIT 25) a";

const USER: &str = "SELECT json_build_object('data', json_build_object('organization', json_build_object(
  'user', json_build_object('id', a.id, 'userName', a.user_name, 'externalId', a.external_id, 'active', a.active,
    'version', a.version, 'updatedAt', a.updated_at, 'attributes', a.document,
    'groups', json_build_object('totalCount', (SELECT count(*) FROM membership s WHERE s.account_id = a.id),
      'nodes', (SELECT json_agg(json_build_object('id', g.id, 'displayName', g.name))
        FROM (SELECT t.id, t.name FROM membership s JOIN team t ON t.id = s.team_id
              WHERE s.account_id = a.id ORDER BY t.id LIMIT 20) g)),
    'roles', (SELECT json_agg(json_build_object('role', json_build_object('id', r.id, 'name', r.name, 'permissions', r.permissions),
        'sources', json_build_array(json_build_object('kind', 'MAPPING', 'group', json_build_object('id', t.id, 'displayName', t.name)))))
      FROM membership s JOIN team t ON t.id = s.team_id JOIN mapping m ON m.team_id = t.id JOIN role r ON r.id = m.role_id
      WHERE s.account_id = a.id)),
  'events', json_build_object('nodes', (SELECT json_agg(json_build_object('id', l.id, 'at', l.at, 'action', l.action, 'after', l.payload))
    FROM (SELECT id, at, action, payload FROM ledger WHERE subject = a.id ORDER BY pos DESC LIMIT 20) l)))))::text
  FROM account a WHERE a.id = $1::text::uuid";

const GROUP: &str = "SELECT json_build_object('data', json_build_object('organization', json_build_object(
  'group', json_build_object('id', t.id, 'displayName', t.name, 'version', t.version, 'updatedAt', t.updated_at,
    'memberCount', n.members,
    'members', json_build_object('totalCount', n.members,
      'nodes', (SELECT json_agg(json_build_object('id', a.id, 'displayName', a.document->>'displayName',
          'userName', a.user_name, 'active', a.active))
        FROM (SELECT account_id FROM membership WHERE team_id = t.id ORDER BY account_id LIMIT 50) s
        JOIN account a ON a.id = s.account_id)),
    'roleMappings', (SELECT json_agg(json_build_object('reason', m.reason, 'role', json_build_object('id', r.id, 'name', r.name)))
      FROM mapping m JOIN role r ON r.id = m.role_id WHERE m.team_id = t.id)),
  'events', json_build_object('nodes', (SELECT json_agg(json_build_object('id', l.id, 'at', l.at, 'action', l.action, 'after', l.payload))
    FROM (SELECT id, at, action, payload FROM ledger WHERE subject = t.id ORDER BY pos DESC LIMIT 20) l)))))::text
  FROM team t CROSS JOIN LATERAL (SELECT count(*) AS members FROM membership s WHERE s.team_id = t.id) n
  WHERE t.id = $1::text::uuid";

const MAPPING_EDITOR: &str = "SELECT json_build_object('data', json_build_object('organization', json_build_object(
  'roles', json_build_object('nodes', (SELECT json_agg(json_build_object('id', r.id, 'name', r.name))
    FROM (SELECT id, name FROM role ORDER BY name LIMIT 100) r)),
  'groups', json_build_object('nodes', (SELECT json_agg(json_build_object('id', t.id, 'displayName', t.name,
      'memberCount', (SELECT count(*) FROM membership s WHERE s.team_id = t.id)))
    FROM (SELECT id, name FROM team ORDER BY name LIMIT 20) t)),
  'roleMappings', json_build_object('totalCount', (SELECT count(*) FROM mapping),
    'nodes', (SELECT json_agg(json_build_object('reason', m.reason, 'group', json_build_object('id', t.id, 'displayName', t.name),
        'role', json_build_object('id', r.id, 'name', r.name)))
      FROM (SELECT team_id, role_id, reason FROM mapping ORDER BY team_id LIMIT 50) m
      JOIN team t ON t.id = m.team_id JOIN role r ON r.id = m.role_id)))))::text";

const AUDIT: &str = "SELECT json_build_object('data', json_build_object('organization', json_build_object('events', json_build_object(
  'nodes', json_agg(json_build_object('id', l.id, 'seq', l.pos, 'at', l.at, 'action', l.action, 'subjectId', l.subject,
    'after', l.payload))))))::text
  FROM (SELECT pos, id, at, action, subject, payload FROM ledger ORDER BY pos DESC LIMIT 50) l";

const ACCESS_REPORT: &str = "SELECT json_build_object('data', json_build_object('organization', json_build_object(
  'accessReport', json_build_object(
    'totalCount', (SELECT count(DISTINCT s.account_id) FROM mapping m JOIN membership s ON s.team_id = m.team_id
      JOIN account h ON h.id = s.account_id AND h.active),
    'nodes', json_agg(json_build_object('userId', a.id, 'user', json_build_object('id', a.id, 'userName', a.user_name,
        'displayName', a.document->>'displayName', 'active', a.active),
      'roles', (SELECT json_agg(json_build_object('role', json_build_object('id', r.id, 'name', r.name),
          'sources', json_build_array(json_build_object('kind', 'MAPPING', 'group', json_build_object('id', t.id, 'displayName', t.name)))))
        FROM membership s JOIN team t ON t.id = s.team_id JOIN mapping m ON m.team_id = t.id JOIN role r ON r.id = m.role_id
        WHERE s.account_id = a.id)))),
  'roles', json_build_object('nodes', (SELECT json_agg(json_build_object('id', r.id, 'name', r.name))
    FROM (SELECT id, name FROM role ORDER BY name LIMIT 100) r)))))::text
  FROM (SELECT a.id, a.user_name, a.document, a.active FROM account a
        WHERE a.active AND EXISTS (SELECT 1 FROM membership s JOIN mapping m ON m.team_id = s.team_id WHERE s.account_id = a.id)
        ORDER BY a.id LIMIT 25) a";
