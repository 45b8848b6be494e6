//! Where a node's configuration comes from, to be read again at every reload, and when it has changed.

use crate::component::keys::{Finding, Place};
use crate::config::{self, ConfigError, Loaded, Sources, check};
use crate::io::tls::TlsDefaults;
use crate::topology::apply::Site;
use crate::topology::graph::{self, Graph};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Two reads this far apart must agree before a file counts as changed: whoever writes it has finished then.
const SETTLED: Duration = Duration::from_millis(200);

/// Where the configuration of one agent comes from.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The agent's name.
    pub agent: String,
    /// Files, given properties, and what look-ups may see.
    pub sources: Sources,
}

impl Configuration {
    /// Reads everything anew. Blocks, for seconds where a config filter runs slow commands.
    pub fn read(&self) -> Result<Read, ConfigError> {
        let loaded = config::load(&self.sources)?;
        let first = self
            .sources
            .files
            .first()
            .map_or(Path::new("(given)"), PathBuf::as_path);
        let place = Place {
            file: first.into(),
            line: 0,
        };
        let (graph, found) = graph::read(&loaded.entries(), &self.agent, &place);
        Ok(Read {
            agent: self.agent.clone(),
            loaded,
            graph,
            found,
        })
    }

    /// A number for the contents of all files; none while one of them cannot be read.
    pub fn fingerprint(&self) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        for file in self.sources.paths().ok()? {
            std::fs::read(file).ok()?.hash(&mut hasher);
        }
        Some(hasher.finish())
    }
}

/// A configuration that has been read.
pub struct Read {
    agent: String,
    loaded: Loaded,
    /// What the agent consists of.
    pub graph: Graph,
    found: Vec<Finding>,
}

impl Read {
    /// What TLS settings of components default to.
    pub fn tls(&self) -> Arc<TlsDefaults> {
        self.loaded.tls.clone()
    }

    /// Everything that is found before its components are built.
    pub fn findings(&self, site: &Site) -> Vec<Finding> {
        let extras = check::extras(&self.loaded, &self.agent, &self.graph, site);
        self.loaded
            .findings
            .iter()
            .chain(&self.found)
            .cloned()
            .chain(extras)
            .collect()
    }
}

/// Watches the files of a configuration.
#[derive(Debug, Clone)]
pub struct Watch {
    configuration: Configuration,
    interval: Duration,
    /// The contents that were last handed on.
    seen: Arc<Mutex<Option<u64>>>,
    asked: Arc<Notify>,
}

impl Watch {
    /// Looks every `interval` (never, if it is zero) for contents other than `seen`.
    pub fn new(configuration: Configuration, interval: Duration, seen: Option<u64>) -> Self {
        Self {
            configuration,
            interval,
            seen: Arc::new(Mutex::new(seen)),
            asked: Arc::default(),
        }
    }

    /// Has [`changed`](Self::changed) resolve once although the files may be the same.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// Resolves when the files have other contents and two reads agree on them, or when somebody asks.
    pub async fn changed(&self) {
        loop {
            let asked = tokio::select! {
                () = self.asked.notified() => true,
                () = tokio::time::sleep(self.interval), if !self.interval.is_zero() => false,
            };
            let found = self.settled().await;
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if asked || found.is_some_and(|found| Some(found) != *seen) {
                *seen = found.or(*seen);
                return;
            }
        }
    }

    async fn settled(&self) -> Option<u64> {
        let mut last = self.configuration.fingerprint();
        if last == *self.seen.lock().unwrap_or_else(PoisonError::into_inner) {
            return last;
        }
        loop {
            tokio::time::sleep(SETTLED).await;
            let now = self.configuration.fingerprint();
            if now == last {
                return now;
            }
            last = now;
        }
    }
}
