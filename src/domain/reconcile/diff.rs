//! Compares what an identity provider lists with what is here, value by value and without a
//! database.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::identity::document::fold_text;

/// The attributes of a person: SCIM paths, each with one value or, sorted, with several.
pub type FlatAttributes = BTreeMap<String, Value>;

/// A person as the identity provider lists them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExportedPerson {
    /// The line of the export, for messages.
    pub line: u64,
    /// The `externalId` that the identity provider sends.
    pub external_id: Option<String>,
    /// The identity provider's own id, which many send as the `externalId`.
    pub remote_id: Option<String>,
    pub user_name: Option<String>,
    pub attributes: FlatAttributes,
}

impl ExportedPerson {
    /// Whether they may sign in there, if the export says anything about it.
    pub fn active_there(&self) -> Option<bool> {
        self.attributes.get("active")?.as_bool()
    }

    /// The name for people to read.
    pub fn display_label(&self) -> Option<&str> {
        self.user_name.as_deref().or(self.external_id.as_deref()).or(self.remote_id.as_deref())
    }
}

/// An account here, with what is needed to find its person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalAccount {
    pub id: Uuid,
    /// Whether the connection owns it; otherwise it has no owner.
    pub owned: bool,
    pub external_id: Option<String>,
    pub user_name: String,
    pub active: bool,
}

/// The attributes that an export has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportColumns {
    pub names: BTreeSet<String>,
    /// Whether it lists all addresses of a person and not only the first.
    pub all_emails: bool,
}

/// The values of one attribute on both sides; none = no value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AttributeDifference {
    pub theirs: Option<Value>,
    pub ours: Option<Value>,
    /// The actor that set our value, where the ledger says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
}

impl AttributeDifference {
    /// The values of an attribute on the two sides; none = the side has none.
    pub fn of(theirs: Option<Value>, ours: Option<Value>) -> Self {
        Self { theirs, ours, ..Self::default() }
    }
}

/// Which account belongs to which person: for each person the index of the account, and for each
/// account the index of the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountPairing {
    pub of_person: Vec<Option<usize>>,
    pub of_account: Vec<Option<usize>>,
}

/// Finds the account of each person. The identifiers of the identity provider come first; the name
/// counts only for a person without a common identifier. An account without an owner is found by
/// its name alone. A person has at most one account, and an account at most one person.
pub fn pair_accounts(people: &[ExportedPerson], accounts: &[LocalAccount]) -> AccountPairing {
    let mut pairing = AccountPairing {
        of_person: vec![None; people.len()],
        of_account: vec![None; accounts.len()],
    };
    let mut by_external: HashMap<&str, usize> = HashMap::new();
    let mut by_id: HashMap<String, usize> = HashMap::new();
    let mut by_name: HashMap<String, usize> = HashMap::new();
    let mut by_local_name: HashMap<String, usize> = HashMap::new();
    for (place, account) in accounts.iter().enumerate() {
        let name = fold_text(&account.user_name);
        if !account.owned {
            by_local_name.entry(name).or_insert(place);
            continue;
        }
        by_name.entry(name).or_insert(place);
        by_id.insert(account.id.to_string(), place);
        if let Some(id) = &account.external_id {
            by_external.entry(id).or_insert(place);
        }
    }
    type AccountFinder<'a> = Box<dyn Fn(&ExportedPerson) -> Option<usize> + 'a>;
    let ways: [AccountFinder<'_>; 5] = [
        Box::new(|person| by_external.get(person.external_id.as_deref()?).copied()),
        Box::new(|person| by_external.get(person.remote_id.as_deref()?).copied()),
        // An export of this server's own user list names the accounts by their ids here.
        Box::new(|person| by_id.get(person.remote_id.as_deref()?).copied()),
        Box::new(|person| by_name.get(&fold_text(person.user_name.as_deref()?)).copied()),
        Box::new(|person| by_local_name.get(&fold_text(person.user_name.as_deref()?)).copied()),
    ];
    for find in ways {
        for (place, person) in people.iter().enumerate() {
            let (Some(mine), Some(account)) = (pairing.of_person.get_mut(place), find(person))
            else {
                continue;
            };
            let Some(theirs) = pairing.of_account.get_mut(account) else { continue };
            if mine.is_none() && theirs.is_none() {
                (*mine, *theirs) = (Some(account), Some(place));
            }
        }
    }
    pairing
}

