//! Whole channels under keys: the contract, changes of key, and what is refused.

use super::tests::{Pairs, pairs, secret};
use crate::channel::file::FileChannel;
use crate::channel::file::tests::{Owned, config, drain, numbers, open, put, take, wait_open};
use crate::component::channel::{Channel, ChannelError, Claim};
use crate::component::contract::{TempDir, channel as contract};
use crate::component::keys::Keys;
use crate::component::registry::BuildContext;
use proto::journal::SegmentHead;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// A channel in a folder, with keys in files beside it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new();
        fs::create_dir(folder.path().join("keys")).unwrap();
        for (name, byte) in [("old", 1), ("new", 2)] {
            secret(&folder, &format!("keys/{name}"), &[byte; 32]);
        }
        Self { folder }
    }

    /// The properties for this active key, or for none, and these keys.
    fn pairs(&self, active: &str, names: &str) -> Pairs {
        let keys = self.folder.path().join("keys");
        let cipher = if active.is_empty() {
            "NONE"
        } else {
            "AESCTRNOPADDING"
        };
        pairs(&[
            ("activeKey", active),
            ("cipherProvider", cipher),
            ("keyProvider", "file"),
            ("keyProvider.keys", names),
            ("keyProvider.keyFolder", keys.to_str().unwrap()),
        ])
    }

    fn open(&self, active: &str, names: &str) -> FileChannel {
        let owned = self.pairs(active, names);
        let borrowed: Vec<(&str, &str)> = owned.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        open(&self.folder, &borrowed)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data/millrace")
    }

    /// All files, with their bytes and times.
    fn content(&self) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
        let entries = fs::read_dir(self.data()).unwrap().map(|e| e.unwrap().path());
        let one = |path: PathBuf| {
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            (path.clone(), fs::read(&path).unwrap(), changed)
        };
        let mut all: Vec<_> = entries.map(one).collect();
        all.sort();
        all
    }

    fn shows(&self, text: &[u8]) -> bool {
        self.content()
            .iter()
            .any(|(_, bytes, _)| bytes.windows(text.len()).any(|w| w == text))
    }
}

mod encrypted {
    use super::*;
    contract::suite!(|capacity: usize, transaction: usize, keep_alive: u64| {
        let Place { folder } = Place::new();
        let place = Place { folder };
        let mut owned = place.pairs("new", "old new");
        for (key, value) in [
            ("capacity", capacity.to_string()),
            ("transactionCapacity", transaction.to_string()),
            ("keep-alive", keep_alive.to_string()),
        ] {
            owned.push((key.to_owned(), value));
        }
        let borrowed: Vec<(&str, &str)> = owned.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let channel = open(&place.folder, &borrowed);
        Arc::new(Owned {
            channel,
            _folder: place.folder,
        }) as Arc<dyn Channel>
    });
}

#[tokio::test]
async fn events_and_positions_lie_encrypted_on_the_disk_over_changes_of_key_and_in_plain() {
    let place = Place::new();
    let mut expected = Vec::new();
    for (life, (active, names)) in [
        ("old", "old"),
        ("new", "old new"),
        ("", "old new"),
        ("new", "new old"),
    ]
    .into_iter()
    .enumerate()
    {
        let channel = place.open(active, names);
        assert_eq!(channel.held(), expected.len());
        let first = life as u32 * 100;
        // More than a segment, so that some of it is read back from the disk.
        for n in 0..4 {
            let from = first + n * 25;
            put(
                &channel,
                numbers(from..from + 25, 20_000),
                Some("a position that is a secret"),
            )
            .await;
        }
        expected.extend(first..first + 100);
        let (ticket, seen) = take(&channel, 10).await.unwrap();
        assert_eq!(seen, expected[..10]);
        channel.commit_take(ticket, None).await.unwrap();
        expected.drain(..10);
        drop(channel);
        let in_plain = life >= 2;
        assert_eq!(place.shows(b"xxxxxxxxxxxxxxxxxxxx"), in_plain, "life {life}");
        assert_eq!(
            place.shows(b"a position that is a secret"),
            in_plain,
            "life {life}"
        );
    }
    let channel = place.open("new", "old new");
    assert_eq!(
        channel.position("source/r1").as_deref(),
        Some(&b"a position that is a secret"[..])
    );
    assert_eq!(drain(&channel).await, expected);
}

