//! The floor: the least that the same requests can cost on PostgreSQL. It is a bare handler with
//! one prepared statement for each request, which also writes a row like the ledger's, over 16
//! connections. It has no authentication, no validation, no policy and no history.
//!
//! It answers the requests of the workloads and nothing else, under the paths of the real server.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::postgres::{PgPool, PgPoolOptions};
use uuid::Uuid;

use crate::Result;

const TABLES: &str = "
CREATE TABLE account (id uuid PRIMARY KEY, user_name text NOT NULL UNIQUE, external_id text NOT NULL, active boolean NOT NULL,
  document jsonb NOT NULL, version bigint NOT NULL, updated_at timestamptz NOT NULL);
CREATE TABLE team (id uuid PRIMARY KEY, name text NOT NULL, version bigint NOT NULL, updated_at timestamptz NOT NULL);
CREATE TABLE membership (team_id uuid NOT NULL, account_id uuid NOT NULL, PRIMARY KEY (team_id, account_id));
CREATE INDEX membership_account ON membership (account_id);
CREATE TABLE role (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,
  permissions jsonb NOT NULL DEFAULT '[\"charts:read\"]');
CREATE TABLE mapping (team_id uuid PRIMARY KEY, role_id bigint NOT NULL, reason text NOT NULL);
CREATE TABLE ledger (pos bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id uuid NOT NULL, at timestamptz NOT NULL,
  action text NOT NULL, subject uuid NOT NULL, payload text);
CREATE INDEX ledger_subject ON ledger (subject, pos)";

/// Serves until it is killed.
pub async fn serve(database: &str, listen: &str) -> Result<()> {
    let pool = PgPoolOptions::new()
        .max_connections(16)
        .test_before_acquire(false)
        .connect(database)
        .await?;
    sqlx::raw_sql(TABLES).execute(&pool).await?;
    let app = Router::new()
        .route("/scim/v2/acme/Users", get(find).post(create))
        .route("/scim/v2/acme/Users/{id}", patch(replace))
        .route("/scim/v2/acme/Groups", post(make_group))
        .route("/scim/v2/acme/Groups/{id}", patch(member))
        .route("/graphql", post(graphql))
        .route(crate::work::DECISION, post(decide))
        .with_state(pool);
    axum::serve(tokio::net::TcpListener::bind(listen).await?, app).await?;
    Ok(())
}

struct Failure(sqlx::Error);

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.0.to_string()).into_response()
    }
}

type Answer<T> = Result<T, Failure>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewAccount {
    user_name: String,
    external_id: String,
    active: bool,
}

