//! The meaning of filters, by examples that are checked on SQLite, on PostgreSQL (if
//! `ROLECALL_TEST_POSTGRES` names a server) and in memory: all three must agree about every row.

#![allow(clippy::disallowed_methods, reason = "tables of these tests alone, without Cx")]

mod agreement;
mod indexes;

use std::sync::LazyLock;

use chrono::DateTime;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement,
};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{parse_attr_list, parse_filter, parse_path};
use crate::context::SqlBuilder;
use crate::domain::paging::filter_sql::{compile_filter, compile_order};
use identity::error::InvalidInput;

use crate::error::{Error, Rule};
use crate::identity::document::search_document;
use crate::identity::filter::{
    AttrPath, CompareOp, Filter, FilterLiteral, matches_document, matching_elements,
};
use crate::identity::schema;
use crate::identity::schema::{AttributeKind, ResourceType, SchemaAttribute, SchemaDefinition};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const BADGE: &str = "urn:acme:scim:1.0:Badge";
const ORGANIZATION: Uuid = Uuid::from_u128(0xacce);

/// Users with an extension, so that every type of value occurs.
static STAFF: LazyLock<ResourceType> = LazyLock::new(|| {
    let mut ty = schema::user_type().clone();
    let base =
        ty.core.attributes.iter().find(|attribute| attribute.name == "title").unwrap().clone();
    let of = |name: &str, kind, multi_valued| SchemaAttribute {
        name: name.into(),
        kind,
        multi_valued,
        ..base.clone()
    };
    let attributes = vec![
        of("level", AttributeKind::Integer, false),
        of("score", AttributeKind::Decimal, false),
        of("hiredAt", AttributeKind::DateTime, false),
        of("tags", AttributeKind::String, true),
        of("seal", AttributeKind::Binary, false),
        of("remote", AttributeKind::Boolean, false),
    ];
    ty.extensions.push(SchemaDefinition {
        urn: BADGE.into(),
        name: "Badge".into(),
        description: String::new(),
        attributes,
    });
    ty
});

#[derive(Debug, Clone)]
struct Row {
    id: Uuid,
    search: Map<String, Value>,
    /// Microseconds since the epoch.
    created: i64,
    updated: i64,
    version: i64,
    /// The groups of a user, the members of a group.
    others: Vec<Uuid>,
}

fn row(number: u128, ty: &ResourceType, document: Value) -> Row {
    let Value::Object(document) = document else { panic!("{document}") };
    let created = 1_700_000_000_000_000 + i64::try_from(number).unwrap() * 1_000_000;
    let search = search_document(ty, &document);
    Row {
        id: Uuid::from_u128(number),
        search,
        created,
        updated: created,
        version: 1,
        others: Vec::new(),
    }
}

impl Row {
    fn text(&self, name: &str) -> Option<String> {
        self.search.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    /// The search document with the attributes that only the row has.
    fn whole(&self, ty: &ResourceType) -> Map<String, Value> {
        let mut whole = self.search.clone();
        let version = format!("W/\"{}\"", self.version);
        whole.insert("id".into(), json!(self.id.to_string()));
        whole.insert(
            "meta".into(),
            json!({"created": self.created, "lastModified": self.updated, "version": version}),
        );
        let kind = |id: &Uuid| match (ty.name, id.as_u128() % 2) {
            ("User", _) => "direct",
            (_, 1) => "user",
            _ => "group",
        };
        let others: Vec<Value> = self
            .others
            .iter()
            .map(|id| json!({"value": id.to_string(), "type": kind(id)}))
            .collect();
        whole.insert(if ty.name == "User" { "groups" } else { "members" }.into(), others.into());
        whole
    }
}

const TABLES: [&str; 5] = ["\"user\"", "\"group\"", "user_email", "membership", "group_nesting"];

/// The databases of the tests, each with its own small tables on one connection.
struct World {
    runtime: Runtime,
    databases: Vec<DatabaseConnection>,
}

impl World {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let urls = std::iter::once("sqlite::memory:".to_owned())
            .chain(std::env::var("ROLECALL_TEST_POSTGRES").ok());
        let databases = urls.map(|url| runtime.block_on(Self::open(url))).collect();
        World { runtime, databases }
    }

