//! The chapters of the demo's story, in their order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::api::{AccessOfPerson, ApiClient, items_at, text_at, value_at};
use super::narrator::{FactReporter, format_milliseconds, format_seconds};
use super::{LEAVERS, MOVERS, NURSES};
use crate::cli::bootstrap::BootstrapResult;
use crate::context::App;
use crate::ledger;
use crate::ledger::attestation;
use simulator::{
    DeactivatedPerson, SimulatedApplication, Simulation, SimulationError, SimulationPlan,
    StaffMember,
};

/// How long the demo waits for an expected state. After this time the fact does not hold.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The name of an additional role of one ward.
const VACCINATOR: &str = "Vaccinator";

type People = BTreeMap<String, AccessOfPerson>;

/// The state of the story: the administrator's client and the identity provider.
pub struct HospitalStory {
    pub narrator: FactReporter,
    pub api: ApiClient,
    /// The hospital's identity provider.
    pub hospital: Simulation,
    /// An application of the hospital, which keeps sessions.
    pub application: SimulatedApplication,
    /// The name of the identity provider.
    pub idp: &'static str,
}

/// The wards' names, each with the id of the role mapping that waits for its group.
pub type WaitingMappings = Vec<(String, String)>;

impl HospitalStory {
    /// The administrator creates a role for each ward and a mapping that gives it to a group,
    /// before any group exists.
    pub async fn create_mappings(&mut self) -> Result<WaitingMappings, String> {
        self.narrator
            .begin_chapter("The administrator decides what the nurses of each ward may do");
        let connection = self.find_connection().await?;
        let mut mappings = WaitingMappings::new();
        let mut waiting = 0;
        for ward in self.hospital.wards() {
            let role = json!({
                "name": role_of(ward.name),
                "permissions": [
                    format!("{}:read-charts", ward.name.to_lowercase()), "medication:record",
                ],
            });
            let role = self.api.send_mutation("roleCreate", "role { id }", role).await?;
            let mapping = json!({
                "awaits": {
                    "connectionId": connection, "attribute": "DISPLAY_NAME", "value": ward.group,
                },
                "roleId": text_at(&role, "/role/id"),
                "reason": "Agency contract 2026-11",
            });
            let mapping = self
                .api
                .send_mutation("roleMappingCreate", "roleMapping { id state }", mapping)
                .await?;
            waiting += usize::from(text_at(&mapping, "/roleMapping/state") == "WAITING");
            mappings.push((ward.name.to_owned(), text_at(&mapping, "/roleMapping/id")));
        }
        let wards = self.hospital.wards();
        if let Some(ward) = wards.first() {
            let (group, role) = (&ward.group, role_of(ward.name));
            self.narrator.print_sentence(format!(
                "A role for each ward: members of the group {group} will be {role}, and so on."
            ));
        }
        self.narrator.check_fact(
            "role mappings created, waiting for their groups",
            wards.len(),
            waiting,
        );
        Ok(mappings)
    }

    /// First the accounts arrive, then the groups, which bring the roles. Returns the access of
    /// each person at the end.
    pub async fn show_arrivals(&mut self) -> Result<People, String> {
        self.narrator.begin_chapter(&format!(
            "An agency sends {NURSES} nurses; {} makes their accounts and groups",
            self.idp
        ));
        self.narrator.print_sentence("An account alone has no role. Its group brings the role.");
        let began = Instant::now();
        let hired =
            self.hospital.hire_people(NURSES, FactReporter::print_progress("accounts")).await;
        self.narrator.check_fact("new accounts", NURSES, hired.created);
        let two: Vec<StaffMember> = self.hospital.staff().iter().take(2).cloned().collect();
        let mut before = Vec::new();
        for staff in &two {
            before.push(self.api.access_of(&staff.person.user_name).await?.roles());
        }
        self.hospital.fill_ward_groups(FactReporter::print_progress("in a ward's group")).await;
        let took = began.elapsed();
        for (staff, before) in two.iter().zip(before) {
            let now = self.api.access_of(&staff.person.user_name).await?;
            let what = format!("{}, before and with the group", staff.person.display_name());
            let expected = format!(
                "no role → {} (through {})",
                role_of(staff.person.department),
                self.group_of(staff)
            );
            self.narrator.check_fact(
                &what,
                expected,
                format!("{before} → {} (through {})", now.roles(), now.through.join(", ")),
            );
        }
        let people = self.api.access_of_all().await?;
        self.narrator.check_fact(
            "nurses who hold the role of their ward and no other",
            NURSES,
            self.as_employed(&people),
        );
        self.narrator.print_sentence(format!(
            "{} requests in {}",
            self.count_requests(),
            format_seconds(took)
        ));
        self.nothing_refused();
        Ok(people)
    }

