//! What is left of erased values in the files of SQLite: old pages in the write-ahead log, and
//! copies of moved rows in the unused parts of pages, which `secure_delete` does not reach.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sea_orm::{DbBackend, DbErr};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::Store;

/// How long the rewriting waits for a writer or a reader to end.
const REWRITE_BUSY_TIMEOUT: Duration = Duration::from_millis(500);

impl Store {
    /// Remembers that values were erased, whose remains [`Store::rewrite_erased`] removes.
    pub fn note_erasure(&self) {
        self.erased.store(true, Ordering::Release);
    }

    /// Writes an SQLite file of at most `max_bytes` anew without what no row holds, and empties the
    /// write-ahead log, if values were erased since the last time. Writers wait meanwhile. It is
    /// tried again later if another connection blocked it. On PostgreSQL nothing is done: vacuum is
    /// the database's own work.
    ///
    /// # Errors
    /// The database's own.
    pub async fn rewrite_erased(&self, max_bytes: u64) -> Result<(), DbErr> {
        let path = self.url.trim_start_matches("sqlite://").split('?').next().unwrap_or_default();
        let small = || std::fs::metadata(path).is_ok_and(|file| file.len() <= max_bytes);
        if self.backend() != DbBackend::Sqlite
            || !small()
            || !self.erased.swap(false, Ordering::AcqRel)
        {
            return Ok(());
        }
        let done = rewrite_file(path).await;
        if !matches!(done, Ok(true)) {
            self.note_erasure();
        }
        done.map(|_| ()).map_err(|error| DbErr::Custom(error.to_string()))
    }
}

/// False when readers of old pages kept the write-ahead log from being emptied.
async fn rewrite_file(path: &str) -> Result<bool, sqlx::Error> {
    // A connection of its own: writes share a transaction on theirs, and this cannot run inside
    // one.
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(REWRITE_BUSY_TIMEOUT)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    let done = async {
        sqlx::query("VACUUM").execute(&mut connection).await?;
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
        row.try_get::<i64, _>(0).map(|busy| busy == 0)
    };
    let done = done.await;
    connection.close().await?;
    done
}
