//! The chapters of the demo, in their order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::api::{Access, Api, at, items, text};
use super::narrator::{Narrator, millis, seconds};
use super::{LEAVERS, MOVERS, NURSES};
use crate::attest;
use crate::bootstrap::Bootstrapped;
use crate::context::App;
use crate::ledger;
use crate::simulate::{Leaver, Plan, Simulation, Staff};

/// Somebody whose access is not gone after this long has kept it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A duty that is added to a ward's.
const VACCINATOR: &str = "Vaccinator";

type People = BTreeMap<String, Access>;

/// Everybody who takes part.
pub struct Story {
    pub narrator: Narrator,
    pub api: Api,
    /// The hospital's identity provider.
    pub hospital: Simulation,
    /// What that is called.
    pub idp: &'static str,
}

/// A role that waits for its group, by the ward's name.
pub type Mappings = Vec<(String, String)>;

impl Story {
    /// The administrator makes a role for each ward and says which group is to hold it, before any group is there.
    pub async fn decide(&mut self) -> Result<Mappings, String> {
        self.narrator.chapter("The administrator decides what the nurses of each ward may do");
        let connection = self.connection().await?;
        let mut mappings = Mappings::new();
        let mut waiting = 0;
        for ward in self.hospital.wards() {
            let role = json!({
                "name": role_of(ward.name),
                "permissions": [format!("{}:read-charts", ward.name.to_lowercase()), "medication:record"],
            });
            let role = self.api.order("roleCreate", "role { id }", role).await?;
            let mapping = json!({
                "awaits": { "connectionId": connection, "attribute": "DISPLAY_NAME", "value": ward.group },
                "roleId": text(&role, "/role/id"),
                "reason": "Agency contract 2026-11",
            });
            let mapping = self.api.order("roleMappingCreate", "roleMapping { id state }", mapping).await?;
            waiting += usize::from(text(&mapping, "/roleMapping/state") == "WAITING");
            mappings.push((ward.name.to_owned(), text(&mapping, "/roleMapping/id")));
        }
        let wards = self.hospital.wards();
        if let Some(ward) = wards.first() {
            let (group, role) = (&ward.group, role_of(ward.name));
            self.narrator
                .say(format!("A role for each ward: whoever is in the group {group} will be {role}, and so on."));
        }
        self.narrator.fact("rules made, which wait for their groups", wards.len(), waiting);
        Ok(mappings)
    }

    /// Accounts first, then groups: only with the group comes the role. Returns who may do what then.
    pub async fn arrive(&mut self) -> Result<People, String> {
        self.narrator
            .chapter(&format!("An agency sends {NURSES} nurses; {} makes their accounts and groups", self.idp));
        self.narrator.say("An account alone may do nothing. With the group comes the role.");
        let began = Instant::now();
        let hired = self.hospital.hire(NURSES, Narrator::watch("accounts")).await;
        self.narrator.fact("new accounts", NURSES, hired.created);
        let two: Vec<Staff> = self.hospital.staff().iter().take(2).cloned().collect();
        let mut before = Vec::new();
        for staff in &two {
            before.push(self.api.access_of(&staff.person.user_name).await?.roles());
        }
        self.hospital.place(Narrator::watch("in a ward's group")).await;
        let took = began.elapsed();
        for (staff, before) in two.iter().zip(before) {
            let now = self.api.access_of(&staff.person.user_name).await?;
            let what = format!("{}, before and with the group", staff.person.display_name());
            let expected = format!("no role → {} (through {})", role_of(staff.person.department), self.group_of(staff));
            self.narrator.fact(
                &what,
                expected,
                format!("{before} → {} (through {})", now.roles(), now.through.join(", ")),
            );
        }
        let people = self.api.access_of_all().await?;
        self.narrator.fact("nurses who hold the role of their ward and no other", NURSES, self.as_employed(&people));
        self.narrator.say(format!("{} requests in {}", self.requests(), seconds(took)));
        self.nothing_refused();
        Ok(people)
    }

