//! `channel export`: writes every undelivered event in order, of one moment; the channel stays as it is.
//!
//! Events that a sink has taken and not committed are undelivered, and written. Those that a running node delivers meanwhile
//! may be left out, when their segment is gone before it is read: that is told and is no loss. A file is written under
//! a temporary name, synced, and named last; one that is there is not written over. Memory: a block of the log for each
//! folder, and [`GATHERED_BYTES`].

use super::place::Place;
use super::progress::Progress;
use super::queued::{Next, Queued, Run};
use super::verify::{repair_command, several};
use super::{Failure, Format, Outcome};
use crate::component::error::BuildError;
use crate::component::serializer::Serializer;
use crate::serializer::{avro_event, header_and_text, text};
use proto::event::Batch;
use serde_json::{Map, Value};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of events that are written as one batch.
const GATHERED_BYTES: usize = 1 << 20;

/// What was written, and what was not.
#[derive(Debug, Default)]
struct Written {
    events: u64,
    bytes: u64,
    damages: u64,
    lost: u64,
    gone: u64,
}

/// Exports the channel whose folders these are.
pub fn run(
    places: &[Result<Place, Failure>],
    format: Format,
    output: Option<&Path>,
    skip_damage: bool,
) -> Outcome {
    let places = match usable(places, format, output) {
        Ok(places) => places,
        Err(failure) => return failure.tell(),
    };
    let written = match output {
        Some(path) => to_file(&places, format, path, skip_damage),
        None => write_all(&places, format, &mut stdout().lock(), skip_damage),
    };
    match written {
        Ok(written) => {
            let Written {
                events,
                bytes,
                damages,
                lost,
                gone,
            } = written;
            let output = output.map_or("standard output".to_owned(), |path| path.display().to_string());
            eprintln!(
                "{output}: {}, {bytes} bytes of bodies",
                several(events, "event", "events")
            );
            if damages > 0 {
                let places = several(damages, "damaged place", "damaged places");
                eprintln!("Warning: {places} left out, {lost} queued events are not there");
            }
            if gone > 0 {
                let segments = several(gone, "segment was", "segments were");
                eprintln!(
                    "Warning: {segments} delivered and gone before it was read; those events are not there"
                );
            }
            Outcome::Done
        }
        Err(failure) => failure.tell(),
    }
}

/// One channel, all of it that was named, and somewhere to write to.
fn usable<'a>(
    places: &'a [Result<Place, Failure>],
    format: Format,
    output: Option<&Path>,
) -> Result<Vec<&'a Place>, Failure> {
    let mut good = Vec::new();
    for place in places {
        match place {
            Ok(place) => good.push(place),
            Err(failure) => return Err(Failure::new(failure.outcome, failure.message.clone())),
        }
    }
    if let Some(first) = good.first()
        && let Some(other) = good.iter().find(|place| place.meta.channel != first.meta.channel)
    {
        return Err(Failure::new(
            Outcome::Configuration,
            format!(
                "{} and {} belong to different channels, \"{}\" and \"{}\": export one at a time",
                first.data_dir.display(),
                other.data_dir.display(),
                first.meta.name,
                other.meta.name,
            ),
        ));
    }
    if let Some(first) = good.first()
        && (good.len() as u32) < first.meta.shards
    {
        eprintln!(
            "Warning: {} of the {} folders of channel \"{}\" were named; the events of the others are not there",
            good.len(),
            first.meta.shards,
            first.meta.name
        );
    }
    if let Some(path) = output.filter(|path| path.exists()) {
        let message = format!("{} is there already: name another file", path.display());
        return Err(Failure::new(Outcome::Unwritable, message));
    }
    if output.is_none() && format == Format::Avro && stdout().is_terminal() {
        let message = "an Avro container is nothing for a terminal: -o FILE, or --format text";
        return Err(Failure::new(Outcome::Unwritable, message));
    }
    Ok(good)
}

fn to_file(places: &[&Place], format: Format, path: &Path, skip_damage: bool) -> Result<Written, Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let temporary = Temporary(folder.join(format!(".{name}.{}.tmp", std::process::id())));
    let failed = |error: io::Error| Failure::new(Outcome::Unwritable, format!("{}: {error}", path.display()));
    // Events may be anybody's business: the file is its owner's alone.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary.0)
        .map_err(failed)?;
    let mut file = BufWriter::with_capacity(GATHERED_BYTES, file);
    let written = write_all(places, format, &mut file, skip_damage)?;
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    // Unlike a rename, a link never takes the place of a file that somebody has made meanwhile.
    fs::hard_link(&temporary.0, path)
        .or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::rename(&temporary.0, path),
        })
        .map_err(failed)?;
    drop(temporary);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)?;
    Ok(written)
}

