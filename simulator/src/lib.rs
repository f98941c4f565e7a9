//! A simulated identity provider: it hires, moves and dismisses invented nurses over HTTP, in the dialect of a real
//! provider, and reports what the server refused.
//!
//! It exists to try a server (ours or any other) without a tenant of Entra or Okta, and to tell the story of the demo.
//! It knows the server only from outside: nothing of `domain` or `scim` may enter here, or it would agree with our
//! mistakes.

mod client;
mod entra;
mod okta;
mod people;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

pub use client::{Client, Found, Member, Refusal, Refused};
pub use people::Person;
use people::{Dice, ExternalIds, People};

use crate::error::{Error, Result};

const CORE_USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const CORE_GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// Requests under way at once: real providers overlap theirs, and races show only then.
const IN_FLIGHT: usize = 8;

/// Whose dialect is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Idp {
    Entra,
    Okta,
}

/// What to simulate, and against which server. It holds the token, so it has no `Debug`.
#[derive(Clone)]
pub struct Plan {
    /// The address before `/Users`.
    pub base_url: String,
    /// The bearer token that the server's administrator gave us.
    pub token: String,
    pub idp: Idp,
    pub users: usize,
    pub movers: usize,
    pub leavers: usize,
    /// The same seed hires the same people again.
    pub seed: u64,
}

/// How far a run is: so many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Connected,
    Hired(usize, usize),
    Placed(usize, usize),
    Moved(usize, usize),
    Left(usize, usize),
    Checked(usize, usize),
}

/// What a run did, and what the server would not do.
#[derive(Debug, Clone)]
pub struct Report {
    /// HTTP requests, repeats included.
    pub requests: usize,
    pub created: usize,
    /// Accounts that were there already and were brought up to date.
    pub matched: usize,
    pub moved: usize,
    pub left: usize,
    pub refused: Vec<Refusal>,
    /// What the server shows at the end that is not what it was told; one sentence each.
    pub differences: Vec<String>,
    pub elapsed: Duration,
    pub latency_p50: Duration,
    pub latency_p99: Duration,
}

/// Does all of the plan: joiners, movers, leavers, and a look at what came of it.
///
/// Fails only where nothing can be done at all: a malformed address, or a connection test that is refused. Whatever is
/// refused later is in the report.
pub async fn run(plan: &Plan, mut progress: impl FnMut(Step)) -> Result<Report> {
    let start = Instant::now();
    let mut simulation = Simulation::connect(plan).await?;
    progress(Step::Connected);
    let hired = simulation.hire(plan.users, |done, total| progress(Step::Hired(done, total))).await;
    simulation.place(|done, total| progress(Step::Placed(done, total))).await;
    let moves = simulation.transfer(plan.movers, |done, total| progress(Step::Moved(done, total))).await;
    let leavers = simulation.offboard(plan.leavers, |done, total| progress(Step::Left(done, total))).await;
    let differences = simulation.check(|done, total| progress(Step::Checked(done, total))).await;

    let mut latencies = simulation.client.latencies();
    latencies.sort_unstable();
    Ok(Report {
        requests: latencies.len(),
        created: hired.created,
        matched: hired.matched,
        moved: moves.len(),
        left: leavers.len(),
        refused: simulation.client.refused(),
        differences,
        elapsed: start.elapsed(),
        latency_p50: percentile(&latencies, 50),
        latency_p99: percentile(&latencies, 99),
    })
}

/// Somebody with an account.
#[derive(Debug, Clone)]
pub struct Staff {
    pub person: Person,
    /// The server's id of the account.
    pub id: String,
    /// The place of the ward in [`Simulation::wards`].
    pub ward: usize,
    /// The account was there before us, and may be in another ward's group.
    pub found: bool,
    /// In the ward's group, as far as the server confirmed it.
    pub placed: bool,
    /// Not dismissed.
    pub employed: bool,
}

/// A ward and the group that stands for it.
#[derive(Debug, Clone)]
pub struct Ward {
    pub name: &'static str,
    /// The group's displayName.
    pub group: String,
    /// The identity provider's own id of the group.
    pub external_id: String,
    /// The server's id of the group, once it is there.
    pub group_id: Option<String>,
}

