//! Reading exports: CSV as the administration pages of identity providers write it, and JSON Lines
//! of SCIM resources.
//!
//! Columns are known by the names that Entra ID, Okta, Google Workspace and JumpCloud give them, or
//! by those of SCIM, in any case and spelling. A value that cannot be read is reported with its
//! line, never with the value itself.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use csv::{ByteRecord, ReaderBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::diff::{ExportColumns, ExportedPerson, FlatAttributes, flatten_document};
use crate::error::{Error, Result, Rule};
use crate::identity::document;
use crate::identity::document::fold_text;
use crate::identity::schema::ResourceType;

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
/// An export is refused if more rows than this, and more than a tenth of them, cannot be read.
const MAX_UNREAD: u64 = 10;

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// RFC 4180, with the names of the columns first; separated by commas, semicolons or tabs.
    Csv,
    /// One SCIM resource a line.
    JsonLines,
}

/// A row that could not be read, or not in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowTrouble {
    pub line: u64,
    pub why: String,
}

/// The counts of the rows, and what was wrong with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowReading {
    /// Rows without the blank ones.
    pub rows: u64,
    /// Rows that cannot be read, or that name no user or group.
    pub unread: u64,
    pub troubles: Vec<RowTrouble>,
}

impl RowReading {
    fn add_trouble(&mut self, line: u64, why: impl Into<String>) {
        if self.troubles.len() < MAX_TROUBLES {
            self.troubles.push(RowTrouble { line, why: why.into() });
        }
    }

    fn add_unread(&mut self, line: u64, why: impl Into<String>) {
        self.unread += 1;
        self.add_trouble(line, why);
    }

    fn count_row(&mut self) -> Result<()> {
        self.rows += 1;
        if self.rows > MAX_ROWS {
            let why = format!("has more than {MAX_ROWS} rows");
            return Err(Error::broken(Rule::TooMany, "the export", why));
        }
        Ok(())
    }

    /// Refuses an export without rows, or with too many rows that cannot be read.
    fn check_readable(&self, what: &str) -> Result<()> {
        if self.rows == 0 {
            return Err(Error::invalid("the export", "holds no row"));
        }
        if self.unread == self.rows || (self.unread > MAX_UNREAD && self.unread * 10 > self.rows) {
            let first = self
                .troubles
                .first()
                .map(|it| format!("line {}: {}", it.line, it.why))
                .unwrap_or_default();
            let why = format!("{} of {} rows name no {what}; {first}", self.unread, self.rows);
            return Err(Error::invalid("the export", why));
        }
        Ok(())
    }
}

/// All people that an export lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExportedPeople {
    pub people: Vec<ExportedPerson>,
    pub columns: ExportColumns,
    pub reading: RowReading,
}

/// A group, or a member of it, as an export names it: by any of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExportedName {
    pub external_id: Option<String>,
    pub remote_id: Option<String>,
    pub name: Option<String>,
}

impl ExportedName {
    fn has_name(&self) -> bool {
        self.external_id.is_some() || self.remote_id.is_some() || self.name.is_some()
    }
}

/// The members of groups, as an export lists them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExportedMembers {
    /// Each group with its members; a group that the export lists without members has none.
    pub groups: BTreeMap<ExportedName, BTreeSet<ExportedName>>,
    pub reading: RowReading,
}

/// The meaning of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExportColumn {
    /// A user name; the number is its rank, and the column with the lowest rank is taken.
    UserName(u8),
    ExternalId,
    RemoteId,
    /// An address; it is also the user name if no other column is.
    Email,
    Active,
    /// The same as [`ExportColumn::Active`], unless the export has such a column too: then it is a
    /// part of an address.
    State,
    /// The opposite of [`ExportColumn::Active`].
    Suspended,
    Attribute(&'static str),
    GroupName,
    GroupId,
}

const ENTERPRISE_COLUMNS: [&str; 5] = [
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:costCenter",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:division",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:organization",
];

