//! `ipFilter`: who may connect, by address or by name.
//!
//! Rules are `allow|deny:ip|name:pattern`, separated by commas; the first that matches decides, and who matches none
//! may connect. In a pattern `*` is any run of characters, `?` any one, `.` itself, everything else a Java regular
//! expression; it must match the whole address or name. `name:localhost` means the loopback addresses 127.0.0.1 and
//! ::1 and the address of this machine's own name; Flume leaves out ::1.
//!
//! A name is looked up only when a rule asks for it, for a few peers at once and not for ever, and never by whoever
//! accepts connections. A peer without a name goes by its address, as in Java; an IPv6 address is matched in Java's
//! long form and in the short one.
//!
//! Sources: `flume/sources.md` 5.1, `flume/wire.md` 1.13.

use crate::component::keys::Keys;
use crate::io::address;
use crate::java::regex::Regex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a look-up may take, waiting for its turn included.
const LOOKUP: Duration = Duration::from_secs(10);
/// Look-ups at once; each holds a thread for as long as DNS takes.
const LOOKUPS: usize = 16;

/// The rules.
#[derive(Debug, Clone)]
pub struct IpFilter {
    rules: Arc<[Rule]>,
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
struct Rule {
    allows: bool,
    who: Who,
}

#[derive(Debug)]
enum Who {
    Address(Regex),
    Name(Regex),
    Localhost,
}

/// What the rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    Deny,
    /// That hangs on the peer's name.
    AskName,
}

impl IpFilter {
    /// Reads `ipFilter` and `ipFilterRules`; none when it is off. What is wrong is noted in `keys`.
    pub fn read(keys: &mut Keys) -> Option<Self> {
        if !keys.flag("ipFilter", false) {
            keys.without_effect("ipFilterRules", "has no effect without ipFilter = true");
            return None;
        }
        let text = keys.required("ipFilterRules");
        let (mut rules, mut wrong) = (Vec::new(), Vec::new());
        for rule in text.split(',').map(str::trim).filter(|rule| !rule.is_empty()) {
            match Rule::parse(rule) {
                Ok(rule) => rules.push(rule),
                Err(why) => wrong.push(format!("\"{rule}\"{why}")),
            }
        }
        if rules.is_empty() && wrong.is_empty() && !text.is_empty() {
            wrong.push("none".to_owned());
        }
        if !wrong.is_empty() {
            let message = format!(
                "expected rules allow|deny:ip|name:pattern separated by commas, found {}",
                wrong.join(" and ")
            );
            keys.wrong("ipFilterRules", &message);
            return None;
        }
        Some(Self {
            rules: rules.into(),
            turns: Arc::new(Semaphore::new(LOOKUPS)),
        })
    }

    /// The address of this machine's own name, if a rule asks for it. May take as long as DNS takes.
    pub async fn own_address(&self) -> Option<IpAddr> {
        if !self.rules.iter().any(|rule| matches!(rule.who, Who::Localhost)) {
            return None;
        }
        let found = tokio::task::spawn_blocking(address::local_host).await;
        found.ok().flatten().map(|(_, address)| address)
    }

    /// Whether a peer may connect; `own` is [`own_address`](Self::own_address).
    pub async fn allows(&self, peer: IpAddr, own: Option<IpAddr>) -> bool {
        let peer = peer.to_canonical();
        let mut verdict = self.verdict(peer, own, None);
        if verdict == Verdict::AskName {
            let name = self.name(peer).await.unwrap_or_else(|| java_text(peer));
            verdict = self.verdict(peer, own, Some(&name));
        }
        verdict == Verdict::Allow
    }

    fn verdict(&self, peer: IpAddr, own: Option<IpAddr>, name: Option<&str>) -> Verdict {
        for rule in self.rules.iter() {
            let matches = match (&rule.who, name) {
                (Who::Address(pattern), _) => {
                    pattern.matches(&java_text(peer)) || pattern.matches(&peer.to_string())
                }
                (Who::Localhost, _) => {
                    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                    loopback.contains(&peer) || own == Some(peer)
                }
                (Who::Name(pattern), Some(name)) => pattern.matches(name),
                (Who::Name(_), None) => return Verdict::AskName,
            };
            match (matches, rule.allows) {
                (true, true) => return Verdict::Allow,
                (true, false) => return Verdict::Deny,
                (false, _) => {}
            }
        }
        Verdict::Allow
    }

    async fn name(&self, peer: IpAddr) -> Option<String> {
        let turns = self.turns.clone();
        // A task of its own, so that the turn is held as long as the thread is, also when nobody waits any more.
        let look_up = tokio::spawn(async move {
            let _turn = turns.acquire_owned().await.ok()?;
            address::host_name(peer).await
        });
        tokio::time::timeout(LOOKUP, look_up).await.ok()?.ok()?
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().unwrap_or_default();
        let (verb, what, pattern) = (part(), part(), part());
        let allows = match verb {
            "allow" => true,
            "deny" => false,
            _ => return Err(String::new()),
        };
        let compiled = || compiled(pattern).map_err(|error| format!(" ({error})"));
        let who = match what {
            "ip" | "name" if pattern.is_empty() => return Err(String::new()),
            "ip" => Who::Address(compiled()?),
            "name" if pattern == "localhost" => Who::Localhost,
            "name" => Who::Name(compiled()?),
            _ => return Err(String::new()),
        };
        Ok(Self { allows, who })
    }
}

