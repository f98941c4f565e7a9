//! Conditional requests (RFC 7644 section 3.14): a read is answered 304 only if the client has
//! everything that the answer would show; a write is compared with the resource alone.

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::world::{Answer, Scim, World, patch};

/// A read by a client that has an answer with this tag.
async fn read_again(scim: &Scim, path: &str, tag: &str) -> Answer {
    scim.send(Method::GET, path, None, &[("if-none-match", tag)]).await
}

/// The tag of the answer that a client gets which has the answer with the tag `known`: another one.
async fn changed_tag(scim: &Scim, path: &str, known: &str) -> String {
    let answer = read_again(scim, path, known).await.is(200);
    let tag = answer.header("etag").to_owned();
    assert_ne!(tag, known, "{}", answer.body);
    assert_eq!(answer.body["meta"]["version"], tag, "RFC 7643 section 3.1");
    let unchanged = read_again(scim, path, &tag).await.is(304);
    assert_eq!(unchanged.header("etag"), tag);
    tag
}

async fn rename(scim: &Scim, path: &str, name: &str) {
    let operations = json!([{ "op": "replace", "path": "displayName", "value": name }]);
    scim.patch(path, operations).await.is(200);
}

fn group_at(id: Uuid) -> String {
    format!("/Groups/{id}")
}

#[tokio::test]
async fn changed_groups_are_read_again() {
    let world = World::new().await;
    let scim = world.scim();
    let ada = scim.user("ada").await;
    let path = format!("/Users/{ada}");
    let alone = [
        format!("{path}?excludedAttributes=groups"),
        format!("{path}?attributes=userName"),
        format!("{path}?attributes=urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"),
    ];
    let first = scim.get(&path).await.is(200).header("etag").to_owned();
    assert_eq!(first, "W/\"1\"");
    read_again(scim, &path, &first).await.is(304);

    // A membership, a group around the group, their names, and the ends of all of it.
    let ward = scim.group("Ward", &[ada]).await;
    let in_ward = changed_tag(scim, &path, &first).await;
    let clinic = scim.group("Clinic", &[ward]).await;
    let in_both = changed_tag(scim, &path, &in_ward).await;
    rename(scim, &group_at(clinic), "Hospital").await;
    let renamed = changed_tag(scim, &path, &in_both).await;
    let add = json!([{ "op": "add", "path": "members", "value": [{ "value": ada }] }]);
    scim.patch(&group_at(clinic), add).await.is(200);
    let direct = changed_tag(scim, &path, &renamed).await;
    scim.delete(&group_at(clinic)).await.is(204);
    assert_eq!(changed_tag(scim, &path, &direct).await, in_ward, "the same answer as before");
    let remove = json!([{ "op": "remove", "path": format!("members[value eq \"{ada}\"]") }]);
    scim.patch(&group_at(ward), remove).await.is(200);
    assert_eq!(changed_tag(scim, &path, &in_ward).await, first);

    // The account itself has not changed, so what shows no groups has not, either.
    for path in &alone {
        let answer = read_again(scim, path, &first).await.is(304);
        assert_eq!(answer.header("etag"), first, "{path}");
    }
    assert_eq!(world.events_of(ada).await, ["user.created"]);
    world.end().await;
}

