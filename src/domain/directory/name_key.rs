//! Keys that an earlier version folded without mapping the width of letters: brought up to date once, when a server
//! starts, part by part and without a long transaction.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement, Value as Sql};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::document::{self, WIDTH_RANGES};
use super::extension::types;
use super::reconcile::{NameClash, open_name_clash};
use super::user::parse;
use crate::context::{App, Cx};
use crate::domain::live_index::LiveIndex;
use crate::error::{Error, Result};

/// Rows of a table that one statement looks through.
const WINDOW_SIZE: u64 = 5_000;

/// Brings the keys of names and of searches up to date in the tables that still wait for it.
///
/// Where the keys of two live accounts meet, both keep the ones that they have, and each becomes a finding.
///
/// # Errors
/// The database's own. What was done stays done, and the next call goes on.
pub async fn renew_keys(app: &Arc<App>) -> Result<()> {
    let waiting = Statement::from_string(app.store.backend(), "SELECT table_name FROM name_key_renewal");
    let mut waiting: Vec<String> = Waiting::find_by_statement(waiting)
        .all(&app.store.write)
        .await?
        .into_iter()
        .map(|row| row.table_name)
        .collect();
    waiting.sort_unstable();
    for table in waiting {
        let renewal = Renewal { app, table: &table };
        let renewed = match table.as_str() {
            "user" => renewal.renew_users().await?,
            "group" => renewal.renew_groups().await?,
            "role" => renewal.renew_column("name", "name_key", "deleted_at IS NULL").await?,
            // Mappings that wait for a group of some name.
            _ => {
                let waiting = "until IS NULL AND match_attribute = 'DISPLAY_NAME'";
                renewal.renew_column("match_value", "match_value", waiting).await?
            }
        };
        if renewed > 0 {
            tracing::info!(table, renewed, "renewed the keys of names");
        }
        renewal.execute("DELETE FROM name_key_renewal WHERE table_name = $1", vec![table.as_str().into()]).await?;
    }
    Ok(())
}

#[derive(FromQueryResult)]
struct Waiting {
    table_name: String,
}

/// Where a walk through a table stands.
#[derive(Debug, Clone, Copy, FromQueryResult)]
struct RowId {
    organization_id: Uuid,
    id: Uuid,
}

impl RowId {
    const BEGINNING: Self = Self { organization_id: Uuid::nil(), id: Uuid::nil() };
}

#[derive(FromQueryResult)]
struct NameRow {
    organization_id: Uuid,
    id: Uuid,
    name: String,
    key: String,
    connection_id: Option<Uuid>,
}

#[derive(FromQueryResult)]
struct DocumentRow {
    organization_id: Uuid,
    id: Uuid,
    document: String,
    version: i64,
    active: Option<bool>,
    deleted_at: Option<DateTime<Utc>>,
}

#[derive(FromQueryResult)]
struct TextRow {
    organization_id: Uuid,
    id: Uuid,
    text: String,
}

struct Renewal<'a> {
    app: &'a Arc<App>,
    table: &'a str,
}

