//! Directories of the real Flume into channels of ours; interruptions, damage, strangers.

use super::*;
use crate::channel::file::{Config, FileChannel};
use crate::component::channel::{Channel, Want};
use crate::component::contract::TempDir;
use crate::component::keys::Keys;
use crate::config::Sources;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What Flume itself delivers from the directories of the vectors.
const EXPECTED: [(&str, &str); 6] = [
    ("3", "3 cdefghijklmnopqrstuvwxyzabcdefghijklmn"),
    ("4", "4 cdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwx"),
    ("7", "7 cdefghijklmnopqrst"),
    ("8", "8 cdefghijklmnopqrstuvwxyzabcd"),
    ("9", "9 cdefghijklmnopqrstuvwxyzabcdefghijklmn"),
    ("12", "12 defghijklmnopqrst"),
];

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/vectors/flume_log")
}

/// A copy of a directory of the vectors, with its filling.
fn flume(folder: &TempDir, name: &str) -> PathBuf {
    let data = folder.path().join("data");
    fs::create_dir_all(&data).unwrap();
    for entry in fs::read_dir(vectors().join(name)).unwrap() {
        let entry = entry.unwrap();
        let mut bytes = fs::read(entry.path()).unwrap();
        if entry.file_name() == "log-1" {
            bytes.resize(1 << 20, 0x80);
        }
        fs::write(data.join(entry.file_name()), bytes).unwrap();
    }
    data
}

fn options(data: &Path, into: &Path) -> Options {
    Options {
        from: From::Folders {
            data: vec![data.to_owned()],
            checkpoints: Vec::new(),
            into: vec![into.to_owned()],
        },
        dry_run: false,
        keep: false,
        skip_damage: false,
        keys: Vec::new(),
        warnings: Vec::new(),
    }
}

/// Everything that an agent would deliver from there.
fn drained(into: &Path) -> Vec<(String, String)> {
    let dir = into.display().to_string();
    let mut keys = Keys::of(
        "channel c1 (file)",
        &[("dataDirs", &dir), ("minimumRequiredSpace", "0")],
    );
    let config = Config::read(&mut keys);
    let channel: FileChannel = config.build(&"c1".into()).unwrap();
    channel.attach();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        channel.serves().await;
        let mut all = Vec::new();
        while channel.queued() > 0 {
            let taken = channel
                .take(Want::events(4), Duration::from_secs(30))
                .await
                .unwrap();
            let (ticket, batch) = taken.unwrap();
            all.extend(batch.iter().map(|event| {
                let number = event.header("number").unwrap_or_default().to_owned();
                (number, String::from_utf8_lossy(event.body()).into_owned())
            }));
            channel.commit_take(ticket, None).await.unwrap();
        }
        all
    })
}

fn expected() -> Vec<(String, String)> {
    EXPECTED
        .iter()
        .map(|(n, body)| ((*n).to_owned(), (*body).to_owned()))
        .collect()
}

#[test]
fn what_flume_would_deliver_is_moved_once() {
    for name in ["1.11.0-plain", "1.9.0-plain"] {
        let folder = TempDir::new();
        let data = flume(&folder, name);
        let dry = run(&Options {
            dry_run: true,
            ..options(&data, &data)
        })
        .unwrap();
        assert_eq!(
            (dry.events, dry.counts.rolled_back, dry.counts.unfinished),
            (6, 2, 2)
        );
        assert!(
            !data.join("millrace").exists() && !data.join("in_use.lock").exists(),
            "a dry run touches nothing"
        );
        let imported = run(&options(&data, &data)).unwrap();
        assert_eq!((imported.events, imported.before, imported.bytes), (6, 0, 200));
        assert!(data.join("flume-imported/log-1.meta").exists() && !data.join("log-1").exists());
        let again = run(&options(&data, &data)).unwrap();
        assert!(again.was_imported && again.events == 0, "{again}");
        assert_eq!(drained(&data), expected());
        assert!(run(&options(&data, &data)).unwrap().was_imported);
        assert_eq!(drained(&data), []);
    }
}

#[test]
fn an_encrypted_channel_asks_for_its_key() {
    for name in ["1.11.0-encrypted", "1.9.0-encrypted"] {
        let folder = TempDir::new();
        let data = flume(&folder, name);
        let refused = run(&options(&data, &data)).unwrap_err();
        assert_eq!(refused.fault, Fault::Input);
        assert!(refused.to_string().contains("--key key-0=FILE"), "{refused}");
        let with = |key: PathBuf| Options {
            keys: vec![("key-0".to_owned(), key)],
            ..options(&data, &data)
        };
        let wrong = folder.path().join("wrong.key");
        fs::write(&wrong, [7; 16]).unwrap();
        let refused = run(&with(wrong)).unwrap_err();
        assert!(refused.to_string().contains("Nothing was moved"), "{refused}");
        run(&with(vectors().join("key-0.hex"))).unwrap();
        assert_eq!(drained(&data), expected());
    }
}

