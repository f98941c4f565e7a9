//! The hospital's administrator: asks and orders over GraphQL, as a frontend or a script would.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

/// An API key and where to use it.
pub struct Api {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// Somebody, as the API shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    pub active: bool,
    pub roles: Vec<String>,
    /// The groups through which the roles are held.
    pub through: Vec<String>,
}

impl Access {
    /// The roles, in words.
    pub fn roles(&self) -> String {
        if self.roles.is_empty() { "no role".to_owned() } else { self.roles.join(", ") }
    }
}

const ACCESS: &str = "userName active roles { role { name } sources { group { displayName } } }";

impl Api {
    /// Nothing is sent yet.
    pub fn new(url: &str, key: &str) -> Result<Self, String> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build();
        let http = http.map_err(|error| format!("cannot make an HTTP client: {error}"))?;
        Ok(Self { http, url: url.to_owned(), key: key.to_owned() })
    }

    /// Asks, and takes nothing but a clean answer.
    pub async fn ask(&self, query: &str, variables: Value) -> Result<Value, String> {
        let body = json!({ "query": query, "variables": variables });
        let request = self.http.post(&self.url).bearer_auth(&self.key).json(&body);
        let answer = request.send().await.map_err(|error| format!("GraphQL: {error}"))?;
        let status = answer.status();
        let answer = answer.json().await;
        let mut answer: Value = answer.map_err(|_| format!("GraphQL answered {status} without JSON"))?;
        match answer.get("errors") {
            None | Some(Value::Null) => Ok(answer.get_mut("data").map(Value::take).unwrap_or_default()),
            Some(errors) => Err(format!("GraphQL refused {query:?}: {errors}")),
        }
    }

    /// Orders a change: `mutation($input: <Input>!) { <name>(input: $input) { <wanted> … } }`. Returns the payload.
    pub async fn order(&self, name: &str, wanted: &str, input: Value) -> Result<Value, String> {
        let mut kind = name.to_owned();
        if let Some(first) = kind.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let query = format!(
            "mutation($input: {kind}Input!) {{ {name}(input: $input) {{ {wanted} userErrors {{ code field message }} }} }}"
        );
        let mut answer = self.ask(&query, json!({ "input": input })).await?;
        let payload = answer.get_mut(name).map(Value::take).unwrap_or_default();
        match payload.get("userErrors").and_then(Value::as_array) {
            Some(errors) if errors.is_empty() => Ok(payload),
            errors => Err(format!("{name} was refused: {}", json!(errors))),
        }
    }

    /// Creates an account as the identity provider does; returns the status of the answer.
    pub async fn provision(&self, users_url: &str, token: &str, body: Value) -> Result<u16, String> {
        let answer = self.http.post(users_url).bearer_auth(token).json(&body).send().await;
        Ok(answer.map_err(|error| format!("SCIM: {error}"))?.status().as_u16())
    }

    /// A file of evidence, whole.
    pub async fn export(&self, file: &str) -> Result<String, String> {
        let url = self.url.replace("/graphql", &format!("/evidence/{file}"));
        let answer =
            self.http.get(url).bearer_auth(&self.key).send().await.map_err(|error| format!("{file}: {error}"))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| format!("{file}: {error}"))?;
        if status.is_success() { Ok(text) } else { Err(format!("{file} was answered with {status}: {text}")) }
    }

    /// What one person may do.
    pub async fn access_of(&self, user_name: &str) -> Result<Access, String> {
        let query = format!("query($name: String!) {{ organization {{ user(userName: $name) {{ {ACCESS} }} }} }}");
        let answer = self.ask(&query, json!({ "name": user_name })).await?;
        Ok(access(at(&answer, "/organization/user")))
    }

    /// What everybody may do, by userName.
    pub async fn access_of_all(&self) -> Result<BTreeMap<String, Access>, String> {
        let people = self.all("users", "", ACCESS).await?;
        Ok(people.iter().map(|node| (text(node, "/userName"), access(node))).collect())
    }

    /// How often each kind of change is in the ledger.
    pub async fn events_by_action(&self) -> Result<BTreeMap<String, usize>, String> {
        let mut counts = BTreeMap::new();
        for event in self.all("events", ", order: OLDEST_FIRST", "action").await? {
            *counts.entry(text(&event, "/action")).or_default() += 1;
        }
        Ok(counts)
    }

    /// Every node of one of the organization's lists, page by page.
    async fn all(&self, list: &str, arguments: &str, wanted: &str) -> Result<Vec<Value>, String> {
        let query = format!(
            "query($after: String) {{ organization {{ {list}(first: 100, after: $after{arguments}) \
             {{ nodes {{ {wanted} }} pageInfo {{ hasNextPage endCursor }} }} }} }}"
        );
        let (mut nodes, mut after) = (Vec::new(), Value::Null);
        loop {
            let answer = self.ask(&query, json!({ "after": after })).await?;
            let page = at(&answer, &format!("/organization/{list}")).clone();
            nodes.extend(items(&page, "/nodes").iter().cloned());
            if at(&page, "/pageInfo/hasNextPage") != &json!(true) {
                return Ok(nodes);
            }
            after = at(&page, "/pageInfo/endCursor").clone();
        }
    }
}

fn access(user: &Value) -> Access {
    let roles = items(user, "/roles");
    let sources = roles.iter().flat_map(|role| items(role, "/sources"));
    Access {
        active: at(user, "/active") == &json!(true),
        roles: roles.iter().map(|role| text(role, "/role/name")).collect(),
        through: sources.map(|source| text(source, "/group/displayName")).collect(),
    }
}

/// What stands at a JSON pointer, or null.
pub fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// The text at a JSON pointer, or whatever else stands there, as text.
pub fn text(value: &Value, pointer: &str) -> String {
    match at(value, pointer) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    at(value, pointer).as_array().map(Vec::as_slice).unwrap_or_default()
}
