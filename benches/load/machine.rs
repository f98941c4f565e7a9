//! What the kernel reports about processes.

use std::fs;
use std::ops::{AddAssign, Sub};
use std::time::Duration;

use crate::Result;

/// The kernel's clock ticks a second, as Linux reports them to programs on every architecture.
const TICKS: f64 = 100.0;

/// CPU time of a server and of its database.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    pub server: Duration,
    pub database: Duration,
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            server: self.server.saturating_sub(earlier.server),
            database: self.database.saturating_sub(earlier.database),
        }
    }
}

impl AddAssign for Cpu {
    fn add_assign(&mut self, more: Self) {
        self.server += more.server;
        self.database += more.database;
    }
}

struct Stat {
    parent: u32,
    own: f64,
    /// CPU time of children that have ended.
    ended: f64,
}

fn stat(pid: u32) -> Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may contain spaces and brackets, too.
    let fields: Vec<&str> = text
        .rsplit_once(')')
        .map(|(_, rest)| rest)
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let number =
        |n: usize| fields.get(n).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    Ok(Stat {
        parent: number(1) as u32,
        own: number(11) + number(12),
        ended: number(13) + number(14),
    })
}

/// The process that started `pid`.
pub fn parent(pid: u32) -> Result<u32> {
    Ok(stat(pid)?.parent)
}

/// CPU time of one process.
pub fn cpu(pid: u32) -> Result<Duration> {
    Ok(Duration::from_secs_f64(stat(pid)?.own / TICKS))
}

/// CPU time of a process and of all processes that it has started.
pub fn cpu_of_family(pid: u32) -> Result<Duration> {
    let head = stat(pid)?;
    let mut ticks = head.own + head.ended;
    for entry in fs::read_dir("/proc")? {
        let Some(child) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        let Ok(stat) = stat(child) else { continue };
        if stat.parent == pid {
            ticks += stat.own + stat.ended;
        }
    }
    Ok(Duration::from_secs_f64(ticks / TICKS))
}

/// Resident memory of a process, in megabytes.
pub fn memory(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kilobytes = line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
    Ok(kilobytes.unwrap_or_default() / 1024.0)
}
