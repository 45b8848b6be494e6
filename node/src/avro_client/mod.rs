//! The command `avro-client`: lines of a file, of a folder or of standard input become events at an Avro source,
//! Flume's AvroCLIClient.
//!
//! Promise: a file of a folder is renamed after all its lines were stored, and the count of events that is told at the
//! end is of those that a server has acknowledged. An answer that was lost leads to the same batch again (at least
//! once). Order is kept: one call is under way at a time.
//!
//! Failures: a server that cannot be reached at first, or is no Avro source, ends the command at once and says what to
//! look at. Later, and when a server refuses (its channel is full), the batch is tried again for
//! [`Options::retry`]. Flume's client gives up at the first failure, and ends with 0 all the same.
//!
//! Source: `flume/wire.md` 10.1 to 10.5 and 10.8; `settings` has the properties of Flume's SDK, `hosts` whom to send
//! to, `lines` and `folder` the input, `progress` what a person sees meanwhile.

mod folder;
mod hosts;
mod lines;
mod progress;
mod settings;

use crate::component::keys::Severity;
use crate::io::tls::TlsDefaults;
use folder::Folder;
use hosts::Hosts;
use lines::Lines;
use progress::Progress;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is sent from where to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whom to send to.
    pub server: Server,
    /// What to send.
    pub input: Input,
    /// A properties file whose pairs become headers of every event (`-R`).
    pub header_file: Option<PathBuf>,
    /// Events in one batch; none for the default.
    pub batch_size: Option<usize>,
    /// How long a batch is tried again.
    pub retry: Duration,
    /// What holds for TLS where the file of [`Server::Properties`] says nothing.
    pub tls: TlsDefaults,
    /// To be told on standard error first.
    pub warnings: Vec<String>,
}

/// Whom to send to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// `-H`, `-p`.
    At {
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// `-P`: what this properties file of Flume's SDK says.
    Properties(PathBuf),
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// To its end.
    StandardInput,
    /// `-F`.
    File(PathBuf),
    /// `--dirname`: every file in it that is not completed.
    Folder(PathBuf),
}

/// What has come of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Events that were acknowledged.
    pub events: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Calls that they took.
    pub batches: u64,
    /// Files of a folder that are completed.
    pub files: u64,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = |count: u64, one: &str, many: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {many}"),
        };
        let events = several(self.events, "event", "events");
        let batches = several(self.batches, "batch", "batches");
        write!(f, "stored: {events}, {} bytes, in {batches}", self.bytes)?;
        if self.files > 0 {
            write!(f, ", of {}", several(self.files, "file", "files"))?;
        }
        Ok(())
    }
}

/// Whose fault it is that not everything was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A file or folder to send, or the one with headers, cannot be read.
    Input,
    /// The properties of `-P` are wrong.
    Settings,
    /// No server would take anything.
    Unreachable,
    /// The server took a part of it, or refused.
    Undelivered,
}

/// Not everything was sent.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Whose fault it is.
    pub fault: Fault,
    message: String,
}

impl Failure {
    fn new(fault: Fault, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { fault, message }
    }

    fn input(message: impl Into<String>) -> Self {
        Self::new(Fault::Input, message)
    }
}

/// Sends everything, blocking until it is done. Warnings and progress go to standard error, the result is returned.
///
/// What was acknowledged is returned even if something failed later.
pub fn run(options: &Options) -> (Sent, Result<(), Failure>) {
    let mut sent = Sent::default();
    let outcome = Client::of(options).and_then(|mut client| {
        let outcome = client.send_all(&options.input);
        sent = client.finish();
        outcome
    });
    (sent, outcome)
}

struct Client {
    hosts: Hosts,
    runtime: tokio::runtime::Runtime,
    headers: Vec<(String, String)>,
    batch_size: usize,
    progress: Progress,
    sent: Sent,
}

