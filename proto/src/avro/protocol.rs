//! Protocols: Flume's own, what identifies one, and what a peer's own protocol means for reading its calls.
//!
//! A protocol is identified by the MD5 of its JSON text, and the text includes the licence comment of Flume's
//! IDL file as `doc` (wire.md 1.5). So [`OWN_TEXT`] is, byte for byte, what every released Flume 1.x sends and
//! expects, and [`OWN_HASH`] lets its clients succeed in one round trip. Other builds and other languages have
//! other texts; [`Protocol::parse`] reads any of them. If the bytes of its calls cannot differ from Flume's
//! they are read by the fast path all the same.

use super::datum::Datum;
use super::events::{EventReader, EventSink, EventsError, OwnEvent, OwnEvents, collect};
use super::plan::{Plan, Wanted};
use super::rpc::{Message, Status};
use super::schema::{Schemas, Type};
use crate::event::{Batch, EventLimits};
use bytes::Bytes;
use md5::{Digest, Md5};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// MD5 of a protocol's text.
pub type Hash = [u8; 16];

/// Flume's protocol as every released 1.x has it; 1,334 bytes.
pub const OWN_TEXT: &str = include_str!("flume_source.avpr");

/// MD5 of [`OWN_TEXT`].
pub const OWN_HASH: Hash = [
    0x86, 0xaa, 0xda, 0xe2, 0xc4, 0x54, 0x74, 0xc0, 0xfe, 0x93, 0xff, 0xd0, 0xf2, 0x35, 0x0a, 0x65,
];

/// Bytes of a protocol text.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// The MD5 of a protocol text.
pub fn hash_of(text: &[u8]) -> Hash {
    Md5::digest(text).into()
}

/// A protocol text that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ProtocolError(String);

/// How the parameters of a message are read.
#[derive(Debug)]
enum Request {
    Own,
    Planned(Plan),
    /// They do not resolve; calls fail with this text.
    Unresolvable(String),
}

/// One message that Flume has too.
#[derive(Debug)]
struct Declared {
    request: Request,
    /// What the symbols of its response mean, or why it is no status.
    statuses: Result<Box<[Option<Status>]>, String>,
    one_way: bool,
}

/// A peer's protocol, as far as it concerns Flume's two messages.
#[derive(Debug)]
pub struct Protocol {
    append: Option<Declared>,
    append_batch: Option<Declared>,
    others: BTreeSet<Box<str>>,
}

impl Protocol {
    /// Flume's own.
    pub fn own() -> Self {
        let own = || {
            let statuses = Ok(Box::from([
                Some(Status::Ok),
                Some(Status::Failed),
                Some(Status::Unknown),
            ]));
            Some(Declared {
                request: Request::Own,
                statuses,
                one_way: false,
            })
        };
        Self {
            append: own(),
            append_batch: own(),
            others: BTreeSet::new(),
        }
    }

    /// Reads a protocol text of at most [`TEXT_BYTES_MAX`] bytes.
    pub fn parse(text: &[u8]) -> Result<Self, ProtocolError> {
        if text.len() > TEXT_BYTES_MAX {
            let (found, allowed) = (text.len(), TEXT_BYTES_MAX);
            return Err(ProtocolError(format!(
                "a protocol of {found} bytes, allowed are at most {allowed}"
            )));
        }
        let json: Value = serde_json::from_slice(text).map_err(|error| ProtocolError(error.to_string()))?;
        let object = json
            .as_object()
            .ok_or_else(|| ProtocolError("a protocol is a JSON object".into()))?;
        Self::read(object).map_err(ProtocolError)
    }