    /// No administrator edits a role: people change their group, and the role follows.
    pub async fn show_moves(&mut self, before: People) -> Result<(), String> {
        self.narrator.begin_chapter("Twelve move to another ward");
        self.narrator.print_sentence(
            "No administrator edits a role. People change their group, and the role follows.",
        );
        let moves = self.hospital.move_people(MOVERS, FactReporter::print_progress("moved")).await;
        let after = self.api.access_of_all().await?;
        if let Some(one) = moves.first() {
            let roles = |people: &People| {
                people.get(&one.user_name).map_or("no account".to_owned(), AccessOfPerson::roles)
            };
            let expected = format!("{} → {}", role_of(&one.from), role_of(&one.to));
            self.narrator.check_fact(
                &self.name_of(&one.id),
                expected,
                format!("{} → {}", roles(&before), roles(&after)),
            );
        }
        let right = moves.iter().filter(|one| {
            after.get(&one.user_name).is_some_and(|access| access.roles == [role_of(&one.to)])
        });
        self.narrator.check_fact(
            "movers who hold the new role and no longer the old",
            MOVERS,
            right.count(),
        );
        let others =
            after.iter().filter(|(name, access)| before.get(*name) == Some(access)).count();
        self.narrator.check_fact("people whose access did not change", NURSES - MOVERS, others);
        self.nothing_refused();
        Ok(())
    }

    /// The application of the wards becomes a destination: from now on it is told who leaves.
    pub async fn open_sessions(&mut self) -> Result<(), String> {
        self.narrator.begin_chapter("The wards' application wants to hear who leaves");
        let input = json!({
            "kind": "WEBHOOK", "url": self.application.url(),
            "description": "Ward application, ends sessions",
            "eventActions": ["USER_SUSPENDED", "USER_DELETED", "USER_ACCESS_CHANGED"],
        });
        let made = self.api.send_mutation("destinationCreate", "secret", input).await?;
        let trusted = self.application.trust_secret(&text_at(&made, "/secret"));
        self.narrator
            .print_sentence("It is told by signed webhooks, which carry ids and no personal data.");
        for staff in self.hospital.staff().iter().filter(|staff| staff.employed) {
            self.application.sign_in(&staff.id);
        }
        self.narrator.check_fact("the application knows the secret of its webhooks", true, trusted);
        self.narrator.check_fact("nurses signed in", NURSES, self.application.count_sessions());
        Ok(())
    }

