//! Prints the story on standard output, and counts the facts that hold.

use std::fmt::Display;
use std::io::{Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cli::progress::{ProgressStream, StepProgress};

/// Prints the story. A reader that closes the pipe (`| head`) does not stop it.
pub struct FactReporter {
    began: Instant,
    chapters: usize,
    facts: usize,
    broken: usize,
}

impl FactReporter {
    /// A reporter without any fact.
    pub fn new() -> Self {
        Self { began: Instant::now(), chapters: 0, facts: 0, broken: 0 }
    }

    /// Begins a chapter.
    pub fn begin_chapter(&mut self, title: &str) {
        self.chapters += 1;
        print_story_line(&format!("\n{}. {title}", self.chapters));
    }

    /// Prints a sentence that is not checked.
    pub fn print_sentence(&self, text: impl Display) {
        print_story_line(&format!("   {text}"));
    }

    /// Prints a fact, and whether it holds: whether `found` equals `expected`.
    pub fn check_fact(&mut self, what: &str, expected: impl Display, found: impl Display) {
        let (expected, found) = (expected.to_string(), found.to_string());
        self.facts += 1;
        if expected == found {
            print_story_line(&format!(" ✓ {what}: {found}"));
        } else {
            self.broken += 1;
            print_story_line(&format!(" ✗ {what}: expected {expected}, found {found}"));
        }
    }

    /// Shows the progress of a phase that takes some time.
    pub fn print_progress(what: &str) -> impl FnMut(usize, usize) {
        let mut step = StepProgress::new(ProgressStream::Stdout, &format!("   {what}"));
        move |done, total| step.show_done(done, total)
    }

    /// Prints the last line: whether all facts held.
    pub fn print_summary(&self) {
        let Self { began, facts, broken, .. } = self;
        match broken {
            0 => print_story_line(&format!(
                "\nAll {facts} facts held, in {}.",
                format_seconds(began.elapsed())
            )),
            _ => print_story_line(&format!(
                "\n{broken} of {facts} facts did not hold: see the lines with ✗."
            )),
        }
    }

    /// Checks that all facts held.
    ///
    /// # Errors
    /// The number of facts that did not hold.
    pub fn check_all_facts(&self) -> Result<(), String> {
        match self.broken {
            0 => Ok(()),
            broken => Err(format!("{broken} of {} facts did not hold", self.facts)),
        }
    }
}

/// Whether standard output was closed by its reader.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Prints one line, unless the reader has closed the pipe.
pub fn print_story_line(line: &str) {
    if writeln!(stdout(), "{line}").is_err() {
        CLOSED.store(true, Ordering::Relaxed);
    }
}

/// Whether standard output is still open.
pub fn is_output_open() -> bool {
    !CLOSED.load(Ordering::Relaxed)
}

/// A duration for people: `4.2 s`.
pub fn format_seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A short duration for people: `3.1 ms`.
pub fn format_milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_false_fact_fails_the_story() {
        let mut narrator = FactReporter::new();
        narrator.check_fact("nurses", 200, 200);
        assert_eq!(narrator.check_all_facts(), Ok(()));
        narrator.check_fact("leavers without access", 8, 7);
        assert_eq!(narrator.check_all_facts(), Err("1 of 2 facts did not hold".into()));
    }
}
