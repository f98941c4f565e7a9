//! The index of words by which users and groups are found: one row for each word of a live user or
//! group. A search finds what has, for each of its words, a word that begins with it.
//!
//! A table serves both databases alike and needs no extension. What a word of an account is, is
//! personal: an erasure deletes it.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DbBackend};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::context::{Cx, Tx};
use crate::domain::paging::selection::{RowNarrowing, by_word_condition, word_range, word_table};
use crate::error::{Error, Result};
use crate::identity::document;
use crate::identity::schema::ENTERPRISE_SCHEMA;
use crate::ledger::WriteStep;

/// Words of a row that are kept; and of a search that are looked up.
const MAX_WORDS: usize = 64;
const MAX_SEARCH_WORDS: usize = 8;
/// Characters of a word that are kept.
const MAX_CHARACTERS: usize = 100;
/// The longest search.
const MAX_SEARCH_LENGTH: usize = 200;
/// Stands before a department, which is looked up as a whole and never found by a search.
const DEPARTMENT_MARK: char = '\u{1}';
/// A single word that more rows begin with is tested row by row: the page is soon full.
const RARE_ROWS: u64 = 10_000;
/// The same for the rarest of several words, which few rows may have together.
const RARE_ROWS_OF_SEVERAL: u64 = 100_000;

/// The words of an account: of its names, its addresses, its external id and its employee number;
/// and its department.
pub(in crate::domain) fn user_words(document: &Map<String, Value>) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let name = document.get("name");
    let part = |name: Option<&'_ Value>, part: &str| {
        name.and_then(|name| name.get(part)).and_then(Value::as_str).map(str::to_owned)
    };
    for text in [
        document::display_name(document).map(str::to_owned),
        part(name, "givenName"),
        part(name, "familyName"),
    ]
    .into_iter()
    .flatten()
    {
        add_name(&mut words, &text);
    }
    let addresses = document::email_addresses(document);
    for text in document::user_name(document).into_iter().chain(addresses) {
        add_address(&mut words, text);
    }
    let enterprise = document.get(ENTERPRISE_SCHEMA);
    let number = part(enterprise, "employeeNumber");
    if let Some(number) = number {
        add_word(&mut words, &document::fold_text(&number));
    }
    let mut words = without_beginnings(words);
    // The whole of it is looked up, also where another word begins with it.
    words.extend(document::external_id(document).map(id_word).filter(|word| is_word(word)));
    if let Some(department) = part(enterprise, "department") {
        words.insert(department_word(&department));
    }
    words
}

/// The words of a group: of its name, and its external id.
pub(in crate::domain) fn group_words(document: &Map<String, Value>) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    if let Some(name) = document::display_name(document) {
        add_name(&mut words, name);
    }
    let mut words = without_beginnings(words);
    words.extend(document::external_id(document).map(id_word).filter(|word| is_word(word)));
    words
}

/// The word under which the accounts of a department are found.
pub(in crate::domain) fn department_word(department: &str) -> String {
    let folded = document::fold_text(department.trim());
    let kept: String = folded.chars().take(MAX_CHARACTERS).collect();
    format!("{DEPARTMENT_MARK}{kept}")
}

/// The word under which what has an external id is found; the id itself is compared, too.
pub(in crate::domain) fn id_word(id: &str) -> String {
    document::fold_text(id).trim().chars().take(MAX_CHARACTERS).collect()
}

/// The whole words of a name, and the parts of those that have signs in them.
fn add_name(words: &mut BTreeSet<String>, text: &str) {
    for word in document::fold_text(text).split_whitespace() {
        add_word(words, word);
        add_parts(words, word);
    }
}

/// An address as a whole, and the parts of what stands before its domain.
fn add_address(words: &mut BTreeSet<String>, text: &str) {
    let folded = document::fold_text(text);
    let folded = folded.trim();
    for word in folded.split_whitespace() {
        add_word(words, word);
    }
    add_parts(words, folded.split('@').next().unwrap_or_default());
}

fn add_parts(words: &mut BTreeSet<String>, text: &str) {
    for part in text.split(|c: char| !c.is_alphanumeric()) {
        add_word(words, part);
    }
}

