//! The files of the console, which the program contains. They are built from `console/` and
//! committed under `assets/console`, each compressed in two ways.

use std::collections::BTreeMap;
use std::io::Read;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Bytes;
use axum::http::HeaderValue;
use flate2::read::GzDecoder;
use serde::Deserialize;

/// A file as `build.rs` lists it.
struct EmbeddedFile {
    path: &'static str,
    brotli: &'static [u8],
    gzip: &'static [u8],
}

const EMBEDDED_FILES: &[EmbeddedFile] = include!(concat!(env!("OUT_DIR"), "/console_files.rs"));

/// What the build says of its files.
const MANIFEST: &str = include_str!("../../assets/console/manifest.json");

/// The pages. Everything else is a file that a page loads.
pub const INDEX_PAGE: &str = "index.html";
pub const SETUP_PAGE: &str = "setup.html";
/// The folder of the files whose names contain a hash of their content.
const HASHED_FOLDER: &str = "assets/";

#[derive(Deserialize)]
struct BuildManifest {
    files: Vec<ManifestFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestFile {
    path: String,
    content_type: String,
    sha256: String,
}

/// A file of the console.
#[derive(Debug, Clone)]
pub struct ConsoleFile {
    pub content_type: HeaderValue,
    /// Names the content: the beginning of its SHA-256.
    pub version: String,
    /// Whether its name changes with its content, so that it can be kept for ever.
    pub is_hashed: bool,
    content: FileContent,
}

#[derive(Debug, Clone)]
enum FileContent {
    Compressed {
        brotli: &'static [u8],
        gzip: &'static [u8],
    },
    /// A page, which contains the path of the public URL. Pages are small.
    Plain(Bytes),
}

/// How a body is encoded (RFC 9110 section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentCoding {
    Brotli,
    Gzip,
    Identity,
}

impl ContentCoding {
    /// The name in `Content-Encoding`; none for a body as it is.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Brotli => Some("br"),
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
        }
    }
}

impl ConsoleFile {
    /// The codings in which it can be sent, the smallest first.
    pub fn codings(&self) -> &'static [ContentCoding] {
        match self.content {
            FileContent::Compressed { .. } => {
                &[ContentCoding::Brotli, ContentCoding::Gzip, ContentCoding::Identity]
            }
            FileContent::Plain(_) => &[ContentCoding::Identity],
        }
    }

    /// The body in a coding.
    pub fn encode(&self, coding: ContentCoding) -> Bytes {
        match (&self.content, coding) {
            (FileContent::Compressed { brotli, .. }, ContentCoding::Brotli) => {
                Bytes::from_static(brotli)
            }
            (FileContent::Compressed { gzip, .. }, ContentCoding::Gzip) => Bytes::from_static(gzip),
            (FileContent::Compressed { gzip, .. }, ContentCoding::Identity) => decompress(gzip),
            (FileContent::Plain(body), _) => body.clone(),
        }
    }
}

/// The name of a content. That of a page depends on the public URL too.
fn version_of(content: &FileContent, sha256: &str) -> String {
    let whole = match content {
        FileContent::Compressed { .. } => sha256.to_owned(),
        FileContent::Plain(body) => hex::encode(digest(&SHA256, body)),
    };
    whole.chars().take(32).collect()
}

/// What was compressed when the program was built; tests decompress every file.
fn decompress(gzip: &[u8]) -> Bytes {
    let mut body = Vec::new();
    if let Err(error) = GzDecoder::new(gzip).read_to_end(&mut body) {
        tracing::error!(%error, "a file of the console is damaged");
    }
    body.into()
}

/// All files by their paths, which do not begin with a slash. Pages name the files that they load
/// by `./`; here that becomes the path of the public URL, so that a page works at any depth.
pub fn load_files(public_path: &str) -> BTreeMap<&'static str, ConsoleFile> {
    let manifest = serde_json::from_str::<BuildManifest>(MANIFEST);
    let listed = manifest.map_or_else(
        |error| {
            tracing::error!(%error, "the manifest of the console cannot be read");
            Vec::new()
        },
        |manifest| manifest.files,
    );
    let described = |file: &ManifestFile| {
        let embedded = EMBEDDED_FILES.iter().find(|embedded| embedded.path == file.path)?;
        let content_type = HeaderValue::from_str(&file.content_type).ok()?;
        let content = if embedded.path == INDEX_PAGE || embedded.path == SETUP_PAGE {
            let page = String::from_utf8(decompress(embedded.gzip).to_vec()).ok()?;
            FileContent::Plain(page.replace("=\"./", &format!("=\"{public_path}/")).into())
        } else {
            FileContent::Compressed { brotli: embedded.brotli, gzip: embedded.gzip }
        };
        let file = ConsoleFile {
            content_type,
            version: version_of(&content, &file.sha256),
            is_hashed: embedded.path.starts_with(HASHED_FOLDER),
            content,
        };
        Some((embedded.path, file))
    };
    listed.iter().filter_map(described).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_describes_each_file() {
        let manifest: BuildManifest = serde_json::from_str(MANIFEST).unwrap();
        assert_eq!(manifest.files.len(), EMBEDDED_FILES.len());
        for file in &manifest.files {
            let embedded = EMBEDDED_FILES.iter().find(|known| known.path == file.path).unwrap();
            let content = decompress(embedded.gzip);
            assert_eq!(hex::encode(digest(&SHA256, &content)), file.sha256, "{}", file.path);
        }
        let files = load_files("");
        assert_eq!(files.len(), EMBEDDED_FILES.len());
        assert!(files.contains_key(INDEX_PAGE) && files.contains_key(SETUP_PAGE));
    }

    #[test]
    fn pages_name_the_public_path() {
        for (path, start) in [("", "=\"/assets/"), ("/pp", "=\"/pp/assets/")] {
            let files = load_files(path);
            for page in [INDEX_PAGE, SETUP_PAGE] {
                let body = files[page].encode(ContentCoding::Identity);
                let text = std::str::from_utf8(&body).unwrap();
                assert!(text.contains(start) && !text.contains("=\"./"), "{text}");
            }
        }
    }
}
