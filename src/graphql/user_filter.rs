//! The filter of accounts, which the list of all accounts, the members of a group and the holders
//! of a role share.

use async_graphql::{ID, InputObject};
use chrono::{DateTime, Utc};

use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::audit::subject_owners::SubjectOwners;
use crate::domain::directory::user::UserQuery;
use crate::error::Result;
use crate::graphql::relay;
use crate::graphql::relay::NodeKind;
use crate::identity::filter::{AttrPath, CompareOp, Filter, FilterLiteral};

/// Selects accounts: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct UserFilter {
    /// Accounts with these global ids, at most 100.
    ids: Option<Vec<ID>>,
    /// Accounts that have, for each word of this, a word that begins with it, regardless of case:
    /// in the user name, the display name, the given and the family name, the e-mail addresses, the
    /// external id or the employee number.
    search: Option<String>,
    /// Accounts with exactly this user name, regardless of case.
    user_name: Option<String>,
    /// Accounts whose user name begins with this, regardless of case.
    user_name_starts_with: Option<String>,
    /// Accounts with this e-mail address, regardless of case.
    email: Option<String>,
    /// Accounts whose display name contains this, regardless of case.
    display_name_contains: Option<String>,
    /// Accounts with exactly this department, regardless of case.
    department: Option<String>,
    /// Accounts with exactly this external id; with `connectionId`, the one of that connection.
    external_id: Option<String>,
    /// The account with this id in SCIM: the `id` that identity providers get.
    scim_id: Option<String>,
    /// Active accounts (true) or suspended ones (false).
    active: Option<bool>,
    /// Break-glass accounts (true) or all others (false).
    protected: Option<bool>,
    /// Accounts that the connection with this global id owns. Needs IAM_READ, like the connection
    /// itself.
    connection_id: Option<ID>,
    /// Accounts that a connection owns (true) or that none owns (false).
    provisioned: Option<bool>,
    /// Members of a group. Needs IAM_READ.
    group: Option<GroupMembershipFilter>,
    /// Accounts that hold the role with this global id now, in whatever way. Needs IAM_READ.
    role_id: Option<ID>,
    /// Accounts that were changed at this instant or later.
    updated_since: Option<DateTime<Utc>>,
}

/// Selects the members of a group.
#[derive(InputObject)]
pub struct GroupMembershipFilter {
    /// The global id of the group.
    group_id: ID,
    /// Also members of groups that are nested in it, at any depth.
    #[graphql(default)]
    transitive: bool,
}

impl UserFilter {
    /// Selects the account with this user name.
    pub fn with_user_name(user_name: String) -> Self {
        Self { user_name: Some(user_name), ..Self::default() }
    }

    /// Refuses a filter by a field that the caller may not read.
    ///
    /// # Errors
    /// [`Error::Forbidden`]
    pub fn check_permission(&self, cx: &Cx) -> Result<()> {
        if self.connection_id.is_some() || self.group.is_some() || self.role_id.is_some() {
            return cx.allow(Action::ReadIam, None);
        }
        Ok(())
    }

    /// The filter as the domain takes it; none if nothing can match it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text that is empty or too long, and for too many ids.
    pub fn into_domain_query(self) -> Result<Option<UserQuery>> {
        let search = relay::check_filter_text("search", self.search)?;
        let department = relay::check_filter_text("department", self.department)?;
        let external_id = relay::check_filter_text("externalId", self.external_id)?;
        let mut ids = relay::parse_filter_ids(NodeKind::User, self.ids.as_deref())?;
        if let Some(id) = self.scim_id {
            let Some(id) = relay::parse_plain_id(&ID(id)) else { return Ok(None) };
            let both = ids.is_none_or(|ids| ids.contains(&id));
            ids = Some(if both { vec![id] } else { Vec::new() });
        }
        let Some(owner) =
            relay::parse_filter_id(NodeKind::IdentitySource, self.connection_id.as_ref())
        else {
            return Ok(None);
        };
        let owners = match (owner, self.provisioned) {
            (Some(_), Some(false)) => return Ok(None),
            (Some(id), _) => SubjectOwners::Connection(id),
            (None, Some(true)) => SubjectOwners::Connections,
            (None, Some(false)) => SubjectOwners::None,
            (None, None) => SubjectOwners::Any,
        };
        let Some(role) = relay::parse_filter_id(NodeKind::Role, self.role_id.as_ref()) else {
            return Ok(None);
        };
        let group = match self.group {
            None => None,
            Some(GroupMembershipFilter { group_id, transitive }) => {
                match relay::parse_id_of_kind(NodeKind::Group, &group_id) {
                    Some(id) => Some((id, transitive)),
                    None => return Ok(None),
                }
            }
        };
        let texts = [
            ("userName", None, CompareOp::Eq, self.user_name),
            ("userName", None, CompareOp::Sw, self.user_name_starts_with),
            ("emails", Some("value"), CompareOp::Eq, self.email),
            ("displayName", None, CompareOp::Co, self.display_name_contains),
        ];
        let texts = texts.into_iter().filter_map(|(name, sub, op, text)| {
            Some(compare_attribute(name, sub, op, FilterLiteral::String(text?)))
        });
        let active = self.active.map(|active| {
            compare_attribute("active", None, CompareOp::Eq, FilterLiteral::Bool(active))
        });
        Ok(Some(UserQuery {
            filter: match_all(texts.chain(active).collect()),
            owners,
            search,
            department,
            external_id,
            ids,
            group,
            within: None,
            role,
            holding: None,
            protected: self.protected,
            updated_since: self.updated_since,
        }))
    }
}

/// A filter that compares one attribute with a value.
pub fn compare_attribute(
    name: &str,
    sub: Option<&str>,
    op: CompareOp,
    literal: FilterLiteral,
) -> Filter {
    Filter::Compare(
        AttrPath { schema: None, name: name.into(), sub: sub.map(Into::into) },
        op,
        literal,
    )
}

/// A filter for what matches all of these; none if there are none.
pub fn match_all(filters: Vec<Filter>) -> Option<Filter> {
    (!filters.is_empty()).then_some(Filter::And(filters))
}