#[tokio::test]
async fn group_changes_make_no_write_stale() {
    let world = World::new().await;
    let scim = world.scim();
    let ada = scim.user("ada").await;
    let path = format!("/Users/{ada}");
    let ward = scim.group("Ward", &[ada]).await;
    let tag = scim.get(&path).await.is(200).header("etag").to_owned();
    assert!(tag.starts_with("W/\"1-"), "{tag}");
    rename(scim, &group_at(ward), "Ward 3").await;

    let title = |title| Some(patch(json!([{ "op": "add", "path": "title", "value": title }])));
    let send = |method, body, tag: &str| {
        let (tag, path) = (tag.to_owned(), path.clone());
        async move { scim.send(method, &path, body, &[("if-match", &tag)]).await }
    };
    let changed = send(Method::PATCH, title("Nurse"), &tag).await.is(200);
    let second = changed.header("etag").to_owned();
    assert!(second.starts_with("W/\"2-"), "{second}");
    assert_eq!(changed.body["meta"]["version"], second);
    read_again(scim, &path, &second).await.is(304);
    let before = world.everything().await;
    send(Method::PATCH, title("Doctor"), &tag).await.refused(412, None);
    send(Method::PUT, Some(json!({ "userName": "ada" })), &tag).await.refused(412, None);
    send(Method::DELETE, None, &tag).await.refused(412, None);
    // What is not a tag of this server names no version.
    send(Method::DELETE, None, "W/\"2-\"").await.refused(412, None);
    send(Method::DELETE, None, "W/\"2-zz\"").await.refused(412, None);
    let bulk = |tag: &str| {
        let operation = json!({ "method": "DELETE", "path": path, "version": tag });
        let schema = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
        let body = json!({ "schemas": [schema], "Operations": [operation] });
        async move { scim.post("/Bulk", body).await.is(200).body["Operations"][0].clone() }
    };
    assert_eq!(bulk(&tag).await["status"], "412");
    assert_eq!(world.everything().await, before);
    assert_eq!(bulk(&second).await["status"], "204");
    assert_eq!(world.events_of(ada).await, ["user.created", "user.updated", "user.deleted"]);
    world.end().await;
}

#[tokio::test]
async fn renamed_members_are_read_again() {
    let world = World::new().await;
    let scim = world.scim();
    let ada = scim.user("ada").await;
    let team = scim.group("Team", &[]).await;
    let ward = scim.group("Ward", &[ada, team]).await;
    let path = group_at(ward);
    // Names of members are only shown to a client that names attributes.
    let named = format!("{path}?attributes=displayName,members,meta");
    let names_alone = format!("{path}?attributes=displayName");
    let first = scim.get(&named).await.is(200).header("etag").to_owned();
    rename(scim, &format!("/Users/{ada}"), "Ada").await;
    let second = changed_tag(scim, &named, &first).await;
    rename(scim, &group_at(team), "Night shift").await;
    changed_tag(scim, &named, &second).await;
    for path in [&path, &names_alone] {
        let answer = read_again(scim, path, "W/\"1\"").await.is(304);
        assert_eq!(answer.header("etag"), "W/\"1\"", "{path}");
    }
    // Either tag says in which version of the group a write was made.
    let name = Some(patch(json!([{ "op": "replace", "path": "displayName", "value": "W" }])));
    let tag = [("if-match", second.as_str())];
    scim.send(Method::PATCH, &path, name.clone(), &tag).await.is(200);
    scim.send(Method::PATCH, &path, name, &tag).await.refused(412, None);
    world.end().await;
}

#[tokio::test]
async fn lists_show_the_tags_of_reads() {
    let world = World::new().await;
    let scim = world.scim();
    let ada = scim.user("ada").await;
    scim.user("ben").await;
    let ward = scim.group("Ward", &[ada]).await;
    for (list, one) in [
        ("/Users?count=1", format!("/Users/{ada}")),
        ("/Groups?attributes=members,meta", format!("/Groups/{ward}?attributes=members,meta")),
    ] {
        let tag = scim.get(&one).await.is(200).header("etag").to_owned();
        assert!(tag.starts_with("W/\"1-"), "{tag}");
        let listed = scim.get(list).await.is(200);
        assert_eq!(listed.body["Resources"][0]["meta"]["version"], tag, "{list}");
        // A filter compares the version of the resource itself.
        let filter = format!("meta.version eq \"{}\"", tag.replace('"', "\\\""));
        let endpoint = one.split('/').nth(1).unwrap();
        let body = json!({ "filter": filter, "sortBy": "meta.created" });
        let found = scim.post(&format!("/{endpoint}/.search"), body).await.is(200);
        assert_eq!(found.body["Resources"][0]["id"], one.split(['/', '?']).nth(2).unwrap());
    }
    world.end().await;
}
