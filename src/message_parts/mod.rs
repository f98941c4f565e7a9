//! What a message says, as stable codes: for clients that say it in another language.
//!
//! Messages are written where something happens, and stored as sentences. A sentence is known by
//! its template in [`catalogue`]; a message that has none stays a text. A check of the console
//! (`console/scripts/check-messages.mjs`) compares the templates with the sources, and fails where
//! a code has no German text.

mod catalogue;

use std::cell::Cell;
use std::sync::LazyLock;

use serde::Serialize;

pub use catalogue::SENTENCES;

/// Longer messages stay texts.
const MAX_MESSAGE: usize = 4_096;
/// Sentences within sentences, and one after another.
const MAX_DEPTH: u32 = 24;
/// Places where one value may end that are tried; the last one is among them.
const MAX_ENDS: usize = 32;
/// Comparisons for one message.
const MAX_STEPS: u32 = 10_000;
/// The end of a message that was tried more than once.
const TRIED: (&str, &str) = (", tried ", " times");
/// The code of a part that is a text of another server, or has no template.
const QUOTED: &str = "QUOTED";

/// A part of a message.
#[derive(Serialize, Debug, Clone, PartialEq, Eq)]
pub struct MessagePart {
    /// What this part says; QUOTED for a text of another server.
    pub code: String,
    /// What the sentence names, in its order.
    pub values: Vec<String>,
}

impl MessagePart {
    fn new(code: &str, values: Vec<String>) -> Self {
        Self { code: code.into(), values }
    }
}

/// A piece of a template.
#[derive(Debug, Clone, Copy)]
enum TemplatePiece {
    Text(&'static str),
    /// A number, written as `{#}`.
    Number,
    /// Another value, written as `{}`.
    Value,
    /// Further sentences, written as `{&}`. Their parts stand before that of the sentence.
    Sentences,
}

struct SentenceTemplate {
    code: &'static str,
    pieces: Vec<TemplatePiece>,
}

static TEMPLATES: LazyLock<Vec<SentenceTemplate>> = LazyLock::new(|| {
    let parsed = SENTENCES.iter();
    parsed.map(|(code, text)| SentenceTemplate { code, pieces: parse_template(text) }).collect()
});

fn parse_template(template: &'static str) -> Vec<TemplatePiece> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        if !text.is_empty() {
            pieces.push(TemplatePiece::Text(text));
        }
        let (kind, after) = after.split_once('}').unwrap_or((after, ""));
        pieces.push(match kind {
            "&" => TemplatePiece::Sentences,
            "#" => TemplatePiece::Number,
            _ => TemplatePiece::Value,
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(TemplatePiece::Text(rest));
    }
    pieces
}

/// The parts of a message; empty if it is not made of known sentences.
pub fn read_parts(message: &str) -> Vec<MessagePart> {
    if message.is_empty() || message.len() > MAX_MESSAGE {
        return Vec::new();
    }
    let reader = MessageReader { steps: Cell::new(0) };
    reader.read_sentences(message, 0).unwrap_or_default()
}

/// The parts of a message that may be absent.
pub fn read_optional_parts(message: Option<&str>) -> Vec<MessagePart> {
    message.map(read_parts).unwrap_or_default()
}

struct MessageReader {
    steps: Cell<u32>,
}

/// What was read of a sentence so far.
#[derive(Clone, Default)]
struct SentenceSoFar {
    values: Vec<String>,
    inner: Vec<MessagePart>,
}

impl MessageReader {
    /// One sentence, and what follows it.
    fn read_sentences(&self, text: &str, depth: u32) -> Option<Vec<MessagePart>> {
        if depth > MAX_DEPTH {
            return None;
        }
        let begins = |template: &&SentenceTemplate| match template.pieces.first() {
            Some(TemplatePiece::Text(first)) => text.starts_with(first),
            _ => true,
        };
        TEMPLATES.iter().filter(begins).find_map(|SentenceTemplate { code, pieces }| {
            self.fit_pieces((code, pieces), text, SentenceSoFar::default(), depth)
        })
    }