async fn create(State(pool): State<PgPool>, body: String) -> Answer<Response> {
    let Ok(account) = serde_json::from_str::<NewAccount>(&body) else {
        return Ok(StatusCode::BAD_REQUEST.into_response());
    };
    let id = Uuid::now_v7();
    sqlx::query(
        "WITH a AS (INSERT INTO account VALUES ($1, $2, $3, $4, $5::text::jsonb, 1, now()) RETURNING id) \
         INSERT INTO ledger (id, at, action, subject, payload) SELECT $6, now(), 'user.created', id, $5 FROM a",
    )
    .bind(id)
    .bind(account.user_name.to_lowercase())
    .bind(account.external_id)
    .bind(account.active)
    .bind(&body)
    .bind(Uuid::now_v7())
    .execute(&pool)
    .await?;
    Ok((StatusCode::CREATED, format!("{{\"id\":\"{id}\",{}", body.get(1..).unwrap_or_default()))
        .into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    filter: Option<String>,
    start_index: Option<i64>,
    cursor: Option<String>,
}

async fn find(State(pool): State<PgPool>, Query(asked): Query<Asked>) -> Answer<Response> {
    if let Some(filter) = asked.filter {
        let name = filter
            .strip_prefix("userName eq \"")
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or_default();
        let found: Option<(Uuid, String)> =
            sqlx::query_as("SELECT id, document::text FROM account WHERE user_name = $1")
                .bind(name.to_lowercase())
                .fetch_optional(&pool)
                .await?;
        return Ok(list(found.iter().len() as i64, "", &found.into_iter().collect::<Vec<_>>()));
    }
    if let Some(start) = asked.start_index {
        let rows: Vec<(Uuid, String, i64)> = sqlx::query_as(
            // The whole row is read only for the rows of the page.
            "SELECT id, document::text, (SELECT count(*) FROM account) FROM account \
             JOIN (SELECT id FROM account ORDER BY id LIMIT 100 OFFSET $1) AS page USING (id) ORDER BY id",
        )
        .bind(start - 1)
        .fetch_all(&pool)
        .await?;
        let total = rows.first().map_or(0, |row| row.2);
        return Ok(list(
            total,
            "",
            &rows.into_iter().map(|(id, document, _)| (id, document)).collect::<Vec<_>>(),
        ));
    }
    let after = asked.cursor.and_then(|text| text.parse().ok()).unwrap_or_else(Uuid::nil);
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT id, document::text FROM account WHERE id > $1 ORDER BY id LIMIT 100",
    )
    .bind(after)
    .fetch_all(&pool)
    .await?;
    let last = rows.last().filter(|_| rows.len() == 100);
    let next = last.map(|(id, _)| format!("\"nextCursor\":\"{id}\",")).unwrap_or_default();
    Ok(list(0, &next, &rows))
}

fn list(total: i64, paging: &str, rows: &[(Uuid, String)]) -> Response {
    let mut body = format!(
        "{{\"totalResults\":{total},{paging}\"itemsPerPage\":{},\"Resources\":[",
        rows.len()
    );
    for (n, (id, document)) in rows.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        body.push_str(&format!(
            "{comma}{{\"id\":\"{id}\",{}",
            document.get(1..).unwrap_or_default()
        ));
    }
    body.push_str("]}");
    body.into_response()
}

#[derive(Deserialize)]
struct Patch<'a> {
    #[serde(rename = "Operations", borrow)]
    operations: Vec<Operation<'a>>,
}

#[derive(Deserialize)]
struct Operation<'a> {
    op: &'a str,
    path: &'a str,
    #[serde(borrow)]
    value: &'a RawValue,
}

#[derive(Deserialize)]
struct Member {
    value: Uuid,
}

