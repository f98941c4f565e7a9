use super::*;

fn path(schema: Option<&str>, name: &str, sub: Option<&str>) -> AttrPath {
    AttrPath { schema: schema.map(Into::into), name: name.into(), sub: sub.map(Into::into) }
}

fn resolved(ty: &ResourceType, schema: Option<&str>, name: &str, sub: Option<&str>) -> Option<String> {
    ty.resolve(&path(schema, name, sub)).map(|found| found.path())
}

#[test]
fn names_are_found_in_any_case_and_core_names_also_with_their_urn() {
    assert_eq!(resolved(user(), None, "USERNAME", None).as_deref(), Some("userName"));
    assert_eq!(resolved(user(), Some(&USER.to_lowercase()), "Name", Some("givenname")).unwrap(), "name.givenName");
    assert_eq!(resolved(user(), None, "meta", Some("lastmodified")).unwrap(), "meta.lastModified");
    assert_eq!(resolved(group(), Some(GROUP), "externalid", None).unwrap(), "externalId");
    assert_eq!(resolved(user(), None, "name", Some("nothing")), None);
    assert_eq!(resolved(group(), None, "userName", None), None);
    assert_eq!(resolved(user(), Some(GROUP), "displayName", None), None);
}

#[test]
fn an_enterprise_attribute_is_found_with_and_without_its_urn() {
    let bare = resolved(user(), None, "manager", None).unwrap();
    assert_eq!(bare, format!("{ENTERPRISE}:manager"));
    let qualified = resolved(user(), Some(&ENTERPRISE.to_uppercase()), "Manager", Some("VALUE")).unwrap();
    assert_eq!(qualified, format!("{ENTERPRISE}:manager.value"));
    assert_eq!(resolved(user(), Some(ENTERPRISE), "userName", None), None);
    assert_eq!(resolved(user(), Some(ENTERPRISE), "externalId", None), None);
}

#[test]
fn a_whole_extension_is_recognised_however_its_urn_was_split() {
    let (head, tail) = ENTERPRISE.rsplit_once(':').unwrap();
    for split in [path(Some(ENTERPRISE), "", None), path(Some(head), tail, None)] {
        assert_eq!(user().schema(&split).unwrap().urn, ENTERPRISE);
    }
    assert!(user().schema(&path(Some(ENTERPRISE), "department", None)).is_none());
}

#[test]
fn members_of_a_body_are_located_dotted_and_qualified() {
    let located = |key: &str| match user().locate(key) {
        Some(Place::Attribute(found)) => found.path(),
        Some(Place::Schema(schema)) => schema.urn.clone(),
        None => "nothing".into(),
    };
    assert_eq!(located("Name.GivenName"), "name.givenName");
    assert_eq!(located(&format!("{ENTERPRISE}:manager.value")), format!("{ENTERPRISE}:manager.value"));
    assert_eq!(located(&ENTERPRISE.to_lowercase()), ENTERPRISE);
    assert_eq!(located(&format!("{USER}:userName")), "userName");
    for unknown in ["", ".", "name.", "a.b.c", "name.givenName.x", "urn:other:thing", "é", &format!("{USER}x")] {
        assert_eq!(located(unknown), "nothing", "{unknown}");
    }
}

#[test]
fn the_characteristics_that_security_rests_on() {
    let of = |ty: &'static ResourceType, name| ty.resolve(&path(None, name, None)).unwrap().attribute;
    assert_eq!(of(user(), "password").returned, Returned::Never);
    assert_eq!(of(user(), "password").mutability, Mutability::WriteOnly);
    assert!(of(user(), "groups").sub_attributes.iter().all(|sub| sub.mutability == Mutability::ReadOnly));
    assert!(of(user(), "id").case_exact && of(user(), "externalId").case_exact);
    assert!(!of(user(), "userName").case_exact);
    assert_eq!(of(group(), "members").sub("value").unwrap().mutability, Mutability::Immutable);
}