fn compiled(pattern: &str) -> Result<Regex, crate::java::regex::PatternError> {
    Regex::new(&pattern.replace('.', "\\.").replace('*', ".*").replace('?', "."))
}

/// As `InetAddress.getHostAddress` writes it: IPv6 with all its zeros.
fn java_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|part| format!("{part:x}")).join(":"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::keys::Finding;

    fn filter(rules: &str) -> IpFilter {
        IpFilter::read(&mut Keys::of(
            "x",
            &[("ipFilter", "true"), ("ipFilterRules", rules)],
        ))
        .unwrap()
    }

    fn verdict(rules: &str, peer: &str, name: Option<&str>) -> Verdict {
        let own = Some(IpAddr::from([10, 1, 2, 3]));
        filter(rules).verdict(peer.parse().unwrap(), own, name)
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_none_allows() {
        // Acceptance case 101 of the sources.
        let rules = "deny:ip:127.0.0.2,allow:ip:*,deny:ip:127.0.0.1";
        assert_eq!(verdict(rules, "127.0.0.1", None), Verdict::Allow);
        assert_eq!(verdict(rules, "127.0.0.2", None), Verdict::Deny);
        assert_eq!(verdict("deny:ip:10.*", "127.0.0.1", None), Verdict::Allow);
        // A second glance at a name only where the first rules leave it open.
        assert_eq!(
            verdict("allow:ip:127.*,deny:name:*", "127.0.0.1", None),
            Verdict::Allow
        );
        assert_eq!(
            verdict("allow:ip:127.*,deny:name:*", "10.0.0.1", None),
            Verdict::AskName
        );
        assert_eq!(
            verdict("allow:ip:127.*,deny:name:*", "10.0.0.1", Some("h")),
            Verdict::Deny
        );
    }

    #[test]
    fn localhost_is_this_machine() {
        // Acceptance case 102.
        for peer in ["127.0.0.1", "::1", "10.1.2.3"] {
            assert_eq!(
                verdict("deny:name:localhost", peer, None),
                Verdict::Deny,
                "{peer}"
            );
        }
        for peer in ["127.0.0.2", "10.1.2.4", "::2"] {
            assert_eq!(
                verdict("deny:name:localhost", peer, None),
                Verdict::Allow,
                "{peer}"
            );
        }
    }

    #[test]
    fn patterns_match_the_whole_text() {
        for (pattern, peer, matches) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.11", false),
            ("10.0.0.?", "10.0.0.1", true),
            ("10.0.0.?", "10.0.0.11", false),
            ("10.0.*", "10.0.3.4", true),
            ("10.0.*", "110.0.3.4", false),
            ("10.0.0.1", "10a0.0.1", false),
            ("10.0.0.[1-3]", "10.0.0.2", true),
            ("(10|11).0.0.1", "11.0.0.1", true),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("::1", "::1", true),
            ("fe80:*", "fe80::7", true),
        ] {
            let Ok(address) = peer.parse() else {
                assert!(!compiled(pattern).unwrap().matches(peer));
                continue;
            };
            let denied = filter(&format!("deny:ip:{pattern}")).verdict(address, None, None);
            assert_eq!(denied == Verdict::Deny, matches, "{pattern} {peer}");
        }
        assert_eq!(
            verdict("deny:name:*.example.org", "10.0.0.1", Some("a.example.org")),
            Verdict::Deny
        );
        assert_eq!(
            verdict("deny:name:*.example.org", "10.0.0.1", Some("aXexample.org")),
            Verdict::Allow
        );
    }

    #[tokio::test]
    async fn a_peer_is_judged_by_its_real_address_and_without_a_name_by_that() {
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        assert!(!filter("deny:ip:127.0.0.1").allows(mapped, None).await);
        assert!(!filter("deny:name:localhost").allows(mapped, None).await);
        // Of TEST-NET-3: has no name anywhere.
        let nameless = IpAddr::from([203, 0, 113, 9]);
        assert!(!filter("deny:name:203.0.113.9").allows(nameless, None).await);
        assert_eq!(filter("allow:ip:*").own_address().await, None);
    }

    fn said(pairs: &[(&str, &str)]) -> Vec<String> {
        let mut keys = Keys::of("x", pairs);
        IpFilter::read(&mut keys);
        keys.finish().iter().map(Finding::to_string).collect()
    }

    #[test]
    fn rules_that_are_none_are_all_told() {
        // Acceptance case 103.
        assert_eq!(
            said(&[("ipFilter", "true")]),
            ["(given):0: error[missing]: x: ipFilterRules: required, but not there"]
        );
        assert_eq!(
            said(&[
                ("ipFilter", "true"),
                ("ipFilterRules", "homer:ip:1.2.3.4, allow:sleeps:1.2.3.4")
            ]),
            [
                "(given):0: error[bad-value]: x: ipFilterRules: expected rules allow|deny:ip|name:pattern separated by commas, \
              found \"homer:ip:1.2.3.4\" and \"allow:sleeps:1.2.3.4\""
            ]
        );
        for rule in ["Allow:ip:*", "allow:ip", "allow:ip:", ",", "deny:name:(", "allow"] {
            let said = said(&[("ipFilter", "true"), ("ipFilterRules", rule)]);
            assert!(
                said.len() == 1 && said[0].contains("error[bad-value]"),
                "{rule}: {said:?}"
            );
        }
        assert_eq!(
            said(&[("ipFilterRules", "x")]),
            ["(given):0: warning[no-effect]: x: ipFilterRules: has no effect without ipFilter = true"]
        );
    }
}
