//! How far something is, for whoever watches.

use std::io::{IsTerminal, Write};

/// Says that `done` of `total` are through: on a terminal by a line that is written over, elsewhere (a file, a pipe)
/// only once all are, so that logs stay readable. Nobody listening is no error.
pub fn show(out: &mut (impl Write + IsTerminal), what: &str, done: usize, total: usize) {
    let finished = done == total;
    let _ = match (out.is_terminal(), finished) {
        (true, false) => write!(out, "\r{what} {done}/{total}"),
        (true, true) => writeln!(out, "\r{what} {done}/{total}"),
        (false, false) => Ok(()),
        (false, true) => writeln!(out, "{what} {done}/{total}"),
    };
    let _ = out.flush();
}
