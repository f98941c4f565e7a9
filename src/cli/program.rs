//! How this program was started, for commands that it prints to be copied.

use std::env;
use std::path::Path;

/// The words that start this program again: those of Cargo if Cargo started it.
pub fn describe_own_call() -> String {
    // Cargo sets this variable for what it runs.
    if env::var_os("CARGO").is_some() {
        let profile = if cfg!(debug_assertions) { "" } else { "--release " };
        return format!("cargo run {profile}--");
    }
    let path = env::args_os().next().unwrap_or_else(|| "rolecall".into());
    quote_for_shell(Path::new(&path))
}

/// The path as one word of a shell.
fn quote_for_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_word_of_a_shell() {
        for (path, word) in [
            ("/usr/bin/rolecall", "/usr/bin/rolecall"),
            ("./my programs/rolecall", "'./my programs/rolecall'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quote_for_shell(Path::new(path)), word);
        }
    }
}
