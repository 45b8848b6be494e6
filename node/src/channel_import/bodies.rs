//! The events behind pointers, read a second time where they lie.
//!
//! What is left stands mostly one behind the other, so a window of each file that is in use is kept.

use super::Failure;
use super::files::LogFile;
use super::folders::Folders;
use proto::event::{BatchBuilder, EventError};
use proto::flume_log::{Body, Pointer, RECORD_BYTES_MAX, Version, record, record_bytes};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes of a window; one grows for a longer record.
const WINDOW_BYTES: usize = 256 << 10;
/// Files whose windows are kept.
const WINDOWS: usize = 16;

/// Reads events.
pub struct Bodies<'a> {
    files: HashMap<u32, (&'a LogFile, PathBuf)>,
    /// The one that was used last is the last.
    windows: Vec<Window>,
    plain: Vec<u8>,
}

struct Window {
    number: u32,
    file: File,
    start: u64,
    bytes: Vec<u8>,
}

/// Why an event cannot be moved.
#[derive(Debug)]
pub enum Unread {
    /// The system.
    Io(PathBuf, io::Error),
    /// It is not there as it was when the files were read first.
    Changed(PathBuf),
    /// It is larger than an event may be here.
    TooLarge(PathBuf, EventError),
}

impl<'a> Bodies<'a> {
    /// Of these files, where they are now.
    pub fn open(folders: &Folders, files: &'a [LogFile]) -> Result<Self, Failure> {
        let mut all = HashMap::new();
        for log in folders.logs() {
            if let Some(file) = files.iter().find(|file| file.log.number == log.number) {
                all.insert(log.number, (file, log.path.clone()));
            }
        }
        if all.len() != files.len() {
            return Err(Failure::input(
                "data files have gone while they were read: who else works in the folders?",
            ));
        }
        Ok(Self {
            files: all,
            windows: Vec::new(),
            plain: Vec::new(),
        })
    }

    /// Appends an event to a batch; its bytes of body. On an error the batch is as before.
    pub fn push(&mut self, at: Pointer, batch: &mut BatchBuilder) -> Result<u64, Unread> {
        let Some((file, path)) = self.files.get(&at.file()) else {
            return Err(Unread::Changed(PathBuf::from(format!("log-{}", at.file()))));
        };
        let io_failed = |error| Unread::Io(path.clone(), error);
        let place = match self.windows.iter().position(|window| window.number == at.file()) {
            Some(place) => place,
            None => {
                if self.windows.len() == WINDOWS {
                    self.windows.remove(0);
                }
                self.windows.push(Window {
                    number: at.file(),
                    file: File::open(path).map_err(io_failed)?,
                    start: 0,
                    bytes: Vec::new(),
                });
                self.windows.len() - 1
            }
        };
        if place + 1 < self.windows.len() {
            let window = self.windows.remove(place);
            self.windows.push(window);
        }
        let Some(window) = self.windows.last_mut() else {
            return Err(Unread::Changed(path.clone()));
        };
        let changed = || Unread::Changed(path.clone());
        let whole = window
            .record(file.version, at.offset().into())
            .map_err(io_failed)?
            .ok_or_else(changed)?;
        let payload = match file.version {
            Version::V2 => &whole[1..],
            Version::V3 => &whole[5..],
        };
        let payload = match &file.cipher {
            None => payload,
            Some(cipher) => {
                self.plain.clear();
                self.plain.extend_from_slice(payload);
                cipher.decrypt(&mut self.plain);
                &self.plain
            }
        };
        let read = record(file.version, payload).map_err(|_| changed())?;
        let Body::Put(put) = read.body else {
            return Err(changed());
        };
        if !put.is_intact() {
            return Err(changed());
        }
        let headers = put.headers().map_err(|_| changed())?;
        batch
            .push(headers, put.body())
            .map_err(|why| Unread::TooLarge(path.clone(), why))?;
        Ok(put.body().len() as u64)
    }
}

impl Window {
    /// The bytes of the record at an offset; none if no record is there.
    fn record(&mut self, version: Version, offset: u64) -> io::Result<Option<&[u8]>> {
        let mut want = WINDOW_BYTES;
        loop {
            let there = offset
                .checked_sub(self.start)
                .and_then(|at| self.bytes.get(at as usize..));
            match there.map(|there| (record_bytes(version, there), there.len())) {
                Some((Ok(Some(bytes)), len)) if bytes <= len => {
                    let at = (offset - self.start) as usize;
                    return Ok(Some(&self.bytes[at..at + bytes]));
                }
                Some((Err(_), _)) => return Ok(None),
                // A record longer than the window: the length was believed once, when all of it had been read.
                Some((Ok(Some(bytes)), _)) => want = want.max(bytes),
                Some((Ok(None), len)) if self.start == offset && len >= WINDOW_BYTES => {
                    want = want.max(len * 2)
                }
                _ => {}
            }
            if want > RECORD_BYTES_MAX + WINDOW_BYTES {
                return Ok(None);
            }
            let before = (self.start, self.bytes.len());
            self.bytes.clear();
            self.bytes.resize(want, 0);
            let read = read_at(&self.file, offset, &mut self.bytes)?;
            self.bytes.truncate(read);
            self.start = offset;
            if before == (offset, read) {
                return Ok(None);
            }
        }
    }
}

fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
