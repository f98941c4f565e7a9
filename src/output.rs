//! Standard output of the commands. A reader that closes the pipe early (`| head -1`) is no fault: what is left is
//! dropped, the command goes on, and its exit status stays the truth about its work.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stderr, stdout};

/// Prints one line on standard output.
///
/// # Errors
/// One line for the operator when the output cannot be written, for example on a full disk; a closed pipe is no error.
pub fn print_line(line: impl Display) -> Result<(), String> {
    let mut out = stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot write to standard output: {error}")),
        _ => Ok(()),
    }
}

/// Prints one line on standard error, if it can be written: there is no other place to report a fault to.
pub fn print_error(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}
