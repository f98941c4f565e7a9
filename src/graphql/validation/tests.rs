//! The verdicts on a set of documents, which tests/clients compares with those of graphql-js, and
//! how long the worst documents take.

use std::time::{Duration, Instant};

use async_graphql::Variables;
use serde_json::Value;

use super::{
    DocumentFault, SchemaIndex, coerce_variables, find_faults, merge_root_fields, omit_arguments,
};
use crate::graphql::document::parse_document;
use crate::graphql::document_limits::{self, DocumentRefusal};

/// Why a request is refused, in the order of the server's checks.
fn refuse(text: &str, name: Option<&str>, variables: &Value) -> Option<String> {
    let index = SchemaIndex::of_server();
    let checked = || -> Result<Vec<DocumentFault>, String> {
        let mut document = parse_document(text).map_err(|error| error.message)?;
        document_limits::check_document(&document).map_err(|refusal| format!("{refusal:?}"))?;
        let faults = find_faults(index, &document).map_err(|refusal| format!("{refusal:?}"))?;
        if !faults.is_empty() {
            return Ok(faults);
        }
        let operations = document.operations.iter();
        let mut named = operations
            .filter(|(found, _)| name.is_none_or(|name| found.is_some_and(|found| found == name)));
        let operation = &named.next().ok_or("no operation")?.1.node;
        let kind = operation.ty;
        let given = Variables::from_json(variables.clone());
        let values = coerce_variables(index, operation, &given).map_err(|fault| fault.message)?;
        omit_arguments(&mut document, name, &values);
        if kind != async_graphql::parser::types::OperationType::Query {
            merge_root_fields(&mut document, name, &values).map_err(|fault| fault.message)?;
        }
        Ok(Vec::new())
    };
    match checked() {
        Ok(faults) => faults.first().map(|fault| fault.message.clone()),
        Err(message) => Some(message),
    }
}

#[test]
fn verdicts_equal_those_of_graphql_js() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/npm/verdicts.json");
    let documents: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(documents.len() > 250);
    let mut wrong = Vec::new();
    for entry in &documents {
        let text = entry["document"].as_str().unwrap();
        let refusal = refuse(text, entry["operationName"].as_str(), &entry["variables"]);
        if refusal.is_none() != entry["valid"].as_bool().unwrap() {
            wrong.push(format!("{text}: {refusal:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn mistakes_are_explained() {
    for (text, message) in [
        ("{ viewer { nme } }", "unknown field \"nme\" on type \"Viewer\"; did you mean \"name\"?"),
        (
            "{ node { id } }",
            "the argument \"id\" of type \"ID!\" of Query.node is required but not \
            provided",
        ),
        (
            "{ organization { users(first: 3000000000) { totalCount } } }",
            "invalid value for argument \"first\": expected type \"Int\", found 3000000000",
        ),
        (
            "{ viewer { a: name a: kind } }",
            "the fields \"a\" conflict, because one is of type \"String!\" and one of type \
             \"ActorKind!\"; give each an alias of its own",
        ),
        (
            "query($a: String!) { node(id: $a) { id } }",
            "the variable $a of type \"String!\" stands where \"ID!\" is expected",
        ),
    ] {
        assert_eq!(refuse(text, None, &Value::Null).unwrap(), message, "{text}");
    }
}

/// Validation alone, without the limits that stand before it.
fn validate(text: &str) -> (Result<Vec<DocumentFault>, DocumentRefusal>, Duration) {
    let document = parse_document(text).unwrap();
    let index = SchemaIndex::of_server();
    let begun = Instant::now();
    let verdict = find_faults(index, &document);
    (verdict, begun.elapsed())
}

#[test]
fn large_documents_take_linear_time() {
    let fields = |count: usize| "name ".repeat(count);
    let (verdict, _) = validate(&format!("{{ viewer {{ {} }} }}", fields(20_000)));
    assert_eq!(verdict.unwrap(), []);
    // The square of 40,000 comparisons would take seconds even in an optimized build.
    let (verdict, took) = validate(&format!("{{ viewer {{ {} }} }}", fields(40_000)));
    assert!(verdict.is_ok() || matches!(verdict, Err(DocumentRefusal::TooComplex(_))));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn doubling_fragments_are_compared_once() {
    // Each level selects the next one twice: 2^12 paths.
    let mut text = "{ organization { users(first: 1) { nodes { ...F0 } } } } ".to_owned();
    for level in 0..12 {
        let next = level + 1;
        text += &format!(
            "fragment F{level} on User {{ a: groups(first: 1) {{ nodes {{ ...G{level} }} }} \
             b: groups(first: 1) {{ nodes {{ ...G{level} }} }} }} \
             fragment G{level} on Group {{ members(first: 1) {{ nodes {{ ...F{next} }} }} }} "
        );
    }
    text += "fragment F12 on User { id }";
    let (verdict, took) = validate(&text);
    assert_eq!(verdict.unwrap(), []);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn wide_merges_are_cut_off() {
    // Every pair of the fragments is a set of its own.
    let names: Vec<String> = (0..400).map(|n| format!("F{n}")).collect();
    let mut text = String::from("{ organization { ");
    for name in &names {
        text += &format!("...{name} ");
    }
    text += "} } ";
    for (n, name) in names.iter().enumerate() {
        let inner = "id ".repeat(150);
        text += &format!(
            "fragment {name} on Organization {{ a{n}: users(first: 1) {{ nodes {{ {inner} }} }} \
             users(first: 1) {{ nodes {{ {inner} }} }} }} "
        );
    }
    let (verdict, took) = validate(&text);
    assert!(matches!(verdict, Err(DocumentRefusal::TooComplex(_))), "{verdict:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}
