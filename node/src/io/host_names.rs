//! Names of peers for headers, by reverse look-up, remembered: DNS must not slow down each message.
//!
//! Addresses are written as Java's `getHostAddress` does, and an address without a name is its own name, as
//! `getHostName` has it. A look-up is waited for a second; the name comes with later messages if it takes longer.

use super::address::host_name;
use crate::component::context::Clock;
use cluster::time::Time;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a name is believed, found or not.
const BELIEVED: Duration = Duration::from_secs(300);
/// How long a look-up is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Addresses remembered; the oldest half goes when there are more.
const NAMES_MAX: usize = 10_000;
/// Look-ups at once; an address beyond is its own name for now.
const LOOKUPS_MAX: usize = 64;

/// The address in Java's form: IPv6 with all of its eight groups, and none in the disguise of the other.
pub fn java_text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|group| format!("{group:x}")).join(":"),
    }
}

/// Names that were looked up.
#[derive(Clone)]
pub struct HostNames {
    known: Arc<Mutex<HashMap<IpAddr, Known>>>,
    lookups: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

struct Known {
    name: Arc<str>,
    since: Time,
}

impl fmt::Debug for HostNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostNames")
    }
}

impl HostNames {
    /// Nothing is known yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            known: Arc::default(),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            clock,
        }
    }

    /// The name of an address. At once if it is known, within a second if not.
    pub async fn of(&self, address: IpAddr) -> Arc<str> {
        self.look(address, host_name(address.to_canonical())).await
    }

    /// The name if it is known and still believed.
    pub fn known(&self, address: IpAddr) -> Option<Arc<str>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(&address)?;
        (self.clock.now() - found.since < BELIEVED).then(|| found.name.clone())
    }

    async fn look(
        &self,
        address: IpAddr,
        lookup: impl Future<Output = Option<String>> + Send + 'static,
    ) -> Arc<str> {
        if let Some(name) = self.known(address) {
            return name;
        }
        let own: Arc<str> = java_text(address).into();
        let Ok(turn) = self.lookups.clone().try_acquire_owned() else {
            return own;
        };
        let (this, fallback) = (self.clone(), own.clone());
        let looking = tokio::spawn(async move {
            let name = lookup.await.map_or(fallback, Arc::from);
            this.remember(address, name.clone());
            drop(turn);
            name
        });
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(Ok(name)) => name,
            _ => {
                // Nobody else is to wait for this one; the answer replaces it.
                self.remember(address, own.clone());
                own
            }
        }
    }

    fn remember(&self, address: IpAddr, name: Arc<str>) {
        let since = self.clock.now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NAMES_MAX && !known.contains_key(&address) {
            let mut ages: Vec<Time> = known.values().map(|k| k.since).collect();
            let (_, median, _) = ages.select_nth_unstable(NAMES_MAX / 2);
            let median = *median;
            known.retain(|_, k| k.since > median);
        }
        known.insert(address, Known { name, since });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::ManualClock;
    use std::future::{pending, ready};
    use std::net::Ipv4Addr;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn addresses_are_written_as_java_writes_them() {
        for (address, text) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("2001:DB8::a0", "2001:db8:0:0:0:0:0:a0"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(java_text(address.parse().unwrap()), text);
        }
    }

    #[tokio::test]
    async fn a_name_is_asked_for_once_and_again_when_it_is_old() {
        let clock = ManualClock::at(0);
        let names = HostNames::new(clock.clone());
        assert_eq!(&*names.look(A, ready(Some("one".into()))).await, "one");
        assert_eq!(&*names.look(A, ready(Some("two".into()))).await, "one");
        clock.advance(BELIEVED);
        assert_eq!(&*names.look(A, ready(Some("two".into()))).await, "two");
        clock.advance(BELIEVED);
        assert_eq!(
            &*names.look(A, ready(None)).await,
            "192.0.2.1",
            "no name is a result as well"
        );
        assert_eq!(names.known(A).as_deref(), Some("192.0.2.1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_look_up_is_not_waited_for_twice() {
        let names = HostNames::new(ManualClock::at(0));
        assert_eq!(&*names.look(A, pending()).await, "192.0.2.1");
        assert_eq!(names.known(A).as_deref(), Some("192.0.2.1"));
        let late = async {
            tokio::time::sleep(3 * PATIENCE).await;
            Some("late".to_owned())
        };
        let b = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
        assert_eq!(&*names.look(b, late).await, "192.0.2.2");
        tokio::time::sleep(3 * PATIENCE).await;
        assert_eq!(names.known(b).as_deref(), Some("late"));
    }

    #[tokio::test(start_paused = true)]
    async fn names_and_look_ups_are_bounded() {
        let clock = ManualClock::at(0);
        let names = HostNames::new(clock.clone());
        for n in 0..=NAMES_MAX as u32 {
            clock.advance(Duration::from_millis(1));
            names.remember(IpAddr::V4(Ipv4Addr::from_bits(n)), "x".into());
        }
        let held = names.known.lock().unwrap().len();
        assert!(held <= NAMES_MAX / 2 + 1, "{held}");
        let last = Ipv4Addr::from_bits(NAMES_MAX as u32);
        assert!(names.known(IpAddr::V4(last)).is_some());
        let address = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(1 << 31 | n));
        let many = (0..LOOKUPS_MAX as u32).map(|n| names.look(address(n), pending()));
        let mut many = Box::pin(futures_util::future::join_all(many));
        assert!(futures_util::poll!(many.as_mut()).is_pending());
        let beyond = names.look(address(99), ready(Some("x".into()))).await;
        assert_ne!(&*beyond, "x", "its own name for now");
        assert_eq!(names.known(address(99)), None, "and asked for again");
    }
}
