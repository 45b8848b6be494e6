//! What is committed in which file, and mending what a crash has left.
//!
//! Each commit keeps the file and its length as the sink's position, `1 length path`. At the start the file is cut
//! back to that length: what stands behind it was written and not committed, and comes again. (A file that was closed
//! may have its footer there; that stays.)
//!
//! Of a new file the position knows nothing before its first commit. So from its creation until then a note lies in
//! the directory, `.<sink>.file_roll`: the file's name, and the position that was committed when it was made. If that
//! is the committed position still, nothing of the new file is committed and it is removed. A note is only believed
//! where this is certain; else it is dropped and the file stays. (No position then and none now says something only
//! about a channel that would have kept one: a durable one, or one in memory if the process is the same.)

use super::output::sync_directory;
use crate::component::channel::Position;
use bytes::Bytes;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use tracing::{error, info, warn};

/// Bytes of the longest note that is read.
const NOTE_BYTES_MAX: u64 = 64 << 10;

/// Which process this is.
static PROCESS: LazyLock<u64> = LazyLock::new(rand::random);

/// The position of a commit.
pub(super) fn position(owner: &Arc<str>, path: &Path, len: u64) -> Position {
    let mut bytes = format!("1 {len} ").into_bytes();
    bytes.extend_from_slice(path.as_os_str().as_bytes());
    Position {
        owner: owner.clone(),
        bytes: bytes.into(),
    }
}

/// File and length; none if it is not one of ours, or of a later version.
pub(super) fn committed(position: &[u8]) -> Option<(PathBuf, u64)> {
    let mut parts = position.splitn(3, |b| *b == b' ');
    let version = parts.next()?;
    let len = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let path = PathBuf::from(OsStr::from_bytes(parts.next()?));
    (version == b"1").then_some((path, len))
}

/// The note about a new file of which nothing is committed yet.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
}

/// What a note says.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    /// The new file's name.
    name: PathBuf,
    /// Whether it was made for a channel that survives the process.
    durable: bool,
    /// Which process has made it.
    process: u64,
    /// The position that was committed then.
    position: Option<Bytes>,
}

impl Note {
    /// Where the sink of this name puts its notes.
    pub(super) fn of(directory: &Path, sink: &str) -> Self {
        let name = format!(".{}.file_roll", sink.replace('/', "_"));
        Self {
            path: directory.join(name),
        }
    }

    /// Notes that a file was made for a channel that is durable or not; with `sync` both are on the disk afterwards.
    pub(super) fn write(
        &self,
        file: &Path,
        position: Option<&[u8]>,
        durable: bool,
        sync: bool,
    ) -> io::Result<()> {
        let name = file.file_name().unwrap_or_default();
        let (durable, process, len) = (u8::from(durable), *PROCESS, name.len());
        let mut text = format!("1 {durable} {process} {len} ").into_bytes();
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(position.unwrap_or_default());
        let beside = self.path.with_extension("file_roll.tmp");
        let mut out = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&beside)?;
        out.write_all(&text)?;
        if sync {
            out.sync_all()?;
        }
        fs::rename(&beside, &self.path)?;
        match self.path.parent() {
            Some(directory) if sync => sync_directory(directory),
            _ => Ok(()),
        }
    }

    /// The first commit of the file is there, or the file is gone.
    pub(super) fn remove(&self) {
        if let Err(why) = fs::remove_file(&self.path)
            && why.kind() != ErrorKind::NotFound
        {
            // It says nothing any more: the position has moved on.
            warn!(path = %self.path.display(), error = %why, "note cannot be removed");
        }
    }

    fn read(&self) -> Option<Said> {
        let mut text = Vec::new();
        let file = File::open(&self.path).ok()?;
        file.take(NOTE_BYTES_MAX).read_to_end(&mut text).ok()?;
        let mut parts = text.splitn(5, |b| *b == b' ');
        let (version, durable) = (parts.next()?, parts.next()? == b"1");
        let process = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
        let len: usize = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
        let (name, position) = parts.next()?.split_at_checked(len)?;
        let name = PathBuf::from(OsStr::from_bytes(name));
        // A name and nothing else: whoever may write here may not choose what is removed elsewhere.
        let plain = name.file_name() == Some(name.as_os_str());
        (version == b"1" && plain).then(|| Said {
            name,
            durable,
            process,
            position: (!position.is_empty()).then(|| Bytes::copy_from_slice(position)),
        })
    }

    /// Removes the file of the note, if nothing of it is committed. `durable` is what is known of the channel: the note
    /// is left to be looked at again, with a lease in hand, if that matters and is not known.
    pub(super) fn mend(&self, position: Option<&[u8]>, durable: Option<bool>) {
        let Some(said) = self.read() else { return };
        let same = said.position.as_deref() == position;
        let certain = if !same {
            false
        } else if position.is_some() || said.process == *PROCESS {
            true
        } else if said.durable && durable.is_none() {
            return;
        } else {
            said.durable && durable == Some(true)
        };
        let file = self.path.with_file_name(&said.name);
        if certain {
            match fs::remove_file(&file) {
                Ok(()) => {
                    info!(path = %file.display(), "file removed: none of its events is committed, they come again")
                }
                Err(why) if why.kind() == ErrorKind::NotFound => {}
                Err(why) => {
                    error!(path = %file.display(), error = %why, "file cannot be removed: its events will be doubled")
                }
            }
        }
        self.remove();
    }
}