    async fn open(url: String) -> DatabaseConnection {
        let mut options = ConnectOptions::new(url);
        options.max_connections(1).min_connections(1);
        let db = Database::connect(options).await.unwrap();
        let postgres = db.get_database_backend() == DbBackend::Postgres;
        let [uuid, instant, json, key] = if postgres {
            ["uuid", "timestamptz", "jsonb", "text COLLATE \"C\""]
        } else {
            ["blob", "text", "text", "text"]
        };
        let common = format!(
            "organization_id {uuid} NOT NULL, id {uuid} NOT NULL, external_id {key}, \
             display_name_key {key}, created_at {instant} NOT NULL, \
             updated_at {instant} NOT NULL, version bigint NOT NULL, search {json} NOT NULL"
        );
        // Columns that only the conditions for PostgreSQL name, so that they match a partial index.
        let (document, since) = if postgres {
            (", document text NOT NULL DEFAULT '{}'", ", since timestamptz NOT NULL DEFAULT now()")
        } else {
            ("", "")
        };
        for sql in [
            format!(
                "CREATE TEMPORARY TABLE \"user\"
                 ({common}, user_name_key {key} NOT NULL, active boolean NOT NULL{document})"
            ),
            format!("CREATE TEMPORARY TABLE \"group\" ({common}{document})"),
            format!(
                "CREATE TEMPORARY TABLE user_email (organization_id {uuid}, user_id {uuid}, \
                     value_key {key})"
            ),
            format!(
                "CREATE TEMPORARY TABLE membership
                 (organization_id {uuid}, group_id {uuid}, user_id {uuid}, until {instant}{since})"
            ),
            format!(
                "CREATE TEMPORARY TABLE group_nesting
                 (organization_id {uuid}, group_id {uuid}, member_id {uuid}, \
                 until {instant}{since})"
            ),
        ] {
            db.execute_unprepared(&sql).await.unwrap();
        }
        db
    }

    /// Replaces everything that the databases hold.
    fn hold(&self, ty: &ResourceType, rows: &[Row]) {
        self.runtime.block_on(async {
            for db in &self.databases {
                for table in TABLES {
                    db.execute_unprepared(&format!("DELETE FROM {table}")).await.unwrap();
                }
                for row in rows {
                    Self::insert(db, ty, row).await;
                }
            }
        });
    }

    async fn insert(db: &DatabaseConnection, ty: &ResourceType, row: &Row) {
        let run = async |sql: &str, values: Vec<sea_orm::Value>| {
            db.execute_raw(Statement::from_sql_and_values(db.get_database_backend(), sql, values))
                .await
                .unwrap();
        };
        let instant = |micros| DateTime::from_timestamp_micros(micros).unwrap();
        let common: [sea_orm::Value; 8] = [
            ORGANIZATION.into(),
            row.id.into(),
            row.text("externalId").into(),
            row.text("displayName").into(),
            instant(row.created).into(),
            instant(row.updated).into(),
            row.version.into(),
            Value::Object(row.search.clone()).into(),
        ];
        if ty.name == "Group" {
            run("INSERT INTO \"group\" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", common.into())
                .await;
            // Of the members of a group, odd ids are users and even ids are groups.
            for member in &row.others {
                let table = if member.as_u128() % 2 == 1 { "membership" } else { "group_nesting" };
                let values = vec![ORGANIZATION.into(), row.id.into(), (*member).into()];
                run(&format!("INSERT INTO {table} VALUES ($1, $2, $3, NULL)"), values).await;
            }
            return;
        }
        let active = row.search.get("active").and_then(Value::as_bool).unwrap_or(true);
        let own = [row.text("userName").unwrap_or_default().into(), active.into()];
        let sql = "INSERT INTO \"user\" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        run(sql, common.into_iter().chain(own).collect()).await;
        for group in &row.others {
            let values = vec![ORGANIZATION.into(), (*group).into(), row.id.into()];
            run("INSERT INTO membership VALUES ($1, $2, $3, NULL)", values).await;
        }
        for email in row.search.get("emails").and_then(Value::as_array).into_iter().flatten() {
            if let Some(value) = email.get("value").and_then(Value::as_str) {
                let values = vec![ORGANIZATION.into(), row.id.into(), value.into()];
                run("INSERT INTO user_email VALUES ($1, $2, $3)", values).await;
            }
        }
    }