#[tokio::test]
async fn a_reload_changes_the_key_of_the_next_segment() {
    let place = Place::new();
    let channel = place.open("old", "old");
    put(&channel, numbers(0..10, 10), None).await;
    let mut all = place.pairs("new", "old new");
    let dir = place.folder.path().join("data").to_str().unwrap().to_owned();
    all.push(("dataDirs".to_owned(), dir));
    let borrowed: Vec<(&str, &str)> = all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let mut keys = Keys::of("channel c1 (file)", &borrowed);
    let context = BuildContext {
        name: "c1".into(),
        clock: Arc::new(crate::component::context::SystemClock::default()),
        max_heap_bytes: None,
        tls: Default::default(),
        channels: Default::default(),
        types: Default::default(),
    };
    channel.reconfigure(&mut keys, &context);
    assert!(!keys.has_errors(), "{:?}", keys.finish());
    let names = |place: &Place| {
        let all = place
            .content()
            .into_iter()
            .filter(|(path, ..)| path.to_str().unwrap().contains("seg-"));
        let of = |bytes: &[u8]| String::from_utf8(SegmentHead::decode(bytes).unwrap().key_id).unwrap();
        all.map(|(_, bytes, _)| of(&bytes)).collect::<Vec<_>>()
    };
    assert_eq!(names(&place), ["old"]);
    while names(&place).len() < 2 {
        put(&channel, numbers(10..20, 20_000), None).await;
    }
    assert_eq!(names(&place), ["old", "new"]);
}

#[tokio::test]
async fn a_key_that_is_missing_or_another_is_told_before_the_start_and_nothing_is_touched() {
    let place = Place::new();
    let channel = place.open("old", "old");
    put(&channel, numbers(0..10, 10), None).await;
    drop(channel);
    let before = place.content();
    let told = |pairs: Pairs| {
        let borrowed: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let mut keys = Keys::of("channel c1 (file)", &[]);
        config(&place.folder, &borrowed).look(&mut keys);
        let told: Vec<String> = keys.finish().iter().map(ToString::to_string).collect();
        assert_eq!(place.content(), before, "nothing is touched");
        told.join("\n")
    };
    assert_eq!(told(place.pairs("new", "old new")), "");
    let none = told(Vec::new());
    assert!(
        none.contains("encryption.keyProvider: ") && none.contains("is encrypted with the key \"old\", which is not there; there are none; set encryption.keyProvider"),
        "{none}"
    );
    let other = told(place.pairs("new", "new"));
    assert!(
        other.contains("\"old\", which is not there; there are new; name it in encryption.keyProvider.keys"),
        "{other}"
    );
    secret(&place.folder, "keys/old", &[9; 32]);
    let wrong = told(place.pairs("old", "old"));
    assert!(
        wrong.contains("the bytes of the two differ; bring back the key that had this name"),
        "{wrong}"
    );

    // Whoever starts all the same, with skipping of damage switched on, is refused as well.
    for skip in ["stop", "skip"] {
        let mut pairs = place.pairs("old", "old");
        pairs.push(("onCorruption".to_owned(), skip.to_owned()));
        let borrowed: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let channel = config(&place.folder, &borrowed).build(&"c1".into()).unwrap();
        channel.attach();
        let refused = loop {
            match channel.reserve(Claim { events: 1, bytes: 1 }).await {
                Err(ChannelError::Unavailable) => tokio::task::yield_now().await,
                other => break other.unwrap_err().to_string(),
            }
        };
        assert!(
            refused.contains("the bytes of the two differ") && refused.contains("Nothing was changed"),
            "{refused}"
        );
        drop(channel);
        assert_eq!(place.content(), before, "nothing is touched");
    }
    // With the right one again all of it is there.
    secret(&place.folder, "keys/old", &[1; 32]);
    let channel = place.open("old", "old");
    wait_open(&channel);
    assert_eq!(drain(&channel).await, (0..10).collect::<Vec<_>>());
}
