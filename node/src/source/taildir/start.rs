//! Where reading goes on at start: positions of the channels, of the position file, and the files that are there.

use super::Config;
use super::awaited::Awaited;
use super::deltas::{self, digest};
use super::folders::{Folders, Listing};
use super::identity::{Stored, one_path_each, stored};
use super::position_file::{self, Damage};
use super::positions::Positions;
use super::store::{Before, Store};
use super::tail::Tail;
use super::watch::Watch;
use crate::component::error::RunError;
use crate::component::source::SourceContext;
use std::collections::HashSet;
use tracing::{error, info};

/// What is known from before.
struct Recalled {
    stored: Vec<Stored>,
    /// The source goes on, rather than seeing these files for the first time.
    goes_on: bool,
}

/// Follows what is there and has the position file written.
///
/// # Errors
/// A folder is not there, or the position file cannot be used; both may change.
pub(super) async fn start<'a>(config: &'a Config, ctx: &'a SourceContext) -> Result<Tail<'a>, RunError> {
    let failed = |what: &str| format!("positionFile {}: {what}", config.position_file.display());
    let (mut store, before) = Store::open(&config.position_file)
        .map_err(|e| RunError::retry(failed("cannot be used")).caused_by(e))?;
    let recalled = recall(config, &mut store, before, ctx)?;
    let numbers: HashSet<u64> = recalled.stored.iter().map(|s| s.number).collect();
    let mut folders = Folders::new(&config.groups, config.caching);
    // First, so that it tells of what comes and goes right after the listing.
    let watch = Watch::new(folders.paths());
    let mut listing = folders.list(|number| numbers.contains(&number));
    if let Some((folder, why)) = listing.failed.pop() {
        let name = config.groups.iter().find(|g| g.folder == folder);
        let name = name.map_or("", |g| g.name.as_str());
        let message = format!("filegroups.{name}: folder {} cannot be listed", folder.display());
        return Err(RunError::retry(message).caused_by(why));
    }
    let mut tail = Tail::new(config, ctx, folders, watch, Positions::new(store));
    resume(config, &mut tail, listing, recalled);
    tail.list();
    // Before the first batch stands on it; and better now than after an hour if it cannot be written.
    tail.write_now().await?;
    Ok(tail)
}

fn recall(
    config: &Config,
    store: &mut Store,
    before: Option<Before>,
    ctx: &SourceContext,
) -> Result<Recalled, RunError> {
    let file = config.position_file.display();
    let base = before.as_ref().map(|b| digest(&b.text));
    let kept = ctx.position().and_then(|bytes| {
        let decoded = deltas::decode(&bytes);
        decoded
            .inspect_err(
                |why| error!(error = %why, "the channel's position cannot be read, the position file counts"),
            )
            .ok()
    });
    let deltas = match kept {
        Some(kept) if kept.fits(base) => Some(kept.files),
        Some(_) => {
            info!(%file, "position file is not the one that the channel's position stands on; it alone counts");
            None
        }
        None => None,
    };
    let Some(before) = before else {
        info!("File not found: {file}, not updating position");
        let goes_on = deltas.is_some();
        let stored = stored(Vec::new(), 0, 0, deltas);
        return Ok(Recalled { stored, goes_on });
    };
    let (entries, damage) = position_file::read(&before.text);
    match damage {
        None => {}
        Some(why @ Damage::Foreign { .. }) => {
            let message = format!("positionFile {file}: {why}; mend it, or delete it to read from the start");
            return Err(RunError::retry(message));
        }
        Some(why @ Damage::Malformed { .. }) => {
            let aside = store.put_aside(ctx.clock.unix_ms()).map_err(|e| {
                RunError::retry(format!("positionFile {file}: {why}; cannot be put aside")).caused_by(e)
            })?;
            ctx.counters.read_failures.add(1);
            error!(
                %file, error = %why, aside = %aside.display(), saved = entries.len(),
                "Failed loading positionFile: put aside; files without a saved entry are read as new ones"
            );
        }
    }
    let goes_on = deltas.is_some();
    let stored = stored(entries, before.at_ns, before.listed_ns, deltas);
    Ok(Recalled { stored, goes_on })
}

fn resume(config: &Config, tail: &mut Tail<'_>, listing: Listing, recalled: Recalled) {
    let mut awaited = Awaited::new(recalled.stored);
    for seen in one_path_each(listing.seen, |_| None) {
        let known = awaited.take(&seen);
        let new = match &known {
            None if config.skip_to_end && !recalled.goes_on => seen.size,
            _ => 0,
        };
        tail.follow_known(&seen, known, new);
    }
    tail.awaited = awaited;
    tail.meet_strays(&listing.strays);
}