/// How many were hired, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hired {
    pub created: usize,
    pub matched: usize,
}

/// One completed change of ward.
#[derive(Debug, Clone)]
pub struct Move {
    pub user_name: String,
    pub id: String,
    pub from: String,
    pub to: String,
    /// From the first request until the last answer.
    pub took: Duration,
}

/// One deactivation that the server accepted.
#[derive(Debug, Clone)]
pub struct Leaver {
    pub user_name: String,
    pub id: String,
    pub ward: String,
    /// When the request was sent: what measures time to revoke starts here.
    pub asked: Instant,
    /// Until the answer was there.
    pub took: Duration,
}

/// A hospital under way: who works where, and by which ids the server knows them.
pub struct Simulation {
    client: Client,
    people: People,
    dice: Dice,
    wards: Vec<Ward>,
    staff: Vec<Staff>,
}

impl Simulation {
    /// Presses "test connection". Nothing is created yet.
    pub async fn connect(plan: &Plan) -> Result<Self> {
        let client = Client::new(plan)?;
        let ids = match plan.idp {
            Idp::Entra => ExternalIds::Guid,
            Idp::Okta => ExternalIds::Okta,
        };
        let nobody = format!("nobody-{}@stmary.example", uuid::Uuid::now_v7());
        if client.test_connection(&nobody).await.is_err() {
            return Err(Error::invalid(
                "base-url",
                match client.refused().pop() {
                    Some(Refusal { status: Some(status), detail, .. }) => {
                        format!("the server refused the connection test with {status}: {detail}")
                    }
                    Some(Refusal { detail, .. }) => format!("the connection test failed: {detail}"),
                    None => "the connection test failed".to_owned(),
                },
            ));
        }
        let mut people = People::new(plan.seed, ids);
        let wards = people::wards(plan.users)
            .iter()
            .map(|&name| Ward {
                name,
                group: format!("Nurses {name}"),
                external_id: people.external_id(),
                group_id: None,
            })
            .collect();
        Ok(Self { client, people, dice: Dice(plan.seed), wards, staff: Vec::new() })
    }

    /// Gives accounts to the next `count` people, ward by ward in turn. The first of each ward is its charge nurse and
    /// the manager of the others there.
    pub async fn hire(&mut self, count: usize, mut progress: impl FnMut(usize, usize)) -> Hired {
        let first = self.staff.len();
        let mut hired = Hired { created: 0, matched: 0 };
        let mut managers: HashMap<usize, String> = HashMap::new();
        for (ward, _) in self.wards.iter().enumerate() {
            let lead = self.staff.iter().find(|staff| staff.ward == ward && staff.employed);
            managers.extend(lead.map(|lead| (ward, lead.id.clone())));
        }
        let leads = if first == 0 { count.min(self.wards.len()) } else { 0 };
        let mut done = 0;
        for (range, title) in [(0..leads, "Charge Nurse"), (leads..count, "Nurse")] {
            let joiners: Vec<_> = range
                .map(|turn| {
                    let ward = turn % self.wards.len();
                    let mut person = self.people.next(self.wards.get(ward).map_or("", |ward| ward.name), title);
                    person.manager = managers.get(&ward).cloned();
                    (ward, person)
                })
                .collect();
            let client = &self.client;
            let joining = joiners.into_iter().map(|(ward, person)| async move {
                let account = client.join(&person).await.ok();
                account.map(|(id, new)| Staff { person, id, ward, found: !new, placed: false, employed: true })
            });
            let accounts = in_flight(joining.collect(), |step, _| progress(done + step, count)).await;
            done += accounts.len();
            for staff in accounts.into_iter().flatten() {
                if staff.found {
                    hired.matched += 1;
                } else {
                    hired.created += 1;
                }
                managers.entry(staff.ward).or_insert_with(|| staff.id.clone());
                self.staff.push(staff);
            }
        }
        // Answers come in any order; who moves and who leaves must depend on the seed alone.
        if let Some(new) = self.staff.get_mut(first..) {
            new.sort_by(|a, b| a.person.employee_number.cmp(&b.person.employee_number));
        }
        hired
    }

