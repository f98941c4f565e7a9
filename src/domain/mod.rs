pub mod document;
pub mod schema;
pub mod search;
