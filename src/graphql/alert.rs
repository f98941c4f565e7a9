//! Alerts: what is wrong now, the rules that find it, and the addresses that get mail about it.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::order::{AlertOrder, ListOrder};
use super::permission::{Permission, needs};
use crate::domain::alert::recipient;
use crate::domain::alert::recipient::MailRecipient;
use crate::domain::alert::{self, AlertKind as _, AlertQuery, AlertRule, RuleEdit};
use crate::error::{Noun, Result, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, PageArguments, RelayPage, UserError};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap { nouns: &[(Noun::MailRecipient, "id")], fields: &[] };

/// What an alert is about, which is also the rule that raises it.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "alert::Kind")]
pub enum AlertKind {
    /// A connection became STALLED or QUARANTINED.
    ConnectionStalled,
    /// Failures of a connection wait in the review queue for longer than the threshold, in hours.
    FailuresWait,
    /// The last token of a connection, or an API key, ends in 30, 7 or 1 days; or the last
    /// certificate of a connection that accepts responses of SAML, or it has ended.
    CredentialEnds,
    /// A SCIM token or an API key is older than the threshold, in days, or was not used for 90
    /// days.
    CredentialOld,
    /// A sync run waits for an approval.
    RunWaits,
    /// More people than the threshold, in percent, and more than ten were suspended or deleted
    /// within an hour. It stays for a day.
    MassDeprovisioning,
    /// An active connection was not compared with its identity provider for longer than the
    /// threshold, in days.
    ComparisonMissing,
    /// The ledger does not verify. The newest part is checked every hour, from the place that was
    /// checked last to the end, and against the signed head.
    LedgerBroken,
    /// Evidence was exported. It stays for a day.
    ExportMade,
    /// An API key without an owner is alive, such as the one that a bootstrap makes.
    BootstrapKeyAlive,
    /// A destination does not accept events, was disabled or is far behind, or deliveries
    /// were given up.
    DestinationFails,
    /// A destination has not taken the event of a leaver for longer than the threshold, in minutes.
    /// The threshold is also the objective of `revocationTimes` for what happens outside.
    RevocationNotReceived,
}

/// Whether an alert is raised.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertState {
    /// It is wrong now.
    Raised,
    /// It is over.
    Resolved,
}

/// How urgent an alert is.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "alert::Urgency")]
pub enum AlertUrgency {
    /// Act now: access does not follow the identity provider, or evidence is in doubt.
    Critical,
    /// Act soon.
    Warning,
    /// Make a decision.
    Notice,
}

/// What a threshold counts.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "alert::ThresholdUnit")]
pub enum AlertThresholdUnit {
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
    /// Days.
    Days,
    /// Percent.
    Percent,
}

/// An alert as the schema shows it.
pub struct AlertObject(pub alert::Alert);

impl From<alert::Alert> for AlertObject {
    fn from(row: alert::Alert) -> Self {
        Self(row)
    }
}

/// Something that is or was wrong. One alert stands for one thing, however often it was wrong; it
/// is kept for 90 days after its end. Its beginning and its end are events (`ALERT_RAISED`,
/// `ALERT_RESOLVED`).
#[Object(name = "Alert")]
impl AlertObject {
    /// The alert's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::Alert, self.0.id)
    }

    /// What it is about.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> AlertKind {
        self.0.kind.into()
    }

    /// Whether it is raised.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn state(&self) -> AlertState {
        if self.0.resolved_at.is_none() { AlertState::Raised } else { AlertState::Resolved }
    }

    /// How urgent it is.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn urgency(&self) -> AlertUrgency {
        self.0.urgency.into()
    }

    /// What is wrong, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn next_step(&self) -> &str {
        &self.0.next_step
    }

    /// How many failures, people, exports or the like it stands for.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn count(&self) -> i32 {
        relay::to_graphql_int(self.0.count.unsigned_abs())
    }

    /// The global id of the connection that it is about; null if it is not about one.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection_id(&self) -> Option<ID> {
        self.0.connection_id.map(|id| relay::global_id(NodeKind::IdentitySource, id))
    }

    /// When it was raised, for the last time.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn raised_at(&self) -> DateTime<Utc> {
        self.0.raised_at
    }

    /// When it was over; null while it is raised.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn resolved_at(&self) -> Option<DateTime<Utc>> {
        self.0.resolved_at
    }
}

/// A rule of alerts as the schema shows it.
pub struct AlertRuleObject(AlertRule);

