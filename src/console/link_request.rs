//! What the requests that use one-time links share: the limit of their address, and how a refusal
//! is counted.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::http::{self, ConsoleFailure};
use crate::context::{App, CallerIds};
use crate::domain::connection::request_log;
use crate::error::RefusalReason;
use crate::request_head;

/// A request that uses a one-time link, or the session that one opened.
pub struct LinkRequest {
    pub app: Arc<App>,
    pub request_id: Uuid,
    /// The name of the interface in the list of failed sign-ins.
    interface: &'static str,
    source: Option<IpAddr>,
    caller: Option<CallerIds>,
}

impl LinkRequest {
    /// Takes the request off the share of its address.
    pub fn begin(
        app: Arc<App>,
        interface: &'static str,
        request: &Request,
    ) -> Result<Self, ConsoleFailure> {
        let request_id = request_head::request_id(request.headers());
        let source = request_head::client_ip(request.extensions());
        let limited = |error| ConsoleFailure::from_error(&error, request_id);
        app.redemption_limits.take_from_address(source).map_err(limited)?;
        let caller = request.extensions().get::<CallerIds>().cloned();
        Ok(Self { app, request_id, interface, source, caller })
    }

    /// The same for a request of a page of this server with a JSON body, which is read.
    pub async fn begin_with_body<T: DeserializeOwned>(
        app: Arc<App>,
        interface: &'static str,
        request: Request,
    ) -> Result<(Self, T), ConsoleFailure> {
        http::check_origin(&app, request.headers())?;
        let begun = Self::begin(app, interface, &request)?;
        let (parts, body) = request.into_parts();
        Ok((begun, http::read_json(&parts.headers, body).await?))
    }

    /// Counts a failed sign-in: its organization, if it is known, and the reason.
    pub fn note_failed_sign_in(&self, failed: Option<(Option<Uuid>, RefusalReason)>) {
        if let Some((organization, reason)) = failed {
            let (interface, source) = (self.interface, self.source);
            request_log::note_failed_sign_in(
                &self.app,
                organization,
                "",
                reason,
                interface,
                source,
            );
        }
    }

    /// Notes whose link it was.
    pub fn note_caller(&self, organization: Uuid, connection: Option<Uuid>) {
        if let Some(caller) = &self.caller {
            caller.note_caller(organization, connection);
        }
    }
}
