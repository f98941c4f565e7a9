//! The first sync: an identity provider writes a whole directory into an empty database.
//!
//! Nothing is cloned and, on PostgreSQL, nothing is analyzed: statements are planned while tables
//! are empty, and the plans are kept. What an operation costs at the end is compared with what it
//! cost at the beginning.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;

use crate::client::{self, Job, Jobs, Turn};
use crate::report::{Cost, Report};
use crate::store::account;
use crate::target::{Kind, Target};
use crate::work::{self, GROUPS, Members, USERS};
use crate::{Args, Result, Size};

/// The name of the workload.
pub const NAME: &str = "first sync";

/// CPU time of an operation at the end, as a multiple of that at the beginning.
const MAX_CPU_GROWTH: f64 = 1.3;
/// The 99th percentile of latency, likewise.
const MAX_P99_GROWTH: f64 = 2.0;
/// Accounts before the first window.
const FIRST_ACCOUNTS: u64 = 1_000;
/// Members that one PATCH adds.
const MEMBERS_PER_PATCH: usize = 100;

/// How much is written.
struct Extent {
    accounts: u64,
    groups: usize,
    large_group: usize,
    window: Duration,
}

impl Extent {
    fn of(size: Size) -> Self {
        let (accounts, groups, large_group, seconds) = match size {
            Size::Smoke => (300, 5, 200, 0.3),
            Size::Usual | Size::Full => (100_000, 500, 10_000, 10.0),
        };
        Self { accounts, groups, large_group, window: Duration::from_secs_f64(seconds) }
    }
}

/// Runs the workload on a server of its own and notes what it cost.
pub async fn run(kind: Kind, args: &Args, postgres: &str, report: &mut Report) -> Result<()> {
    let extent = Extent::of(args.size);
    let sync = Sync {
        target: Target::start(kind, args, postgres, &[]).await?,
        extent,
        accounts: Arc::default(),
    };
    sync.stop_analyzing().await?;
    sync.write_accounts(report).await?;
    sync.write_groups(report).await?;
    sync.change_members(report).await?;
    sync.target.verify().await
}

/// A sync in progress.
struct Sync {
    target: Target,
    extent: Extent,
    /// The ids of the accounts written so far.
    accounts: Arc<Mutex<Vec<String>>>,
}

impl Sync {
    /// Turns automatic ANALYZE off. Automatic VACUUM still runs.
    async fn stop_analyzing(&self) -> Result<()> {
        if self.target.kind != Kind::Postgres {
            return Ok(());
        }
        let db = &self.target.db;
        let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'";
        for row in
            db.query_all_raw(Statement::from_string(db.get_database_backend(), tables)).await?
        {
            let table: String = row.try_get_by_index(0)?;
            db.execute_unprepared(&format!(
                "ALTER TABLE \"{table}\" SET (autovacuum_analyze_threshold = 2147483647, \
                 autovacuum_analyze_scale_factor = 100)"
            ))
            .await?;
        }
        Ok(())
    }

