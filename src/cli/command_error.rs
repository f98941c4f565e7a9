//! Why a command ended without success. The exit status says which kind it was.

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::error::Error;
use simulator::SimulationError;

/// The exit status of a usage error, which is also the one of clap's own errors.
const USAGE_STATUS: u8 = 2;

/// Why a command ended without success, in one line for the person who started it.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The command line or a setting has a wrong value, or two of them contradict each other.
    #[error("{0}")]
    Usage(String),
    /// Everything else.
    #[error("{0}")]
    Failure(String),
}

impl CommandError {
    /// The exit status that scripts see.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(USAGE_STATUS),
            Self::Failure(_) => ExitCode::FAILURE,
        }
    }
}

impl From<String> for CommandError {
    fn from(why: String) -> Self {
        Self::Failure(why)
    }
}

impl From<&str> for CommandError {
    fn from(why: &str) -> Self {
        Self::Failure(why.into())
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::WrongSetting(why) => Self::Usage(why),
            ConfigError::UnusableFile(why) => Self::Failure(why),
        }
    }
}

/// What the domain calls invalid came from the command line.
impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid { .. } | Error::Several(_) => Self::Usage(error.to_string()),
            _ => Self::Failure(error.to_string()),
        }
    }
}

impl From<SimulationError> for CommandError {
    fn from(error: SimulationError) -> Self {
        match error {
            SimulationError::InvalidPlan { .. } => Self::Usage(error.to_string()),
            _ => Self::Failure(error.to_string()),
        }
    }
}
