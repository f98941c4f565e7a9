//! The console: the web application for administrators, and the page on which a customer's IT
//! administrator sets up an identity provider.
//!
//! The application is a client of the management API like any other. Here its files are delivered,
//! and the secrets of one-time links are exchanged for credentials ([`redeem`], [`setup`]). A link
//! carries its secret in the fragment, which browsers do not send: opening it shows a page, and
//! only the page's POST spends it. So programs that look at links in mails spend nothing. What must
//! never enter: a database query, a rule about who may do what, an answer that the management API
//! could give.

mod files;
mod http;
mod invitation;
mod link_request;
mod redeem;
mod setup;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use crate::context::App;
use files::{ConsoleFile, INDEX_PAGE, SETUP_PAGE};

/// The addresses at which the application shows a screen of its own.
const INDEX_ROUTES: [&str; 3] = ["/sign-in", "/o/{slug}", "/o/{slug}/{*screen}"];

/// The routes. `public_path` is the path of the public URL: empty, or with a slash at its beginning
/// and none at its end.
pub fn build_router(app: Arc<App>, public_path: &str) -> Router {
    let files = files::load_files(public_path);
    let mut routes = Router::new()
        .route("/console/redeem", post(redeem::redeem_console_link))
        .route("/setup/redeem", post(setup::redeem_setup_link))
        .route("/setup/status", get(setup::get_setup_status))
        .route("/invitation", get(invitation::get_page))
        .route("/invitation/page.js", get(invitation::get_script))
        .route("/invitation/page.css", get(invitation::get_style))
        .route("/invitation/redeem", post(invitation::redeem_invitation))
        .with_state(app);
    for (path, file) in &files {
        if *path != INDEX_PAGE && *path != SETUP_PAGE {
            routes = routes.route(&format!("/{path}"), serve_file(file.clone()));
        }
    }
    if let Some(page) = files.get(INDEX_PAGE) {
        routes = routes.route("/", serve_file(page.clone()));
        if !public_path.is_empty() {
            // A nested router does not match its own path with a slash at the end.
            routes = routes.route(&format!("{public_path}/"), serve_file(page.clone()));
        }
        for path in INDEX_ROUTES {
            routes = routes.route(path, serve_file(page.clone()));
        }
    }
    if let Some(page) = files.get(SETUP_PAGE) {
        routes = routes.route("/setup", serve_file(page.clone()));
    }
    routes.layer(middleware::map_response(http::add_security_headers))
}

/// GET and HEAD of one file.
fn serve_file(file: ConsoleFile) -> MethodRouter {
    let file = Arc::new(file);
    get(move |request: Request| async move { http::build_file_response(&file, request.headers()) })
}

/// The answer for addresses at which there is nothing.
pub async fn serve_not_found(State(app): State<Arc<App>>) -> Response {
    let url = &app.config.public_url;
    let text = format!(
        "There is nothing at this address.\nConsole: {url}/\nManagement API: {url}/graphql\n\
         SCIM: {url}/scim/v2/<organization>\n"
    );
    let uncached = [(header::CACHE_CONTROL, "no-store")];
    http::add_security_headers((StatusCode::NOT_FOUND, uncached, text).into_response()).await
}
