//! What differs between what an identity provider lists and what is here: a comparison of values, without a database.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::document::fold;

/// What somebody's document says, by attribute: SCIM paths, each with one value or, sorted, with several.
pub type Attributes = BTreeMap<String, Value>;

/// Somebody as the identity provider lists them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Person {
    /// Where in the export, for messages.
    pub line: u64,
    /// The `externalId` that it sends along.
    pub external_id: Option<String>,
    /// Its own id, which many send as the `externalId`.
    pub remote_id: Option<String>,
    pub user_name: Option<String>,
    pub attributes: Attributes,
}

impl Person {
    /// Whether they may sign in there, if the export says anything about it.
    pub fn active(&self) -> Option<bool> {
        self.attributes.get("active")?.as_bool()
    }

    /// The name for people to read.
    pub fn label(&self) -> Option<&str> {
        self.user_name.as_deref().or(self.external_id.as_deref()).or(self.remote_id.as_deref())
    }
}

/// An account here, as far as it matters whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: Uuid,
    /// The connection's; otherwise nobody's.
    pub owned: bool,
    pub external_id: Option<String>,
    pub user_name: String,
    pub active: bool,
}

/// What the export speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    pub names: BTreeSet<String>,
    /// Whether it lists everybody's addresses and not only the first.
    pub all_emails: bool,
}

/// What the two say of one attribute; none = nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Differs {
    pub theirs: Option<Value>,
    pub ours: Option<Value>,
    /// Who made ours what it is, where the ledger was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
}

impl Differs {
    pub fn of(theirs: Option<Value>, ours: Option<Value>) -> Self {
        Self { theirs, ours, ..Self::default() }
    }
}

/// Who is whom: for each person the place of their account, and the other way round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairing {
    pub of_person: Vec<Option<usize>>,
    pub of_account: Vec<Option<usize>>,
}

