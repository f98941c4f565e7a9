//! Domains proven by a record in the DNS, and the operator's release of provisioning.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use chrono::Duration;
use reqwest::Method;
use rolecall::auth::policy::{Permission, Permissions};
use rolecall::context::local_issuer;
use rolecall::domain::access::api_key;
use rolecall::domain::tenant::domain;
use rolecall::domain::tenant::domain::DomainProof;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::lists::filters::{Case as FilterCase, has};
use crate::walk::KindStory;
use crate::world::{Tenant, World};

const ADD: &str = "mutation($n: String!) { domainAdd(input: { name: $n, reason: \"ours\" }) { domain {
    id name state recordName recordValue provenAt nextStep } userErrors { code reason path message } } }";
const PROVE: &str =
    "mutation($d: ID!) { domainProve(input: { id: $d }) { domain { id state provenAt
    lostAt lastCheckedAt lastCheckError nextStep } userErrors { code reason message } } }";
const REMOVE: &str = "mutation($d: ID!) { domainRemove(input: { id: $d, reason: \"sold\" }) {
    removedDomainId userErrors { code } } }";
const LIST: &str = "query($f: DomainFilter, $o: DomainOrder) { organization { verifiedDomains
    domains(first: 9, filter: $f, orderBy: $o) { totalCount nodes { name state lostAt
    lastCheckError } } } }";
const ATTENTION: &str = "{ organization { attention { kind message nextStep count } } }";

/// What the tests of all kinds need to know of domains.
pub const STORY: KindStory = KindStory {
    kind: "Domain",
    furnish: |tenant, name| Box::pin(furnish(tenant, name)),
    filter_cases: &[FilterCase("domains", "name", "search: \"BEN.\"", |node| {
        has(node, "/name", "ben.")
    })],
    filters_tried_elsewhere: &[("DomainFilter", "states", "tests/it/domains.rs")],
};

async fn furnish(tenant: &Tenant, name: &str) -> String {
    let add = "mutation($n: String!) { domainAdd(input: { name: $n }) { domain { id } } }";
    let added = tenant.graphql(add, json!({ "n": format!("{name}.example.net") })).await;
    added["data"]["domainAdd"]["domain"]["id"].as_str().unwrap().to_owned()
}

/// A DNS server for text records, on UDP and TCP.
#[derive(Clone, Default)]
struct NameServer {
    /// The records of each name; a name that begins with `=` is an alias.
    records: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
    mode: Arc<Mutex<ServerMode>>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum ServerMode {
    #[default]
    Answers,
    /// Over UDP it says that the answer does not fit.
    Cuts,
    /// It answers as for another question first.
    Confuses,
    Fails,
}

impl NameServer {
    async fn start() -> (Self, SocketAddr) {
        let server = Self::default();
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let over_udp = server.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                let mode = *over_udp.mode.lock().unwrap();
                let answer = over_udp.answer(&buffer[..length], mode == ServerMode::Cuts);
                if mode == ServerMode::Confuses {
                    let mut other = answer.clone();
                    other[0] ^= 0xff;
                    udp.send_to(&other, from).await.unwrap();
                    udp.send_to(b"?", from).await.unwrap();
                }
                udp.send_to(&answer, from).await.unwrap();
            }
        });
        let over_tcp = server.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut question).await.unwrap();
                let answer = over_tcp.answer(&question, false);
                stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        (server, address)
    }

    fn set(&self, name: &str, texts: &[&str]) {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        self.records.lock().unwrap().insert(name.to_owned(), texts);
    }

    fn be(&self, mode: ServerMode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// The answer in wire format (RFC 1035), names without compression.
    fn answer(&self, question: &[u8], cut: bool) -> Vec<u8> {
        let mut at = 12;
        let mut labels = Vec::new();
        while question[at] != 0 {
            let end = at + 1 + usize::from(question[at]);
            labels.push(String::from_utf8(question[at + 1..end].to_vec()).unwrap());
            at = end;
        }
        let name = labels.join(".");
        let records = self.records.lock().unwrap();
        let fails = *self.mode.lock().unwrap() == ServerMode::Fails;
        let mut answers = Vec::new();
        let mut current = name.clone();
        while let Some([alias]) = records.get(&current).map(Vec::as_slice)
            && let Some(target) = alias.strip_prefix('=')
        {
            answers.push((current.clone(), 5_u16, wire_name(target)));
            current = target.to_owned();
        }
        for text in records.get(&current).into_iter().flatten() {
            // Texts longer than 255 bytes are several strings.
            let strings = text.as_bytes().chunks(255);
            let data = strings.flat_map(|part| [&[part.len() as u8], part].concat()).collect();
            answers.push((current.clone(), 16, data));
        }
        let code = match (fails, records.contains_key(&name)) {
            (true, _) => 2,
            (false, false) => 3,
            (false, true) => 0,
        };
        let cut = if cut { 0x02 } else { 0 };
        let answers = if cut == 0 && code == 0 { answers } else { Vec::new() };
        let mut message = question[..2].to_vec();
        message.extend([0x81 | cut, 0x80 | code, 0, 1, 0, answers.len() as u8, 0, 0, 0, 0]);
        message.extend(&question[12..at + 5]);
        for (owner, kind, data) in answers {
            let data: Vec<u8> = data;
            message.extend(wire_name(&owner));
            message.extend([kind.to_be_bytes(), 1_u16.to_be_bytes()].concat());
            message.extend(60_u32.to_be_bytes());
            message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend(data);
        }
        message
    }
}

