//! Renews the keys of names that an earlier version folded without mapping the width of letters. It
//! runs once, when a server starts, window by window and without a long transaction.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Value as Sql};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::search_word;
use super::search_word::WordsOfRow;
use super::user::parse_document;
use crate::context::{App, Cx};
use crate::domain::directory::schema_extension::resource_types;
use crate::domain::paging::live_index::LiveIndex;
use crate::domain::reconcile::{NameClash, open_name_clash};
use crate::error::{Error, Result};
use crate::identity::document;
use crate::identity::document::WIDTH_RANGES;

/// Why statements are about all organizations.
const KEY_RENEWAL: &str = "the keys of whole tables are renewed, row by row";
/// Rows of a table that one statement looks through.
const WINDOW_SIZE: u64 = 5_000;
/// Rows whose words one statement writes.
const FILL_BATCH_SIZE: usize = 500;

/// Renews the keys of names and of searches in the tables that `name_key_renewal` still lists.
///
/// Where two live accounts would get the same key, both keep their old keys, and each account
/// becomes a finding.
///
/// # Errors
/// Errors of the database. What was renewed stays renewed, and the next call continues.
pub async fn renew_keys(app: &Arc<App>) -> Result<()> {
    let waiting = app.statement_for_all_organizations(
        "SELECT table_name FROM name_key_renewal",
        [],
        KEY_RENEWAL,
    );
    let mut waiting: Vec<String> = WaitingTableRow::find_by_statement(waiting)
        .all(&app.store.write)
        .await?
        .into_iter()
        .map(|row| row.table_name)
        .collect();
    waiting.sort_unstable();
    for table in waiting {
        let renewal = TableRenewal { app, table: &table };
        let renewed = match table.as_str() {
            "user" => renewal.renew_users().await?,
            "group" => renewal.renew_groups().await?,
            "user_word" => TableRenewal { app, table: "user" }.fill_words().await?,
            "group_word" => TableRenewal { app, table: "group" }.fill_words().await?,
            "role" => renewal.renew_key_column("name", "name_key", "deleted_at IS NULL").await?,
            // Role mappings that wait for a group with a certain name.
            _ => {
                let waiting = "until IS NULL AND match_attribute = 'DISPLAY_NAME'";
                renewal.renew_key_column("match_value", "match_value", waiting).await?
            }
        };
        if renewed > 0 {
            tracing::info!(table, renewed, "renewed the keys of names");
        }
        renewal
            .execute_sql(
                "DELETE FROM name_key_renewal WHERE table_name = $1",
                vec![table.as_str().into()],
            )
            .await?;
    }
    Ok(())
}

#[derive(FromQueryResult)]
struct WaitingTableRow {
    table_name: String,
}

/// The last row of a table that was looked at.
#[derive(Debug, Clone, Copy, FromQueryResult)]
struct RowPosition {
    organization_id: Uuid,
    id: Uuid,
}

impl RowPosition {
    const BEFORE_FIRST_ROW: Self = Self { organization_id: Uuid::nil(), id: Uuid::nil() };
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

struct TableRenewal<'a> {
    app: &'a Arc<App>,
    table: &'a str,
}