    /// Puts everybody who is in no ward's group into theirs: in batches of the provider's size, several under way at
    /// once, also for one and the same group. Groups that are missing are made first.
    pub async fn place(&mut self, mut progress: impl FnMut(usize, usize)) {
        self.open_wards().await;
        let client = &self.client;
        let mut batches = Vec::new();
        let mut total = 0;
        for (place, ward) in self.wards.iter().enumerate() {
            let Some(group_id) = &ward.group_id else { continue };
            let joiners: Vec<usize> = (0..self.staff.len())
                .filter(|&index| {
                    self.staff.get(index).is_some_and(|staff| staff.ward == place && staff.employed && !staff.placed)
                })
                .collect();
            total += joiners.len();
            for batch in joiners.chunks(client.members_per_request()) {
                let members: Vec<_> =
                    batch.iter().filter_map(|&index| self.staff.get(index)).map(Staff::member).collect();
                batches.push((batch.to_vec(), group_id.clone(), ward.group.clone(), members));
            }
        }
        let adding = batches.into_iter().map(|(batch, id, name, members)| async move {
            (client.add_members(&id, &name, &members).await.is_ok(), batch)
        });
        let mut done = 0;
        let mut placed = Vec::new();
        let mut answers = stream::iter(adding).buffer_unordered(IN_FLIGHT);
        while let Some((accepted, batch)) = answers.next().await {
            done += batch.len();
            progress(done, total);
            if accepted {
                placed.extend(batch);
            }
        }
        drop(answers);
        for index in placed {
            if let Some(staff) = self.staff.get_mut(index) {
                staff.placed = true;
            }
        }
    }

    /// Finds or makes the wards' groups. From a group that was there already, those of our people who now work
    /// elsewhere are taken out: it may remember where they moved in an earlier run.
    async fn open_wards(&mut self) {
        let (client, staff) = (&self.client, &self.staff);
        let missing = self.wards.iter_mut().enumerate().filter(|(_, ward)| ward.group_id.is_none());
        let opening = missing.map(|(place, ward)| async move {
            let (id, found) = client.group(&ward.group, &ward.external_id).await.ok()?;
            if found {
                let elsewhere = staff.iter().filter(|staff| staff.found && staff.ward != place);
                let elsewhere: HashSet<&String> = elsewhere.map(|staff| &staff.id).collect();
                let mut strays = client.members_of(&id).await.unwrap_or_default();
                strays.retain(|member| elsewhere.contains(member));
                if !strays.is_empty() {
                    // A refusal is in the log, and the check will show who stayed.
                    let _ = client.remove_members(&id, &ward.group, &strays).await;
                }
            }
            ward.group_id = Some(id);
            Some(())
        });
        in_flight(opening.collect(), |_, _| {}).await;
    }

    /// Moves `count` of the employed to another ward: the account's department and manager first, then into the new
    /// group, then out of the old. Returns the moves that the server accepted in full.
    pub async fn transfer(&mut self, count: usize, mut progress: impl FnMut(usize, usize)) -> Vec<Move> {
        let mut plans = Vec::new();
        for index in self.draw(count) {
            let Some(staff) = self.staff.get(index) else { continue };
            let to = (staff.ward + 1 + self.dice.below(self.wards.len().saturating_sub(1))) % self.wards.len();
            let (Some(from), Some(ward)) = (self.wards.get(staff.ward), self.wards.get(to)) else { continue };
            let lead = self.staff.iter().find(|other| other.ward == to && other.employed && other.id != staff.id);
            let person =
                Person { department: ward.name, manager: lead.map(|lead| lead.id.clone()), ..staff.person.clone() };
            plans.push((index, to, staff.clone(), person, from, ward));
        }
        let client = &self.client;
        let moving = plans.into_iter().map(|(index, to, staff, person, from, ward)| async move {
            let asked = Instant::now();
            client.relocate(&staff, &person, from, ward).await.ok()?;
            let (user_name, id) = (person.user_name.clone(), staff.id);
            let done =
                Move { user_name, id, from: from.name.to_owned(), to: ward.name.to_owned(), took: asked.elapsed() };
            Some((index, to, person, done))
        });
        let moved = in_flight(moving.collect(), &mut progress).await;
        let mut moves = Vec::new();
        for (index, to, person, done) in moved.into_iter().flatten() {
            if let Some(staff) = self.staff.get_mut(index) {
                (staff.ward, staff.person, staff.placed) = (to, person, true);
            }
            moves.push(done);
        }
        moves
    }