fn add_word(words: &mut BTreeSet<String>, word: &str) {
    let word = word.trim();
    if is_word(word) && words.len() < MAX_WORDS {
        words.insert(word.chars().take(MAX_CHARACTERS).collect());
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(['\0', DEPARTMENT_MARK])
}

/// The words that no other word begins with: a search that finds the one finds the other.
fn without_beginnings(words: BTreeSet<String>) -> BTreeSet<String> {
    let following = words.iter().skip(1).map(Some).chain([None]);
    let kept = words
        .iter()
        .zip(following)
        .filter(|(word, next)| !next.is_some_and(|next| next.starts_with(word.as_str())));
    kept.map(|(word, _)| word.clone()).collect()
}

/// What a row of `table` (`user`, `group`) must fulfil to be found by `search`; none if nothing
/// does. `all` = every row is read, not only a page.
///
/// # Errors
/// [`Error::Invalid`] for a search that is empty or too long.
pub(in crate::domain) async fn narrow_by_search(
    cx: &Cx,
    table: &str,
    search: &str,
    all: bool,
) -> Result<Option<Vec<RowNarrowing>>> {
    if search.chars().count() > MAX_SEARCH_LENGTH {
        let why = format!("must have at most {MAX_SEARCH_LENGTH} characters");
        return Err(Error::invalid("search", why));
    }
    let folded = document::fold_text(search);
    let words: BTreeSet<String> =
        folded.split_whitespace().map(|word| word.chars().take(MAX_CHARACTERS).collect()).collect();
    if words.is_empty() {
        return Err(Error::invalid("search", "must not be empty"));
    }
    if words.len() > MAX_SEARCH_WORDS {
        let why = format!("must have at most {MAX_SEARCH_WORDS} words");
        return Err(Error::invalid("search", why));
    }
    if words.iter().any(|word| word.contains('\0') || word.starts_with(DEPARTMENT_MARK)) {
        return Ok(None);
    }
    let words: Vec<String> = without_beginnings(words).into_iter().collect();
    let limit = if words.len() > 1 { RARE_ROWS_OF_SEVERAL } else { RARE_ROWS };
    let counts = count_words(cx, table, &words, limit).await?;
    if counts.contains(&0) {
        return Ok(None);
    }
    // One word finds the rows by the index, unless all are frequent and a page of them is soon
    // full; the others are tested.
    let rarest = counts.iter().enumerate().min_by_key(|(_, count)| **count);
    let rarest = rarest.filter(|(_, count)| all || **count <= limit).map(|(place, _)| place);
    let narrow = words
        .into_iter()
        .enumerate()
        .map(|(place, prefix)| RowNarrowing::Word { prefix, rare: Some(place) == rarest });
    Ok(Some(narrow.collect()))
}

/// How many rows of the index begin with each of the words; not more than one above `limit`.
async fn count_words(cx: &Cx, table: &str, words: &[String], limit: u64) -> Result<Vec<u64>> {
    let mut sql = cx.sql([]);
    let (name, _) = word_table(table);
    let by_word = by_word_condition(cx.backend());
    let counts: Vec<String> = words
        .iter()
        .enumerate()
        .map(|(n, word)| {
            let range = word_range(cx.backend(), word, &mut sql);
            format!(
                "(SELECT count(*) FROM (SELECT 1 AS one FROM {name} w \
                 WHERE w.organization_id = $1 AND {range}{by_word} LIMIT {}) AS counted) AS w{n}",
                limit + 1
            )
        })
        .collect();
    sql.push("SELECT ").push(&counts.join(", "));
    let Some(row) = cx.db().query_one_raw(cx.build_statement(sql)).await? else {
        return Ok(Vec::new());
    };
    let count =
        |n: usize| -> Result<u64> { Ok(row.try_get::<i64>("", &format!("w{n}"))?.unsigned_abs()) };
    (0..words.len()).map(count).collect()
}

/// The steps that replace the words `old` of a row of `table` by `new`.
pub(in crate::domain) fn word_change_steps(
    tx: &Tx<'_>,
    table: &str,
    id: Uuid,
    old: &BTreeSet<String>,
    new: &BTreeSet<String>,
) -> Vec<WriteStep> {
    let (gone, come): (Vec<_>, Vec<_>) =
        (old.difference(new).collect(), new.difference(old).collect());
    let (name, column) = word_table(table);
    let (each, among) = match tx.db.get_database_backend() {
        // With IN, the words might be joined with all words of the organization.
        DbBackend::Postgres => (
            "jsonb_array_elements_text($3) AS keys(value)",
            "= ANY(ARRAY(SELECT value FROM jsonb_array_elements_text($3) AS keys(value)))",
        ),
        _ => ("json_each($3)", "IN (SELECT value FROM json_each($3))"),
    };
    let values = |words: &[&String]| [tx.organization().into(), id.into(), json!(words).into()];
    let mut steps = Vec::new();
    if !gone.is_empty() {
        let these = format!("organization_id = $1 AND {column} = $2 AND word {among}");
        steps.push(WriteStep::delete(name, these, values(&gone)));
    }
    if !come.is_empty() {
        let row = format!("{name} (organization_id, {column}, word)");
        let insert = WriteStep::insert(&row, "$1, $2, value", "TRUE", values(&come));
        steps.push(insert.reading_from(each));
    }
    steps
}

/// Replaces the words `old` of a row of `table` by `new`, inside a transaction.
pub(in crate::domain) async fn change_words(
    tx: &Tx<'_>,
    table: &str,
    id: Uuid,
    old: &BTreeSet<String>,
    new: &BTreeSet<String>,
) -> Result<()> {
    for step in word_change_steps(tx, table, id, old, new) {
        crate::ledger::run_steps(&tx.db, [step]).await?;
    }
    Ok(())
}

/// Deletes all words of a row of `table`, which is in no list any more.
pub(in crate::domain) async fn delete_words(tx: &Tx<'_>, table: &str, id: Uuid) -> Result<()> {
    let (name, column) = word_table(table);
    let text = format!("DELETE FROM {name} WHERE organization_id = $1 AND {column} = $2");
    tx.db.execute_raw(tx.statement(text, [id.into()])).await?;
    Ok(())
}

/// One row of `table` whose words are written when a server starts.
pub(super) struct WordsOfRow {
    pub organization: Uuid,
    pub id: Uuid,
    pub version: i64,
    pub words: BTreeSet<String>,
}

/// The statement that writes the words of live rows, each unless it has changed since it was read,
/// and its one value.
pub(super) fn fill_statement(
    backend: DbBackend,
    table: &str,
    rows: &[WordsOfRow],
) -> (String, sea_orm::Value) {
    let (name, column) = word_table(table);
    let given: Value = rows
        .iter()
        .map(|row| {
            json!([
                row.organization.simple().to_string(),
                row.id.simple().to_string(),
                row.version,
                row.words,
            ])
        })
        .collect();
    let text = match backend {
        // The row is locked, so that it does not change before its words are there.
        DbBackend::Postgres => format!(
            r#"WITH live AS (SELECT u.organization_id, u.id, x.value -> 3 AS words
                 FROM jsonb_array_elements($1) AS x(value) CROSS JOIN LATERAL (
                   SELECT organization_id, id FROM "{table}"
                   WHERE organization_id = (x.value ->> 0)::uuid AND id = (x.value ->> 1)::uuid
                   AND version = (x.value ->> 2)::bigint AND deleted_at IS NULL FOR SHARE) AS u)
               INSERT INTO {name} (organization_id, {column}, word)
               SELECT l.organization_id, l.id, w.word
               FROM live l CROSS JOIN LATERAL jsonb_array_elements_text(l.words) AS w(word)
               ON CONFLICT DO NOTHING"#
        ),
        _ => format!(
            r#"INSERT INTO {name} (organization_id, {column}, word)
               SELECT u.organization_id, u.id, w.value FROM json_each($1) x
               CROSS JOIN "{table}" u ON u.organization_id = unhex(x.value ->> 0)
                 AND u.id = unhex(x.value ->> 1) AND u.version = x.value ->> 2
                 AND u.deleted_at IS NULL
               CROSS JOIN json_each(x.value, '$[3]') w WHERE TRUE
               ON CONFLICT DO NOTHING"#
        ),
    };
    (text, given.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(document: Value) -> Vec<String> {
        let Value::Object(document) = document else { unreachable!() };
        user_words(&document).into_iter().collect()
    }

    #[test]
    fn words_are_of_names_and_ids() {
        let found = words(json!({
            "userName": "Ada.Lovelace@acme.example", "displayName": "Ada O'Neill Lovelace",
            "externalId": "A1-B2",
            "emails": [{ "value": "ada@home.example" }],
            ENTERPRISE_SCHEMA: { "employeeNumber": "4711", "department": "Data Science" },
        }));
        let wanted = [
            "\u{1}data science",
            "4711",
            "a1-b2",
            "ada.lovelace@acme.example",
            "ada@home.example",
            "lovelace",
            "neill",
            "o'neill",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn beginnings_of_words_are_left_out() {
        let all = ["ann", "anna", "anna.b", "ben"].map(String::from);
        let kept: Vec<_> = without_beginnings(all.into_iter().collect()).into_iter().collect();
        assert_eq!(kept, ["anna.b", "ben"]);
    }
}
