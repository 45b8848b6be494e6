//! What the log itself costs, on a disk in memory that syncs at once: commits and reading back, in plain and encrypted.
//!
//! `cargo bench -p cluster --bench journal`. One commit is 16 transactions of 100 events of 512 bytes, as 16 sources bring
//! them; the cipher is the one that the node has.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use cluster::journal::{
    Config, Disk, DiskError, DiskErrorKind, KeyError, Keys, Log, Opened, Put, Reader, Transaction,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proto::journal::{NONCE_BYTES, PayloadCipher, Range, Record, SegmentHead, TAG_BYTES};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

const SOURCES: usize = 16;
const EVENTS: usize = 100;
const EVENT_BYTES: usize = 512;

type File = Rc<RefCell<Vec<u8>>>;

/// Files in memory.
#[derive(Default)]
struct Memory(BTreeMap<String, File>);

impl Memory {
    fn file(&self, name: &str) -> Result<File, DiskError> {
        self.0
            .get(name)
            .cloned()
            .ok_or(DiskError::new(DiskErrorKind::Missing, name))
    }
}

impl Disk for Memory {
    type File = File;

    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        Ok(self.0.keys().cloned().collect())
    }

    fn create(&mut self, name: &str, bytes: u64) -> Result<File, DiskError> {
        let file = File::new(RefCell::new(vec![0; bytes as usize]));
        self.0.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&mut self, name: &str) -> Result<File, DiskError> {
        self.file(name)
    }

    fn len(&mut self, file: &File) -> Result<u64, DiskError> {
        Ok(file.borrow().len() as u64)
    }

    fn read_at(&self, file: &File, at: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        let file = file.borrow();
        let rest = file.get(at as usize..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn reread(&mut self, _: &File) -> Result<(), DiskError> {
        Ok(())
    }

    fn write_at(&mut self, file: &File, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        file.borrow_mut()[at as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, _: &File) -> Result<(), DiskError> {
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let file = self.file(from)?;
        self.0.remove(from);
        self.0.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.0.remove(name);
        Ok(())
    }

    fn sync_folder(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// One key for all segments: making one is not what is measured.
struct OneKey;

struct Cipher(LessSafeKey);

impl fmt::Debug for OneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneKey")
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher")
    }
}

impl Keys for OneKey {
    fn seal(&self, head: &mut SegmentHead) -> Result<Option<Arc<dyn PayloadCipher>>, KeyError> {
        head.key_id = b"k".to_vec();
        self.open(head).map(Some)
    }

    fn open(&self, _: &SegmentHead) -> Result<Arc<dyn PayloadCipher>, KeyError> {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("32 bytes are a key");
        Ok(Arc::new(Cipher(LessSafeKey::new(key))))
    }
}

impl PayloadCipher for Cipher {
    fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], payload: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), payload)
            .expect("it is short");
        tag.as_ref().try_into().expect("a tag has 16 bytes")
    }

    fn open(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], sealed: &[u8], plain: &mut [u8]) -> bool {
        let (bytes, tag) = sealed.split_at(plain.len());
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .open_separate_gather(nonce, Aad::from(aad), bytes, tag, plain)
            .is_ok()
    }
}

fn open(keys: Option<Arc<dyn Keys>>) -> Log<Memory> {
    let how = Opened {
        config: Config::default(),
        shard: [1; 16],
        seed: 1,
        skip_damage: false,
        distrust: false,
        keys,
    };
    Log::open(Memory::default(), how).expect("memory does not fail").0
}

fn puts(events: &Bytes) -> Vec<Transaction<'static>> {
    let put = Put {
        count: EVENTS as u32,
        events: vec![events.clone()],
        order: 0,
        prepared: None,
    };
    let transaction = Transaction {
        put: Some(put),
        records: Vec::new(),
    };
    vec![transaction; SOURCES]
}

fn journal(c: &mut Criterion) {
    let events = Bytes::from(vec![b'x'; EVENTS * EVENT_BYTES]);
    let kinds: [(&str, Option<Arc<dyn Keys>>); 2] =
        [("plain", None), ("AES-256-GCM", Some(Arc::new(OneKey)))];
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Bytes((SOURCES * EVENTS * EVENT_BYTES) as u64));
    for (name, keys) in &kinds {
        let mut log = open(keys.clone());
        let mut next = 0;
        group.bench_function(format!("commit, {name}"), |b| {
            b.iter(|| {
                let mut all = puts(&events);
                // What came before is taken, so that its segments serve again.
                let events = vec![Range {
                    start: next,
                    end: next + (SOURCES * EVENTS) as u64,
                }];
                all.push(Transaction {
                    put: None,
                    records: vec![Record::Take { events }],
                });
                next += (SOURCES * EVENTS) as u64;
                black_box(log.commit(&all))
            });
        });
    }
    for (name, keys) in &kinds {
        let mut log = open(keys.clone());
        for _ in 0..40 {
            log.commit(&puts(&events));
        }
        let mut reader = Reader::new();
        group.bench_function(format!("read, {name}"), |b| {
            b.iter(|| {
                let chunks = reader.next(&log).expect("nothing is damaged");
                if chunks.is_none() {
                    reader = Reader::new();
                }
                black_box(chunks)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, journal);
criterion_main!(benches);