    /// Nobody edits a role: people change their group, and the role follows.
    pub async fn change(&mut self, before: People) -> Result<(), String> {
        self.narrator.chapter("Twelve move to another ward");
        self.narrator.say("Nobody edits a role. People change their group, and the role follows.");
        let moves = self.hospital.transfer(MOVERS, Narrator::watch("moved")).await;
        let after = self.api.access_of_all().await?;
        if let Some(one) = moves.first() {
            let roles = |people: &People| people.get(&one.user_name).map_or("nobody".to_owned(), Access::roles);
            let expected = format!("{} → {}", role_of(&one.from), role_of(&one.to));
            self.narrator.fact(&self.name_of(&one.id), expected, format!("{} → {}", roles(&before), roles(&after)));
        }
        let right = moves
            .iter()
            .filter(|one| after.get(&one.user_name).is_some_and(|access| access.roles == [role_of(&one.to)]));
        self.narrator.fact("movers who hold the new role and no longer the old", MOVERS, right.count());
        let others = after.iter().filter(|(name, access)| before.get(*name) == Some(access)).count();
        self.narrator.fact("people for whom nothing changed", NURSES - MOVERS, others);
        self.nothing_refused();
        Ok(())
    }

    /// The clock runs from the moment the identity provider asks until the API shows that nothing is left.
    pub async fn leave(&mut self) -> Result<(), String> {
        self.narrator.chapter("A contract ends: eight leave");
        self.narrator
            .say("The clock runs from the identity provider's request until nothing is left of somebody's roles.");
        let mut watch = Narrator::watch("left");
        let (mut leavers, mut times) = (Vec::new(), Vec::new());
        for done in 1..=LEAVERS {
            let Some(leaver) = self.hospital.offboard(1, |_, _| {}).await.pop() else { break };
            times.extend(self.until_revoked(&leaver).await?);
            leavers.push(leaver);
            watch(done, LEAVERS);
        }
        times.sort_unstable();
        self.narrator.fact("seen to lose everything", LEAVERS, times.len());
        if let (Some(least), Some(median), Some(most)) = (times.first(), times.get(times.len() / 2), times.last()) {
            self.narrator.say(format!(
                "it took {} at best, {} in the middle, {} at worst",
                millis(*least),
                millis(*median),
                millis(*most)
            ));
        }
        let people = self.api.access_of_all().await?;
        let gone = |leaver: &&Leaver| people.get(&leaver.user_name).is_some_and(|it| !it.active && it.roles.is_empty());
        self.narrator.fact(
            "leavers whose account is off and who hold no role",
            LEAVERS,
            leavers.iter().filter(gone).count(),
        );
        self.narrator.fact("nurses who still hold the role of their ward", NURSES - LEAVERS, self.as_employed(&people));
        let differences = self.hospital.check(Narrator::watch("read back over SCIM")).await;
        for difference in differences.iter().take(5) {
            self.narrator.say(difference);
        }
        self.narrator.fact("differences between what was sent and what is stored", 0, differences.len());
        self.nothing_refused();
        Ok(())
    }

    async fn until_revoked(&self, leaver: &Leaver) -> Result<Option<Duration>, String> {
        while leaver.asked.elapsed() < PATIENCE {
            let access = self.api.access_of(&leaver.user_name).await?;
            if !access.active && access.roles.is_empty() {
                return Ok(Some(leaver.asked.elapsed()));
            }
        }
        Ok(None)
    }

    /// A rule is removed by mistake and brought back: roles are computed, so both are felt at once by all.
    pub async fn slip(&mut self, mappings: &Mappings) -> Result<(), String> {
        let Some((ward, mapping)) = mappings.first() else { return Err("there is no ward".into()) };
        self.narrator.chapter(&format!("The administrator removes {ward}'s rule by mistake, and restores it"));
        let staff = self.hospital.staff().iter().filter(|staff| staff.employed);
        let there = staff.filter(|staff| staff.person.department == ward).count();
        self.narrator.say("Roles are computed whenever they are asked for, so that both are felt at once.");
        let holders = |people: &People| people.values().filter(|it| it.roles.contains(&role_of(ward))).count();
        let mut found = vec![holders(&self.api.access_of_all().await?)];
        for name in ["roleMappingRemove", "roleMappingRestore"] {
            self.api.order(name, "roleMapping { state }", json!({ "id": mapping })).await?;
            found.push(holders(&self.api.access_of_all().await?));
        }
        let found: Vec<_> = found.iter().map(usize::to_string).collect();
        let what = format!("who holds {} before, without and with it", role_of(ward));
        self.narrator.fact(&what, format!("{there} → 0 → {there}"), found.join(" → "));
        Ok(())
    }

