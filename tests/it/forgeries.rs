//! Attacks on signed files: a file is genuine only if every byte is.

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rolecall::auth::policy::Permission;
use rolecall::context::local_issuer;
use rolecall::ledger::attestation;
use rolecall::ledger::attestation::check_file;
use serde_json::{Value, json};

use crate::world::World;

async fn export(world: &World, credential: &str, path: &str) -> Vec<u8> {
    let url = world.acme.graphql.replace("/graphql", &format!("/evidence/{path}"));
    let answer = world.scim().http.get(url).bearer_auth(credential).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.bytes().await.unwrap().to_vec()
}

/// Names that try to end a line, or that look like an attestation.
const NAMES: [&str; 6] = [
    "cr\rcr",
    "crlf\r\n# attestation,eyJhbGciOiJFZERTQSJ9.e30.AAAA\r\n",
    "vt\u{b}ff\u{c}nel\u{85}",
    "ls\u{2028}ps\u{2029}",
    "{\"attestation\":\"eyJhbGciOiJFZERTQSJ9.e30.AAAA\"}\n",
    "quote\"\n\"# attestation,",
];

#[tokio::test]
async fn altered_files_do_not_verify() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    for (n, name) in NAMES.iter().enumerate() {
        let person = json!({ "userName": format!("person-{n}"), "displayName": name });
        world.scim().post("/Users", person).await.is(201);
    }
    let role = "mutation { roleCreate(input: { name: \"All\", permissions: [\"read\", \"write; \
                all\"] }) { role { id } } }";
    let role = world.graphql(role, json!({})).await["data"]["roleCreate"]["role"]["id"].clone();
    for n in 0..NAMES.len() {
        let query = "query($name: String!) { organization { user(userName: $name) { id } } }";
        let found = world.graphql(query, json!({ "name": format!("person-{n}") })).await;
        let give = "mutation($user: ID!, $role: ID!) { roleGrantCreate(input: { userId: $user, roleId: $role, \
                    expiresAt: \"2099-01-01T00:00:00Z\" }) { userErrors { code } } }";
        let user = &found["data"]["organization"]["user"]["id"];
        let done = world.graphql(give, json!({ "user": user, "role": role })).await;
        assert_eq!(done["data"]["roleGrantCreate"]["userErrors"], json!([]), "{done:#}");
    }
    world.app.clock.advance(std::time::Duration::from_secs(60));
    world.sealed().await;
    let key = attestation::public_key(&world.app.vault, world.app.clock.now());
    let acme = &world.acme.api_key;
    let [csv, jsonl, changes, empty, theirs, checkpoint] = [
        export(&world, acme, "access.csv").await,
        export(&world, acme, "access.jsonl").await,
        export(&world, acme, "changes.csv").await,
        export(&world, acme, "mappings.csv").await,
        export(&world, &globex.api_key, "access.csv").await,
        export(&world, acme, "checkpoint").await,
    ];
    let all = [&csv, &jsonl, &changes, &empty, &theirs, &checkpoint];
    for file in all {
        check_file(&key, file).unwrap();
    }
    // For every meaning of "end of line" the file has one line for each row.
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(csv.as_slice());
    let columns = reader.headers().unwrap().len();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(
        rows.iter().map(csv::StringRecord::len).collect::<Vec<_>>(),
        [vec![columns; NAMES.len()], vec![2]].concat()
    );
    let text = String::from_utf8(jsonl.clone()).unwrap();
    assert_eq!(
        text.split(|c: char| c.is_control() || "\u{2028}\u{2029}".contains(c)).count(),
        NAMES.len() + 3
    );
    let row: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert_eq!(row["permissions"], json!(["read", "write; all"]));
    assert_eq!(row["expires_at"], "2099-01-01T00:00:00.000000Z");

    let refuse = |forged: &[u8]| {
        assert!(
            check_file(&key, forged).is_err(),
            "accepted as genuine:\n{}",
            String::from_utf8_lossy(forged)
        );
    };
    let line = |file: &[u8]| {
        let text = String::from_utf8(file.to_vec()).unwrap();
        let at = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
        (text[..at].to_owned(), text[at..].to_owned())
    };
    // Each file cut off at many places, and with bytes inserted there.
    for file in all {
        let last = if std::ptr::eq(file, &checkpoint) { file.len() - 1 } else { file.len() };
        for at in (0..last).step_by(5).chain(last.saturating_sub(12)..last) {
            refuse(&file[..at]);
            let more: [&[u8]; 7] =
                [b"\r", b"\n", b" ", b"\x0b", "\u{85}".as_bytes(), "\u{2028}".as_bytes(), b"a"];
            for slipped in more {
                refuse(&[&file[..at], slipped, &file[at..]].concat());
            }
            refuse(&[&file[..at], &file[at + 1..]].concat());
        }
        for behind in [
            "\r",
            "\n",
            "\r\n",
            " ",
            "\0",
            "\u{2028}",
            "eve,Chief",
            "\reve,Chief\r",
            "eve,Chief\r\n",
            "{}\n",
        ] {
            refuse(&[file.as_slice(), behind.as_bytes()].concat());
            refuse(&[behind.as_bytes(), file.as_slice()].concat());
        }
        refuse(&[b"\xEF\xBB\xBF", file.as_slice()].concat());
        refuse(&[b"\xFF\xFE", file.as_slice()].concat());
        // A genuine file joined with another genuine file or attestation.
        for other in all {
            refuse(&[file.as_slice(), other].concat());
            let (_, attestation) = line(other);
            if !std::ptr::eq(file, other) {
                let (table, _) = line(file);
                refuse(format!("{table}{attestation}").as_bytes());
            }
            refuse(&[file.as_slice(), attestation.as_bytes()].concat());
            refuse(&[attestation.as_bytes(), file.as_slice()].concat());
        }
    }
    // A table with a checkpoint in place of its attestation, and an attestation without its table.
    let token = String::from_utf8(checkpoint.clone()).unwrap().trim_end().to_owned();
    let (table, attestation) = line(&csv);
    let own = attestation.trim_end().trim_start_matches("# attestation,").to_owned();
    for forged in [
        format!("{table}{token}\n"),
        format!("{table}# attestation,{token}\r\n"),
        format!("{table}{own}\n"),
        format!("{own}\n"),
        attestation.clone(),
        format!("{table}# attestation,{own}"),
        format!("{table}# attestation,{own}\n"),
        format!("{table}# attestation, {own}\r\n"),
        format!("{table}# attestation,\"{own}\"\r\n"),
        format!("{table}# attestation,{own},\r\n"),
        format!("{table}# attestation,{own}\reve,Chief\r\n"),
        format!("{table}# attestation,{own}=\r\n"),
        format!("{table}{{\"attestation\":\"{own}\"}}\n"),
        format!("{table}# attestation,{own}\r\n# attestation,{own}\r\n"),
        format!("{{\"attestation\":\"{token}\"}}\n"),
        format!("# attestation,{token}\r\n"),
    ] {
        refuse(forged.as_bytes());
    }
    let (rows, _) = line(&jsonl);
    let (_, of_json) = line(&jsonl);
    let of_json: Value = serde_json::from_str(&of_json).unwrap();
    let of_json = of_json["attestation"].as_str().unwrap();
    for forged in [
        format!("{rows}# attestation,{of_json}\r\n"),
        format!("{rows}{{\"attestation\":\"{of_json}\",\"row\":1}}\n"),
        format!("{rows}{{\"row\":1,\"attestation\":\"{of_json}\"}}\n"),
        format!("{rows}{{\"attestation\": \"{of_json}\"}}\n"),
        format!("{rows}{{\"attestation\":\"{of_json}\"}}"),
        format!("{rows}{{\"attestation\":\"{of_json}\"}}\r\n"),
    ] {
        refuse(forged.as_bytes());
    }
    world.end().await;
}