/// The attributes of a person that differ between the two sides. Attributes that the export does
/// not have are not compared. A missing `active` or `userName` is no difference.
pub fn attribute_drift(
    theirs: &FlatAttributes,
    ours: &FlatAttributes,
    columns: &ExportColumns,
) -> BTreeMap<String, AttributeDifference> {
    let mut drift = BTreeMap::new();
    for name in &columns.names {
        let (there, here) = (theirs.get(name), ours.get(name));
        if there.is_none() && (name == "active" || name == "userName") {
            continue;
        }
        if !is_same_value(name, there, here, columns) {
            drift.insert(name.clone(), AttributeDifference::of(there.cloned(), here.cloned()));
        }
    }
    drift
}

fn is_same_value(
    name: &str,
    theirs: Option<&Value>,
    ours: Option<&Value>,
    columns: &ExportColumns,
) -> bool {
    match (theirs, ours) {
        (Some(Value::Array(theirs)), ours) if name == "emails" && !columns.all_emails => {
            let known = ours.and_then(Value::as_array);
            theirs.iter().all(|value| known.is_some_and(|known| known.contains(value)))
        }
        // Even an export of first addresses only shows that a person has no address.
        (None, Some(_)) if name == "emails" && !columns.all_emails => false,
        (Some(Value::String(theirs)), Some(Value::String(ours))) if name == "userName" => {
            fold_text(theirs) == fold_text(ours)
        }
        (theirs, ours) => theirs == ours,
    }
}

/// The attributes of a document in the canonical form, flat: complex attributes by their parts, and
/// multi-valued attributes by their values alone. Addresses are folded, because case does not
/// matter in them.
pub fn flatten_document(document: &Map<String, Value>) -> FlatAttributes {
    let mut flat = FlatAttributes::new();
    for (name, value) in document {
        match value {
            Value::Object(section) if name.starts_with("urn:") => {
                section.iter().for_each(|(inner, value)| {
                    put_flat(&mut flat, &format!("{name}:{inner}"), value)
                });
            }
            _ if name == "schemas" => {}
            value => put_flat(&mut flat, name, value),
        }
    }
    flat
}

fn put_flat(flat: &mut FlatAttributes, name: &str, value: &Value) {
    match value {
        Value::Object(parts) => {
            for (part, value) in parts {
                flat.insert(format!("{name}.{part}"), trim_value(value));
            }
        }
        Value::Array(elements) => {
            let values = elements.iter().map(|element| element.get("value").unwrap_or(element));
            let texts = values.map(|value| match value {
                Value::String(text) if name == "emails" => fold_text(text.trim()),
                Value::String(text) => text.trim().to_owned(),
                other => other.to_string(),
            });
            let texts: BTreeSet<String> = texts.filter(|text| !text.is_empty()).collect();
            if !texts.is_empty() {
                flat.insert(name.to_owned(), texts.into_iter().collect());
            }
        }
        Value::String(text) if text.trim().is_empty() => {}
        value => {
            flat.insert(name.to_owned(), trim_value(value));
        }
    }
}