    fn read(object: &Map<String, Value>) -> Result<Self, String> {
        let name = object
            .get("protocol")
            .and_then(Value::as_str)
            .ok_or("no protocol name specified")?;
        let space = match (
            object.get("namespace").and_then(Value::as_str),
            name.rsplit_once('.'),
        ) {
            (_, Some((space, _))) => space,
            (space, None) => space.unwrap_or(""),
        };
        let mut schemas = Schemas::new();
        for of in object
            .get("types")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            schemas.read(of, space, 0)?;
        }
        let messages = match object.get("messages") {
            Some(messages) => messages.as_object().ok_or("\"messages\" is no JSON object")?,
            None => &Map::new(),
        };
        let mut read = Vec::new();
        let mut others = BTreeSet::new();
        for (name, message) in messages {
            match Message::from_name(name.as_bytes()) {
                Some(known) => {
                    let parts = MessageTypes::read(&mut schemas, message, space);
                    read.push((known, parts.map_err(|error| format!("message {name}: {error}"))?));
                }
                None => {
                    others.insert(name.as_str().into());
                }
            }
        }
        let schemas = Arc::new(schemas);
        let mut declared = |wanted: Message| {
            let at = read.iter().position(|(known, _)| *known == wanted)?;
            Some(read.swap_remove(at).1.resolve(&schemas, wanted))
        };
        Ok(Self {
            append: declared(Message::Append),
            append_batch: declared(Message::AppendBatch),
            others,
        })
    }

    fn declared(&self, message: Message) -> Option<&Declared> {
        match message {
            Message::Append => self.append.as_ref(),
            Message::AppendBatch => self.append_batch.as_ref(),
        }
    }

    /// Whether the protocol has this message.
    pub fn has(&self, name: &[u8]) -> bool {
        match Message::from_name(name) {
            Some(message) => self.declared(message).is_some(),
            None => std::str::from_utf8(name).is_ok_and(|name| self.others.contains(name)),
        }
    }

    /// Whether the message asks for no answer.
    pub fn is_one_way(&self, message: Message) -> bool {
        self.declared(message).is_some_and(|declared| declared.one_way)
    }

    /// Reads the parameters of a call of this protocol, which stand in `payload` from `offset` on.
    pub fn read_parameters(
        &self,
        message: Message,
        payload: &Bytes,
        offset: usize,
        limits: EventLimits,
    ) -> Result<Batch, EventsError> {
        match self.declared(message).map(|declared| &declared.request) {
            Some(Request::Own) => collect(payload, offset, limits, &Own(message)),
            Some(Request::Planned(plan)) => collect(payload, offset, limits, plan),
            Some(Request::Unresolvable(text)) => Err(EventsError::Schema(text.clone())),
            None => Err(EventsError::Schema(format!("no message {}", message.name()))),
        }
    }

    /// What the `index`-th symbol of a message's response stands for, or `None` if it is not one of Flume's.
    pub fn status(&self, message: Message, index: i64) -> Result<Option<Status>, ProtocolError> {
        let refuse = |text: &str| Err(ProtocolError(format!("{}: {text}", message.name())));
        let Some(declared) = self.declared(message) else {
            return refuse("no such message");
        };
        match &declared.statuses {
            Ok(statuses) => Ok(usize::try_from(index)
                .ok()
                .and_then(|at| statuses.get(at).copied().flatten())),
            Err(text) => refuse(text),
        }
    }
}

struct Own(Message);

impl EventReader for Own {
    fn read<S: EventSink>(&self, data: &mut Datum<'_>, sink: &mut S) -> Result<(), EventsError> {
        match self.0 {
            Message::Append => OwnEvent.read(data, sink),
            Message::AppendBatch => OwnEvents.read(data, sink),
        }
    }
}

/// The types of one message, before resolution.
struct MessageTypes {
    request: Type,
    response: usize,
    one_way: bool,
}

impl MessageTypes {
    fn read(schemas: &mut Schemas, message: &Value, space: &str) -> Result<Self, String> {
        let request = message
            .get("request")
            .and_then(Value::as_array)
            .ok_or("no request specified")?;
        let request = schemas.read_fields(request, space, 0)?;
        let null = Value::String("null".into());
        let response = schemas.read(message.get("response").unwrap_or(&null), space, 0)?;
        let one_way = message.get("one-way").and_then(Value::as_bool).unwrap_or(false);
        Ok(Self {
            request,
            response,
            one_way,
        })
    }

