//! inotify as a bell: rings when something happens in one of the folders, and says no more.
//!
//! Armed only while nobody reads (see `pace`). What rings may be a stranger's file: whoever hears it looks for himself.
//! A folder that cannot be watched (no more watches, a network file system) is polled; that is said once.

use futures_util::FutureExt as _;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;
use tracing::warn;

/// The bell over some folders.
#[derive(Debug)]
pub(super) struct Bell {
    folders: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    /// Folders that are watched now.
    watched: Vec<PathBuf>,
    rung: Arc<Notify>,
    complained: bool,
}

impl Bell {
    pub(super) fn new(folders: Vec<PathBuf>) -> Self {
        Self {
            folders,
            watcher: None,
            watched: Vec::new(),
            rung: Arc::default(),
            complained: false,
        }
    }

    /// Begins to listen. Says whether every folder will ring.
    pub(super) fn arm(&mut self) -> bool {
        self.disarm();
        match self.try_arm() {
            Ok(()) => true,
            Err(error) => {
                self.disarm();
                if !std::mem::replace(&mut self.complained, true) {
                    warn!(%error, "folders cannot be watched and are looked at every second instead");
                }
                false
            }
        }
    }

    fn try_arm(&mut self) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => none.insert(watcher(self.rung.clone())?),
        };
        for folder in &self.folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            self.watched.push(folder.clone());
        }
        Ok(())
    }

    /// Stops listening.
    pub(super) fn disarm(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for folder in self.watched.drain(..) {
            // Fails when the folder is gone; then nothing rings any more.
            let _ = watcher.unwatch(&folder);
        }
        let _ = self.rung.notified().now_or_never();
    }

    /// Resolves when something has happened since [`arm`](Self::arm).
    pub(super) async fn rings(&self) {
        self.rung.notified().await;
    }
}

fn watcher(rung: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Opening and reading are no news.
        let news = event.map_or(true, |e| !matches!(e.kind, EventKind::Access(_)));
        if news {
            rung.notify_one();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::{TempDir, soon};
    use std::fs;
    use std::io::Write as _;

    #[tokio::test]
    async fn it_rings_for_every_change_and_not_for_reading() {
        let dir = TempDir::new();
        let path = dir.path().join("a");
        let mut bell = Bell::new(vec![dir.path().to_owned()]);
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(&path, "x").unwrap(),
            &|| {
                let mut file = fs::File::options().append(true).open(&path).unwrap();
                file.write_all(b"y").unwrap();
            },
            &|| fs::rename(&path, dir.path().join("b")).unwrap(),
            &|| fs::remove_file(dir.path().join("b")).unwrap(),
        ];
        for change in changes {
            assert!(bell.arm());
            let _ = fs::read(&path);
            assert!(bell.rings().now_or_never().is_none());
            change();
            soon(bell.rings()).await;
        }
        bell.disarm();
        fs::write(&path, "z").unwrap();
        assert!(bell.arm(), "an old ring is forgotten");
        assert!(bell.rings().now_or_never().is_none());
    }

    #[test]
    fn a_folder_that_is_not_there_does_not_ring() {
        let dir = TempDir::new();
        let mut bell = Bell::new(vec![dir.path().to_owned(), dir.path().join("none")]);
        assert!(!bell.arm());
        assert!(bell.watched.is_empty());
    }
}
