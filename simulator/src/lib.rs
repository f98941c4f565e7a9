//! A simulated identity provider: it hires, moves and dismisses invented nurses over HTTP, with the
//! same requests as a real provider, and reports what the server refused.
//!
//! With it a SCIM server (this one or any other) can be tried without a tenant of Entra or Okta,
//! and the demo uses it. It uses only the public interface of the server: nothing of `domain` or
//! `scim` may enter here, because a simulation that shares the server's code would share its
//! errors.

mod application;
mod client;
mod entra;
mod error;
mod google;
mod issuer;
mod jumpcloud;
mod okta;
mod onelogin;
mod people;
mod pingone;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

pub use application::SimulatedApplication;
pub use client::{CallRefused, FoundUser, NewMember, ProviderClient, RefusedCall};
pub use error::SimulationError;
pub use issuer::SimulatedIssuer;
pub use people::SimulatedPerson;
use people::{ExternalIds, PersonGenerator, RandomNumbers};

type Result<T> = std::result::Result<T, SimulationError>;

const CORE_USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const CORE_GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// How many requests are sent at the same time. Real providers send requests concurrently, and only
/// concurrent requests reveal race conditions.
const IN_FLIGHT: usize = 8;

/// The identity provider that is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SimulatedProvider {
    Entra,
    Okta,
    Google,
    #[value(name = "onelogin")]
    OneLogin,
    #[value(name = "jumpcloud")]
    JumpCloud,
    #[value(name = "pingone")]
    PingOne,
}

impl SimulatedProvider {
    /// Whether it sends groups. Google sends accounts only.
    pub fn sends_groups(self) -> bool {
        self != Self::Google
    }

    /// The form of the ids that it gives to people.
    fn external_ids(self) -> ExternalIds {
        match self {
            Self::Entra | Self::JumpCloud | Self::PingOne => ExternalIds::Guid,
            Self::Okta => ExternalIds::Okta,
            Self::Google => ExternalIds::Digits(21),
            Self::OneLogin => ExternalIds::Digits(9),
        }
    }
}

/// What to simulate, and against which server. It holds the token, so it has no `Debug`.
#[derive(Clone)]
pub struct SimulationPlan {
    /// The address before `/Users`.
    pub base_url: String,
    /// The bearer token that the server's administrator issued.
    pub token: String,
    pub idp: SimulatedProvider,
    pub users: usize,
    pub movers: usize,
    pub leavers: usize,
    /// The same seed gives the same people.
    pub seed: u64,
}

/// The progress of a run: the number of finished steps, and their total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimulationStep {
    Connected,
    Hired(usize, usize),
    Placed(usize, usize),
    Moved(usize, usize),
    Left(usize, usize),
    Checked(usize, usize),
}

/// The results of a run, and what the server refused.
#[derive(Debug, Clone, Serialize)]
pub struct SimulationReport {
    /// HTTP requests, repeats included.
    pub requests: usize,
    pub created: usize,
    /// Accounts that existed before the run and were updated.
    pub matched: usize,
    pub moved: usize,
    pub left: usize,
    pub refused: Vec<RefusedCall>,
    /// What the server returns at the end that differs from what it accepted; one sentence each.
    pub differences: Vec<String>,
    #[serde(rename = "elapsed_seconds", serialize_with = "write_seconds")]
    pub elapsed: Duration,
    #[serde(rename = "latency_p50_seconds", serialize_with = "write_seconds")]
    pub latency_p50: Duration,
    #[serde(rename = "latency_p99_seconds", serialize_with = "write_seconds")]
    pub latency_p99: Duration,
}

