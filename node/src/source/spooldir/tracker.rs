//! Flume's tracker file, `.flumespool-main.meta` in the tracker directory: which file is read, and up to where.
//!
//! An Avro container of records `TransferStateFileMeta { offset: long }`, with the file's path as `file` in its
//! metadata; the last record counts. It is made anew for each file (written beside and renamed) and a block is
//! appended after each commit, in one write. It is not synced: what must survive the machine is in the channel.
//! A torn block at its end is passed over. Flume goes on from ours, and we from Flume's.
//!
//! Ours says more in its metadata, which Flume does not look at: `millrace.file`, which file it is besides its name;
//! and, if the source stops in the middle of an Avro block, `millrace.place`, how many objects of it are behind.

use super::position::{Identity, Mark, Position};
use crate::component::deserializer::Place;
use bytes::BytesMut;
use proto::avro::container::{BLOCK_BYTES, Codec, ContainerReader, ContainerWriter, Objects};
use proto::avro::datum::{Datum, put_long};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tracing::warn;

const NAME: &str = ".flumespool-main.meta";
const SCHEMA: &str = r#"{"type":"record","name":"TransferStateFileMeta","namespace":"org.apache.flume.serialization","fields":[{"name":"offset","type":"long"}]}"#;
const PATH_KEY: &str = "file";
const IDENTITY_KEY: &str = "millrace.file";
const PLACE_KEY: &str = "millrace.place";

/// Bytes after which the file is made anew with its last record only.
const LEN_MAX: u64 = 1 << 20;

/// The tracker file of one source, or of the command `avro-client`.
pub(crate) struct Tracker {
    path: PathBuf,
    open: Option<Open>,
    /// The block under way is made here.
    out: Vec<u8>,
}

struct Open {
    file: File,
    writer: ContainerWriter,
    /// Whose position it has.
    target: PathBuf,
    len: u64,
}

impl Tracker {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            path: directory.join(NAME),
            open: None,
            out: Vec::new(),
        }
    }

    /// What it says about a file of this directory; one that cannot be read says nothing, with a warning.
    pub(crate) fn read(&self, directory: &Path) -> Option<Mark> {
        let read = File::open(&self.path).map(|file| read(file, directory));
        match read {
            Ok(Ok(mark)) => mark,
            Err(why) if why.kind() == ErrorKind::NotFound => None,
            Ok(Err(why)) | Err(why) => {
                warn!(path = %self.path.display(), error = %why, "tracker file cannot be read: it is ignored");
                None
            }
        }
    }

    /// Notes a position that is committed.
    pub(crate) fn store(&mut self, position: &Position) -> io::Result<()> {
        match &mut self.open {
            Some(open) if open.target == position.path && open.len < LEN_MAX => {
                self.out.clear();
                record(&mut open.writer, position, &mut self.out);
                open.len += self.out.len() as u64;
                open.file.write_all(&self.out)
            }
            _ => self.create(position, false),
        }
    }

    /// The source stops in the middle of a file.
    pub(super) fn seal(&mut self, position: &Position) -> io::Result<()> {
        if position.place.skip > 0 {
            self.create(position, true)?;
        }
        self.open = None;
        Ok(())
    }

    /// The file that it is about is done.
    pub(crate) fn delete(&mut self) -> io::Result<()> {
        self.open = None;
        match fs::remove_file(&self.path) {
            Err(why) if why.kind() != ErrorKind::NotFound => Err(why),
            _ => Ok(()),
        }
    }

    fn create(&mut self, position: &Position, with_place: bool) -> io::Result<()> {
        self.open = None;
        let mut writer = ContainerWriter::new(SCHEMA, Codec::Null, rand::random(), BLOCK_BYTES);
        let (identity, Place { offset, skip }) = (position.identity.to_string(), position.place);
        let place = format!("{offset} {skip}");
        let mut metadata = vec![
            (PATH_KEY, position.path.as_os_str().as_bytes()),
            (IDENTITY_KEY, identity.as_bytes()),
        ];
        if with_place {
            metadata.push((PLACE_KEY, place.as_bytes()));
        }
        self.out.clear();
        writer.header(&metadata, &mut self.out);
        record(&mut writer, position, &mut self.out);
        let beside = self.path.with_extension("meta.tmp");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&beside)?;
        file.write_all(&self.out)?;
        fs::rename(&beside, &self.path)?;
        self.open = Some(Open {
            file,
            writer,
            target: position.path.clone(),
            len: self.out.len() as u64,
        });
        Ok(())
    }
}

