//! The peer Flume: JVMs that run its classes, started by `peers/flume/flume-ng`.
//!
//! That script has Flume's command line; it fetches what `peers/flume/pom.xml` names, once per target folder, into
//! `<target>/peers`. At most two JVMs run at once on a machine: further ones wait for a slot.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tests::binary::workspace;
use tests::folder::Folder;
use tests::peer;
use tests::process::Node;
use tests::wait::{self, LIVENESS};

/// JVMs that run at once.
const SLOTS: usize = 2;

/// Longest wait for one of them: all tests of this target together take less.
const SLOT_WAIT: Duration = Duration::from_secs(540);

/// Quick to start, which is most of what these JVMs do.
const JAVA_OPTS: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -Xmx192m";

/// Of all stores.
pub const PASSWORD: &str = "changeit";

/// How an orderly stop by SIGTERM looks from outside.
pub const STOPPED: i32 = 128 + 15;

/// Lines of a failed fetch that are told.
const SHOWN_LINES: usize = 20;

/// The releases of Flume that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The last one before Netty 4: with compression and TLS together, TLS is outside.
    V1_9,
    /// The last one.
    V1_11,
}

/// Whether all of a version is there, or why not.
static FETCHED: [OnceLock<Result<(), String>>; 2] = [OnceLock::new(), OnceLock::new()];

/// Flume, ready to be started.
#[derive(Debug, Clone, Copy)]
pub struct Flume(Version);

/// A JVM that runs a class of it.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub process: Node,
    _slot: File,
}

impl Flume {
    /// The peer; none after saying why: the test is skipped.
    ///
    /// # Panics
    /// When there is none, and peers are required.
    #[track_caller]
    pub fn find(version: Version) -> Option<Self> {
        match FETCHED[version as usize].get_or_init(|| fetch(version)) {
            Ok(()) => Some(Self(version)),
            Err(reason) => {
                peer::missing("Flume", reason);
                None
            }
        }
    }

    /// The path of a key or trust store: `server.jks`, `trust.p12` and so on, with the password [`PASSWORD`].
    pub fn store(&self, name: &str) -> String {
        let folder = peers_folder().join(format!("flume-{}", self.0.number()));
        folder.join("stores").join(name).display().to_string()
    }

    /// Runs an agent and waits until its source or sink of that name has started.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn agent(&self, folder: &Folder, component: &str, properties: &str) -> Running {
        let file = folder.write("flume.properties", properties);
        let file = file.display().to_string();
        let running = self.run(&["agent", "-n", "a1", "-f", &file, "--no-reload-conf"]);
        let started = format!("name: {component} started");
        running
            .process
            .wait_for_line(&started, LIVENESS, |line| line.ends_with(&started));
        running
    }

    /// Runs a command of it, or a class.
    ///
    /// # Panics
    /// When there is no slot for it.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Running {
        let slot = slot();
        let mut line = self.0.environment();
        line.extend([format!("JAVA_OPTS={JAVA_OPTS}").into(), script().into()]);
        line.extend(words.iter().map(OsString::from));
        Running {
            process: Node::spawn("Flume", "/usr/bin/env".as_ref(), &line),
            _slot: slot,
        }
    }
}

impl Version {
    fn number(self) -> &'static str {
        match self {
            Self::V1_9 => "1.9.0",
            Self::V1_11 => "1.11.0",
        }
    }

    /// Tells the script which, and where fetched things are.
    fn environment(self) -> Vec<OsString> {
        let mut peers = OsString::from("PEERS=");
        peers.push(peers_folder());
        vec![peers, format!("FLUME_VERSION={}", self.number()).into()]
    }
}

/// Below `target` of `target/debug/deps/interop-0123456789abcdef`.
fn peers_folder() -> PathBuf {
    let this = env::current_exe().expect("a process knows its executable");
    let target = this.ancestors().nth(3);
    target
        .expect("cargo puts tests three folders below the target folder")
        .join("peers")
}

fn script() -> PathBuf {
    workspace().join("tests/interop/peers/flume/flume-ng")
}

/// Waits for a slot; it is free again when the file is closed, however this process ends.
fn slot() -> File {
    let folder = env::temp_dir().join("millrace-jvm-slots");
    fs::create_dir_all(&folder).expect("the system's temporary folder is writable");
    wait::until("a slot for a JVM", SLOT_WAIT, || {
        (0..SLOTS).find_map(|number| {
            let file = File::create(folder.join(number.to_string())).ok()?;
            file.try_lock().ok()?;
            Some(file)
        })
    })
}

/// Fetches what is not there yet; the end of what was said if that fails.
fn fetch(version: Version) -> Result<(), String> {
    let output = Command::new("/usr/bin/env")
        .args(version.environment())
        .arg(script())
        .arg("fetch")
        .output()
        .map_err(|error| format!("flume-ng cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    Err(lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"))
}
