//! Taste, kept in code: what the README promises about this repository, checked on every run of the tests.
//!
//! One test is one check. A check looks at the whole [`tree::Tree`] and returns its offences, all of which are printed
//! at once as `path:line: what, and how to mend it`. To run it alone: `cargo test -p tests --test tidy`.
//!
//! It is a ratchet. An offence that cannot be mended today stands in [`OLD_SINS`] with its path: it does not block,
//! a new one does, and an entry whose offence is gone fails until it is taken out, so that the list only shrinks.
//!
//! | file            | what it watches                                                             |
//! |-----------------|-----------------------------------------------------------------------------|
//! | `manifests.rs`  | purity of `proto` and `cluster`, arrows between crates, bans in Cargo.lock  |
//! | `layers.rs`     | arrows inside `node`, components and their lists                            |
//! | `code.rs`       | stories, sizes, names of tests, `unwrap` and its kin                        |
//! | `repository.rs` | top level, READMEs, links, paths of a machine                               |
//! | `scan.rs`       | how much Rust has to be understood for that                                 |
//! | `tree.rs`       | which files there are                                                       |
//!
//! Each of them tests itself on small made-up trees: a check that cannot fail is worth nothing.

mod code;
mod layers;
mod manifests;
mod repository;
mod scan;
mod tree;

use tree::{Sin, Tree};

/// Offences that were there before the check: its name and the path. Only ever shrinks.
const OLD_SINS: &[(&str, &str)] = &[];

/// A look at the tree that returns what offends.
type Check = fn(&Tree) -> Vec<Sin>;

/// Every check by its name.
const CHECKS: &[(&str, Check)] = &[
    ("dependencies", manifests::dependencies),
    ("clippy_bans", manifests::clippy_bans),
    ("lock", manifests::lock),
    ("arrows", layers::arrows),
    ("neighbours", layers::neighbours),
    ("lists", layers::lists),
    ("stories", code::stories),
    ("panics", code::panics),
    ("signals", code::signals),
    ("names", code::names),
    ("sizes", code::sizes),
    ("top_level", repository::top_level),
    ("readmes", repository::readmes),
    ("folders", repository::folders),
    ("links", repository::links),
    ("machines", repository::machines),
];

#[test]
fn pure_crates_name_no_runtime_and_arrows_between_crates_hold() {
    holds("dependencies");
}

#[test]
fn pure_crates_ban_the_clock_threads_files_and_sockets() {
    holds("clippy_bans");
}

#[test]
fn the_lock_file_holds_no_banned_crate_and_no_foreign_source() {
    holds("lock");
}

#[test]
fn no_arrow_in_node_points_upwards() {
    holds("arrows");
}

#[test]
fn no_component_uses_its_neighbour() {
    holds("neighbours");
}

#[test]
fn every_component_file_is_in_its_list_and_the_reverse() {
    holds("lists");
}

#[test]
fn every_file_opens_with_a_story() {
    holds("stories");
}

#[test]
fn outside_tests_nothing_unwraps_or_is_left_to_do() {
    holds("panics");
}

#[test]
fn only_signals_ignore_the_mailbox_bound() {
    holds("signals");
}

#[test]
fn tests_are_named_by_sentences() {
    holds("names");
}

#[test]
fn long_files_and_functions_say_why() {
    holds("sizes");
}

#[test]
fn the_top_level_holds_what_it_should() {
    holds("top_level");
}

#[test]
fn the_crates_have_their_front_pages() {
    holds("readmes");
}

#[test]
fn no_file_stands_beside_its_folder() {
    holds("folders");
}

#[test]
fn links_in_markdown_lead_somewhere() {
    holds("links");
}

#[test]
fn nothing_names_a_path_of_one_machine() {
    holds("machines");
}

#[test]
fn old_sins_are_still_sins() {
    let tree = Tree::of_the_workspace();
    let is_sin = |name: &str, path: &str| check(name)(&tree).iter().any(|sin| sin.path == path);
    let mended: Vec<_> = OLD_SINS
        .iter()
        .filter(|(name, path)| !is_sin(name, path))
        .collect();
    assert!(
        mended.is_empty(),
        "mended: take them out of OLD_SINS in tests/tidy/main.rs: {mended:?}"
    );
}

#[test]
fn every_check_is_run_by_a_test() {
    let this = include_str!("main.rs");
    for (name, _) in CHECKS {
        assert!(
            this.contains(&format!("holds({name:?});")),
            "no test runs the check `{name}`: add one"
        );
    }
}

#[test]
fn an_old_sin_passes_and_a_new_one_does_not() {
    let sins = vec![Sin::new("a.rs", 1, "x"), Sin::new("b.rs", 2, "y, mend it")];
    assert_eq!(
        report("panics", sins, &[("panics", "a.rs"), ("sizes", "b.rs")]),
        "b.rs:2: y, mend it\n"
    );
}

/// Runs a check on the workspace, and fails with all its offences at once.
fn holds(name: &str) {
    let offences = report(name, check(name)(&Tree::of_the_workspace()), OLD_SINS);
    assert!(offences.is_empty(), "{name}:\n{offences}");
}

fn check(name: &str) -> Check {
    let found = CHECKS.iter().find(|(known, _)| *known == name);
    found
        .unwrap_or_else(|| panic!("no check is called `{name}`: see CHECKS in tests/tidy/main.rs"))
        .1
}

/// One line per offence that is not an old one.
fn report(name: &str, mut sins: Vec<Sin>, old: &[(&str, &str)]) -> String {
    sins.sort();
    sins.retain(|sin| !old.contains(&(name, sin.path.as_str())));
    sins.iter()
        .map(|sin| format!("{}:{}: {}\n", sin.path, sin.line, sin.what))
        .collect()
}
