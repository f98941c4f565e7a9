//! Lists (RFC 7644 section 3.4.2): their parameters, from a query string or a search request, and
//! the list response.

use axum::extract::{self, FromRequestParts};
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::schema::MAX_PAGE_SIZE;
use crate::domain::paging::{FoundPage, ListQuery, PageStart};
use crate::error::{Error, Result, Rule};
use crate::identity::document::Projection;
use crate::identity::filter::{AttrPath, Filter};
use crate::identity::schema::ResourceType;
use crate::scim::http::ScimFailure;
use crate::scim::observe::quirk;
use crate::scim::observe::quirk::Quirks;
use crate::scim::{cursor, filter_syntax};

/// The page size if the client names none.
pub const DEFAULT_PAGE_SIZE: u64 = 100;
const LIST_RESPONSE: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/// The parameters as clients write them.
#[derive(Debug, Default)]
struct RawListParams {
    filter: Option<String>,
    sort_by: Option<String>,
    sort_order: Option<String>,
    start_index: Option<String>,
    count: Option<String>,
    cursor: Option<String>,
    attributes: Option<String>,
    excluded_attributes: Option<String>,
}

impl RawListParams {
    /// The parameters of a query string; names in any case, because a filter under another name
    /// would find all users. `None` if a parameter with a single value comes twice.
    fn from_pairs(pairs: Vec<(String, String)>) -> Option<Self> {
        let mut parameters = Self::default();
        for (name, value) in pairs {
            let slot = match name.to_ascii_lowercase().as_str() {
                "filter" => &mut parameters.filter,
                "sortby" => &mut parameters.sort_by,
                "sortorder" => &mut parameters.sort_order,
                "startindex" => &mut parameters.start_index,
                "count" => &mut parameters.count,
                "cursor" => &mut parameters.cursor,
                "attributes" => &mut parameters.attributes,
                "excludedattributes" => &mut parameters.excluded_attributes,
                _ => continue,
            };
            let is_list = name.to_ascii_lowercase().ends_with("attributes");
            *slot = match slot.take() {
                None => Some(value),
                // A list is also written with one parameter for each of its names.
                Some(more) if is_list => Some(format!("{more},{value}")),
                Some(_) => return None,
            };
        }
        Some(parameters)
    }
}

/// Which resources the client wants, and which attributes of them.
#[derive(Debug)]
pub struct ListParams {
    pub query: ListQuery,
    pub projection: Projection,
    /// Whether the client named attributes at all.
    pub projected: bool,
    /// Whether the filter holds a string without quotes.
    unquoted: bool,
}

