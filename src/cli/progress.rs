//! Shows the progress of a long command: a bar on a terminal, a few lines in a log.

use std::io::{Write, stderr, stdout};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a log gets a line about a step that is not done yet.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How often a sign of life moves on a terminal.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressStream {
    Stdout,
    Stderr,
}

impl ProgressStream {
    fn draw_target(self) -> ProgressDrawTarget {
        match self {
            Self::Stdout => ProgressDrawTarget::stdout(),
            Self::Stderr => ProgressDrawTarget::stderr(),
        }
    }

    /// Prints a line. A closed pipe is no error.
    fn print_line(self, line: &str) {
        let _ = match self {
            Self::Stdout => writeln!(stdout(), "{line}"),
            Self::Stderr => writeln!(stderr(), "{line}"),
        };
    }
}

/// The progress of one step of a command.
pub struct StepProgress {
    stream: ProgressStream,
    what: String,
    /// Draws nothing where the stream is no terminal.
    bar: ProgressBar,
    log: LogPace,
}

impl StepProgress {
    /// A step of which nothing is done yet; shows nothing.
    pub fn new(stream: ProgressStream, what: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, stream.draw_target())
            .with_style(step_style("{msg} {bar:30} {pos}/{len}"))
            .with_message(what.to_owned());
        Self { stream, what: what.to_owned(), bar, log: LogPace { last: Instant::now() } }
    }

    /// What the step does.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Shows that `done` of `total` parts are done. On a terminal the bar moves, and the finished
    /// step leaves one line without it. In a file or a pipe there is one line at the end and one
    /// every [`LOG_INTERVAL`] before it, so that logs stay readable.
    pub fn show_done(&mut self, done: usize, total: usize) {
        let finished = done == total;
        if self.bar.is_hidden() {
            if self.log.is_due(finished, Instant::now()) {
                self.stream.print_line(&format!("{} {done}/{total}", self.what));
            }
            return;
        }
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        if finished {
            self.bar.set_style(step_style("{msg} {pos}/{len}"));
            self.bar.finish();
        }
    }
}

/// When a log gets its next line.
struct LogPace {
    last: Instant,
}

impl LogPace {
    fn is_due(&mut self, finished: bool, now: Instant) -> bool {
        let due = finished || now.duration_since(self.last) >= LOG_INTERVAL;
        if due {
            self.last = now;
        }
        due
    }
}

/// Shows on standard error that something takes its time, until the returned value is dropped.
/// Prints nothing into a file or a pipe.
pub fn show_waiting(what: String) -> WaitingSign {
    let sign = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_style(step_style("{spinner} {msg} {elapsed}"))
        .with_message(what);
    if !sign.is_hidden() {
        sign.enable_steady_tick(TICK_INTERVAL);
    }
    WaitingSign(sign)
}

/// A sign of life; it vanishes when this is dropped.
pub struct WaitingSign(ProgressBar);

impl Drop for WaitingSign {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The style of a template. One that cannot be read is replaced by indicatif's own.
fn step_style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_gets_few_lines() {
        let start = Instant::now();
        let mut pace = LogPace { last: start };
        let due: Vec<_> = [(1, false), (9, false), (10, false), (11, false), (12, true)]
            .map(|(seconds, finished)| pace.is_due(finished, start + Duration::from_secs(seconds)))
            .into();
        assert_eq!(due, [false, false, true, false, true]);
    }
}
