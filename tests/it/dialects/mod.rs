//! Recorded exchanges of identity providers, written from their public documentation, replayed step
//! by step.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Deserialize;
use serde_json::Value;

use crate::world::{Answer, Scim, World};

/// A file beside this one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recording {
    provider: String,
    /// Titles of the public pages that it was written from.
    source: Vec<String>,
    #[serde(default = "scim_json")]
    content_type: String,
    steps: Vec<Step>,
}

fn scim_json() -> String {
    "application/scim+json".into()
}

/// A request, its answer, and what a plain GET returns afterwards. `{name}` stands for the value
/// that an earlier step captured under that name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    story: String,
    /// Which of the twenty known habits of identity providers it covers.
    points: Vec<u8>,
    method: String,
    path: String,
    body: Option<Value>,
    /// How many times the request is sent at the same time; `statuses` then says how often each
    /// answer comes.
    #[serde(default = "one")]
    at_once: usize,
    #[serde(default)]
    statuses: BTreeMap<u16, usize>,
    status: Option<u16>,
    /// JSON pointer → value; null means absent.
    #[serde(default)]
    expect: BTreeMap<String, Value>,
    /// Name → JSON pointer.
    #[serde(default)]
    capture: BTreeMap<String, String>,
    #[serde(default)]
    then: Vec<Check>,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    path: String,
    #[serde(default = "ok")]
    status: u16,
    expect: BTreeMap<String, Value>,
}

fn ok() -> u16 {
    200
}

type Captured = BTreeMap<String, String>;

fn filled(text: &str, captured: &Captured) -> String {
    captured
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

fn filled_value(value: &Value, captured: &Captured) -> Value {
    serde_json::from_str(&filled(&value.to_string(), captured)).unwrap()
}

fn check(title: &str, body: &Value, expected: &BTreeMap<String, Value>, captured: &Captured) {
    for (pointer, value) in expected {
        let found = body.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(found, &filled_value(value, captured), "{title}: {pointer} of {body:#}");
    }
}

async fn send(scim: &Scim, content_type: &str, step: &Step, captured: &Captured) -> Vec<Answer> {
    let requests = (0..step.at_once).map(|_| {
        let request = scim.request(step.method.parse().unwrap(), &filled(&step.path, captured));
        let request = match &step.body {
            Some(body) => request
                .header("content-type", content_type)
                .body(filled_value(body, captured).to_string()),
            None => request,
        };
        async { Answer::of(request.send().await.unwrap()).await }
    });
    futures_util::future::join_all(requests).await
}

async fn replay(name: &str, recording: &Recording) {
    let world = World::new().await;
    let mut captured = Captured::new();
    for step in &recording.steps {
        let title = format!("{name}: {}", step.story);
        let answers = send(world.scim(), &recording.content_type, step, &captured).await;
        let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
        for answer in &answers {
            *statuses.entry(answer.status.as_u16()).or_default() += 1;
            if answer.body != Value::Null {
                assert_eq!(answer.header("content-type"), "application/scim+json", "{title}");
            }
            if answer.status.is_client_error() {
                let known = ["schemas", "status", "detail", "scimType"];
                let fields = answer.body.as_object().unwrap();
                assert!(
                    fields.keys().all(|key| known.contains(&key.as_str())),
                    "{title}: {fields:?}"
                );
            }
        }
        let expected = step.status.map_or(step.statuses.clone(), |status| [(status, 1)].into());
        assert_eq!(statuses, expected, "{title}: {:#}", answers[0].body);
        for (name, pointer) in &step.capture {
            let value = answers[0].body.pointer(pointer).and_then(Value::as_str);
            let value =
                value.unwrap_or_else(|| panic!("{title}: no {pointer} in {:#}", answers[0].body));
            captured.insert(name.clone(), value.to_owned());
        }
        if step.status.is_some() {
            check(&title, &answers[0].body, &step.expect, &captured);
        }
        if step.status == Some(200)
            && ["PUT", "PATCH"].contains(&step.method.as_str())
            && !step.path.contains('?')
        {
            let stored = world.scim().get(&filled(&step.path, &captured)).await.is(200);
            assert_eq!(stored.body, answers[0].body, "{title}: what is answered is what is stored");
        }
        for then in &step.then {
            let answer = world.scim().get(&filled(&then.path, &captured)).await;
            assert_eq!(
                answer.status.as_u16(),
                then.status,
                "{title}, then {}: {}",
                then.path,
                answer.body
            );
            check(&format!("{title}, then {}", then.path), &answer.body, &then.expect, &captured);
        }
    }
    world.end().await;
}

#[tokio::test]
async fn recorded_exchanges_replay_as_recorded() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/dialects");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    let mut shown = BTreeSet::new();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let recording: Recording = serde_json::from_str(&fs::read_to_string(&file).unwrap())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!recording.source.is_empty() && !recording.provider.is_empty(), "{name}");
        replay(&name, &recording).await;
        shown.extend(recording.steps.iter().flat_map(|step| step.points.iter().copied()));
    }
    assert_eq!(shown, (1..=20).collect(), "a known habit is in no recording");
}
