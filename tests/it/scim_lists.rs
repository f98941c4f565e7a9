//! Lists: filters, pages, order and the attributes that are returned. The expectations are the same
//! on both databases.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Answer, Scim, World};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// Five people, in the order of their creation, and three groups.
async fn hospital() -> (World, Vec<Uuid>, Vec<Uuid>) {
    let world = World::new().await;
    let people = [
        json!({
            "userName": "ada@x.org", "externalId": "A-1", "displayName": "Ada Lovelace", "title": "Nurse",
            "name": { "givenName": "Ada", "familyName": "Lovelace" },
            "emails": [
                { "value": "ada@x.org", "type": "work", "primary": true }, { "value": "ada@home.org", "type": "home" },
            ],
            "addresses": [{ "type": "work", "locality": "London" }],
            ENTERPRISE: { "department": "Wards", "employeeNumber": "100", "manager": { "value": "m-1" } },
        }),
        json!({
            "userName": "Bob@x.org", "externalId": "a-1", "title": "NURSE", "active": false,
            "emails": [{ "value": "bob@x.org", "type": "work" }], ENTERPRISE: { "department": "Surgery" },
        }),
        json!({ "userName": "cyd@y.org", "emails": [{ "value": "cyd@x.org", "type": "home" }], "nickName": "" }),
        json!({ "userName": "dan_1%@y.org", "title": "100% nurse_x", "displayName": "dan" }),
        json!({ "userName": "ève@y.org", "displayName": "Ève \"the\" \\ Ève", "title": "Ärztin" }),
    ];
    let mut users = Vec::new();
    for person in people {
        users.push(world.scim().post("/Users", person).await.is(201).id());
    }
    let ward = world.scim().group("Ward 3", &users[..2]).await;
    let hospital = world.scim().group("hospital", &[ward, users[4]]).await;
    let empty = world.scim().group("Öffnung", &[]).await;
    (world, users, vec![ward, hospital, empty])
}

async fn search(scim: &Scim, path: &str, filter: &str) -> Answer {
    scim.post(&format!("{path}/.search"), json!({ "filter": filter })).await
}

/// The positions, in the order of creation, of the resources that a filter finds. A search and a
/// query must find the same.
async fn found(world: &World, path: &str, filter: &str, all: &[Uuid]) -> Vec<usize> {
    let by_search = search(world.scim(), path, filter).await.is(200);
    let encoded: String = filter.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let by_query = world.scim().get(&format!("{path}?filter={encoded}")).await.is(200);
    assert_eq!(by_query.body, by_search.body, "{filter}");
    let resources = by_search.body["Resources"].as_array().unwrap();
    assert_eq!(by_search.body["totalResults"], resources.len(), "{filter}");
    let place =
        |resource: &Value| all.iter().position(|id| resource["id"] == id.to_string()).unwrap();
    resources.iter().map(place).collect()
}

