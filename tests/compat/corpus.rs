//! Real configurations, which are not ours to copy: only the digest of a file, lines and codes are kept.

use crate::{blessing, here};
use node::component::keys::Severity;
use node::config::{self, check};
use node::topology::all_types;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|e| e == "properties"));
    all.sort();
    all
}

#[test]
fn real_configurations_are_judged_as_before() {
    let Some(folder) = std::env::var_os("MILLRACE_CORPUS") else {
        println!("SKIPPED: MILLRACE_CORPUS names no folder with real configurations");
        return;
    };
    let types = Arc::new(all_types());
    let mut found = String::new();
    let mut counts = [0; 3];
    for path in files(Path::new(&folder)) {
        let digest: String = Sha256::digest(std::fs::read(&path).unwrap())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let number = path.file_stem().unwrap().to_string_lossy().into_owned();
        let loaded = config::read_files(&[&path]).unwrap();
        for finding in check::findings(&loaded, None, &types) {
            counts[match finding.severity {
                Severity::Error => 0,
                Severity::Warning => 1,
                Severity::Note => 2,
            }] += 1;
            let (line, code) = (finding.place.line, finding.code);
            found.push_str(&format!("{number} {digest} {line} {code}\n"));
            if std::env::var_os("MILLRACE_SHOW").is_some() {
                println!("{finding}");
            }
        }
    }
    let [errors, warnings, notes] = counts;
    println!("{errors} errors, {warnings} warnings, {notes} notes");
    let expected = here("corpus.txt");
    if blessing() {
        std::fs::write(&expected, &found).unwrap();
    }
    let before = std::fs::read_to_string(&expected).unwrap_or_default();
    let gone = before.lines().filter(|line| !found.contains(line));
    let new = found.lines().filter(|line| !before.contains(line));
    let difference: Vec<String> = gone
        .map(|l| format!("- {l}"))
        .chain(new.map(|l| format!("+ {l}")))
        .collect();
    assert!(found == before, "not as before:\n{}", difference.join("\n"));
}
