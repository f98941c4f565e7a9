//! Each common filter is answered by an index of the real tables.

use migration::MigratorTrait;

use super::*;

/// So many rows that PostgreSQL's planner prefers an index.
const MANY: &str = "
    INSERT INTO organization (id, slug, name, data_key, scim_enabled, integration_mode, \
    schema_version, created_at, updated_at)
        SELECT '00000000-0000-0000-0000-00000000acce', 'acme', 'Acme', '', TRUE, '', 0, now(), \
        now();
    INSERT INTO \"user\" (organization_id, id, user_name, user_name_key, display_name_key, \
    active, protected, document, search,
                        version, created_at, updated_at)
        SELECT o.id, gen_random_uuid(), n, n, n, n % 100 > 0, FALSE, '{}', '{}', 1, now(), \
        timestamptz '2024-06-01' - n * interval '1 day'
        FROM organization o, generate_series(1, 5000) n;
    INSERT INTO user_email (organization_id, value_key, user_id) \
    SELECT organization_id, user_name_key, id FROM \"user\";
    INSERT INTO \"group\" (organization_id, id, display_name, display_name_key, document, search, \
    version, created_at,
                         updated_at)
        SELECT organization_id, id, user_name, user_name_key, '{}', '{}', 1, now(), now() \
        FROM \"user\";
    INSERT INTO membership (organization_id, id, group_id, user_id, since, opened_by)
        SELECT organization_id, id, id, id, now(), id FROM \"user\";
    ANALYZE";

#[test]
fn common_filters_are_answered_by_an_index() {
    let cases = [
        (
            r#"id eq "00000000-0000-0000-0000-000000000001""#,
            &["user_pkey", "sqlite_autoindex_user_1"][..],
        ),
        (r#"userName eq "mara""#, &["user_name_live"]),
        (r#"userName sw "mar""#, &["user_name_live"]),
        (r#"externalId eq "x""#, &["user_external_live"]),
        (r#"displayName eq "Mara""#, &["user_display_name_live"]),
        (r#"displayName sw "Mara" and title pr"#, &["user_display_name_live"]),
        ("active eq false", &["user_inactive_live"]),
        (r#"meta.lastModified gt "2024-05-01T08:00:00Z""#, &["user_updated_live"]),
        (
            r#"emails.value eq "mara@acme.example""#,
            &["user_email_pkey", "sqlite_autoindex_user_email_1"],
        ),
        (
            r#"emails[type eq "work" and value eq "x"]"#,
            &["user_email_pkey", "sqlite_autoindex_user_email_1"],
        ),
        (
            r#"groups.value eq "00000000-0000-0000-0000-000000000001""#,
            &["membership_live", "membership_group_whole"],
        ),
        (r#"groups.display eq "mara""#, &["group_display_name_live"]),
        (r#"members.value eq "00000000-0000-0000-0000-000000000001""#, &["membership_user"]),
    ];
    let world = World::new();
    world.runtime.block_on(async {
        for db in &world.databases {
            let backend = db.get_database_backend();
            for table in TABLES {
                db.execute_unprepared(&format!("DROP TABLE {table}")).await.unwrap();
            }
            // This test uses the real tables; on PostgreSQL in a schema that is dropped at the end.
            let (explain, column) = match backend {
                DbBackend::Postgres => ("EXPLAIN", "QUERY PLAN"),
                _ => ("EXPLAIN QUERY PLAN", "detail"),
            };
            if backend == DbBackend::Postgres {
                let schema = Uuid::now_v7().simple();
                let sql = format!("CREATE SCHEMA \"{schema}\"; SET search_path = \"{schema}\"");
                db.execute_unprepared(&sql).await.unwrap();
            }
            migration::Migrator::up(db, None).await.unwrap();
            if backend == DbBackend::Postgres {
                db.execute_unprepared(MANY).await.unwrap();
            }
            for (text, indexes) in cases {
                let ty = if text.starts_with("members") {
                    schema::group_type()
                } else {
                    schema::user_type()
                };
                let mut sql = SqlBuilder::with_values([ORGANIZATION.into(), ORGANIZATION.into()]);
                let filter = parse_filter(text).unwrap();
                let condition = compile_filter(&filter, ty, backend, &mut sql, false).unwrap();
                // An external id belongs to a connection, which the client's credential names.
                let within =
                    if text.starts_with("externalId") { "r.connection_id = $2 AND" } else { "" };
                let select = format!(
                    "{explain} SELECT r.id FROM \"{}\" r
                     WHERE r.organization_id = $1 AND {within} r.deleted_at IS NULL
                     AND {condition}",
                    ty.name.to_lowercase(),
                );
                let sql = Statement::from_sql_and_values(backend, select, sql.into_parts().1);
                let plan = db.query_all_raw(sql).await.unwrap();
                let plan: Vec<String> =
                    plan.iter().map(|row| row.try_get("", column).unwrap()).collect();
                let plan = plan.join("\n");
                assert!(
                    indexes.iter().any(|index| plan.contains(index)),
                    "{backend:?} {text}\n{plan}"
                );
            }
            if backend == DbBackend::Postgres {
                db.execute_unprepared(
                    "DO $$ BEGIN EXECUTE format('DROP SCHEMA %I CASCADE', \
                                       current_schema()); END $$",
                )
                .await
                .unwrap();
            }
        }
    });
}