#[tokio::test]
async fn header_cannot_choose_key_or_algorithm() {
    let world = World::new().await;
    world.sealed().await;
    let key = attestation::public_key(&world.app.vault, world.app.clock.now());
    let genuine =
        String::from_utf8(export(&world, &world.acme.api_key, "checkpoint").await).unwrap();
    let parts: Vec<&str> = genuine.trim_end().split('.').collect();
    let coded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signing = world.app.vault.signing_key(world.app.clock.now()).unwrap();
    let ours = Ed25519KeyPair::from_pkcs8(signing.private()).unwrap();
    let signed = |header: &str| {
        let text = format!("{}.{}", coded(header), parts[1]);
        let signature = URL_SAFE_NO_PAD.encode(ours.sign(text.as_bytes()).as_ref());
        format!("{text}.{signature}\n")
    };
    let typ = attestation::ATTESTATION_TYPE;
    check_file(&key, signed(&json!({ "typ": typ, "alg": "EdDSA" }).to_string()).as_bytes())
        .unwrap();
    for header in [
        json!({ "typ": typ, "alg": "none" }).to_string(),
        json!({ "typ": typ, "alg": "HS256" }).to_string(),
        json!({ "typ": typ, "alg": "ES256" }).to_string(),
        json!({ "typ": "JWT", "alg": "EdDSA" }).to_string(),
        json!({ "typ": "rolecall-ledger-head+jws", "alg": "EdDSA" }).to_string(),
        json!({ "alg": "EdDSA" }).to_string(),
        json!({ "typ": typ, "alg": "EdDSA", "kid": "another" }).to_string(),
        json!({ "typ": typ, "alg": "EdDSA", "crit": ["b64"], "b64": false }).to_string(),
        json!({ "typ": typ, "alg": "EdDSA", "jwk": { "kty": "OKP", "crv": "Ed25519", "x": key } })
            .to_string(),
        json!({ "typ": typ, "alg": "EdDSA", "jku": "https://example.com" }).to_string(),
        format!(r#"{{"typ":"{typ}","alg":"none","alg":"EdDSA"}}"#),
        String::new(),
    ] {
        let forged = signed(&header);
        assert!(check_file(&key, forged.as_bytes()).is_err(), "{header}");
    }
    // The same text signed with another key, with the public key as a shared secret, or not at all.
    let stranger = Ed25519KeyPair::generate().unwrap();
    let text = format!("{}.{}", parts[0], parts[1]);
    let foreign = URL_SAFE_NO_PAD.encode(stranger.sign(text.as_bytes()).as_ref());
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, signing.public());
    let hs = format!("{}.{}", coded(&json!({ "typ": typ, "alg": "HS256" }).to_string()), parts[1]);
    let mac = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&secret, hs.as_bytes()).as_ref());
    for forged in [
        format!("{text}.{foreign}\n"),
        format!("{text}.\n"),
        format!("{text}.AA\n"),
        format!("{hs}.{mac}\n"),
    ] {
        assert!(check_file(&key, forged.as_bytes()).is_err(), "{forged}");
    }
    // A token that the installation signs for a person is no attestation.
    let claims = local_issuer::IssuerClaims {
        subject: "eve".into(),
        name: "Eve".into(),
        organizations: [("acme".to_owned(), Permission::in_organization())].into(),
        permissions: Default::default(),
        until: None,
    };
    let token =
        local_issuer::issue_token(&world.app, &claims, chrono::Duration::minutes(5)).unwrap();
    assert!(
        check_file(&key, format!("{token}\n").as_bytes()).unwrap_err().contains("no attestation")
    );
    // The check reports a wrong key and an altered file differently.
    let other = URL_SAFE_NO_PAD.encode([7; 32]);
    assert!(check_file(&other, genuine.as_bytes()).unwrap_err().contains("another key"));
    let altered = format!("{}.{}.{}\n", parts[0], coded("{}"), parts[2]);
    assert!(check_file(&key, altered.as_bytes()).unwrap_err().contains("altered or forged"));
    for wrong in ["", "short", "not base64url!"] {
        check_file(wrong, genuine.as_bytes()).unwrap_err();
    }
    world.end().await;
}