/// Is gone when nobody needs it any more.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Merges the folders in the order of the channel.
fn write_all(
    places: &[&Place],
    format: Format,
    out: &mut dyn Write,
    skip_damage: bool,
) -> Result<Written, Failure> {
    let mut shards = Vec::new();
    let mut bytes = 0;
    for place in places {
        let log = place.open(false)?;
        bytes += log.bytes();
        shards.push((*place, Queued::new(log), None::<Run>));
    }
    let progress = Progress::over(bytes, "export");
    let mut written = Written::default();
    let mut writer = writer(format)?;
    let mut gathered = Gathered {
        batch: Batch::default(),
        buf: Vec::new(),
        out,
    };
    writer.header(&mut gathered.buf);
    loop {
        for (place, queued, head) in &mut shards {
            if head.is_none() {
                *head = advance(place, queued, &mut written, skip_damage, &progress)?;
            }
            progress.advance(queued.bytes());
        }
        let oldest = shards.iter_mut().filter_map(|(_, _, head)| {
            let order = head.as_ref()?.order;
            Some((order, head))
        });
        let Some(run) = oldest
            .min_by_key(|(order, _)| *order)
            .and_then(|(_, head)| head.take())
        else {
            break;
        };
        written.events += run.batch.len() as u64;
        written.bytes += run.batch.body_bytes() as u64;
        gathered.add(run.batch, &mut *writer)?;
    }
    gathered.flush(&mut *writer)?;
    writer.footer(&mut gathered.buf);
    gathered.write_out()?;
    Ok(written)
}

/// The next events of one folder.
fn advance(
    place: &Place,
    queued: &mut Queued,
    written: &mut Written,
    skip_damage: bool,
    progress: &Progress,
) -> Result<Option<Run>, Failure> {
    while let Some(next) = queued
        .next()
        .map_err(|why| Failure::unreadable(why.to_string()))?
    {
        match next {
            Next::Events(run) => return Ok(Some(run)),
            Next::Gone => written.gone += 1,
            Next::GivenUp => {}
            Next::Damage(damage) if skip_damage => {
                progress.say(&format!("Warning: left out: {damage}"));
                written.damages += 1;
                written.lost += damage.lost_events();
            }
            Next::Damage(damage) => {
                let message = format!(
                    "{}: {damage}; --skip-damage goes on behind it, and to repair the channel: {}",
                    place.folder().display(),
                    repair_command(place)
                );
                return Err(Failure::new(Outcome::Damaged, message));
            }
        }
    }
    Ok(None)
}

/// Events that are written together.
struct Gathered<'a> {
    batch: Batch,
    buf: Vec<u8>,
    out: &'a mut dyn Write,
}

impl Gathered<'_> {
    fn add(&mut self, batch: Batch, writer: &mut dyn Serializer) -> Result<(), Failure> {
        self.batch.append(batch);
        if self.batch.used_bytes() >= GATHERED_BYTES {
            self.flush(writer)?;
        }
        Ok(())
    }

    fn flush(&mut self, writer: &mut dyn Serializer) -> Result<(), Failure> {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            writer.write(&batch, &mut self.buf);
        }
        self.write_out()
    }

    fn write_out(&mut self) -> Result<(), Failure> {
        self.out
            .write_all(&self.buf)
            .and_then(|()| self.out.flush())
            .map_err(|error| Failure::new(Outcome::Unwritable, format!("cannot write: {error}")))?;
        self.buf.clear();
        Ok(())
    }
}

fn writer(format: Format) -> Result<Box<dyn Serializer>, Failure> {
    let built: Result<Box<dyn Serializer>, BuildError> = match format {
        Format::Avro => avro_event::Config::default().build().map(|s| Box::new(s) as _),
        Format::HeaderAndText => header_and_text::Config::default()
            .build()
            .map(|s| Box::new(s) as _),
        Format::Text => text::Config::default().build().map(|s| Box::new(s) as _),
        Format::Json => Ok(Box::new(JsonLines)),
    };
    built.map_err(|error| Failure::new(Outcome::Unwritable, error.to_string()))
}

/// `{"headers":{…},"body":"…"}` a line, as the http source reads them; a body that is no UTF-8 as `bodyHex` instead.
struct JsonLines;

impl Serializer for JsonLines {
    fn write(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        for event in batch.iter() {
            let headers: Map<String, Value> =
                event.headers().map(|(k, v)| (k.to_owned(), v.into())).collect();
            let mut object = Map::new();
            object.insert("headers".to_owned(), headers.into());
            match std::str::from_utf8(event.body()) {
                Ok(body) => object.insert("body".to_owned(), body.into()),
                Err(_) => {
                    let hex: String = event.body().iter().map(|byte| format!("{byte:02x}")).collect();
                    object.insert("bodyHex".to_owned(), hex.into())
                }
            };
            out.extend_from_slice(Value::Object(object).to_string().as_bytes());
            out.push(b'\n');
        }
    }
}