fn wire_name(name: &str) -> Vec<u8> {
    let labels =
        name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

async fn world_with_dns() -> (World, NameServer) {
    let (server, address) = NameServer::start().await;
    (World::with(|config| config.dns_server = Some(address)).await, server)
}

async fn add(tenant: &Tenant, name: &str) -> Value {
    let added = tenant.graphql(ADD, json!({ "n": name })).await["data"]["domainAdd"].clone();
    assert_eq!(added["userErrors"], json!([]), "{added:#}");
    added["domain"].clone()
}

async fn prove(tenant: &Tenant, id: &Value) -> Value {
    let answer = tenant.graphql(PROVE, json!({ "d": id })).await;
    answer["data"]["domainProve"].clone()
}

fn record_of(domain: &Value) -> (&str, &str) {
    (domain["recordName"].as_str().unwrap(), domain["recordValue"].as_str().unwrap())
}

async fn events(world: &World) -> Vec<String> {
    let text = "SELECT action FROM event WHERE action LIKE 'domain.%' ORDER BY pos";
    let rows = world.rows(text, []).await;
    rows.iter().map(|row| row["action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn record_in_the_dns_proves_domain() {
    let (world, server) = world_with_dns().await;
    let added = add(&world.acme, " BÜCHER.example ").await;
    let (name, value) = record_of(&added);
    assert_eq!(added["name"], "bücher.example");
    assert_eq!(name, "_rolecall.xn--bcher-kva.example");
    assert!(value.starts_with("rolecall-domain-verification=") && value.len() > 60, "{value}");
    assert_eq!(added["state"], "ASSERTED");
    assert!(added["nextStep"].as_str().unwrap().contains(value));
    let id = &added["id"];

    // No record, and records with other texts, prove nothing.
    let missing = prove(&world.acme, id).await;
    assert_eq!(missing["userErrors"][0]["reason"], "DOMAIN_RECORD_MISSING", "{missing:#}");
    server.set(name, &["v=spf1 -all", &value[..value.len() - 1], &format!("{value}x")]);
    let other = prove(&world.acme, id).await;
    assert_eq!(other["userErrors"][0]["reason"], "DOMAIN_RECORD_MISSING", "{other:#}");
    assert!(!other.to_string().contains("spf1"), "it does not tell what others wrote");

    // Long texts before it, an answer that does not fit, answers to other questions.
    let long = "x".repeat(400);
    server.set(name, &[&long, value]);
    server.be(ServerMode::Cuts);
    let proven = prove(&world.acme, id).await;
    assert_eq!(proven["userErrors"], json!([]), "{proven:#}");
    assert_eq!(proven["domain"]["state"], "PROVEN");
    assert!(proven["domain"]["provenAt"].is_string() && proven["domain"]["nextStep"].is_null());
    server.be(ServerMode::Confuses);
    let again = prove(&world.acme, id).await;
    assert_eq!(again["domain"]["provenAt"], proven["domain"]["provenAt"], "{again:#}");
    assert_eq!(events(&world).await, ["domain.added", "domain.proven"]);
    let told = world.last_payload().await;
    assert_eq!(told["after"], json!({ "name": "bücher.example", "state": "PROVEN" }));

    // What lies in it.
    let cx = world.system();
    for (address, inside) in [
        ("ada@bücher.example", true),
        ("Ada@XN--Bcher-kva.example", true),
        ("ada@sub.bücher.example", false),
        ("ada@bücher.example.org", false),
        ("bücher.example", false),
        ("ada@", false),
    ] {
        let found = domain::is_in_own_domain(&cx, address, DomainProof::Proven).await.unwrap();
        assert_eq!(found, inside, "{address}");
    }
    add(&world.acme, "asserted.example").await;
    for (proof, inside) in [(DomainProof::Asserted, true), (DomainProof::Proven, false)] {
        let found = domain::is_in_own_domain(&cx, "a@asserted.example", proof).await.unwrap();
        assert_eq!(found, inside, "{proof:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn aliases_lead_to_the_record() {
    let (world, server) = world_with_dns().await;
    let added = add(&world.acme, "example.org").await;
    let (name, value) = record_of(&added);
    server.set(name, &["=verify.provider.example"]);
    server.set("verify.provider.example", &[value]);
    assert_eq!(prove(&world.acme, &added["id"]).await["domain"]["state"], "PROVEN");
    // A ring of aliases ends.
    let ring = add(&world.acme, "ring.example").await;
    server.set(record_of(&ring).0, &["=a.example"]);
    let answer = prove(&world.acme, &ring["id"]).await;
    assert_eq!(answer["userErrors"][0]["reason"], "DOMAIN_RECORD_MISSING", "{answer:#}");
    world.end().await;
}

#[tokio::test]
async fn lost_record_is_no_removal() {
    let (world, server) = world_with_dns().await;
    let added = add(&world.acme, "example.org").await;
    let (name, value) = record_of(&added);
    server.set(name, &[value]);
    prove(&world.acme, &added["id"]).await;
    let before = world.graphql(LIST, json!({})).await;
    assert_eq!(before["data"]["organization"]["domains"]["nodes"][0]["state"], "PROVEN");

    // A DNS that does not answer changes nothing.
    server.be(ServerMode::Fails);
    assert!(check_due(&world).await.is_empty(), "a day has not passed");
    world.days_pass(2);
    assert_eq!(check_due(&world).await, ["PROVEN"]);
    let silent = world.graphql(LIST, json!({})).await;
    let row = &silent["data"]["organization"]["domains"]["nodes"][0];
    assert!(row["lastCheckError"].as_str().unwrap().contains("ServerFailure"), "{silent:#}");

    // A missing record makes it attention; the domain stays.
    server.be(ServerMode::Answers);
    server.set(name, &["other"]);
    world.days_pass(2);
    assert_eq!(check_due(&world).await, ["LOST"]);
    let lost = world.graphql(LIST, json!({ "f": { "states": ["LOST"] } })).await;
    let seen = &lost["data"]["organization"];
    assert_eq!(seen["verifiedDomains"], json!(["example.org"]));
    assert_eq!(seen["domains"]["totalCount"], 1);
    assert!(seen["domains"]["nodes"][0]["lostAt"].is_string(), "{lost:#}");
    let attention = world.graphql(ATTENTION, json!({})).await;
    let items = attention["data"]["organization"]["attention"].as_array().unwrap();
    let item = items.iter().find(|item| item["kind"] == "DOMAIN_LOST");
    assert!(item.unwrap()["nextStep"].as_str().unwrap().contains(value), "{attention:#}");
    let cx = world.system();
    for (proof, inside) in [(DomainProof::Asserted, true), (DomainProof::Proven, false)] {
        let found = domain::is_in_own_domain(&cx, "ada@example.org", proof).await.unwrap();
        assert_eq!(found, inside, "{proof:?}");
    }

    // It comes back by itself.
    server.set(name, &[value]);
    world.days_pass(2);
    assert_eq!(check_due(&world).await, ["PROVEN"]);
    assert_eq!(
        events(&world).await,
        ["domain.added", "domain.proven", "domain.lost", "domain.proven"]
    );
    world.end().await;
}

/// Looks up what is due, as the task does; returns the states of those domains.
async fn check_due(world: &World) -> Vec<String> {
    let due = domain::claim_due_domains(&world.app).await.unwrap();
    let n = due.len();
    let client = rolecall::dns_client::DnsClient::new(world.app.config.dns_server);
    for domain in due {
        let answer = client.lookup_texts(&domain.record_name()).await;
        domain.take_answer(answer).await.unwrap();
    }
    let again = domain::claim_due_domains(&world.app).await.unwrap();
    assert!(again.is_empty(), "each is looked up once: {again:?}");
    let rows = world.rows("SELECT state FROM organization_domain ORDER BY name", []).await;
    rows.iter().take(n).map(|row| row["state"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn one_organization_proves_a_domain() {
    let (world, server) = world_with_dns().await;
    let globex = world.second_organization().await;
    let ours = add(&world.acme, "example.org").await;
    let theirs = add(&globex, "example.org").await;
    assert_ne!(ours["recordValue"], theirs["recordValue"]);
    // Another organization's record proves nothing here.
    server.set(record_of(&ours).0, &[record_of(&theirs).1]);
    let foreign = prove(&world.acme, &ours["id"]).await;
    assert_eq!(foreign["userErrors"][0]["reason"], "DOMAIN_RECORD_MISSING");
    // Both have a record: one of them proves it.
    server.set(record_of(&ours).0, &[record_of(&ours).1, record_of(&theirs).1]);
    let (first, second) =
        tokio::join!(prove(&world.acme, &ours["id"]), prove(&globex, &theirs["id"]));
    let proven = [&first, &second].map(|answer| answer["domain"]["state"] == "PROVEN");
    assert_eq!(proven.iter().filter(|proven| **proven).count(), 1, "{first:#} {second:#}");
    let refused = if proven[0] { &second } else { &first };
    assert_eq!(refused["userErrors"][0]["reason"], "DOMAIN_PROVEN_ELSEWHERE", "{refused:#}");
    let message = refused["userErrors"][0]["message"].as_str().unwrap();
    assert!(!message.contains("acme") && !message.contains("globex"), "{message}");
    assert_eq!(world.count("event WHERE action = 'domain.proven'", []).await, 1);

    // The record of the first is gone: the other organization can prove it, the first cannot.
    let (holder, other) = if proven[0] { (&ours, &theirs) } else { (&theirs, &ours) };
    let (holding, waiting) =
        if proven[0] { (&world.acme, &globex) } else { (&globex, &world.acme) };
    server.set(record_of(&ours).0, &[record_of(other).1]);
    world.days_pass(2);
    check_due(&world).await;
    assert_eq!(prove(waiting, &other["id"]).await["domain"]["state"], "PROVEN");
    server.set(record_of(&ours).0, &[record_of(&ours).1, record_of(&theirs).1]);
    let late = prove(holding, &holder["id"]).await;
    assert_eq!(late["userErrors"][0]["reason"], "DOMAIN_PROVEN_ELSEWHERE", "{late:#}");
    world.end().await;
}

#[tokio::test]
async fn domains_are_listed_and_removed() {
    let world = World::new().await;
    let set = "mutation($d: [String!]) { organizationUpdate(input: { verifiedDomains: $d }) {
        userErrors { code } } }";
    world.graphql(set, json!({ "d": ["b.example", "c.example"] })).await;
    let added = add(&world.acme, "a.example").await;
    let taken = world.graphql(ADD, json!({ "n": "A.Example" })).await;
    let errors = &taken["data"]["domainAdd"]["userErrors"];
    assert_eq!(errors[0]["reason"], "TAKEN", "{taken:#}");
    let wrong = world.graphql(ADD, json!({ "n": "not a domain" })).await;
    assert_eq!(wrong["data"]["domainAdd"]["userErrors"][0]["path"], json!(["input", "name"]));
    let by_name = json!({ "o": { "field": "NAME", "direction": "DESC" } });
    let listed = world.graphql(LIST, by_name).await["data"]["organization"].clone();
    let nodes = listed["domains"]["nodes"].as_array().unwrap();
    let names: Vec<_> = nodes.iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["c.example", "b.example", "a.example"]);
    assert_eq!(listed["verifiedDomains"], json!(["a.example", "b.example", "c.example"]));
    // The list as a whole keeps the rows that stay in it.
    world.graphql(set, json!({ "d": ["a.example", "d.example"] })).await;
    let kept = "organization_domain WHERE name IN ('a.example', 'd.example')";
    assert_eq!(world.count(kept, []).await, 2);
    assert_eq!(world.count("organization_domain", []).await, 2);
    let same = world
        .graphql(
            "query($d: ID!) { node(id: $d) { ... on Domain { name } } }",
            json!({ "d": added["id"] }),
        )
        .await;
    assert_eq!(same["data"]["node"]["name"], "a.example");
    // A foreign organization has no such domain.
    let globex = world.second_organization().await;
    let foreign = globex.graphql(REMOVE, json!({ "d": added["id"] })).await;
    assert_eq!(foreign["data"]["domainRemove"]["userErrors"][0]["code"], "NOT_FOUND");
    let foreign = prove(&globex, &added["id"]).await;
    assert_eq!(foreign["userErrors"][0]["code"], "NOT_FOUND");
    // Reading needs IAM_READ, changing IAM_WRITE.
    let reader = [Permission::IamRead].into();
    let reader = api_key::issue_key(&world.system(), "reader", reader, None).await.unwrap().secret;
    let refused = world.acme.graphql_as(&reader, &[], REMOVE, json!({ "d": added["id"] })).await;
    assert_eq!(refused.body["errors"][0]["extensions"]["code"], "FORBIDDEN");
    let removed = world.graphql(REMOVE, json!({ "d": added["id"] })).await;
    assert_eq!(removed["data"]["domainRemove"]["removedDomainId"], added["id"], "{removed:#}");
    let told = world.last_payload().await;
    assert_eq!(told["before"]["name"], "a.example");
    assert_eq!(told["after"]["reason"], "sold");
    world.end().await;
}

#[tokio::test]
async fn silent_dns_is_told_plainly() {
    let world = World::new().await;
    let added = add(&world.acme, "example.org").await;
    let answer = prove(&world.acme, &added["id"]).await;
    assert_eq!(answer["userErrors"][0]["reason"], "DNS_UNAVAILABLE", "{answer:#}");
    let private = add(&world.acme, "corp.internal").await;
    let answer = prove(&world.acme, &private["id"]).await;
    assert_eq!(answer["userErrors"][0]["reason"], "DOMAIN_RECORD_MISSING", "{answer:#}");
    // One organization cannot use the server to flood a resolver.
    let asked = (0..40).map(|_| prove(&world.acme, &added["id"]));
    let asked = futures_util::future::join_all(asked).await;
    assert!(asked.iter().any(Value::is_null), "a burst is limited");
    world.end().await;
}

const ROLL_OUT: &str = "mutation($r: Boolean!) { provisioningRolloutSet(input: { slug: \"acme\",
    released: $r, reason: \"next wave\" }) { organization { provisioningReleased }
    userErrors { code } } }";

#[tokio::test]
async fn withheld_provisioning_says_so() {
    let world = World::new().await;
    let claims = local_issuer::IssuerClaims {
        subject: "olga".into(),
        name: "Olga".into(),
        organizations: [("acme".to_owned(), Permissions::new())].into(),
        permissions: [Permission::PlatformAdmin].into(),
        ..Default::default()
    };
    let operator = local_issuer::issue_token(&world.app, &claims, Duration::hours(1)).unwrap();
    let set = async |released: bool| {
        let variables = json!({ "r": released });
        let answer = world.acme.graphql_as(&operator, &[], ROLL_OUT, variables).await.body;
        let payload = answer["data"]["provisioningRolloutSet"].clone();
        assert_eq!(payload["organization"]["provisioningReleased"], released, "{answer:#}");
    };
    // An administrator of the organization cannot release it.
    let own = world.acme.graphql_as(&world.acme.api_key, &[], ROLL_OUT, json!({ "r": true })).await;
    assert_eq!(own.body["errors"][0]["extensions"]["code"], "FORBIDDEN");
    let ada = world.scim().user("ada").await;
    let make = "mutation { connectionCreate(input: { name: \"source\", pull: { \
                baseUrl: \"http://127.0.0.1:9/scim/v2\", secret: \"x\" } }) { connection { id } } }";
    let made = world.graphql(make, json!({})).await;
    let source = made["data"]["connectionCreate"]["connection"]["id"].clone();
    set(false).await;
    let overview = "{ organization { scim { availability { state code nextStep } state
        endpoints { baseUrl } } } }";
    let seen = world.graphql(overview, json!({})).await["data"]["organization"]["scim"].clone();
    assert_eq!(seen["availability"]["state"], "NOT_RELEASED", "{seen:#}");
    assert_eq!(seen["availability"]["code"], "PROVISIONING_NOT_RELEASED");
    assert!(seen["availability"]["nextStep"].as_str().unwrap().contains("operator"));
    assert_eq!((&seen["state"], &seen["endpoints"]), (&Value::Null, &Value::Null));
    // Every path that provisions: SCIM, connections, tokens, setup links, sync runs.
    for (method, path) in [(Method::GET, "/Users"), (Method::POST, "/Users")] {
        let body = Some(json!({ "userName": "eve" }));
        let body = if method == Method::POST { body } else { None };
        let answer = world.scim().send(method, path, body, &[]).await;
        assert_eq!(answer.status, 403, "{:#}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains("released"), "{:#}", answer.body);
    }
    let find = "{ organization { connections(first: 1) { nodes { id } } } }";
    let found = world.graphql(find, json!({})).await;
    let connection = &found["data"]["organization"]["connections"]["nodes"][0]["id"];
    for mutation in [
        "mutation($c: ID!) { r: connectionCreate(input: { name: $c }) { userErrors { reason } } }",
        "mutation($c: ID!) { r: scimTokenIssue(input: { connectionId: $c, scopes: [USERS_READ] }) {
            userErrors { reason } } }",
        "mutation($c: ID!) { r: setupLinkCreate(input: { connectionId: $c }) {
            userErrors { reason } } }",
        "mutation($c: ID!) { r: scimSelfTest(input: { connectionId: $c }) {
            userErrors { reason } } }",
        "mutation($c: ID!) { r: syncStart(input: { connectionId: $c }) { userErrors { reason } } }",
    ] {
        let mutation = mutation
            .replace("$c: ID!) { r: connectionCreate", "$c: String!) { r: connectionCreate");
        let of = if mutation.contains("syncStart") { &source } else { connection };
        let answer = world.graphql(&mutation, json!({ "c": of })).await;
        let reason = &answer["data"]["r"]["userErrors"][0]["reason"];
        assert_eq!(reason, "PROVISIONING_NOT_RELEASED", "{mutation}: {answer:#}");
    }
    // Nothing is lost.
    set(true).await;
    world.scim().get(&format!("/Users/{ada}")).await.is(200);
    let text =
        "SELECT action FROM event WHERE action LIKE 'organization.provisioning%' ORDER BY pos";
    let told = world.rows(text, []).await;
    let told: Vec<_> = told.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(told, ["organization.provisioning_withheld", "organization.provisioning_released"]);
    world.end().await;
}
