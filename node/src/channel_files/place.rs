//! Where channels are: from folders or a configuration to places, who uses them, and opening their logs for reading.

use super::disk::ReadOnlyDisk;
use super::{Failure, Outcome};
use crate::channel::file::{Config, folder};
use crate::component::keys::{Keys, Place as Line, Severity};
use crate::config::{self, Sources};
use crate::topology::graph;
use cluster::journal::{Keys as LogKeys, Survey};
use proto::journal::MetaPage;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Types of channels that have such folders.
const TYPES: [&str; 4] = [
    "file",
    "org.apache.flume.channel.file.FileChannel",
    "spillablememory",
    "org.apache.flume.channel.SpillableMemoryChannel",
];

/// Which channels are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Places {
    /// Data folders, or the folders `millrace` inside them.
    Folders(Vec<PathBuf>),
    /// The `dataDirs` of channels of a configuration.
    Configured {
        /// What to read; its `agent` is the one that is meant, if there are several.
        sources: Box<Sources>,
        /// The channel; none for all file channels.
        channel: Option<String>,
    },
}

/// One data folder of a channel.
#[derive(Debug, Clone)]
pub struct Place {
    /// As it was named; with `millrace` inside.
    pub data_dir: PathBuf,
    /// The keys of its channel, if a configuration has some.
    pub keys: Option<Arc<dyn LogKeys>>,
    /// Whose it is.
    pub meta: MetaPage,
}

/// A log that is open for reading.
pub type Log = Survey<ReadOnlyDisk>;

impl Places {
    /// The folders, each with what it says of itself.
    pub(super) fn resolve(&self) -> Result<Vec<Result<Place, Failure>>, Failure> {
        let dirs = match self {
            Self::Folders(dirs) => dirs.iter().map(|dir| (dir.clone(), None)).collect(),
            Self::Configured { sources, channel } => configured(sources, channel.as_deref())?,
        };
        Ok(dirs
            .into_iter()
            .map(|(dir, keys)| Place::of(&dir, keys))
            .collect())
    }
}

/// A folder, and the keys to it.
type Keyed = (PathBuf, Option<Arc<dyn LogKeys>>);

/// The data folders of a configuration's channels.
fn configured(sources: &Sources, channel: Option<&str>) -> Result<Vec<Keyed>, Failure> {
    let wrong = |message: String| Failure::new(Outcome::Configuration, message);
    let loaded = config::load(sources).map_err(|error| wrong(error.to_string()))?;
    let mut agents: Vec<String> = match &sources.agent {
        Some(agent) => vec![agent.clone()],
        None => {
            let named = loaded
                .properties
                .iter()
                .filter_map(|p| Some(p.key.split_once('.')?.0.to_owned()));
            named.collect()
        }
    };
    agents.sort_unstable();
    agents.dedup();
    let mut dirs = Vec::new();
    let mut seen = Vec::new();
    for agent in &agents {
        let file = sources
            .files
            .first()
            .map_or(Path::new("(given)"), PathBuf::as_path);
        let line = Line {
            file: file.into(),
            line: 0,
        };
        let (graph, _) = graph::read(&loaded.entries(), agent, &line);
        for component in graph.channels {
            let is_file = TYPES
                .iter()
                .any(|known| component.type_name.eq_ignore_ascii_case(known));
            seen.push(format!("{} of {agent} ({})", component.name, component.type_name));
            if !is_file || channel.is_some_and(|name| name != component.name) {
                continue;
            }
            let title = format!("channel {} (file)", component.name);
            let mut keys = Keys::new(title, component.place, component.entries);
            let config = Config::read(&mut keys);
            let findings = keys.finish();
            if let Some(error) = findings.iter().find(|f| f.severity == Severity::Error) {
                return Err(wrong(error.to_string()));
            }
            let ring: Arc<dyn LogKeys> = Arc::new(config.keys);
            dirs.extend(config.data_dirs.into_iter().map(|dir| (dir, Some(ring.clone()))));
        }
    }
    if dirs.is_empty() {
        let which = channel.map_or("file channels".to_owned(), |name| {
            format!("a file channel \"{name}\"")
        });
        let all = if seen.is_empty() {
            "none".to_owned()
        } else {
            seen.join(", ")
        };
        return Err(wrong(format!(
            "expected {which} in the configuration, found as channels: {all}"
        )));
    }
    Ok(dirs)
}

