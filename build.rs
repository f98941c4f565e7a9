//! Lists the files of the console (`assets/console`) for the compiler, so that the program contains
//! them and no list is kept by hand. It only reads names, so it costs nothing in a build.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Where the build of the console is committed.
const CONSOLE_FOLDER: &str = "assets/console";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={CONSOLE_FOLDER}");
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let folder = variable("CARGO_MANIFEST_DIR")?.join(CONSOLE_FOLDER);
    let mut names = Vec::new();
    list_files(&folder, "", &mut names)?;
    names.sort();
    let mut code = String::from("&[\n");
    for name in names.iter().filter_map(|name| name.strip_suffix(".br")) {
        if names.binary_search(&format!("{name}.gz")).is_err() {
            return Err(io::Error::other(format!("{CONSOLE_FOLDER}/{name}.gz is missing")));
        }
        let path = folder.join(name).display().to_string();
        let (brotli, gzip) = (format!("{path}.br"), format!("{path}.gz"));
        let _ = writeln!(
            code,
            "    EmbeddedFile {{ path: {name:?}, brotli: include_bytes!({brotli:?}), gzip: \
             include_bytes!({gzip:?}) }},"
        );
    }
    code.push_str("]\n");
    fs::write(variable("OUT_DIR")?.join("console_files.rs"), code)
}

/// The names of the files in `folder` and below it, with `/` between their parts.
fn list_files(folder: &Path, above: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{above}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list_files(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}