    /// What each database says about each row: 1 true, 0 false, -1 neither.
    fn answers(&self, ty: &ResourceType, filter: &Filter) -> Vec<(DbBackend, Vec<(Uuid, i32)>)> {
        self.runtime.block_on(async {
            let mut answers = Vec::new();
            for db in &self.databases {
                let backend = db.get_database_backend();
                let mut sql = SqlBuilder::with_values([ORGANIZATION.into()]);
                let condition = compile_filter(filter, ty, backend, &mut sql, false).unwrap();
                let text = format!(
                    "SELECT r.id,
                     CASE ({condition}) WHEN TRUE THEN 1 WHEN FALSE THEN 0 ELSE -1 END AS hit
                     FROM \"{}\" r WHERE r.organization_id = $1 ORDER BY r.id",
                    ty.name.to_lowercase()
                );
                let statement = Statement::from_sql_and_values(backend, &text, sql.into_parts().1);
                let rows = db
                    .query_all_raw(statement)
                    .await
                    .unwrap_or_else(|error| panic!("{error}\n{text}"));
                let read = |row: sea_orm::QueryResult| {
                    (row.try_get("", "id").unwrap(), row.try_get("", "hit").unwrap())
                };
                answers.push((backend, rows.into_iter().map(read).collect()));
            }
            answers
        })
    }

    /// Ids in the order of a sort expression, those without a value last.
    fn sorted(&self, ty: &ResourceType, path: &str) -> Vec<Vec<Uuid>> {
        let path = parse_attr_list(path).unwrap().remove(0);
        self.runtime.block_on(async {
            let mut sorted = Vec::new();
            for db in &self.databases {
                let backend = db.get_database_backend();
                let expression = compile_order(&path, ty, backend).unwrap();
                let table = ty.name.to_lowercase();
                let text = format!(
                    "SELECT r.id FROM \"{table}\" r ORDER BY {expression} NULLS LAST, r.id"
                );
                let rows = db.query_all_raw(Statement::from_string(backend, text)).await.unwrap();
                sorted.push(rows.into_iter().map(|row| row.try_get("", "id").unwrap()).collect());
            }
            sorted
        })
    }

    /// The numbers of the rows that match, on which all databases and the memory must agree.
    fn find(&self, ty: &ResourceType, rows: &[Row], filter: &Filter) -> Result<Vec<u128>, String> {
        let expected: Vec<(Uuid, i32)> = rows
            .iter()
            .map(|row| (row.id, matches_document(filter, ty, &row.whole(ty)).unwrap().into()))
            .collect();
        for (backend, answer) in self.answers(ty, filter) {
            if answer != expected {
                let mut sql = SqlBuilder::with_values([ORGANIZATION.into()]);
                let condition = compile_filter(filter, ty, backend, &mut sql, false).unwrap();
                return Err(format!(
                    "{filter}\nin memory {expected:?}\n{backend:?} {answer:?}\n{condition}\n{sql:?}"
                ));
            }
        }
        Ok(expected.into_iter().filter(|(_, hit)| *hit == 1).map(|(id, _)| id.as_u128()).collect())
    }