impl Place {
    fn of(dir: &Path, keys: Option<Arc<dyn LogKeys>>) -> Result<Self, Failure> {
        // Either spelling; a data folder whose own name is `millrace` holds another one.
        let inside = dir.file_name().is_some_and(|name| name == folder::FOLDER) && dir.join("META").is_file();
        let data_dir = match dir.parent() {
            Some(parent) if inside && parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) if inside => parent.to_owned(),
            _ => dir.to_owned(),
        };
        let unreadable = |why: String| Failure::unreadable(format!("{}: {why}", dir.display()));
        match folder::meta(&data_dir) {
            Ok(Some(meta)) => Ok(Self { data_dir, keys, meta }),
            Ok(None) => Err(unreadable(match folder::look(&data_dir) {
                Ok(folder::Found::Flume(files)) => format!(
                    "holds a file channel of Flume's ({files} data files); these commands read Millrace's"
                ),
                Err(why) => why.to_string(),
                _ => format!(
                    "is not a folder of a file channel: expected a dataDir, which has {}/META in it",
                    folder::FOLDER
                ),
            })),
            Err(why) => Err(Failure::unreadable(why.to_string())),
        }
    }

    /// The folder of the log.
    pub fn folder(&self) -> PathBuf {
        self.data_dir.join(folder::FOLDER)
    }

    /// Opens the log for reading, of one moment. `from_the_disk` asks for what the
    /// disk holds, not for what the system remembers of it.
    pub fn open(&self, from_the_disk: bool) -> Result<Log, Failure> {
        let disk = ReadOnlyDisk::new(self.folder(), from_the_disk);
        Survey::of(disk, self.meta.shard, self.keys.clone())
            .map_err(|why| Failure::unreadable(format!("{}: {why}", self.folder().display())))
    }

    /// The process that uses it, as far as the system tells, which says nothing of other containers. No lock is taken: it
    /// might keep a node from starting.
    pub fn user(&self) -> Option<u32> {
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let files = [self.folder().join("LOCK"), self.data_dir.join("in_use.lock")];
        let ids = files.iter().filter_map(|file| {
            let metadata = std::fs::metadata(file).ok()?;
            let dev = metadata.dev();
            Some(format!(
                "{:02x}:{:02x}:{}",
                rustix::fs::major(dev),
                rustix::fs::minor(dev),
                metadata.ino()
            ))
        });
        let ids: Vec<String> = ids.collect();
        holder(&locks, &ids)
    }
}

/// Who holds a lock on one of these files: a line is `1: FLOCK  ADVISORY  WRITE 4242 08:01:131 0 EOF`.
fn holder(locks: &str, ids: &[String]) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(3);
        let kind = words.next()?;
        let process = words.next()?;
        let id = words.next()?;
        (kind == "WRITE" && ids.iter().any(|known| known == id))
            .then(|| process.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_among_others() {
        let locks = "1: FLOCK  ADVISORY  WRITE 4242 08:01:131 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 17 08:01:131 0 EOF\n\
                     2: POSIX  ADVISORY  READ 5 08:01:132 0 EOF\n3: POSIX  ADVISORY  WRITE 6 08:01:133 0 EOF\nnonsense";
        let holder = |id: &str| holder(locks, &[id.to_owned()]);
        assert_eq!(holder("08:01:131"), Some(4_242));
        assert_eq!(holder("08:01:132"), None);
        assert_eq!(holder("08:01:133"), Some(6));
        assert_eq!(holder("09:01:131"), None);
    }
}
