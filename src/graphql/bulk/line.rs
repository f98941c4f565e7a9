//! One line: a mutation's name and its input, `{"operation": "userCreate", "input": {…}}`. The document that carries it
//! out is made from the schema, and so are the mistakes that are found in it.

use std::collections::HashMap;
use std::sync::LazyLock;

use async_graphql::Variables;
use async_graphql::parser::types::{BaseType, FieldDefinition, ServiceDocument, Type, TypeKind, TypeSystemDefinition};
use async_graphql::{ID, parser};
use serde::Deserialize;
use serde_json::{Map, Value as Data, json};
use uuid::Uuid;

use super::super::operation::{self, Answer, Fault, Operation};
use super::super::page::{self, Kind};
use super::super::{auth::Caller, replay, sdl};

/// What a line says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    operation: String,
    input: Map<String, Data>,
}

/// What came of a line, as it is kept: what it says for programs, and apart from that its sentences.
#[derive(Debug)]
pub struct Outcome {
    pub failed: bool,
    pub result: Data,
    pub words: Option<Data>,
}

impl Line {
    /// # Errors
    /// Words for whoever wrote the line.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        let line: Self = serde_json::from_slice(line)
            .map_err(|error| format!("the line must be {{\"operation\": …, \"input\": {{…}}}}: {error}"))?;
        match line.input.values().any(operation::has_nul) {
            true => Err("strings must not contain the character NUL".into()),
            false => Ok(line),
        }
    }

    /// The account that the line is about, if it names one.
    pub fn user(&self) -> Option<Uuid> {
        let named = ["id", "userId"].into_iter().filter_map(|name| self.input.get(name)?.as_str());
        named.filter_map(|id| page::id_of(Kind::User, &ID(id.to_owned()))).next()
    }

    /// Carries the line out as `caller`.
    pub async fn run(self, caller: Caller) -> Outcome {
        let Self { operation: name, input } = self;
        let document = match MUTATIONS.get(&name) {
            Some(Some(document)) => document,
            Some(None) => {
                let message = format!("{name} shows a secret, which a file of results cannot keep; send it by itself");
                return Outcome::refused(Some(&name), "BAD_USER_INPUT", &message);
            }
            None => {
                let message = format!("the schema has no mutation {}", page::shortened(&name));
                return Outcome::refused(None, "GRAPHQL_VALIDATION_FAILED", &message);
            }
        };
        let variables = Variables::from_json(json!({ "input": input }));
        Outcome::of(&name, Operation::own(caller, document, variables).run().await)
    }
}

impl Outcome {
    /// A line that was not carried out.
    pub fn refused(operation: Option<&str>, code: &str, message: &str) -> Self {
        let mut body = json!({ "errors": [{ "message": message, "code": code }] });
        if let Some(name) = operation {
            body["operation"] = json!(name);
        }
        Self::apart(true, body)
    }

    fn of(name: &str, answer: Answer) -> Self {
        let response = match answer {
            Ok(reply) => reply.body.to_json(),
            Err(Fault { code, message, .. }) => return Self::refused(Some(name), code, &message),
        };
        let payload = &response["data"][name];
        let errors: Vec<Data> = response["errors"].as_array().into_iter().flatten().map(flat).collect();
        let mistaken = payload["userErrors"].as_array().is_some_and(|mistakes| !mistakes.is_empty());
        let failed = mistaken || !errors.is_empty();
        let mut body = json!({ "operation": name });
        if !payload.is_null() {
            body["payload"] = payload.clone();
        }
        if !errors.is_empty() {
            body["errors"] = errors.into();
        }
        Self::apart(failed, body)
    }

    fn apart(failed: bool, mut result: Data) -> Self {
        let words: Vec<Data> = sentences(&mut result).into_iter().map(Data::take).collect();
        Self { failed, result, words: Some(words).filter(|words| !words.is_empty()).map(Data::from) }
    }
}

/// A result with its sentences put back where they belong; null where they are not kept.
pub fn whole(mut result: Data, words: Option<Data>) -> Data {
    if let Some(Data::Array(words)) = words {
        for (place, word) in sentences(&mut result).into_iter().zip(words) {
            *place = word;
        }
    }
    result
}

