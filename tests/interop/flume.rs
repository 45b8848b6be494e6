//! The peer Flume: JVMs that run its classes, started by `peers/flume/flume-ng`.
//!
//! That script has Flume's command line; it fetches what `peers/flume/pom.xml` names, once per target folder, into
//! `<target>/peers/flume`. At most two JVMs run at once on a machine: further ones wait for a slot.

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

/// How an orderly stop by SIGTERM looks from outside.
pub const STOPPED: i32 = 128 + 15;

/// Lines of a failed fetch that are told.
const SHOWN_LINES: usize = 20;

/// Whether all is there, or why not.
static FETCHED: OnceLock<Result<(), String>> = OnceLock::new();

/// Flume, ready to be started.
#[derive(Debug)]
pub struct Flume(());

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
    pub fn find() -> Option<Self> {
        match FETCHED.get_or_init(fetch) {
            Ok(()) => Some(Self(())),
            Err(reason) => {
                peer::missing("Flume", reason);
                None
            }
        }
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
        let mut line: Vec<OsString> = vec![
            format!("JAVA_OPTS={JAVA_OPTS}").into(),
            variable(),
            script().into(),
        ];
        line.extend(words.iter().map(OsString::from));
        Running {
            process: Node::spawn("Flume", "/usr/bin/env".as_ref(), &line),
            _slot: slot,
        }
    }
}

fn script() -> PathBuf {
    workspace().join("tests/interop/peers/flume/flume-ng")
}

/// Tells the script where the fetched things are: `target` of `target/debug/deps/interop-0123456789abcdef`.
fn variable() -> OsString {
    let this = env::current_exe().expect("a process knows its executable");
    let target = this.ancestors().nth(3);
    let target = target.expect("cargo puts tests three folders below the target folder");
    let mut variable = OsString::from("FLUME_PEER=");
    variable.push(target.join("peers/flume"));
    variable
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
fn fetch() -> Result<(), String> {
    let output = Command::new("/usr/bin/env")
        .arg(variable())
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
