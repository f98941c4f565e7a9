//! Reading exports: CSV as the administration pages of identity providers write it, and JSON Lines of SCIM resources.
//!
//! Columns are known by the names that Entra ID, Okta, Google Workspace and JumpCloud give them, or by those of SCIM, in
//! any case and spelling. What a row says that cannot be read is told with its line, never with its value.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use csv::{ByteRecord, ReaderBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::diff::{Attributes, Columns, Person, flatten};
use crate::domain::document::{self, fold};
use crate::domain::schema::ResourceType;
use crate::error::{Error, Result, Rule};

#[cfg(test)]
mod tests;

/// The most rows of one export.
pub const MAX_ROWS: u64 = 250_000;
/// The longest line of JSON, and the longest field of CSV, in bytes.
const MAX_LINE: usize = 256 * 1024;
const MAX_FIELD: usize = 16 * 1024;
/// The most columns.
const MAX_COLUMNS: usize = 300;
/// Troubles that are kept; all of them are counted.
pub const MAX_TROUBLES: usize = 100;
/// An export of which more than so many rows, and more than a tenth, cannot be read is none.
const MAX_UNREAD: u64 = 10;

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180, with the names of the columns first; separated by commas, semicolons or tabs.
    Csv,
    /// One SCIM resource a line.
    JsonLines,
}

/// A row that could not be read, or not in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub line: u64,
    pub why: String,
}

/// What was said of the rows themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Rows, blank ones aside.
    pub rows: u64,
    /// Rows of which it is not known whom they are about.
    pub unread: u64,
    pub troubles: Vec<Trouble>,
}

impl Reading {
    fn trouble(&mut self, line: u64, why: impl Into<String>) {
        if self.troubles.len() < MAX_TROUBLES {
            self.troubles.push(Trouble { line, why: why.into() });
        }
    }

    fn unread(&mut self, line: u64, why: impl Into<String>) {
        self.unread += 1;
        self.trouble(line, why);
    }

    fn row(&mut self) -> Result<()> {
        self.rows += 1;
        match self.rows > MAX_ROWS {
            true => Err(Error::broken(Rule::TooMany, "the export", format!("has more than {MAX_ROWS} rows"))),
            false => Ok(()),
        }
    }

    /// Refuses what is no export.
    fn check(&self, what: &str) -> Result<()> {
        if self.rows == 0 {
            return Err(Error::invalid("the export", "holds no row"));
        }
        if self.unread == self.rows || (self.unread > MAX_UNREAD && self.unread * 10 > self.rows) {
            let first = self.troubles.first().map(|it| format!("line {}: {}", it.line, it.why)).unwrap_or_default();
            let why = format!("{} of {} rows name no {what}; {first}", self.unread, self.rows);
            return Err(Error::invalid("the export", why));
        }
        Ok(())
    }
}

/// Everybody whom an export lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct People {
    pub people: Vec<Person>,
    pub columns: Columns,
    pub reading: Reading,
}

/// A group, or somebody in it, as an export names them: by any of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Named {
    pub external_id: Option<String>,
    pub remote_id: Option<String>,
    pub name: Option<String>,
}

impl Named {
    fn is_somebody(&self) -> bool {
        self.external_id.is_some() || self.remote_id.is_some() || self.name.is_some()
    }
}

/// Who is in which group, as an export tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Members {
    /// Each group with its members; one that the export shows empty has none.
    pub groups: BTreeMap<Named, BTreeSet<Named>>,
    pub reading: Reading,
}

/// What a column is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    /// How sure it is the user name: the lowest of an export is taken.
    UserName(u8),
    ExternalId,
    RemoteId,
    /// An address, which is the user name too where nothing else is.
    Email,
    Active,
    /// The same, unless another column is [`Column::Active`]: then it is where somebody lives.
    State,
    /// The same the other way round.
    Suspended,
    Attribute(&'static str),
    GroupName,
    GroupId,
}

