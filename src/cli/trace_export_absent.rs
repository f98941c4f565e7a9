//! A build without the feature `otlp` exports no traces.

use crate::cli::logging::LogLayer;

/// The running export. There is none in this build.
#[derive(Debug)]
pub enum TraceExport {}

impl TraceExport {
    /// Refuses: an operator who asks for traces must not wait for them in vain.
    ///
    /// # Errors
    /// One line for the operator, always.
    pub fn begin_export(endpoint: &str) -> Result<(Self, LogLayer), String> {
        Err(format!(
            "--otlp-endpoint {endpoint:?}: this build cannot export traces: build it with \
             `--features otlp`, or take the setting (or OTEL_EXPORTER_OTLP_ENDPOINT) away"
        ))
    }

    /// Exports what is left.
    pub async fn finish_export(self) {
        match self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_is_refused_with_a_remedy() {
        let refusal = TraceExport::begin_export("http://127.0.0.1:4318").map(drop).unwrap_err();
        assert!(refusal.starts_with("--otlp-endpoint \"http://127.0.0.1:4318\""), "{refusal}");
        assert!(refusal.contains("--features otlp"), "{refusal}");
    }
}