    /// The application has ended the sessions of those who left, and says so.
    pub async fn show_ended_sessions(
        &mut self,
        app: &Arc<App>,
        leavers: &[DeactivatedPerson],
    ) -> Result<(), String> {
        self.narrator.begin_chapter("The application ends their sessions, and confirms it");
        let began = Instant::now();
        let mut times = Vec::new();
        for leaver in leavers {
            let end = loop {
                match self.application.session_end(&leaver.id) {
                    None if began.elapsed() < MAX_WAIT => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    end => break end,
                }
            };
            let Some(end) = end else { continue };
            times.push(end.duration_since(leaver.asked));
            let ended = app.clock.now().to_rfc3339_opts(SecondsFormat::Micros, true);
            let input = json!({ "userId": leaver.id, "endedAt": ended });
            self.api.send_mutation("revocationConfirm", "confirmation { endedAt }", input).await?;
        }
        times.sort_unstable();
        self.narrator.check_fact("leavers whose session ended", LEAVERS, times.len());
        self.narrator.check_fact(
            "nurses who are still signed in",
            NURSES - LEAVERS,
            self.application.count_sessions(),
        );
        self.narrator.check_fact(
            "messages that were not genuine",
            0,
            self.application.count_refused(),
        );
        if let (Some(least), Some(most)) = (times.first(), times.last()) {
            self.narrator.print_sentence(format!(
                "from the identity provider's request to the end of the session: {} at best, {} at \
                 worst",
                format_milliseconds(*least),
                format_milliseconds(*most)
            ));
        }
        let expected = format!("{LEAVERS} received, {LEAVERS} confirmed");
        let found = loop {
            let found = self.count_received_and_confirmed().await?;
            if found == expected || began.elapsed() > MAX_WAIT {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        self.narrator.check_fact("what the list of leavers says", expected, found);
        Ok(())
    }

    /// Of how many leavers the application has received the event, and confirmed the end of the
    /// sessions.
    async fn count_received_and_confirmed(&self) -> Result<String, String> {
        let query = "{ organization { leavers(first: 50) { nodes { userCount destinationCount \
                     receivedCount confirmedCount } } } }";
        let answer = self.api.send_query(query, json!({})).await?;
        let leavers = items_at(&answer, "/organization/leavers/nodes");
        let count = |name: &str, of: &str| {
            leavers.iter().filter(|it| it[name] == it[of] && it[of] != 0).count()
        };
        Ok(format!(
            "{} received, {} confirmed",
            count("receivedCount", "destinationCount"),
            count("confirmedCount", "userCount")
        ))
    }

    /// Measures the time from the identity provider's request until the API shows no role of the
    /// person any more. Returns the leavers.
    pub async fn show_leavers(&mut self) -> Result<Vec<DeactivatedPerson>, String> {
        self.narrator.begin_chapter("A contract ends: eight leave");
        self.narrator.print_sentence(
            "The time is measured from the identity provider's request until the person holds no \
             role.",
        );
        let mut watch = FactReporter::print_progress("left");
        let (mut leavers, mut times) = (Vec::new(), Vec::new());
        for done in 1..=LEAVERS {
            let Some(leaver) = self.hospital.deactivate_people(1, |_, _| {}).await.pop() else {
                break;
            };
            times.extend(self.until_revoked(&leaver).await?);
            leavers.push(leaver);
            watch(done, LEAVERS);
        }
        times.sort_unstable();
        self.narrator.check_fact("leavers who lost every role", LEAVERS, times.len());
        if let (Some(least), Some(median), Some(most)) =
            (times.first(), times.get(times.len() / 2), times.last())
        {
            self.narrator.print_sentence(format!(
                "it took {} at best, {} in the middle, {} at worst",
                format_milliseconds(*least),
                format_milliseconds(*median),
                format_milliseconds(*most)
            ));
        }
        let people = self.api.access_of_all().await?;
        let gone = |leaver: &&DeactivatedPerson| {
            people.get(&leaver.user_name).is_some_and(|it| !it.active && it.roles.is_empty())
        };
        self.narrator.check_fact(
            "leavers whose account is off and who hold no role",
            LEAVERS,
            leavers.iter().filter(gone).count(),
        );
        self.narrator.check_fact(
            "nurses who still hold the role of their ward",
            NURSES - LEAVERS,
            self.as_employed(&people),
        );
        let differences = self
            .hospital
            .find_differences(FactReporter::print_progress("read back over SCIM"))
            .await;
        for difference in differences.iter().take(5) {
            self.narrator.print_sentence(difference);
        }
        self.narrator.check_fact(
            "differences between what was sent and what is stored",
            0,
            differences.len(),
        );
        self.nothing_refused();
        Ok(leavers)
    }

    async fn until_revoked(&self, leaver: &DeactivatedPerson) -> Result<Option<Duration>, String> {
        while leaver.asked.elapsed() < MAX_WAIT {
            let access = self.api.access_of(&leaver.user_name).await?;
            if !access.active && access.roles.is_empty() {
                return Ok(Some(leaver.asked.elapsed()));
            }
        }
        Ok(None)
    }

    /// A role mapping is removed by mistake and restored: roles are computed, so both changes take
    /// effect at once for all.
    pub async fn show_mistake(&mut self, mappings: &WaitingMappings) -> Result<(), String> {
        let Some((ward, mapping)) = mappings.first() else { return Err("there is no ward".into()) };
        self.narrator.begin_chapter(&format!(
            "The administrator removes {ward}'s role mapping by mistake, and restores it"
        ));
        let staff = self.hospital.staff().iter().filter(|staff| staff.employed);
        let there = staff.filter(|staff| staff.person.department == ward).count();
        self.narrator.print_sentence(
            "Roles are computed whenever they are read, so both changes take effect at once.",
        );
        let holders = |people: &People| {
            people.values().filter(|it| it.roles.contains(&role_of(ward))).count()
        };
        let mut found = vec![holders(&self.api.access_of_all().await?)];
        for name in ["roleMappingRemove", "roleMappingRestore"] {
            self.api.send_mutation(name, "roleMapping { state }", json!({ "id": mapping })).await?;
            found.push(holders(&self.api.access_of_all().await?));
        }
        let found: Vec<_> = found.iter().map(usize::to_string).collect();
        let what = format!("who holds {} before, without and with it", role_of(ward));
        self.narrator.check_fact(&what, format!("{there} → 0 → {there}"), found.join(" → "));
        Ok(())
    }

    /// A change of access is previewed, applied and explained. A day later a signed report proves
    /// the access on the day before.
    pub async fn preview_change(
        &mut self,
        app: &Arc<App>,
        mappings: &WaitingMappings,
    ) -> Result<(), String> {
        let Some((ward, mapping)) = mappings.first() else { return Err("there is no ward".into()) };
        self.narrator.begin_chapter(&format!(
            "{ward} gets a new role: previewed, applied, explained, and proven a day later"
        ));
        let before = app.clock.now().to_rfc3339_opts(SecondsFormat::Micros, true);
        let staff = self
            .hospital
            .staff()
            .iter()
            .filter(|staff| staff.employed && staff.person.department == ward);
        let there: Vec<String> = staff.map(|staff| staff.person.user_name.clone()).collect();
        let Some(one) = there.first() else { return Err(format!("no person is left in {ward}")) };
        let role = self.apply_previewed_change(mapping, &there).await?;
        self.explain_role(ward, one, &role).await?;
        self.prove_yesterdays_access(app, &before, one).await
    }

    /// Previews and applies a new role for the people in a mapping's group; returns the role's id.
    async fn apply_previewed_change(
        &mut self,
        mapping: &str,
        there: &[String],
    ) -> Result<String, String> {
        let role = json!({ "name": VACCINATOR, "permissions": ["vaccines:administer"] });
        let role =
            text_at(&self.api.send_mutation("roleCreate", "role { id }", role).await?, "/role/id");
        let query = "query($id: ID!) { node(id: $id) { ... on RoleMapping { group { id } } } }";
        let group =
            text_at(&self.api.send_query(query, json!({ "id": mapping })).await?, "/node/group/id");
        let edit = json!({
            "createMapping": { "groupId": group, "roleId": role, "reason": "Flu season" },
        });

        let wanted = "preview { id gainedCount lostCount gains(first: 100) { nodes { user { \
                      userName } } } }";
        let shown =
            self.api.send_mutation("accessPreview", wanted, json!({ "edits": [edit] })).await?;
        let counts = |payload: &Value, at: &str| {
            format!(
                "{} would gain, {} lose",
                text_at(payload, &format!("{at}/gainedCount")),
                text_at(payload, &format!("{at}/lostCount"))
            )
        };
        let expected = format!("{} would gain, 0 lose", there.len());
        self.narrator.check_fact(
            &format!("preview of the role {VACCINATOR}"),
            &expected,
            counts(&shown, "/preview"),
        );
        let named = items_at(&shown, "/preview/gains/nodes");
        let named =
            named.iter().filter(|node| there.contains(&text_at(node, "/user/userName"))).count();
        self.narrator.check_fact("of them in the list by name", there.len(), named);
        let holders = |people: &People| {
            people.values().filter(|it| it.roles.contains(&VACCINATOR.to_owned())).count()
        };
        let still = holders(&self.api.access_of_all().await?);
        let preview = json!({ "previewId": text_at(&shown, "/preview/id") });
        let done = self
            .api
            .send_mutation("accessApply", "change { gainedCount lostCount }", preview)
            .await?;
        self.narrator.check_fact("the same change, applied", expected, counts(&done, "/change"));
        let since = holders(&self.api.access_of_all().await?);
        let expected = format!("0 → {}", there.len());
        self.narrator.check_fact(
            "who holds it before and after",
            expected,
            format!("{still} → {since}"),
        );
        Ok(role)
    }

    /// Explains why a person holds the role.
    async fn explain_role(&mut self, ward: &str, one: &str, role: &str) -> Result<(), String> {
        let query = "query($name: String!, $role: ID!) { organization { user(userName: $name) { \
                     explain(roleId: $role) { \
                     holds sources { group { displayName } mapping { reason } joinedBy { actor { \
                     name } } } } } } }";
        let answer = self.api.send_query(query, json!({ "name": one, "role": role })).await?;
        let why = value_at(&answer, "/organization/user/explain/sources/0");
        let why = ["/group/displayName", "/mapping/reason", "/joinedBy/actor/name"]
            .map(|pointer| text_at(why, pointer));
        let expected = format!("Nurses {ward}, Flu season, {}", self.idp);
        self.narrator.check_fact(
            &format!("why {one} holds it: group, reason, who added the member"),
            expected,
            why.join(", "),
        );
        Ok(())
    }

    /// A day later, a signed report proves the access before the change.
    async fn prove_yesterdays_access(
        &mut self,
        app: &Arc<App>,
        before: &str,
        one: &str,
    ) -> Result<(), String> {
        app.clock.advance(super::STORY_TIME);
        self.narrator.print_sentence(
            "The server's clock is moved forward by a day. An auditor asks for the access of \
             yesterday, before the change.",
        );
        let file = self.api.download_evidence(&format!("access.csv?asOf={before}")).await?;
        let key = attestation::public_key(&app.vault, app.clock.now());
        let claims = attestation::check_file(&key, file.as_bytes())?;
        let rows = claims.export.map_or(0, |export| export.rows);
        self.narrator.check_fact(
            "rows of yesterday's evidence, signed and checked offline",
            NURSES - LEAVERS,
            rows,
        );
        self.narrator.check_fact("of them about vaccinators", 0, file.matches(VACCINATOR).count());
        let forged = file.replacen(one, "mallory", 1);
        let verdict = if attestation::check_file(&key, forged.as_bytes()).is_ok() {
            "accepted"
        } else {
            "refused"
        };
        self.narrator.check_fact("the same file with another name in it", "refused", verdict);
        Ok(())
    }

    /// The first screen of an administration console, in one query.
    pub async fn show_overview(&mut self, made: &BootstrapResult) -> Result<(), String> {
        self.narrator.begin_chapter("What the administrator sees (one GraphQL query)");
        let query = "{ organization { scim { availability { state } state endpoints { baseUrl \
                     usersUrl groupsUrl } \
                     counts { users groups asOf } } } }";
        let answer = self.api.send_query(query, json!({})).await?;
        let scim = value_at(&answer, "/organization/scim");
        let status =
            format!("{}, {}", text_at(scim, "/availability/state"), text_at(scim, "/state"));
        self.narrator.check_fact("provisioning", "AVAILABLE, ACTIVE", status);
        let counts = format!(
            "{} accounts, {} groups",
            text_at(scim, "/counts/users"),
            text_at(scim, "/counts/groups")
        );
        self.narrator.check_fact(
            "provisioned",
            format!("{NURSES} accounts, {} groups", self.hospital.wards().len()),
            counts,
        );
        for (what, pointer, expected) in [
            ("base URL", "/endpoints/baseUrl", &made.scim.base_url),
            ("users", "/endpoints/usersUrl", &made.scim.users_url),
            ("groups", "/endpoints/groupsUrl", &made.scim.groups_url),
        ] {
            self.narrator.check_fact(what, expected, text_at(scim, pointer));
        }
        Ok(())
    }

    /// The administrator replaces a token that may have leaked. Returns the new token.
    pub async fn rotate_token(&mut self, plan: &SimulationPlan) -> Result<String, String> {
        self.narrator.begin_chapter("The token of the identity provider is replaced");
        let connection = self.find_connection().await?;
        let input = json!({ "connectionId": connection, "overlapSeconds": 0 });
        let payload = self.api.send_mutation("scimTokenRotate", "secret", input).await?;
        let token = text_at(&payload, "/secret");
        let old = match Simulation::test_and_connect(plan).await {
            Ok(_) => "accepted".to_owned(),
            Err(SimulationError::TokenRefused { .. }) => "401".to_owned(),
            Err(other) => other.to_string(),
        };
        self.narrator.check_fact("the old token is refused", "401", old);
        let plan = SimulationPlan { token: token.clone(), ..plan.clone() };
        let new = Simulation::test_and_connect(&plan)
            .await
            .map_or_else(|why| why.to_string(), |_| "accepted".to_owned());
        self.narrator.check_fact("the new token", "accepted", new);
        Ok(token)
    }

    /// Every change has one row in the ledger, and the rows are chained by their hashes.
    pub async fn verify_ledger(
        &mut self,
        app: &Arc<App>,
        made: &BootstrapResult,
    ) -> Result<(), String> {
        self.narrator.begin_chapter("What an auditor sees");
        // A background task writes the events about changed access.
        let began = Instant::now();
        let (counts, total, verdict) = loop {
            let counts = self.api.events_by_action().await?;
            let total: usize = counts.values().sum();
            let verdict = ledger::verify_chain(&app.store, made.organization.id)
                .await
                .map_err(|error| error.to_string())?;
            if verdict.broken.is_some()
                || verdict.sealed as usize == total
                || began.elapsed() > MAX_WAIT
            {
                break (counts, total, verdict);
            }
        };
        let mut lines: Vec<_> =
            counts.iter().map(|(action, count)| format!("{action} {count}")).collect();
        lines.sort();
        self.narrator.print_sentence(format!("the ledger has {total} changes:"));
        for line in lines.chunks(4) {
            self.narrator.print_sentence(format!("  {}", line.join(", ")));
        }
        let wards = self.hospital.wards().len();
        for (action, expected) in [
            ("USER_CREATED", NURSES),
            ("USER_SUSPENDED", LEAVERS),
            ("GROUP_CREATED", wards),
            ("ROLE_MAPPING_CREATED", wards),
            ("ROLE_MAPPING_RESTORED", 1),
            ("SCIM_TOKEN_ROTATED", 1),
        ] {
            self.narrator.check_fact(
                action,
                expected,
                counts.get(action).copied().unwrap_or_default(),
            );
        }
        let found = match verdict.broken {
            None => format!("intact over {} changes", verdict.sealed),
            Some(fault) => format!("broken: {fault}"),
        };
        self.narrator.check_fact(
            "the chain of hashes",
            format!("intact over {total} changes"),
            found,
        );
        Ok(())
    }

    /// A refused write of the identity provider is not lost: an administrator finds it in the
    /// review queue, removes the cause, and retries it.
    pub async fn repair_failure(&mut self, made: &BootstrapResult) -> Result<(), String> {
        self.narrator
            .begin_chapter("A nurse cannot be created; the failure is reviewed and resolved");
        let name = "zuri.abara@stmary.example";
        let by_hand = self
            .api
            .send_mutation("userCreate", "user { id }", json!({ "userName": name }))
            .await?;
        self.narrator.print_sentence(format!(
            "An administrator created {name} by hand. Now the identity provider sends her, twice."
        ));
        let nurse = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": name, "externalId": "zuri-1", "displayName": "Zuri Abara", "active": true,
        });
        let mut refused = Vec::new();
        for _ in 0..2 {
            let status = self
                .api
                .create_scim_user(&made.scim.users_url, &made.scim.token, nurse.clone())
                .await?;
            refused.push(status.to_string());
        }
        self.narrator.check_fact("the answers to it", "409, 409", refused.join(", "));
        let query = "{ organization { failures(first: 5, filter: { states: [OPEN] }) { nodes { \
                     id label cause suggestion { message } } } } }";
        let found = self.api.send_query(query, json!({})).await?;
        let found = items_at(&found, "/organization/failures/nodes");
        let shown: Vec<_> = found
            .iter()
            .map(|it| format!("{} {}", text_at(it, "/label"), text_at(it, "/cause")))
            .collect();
        self.narrator.check_fact(
            "in the review queue",
            format!("{name} UNIQUENESS"),
            shown.join(", "),
        );
        let Some(item) = found.first() else { return Ok(()) };
        self.narrator
            .print_sentence(format!("it suggests: {}", text_at(item, "/suggestion/message")));

        let by_hand = json!({ "id": text_at(&by_hand, "/user/id") });
        self.api.send_mutation("userDelete", "deletedUserId", by_hand).await?;
        let item = text_at(item, "/id");
        self.api.send_mutation("failureRetry", "failure { state }", json!({ "id": item })).await?;
        let query = "query($id: ID!) { organization { failure(id: $id) { state resolution } } }";
        let began = Instant::now();
        let state = loop {
            let answer = self.api.send_query(query, json!({ "id": item })).await?;
            let failure = value_at(&answer, "/organization/failure");
            let state =
                format!("{}, {}", text_at(failure, "/state"), text_at(failure, "/resolution"));
            if state.starts_with("RESOLVED") || began.elapsed() > MAX_WAIT {
                break state;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        self.narrator.check_fact(
            "the other account is deleted, and the write is retried",
            "RESOLVED, RETRIED",
            state,
        );
        let query = "query($name: String!) { organization { user(userName: $name) { displayName \
                     connection { name } } } }";
        let answer = self.api.send_query(query, json!({ "name": name })).await?;
        let whose = ["/displayName", "/connection/name"]
            .map(|it| text_at(value_at(&answer, "/organization/user"), it));
        self.narrator.check_fact(
            "the new account and its connection",
            format!("Zuri Abara, {}", self.idp),
            whose.join(", "),
        );
        Ok(())
    }

    /// The id of the identity provider's connection.
    async fn find_connection(&self) -> Result<String, String> {
        let answer = self
            .api
            .send_query("{ organization { connections(first: 1) { nodes { id } } } }", json!({}))
            .await?;
        Ok(text_at(&answer, "/organization/connections/nodes/0/id"))
    }

    /// How many employed people hold exactly their ward's role.
    fn as_employed(&self, people: &People) -> usize {
        let employed = self.hospital.staff().iter().filter(|staff| staff.employed);
        employed
            .filter(|staff| {
                let access = people.get(&staff.person.user_name);
                access.is_some_and(|access| {
                    access.active && access.roles == [role_of(staff.person.department)]
                })
            })
            .count()
    }

    fn group_of(&self, staff: &StaffMember) -> &str {
        self.hospital.wards().get(staff.ward).map_or("", |ward| &ward.group)
    }

    fn name_of(&self, id: &str) -> String {
        let staff = self.hospital.staff().iter().find(|staff| staff.id == id);
        staff.map_or("a person".to_owned(), |staff| staff.person.display_name())
    }

    fn count_requests(&self) -> usize {
        self.hospital.client().request_latencies().len()
    }

    fn nothing_refused(&mut self) {
        let refused = self.hospital.client().list_refusals();
        for refusal in refused.iter().take(5) {
            self.narrator.print_sentence(refusal);
        }
        self.narrator.check_fact("requests that were refused", 0, refused.len());
    }
}

fn role_of(ward: &str) -> String {
    format!("{ward} nurse")
}
