//! Every SCIM route, read from the router's source, so that tests cover a new one without a change.

use reqwest::Method;

const ROUTER: &str = include_str!("../../src/scim/mod.rs");

pub const METHODS: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
];

/// The paths below a tenant's base URL, as the router writes them.
pub fn paths() -> Vec<&'static str> {
    let routes = ROUTER.split(".route(").skip(1);
    let paths: Vec<_> = routes.filter_map(|rest| rest.split('"').nth(1)).collect();
    assert!(paths.len() > 10, "the router is written otherwise than this test thinks: {paths:?}");
    paths
}

/// The paths that name one resource, with `id` in them.
pub fn of_resource(id: &str) -> Vec<String> {
    paths()
        .into_iter()
        .filter(|path| path.contains("{id}"))
        .map(|path| path.replace("{id}", id))
        .collect()
}

/// All paths, made concrete.
pub fn concrete(id: &str) -> Vec<String> {
    let fill = |path: &str| {
        let path = path.trim_start_matches("/scim/v2/{slug}");
        path.replace("{id}", id).replace("{name}", "User").replace("{urn}", "x")
    };
    paths().into_iter().map(fill).collect()
}