async fn replace(
    State(pool): State<PgPool>,
    Path(id): Path<Uuid>,
    body: String,
) -> Answer<Response> {
    let Ok(patch) = serde_json::from_str::<Patch>(&body) else {
        return Ok(StatusCode::BAD_REQUEST.into_response());
    };
    let Some(operation) = patch.operations.first() else {
        return Ok(StatusCode::BAD_REQUEST.into_response());
    };
    let (value, active) = match (operation.path, operation.value.get()) {
        ("active", "\"True\"") => ("true", Some(true)),
        ("active", _) => ("false", Some(false)),
        (_, value) => (value, None),
    };
    let document: String = sqlx::query_scalar(
        "WITH a AS (UPDATE account SET active = coalesce($2, active), version = version + 1, updated_at = now(), \
                    document = jsonb_set(document, ARRAY[$3], $4::text::jsonb) WHERE id = $1 RETURNING id, document), \
              l AS (INSERT INTO ledger (id, at, action, subject, payload) \
                    SELECT $5, now(), 'user.updated', id, $6 FROM a) \
         SELECT document::text FROM a",
    )
    .bind(id)
    .bind(active)
    .bind(operation.path)
    .bind(value)
    .bind(Uuid::now_v7())
    .bind(&body)
    .fetch_one(&pool)
    .await?;
    Ok(format!("{{\"id\":\"{id}\",{}", document.get(1..).unwrap_or_default()).into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewGroup {
    display_name: String,
}

async fn make_group(State(pool): State<PgPool>, body: String) -> Answer<Response> {
    let Ok(group) = serde_json::from_str::<NewGroup>(&body) else {
        return Ok(StatusCode::BAD_REQUEST.into_response());
    };
    let id = Uuid::now_v7();
    sqlx::query("INSERT INTO team VALUES ($1, $2, 1, now())")
        .bind(id)
        .bind(group.display_name)
        .execute(&pool)
        .await?;
    Ok((StatusCode::CREATED, format!("{{\"id\":\"{id}\"}}")).into_response())
}

async fn member(
    State(pool): State<PgPool>,
    Path(group): Path<Uuid>,
    body: String,
) -> Answer<StatusCode> {
    let Ok(patch) = serde_json::from_str::<Patch>(&body) else {
        return Ok(StatusCode::BAD_REQUEST);
    };
    let Some(operation) = patch.operations.first() else { return Ok(StatusCode::BAD_REQUEST) };
    let Ok([member]) = serde_json::from_str::<[Member; 1]>(operation.value.get()) else {
        return Ok(StatusCode::BAD_REQUEST);
    };
    let change = match operation.op {
        "add" => {
            "WITH g AS (UPDATE team SET version = version + 1, updated_at = now() WHERE id = $1 RETURNING id), \
                  m AS (INSERT INTO membership (team_id, account_id) SELECT id, $2 FROM g \
                        ON CONFLICT DO NOTHING RETURNING team_id) \
             INSERT INTO ledger (id, at, action, subject, payload) SELECT $3, now(), 'group.members', team_id, $4 FROM m"
        }
        _ => {
            "WITH g AS (UPDATE team SET version = version + 1, updated_at = now() WHERE id = $1 RETURNING id), \
                  m AS (DELETE FROM membership USING g WHERE team_id = g.id AND account_id = $2 RETURNING team_id) \
             INSERT INTO ledger (id, at, action, subject, payload) SELECT $3, now(), 'group.members', team_id, $4 FROM m"
        }
    };
    let done = sqlx::query(change)
        .bind(group)
        .bind(member.value)
        .bind(Uuid::now_v7())
        .bind(&body)
        .execute(&pool)
        .await?;
    Ok(if done.rows_affected() == 1 { StatusCode::NO_CONTENT } else { StatusCode::CONFLICT })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operations {
    operation_name: String,
    variables: Variables,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variables {
    user_name: Option<String>,
    id: Option<String>,
    reason: Option<String>,
}

const PAGE: &str = "SELECT json_build_object('data', json_build_object('organization', json_build_object('users',
  json_build_object('nodes', json_agg(json_build_object('id', a.id, 'userName', a.user_name, 'displayName', a.document->>'displayName',
    'active', a.active, 'emails', a.document->'emails',
    'groups', (SELECT json_build_object('nodes', json_agg(json_build_object('id', g.id, 'displayName', g.name, 'mappings',
        (SELECT json_agg(json_build_object('role', json_build_object('name', r.name)))
         FROM mapping m JOIN role r ON r.id = m.role_id WHERE m.team_id = g.id))))
      FROM (SELECT t.id, t.name FROM membership s JOIN team t ON t.id = s.team_id
            WHERE s.account_id = a.id ORDER BY t.id LIMIT 10) g)))))))::text
  FROM (SELECT id, user_name, active, document FROM account ORDER BY id LIMIT 50) a";

const ACCESS: &str = "SELECT json_build_object('data', json_build_object('organization', json_build_object('user',
  json_build_object('active', a.active, 'roles', (SELECT json_agg(json_build_object('role', json_build_object('name', r.name),
      'sources', json_build_array(json_build_object('kind', 'MAPPING', 'group', json_build_object('displayName', t.name)))))
    FROM membership s JOIN team t ON t.id = s.team_id JOIN mapping m ON m.team_id = t.id JOIN role r ON r.id = m.role_id
    WHERE s.account_id = a.id)))))::text
  FROM account a WHERE a.user_name = $1";