    fn written(&self) -> u64 {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// Lets all clients work until `time` is over or there are no more jobs, and returns the
    /// results with the CPU time that they cost.
    async fn measure(&self, jobs: &Jobs, time: Duration) -> Result<Turn> {
        self.target.settle().await?;
        let before = self.target.cpu()?;
        let turn = client::run(&self.target, self.target.clients, jobs, time).await?;
        self.target.settle().await?;
        Ok(turn.cost(self.target.cpu()? - before))
    }

    async fn write_accounts(&self, report: &mut Report) -> Result<()> {
        let (next, accounts) = (Arc::new(AtomicU64::new(0)), self.accounts.clone());
        let up_to = |most: u64| -> Jobs {
            let (next, accounts) = (next.clone(), accounts.clone());
            Arc::new(move || {
                // Several limits share one counter; a number is used once.
                let n = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                    (n < most).then_some(n + 1)
                });
                n.ok().map(|n| create(n, accounts.clone()))
            })
        };
        let first = FIRST_ACCOUNTS.min(self.extent.accounts / 3);
        client::run(&self.target, self.target.clients, &up_to(first), Duration::from_secs(600))
            .await?;
        let mut costs = Vec::new();
        while self.written() < self.extent.accounts || costs.len() < 2 {
            let before = self.written();
            let turn = self.measure(&up_to(u64::MAX), self.extent.window).await?;
            let name = format!("{NAME}: create, from {before} accounts");
            costs.extend(report.add(&name, &self.target, vec![turn]));
        }
        let what = format!("creates up to {} accounts", self.written());
        self.judge(report, &what, costs.first(), costs.last());
        Ok(())
    }

    async fn write_groups(&self, report: &mut Report) -> Result<()> {
        let ids = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut patches = VecDeque::new();
        for n in 0..self.extent.groups {
            let group = self.target.make_group(&format!("Ward {n}")).await?;
            let members = ids
                .iter()
                .cycle()
                .skip(n * MEMBERS_PER_PATCH)
                .take(MEMBERS_PER_PATCH.min(ids.len()));
            patches.push_back(add_members(&group, members));
        }
        report.add(
            &format!("{NAME}: 100 members into each of {} groups", self.extent.groups),
            &self.target,
            vec![self.measure(&each(patches), Duration::from_secs(3_600)).await?],
        );
        Ok(())
    }

    async fn change_members(&self, report: &mut Report) -> Result<()> {
        let ids = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut costs = Vec::new();
        for size in [10, self.extent.large_group] {
            let group = self.target.make_group(&format!("Group of {size}")).await?;
            let members: Vec<_> = ids.iter().take(size).collect();
            let patches = members
                .chunks(MEMBERS_PER_PATCH)
                .map(|chunk| add_members(&group, chunk.iter().copied()));
            let filled = self.measure(&each(patches.collect()), Duration::from_secs(3_600)).await?;
            report.add(&format!("{NAME}: fill a group of {size}"), &self.target, vec![filled]);
            let members = Members::new(group, ids.iter().skip(size).cloned());
            let next = AtomicU64::new(0);
            let jobs: Jobs =
                Arc::new(move || Some(members.job(next.fetch_add(1, Ordering::Relaxed))));
            let turn = self.measure(&jobs, self.extent.window).await?;
            let name = format!("{NAME}: one member in or out, group of {size}");
            costs.extend(report.add(&name, &self.target, vec![turn]));
        }
        self.judge(report, "a member of the large group", costs.first(), costs.last());
        Ok(())
    }

    /// Notes by what factor the cost of an operation grew, and whether that is within the limits.
    fn judge(&self, report: &mut Report, what: &str, first: Option<&Cost>, last: Option<&Cost>) {
        let (Some(first), Some(last)) = (first, last) else { return };
        let cpu = last.cpu / first.cpu;
        let p99 = last.p99.as_secs_f64() / first.p99.as_secs_f64();
        let verdict =
            if cpu <= MAX_CPU_GROWTH && p99 <= MAX_P99_GROWTH { "holds" } else { "DOES NOT HOLD" };
        report.note(format!(
            "{}: {NAME}, {what}: CPU {cpu:.2} × (at most {MAX_CPU_GROWTH}), p99 {p99:.2} × (at \
             most {MAX_P99_GROWTH}): {verdict}",
            self.target.kind.name()
        ));
    }
}

fn create(n: u64, accounts: Arc<Mutex<Vec<String>>>) -> Job {
    work::job(Method::POST, USERS.into(), account(&format!("first-{n}")), move |status, body| {
        let id = body.split_once("\"id\":\"").and_then(|(_, rest)| rest.split_once('"'));
        let Some((id, _)) = id.filter(|_| status == 201) else { return false };
        accounts.lock().unwrap_or_else(PoisonError::into_inner).push(id.into());
        true
    })
}

fn add_members<'a>(group: &str, members: impl Iterator<Item = &'a String>) -> Job {
    let members: Vec<_> = members.map(|id| json!({ "value": id })).collect();
    let body = work::patch("add", "members", &json!(members));
    work::job(Method::PATCH, format!("{GROUPS}/{group}"), body, work::changed)
}

/// Hands out each of these jobs once.
fn each(jobs: VecDeque<Job>) -> Jobs {
    let jobs = Mutex::new(jobs);
    Arc::new(move || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front())
}
