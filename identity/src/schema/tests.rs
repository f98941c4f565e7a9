use super::*;

fn path(schema: Option<&str>, name: &str, sub: Option<&str>) -> AttrPath {
    AttrPath { schema: schema.map(Into::into), name: name.into(), sub: sub.map(Into::into) }
}

fn resolved(
    ty: &ResourceType,
    schema: Option<&str>,
    name: &str,
    sub: Option<&str>,
) -> Option<String> {
    ty.resolve_path(&path(schema, name, sub)).map(|found| found.canonical_path())
}

#[test]
fn names_are_found_in_any_case_and_core_names_also_with_their_urn() {
    assert_eq!(resolved(user_type(), None, "USERNAME", None).as_deref(), Some("userName"));
    assert_eq!(
        resolved(user_type(), Some(&USER_SCHEMA.to_lowercase()), "Name", Some("givenname"))
            .unwrap(),
        "name.givenName"
    );
    assert_eq!(
        resolved(user_type(), None, "meta", Some("lastmodified")).unwrap(),
        "meta.lastModified"
    );
    assert_eq!(
        resolved(group_type(), Some(GROUP_SCHEMA), "externalid", None).unwrap(),
        "externalId"
    );
    assert_eq!(resolved(user_type(), None, "name", Some("nothing")), None);
    assert_eq!(resolved(group_type(), None, "userName", None), None);
    assert_eq!(resolved(user_type(), Some(GROUP_SCHEMA), "displayName", None), None);
}

#[test]
fn an_enterprise_attribute_is_found_with_and_without_its_urn() {
    let bare = resolved(user_type(), None, "manager", None).unwrap();
    assert_eq!(bare, format!("{ENTERPRISE_SCHEMA}:manager"));
    let qualified =
        resolved(user_type(), Some(&ENTERPRISE_SCHEMA.to_uppercase()), "Manager", Some("VALUE"))
            .unwrap();
    assert_eq!(qualified, format!("{ENTERPRISE_SCHEMA}:manager.value"));
    assert_eq!(resolved(user_type(), Some(ENTERPRISE_SCHEMA), "userName", None), None);
    assert_eq!(resolved(user_type(), Some(ENTERPRISE_SCHEMA), "externalId", None), None);
}

#[test]
fn a_whole_extension_is_recognised_however_its_urn_was_split() {
    let (head, tail) = ENTERPRISE_SCHEMA.rsplit_once(':').unwrap();
    for split in [path(Some(ENTERPRISE_SCHEMA), "", None), path(Some(head), tail, None)] {
        assert_eq!(user_type().find_schema(&split).unwrap().urn, ENTERPRISE_SCHEMA);
    }
    assert!(user_type().find_schema(&path(Some(ENTERPRISE_SCHEMA), "department", None)).is_none());
}

#[test]
fn members_of_a_body_are_located_dotted_and_qualified() {
    let located = |key: &str| match user_type().locate_member(key) {
        Some(MemberMeaning::Attribute(found)) => found.canonical_path(),
        Some(MemberMeaning::Schema(schema)) => schema.urn.clone(),
        None => "nothing".into(),
    };
    assert_eq!(located("Name.GivenName"), "name.givenName");
    assert_eq!(
        located(&format!("{ENTERPRISE_SCHEMA}:manager.value")),
        format!("{ENTERPRISE_SCHEMA}:manager.value")
    );
    assert_eq!(located(&ENTERPRISE_SCHEMA.to_lowercase()), ENTERPRISE_SCHEMA);
    assert_eq!(located(&format!("{USER_SCHEMA}:userName")), "userName");
    for unknown in [
        "",
        ".",
        "name.",
        "a.b.c",
        "name.givenName.x",
        "urn:other:thing",
        "é",
        &format!("{USER_SCHEMA}x"),
    ] {
        assert_eq!(located(unknown), "nothing", "{unknown}");
    }
}

#[test]
fn the_characteristics_that_security_rests_on() {
    let of = |ty: &'static ResourceType, name| {
        ty.resolve_path(&path(None, name, None)).unwrap().attribute
    };
    assert_eq!(of(user_type(), "password").returned, ReturnedRule::Never);
    assert_eq!(of(user_type(), "password").mutability, MutabilityRule::WriteOnly);
    assert!(
        of(user_type(), "groups")
            .sub_attributes
            .iter()
            .all(|sub| sub.mutability == MutabilityRule::ReadOnly)
    );
    assert!(of(user_type(), "id").case_exact && of(user_type(), "externalId").case_exact);
    assert!(!of(user_type(), "userName").case_exact);
    assert_eq!(
        of(group_type(), "members").sub_attribute("value").unwrap().mutability,
        MutabilityRule::Immutable
    );
}
