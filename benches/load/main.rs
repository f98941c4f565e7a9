//! The benchmark: what a request costs on rolecall, beside the least that the same request can
//! cost.
//!
//! `cargo bench` brings up a private PostgreSQL, fills it, and runs the same requests in turns
//! against rolecall on PostgreSQL, rolecall on SQLite, and the floor ([`floor`]): one prepared
//! statement for each request, behind a bare handler. It checks every answer and prints one table.
//! Being a bench target, it is built with the server it measures and is no part of it; `cargo test
//! --bench load -- --size smoke` runs a few seconds of it, unoptimized.
//!
//! CPU time is what the kernel says (utime and stime) of the server's process and of all processes
//! of PostgreSQL, background work until the ledger is sealed included. Many accounts are cloned
//! from one that was made over SCIM, by SQL: over HTTP a million would take an hour.

#![allow(
    clippy::disallowed_methods,
    reason = "the benchmark fills and reads tables behind the server's back"
)]

mod client;
mod first_sync;
mod floor;
mod machine;
mod report;
mod screens;
mod store;
mod target;
mod work;

use std::error::Error;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use report::Report;
use target::{Kind, Target};
use work::Workload;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Measures rolecall beside the least that the same work can cost.
#[derive(Parser)]
struct Args {
    /// How much: smoke takes seconds, usual minutes, full (a million accounts, a group of 100,000)
    /// about half an hour
    #[arg(long, value_enum, default_value = "usual")]
    size: Size,
    /// Seconds of each turn [default: by size]
    #[arg(long)]
    seconds: Option<f64>,
    /// Turns of each server at each workload [default: by size]
    #[arg(long)]
    turns: Option<usize>,
    /// Requests at a time on every server [default: 16, on SQLite 8]
    #[arg(long)]
    clients: Option<usize>,
    /// Only workloads whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Only these servers
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["floor", "postgres", "sqlite"])]
    servers: Vec<Kind>,
    /// The server to measure: another build of it, to compare
    #[arg(long, default_value = env!("CARGO_BIN_EXE_rolecall"))]
    server: PathBuf,
    /// Runs the floor's server on this database: what the benchmark starts itself with
    #[arg(long, hide = true, requires = "listen")]
    floor: Option<String>,
    #[arg(long, hide = true)]
    listen: Option<String>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Size {
    Smoke,
    Usual,
    Full,
}

/// What is measured at which size.
struct Plan {
    /// Accounts, growing.
    accounts: &'static [u64],
    /// With how many accounts the workloads run that are not about growth.
    main: u64,
    /// Members of the groups that are changed.
    groups: &'static [u64],
    turn: Duration,
    turns: usize,
}