/// The meaning of a column by its name, without case, spaces and punctuation. Of Entra ID:
/// userPrincipalName, surname, mail, jobTitle, accountEnabled; of Okta: login, firstName, status;
/// of Google: "Email Address [Required]", "Status [READ ONLY]"; of JumpCloud: username, firstname,
/// state, suspended.
fn column_of_header(header: &str) -> Option<ExportColumn> {
    let plain = header.split('[').next().unwrap_or_default();
    let plain: String =
        plain.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let [department, employee_number, cost_center, division, organization] = ENTERPRISE_COLUMNS;
    Some(match plain.as_str() {
        "username" => ExportColumn::UserName(0),
        "userprincipalname"
        | "upn"
        | "login"
        | "userlogin"
        | "member"
        | "membername"
        | "memberuserprincipalname" => ExportColumn::UserName(1),
        "externalid" | "memberexternalid" => ExportColumn::ExternalId,
        "id" | "objectid" | "userid" | "memberid" | "memberobjectid" => ExportColumn::RemoteId,
        "email" | "mail" | "emailaddress" | "primaryemail" | "useremail" | "memberemail"
        | "emails" => ExportColumn::Email,
        "active" | "accountenabled" | "enabled" | "status" | "userstatus" => ExportColumn::Active,
        "state" => ExportColumn::State,
        "suspended" => ExportColumn::Suspended,
        "displayname" => ExportColumn::Attribute("displayName"),
        "givenname" | "firstname" | "namegivenname" => ExportColumn::Attribute("name.givenName"),
        "surname" | "familyname" | "lastname" | "namefamilyname" => {
            ExportColumn::Attribute("name.familyName")
        }
        "middlename" | "namemiddlename" => ExportColumn::Attribute("name.middleName"),
        "title" | "jobtitle" | "employeetitle" => ExportColumn::Attribute("title"),
        "nickname" => ExportColumn::Attribute("nickName"),
        "usertype" => ExportColumn::Attribute("userType"),
        "preferredlanguage" => ExportColumn::Attribute("preferredLanguage"),
        "locale" => ExportColumn::Attribute("locale"),
        "timezone" => ExportColumn::Attribute("timezone"),
        "department" => ExportColumn::Attribute(department),
        "employeenumber" | "employeeid" | "employeeidentifier" => {
            ExportColumn::Attribute(employee_number)
        }
        "costcenter" => ExportColumn::Attribute(cost_center),
        "division" => ExportColumn::Attribute(division),
        "organization" => ExportColumn::Attribute(organization),
        "group" | "groupname" | "groupdisplayname" => ExportColumn::GroupName,
        "groupid" | "groupobjectid" | "groupexternalid" => ExportColumn::GroupId,
        _ => return None,
    })
}

/// Whether a word says that a person may sign in; none = the word is unknown.
fn says_active(word: &str) -> Option<bool> {
    match word.trim().to_ascii_lowercase().replace([' ', '-'], "_").as_str() {
        "true" | "yes" | "1" | "active" | "enabled" | "activated" | "provisioned" | "recovery"
        | "locked_out" | "password_expired" | "password_reset" => Some(true),
        "false" | "no" | "0" | "inactive" | "disabled" | "deactivated" | "deprovisioned"
        | "suspended" | "staged" | "archived" | "blocked" | "deleted" | "terminated" => Some(false),
        _ => None,
    }
}

/// Reads an export of people.
///
/// # Errors
/// [`Error::Invalid`] for what is no export of people, with the first line at fault.
pub fn read_people(
    format: ExportFormat,
    bytes: &[u8],
    ty: &ResourceType,
) -> Result<ExportedPeople> {
    let mut export = match format {
        ExportFormat::Csv => csv_people(bytes)?,
        ExportFormat::JsonLines => json_people(bytes, ty)?,
    };
    without_repeats(&mut export);
    export.reading.check_readable("person")?;
    Ok(export)
}

