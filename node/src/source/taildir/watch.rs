//! inotify over the folders: a bell for everything while nobody reads, and the story of every name at all times.
//!
//! Names are watched always, for they are few and tell of files that came and went between two looks ([`Names`]).
//! Writes ring only while the bell is armed (see [`pace`](super::pace)), for a writer at full speed makes a million of
//! them a second; that is why this stands on the system call itself and not on `notify`, which hears all of them
//! always. A folder that cannot be watched (no more watches, a network file system) is polled; that is said once.

use super::names::{Change, Names, Passed};
use futures_util::FutureExt as _;
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, Event, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::warn;

/// Bytes of events that are read at once.
const EVENTS_BYTES: usize = 16 << 10;

/// What happens to names.
const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR);

/// What is heard since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// More happened than the kernel keeps: some names are not known.
    pub(super) overrun: bool,
    /// Files that lost a matching name.
    pub(super) passed: Vec<Passed>,
}

/// The watch over some folders.
#[derive(Debug)]
pub(super) struct Watch {
    folders: Vec<PathBuf>,
    inotify: Option<AsyncFd<OwnedFd>>,
    /// Folders by the kernel's number of their watch.
    watched: HashMap<i32, PathBuf>,
    names: Names,
    complained: bool,
}

impl Watch {
    /// Watches names from now on.
    pub(super) fn new(folders: Vec<PathBuf>) -> Self {
        let mut watch = Self {
            folders,
            inotify: None,
            watched: HashMap::new(),
            names: Names::default(),
            complained: false,
        };
        watch.listen_for(NAMES);
        watch
    }

    /// Rings for writes as well. Says whether every folder will ring.
    pub(super) fn arm(&mut self) -> bool {
        if let Some(Ok(mut ready)) = self.inotify.as_ref().and_then(|i| i.readable().now_or_never()) {
            // Of what was read long since; whoever arms looks himself once more.
            ready.clear_ready();
        }
        self.listen_for(NAMES.union(WatchFlags::MODIFY).union(WatchFlags::ATTRIB))
    }

    /// Rings for names only.
    pub(super) fn disarm(&mut self) {
        self.listen_for(NAMES);
    }

    /// Resolves when something is heard.
    pub(super) async fn rings(&self) {
        let Some(inotify) = &self.inotify else {
            return std::future::pending().await;
        };
        if let Ok(mut ready) = inotify.readable().await {
            ready.clear_ready();
        }
    }

    /// What was heard, without waiting. `matches` says whether a path is one of a file that is followed.
    pub(super) fn news(&mut self, matches: impl Fn(&Path) -> bool) -> News {
        let mut news = News::default();
        let Some(inotify) = &self.inotify else {
            return news;
        };
        let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
        let mut events = Reader::new(inotify.get_ref(), &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => break,
            };
            news.overrun |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            if let Some(change) = self.watched.get(&event.wd()).and_then(|f| change(f, &event)) {
                self.names.note(change, &matches);
            }
        }
        news.passed = self.names.passed();
        news
    }

    fn listen_for(&mut self, flags: WatchFlags) -> bool {
        match self.try_listen_for(flags) {
            Ok(()) => true,
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    warn!(%error, "folders cannot be watched and are looked at every second instead");
                }
                false
            }
        }
    }

    fn try_listen_for(&mut self, flags: WatchFlags) -> io::Result<()> {
        let inotify = match &mut self.inotify {
            Some(inotify) => inotify,
            none => {
                let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
                #[expect(
                    deprecated,
                    reason = "its successor is unsafe for descriptors in general; this one is owned"
                )]
                none.insert(AsyncFd::with_interest(inotify, Interest::READABLE)?)
            }
        };
        let mut all = Ok(());
        for folder in &self.folders {
            // The same folder has the same number again; one that is new under its path gets another.
            match add_watch(inotify.get_ref(), folder, flags) {
                Ok(number) => drop(self.watched.insert(number, folder.clone())),
                Err(error) => all = Err(error.into()),
            }
        }
        all
    }
}

fn change(folder: &Path, event: &Event<'_>) -> Option<Change> {
    let (events, cookie) = (event.events(), event.cookie());
    let path = folder.join(OsStr::from_bytes(event.file_name()?.to_bytes()));
    if events.contains(ReadFlags::MOVED_FROM) {
        Some(Change::From { path, cookie })
    } else if events.contains(ReadFlags::MOVED_TO) {
        Some(Change::To { path, cookie })
    } else if events.intersects(ReadFlags::CREATE | ReadFlags::DELETE) {
        Some(Change::Other { path })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::{TempDir, soon};
    use std::fs;
    use std::io::Write as _;

    fn matches(path: &Path) -> bool {
        path.extension().is_some_and(|e| e == "log")
    }

    fn append(path: &Path) {
        let mut file = fs::File::options().append(true).open(path).unwrap();
        file.write_all(b"y").unwrap();
    }

    #[tokio::test]
    async fn armed_it_rings_for_every_change_and_not_for_reading() {
        let dir = TempDir::new();
        let path = dir.path().join("a");
        let mut watch = Watch::new(vec![dir.path().to_owned()]);
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(&path, "x").unwrap(),
            &|| append(&path),
            &|| fs::rename(&path, dir.path().join("b")).unwrap(),
            &|| fs::remove_file(dir.path().join("b")).unwrap(),
        ];
        for change in changes {
            assert!(watch.arm());
            watch.news(matches);
            let _ = fs::read(&path);
            assert!(watch.rings().now_or_never().is_none());
            change();
            soon(watch.rings()).await;
        }
    }

    #[tokio::test]
    async fn disarmed_it_hears_of_names_and_not_of_writes() {
        let dir = TempDir::new();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.log"), "x").unwrap();
        let mut watch = Watch::new(vec![dir.path().to_owned()]);
        watch.arm();
        watch.disarm();
        watch.news(matches);
        append(&at("a.log"));
        assert_eq!(watch.news(matches), News::default());
        for _ in 0..2 {
            if at("a.1").exists() {
                fs::rename(at("a.1"), at("a.2")).unwrap();
            }
            fs::rename(at("a.log"), at("a.1")).unwrap();
            fs::write(at("a.log"), "x").unwrap();
        }
        let news = watch.news(matches);
        let passed = |is: &str| Passed {
            was: at("a.log"),
            is: at(is),
        };
        assert_eq!(news.passed, [passed("a.2"), passed("a.1")]);
        assert_eq!(watch.news(matches), News::default());
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_does_not_ring_until_it_is() {
        let dir = TempDir::new();
        let later = dir.path().join("later");
        let mut watch = Watch::new(vec![dir.path().to_owned(), later.clone()]);
        assert!(!watch.arm());
        fs::create_dir(&later).unwrap();
        assert!(watch.arm());
        watch.news(matches);
        fs::write(later.join("x"), "x").unwrap();
        soon(watch.rings()).await;
    }
}
