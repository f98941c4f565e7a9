//! Random operations, compared with simple models.

use proptest::prelude::*;

use super::groups::try_group;
use super::*;

fn any_operation() -> impl Strategy<Value = Value> {
    let path = prop_oneof![
        "(userName|title|name|name\\.givenName|emails|emails\\.value|roles|addresses|active|\
         members|schemas|id)",
        "(emails|roles|addresses|members)\\[(type|value|primary) (eq|co|ne) \
         (\"(work|a|true)\"|true)\\](\\.(value|locality|primary|type))?",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User\
         (:manager|:department|:manager.value)?",
        "[ -~]{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u8>().prop_map(Value::from),
        "(work|a|b|True|)".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 16, 3, |inner| {
        let key = "(value|type|primary|locality|emails|name|title|members|roles|manager|department|\
                   active)";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..3)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    });
    let verb = "(add|replace|remove)";
    (verb, prop::option::weighted(0.8, path), prop::option::weighted(0.9, value)).prop_map(
        |(verb, path, value)| {
            let mut operation = Map::from_iter([("op".into(), verb.into())]);
            operation.extend(path.map(|path| ("path".into(), path.into())));
            operation.extend(value.map(|value| ("value".into(), value)));
            operation.into()
        },
    )
}

/// A simple model of the RFC for attributes that hold one text.
fn naive(model: &mut Vec<(String, String)>, verb: &str, name: &str, value: &str) {
    model.retain(|(known, _)| known != name);
    if verb != "remove" {
        model.push((name.into(), value.into()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_operation_leaves_a_canonical_document_or_an_error(
        operation in any_operation(),
        second in any_operation(),
    ) {
        for operations in [json!([operation]), json!([operation, second])] {
            if let Ok(patched) = try_operations(operations.clone()) {
                let again = document::normalize_document(user_type(), patched.clone()).unwrap();
                let texts = [&patched, &again].map(|it| serde_json::to_string(it).unwrap());
                prop_assert_eq!(&texts[0], &texts[1]);
            }
            if let Ok(patch) = try_group(operations) {
                let again = document::normalize_document(group_type(), patch.document.clone());
                prop_assert_eq!(again.unwrap(), patch.document);
            }
        }
    }

    #[test]
    fn simple_attributes_behave_as_a_naive_model(
        steps in prop::collection::vec(
            ("(add|replace|remove)", "(title|nickName|locale)", "[a-z]{1,3}", any::<bool>()),
            0..12,
        ),
    ) {
        let mut document = document::normalize_document(user_type(), object(json!({
            "userName": "ada",
        }))).unwrap();
        let mut model = Vec::new();
        for (verb, name, value, with_path) in steps {
            let operation = if with_path || verb == "remove" {
                json!({ "op": verb, "path": name, "value": value })
            } else {
                json!({ "op": verb, "value": { &name: value } })
            };
            let operations = parse_operations(&json!({ "Operations": [operation] })).unwrap();
            let draft = apply_user(&operations, user_type(), &document).unwrap();
            document = document::normalize_document(user_type(), draft).unwrap();
            naive(&mut model, &verb, &name, &value);
        }
        let mut expected = object(json!({ "userName": "ada" }));
        expected.extend(model.into_iter().map(|(name, value)| (name, value.into())));
        prop_assert_eq!(document, document::normalize_document(user_type(), expected).unwrap());
    }

    #[test]
    fn values_of_many_behave_as_a_set(
        steps in prop::collection::vec(
            ("(add|replace|remove)", prop::collection::btree_set("[a-e]", 0..4)),
            1..10,
        ),
    ) {
        let mut model = std::collections::BTreeSet::new();
        let mut operations = Vec::new();
        for (verb, values) in steps {
            operations.push(json!({ "op": verb, "path": "roles", "value": values }));
            match verb.as_str() {
                "add" => model.extend(values),
                "replace" => model = values,
                _ => model.retain(|known| !values.contains(known)),
            }
        }
        let patched = try_operations(operations.into()).unwrap();
        let roles = patched.get("roles").and_then(Value::as_array).into_iter().flatten();
        let left: std::collections::BTreeSet<String> =
            roles.map(|role| role["value"].as_str().unwrap().to_owned()).collect();
        prop_assert_eq!(left, model);
    }

    #[test]
    fn member_changes_mean_what_a_naive_model_means(
        steps in prop::collection::vec(
            ("(add|replace|remove|select|clear)", prop::collection::vec("[a-e]", 1..4)),
            1..10,
        ),
    ) {
        let mut model = std::collections::BTreeSet::new();
        let mut operations = Vec::new();
        for (verb, values) in steps {
            let filter: Vec<String> =
                values.iter().map(|id| format!("value eq \"{id}\"")).collect();
            operations.push(match verb.as_str() {
                "select" => json!({
                    "op": "remove", "path": format!("members[{}]", filter.join(" or ")),
                }),
                "clear" => json!({ "op": "remove", "path": "members" }),
                verb => json!({ "op": verb, "path": "members", "value": values }),
            });
            match verb.as_str() {
                "add" => model.extend(values),
                "replace" => model = values.into_iter().collect(),
                "clear" => model.clear(),
                _ => model.retain(|known| !values.contains(known)),
            }
        }
        let mut left = std::collections::BTreeSet::new();
        for change in try_group(operations.into()).unwrap().members {
            match change {
                MemberChange::Add(ids) => left.extend(ids),
                MemberChange::Remove(ids) => left.retain(|known| !ids.contains(known)),
                MemberChange::RemoveWhere(_) => unreachable!("ids are named"),
                MemberChange::Clear => left.clear(),
                MemberChange::Replace(ids) => left = ids.into_iter().collect(),
            }
        }
        prop_assert_eq!(left, model);
    }
}
