//! Users and groups: accounts, groups, memberships, and their adoption, deletion and erasure.

pub mod adoption;
pub mod deletion;
pub mod erasure;
pub mod group;
pub mod membership;
pub mod name_key;
pub mod schema_extension;
pub(in crate::domain) mod search_word;
pub mod user;
