//! The GraphQL client of the hospital's administrator, as a frontend or a script would use it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

/// A client with the address of the GraphQL API and an API key.
pub struct ApiClient {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// The access of a person, as the API shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessOfPerson {
    pub active: bool,
    pub roles: Vec<String>,
    /// The groups through which the roles are held.
    pub through: Vec<String>,
}

impl AccessOfPerson {
    /// The roles as text.
    pub fn roles(&self) -> String {
        if self.roles.is_empty() { "no role".to_owned() } else { self.roles.join(", ") }
    }
}

const ACCESS: &str = "userName active roles { role { name } sources { group { displayName } } }";

impl ApiClient {
    /// Makes the client; sends nothing yet.
    pub fn new(url: &str, key: &str) -> Result<Self, String> {
        // While the identity provider works, this client waits. The server could close its
        // connection in the moment in which it is used again.
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .pool_idle_timeout(Duration::from_secs(10))
            .build();
        let http = http.map_err(|error| format!("cannot make an HTTP client: {error}"))?;
        Ok(Self { http, url: url.to_owned(), key: key.to_owned() })
    }

    /// Sends a query and returns its data; any error in the answer is an error.
    pub async fn send_query(&self, query: &str, variables: Value) -> Result<Value, String> {
        let body = json!({ "query": query, "variables": variables });
        let request = self.http.post(&self.url).bearer_auth(&self.key).json(&body);
        let answer = request.send().await.map_err(|error| format!("GraphQL: {error}"))?;
        let status = answer.status();
        let answer = answer.json().await;
        let mut answer: Value =
            answer.map_err(|_| format!("GraphQL answered {status} without JSON"))?;
        match answer.get("errors") {
            None | Some(Value::Null) => {
                Ok(answer.get_mut("data").map(Value::take).unwrap_or_default())
            }
            Some(errors) => Err(format!("GraphQL refused {query:?}: {errors}")),
        }
    }

    /// Sends a mutation: `mutation($input: <Input>!) { <name>(input: $input) { <wanted> … } }`.
    /// Returns the payload.
    pub async fn send_mutation(
        &self,
        name: &str,
        wanted: &str,
        input: Value,
    ) -> Result<Value, String> {
        let mut kind = name.to_owned();
        if let Some(first) = kind.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let query = format!(
            "mutation($input: {kind}Input!) {{ {name}(input: $input) {{ {wanted} userErrors {{ \
             code path message }} }} }}"
        );
        let mut answer = self.send_query(&query, json!({ "input": input })).await?;
        let payload = answer.get_mut(name).map(Value::take).unwrap_or_default();
        match payload.get("userErrors").and_then(Value::as_array) {
            Some(errors) if errors.is_empty() => Ok(payload),
            errors => Err(format!("{name} was refused: {}", json!(errors))),
        }
    }

    /// Creates an account as the identity provider does; returns the status of the answer.
    pub async fn create_scim_user(
        &self,
        users_url: &str,
        token: &str,
        body: Value,
    ) -> Result<u16, String> {
        let answer = self.http.post(users_url).bearer_auth(token).json(&body).send().await;
        Ok(answer.map_err(|error| format!("SCIM: {error}"))?.status().as_u16())
    }

    /// Hands over an ID token as an application does; returns the status and the answer.
    pub async fn submit_id_token(&self, slug: &str, token: &str) -> Result<(u16, Value), String> {
        let url = self.url.replace("/graphql", &format!("/assertions/{slug}"));
        let request = self.http.post(url).bearer_auth(&self.key);
        let request = request.header("content-type", "application/jwt").body(token.to_owned());
        let answer = request.send().await.map_err(|error| format!("assertions: {error}"))?;
        let status = answer.status().as_u16();
        let answer = answer.json().await;
        Ok((status, answer.map_err(|_| format!("assertions answered {status} without JSON"))?))
    }

    /// Downloads a file of evidence.
    pub async fn download_evidence(&self, file: &str) -> Result<String, String> {
        let url = self.url.replace("/graphql", &format!("/evidence/{file}"));
        let answer = self
            .http
            .get(url)
            .bearer_auth(&self.key)
            .send()
            .await
            .map_err(|error| format!("{file}: {error}"))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| format!("{file}: {error}"))?;
        if status.is_success() {
            Ok(text)
        } else {
            Err(format!("{file} was answered with {status}: {text}"))
        }
    }

    /// The access of one person.
    pub async fn access_of(&self, user_name: &str) -> Result<AccessOfPerson, String> {
        let query = format!(
            "query($name: String!) {{ organization {{ user(userName: $name) {{ {ACCESS} }} }} }}"
        );
        let answer = self.send_query(&query, json!({ "name": user_name })).await?;
        Ok(parse_access(value_at(&answer, "/organization/user")))
    }

    /// The access of each person, by userName.
    pub async fn access_of_all(&self) -> Result<BTreeMap<String, AccessOfPerson>, String> {
        let people = self.list_all_nodes("users", "", ACCESS).await?;
        Ok(people.iter().map(|node| (text_at(node, "/userName"), parse_access(node))).collect())
    }

    /// The number of events of each kind in the ledger.
    pub async fn events_by_action(&self) -> Result<BTreeMap<String, usize>, String> {
        let mut counts = BTreeMap::new();
        for event in self.list_all_nodes("events", ", orderBy: { field: AT }", "action").await? {
            *counts.entry(text_at(&event, "/action")).or_default() += 1;
        }
        Ok(counts)
    }

    /// Reads all nodes of one of the organization's lists, page by page.
    async fn list_all_nodes(
        &self,
        list: &str,
        arguments: &str,
        wanted: &str,
    ) -> Result<Vec<Value>, String> {
        let query = format!(
            "query($after: String) {{ organization {{ {list}(first: 100, after: $after{arguments}) \
             {{ nodes {{ {wanted} }} pageInfo {{ hasNextPage endCursor }} }} }} }}"
        );
        let (mut nodes, mut after) = (Vec::new(), Value::Null);
        loop {
            let answer = self.send_query(&query, json!({ "after": after })).await?;
            let page = value_at(&answer, &format!("/organization/{list}")).clone();
            nodes.extend(items_at(&page, "/nodes").iter().cloned());
            if value_at(&page, "/pageInfo/hasNextPage") != &json!(true) {
                return Ok(nodes);
            }
            after = value_at(&page, "/pageInfo/endCursor").clone();
        }
    }
}

fn parse_access(user: &Value) -> AccessOfPerson {
    let roles = items_at(user, "/roles");
    let sources = roles.iter().flat_map(|role| items_at(role, "/sources"));
    AccessOfPerson {
        active: value_at(user, "/active") == &json!(true),
        roles: roles.iter().map(|role| text_at(role, "/role/name")).collect(),
        through: sources.map(|source| text_at(source, "/group/displayName")).collect(),
    }
}

/// The value at a JSON pointer, or null.
pub fn value_at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// The string at a JSON pointer; any other value as JSON text.
pub fn text_at(value: &Value, pointer: &str) -> String {
    match value_at(value, pointer) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub fn items_at<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value_at(value, pointer).as_array().map(Vec::as_slice).unwrap_or_default()
}
