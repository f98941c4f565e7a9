//! GraphiQL, to try the API on in a browser: a page that loads nothing from anywhere but here. Where its parts come
//! from stands in `graphiql/README.md`.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

const PAGE: &str = include_str!("graphiql/page.html");
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Whatever the page would load from elsewhere, or run that is not a file of ours, the browser refuses. Only styles
/// may stand in the page: the editor places its lines with them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The files that the page is made of. Names with a version never change.
const ASSETS: [(&str, &str, &[u8]); 6] = [
    ("start.js", SCRIPT, include_bytes!("graphiql/start.js")),
    ("page.css", STYLE, include_bytes!("graphiql/page.css")),
    ("react-18.3.1.js", SCRIPT, include_bytes!("graphiql/react-18.3.1.js.gz")),
    ("react-dom-18.3.1.js", SCRIPT, include_bytes!("graphiql/react-dom-18.3.1.js.gz")),
    ("graphiql-3.9.0.js", SCRIPT, include_bytes!("graphiql/graphiql-3.9.0.js.gz")),
    ("graphiql-3.9.0.css", STYLE, include_bytes!("graphiql/graphiql-3.9.0.css.gz")),
];

/// The page. It names its files relative to its own address, so that it works under any path.
pub fn page() -> Response {
    let mut response = PAGE.into_response();
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    fields.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    guarded(response)
}

/// `GET /graphql/assets/{name}`
pub async fn asset(Path(name): Path<String>) -> Response {
    let Some((name, media, bytes)) = ASSETS.into_iter().find(|(known, ..)| *known == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = bytes.into_response();
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    if bytes.starts_with(&[0x1f, 0x8b]) {
        fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let keep = if name.contains(char::is_numeric) { "public, max-age=31536000, immutable" } else { "no-cache" };
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    guarded(response)
}

fn guarded(mut response: Response) -> Response {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
