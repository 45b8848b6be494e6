//! The board: the state of every component, for `/readyz`, tests and operators.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The state of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Started, not serving yet.
    Starting,
    /// Serving.
    Running,
    /// Failed; starts again after a wait. With the reason.
    Waiting(String),
    /// Failed too often, or only another configuration can help. With the reason.
    Parked(String),
    /// Ended by itself, or told to.
    Stopped,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Running => f.write_str("running"),
            Self::Waiting(why) => write!(f, "waiting to start again: {why}"),
            Self::Parked(why) => write!(f, "parked: {why}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// States by component (`source r1`).
#[derive(Debug, Default)]
pub struct Board(Mutex<BTreeMap<String, State>>);

impl Board {
    /// Notes a state.
    pub fn set(&self, component: &str, state: State) {
        self.states().insert(component.to_owned(), state);
    }

    /// Forgets a component that is no longer configured.
    pub fn remove(&self, component: &str) {
        self.states().remove(component);
    }

    /// The state of a component.
    pub fn get(&self, component: &str) -> Option<State> {
        self.states().get(component).cloned()
    }

    /// Every component that is neither running nor stopped, a line each.
    pub fn not_ready(&self) -> Vec<String> {
        let ready = |state: &State| matches!(state, State::Running | State::Stopped);
        self.states()
            .iter()
            .filter(|(_, s)| !ready(s))
            .map(|(name, s)| format!("{name}: {s}"))
            .collect()
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
