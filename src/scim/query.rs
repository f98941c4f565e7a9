//! Lists: their parameters, as a query string or a search request, and their envelope (RFC 7644 section 3.4.2).

use axum::extract::{self, FromRequestParts};
use axum::http::request::Parts;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::quirk::{self, Quirks};
use super::schema::MAX_RESULTS;
use super::wire::Failure;
use super::{cursor, filter};
use crate::domain::document::Projection;
use crate::domain::list::{Found, From, Query};
use crate::domain::schema::ResourceType;
use crate::domain::search::{AttrPath, Filter};
use crate::error::{Error, Result, Rule};

/// Page size where the client names none.
pub const DEFAULT_RESULTS: u64 = 100;
const LIST_RESPONSE: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/// The parameters as clients write them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Parameters {
    filter: Option<String>,
    sort_by: Option<String>,
    sort_order: Option<String>,
    start_index: Option<String>,
    count: Option<String>,
    cursor: Option<String>,
    attributes: Option<String>,
    excluded_attributes: Option<String>,
}

/// Which resources are wanted, and what of them.
#[derive(Debug)]
pub struct Wanted {
    pub query: Query,
    pub projection: Projection,
    /// Whether the client named attributes at all.
    pub projected: bool,
    /// Whether the filter holds a text without its quotes.
    unquoted: bool,
}

impl Wanted {
    /// RFC 7644 section 3.4.3: the same parameters in a body, where lists are arrays and numbers are numbers.
    pub fn of_body(body: &Map<String, Value>) -> Result<Self> {
        let get = |name: &str| body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let text = |name: &'static str| match get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Array(items)) => {
                let names: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
                names
                    .map(|names| Some(names.join(",")))
                    .ok_or_else(|| Error::invalid(name, "must be an array of strings"))
            }
            Some(_) => Err(Error::invalid(name, "is of the wrong type")),
        };
        Self::parse(Parameters {
            filter: text("filter")?,
            sort_by: text("sortBy")?,
            sort_order: text("sortOrder")?,
            start_index: text("startIndex")?,
            count: text("count")?,
            cursor: text("cursor")?,
            attributes: text("attributes")?,
            excluded_attributes: text("excludedAttributes")?,
        })
    }

    fn parse(parameters: Parameters) -> Result<Self> {
        let filter = parameters.filter.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let unquoted = filter.is_some_and(filter::filter_is_unquoted);
        let filter = filter.map(filter::parse_filter).transpose()?;
        let descending = match parameters.sort_order.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "ascending") => false,
            Some("descending") => true,
            Some(_) => return Err(Error::invalid("sortOrder", "must be ascending or descending")),
        };
        let sort = match parameters.sort_by.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => match filter::parse_attr_list(text)?.as_slice() {
                [path] => Some((path.clone(), descending)),
                _ => return Err(Error::invalid("sortBy", "must name one attribute")),
            },
            None => None,
        };
        let count = number("count", parameters.count.as_deref())?;
        let (from, limit) = match &parameters.cursor {
            Some(cursor) => {
                // RFC 7644 section 3.4.2.4: zero asks for the total alone.
                if count.is_some_and(|count| count < 0) {
                    return Err(Error::broken(Rule::Count, "count", "must not be negative with a cursor"));
                }
                (
                    From::Cursor(cursor::read(cursor, &question(&filter, &sort))?),
                    count.unwrap_or(DEFAULT_RESULTS as i64),
                )
            }
            None => {
                // RFC 7644 section 3.4.2.4: less than one means one, a negative count means zero.
                let start = number("startIndex", parameters.start_index.as_deref())?.unwrap_or(1).max(1);
                (From::Index(start.unsigned_abs() - 1), count.unwrap_or(DEFAULT_RESULTS as i64).max(0))
            }
        };
        let projected = parameters.attributes.is_some() || parameters.excluded_attributes.is_some();
        let projection =
            Projection::parse(parameters.attributes.as_deref(), parameters.excluded_attributes.as_deref())?;
        let query = Query { filter, sort, from, limit: limit.unsigned_abs().min(MAX_RESULTS) };
        Ok(Self { query, projection, projected, unquoted })
    }

    /// What the question departs in from the protocol, put to this kind of resource.
    pub fn quirks(&self, ty: &ResourceType) -> Quirks {
        let filter = self.query.filter.as_ref();
        filter.map(|filter| quirk::of_filter(ty, filter, self.unquoted)).unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Wanted {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let extract::Query(parameters) = extract::Query::<Parameters>::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::broken(Rule::Value, "query", "a parameter is malformed or given twice"))?;
        Ok(Self::parse(parameters)?)
    }
}

fn number(name: &'static str, text: Option<&str>) -> Result<Option<i64>> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let value: i64 = text.parse().map_err(|_| Error::invalid(name, "must be a whole number"))?;
    // Far beyond any list: what the databases can still count with.
    Ok(Some(value.min(i64::from(i32::MAX))))
}

/// What a cursor belongs to: it may not be carried over to another question.
fn question(filter: &Option<Filter>, sort: &Option<(AttrPath, bool)>) -> String {
    format!("{} {sort:?}", filter.as_ref().map(ToString::to_string).unwrap_or_default())
}

impl Wanted {
    /// The answer to this question: resources that are already JSON text, in their envelope.
    pub fn envelope(&self, found: &Found<String>) -> String {
        let mut head = String::new();
        match self.query.from {
            From::Index(offset) => head.push_str(&format!(r#""startIndex":{},"#, offset + 1)),
            // Without a page there are no pages beside it.
            From::Cursor(_) if self.query.limit == 0 => {}
            From::Cursor(_) => {
                let question = question(&self.query.filter, &self.query.sort);
                for (name, place) in [("previousCursor", &found.previous), ("nextCursor", &found.next)] {
                    if let Some(place) = place {
                        head.push_str(&format!(r#""{name}":"{}","#, cursor::write(place, &question)));
                    }
                }
            }
        }
        envelope(found.total, &head, &found.rows)
    }
}

/// A list that is complete on one page.
pub fn complete(resources: &[String]) -> String {
    envelope(resources.len() as u64, r#""startIndex":1,"#, resources)
}

fn envelope(total: u64, paging: &str, resources: &[String]) -> String {
    let mut body = format!(
        r#"{{"schemas":["{LIST_RESPONSE}"],"totalResults":{total},{paging}"itemsPerPage":{},"Resources":["#,
        resources.len()
    );
    body.reserve(resources.iter().map(|resource| resource.len() + 1).sum());
    for (index, resource) in resources.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(resource);
    }
    body.push_str("]}");
    body
}
