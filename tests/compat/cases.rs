//! Our own configurations, each with its mistake, against what is to be said about it.

use crate::{blessing, here};
use node::config::{self, check};
use node::topology::all_types;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A first line `# agent: a1` of a case stands for `-n a1`.
const AGENT: &str = "# agent: ";

fn cases() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(here("cases")).unwrap();
    let mut all: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|e| e == "properties"));
    all.sort();
    all
}

fn said(path: &Path, json: bool) -> (String, u8) {
    let loaded = config::read_files(&[path]).unwrap();
    let text = std::fs::read(path).unwrap();
    let text = String::from_utf8_lossy(&text);
    let agent = text.lines().next().and_then(|line| line.strip_prefix(AGENT));
    let (said, status) = check::run(&loaded, agent.map(str::trim), &Arc::new(all_types()), json);
    let folder = format!("{}/", here("cases").display());
    (said.replace(&folder, ""), status)
}

#[test]
fn every_mistake_is_named_as_it_should_be() {
    let mut wrong = Vec::new();
    for path in cases() {
        let (said, status) = said(&path, false);
        assert_eq!(status == 1, said.contains(": error["), "{}", path.display());
        let expected = path.with_extension("expected");
        if blessing() {
            std::fs::write(&expected, &said).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(format!("{}\n{said}", expected.display()));
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
}

#[test]
fn there_is_a_case_for_every_class_of_mistake() {
    assert!(cases().len() >= 50, "{} cases", cases().len());
    let mut codes = BTreeSet::new();
    for path in cases() {
        for line in said(&path, false).0.lines() {
            if let Some((_, rest)) = line.split_once('[') {
                codes.extend(rest.split_once(']').map(|(code, _)| code.to_owned()));
            }
        }
    }
    let missing: Vec<&&str> = check::CODES
        .iter()
        .map(|(code, _)| code)
        .filter(|code| !codes.contains(**code))
        .collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
    let listed = |code: &String| check::CODES.iter().any(|(known, _)| known == code);
    let strangers: Vec<&String> = codes.iter().filter(|code| !listed(code)).collect();
    assert!(strangers.is_empty(), "not in the table of codes: {strangers:?}");
}

#[test]
fn json_says_the_same_as_the_lines() {
    for path in cases() {
        let (lines, status) = said(&path, false);
        let (json, same) = said(&path, true);
        assert_eq!(status, same);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let mut text = String::new();
        for finding in json["findings"].as_array().unwrap() {
            let word = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            let property = finding["property"]
                .as_str()
                .map_or(String::new(), |p| format!("{p}: "));
            text.push_str(&format!(
                "{}:{}: {}[{}]: {}: {property}{}\n",
                word("file"),
                finding["line"],
                word("severity"),
                word("code"),
                word("component"),
                word("message"),
            ));
        }
        text.push_str(&format!(
            "{} errors, {} warnings, {} notes\n",
            json["errors"], json["warnings"], json["notes"]
        ));
        assert_eq!(text, lines, "{}", path.display());
    }
}