    /// What follows a sentence: nothing, how often it was tried, or another sentence.
    fn read_rest(&self, rest: &str, depth: u32) -> Option<Vec<MessagePart>> {
        if rest.is_empty() {
            return Some(Vec::new());
        }
        if let Some(next) = rest.strip_prefix("; ") {
            return self.read_sentences(next, depth + 1);
        }
        let (times, rest) = rest.strip_prefix(TRIED.0)?.split_once(TRIED.1)?;
        times.parse::<u32>().ok()?;
        let mut parts = vec![MessagePart::new("TRIED", vec![times.into()])];
        parts.extend(self.read_rest(rest, depth + 1)?);
        Some(parts)
    }

    /// Sentences that stand within another one, joined by "and".
    fn read_joined(&self, text: &str, depth: u32) -> Option<Vec<MessagePart>> {
        if depth > MAX_DEPTH {
            return None;
        }
        if let Some(parts) = self.read_sentences(text, depth + 1) {
            return Some(parts);
        }
        text.match_indices(" and ").find_map(|(at, joint)| {
            let (first, rest) = (text.get(..at)?, text.get(at + joint.len()..)?);
            let mut parts = self.read_sentences(first, depth + 1)?;
            parts.extend(self.read_joined(rest, depth + 1)?);
            Some(parts)
        })
    }

    /// Whether the text begins with these pieces of a template, and goes on with known sentences.
    fn fit_pieces(
        &self,
        (code, pieces): (&str, &[TemplatePiece]),
        text: &str,
        known: SentenceSoFar,
        depth: u32,
    ) -> Option<Vec<MessagePart>> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > MAX_STEPS {
            return None;
        }
        let Some((piece, more)) = pieces.split_first() else {
            let rest = self.read_rest(text, depth)?;
            let mut parts = known.inner;
            parts.push(MessagePart::new(code, known.values));
            parts.extend(rest);
            return Some(parts);
        };
        match piece {
            TemplatePiece::Text(wanted) => {
                self.fit_pieces((code, more), text.strip_prefix(wanted)?, known, depth)
            }
            TemplatePiece::Number | TemplatePiece::Value => {
                possible_ends(text, more.first()).into_iter().find_map(|end| {
                    let value = text.get(..end)?;
                    let fits = match piece {
                        TemplatePiece::Number => value.bytes().all(|byte| byte.is_ascii_digit()),
                        // What another server said stands at the end, and may be any text.
                        _ => more.is_empty() || !value.contains("; ") && !value.contains(": "),
                    };
                    if !fits {
                        return None;
                    }
                    let mut known = known.clone();
                    known.values.push(value.to_owned());
                    self.fit_pieces((code, more), text.get(end..)?, known, depth)
                })
            }
            // A text without a template is quoted, if no other reading has one.
            TemplatePiece::Sentences => [false, true].into_iter().find_map(|quotes| {
                possible_ends(text, more.first()).into_iter().find_map(|end| {
                    let said = text.get(..end)?;
                    let inner = match self.read_joined(said, depth + 1) {
                        None if quotes => vec![MessagePart::new(QUOTED, vec![said.into()])],
                        inner => inner?,
                    };
                    let mut known = known.clone();
                    known.inner.extend(inner);
                    self.fit_pieces((code, more), text.get(end..)?, known, depth)
                })
            }),
        }
    }
}

/// Where a value may end: before the next piece of its template; at the end of a template before
/// what may follow a sentence.
fn possible_ends(text: &str, next: Option<&TemplatePiece>) -> Vec<usize> {
    let mut ends: Vec<usize> = match next {
        Some(TemplatePiece::Text(next)) => text.match_indices(next).map(|(at, _)| at).collect(),
        _ => {
            let separators = text.match_indices("; ").chain(text.match_indices(TRIED.0));
            separators.map(|(at, _)| at).chain([text.len()]).collect()
        }
    };
    ends.sort_unstable();
    ends.retain(|end| *end > 0);
    if let Some(last) = ends.last().copied().filter(|_| ends.len() > MAX_ENDS) {
        ends.truncate(MAX_ENDS - 1);
        ends.push(last);
    }
    ends
}
