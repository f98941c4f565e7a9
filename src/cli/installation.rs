//! Where an installation is, and whether there is one: a command that only reads must never make one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Row};

use crate::config::{Config, StoreArgs};
use crate::context::App;
use crate::private_files;
use crate::store::probe;

/// Opens the installation that `store` names, and makes none.
///
/// # Errors
/// One line for the operator: which setting is wrong, or that there is no installation at that place.
pub async fn open(store: StoreArgs) -> Result<Arc<App>, String> {
    let config = store.check(None)?;
    require(&config).await?;
    App::open(config).await
}

/// Opens the installation that `store` names, or makes it.
///
/// # Errors
/// One line for the operator.
pub async fn open_or_make(store: StoreArgs) -> Result<Arc<App>, String> {
    let config = store.check(None)?;
    prepare(&config)?;
    App::open(config).await
}

/// An installation that is being served, and the lock that keeps a second server off its SQLite file.
pub struct Served {
    pub app: Arc<App>,
    /// Held until the server has ended; none on PostgreSQL, which several servers share.
    pub lock: Option<File>,
}

/// Opens the installation for a server, or makes it.
///
/// # Errors
/// One line for the operator; on SQLite also when another server has the same file.
pub async fn serve(config: Config) -> Result<Served, String> {
    prepare(&config)?;
    let lock = sqlite_file(&config)?.map(|file| lock(&file)).transpose()?;
    Ok(Served { app: App::open(config).await?, lock })
}

/// Refuses unless there is an installation at the place that `config` names; creates nothing.
pub async fn require(config: &Config) -> Result<(), String> {
    let (place, found) = match sqlite_file(config)? {
        Some(file) => {
            let place = std::path::absolute(&file).unwrap_or(file.clone());
            (format!("at {}", place.display()), is_in_file(&file).await?)
        }
        None => {
            let (place, connection) = probe::connect(&config.database_url)
                .await
                .map_err(|error| format!("cannot open the database: {error}"))?;
            (format!("in the PostgreSQL database {place}"), is_in_database(connection).await?)
        }
    };
    match found {
        true => Ok(()),
        false => Err(format!(
            "there is no installation {place}: `rolecall serve` or `rolecall bootstrap --organization SLUG` makes one; \
             --data-dir or --database-url names another place"
        )),
    }
}

/// Whether an SQLite file holds an installation.
async fn is_in_file(file: &Path) -> Result<bool, String> {
    // An empty file has no table either, and opening it would be one more way to change it.
    if !fs::metadata(file).is_ok_and(|found| found.len() > 0) {
        return Ok(false);
    }
    let told = |error: sqlx::Error| format!("cannot open the database {}: {error}", file.display());
    let options = SqliteConnectOptions::new().filename(file).read_only(true).create_if_missing(false);
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(told)?;
    let table = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'instance'";
    let tables: i64 = sqlx::query(table).fetch_one(&mut connection).await.map_err(told)?.get(0);
    let mut found = false;
    if tables > 0 {
        let row = sqlx::query("SELECT 1 FROM instance").fetch_optional(&mut connection).await.map_err(told)?;
        found = row.is_some();
    }
    connection.close().await.map_err(told)?;
    Ok(found)
}

/// Whether a PostgreSQL database holds an installation.
async fn is_in_database(mut connection: sqlx::PgConnection) -> Result<bool, String> {
    let told = |error: sqlx::Error| format!("cannot read the database: {error}");
    let table = "SELECT to_regclass('instance') IS NOT NULL";
    let mut found: bool = sqlx::query(table).fetch_one(&mut connection).await.map_err(told)?.get(0);
    if found {
        let row = sqlx::query("SELECT 1 FROM instance").fetch_optional(&mut connection).await.map_err(told)?;
        found = row.is_some();
    }
    connection.close().await.map_err(told)?;
    Ok(found)
}

/// Makes the data folder and the SQLite file where they are missing, for their owner alone.
fn prepare(config: &Config) -> Result<(), String> {
    // A URL without a file is refused before a folder is made for it.
    sqlite_file(config)?;
    private_files::protect(config)
}

/// Takes the lock of the one server that may run on an SQLite file. The system gives it up when the process ends,
/// however it ends. Short commands do not take it: they write in turn with the server.
fn lock(file: &Path) -> Result<File, String> {
    // Two names of one file, by a symbolic link, are one database.
    let file = fs::canonicalize(file).map_err(|error| format!("cannot find {}: {error}", file.display()))?;
    let path = PathBuf::from(format!("{}.lock", file.display()));
    let lock = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    let lock = lock.map_err(|error| format!("cannot open the lock file {}: {error}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(format!(
            "another rolecall server runs on {}: SQLite is for one server; stop the other, or use PostgreSQL",
            file.display()
        )),
        Err(TryLockError::Error(error)) => Err(format!("cannot lock {}: {error}", path.display())),
    }
}

/// The file of an SQLite database; none for PostgreSQL.
fn sqlite_file(config: &Config) -> Result<Option<PathBuf>, String> {
    let Some(path) = config.database_url.strip_prefix("sqlite://") else { return Ok(None) };
    let path = path.split('?').next().unwrap_or_default();
    if path.is_empty() || path.contains(":memory:") {
        return Err("sqlite:// needs a file, for example sqlite:///var/lib/rolecall/rolecall.db".into());
    }
    let options: SqliteConnectOptions = format!("sqlite://{path}").parse().map_err(|error| format!("{error}"))?;
    Ok(Some(options.get_filename().to_owned()))
}
