//! The chapter about sign-ins: a clinic that has no SCIM. What its identity provider says of a
//! person at each sign-in decides what the person may do.

use std::sync::Arc;

use entity::connection::Provider;
use serde_json::{Value, json};
use simulator::SimulatedIssuer;

use super::api::{ApiClient, items_at, text_at, value_at};
use super::story::HospitalStory;
use crate::cli::bootstrap;
use crate::context::App;

const CLINIC: &str = "st-mary-clinic";
/// The name of the connection that accepts its sign-ins.
const SIGN_IN: &str = "the clinic's sign-in";
const THERAPIST: &str = "noor.haddad@clinic.example";
/// Its groups, each with the role of its members.
const GROUPS: [(&str, &str); 2] =
    [("Clinic Pharmacy", "Pharmacist"), ("Clinic Therapy", "Therapist")];

/// The clinic's administrator, the application that hands over its sign-ins, and the provider.
struct Clinic {
    administrator: ApiClient,
    application: ApiClient,
    issuer: SimulatedIssuer,
}

impl HospitalStory {
    /// A person signs in with other groups each time; what the list does not deny stays.
    pub async fn show_sign_ins(
        &mut self,
        app: &Arc<App>,
        provider: Provider,
    ) -> Result<(), String> {
        self.narrator.begin_chapter("A clinic without SCIM: groups come with each sign-in");
        let clinic = Clinic::open_clinic(app, self.idp, provider).await?;
        self.narrator.print_sentence(format!(
            "Noor Haddad signs in at {}. Her application hands over the ID token that it got.",
            self.idp
        ));
        let [(pharmacy, _), (therapy, _)] = GROUPS;
        let both = json!({ "groups": [pharmacy, therapy] });
        let first = clinic.sign_in(app, &both).await?;
        self.narrator.check_fact(
            "her roles at the first sign-in",
            "Pharmacist, Therapist",
            roles_of(&first),
        );
        let reason = clinic.reason_of("Therapist").await?;
        self.narrator.check_fact(
            "why she is a therapist",
            format!("{therapy}, said by {SIGN_IN} at sign-in"),
            reason,
        );
        let second = clinic.sign_in(app, &json!({ "groups": [therapy] })).await?;
        self.narrator.check_fact(
            "the next sign-in lists one group less",
            "Therapist",
            roles_of(&second),
        );
        let left_out = json!({ "_claim_names": { "groups": "src1" } });
        let third = clinic.sign_in(app, &left_out).await?;
        let found =
            format!("{}, complete: {}", roles_of(&third), value_at(&third, "/groupsComplete"));
        self.narrator.check_fact(
            "a list that is too long for a token takes no role away",
            "Therapist, complete: false",
            found,
        );
        let (status, refusal) = clinic.hand_over_forged(app, &both).await?;
        self.narrator.check_fact(
            "a token with groups that its signature is not about",
            "422 ASSERTION_SIGNATURE",
            format!("{status} {}", text_at(&refusal, "/code")),
        );
        Ok(())
    }
}