    /// Deactivates `count` of the employed. Their groups are left alone, as both providers do.
    pub async fn offboard(&mut self, count: usize, mut progress: impl FnMut(usize, usize)) -> Vec<Leaver> {
        let drawn = self.draw(count);
        let client = &self.client;
        let leaving = drawn.into_iter().filter_map(|index| Some((index, self.staff.get(index)?))).map(
            |(index, staff)| async move {
                let asked = Instant::now();
                client.deactivate_user(&staff.id).await.ok()?;
                let took = asked.elapsed();
                let (user_name, id) = (staff.person.user_name.clone(), staff.id.clone());
                Some((index, Leaver { user_name, id, ward: staff.person.department.to_owned(), asked, took }))
            },
        );
        let left = in_flight(leaving.collect(), &mut progress).await;
        let mut leavers = Vec::new();
        for (index, leaver) in left.into_iter().flatten() {
            if let Some(staff) = self.staff.get_mut(index) {
                staff.employed = false;
            }
            leavers.push(leaver);
        }
        leavers
    }

    /// Reads everything back and tells, in one sentence each, where the server differs from what it confirmed: names,
    /// departments, who is active, who of the employed is in which ward. Whether somebody who left is still listed in a
    /// group, and who else is on the server, is the server's affair.
    pub async fn check(&self, mut progress: impl FnMut(usize, usize)) -> Vec<String> {
        let client = &self.client;
        let reading = self.staff.iter().map(|staff| async move { account_differences(client, staff).await });
        let mut differences: Vec<_> = in_flight(reading.collect(), &mut progress).await.into_iter().flatten().collect();
        let wards =
            self.wards.iter().enumerate().filter_map(|(place, ward)| Some((place, ward, ward.group_id.as_ref()?)));
        let reading = wards.map(|(place, ward, id)| async move {
            // The provider's own reading first: it must not fail, whatever it shows.
            let _ = client.read_group(id).await;
            match client.members_of(id).await {
                Ok(members) => self.ward_differences(place, ward, &members),
                Err(Refused) => vec![format!("the group {} cannot be read", ward.group)],
            }
        });
        differences.extend(in_flight(reading.collect(), |_, _| {}).await.into_iter().flatten());
        differences.sort_unstable();
        differences
    }

    fn ward_differences(&self, place: usize, ward: &Ward, members: &[String]) -> Vec<String> {
        let members: HashSet<&str> = members.iter().map(String::as_str).collect();
        let employed = self.staff.iter().filter(|staff| staff.employed && staff.placed);
        employed
            .filter_map(|staff| match (staff.ward == place, members.contains(staff.id.as_str())) {
                (true, false) => Some(format!("{} is not in {}", staff.person.user_name, ward.group)),
                (false, true) => Some(format!("{} is still in {}", staff.person.user_name, ward.group)),
                _ => None,
            })
            .collect()
    }

    /// `count` of the employed, by the dice.
    fn draw(&mut self, count: usize) -> Vec<usize> {
        let employed = self.staff.iter().enumerate().filter(|(_, staff)| staff.employed);
        let employed = employed.map(|(index, _)| index).collect();
        self.dice.sample(employed, count)
    }

    /// Everybody who ever got an account, the dismissed included.
    pub fn staff(&self) -> &[Staff] {
        &self.staff
    }

    /// The wards, in the order in which people were spread over them.
    pub fn wards(&self) -> &[Ward] {
        &self.wards
    }

