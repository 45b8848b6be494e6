//! The checker over configurations: ours, one for every class of mistake, and a corpus of real ones.
//!
//! `cases/<name>.properties` is a small configuration with a mistake, `cases/<name>.expected` what `check` says about
//! it, word by word. `corpus.txt` holds lines `NNN sha256 line code` for each finding in the files of the folder that
//! `MILLRACE_CORPUS` names; of those files nothing is kept here. After a change that is meant:
//! `MILLRACE_BLESS=1 cargo test -p tests --test compat`, then read the difference.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]

mod cases;
mod corpus;

use std::path::{Path, PathBuf};

/// A file or folder beside this one.
fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat").join(name)
}

/// Whether what is found is to be kept as what is expected.
fn blessing() -> bool {
    std::env::var_os("MILLRACE_BLESS").is_some()
}
