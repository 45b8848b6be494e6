//! Data folders of a file channel that cannot be used: what the operator is told, and that nothing of them is touched.
//!
//! `check` and the start say the same. A folder in use is the exception: it may be free by the time of the start, so
//! `check` only warns, and an agent waits for it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tests::binary;
use tests::folder::Folder;
use tests::peer;
use tests::process::{Node, Signal};
use tests::wait::LIVENESS;

/// More than a second start of a channel takes: its check runs every five seconds.
const LIMIT: Duration = Duration::from_secs(60);

fn configuration(folder: &Folder, more: &str) -> PathBuf {
    let data = folder.at("data");
    folder.write(
        "node.properties",
        &format!(
            "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.totalEvents = 20
a1.sources.r1.channels = c1
a1.channels.c1.type = file
a1.channels.c1.dataDirs = {data}
a1.channels.c1.minimumRequiredSpace = 0
a1.channels.c1.capacity = 1000
a1.channels.c1.transactionCapacity = 100
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
{more}"
        ),
    )
}

/// Everything below a folder: what it is, who may use it, when it was changed.
fn tree(path: &Path) -> BTreeMap<PathBuf, (Option<Vec<u8>>, u32, SystemTime)> {
    let mut all = BTreeMap::new();
    let metadata = fs::symlink_metadata(path).expect("it is there");
    let content = metadata
        .is_file()
        .then(|| fs::read(path).expect("it can be read"));
    let changed = metadata.modified().expect("the system has times");
    all.insert(path.to_owned(), (content, metadata.mode(), changed));
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("it can be listed") {
            all.extend(tree(&entry.expect("it can be listed").path()));
        }
    }
    all
}

/// `check` and the start of this command say so and end, and the folder is what it was.
#[track_caller]
fn refused_by(folder: &Folder, file: &Path, before_node: &[&str], parts: &[&str]) {
    let before = tree(folder.path());
    for command in [["check", "-f"].as_slice(), ["agent", "-n", "a1", "-f"].as_slice()] {
        let mut args: Vec<OsString> = before_node.iter().map(OsString::from).collect();
        args.push(binary::path().into());
        args.extend(command.iter().map(OsString::from));
        args.push(file.into());
        let program = PathBuf::from(args.remove(0));
        let mut node = Node::spawn("refused", &program, &args);
        assert_ne!(node.wait_exit(LIVENESS), 0, "{:?}", node.log().lines());
        let lines = node.log().lines();
        for part in parts {
            assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:#?}");
        }
        assert_eq!(tree(folder.path()), before, "nothing is touched");
    }
}

#[track_caller]
fn refused(folder: &Folder, file: &Path, parts: &[&str]) {
    refused_by(folder, file, &[], parts);
}

/// The channel has taken its events and the agent has stopped.
fn served(file: &Path) {
    let mut node = Node::agent("a1", file).start();
    node.wait_for_line("the log", LIMIT, |line| line.contains("file channel is open"));
    assert_eq!(node.stop(), 0, "{:?}", node.log().lines());
}

#[test]
fn a_folder_of_another_program_is_left_alone() {
    let folder = Folder::new("foreign");
    folder.make("data/base");
    for name in ["PG_VERSION", "postgresql.conf", "pg_hba.conf"] {
        folder.write(&format!("data/{name}"), "15");
    }
    let file = configuration(&folder, "");
    refused(
        &folder,
        &file,
        &[
            "dataDirs: ",
            "belongs to another program: there is no log of Millrace, but PG_VERSION, base, pg_hba.conf and 1 more; name an empty folder",
        ],
    );
}

#[test]
fn a_folder_called_as_ours_that_another_program_made_is_left_alone() {
    let folder = Folder::new("foreign-inside");
    folder.make("data/millrace");
    folder.write("data/millrace/game.sav", "level 3");
    let file = configuration(&folder, "");
    refused(
        &folder,
        &file,
        &["data/millrace belongs to another program", "game.sav"],
    );
}

#[test]
fn a_newer_format_is_left_to_the_version_that_wrote_it() {
    let folder = Folder::new("newer");
    let file = configuration(&folder, "a1.channels.c1.onCorruption = skip\n");
    served(&file);
    let ours = folder.path().join("data/millrace");
    let names = fs::read_dir(&ours)
        .expect("it is there")
        .map(|e| e.expect("it can be listed").path());
    let newest = names
        .filter(|path| {
            path.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("seg-"))
        })
        .max()
        .expect("a log has a segment");
    for path in [newest, ours.join("META")] {
        let old = fs::read(&path).expect("it is there");
        let mut newer = old.clone();
        newer[8] = 2;
        fs::write(&path, newer).expect("it is ours");
        let name = path.display().to_string();
        refused(
            &folder,
            &file,
            &[
                &name,
                "format 2 is newer than 1, the newest that this version reads",
            ],
        );
        fs::write(&path, old).expect("it is ours");
    }
    served(&file);
}