fn trim_value(value: &Value) -> Value {
    match value {
        Value::String(text) => text.trim().into(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn columns() -> ExportColumns {
        let names = ["userName", "title", "active", "emails"].map(String::from).into();
        ExportColumns { names, all_emails: true }
    }

    /// The values of a person, from small ranges, so that names and identifiers repeat.
    fn raw_person() -> impl Strategy<Value = (u8, u8, Option<u8>, bool, Vec<u8>)> {
        (0..12u8, 0..12u8, proptest::option::of(0..3u8), any::<bool>(), vec(0..4u8, 0..3))
    }

    fn attributes(name: u8, title: Option<u8>, active: bool, emails: &[u8]) -> FlatAttributes {
        let emails: Vec<_> =
            emails.iter().map(|n| json!({ "value": format!("E{n}@example.org") })).collect();
        let mut document =
            json!({ "userName": format!("Name{name}"), "active": active, "emails": emails });
        if let Some(title) = title {
            document["title"] = json!(format!("title {title}"));
        }
        flatten_document(document.as_object().unwrap())
    }

    type Raw = (u8, u8, Option<u8>, bool, Vec<u8>);

    fn people(raw: &[Raw]) -> Vec<ExportedPerson> {
        let person = |(id, name, title, active, emails): &Raw| ExportedPerson {
            external_id: Some(format!("x{id}")),
            user_name: Some(format!("name{name}")),
            attributes: attributes(*name, *title, *active, emails),
            ..Default::default()
        };
        raw.iter().map(person).collect()
    }

    fn accounts(raw: &[Raw]) -> (Vec<LocalAccount>, Vec<FlatAttributes>) {
        // No two accounts here have the same name or identifier.
        let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
        let kept = raw.iter().filter(|(id, name, ..)| ids.insert(*id) && names.insert(*name));
        kept.enumerate()
            .map(|(place, (id, name, title, active, emails))| {
                let account = LocalAccount {
                    id: Uuid::from_u128(place as u128),
                    owned: true,
                    external_id: Some(format!("x{id}")),
                    user_name: format!("Name{name}"),
                    active: *active,
                };
                (account, attributes(*name, *title, *active, emails))
            })
            .unzip()
    }

    proptest! {
        /// A person with the same values on both sides gives no finding.
        #[test]
        fn what_is_equal_does_not_differ(raw in vec(raw_person(), 0..20)) {
            let (accounts, ours) = accounts(&raw);
            let same = |(account, attributes): (&LocalAccount, &FlatAttributes)| ExportedPerson {
                external_id: account.external_id.clone(),
                user_name: Some(account.user_name.to_uppercase()),
                attributes: attributes.clone(),
                ..Default::default()
            };
            let people: Vec<ExportedPerson> = accounts.iter().zip(&ours).map(same).collect();
            let pairing = pair_accounts(&people, &accounts);
            for (place, found) in pairing.of_person.iter().enumerate() {
                prop_assert_eq!(*found, Some(place));
                prop_assert!(attribute_drift(&people[place].attributes, &ours[place], &columns()).is_empty());
            }
        }

        /// Each person is paired, missing or orphaned exactly once. Their values with all
        /// differences applied are our values.
        #[test]
        fn the_differences_lead_from_theirs_to_ours(
            theirs in vec(raw_person(), 0..20),
            ours in vec(raw_person(), 0..20),
        ) {
            let people = people(&theirs);
            let (accounts, documents) = accounts(&ours);
            let pairing = pair_accounts(&people, &accounts);
            prop_assert_eq!(&pairing, &pair_accounts(&people, &accounts));
            let mut rebuilt: BTreeMap<Uuid, FlatAttributes> = BTreeMap::new();
            for (place, found) in pairing.of_person.iter().enumerate() {
                let Some(account) = found else { continue };
                prop_assert_eq!(pairing.of_account[*account], Some(place));
                let mut attributes = people[place].attributes.clone();
                for (name, differs) in attribute_drift(&attributes.clone(), &documents[*account], &columns()) {
                    match differs.ours {
                        Some(value) => attributes.insert(name, value),
                        None => attributes.remove(&name),
                    };
                }
                rebuilt.insert(accounts[*account].id, attributes);
            }
            for (place, account) in accounts.iter().enumerate() {
                match pairing.of_account[place] {
                    // Names that differ only in case are equal.
                    Some(_) => prop_assert_eq!(
                        fold_text(&json!(rebuilt[&account.id]).to_string()),
                        fold_text(&json!(documents[place]).to_string())
                    ),
                    None => {
                        let mut left = people.iter().zip(&pairing.of_person).filter(|(_, found)| found.is_none());
                        let known = left.any(|(person, _)| person.external_id == account.external_id);
                        prop_assert!(!known, "both are left over, and have an identifier in \
                            common");
                    }
                }
            }
        }
    }

    #[test]
    fn an_identifier_says_more_than_a_name() {
        let account = |n: u128, external: &str, name: &str| LocalAccount {
            id: Uuid::from_u128(n),
            owned: true,
            external_id: Some(external.into()),
            user_name: name.into(),
            active: true,
        };
        let accounts = [account(1, "x1", "ada"), account(2, "x2", "bob")];
        let person = |external: &str, name: &str| ExportedPerson {
            external_id: Some(external.into()),
            user_name: Some(name.into()),
            ..Default::default()
        };
        // Two people who swapped their names keep their accounts.
        let swapped = pair_accounts(&[person("x1", "bob"), person("x2", "ada")], &accounts);
        assert_eq!(swapped.of_person, [Some(0), Some(1)]);
        // A name alone is enough for a person without a known identifier, but it takes no account
        // away from another person.
        let named = pair_accounts(&[person("y", "ADA"), person("x1", "else")], &accounts);
        assert_eq!(named.of_person, [None, Some(0)]);
        assert_eq!(pair_accounts(&[person("y", "ADA")], &accounts).of_person, [Some(0)]);
    }

    #[test]
    fn an_export_of_first_addresses_does_not_take_the_others_away() {
        let ours = attributes(1, None, true, &[1, 2]);
        let theirs = attributes(1, None, true, &[2]);
        let first = ExportColumns { all_emails: false, ..columns() };
        assert!(attribute_drift(&theirs, &ours, &first).is_empty());
        assert_eq!(
            attribute_drift(&theirs, &ours, &columns()).keys().collect::<Vec<_>>(),
            ["emails"]
        );
        assert_eq!(attribute_drift(&attributes(1, None, true, &[3]), &ours, &first).len(), 1);
        assert!(
            attribute_drift(&FlatAttributes::new(), &FlatAttributes::new(), &columns()).is_empty()
        );
    }
}
