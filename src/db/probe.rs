//! One direct connection to PostgreSQL, to report at once why it fails: a pool retries until its
//! time limit, and then reports only a timeout.

use std::io::ErrorKind;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

/// How long the first connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Checks that a PostgreSQL database can be reached; other databases are not looked at.
///
/// # Errors
/// One line for the operator, without the password.
pub async fn check_reachable(url: &str) -> Result<(), String> {
    if !url.starts_with("postgres") {
        return Ok(());
    }
    let (_, connection) = connect_postgres(url).await?;
    // A connection that fails while it is closed was reached all the same.
    let _ = connection.close().await;
    Ok(())
}

/// Connects to a PostgreSQL database; returns its name with its server's, and the connection.
///
/// # Errors
/// As [`check_reachable`].
pub async fn connect_postgres(url: &str) -> Result<(String, PgConnection), String> {
    let options: PgConnectOptions =
        url.parse().map_err(|error: sqlx::Error| format!("the URL: {error}"))?;
    let server = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let database = options.get_database().unwrap_or(options.get_username());
    let place = format!("{database:?} at {server}");
    let options = options.disable_statement_logging();
    match tokio::time::timeout(CONNECT_LIMIT, PgConnection::connect_with(&options)).await {
        Ok(Ok(connection)) => Ok((place, connection)),
        Ok(Err(error)) => Err(format!("{server}: {}", describe_connect_error(&error))),
        Err(_) => Err(format!("{server}: no answer within {} s", CONNECT_LIMIT.as_secs())),
    }
}

fn describe_connect_error(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            // too_many_connections: the server's own words speak of "clients" or "slots".
            Some("53300") => format!("too many connections ({})", error.message()),
            _ => error.message().to_owned(),
        },
        sqlx::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
            "connection refused: no database server listens there".into()
        }
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Tls(error) => format!("TLS: {error}"),
        error => error.to_string(),
    }
}
