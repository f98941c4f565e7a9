//! One line of a bulk job: a mutation's name and its input,
//! `{"operation": "userCreate", "input": {…}}`. The document of each mutation is generated from the
//! schema, so validation finds the same mistakes as in a request of its own.

use std::collections::HashMap;
use std::sync::LazyLock;

use async_graphql::Variables;
use async_graphql::parser::types::{
    BaseType, FieldDefinition, ServiceDocument, Type, TypeKind, TypeSystemDefinition,
};
use async_graphql::{ID, parser};
use serde::Deserialize;
use serde_json::{Map, Value as Data, json};
use uuid::Uuid;

use crate::graphql::auth::ApiCaller;
use crate::graphql::error_code::ErrorCode;
use crate::graphql::execute;
use crate::graphql::execute::{ExecutionResult, PreparedOperation, RequestError};
use crate::graphql::relay;
use crate::graphql::relay::NodeKind;
use crate::graphql::{export_sdl, idempotency};

/// A line, parsed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BulkOperation {
    operation: String,
    input: Map<String, Data>,
}

/// The outcome of a line, as it is stored: the result for programs, and separately its messages for
/// people, which an erasure removes.
#[derive(Debug)]
pub struct BulkLineOutcome {
    pub failed: bool,
    pub result: Data,
    pub words: Option<Data>,
}

impl BulkOperation {
    /// # Errors
    /// A message for the author of the line.
    pub fn parse_line(line: &[u8]) -> Result<Self, String> {
        let line: Self = serde_json::from_slice(line).map_err(|error| {
            format!("the line must be {{\"operation\": …, \"input\": {{…}}}}: {error}")
        })?;
        if line.input.values().any(execute::has_nul) {
            Err("strings must not contain the character NUL".into())
        } else {
            Ok(line)
        }
    }

    /// The account that the line is about, if it names one.
    pub fn target_user(&self) -> Option<Uuid> {
        let named = ["id", "userId"].into_iter().filter_map(|name| self.input.get(name)?.as_str());
        named.filter_map(|id| relay::parse_id_of_kind(NodeKind::User, &ID(id.to_owned()))).next()
    }

    /// Runs the line's mutation as `caller`.
    pub async fn run_as(self, caller: ApiCaller) -> BulkLineOutcome {
        let Self { operation: name, input } = self;
        let document = match MUTATION_DOCUMENTS.get(&name) {
            Some(Some(document)) => document,
            Some(None) => {
                let message = format!(
                    "{name} returns a secret, which a file of results cannot contain; \
                     send it as a request of its own"
                );
                return BulkLineOutcome::from_refusal(
                    Some(&name),
                    ErrorCode::BadUserInput,
                    &message,
                );
            }
            None => {
                let message =
                    format!("the schema has no mutation {}", relay::shorten_message(&name));
                return BulkLineOutcome::from_refusal(
                    None,
                    ErrorCode::GraphqlValidationFailed,
                    &message,
                );
            }
        };
        let variables = Variables::from_json(json!({ "input": input }));
        let answer = match PreparedOperation::from_own_document(caller, document, &variables) {
            Ok(operation) => operation.run_with_key().await,
            Err(refusal) => Err(refusal),
        };
        BulkLineOutcome::from_result(&name, answer)
    }
}

impl BulkLineOutcome {
    /// The outcome of a line that was not carried out.
    pub fn from_refusal(operation: Option<&str>, code: ErrorCode, message: &str) -> Self {
        let mut body = json!({ "errors": [{ "message": message, "code": code.name() }] });
        if let Some(name) = operation {
            body["operation"] = json!(name);
        }
        Self::with_separate_messages(true, body)
    }

    fn from_result(name: &str, answer: ExecutionResult) -> Self {
        let response = match answer {
            Ok(reply) => reply.body.to_json(),
            Err(RequestError { code, message, .. }) => {
                return Self::from_refusal(Some(name), code, &message);
            }
        };
        let payload = &response["data"][name];
        let errors: Vec<Data> =
            response["errors"].as_array().into_iter().flatten().map(flatten_error).collect();
        let mistaken =
            payload["userErrors"].as_array().is_some_and(|mistakes| !mistakes.is_empty());
        let failed = mistaken || !errors.is_empty();
        let mut body = json!({ "operation": name });
        if !payload.is_null() {
            body["payload"] = payload.clone();
        }
        if !errors.is_empty() {
            body["errors"] = errors.into();
        }
        Self::with_separate_messages(failed, body)
    }

    fn with_separate_messages(failed: bool, mut result: Data) -> Self {
        let words: Vec<Data> = find_messages(&mut result).into_iter().map(Data::take).collect();
        Self {
            failed,
            result,
            words: Some(words).filter(|words| !words.is_empty()).map(Data::from),
        }
    }
}

/// A result with its messages put back in their places; null where they are not stored.
pub fn restore_messages(mut result: Data, words: Option<Data>) -> Data {
    if let Some(Data::Array(words)) = words {
        for (place, word) in find_messages(&mut result).into_iter().zip(words) {
            *place = word;
        }
    }
    result
}

