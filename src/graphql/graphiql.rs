//! GraphiQL, to try the API in a browser. The page loads its files from this server only;
//! `graphiql/README.md` says where they come from.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

const PAGE_HTML: &str = include_str!("graphiql/page.html");
const SCRIPT_CONTENT_TYPE: &str = "text/javascript; charset=utf-8";
const STYLE_CONTENT_TYPE: &str = "text/css; charset=utf-8";

/// The browser refuses to load anything from another server, and to run a script that is not one of
/// these files. Inline styles are allowed, because the editor positions its lines with them.
const PAGE_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' \
                                    'unsafe-inline'; img-src 'self' data:; \
                      font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action \
                      'none'; \
                      frame-ancestors 'none'";

/// The files that the page is made of. Names with a version never change.
const PAGE_ASSETS: [(&str, &str, &[u8]); 6] = [
    ("start.js", SCRIPT_CONTENT_TYPE, include_bytes!("graphiql/start.js")),
    ("page.css", STYLE_CONTENT_TYPE, include_bytes!("graphiql/page.css")),
    ("react-18.3.1.js", SCRIPT_CONTENT_TYPE, include_bytes!("graphiql/react-18.3.1.js.gz")),
    ("react-dom-18.3.1.js", SCRIPT_CONTENT_TYPE, include_bytes!("graphiql/react-dom-18.3.1.js.gz")),
    ("graphiql-3.9.0.js", SCRIPT_CONTENT_TYPE, include_bytes!("graphiql/graphiql-3.9.0.js.gz")),
    ("graphiql-3.9.0.css", STYLE_CONTENT_TYPE, include_bytes!("graphiql/graphiql-3.9.0.css.gz")),
];

/// The page. It names its files relative to its own address, so that it works under any path.
pub fn serve_page() -> Response {
    let mut response = PAGE_HTML.into_response();
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_SECURITY_POLICY));
    fields.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    with_nosniff(response)
}

/// `GET /graphql/assets/{name}`
pub async fn serve_asset(Path(name): Path<String>) -> Response {
    let Some((name, media, bytes)) = PAGE_ASSETS.into_iter().find(|(known, ..)| *known == name)
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = bytes.into_response();
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    if bytes.starts_with(&[0x1f, 0x8b]) {
        fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let keep = if name.contains(char::is_numeric) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    with_nosniff(response)
}

fn with_nosniff(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