impl Clinic {
    /// Makes the organization, the account and the roles, and lets sign-ins say who is in which
    /// group.
    async fn open_clinic(app: &Arc<App>, idp: &str, provider: Provider) -> Result<Self, String> {
        let issuer = SimulatedIssuer::start().await;
        let issuer = issuer.map_err(|error| format!("cannot start an issuer: {error}"))?;
        let made = bootstrap::run_bootstrap(app, CLINIC, idp, provider).await;
        let made = made.map_err(|error| error.to_string())?;
        let administrator = ApiClient::new(&made.graphql.url, &made.graphql.api_key)?;
        let (kind, mode) = match provider {
            Provider::EntraId => ("ENTRA_ID", "ENTRA_NATIVE"),
            _ => ("OKTA", "SIGN_IN"),
        };
        let mode = json!({ "integrationMode": mode });
        administrator.send_mutation("organizationUpdate", "organization { id }", mode).await?;
        let connection = json!({
            "name": SIGN_IN, "provider": kind,
            "assertion": { "oidc": {
                "issuer": issuer.url(), "clientId": CLINIC, "algorithms": ["EDDSA"],
            } },
            "claims": { "groupIdentity": "DISPLAY_NAME" },
        });
        let connection = administrator
            .send_mutation("connectionCreate", "connection { id }", connection)
            .await?;
        let connection = text_at(&connection, "/connection/id");
        for (group, role) in GROUPS {
            let role = json!({ "name": role });
            let role = administrator.send_mutation("roleCreate", "role { id }", role).await?;
            let awaits = json!({
                "connectionId": connection, "attribute": "DISPLAY_NAME", "value": group,
            });
            let mapping = json!({ "awaits": awaits, "roleId": text_at(&role, "/role/id") });
            administrator.send_mutation("roleMappingCreate", "roleMapping { id }", mapping).await?;
        }
        let person = json!({ "userName": THERAPIST, "displayName": "Noor Haddad" });
        administrator.send_mutation("userCreate", "user { id }", person).await?;
        let key = json!({ "name": "Clinic application", "permissions": ["ASSERTION_WRITE"] });
        let key = administrator.send_mutation("apiKeyIssue", "secret", key).await?;
        let application = ApiClient::new(&made.graphql.url, &text_at(&key, "/secret"))?;
        Ok(Self { administrator, application, issuer })
    }

    /// An ID token of the person that says this of groups.
    fn sign_token(&self, app: &App, groups: &Value) -> String {
        let mut claims = groups.clone();
        claims["aud"] = CLINIC.into();
        claims["sub"] = "noor".into();
        claims["oid"] = "noor".into();
        claims["preferred_username"] = THERAPIST.into();
        claims["iat"] = app.clock.now().timestamp().into();
        self.issuer.sign_id_token(&claims)
    }

    /// Hands over a sign-in; returns what the application is told.
    async fn sign_in(&self, app: &App, groups: &Value) -> Result<Value, String> {
        let token = self.sign_token(app, groups);
        let (status, answer) = self.application.submit_id_token(CLINIC, &token).await?;
        if status == 200 { Ok(answer) } else { Err(format!("a sign-in was refused: {answer}")) }
    }

    /// Hands over what one token says with the signature of another one.
    async fn hand_over_forged(&self, app: &App, groups: &Value) -> Result<(u16, Value), String> {
        let genuine = self.sign_token(app, &json!({ "groups": [] }));
        let wanted = self.sign_token(app, groups);
        let signed = wanted.rsplit_once('.').map_or("", |(signed, _)| signed);
        let signature = genuine.rsplit_once('.').map_or("", |(_, signature)| signature);
        self.application.submit_id_token(CLINIC, &format!("{signed}.{signature}")).await
    }

    /// Through which group the person holds a role, and what says so, without the date.
    async fn reason_of(&self, role: &str) -> Result<String, String> {
        let query = "query($name: String!) { organization { user(userName: $name) { roles { role { \
                     name } sources { group { displayName } saidAtSignIn { text } } } } } }";
        let answer = self.administrator.send_query(query, json!({ "name": THERAPIST })).await?;
        let roles = items_at(&answer, "/organization/user/roles");
        let held = roles.iter().find(|held| value_at(held, "/role/name") == role);
        let source = held.map_or(&Value::Null, |held| value_at(held, "/sources/0"));
        let said = text_at(source, "/saidAtSignIn/text");
        let said = said.rsplit_once(" on ").map_or(said.as_str(), |(said, _)| said);
        Ok(format!("{}, {said}", text_at(source, "/group/displayName")))
    }
}

/// The roles in the answer to a sign-in.
fn roles_of(answer: &Value) -> String {
    let roles = items_at(answer, "/roles").iter().filter_map(Value::as_str);
    roles.collect::<Vec<_>>().join(", ")
}
