//! The domains of an organization: asserted by an administrator, or proven by the DNS.

use async_graphql::{Context, Enum, ID, InputObject, Object};
use chrono::{DateTime, Utc};
use entity::organization_domain;

use super::message_part::{self, MessagePart};
use super::order::{ListOrder, list_order};
use super::permission::{Permission, needs};
use crate::dns_client::DnsClient;
use crate::domain::paging::order::OrderBy;
use crate::domain::tenant::domain;
use crate::domain::tenant::domain::{DomainQuery, OrganizationDomain};
use crate::error::{Result, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, PageArguments, RelayPage};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap { nouns: &[(domain::NOUN, "id")], fields: &[] };

/// How it is known that a domain belongs to the organization.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "organization_domain::DomainState")]
pub enum DomainState {
    /// An administrator says so.
    Asserted,
    /// The DNS has the record that proves it, which is looked up every day.
    Proven,
    /// The DNS had the record and does not have it any more. The domain is as good as an asserted
    /// one, and is proven again when the record is back.
    Lost,
}

list_order! {
    /// The order of a list of domains.
    DomainOrder,
    /// The fields by which domains can be sorted.
    DomainOrderField {
        /// When the domain was added.
        CreatedAt = OrderBy::Age,
        /// The name.
        Name = OrderBy::Name,
    }
}

/// A domain as the schema shows it.
pub struct DomainObject(pub OrganizationDomain);

impl From<OrganizationDomain> for DomainObject {
    fn from(row: OrganizationDomain) -> Self {
        Self(row)
    }
}

/// A domain of the organization: an e-mail address or a user name inside it identifies a person.
/// Domains below it are others.
#[Object(name = "Domain")]
impl DomainObject {
    /// The domain's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::Domain, self.0.id)
    }

    /// The name, folded, with the letters of its language.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// How it is known that it belongs to the organization.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn state(&self) -> DomainState {
        self.0.state.into()
    }

    /// The name of the TXT record that proves it.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn record_name(&self) -> String {
        domain::record_name(&self.0)
    }

    /// The text of that record. It is no secret.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn record_value(&self) -> String {
        domain::record_value(&self.0)
    }

    /// When it was added.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When the DNS proved it, the last time that it did after it had not; null if it never did.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn proven_at(&self) -> Option<DateTime<Utc>> {
        self.0.proven_at
    }

    /// Since when the record is missing; null unless it was lost.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn lost_at(&self) -> Option<DateTime<Utc>> {
        self.0.lost_at
    }

    /// When the DNS was last asked and answered; null if it was not.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_checked_at(&self) -> Option<DateTime<Utc>> {
        self.0.checked_at
    }

    /// What hindered the last check: the DNS did not answer, which changes no state, or another
    /// organization has proven the domain. Null if nothing did.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_check_error(&self) -> Option<&str> {
        self.0.check_error.as_deref()
    }

    /// `lastCheckError` by stable codes; empty where one of its sentences has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_check_error_parts(&self) -> Vec<MessagePart> {
        message_part::read_optional_parts(self.0.check_error.as_deref())
    }

    /// What to do to prove it; null while it is proven.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn next_step(&self) -> Option<String> {
        (self.0.state != organization_domain::DomainState::Proven).then(|| {
            format!(
                "Add a TXT record {} with the text {} at the provider of your DNS, then prove the \
                 domain (domainProve).",
                domain::record_name(&self.0),
                domain::record_value(&self.0)
            )
        })
    }
}

/// Selects domains: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct DomainFilter {
    /// Domains whose name contains this.
    search: Option<String>,
    /// Domains in one of these states.
    states: Option<Vec<DomainState>>,
}

impl DomainFilter {
    /// The filter as the domain takes it.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::error::Error::Invalid) for a search that is empty or too long.
    fn into_domain_query(self) -> Result<DomainQuery> {
        let search = relay::check_filter_text("search", self.search)?;
        let states = self.states.unwrap_or_default().into_iter().map(Into::into).collect();
        Ok(DomainQuery { search, states })
    }
}

/// The domains of an organization.
#[derive(Default)]
pub struct OrganizationDomains;

#[Object(name = "Domains")]
impl OrganizationDomains {
    /// The domains, oldest first unless ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn domains(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<DomainFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<DomainOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<DomainObject>>> {
        let cx = relay::cx(ctx)?;
        let order = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
        let keyset =
            PageArguments { first, after, last, before }.to_keyset(ctx, order.descending)?;
        let which = filter.unwrap_or_default().into_domain_query()?;
        let total = if relay::selects_total_count(ctx) {
            domain::count_domains(cx, &which).await?
        } else {
            0
        };
        let rows = domain::list_domains(cx, &which, order.by, &keyset).await?;
        Ok(Some(RelayPage::from_keyed_rows(rows, total)))
    }
}

/// The domain to add.
#[derive(InputObject)]
pub struct DomainAddInput {
    /// The name, for example `example.org`.
    name: String,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The domain to prove.
#[derive(InputObject)]
pub struct DomainProveInput {
    /// The domain's global id.
    id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The domain to remove.
#[derive(InputObject)]
pub struct DomainRemoveInput {
    /// The domain's global id.
    id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

mutation_payloads! {
    domain_payloads;
    /// The domain after the change; null if there were mistakes.
    domain: DomainObject;
    /// The result of `domainAdd`.
    DomainAddPayload,
    /// The result of `domainProve`.
    DomainProvePayload,
}

/// The result of `domainRemove`.
#[derive(async_graphql::SimpleObject)]
pub struct DomainRemovePayload {
    /// The global id that the domain had; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    removed_domain_id: Option<ID>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<relay::UserError>,
}

#[derive(Default)]
pub struct DomainMutation;

#[Object]
impl DomainMutation {
    /// Adds a domain. It is asserted until it is proven: connections with the adoption policy
    /// `LINK` get accounts whose user name is inside it, so add only domains that belong to the
    /// organization. At most 100.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn domain_add(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The domain to add.")] input: DomainAddInput,
    ) -> Result<Option<DomainAddPayload>> {
        let done = async {
            let cx = relay::cx_with_reason(ctx, input.reason.as_deref())?;
            domain::add_domain(&cx, &input.name).await
        };
        DomainAddPayload::from_result(done.await, FIELD_MAP)
    }

    /// Looks the record of a domain up in the DNS, and notes that the domain is proven if it is
    /// there. A record that was there and is missing makes the domain `LOST`.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn domain_prove(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which domain.")] input: DomainProveInput,
    ) -> Result<Option<DomainProvePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::Domain, &input.id, domain::NOUN),
            )?;
            let row = domain::begin_proof(&cx, id).await?;
            let client = DnsClient::new(cx.app.config.dns_server);
            let answer = client.lookup_texts(&domain::record_name(&row)).await;
            domain::finish_proof(&cx, id, answer).await
        };
        DomainProvePayload::from_result(done.await, FIELD_MAP)
    }

    /// Removes a domain: names inside it identify no person any more. Accounts stay.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn domain_remove(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which domain.")] input: DomainRemoveInput,
    ) -> Result<Option<DomainRemovePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::Domain, &input.id, domain::NOUN),
            )?;
            domain::remove_domain(&cx, id).await
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        let removed_domain_id = done.map(|()| input.id);
        Ok(Some(DomainRemovePayload { removed_domain_id, user_errors }))
    }
}
