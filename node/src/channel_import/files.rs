//! The data files, read from end to end once: which events are left, what is damaged.
//!
//! The files of one folder are read one after the other, those of several folders side by side, by the order of the
//! writes: so many files are open, and so many buffers there are, as folders.

use super::Failure;
use super::cipher::{Cipher, KeyRing};
use super::folders::{Folders, Log};
use super::progress::Progress;
use super::report::{Place, Places};
use cluster::flume_queue::{Checkpoint, Replay, Undelivered};
use proto::flume_log::{Entry, HEAD_V2_BYTES, LogMeta, Pointer, Scan, Step, Version};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes of metadata, at most.
const META_BYTES_MAX: u64 = 64 << 10;

/// A data file and what its metadata says.
pub struct LogFile {
    /// Which.
    pub log: Log,
    /// How it is written.
    pub version: Version,
    /// Its metadata.
    pub meta: LogMeta,
    /// What makes its records plain.
    pub cipher: Option<Cipher>,
    bytes: u64,
}

/// What reading has come to.
#[derive(Debug, Default)]
pub struct Replayed {
    /// What is left.
    pub left: Undelivered,
    /// What cannot be read and matters.
    pub places: Places,
    /// Ends of files that were not written whole.
    pub torn: u64,
    /// Files.
    pub files: u64,
    /// Of all records and what is left: the same files give the same number, others another.
    pub digest: u64,
}

/// Reads the metadata of all files; all that is wrong at once.
pub fn open_all(
    folders: &Folders,
    keys: &KeyRing,
    skip_damage: bool,
    progress: &Progress,
) -> Result<Vec<LogFile>, Failure> {
    let (mut files, mut wrong) = (Vec::new(), Vec::new());
    for log in folders.logs() {
        match open(log, keys, skip_damage, progress) {
            Ok(file) => files.extend(file),
            Err(why) => wrong.push(format!("{}: {why}", log.path.display())),
        }
    }
    if wrong.is_empty() {
        Ok(files)
    } else {
        Err(Failure::input(wrong.join("\n")))
    }
}

/// None for a file that was never begun.
fn open(
    log: &Log,
    keys: &KeyRing,
    skip_damage: bool,
    progress: &Progress,
) -> Result<Option<LogFile>, String> {
    let bytes = fs::metadata(&log.path).map_err(|error| error.to_string())?.len();
    if bytes == 0 {
        return Ok(None);
    }
    let (version, meta) = match metadata(&log.path) {
        Ok(found) => found,
        Err(why) if skip_damage => {
            let path = log.path.display();
            progress.say(&format!(
                "Warning: {path}: {why}; it is read as one of version 3 that is not encrypted"
            ));
            let file = log.number;
            (
                Version::V3,
                LogMeta {
                    file,
                    ..LogMeta::default()
                },
            )
        }
        Err(why) => return Err(why),
    };
    if meta.file != log.number {
        return Err(format!(
            "its metadata is of log-{}: it was renamed, or is of another channel",
            meta.file
        ));
    }
    let cipher = meta
        .encryption
        .as_ref()
        .map(|encryption| keys.cipher(encryption))
        .transpose()?;
    Ok(Some(LogFile {
        log: log.clone(),
        version,
        meta,
        cipher,
        bytes,
    }))
}