const ENTERPRISE: [&str; 5] = [
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:costCenter",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:division",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:organization",
];

/// The names of columns without case, spaces and marks. Of Entra ID: userPrincipalName, surname, mail, jobTitle,
/// accountEnabled; of Okta: login, firstName, status; of Google: "Email Address [Required]", "Status [READ ONLY]"; of
/// JumpCloud: username, firstname, state, suspended.
fn column(header: &str) -> Option<Column> {
    let plain = header.split('[').next().unwrap_or_default();
    let plain: String = plain.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let [department, employee_number, cost_center, division, organization] = ENTERPRISE;
    Some(match plain.as_str() {
        "username" => Column::UserName(0),
        "userprincipalname" | "upn" | "login" | "userlogin" | "member" | "membername" | "memberuserprincipalname" => {
            Column::UserName(1)
        }
        "externalid" | "memberexternalid" => Column::ExternalId,
        "id" | "objectid" | "userid" | "memberid" | "memberobjectid" => Column::RemoteId,
        "email" | "mail" | "emailaddress" | "primaryemail" | "useremail" | "memberemail" | "emails" => Column::Email,
        "active" | "accountenabled" | "enabled" | "status" | "userstatus" => Column::Active,
        "state" => Column::State,
        "suspended" => Column::Suspended,
        "displayname" => Column::Attribute("displayName"),
        "givenname" | "firstname" | "namegivenname" => Column::Attribute("name.givenName"),
        "surname" | "familyname" | "lastname" | "namefamilyname" => Column::Attribute("name.familyName"),
        "middlename" | "namemiddlename" => Column::Attribute("name.middleName"),
        "title" | "jobtitle" | "employeetitle" => Column::Attribute("title"),
        "nickname" => Column::Attribute("nickName"),
        "usertype" => Column::Attribute("userType"),
        "preferredlanguage" => Column::Attribute("preferredLanguage"),
        "locale" => Column::Attribute("locale"),
        "timezone" => Column::Attribute("timezone"),
        "department" => Column::Attribute(department),
        "employeenumber" | "employeeid" | "employeeidentifier" => Column::Attribute(employee_number),
        "costcenter" => Column::Attribute(cost_center),
        "division" => Column::Attribute(division),
        "organization" => Column::Attribute(organization),
        "group" | "groupname" | "groupdisplayname" => Column::GroupName,
        "groupid" | "groupobjectid" | "groupexternalid" => Column::GroupId,
        _ => return None,
    })
}

/// Whether a word says that somebody may sign in.
fn says_active(word: &str) -> Option<bool> {
    match word.trim().to_ascii_lowercase().replace([' ', '-'], "_").as_str() {
        "true" | "yes" | "1" | "active" | "enabled" | "activated" | "provisioned" | "recovery" | "locked_out"
        | "password_expired" | "password_reset" => Some(true),
        "false" | "no" | "0" | "inactive" | "disabled" | "deactivated" | "deprovisioned" | "suspended" | "staged"
        | "archived" | "blocked" | "deleted" | "terminated" => Some(false),
        _ => None,
    }
}

/// Reads whom an export lists.
///
/// # Errors
/// [`Error::Invalid`] for what is no export of people, with the first line at fault.
pub fn people(format: Format, bytes: &[u8], ty: &ResourceType) -> Result<People> {
    let mut export = match format {
        Format::Csv => csv_people(bytes)?,
        Format::JsonLines => json_people(bytes, ty)?,
    };
    without_repeats(&mut export);
    export.reading.check("person")?;
    Ok(export)
}

