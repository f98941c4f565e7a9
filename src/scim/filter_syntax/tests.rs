use proptest::prelude::*;
use serde_json::Number;

use super::*;

fn attr(text: &str) -> AttrPath {
    let (name, sub) =
        text.split_once('.').map_or((text, None), |(name, sub)| (name, Some(sub.to_owned())));
    AttrPath { schema: None, name: name.to_owned(), sub }
}

fn compare(path: &str, op: CompareOp, value: &str) -> Filter {
    Filter::Compare(attr(path), op, FilterLiteral::String(value.to_owned()))
}

fn element(path: &str, inner: Filter) -> Filter {
    Filter::Element(attr(path), Box::new(inner))
}

fn read(text: &str) -> Filter {
    parse_filter(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> String {
    match parse_filter(text) {
        Err(Error::Invalid { rule: Rule::Filter, field, why }) if field == "filter" => {
            why.into_owned()
        }
        other => panic!("{text}: {other:?}"),
    }
}

fn path_refusal(text: &str) -> String {
    match parse_path(text) {
        Err(Error::Invalid { rule: Rule::Path, field, why }) if field == "path" => why.into_owned(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_form_that_the_rfc_shows_is_read() {
    // The forms of RFC 7644 figure 2, with other values.
    use CompareOp::*;
    let work = || compare("type", Eq, "work");
    let cases = [
        (r#"userName Eq "mara""#, compare("userName", Eq, "mara")),
        (r#"name.familyName co "O'Neil""#, compare("name.familyName", Co, "O'Neil")),
        (r#"userName sw "M""#, compare("userName", Sw, "M")),
        ("title pr", Filter::Present(attr("title"))),
        (
            r#"meta.lastModified gt "2024-05-01T00:00:00Z""#,
            compare("meta.lastModified", Gt, "2024-05-01T00:00:00Z"),
        ),
        (
            r#"title pr and userType eq "Staff""#,
            Filter::And(vec![Filter::Present(attr("title")), compare("userType", Eq, "Staff")]),
        ),
        (
            r#"title pr or userType eq "Guest""#,
            Filter::Or(vec![Filter::Present(attr("title")), compare("userType", Eq, "Guest")]),
        ),
        (
            r#"userType eq "Staff" and (emails co "acme.example" or emails.value co "acme.test")"#,
            Filter::And(vec![
                compare("userType", Eq, "Staff"),
                Filter::Or(vec![
                    compare("emails", Co, "acme.example"),
                    compare("emails.value", Co, "acme.test"),
                ]),
            ]),
        ),
        (
            r#"userType ne "Staff" and not (emails co "acme.example")"#,
            Filter::And(vec![
                compare("userType", Ne, "Staff"),
                Filter::Not(Box::new(compare("emails", Co, "acme.example"))),
            ]),
        ),
        (
            r#"userType eq "Staff" and (emails.type eq "work")"#,
            Filter::And(vec![compare("userType", Eq, "Staff"), compare("emails.type", Eq, "work")]),
        ),
        (
            "emails[type eq \"work\" and value co \"@acme.example\"] or \
             ims[type eq \"xmpp\" and value co \"@im\"]",
            Filter::Or(vec![
                element("emails", Filter::And(vec![work(), compare("value", Co, "@acme.example")])),
                element(
                    "ims",
                    Filter::And(vec![compare("type", Eq, "xmpp"), compare("value", Co, "@im")]),
                ),
            ]),
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(read(text), wanted, "{text}");
    }
}

#[test]
fn a_name_may_carry_the_urn_of_its_schema_although_that_contains_a_dot() {
    let wanted = AttrPath {
        schema: Some("urn:ietf:params:scim:schemas:core:2.0:User".to_owned()),
        name: "name".to_owned(),
        sub: Some("givenName".to_owned()),
    };
    let text = "urn:ietf:params:scim:schemas:core:2.0:User:name.givenName";
    assert_eq!(read(&format!("{text} pr")), Filter::Present(wanted.clone()));
    assert_eq!(parse_path(text).unwrap(), PatchPath { attr: wanted, filter: None, sub: None });
}

#[test]
fn and_binds_tighter_than_or_and_parentheses_are_kept() {
    let p = |name| Filter::Present(attr(name));
    assert_eq!(
        read("a pr or b pr and c pr or d pr"),
        Filter::Or(vec![p("a"), Filter::And(vec![p("b"), p("c")]), p("d")])
    );
    assert_eq!(
        read("(a pr or b pr) and c pr"),
        Filter::And(vec![Filter::Or(vec![p("a"), p("b")]), p("c")])
    );
    assert_eq!(read("((a pr))"), p("a"));
}

#[test]
fn case_and_white_space_do_not_matter() {
    let wanted = read(r#"active eq true and not (title eq null) or nickName pr"#);
    for text in [
        r#"active EQ TRUE AND NOT(title Eq NULL) OR nickName PR"#,
        "  active\teq  True and  not  ( title eq Null )\n or nickName pr  ",
        r#"active eq true and(not(title eq null))or nickName pr"#,
    ] {
        assert_eq!(read(text), wanted, "{text}");
    }
}

#[test]
fn values_are_json_scalars() {
    let literal = |text: &str| match read(&format!("a eq {text}")) {
        Filter::Compare(_, CompareOp::Eq, literal) => literal,
        other => panic!("{other:?}"),
    };
    assert_eq!(literal("-12"), FilterLiteral::Number(Number::from(-12)));
    assert_eq!(literal("1.5e2"), FilterLiteral::Number(Number::from_f64(150.0).unwrap()));
    assert_eq!(literal("18446744073709551615"), FilterLiteral::Number(Number::from(u64::MAX)));
    assert_eq!(
        literal(r#""a\"b\\c\/\n\u00e9\ud83d\ude00ü""#),
        FilterLiteral::String("a\"b\\c/\né😀ü".to_owned())
    );
    assert_eq!(
        literal(r#""(not) [a] and \\""#),
        FilterLiteral::String("(not) [a] and \\".to_owned())
    );
    for bad in [r#""\x""#, r#""\ud83d""#, r#""open"#, "\"a\tb\""] {
        refusal(&format!("a eq {bad}"));
    }
}

#[test]
fn a_text_may_lack_its_quotes() {
    for bare in [
        "jane@acme.example",
        "01",
        "+1",
        ".5",
        "1.",
        "1e999",
        "NaN",
        "cn=a,dc=b",
        "2024-05-01T08:00:00Z",
        "é",
    ] {
        assert_eq!(read(&format!("a eq {bare}")), compare("a", CompareOp::Eq, bare), "{bare}");
        assert!(filter_is_unquoted(&format!("a eq {bare}")), "{bare}");
    }
    let either =
        Filter::Or(vec![compare("a", CompareOp::Eq, "x"), compare("b", CompareOp::Eq, "y")]);
    assert_eq!(read("(a eq x or b eq y)"), either);
    let path = |text: &str| parse_path(text).unwrap();
    assert_eq!(path("emails[type eq work].value"), path("emails[type eq \"work\"].value"));
    for quoted in ["a eq \"x\"", "a eq 1", "a eq true", "a eq null", "a pr"] {
        assert!(!filter_is_unquoted(quoted), "{quoted}");
    }
    // If it is not clear what the string is, it is refused.
    for unclear in [
        "a eq",
        "a eq 'x y'",
        "a eq 'x'",
        "a eq Ward 3",
        "a eq x\"y\"",
        "a eq x(1)",
        "a eq ()",
        "a eq x]",
    ] {
        refusal(unclear);
    }
}

#[test]
fn entra_compares_behind_the_brackets() {
    assert_eq!(
        read(r#"emails[type eq "work"].value eq "mara@acme.example""#),
        element(
            "emails",
            Filter::And(vec![
                compare("type", CompareOp::Eq, "work"),
                compare("value", CompareOp::Eq, "mara@acme.example")
            ])
        )
    );
}

#[test]
fn an_attribute_may_be_called_like_an_operator() {
    assert_eq!(read("not pr"), Filter::Present(attr("not")));
    assert_eq!(read("members.$ref pr"), Filter::Present(attr("members.$ref")));
}

#[test]
fn a_refusal_says_where_and_what_was_expected() {
    let cases = [
        ("", "at position 1: expected the name of an attribute, found the end"),
        (
            "userName",
            "at position 9: expected an operator (eq, ne, co, sw, ew, gt, ge, lt, le, pr), found \
             the end",
        ),
        (
            "userName is 1",
            "at position 10: expected an operator (eq, ne, co, sw, ew, gt, ge, lt, le, pr), found \
             `is`",
        ),
        (
            "userName eq 'mara'",
            "at position 13: expected a value: a string in double quotes, a number, true, false \
             or null, found `'mara'`",
        ),
        ("title pr title", "at position 10: expected \"and\", \"or\" or the end, found `title`"),
        (
            "(title pr",
            "at position 10: expected \"and\", \"or\" or a closing parenthesis, found the end",
        ),
        ("é eq 1", "at position 1: expected the name of an attribute, found `é`"),
        ("title pr and", "at position 13: expected the name of an attribute, found the end"),
        ("title pr )", "at position 10: expected \"and\", \"or\" or the end, found `)`"),
        (
            "emails[type pr",
            "at position 15: expected \"and\", \"or\" or a closing bracket, found the end",
        ),
        (
            "emails[a[b pr]]",
            "at position 9: expected an operator (brackets cannot be nested), found `[b pr]]`",
        ),
        ("a.b.c pr", "at position 1: expected the name of an attribute, found `a.b.c`"),
        ("a.b[c pr]", "at position 4: expected no brackets after a sub-attribute, found `[c pr]`"),
    ];
    for (text, wanted) in cases {
        assert_eq!(refusal(text), wanted, "{text}");
    }
}

#[test]
fn caps_hold() {
    let terms = |n: usize| vec!["a pr"; n].join(" and ");
    read(&terms(64));
    assert_eq!(refusal(&terms(65)), "has more than 64 comparisons");
    let nested = |n: usize| format!("{}a pr{}", "(".repeat(n), ")".repeat(n));
    read(&nested(16));
    assert_eq!(refusal(&nested(17)), "is nested deeper than 16 levels");
    assert_eq!(refusal(&"not(".repeat(900)), "is nested deeper than 16 levels");
    // The depth is the nesting, not the number of parentheses.
    read(&vec!["(a pr)"; 60].join(" or "));
    let long = |n: usize| format!("a eq \"{}\"", "x".repeat(n - 7));
    read(&long(4096));
    assert_eq!(refusal(&long(4097)), "is longer than 4096 bytes");
    assert_eq!(refusal("a eq \"\0\""), "contains a NUL character");
    assert_eq!(refusal(r#"a eq "\u0000""#), "contains a NUL character");
}

#[test]
fn patch_paths_name_an_attribute_an_element_or_a_whole_extension() {
    let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    let work = || Some(compare("type", CompareOp::Eq, "work"));
    let of = |schema: &str, text: &str| AttrPath { schema: Some(schema.to_owned()), ..attr(text) };
    let cases = [
        ("userName".to_owned(), attr("userName"), None, None),
        (" name.givenName ".to_owned(), attr("name.givenName"), None, None),
        (r#"emails[type eq "work"]"#.to_owned(), attr("emails"), work(), None),
        (r#"emails[type eq "work"].value"#.to_owned(), attr("emails"), work(), Some("value")),
        (format!("{enterprise}:manager.value"), of(enterprise, "manager.value"), None, None),
        (format!("{enterprise}:department"), of(enterprise, "department"), None, None),
        (enterprise.to_owned(), of(enterprise, ""), None, None),
        ("urn:acme:staff:badge".to_owned(), of("urn:acme:staff", "badge"), None, None),
        (
            r#"urn:ietf:params:scim:schemas:core:2.0:User:emails[type eq "work"].value"#.to_owned(),
            of("urn:ietf:params:scim:schemas:core:2.0:User", "emails"),
            work(),
            Some("value"),
        ),
    ];
    for (text, attr, filter, sub) in cases {
        let wanted = PatchPath { attr, filter, sub: sub.map(str::to_owned) };
        assert_eq!(parse_path(&text).unwrap(), wanted, "{text}");
    }
}

#[test]
fn malformed_patch_paths_are_refused_as_paths() {
    assert_eq!(path_refusal(""), "at position 1: expected the name of an attribute, found the end");
    assert_eq!(
        path_refusal("emails[]"),
        "at position 8: expected the name of an attribute, found `]`"
    );
    assert_eq!(
        path_refusal(r#"emails[type eq "work"]value"#),
        "at position 23: expected the end of the path, found `value`"
    );
    assert_eq!(
        path_refusal("emails[type pr]."),
        "at position 17: expected the name of a sub-attribute, found the end"
    );
    for bad in [
        "/name",
        "name.",
        ".name",
        "name.a.b",
        "a b",
        "name.givenName[a pr]",
        ":name",
        "urn:x:",
        "9a",
        "a,b",
    ] {
        path_refusal(bad);
    }
}

#[test]
fn attribute_lists_tolerate_blanks_and_stray_commas() {
    let list =
        parse_attr_list(" userName, emails.value ,,urn:acme:1.0:Staff:badge,urn:acme:1.0:Staff,")
            .unwrap();
    let printed: Vec<String> = list.iter().map(AttrPath::to_string).collect();
    assert_eq!(
        printed,
        ["userName", "emails.value", "urn:acme:1.0:Staff:badge", "urn:acme:1.0:Staff"]
    );
    assert_eq!(parse_attr_list("").unwrap(), []);
    assert!(parse_attr_list("userName emails").is_err());
    assert!(parse_attr_list("emails[type pr]").is_err());
}

fn any_path() -> impl Strategy<Value = AttrPath> {
    let schema = prop_oneof![
        4 => Just(None),
        1 => Just(Some("urn:ietf:params:scim:schemas:core:2.0:User".to_owned())),
        1 => Just(Some("urn:acme:staff".to_owned())),
    ];
    (schema, "[a-zA-Z$_][a-zA-Z0-9_-]{0,8}", proptest::option::of("[$]?[a-z][a-zA-Z0-9]{0,5}"))
        .prop_map(|(schema, name, sub)| AttrPath { schema, name, sub })
}

fn any_literal() -> impl Strategy<Value = FilterLiteral> {
    prop_oneof![
        Just(FilterLiteral::Null),
        any::<bool>().prop_map(FilterLiteral::Bool),
        any::<i64>().prop_map(|n| FilterLiteral::Number(n.into())),
        any::<f64>().prop_filter_map("finite", Number::from_f64).prop_map(FilterLiteral::Number),
        "[^\\x00]{0,12}".prop_map(FilterLiteral::String),
    ]
}

fn any_leaf(path: impl Strategy<Value = AttrPath>) -> impl Strategy<Value = Filter> {
    let ops = proptest::sample::select(OPERATORS.map(|(_, op)| op).to_vec());
    (path, proptest::option::of((ops, any_literal()))).prop_map(|(path, comparison)| {
        match comparison {
            Some((op, literal)) => Filter::Compare(path, op, literal),
            None => Filter::Present(path),
        }
    })
}

fn combined(leaf: BoxedStrategy<Filter>) -> BoxedStrategy<Filter> {
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Filter::Or),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
    .boxed()
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let inner = combined(any_leaf(any_path()).boxed());
    let element = (any_path(), inner)
        .prop_map(|(path, inner)| Filter::Element(AttrPath { sub: None, ..path }, Box::new(inner)));
    combined(prop_oneof![3 => any_leaf(any_path()).boxed(), 1 => element.boxed()].boxed())
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_as_the_same_filter(filter in any_filter()) {
        let text = filter.to_string();
        prop_assume!(text.len() <= MAX_LENGTH);
        prop_assert_eq!(parse_filter(&text).unwrap(), filter);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-c.:$\\[\\]()\"\\\\ éu0-9-]{0,40}| \
        *(not|and|or|a|eq|\"|\\(|\\)|\\[|\\]| |1|pr){0,20}") {
        for result in [
            parse_filter(&text).map(drop),
            parse_path(&text).map(drop),
            parse_attr_list(&text).map(drop),
        ] {
            if let Err(error) = result {
                let invalid = matches!(error, Error::Invalid { .. });
                prop_assert!(invalid);
            }
        }
    }
}