/// Keeps one row of a person who is listed twice: the first one, but an active one before an
/// inactive one. A login that was turned off and given to another person is in use.
fn without_repeats(export: &mut ExportedPeople) {
    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    let ExportedPeople { people, reading, .. } = export;
    people.sort_by_key(|person| person.active_there() == Some(false));
    people.retain(|person| {
        let id = person.external_id.as_ref().or(person.remote_id.as_ref());
        let repeats_id = id.is_some_and(|id| !ids.insert(id.clone()));
        let repeats_name =
            person.user_name.as_ref().is_some_and(|name| !names.insert(fold_text(name)));
        if repeats_id || repeats_name {
            let why = if repeats_id {
                "another row has the same identifier; the first one counts, and an active one \
                 before others"
            } else {
                "another row has the same user name; the first one counts, and an active one \
                 before others"
            };
            reading.add_trouble(person.line, why);
        }
        !(repeats_id || repeats_name)
    });
    people.sort_by_key(|person| person.line);
}

fn guess_separator(bytes: &[u8]) -> u8 {
    let header = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let most = [b',', b';', b'\t'].into_iter().max_by_key(|separator| {
        // If the counts are equal, the comma.
        (header.iter().filter(|byte| *byte == separator).count(), *separator == b',')
    });
    most.unwrap_or(b',')
}

/// What each column is about.
fn read_columns(headers: &ByteRecord) -> Result<Vec<Option<ExportColumn>>> {
    if headers.len() > MAX_COLUMNS {
        return Err(Error::broken(
            Rule::TooMany,
            "line 1",
            format!("has more than {MAX_COLUMNS} columns"),
        ));
    }
    let mut columns = Vec::with_capacity(headers.len());
    for header in headers {
        let Ok(header) = std::str::from_utf8(header) else {
            let why = "is not UTF-8: save the file as UTF-8 and send it again";
            return Err(Error::invalid("line 1", why));
        };
        columns.push(column_of_header(header));
    }
    let has_active = columns.contains(&Some(ExportColumn::Active));
    for column in columns.iter_mut().filter(|column| **column == Some(ExportColumn::State)) {
        *column = (!has_active).then_some(ExportColumn::Active);
    }
    Ok(columns)
}

/// Reads rows of CSV: what each column is about, then each row with its line.
fn csv_rows(
    bytes: &[u8],
    reading: &mut RowReading,
    mut each: impl FnMut(&mut RowReading, u64, &[Option<ExportColumn>], &[String]),
) -> Result<Vec<Option<ExportColumn>>> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new()
        .delimiter(guess_separator(bytes))
        .has_headers(true)
        .flexible(true)
        .from_reader(bytes);
    let wrong = |line: u64, why: String| Error::invalid(format!("line {line}"), why);
    let headers = reader.byte_headers().map_err(|error| wrong(1, error.to_string()))?.clone();
    let columns = read_columns(&headers)?;
    let mut record = ByteRecord::new();
    let mut fields: Vec<String> = Vec::with_capacity(columns.len());
    let (mut line, mut counted) = (1, 0);
    loop {
        // The reader's position of a row is before the line end of the previous row and before
        // blank lines.
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
        reading.count_row()?;
        if record.len() != columns.len() {
            let why =
                format!("has {} fields where the first line has {}", record.len(), columns.len());
            reading.add_unread(line, why);
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
        if fields.len() == columns.len() {
            each(reading, line, &columns, &fields);
        } else {
            reading.add_unread(line, "is not UTF-8, or has the character NUL");
        }
    }
}

