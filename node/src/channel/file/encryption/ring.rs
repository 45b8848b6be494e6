//! Keys at work: AES-GCM, by aws-lc-rs, for the payloads of segments and for the keys of segments.
//!
//! A segment's own key is 32 random bytes and serves AES-256-GCM, whatever the operator's keys are; it lies in the
//! segment's header wrapped by the active one of those, AES-GCM of its length, under a random nonce. The bytes of keys are
//! wiped when they go, and no `Debug` shows any.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use cluster::journal::{KeyError, Keys};
use proto::journal::{
    DATA_KEY_BYTES, NONCE_BYTES, PayloadCipher, SegmentHead, TAG_BYTES, WrapMethod, WrappedKey,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use zeroize::Zeroizing;

/// One of the operator's keys.
struct RingKey {
    secret: Zeroizing<Vec<u8>>,
    method: WrapMethod,
    wrap: LessSafeKey,
}

impl RingKey {
    fn new(secret: Zeroizing<Vec<u8>>) -> Option<Self> {
        let (method, algorithm): (_, &'static Algorithm) = match secret.len() {
            16 => (WrapMethod::Aes128Gcm, &AES_128_GCM),
            24 => (WrapMethod::Aes192Gcm, &AES_192_GCM),
            32 => (WrapMethod::Aes256Gcm, &AES_256_GCM),
            _ => return None,
        };
        let wrap = LessSafeKey::new(UnboundKey::new(algorithm, &secret).ok()?);
        Some(Self { secret, method, wrap })
    }
}

/// The operator's keys by their names, one of which may be active.
#[derive(Clone, Default)]
pub struct KeyRing {
    active: Option<String>,
    keys: BTreeMap<String, Arc<RingKey>>,
}

impl KeyRing {
    /// Adds a key; says no to one that is neither 128 nor 192 nor 256 bits long.
    pub fn add(&mut self, name: &str, secret: Zeroizing<Vec<u8>>) -> Option<()> {
        let key = RingKey::new(secret)?;
        self.keys.insert(name.to_owned(), Arc::new(key));
        Some(())
    }

    /// New segments are encrypted with this key, which must be there.
    pub fn activate(&mut self, name: &str) {
        self.active = Some(name.to_owned());
    }

    /// The names and bytes of the keys, for who reads what Flume has encrypted with them.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.keys
            .iter()
            .map(|(name, key)| (name.as_str(), key.secret.as_slice()))
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl PartialEq for KeyRing {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = self.secrets().zip(other.secrets());
        self.active == other.active
            && self.keys.len() == other.keys.len()
            && pairs.all(|(a, b)| a.0 == b.0 && verify_slices_are_equal(a.1, b.1).is_ok())
    }
}

impl Eq for KeyRing {}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("active", &self.active)
            .field("keys", &self.keys.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl Keys for KeyRing {
    fn seal(&self, head: &mut SegmentHead) -> Result<Option<Arc<dyn PayloadCipher>>, KeyError> {
        let Some(name) = &self.active else {
            return Ok(None);
        };
        let unmade = |why| KeyError::Unmade(why);
        let key = self.keys.get(name).ok_or(unmade("the active key is not there"))?;
        let mut data = Zeroizing::new([0; DATA_KEY_BYTES]);
        let mut nonce = [0; NONCE_BYTES];
        aws_lc_rs::rand::fill(&mut *data)
            .and_then(|()| aws_lc_rs::rand::fill(&mut nonce))
            .map_err(|_| unmade("the system has no randomness"))?;
        head.key_id = name.clone().into_bytes();
        let mut wrapped = data.clone();
        let tag = key
            .wrap
            .seal_in_place_separate_tag(nonce_of(nonce), Aad::from(head.key_context()), &mut *wrapped)
            .map_err(|_| unmade("it cannot be wrapped"))?;
        let mut sealed = [0; DATA_KEY_BYTES + TAG_BYTES];
        sealed[..DATA_KEY_BYTES].copy_from_slice(&*wrapped);
        sealed[DATA_KEY_BYTES..].copy_from_slice(tag.as_ref());
        let wrapped = WrappedKey {
            method: key.method,
            nonce,
            sealed,
        };
        head.wrapped_key = wrapped.encode();
        let cipher = DataCipher::new(&*data).ok_or(unmade("the cipher refuses it"))?;
        Ok(Some(Arc::new(cipher)))
    }

    fn open(&self, head: &SegmentHead) -> Result<Arc<dyn PayloadCipher>, KeyError> {
        let name = String::from_utf8_lossy(&head.key_id).into_owned();
        let Some(key) = self.keys.get(&name) else {
            return Err(KeyError::Missing {
                key: name,
                given: self.keys.keys().cloned().collect(),
            });
        };
        let wrapped = WrappedKey::decode(&head.wrapped_key).map_err(KeyError::Unknown)?;
        let mut sealed = Zeroizing::new(wrapped.sealed);
        let data = if wrapped.method == key.method {
            let aad = Aad::from(head.key_context());
            key.wrap
                .open_in_place(nonce_of(wrapped.nonce), aad, &mut *sealed)
                .ok()
        } else {
            None
        };
        match data.and_then(|data| DataCipher::new(data)) {
            Some(cipher) => Ok(Arc::new(cipher)),
            None => Err(KeyError::Wrong { key: name }),
        }
    }
}

/// Keys that a reload may change: the next segment is written with what is there then.
#[derive(Debug, Default)]
pub struct LiveKeys(RwLock<KeyRing>);

impl LiveKeys {
    /// With these to begin with.
    pub fn new(ring: KeyRing) -> Self {
        Self(RwLock::new(ring))
    }

    /// From now on these.
    pub fn change(&self, ring: KeyRing) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = ring;
    }

    /// Those of now.
    pub fn now(&self) -> KeyRing {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Keys for LiveKeys {
    fn seal(&self, head: &mut SegmentHead) -> Result<Option<Arc<dyn PayloadCipher>>, KeyError> {
        self.now().seal(head)
    }

    fn open(&self, head: &SegmentHead) -> Result<Arc<dyn PayloadCipher>, KeyError> {
        self.now().open(head)
    }
}

/// The cipher of one segment.
struct DataCipher(LessSafeKey);

impl DataCipher {
    fn new(key: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }
}

impl fmt::Debug for DataCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataCipher(AES-256-GCM)")
    }
}

impl PayloadCipher for DataCipher {
    fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], payload: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce_of(nonce), Aad::from(aad), payload)
            .expect("a block is shorter than what GCM seals at once");
        let mut bytes = [0; TAG_BYTES];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    fn open(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], sealed: &[u8], plain: &mut [u8]) -> bool {
        let Some((bytes, tag)) = sealed.split_at_checked(plain.len()) else {
            return false;
        };
        let aad = Aad::from(aad);
        self.0
            .open_separate_gather(nonce_of(nonce), aad, bytes, tag, plain)
            .is_ok()
    }
}

/// Random, or made of what no other block of its segment has: it does not come twice.
fn nonce_of(nonce: [u8; NONCE_BYTES]) -> Nonce {
    Nonce::assume_unique_for_key(nonce)
}
