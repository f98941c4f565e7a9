//! The facts that are recorded about each SCIM request: its meaning, its outcome, the quirks of the
//! client, and the failure that an administrator reviews.

pub(in crate::scim) mod classify;
pub(in crate::scim) mod failure_report;
pub(in crate::scim) mod quirk;
pub(in crate::scim) mod request_record;