/// Which column holds the user name.
fn name_column(columns: &[Option<ExportColumn>]) -> Option<usize> {
    let rank = |column: &Option<ExportColumn>| match column {
        Some(ExportColumn::UserName(rank)) => Some(*rank),
        Some(ExportColumn::Email) => Some(u8::MAX),
        _ => None,
    };
    let ranked =
        columns.iter().enumerate().filter_map(|(place, column)| Some((rank(column)?, place)));
    ranked.min().map(|(_, place)| place)
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Adds what a field says about whether a person is active; false for an unknown word. Two columns
/// may say it: a person who is inactive in one of them is inactive.
fn add_activity(person: &mut ExportedPerson, field: &str, suspended: bool) -> bool {
    let Some(active) = says_active(field) else { return false };
    let known = person.attributes.get("active").and_then(Value::as_bool).unwrap_or(true);
    person.attributes.insert("active".into(), (active != suspended && known).into());
    true
}

/// Notes which attributes an export has.
///
/// # Errors
/// [`Error::Invalid`] for rows that no column identifies.
fn note_columns(export: &mut ExportedPeople, columns: &[Option<ExportColumn>]) -> Result<()> {
    for column in columns.iter().flatten() {
        let name = match column {
            ExportColumn::UserName(_) => "userName",
            ExportColumn::ExternalId => "externalId",
            ExportColumn::Email => "emails",
            ExportColumn::Active | ExportColumn::Suspended => "active",
            ExportColumn::Attribute(name) => name,
            ExportColumn::RemoteId
            | ExportColumn::GroupName
            | ExportColumn::GroupId
            | ExportColumn::State => continue,
        };
        export.columns.names.insert(name.into());
    }
    if name_column(columns).is_some() {
        export.columns.names.insert("userName".into());
    } else if export.reading.rows > 0
        && !columns
            .iter()
            .flatten()
            .any(|column| matches!(column, ExportColumn::ExternalId | ExportColumn::RemoteId))
    {
        let why = "no column identifies a person; name one userName, userPrincipalName, login, \
                   email, externalId or id";
        return Err(Error::invalid("line 1", why));
    }
    Ok(())
}

fn csv_people(bytes: &[u8]) -> Result<ExportedPeople> {
    let mut export = ExportedPeople::default();
    let ExportedPeople { people, reading, .. } = &mut export;
    let columns = csv_rows(bytes, reading, |reading, line, columns, fields| {
        let name = name_column(columns);
        let mut person = ExportedPerson { line, ..Default::default() };
        let mut emails = BTreeSet::new();
        for (place, (column, field)) in columns.iter().zip(fields).enumerate() {
            if name == Some(place) {
                person.user_name = non_empty(field);
            }
            match column {
                Some(ExportColumn::ExternalId) => {
                    person.external_id = person.external_id.or(non_empty(field))
                }
                Some(ExportColumn::RemoteId) => {
                    person.remote_id = person.remote_id.or(non_empty(field))
                }
                Some(ExportColumn::Email) if !field.is_empty() => {
                    emails.insert(fold_text(field));
                }
                Some(kind @ (ExportColumn::Active | ExportColumn::Suspended))
                    if !field.is_empty() =>
                {
                    let suspended = *kind == ExportColumn::Suspended;
                    if !add_activity(&mut person, field, suspended) {
                        let why = "the column that says who is active has an unknown word";
                        reading.add_trouble(line, why);
                    }
                }
                Some(ExportColumn::Attribute(name)) if !field.is_empty() => {
                    person.attributes.entry((*name).into()).or_insert_with(|| field.clone().into());
                }
                _ => {}
            }
        }
        if person.display_label().is_none() {
            return reading
                .add_unread(line, "names no person: all columns that identify a person are empty");
        }
        for (name, value) in [("userName", &person.user_name), ("externalId", &person.external_id)]
        {
            if let Some(value) = value {
                person.attributes.insert(name.into(), value.clone().into());
            }
        }
        if !emails.is_empty() {
            person.attributes.insert("emails".into(), emails.into_iter().collect());
        }
        people.push(person);
    })?;
    note_columns(&mut export, &columns)?;
    Ok(export)
}

/// Reads JSON Lines: each object with its line.
fn json_rows(
    bytes: &[u8],
    reading: &mut RowReading,
    mut each: impl FnMut(&mut RowReading, u64, Map<String, Value>),
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
        reading.count_row()?;
        match serde_json::from_slice(text) {
            Ok(Value::Object(object)) => each(reading, number, object),
            Ok(_) => reading.add_unread(number, "is no JSON object"),
            // The parser's own message may repeat a value of the line.
            Err(error) => {
                reading.add_unread(number, format!("is not JSON (at column {})", error.column()))
            }
        }
    }
    Ok(())
}

fn text_of(object: &Map<String, Value>, wanted: &str) -> Option<String> {
    let found =
        object.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?.1.as_str()?.trim();
    (!found.is_empty() && !found.contains('\0')).then(|| found.to_owned())
}

