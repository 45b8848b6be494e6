//! Damage: bytes that were acknowledged and cannot be read any more, and what stood there.

use proto::journal::{Range, Ranges};
use std::fmt;

/// One damaged place of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub name: String,
    /// Its segment.
    pub number: u64,
    /// The byte of the file at which the damage begins.
    pub offset: u64,
    /// Where it begins in the log.
    pub start_lsn: u64,
    /// The next readable block, or the end of what was acknowledged.
    pub end_lsn: u64,
    /// The events whose puts stood there: the numbers between the last readable event before and the first one behind.
    pub events: Range,
    /// Nothing behind it tells how many events more there were.
    pub open_ended: bool,
    /// Those of [`events`](Self::events) that were still queued, as far as is known; they are lost.
    pub lost: Ranges,
    /// Takes, positions and marks of duplicates may have stood there as well: events may come twice.
    pub repeats: bool,
    /// What was found there.
    pub why: String,
}

impl Damage {
    /// How many queued events are lost, as far as is known.
    pub fn lost_events(&self) -> u64 {
        self.lost.iter().map(Range::len).sum()
    }

    /// The events in words: `events 100 to 109, 4 of them queued`.
    pub fn events_text(&self) -> String {
        let Range { start, end } = self.events;
        let lost = self.lost_events();
        match (self.events.is_empty(), self.open_ended) {
            (true, false) => "no events".to_owned(),
            (_, true) => format!("events from {start} on, at least {lost} of them queued"),
            (false, false) if lost == end - start => {
                format!("events {start} to {}, {lost} events, all of them queued", end - 1)
            }
            (false, false) => format!("events {start} to {}, {lost} of them queued", end - 1),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            offset,
            start_lsn,
            end_lsn,
            why,
            ..
        } = self;
        if end_lsn > start_lsn {
            let last = offset + (end_lsn - start_lsn) - 1;
            write!(
                f,
                "{name}: bytes {offset} to {last} are damaged (LSN {start_lsn} to {end_lsn}), "
            )?;
        } else {
            write!(f, "{name}: damaged at byte {offset} (LSN {start_lsn}), ")?;
        }
        write!(f, "{}", self.events_text())?;
        if self.repeats {
            f.write_str("; takes and positions may have stood there as well, so events may come twice")?;
        }
        write!(f, ": {why}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_to_the_byte_and_to_the_event() {
        let range = |start, end| Range { start, end };
        let mut damage = Damage {
            name: "seg-0000000000000001.wal".to_owned(),
            number: 1,
            offset: 8_192,
            start_lsn: 4_096,
            end_lsn: 12_288,
            events: range(100, 110),
            open_ended: false,
            lost: vec![range(100, 110)],
            repeats: false,
            why: "checksum does not match".to_owned(),
        };
        assert_eq!(
            damage.to_string(),
            "seg-0000000000000001.wal: bytes 8192 to 16383 are damaged (LSN 4096 to 12288), events 100 to 109, 10 \
             events, all of them queued: checksum does not match"
        );
        damage.lost = vec![range(104, 106)];
        assert_eq!(damage.events_text(), "events 100 to 109, 2 of them queued");
        (damage.open_ended, damage.repeats) = (true, true);
        assert!(
            damage
                .to_string()
                .contains("events from 100 on, at least 2 of them queued; takes")
        );
        (damage.open_ended, damage.events) = (false, range(7, 7));
        assert_eq!(damage.events_text(), "no events");
    }
}