#[test]
fn a_file_in_the_place_of_a_folder_is_left_alone() {
    let folder = Folder::new("file-in-place");
    folder.write("data", "some text");
    let file = configuration(&folder, "");
    refused(&folder, &file, &["data is a file, and a folder is needed"]);
    let below = folder.at("data/deep/er");
    let file = configuration(&folder, &format!("a1.channels.c1.dataDirs = {below}\n"));
    refused(
        &folder,
        &file,
        &["data is a file, so that", "cannot be made in it"],
    );
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs what follows as somebody who owns nothing.
const NOBODY: [&str; 4] = [
    "/usr/bin/setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];

/// Whether that works here, with the binary that is tested.
fn nobody_can() -> bool {
    let args = [
        &NOBODY[1..],
        &[binary::path().to_str().expect("a plain path"), "--version"],
    ]
    .concat();
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    if !is_root() || !Path::new(NOBODY[0]).exists() {
        peer::impossible("another user", "this is not root, or there is no setpriv");
        return false;
    }
    let can = Node::spawn("nobody", Path::new(NOBODY[0]), &args).wait_exit(LIVENESS) == 0;
    if !can {
        peer::impossible("another user", "it may not run the binary");
    }
    can
}

#[test]
fn a_folder_that_may_not_be_written_is_told_with_its_owner_and_mode() {
    if !nobody_can() {
        return;
    }
    let folder = Folder::new("not-ours");
    let file = configuration(&folder, "");
    let mode = |name: &str, mode: u32| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(folder.path().join(name), permissions).expect("it is ours");
    };
    // Not there, and cannot be made.
    mode("", 0o755);
    let who = "by user 65534, who runs this: it belongs to user 0 and has mode";
    refused_by(
        &folder,
        &file,
        &NOBODY,
        &["cannot be written", who, "0755; chown or chmod it"],
    );
    // Readable, not writable; then neither; then a list that nobody may enter.
    folder.make("data");
    for (bits, what) in [
        (0o755, "cannot be written"),
        (0o700, "can be neither read nor written"),
    ] {
        mode("data", bits);
        refused_by(
            &folder,
            &file,
            &NOBODY,
            &[what, who, &format!("{bits:04o}; chown")],
        );
    }
    // A log that root's agent wrote, in a folder that everybody may use.
    mode("data", 0o777);
    served(&file);
    refused_by(
        &folder,
        &file,
        &NOBODY,
        &["data/millrace can be neither read nor written", who, "0700"],
    );
    mode("data/millrace", 0o777);
    refused_by(
        &folder,
        &file,
        &NOBODY,
        &["data/in_use.lock can be neither read nor written", who, "0600"],
    );
}

#[test]
fn a_folder_that_is_mounted_read_only_is_told_so() {
    let folder = Folder::new("read-only");
    let data = folder.make("data").display().to_string();
    let file = configuration(&folder, "");
    // A mount of this process's own, which goes with it.
    let script =
        format!("mount --bind {data} {data} && mount -o remount,ro,bind {data} && exec \"$0\" \"$@\"");
    let mounted = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", &script];
    let mut trial: Vec<OsString> = mounted[1..].iter().map(OsString::from).collect();
    trial.push("/bin/true".into());
    if !is_root()
        || !Path::new(mounted[0]).exists()
        || Node::spawn("trial", Path::new(mounted[0]), &trial).wait_exit(LIVENESS) != 0
    {
        peer::impossible("a mount", "this is not root, or it may not mount");
        return;
    }
    refused_by(
        &folder,
        &file,
        &mounted,
        &["data is on a file system that is mounted read-only: mount it for writing"],
    );
}

#[test]
fn a_folder_that_another_agent_uses_is_waited_for() {
    let folder = Folder::new("in-use");
    let file = configuration(&folder, "");
    let mut first = Node::agent("a1", &file).start();
    first.wait_for_line("the log", LIMIT, |line| line.contains("file channel is open"));
    let user = format!("process {} (node)", first.id());

    let mut check = Node::run(&["check", "-f", file.to_str().expect("a plain path")]);
    assert_eq!(check.wait_exit(LIVENESS), 0, "{:?}", check.log().lines());
    check.wait_for_line("who uses it", LIVENESS, |line| {
        line.contains("is in use now, by") && line.contains(&user)
    });

    let mut second = Node::agent("a1", &file).start();
    second.wait_for_line("the refusal", LIMIT, |line| {
        line.contains("already locked") && line.contains(&user) && line.contains("name another folder")
    });
    assert!(second.is_running());
    assert_eq!(first.stop(), 0, "{:?}", first.log().lines());
    second.wait_for_line("its turn", LIMIT, |line| line.contains("file channel is open"));
    assert_eq!(second.stop(), 0, "{:?}", second.log().lines());
}

/// Locks a file as a Java program does, says so, and waits to be killed.
const LOCKER: &str = "import java.io.RandomAccessFile;

public class Locker {
    public static void main(String[] args) throws Exception {
        RandomAccessFile file = new RandomAccessFile(args[0], \"rws\");
        System.out.println(file.getChannel().tryLock() == null ? \"refused\" : \"locked\");
        Thread.sleep(120_000);
    }
}
";

fn locker(folder: &Folder, path: &str) -> Node {
    let program = folder.write("Locker.java", LOCKER);
    Node::spawn("java", Path::new("/usr/bin/java"), &[program.into(), path.into()])
}

#[test]
fn a_folder_that_flume_uses_is_not_touched_and_flume_keeps_out_of_ours() {
    if !Path::new("/usr/bin/java").exists() {
        peer::missing("java", "there is no /usr/bin/java");
        return;
    }
    let folder = Folder::new("java");
    folder.make("data");
    let lock = folder.write("data/in_use.lock", "").display().to_string();
    let file = configuration(&folder, "");
    let mut flume = locker(&folder, &lock);
    let said = flume.wait_for_line("java", LIMIT, |line| ["locked", "refused"].contains(&line));
    assert_eq!(said, "locked");
    let before = tree(&folder.path().join("data"));

    let user = format!("process {} (java)", flume.id());
    let mut check = Node::run(&["check", "-f", file.to_str().expect("a plain path")]);
    check.wait_for_line("who uses it", LIVENESS, |line| {
        line.contains("is in use now, by") && line.contains(&user)
    });
    assert_eq!(check.wait_exit(LIVENESS), 0);
    let mut node = Node::agent("a1", &file).start();
    node.wait_for_line("the refusal", LIMIT, |line| {
        line.contains("already locked") && line.contains(&user)
    });
    // Once more, when its supervisor has tried again.
    assert_eq!(tree(&folder.path().join("data")), before, "nothing is touched");
    flume.signal(Signal::Kill);
    flume.wait_exit(LIVENESS);
    node.wait_for_line("its turn", LIMIT, |line| line.contains("file channel is open"));

    let mut flume = locker(&folder, &lock);
    let said = flume.wait_for_line("java", LIMIT, |line| ["locked", "refused"].contains(&line));
    assert_eq!(said, "refused", "Flume would not start");
    flume.signal(Signal::Kill);
    flume.wait_exit(LIVENESS);
    assert_eq!(node.stop(), 0, "{:?}", node.log().lines());
}

#[test]
fn a_wrong_key_is_no_damage_and_changes_nothing() {
    let folder = Folder::new("wrong-key");
    folder.make("keys");
    let keys = folder.at("keys");
    let with = |names: &str, active: &str| {
        let more = format!(
            "a1.channels.c1.onCorruption = skip
a1.channels.c1.encryption.activeKey = {active}
a1.channels.c1.encryption.cipherProvider = AESCTRNOPADDING
a1.channels.c1.encryption.keyProvider = file
a1.channels.c1.encryption.keyProvider.keys = {names}
a1.channels.c1.encryption.keyProvider.keyFolder = {keys}
"
        );
        configuration(&folder, &more)
    };
    let (one, other) = ("01".repeat(32), "02".repeat(32));
    folder.write("keys/key-0", &one);
    folder.write("keys/key-1", &other);
    served(&with("key-0", "key-0"));
    let file = with("key-1", "key-1");
    refused(
        &folder,
        &file,
        &[
            "encryption.keyProvider.keys: ",
            "is encrypted with the key \"key-0\", which is not there; there are key-1",
        ],
    );
    let file = configuration(&folder, "");
    refused(
        &folder,
        &file,
        &[
            "encryption.keyProvider: ",
            "\"key-0\", which is not there; there are none",
        ],
    );
    folder.write("keys/key-0", &other);
    let file = with("key-0", "key-0");
    refused(
        &folder,
        &file,
        &[
            "with a key \"key-0\" that is not the one of this name here",
            "bring back the key",
        ],
    );
    folder.write("keys/key-0", "not a key");
    let file = with("key-0", "key-0");
    refused(
        &folder,
        &file,
        &["keyFolder: ", "holds no key: expected 256 bits"],
    );
    folder.write("keys/key-0", &one);
    served(&with("key-0 key-1", "key-1"));
    served(&with("key-1", "key-1"));
}
