//! What an error of the database says about the connection, and about what was asked on it.

use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};

/// What is known after an error of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFailure {
    /// The database refused the statement because of its text or its data. It changed nothing.
    Refused,
    /// Nothing was sent, or the database rolled it back, because of a lack that may pass: a
    /// connection, disk space, time.
    Unavailable,
    /// The connection was lost, or the time was over, while the statement was on its way. It may
    /// have been carried out.
    Unknown,
    /// A fault of this program.
    Internal,
}

/// SQLite's result codes (https://www.sqlite.org/rescode.html): the low byte of an extended code.
mod sqlite {
    pub const ERROR: u32 = 1;
    pub const BUSY: u32 = 5;
    pub const LOCKED: u32 = 6;
    pub const NOMEM: u32 = 7;
    pub const READONLY: u32 = 8;
    pub const INTERRUPT: u32 = 9;
    pub const IOERR: u32 = 10;
    pub const CORRUPT: u32 = 11;
    pub const FULL: u32 = 13;
    pub const CANTOPEN: u32 = 14;
    pub const PROTOCOL: u32 = 15;
    pub const TOOBIG: u32 = 18;
    pub const CONSTRAINT: u32 = 19;
    pub const MISMATCH: u32 = 20;
    pub const RANGE: u32 = 25;
    pub const NOTADB: u32 = 26;

    /// After these, SQLite has undone the statement and nothing else; a transaction goes on.
    pub const UNDO_STATEMENT_ONLY: [u32; 7] =
        [ERROR, BUSY, LOCKED, TOOBIG, CONSTRAINT, MISMATCH, RANGE];
    /// The file, its disk or the time that a statement has. It may be better later.
    pub const UNAVAILABLE: [u32; 9] =
        [NOMEM, READONLY, INTERRUPT, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, NOTADB];
}

/// The code of a database's own error: an SQLSTATE, or SQLite's result code.
enum ErrorCode<'a> {
    State(&'a str),
    Result(u32),
}

fn with_code<T>(error: &sqlx::Error, judge: impl FnOnce(ErrorCode<'_>) -> T) -> Option<T> {
    let code = error.as_database_error()?.code()?;
    // An SQLSTATE has five characters, and SQLite's extended codes have at most four digits.
    Some(match code.parse::<u32>() {
        Ok(number) if code.len() < 5 => judge(ErrorCode::Result(number & 0xff)),
        _ => judge(ErrorCode::State(&code)),
    })
}

/// Whether a connection can be used again after this error: its session, and a transaction on
/// SQLite, are as they were before the statement.
pub(super) fn keeps_connection(error: &sqlx::Error) -> bool {
    let keeps = with_code(error, |code| match code {
        ErrorCode::State(state) => !is_unavailable(state) || state == QUERY_CANCELED,
        ErrorCode::Result(result) => sqlite::UNDO_STATEMENT_ONLY.contains(&result),
    });
    keeps.unwrap_or(matches!(
        error,
        sqlx::Error::RowNotFound | sqlx::Error::Encode(_) | sqlx::Error::ColumnDecode { .. }
    ))
}

/// What is wrong with the place where the database keeps its data, if that is what the error says.
pub(super) fn storage_failure(error: &sqlx::Error) -> Option<String> {
    let fails = with_code(error, |code| match code {
        ErrorCode::State(state) => {
            ["53100", "53200", "58030", "25006", "XX001", "XX002"].contains(&state)
        }
        ErrorCode::Result(result) => {
            sqlite::UNAVAILABLE.contains(&result) && result != sqlite::INTERRUPT
        }
    });
    fails.unwrap_or(false).then(|| error.to_string())
}

/// Whether SQLite has found contents that cannot be right, or locks that do not end. The file may
/// be right: what this process keeps of it, such as the index of the log, may not.
pub(super) fn needs_closed_file(error: &sqlx::Error) -> bool {
    with_code(error, |code| {
        matches!(code, ErrorCode::Result(sqlite::CORRUPT | sqlite::NOTADB | sqlite::PROTOCOL))
    })
    .unwrap_or(false)
}

/// Whether the database has no connection left to give.
pub(super) fn lacks_slots(error: &sqlx::Error) -> bool {
    with_code(error, |code| matches!(code, ErrorCode::State("53300"))).unwrap_or(false)
}

/// Whether SQLite could not get a lock on its file.
pub(super) fn is_locked(error: &DbErr) -> bool {
    let DbErr::Exec(RuntimeErr::SqlxError(error)) = error else { return false };
    with_code(error, |code| matches!(code, ErrorCode::Result(sqlite::BUSY | sqlite::LOCKED)))
        .unwrap_or(false)
}

/// Whether SQLite waited for a lock on its file, or on the index of its log, and did not get it; or
/// whether PostgreSQL ended a statement whose time was over, as it does while a lock is held.
pub(super) fn waited_in_vain(error: &sqlx::Error) -> bool {
    with_code(error, |code| match code {
        ErrorCode::State(state) => [QUERY_CANCELED, LOCK_NOT_AVAILABLE].contains(&state),
        ErrorCode::Result(result) => {
            matches!(result, sqlite::BUSY | sqlite::LOCKED | sqlite::PROTOCOL)
        }
    })
    .unwrap_or(false)
}

/// SQLSTATE of a statement that was cancelled, by its own time limit or by a request.
const QUERY_CANCELED: &str = "57014";

/// SQLSTATE of a statement that waited for a lock longer than its session allows.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// SQLSTATE classes 08 (connection), 53 (resources), 57 (operator intervention) and 58 (system),
/// and a server that has become read-only, as after a failover.
fn is_unavailable(state: &str) -> bool {
    ["08", "53", "57", "58"].iter().any(|class| state.starts_with(class)) || state == "25006"
}

/// The error of what did not end in time.
pub(super) fn timed_out(what: &str, limit: Duration) -> sqlx::Error {
    let why = format!("the database did not answer {what} within {} s", limit.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
}

/// What is known after an error of the database.
pub fn judge_failure(error: &DbErr) -> DatabaseFailure {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => DatabaseFailure::Unavailable,
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            judge_sqlx(error)
        }
        _ => DatabaseFailure::Internal,
    }
}

fn judge_sqlx(error: &sqlx::Error) -> DatabaseFailure {
    let judged = with_code(error, |code| match code {
        // The server ended the connection: a commit that was on its way may have been made.
        ErrorCode::State("57P01" | "57P02" | "57P03") => DatabaseFailure::Unknown,
        ErrorCode::State(state) if state.starts_with("08") => DatabaseFailure::Unknown,
        ErrorCode::State(state) if is_unavailable(state) => DatabaseFailure::Unavailable,
        // What could not be made durable may be found in the log by a later start.
        ErrorCode::Result(sqlite::IOERR) => DatabaseFailure::Unknown,
        ErrorCode::Result(result) if sqlite::UNAVAILABLE.contains(&result) => {
            DatabaseFailure::Unavailable
        }
        ErrorCode::State(_) | ErrorCode::Result(_) => DatabaseFailure::Refused,
    });
    judged.unwrap_or(match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => DatabaseFailure::Unknown,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => DatabaseFailure::Unavailable,
        _ => DatabaseFailure::Internal,
    })
}