    #[track_caller]
    fn tell(&self, ty: &ResourceType, rows: &[Row], stories: &[(&str, &[u128])]) {
        self.hold(ty, rows);
        for (text, wanted) in stories {
            let filter = parse_filter(text).unwrap();
            let found = self.find(ty, rows, &filter).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(found, *wanted, "{text}");
        }
    }
}

/// User 1 has all attributes, user 2 has few, user 3 has almost none and is inactive.
fn ward() -> Vec<Row> {
    let mut rows = vec![
        row(
            1,
            &STAFF,
            json!({
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", BADGE],
                "userName": "Mara@Acme.example", "externalId": "EXT-1", "displayName": "Mara Öst",
                "active": true,
                "name": {"givenName": "Mara", "familyName": "Öst"}, "title": "Nurse 100%",
                "emails": [
                    {"value": "mara@acme.example", "type": "work", "primary": true},
                    {"value": "mara@home.test", "type": "home"}],
                "addresses": [{"locality": "Umeå"}],
                ENTERPRISE: {"department": "Ward 4", "manager": {"value": "77"}},
                BADGE: {"level": 3, "score": 1.5, "hiredAt": "2024-05-01T10:00:00+02:00",
                        "tags": ["Night", "ICU"], "seal": "QUJD", "remote": false}
            }),
        ),
        row(
            2,
            &STAFF,
            json!({
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
                "userName": "noor", "title": "nurse 100x",
                "emails": [{"value": "noor@acme.example", "type": "home"}],
                BADGE: {"level": 12, "hiredAt": "2024-05-01T08:00:00.000001Z", "remote": true}
            }),
        ),
        row(3, &STAFF, json!({"userName": "Zoë", "active": false})),
    ];
    rows[0].others = vec![Uuid::from_u128(0xa), Uuid::from_u128(0xb)];
    rows[1].others = vec![Uuid::from_u128(0xb)];
    rows[2].version = 7;
    rows
}

