//! Keeps the positions: with every batch into the channels, every few seconds into the position file.
//!
//! The file is written by a task beside the reading, since a sync may take as long as a busy disk likes; until it is
//! on disk, batches stand on the one before as well. Only committed positions are ever written, from a whole list of files.

use super::deltas::{Base, Deltas, Slot, digest};
use super::store::Store;
use crate::component::error::RunError;
use bytes::Bytes;
use std::io;
use std::time::SystemTime;
use tokio::task::JoinHandle;
use tracing::error;

/// As many files in a position make the position file due at once.
const FILES_MAX: usize = 256;

/// What a file's positions hang on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kept {
    slot: Option<Slot>,
    /// The last state of the position file that does not have it yet.
    generation: u64,
}

/// A file as positions see it.
pub(super) struct Mark<'a> {
    pub(super) inode: u64,
    pub(super) born_ns: Option<u64>,
    pub(super) pos: u64,
    pub(super) path: &'a str,
}

/// A file that is done with and that the position file still has.
#[derive(Debug)]
struct Done {
    inode: u64,
    born_ns: Option<u64>,
    pos: u64,
    path: String,
    generation: u64,
}

/// The positions of one source.
#[derive(Debug)]
pub(super) struct Positions {
    /// None while it is lent to the task.
    store: Option<Store>,
    deltas: Deltas,
    /// Counts the states of the position file.
    generation: u64,
    /// Something changed since the last state.
    changed: bool,
    done: Vec<Done>,
    writing: Option<Writing>,
    failed: bool,
}

#[derive(Debug)]
struct Writing {
    task: JoinHandle<(Store, io::Result<()>)>,
    base: Base,
    generation: u64,
}

impl Positions {
    /// Nothing is written yet; [`write_now`](Self::write_now) is to come before any batch.
    pub(super) fn new(store: Store) -> Self {
        Self {
            store: Some(store),
            deltas: Deltas::on(None),
            generation: 1,
            changed: false,
            done: Vec::new(),
            writing: None,
            failed: false,
        }
    }

    /// The position for a batch that brings this file to `pos`.
    pub(super) fn with(&mut self, kept: &mut Kept, mark: &Mark<'_>, pos: u64) -> Bytes {
        self.note(kept, mark);
        if let Some(slot) = kept.slot {
            self.deltas.set(slot, pos);
        }
        let bytes = self.deltas.bytes();
        // Until that batch is in the channels the file stands where it stood.
        if let Some(slot) = kept.slot {
            self.deltas.set(slot, mark.pos);
        }
        bytes
    }

    /// The file has come to where its mark is.
    pub(super) fn note(&mut self, kept: &mut Kept, mark: &Mark<'_>) {
        match kept.slot {
            Some(slot) => self.deltas.set(slot, mark.pos),
            None => kept.slot = Some(self.deltas.push(mark.inode, mark.born_ns, mark.pos, mark.path)),
        }
        kept.generation = self.generation;
        self.changed = true;
    }

    /// As [`note`](Self::note), for a file whose path is another one now.
    pub(super) fn note_renamed(&mut self, kept: &mut Kept, mark: &Mark<'_>) {
        kept.slot = None;
        self.note(kept, mark);
    }

    /// The file is done with. As long as the position file has it, positions say how far it was read.
    pub(super) fn note_done(&mut self, kept: Kept, mark: &Mark<'_>) {
        self.changed = true;
        if kept.slot.is_some() {
            self.done.push(Done {
                inode: mark.inode,
                born_ns: mark.born_ns,
                pos: mark.pos,
                path: mark.path.to_owned(),
                generation: kept.generation,
            });
        }
    }

    /// The position file has something that is to go.
    pub(super) fn note_gone(&mut self) {
        self.changed = true;
    }

    /// Whether something waits to be written.
    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    /// Whether it should not wait any longer.
    pub(super) fn is_pressing(&self) -> bool {
        !self.failed && self.deltas.files() >= FILES_MAX
    }

    /// Whether the task is at work.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Begins to write the text, which has the marks of all files as they were listed then; the youngest of them was born
    /// at `youngest_ns`.
    pub(super) fn write(&mut self, text: String, listed: SystemTime, youngest_ns: u64) {
        let Some(mut store) = self.store.take() else {
            return;
        };
        let coming = digest(text.as_bytes());
        self.deltas.expect(coming);
        let task = tokio::task::spawn_blocking(move || {
            let written = store.write(&text, listed, youngest_ns);
            (store, written)
        });
        self.writing = Some(Writing {
            task,
            base: Some(coming),
            generation: self.generation,
        });
        self.generation += 1;
        self.changed = false;
    }

    /// Ends what [`write`](Self::write) began; waits for it if `wait`. Says whether a new state is on disk: then
    /// [`rebuild`](Self::rebuild) must follow with all files.
    ///
    /// # Errors
    /// What kept it from being written; it is tried again with the next state.
    pub(super) async fn written(&mut self, wait: bool) -> Result<bool, RunError> {
        if !self
            .writing
            .as_ref()
            .is_some_and(|w| wait || w.task.is_finished())
        {
            return Ok(false);
        }
        let Some(writing) = self.writing.take() else {
            return Ok(false);
        };
        let (store, written) = writing
            .task
            .await
            .map_err(|e| RunError::bug("the position file's task ended").caused_by(e))?;
        self.store = Some(store);
        match written {
            Ok(()) => {
                self.failed = false;
                self.deltas = Deltas::on(writing.base);
                self.done.retain(|d| d.generation > writing.generation);
                for done in &self.done {
                    self.deltas.push(done.inode, done.born_ns, done.pos, &done.path);
                }
                Ok(true)
            }
            Err(why) => {
                self.failed = true;
                self.changed = true;
                error!(error = %why, "Failed writing positionFile; after a crash lines would be read again");
                Err(RunError::retry("positionFile: cannot be written").caused_by(why))
            }
        }
    }