fn json_people(bytes: &[u8], ty: &ResourceType) -> Result<ExportedPeople> {
    let mut export = ExportedPeople {
        columns: ExportColumns { all_emails: true, ..Default::default() },
        ..Default::default()
    };
    let ExportedPeople { people, reading, columns } = &mut export;
    json_rows(bytes, reading, |reading, line, object| {
        let remote_id = text_of(&object, "id");
        match document::normalize_document(ty, object) {
            Ok(document) => {
                let attributes: FlatAttributes = flatten_document(&document);
                // The id of a manager has a meaning at the identity provider only.
                columns
                    .names
                    .extend(attributes.keys().filter(|name| !name.contains(":manager.")).cloned());
                people.push(ExportedPerson {
                    line,
                    external_id: document::external_id(&document).map(Into::into),
                    remote_id,
                    user_name: document::user_name(&document).map(Into::into),
                    attributes,
                });
            }
            Err(error) => reading.add_unread(line, error.to_string()),
        }
    })?;
    Ok(export)
}

/// Reads an export of memberships. In CSV each row is a member of a group; in JSON Lines each line
/// is a group.
///
/// # Errors
/// [`Error::Invalid`] for what is no export of memberships, with the first line at fault.
pub fn read_members(
    format: ExportFormat,
    bytes: &[u8],
    ty: &ResourceType,
) -> Result<ExportedMembers> {
    let mut export = ExportedMembers::default();
    match format {
        ExportFormat::Csv => csv_members(bytes, &mut export)?,
        ExportFormat::JsonLines => json_members(bytes, ty, &mut export)?,
    }
    export.reading.check_readable("group and member")?;
    Ok(export)
}

fn csv_members(bytes: &[u8], export: &mut ExportedMembers) -> Result<()> {
    let ExportedMembers { groups, reading } = export;
    let columns = csv_rows(bytes, reading, |reading, line, columns, fields| {
        let name = name_column(columns);
        let (mut group, mut member) = (ExportedName::default(), ExportedName::default());
        for (place, (column, field)) in columns.iter().zip(fields).enumerate() {
            if name == Some(place) {
                member.name = non_empty(field);
            }
            let slot = match column {
                Some(ExportColumn::GroupName) => &mut group.name,
                Some(ExportColumn::GroupId) => &mut group.remote_id,
                Some(ExportColumn::ExternalId) => &mut member.external_id,
                Some(ExportColumn::RemoteId) => &mut member.remote_id,
                _ => continue,
            };
            *slot = slot.take().or(non_empty(field));
        }
        match (group.has_name(), member.has_name()) {
            (false, _) => reading.add_unread(line, "names no group"),
            // A group that is listed without a member.
            (true, false) => drop(groups.entry(group).or_default()),
            (true, true) => {
                groups.entry(group).or_default().insert(member);
            }
        }
    })?;
    let has = |wanted: fn(&ExportColumn) -> bool| columns.iter().flatten().any(wanted);
    if !has(|column| matches!(column, ExportColumn::GroupName | ExportColumn::GroupId)) {
        return Err(Error::invalid(
            "line 1",
            "no column names the group; name one group or groupId",
        ));
    }
    if name_column(&columns).is_none()
        && !has(|column| matches!(column, ExportColumn::ExternalId | ExportColumn::RemoteId))
    {
        return Err(Error::invalid(
            "line 1",
            "no column names the member; name one userName, email, externalId or id",
        ));
    }
    Ok(())
}

fn json_members(bytes: &[u8], ty: &ResourceType, export: &mut ExportedMembers) -> Result<()> {
    let ExportedMembers { groups, reading } = export;
    json_rows(bytes, reading, |reading, line, object| {
        let group = ExportedName {
            external_id: text_of(&object, "externalId"),
            remote_id: text_of(&object, "id"),
            name: text_of(&object, "displayName"),
        };
        if !group.has_name() {
            return reading.add_unread(line, "names no group");
        }
        match document::listed_member_ids(ty, &object) {
            Ok(Some(members)) => {
                let named = members.into_iter().filter(|id| !id.contains('\0'));
                let named =
                    named.map(|id| ExportedName { remote_id: Some(id), ..Default::default() });
                groups.entry(group).or_default().extend(named);
            }
            // A group without a list of members may still have members.
            Ok(None) => reading.add_unread(line, "has no list of members, not even an empty one"),
            Err(error) => reading.add_unread(line, error.to_string()),
        }
    })
}