fn write_seconds<S: Serializer>(
    time: &Duration,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// Runs the whole plan: joiners, movers, leavers, and a check of the result.
///
/// # Errors
/// Only if the plan is malformed or the connection test fails. Later refusals are in the report.
pub async fn run_simulation(
    plan: &SimulationPlan,
    mut progress: impl FnMut(SimulationStep),
) -> Result<SimulationReport> {
    let start = Instant::now();
    let mut simulation = Simulation::test_and_connect(plan).await?;
    progress(SimulationStep::Connected);
    let hired = simulation
        .hire_people(plan.users, |done, total| progress(SimulationStep::Hired(done, total)))
        .await;
    simulation.fill_ward_groups(|done, total| progress(SimulationStep::Placed(done, total))).await;
    let moves = simulation
        .move_people(plan.movers, |done, total| progress(SimulationStep::Moved(done, total)))
        .await;
    let leavers = simulation
        .deactivate_people(plan.leavers, |done, total| progress(SimulationStep::Left(done, total)))
        .await;
    let differences = simulation
        .find_differences(|done, total| progress(SimulationStep::Checked(done, total)))
        .await;

    let mut latencies = simulation.client.request_latencies();
    latencies.sort_unstable();
    Ok(SimulationReport {
        requests: latencies.len(),
        created: hired.created,
        matched: hired.matched,
        moved: moves.len(),
        left: leavers.len(),
        refused: simulation.client.list_refusals(),
        differences,
        elapsed: start.elapsed(),
        latency_p50: percentile_of(&latencies, 50),
        latency_p99: percentile_of(&latencies, 99),
    })
}

/// A person with an account.
#[derive(Debug, Clone)]
pub struct StaffMember {
    pub person: SimulatedPerson,
    /// The server's id of the account.
    pub id: String,
    /// The index of the ward in [`Simulation::wards`].
    pub ward: usize,
    /// Whether the account existed before this run. Then it may be in another ward's group.
    pub found: bool,
    /// Whether the server confirmed that the person is in the ward's group.
    pub placed: bool,
    /// Whether the person was not dismissed.
    pub employed: bool,
}

/// A ward and its group.
#[derive(Debug, Clone)]
pub struct WardGroup {
    pub name: &'static str,
    /// The group's displayName.
    pub group: String,
    /// The identity provider's own id of the group.
    pub external_id: String,
    /// The server's id of the group, as soon as the group exists.
    pub group_id: Option<String>,
}

/// How many accounts were created, and how many were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HiredCounts {
    pub created: usize,
    pub matched: usize,
}

/// One completed change of ward.
#[derive(Debug, Clone)]
pub struct WardMove {
    pub user_name: String,
    pub id: String,
    pub from: String,
    pub to: String,
    /// From the first request until the last answer.
    pub took: Duration,
}

/// One deactivation that the server accepted.
#[derive(Debug, Clone)]
pub struct DeactivatedPerson {
    pub user_name: String,
    pub id: String,
    pub ward: String,
    /// When the request was sent. The time to revocation is measured from here.
    pub asked: Instant,
    /// From the request until the answer.
    pub took: Duration,
}

/// A running simulation: the ward of each person, and the ids of accounts and groups on the server.
pub struct Simulation {
    client: ProviderClient,
    people: PersonGenerator,
    dice: RandomNumbers,
    wards: Vec<WardGroup>,
    staff: Vec<StaffMember>,
}

impl Simulation {
    /// Makes the provider's connection test. Nothing is created yet.
    pub async fn test_and_connect(plan: &SimulationPlan) -> Result<Self> {
        let client = ProviderClient::new(plan)?;
        let ids = plan.idp.external_ids();
        let unknown = format!("unknown-{}@stmary.example", uuid::Uuid::now_v7());
        if let Err(CallRefused) = client.test_connection(&unknown).await
            && let Some(refusal) = client.list_refusals().pop()
        {
            return Err(SimulationError::from_refusal(&plan.base_url, refusal));
        }
        let mut people = PersonGenerator::new(plan.seed, ids);
        let wards = people::ward_names(plan.users)
            .iter()
            .map(|&name| WardGroup {
                name,
                group: format!("Nurses {name}"),
                external_id: people.external_id(),
                group_id: None,
            })
            .collect();
        Ok(Self { client, people, dice: RandomNumbers(plan.seed), wards, staff: Vec::new() })
    }

