//! Names of files: Flume's path managers.

use super::Config;
use crate::component::keys::Keys;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How files are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// `DEFAULT`: milliseconds when the sink was built, a count that goes up.
    Millis,
    /// `ROLLTIME`: local time in seconds, a count within the second.
    RollTime,
}

impl Naming {
    /// Reads `sink.pathManager`.
    pub(super) fn read(keys: &mut Keys) -> Self {
        let Some(name) = keys.text("sink.pathManager") else {
            return Naming::Millis;
        };
        match name.to_ascii_uppercase().as_str() {
            "DEFAULT" => return Naming::Millis,
            "ROLLTIME" => return Naming::RollTime,
            _ => {}
        }
        match name.as_str() {
            "org.apache.flume.formatter.output.DefaultPathManager$Builder" => Naming::Millis,
            "org.apache.flume.formatter.output.RollTimePathManager$Builder" => Naming::RollTime,
            _ => {
                keys.wrong(
                    "sink.pathManager",
                    &format!("expected DEFAULT or ROLLTIME, found \"{name}\""),
                );
                Naming::Millis
            }
        }
    }
}

/// Gives names to files.
#[derive(Debug)]
pub(super) struct Names {
    stamp: String,
    count: u64,
}

impl Names {
    /// Names of files of a sink that was built at `unix_ms`.
    pub(super) fn new(naming: Naming, unix_ms: u64) -> Self {
        let stamp = match naming {
            Naming::Millis => unix_ms.to_string(),
            Naming::RollTime => String::new(),
        };
        Self { stamp, count: 0 }
    }

    pub(super) fn next(&mut self, config: &Config, unix_ms: u64) -> String {
        if config.naming == Naming::RollTime {
            let now = local_seconds(unix_ms, TimeZone::system());
            if now != self.stamp {
                self.stamp = now;
                self.count = 0;
            }
        }
        self.count += 1;
        let (prefix, dot) = (&config.prefix, if config.extension.is_empty() { "" } else { "." });
        format!("{prefix}{}-{}{dot}{}", self.stamp, self.count, config.extension)
    }

    /// The last name was not used.
    pub(super) fn give_back(&mut self) {
        self.count -= 1;
    }
}

/// `yyyyMMddHHmmss`.
pub(super) fn local_seconds(unix_ms: u64, zone: TimeZone) -> String {
    let at = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX);
    at.to_zoned(zone).strftime("%Y%m%d%H%M%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS: u64 = 1_700_000_000_000;

    #[test]
    fn roll_time_is_local_and_counts_within_its_second() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(local_seconds(MILLIS, berlin), "20231114231320");
        let config = Config {
            naming: Naming::RollTime,
            ..Config::default()
        };
        let mut names = Names::new(Naming::RollTime, 0);
        let counts: Vec<String> = [0, 999, 1_000]
            .map(|ms| names.next(&config, MILLIS + ms)[14..].to_owned())
            .to_vec();
        assert_eq!(counts, ["-1", "-2", "-1"]);
    }
}