impl Args {
    fn plan(&self) -> Plan {
        let (accounts, main, groups, turn, turns): (&[u64], _, &[u64], _, _) = match self.size {
            Size::Smoke => (&[300], 300, &[10, 200], 0.3, 1),
            Size::Usual => (&[1_000, 20_000, 100_000], 20_000, &[10, 1_000, 10_000], 1.5, 3),
            Size::Full => {
                (&[1_000, 20_000, 100_000, 1_000_000], 20_000, &[10, 1_000, 100_000], 4.0, 3)
            }
        };
        let turn = Duration::from_secs_f64(self.seconds.unwrap_or(turn));
        Plan { accounts, main, groups, turn, turns: self.turns.unwrap_or(turns) }
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let (Some(database), Some(listen)) = (&args.floor, &args.listen) {
        return runtime.block_on(floor::serve(database, listen));
    }
    let Ok(postgres) = std::env::var("ROLECALL_TEST_POSTGRES") else {
        // `tests/postgres` starts a private PostgreSQL and then this program again. That PostgreSQL
        // writes to disk as a real one does.
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres");
        let error = Command::new(script).arg("--durable").args(std::env::args_os()).exec();
        return Err(format!("{script}: {error}").into());
    };
    runtime.block_on(run(&args, &postgres))
}

async fn run(args: &Args, postgres: &str) -> Result<()> {
    let plan = args.plan();
    let mut report = Report::default();
    // The first sync has servers of its own. The other workloads use nothing of them.
    let only = args.only.as_deref();
    if only.is_none_or(|part| first_sync::NAME.contains(part)) {
        for kind in args.servers.iter().filter(|kind| **kind != Kind::Floor) {
            eprintln!("{}: {}", kind.name(), first_sync::NAME);
            first_sync::run(*kind, args, postgres, &mut report).await?;
        }
        if only.is_some() {
            print!("{report}");
            return report.verdict();
        }
    }
    let mut targets = Vec::new();
    for kind in &args.servers {
        targets.push(Target::start(*kind, args, postgres, plan.groups).await?);
    }
    for target in &targets {
        report.idle(target);
    }
    let mut bench = Bench { args, plan: &plan, targets, report };
    if args.servers.contains(&Kind::Sqlite) {
        let seconds = plan.turn.mul_f64(plan.turns as f64);
        bench.report.note(store::bare_sqlite(seconds).await?);
    }
    for (step, accounts) in plan.accounts.iter().copied().enumerate() {
        let known = if step == 0 { 0 } else { plan.accounts[step - 1] };
        for target in &mut bench.targets {
            eprintln!("{}: {accounts} accounts", target.kind.name());
            store::grow(target, known, accounts).await?;
        }
        bench.measure(work::lookup(accounts)).await?;
        bench.measure(work::page_by_cursor(accounts)).await?;
        bench.measure(work::first_page(accounts)).await?;
        bench.measure(work::suspend(known, accounts)).await?;
        bench.measure(work::create(accounts)).await?;
        if accounts == plan.main {
            bench.measure(work::lookup(accounts).by(8)).await?;
            bench.measure(work::page_by_cursor(accounts).by(8)).await?;
            bench.measure(work::page_by_index(accounts)).await?;
            bench.measure(work::mixed(accounts)).await?;
        }
    }
    let accounts = plan.accounts.last().copied().unwrap_or_default();
    // From here on the first accounts are in groups, so a list of users gives longer answers.
    let some = accounts.min(1_000);
    for target in &mut bench.targets {
        store::wards(target, some).await?;
    }
    bench.measure(work::graphql_page()).await?;
    bench.measure(work::graphql_access(some)).await?;
    bench.measure(work::graphql_holders(some)).await?;
    bench.measure(work::decision(some)).await?;
    for target in &mut bench.targets {
        screens::find_connection(target).await?;
    }
    for screen in screens::all_screens(some) {
        bench.measure(screen).await?;
    }
    for members in plan.groups.iter().copied() {
        for target in &mut bench.targets {
            store::fill(target, members).await?;
        }
        bench.measure(work::member(members, accounts)).await?;
    }
    bench.measure(work::graphql_mapping()).await?;
    bench.check_that_members_are_kept(accounts).await?;
    bench.end().await
}

struct Bench<'a> {
    args: &'a Args,
    plan: &'a Plan,
    targets: Vec<Target>,
    report: Report,
}

impl Bench<'_> {
    /// Runs one workload on all servers, in turns, and notes what it cost.
    async fn measure(&mut self, workload: Workload) -> Result<()> {
        if self.args.only.as_ref().is_some_and(|part| !workload.name.contains(part.as_str())) {
            return Ok(());
        }
        eprintln!("{}", workload.name);
        let mut turns = Vec::new();
        let measured =
            self.targets.iter().filter(|it| workload.has_floor || it.kind != Kind::Floor);
        for target in measured {
            let (jobs, many) =
                ((workload.jobs)(target), workload.clients.unwrap_or(target.clients));
            // The first requests prepare statements and fill caches.
            client::run(target, many, &jobs, self.plan.turn.div_f64(4.0)).await?;
            turns.push((target, many, jobs, Vec::new()));
        }
        for _ in 0..self.plan.turns {
            for (target, many, jobs, measured) in &mut turns {
                target.settle().await?;
                let before = target.cpu()?;
                let turn = client::run(target, *many, jobs, self.plan.turn).await?;
                target.settle().await?;
                measured.push(turn.cost(target.cpu()? - before));
            }
        }
        for (target, .., measured) in turns {
            self.report.add(&workload.name, target, measured);
        }
        Ok(())
    }

    /// All clients add members to one group at the same time, one a request: none may be lost.
    async fn check_that_members_are_kept(&mut self, accounts: u64) -> Result<()> {
        for target in self.targets.iter().filter(|target| target.kind != Kind::Floor) {
            let many = 320.min(accounts);
            let group = target.make_group("Added at the same time").await?;
            let add = work::add_each(&group, many);
            client::run(target, target.clients, &add, Duration::from_secs(60)).await?;
            let kept = target.members(&group).await?;
            if kept != many {
                return Err(
                    format!("{}: {kept} of {many} members were kept", target.kind.name()).into()
                );
            }
            self.report
                .note(format!("{}: {many} members added at once, {kept} kept", target.kind.name()));
        }
        Ok(())
    }

    async fn end(mut self) -> Result<()> {
        for target in self.targets {
            self.report.memory(&target);
            target.verify().await?;
        }
        print!("{}", self.report);
        self.report.verdict()
    }
}