fn record(writer: &mut ContainerWriter, position: &Position, out: &mut Vec<u8>) {
    writer.push(|block| put_long(block, position.place.offset as i64));
    writer.end_block(out);
}

/// The last record, with what the metadata says.
fn read(mut file: File, directory: &Path) -> io::Result<Option<Mark>> {
    let mut reader = ContainerReader::new(BLOCK_BYTES);
    let (mut buf, mut chunk) = (BytesMut::new(), vec![0; 64 << 10]);
    let (mut offset, mut any) = (0, false);
    let wrong = |why: String| io::Error::new(ErrorKind::InvalidData, why);
    loop {
        let read = file.read(&mut chunk)?;
        buf.extend_from_slice(&chunk[..read]);
        let torn = loop {
            match reader.next_block(&mut buf) {
                Ok(Some(block)) => {
                    let Some(header) = reader.header() else { continue };
                    let last = Objects::new(header, block).and_then(last_long);
                    if let Some(last) = last.map_err(|why| wrong(why.to_string()))? {
                        offset = last;
                    }
                }
                Ok(None) => break false,
                Err(why) if reader.header().is_none() => return Err(wrong(why.to_string())),
                Err(_) => break true,
            }
        };
        any |= read > 0;
        if read == 0 || torn {
            break;
        }
    }
    let Some(header) = reader.header() else {
        // An empty file is Flume's as well, before it has written anything.
        return if any {
            Err(wrong("no whole header".to_owned()))
        } else {
            Ok(None)
        };
    };
    let text = |key: &str| {
        header
            .metadata(key)
            .and_then(|value| std::str::from_utf8(value).ok())
    };
    let path = header
        .metadata(PATH_KEY)
        .ok_or_else(|| wrong("no path in it".to_owned()))?;
    let offset = u64::try_from(offset).map_err(|_| wrong(format!("an offset of {offset}")))?;
    let identity = text(IDENTITY_KEY).and_then(Identity::parse);
    let skip = text(PLACE_KEY).and_then(|place| {
        let (at, skip) = place.split_once(' ')?;
        // Somebody may have gone on from here.
        (at.parse() == Ok(offset)).then(|| skip.parse().ok()).flatten()
    });
    Ok(Some(Mark {
        path: below(directory, Path::new(OsStr::from_bytes(path))),
        place: Place {
            offset,
            skip: skip.unwrap_or(0),
        },
        // What we write is committed: at 0 it is the only event of an empty file.
        done: identity.is_some() && offset == 0 && skip.is_none(),
        identity,
    }))
}

fn last_long(mut objects: Objects) -> Result<Option<i64>, proto::avro::container::ContainerError> {
    let mut last = None;
    while let Some(range) = objects.next_object()? {
        last = Some(Datum::new(&objects.block().data[range]).long()?);
    }
    Ok(last)
}

