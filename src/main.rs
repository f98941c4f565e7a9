//! The program.

use std::process::ExitCode;

/// Requests use many small allocations, which other threads free: with mimalloc, and with the
/// system's allocator, they cost from a seventh to a half more of the server's time.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Memory that is free for a second goes back to the system (jemalloc's own time is ten).
#[cfg(feature = "jemalloc")]
#[allow(
    unsafe_code,
    reason = "jemalloc looks for its settings under this name, and nothing else has it"
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; 37] = b"dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    rolecall::cli::run_command_line()
}
