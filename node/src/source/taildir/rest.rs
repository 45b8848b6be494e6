//! Between the looks: waiting, and closing what had nothing new for a while.

use super::file::{Sight, Tailed};
use super::identity::Inode;
use super::pace::Rest;
use super::tail::Tail;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The longest and shortest between two looks for files that are idle.
const IDLE_CHECK_MAX: Duration = Duration::from_secs(5);
const IDLE_CHECK_MIN: Duration = Duration::from_millis(20);

impl Tail<'_> {
    /// Waits until there may be something to do.
    pub(super) async fn rest(&mut self) {
        let now = self.start.elapsed();
        let rest = self.pace.rest(now);
        let (wait, listens) = match rest {
            Rest::Arm => {
                let armed = self.watch.arm();
                self.pace.armed(now, armed);
                self.list_again |= armed;
                return;
            }
            Rest::Sleep(wait) => (wait, false),
            Rest::Listen(wait) => (wait, true),
        };
        if !listens && self.pace.is_armed() {
            self.watch.disarm();
            self.pace.disarmed(now);
        }
        let wait = wait.min(self.until_timers());
        let ctx = self.ctx;
        let rang = tokio::select! {
            () = ctx.shutdown.requested() => false,
            () = sleep(wait) => false,
            () = self.watch.rings(), if listens => true,
        };
        if rang {
            self.watch.disarm();
            self.pace.disarmed(self.start.elapsed());
            self.list_again = true;
        }
    }

    fn until_timers(&self) -> Duration {
        let mut wait = Duration::MAX;
        if self.positions.is_changed() || self.positions.is_writing() {
            let since = self.wrote.elapsed();
            wait = self
                .config
                .position_interval
                .saturating_sub(since)
                .max(Duration::from_millis(10));
        }
        if !self.open.is_empty() {
            let since = self.idle_checked.elapsed();
            wait = wait.min(self.idle_check().saturating_sub(since).max(IDLE_CHECK_MIN));
        }
        wait
    }

    fn idle_check(&self) -> Duration {
        (self.config.idle_timeout / 4).clamp(IDLE_CHECK_MIN, IDLE_CHECK_MAX)
    }

    /// Closes files that had nothing new for a while, forgets those that are gone, and has what is left without an end
    /// in a file that was renamed or is gone made an event.
    pub(super) fn close_idle(&mut self) {
        if self.idle_checked.elapsed() < self.idle_check() {
            return;
        }
        self.idle_checked = Instant::now();
        let idle = |file: &&Tailed| {
            let half = (file.gone || file.renamed) && !file.is_read();
            (file.handle.is_some() || half) && file.active.elapsed() >= self.config.idle_timeout
        };
        let idle: Vec<Inode> = self.files.values().filter(idle).map(|f| f.inode).collect();
        for inode in idle {
            let Some(file) = self.files.get_mut(&inode) else {
                continue;
            };
            match file.look() {
                Ok(Sight::There { size, .. }) => file.size = size,
                _ => continue,
            }
            if file.is_read() {
                self.close(inode);
            } else if (file.gone || file.renamed) && file.size == file.place.looked {
                file.wants_rest = true;
                self.ready.push(inode);
            }
        }
    }

    fn close(&mut self, inode: Inode) {
        let Some(file) = self.files.get_mut(&inode) else {
            return;
        };
        file.handle = None;
        self.open.remove(&file.used);
        if file.gone {
            self.forget(inode);
        }
    }

    /// Closes handles if there are too many: the least recently used one that is read to its end, else one that can be
    /// opened again. What is not read of a gone file is never given up: its last line is made an event first.
    pub(super) fn make_room(&mut self) {
        if self.open.len() < self.config.open_files_max {
            return;
        }
        let is_read = |inode: &&Inode| {
            // As it is now, not as it was seen last.
            let file = self.files.get(inode);
            file.is_some_and(|f| matches!(f.look(), Ok(Sight::There { size, .. }) if size <= f.place.offset))
        };
        let reopens = |inode: &&Inode| self.files.get(inode).is_some_and(|f| !f.gone);
        let victim = self.open.values().find(is_read);
        let victim = victim.or_else(|| self.open.values().find(reopens));
        match victim.copied() {
            Some(inode) => self.close(inode),
            None => {
                if let Some(inode) = self.open.values().next().copied()
                    && let Some(file) = self.files.get_mut(&inode)
                {
                    file.wants_rest = true;
                    self.ready.push(inode);
                }
            }
        }
    }
}
