//! A file system of a test's own in a file: small enough to fill, and its power can be cut.
//!
//! The cut is the shutdown call of ext4 and XFS, without a flush of their logs: from then on nothing that was not synced
//! reaches the image, and every call fails, until it is unmounted and mounted again. That is what a machine sees that lost
//! its power, without the machine. Needs root, loop devices, the `mkfs` of the kind, and python3 for the call; whoever has
//! not is told by [`Volume::make`], and skips.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::wait;

/// Volumes made by this process.
static MADE: AtomicU32 = AtomicU32::new(0);

const PREFIX: &str = "millrace-volume-";

/// `_IOR('X', 125, u32)` with 2, "no flush of the log", for each folder that is named on standard input.
const SHUTDOWN: &str = "
import fcntl, os, struct, sys
for line in sys.stdin:
    folder = os.open(line.rstrip('\\n'), os.O_RDONLY)
    fcntl.ioctl(folder, 0x8004587D, struct.pack('I', 2))
    os.close(folder)
    print('cut', flush=True)
";

/// Which file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ext4 as mkfs makes it.
    Ext4,
    /// XFS as mkfs makes it: at least 300 MB.
    Xfs,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// A mounted file system; it goes with the value.
#[derive(Debug)]
pub struct Volume {
    kind: Kind,
    image: PathBuf,
    folder: PathBuf,
    cutter: Option<(Child, ChildStdin, BufReader<ChildStdout>)>,
    is_cut: bool,
}

impl Volume {
    /// Makes one of so many bytes, of which the disk gives what is used.
    ///
    /// # Errors
    /// Why there can be none here.
    pub fn make(kind: Kind, bytes: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting needs root".to_owned());
        }
        sweep();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let image = std::env::temp_dir().join(format!("{name}.img"));
        let folder = std::env::temp_dir().join(&name);
        let mut this = Self {
            kind,
            image,
            folder,
            cutter: None,
            is_cut: false,
        };
        let sized = File::create(&this.image).and_then(|file| file.set_len(bytes));
        sized.map_err(|error| format!("{}: {error}", this.image.display()))?;
        let made = fs::create_dir_all(&this.folder);
        made.map_err(|error| format!("{}: {error}", this.folder.display()))?;
        let (mkfs, force) = match kind {
            Kind::Ext4 => ("mkfs.ext4", "-F"),
            Kind::Xfs => ("mkfs.xfs", "-f"),
        };
        command(Command::new(mkfs).arg("-q").arg(force).arg(&this.image))?;
        this.mount()?;
        this.start_cutter()?;
        Ok(this)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    fn mount(&self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop", "-t", self.kind.name()]);
        command(mount.arg(&self.image).arg(&self.folder))
    }

    fn start_cutter(&mut self) -> Result<(), String> {
        let mut python = Command::new("python3");
        python
            .args(["-c", SHUTDOWN])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = python.spawn().map_err(|error| format!("python3: {error}"))?;
        let input = child.stdin.take().expect("standard input is a pipe");
        let output = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
        self.cutter = Some((child, input, output));
        Ok(())
    }

    /// Cuts the power: nothing that was not synced gets to the image any more, and every call fails.
    ///
    /// # Panics
    /// When the file system does not do it.
    pub fn cut(&mut self) {
        let (_, input, output) = self.cutter.as_mut().expect("started with the volume");
        let mut said = String::new();
        self.is_cut = true;
        let told = writeln!(input, "{}", self.folder.display());
        let heard = told.and_then(|()| output.read_line(&mut said));
        assert!(
            heard.is_ok() && said == "cut\n",
            "no shutdown of {}: {heard:?}",
            self.folder.display()
        );
    }

    /// The power is back. Nobody may have a file open.
    ///
    /// # Panics
    /// When it cannot be unmounted, or not be mounted again.
    pub fn remount(&mut self) {
        let unmount = || command(Command::new("umount").arg(&self.folder));
        // A file that a process of the test has just closed may still be on its way.
        wait::until("nobody to use the volume", wait::LIVENESS, || unmount().ok());
        self.mount().unwrap_or_else(|why| panic!("{why}"));
        self.is_cut = false;
    }

    /// As [`remount`](Self::remount), if the power is cut.
    ///
    /// # Panics
    /// As there.
    pub fn restore(&mut self) {
        if self.is_cut {
            self.remount();
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Some((mut child, input, _)) = self.cutter.take() {
            drop(input);
            let _ = child.wait();
        }
        let _ = command(Command::new("umount").args(["-l".as_ref(), self.folder.as_os_str()]));
        let _ = fs::remove_dir(&self.folder);
        let _ = fs::remove_file(&self.image);
    }
}

/// Takes away what a test has left that was killed.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((id, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        if Path::new("/proc").join(id).exists() {
            continue;
        }
        if entry.path().is_dir() {
            let _ = command(Command::new("umount").arg("-l").arg(entry.path()));
            let _ = fs::remove_dir(entry.path());
        } else {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn command(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", said.trim()))
}
