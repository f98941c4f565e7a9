//! Tells the story on standard output, and keeps count of what turned out to be true.

use std::fmt::Display;
use std::io::{Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::progress;

/// Who tells the story. Whoever stops listening (`| head`) does not stop it.
pub struct Narrator {
    began: Instant,
    chapters: usize,
    facts: usize,
    broken: usize,
}

impl Narrator {
    /// At the beginning.
    pub fn new() -> Self {
        Self { began: Instant::now(), chapters: 0, facts: 0, broken: 0 }
    }

    /// Begins a chapter.
    pub fn chapter(&mut self, title: &str) {
        self.chapters += 1;
        print(&format!("\n{}. {title}", self.chapters));
    }

    /// Tells something that needs no proof.
    pub fn say(&self, text: impl Display) {
        print(&format!("   {text}"));
    }

    /// Tells a fact, and whether it is one.
    pub fn fact(&mut self, what: &str, expected: impl Display, found: impl Display) {
        let (expected, found) = (expected.to_string(), found.to_string());
        self.facts += 1;
        if expected == found {
            print(&format!(" ✓ {what}: {found}"));
        } else {
            self.broken += 1;
            print(&format!(" ✗ {what}: expected {expected}, found {found}"));
        }
    }

    /// For a phase that takes a moment: something to watch.
    pub fn watch(what: &str) -> impl FnMut(usize, usize) {
        let what = format!("   {what}");
        move |done, total| progress::show(&mut stdout(), &what, done, total)
    }

    /// The last line: whether everything held.
    pub fn end(&self) {
        let Self { began, facts, broken, .. } = self;
        match broken {
            0 => print(&format!("\nAll {facts} facts held, in {}.", seconds(began.elapsed()))),
            _ => print(&format!("\n{broken} of {facts} facts did not hold: see the lines with ✗.")),
        }
    }

    /// Whether everything held.
    ///
    /// # Errors
    /// How much did not.
    pub fn verdict(&self) -> Result<(), String> {
        match self.broken {
            0 => Ok(()),
            broken => Err(format!("{broken} of {} facts did not hold", self.facts)),
        }
    }
}

/// Whether standard output was closed by its reader.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// One line, if anybody still listens.
pub fn print(line: &str) {
    if writeln!(stdout(), "{line}").is_err() {
        CLOSED.store(true, Ordering::Relaxed);
    }
}

/// Whether everything could be printed until now.
pub fn is_heard() -> bool {
    !CLOSED.load(Ordering::Relaxed)
}

/// A duration for people: `4.2 s`.
pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A short duration for people: `3.1 ms`.
pub fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fact_that_does_not_hold_spoils_the_story() {
        let mut narrator = Narrator::new();
        narrator.fact("nurses", 200, 200);
        assert_eq!(narrator.verdict(), Ok(()));
        narrator.fact("leavers without access", 8, 7);
        assert_eq!(narrator.verdict(), Err("1 of 2 facts did not hold".into()));
    }
}
