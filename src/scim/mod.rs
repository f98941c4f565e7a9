pub mod filter;
pub mod patch;
pub mod wire;