    /// A change is seen before it is made, and explained afterwards; a day later the day before is proven.
    pub async fn weigh(&mut self, app: &Arc<App>, mappings: &Mappings) -> Result<(), String> {
        let Some((ward, mapping)) = mappings.first() else { return Err("there is no ward".into()) };
        self.narrator
            .chapter(&format!("{ward} is to vaccinate: seen first, then done, explained, and proven a day later"));
        let before = app.clock.now().to_rfc3339_opts(SecondsFormat::Micros, true);
        let staff = self.hospital.staff().iter().filter(|staff| staff.employed && staff.person.department == ward);
        let there: Vec<String> = staff.map(|staff| staff.person.user_name.clone()).collect();
        let Some(one) = there.first() else { return Err(format!("nobody is left in {ward}")) };
        let role = json!({ "name": VACCINATOR, "permissions": ["vaccines:administer"] });
        let role = text(&self.api.order("roleCreate", "role { id }", role).await?, "/role/id");
        let query = "query($id: ID!) { node(id: $id) { ... on RoleMapping { group { id } } } }";
        let group = text(&self.api.ask(query, json!({ "id": mapping })).await?, "/node/group/id");
        let edit = json!({ "createMapping": { "groupId": group, "roleId": role, "reason": "Flu season" } });

        let wanted = "preview { id gainedCount lostCount gains(first: 100) { nodes { user { userName } } } }";
        let shown = self.api.order("accessPreview", wanted, json!({ "edits": [edit] })).await?;
        let counts = |payload: &Value, at: &str| {
            format!(
                "{} would gain, {} lose",
                text(payload, &format!("{at}/gainedCount")),
                text(payload, &format!("{at}/lostCount"))
            )
        };
        let expected = format!("{} would gain, 0 lose", there.len());
        self.narrator.fact(&format!("{VACCINATOR}, before anything is done"), &expected, counts(&shown, "/preview"));
        let named = items(&shown, "/preview/gains/nodes");
        let named = named.iter().filter(|node| there.contains(&text(node, "/user/userName"))).count();
        self.narrator.fact("of them in the list by name", there.len(), named);
        let holders = |people: &People| people.values().filter(|it| it.roles.contains(&VACCINATOR.to_owned())).count();
        let still = holders(&self.api.access_of_all().await?);
        let preview = json!({ "previewId": text(&shown, "/preview/id") });
        let done = self.api.order("accessApply", "change { gainedCount lostCount }", preview).await?;
        self.narrator.fact("applying what was shown", expected, counts(&done, "/change"));
        let since = holders(&self.api.access_of_all().await?);
        let expected = format!("0 → {}", there.len());
        self.narrator.fact("who holds it before and after", expected, format!("{still} → {since}"));

        let query = "query($name: String!, $role: ID!) { organization { user(userName: $name) { explain(roleId: $role) { \
                     holds sources { group { displayName } mapping { reason } joinedBy { actor { name } } } } } } }";
        let told = self.api.ask(query, json!({ "name": one, "role": role })).await?;
        let why = at(&told, "/organization/user/explain/sources/0");
        let why = ["/group/displayName", "/mapping/reason", "/joinedBy/actor/name"].map(|pointer| text(why, pointer));
        let expected = format!("Nurses {ward}, Flu season, {}", self.idp);
        self.narrator.fact(&format!("why {one} is one: group, reason, who put them there"), expected, why.join(", "));

        app.clock.advance(Duration::from_secs(24 * 60 * 60));
        self.narrator.say(
            "The server's clock is moved on by a day. An auditor asks who had access yesterday, before the change.",
        );
        let file = self.api.export(&format!("access.csv?asOf={before}")).await?;
        let key = attest::public_key(app);
        let claims = attest::check_file(&key, file.as_bytes())?;
        let rows = claims.export.map_or(0, |export| export.rows);
        self.narrator.fact("rows of yesterday's evidence, signed and checked offline", NURSES - LEAVERS, rows);
        self.narrator.fact("of them about vaccinators", 0, file.matches(VACCINATOR).count());
        let forged = file.replacen(one.as_str(), "mallory", 1);
        let verdict = if attest::check_file(&key, forged.as_bytes()).is_ok() { "accepted" } else { "refused" };
        self.narrator.fact("the same file with another name in it", "refused", verdict);
        Ok(())
    }