    fn resolve(self, schemas: &Arc<Schemas>, message: Message) -> Declared {
        let wanted = match message {
            Message::Append => Wanted::Event,
            Message::AppendBatch => Wanted::Events,
        };
        let request = match Plan::resolve(schemas, &self.request, wanted) {
            Ok(plan) if plan.is_own() => Request::Own,
            Ok(plan) => Request::Planned(plan),
            Err(text) => Request::Unresolvable(text),
        };
        let statuses = match schemas.get(self.response) {
            Type::Enum(symbols) => Ok(symbols.iter().map(|symbol| Status::from_symbol(symbol)).collect()),
            _ => Err("the response is no enum".to_owned()),
        };
        Declared {
            request,
            statuses,
            one_way: self.one_way,
        }
    }
}

/// Foreign protocols that clients have introduced, shared by the connections of one source.
///
/// Java keeps every text under the hash its sender claims, without bound and without check. Here the hash must be
/// that of the text, and the least recently used go when there are more than [`Self::ENTRIES_MAX`] or their texts
/// have more than [`Self::TEXTS_BYTES_MAX`] bytes: a client that is forgotten introduces itself again.
#[derive(Debug, Default)]
pub struct ProtocolCache {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    entries: BTreeMap<Hash, Entry>,
    text_bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    protocol: Arc<Protocol>,
    text_bytes: usize,
    last_use: u64,
}

