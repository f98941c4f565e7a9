use super::*;
use crate::identity::schema;

fn read(text: &str) -> ExportedPeople {
    read_people(ExportFormat::Csv, text.as_bytes(), schema::user_type()).unwrap()
}

#[test]
fn the_exports_of_the_known_identity_providers_are_read() {
    let entra = "\u{FEFF}userPrincipalName,displayName,surname,mail,givenName,id,userType,jobTitle,department,\
             accountEnabled,usageLocation,state\r\n\
             ada@example.org,Ada \
             Lovelace,Lovelace,ada.l@example.org,Ada,0a1b,Member,Analyst,Research,True,GB,Surrey\r\n";
    let okta = "login,firstName,lastName,email,title,department,status\nada@example.org,Ada,Lovelace,\
             ada.l@example.org,Analyst,Research,PASSWORD_EXPIRED\n";
    let google = "First Name [Required],Last Name [Required],Email Address [Required],Password \
                  [Required],\
             Org Unit Path [Required],Status [READ ONLY],Employee ID,Employee Title,Department\n\
             Ada,Lovelace,ada@example.org,****,/,Active,7,Analyst,Research\n";
    let jumpcloud = "username;email;firstname;lastname;jobTitle;department;state;suspended\n\
             ada@example.org;ada.l@example.org;Ada;Lovelace;Analyst;Research;ACTIVATED;false\n";
    for (name, text) in
        [("entra", entra), ("okta", okta), ("google", google), ("jumpcloud", jumpcloud)]
    {
        let export = read(text);
        let [ada] = export.people.as_slice() else { panic!("{name}: {export:?}") };
        assert_eq!(ada.user_name.as_deref(), Some("ada@example.org"), "{name}");
        assert_eq!((ada.line, ada.active_there()), (2, Some(true)), "{name}");
        for (attribute, value) in [
            ("name.givenName", "Ada"),
            ("name.familyName", "Lovelace"),
            ("title", "Analyst"),
            (ENTERPRISE_COLUMNS[0], "Research"),
        ] {
            assert_eq!(ada.attributes[attribute], value, "{name}");
            assert!(export.columns.names.contains(attribute), "{name}");
        }
        assert_eq!(export.reading, RowReading { rows: 1, ..Default::default() }, "{name}");
    }
    assert_eq!(read(entra).people[0].remote_id.as_deref(), Some("0a1b"));
    assert!(
        !read(entra).columns.names.contains("externalId"),
        "an id of theirs is no externalId by itself"
    );
}

#[test]
fn inactive_in_one_column_is_inactive() {
    for (status, suspended, active) in [
        ("ACTIVATED", "true", Some(false)),
        ("SUSPENDED", "", Some(false)),
        ("DEPROVISIONED", "false", Some(false)),
        ("", "", None),
    ] {
        let export = read(&format!("username,state,suspended\nada,{status},{suspended}\n"));
        assert_eq!(export.people[0].active_there(), active, "{status} {suspended}");
    }
    let odd = read("username,status\nada,perhaps\n");
    assert_eq!((odd.people[0].active_there(), odd.reading.unread), (None, 0));
    assert!(!odd.reading.troubles[0].why.contains("perhaps"), "values are not repeated");
}

#[test]
fn rubbish_is_told_by_its_line() {
    let export = read("userName,title\nada,x\n\nbob\n,y\nADA,z\n\"cy\nril\",x\ndan,x\n");
    assert_eq!(export.people.iter().map(|person| person.line).collect::<Vec<_>>(), [2, 7, 9]);
    let lines: Vec<_> = export.reading.troubles.iter().map(|trouble| trouble.line).collect();
    assert_eq!((lines, export.reading.unread, export.reading.rows), (vec![4, 5, 6], 2, 6));
    for (text, word) in [
        ("", "no row"),
        ("userName\n", "no row"),
        ("a,b\n1,2\n", "line 1"),
        ("userName,title\nada\nbob\n", "line 2"),
        ("\u{FF}\u{FE}u\0s\0e\0r\0", "no row"),
    ] {
        let error = read_people(ExportFormat::Csv, text.as_bytes(), schema::user_type())
            .unwrap_err()
            .to_string();
        assert!(error.contains(word) || error.contains("line 1"), "{text:?}: {error}");
    }
    let error = read_people(ExportFormat::Csv, b"userName\n\xFF\n", schema::user_type())
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 2") && error.contains("UTF-8"), "{error}");
}