    /// A file after a new state is on disk: it stays in positions only if it moved on since.
    pub(super) fn rebuild(&mut self, kept: &mut Kept, mark: &Mark<'_>) {
        if kept.slot.take().is_some() && kept.generation == self.generation {
            kept.slot = Some(self.deltas.push(mark.inode, mark.born_ns, mark.pos, mark.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::deltas::decode;
    use super::*;
    use crate::component::contract::TempDir;

    fn mark(inode: u64, pos: u64, path: &str) -> Mark<'_> {
        Mark {
            inode,
            born_ns: Some(1),
            pos,
            path,
        }
    }

    fn files(bytes: &Bytes) -> Vec<(u64, u64)> {
        let decoded = decode(bytes).unwrap();
        decoded.files.iter().map(|d| (d.inode, d.pos)).collect()
    }

    #[tokio::test]
    async fn a_position_stands_on_what_is_on_disk_and_adds_what_moved_on_since() {
        let dir = TempDir::new();
        let path = dir.path().join("p.json");
        let (store, _) = Store::open(&path).unwrap();
        let mut positions = Positions::new(store);
        let (mut a, mut b) = (Kept::default(), Kept::default());
        positions.note(&mut a, &mark(1, 10, "/a"));
        let bytes = positions.with(&mut b, &mark(2, 0, "/b"), 5);
        assert_eq!(files(&bytes), [(1, 10), (2, 5)]);
        assert_eq!(
            files(&positions.with(&mut a, &mark(1, 10, "/a"), 11)),
            [(1, 11), (2, 0)],
            "a batch that is not in yet moves nothing"
        );
        positions.note(&mut b, &mark(2, 5, "/b"));

        positions.write("first".to_owned(), SystemTime::now(), 0);
        positions.note(&mut a, &mark(1, 12, "/a"));
        let before = positions.with(&mut a, &mark(1, 12, "/a"), 12);
        let before = decode(&before).unwrap();
        let first = Some(digest(b"first"));
        assert!(
            before.fits(None) && before.fits(first),
            "it is not known to be on disk"
        );
        assert!(positions.written(true).await.unwrap());
        positions.rebuild(&mut a, &mark(1, 12, "/a"));
        positions.rebuild(&mut b, &mark(2, 5, "/b"));
        let after = positions.with(&mut a, &mark(1, 12, "/a"), 13);
        let decoded = decode(&after).unwrap();
        assert!(decoded.fits(first) && !decoded.fits(None));
        assert_eq!(files(&after), [(1, 13)]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
    }

    #[tokio::test]
    async fn a_file_that_is_done_with_stays_until_the_position_file_is_without_it() {
        let dir = TempDir::new();
        let (store, _) = Store::open(&dir.path().join("p.json")).unwrap();
        let mut positions = Positions::new(store);
        let (mut a, mut b) = (Kept::default(), Kept::default());
        positions.note(&mut a, &mark(1, 10, "/a"));
        positions.write("with it".to_owned(), SystemTime::now(), 0);
        positions.written(true).await.unwrap();
        positions.rebuild(&mut a, &mark(1, 10, "/a"));
        positions.note(&mut a, &mark(1, 20, "/a"));
        positions.note_done(a, &mark(1, 20, "/a"));
        assert_eq!(
            files(&positions.with(&mut b, &mark(2, 0, "/b"), 1)),
            [(1, 20), (2, 1)]
        );
        positions.write("without it".to_owned(), SystemTime::now(), 0);
        positions.written(true).await.unwrap();
        positions.rebuild(&mut b, &mark(2, 0, "/b"));
        assert_eq!(files(&positions.with(&mut b, &mark(2, 0, "/b"), 1)), [(2, 1)]);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_kept_and_tried_again() {
        let dir = TempDir::new();
        let path = dir.path().join("p.json");
        let (store, _) = Store::open(&path).unwrap();
        let mut positions = Positions::new(store);
        let mut a = Kept::default();
        positions.note(&mut a, &mark(1, 10, "/a"));
        std::fs::create_dir(dir.path().join(".p.json.new")).unwrap();
        positions.write("first".to_owned(), SystemTime::now(), 0);
        assert!(positions.written(true).await.is_err());
        assert!(positions.is_changed() && !positions.is_pressing());
        let bytes = positions.with(&mut a, &mark(1, 10, "/a"), 11);
        assert_eq!(files(&bytes), [(1, 11)]);
        assert!(decode(&bytes).unwrap().fits(None));
        std::fs::remove_dir(dir.path().join(".p.json.new")).unwrap();
        positions.write("second".to_owned(), SystemTime::now(), 0);
        assert!(positions.written(true).await.unwrap());
    }
}
