//! Access to the data folder: only its owner may read it. The database holds personal data, and the
//! master key opens all secrets in it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::Config;

/// The mode of a folder that only its owner can use.
const PRIVATE_FOLDER_MODE: u32 = 0o700;
/// The mode of a file that only its owner can use.
const PRIVATE_FILE_MODE: u32 = 0o600;
/// The bit of a folder in which all users may create files, such as /tmp: it is shared on purpose.
const STICKY_BIT: u32 = 0o1000;

/// Creates the data folder and the SQLite file with access for their owner only, and removes all
/// other access from those that exist. SQLite gives its further files the mode of the database
/// file.
///
/// # Errors
/// One line for the operator.
pub fn protect_files(config: &Config) -> Result<(), String> {
    let folder = &config.data_dir;
    let database =
        config.database_url.strip_prefix("sqlite://").and_then(|path| path.split('?').next());
    if database.is_some() {
        DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER_MODE).create(folder).map_err(
            |error| format!("cannot make the data folder {}: {error}", folder.display()),
        )?;
    }
    let shared =
        fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & STICKY_BIT != 0);
    if !shared {
        restrict_mode(folder, PRIVATE_FOLDER_MODE);
    }
    restrict_mode(&folder.join("master.key"), PRIVATE_FILE_MODE);
    let Some(database) = database.filter(|path| !path.is_empty() && !path.contains(":memory:"))
    else {
        return Ok(());
    };
    let beside = |suffix: &str| PathBuf::from(format!("{database}{suffix}"));
    for made in [beside(""), beside(".migrate")] {
        match OpenOptions::new().write(true).create_new(true).mode(PRIVATE_FILE_MODE).open(&made) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(format!("cannot open the database: {}: {error}", made.display()));
            }
        }
    }
    for suffix in ["", ".migrate", "-wal", "-shm", "-journal"] {
        restrict_mode(&beside(suffix), PRIVATE_FILE_MODE);
    }
    Ok(())
}

/// Removes all access to a file or a folder except the owner's. A file of another user stays
/// unchanged, and the log says so.
fn restrict_mode(path: &Path, mode: u32) {
    let change = || -> Result<(), Error> {
        let found = fs::metadata(path)?.permissions().mode() & 0o7777;
        if found & 0o077 == 0 {
            Ok(())
        } else {
            fs::set_permissions(path, PermissionsExt::from_mode(found & mode))
        }
    };
    match change() {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "others may read this: its mode cannot \
                be changed")
        }
    }
}