    /// The first screen of an administration console, in one query.
    pub async fn look(&mut self, made: &Bootstrapped) -> Result<(), String> {
        self.narrator.chapter("What the administrator sees (one GraphQL query)");
        let query = "{ organization { scim { availability { state } status endpoints { baseUrl usersUrl groupsUrl } \
                     counts { users groups asOf } } } }";
        let answer = self.api.ask(query, json!({})).await?;
        let scim = at(&answer, "/organization/scim");
        let status = format!("{}, {}", text(scim, "/availability/state"), text(scim, "/status"));
        self.narrator.fact("provisioning", "AVAILABLE, ACTIVE", status);
        let counts = format!("{} accounts, {} groups", text(scim, "/counts/users"), text(scim, "/counts/groups"));
        self.narrator.fact("provisioned", format!("{NURSES} accounts, {} groups", self.hospital.wards().len()), counts);
        for (what, pointer, expected) in [
            ("base URL", "/endpoints/baseUrl", &made.scim.base_url),
            ("users", "/endpoints/usersUrl", &made.scim.users_url),
            ("groups", "/endpoints/groupsUrl", &made.scim.groups_url),
        ] {
            self.narrator.fact(what, expected, text(scim, pointer));
        }
        Ok(())
    }

    /// A token may have leaked: the administrator replaces it. Returns the new one.
    pub async fn rotate(&mut self, plan: &Plan) -> Result<String, String> {
        self.narrator.chapter("The token of the identity provider is replaced");
        let connection = self.connection().await?;
        let input = json!({ "connectionId": connection, "overlapSeconds": 0 });
        let payload = self.api.order("scimTokenRotate", "secret", input).await?;
        let token = text(&payload, "/secret");
        let old = Simulation::connect(plan).await.err().map(|why| why.to_string()).unwrap_or_default();
        self.narrator.fact("the old token is refused", "401", if old.contains(" 401") { "401" } else { &old });
        let plan = Plan { token: token.clone(), ..plan.clone() };
        let new = Simulation::connect(&plan).await.map_or_else(|why| why.to_string(), |_| "accepted".to_owned());
        self.narrator.fact("the new token", "accepted", new);
        Ok(token)
    }

    /// Every change left one row, and the rows are chained by their hashes.
    pub async fn prove(&mut self, app: &Arc<App>, made: &Bootstrapped) -> Result<(), String> {
        self.narrator.chapter("What an auditor sees");
        // Whose access moved is told in the background.
        let began = Instant::now();
        let (counts, total, verdict) = loop {
            let counts = self.api.events_by_action().await?;
            let total: usize = counts.values().sum();
            let verdict = ledger::verify(&app.store, made.organization.id).await.map_err(|error| error.to_string())?;
            if verdict.broken.is_some() || verdict.sealed as usize == total || began.elapsed() > PATIENCE {
                break (counts, total, verdict);
            }
        };
        let mut lines: Vec<_> = counts.iter().map(|(action, count)| format!("{action} {count}")).collect();
        lines.sort();
        self.narrator.say(format!("the ledger has {total} changes:"));
        for line in lines.chunks(4) {
            self.narrator.say(format!("  {}", line.join(", ")));
        }
        let wards = self.hospital.wards().len();
        for (action, expected) in [
            ("user.created", NURSES),
            ("user.suspended", LEAVERS),
            ("group.created", wards),
            ("role_mapping.created", wards),
            ("role_mapping.restored", 1),
            ("scim_token.rotated", 1),
        ] {
            self.narrator.fact(action, expected, counts.get(action).copied().unwrap_or_default());
        }
        let found = match verdict.broken {
            None => format!("intact over {} changes", verdict.sealed),
            Some(fault) => format!("broken: {fault}"),
        };
        self.narrator.fact("the chain of hashes", format!("intact over {total} changes"), found);
        Ok(())
    }