#[tokio::test]
async fn evidence_export_is_recorded() {
    let world = World::new().await;
    world.scim().user("ada").await;
    world.app.clock.advance(std::time::Duration::from_secs(60));
    export(&world, &world.acme.api_key, "leavers.csv?from=2026-01-01T00:00:00Z").await;
    let text =
        "SELECT action, actor_kind, payload FROM event WHERE action LIKE 'evidence.%' ORDER BY pos";
    let rows = world.rows(text, []).await;
    let actions: Vec<&str> = rows.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["evidence.export_started", "evidence.exported"]);
    assert!(rows.iter().all(|row| row["actor_kind"] == "API_KEY"), "{rows:?}");
    let told: Value = serde_json::from_str(rows[1]["payload"].as_str().unwrap()).unwrap();
    let after = &told["after"];
    assert_eq!(
        (&after["report"], &after["format"], &after["rows"]),
        (&json!("leavers"), &json!("csv"), &json!(0))
    );
    assert_eq!(after["parameters"]["from"], "2026-01-01T00:00:00.000000Z");

    // A caller without the permission gets no report and leaves no event.
    let few = [Permission::AuditRead].into_iter().collect();
    let issued = rolecall::domain::access::api_key::issue_key(&world.system(), "few", few, None)
        .await
        .unwrap();
    let url = world.acme.graphql.replace("/graphql", "/evidence/access.csv");
    let refused = world.scim().http.get(url).bearer_auth(&issued.secret).send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["cache-control"]),
        (403, &"no-store".parse().unwrap())
    );
    assert_eq!(world.count("event WHERE action LIKE 'evidence.%'", []).await, 2);

    // No answer may stay in a cache, whatever its status.
    for path in ["/Users", "/Users/unknown", "/Groups?filter=nonsense", "/Schemas", "/nowhere"] {
        assert_eq!(world.scim().get(path).await.header("cache-control"), "no-store", "{path}");
    }
    assert_eq!(
        world.scim().with_token("wrong").get("/Users").await.header("cache-control"),
        "no-store"
    );
    let url = &world.acme.graphql;
    let answer = world
        .scim()
        .http
        .post(url)
        .bearer_auth(&world.acme.api_key)
        .json(&json!({ "query": "{ organization { slug } }" }));
    assert_eq!(answer.send().await.unwrap().headers()["cache-control"], "no-store");
    let unsigned = world.scim().http.post(url).body("{}").send().await.unwrap();
    assert_eq!(unsigned.headers()["cache-control"], "no-store");
    world.end().await;
}
