//! With which keys a log of the model is opened.

use cluster::journal::Keys;
use cluster::sim::keys::SimKeys;
use rand::RngExt;
use rand::rngs::SmallRng;
use std::sync::Arc;

/// The keys of one start.
pub type Choose = fn(&mut SmallRng) -> Option<Arc<dyn Keys>>;

/// All is in plain.
pub fn none(_: &mut SmallRng) -> Option<Arc<dyn Keys>> {
    None
}

/// Another key is active at every start, or none.
pub fn changing(rng: &mut SmallRng) -> Option<Arc<dyn Keys>> {
    let active = [Some("a"), Some("b"), Some("c"), None][rng.random_range(0..4)];
    Some(SimKeys::of(active, &[("a", 1), ("b", 2), ("c", 3)]))
}
