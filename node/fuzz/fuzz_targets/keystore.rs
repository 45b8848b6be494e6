//! Any bytes as a JKS store. Without a password nothing stands between them and the parser; with one, the digest at
//! the end is made to fit first, so that the protection of keys is reached, too. Nothing panics, and what is read has
//! been there: no more certificates and bytes than the file has. PKCS#12 is left to the crate that reads it, whose
//! key derivation would be all that is measured here.
#![no_main]

use libfuzzer_sys::fuzz_target;
use node::io::keystore::{self, CHAIN_MAX, ENTRIES_MAX, Store};
use sha1::{Digest, Sha1};

const PASSWORD: &str = "changeit";
const DIGEST_BYTES: usize = 20;

fn held(store: &Store, file_bytes: usize) {
    assert!(store.keys.len() + store.trusted.len() <= ENTRIES_MAX);
    assert!(store.keys.iter().all(|key| key.chain.len() <= CHAIN_MAX));
    let chains = store.keys.iter().flat_map(|key| &key.chain);
    let bytes: usize = chains.chain(&store.trusted).map(|certificate| certificate.len()).sum();
    assert!(bytes <= file_bytes);
    for key in &store.keys {
        let _ = (key.private(), key.algorithm());
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
