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

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    #[test]
    fn a_log_is_told_once() {
        let mut log = tempfile::tempfile().unwrap();
        for done in 0..=3 {
            show(&mut log, "hired", done, 3);
        }
        let mut text = String::new();
        log.rewind().unwrap();
        log.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hired 3/3\n");
    }
}
