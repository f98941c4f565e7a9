//! The parser beside the library's, and what only one of them accepts.

use async_graphql::parser::parse_query;

use super::parse_document;

#[test]
fn documents_equal_those_of_the_library() {
    for text in [
        "{ a }",
        "query A($b: [Int!]! = [1, 2], $c: X) @d(e: $b) { f: a(b: $b, c: {d: E, f: [null, true]}) }",
        "subscription { a { ...B ... on C @skip(if: true) { d } ... { e } } }\nfragment B on C { d }",
        "mutation A { a(text: \"b\\n\\u00e9\", block: \"\"\"\n  c\n    d\n\"\"\", n: -1.5e3) }",
        "# a\nquery A { a } query B { b }",
    ] {
        let (ours, theirs) = (parse_document(text).unwrap(), parse_query(text).unwrap());
        // The order of a hash map's entries is its own.
        let sorted = |shown: String| {
            let mut letters: Vec<char> = shown.chars().collect();
            letters.sort_unstable();
            letters
        };
        assert_eq!(sorted(format!("{ours:?}")), sorted(format!("{theirs:?}")), "{text}");
    }
}

#[test]
fn syntax_errors_say_where() {
    for (text, message, line, column) in [
        ("", "expected query, mutation, subscription or fragment, found the end", 1, 1),
        ("{ a(b: ) }", "expected a value, found \")\"", 1, 8),
        ("{\n  a b: }", "expected a name, found \"}\"", 2, 8),
        ("query ($a Int) { a }", "expected \":\", found the name \"Int\"", 1, 11),
        ("{ a ", "expected a name, found the end", 1, 5),
        (
            "queryA { a }",
            "expected query, mutation, subscription or fragment, found the name \
            \"queryA\"",
            1,
            1,
        ),
    ] {
        let error = parse_document(text).unwrap_err();
        assert_eq!((error.message.as_str(), error.is_grammatical), (message, false), "{text}");
        assert_eq!((error.pos.line, error.pos.column), (line, column), "{text}");
    }
}

#[test]
fn duplicate_names_break_a_rule() {
    for text in [
        "{ a(b: { c: 1, c: 2 }) }",
        "query A($b: X = { c: 1, c: 1 }) { a }",
        "query A { a } query A { b }",
        "{ a } query A { b }",
        "{ a } fragment A on B { c } fragment A on B { c }",
        "fragment A on B { c }",
    ] {
        assert!(parse_document(text).unwrap_err().is_grammatical, "{text}");
    }
}