/// The places of the messages for people in a result.
fn find_messages(result: &mut Data) -> Vec<&mut Data> {
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

/// A GraphQL error without its path and locations, which have no meaning for a line.
fn flatten_error(error: &Data) -> Data {
    json!({ "message": error["message"], "code": error["extensions"]["code"] })
}

/// The document of every mutation; none if its response would contain a secret.
static MUTATION_DOCUMENTS: LazyLock<HashMap<String, Option<String>>> = LazyLock::new(|| {
    let document =
        parser::parse_schema(export_sdl()).unwrap_or(ServiceDocument { definitions: Vec::new() });
    let mut objects: HashMap<String, Vec<FieldDefinition>> = HashMap::new();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(ty) = definition else { continue };
        if let TypeKind::Object(object) = ty.node.kind {
            let fields = object.fields.into_iter().map(|field| field.node).collect();
            objects.insert(ty.node.name.node.to_string(), fields);
        }
    }
    let mutations = objects.get("Mutation").into_iter().flatten();
    mutations
        .filter_map(|mutation| {
            Some((mutation.name.node.to_string(), build_document(mutation, &objects)?))
        })
        .collect()
});

/// The document of a mutation. It selects the ids of what was changed, and `userErrors`.
fn build_document(
    mutation: &FieldDefinition,
    objects: &HashMap<String, Vec<FieldDefinition>>,
) -> Option<Option<String>> {
    let name = &mutation.name.node;
    let input = &mutation
        .arguments
        .iter()
        .find(|argument| argument.node.name.node == "input")?
        .node
        .ty
        .node;
    let payload = objects.get(base_type_name(&mutation.ty.node))?;
    let shows_secret = |fields: &Vec<FieldDefinition>| {
        fields.iter().any(|field| field.name.node == idempotency::SECRET_FIELD_NAME)
    };
    let mut parts = payload.iter().filter_map(|field| objects.get(base_type_name(&field.ty.node)));
    if shows_secret(payload) || parts.any(shows_secret) {
        return Some(None);
    }
    let fields: Vec<String> = payload.iter().map(|field| select_field(field, objects)).collect();
    let fields = fields.join(" ");
    Some(Some(format!("mutation($input: {input}) {{ {name}(input: $input) {{ {fields} }} }}")))
}

fn select_field(
    field: &FieldDefinition,
    objects: &HashMap<String, Vec<FieldDefinition>>,
) -> String {
    let name = &field.name.node;
    let Some(fields) = objects.get(base_type_name(&field.ty.node)) else { return name.to_string() };
    if name == "userErrors" {
        return format!("{name} {{ code reason message nextStep path }}");
    }
    if fields.iter().any(|field| field.name.node == "id") {
        return format!("{name} {{ id }}");
    }
    let leaves =
        fields.iter().filter(|field| !objects.contains_key(base_type_name(&field.ty.node)));
    let leaves: Vec<_> = leaves.map(|field| field.name.node.as_str()).collect();
    format!("{name} {{ {} }}", leaves.join(" "))
}

fn base_type_name(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(inner) => base_type_name(inner),
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    #[test]
    fn every_mutation_can_be_named_and_only_those_that_show_a_secret_are_not_offered() {
        let mut secret = Vec::new();
        for (name, document) in MUTATION_DOCUMENTS.iter() {
            match document {
                Some(text) => drop(
                    parse_query(text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}")),
                ),
                None => secret.push(name.as_str()),
            }
        }
        secret.sort_unstable();
        let shown = [
            "apiKeyIssue",
            "destinationCreate",
            "destinationRotateSecret",
            "invitationCreate",
            "invitationResend",
            "invitationsCreate",
            "organizationCreate",
            "scimTokenIssue",
            "scimTokenRotate",
            "setupLinkCreate",
        ];
        assert_eq!(secret, shown);
        let inner = export_sdl()
            .split("type Mutation {")
            .nth(1)
            .unwrap()
            .split("\n}")
            .next()
            .unwrap()
            .matches("input: ")
            .count();
        assert_eq!(MUTATION_DOCUMENTS.len(), inner);
        let create = MUTATION_DOCUMENTS["userCreate"].as_deref().unwrap();
        assert_eq!(
            create,
            "mutation($input: UserCreateInput!) { userCreate(input: $input) \
             { user { id } userErrors { code reason message nextStep path } } }"
        );
    }

    #[test]
    fn sentences_go_and_come_back() {
        let body = json!({ "operation": "x", "payload": { "userErrors": [{ "code": "A", "message": "one" }] },
            "errors": [{ "message": "two", "code": "B" }] });
        let BulkLineOutcome { result, words, .. } =
            BulkLineOutcome::with_separate_messages(true, body.clone());
        assert!(!result.to_string().contains("one") && !result.to_string().contains("two"));
        assert_eq!(words, Some(json!(["one", "two"])));
        assert_eq!(restore_messages(result.clone(), words), body);
        assert_eq!(
            restore_messages(result.clone(), None)["errors"][0],
            json!({ "message": null, "code": "B" })
        );
        assert_eq!(
            BulkLineOutcome::with_separate_messages(
                false,
                json!({ "payload": { "userErrors": [] } })
            )
            .words,
            None
        );
    }
}
