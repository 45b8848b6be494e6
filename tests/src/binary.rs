//! The `node` binary under test, built once.
//!
//! Cargo does not build the binary of another package for a test, so the first test that needs it does, with the
//! profile that it was built with itself. Within a process the others wait for it; other test processes of the same
//! profile wait at a locked file, and find it built. With `MILLRACE_NODE=path` nothing is built and that one is used.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// The binary to run.
///
/// # Panics
/// When it cannot be built, with what cargo said, or when `MILLRACE_NODE` names no file.
pub fn path() -> &'static Path {
    BINARY.get_or_init(|| match env::var_os("MILLRACE_NODE") {
        Some(given) => {
            let path = std::path::absolute(&given).unwrap_or_else(|error| panic!("MILLRACE_NODE: {error}"));
            assert!(path.is_file(), "MILLRACE_NODE: {} is not a file", path.display());
            path
        }
        None => build(),
    })
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a member of the workspace lies in a folder of it")
}

fn build() -> PathBuf {
    let folder = profile_folder();
    let lock = File::create(folder.join(".node-binary.lock")).expect("the folder of this test is writable");
    lock.lock().expect("files can be locked here");
    let output = Command::new(cargo())
        .current_dir(workspace())
        .args(["build", "--package", "node", "--bin", "node", "--profile"])
        .arg(profile(&folder))
        .arg("--message-format=json-render-diagnostics")
        .output()
        .expect("cargo is there, as it has started this test");
    assert!(
        output.status.success(),
        "node does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8_lossy(&output.stdout);
    executable(&messages).unwrap_or_else(|| panic!("cargo names no executable:\n{messages}"))
}

/// `target/debug` of `target/debug/deps/end_to_end-0123456789abcdef`.
fn profile_folder() -> PathBuf {
    let this = env::current_exe().expect("a process knows its executable");
    let folder = this.parent().and_then(Path::parent);
    folder
        .expect("cargo puts tests two folders below the target folder")
        .to_owned()
}

/// The profile whose folder that is.
fn profile(folder: &Path) -> OsString {
    match folder.file_name() {
        Some(name) if name != "debug" => name.to_owned(),
        _ => OsString::from("dev"),
    }
}

/// The cargo that runs this test; by hand, the one that built it.
fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| OsString::from(env!("CARGO")))
}

/// The executable of `node` in what cargo reports, one JSON object in a line.
fn executable(messages: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "node")
            .then(|| message["executable"].as_str().map(PathBuf::from))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_the_one_of_the_folder() {
        assert_eq!(profile(Path::new("target/debug")), "dev");
        assert_eq!(profile(Path::new("target/release")), "release");
        assert_eq!(
            profile(Path::new("target/x86_64-unknown-linux-gnu/bench")),
            "bench"
        );
    }

    #[test]
    fn the_executable_is_the_one_that_cargo_names() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"proto"},"executable":null}"#,
            "\nnot JSON\n",
            r#"{"reason":"compiler-artifact","target":{"name":"node"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"node"},"executable":"/x/node"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages), Some(PathBuf::from("/x/node")));
        assert_eq!(executable("{}"), None);
    }

    #[test]
    fn the_workspace_is_where_its_lock_file_is() {
        assert!(workspace().join("Cargo.lock").is_file());
    }
}