/// Cuts the file of a position back to its committed length.
pub(super) fn cut_back(position: &[u8], footer: &[u8]) {
    let Some((path, len)) = committed(position) else {
        return;
    };
    match try_cut(&path, len, footer) {
        Ok(Cut::Nothing) => {}
        Ok(Cut::Bytes(bytes)) => {
            info!(path = %path.display(), bytes, "file cut back: its last events are not committed, they come again");
        }
        Ok(Cut::Missing(bytes)) => {
            error!(path = %path.display(), bytes, "file is shorter than what was committed: events are lost");
        }
        // Somebody has taken it away, as they do with files that are done.
        Err(why) if why.kind() == ErrorKind::NotFound => {}
        Err(why) => {
            error!(path = %path.display(), error = %why, "file cannot be cut back: its last events will be doubled");
        }
    }
}

enum Cut {
    Nothing,
    Bytes(u64),
    Missing(u64),
}

fn try_cut(path: &Path, len: u64, footer: &[u8]) -> io::Result<Cut> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let found = file.metadata()?.len();
    if found <= len {
        return Ok(match len - found {
            0 => Cut::Nothing,
            bytes => Cut::Missing(bytes),
        });
    }
    if found - len == footer.len() as u64 {
        let mut end = vec![0; footer.len()];
        file.seek(SeekFrom::Start(len))?;
        file.read_exact(&mut end)?;
        if end == footer {
            return Ok(Cut::Nothing);
        }
    }
    file.set_len(len)?;
    file.sync_all()?;
    Ok(Cut::Bytes(found - len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::TempDir;

    #[test]
    fn a_position_is_a_file_and_a_length() {
        let owner: Arc<str> = "sink/k1".into();
        let path = Path::new("/d/a file-1");
        let bytes = position(&owner, path, 7).bytes;
        assert_eq!(committed(&bytes), Some((path.to_owned(), 7)));
        for other in [&b""[..], b"2 7 /d", b"1 x /d", b"1 7"] {
            assert_eq!(committed(other), None);
        }
    }

    #[test]
    fn a_file_is_cut_to_what_is_committed_and_its_footer_stays() {
        let directory = TempDir::new();
        let path = directory.path().join("f");
        let owner: Arc<str> = "sink/k1".into();
        let check = |content: &str, len: u64, expected: &str| {
            fs::write(&path, content).unwrap();
            cut_back(&position(&owner, &path, len).bytes, b"END");
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        };
        check("one two", 3, "one");
        check("one", 3, "one");
        check("on", 3, "on");
        check("oneEND", 3, "oneEND");
        check("oneend", 3, "one");
        fs::remove_file(&path).unwrap();
        cut_back(&position(&owner, &path, 3).bytes, b"");
        assert!(!path.exists());
    }

    #[test]
    fn a_new_file_is_removed_only_if_certainly_nothing_of_it_is_committed() {
        let directory = TempDir::new();
        let file = directory.path().join("new");
        let note = Note::of(directory.path(), "k/1");
        // Position and durability when it was made and now; whether file and note are there afterwards.
        let (a, b): (Option<&[u8]>, Option<&[u8]>) = (Some(b"1 3 /d/a"), Some(b"1 9 /d/b"));
        let (yes, no) = (Some(true), Some(false));
        for (then, durable, now, known, file_stays, note_stays) in [
            (a, false, a, None, false, false),
            (a, true, a, yes, false, false),
            (a, true, b, yes, true, false),
            (a, true, None, None, true, false),
            (None, true, a, yes, true, false),
            (None, true, None, yes, false, false),
            (None, true, None, None, true, true),
            (None, true, None, no, true, false),
            (None, false, None, None, true, false),
            (None, false, None, yes, true, false),
        ] {
            fs::write(&file, "x").unwrap();
            note.write(&file, then, durable, false).unwrap();
            by_another_process(&note);
            note.mend(now, known);
            let context = format!("{then:?} {durable} {now:?} {known:?}");
            assert_eq!(file.exists(), file_stays, "{context}");
            assert_eq!(note.path.exists(), note_stays, "{context}");
            note.remove();
        }
    }

    fn by_another_process(note: &Note) {
        let text = fs::read_to_string(&note.path).unwrap();
        fs::write(&note.path, text.replacen(&PROCESS.to_string(), "7", 1)).unwrap();
    }

    #[test]
    fn a_process_knows_that_it_has_committed_nothing_whatever_the_channel_is() {
        let directory = TempDir::new();
        let file = directory.path().join("new");
        let note = Note::of(directory.path(), "k1");
        for durable in [false, true] {
            fs::write(&file, "x").unwrap();
            note.write(&file, None, durable, durable).unwrap();
            note.mend(None, None);
            assert!(!file.exists() && !note.path.exists());
        }
    }

    #[test]
    fn a_note_that_names_something_elsewhere_is_not_believed() {
        let directory = TempDir::new();
        let note = Note::of(directory.path(), "k1");
        for text in [
            "",
            "1 1 7 4 ../x",
            "1 1 7 99 x",
            "2 1 7 1 x",
            "1 1 7 2 /x",
            "1 1 7 1",
            "1 1 1 x",
        ] {
            fs::write(&note.path, text).unwrap();
            assert_eq!(note.read(), None, "{text}");
        }
    }
}
