//! Flume's checkpoint, as evidence of what was delivered: read if it is whole, else left alone.

use super::files::LogFile;
use super::folders::Folders;
use super::progress::Progress;
use cluster::flume_queue::Checkpoint;
use proto::flume_log::{CheckpointMeta, Pointer, inflight, queue_ranges};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Pointers that are read at once.
const PIECE_BYTES: usize = 1 << 16;
/// Bytes of the small files, at most: 100 million events in transactions.
const SMALL_BYTES_MAX: u64 = 800 << 20;

/// The first whole checkpoint in the folders. What is wrong with others is said.
pub fn read(folders: &Folders, files: &[LogFile], progress: &Progress) -> Option<Checkpoint> {
    for folder in folders.checkpoints() {
        match read_in(&folder, files) {
            Ok(Some(checkpoint)) => return Some(checkpoint),
            Ok(None) => {}
            Err(why) => progress.say(&format!(
                "Warning: {}: no checkpoint that can be used: {why}; the data files alone tell what is left",
                folder.display()
            )),
        }
    }
    None
}

fn read_in(folder: &Path, files: &[LogFile]) -> Result<Option<Checkpoint>, String> {
    let meta = match small(&folder.join("checkpoint.meta")) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("checkpoint.meta: {error}")),
    };
    let meta = CheckpointMeta::decode(&meta).map_err(|why| format!("checkpoint.meta: {why}"))?;
    let wrong = |error: std::io::Error| format!("checkpoint: {error}");
    let file = File::open(folder.join("checkpoint")).map_err(wrong)?;
    let bytes = file.metadata().map_err(wrong)?.len();
    let mut head = [0; 40];
    file.read_exact_at(&mut head, 0).map_err(wrong)?;
    let ranges = queue_ranges(&meta, &head, bytes).map_err(|why| format!("checkpoint: {why}"))?;
    let mut there = HashSet::new();
    let mut piece = vec![0; PIECE_BYTES];
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let part = &mut piece[..PIECE_BYTES.min((range.end - at) as usize)];
            file.read_exact_at(part, at).map_err(wrong)?;
            let numbers = part
                .as_chunks::<8>()
                .0
                .iter()
                .map(|eight| u64::from_be_bytes(*eight));
            there.extend(numbers.map(Pointer::from_u64));
            at += part.len() as u64;
        }
    }
    let taken = small(&folder.join("inflighttakes")).map_err(|error| format!("inflighttakes: {error}"))?;
    let open = inflight(&taken).map_err(|why| format!("inflighttakes: {why}"))?;
    let mut taken: HashMap<i64, Vec<Pointer>> = HashMap::new();
    for (transaction, event) in open {
        there.insert(event);
        taken.entry(transaction).or_default().push(event);
    }
    let is_named =
        |file: &LogFile| [file.meta.checkpoint_order, file.meta.backup_order].contains(&meta.order);
    Ok(Some(Checkpoint {
        order: meta.order,
        there,
        taken,
        is_named: files.iter().any(is_named),
    }))
}

/// A file that is small beside the data.
fn small(path: &Path) -> std::io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > SMALL_BYTES_MAX {
        return Err(std::io::Error::other("it is too long to be one of Flume's"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(SMALL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