impl Renewal<'_> {
    async fn execute(&self, text: &str, values: Vec<Sql>) -> Result<u64> {
        let statement = Statement::from_sql_and_values(self.app.store.backend(), text, values);
        Ok(self.app.store.write.execute_raw(statement).await?.rows_affected())
    }

    /// SQL for "holds a letter with a width of its own".
    fn has_width(&self, column: &str) -> String {
        let ranges: String = WIDTH_RANGES.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        match self.app.store.backend() {
            DbBackend::Postgres => format!("{column} ~ '[{ranges}]'"),
            _ => format!("{column} GLOB '*[{ranges}]*'"),
        }
    }

    /// The rows of the next window that `condition` holds for, in the order of ids; none at the end of the table.
    async fn next_window<R: FromQueryResult>(
        &self,
        columns: &str,
        condition: &str,
        after: &mut RowId,
    ) -> Result<Option<Vec<R>>> {
        let backend = self.app.store.backend();
        let window = format!(
            r#"SELECT * FROM "{}" WHERE (organization_id, id) > ($1, $2) ORDER BY organization_id, id LIMIT {WINDOW_SIZE}"#,
            self.table
        );
        let values: Vec<Sql> = vec![after.organization_id.into(), after.id.into()];
        let end = format!(
            "SELECT organization_id, id FROM ({}) AS part ORDER BY organization_id DESC, id DESC LIMIT 1",
            window.replace('*', "organization_id, id")
        );
        let end = Statement::from_sql_and_values(backend, end, values.clone());
        let Some(end) = RowId::find_by_statement(end).one(&self.app.store.write).await? else { return Ok(None) };
        let rows = format!("SELECT {columns} FROM ({window}) AS part WHERE {condition}");
        let rows = Statement::from_sql_and_values(backend, rows, values);
        let rows = R::find_by_statement(rows).all(&self.app.store.write).await?;
        *after = end;
        Ok(Some(rows))
    }

    async fn renew_users(&self) -> Result<u64> {
        let renewed = self.renew_user_names().await?;
        let condition = format!("({}) OR document NOT LIKE '%\"active\":%'", self.has_width("document"));
        Ok(renewed + self.renew_documents("active", &format!("purged_at IS NULL AND ({condition})")).await?)
    }

    async fn renew_groups(&self) -> Result<u64> {
        let condition = self.has_width("document");
        self.renew_documents("NULL AS active", &condition).await
    }

    /// Gives live accounts the new keys of their names, where only one account wants a key.
    async fn renew_user_names(&self) -> Result<u64> {
        let mut wanted: HashMap<(Uuid, String), Vec<NameRow>> = HashMap::new();
        let condition = format!("deleted_at IS NULL AND {}", self.has_width("user_name"));
        let columns = "organization_id, id, user_name AS name, user_name_key AS key, connection_id";
        let mut after = RowId::BEGINNING;
        while let Some(rows) = self.next_window::<NameRow>(columns, &condition, &mut after).await? {
            for row in rows {
                wanted.entry((row.organization_id, document::fold(&row.name))).or_default().push(row);
            }
        }
        let mut renewed = 0;
        for ((organization, key), mut rows) in wanted {
            let holder = self.holder(organization, &key, &rows).await?;
            rows.extend(holder);
            match rows.as_slice() {
                [only] if only.key == key => {}
                [only] => {
                    // An account of that name may come meanwhile, through another server.
                    let by_name = LiveIndex::UserName.condition(self.app.store.backend());
                    let update = format!(
                        r#"UPDATE "user" SET user_name_key = $3 WHERE organization_id = $1 AND id = $2 AND user_name = $4
                        AND NOT EXISTS (SELECT 1 FROM "user" r
                          WHERE r.organization_id = $1 AND r.user_name_key = $3 AND r.deleted_at IS NULL{by_name})"#
                    );
                    let values = vec![organization.into(), only.id.into(), key.into(), only.name.clone().into()];
                    renewed += self.execute(&update, values).await?;
                }
                clashing => self.record_clash(organization, clashing).await?,
            }
        }
        Ok(renewed)
    }

    /// The live account that has the key already and is not one of `rows`.
    async fn holder(&self, organization: Uuid, key: &str, rows: &[NameRow]) -> Result<Option<NameRow>> {
        let text = format!(
            r#"SELECT r.organization_id, r.id, r.user_name AS name, r.user_name_key AS key, r.connection_id FROM "user" r
            WHERE r.organization_id = $1 AND r.user_name_key = $2 AND r.deleted_at IS NULL{}"#,
            LiveIndex::UserName.condition(self.app.store.backend())
        );
        let values = [organization.into(), key.into()];
        let statement = Statement::from_sql_and_values(self.app.store.backend(), text, values);
        let holder = NameRow::find_by_statement(statement).one(&self.app.store.write).await?;
        Ok(holder.filter(|holder| rows.iter().all(|row| row.id != holder.id)))
    }

    async fn record_clash(&self, organization: Uuid, rows: &[NameRow]) -> Result<()> {
        let cx = Cx::system(self.app.clone(), organization);
        let any_connection = rows.iter().find_map(|row| row.connection_id);
        for (place, row) in rows.iter().enumerate() {
            let Some(connection) = row.connection_id.or(any_connection) else {
                tracing::warn!(user = %row.id, "two accounts made by hand have names that differ in width only");
                continue;
            };
            let Some(other) = rows.iter().enumerate().find(|(at, _)| *at != place) else { continue };
            let clash =
                NameClash { user: row.id, user_name: row.name.clone(), other_name: other.1.name.clone(), connection };
            open_name_clash(&cx, &clash).await?;
        }
        Ok(())
    }

    /// Renews what follows from documents: search copies, keys of display names and of addresses, and, of an account
    /// whose document lacks it, `active`.
    async fn renew_documents(&self, active: &str, condition: &str) -> Result<u64> {
        let mut renewed = 0;
        let columns = format!("organization_id, id, document, version, {active}, deleted_at");
        let mut after = RowId::BEGINNING;
        while let Some(rows) = self.next_window::<DocumentRow>(&columns, condition, &mut after).await? {
            for row in rows {
                renewed += self.renew_document(row).await?;
            }
        }
        Ok(renewed)
    }

    async fn renew_document(&self, row: DocumentRow) -> Result<u64> {
        let cx = Cx::system(self.app.clone(), row.organization_id);
        let types = types(&cx).await?;
        let mut document: Map<String, Value> = parse(&row.document)?;
        let ty = if self.table == "user" { &types.user } else { &types.group };
        if let Some(active) = row.active.filter(|_| row.deleted_at.is_none()) {
            document.entry("active").or_insert(active.into());
        }
        // A write that comes in between makes new keys itself, and this one touches nothing.
        let update = format!(
            r#"UPDATE "{}" SET document = $4, search = $5, display_name_key = $6
               WHERE organization_id = $1 AND id = $2 AND version = $3"#,
            self.table
        );
        let values = vec![
            row.organization_id.into(),
            row.id.into(),
            row.version.into(),
            Value::Object(document.clone()).to_string().into(),
            Value::Object(document::search_document(ty, &document)).into(),
            document::display_name(&document).map(document::fold).into(),
        ];
        let renewed = self.execute(&update, values).await?;
        if self.table == "user" && renewed > 0 && row.deleted_at.is_none() {
            self.renew_addresses(&row, &document).await?;
        }
        Ok(renewed)
    }

    async fn renew_addresses(&self, row: &DocumentRow, document: &Map<String, Value>) -> Result<()> {
        for address in document::emails(document) {
            let Some(former) = document::former_fold(address) else { continue };
            let ids = |key: String| -> Vec<Sql> { vec![row.organization_id.into(), row.id.into(), key.into()] };
            let insert = "INSERT INTO user_email (organization_id, user_id, value_key) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            self.execute(insert, ids(document::fold(address))).await?;
            let delete = "DELETE FROM user_email WHERE organization_id = $1 AND user_id = $2 AND value_key = $3";
            self.execute(delete, ids(former)).await?;
        }
        Ok(())
    }

    /// Renews the key of a name in a table without documents. What would meet another keeps its key: the next change of
    /// the name takes the new one.
    async fn renew_column(&self, name: &str, key: &str, current: &str) -> Result<u64> {
        let mut renewed = 0;
        let condition = format!("{current} AND {}", self.has_width(name));
        let columns = format!("organization_id, id, {name} AS text");
        let update = format!(r#"UPDATE "{}" SET {key} = $3 WHERE organization_id = $1 AND id = $2"#, self.table);
        let mut after = RowId::BEGINNING;
        while let Some(rows) = self.next_window::<TextRow>(&columns, &condition, &mut after).await? {
            for row in rows {
                let values = vec![row.organization_id.into(), row.id.into(), document::fold(&row.text).into()];
                match self.execute(&update, values).await {
                    Ok(rows) => renewed += rows,
                    Err(Error::Taken { .. }) => {
                        tracing::warn!(table = self.table, id = %row.id, "a key that is taken was not renewed");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(renewed)
    }
}