/// Whoever is listed twice counts as they were listed first, and an active one before an inactive one: a login that was
/// turned off and given out again is in use.
fn without_repeats(export: &mut People) {
    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    let People { people, reading, .. } = export;
    people.sort_by_key(|person| person.active() == Some(false));
    people.retain(|person| {
        let id = person.external_id.as_ref().or(person.remote_id.as_ref());
        let repeats_id = id.is_some_and(|id| !ids.insert(id.clone()));
        let repeats_name = person.user_name.as_ref().is_some_and(|name| !names.insert(fold(name)));
        if repeats_id || repeats_name {
            let what = if repeats_id { "identifier" } else { "user name" };
            let why = format!("another row has the same {what}; the first one counts, and an active one before others");
            reading.trouble(person.line, why);
        }
        !(repeats_id || repeats_name)
    });
    people.sort_by_key(|person| person.line);
}

fn separator(bytes: &[u8]) -> u8 {
    let header = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let most = [b',', b';', b'\t'].into_iter().max_by_key(|separator| {
        // Of equally many the comma.
        (header.iter().filter(|byte| *byte == separator).count(), *separator == b',')
    });
    most.unwrap_or(b',')
}

/// Reads rows of CSV: what each column is about, then each row with its line.
fn csv_rows(
    bytes: &[u8],
    reading: &mut Reading,
    mut each: impl FnMut(&mut Reading, u64, &[Option<Column>], &[String]),
) -> Result<Vec<Option<Column>>> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut reader =
        ReaderBuilder::new().delimiter(separator(bytes)).has_headers(true).flexible(true).from_reader(bytes);
    let wrong = |line: u64, why: String| Error::invalid(format!("line {line}"), why);
    let headers = reader.byte_headers().map_err(|error| wrong(1, error.to_string()))?.clone();
    if headers.len() > MAX_COLUMNS {
        return Err(Error::broken(Rule::TooMany, "line 1", format!("has more than {MAX_COLUMNS} columns")));
    }
    let mut columns = Vec::with_capacity(headers.len());
    for header in &headers {
        let Ok(header) = std::str::from_utf8(header) else {
            return Err(wrong(1, "is not UTF-8: save the file as UTF-8 and send it again".into()));
        };
        columns.push(column(header));
    }
    let told = columns.contains(&Some(Column::Active));
    for column in columns.iter_mut().filter(|column| **column == Some(Column::State)) {
        *column = (!told).then_some(Column::Active);
    }
    let mut record = ByteRecord::new();
    let mut fields: Vec<String> = Vec::with_capacity(columns.len());
    let (mut line, mut counted) = (1, 0);
    loop {
        // The reader's own place of a row is before the marks that end the last one, and before blank lines.
        let place = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
        let rest = bytes.get(place..).unwrap_or_default();
        let start = place + rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let between = bytes.get(counted..start).unwrap_or_default();
        line += between.iter().filter(|byte| **byte == b'\n').count() as u64;
        counted = start;
        match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(columns),
            Ok(true) => {}
            Err(error) => return Err(wrong(line, error.to_string())),
        }
        if record.iter().all(|field| field.trim_ascii().is_empty()) {
            continue;
        }
        reading.row()?;
        if record.len() != columns.len() {
            let why = format!("has {} fields where the first line has {}", record.len(), columns.len());
            reading.unread(line, why);
            continue;
        }
        if record.iter().any(|field| field.len() > MAX_FIELD) {
            return Err(wrong(line, format!("a field is longer than {MAX_FIELD} bytes")));
        }
        fields.clear();
        for field in &record {
            match std::str::from_utf8(field) {
                Ok(text) if !text.contains('\0') => fields.push(text.trim().to_owned()),
                _ => break,
            }
        }
        match fields.len() == columns.len() {
            true => each(reading, line, &columns, &fields),
            false => reading.unread(line, "is not UTF-8, or holds the character NUL"),
        }
    }
}

