//! Who may read what lies in the data folder: its owner alone. The database holds personal data, and the master key
//! opens all secrets in it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::Config;

/// What a folder grants to its owner, and to nobody else.
const FOLDER: u32 = 0o700;
/// What a file grants to its owner, and to nobody else.
const FILE: u32 = 0o600;
/// A folder in which everybody may make files, such as /tmp: it is shared on purpose.
const SHARED: u32 = 0o1000;

/// Makes the data folder and the SQLite file, each for its owner alone, and takes from everybody else what those that
/// exist grant. SQLite gives the files beside the database the database's own mode.
///
/// # Errors
/// One line for the operator.
pub fn protect(config: &Config) -> Result<(), String> {
    let folder = &config.data_dir;
    let database = config.database_url.strip_prefix("sqlite://").and_then(|path| path.split('?').next());
    if database.is_some() {
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER)
            .create(folder)
            .map_err(|error| format!("cannot make the data folder {}: {error}", folder.display()))?;
    }
    let shared = fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & SHARED != 0);
    if !shared {
        tighten(folder, FOLDER);
    }
    tighten(&folder.join("master.key"), FILE);
    let Some(database) = database.filter(|path| !path.is_empty() && !path.contains(":memory:")) else { return Ok(()) };
    let beside = |suffix: &str| PathBuf::from(format!("{database}{suffix}"));
    for made in [beside(""), beside(".migrate")] {
        match OpenOptions::new().write(true).create_new(true).mode(FILE).open(&made) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("cannot open the database: {}: {error}", made.display())),
        }
    }
    for suffix in ["", ".migrate", "-wal", "-shm", "-journal"] {
        tighten(&beside(suffix), FILE);
    }
    Ok(())
}

/// Takes from everybody but the owner what a file or a folder grants. What belongs to another user stays as it is, and
/// the log says so.
fn tighten(path: &Path, mode: u32) {
    let change = || -> Result<(), Error> {
        let found = fs::metadata(path)?.permissions().mode() & 0o7777;
        if found & 0o077 == 0 { Ok(()) } else { fs::set_permissions(path, PermissionsExt::from_mode(found & mode)) }
    };
    match change() {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "others may read this: its mode cannot be changed")
        }
    }
}
