//! The URL of the database: what travels between this server and PostgreSQL on another machine is
//! encrypted.

use std::net::IpAddr;

use reqwest::Url;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The setting by which PostgreSQL's own tools name the mode of encryption.
const SSL_MODE_VARIABLE: &str = "PGSSLMODE";

/// Checks a database URL. One for PostgreSQL on another machine that says nothing of `sslmode` gets
/// `require`.
///
/// # Errors
/// One line that says what is wrong, without the password.
pub fn check_database_url(url: String) -> Result<String, String> {
    if url.starts_with("sqlite://") {
        return Ok(url);
    }
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err("--database-url must start with sqlite:// or postgres://".into());
    }
    let wrong = |why: String| format!("--database-url: {why}");
    let mut parsed = Url::parse(&url).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let options: PgConnectOptions =
        url.parse().map_err(|error: sqlx::Error| wrong(error.to_string()))?;
    if options.get_socket().is_some() || is_this_machine(options.get_host()) {
        return Ok(url);
    }
    let said = parsed.query_pairs().any(|(name, _)| name == "sslmode" || name == "ssl-mode");
    if !said && std::env::var_os(SSL_MODE_VARIABLE).is_none() {
        parsed.query_pairs_mut().append_pair("sslmode", "require");
        return Ok(parsed.into());
    }
    let mode = match options.get_ssl_mode() {
        PgSslMode::Prefer => "prefer",
        PgSslMode::Allow => "allow",
        _ => return Ok(url),
    };
    Err(wrong(format!(
        "sslmode={mode} lets an attacker on the way turn encryption off: give sslmode=require, \
         verify-ca or \
         verify-full, or, to do without encryption knowingly, sslmode=disable"
    )))
}

/// Whether a host is this machine: a socket's folder, a loopback address or the name of one.
pub(super) fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host.starts_with('/')
        || host.trim_end_matches('.').eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_is_reached_over_tls() {
        for url in
            ["postgres://u:p@db.example/x", "postgresql://u@10.0.0.7:5433/x?application_name=a"]
        {
            let checked = check_database_url(url.into()).unwrap();
            let options: PgConnectOptions = checked.parse().unwrap();
            assert!(matches!(options.get_ssl_mode(), PgSslMode::Require), "{checked}");
            assert_eq!(options.get_username(), "u");
        }
        for mode in ["require", "verify-ca", "verify-full", "disable"] {
            let url = format!("postgres://u@db.example/x?sslmode={mode}");
            assert_eq!(check_database_url(url.clone()), Ok(url));
        }
        for name in ["sslmode", "ssl-mode"] {
            for mode in ["prefer", "allow", "PREFER"] {
                let refused = check_database_url(format!(
                    "postgres://u:secret-word@db.example/x?{name}={mode}"
                ))
                .unwrap_err();
                assert!(
                    refused.contains("sslmode=require") && !refused.contains("secret-word"),
                    "{refused}"
                );
            }
        }
        // The parameter wins over the host of the authority, as it does when the connection is
        // made.
        let elsewhere =
            check_database_url("postgres://u@localhost/x?host=db.example".into()).unwrap();
        assert!(elsewhere.ends_with("sslmode=require"), "{elsewhere}");
        assert!(check_database_url("postgres://u@db.example/x?sslmode=sometimes".into()).is_err());
    }

    #[test]
    fn this_machine_is_exempt() {
        for host in
            ["localhost", "127.0.0.1", "127.8.0.1:5433", "[::1]", "[::ffff:127.0.0.1]", "LOCALHOST"]
        {
            for query in ["", "?sslmode=prefer"] {
                let url = format!("postgres://u@{host}/x{query}");
                assert_eq!(check_database_url(url.clone()), Ok(url));
            }
        }
        for url in ["postgres:///x?host=/run/postgresql", "postgres://u@%2Frun%2Fpostgresql/x"] {
            assert_eq!(check_database_url(url.into()), Ok(url.into()));
        }
    }
}