/// Where sentences for people stand in a result.
fn sentences(result: &mut Data) -> Vec<&mut Data> {
    let Data::Object(result) = result else { return Vec::new() };
    let mut places = Vec::new();
    for (name, part) in result {
        let mistakes = match name.as_str() {
            "payload" => part.get_mut("userErrors"),
            "errors" => Some(part),
            _ => None,
        };
        let mistakes = mistakes.and_then(Data::as_array_mut).into_iter().flatten();
        places.extend(mistakes.filter_map(|mistake| mistake.get_mut("message")));
    }
    places
}

/// An error of GraphQL without what only a document has: a place.
fn flat(error: &Data) -> Data {
    json!({ "message": error["message"], "code": error["extensions"]["code"] })
}

/// Every mutation with the document that carries it out; none where the answer would show a secret.
static MUTATIONS: LazyLock<HashMap<String, Option<String>>> = LazyLock::new(|| {
    let document = parser::parse_schema(sdl()).unwrap_or(ServiceDocument { definitions: Vec::new() });
    let mut objects: HashMap<String, Vec<FieldDefinition>> = HashMap::new();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(ty) = definition else { continue };
        if let TypeKind::Object(object) = ty.node.kind {
            let fields = object.fields.into_iter().map(|field| field.node).collect();
            objects.insert(ty.node.name.node.to_string(), fields);
        }
    }
    let mutations = objects.get("Mutation").into_iter().flatten();
    mutations.filter_map(|mutation| Some((mutation.name.node.to_string(), document_of(mutation, &objects)?))).collect()
});

/// The document of a mutation: of a changed thing the id, and what mistakes there were.
fn document_of(mutation: &FieldDefinition, objects: &HashMap<String, Vec<FieldDefinition>>) -> Option<Option<String>> {
    let name = &mutation.name.node;
    let input = &mutation.arguments.iter().find(|argument| argument.node.name.node == "input")?.node.ty.node;
    let payload = objects.get(named(&mutation.ty.node))?;
    if payload.iter().any(|field| field.name.node == replay::SECRET) {
        return Some(None);
    }
    let fields: Vec<String> = payload.iter().map(|field| selected(field, objects)).collect();
    let fields = fields.join(" ");
    Some(Some(format!("mutation($input: {input}) {{ {name}(input: $input) {{ {fields} }} }}")))
}

fn selected(field: &FieldDefinition, objects: &HashMap<String, Vec<FieldDefinition>>) -> String {
    let name = &field.name.node;
    let Some(fields) = objects.get(named(&field.ty.node)) else { return name.to_string() };
    if name == "userErrors" {
        return format!("{name} {{ code field message }}");
    }
    if fields.iter().any(|field| field.name.node == "id") {
        return format!("{name} {{ id }}");
    }
    let leaves = fields.iter().filter(|field| !objects.contains_key(named(&field.ty.node)));
    let leaves: Vec<_> = leaves.map(|field| field.name.node.as_str()).collect();
    format!("{name} {{ {} }}", leaves.join(" "))
}

fn named(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(inner) => named(inner),
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    #[test]
    fn every_mutation_can_be_named_and_only_those_that_show_a_secret_are_not_offered() {
        let mut secret = Vec::new();
        for (name, document) in MUTATIONS.iter() {
            match document {
                Some(text) => drop(parse_query(text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"))),
                None => secret.push(name.as_str()),
            }
        }
        secret.sort_unstable();
        assert_eq!(secret, ["apiKeyIssue", "scimTokenIssue", "scimTokenRotate"]);
        let inner =
            sdl().split("type Mutation {").nth(1).unwrap().split("\n}").next().unwrap().matches("input: ").count();
        assert_eq!(MUTATIONS.len(), inner);
        let create = MUTATIONS["userCreate"].as_deref().unwrap();
        assert_eq!(
            create,
            "mutation($input: UserCreateInput!) { userCreate(input: $input) { user { id } userErrors { code field message } } }"
        );
    }

    #[test]
    fn sentences_go_and_come_back() {
        let body = json!({ "operation": "x", "payload": { "userErrors": [{ "code": "A", "message": "one" }] },
            "errors": [{ "message": "two", "code": "B" }] });
        let Outcome { result, words, .. } = Outcome::apart(true, body.clone());
        assert!(!result.to_string().contains("one") && !result.to_string().contains("two"));
        assert_eq!(words, Some(json!(["one", "two"])));
        assert_eq!(whole(result.clone(), words), body);
        assert_eq!(whole(result.clone(), None)["errors"][0], json!({ "message": null, "code": "B" }));
        assert_eq!(Outcome::apart(false, json!({ "payload": { "userErrors": [] } })).words, None);
    }
}
