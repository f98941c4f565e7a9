//! Standard output of the commands. It is no error if the reader closes the pipe early
//! (`| head -1`): the rest of the output is dropped, the command continues, and its exit status
//! still says whether it succeeded.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stderr, stdout};

use serde::Serialize;

use crate::cli::command_error::CommandError;

/// Prints one line on standard output.
///
/// # Errors
/// One line for the operator when the output cannot be written, for example on a full disk; a
/// closed pipe is no error.
pub fn print_line(line: impl Display) -> Result<(), CommandError> {
    let mut out = stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CommandError::Failure(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a value as one line of JSON on standard output.
///
/// # Errors
/// As [`print_line`].
pub fn print_json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string(value);
    print_line(text.map_err(|error| format!("cannot write JSON: {error}"))?)
}

/// Prints one line on standard error. A failure to write it is ignored, because there is no other
/// place to report it.
pub fn print_error(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}
