//! Foreign systems that a test talks to, and what happens when one cannot be had here.
//!
//! A developer without Kafka should not see red, and nobody should take a test for run that was not. So a missing peer
//! is said loudly, and where `MILLRACE_PEERS=required` is set, as in CI, it is a failure.

use std::env;
use std::io::{self, Write};

/// Says that a test is skipped because a peer is missing; return from the test after it.
///
/// # Panics
/// With `MILLRACE_PEERS=required` in the environment.
#[track_caller]
pub fn missing(peer: &str, reason: &str) {
    let required = env::var("MILLRACE_PEERS").is_ok_and(|value| value == "required");
    let said = report(peer, reason, required);
    // Not `eprintln!`: the test harness keeps that back as long as a test passes.
    let _ = writeln!(
        io::stderr(),
        "{}",
        said.unwrap_or_else(|failure| panic!("{failure}"))
    );
}

/// Says that a test is skipped because this machine cannot have what it needs: a privilege, a device. Never a failure:
/// nobody could help it.
pub fn impossible(what: &str, reason: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {what} cannot be had here: {reason}");
}

/// What is said: an error where it is a failure.
fn report(peer: &str, reason: &str, required: bool) -> Result<String, String> {
    if required {
        Err(format!("{peer} is missing and MILLRACE_PEERS=required: {reason}"))
    } else {
        Ok(format!("SKIPPED: {peer} is missing: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_peer_is_a_loud_skip_unless_it_is_required() {
        assert_eq!(
            report("kafka", "no java", false),
            Ok("SKIPPED: kafka is missing: no java".to_owned())
        );
        assert_eq!(
            report("kafka", "no java", true),
            Err("kafka is missing and MILLRACE_PEERS=required: no java".to_owned())
        );
    }
}