impl TableRenewal<'_> {
    async fn execute_sql(&self, text: &str, values: Vec<Sql>) -> Result<u64> {
        let statement = self.app.statement_for_all_organizations(text, values, KEY_RENEWAL);
        Ok(self.app.store.write.execute_raw(statement).await?.rows_affected())
    }

    /// SQL for "contains a letter of [`WIDTH_RANGES`]".
    fn has_width_sql(&self, column: &str) -> String {
        let ranges: String =
            WIDTH_RANGES.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        match self.app.store.backend() {
            DbBackend::Postgres => format!("{column} ~ '[{ranges}]'"),
            _ => format!("{column} GLOB '*[{ranges}]*'"),
        }
    }

    /// The rows of the next window that `condition` holds for, in the order of ids; none at the end
    /// of the table.
    async fn next_window<R: FromQueryResult>(
        &self,
        columns: &str,
        condition: &str,
        after: &mut RowPosition,
    ) -> Result<Option<Vec<R>>> {
        let window = format!(
            r#"SELECT * FROM "{}" WHERE (organization_id, id) > ($1, $2)
               ORDER BY organization_id, id LIMIT {WINDOW_SIZE}"#,
            self.table
        );
        let values: Vec<Sql> = vec![after.organization_id.into(), after.id.into()];
        let end = format!(
            "SELECT organization_id, id FROM ({}) AS part ORDER BY organization_id DESC, id DESC \
             LIMIT 1",
            window.replace('*', "organization_id, id")
        );
        let end = self.app.statement_for_all_organizations(end, values.clone(), KEY_RENEWAL);
        let Some(end) = RowPosition::find_by_statement(end).one(&self.app.store.write).await?
        else {
            return Ok(None);
        };
        let rows = format!("SELECT {columns} FROM ({window}) AS part WHERE {condition}");
        let rows = self.app.statement_for_all_organizations(rows, values, KEY_RENEWAL);
        let rows = R::find_by_statement(rows).all(&self.app.store.write).await?;
        *after = end;
        Ok(Some(rows))
    }

    async fn renew_users(&self) -> Result<u64> {
        let renewed = self.renew_user_names().await?;
        let condition =
            format!("({}) OR document NOT LIKE '%\"active\":%'", self.has_width_sql("document"));
        Ok(renewed
            + self
                .renew_documents("active", &format!("purged_at IS NULL AND ({condition})"))
                .await?)
    }

    async fn renew_groups(&self) -> Result<u64> {
        let condition = self.has_width_sql("document");
        self.renew_documents("NULL AS active", &condition).await
    }

    /// Gives live accounts the new keys of their names, where only one account wants a key.
    async fn renew_user_names(&self) -> Result<u64> {
        let mut wanted: HashMap<(Uuid, String), Vec<NameRow>> = HashMap::new();
        let condition = format!("deleted_at IS NULL AND {}", self.has_width_sql("user_name"));
        let columns = "organization_id, id, user_name AS name, user_name_key AS key, connection_id";
        let mut after = RowPosition::BEFORE_FIRST_ROW;
        while let Some(rows) = self.next_window::<NameRow>(columns, &condition, &mut after).await? {
            for row in rows {
                wanted
                    .entry((row.organization_id, document::fold_text(&row.name)))
                    .or_default()
                    .push(row);
            }
        }
        let mut renewed = 0;
        for ((organization, key), mut rows) in wanted {
            let holder = self.find_key_holder(organization, &key, &rows).await?;
            rows.extend(holder);
            match rows.as_slice() {
                [only] if only.key == key => {}
                [only] => {
                    // Another server may create an account with that name meanwhile.
                    let by_name = LiveIndex::UserName.index_condition(self.app.store.backend());
                    let update = format!(
                        r#"UPDATE "user" SET user_name_key = $3 WHERE organization_id = $1
                           AND id = $2 AND user_name = $4
                        AND NOT EXISTS (SELECT 1 FROM "user" r
                          WHERE r.organization_id = $1 AND r.user_name_key = $3
                          AND r.deleted_at IS NULL{by_name})"#
                    );
                    let values = vec![
                        organization.into(),
                        only.id.into(),
                        key.into(),
                        only.name.clone().into(),
                    ];
                    renewed += self.execute_sql(&update, values).await?;
                }
                clashing => self.record_name_clash(organization, clashing).await?,
            }
        }
        Ok(renewed)
    }

    /// The live account that has the key already and is not one of `rows`.
    async fn find_key_holder(
        &self,
        organization: Uuid,
        key: &str,
        rows: &[NameRow],
    ) -> Result<Option<NameRow>> {
        let text = format!(
            r#"SELECT r.organization_id, r.id, r.user_name AS name, r.user_name_key AS key,
               r.connection_id FROM "user" r
            WHERE r.organization_id = $1 AND r.user_name_key = $2 AND r.deleted_at IS NULL{}"#,
            LiveIndex::UserName.index_condition(self.app.store.backend())
        );
        let statement = self.app.statement(organization, text, [key.into()]);
        let holder = NameRow::find_by_statement(statement).one(&self.app.store.write).await?;
        Ok(holder.filter(|holder| rows.iter().all(|row| row.id != holder.id)))
    }

    async fn record_name_clash(&self, organization: Uuid, rows: &[NameRow]) -> Result<()> {
        let cx = Cx::system(self.app.clone(), organization);
        let any_connection = rows.iter().find_map(|row| row.connection_id);
        for (place, row) in rows.iter().enumerate() {
            let Some(connection) = row.connection_id.or(any_connection) else {
                tracing::warn!(user = %row.id, "two accounts made by hand have names that differ \
                    in width only");
                continue;
            };
            let Some(other) = rows.iter().enumerate().find(|(at, _)| *at != place) else {
                continue;
            };
            let clash = NameClash {
                user: row.id,
                user_name: row.name.clone(),
                other_name: other.1.name.clone(),
                connection,
            };
            open_name_clash(&cx, &clash).await?;
        }
        Ok(())
    }

    /// Renews what follows from documents: search copies, keys of display names and of addresses,
    /// and, of an account whose document lacks it, `active`.
    async fn renew_documents(&self, active: &str, condition: &str) -> Result<u64> {
        let mut renewed = 0;
        let columns = format!("organization_id, id, document, version, {active}, deleted_at");
        let mut after = RowPosition::BEFORE_FIRST_ROW;
        while let Some(rows) =
            self.next_window::<DocumentRow>(&columns, condition, &mut after).await?
        {
            for row in rows {
                renewed += self.renew_document(row).await?;
            }
        }
        Ok(renewed)
    }

    async fn renew_document(&self, row: DocumentRow) -> Result<u64> {
        let cx = Cx::system(self.app.clone(), row.organization_id);
        let types = resource_types(&cx).await?;
        let mut document: Map<String, Value> = parse_document(&row.document)?;
        let ty = if self.table == "user" { &types.user } else { &types.group };
        if let Some(active) = row.active.filter(|_| row.deleted_at.is_none()) {
            document.entry("active").or_insert(active.into());
        }
        // A write in between makes new keys itself and changes the version, so this statement
        // matches no row then.
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
            document::display_name(&document).map(document::fold_text).into(),
        ];
        let renewed = self.execute_sql(&update, values).await?;
        if self.table == "user" && renewed > 0 && row.deleted_at.is_none() {
            self.renew_addresses(&row, &document).await?;
        }
        Ok(renewed)
    }

    async fn renew_addresses(
        &self,
        row: &DocumentRow,
        document: &Map<String, Value>,
    ) -> Result<()> {
        for address in document::email_addresses(document) {
            let Some(former) = document::former_fold(address) else { continue };
            let ids = |key: String| -> Vec<Sql> {
                vec![row.organization_id.into(), row.id.into(), key.into()]
            };
            let insert = "INSERT INTO user_email (organization_id, user_id, value_key) VALUES \
                          ($1, $2, $3) ON CONFLICT DO NOTHING";
            self.execute_sql(insert, ids(document::fold_text(address))).await?;
            let delete = "DELETE FROM user_email WHERE organization_id = $1 AND user_id = $2 AND \
                          value_key = $3";
            self.execute_sql(delete, ids(former)).await?;
        }
        Ok(())
    }

    /// Writes the words of all live rows of a table, by which a search finds them.
    async fn fill_words(&self) -> Result<u64> {
        let mut filled = 0;
        let columns = "organization_id, id, document, version, NULL AS active, deleted_at";
        let mut after = RowPosition::BEFORE_FIRST_ROW;
        while let Some(rows) =
            self.next_window::<DocumentRow>(columns, "deleted_at IS NULL", &mut after).await?
        {
            for part in rows.chunks(FILL_BATCH_SIZE) {
                let words: Vec<WordsOfRow> =
                    part.iter().map(|row| self.words_of_row(row)).collect::<Result<_>>()?;
                let backend = self.app.store.backend();
                let (text, value) = search_word::fill_statement(backend, self.table, &words);
                self.execute_sql(&text, vec![value]).await?;
                filled += part.len() as u64;
            }
        }
        Ok(filled)
    }

    fn words_of_row(&self, row: &DocumentRow) -> Result<WordsOfRow> {
        let document: Map<String, Value> = parse_document(&row.document)?;
        let words = match self.table {
            "user" => search_word::user_words(&document),
            _ => search_word::group_words(&document),
        };
        Ok(WordsOfRow {
            organization: row.organization_id,
            id: row.id,
            version: row.version,
            words,
        })
    }

    /// Renews the key of a name in a table without documents. A row keeps its old key if another
    /// row has the new one: the next change of the name writes the new key.
    async fn renew_key_column(&self, name: &str, key: &str, current: &str) -> Result<u64> {
        let mut renewed = 0;
        let condition = format!("{current} AND {}", self.has_width_sql(name));
        let columns = format!("organization_id, id, {name} AS text");
        let update = format!(
            r#"UPDATE "{}" SET {key} = $3 WHERE organization_id = $1 AND id = $2"#,
            self.table
        );
        let mut after = RowPosition::BEFORE_FIRST_ROW;
        while let Some(rows) = self.next_window::<TextRow>(&columns, &condition, &mut after).await?
        {
            for row in rows {
                let values = vec![
                    row.organization_id.into(),
                    row.id.into(),
                    document::fold_text(&row.text).into(),
                ];
                match self.execute_sql(&update, values).await {
                    Ok(rows) => renewed += rows,
                    Err(Error::Taken { .. }) => {
                        tracing::warn!(table = self.table, id = %row.id, "a key that is taken was \
                            not renewed");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(renewed)
    }
}