#[test]
fn a_channel_of_flume_1_3_is_moved() {
    let folder = TempDir::new();
    let data = flume(&folder, "v2");
    assert_eq!(run(&options(&data, &data)).unwrap().events, 3);
    let bodies: Vec<String> = drained(&data).into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, ["body 2", "body 3", "body 4"]);
}

#[test]
fn an_import_that_was_interrupted_goes_on_wherever_it_was() {
    // Set aside, not a single event moved.
    let folder = TempDir::new();
    let data = flume(&folder, "1.11.0-plain");
    fs::create_dir(data.join("flume-importing")).unwrap();
    fs::rename(data.join("log-1"), data.join("flume-importing/log-1")).unwrap();
    fs::rename(data.join("log-1.meta"), data.join("flume-importing/log-1.meta")).unwrap();
    assert_eq!(run(&options(&data, &data)).unwrap().events, 6);
    assert_eq!(drained(&data), expected());
    // All moved, and killed before the folder got its last name.
    fs::rename(data.join("flume-imported"), data.join("flume-importing")).unwrap();
    let again = run(&options(&data, &data)).unwrap();
    assert!(again.was_imported, "{again}");
    assert!(data.join("flume-imported/log-1").exists());
    assert_eq!(drained(&data), []);
    // Flume was used again after that, and left other events.
    for name in ["log-1", "log-1.meta"] {
        fs::copy(vectors().join("1.9.0-plain").join(name), data.join(name)).unwrap();
    }
    assert_eq!(run(&options(&data, &data)).unwrap().events, 6);
    assert!(data.join("flume-imported-2/log-1").exists());
    assert_eq!(drained(&data), expected());
}

#[test]
fn each_commit_of_an_import_is_where_the_next_run_goes_on() {
    for done in 0..=6 {
        let folder = TempDir::new();
        let data = flume(&folder, "1.11.0-plain");
        let options = options(&data, &data);
        // As far as a run that is killed after `done` events.
        {
            let place = Place::of(&options).unwrap();
            let progress = Progress::start();
            let mut folders = Folders::own(&place, false, &Progress::start()).unwrap();
            let files = files::open_all(&folders, &KeyRing::default(), false, &progress).unwrap();
            let read = read(&options, &folders, &files, &progress).unwrap();
            let mut target = Target::open(&place).unwrap();
            assert_eq!(target.begin(read.digest, 6).unwrap(), 0);
            folders.set_aside().unwrap();
            let mut bodies = Bodies::open(&folders, &files).unwrap();
            let part = &read.left.events[..done];
            target
                .move_all(part, &mut bodies, false, &progress, &mut Imported::default())
                .unwrap();
        }
        let rest = run(&options).unwrap();
        assert_eq!((rest.before, rest.events), (done as u64, 6 - done as u64));
        assert_eq!(drained(&data), expected(), "killed after {done}");
    }
}

#[test]
fn other_files_after_an_interruption_are_refused() {
    let folder = TempDir::new();
    let data = flume(&folder, "1.11.0-plain");
    let options = options(&data, &data);
    {
        let mut target = Target::open(&Place::of(&options).unwrap()).unwrap();
        target.begin(77, 10).unwrap();
        target.pretend_done(4);
    }
    let refused = run(&options).unwrap_err();
    assert!(
        refused.to_string().contains("has moved 4 of 10 events"),
        "{refused}"
    );
    assert!(data.join("log-1").exists(), "nothing is touched");
}

#[test]
fn damage_is_named_and_left_out_only_if_a_person_says_so() {
    let folder = TempDir::new();
    let data = flume(&folder, "1.11.0-plain");
    let log = data.join("log-1");
    let mut bytes = fs::read(&log).unwrap();
    let find = |bytes: &[u8], text: &str| {
        bytes
            .windows(text.len())
            .position(|w| w == text.as_bytes())
            .unwrap()
    };
    // The body of 8, which is left, and that of 1, which was taken: only the first matters.
    for body in ["8 cdefg", "1 cdefg"] {
        let at = find(&bytes, body);
        bytes[at + 5] ^= 1;
    }
    fs::write(&log, &bytes).unwrap();
    let refused = run(&options(&data, &data)).unwrap_err();
    assert_eq!(refused.fault, Fault::Input);
    let text = refused.to_string();
    assert!(
        text.contains("log-1, byte ") && text.contains("checksum does not match its body"),
        "{text}"
    );
    assert_eq!(text.matches("byte ").count(), 1, "{text}");
    assert!(
        log.exists() && !data.join("millrace").exists(),
        "nothing is touched"
    );
    let imported = run(&Options {
        skip_damage: true,
        ..options(&data, &data)
    })
    .unwrap();
    assert_eq!((imported.events, imported.places.count()), (5, 1));
    let mut left = expected();
    left.remove(3);
    assert_eq!(drained(&data), left);
}

