//! The peer Flume: its jars, fetched by Maven once per target folder, and JVMs that run its classes.
//!
//! `peers/flume/pom.xml` names what is fetched, by coordinates; it lands in `<target>/peers/flume`, together with the
//! compiled programs of `peers/flume`. Other processes that want the same wait at a locked file. At most two JVMs run
//! at once on a machine: further ones wait for a slot.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
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

/// What an orderly stop by SIGTERM looks like from outside.
pub const STOPPED: i32 = 128 + 15;

/// The jars, or why there are none.
static CLASS_PATH: OnceLock<Result<OsString, String>> = OnceLock::new();

/// Flume, ready to be started.
#[derive(Debug)]
pub struct Flume {
    class_path: &'static OsString,
}

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
        match CLASS_PATH.get_or_init(fetch) {
            Ok(class_path) => Some(Self { class_path }),
            Err(reason) => {
                peer::missing("Flume", reason);
                None
            }
        }
    }

    /// Runs `flume-ng agent -n a1` and waits until its source or sink of that name has started.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn agent(&self, folder: &Folder, component: &str, properties: &str) -> Running {
        let file = folder.write("flume.properties", properties);
        let running = self.run(
            "org.apache.flume.node.Application",
            &["-n", "a1", "-f", &file.display().to_string(), "--no-reload-conf"],
        );
        let started = format!("name: {component} started");
        running
            .process
            .wait_for_line(&started, LIVENESS, |line| line.ends_with(&started));
        running
    }

    /// Runs a class.
    ///
    /// # Panics
    /// When there is no slot for it.
    #[track_caller]
    pub fn run(&self, class: &str, args: &[&str]) -> Running {
        let slot = slot();
        let mut words: Vec<OsString> = [
            // Quick to start, which is most of what these JVMs do.
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Xshare:auto",
            "-Xmx192m",
            "-Dfile.encoding=UTF-8",
            "-Dorg.slf4j.simpleLogger.logFile=System.out",
            "-cp",
        ]
        .map(OsString::from)
        .to_vec();
        words.push(self.class_path.clone());
        words.push(class.into());
        words.extend(args.iter().map(OsString::from));
        Running {
            process: Node::spawn("Flume", Path::new("java"), &words),
            _slot: slot,
        }
    }
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

/// Fetches and compiles what is not there yet.
fn fetch() -> Result<OsString, String> {
    for program in ["java", "javac", "mvn"] {
        run(Command::new(program).arg("-version")).map_err(|_| format!("there is no {program}"))?;
    }
    let source = workspace().join("tests/interop/peers/flume");
    let target = target_folder().join("peers/flume");
    fs::create_dir_all(&target).map_err(|error| format!("{}: {error}", target.display()))?;
    let lock = File::create(target.join(".lock")).map_err(|error| format!("no lock: {error}"))?;
    lock.lock().map_err(|error| format!("no lock: {error}"))?;

    let (jars, classes, done) = (target.join("lib"), target.join("classes"), target.join("done"));
    let programs = ["SendEvents.java"].map(|name| source.join(name));
    let wanted = contents(&[&[source.join("pom.xml")], &programs[..]].concat())?;
    if fs::read_to_string(&done).ok().as_ref() != Some(&wanted) {
        let _ = fs::remove_file(&done);
        let _ = fs::remove_dir_all(&jars);
        let mut output = OsString::from("-DoutputDirectory=");
        output.push(&jars);
        run(Command::new("mvn")
            .args(["--batch-mode", "--no-transfer-progress", "--file"])
            .arg(source.join("pom.xml"))
            .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg(output))?;
        run(Command::new("javac")
            .arg("-d")
            .arg(&classes)
            .arg("-cp")
            .arg(jars.join("*"))
            .args(&programs))?;
        fs::write(&done, &wanted).map_err(|error| format!("{}: {error}", done.display()))?;
    }
    let mut class_path = classes.into_os_string();
    class_path.push(":");
    class_path.push(jars.join("*"));
    Ok(class_path)
}

/// What the fetched things were made of, to notice when that changes.
fn contents(files: &[PathBuf]) -> Result<String, String> {
    let read =
        |file: &PathBuf| fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()));
    files.iter().map(read).collect()
}

/// Runs to the end; the end of what it said if it fails.
fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let end = lines[lines.len().saturating_sub(20)..].join("\n");
    Err(format!("{program} failed:\n{end}"))
}

/// `target` of `target/debug/deps/interop-0123456789abcdef`.
fn target_folder() -> PathBuf {
    let this = env::current_exe().expect("a process knows its executable");
    let folder = this.ancestors().nth(3);
    folder
        .expect("cargo puts tests three folders below the target folder")
        .to_owned()
}