impl Client {
    fn of(options: &Options) -> Result<Self, Failure> {
        let (settings, findings) = settings::of(&options.server, &options.tls, options.batch_size)?;
        let headers = match &options.header_file {
            Some(path) => settings::headers(path)?,
            None => Vec::new(),
        };
        let progress = Progress::start();
        for finding in findings.iter().filter(|f| f.severity > Severity::Note) {
            progress.say(&finding.to_string());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Fault::Unreachable, format!("no runtime: {error}")))?;
        Ok(Self {
            batch_size: settings.batch_size,
            hosts: Hosts::new(settings, options.retry),
            runtime,
            headers,
            progress,
            sent: Sent::default(),
        })
    }

    fn send_all(&mut self, input: &Input) -> Result<(), Failure> {
        // Before the input is looked at: an empty one should tell as well that nobody listens.
        self.runtime.block_on(self.hosts.connect())?;
        match input {
            Input::StandardInput => {
                self.progress.expect_input();
                self.send_lines(io::stdin().lock(), true, "standard input")
            }
            Input::File(path) => {
                let file = open(path)?;
                let length = length(&file);
                self.progress.expect_file(length);
                self.send_lines(file, length.is_none(), &path.display().to_string())
            }
            Input::Folder(path) => self.send_folder(path),
        }
    }

    fn send_folder(&mut self, path: &Path) -> Result<(), Failure> {
        let mut folder = Folder::open(path)?;
        // Files that come meanwhile are sent as well.
        loop {
            let files = folder.files()?;
            if files.is_empty() {
                return Ok(());
            }
            for file in files {
                let mut opened = open(file.path())?;
                let before = folder.resume(&file, &mut opened)?;
                let start = match before {
                    Some(_) => opened
                        .stream_position()
                        .map_err(|error| unreadable(file.path(), &error))?,
                    None => 0,
                };
                self.progress
                    .expect_file(length(&opened).map(|length| length - start));
                let lines = self.lines(opened, false, &file.path().display().to_string());
                let lines = match before {
                    Some(byte) => lines.after(byte),
                    None => lines,
                };
                self.send_each(lines, |sent| folder.note(&file, start + sent))?;
                folder.complete(&file)?;
                self.sent.files += 1;
            }
        }
    }

    fn send_lines(&mut self, input: impl Read, is_live: bool, name: &str) -> Result<(), Failure> {
        let lines = self.lines(input, is_live, name);
        self.send_each(lines, |_| Ok(()))
    }

    fn lines<R: Read>(&self, input: R, is_live: bool, name: &str) -> Lines<R> {
        Lines::new(input, is_live, name, self.headers.clone(), self.batch_size)
    }

    /// Sends batch after batch, and notes after each how many bytes of the input are stored.
    fn send_each<R: Read>(
        &mut self,
        mut lines: Lines<R>,
        mut note: impl FnMut(u64) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut before = 0;
        while let Some(batch) = lines.next_batch()? {
            let sending = self.hosts.send(&batch, &self.progress);
            self.runtime.block_on(sending)?;
            note(lines.bytes())?;
            self.sent.events += batch.len() as u64;
            self.sent.batches += 1;
            self.sent.bytes += batch.iter().map(|event| event.body().len() as u64).sum::<u64>();
            self.progress.advance(lines.bytes() - before, self.sent.events);
            before = lines.bytes();
        }
        Ok(())
    }

    /// Closes the connections.
    fn finish(self) -> Sent {
        self.progress.finish();
        self.runtime.block_on(self.hosts.close());
        self.sent
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    if file
        .metadata()
        .map_err(|error| unreadable(path, &error))?
        .is_dir()
    {
        let path = path.display();
        return Err(Failure::input(format!(
            "{path} is a folder; to send the files in it: --dirname {path}"
        )));
    }
    Ok(file)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::input(format!("{}: {error}", path.display()))
}

/// Bytes of a regular file.
fn length(file: &File) -> Option<u64> {
    let metadata = file.metadata().ok()?;
    metadata.is_file().then_some(metadata.len())
}
