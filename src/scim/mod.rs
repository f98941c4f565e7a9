pub mod filter;
pub mod patch;
pub mod schema;
pub mod wire;