impl ListParams {
    /// RFC 7644 section 3.4.3: the same parameters in a body, where lists are arrays and numbers
    /// are numbers.
    pub fn from_body(body: &Map<String, Value>) -> Result<Self> {
        let get = |name: &str| {
            body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
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
        Self::parse(RawListParams {
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

    fn parse(parameters: RawListParams) -> Result<Self> {
        let filter = parameters.filter.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let unquoted = filter.is_some_and(filter_syntax::filter_is_unquoted);
        let filter = filter.map(filter_syntax::parse_filter).transpose()?;
        let descending =
            match parameters.sort_order.as_deref().map(str::to_ascii_lowercase).as_deref() {
                None | Some("" | "ascending") => false,
                Some("descending") => true,
                Some(_) => {
                    return Err(Error::invalid("sortOrder", "must be ascending or descending"));
                }
            };
        let sort = match parameters.sort_by.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => match filter_syntax::parse_attr_list(text)?.as_slice() {
                [path] => Some((path.clone(), descending)),
                _ => return Err(Error::invalid("sortBy", "must name one attribute")),
            },
            None => None,
        };
        let count = parse_number("count", parameters.count.as_deref())?;
        let (from, limit) = match &parameters.cursor {
            Some(cursor) => {
                // RFC 7644 section 3.4.2.4: zero asks for the total alone.
                if count.is_some_and(|count| count < 0) {
                    return Err(Error::broken(
                        Rule::Count,
                        "count",
                        "must not be negative with a cursor",
                    ));
                }
                (
                    PageStart::Cursor(cursor::decode_cursor(cursor, &query_key(&filter, &sort))?),
                    count.unwrap_or(DEFAULT_PAGE_SIZE as i64),
                )
            }
            None => {
                // RFC 7644 section 3.4.2.4: less than one means one, a negative count means zero.
                let start = parse_number("startIndex", parameters.start_index.as_deref())?
                    .unwrap_or(1)
                    .max(1);
                (
                    PageStart::Index(start.unsigned_abs() - 1),
                    count.unwrap_or(DEFAULT_PAGE_SIZE as i64).max(0),
                )
            }
        };
        let projected = parameters.attributes.is_some() || parameters.excluded_attributes.is_some();
        let projection = Projection::parse(
            parameters.attributes.as_deref(),
            parameters.excluded_attributes.as_deref(),
        )?;
        let query =
            ListQuery { filter, sort, from, limit: limit.unsigned_abs().min(MAX_PAGE_SIZE) };
        Ok(Self { query, projection, projected, unquoted })
    }

    /// The quirks of the filter, for this resource type.
    pub fn filter_quirks(&self, ty: &ResourceType) -> Quirks {
        let filter = self.query.filter.as_ref();
        filter.map(|filter| quirk::filter_quirks(ty, filter, self.unquoted)).unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ListParams {
    type Rejection = ScimFailure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ScimFailure> {
        let pairs = extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let parameters = pairs.ok().and_then(|pairs| RawListParams::from_pairs(pairs.0));
        let refusal =
            || Error::broken(Rule::Value, "query", "a parameter is malformed or given twice");
        Ok(Self::parse(parameters.ok_or_else(refusal)?)?)
    }
}

fn parse_number(name: &'static str, text: Option<&str>) -> Result<Option<i64>> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let value: i64 = text.parse().map_err(|_| Error::invalid(name, "must be a whole number"))?;
    // Larger than any list, and still a number that the databases accept.
    Ok(Some(value.min(i64::from(i32::MAX))))
}

/// The query that a cursor is bound to: no other query may use the cursor.
fn query_key(filter: &Option<Filter>, sort: &Option<(AttrPath, bool)>) -> String {
    format!("{} {sort:?}", filter.as_ref().map(ToString::to_string).unwrap_or_default())
}

impl ListParams {
    /// The list response to this query. The resources are already JSON text.
    pub fn list_response(&self, found: &FoundPage<String>) -> String {
        let mut head = String::new();
        match self.query.from {
            PageStart::Index(offset) => head.push_str(&format!(r#""startIndex":{},"#, offset + 1)),
            // A count of zero asks for no page, so there is no next or previous page.
            PageStart::Cursor(_) if self.query.limit == 0 => {}
            PageStart::Cursor(_) => {
                let question = query_key(&self.query.filter, &self.query.sort);
                for (name, place) in
                    [("previousCursor", &found.previous), ("nextCursor", &found.next)]
                {
                    if let Some(place) = place {
                        head.push_str(&format!(
                            r#""{name}":"{}","#,
                            cursor::encode_cursor(place, &question)
                        ));
                    }
                }
            }
        }
        render_list_response(found.total, &head, &found.rows)
    }
}

/// The list response of a list that fits on one page.
pub fn complete_list_response(resources: &[String]) -> String {
    render_list_response(resources.len() as u64, r#""startIndex":1,"#, resources)
}

fn render_list_response(total: u64, paging: &str, resources: &[String]) -> String {
    let count = resources.len();
    let mut body = format!(r#"{{"schemas":["{LIST_RESPONSE}"],"totalResults":{total},"#);
    body.push_str(paging);
    body.push_str(&format!(r#""itemsPerPage":{count},"Resources":["#));
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