impl From<AlertRule> for AlertRuleObject {
    fn from(rule: AlertRule) -> Self {
        Self(rule)
    }
}

/// A rule of alerts. The organization has all of them; by default they are enabled.
#[Object(name = "AlertRule")]
impl AlertRuleObject {
    /// What its alerts tell of.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> AlertKind {
        self.0.kind.into()
    }

    /// Whether it raises alerts.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn enabled(&self) -> bool {
        self.0.enabled
    }

    /// Whether recipients get mail about its alerts.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn by_mail(&self) -> bool {
        self.0.by_mail
    }

    /// Whether mail is repeated every day while an alert is raised.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn repeats(&self) -> bool {
        self.0.kind.repeats()
    }

    /// From which value on it raises an alert; null if the rule has no threshold.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn threshold(&self) -> Option<i32> {
        self.0.threshold.map(|value| relay::to_graphql_int(value.unsigned_abs()))
    }

    /// The threshold that it has unless the organization chooses another; null if the rule has no
    /// threshold.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn default_threshold(&self) -> Option<i32> {
        let known = self.0.kind.threshold()?;
        Some(relay::to_graphql_int(known.default.unsigned_abs()))
    }

    /// What the threshold counts; null if the rule has no threshold.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn threshold_unit(&self) -> Option<AlertThresholdUnit> {
        Some(self.0.kind.threshold()?.unit.into())
    }
}

/// A recipient as the schema shows it.
pub struct MailRecipientObject(pub MailRecipient);

impl From<MailRecipient> for MailRecipientObject {
    fn from(row: MailRecipient) -> Self {
        Self(row)
    }
}

/// An address that gets alerts by mail.
#[Object(name = "MailRecipient")]
impl MailRecipientObject {
    /// The recipient's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::MailRecipient, self.0.id)
    }

    /// The address.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn address(&self) -> &str {
        &self.0.address
    }

    /// The name for people to read; may be empty.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// When it was added.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When the mail server accepted the last mail; null if it has accepted none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_mailed_at(&self) -> Option<DateTime<Utc>> {
        self.0.mailed_at
    }

    /// Whether a test mail was asked for and not sent yet.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn test_pending(&self) -> bool {
        self.0.test_due_at.is_some()
    }

    /// Since when the mail server accepts no mail to it; null if it does. It is tried again, and
    /// nothing is lost.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn failing_since(&self) -> Option<DateTime<Utc>> {
        self.0.first_failed_at
    }

    /// What the mail server said, or why it was not reached; null if it accepts mail.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_error(&self) -> Option<&str> {
        self.0.last_error.as_deref()
    }
}

/// Selects alerts: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct AlertFilter {
    /// Alerts of one of these kinds.
    kinds: Option<Vec<AlertKind>>,
    /// Alerts in this state.
    state: Option<AlertState>,
    /// Alerts about the connection with this global id.
    connection_id: Option<ID>,
}

impl AlertFilter {
    /// The filter as the domain takes it; none if nothing can match it.
    fn into_domain_query(self) -> Option<AlertQuery> {
        let connection =
            relay::parse_filter_id(NodeKind::IdentitySource, self.connection_id.as_ref())?;
        let kinds = self.kinds.unwrap_or_default().into_iter().map(Into::into).collect();
        let raised = self.state.map(|state| state == AlertState::Raised);
        Some(AlertQuery { kinds, raised, connection })
    }
}

/// The alerts of an organization, their rules, and who gets mail about them.
#[derive(Default)]
pub struct OrganizationAlerts;

#[Object(name = "Alerts")]
impl OrganizationAlerts {
    /// The alerts, the latest first unless ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn alerts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<AlertFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<AlertOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<AlertObject>>> {
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query() else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(alert::list_alerts(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(alert::count_alerts(cx, &which)), rows).await
    }

    /// The rules of alerts, one of each kind.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn alert_rules(&self, ctx: &Context<'_>) -> Result<Option<Vec<AlertRuleObject>>> {
        let rules = alert::list_rules(relay::cx(ctx)?).await?;
        Ok(Some(rules.into_iter().map(Into::into).collect()))
    }

    /// The addresses that get alerts by mail, oldest first; at most 20.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn mail_recipients(&self, ctx: &Context<'_>) -> Result<Option<Vec<MailRecipientObject>>> {
        let rows = recipient::list_recipients(relay::cx(ctx)?).await?;
        Ok(Some(rows.into_iter().map(Into::into).collect()))
    }

    /// Whether the operator of this server has set a mail server. Without one, no mail is sent.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn mail_enabled(&self, ctx: &Context<'_>) -> Result<Option<bool>> {
        Ok(Some(relay::cx(ctx)?.app.config.smtp.is_some()))
    }
}

