//! Waiting for something that happens elsewhere, in another process: the one place of the tests that sleeps.
//!
//! A limit is there to end a test that has failed, not to pace one that works: take a generous one.

use std::thread;
use std::time::{Duration, Instant};

/// What a live node does, it does within this time, even on a busy machine.
pub const LIVENESS: Duration = Duration::from_secs(30);

/// Between two looks.
const POLL: Duration = Duration::from_millis(5);

/// Looks again and again until there is something to see; None when there is nothing within the limit.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        // The limit is read before the look, so that a process that was not scheduled for long gets its last look.
        let late = start.elapsed() >= limit;
        if let Some(seen) = look() {
            return Some(seen);
        }
        if late {
            return None;
        }
        thread::sleep(POLL);
    }
}

/// Waits until there is something to see.
///
/// # Panics
/// When there is nothing within the limit: "waited … for `what`".
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    match within(limit, look) {
        Some(seen) => seen,
        None => panic!("waited {limit:?} for {what}"),
    }
}

/// Waits until a condition holds.
///
/// # Panics
/// When it does not within the limit.
#[track_caller]
pub fn until_true(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    until(what, limit, || holds().then_some(()));
}

/// Makes sure that something goes on for a while. Use it where a failure shows at once and a short time is enough.
///
/// # Panics
/// When it stops.
#[track_caller]
pub fn stays(what: &str, period: Duration, mut holds: impl FnMut() -> bool) {
    let ended = within(period, || (!holds()).then_some(()));
    assert!(ended.is_none(), "did not stay for {period:?}: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_when_there_is_something_to_see() {
        let mut looks = 0;
        let seen = until("the third look", LIVENESS, || {
            looks += 1;
            (looks == 3).then_some("seen")
        });
        assert_eq!((seen, looks), ("seen", 3));
    }

    #[test]
    #[should_panic(expected = "for a miracle")]
    fn waiting_in_vain_says_for_what() {
        until_true("a miracle", Duration::from_millis(1), || false);
    }

    #[test]
    fn there_is_one_look_even_without_time() {
        assert_eq!(within(Duration::ZERO, || Some(1)), Some(1));
        assert_eq!(within(Duration::ZERO, || None::<u8>), None);
    }

    #[test]
    #[should_panic(expected = "did not stay for 1s: calm")]
    fn what_stops_too_early_is_noticed() {
        let mut looks = 0;
        stays("calm", Duration::from_secs(1), || {
            looks += 1;
            looks < 3
        });
    }
}
