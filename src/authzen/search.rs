//! Searches: who may do something (section 8 of the specification), and what a person may do
//! (section 10).

use aws_lc_rs::digest::{SHA256, digest};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::entity::{
    JsonMembers, RequestMistake, USER_TYPE, permission_name, read_object, read_subject, read_text,
};
use super::http::{DecisionCaller, DecisionFailure, json_response};
use crate::domain::access::decision;

/// Results of a page that does not say how many it wants, and the most of any page.
const DEFAULT_PAGE: u64 = 100;
const MAX_PAGE: u64 = 1_000;
/// Bytes of a page token that tell its question.
const QUESTION_BYTES: usize = 8;

/// `POST /access/v1/search/subject`: the people who may do an action. Their ids are user names.
pub async fn handle_subject_search(caller: DecisionCaller) -> Result<Response, DecisionFailure> {
    let search = SubjectSearch::read(&caller.body).map_err(DecisionFailure::bad_request)?;
    let SubjectSearch { kind, permission, page } = search;
    let after = match &page.after {
        None => None,
        Some(after) => Some(Uuid::try_parse(after).map_err(|_| wrong_token())?),
    };
    // There are no subjects of other types here.
    let permission = Some(permission.as_str()).filter(|_| kind == USER_TYPE);
    let (people, more) =
        decision::list_permission_holders(&caller.cx, permission, after, page.limit).await?;
    let next = people.last().filter(|_| more).map(|person| person.id.to_string());
    let results: Vec<Value> = people
        .into_iter()
        .map(|person| json!({ "type": USER_TYPE, "id": person.user_name }))
        .collect();
    Ok(page.render(&results, next.as_deref()))
}

/// `POST /access/v1/search/action`: what a person may do to resources of a type.
pub async fn handle_action_search(caller: DecisionCaller) -> Result<Response, DecisionFailure> {
    let body = &caller.body;
    let read = || {
        let subject = read_object(body, "subject")?.ok_or("subject is missing")?;
        let resource_type = read_resource(body)?;
        read_object(body, "context")?;
        let subject = read_subject(subject)?;
        let page = PageRequest::read(body, &format!("{subject:?} {resource_type}"))?;
        Ok::<_, RequestMistake>((subject, resource_type, page))
    };
    let (subject, resource_type, page) = read().map_err(DecisionFailure::bad_request)?;
    let prefix = permission_name(&resource_type, "");
    let actions = decision::list_permissions(&caller.cx, &subject, &prefix).await?;
    let mut rest = actions
        .into_iter()
        .filter(|action| page.after.as_ref().is_none_or(|after| action > after))
        .peekable();
    let found: Vec<String> = rest.by_ref().take(page.limit as usize).collect();
    let next = found.last().filter(|_| rest.peek().is_some());
    let results: Vec<Value> = found.iter().map(|action| json!({ "name": action })).collect();
    Ok(page.render(&results, next.map(String::as_str)))
}

struct SubjectSearch {
    kind: String,
    permission: String,
    page: PageRequest,
}

impl SubjectSearch {
    fn read(body: &JsonMembers) -> Result<Self, RequestMistake> {
        let subject = read_object(body, "subject")?.ok_or("subject is missing")?;
        let action = read_object(body, "action")?.ok_or("action is missing")?;
        let action = read_text(action, "action", "name")?;
        let resource_type = read_resource(body)?;
        read_object(body, "context")?;
        // An id of the subject is ignored (section 8.1).
        let kind = read_text(subject, "subject", "type")?.to_owned();
        let permission = permission_name(&resource_type, action);
        let page = PageRequest::read(body, &format!("{kind} {permission}"))?;
        Ok(Self { kind, permission, page })
    }
}

/// The type of the resource, which must also have an id.
fn read_resource(body: &JsonMembers) -> Result<String, RequestMistake> {
    let resource = read_object(body, "resource")?.ok_or("resource is missing")?;
    read_text(resource, "resource", "id")?;
    Ok(read_text(resource, "resource", "type")?.to_owned())
}

/// Which page of the results is wanted.
struct PageRequest {
    limit: u64,
    /// The last result of the page before.
    after: Option<String>,
    /// A hash of the question: a token belongs to the question that it came with.
    question: Vec<u8>,
}

impl PageRequest {
    fn read(body: &JsonMembers, question: &str) -> Result<Self, RequestMistake> {
        let hash = digest(&SHA256, question.as_bytes());
        let question: Vec<u8> = hash.as_ref().iter().copied().take(QUESTION_BYTES).collect();
        let page = read_object(body, "page")?;
        let limit = match page.and_then(|page| page.get("limit")) {
            None | Some(Value::Null) => DEFAULT_PAGE,
            Some(limit) => limit
                .as_u64()
                .filter(|limit| *limit > 0)
                .ok_or("page.limit must be a positive whole number")?
                .min(MAX_PAGE),
        };
        let after = match page.and_then(|page| page.get("token")) {
            None | Some(Value::Null) => None,
            Some(Value::String(token)) if token.is_empty() => None,
            Some(token) => {
                Some(token.as_str().and_then(|token| decode_token(token, &question)).ok_or(
                    "page.token is not a next_token that this server gave for the same question",
                )?)
            }
        };
        Ok(Self { limit, after, question })
    }

    /// The page as JSON; `next` is its last result if more follow.
    fn render(&self, results: &[Value], next: Option<&str>) -> Response {
        let token = next.map_or_else(String::new, |next| {
            URL_SAFE_NO_PAD.encode([&self.question, next.as_bytes()].concat())
        });
        let page = json!({ "next_token": token, "count": results.len() });
        json_response(json!({ "results": results, "page": page }).to_string())
    }
}

fn decode_token(token: &str, question: &[u8]) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    String::from_utf8(bytes.strip_prefix(question)?.to_vec()).ok()
}

fn wrong_token() -> DecisionFailure {
    DecisionFailure::bad_request("page.token is not a next_token of this server")
}