#[test]
fn users_are_found_by_their_common_attributes() {
    World::new().tell(
        &STAFF,
        &ward(),
        &[
            (r#"userName eq "mara@ACME.example""#, &[1]),
            (r#"USERNAME eq "absent""#, &[]),
            (r#"userName ne "noor""#, &[1, 3]),
            (r#"userName sw "MA""#, &[1]),
            // The end of a range of prefixes is exact.
            (r#"userName sw "nooq""#, &[]),
            (r#"userName co "O""#, &[2, 3]),
            (r#"userName ew "Ë""#, &[3]),
            (r#"userName gt "mara@acme.example""#, &[2, 3]),
            (r#"userName le "noor""#, &[1, 2]),
            (r#"userName sw """#, &[1, 2, 3]),
            (r#"externalId eq "EXT-1""#, &[1]),
            (r#"externalId eq "ext-1""#, &[]),
            (r#"externalId ne "EXT-1""#, &[2, 3]),
            (r#"not (externalId sw "EXT")"#, &[2, 3]),
            ("externalId pr", &[1]),
            ("externalId eq null", &[2, 3]),
            (r#"displayName eq "MARA ÖST""#, &[1]),
            (r#"id eq "00000000-0000-0000-0000-000000000002""#, &[2]),
            (r#"id eq "2""#, &[]),
            (r#"id ne "2" and id pr"#, &[1, 2, 3]),
            ("active eq true", &[1, 2]),
            (r#"active eq "False""#, &[3]),
            ("active ne true", &[3]),
            ("active pr", &[1, 2, 3]),
        ],
    );
}

#[test]
fn facts_about_the_resource_are_found_too() {
    World::new().tell(
        &STAFF,
        &ward(),
        &[
            // Row n was created n seconds after 2023-11-14T22:13:20Z.
            (r#"meta.created gt "2023-11-14T22:13:22Z""#, &[3]),
            (r#"meta.created eq "2023-11-15T00:13:22+02:00""#, &[2]),
            (r#"meta.lastModified le "2023-11-14T22:13:22.0000009Z""#, &[1, 2]),
            (r#"meta.lastModified ge "2023-11-14T22:13:22.000001Z""#, &[3]),
            ("meta.created pr and meta pr", &[1, 2, 3]),
            (r#"meta[created lt "2023-11-14T22:13:22Z"]"#, &[1]),
            (r#"meta.resourceType eq "User""#, &[1, 2, 3]),
            (r#"meta.resourceType eq "Group""#, &[]),
            (r#"meta.version eq "W/\"7\"""#, &[3]),
            (r#"meta.version ne "W/\"7\"""#, &[1, 2]),
            (r#"meta.version eq "7""#, &[]),
            (r#"schemas eq "urn:acme:scim:1.0:Badge""#, &[1]),
        ],
    );
}

#[test]
fn a_version_with_a_state_is_the_version() {
    let world = World::new();
    let rows = ward();
    world.hold(&STAFF, &rows);
    // Rows have no tag of an answer, so the evaluation in memory knows nothing of its state.
    let filter = parse_filter(r#"meta.version eq "W/\"7-0123456789abcdef\"""#).unwrap();
    for (backend, answer) in world.answers(&STAFF, &filter) {
        let found: Vec<_> =
            answer.iter().filter(|(_, hit)| *hit == 1).map(|(id, _)| id.as_u128()).collect();
        assert_eq!(found, [3], "{backend:?}");
    }
}

#[test]
fn a_multi_valued_attribute_matches_by_any_of_its_elements() {
    World::new().tell(
        &STAFF,
        &ward(),
        &[
            (r#"emails.value eq "MARA@home.test""#, &[1]),
            (r#"emails eq "noor@acme.example""#, &[2]),
            (r#"emails.value ew "@acme.example""#, &[1, 2]),
            // `ne` is true when no element equals, so also without any.
            (r#"emails.type ne "work""#, &[2, 3]),
            (r#"emails[type ne "work"]"#, &[1, 2]),
            (r#"emails[type eq "home" and value co "acme"]"#, &[2]),
            (r#"emails.type eq "home" and emails.value co "acme""#, &[1, 2]),
            (r#"emails[type eq "work" and value eq "mara@acme.example"]"#, &[1]),
            (r#"emails[type eq "home" and value eq "mara@acme.example"]"#, &[]),
            (r#"emails[type eq "home"].value eq "noor@acme.example""#, &[2]),
            (r#"emails[not (type eq "home")]"#, &[1]),
            (r#"not (emails[type eq "home"])"#, &[3]),
            (r#"emails[primary eq true]"#, &[1]),
            ("emails[primary eq null]", &[1, 2]),
            ("emails pr", &[1, 2]),
            ("emails eq null", &[3]),
            ("emails.primary pr", &[1]),
            (r#"addresses.locality eq "UMEÅ""#, &[1]),
            (r#"groups.value eq "00000000-0000-0000-0000-00000000000a""#, &[1]),
            (r#"groups eq "00000000-0000-0000-0000-00000000000B""#, &[1, 2]),
            (r#"groups.value ne "00000000-0000-0000-0000-00000000000b""#, &[3]),
            (
                r#"groups[value eq "absent" or value eq "00000000-0000-0000-0000-00000000000a"]"#,
                &[1],
            ),
            (r#"groups.value eq "Admins""#, &[]),
            ("groups pr", &[1, 2]),
            ("not (groups pr)", &[3]),
            (
                r#"groups[value eq "00000000-0000-0000-0000-00000000000b" and type eq "Direct"]"#,
                &[1, 2],
            ),
            (
                r#"groups[value eq "00000000-0000-0000-0000-00000000000b" and type eq "indirect"]"#,
                &[],
            ),
            (r#"groups[value ne "00000000-0000-0000-0000-00000000000b"]"#, &[1]),
            (r#"groups.type ne "direct""#, &[3]),
            ("groups[value pr]", &[1, 2]),
        ],
    );
}

#[test]
fn everything_else_is_found_in_the_document() {
    World::new().tell(
        &STAFF,
        &ward(),
        &[
            // The wildcards of LIKE are ordinary characters.
            (r#"title ew "100%""#, &[1]),
            (r#"title co "_""#, &[]),
            (r#"title sw "NURSE""#, &[1, 2]),
            (r#"title lt "nurse 100x""#, &[1]),
            ("title eq null", &[3]),
            ("name pr", &[1]),
            (r#"name.familyName eq "öst""#, &[1]),
            (r#"name[givenName eq "mara" and familyName pr]"#, &[1]),
            (r#"name[not (givenName eq "x")]"#, &[1]),
            (r#"urn:ietf:params:scim:schemas:core:2.0:User:name.givenName eq "mara""#, &[1]),
            (
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department \
                 eq \"ward 4\"",
                &[1],
            ),
            (
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value \
                 eq \"77\"",
                &[1],
            ),
            (r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager eq "77""#, &[1]),
            ("urn:acme:scim:1.0:Badge:level gt 3", &[2]),
            ("urn:acme:scim:1.0:Badge:level ge 3.0", &[1, 2]),
            ("urn:acme:scim:1.0:Badge:level ne 12", &[1, 3]),
            ("urn:acme:scim:1.0:Badge:score eq 1.5", &[1]),
            (r#"urn:acme:scim:1.0:Badge:hiredAt eq "2024-05-01T08:00:00Z""#, &[1]),
            (r#"urn:acme:scim:1.0:Badge:hiredAt gt "2024-05-01T08:00:00Z""#, &[2]),
            (r#"urn:acme:scim:1.0:Badge:tags eq "night""#, &[1]),
            (r#"urn:acme:scim:1.0:Badge:tags[value sw "i" and value ew "u"]"#, &[1]),
            (r#"urn:acme:scim:1.0:Badge:seal eq "QUJD""#, &[1]),
            ("urn:acme:scim:1.0:Badge:remote eq false", &[1]),
            ("urn:acme:scim:1.0:Badge:remote ne true", &[1, 3]),
            ("title pr and (active eq false or emails pr) and not (externalId pr)", &[2]),
        ],
    );
}

#[test]
fn groups_are_found_by_name_and_by_member() {
    let ty = schema::group_type();
    let mut rows = vec![
        row(1, ty, json!({"displayName": "Ward 4", "externalId": "g1"})),
        row(2, ty, json!({"displayName": "Ward 5"})),
        row(3, ty, json!({"displayName": "Night"})),
    ];
    rows[0].others = vec![Uuid::from_u128(0xb), Uuid::from_u128(0xd)];
    rows[2].others = vec![Uuid::from_u128(2)];
    World::new().tell(
        ty,
        &rows,
        &[
            (r#"displayName eq "WARD 4""#, &[1]),
            (r#"displayName sw "ward""#, &[1, 2]),
            (r#"externalId eq "g1""#, &[1]),
            (r#"members.value eq "00000000-0000-0000-0000-00000000000b""#, &[1]),
            (r#"members.value eq "00000000-0000-0000-0000-000000000002""#, &[3]),
            (r#"members[value eq "00000000-0000-0000-0000-00000000000b"]"#, &[1]),
            (r#"members[not (value eq "00000000-0000-0000-0000-00000000000b")]"#, &[1, 3]),
            (
                "id eq \"00000000-0000-0000-0000-000000000001\" and members eq \
                 \"00000000-0000-0000-0000-00000000000b\"",
                &[1],
            ),
            (
                r#"members[value eq "00000000-0000-0000-0000-00000000000b" and type eq "User"]"#,
                &[1],
            ),
            (
                r#"members[value eq "00000000-0000-0000-0000-00000000000b" and type eq "Group"]"#,
                &[],
            ),
            (r#"members.type eq "group""#, &[3]),
            (r#"members[type ne "group"]"#, &[1]),
            (r#"members.value eq "not an id""#, &[]),
            ("members pr", &[1, 3]),
            ("members eq null", &[2]),
            (r#"meta.resourceType sw "Gr""#, &[1, 2, 3]),
        ],
    );
}

#[test]
fn a_closed_membership_and_another_organization_are_not_seen() {
    let world = World::new();
    let rows = ward();
    world.hold(&STAFF, &rows);
    world.runtime.block_on(async {
        for db in &world.databases {
            db.execute_unprepared("UPDATE membership SET until = '2024-01-01T00:00:00+00:00'")
                .await
                .unwrap();
            let other = Statement::from_sql_and_values(
                db.get_database_backend(),
                "UPDATE user_email SET organization_id = $1",
                [Uuid::from_u128(9).into()],
            );
            db.execute_raw(other).await.unwrap();
        }
    });
    for text in [
        r#"groups.value eq "00000000-0000-0000-0000-00000000000b""#,
        r#"emails eq "noor@acme.example""#,
    ] {
        for (backend, answer) in world.answers(&STAFF, &parse_filter(text).unwrap()) {
            assert!(answer.iter().all(|(_, hit)| *hit == 0), "{backend:?} {text}: {answer:?}");
        }
    }
}

#[test]
fn what_cannot_be_answered_is_refused_as_a_filter() {
    let refusal = |text: &str| match compile_filter(
        &parse_filter(text).unwrap(),
        &STAFF,
        DbBackend::Sqlite,
        &mut SqlBuilder::default(),
        false,
    ) {
        Err(Error::Invalid { rule: Rule::Filter, why, .. }) => why.into_owned(),
        other => panic!("{text}: {other:?}"),
    };
    let cases = [
        ("shoeSize eq 4", "`shoeSize` is not an attribute of a User"),
        ("urn:acme:scim:1.0:Badge pr", "`urn:acme:scim:1.0:Badge` is not an attribute of a User"),
        (r#"password sw "a""#, "`password` cannot be searched"),
        ("password pr", "`password` cannot be searched"),
        ("meta.location pr", "`meta.location` cannot be searched: use `id`"),
        ("active gt true", "`active` is a boolean: `gt` does not apply to it"),
        (r#"active eq "yes""#, "`active` is compared with true or false, not with \"yes\""),
        ("title eq 4.5", "`title` is compared with a string, not with 4.5"),
        ("title gt null", "`title` can be compared with null only by eq and ne"),
        (r#"name eq "Mara""#, "`name` is complex: name one of its sub-attributes"),
        (
            r#"x509Certificates.value gt "QQ==""#,
            "`x509Certificates.value` is binary: `gt` does not apply to it",
        ),
        (r#"meta.created co "2024""#, "`meta.created` is a date: `co` does not apply to it"),
        (
            r#"meta.created gt "yesterday""#,
            "`meta.created` is compared with a date such as \"2024-05-01T08:00:00Z\", not with \
             \"yesterday\"",
        ),
        (
            r#"urn:acme:scim:1.0:Badge:level eq "three""#,
            "`urn:acme:scim:1.0:Badge:level` is compared with a number, not with \"three\"",
        ),
        (r#"id sw "0""#, "`id` can only be compared with eq and ne"),
        ("emails[size pr]", "`emails` has no sub-attribute `size`"),
        ("title[value pr]", "`title` has no sub-attributes: it takes no brackets"),
        (
            r#"groups.value sw "x""#,
            "of `groups` only `value` (with eq, ne or pr), `type` and `display` can be searched",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(refusal(text), wanted, "{text}");
    }
    // Years that four digits cannot write would break the order of dates kept as text.
    refusal(r#"meta.created lt "9999-12-31T23:59:59-01:00""#);
    // A tree may come from other code than the parser.
    let nul = Filter::Compare(
        AttrPath { schema: None, name: "title".into(), sub: None },
        CompareOp::Eq,
        FilterLiteral::String("a\0".into()),
    );
    let mut sql = SqlBuilder::default();
    assert!(compile_filter(&nul, &STAFF, DbBackend::Postgres, &mut sql, false).is_err());
}

#[test]
fn literals_are_bound_and_never_written_into_the_statement() {
    let filter = parse_filter(
        r#"title eq "'; DROP" and emails[value sw "'x" and type eq "'x"] or userName ew "'x""#,
    );
    for backend in [DbBackend::Sqlite, DbBackend::Postgres] {
        let mut sql = SqlBuilder::with_values([1.into(), 2.into(), 3.into()]);
        let filter = filter.as_ref().unwrap();
        let text = compile_filter(filter, &STAFF, backend, &mut sql, false).unwrap();
        assert!(!text.contains("DROP") && !text.contains("'x"), "{text}");
        assert_eq!(sql.into_parts().1.len(), 3 + 5);
        assert!(text.contains("$4") && text.contains("$8") && !text.contains("$9"), "{text}");
    }
}

#[test]
fn the_filter_of_a_patch_path_is_put_to_one_element() {
    let ty = schema::user_type();
    let emails = ty.core.attributes.iter().find(|attribute| attribute.name == "emails").unwrap();
    let work = json!({"type": "work", "value": "mara@acme.example", "primary": true});
    let holds = |path: &str| {
        let path = parse_path(path).unwrap();
        matching_elements(&path.filter.unwrap(), emails, std::slice::from_ref(&work))
            .map(|hits| hits == [true])
    };
    assert!(holds(r#"emails[type eq "WORK"].value"#).unwrap());
    assert!(holds(r#"emails[Type eq "work" and not (primary eq "False")]"#).unwrap());
    assert!(!holds(r#"emails[type ne "work"]"#).unwrap());
    assert!(holds(r#"emails[display eq null]"#).unwrap());
    assert!(matches!(holds("emails[size pr]"), Err(InvalidInput { rule: Rule::Filter, .. })));
}

#[test]
fn resources_sort_by_code_point_and_by_their_primary_value() {
    let world = World::new();
    let mut rows = ward();
    rows.push(row(
        4,
        &STAFF,
        json!({
            "userName": "ärla", "title": "Änne", "name": {"familyName": "_"},
            "emails": [{"value": "z@acme.example"}, {"value": "a@acme.example", "primary": true}],
            BADGE: {"level": 7, "hiredAt": "2020-01-01T00:00:00Z", "remote": false}
        }),
    ));
    world.hold(&STAFF, &rows);
    let cases: [(&str, [u128; 4]); 9] = [
        ("userName", [1, 2, 3, 4]),
        ("title", [1, 2, 4, 3]),
        ("NAME.familyName", [4, 1, 2, 3]),
        ("emails", [4, 1, 2, 3]),
        ("emails.value", [4, 1, 2, 3]),
        ("meta.lastModified", [1, 2, 3, 4]),
        ("urn:acme:scim:1.0:Badge:level", [1, 4, 2, 3]),
        ("urn:acme:scim:1.0:Badge:hiredAt", [4, 1, 2, 3]),
        ("urn:acme:scim:1.0:Badge:remote", [1, 4, 2, 3]),
    ];
    for (path, wanted) in cases {
        for sorted in world.sorted(&STAFF, path) {
            assert_eq!(sorted, wanted.map(Uuid::from_u128), "{path}");
        }
    }
    for path in ["name", "password", "groups", "meta", "meta.location", "shoeSize", "addresses"] {
        let path = parse_attr_list(path).unwrap().remove(0);
        assert!(
            matches!(compile_order(&path, &STAFF, DbBackend::Sqlite), Err(Error::Invalid { .. })),
            "{path}"
        );
    }
}
