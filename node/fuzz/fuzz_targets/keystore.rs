//! Any bytes as a JKS or JCEKS store. Without a password nothing stands between them and the parser; with one, the digest at
//! the end is made to fit first, so that the protection of keys is reached, too. Nothing panics, and what is read has
//! been there: no more certificates and bytes than the file has. Secret keys are opened as far as that is quick; what is
//! wrong with their content is reached by the seeds, whose password is this one. PKCS#12 is left to the crate that reads it, whose
//! key derivation would be all that is measured here.
#![no_main]

use libfuzzer_sys::fuzz_target;
use node::io::keystore::{self, CHAIN_MAX, ENTRIES_MAX, Store};
use sha1::{Digest, Sha1};

const PASSWORD: &str = "changeit";
const DIGEST_BYTES: usize = 20;
/// Rounds of hashing that a fuzzer has time for: those of the seeds.
const ROUNDS_MAX: u32 = 10_000;

fn held(store: &Store, file_bytes: usize) {
    assert!(store.keys.len() + store.trusted.len() + store.secrets.len() <= ENTRIES_MAX);
    assert!(store.keys.iter().all(|key| key.chain.len() <= CHAIN_MAX));
    let chains = store.keys.iter().flat_map(|key| &key.chain);
    let bytes: usize = chains.chain(&store.trusted).map(|certificate| certificate.len()).sum();
    assert!(bytes <= file_bytes);
    for key in &store.keys {
        let _ = (key.private(), key.algorithm());
    }
    for secret in store.secrets.iter().filter(|secret| secret.rounds() <= ROUNDS_MAX) {
        if let Ok(opened) = secret.open(PASSWORD) {
            assert!(opened.bytes.len() <= file_bytes);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    if data.first() == Some(&0x30) {
        return;
    }
    if let Ok(store) = keystore::read(data, None) {
        held(&store, data.len());
    }
    let mut fitting = data[..data.len().saturating_sub(DIGEST_BYTES)].to_vec();
    let mut digest = Sha1::new();
    let password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    digest.update(password);
    digest.update(b"Mighty Aphrodite");
    digest.update(&fitting);
    fitting.extend(digest.finalize());
    if let Ok(store) = keystore::read(&fitting, Some(PASSWORD)) {
        held(&store, fitting.len());
    }
});