/// Which column holds the user name.
fn name_column(columns: &[Option<Column>]) -> Option<usize> {
    let rank = |column: &Option<Column>| match column {
        Some(Column::UserName(rank)) => Some(*rank),
        Some(Column::Email) => Some(u8::MAX),
        _ => None,
    };
    let ranked = columns.iter().enumerate().filter_map(|(place, column)| Some((rank(column)?, place)));
    ranked.min().map(|(_, place)| place)
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn csv_people(bytes: &[u8]) -> Result<People> {
    let mut export = People::default();
    let People { people, reading, .. } = &mut export;
    let columns = csv_rows(bytes, reading, |reading, line, columns, fields| {
        let name = name_column(columns);
        let mut person = Person { line, ..Default::default() };
        let mut emails = BTreeSet::new();
        for (place, (column, field)) in columns.iter().zip(fields).enumerate() {
            if name == Some(place) {
                person.user_name = filled(field);
            }
            match column {
                Some(Column::ExternalId) => person.external_id = person.external_id.or(filled(field)),
                Some(Column::RemoteId) => person.remote_id = person.remote_id.or(filled(field)),
                Some(Column::Email) if !field.is_empty() => {
                    emails.insert(fold(field));
                }
                Some(kind @ (Column::Active | Column::Suspended)) if !field.is_empty() => match says_active(field) {
                    Some(active) => {
                        let active = active != (*kind == Column::Suspended);
                        // Two columns may speak of it: whoever is turned off by one of them is off.
                        let known = person.attributes.get("active").and_then(Value::as_bool).unwrap_or(true);
                        person.attributes.insert("active".into(), (active && known).into());
                    }
                    None => reading.trouble(line, "the column that tells who is active holds an unknown word"),
                },
                Some(Column::Attribute(name)) if !field.is_empty() => {
                    person.attributes.entry((*name).into()).or_insert_with(|| field.clone().into());
                }
                _ => {}
            }
        }
        if person.label().is_none() {
            return reading.unread(line, "names nobody: every column that tells who somebody is, is empty");
        }
        for (name, value) in [("userName", &person.user_name), ("externalId", &person.external_id)] {
            if let Some(value) = value {
                person.attributes.insert(name.into(), value.clone().into());
            }
        }
        if !emails.is_empty() {
            person.attributes.insert("emails".into(), emails.into_iter().collect());
        }
        people.push(person);
    })?;
    let known = columns.iter().flatten();
    for column in known {
        let name = match column {
            Column::UserName(_) => "userName",
            Column::ExternalId => "externalId",
            Column::Email => "emails",
            Column::Active | Column::Suspended => "active",
            Column::Attribute(name) => name,
            Column::RemoteId | Column::GroupName | Column::GroupId | Column::State => continue,
        };
        export.columns.names.insert(name.into());
    }
    if name_column(&columns).is_some() {
        export.columns.names.insert("userName".into());
    } else if export.reading.rows > 0
        && !columns.iter().flatten().any(|column| matches!(column, Column::ExternalId | Column::RemoteId))
    {
        let why =
            "no column tells who somebody is; name one userName, userPrincipalName, login, email, externalId or id";
        return Err(Error::invalid("line 1", why));
    }
    Ok(export)
}

/// Reads JSON Lines: each object with its line.
fn json_rows(
    bytes: &[u8],
    reading: &mut Reading,
    mut each: impl FnMut(&mut Reading, u64, Map<String, Value>),
) -> Result<()> {
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = number as u64 + 1;
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if text.len() > MAX_LINE {
            let why = format!("is longer than {MAX_LINE} bytes");
            return Err(Error::broken(Rule::TooMany, format!("line {number}"), why));
        }
        reading.row()?;
        match serde_json::from_slice(text) {
            Ok(Value::Object(object)) => each(reading, number, object),
            Ok(_) => reading.unread(number, "is no JSON object"),
            // The parser's own words may repeat what the line says.
            Err(error) => reading.unread(number, format!("is not JSON (at column {})", error.column())),
        }
    }
    Ok(())
}

fn text_of(object: &Map<String, Value>, wanted: &str) -> Option<String> {
    let found = object.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?.1.as_str()?.trim();
    (!found.is_empty() && !found.contains('\0')).then(|| found.to_owned())
}