#[test]
fn kept_files_are_moved_only_once_all_the_same() {
    let folder = TempDir::new();
    let data = flume(&folder, "1.11.0-plain");
    let into = folder.path().join("ours");
    let keep = Options {
        keep: true,
        ..options(&data, &into)
    };
    assert_eq!(run(&keep).unwrap().events, 6);
    assert!(data.join("log-1").exists());
    let again = run(&keep).unwrap();
    assert_eq!((again.events, again.before), (0, 6));
    assert_eq!(drained(&into), expected());
    let refused = run(&Options {
        keep: true,
        ..options(&data, &data)
    })
    .unwrap_err();
    assert_eq!(refused.fault, Fault::Settings);
}

#[test]
fn a_configuration_names_the_folders() {
    let folder = TempDir::new();
    let data = flume(&folder, "1.11.0-plain");
    let file = folder.path().join("a1.properties");
    let text = format!(
        "a1.channels = c1\na1.channels.c1.type = file\na1.channels.c1.dataDirs = {0}\na1.channels.c1.checkpointDir = {0}\n\
         a1.channels.c1.minimumRequiredSpace = 0\na1.channels.c1.capacity = 2\na1.channels.c1.transactionCapacity = 2\n\
         a1.channels.m1.type = memory\nb1.channels.c2.type = file\nb2.channels.c2.type = file\n",
        data.display()
    );
    fs::write(&file, text).unwrap();
    let options = |agent: Option<&str>, channel: &str| Options {
        from: From::Channel {
            sources: Box::new(Sources::of_files([file.clone()])),
            agent: agent.map(str::to_owned),
            channel: channel.to_owned(),
        },
        ..options(&data, &data)
    };
    for (agent, channel, why) in [
        (None, "c9", "no agent of the configuration has a channel c9"),
        (None, "c2", "name one: -n b1, -n b2"),
        (Some("a1"), "m1", "expected file, found \"memory\""),
        (Some("b1"), "c1", "there is no b1.channels.c1.type"),
    ] {
        let refused = run(&options(agent, channel)).unwrap_err();
        assert_eq!(refused.fault, Fault::Settings);
        assert!(refused.to_string().contains(why), "{refused}");
    }
    let imported = run(&options(None, "c1")).unwrap();
    assert_eq!(imported.events, 6);
    assert!(
        data.join("flume-imported/checkpoint.meta").exists(),
        "or Flume would miss its files"
    );
    assert_eq!(drained(&data), expected());
}

#[test]
fn strange_files_are_refused_and_untouched() {
    let folder = TempDir::new();
    let data = flume(&folder, "1.11.0-plain");
    let told = |data: &Path| run(&options(data, data)).unwrap_err().to_string();
    assert!(
        told(&folder.path().join("no")).contains("No such file"),
        "no folder"
    );
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(
        told(&empty).contains("there is no file channel of Flume's"),
        "{}",
        told(&empty)
    );
    fs::rename(data.join("log-1"), data.join("log-5")).unwrap();
    assert!(
        told(&data).contains("there is no metadata beside it"),
        "{}",
        told(&data)
    );
    fs::rename(data.join("log-1.meta"), data.join("log-5.meta")).unwrap();
    assert!(
        told(&data).contains("its metadata is of log-1"),
        "{}",
        told(&data)
    );
    let meta = fs::read(data.join("log-5.meta")).unwrap();
    fs::write(data.join("log-5.meta"), &meta[..10]).unwrap();
    assert!(told(&data).contains("log-5.meta: byte 1"), "{}", told(&data));
    let mut newer = meta;
    newer[2] = 4;
    fs::write(data.join("log-5.meta"), newer).unwrap();
    assert!(
        told(&data).contains("version 4 of Flume's data files; this version reads 3"),
        "{}",
        told(&data)
    );
    assert!(!data.join("millrace").exists());
}

#[test]
fn an_event_that_is_too_large_for_a_channel_is_named() {
    let folder = TempDir::new();
    let data = flume(&folder, "1.11.0-plain");
    let place = Place::of(&options(&data, &data)).unwrap();
    let folders = Folders::own(&place, true, &Progress::start()).unwrap();
    let progress = Progress::start();
    let files = files::open_all(&folders, &KeyRing::default(), false, &progress).unwrap();
    let read = files::replay(&folders, &files, None, &progress).unwrap();
    let mut bodies = Bodies::open(&folders, &files).unwrap();
    let limits = proto::event::EventLimits {
        body_bytes: 30,
        ..Default::default()
    };
    let mut batch = proto::event::BatchBuilder::new(limits);
    let pushed: Vec<bool> = read
        .left
        .events
        .iter()
        .map(|at| bodies.push(*at, &mut batch).is_ok())
        .collect();
    assert_eq!(pushed, [false, false, true, true, false, true]);
    assert_eq!(batch.len(), 3);
}
