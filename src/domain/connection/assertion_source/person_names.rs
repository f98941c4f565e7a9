//! Which names in an assertion say what about a person, and their changes. One rule for both
//! protocols: the names are JSON Pointers into a token, or names of attributes.

use serde::{Deserialize, Serialize};

/// Which names say what; none = nothing says it. `Id` is optional where an assertion has another
/// place for the person's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PersonNames<Id> {
    /// The person's id at the identity provider.
    pub subject: Id,
    /// The name with which the person signs in.
    pub user_name: Id,
    pub email: Option<String>,
    pub email_verified: Option<String>,
    pub display_name: Option<String>,
    pub given_name: Option<String>,
    pub family_name: Option<String>,
    /// The groups of the person.
    pub groups: Option<String>,
    /// The roles of the person, which count as groups.
    pub roles: Option<String>,
}

/// The changes of the names: the outer none = unchanged; the inner none = nothing says it.
#[derive(Debug, Clone, Default)]
pub struct PersonNamesEdit<Id> {
    pub subject: Option<Id>,
    pub user_name: Option<Id>,
    pub email: Option<Option<String>>,
    pub email_verified: Option<Option<String>>,
    pub display_name: Option<Option<String>>,
    pub given_name: Option<Option<String>>,
    pub family_name: Option<Option<String>>,
    pub groups: Option<Option<String>>,
    pub roles: Option<Option<String>>,
}

impl<Id: Clone> PersonNamesEdit<Id> {
    /// The names after this edit.
    pub fn apply_to(&self, known: PersonNames<Id>) -> PersonNames<Id> {
        fn or<T: Clone>(given: &Option<T>, known: T) -> T {
            given.clone().unwrap_or(known)
        }
        PersonNames {
            subject: or(&self.subject, known.subject),
            user_name: or(&self.user_name, known.user_name),
            email: or(&self.email, known.email),
            email_verified: or(&self.email_verified, known.email_verified),
            display_name: or(&self.display_name, known.display_name),
            given_name: or(&self.given_name, known.given_name),
            family_name: or(&self.family_name, known.family_name),
            groups: or(&self.groups, known.groups),
            roles: or(&self.roles, known.roles),
        }
    }
}