impl ProtocolCache {
    /// Protocols held, besides Flume's own.
    pub const ENTRIES_MAX: usize = 1_000;
    /// Bytes of the texts of the protocols held, which bound the memory they take.
    pub const TEXTS_BYTES_MAX: usize = 16 << 20;

    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Protocols held.
    pub fn len(&self) -> usize {
        self.with(|held| held.entries.len())
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The protocol of this hash.
    pub fn find(&self, hash: &Hash) -> Option<Arc<Protocol>> {
        self.with(|held| {
            held.uses += 1;
            let entry = held.entries.get_mut(hash)?;
            entry.last_use = held.uses;
            Some(Arc::clone(&entry.protocol))
        })
    }

    /// Parses a text and, if its hash is the one claimed, keeps the protocol for others.
    pub fn introduce(&self, claimed: &Hash, text: &[u8]) -> Result<Arc<Protocol>, ProtocolError> {
        let protocol = Arc::new(Protocol::parse(text)?);
        if hash_of(text) == *claimed {
            self.with(|held| held.insert(*claimed, Arc::clone(&protocol), text.len()));
        }
        Ok(protocol)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Held) -> T) -> T {
        act(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    fn insert(&mut self, hash: Hash, protocol: Arc<Protocol>, text_bytes: usize) {
        self.uses += 1;
        let entry = Entry {
            protocol,
            text_bytes,
            last_use: self.uses,
        };
        self.text_bytes += text_bytes;
        if let Some(old) = self.entries.insert(hash, entry) {
            self.text_bytes -= old.text_bytes;
        }
        while self.entries.len() > ProtocolCache::ENTRIES_MAX
            || self.text_bytes > ProtocolCache::TEXTS_BYTES_MAX
        {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, entry)| entry.last_use)
                .map(|(hash, _)| *hash);
            let Some(entry) = oldest.and_then(|hash| self.entries.remove(&hash)) else {
                return;
            };
            self.text_bytes -= entry.text_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_DOC: &str = include_str!("../../vectors/avro/protocol_no_doc.avpr");
    const STRIPPED: &str = include_str!("../../vectors/avro/protocol_stripped_doc.avpr");

    fn hex(hash: Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn is_own(text: &str) -> bool {
        let protocol = Protocol::parse(text.as_bytes()).unwrap();
        [&protocol.append, &protocol.append_batch]
            .map(|d| matches!(d.as_ref().unwrap().request, Request::Own))
            == [true; 2]
    }

    #[test]
    fn the_texts_have_the_lengths_and_hashes_seen_in_released_builds() {
        assert_eq!(OWN_TEXT.len(), 1334);
        assert_eq!(hash_of(OWN_TEXT.as_bytes()), OWN_HASH);
        assert_eq!(hex(OWN_HASH), "86aadae2c45474c0fe93ffd0f2350a65");
        assert_eq!((STRIPPED.len(), NO_DOC.len()), (1289, 509));
        assert_eq!(
            hex(hash_of(STRIPPED.as_bytes())),
            "8076c53714e01f6e2c1deb9544e7b1fe"
        );
        assert_eq!(
            hex(hash_of(NO_DOC.as_bytes())),
            "30da54059df72d9584b867d5202e2069"
        );
    }

    #[test]
    fn texts_that_differ_in_docs_and_namespace_are_read_by_the_fast_path() {
        assert!(is_own(OWN_TEXT) && is_own(STRIPPED) && is_own(NO_DOC));
        assert!(is_own(
            &OWN_TEXT.replace("org.apache.flume.source.avro", "shaded.flume")
        ));
        assert!(is_own(
            &NO_DOC.replace("\"values\":\"string\"", "\"values\":\"bytes\"")
        ));
        let more = NO_DOC.replace("\"fields\":[", "\"fields\":[{\"name\":\"x\",\"type\":\"int\"},");
        assert!(!is_own(&more));
    }

    #[test]
    fn symbols_of_a_foreign_status_are_matched_by_name() {
        let text = NO_DOC.replace(r#"["OK","FAILED","UNKNOWN"]"#, r#"["FAILED","BUSY","OK"]"#);
        let protocol = Protocol::parse(text.as_bytes()).unwrap();
        let status = |index| protocol.status(Message::AppendBatch, index).unwrap();
        assert_eq!(
            [0, 1, 2, 3, -1].map(status),
            [Some(Status::Failed), None, Some(Status::Ok), None, None]
        );
    }

    #[test]
    fn unusable_texts_say_why() {
        for (text, expected) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("[]", "a protocol is a JSON object"),
            ("{}", "no protocol name specified"),
            (
                r#"{"protocol":"P","messages":{"append":{}}}"#,
                "message append: no request specified",
            ),
            (
                r#"{"protocol":"P","namespace":"n","types":["T"]}"#,
                "undefined name: n.T",
            ),
        ] {
            assert_eq!(
                Protocol::parse(text.as_bytes()).unwrap_err().to_string(),
                expected
            );
        }
        let deep = "[".repeat(100_000);
        assert!(Protocol::parse(deep.as_bytes()).is_err());
        assert!(
            Protocol::parse(&vec![b' '; TEXT_BYTES_MAX + 1])
                .unwrap_err()
                .to_string()
                .contains("1048577 bytes")
        );
    }

    #[test]
    fn a_text_is_shared_only_under_its_own_hash() {
        let cache = ProtocolCache::new();
        assert!(cache.introduce(&[7; 16], NO_DOC.as_bytes()).is_ok());
        assert!(cache.find(&[7; 16]).is_none());
        let hash = hash_of(NO_DOC.as_bytes());
        assert!(cache.introduce(&hash, NO_DOC.as_bytes()).is_ok());
        assert!(cache.find(&hash).is_some());
    }

    #[test]
    fn the_cache_forgets_what_was_not_used_for_longest() {
        let cache = ProtocolCache::new();
        let text = |n: usize| format!(r#"{{"protocol":"P{n}"}}"#);
        let hash = |n: usize| hash_of(text(n).as_bytes());
        for n in 0..=ProtocolCache::ENTRIES_MAX {
            cache.introduce(&hash(n), text(n).as_bytes()).unwrap();
            assert!(cache.find(&hash(0)).is_some());
        }
        assert_eq!(cache.len(), ProtocolCache::ENTRIES_MAX);
        assert!(cache.find(&hash(1)).is_none() && cache.find(&hash(2)).is_some());
        let padded = |n: usize| text(n) + &" ".repeat(TEXT_BYTES_MAX - 100);
        for n in 0..40 {
            cache
                .introduce(&hash_of(padded(n).as_bytes()), padded(n).as_bytes())
                .unwrap();
        }
        assert_eq!(cache.len(), 16);
    }
}