    /// Creates accounts for the next `count` people and spreads them evenly over the wards. The
    /// first person of each ward is its charge nurse and the manager of the others.
    pub async fn hire_people(
        &mut self,
        count: usize,
        mut progress: impl FnMut(usize, usize),
    ) -> HiredCounts {
        let first = self.staff.len();
        let mut hired = HiredCounts { created: 0, matched: 0 };
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
                    let mut person = self
                        .people
                        .next_person(self.wards.get(ward).map_or("", |ward| ward.name), title);
                    person.manager = managers.get(&ward).cloned();
                    (ward, person)
                })
                .collect();
            let client = &self.client;
            let joining = joiners.into_iter().map(|(ward, person)| async move {
                let account = client.find_or_create_account(&person).await.ok();
                account.map(|(id, new)| StaffMember {
                    person,
                    id,
                    ward,
                    found: !new,
                    placed: false,
                    employed: true,
                })
            });
            let accounts =
                in_flight(joining.collect(), |step, _| progress(done + step, count)).await;
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
        // Answers come in any order, but which people move and leave must depend only on the seed.
        if let Some(new) = self.staff.get_mut(first..) {
            new.sort_by(|a, b| a.person.employee_number.cmp(&b.person.employee_number));
        }
        hired
    }

    /// Adds each person who is not yet in a ward's group to the group of their ward: in batches of
    /// the provider's size, several at the same time, even for the same group. Missing groups are
    /// created first.
    pub async fn fill_ward_groups(&mut self, mut progress: impl FnMut(usize, usize)) {
        self.open_wards().await;
        let client = &self.client;
        let mut batches = Vec::new();
        let mut total = 0;
        for (place, ward) in self.wards.iter().enumerate() {
            let Some(group_id) = &ward.group_id else { continue };
            let joiners: Vec<usize> = (0..self.staff.len())
                .filter(|&index| {
                    self.staff
                        .get(index)
                        .is_some_and(|staff| staff.ward == place && staff.employed && !staff.placed)
                })
                .collect();
            total += joiners.len();
            for batch in joiners.chunks(client.members_per_request()) {
                let members: Vec<_> = batch
                    .iter()
                    .filter_map(|&index| self.staff.get(index))
                    .map(StaffMember::as_member)
                    .collect();
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

    /// Finds or creates the wards' groups. People of this run who work in another ward are removed
    /// from a group that existed before: an earlier run may have moved them into it.
    async fn open_wards(&mut self) {
        let (client, staff) = (&self.client, &self.staff);
        if !client.provider().sends_groups() {
            return;
        }
        let missing = self.wards.iter_mut().enumerate().filter(|(_, ward)| ward.group_id.is_none());
        let opening = missing.map(|(place, ward)| async move {
            let (id, found) =
                client.find_or_create_group(&ward.group, &ward.external_id).await.ok()?;
            if found {
                let elsewhere = staff.iter().filter(|staff| staff.found && staff.ward != place);
                let elsewhere: HashSet<&String> = elsewhere.map(|staff| &staff.id).collect();
                let mut strays = client.members_of(&id).await.unwrap_or_default();
                strays.retain(|member| elsewhere.contains(member));
                if !strays.is_empty() {
                    // A refusal is recorded, and the final check reports members that stayed.
                    let _ = client.remove_members(&id, &ward.group, &strays).await;
                }
            }
            ward.group_id = Some(id);
            Some(())
        });
        in_flight(opening.collect(), |_, _| {}).await;
    }

    /// Moves `count` employed people to another ward: first the account's department and manager
    /// are changed, then the person is added to the new group and removed from the old one. Returns
    /// the moves of which the server accepted all parts.
    pub async fn move_people(
        &mut self,
        count: usize,
        mut progress: impl FnMut(usize, usize),
    ) -> Vec<WardMove> {
        let mut plans = Vec::new();
        for index in self.draw_employed(count) {
            let Some(staff) = self.staff.get(index) else { continue };
            let to = (staff.ward + 1 + self.dice.next_below(self.wards.len().saturating_sub(1)))
                % self.wards.len();
            let (Some(from), Some(ward)) = (self.wards.get(staff.ward), self.wards.get(to)) else {
                continue;
            };
            let lead = self
                .staff
                .iter()
                .find(|other| other.ward == to && other.employed && other.id != staff.id);
            let person = SimulatedPerson {
                department: ward.name,
                manager: lead.map(|lead| lead.id.clone()),
                ..staff.person.clone()
            };
            plans.push((index, to, staff.clone(), person, from, ward));
        }
        let client = &self.client;
        let moving = plans.into_iter().map(|(index, to, staff, person, from, ward)| async move {
            let asked = Instant::now();
            client.move_member(&staff, &person, from, ward).await.ok()?;
            let (user_name, id) = (person.user_name.clone(), staff.id);
            let done = WardMove {
                user_name,
                id,
                from: from.name.to_owned(),
                to: ward.name.to_owned(),
                took: asked.elapsed(),
            };
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

    /// Deactivates `count` employed people. Their group memberships stay, as with all providers.
    pub async fn deactivate_people(
        &mut self,
        count: usize,
        mut progress: impl FnMut(usize, usize),
    ) -> Vec<DeactivatedPerson> {
        let drawn = self.draw_employed(count);
        let client = &self.client;
        let leaving = drawn
            .into_iter()
            .filter_map(|index| Some((index, self.staff.get(index)?)))
            .map(|(index, staff)| async move {
                let asked = Instant::now();
                client.deactivate_user(&staff.id).await.ok()?;
                let took = asked.elapsed();
                let (user_name, id) = (staff.person.user_name.clone(), staff.id.clone());
                Some((
                    index,
                    DeactivatedPerson {
                        user_name,
                        id,
                        ward: staff.person.department.to_owned(),
                        asked,
                        took,
                    },
                ))
            });
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

    /// Reads all data back and returns the differences from what the server confirmed, one sentence
    /// each: names, departments, whether accounts are active, and the wards of the employed people.
    /// Not compared are the groups of people who left, and other accounts of the server.
    pub async fn find_differences(&self, mut progress: impl FnMut(usize, usize)) -> Vec<String> {
        let client = &self.client;
        let reading =
            self.staff.iter().map(|staff| async move { account_differences(client, staff).await });
        let mut differences: Vec<_> =
            in_flight(reading.collect(), &mut progress).await.into_iter().flatten().collect();
        let wards = self
            .wards
            .iter()
            .enumerate()
            .filter_map(|(place, ward)| Some((place, ward, ward.group_id.as_ref()?)));
        let reading = wards.map(|(place, ward, id)| async move {
            // First the request that the provider itself would send. Only a refusal of it counts,
            // which is recorded; its result is not compared.
            let _ = client.read_group(id).await;
            match client.members_of(id).await {
                Ok(members) => self.ward_differences(place, ward, &members),
                Err(CallRefused) => vec![format!("the group {} cannot be read", ward.group)],
            }
        });
        differences.extend(in_flight(reading.collect(), |_, _| {}).await.into_iter().flatten());
        differences.sort_unstable();
        differences
    }

    fn ward_differences(&self, place: usize, ward: &WardGroup, members: &[String]) -> Vec<String> {
        let members: HashSet<&str> = members.iter().map(String::as_str).collect();
        let employed = self.staff.iter().filter(|staff| staff.employed && staff.placed);
        employed
            .filter_map(|staff| match (staff.ward == place, members.contains(staff.id.as_str())) {
                (true, false) => {
                    Some(format!("{} is not in {}", staff.person.user_name, ward.group))
                }
                (false, true) => {
                    Some(format!("{} is still in {}", staff.person.user_name, ward.group))
                }
                _ => None,
            })
            .collect()
    }

    /// The indexes of `count` employed people, drawn at random.
    fn draw_employed(&mut self, count: usize) -> Vec<usize> {
        let employed = self.staff.iter().enumerate().filter(|(_, staff)| staff.employed);
        let employed = employed.map(|(index, _)| index).collect();
        self.dice.sample_items(employed, count)
    }

    /// All people with an account, including those who were dismissed.
    pub fn staff(&self) -> &[StaffMember] {
        &self.staff
    }

    /// The wards, in the order in which people were assigned to them.
    pub fn wards(&self) -> &[WardGroup] {
        &self.wards
    }

    /// The client, for further requests and for the recorded refusals and times.
    pub fn client(&self) -> &ProviderClient {
        &self.client
    }
}

impl StaffMember {
    fn as_member(&self) -> NewMember {
        NewMember { id: self.id.clone(), display: self.person.user_name.clone() }
    }
}

impl ProviderClient {
    /// Finds the account and updates it, or creates it if there is none. Returns the id, and
    /// whether the account is new.
    async fn find_or_create_account(
        &self,
        person: &SimulatedPerson,
    ) -> std::result::Result<(String, bool), CallRefused> {
        let Some(FoundUser { id, active }) = self.find_user(&person.user_name).await? else {
            return Ok((self.create_user(person).await?, true));
        };
        if !active {
            self.reactivate_user(&id).await?;
        }
        self.update_user(&id, None, person).await?;
        Ok((id, false))
    }

    /// Finds the group of this name, or creates it if there is none. Returns the id, and whether
    /// the group was found.
    async fn find_or_create_group(
        &self,
        name: &str,
        external_id: &str,
    ) -> std::result::Result<(String, bool), CallRefused> {
        match self.find_group(name).await? {
            Some(id) => Ok((id, true)),
            None => Ok((self.create_group(name, external_id).await?, false)),
        }
    }

    async fn move_member(
        &self,
        staff: &StaffMember,
        person: &SimulatedPerson,
        from: &WardGroup,
        to: &WardGroup,
    ) -> std::result::Result<(), CallRefused> {
        self.update_user(&staff.id, Some(&staff.person), person).await?;
        if let Some(group) = &to.group_id {
            self.add_members(group, &to.group, &[staff.as_member()]).await?;
        }
        if let Some(group) = &from.group_id {
            self.remove_members(group, &from.group, std::slice::from_ref(&staff.id)).await?;
        }
        Ok(())
    }
}

async fn account_differences(client: &ProviderClient, staff: &StaffMember) -> Vec<String> {
    let name = &staff.person.user_name;
    let Ok(account) = client.read_user(&staff.id).await else {
        return vec![format!("{name} cannot be read")];
    };
    let shown =
        |pointer: &[&str]| pointer.iter().try_fold(&account, |value, key| value.get(key)).cloned();
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

/// Runs [`IN_FLIGHT`] of the tasks at the same time and returns their results, in the order in
/// which they end.
async fn in_flight<F: Future>(
    tasks: Vec<F>,
    mut progress: impl FnMut(usize, usize),
) -> Vec<F::Output> {
    let total = tasks.len();
    let mut running = stream::iter(tasks).buffer_unordered(IN_FLIGHT);
    let mut results = Vec::with_capacity(total);
    while let Some(result) = running.next().await {
        results.push(result);
        progress(results.len(), total);
    }
    results
}

/// The body of a PATCH (RFC 7644, section 3.5.2). All providers write `Operations` with a capital,
/// as the RFC does.
fn patch_body(operations: Vec<Value>) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations,
    })
}

fn percentile_of(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

impl fmt::Display for SimulationReport {
    /// Text for a terminal, with the first twenty refusals and differences: with a wrong token, for
    /// example, every request is refused.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        writeln!(
            f,
            "{} created, {} matched, {} moved, {} left; {} requests in {:.1?} (p50 {:.1?}, p99 \
             {:.1?})",
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

impl fmt::Display for RefusedCall {
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