#[test]
fn a_login_that_was_given_out_again_is_in_use() {
    let export = read("userName,externalId,active\nada,old,False\nbob,b,True\nada,new,True\n");
    let listed: Vec<_> =
        export.people.iter().map(|person| (person.line, person.external_id.as_deref())).collect();
    assert_eq!(listed, [(3, Some("b")), (4, Some("new"))]);
    assert_eq!(export.reading.troubles.iter().map(|trouble| trouble.line).collect::<Vec<_>>(), [2]);
}

#[test]
fn json_lines_of_users_and_groups_are_read() {
    let lines = br#"{"id": "u1", "userName": "ada", "emails": [{"value": "B@x"}, {"value": "a@x"}], "active": "True"}

{"userName": 7}
"text"
{"userName": "bob", "externalId": "e2", "title": "Nurse", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"manager": {"value": "u1"}}}
{
"#;
    let export = read_people(ExportFormat::JsonLines, lines, schema::user_type()).unwrap();
    assert_eq!(export.people.len(), 2);
    assert_eq!(export.people[0].attributes["emails"], serde_json::json!(["a@x", "b@x"]));
    assert_eq!(export.reading.troubles.iter().map(|it| it.line).collect::<Vec<_>>(), [3, 4, 6]);
    assert!(export.columns.names.contains("title") && export.columns.all_emails);
    assert!(
        !export.columns.names.iter().any(|name| name.contains("manager")),
        "their ids say nothing here"
    );

    let lines = br#"{"displayName": "Ward", "id": "g1", "members": [{"value": "u1"}, "u2"]}
{"displayName": "Empty", "members": []}
{"displayName": "Silent"}
"#;
    let export = read_members(ExportFormat::JsonLines, lines, schema::group_type()).unwrap();
    assert_eq!(export.groups.values().map(BTreeSet::len).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(export.reading.unread, 1);
    let export = read_members(
        ExportFormat::Csv,
        b"Group Name,userPrincipalName\nWard,ada\nWard,bob\nWard,ada\nEmpty,\n,ada\n",
        schema::group_type(),
    );
    let export = export.unwrap();
    assert_eq!(export.groups.values().map(BTreeSet::len).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(export.reading.troubles[0].line, 6);
    for text in ["group\nWard\n", "userName\nada\n"] {
        let error = read_members(ExportFormat::Csv, text.as_bytes(), schema::group_type())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("line 1"), "{error}");
    }
}

proptest::proptest! {
    /// Whatever comes is read or refused.
    #[test]
    fn nothing_that_is_uploaded_breaks_the_reader(pieces in proptest::collection::vec(
        proptest::sample::select(vec![
            "userName", "email", "id", "active", "group", ",", ";", "\t", "\n", "\r\n", "\"", "\0", "ada", "\u{FEFF}",
            "true", "{\"userName\": \"x\"}", "{\"displayName\": \"x\", \"members\": \
                [", "]}", "{", "}",
        ]), 0..60), noise in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..20))
    {
        let mut bytes = pieces.concat().into_bytes();
        let whole = bytes.clone();
        bytes.extend(noise);
        for bytes in [whole, bytes] {
            for format in [ExportFormat::Csv, ExportFormat::JsonLines] {
                if let Ok(export) = read_people(format, &bytes, schema::user_type()) {
                    proptest::prop_assert!(export.people.iter().all(|person| person.display_label().is_some()));
                }
                let _ = read_members(format, &bytes, schema::group_type());
            }
        }
    }
}