/// Finds everybody's account. The identity provider's identifiers come first, the name only for who has none in
/// common; an account of nobody is found by its name alone. Nobody has two accounts, and no account two people.
pub fn pair(people: &[Person], accounts: &[Account]) -> Pairing {
    let mut pairing = Pairing { of_person: vec![None; people.len()], of_account: vec![None; accounts.len()] };
    let mut by_external: HashMap<&str, usize> = HashMap::new();
    let mut by_id: HashMap<String, usize> = HashMap::new();
    let mut by_name: HashMap<String, usize> = HashMap::new();
    let mut by_local_name: HashMap<String, usize> = HashMap::new();
    for (place, account) in accounts.iter().enumerate() {
        let name = fold(&account.user_name);
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
    type Find<'a> = Box<dyn Fn(&Person) -> Option<usize> + 'a>;
    let ways: [Find<'_>; 5] = [
        Box::new(|person| by_external.get(person.external_id.as_deref()?).copied()),
        Box::new(|person| by_external.get(person.remote_id.as_deref()?).copied()),
        // Our own list of users, handed back, names accounts by the ids that they have here.
        Box::new(|person| by_id.get(person.remote_id.as_deref()?).copied()),
        Box::new(|person| by_name.get(&fold(person.user_name.as_deref()?)).copied()),
        Box::new(|person| by_local_name.get(&fold(person.user_name.as_deref()?)).copied()),
    ];
    for find in ways {
        for (place, person) in people.iter().enumerate() {
            let (Some(mine), Some(account)) = (pairing.of_person.get_mut(place), find(person)) else { continue };
            let Some(theirs) = pairing.of_account.get_mut(account) else { continue };
            if mine.is_none() && theirs.is_none() {
                (*mine, *theirs) = (Some(account), Some(place));
            }
        }
    }
    pairing
}

/// What the two say differently of somebody whom both have. Of what the export does not speak nothing is said, and
/// silence about `active` and `userName` means nothing.
pub fn drift(theirs: &Attributes, ours: &Attributes, columns: &Columns) -> BTreeMap<String, Differs> {
    let mut drift = BTreeMap::new();
    for name in &columns.names {
        let (there, here) = (theirs.get(name), ours.get(name));
        if there.is_none() && (name == "active" || name == "userName") {
            continue;
        }
        if !same(name, there, here, columns) {
            drift.insert(name.clone(), Differs::of(there.cloned(), here.cloned()));
        }
    }
    drift
}

fn same(name: &str, theirs: Option<&Value>, ours: Option<&Value>, columns: &Columns) -> bool {
    match (theirs, ours) {
        (Some(Value::Array(theirs)), ours) if name == "emails" && !columns.all_emails => {
            let known = ours.and_then(Value::as_array);
            theirs.iter().all(|value| known.is_some_and(|known| known.contains(value)))
        }
        // An export of first addresses says nothing about who has none there.
        (None, Some(_)) if name == "emails" && !columns.all_emails => false,
        (Some(Value::String(theirs)), Some(Value::String(ours))) if name == "userName" => fold(theirs) == fold(ours),
        (theirs, ours) => theirs == ours,
    }
}

/// The attributes of a document in the canonical form, flat: what has parts by its parts, what has many values by the
/// values alone, and addresses folded, since they are compared without regard to case.
pub fn flatten(document: &Map<String, Value>) -> Attributes {
    let mut flat = Attributes::new();
    for (name, value) in document {
        match value {
            Value::Object(section) if name.starts_with("urn:") => {
                section.iter().for_each(|(inner, value)| put(&mut flat, &format!("{name}:{inner}"), value));
            }
            _ if name == "schemas" => {}
            value => put(&mut flat, name, value),
        }
    }
    flat
}

fn put(flat: &mut Attributes, name: &str, value: &Value) {
    match value {
        Value::Object(parts) => {
            for (part, value) in parts {
                flat.insert(format!("{name}.{part}"), trimmed(value));
            }
        }
        Value::Array(elements) => {
            let values = elements.iter().map(|element| element.get("value").unwrap_or(element));
            let texts = values.map(|value| match value {
                Value::String(text) if name == "emails" => fold(text.trim()),
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
            flat.insert(name.to_owned(), trimmed(value));
        }
    }
}

fn trimmed(value: &Value) -> Value {
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

    fn columns() -> Columns {
        let names = ["userName", "title", "active", "emails"].map(String::from).into();
        Columns { names, all_emails: true }
    }

    /// Somebody out of a small world, so that names and identifiers meet.
    fn somebody() -> impl Strategy<Value = (u8, u8, Option<u8>, bool, Vec<u8>)> {
        (0..12u8, 0..12u8, proptest::option::of(0..3u8), any::<bool>(), vec(0..4u8, 0..3))
    }

    fn attributes(name: u8, title: Option<u8>, active: bool, emails: &[u8]) -> Attributes {
        let emails: Vec<_> = emails.iter().map(|n| json!({ "value": format!("E{n}@example.org") })).collect();
        let mut document = json!({ "userName": format!("Name{name}"), "active": active, "emails": emails });
        if let Some(title) = title {
            document["title"] = json!(format!("title {title}"));
        }
        flatten(document.as_object().unwrap())
    }

    type Raw = (u8, u8, Option<u8>, bool, Vec<u8>);

    fn people(raw: &[Raw]) -> Vec<Person> {
        let person = |(id, name, title, active, emails): &Raw| Person {
            external_id: Some(format!("x{id}")),
            user_name: Some(format!("name{name}")),
            attributes: attributes(*name, *title, *active, emails),
            ..Default::default()
        };
        raw.iter().map(person).collect()
    }

    fn accounts(raw: &[Raw]) -> (Vec<Account>, Vec<Attributes>) {
        // Here nobody bears the name or the identifier of another.
        let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
        let kept = raw.iter().filter(|(id, name, ..)| ids.insert(*id) && names.insert(*name));
        kept.enumerate()
            .map(|(place, (id, name, title, active, emails))| {
                let account = Account {
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
        /// Whoever is the same on both sides gives nothing to find.
        #[test]
        fn what_is_equal_does_not_differ(raw in vec(somebody(), 0..20)) {
            let (accounts, ours) = accounts(&raw);
            let same = |(account, attributes): (&Account, &Attributes)| Person {
                external_id: account.external_id.clone(),
                user_name: Some(account.user_name.to_uppercase()),
                attributes: attributes.clone(),
                ..Default::default()
            };
            let people: Vec<Person> = accounts.iter().zip(&ours).map(same).collect();
            let pairing = pair(&people, &accounts);
            for (place, found) in pairing.of_person.iter().enumerate() {
                prop_assert_eq!(*found, Some(place));
                prop_assert!(drift(&people[place].attributes, &ours[place], &columns()).is_empty());
            }
        }

        /// Everybody is paired, missing or orphaned, exactly once; and what is theirs with all differences undone is what
        /// is ours.
        #[test]
        fn the_differences_lead_from_theirs_to_ours(theirs in vec(somebody(), 0..20), ours in vec(somebody(), 0..20)) {
            let people = people(&theirs);
            let (accounts, documents) = accounts(&ours);
            let pairing = pair(&people, &accounts);
            prop_assert_eq!(&pairing, &pair(&people, &accounts));
            let mut rebuilt: BTreeMap<Uuid, Attributes> = BTreeMap::new();
            for (place, found) in pairing.of_person.iter().enumerate() {
                let Some(account) = found else { continue };
                prop_assert_eq!(pairing.of_account[*account], Some(place));
                let mut attributes = people[place].attributes.clone();
                for (name, differs) in drift(&attributes.clone(), &documents[*account], &columns()) {
                    match differs.ours {
                        Some(value) => attributes.insert(name, value),
                        None => attributes.remove(&name),
                    };
                }
                rebuilt.insert(accounts[*account].id, attributes);
            }
            for (place, account) in accounts.iter().enumerate() {
                match pairing.of_account[place] {
                    // Names that differ by case only do not differ.
                    Some(_) => prop_assert_eq!(
                        fold(&json!(rebuilt[&account.id]).to_string()),
                        fold(&json!(documents[place]).to_string())
                    ),
                    None => {
                        let mut left = people.iter().zip(&pairing.of_person).filter(|(_, found)| found.is_none());
                        let known = left.any(|(person, _)| person.external_id == account.external_id);
                        prop_assert!(!known, "both are left over, and have an identifier in common");
                    }
                }
            }
        }
    }

    #[test]
    fn an_identifier_says_more_than_a_name() {
        let account = |n: u128, external: &str, name: &str| Account {
            id: Uuid::from_u128(n),
            owned: true,
            external_id: Some(external.into()),
            user_name: name.into(),
            active: true,
        };
        let accounts = [account(1, "x1", "ada"), account(2, "x2", "bob")];
        let person = |external: &str, name: &str| Person {
            external_id: Some(external.into()),
            user_name: Some(name.into()),
            ..Default::default()
        };
        // Two people who changed their names for each other's are still who they were.
        let swapped = pair(&[person("x1", "bob"), person("x2", "ada")], &accounts);
        assert_eq!(swapped.of_person, [Some(0), Some(1)]);
        // A name alone will do for who is not known by an identifier, but takes nobody's account away.
        let named = pair(&[person("y", "ADA"), person("x1", "else")], &accounts);
        assert_eq!(named.of_person, [None, Some(0)]);
        assert_eq!(pair(&[person("y", "ADA")], &accounts).of_person, [Some(0)]);
    }

    #[test]
    fn an_export_of_first_addresses_does_not_take_the_others_away() {
        let ours = attributes(1, None, true, &[1, 2]);
        let theirs = attributes(1, None, true, &[2]);
        let first = Columns { all_emails: false, ..columns() };
        assert!(drift(&theirs, &ours, &first).is_empty());
        assert_eq!(drift(&theirs, &ours, &columns()).keys().collect::<Vec<_>>(), ["emails"]);
        assert_eq!(drift(&attributes(1, None, true, &[3]), &ours, &first).len(), 1);
        assert!(drift(&Attributes::new(), &Attributes::new(), &columns()).is_empty());
    }
}
