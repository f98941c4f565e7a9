//! Files that are signed. An export is its table and, as its last line, one attestation; a
//! checkpoint is one attestation and nothing else. A file is genuine only byte for byte as the
//! server wrote it.

use serde_json::Value;

use super::{AttestationClaims, ExportDigest, check_attestation};

/// How the last line of an export is written around its attestation.
struct AttestationLineForm {
    before: &'static str,
    after: &'static str,
    /// Whether the table is JSON Lines, of which each line is an object.
    json: bool,
}

const ATTESTATION_LINE_FORMS: [AttestationLineForm; 2] = [
    AttestationLineForm { before: "# attestation,", after: "\r\n", json: false },
    AttestationLineForm { before: "{\"attestation\":\"", after: "\"}\n", json: true },
];

/// The byte order mark that some programs write before UTF-8.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// What a file is, by its shape alone.
enum FileShape<'a> {
    Export { table: &'a [u8], attestation: &'a str },
    Checkpoint(&'a str),
}

/// The attestation's line of an export in JSON Lines, or in CSV.
pub fn last_line(attestation: &str, json: bool) -> String {
    let form = if json { &ATTESTATION_LINE_FORMS[1] } else { &ATTESTATION_LINE_FORMS[0] };
    format!("{}{attestation}{}", form.before, form.after)
}

/// Checks a file that was exported: its bytes against the attestation in its last line, and that
/// against `key`. A checkpoint, which is an attestation alone, is checked just so.
///
/// # Errors
/// What is wrong, in words for a person.
pub fn check_file(key: &str, bytes: &[u8]) -> Result<AttestationClaims, String> {
    match recognize_shape(bytes) {
        Some(FileShape::Checkpoint(attestation)) => {
            let claims = check_attestation(key, attestation)?;
            match &claims.export {
                None => Ok(claims),
                Some(export) => Err(format!(
                    "this is the attestation of a report ({:?}) whose table is missing",
                    export.report
                )),
            }
        }
        Some(FileShape::Export { table, attestation }) => {
            let claims = check_attestation(key, attestation)?;
            match &claims.export {
                Some(export) if digest_hex(table) == export.sha256 => Ok(claims),
                _ => Err(diagnose_file(key, bytes)),
            }
        }
        None => Err(diagnose_file(key, bytes)),
    }
}

fn recognize_shape(bytes: &[u8]) -> Option<FileShape<'_>> {
    // A line that is copied from a terminal may have lost its line end, or have one of another
    // system.
    let alone =
        bytes.strip_suffix(b"\n").map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
    if let Some(attestation) = parse_jws(alone) {
        return Some(FileShape::Checkpoint(attestation));
    }
    ATTESTATION_LINE_FORMS.iter().find_map(|form| {
        let rest = bytes.strip_suffix(form.after.as_bytes())?;
        let (table, line) = rest.split_at(rest.iter().rposition(|byte| *byte == b'\n')? + 1);
        let attestation = parse_jws(line.strip_prefix(form.before.as_bytes())?)?;
        (table.starts_with(b"{") == form.json).then_some(FileShape::Export { table, attestation })
    })
}

/// A compact JWS and nothing else.
fn parse_jws(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let parts: Vec<&str> = text.split('.').collect();
    let good = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    (parts.len() == 3 && parts.iter().all(good)).then_some(text)
}

fn digest_hex(table: &[u8]) -> String {
    let mut digest = ExportDigest::default();
    digest.update(table);
    digest.finish_hex()
}

/// What most likely happened to a file that is not genuine.
fn diagnose_file(key: &str, bytes: &[u8]) -> String {
    let trimmed = bytes.strip_prefix(BOM).unwrap_or(bytes).trim_ascii();
    if trimmed.is_empty() {
        return "the file is empty".into();
    }
    if let Ok(Value::Object(answer)) = serde_json::from_slice(trimmed)
        && let Some(message) = error_message(&answer)
    {
        return format!(
            "this is no report: it is an error that the server answered with: {message:?}"
        );
    }
    if trimmed.starts_with(b"<") {
        return "this is no report: it is a web page".into();
    }
    let from =
        trimmed.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
    let (table, line) = trimmed.split_at(from);
    let Some(attestation) = attestation_in(line) else {
        return "the last line is no attestation: the file was cut off, or something was added to \
                its end"
            .into();
    };
    let export = match check_attestation(key, attestation) {
        Ok(claims) => claims.export,
        Err(why) => return why,
    };
    match export {
        None => "a checkpoint stands beside something else: it attests no rows, and is a file of \
                 its own"
            .into(),
        Some(export)
            if as_written(table).iter().any(|table| digest_hex(table) == export.sha256) =>
        {
            "the rows are those that were signed, but line ends, a byte order mark or the \
             attestation's line were \
             changed, as a spreadsheet or an editor does when it saves: check the file as it was \
             downloaded"
                .into()
        }
        Some(_) => "the rows are not those that were signed: the file was altered".into(),
    }
}

/// What an answer that tells of an error says: GraphQL's form, or SCIM's.
fn error_message(answer: &serde_json::Map<String, Value>) -> Option<&str> {
    let graphql = answer.get("errors").and_then(|errors| errors[0]["message"].as_str());
    graphql.or_else(|| {
        answer.get("detail").and_then(Value::as_str).filter(|_| answer.contains_key("status"))
    })
}

/// The attestation in a line that a program may have written anew, with quotes or further fields.
fn attestation_in(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?;
    let among = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    text.split(among).find(|part| parse_jws(part.as_bytes()).is_some())
}

/// The bytes that `table` may have had before its line ends or its byte order mark were changed.
fn as_written(table: &[u8]) -> Vec<Vec<u8>> {
    let end: &[u8] = if table.starts_with(b"{") { b"\n" } else { b"\r\n" };
    // Line breaks inside quotes are values, which some programs leave alone and others do not.
    vec![table.to_vec(), with_line_ends(table, end, false), with_line_ends(table, end, true)]
}

fn with_line_ends(table: &[u8], end: &[u8], in_values: bool) -> Vec<u8> {
    let mut written = Vec::with_capacity(table.len() + table.len() / 16);
    let mut quoted = false;
    let mut bytes = table.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        quoted ^= byte == b'"';
        match byte {
            b'\r' | b'\n' if in_values || !quoted || end == b"\n" => {
                if byte == b'\r' {
                    bytes.next_if_eq(&b'\n');
                }
                written.extend_from_slice(end);
            }
            _ => written.push(byte),
        }
    }
    written
}