#[tokio::test]
async fn filters_find_users() {
    let (world, users, groups) = hospital().await;
    let one = &users[2];
    let mut cases: Vec<(String, &[usize])> = [
        // Each operator (RFC 7644 section 3.4.2.2, table 3); text in upper and lower case.
        (r#"userName eq "BOB@X.ORG""#, &[1][..]),
        (r#"userName ne "bob@x.org""#, &[0, 2, 3, 4]),
        (r#"userName co "@Y.""#, &[2, 3, 4]),
        (r#"userName sw "B""#, &[1]),
        (r#"userName ew "x.org""#, &[0, 1]),
        ("title pr", &[0, 1, 3, 4]),
        (r#"userName gt "cyd@y.org""#, &[3, 4]),
        (r#"userName ge "cyd@y.org""#, &[2, 3, 4]),
        (r#"userName lt "cyd@y.org""#, &[0, 1]),
        (r#"userName le "cyd@y.org""#, &[0, 1, 2]),
        // Operators and attribute names in upper and lower case; "and" binds closer than "or".
        (r#"USERNAME EQ "ada@x.org" OR username Sw "cyd" AND active Eq TRUE"#, &[0, 2]),
        (r#"(userName sw "ada" or userName sw "bob") and active eq true"#, &[0]),
        (r#"not (title eq "nurse")"#, &[2, 3, 4]),
        (r#"not (title pr) or not (displayName pr)"#, &[1, 2]),
        // Whether case matters depends on the attribute.
        (r#"externalId eq "A-1""#, &[0]),
        (r#"externalId eq "a-1""#, &[1]),
        (r#"title eq "nurse""#, &[0, 1]),
        // Wildcards of SQL are plain characters.
        (r#"title co "100%""#, &[3]),
        (r#"title co "nurse_""#, &[3]),
        (r#"userName co "n_1%""#, &[3]),
        (r#"userName sw "%""#, &[]),
        (r#"title co """#, &[0, 1, 3, 4]),
        (r#"displayName eq "ève \"THE\" \\ ÈVE""#, &[4]),
        (r#"displayName eq "\u00c8ve \"the\" \\ \u00e8ve""#, &[4]),
        (r#"title eq "ÄRZTIN""#, &[4]),
        (r#"userName eq "' OR 1=1 --""#, &[]),
        // Booleans, absent values, null.
        ("active eq false", &[1]),
        ("active ne true", &[1]),
        ("nickName pr", &[]),
        ("title eq null", &[2]),
        ("displayName ne null", &[0, 3, 4]),
        // Sub-attributes, elements, extensions.
        (r#"name.familyName eq "lovelace""#, &[0]),
        (r#"emails.value eq "ADA@home.org""#, &[0]),
        (r#"emails eq "bob@x.org""#, &[1]),
        (r#"emails[type eq "work" and value ew "x.org"]"#, &[0, 1]),
        (r#"emails[type eq "home" and value ew "x.org"]"#, &[2]),
        (r#"emails.type eq "home" and emails.value ew "x.org""#, &[0, 2]),
        (r#"emails[type eq "home"].value eq "ada@home.org""#, &[0]),
        (r#"emails[primary eq true].value eq "ada@home.org""#, &[]),
        ("emails pr", &[0, 1, 2]),
        (r#"addresses.locality eq "london""#, &[0]),
        (r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "ada""#, &[0]),
        (
            r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "surgery""#,
            &[1],
        ),
        (
            r#"URN:IETF:params:scim:schemas:extension:enterprise:2.0:user:manager.value eq "m-1""#,
            &[0],
        ),
        (r#"meta.created gt "2020-01-01T00:00:00Z""#, &[0, 1, 2, 3, 4]),
    ]
    .map(|(filter, places)| (filter.to_owned(), places))
    .into();
    cases.push((format!("id eq \"{one}\""), &[2]));
    cases.push((format!("id eq \"{one}\" and active eq false"), &[]));
    cases.push((format!("groups.value eq \"{}\"", groups[0]), &[0, 1]));
    cases.push((format!("groups eq \"{}\"", groups[1]), &[0, 1, 4]));
    for (filter, places) in cases {
        assert_eq!(found(&world, "/Users", &filter, &users).await, places, "{filter}");
    }
    world.end().await;
}

#[tokio::test]
async fn dates_compare_as_instants() {
    let world = World::new().await;
    let mut users = Vec::new();
    for name in ["ada", "bob", "cyd"] {
        users.push(world.scim().user(name).await);
        world.days_pass(1);
    }
    let created = |n: usize| {
        let (scim, id) = (world.scim().clone(), users[n]);
        async move {
            scim.get(&format!("/Users/{id}")).await.body["meta"]["created"]
                .as_str()
                .unwrap()
                .to_owned()
        }
    };
    let second = created(1).await;
    let elsewhere = chrono::DateTime::parse_from_rfc3339(&second).unwrap();
    let elsewhere = elsewhere
        .with_timezone(&chrono::FixedOffset::east_opt(5 * 3600 + 1800).unwrap())
        .to_rfc3339();
    for instant in [second.clone(), elsewhere] {
        for (operator, places) in [
            ("eq", &[1][..]),
            ("ne", &[0, 2]),
            ("gt", &[2]),
            ("ge", &[1, 2]),
            ("lt", &[0]),
            ("le", &[0, 1]),
        ] {
            let filter = format!("meta.created {operator} \"{instant}\"");
            assert_eq!(found(&world, "/Users", &filter, &users).await, places, "{filter}");
        }
    }
    // Clients that synchronize ask for resources that have changed since an instant.
    let now = world.app.clock.now().to_rfc3339();
    let path = format!("/Users/{}", users[0]);
    world
        .scim()
        .patch(&path, json!([{ "op": "add", "path": "title", "value": "x" }]))
        .await
        .is(200);
    assert_eq!(
        found(&world, "/Users", &format!("meta.lastModified ge \"{now}\""), &users).await,
        [0]
    );
    search(world.scim(), "/Users", "meta.created gt \"yesterday\"")
        .await
        .refused(400, Some("invalidFilter"));
    world.end().await;
}

#[tokio::test]
async fn filters_find_groups() {
    let (world, users, groups) = hospital().await;
    for (filter, places) in [
        (r#"displayName eq "WARD 3""#.to_owned(), &[0][..]),
        (r#"displayName sw "ö""#.into(), &[2]),
        ("externalId pr".into(), &[]),
        ("members pr".into(), &[0, 1]),
        (format!("members.value eq \"{}\"", users[1]), &[0]),
        (format!("members[value eq \"{}\"]", groups[0]), &[1]),
        (format!("members eq \"{}\" and displayName eq \"hospital\"", users[4]), &[1]),
        (format!("not (members.value eq \"{}\")", users[0]), &[1, 2]),
        (format!("id eq \"{}\" and members eq \"{}\"", groups[0], users[0]), &[0]),
    ] {
        assert_eq!(found(&world, "/Groups", &filter, &groups).await, places, "{filter}");
    }
    world.end().await;
}

#[tokio::test]
async fn refused_filters_name_the_reason() {
    let (world, ..) = hospital().await;
    let before = world.everything().await;
    for filter in [
        "userName",
        "userName eq",
        "userName eq 'bob'",
        "userName = \"x\"",
        "eq \"x\"",
        "(userName pr",
        "userName pr)",
        "userName pr and",
        "userName pr userName pr",
        "not userName pr",
        "userName eq \"x",
        "userName eq \"\\x\"",
        "emails[type eq \"work\"",
        "emails[]",
        "noSuchThing pr",
        "name.noSuchThing pr",
        "password pr",
        "active co true",
        "active gt false",
        "userName eq 7.5",
        "emails[type eq \"work\"].noSuchThing pr",
        "urn:x:y:userName pr",
    ] {
        let answer =
            search(world.scim(), "/Users", filter).await.refused(400, Some("invalidFilter"));
        assert!(answer.body["detail"].as_str().unwrap().len() > 20, "{filter}: {}", answer.body);
    }
    assert_eq!(world.everything().await, before);
    world.end().await;
}

/// `(startIndex, itemsPerPage, totalResults, positions)` of a page.
async fn page(world: &World, query: &str, users: &[Uuid]) -> (u64, u64, u64, Vec<usize>) {
    let body = world.scim().get(&format!("/Users?{query}")).await.is(200).body;
    let number = |name: &str| body[name].as_u64().unwrap_or_else(|| panic!("{name} in {body}"));
    let place =
        |resource: &Value| users.iter().position(|id| resource["id"] == id.to_string()).unwrap();
    let places = body["Resources"].as_array().unwrap().iter().map(place).collect();
    (number("startIndex"), number("itemsPerPage"), number("totalResults"), places)
}

#[tokio::test]
async fn pages_follow_the_rfc() {
    let (world, users, _) = hospital().await;
    for (query, start, total, places) in [
        ("", 1, 5, vec![0, 1, 2, 3, 4]),
        ("startIndex=1&count=2", 1, 5, vec![0, 1]),
        ("startIndex=3&count=2", 3, 5, vec![2, 3]),
        ("startIndex=5&count=2", 5, 5, vec![4]),
        ("startIndex=4", 4, 5, vec![3, 4]),
        // RFC 7644 section 3.4.2.4: a startIndex below 1 counts as 1, a negative count as 0, and a
        // count of 0 returns the total only.
        ("startIndex=0&count=1", 1, 5, vec![0]),
        ("startIndex=-7&count=1", 1, 5, vec![0]),
        ("count=0", 1, 5, vec![]),
        ("count=-1", 1, 5, vec![]),
        ("startIndex=6", 6, 5, vec![]),
        ("startIndex=1000000&count=10", 1_000_000, 5, vec![]),
        ("count=1000000", 1, 5, vec![0, 1, 2, 3, 4]),
        ("count=3&filter=title%20pr", 1, 4, vec![0, 1, 3]),
        ("count=0&filter=title%20pr", 1, 4, vec![]),
        ("filter=", 1, 5, vec![0, 1, 2, 3, 4]),
    ] {
        let items = places.len() as u64;
        assert_eq!(page(&world, query, &users).await, (start, items, total, places), "{query}");
    }
    // A page is the same whether the server skips the rows before it or after it.
    for (start, count) in (1..=7).flat_map(|start| (1..=6).map(move |count| (start, count))) {
        let places: Vec<usize> = (start - 1..5.min(start - 1 + count)).collect();
        let expected = (start as u64, places.len() as u64, 5, places);
        assert_eq!(
            page(&world, &format!("startIndex={start}&count={count}"), &users).await,
            expected
        );
    }
    // A client that reads page by page gets each account once, even if one is deleted in between.
    let (_, _, _, first) = page(&world, "count=2", &users).await;
    world.scim().delete(&format!("/Users/{}", users[4])).await.is(204);
    let (_, _, total, rest) = page(&world, "startIndex=3&count=10", &users).await;
    assert_eq!((first, rest, total), (vec![0, 1], vec![2, 3], 4));
    world.end().await;
}

#[tokio::test]
async fn pages_respect_the_announced_maximum() {
    let world = World::new().await;
    for n in 0..201 {
        world.scim().user(&format!("u{n:03}")).await;
    }
    let most = world.scim().get("/ServiceProviderConfig").await.body["filter"]["maxResults"]
        .as_u64()
        .unwrap();
    assert_eq!(most, 200);
    let body = world.scim().get("/Users?count=100000").await.is(200).body;
    assert_eq!(
        (body["itemsPerPage"].as_u64(), body["totalResults"].as_u64()),
        (Some(most), Some(201))
    );
    // The whole list by cursor, forwards; no account comes twice.
    let (mut cursor, mut names, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let body = world.scim().get(&format!("/Users?count=67&cursor={cursor}")).await.is(200).body;
        let page = body["Resources"].as_array().unwrap();
        names.extend(page.iter().map(|user| user["userName"].as_str().unwrap().to_owned()));
        pages += 1;
        assert_eq!(body["totalResults"], 201);
        match body["nextCursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(names, (0..201).map(|n| format!("u{n:03}")).collect::<Vec<_>>());
    assert_eq!(pages, 3, "a full last page has no next");
    world.end().await;
}

#[tokio::test]
async fn lists_are_sorted_by_any_attribute() {
    let (world, users, _) = hospital().await;
    for (query, places) in [
        ("sortBy=userName", vec![0, 1, 2, 3, 4]),
        ("sortBy=userName&sortOrder=descending", vec![4, 3, 2, 1, 0]),
        ("sortBy=USERNAME&sortOrder=DESCENDING", vec![4, 3, 2, 1, 0]),
        // RFC 7644 section 3.4.2.3: resources without a value come last, and first in descending
        // order.
        ("sortBy=displayName", vec![0, 3, 4, 1, 2]),
        ("sortBy=displayName&sortOrder=descending", vec![1, 2, 4, 3, 0]),
        ("sortBy=title", vec![3, 0, 1, 4, 2]),
        ("sortBy=name.familyName", vec![0, 1, 2, 3, 4]),
        ("sortBy=emails", vec![0, 1, 2, 3, 4]),
        ("sortBy=active", vec![1, 0, 2, 3, 4]),
        ("sortBy=meta.lastModified&sortOrder=descending", vec![4, 3, 2, 1, 0]),
        (
            "sortBy=urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
            vec![1, 0, 2, 3, 4],
        ),
        ("sortBy=userName&startIndex=2&count=2", vec![1, 2]),
        ("sortBy=userName&sortOrder=descending&filter=title%20pr&count=2", vec![4, 3]),
    ] {
        assert_eq!(page(&world, query, &users).await.3, places, "{query}");
    }
    for query in [
        "sortBy=noSuchThing",
        "sortBy=userName&sortOrder=upwards",
        "sortBy=userName,title",
        "sortBy=name",
    ] {
        world.scim().get(&format!("/Users?{query}")).await.is(400);
    }
    world.end().await;
}

#[tokio::test]
async fn answers_contain_the_requested_attributes() {
    let (world, users, groups) = hospital().await;
    let ada = format!("/Users/{}", users[0]);
    let keys = |body: &Value| {
        let mut keys: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    // RFC 7644 section 3.9: `id` and `schemas` are always returned.
    let body =
        world.scim().get(&format!("{ada}?attributes=userName,name.givenName")).await.is(200).body;
    assert_eq!(keys(&body), ["id", "name", "schemas", "userName"]);
    assert_eq!(body["name"], json!({ "givenName": "Ada" }));
    let body = world
        .scim()
        .get(&format!("{ada}?attributes=emails.value,{ENTERPRISE}:department"))
        .await
        .is(200)
        .body;
    assert_eq!(body["emails"], json!([{ "value": "ada@x.org" }, { "value": "ada@home.org" }]));
    assert_eq!(body[ENTERPRISE], json!({ "department": "Wards" }));
    let body = world.scim().get(&format!("{ada}?attributes={ENTERPRISE}")).await.is(200).body;
    assert_eq!(keys(&body), ["id", "schemas", ENTERPRISE]);
    let body = world.scim().get(&format!("{ada}?attributes=noSuchThing")).await.is(200).body;
    assert_eq!(keys(&body), ["id", "schemas"]);
    let whole = world.scim().get(&ada).await.body;
    let body = world
        .scim()
        .get(&format!("{ada}?excludedAttributes=emails,name.familyName,id,meta,groups"))
        .await
        .body;
    assert_eq!(
        (&body["emails"], &body["meta"], &body["groups"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!((&body["id"], &body["title"]), (&whole["id"], &whole["title"]));
    assert_eq!(body["name"], json!({ "givenName": "Ada" }));
    world
        .scim()
        .get(&format!("{ada}?attributes=userName&excludedAttributes=name"))
        .await
        .refused(400, Some("invalidValue"));
    // A list may come in several parameters, and parameters are named in any case.
    for spelling in ["attributes=userName&attributes=title", "Attributes=userName,title"] {
        let body = world.scim().get(&format!("{ada}?{spelling}")).await.is(200).body;
        assert_eq!(keys(&body), ["id", "schemas", "title", "userName"], "{spelling}");
    }
    let nobody = world.scim().get("/Users?FILTER=userName%20eq%20%22nobody%22&Count=1").await;
    assert_eq!(nobody.is(200).body["totalResults"], 0);
    let twice = "/Users?filter=userName%20pr&Filter=title%20pr";
    world.scim().get(twice).await.refused(400, Some("invalidValue"));
    // The same holds for lists, searches and the answers to changes.
    let body = world.scim().get("/Groups?excludedAttributes=members&count=1").await.is(200).body;
    assert_eq!(keys(&body["Resources"][0]), ["displayName", "id", "meta", "schemas"]);
    let search =
        json!({ "attributes": ["displayName"], "filter": "displayName sw \"ward\"", "count": 5 });
    let body = world.scim().post("/Groups/.search", search).await.is(200).body;
    assert_eq!(keys(&body["Resources"][0]), ["displayName", "id", "schemas"]);
    let path = format!("/Groups/{}?attributes=displayName", groups[2]);
    let body = world
        .scim()
        .patch(&path, json!([{ "op": "replace", "path": "displayName", "value": "Open" }]))
        .await;
    assert_eq!(keys(&body.is(200).body), ["displayName", "id", "schemas"]);
    let body = world
        .scim()
        .post("/Users?attributes=userName", json!({ "userName": "new" }))
        .await
        .is(201)
        .body;
    assert_eq!(keys(&body), ["id", "schemas", "userName"]);
    world.end().await;
}

#[tokio::test]
async fn root_search_finds_users_and_groups() {
    let (world, users, groups) = hospital().await;
    let all: Vec<Uuid> = users.iter().chain(&groups).copied().collect();
    for root in ["", "/"] {
        let body = world.scim().get(&format!("{root}?count=6")).await.is(200).body;
        assert_eq!((&body["totalResults"], &body["itemsPerPage"]), (&json!(8), &json!(6)));
        let ids: Vec<_> =
            body["Resources"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
        assert_eq!(json!(ids), json!(all[..6]));
    }
    // RFC 7644 section 3.4.2.1: an attribute that a resource type does not have counts as absent.
    let filters = [
        ("displayName pr", 6),
        ("userName pr", 5),
        ("displayName sw \"ward\"", 1),
        ("userName pr or displayName sw \"ward\"", 6),
        ("not (userName pr)", 3),
        ("userName eq null", 3),
        ("userName ne \"unknown\" and id pr", 8),
        ("members pr or active eq true", 6),
    ];
    for (filter, total) in filters {
        let body = world.scim().post("/.search", json!({ "filter": filter })).await.is(200).body;
        assert_eq!(body["totalResults"], total, "{filter}");
    }
    search(world.scim(), "", "noSuchThing pr").await.refused(400, Some("invalidFilter"));
    let sorted = world.scim().post("/.search", json!({ "sortBy": "userName" })).await.is(200).body;
    assert_eq!(sorted["totalResults"], 8);
    world.end().await;
}