/// The rule to change. A field that is left out stays as it is.
#[derive(InputObject)]
pub struct AlertRuleSetInput {
    /// Which rule.
    kind: AlertKind,
    /// Whether it raises alerts. Those of a rule that is turned off are resolved. Cannot be null.
    enabled: MaybeUndefined<bool>,
    /// Whether recipients get mail about its alerts. Cannot be null.
    by_mail: MaybeUndefined<bool>,
    /// From which value on it raises an alert; null = the default.
    threshold: MaybeUndefined<i32>,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

impl AlertRuleSetInput {
    fn to_edit(&self) -> Result<RuleEdit> {
        let (enabled, by_mail) = mistakes::both(
            relay::refuse_null("enabled", self.enabled),
            relay::refuse_null("byMail", self.by_mail),
        )?;
        let threshold = match self.threshold {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(value) => Some(Some(i64::from(value))),
        };
        Ok(RuleEdit { enabled, by_mail, threshold })
    }
}

/// The address to add.
#[derive(InputObject)]
pub struct MailRecipientAddInput {
    /// The address, of ASCII characters; at most 254.
    address: String,
    /// The name for people to read; at most 100 characters.
    #[graphql(default)]
    name: String,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The recipient to remove.
#[derive(InputObject)]
pub struct MailRecipientRemoveInput {
    /// The recipient's global id.
    id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The recipient that gets a test.
#[derive(InputObject)]
pub struct MailRecipientTestInput {
    /// The recipient's global id.
    id: ID,
}

mutation_payloads! {
    alert_rule_payloads;
    /// The rule after the change; null if there were mistakes.
    alert_rule: AlertRuleObject;
    /// The result of `alertRuleSet`.
    AlertRuleSetPayload,
}

mutation_payloads! {
    mail_recipient_payloads;
    /// The recipient; null if there were mistakes.
    mail_recipient: MailRecipientObject;
    /// The result of `mailRecipientAdd`.
    MailRecipientAddPayload,
    /// The result of `mailRecipientTest`.
    MailRecipientTestPayload,
}

/// The result of `mailRecipientRemove`.
#[derive(SimpleObject)]
pub struct MailRecipientRemovePayload {
    /// The global id that the recipient had; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    removed_mail_recipient_id: Option<ID>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct AlertMutation;

#[Object]
impl AlertMutation {
    /// Turns a rule of alerts on or off, or changes its threshold. What it finds then is raised
    /// within seconds.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn alert_rule_set(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: AlertRuleSetInput,
    ) -> Result<Option<AlertRuleSetPayload>> {
        let done = async {
            let (cx, edit) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                input.to_edit(),
            )?;
            alert::set_rule(&cx, input.kind.into(), edit).await
        };
        AlertRuleSetPayload::from_result(done.await, FIELD_MAP)
    }

    /// Adds an address that gets alerts by mail from now on.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn mail_recipient_add(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The address to add.")] input: MailRecipientAddInput,
    ) -> Result<Option<MailRecipientAddPayload>> {
        let done = async {
            let cx = relay::cx_with_reason(ctx, input.reason.as_deref())?;
            recipient::add_recipient(&cx, &input.address, &input.name).await
        };
        MailRecipientAddPayload::from_result(done.await, FIELD_MAP)
    }

    /// Removes an address: it gets no alerts by mail any more.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn mail_recipient_remove(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which recipient.")] input: MailRecipientRemoveInput,
    ) -> Result<Option<MailRecipientRemovePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::MailRecipient, &input.id, Noun::MailRecipient),
            )?;
            recipient::remove_recipient(&cx, id).await
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        Ok(Some(MailRecipientRemovePayload {
            removed_mail_recipient_id: done.map(|()| input.id),
            user_errors,
        }))
    }

    /// Sends a test mail to a recipient, within seconds, also after failed attempts. The
    /// recipient's fields show how it went.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn mail_recipient_test(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which recipient.")] input: MailRecipientTestInput,
    ) -> Result<Option<MailRecipientTestPayload>> {
        let done = async {
            let id =
                relay::parse_input_id(NodeKind::MailRecipient, &input.id, Noun::MailRecipient)?;
            recipient::request_test(relay::cx(ctx)?, id).await
        };
        MailRecipientTestPayload::from_result(done.await, FIELD_MAP)
    }
}