fn json_people(bytes: &[u8], ty: &ResourceType) -> Result<People> {
    let mut export = People { columns: Columns { all_emails: true, ..Default::default() }, ..Default::default() };
    let People { people, reading, columns } = &mut export;
    json_rows(bytes, reading, |reading, line, object| {
        let remote_id = text_of(&object, "id");
        match document::normalize(ty, object) {
            Ok(document) => {
                let attributes: Attributes = flatten(&document);
                // A manager is named by an id that means something at the other side only.
                columns.names.extend(attributes.keys().filter(|name| !name.contains(":manager.")).cloned());
                people.push(Person {
                    line,
                    external_id: document::external_id(&document).map(Into::into),
                    remote_id,
                    user_name: document::user_name(&document).map(Into::into),
                    attributes,
                });
            }
            Err(error) => reading.unread(line, error.to_string()),
        }
    })?;
    Ok(export)
}

/// Reads who is in which group. In CSV each row is somebody in a group; in JSON Lines each line is a group.
///
/// # Errors
/// [`Error::Invalid`] for what is no export of memberships, with the first line at fault.
pub fn members(format: Format, bytes: &[u8], ty: &ResourceType) -> Result<Members> {
    let mut export = Members::default();
    match format {
        Format::Csv => csv_members(bytes, &mut export)?,
        Format::JsonLines => json_members(bytes, ty, &mut export)?,
    }
    export.reading.check("group and member")?;
    Ok(export)
}

fn csv_members(bytes: &[u8], export: &mut Members) -> Result<()> {
    let Members { groups, reading } = export;
    let columns = csv_rows(bytes, reading, |reading, line, columns, fields| {
        let name = name_column(columns);
        let (mut group, mut member) = (Named::default(), Named::default());
        for (place, (column, field)) in columns.iter().zip(fields).enumerate() {
            if name == Some(place) {
                member.name = filled(field);
            }
            let slot = match column {
                Some(Column::GroupName) => &mut group.name,
                Some(Column::GroupId) => &mut group.remote_id,
                Some(Column::ExternalId) => &mut member.external_id,
                Some(Column::RemoteId) => &mut member.remote_id,
                _ => continue,
            };
            *slot = slot.take().or(filled(field));
        }
        match (group.is_somebody(), member.is_somebody()) {
            (false, _) => reading.unread(line, "names no group"),
            // A group that is listed without anybody.
            (true, false) => drop(groups.entry(group).or_default()),
            (true, true) => {
                groups.entry(group).or_default().insert(member);
            }
        }
    })?;
    let has = |wanted: fn(&Column) -> bool| columns.iter().flatten().any(wanted);
    if !has(|column| matches!(column, Column::GroupName | Column::GroupId)) {
        return Err(Error::invalid("line 1", "no column tells the group; name one group or groupId"));
    }
    if name_column(&columns).is_none() && !has(|column| matches!(column, Column::ExternalId | Column::RemoteId)) {
        return Err(Error::invalid(
            "line 1",
            "no column tells who is in it; name one userName, email, externalId or id",
        ));
    }
    Ok(())
}

fn json_members(bytes: &[u8], ty: &ResourceType, export: &mut Members) -> Result<()> {
    let Members { groups, reading } = export;
    json_rows(bytes, reading, |reading, line, object| {
        let group = Named {
            external_id: text_of(&object, "externalId"),
            remote_id: text_of(&object, "id"),
            name: text_of(&object, "displayName"),
        };
        if !group.is_somebody() {
            return reading.unread(line, "names no group");
        }
        match document::members(ty, &object) {
            Ok(Some(members)) => {
                let named = members.into_iter().filter(|id| !id.contains('\0'));
                let named = named.map(|id| Named { remote_id: Some(id), ..Default::default() });
                groups.entry(group).or_default().extend(named);
            }
            // Silence is not emptiness.
            Ok(None) => reading.unread(line, "shows no list of members, not even an empty one"),
            Err(error) => reading.unread(line, error.to_string()),
        }
    })
}