    /// The connection, for what the phases do not do, and for what was refused so far.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl Staff {
    fn member(&self) -> Member {
        Member { id: self.id.clone(), display: self.person.user_name.clone() }
    }
}

impl Client {
    /// Looks for the account, makes it where there is none, brings it up to date where there is one. Tells the id, and
    /// whether it is new.
    async fn join(&self, person: &Person) -> std::result::Result<(String, bool), Refused> {
        let Some(Found { id, active }) = self.find_user(&person.user_name).await? else {
            return Ok((self.create_user(person).await?, true));
        };
        if !active {
            self.reactivate(&id).await?;
        }
        self.update_user(&id, None, person).await?;
        Ok((id, false))
    }

    /// The id of the group of this name, which is made where there is none, and whether it was found.
    async fn group(&self, name: &str, external_id: &str) -> std::result::Result<(String, bool), Refused> {
        match self.find_group(name).await? {
            Some(id) => Ok((id, true)),
            None => Ok((self.create_group(name, external_id).await?, false)),
        }
    }

    async fn relocate(
        &self,
        staff: &Staff,
        person: &Person,
        from: &Ward,
        to: &Ward,
    ) -> std::result::Result<(), Refused> {
        self.update_user(&staff.id, Some(&staff.person), person).await?;
        if let Some(group) = &to.group_id {
            self.add_members(group, &to.group, &[staff.member()]).await?;
        }
        if let Some(group) = &from.group_id {
            self.remove_members(group, &from.group, std::slice::from_ref(&staff.id)).await?;
        }
        Ok(())
    }
}

async fn account_differences(client: &Client, staff: &Staff) -> Vec<String> {
    let name = &staff.person.user_name;
    let Ok(account) = client.read_user(&staff.id).await else { return vec![format!("{name} cannot be read")] };
    let shown = |pointer: &[&str]| pointer.iter().try_fold(&account, |value, key| value.get(key)).cloned();
    let expected = [
        ("userName", shown(&["userName"]), json!(name)),
        ("active", shown(&["active"]), json!(staff.employed)),
        ("department", shown(&[ENTERPRISE, "department"]), json!(staff.person.department)),
    ];
    expected
        .into_iter()
        .filter(|(_, shown, expected)| shown.as_ref() != Some(expected))
        .map(|(attribute, shown, expected)| {
            format!("{name}: {attribute} is {}, not {expected}", shown.unwrap_or(Value::Null))
        })
        .collect()
}

/// Lets [`IN_FLIGHT`] of the tasks run at once and gathers what they return, in the order in which they end.
async fn in_flight<F: Future>(tasks: Vec<F>, mut progress: impl FnMut(usize, usize)) -> Vec<F::Output> {
    let total = tasks.len();
    let mut running = stream::iter(tasks).buffer_unordered(IN_FLIGHT);
    let mut results = Vec::with_capacity(total);
    while let Some(result) = running.next().await {
        results.push(result);
        progress(results.len(), total);
    }
    results
}

/// The body of a PATCH (RFC 7644, section 3.5.2). Both providers write `Operations` with a capital, as the RFC does.
fn patch(operations: Vec<Value>) -> Value {
    json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations })
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

impl fmt::Display for Report {
    /// For a terminal; the first twenty refusals and differences, since a wrong token refuses a thousand times.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        writeln!(
            f,
            "{} created, {} matched, {} moved, {} left; {} requests in {:.1?} (p50 {:.1?}, p99 {:.1?})",
            self.created,
            self.matched,
            self.moved,
            self.left,
            self.requests,
            self.elapsed,
            self.latency_p50,
            self.latency_p99
        )?;
        writeln!(f, "{} refused, {} differences", self.refused.len(), self.differences.len())?;
        for refusal in self.refused.iter().take(SHOWN) {
            writeln!(f, "  refused: {refusal}")?;
        }
        for difference in self.differences.iter().take(SHOWN) {
            writeln!(f, "  differs: {difference}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        if let Some(scim_type) = &self.scim_type {
            write!(f, " {scim_type}")?;
        }
        write!(f, ": {}", self.detail)
    }
}
