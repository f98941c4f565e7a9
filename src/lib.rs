pub mod authz;
pub mod config;
pub mod context;
pub mod domain;
pub mod error;
pub mod ledger;
pub mod scim;
pub mod simulate;
pub mod store;
pub mod vault;
pub fn check_send(cx: &context::Cx) {
    fn is_send<T: Send>(_: T) {}
    is_send(domain::user::create(cx, Default::default()));
    is_send(domain::user::change(cx, cx.organization(), |_| Ok(None)));
    is_send(domain::group::change(cx, cx.organization(), |_| Ok(Default::default())));
    is_send(domain::mapping::remove(cx, cx.organization()));
}