/// The metadata beside the file, also where Flume was interrupted while it replaced it; else in its head.
fn metadata(path: &Path) -> Result<(Version, LogMeta), String> {
    let mut broken = None;
    for ending in ["meta", "meta.tmp", "meta.old"] {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{ending}"));
        let mut bytes = Vec::new();
        let read = File::open(PathBuf::from(&name))
            .and_then(|file| file.take(META_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => broken = broken.or(Some(format!("{}: {error}", name.display()))),
            Ok(_) => match LogMeta::decode(&bytes) {
                Ok(meta) => return Ok((Version::V3, meta)),
                Err(why) => broken = broken.or(Some(format!("{}: {why}", name.display()))),
            },
        }
    }
    if let Some(why) = broken {
        return Err(why);
    }
    let mut head = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(HEAD_V2_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(|error| error.to_string())?;
    let meta = LogMeta::decode_head(&head)
        .map_err(|why| format!("there is no metadata beside it, and in its head: {why}"))?;
    Ok((Version::V2, meta))
}

/// Reads all records of all files.
pub fn replay(
    folders: &Folders,
    files: &[LogFile],
    checkpoint: Option<Checkpoint>,
    progress: &Progress,
) -> Result<Replayed, Failure> {
    let mut streams: Vec<Stream<'_>> = (0..folders.count())
        .map(|folder| Stream::new(files.iter().filter(|file| file.log.folder == folder)))
        .collect();
    progress.expect_files(files.iter().map(|file| file.bytes).sum());
    let mut replayed = Replayed {
        files: files.len() as u64,
        ..Replayed::default()
    };
    let mut replay = Replay::new(files.iter().map(|file| file.log.number), checkpoint);
    let mut digest = Digest::default();
    for stream in &mut streams {
        stream.advance(&mut replayed, progress)?;
    }
    loop {
        let next = streams
            .iter_mut()
            .filter(|s| s.head.is_some())
            .min_by_key(|s| s.head.map(|(_, e)| e.key()));
        let Some((at, entry)) = next.as_ref().and_then(|stream| stream.head) else {
            break;
        };
        digest.add(at.to_u64());
        digest.add(entry.order as u64);
        replay.apply(at, &entry);
        if let Some(stream) = next {
            stream.advance(&mut replayed, progress)?;
        }
    }
    let mut left = replay.finish();
    for at in std::mem::take(&mut left.damaged) {
        let path = files
            .iter()
            .find(|file| file.log.number == at.file())
            .map(|file| file.log.path.clone());
        replayed.places.add(Place {
            path: path.unwrap_or_default(),
            offset: u64::from(at.offset()),
            bytes: 0,
            why: "an undelivered event whose checksum does not match its body".to_owned(),
        });
        // The list is in the order of the queue: as many passes as there are damaged ones would be slow, one is enough.
        left.damaged.push(at);
    }
    if !left.damaged.is_empty() {
        let mut damaged = left.damaged.iter().copied().peekable();
        left.events.retain(|event| damaged.next_if_eq(event).is_none());
    }
    left.events.iter().for_each(|event| digest.add(event.to_u64()));
    replayed.digest = digest.0;
    replayed.left = left;
    Ok(replayed)
}

/// 64 bits of everything in its order; against mistakes, not against forgers.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn add(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

/// The files of one folder, one after the other.
struct Stream<'a> {
    files: VecDeque<&'a LogFile>,
    reading: Option<Reading<'a>>,
    /// The next record.
    head: Option<(Pointer, Entry)>,
    piece: Vec<u8>,
}

struct Reading<'a> {
    file: &'a LogFile,
    from: File,
    scan: Scan,
}

impl<'a> Stream<'a> {
    fn new(files: impl Iterator<Item = &'a LogFile>) -> Self {
        Self {
            files: files.collect(),
            reading: None,
            head: None,
            piece: vec![0; PIECE_BYTES],
        }
    }

    /// Reads up to the next record of this folder.
    fn advance(&mut self, replayed: &mut Replayed, progress: &Progress) -> Result<(), Failure> {
        self.head = None;
        loop {
            let Some(reading) = &mut self.reading else {
                let Some(file) = self.files.pop_front() else {
                    return Ok(());
                };
                self.reading = Some(Reading {
                    file,
                    from: File::open(&file.log.path).map_err(|error| unreadable(file, &error))?,
                    scan: Scan::new(file.version),
                });
                continue;
            };
            let cipher = reading.file.cipher.as_ref();
            let decrypt = cipher.map(|cipher| move |payload: &mut [u8]| cipher.decrypt(payload));
            let step = reading
                .scan
                .step(decrypt.as_ref().map(|d| d as &dyn Fn(&mut [u8])));
            match step {
                Step::More => {
                    let read = reading
                        .from
                        .read_at(&mut self.piece, reading.scan.offset())
                        .map_err(|error| unreadable(reading.file, &error))?;
                    if read == 0 {
                        reading.scan.end();
                    } else {
                        reading.scan.feed(&self.piece[..read]);
                        progress.read(read as u64);
                    }
                }
                Step::Entry { offset, entry } => {
                    let Ok(offset) = u32::try_from(offset) else {
                        let why = "a data file of Flume's is shorter than 4 GiB";
                        return Err(Failure::input(format!(
                            "{}: {why}",
                            reading.file.log.path.display()
                        )));
                    };
                    self.head = Some((Pointer::new(reading.file.log.number, offset), entry));
                    return Ok(());
                }
                Step::Damage(damage) => replayed.places.add(Place {
                    path: reading.file.log.path.clone(),
                    offset: damage.offset,
                    bytes: damage.bytes,
                    why: damage.why,
                }),
                Step::End(end) => {
                    replayed.torn += u64::from(end.torn_bytes > 0);
                    self.reading = None;
                }
            }
        }
    }
}

fn unreadable(file: &LogFile, error: &io::Error) -> Failure {
    Failure::input(format!("{}: {error}", file.log.path.display()))
}
