//! Finds the installation and opens it. A command that only reads must never create one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Row};

use crate::cli::command_error::CommandError;
use crate::cli::progress::show_waiting;
use crate::config::private_files;
use crate::config::{Config, StoreArgs};
use crate::context::App;
use crate::db::probe;

/// Opens the installation that `store` names; neither creates one nor changes its tables.
///
/// # Errors
/// One line for the operator: which setting is wrong, that there is no installation at that place,
/// or that its tables are of another version.
pub async fn open_existing(store: StoreArgs) -> Result<Arc<App>, CommandError> {
    let config = store.check(None)?;
    let _waiting = show_waiting("opening the database".into());
    require_installation(&config).await?;
    Ok(App::open_without_migration(config).await?)
}

/// Brings the tables of the installation that `store` names up to date; does not create one.
///
/// # Errors
/// One line for the operator.
pub async fn migrate_existing(store: StoreArgs) -> Result<(), CommandError> {
    let config = store.check(None)?;
    let _waiting = show_waiting("bringing the database up to date".into());
    require_installation(&config).await?;
    App::open(config).await?;
    Ok(())
}

/// Opens the installation that `store` names; creates it if it does not exist.
///
/// # Errors
/// One line for the operator.
pub async fn open_or_make(store: StoreArgs) -> Result<Arc<App>, CommandError> {
    let config = store.check(None)?;
    let _waiting = show_waiting("opening the database".into());
    create_private_files(&config)?;
    Ok(App::open(config).await?)
}

/// An installation that a server uses, and the lock that prevents a second server on its SQLite
/// file.
pub struct LockedInstallation {
    pub app: Arc<App>,
    /// Held until the server has ended; none on PostgreSQL, which several servers share.
    pub lock: Option<File>,
}

/// Opens the installation for a server; creates it if it does not exist.
///
/// # Errors
/// One line for the operator; on SQLite also if another server uses the same file.
pub async fn open_for_server(config: Config) -> Result<LockedInstallation, CommandError> {
    create_private_files(&config)?;
    let lock = sqlite_file(&config)?.map(|file| lock_sqlite_file(&file)).transpose()?;
    Ok(LockedInstallation { app: App::open(config).await?, lock })
}

/// Refuses unless there is an installation at the place that `config` names; creates nothing.
pub async fn require_installation(config: &Config) -> Result<(), CommandError> {
    let (place, found) = match sqlite_file(config)? {
        Some(file) => {
            let place = std::path::absolute(&file).unwrap_or(file.clone());
            (format!("at {}", place.display()), is_in_file(&file).await?)
        }
        None => {
            let (place, connection) = probe::connect_postgres(&config.database_url)
                .await
                .map_err(|error| format!("cannot open the database: {error}"))?;
            (format!("in the PostgreSQL database {place}"), is_in_database(connection).await?)
        }
    };
    if found {
        Ok(())
    } else {
        Err(CommandError::Failure(format!(
            "there is no installation {place}: `rolecall serve` or `rolecall bootstrap \
             --organization SLUG` creates one; --data-dir or --database-url selects another place"
        )))
    }
}

/// Whether an SQLite file holds an installation.
async fn is_in_file(file: &Path) -> Result<bool, String> {
    // An empty file is no installation, and SQLite must not open it, because that could change it.
    if !fs::metadata(file).is_ok_and(|found| found.len() > 0) {
        return Ok(false);
    }
    let failed =
        |error: sqlx::Error| format!("cannot open the database {}: {error}", file.display());
    let options =
        SqliteConnectOptions::new().filename(file).read_only(true).create_if_missing(false);
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
    let table = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'instance'";
    let tables: i64 = sqlx::query(table).fetch_one(&mut connection).await.map_err(failed)?.get(0);
    let mut found = false;
    if tables > 0 {
        let row = sqlx::query("SELECT 1 FROM instance")
            .fetch_optional(&mut connection)
            .await
            .map_err(failed)?;
        found = row.is_some();
    }
    connection.close().await.map_err(failed)?;
    Ok(found)
}

/// Whether a PostgreSQL database holds an installation.
async fn is_in_database(mut connection: sqlx::PgConnection) -> Result<bool, String> {
    let failed = |error: sqlx::Error| format!("cannot read the database: {error}");
    let table = "SELECT to_regclass('instance') IS NOT NULL";
    let row = sqlx::query(table).fetch_one(&mut connection).await.map_err(failed)?;
    let mut found: bool = row.get(0);
    if found {
        let row = sqlx::query("SELECT 1 FROM instance")
            .fetch_optional(&mut connection)
            .await
            .map_err(failed)?;
        found = row.is_some();
    }
    connection.close().await.map_err(failed)?;
    Ok(found)
}

/// Creates the data folder and the SQLite file if they are missing, readable by their owner only.
fn create_private_files(config: &Config) -> Result<(), CommandError> {
    // A URL without a file is refused before its folder is created.
    sqlite_file(config)?;
    Ok(private_files::protect_files(config)?)
}

/// Takes the lock of the one server that may run on an SQLite file. The operating system releases
/// it when the process ends, even after a crash. Short commands do not take it: SQLite lets them
/// write beside the server, one write at a time.
fn lock_sqlite_file(file: &Path) -> Result<File, String> {
    // A file and a symbolic link to it are the same database.
    let file = fs::canonicalize(file)
        .map_err(|error| format!("cannot find {}: {error}", file.display()))?;
    let path = PathBuf::from(format!("{}.lock", file.display()));
    let lock = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    let lock =
        lock.map_err(|error| format!("cannot open the lock file {}: {error}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(format!(
            "another rolecall server runs on {}: SQLite is for one server; stop the other, or use \
             PostgreSQL",
            file.display()
        )),
        Err(TryLockError::Error(error)) => Err(format!("cannot lock {}: {error}", path.display())),
    }
}

/// The file of an SQLite database; none for PostgreSQL.
fn sqlite_file(config: &Config) -> Result<Option<PathBuf>, CommandError> {
    let Some(path) = config.database_url.strip_prefix("sqlite://") else { return Ok(None) };
    let path = path.split('?').next().unwrap_or_default();
    if path.is_empty() || path.contains(":memory:") {
        return Err(CommandError::Usage(
            "--database-url: sqlite:// needs a file, for example \
             sqlite:///var/lib/rolecall/rolecall.db"
                .into(),
        ));
    }
    let options: SqliteConnectOptions = format!("sqlite://{path}")
        .parse()
        .map_err(|error: sqlx::Error| CommandError::Usage(format!("--database-url: {error}")))?;
    Ok(Some(options.get_filename().to_owned()))
}