/// The path as this source writes it: the same file may be named with `./` or without.
fn below(within: &Path, path: &Path) -> PathBuf {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let directory = absolute(within);
    match absolute(path).strip_prefix(&directory) {
        Ok(inside) => within.join(inside),
        Err(_) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Spool;
    use super::*;

    fn position(spool: &Spool, name: &str, offset: u64, skip: u64) -> Position {
        let path = spool.at(name);
        Position {
            identity: Identity::of(&fs::metadata(&path).unwrap()),
            path,
            place: Place { offset, skip },
            done: false,
        }
    }

    fn tracker(spool: &Spool) -> Tracker {
        let config = spool.config(&[]);
        fs::create_dir_all(&config.tracker_directory).unwrap();
        Tracker::new(&config.tracker_directory)
    }

    fn read_back(spool: &Spool, tracker: &Tracker) -> Option<(PathBuf, u64, u64)> {
        let mark = tracker.read(&spool.config(&[]).directory)?;
        Some((mark.path, mark.place.offset, mark.place.skip))
    }

    #[test]
    fn the_last_position_counts_and_another_file_begins_anew() {
        let spool = Spool::new(&[("a", "x"), ("b", "y")]);
        let mut tracker = tracker(&spool);
        assert_eq!(read_back(&spool, &tracker), None);
        for offset in [3, 300, 200_000] {
            tracker.store(&position(&spool, "a", offset, 0)).unwrap();
            assert_eq!(read_back(&spool, &tracker), Some((spool.at("a"), offset, 0)));
        }
        let long = fs::metadata(&tracker.path).unwrap().len();
        tracker.store(&position(&spool, "b", 7, 0)).unwrap();
        assert!(fs::metadata(&tracker.path).unwrap().len() < long);
        assert_eq!(read_back(&spool, &tracker), Some((spool.at("b"), 7, 0)));
        tracker.delete().unwrap();
        tracker.delete().unwrap();
        assert_eq!(read_back(&spool, &tracker), None);
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let spool = Spool::new(&[("a", "x")]);
        let mut tracker = tracker(&spool);
        for offset in 0..60_000 {
            tracker.store(&position(&spool, "a", offset, 0)).unwrap();
        }
        assert!(fs::metadata(&tracker.path).unwrap().len() < LEN_MAX + 100);
        assert_eq!(read_back(&spool, &tracker), Some((spool.at("a"), 59_999, 0)));
    }

    #[test]
    fn a_place_inside_of_a_block_is_kept_at_a_stop_and_void_once_somebody_went_on() {
        let spool = Spool::new(&[("a", "x")]);
        let mut tracker = tracker(&spool);
        let inside = position(&spool, "a", 100, 5);
        tracker.store(&inside).unwrap();
        assert_eq!(read_back(&spool, &tracker), Some((spool.at("a"), 100, 0)));
        tracker.seal(&inside).unwrap();
        assert_eq!(read_back(&spool, &tracker), Some((spool.at("a"), 100, 5)));
        tracker.create(&inside, true).unwrap();
        tracker.store(&position(&spool, "a", 200, 0)).unwrap();
        assert_eq!(read_back(&spool, &tracker), Some((spool.at("a"), 200, 0)));
    }

    #[test]
    fn flumes_own_is_read() {
        let spool = Spool::new(&[]);
        let tracker = tracker(&spool);
        let hex = include_str!("../../../../proto/vectors/avro/container_tracker.hex").trim();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        fs::write(&tracker.path, &bytes).unwrap();
        let mark = tracker.read(&spool.config(&[]).directory).unwrap();
        assert_eq!((mark.path, mark.place.offset), (PathBuf::from("/d/a.log"), 300));
        assert_eq!((mark.identity, mark.done), (None, false));
        // Torn in the last block, in the header; empty; something else.
        for (len, expected) in [(bytes.len() - 1, Some(3)), (50, None), (0, None)] {
            fs::write(&tracker.path, &bytes[..len]).unwrap();
            let mark = tracker.read(&spool.config(&[]).directory);
            assert_eq!(mark.map(|mark| mark.place.offset), expected, "{len}");
        }
        fs::write(&tracker.path, "what is this").unwrap();
        assert_eq!(tracker.read(&spool.config(&[]).directory), None);
    }
}
