//! What an event did, as an enum that is made from the kinds of the ledger.

use async_graphql::Enum;

use crate::ledger::{EventKind, with_event_kinds};

macro_rules! event_actions {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal,)+) => {
        /// What an event did.
        #[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
        pub enum EventAction {
            $($(#[doc = $doc])+ $kind,)+
            /// An action that this version of the schema has no name for.
            Other,
        }

        impl EventAction {
            /// The action of this name in the ledger.
            pub fn from_ledger_name(name: &str) -> Self {
                match EventKind::parse(name) {
                    $(Some(EventKind::$kind) => Self::$kind,)+
                    None => Self::Other,
                }
            }

            /// The kind in the ledger; none for [`EventAction::Other`].
            pub fn event_kind(self) -> Option<EventKind> {
                match self {
                    $(Self::$kind => Some(EventKind::$kind),)+
                    Self::Other => None,
                }
            }
        }
    };
}

with_event_kinds!(event_actions);
