//! One table of all measurements.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::Result;
use crate::client::Turn;
use crate::machine::{self, Cpu};
use crate::target::{Kind, Target};

/// All measurements so far.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
    requests: BTreeMap<Kind, usize>,
    wrong: Vec<String>,
}

#[derive(Debug)]
struct Row {
    workload: String,
    server: Kind,
    rate: f64,
    median: Duration,
    slow: Duration,
    /// Milliseconds an operation.
    in_server: f64,
    in_database: f64,
}

impl Row {
    fn cpu(&self) -> f64 {
        self.in_server + self.in_database
    }
}

/// What an operation cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// CPU time of the server and the database, in milliseconds.
    pub cpu: f64,
    /// The 99th percentile of latency.
    pub p99: Duration,
}

impl Report {
    /// Adds a line below the table.
    pub fn note(&mut self, line: String) {
        self.notes.push(line);
    }

    pub fn idle(&mut self, target: &Target) {
        if target.kind != Kind::Floor {
            self.note(format!(
                "{}: {:.0} MB of memory before the first request",
                target.kind.name(),
                target.idle
            ));
        }
    }

    pub fn memory(&mut self, target: &Target) {
        let requests = self.requests.get(&target.kind).copied().unwrap_or_default();
        if let (true, Ok(memory)) = (target.kind != Kind::Floor, machine::memory(target.pid())) {
            self.note(format!(
                "{}: {memory:.0} MB of memory after {requests} requests",
                target.kind.name()
            ));
        }
    }

    /// Adds all turns of one server at one workload. Returns what an operation cost, if there was
    /// one.
    pub fn add(&mut self, workload: &str, target: &Target, turns: Vec<Turn>) -> Option<Cost> {
        let (mut latencies, mut elapsed, mut cpu) = (Vec::new(), Duration::ZERO, Cpu::default());
        for turn in turns {
            latencies.extend(turn.latencies);
            elapsed += turn.elapsed;
            cpu += turn.cpu;
            if let Some(first) = turn.first_wrong {
                let wrong = format!(
                    "{} at {workload}: {} wrong answers, {first}",
                    target.kind.name(),
                    turn.wrong
                );
                eprintln!("{wrong}");
                self.wrong.push(wrong);
            }
        }
        let many = latencies.len();
        *self.requests.entry(target.kind).or_default() += many;
        if many == 0 {
            self.wrong.push(format!("{} at {workload}: nothing was done", target.kind.name()));
            return None;
        }
        latencies.sort_unstable();
        let at = |part: f64| latencies[((many - 1) as f64 * part) as usize];
        let each = |time: Duration| time.as_secs_f64() * 1_000.0 / many as f64;
        let row = Row {
            workload: workload.into(),
            server: target.kind,
            rate: many as f64 / elapsed.as_secs_f64(),
            median: at(0.5),
            slow: at(0.99),
            in_server: each(cpu.server),
            in_database: each(cpu.database),
        };
        eprintln!("  {row}");
        let cost = Cost { cpu: row.cpu(), p99: row.slow };
        self.rows.push(row);
        Some(cost)
    }

    /// Fails if any answer was wrong.
    pub fn verdict(&self) -> Result<()> {
        if self.wrong.is_empty() { Ok(()) } else { Err(self.wrong.join("\n").into()) }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
        write!(
            f,
            "| {:<48} | {:<10} | {:>8.0} | {:>7.2} | {:>7.2} | {:>6.3} | {:>8.3} | {:>6.3} |",
            self.workload,
            self.server.name(),
            self.rate,
            millis(self.median),
            millis(self.slow),
            self.in_server,
            self.in_database,
            self.cpu(),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nTimes in milliseconds; CPU is that of one operation. The ratios are to the floor.\n"
        )?;
        writeln!(
            f,
            "| workload                                         | on         |    ops/s |     p50 \
             |     p99 | server | database |    CPU | CPU × | ops/s × | p99 × |"
        )?;
        writeln!(
            f,
            "|--------------------------------------------------|------------|---------:|--------:|--------:|-------:|---------:|-------:|------:|--------:|------:|"
        )?;
        for row in &self.rows {
            write!(f, "{row}")?;
            let floor = self
                .rows
                .iter()
                .find(|other| other.server == Kind::Floor && other.workload == row.workload);
            match floor {
                Some(floor) if row.server != Kind::Floor => {
                    let slow = row.slow.as_secs_f64() / floor.slow.as_secs_f64();
                    writeln!(
                        f,
                        " {:>5.2} | {:>7.2} | {slow:>5.2} |",
                        row.cpu() / floor.cpu(),
                        row.rate / floor.rate
                    )?;
                }
                _ => writeln!(f, "       |         |       |")?,
            }
        }
        writeln!(f)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}