const DECISION: &str = "SELECT a.active, EXISTS (SELECT 1 FROM membership s
    JOIN mapping m ON m.team_id = s.team_id JOIN role r ON r.id = m.role_id
    WHERE s.account_id = a.id AND jsonb_exists(r.permissions, $2))
  FROM account a WHERE a.user_name = $1";

#[derive(Deserialize)]
struct Question {
    subject: QuestionSubject,
    action: QuestionAction,
    resource: QuestionResource,
}

#[derive(Deserialize)]
struct QuestionSubject {
    id: String,
}

#[derive(Deserialize)]
struct QuestionAction {
    name: String,
}

#[derive(Deserialize)]
struct QuestionResource {
    r#type: String,
}

async fn decide(State(pool): State<PgPool>, body: String) -> Answer<Response> {
    let Ok(Question { subject, action, resource }) = serde_json::from_str(&body) else {
        return Ok(StatusCode::BAD_REQUEST.into_response());
    };
    let found: Option<(bool, bool)> = sqlx::query_as(DECISION)
        .bind(subject.id.to_lowercase())
        .bind(format!("{}:{}", resource.r#type, action.name))
        .fetch_optional(&pool)
        .await?;
    let answer = match found {
        Some((true, true)) => "{\"decision\":true}",
        Some((true, false)) => "{\"decision\":false,\"context\":{\"reason\":\"NOT_GRANTED\"}}",
        Some((false, _)) => "{\"decision\":false,\"context\":{\"reason\":\"SUSPENDED\"}}",
        None => "{\"decision\":false}",
    };
    Ok(answer.into_response())
}

const HOLDERS: &str = "SELECT json_build_object('data', json_build_object('node', json_build_object('holders',
  json_build_object('nodes', json_agg(json_build_object('user', json_build_object('id', a.id, 'userName', a.user_name,
    'displayName', a.document->>'displayName', 'active', a.active)))))))::text
  FROM (SELECT a.id, a.user_name, a.document, a.active FROM account a
        WHERE EXISTS (SELECT 1 FROM mapping m JOIN membership s ON s.team_id = m.team_id
                      WHERE m.role_id = $1::text::bigint AND s.account_id = a.id) AND a.active
        ORDER BY a.id LIMIT 50) a";

const MAPPING: &str = "WITH m AS (UPDATE mapping SET reason = $2 WHERE team_id = $1 RETURNING team_id, reason),
  l AS (INSERT INTO ledger (id, at, action, subject, payload) SELECT $3, now(), 'mapping.updated', team_id, reason FROM m)
  SELECT json_build_object('data', json_build_object('roleMappingUpdate',
    json_build_object('roleMapping', json_build_object('reason', reason), 'userErrors', json_build_array())))::text FROM m";

async fn graphql(State(pool): State<PgPool>, body: String) -> Answer<Response> {
    let Ok(asked) = serde_json::from_str::<Operations>(&body) else {
        return Ok(StatusCode::BAD_REQUEST.into_response());
    };
    let variables = asked.variables;
    let screen = crate::screens::floor_statement(&asked.operation_name);
    let answer: String = match asked.operation_name.as_str() {
        "Page" => sqlx::query_scalar(PAGE).fetch_one(&pool).await?,
        "Holders" => sqlx::query_scalar(HOLDERS).bind(variables.id).fetch_one(&pool).await?,
        "Access" => sqlx::query_scalar(ACCESS).bind(variables.user_name).fetch_one(&pool).await?,
        _ if screen.is_some() => {
            let (statement, takes_id) = screen.unwrap_or_default();
            let query = sqlx::query_scalar(statement);
            if takes_id {
                query.bind(variables.id).fetch_one(&pool).await?
            } else {
                query.fetch_one(&pool).await?
            }
        }
        _ => {
            let mapping = variables.id.and_then(|id| id.parse::<Uuid>().ok());
            let query = sqlx::query_scalar(MAPPING)
                .bind(mapping)
                .bind(variables.reason)
                .bind(Uuid::now_v7());
            query.fetch_one(&pool).await?
        }
    };
    Ok(answer.into_response())
}