    /// What the identity provider is refused does not vanish: it is work for somebody, and done once it can be.
    pub async fn mend(&mut self, made: &Bootstrapped) -> Result<(), String> {
        self.narrator.chapter("A nurse cannot be created; the failure becomes work, and is put right");
        let name = "zuri.abara@stmary.example";
        let by_hand = self.api.order("userCreate", "user { id }", json!({ "userName": name })).await?;
        self.narrator.say(format!("Somebody once made {name} by hand. Now the identity provider sends her, twice."));
        let nurse = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": name, "externalId": "zuri-1", "displayName": "Zuri Abara", "active": true,
        });
        let mut refused = Vec::new();
        for _ in 0..2 {
            let status = self.api.provision(&made.scim.users_url, &made.scim.token, nurse.clone()).await?;
            refused.push(status.to_string());
        }
        self.narrator.fact("what it is answered", "409, 409", refused.join(", "));
        let query = "{ organization { failures(first: 5, filter: { states: [OPEN] }) { nodes { \
                     id label cause suggestion { text } } } } }";
        let found = self.api.ask(query, json!({})).await?;
        let found = items(&found, "/organization/failures/nodes");
        let shown: Vec<_> = found.iter().map(|it| format!("{} {}", text(it, "/label"), text(it, "/cause"))).collect();
        self.narrator.fact("in the review queue", format!("{name} UNIQUENESS"), shown.join(", "));
        let Some(item) = found.first() else { return Ok(()) };
        self.narrator.say(format!("it says what helps: {}", text(item, "/suggestion/text")));

        let by_hand = json!({ "id": text(&by_hand, "/user/id") });
        self.api.order("userDelete", "deletedUserId", by_hand).await?;
        let item = text(item, "/id");
        self.api.order("failureRetry", "failure { state }", json!({ "id": item })).await?;
        let query = "query($id: ID!) { organization { failure(id: $id) { state resolution } } }";
        let began = Instant::now();
        let state = loop {
            let answer = self.api.ask(query, json!({ "id": item })).await?;
            let failure = at(&answer, "/organization/failure");
            let state = format!("{}, {}", text(failure, "/state"), text(failure, "/resolution"));
            if state.starts_with("RESOLVED") || began.elapsed() > PATIENCE {
                break state;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        self.narrator.fact(
            "the account made by hand is deleted, and the failure tried again",
            "RESOLVED, RETRIED",
            state,
        );
        let query =
            "query($name: String!) { organization { user(userName: $name) { displayName connection { name } } } }";
        let answer = self.api.ask(query, json!({ "name": name })).await?;
        let whose = ["/displayName", "/connection/name"].map(|it| text(at(&answer, "/organization/user"), it));
        self.narrator.fact("whose account it is now", format!("Zuri Abara, {}", self.idp), whose.join(", "));
        Ok(())
    }

    /// The id of the identity provider's connection.
    async fn connection(&self) -> Result<String, String> {
        let answer = self.api.ask("{ organization { connections(first: 1) { nodes { id } } } }", json!({})).await?;
        Ok(text(&answer, "/organization/connections/nodes/0/id"))
    }

    /// How many of the employed hold exactly their ward's role.
    fn as_employed(&self, people: &People) -> usize {
        let employed = self.hospital.staff().iter().filter(|staff| staff.employed);
        employed
            .filter(|staff| {
                let access = people.get(&staff.person.user_name);
                access.is_some_and(|access| access.active && access.roles == [role_of(staff.person.department)])
            })
            .count()
    }

    fn group_of(&self, staff: &Staff) -> &str {
        self.hospital.wards().get(staff.ward).map_or("", |ward| &ward.group)
    }

    fn name_of(&self, id: &str) -> String {
        let staff = self.hospital.staff().iter().find(|staff| staff.id == id);
        staff.map_or("somebody".to_owned(), |staff| staff.person.display_name())
    }

    fn requests(&self) -> usize {
        self.hospital.client().latencies().len()
    }

    fn nothing_refused(&mut self) {
        let refused = self.hospital.client().refused();
        for refusal in refused.iter().take(5) {
            self.narrator.say(refusal);
        }
        self.narrator.fact("requests that were refused", 0, refused.len());
    }
}

fn role_of(ward: &str) -> String {
    format!("{ward} nurse")
}
