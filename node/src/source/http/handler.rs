//! What a request holds: the `handler` of the source. Pure: a head and a body in, a batch or a refusal out.

use super::body::Share;
use crate::component::keys::{Keys, Severity, nearest};
use crate::java::charset::Charset;
use flate2::read::MultiGzDecoder;
use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use hyper::http::request::Parts;
use proto::event::{Batch, BatchBuilder, EventError, EventLimits, IndexBuilder};
use proto::json::read_events;
use std::borrow::Cow;
use std::io::Read;

/// Which handler, and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    /// `org.apache.flume.source.http.JSONHandler`: a list of events; see [`proto::json`].
    Json,
    /// `org.apache.flume.source.http.BLOBHandler`: the body is the event's body, the parameters of the query are its
    /// headers.
    Blob {
        /// `handler.mandatoryParameters`: who lacks one of these is refused; default none.
        mandatory: Vec<String>,
    },
    /// `org.apache.flume.sink.solr.morphline.BlobHandler`: as `Blob`, with the `Content-Type` among the headers; the
    /// fields of a form are headers and its body is empty.
    CutBlob {
        /// `handler.maxBlobLength`: bytes; the rest is cut off; default 100,000,000.
        bytes_max: usize,
    },
}

const JSON: &str = "org.apache.flume.source.http.JSONHandler";
const BLOB: &str = "org.apache.flume.source.http.BLOBHandler";
const CUT_BLOB: &str = "org.apache.flume.sink.solr.morphline.BlobHandler";

impl Handler {
    /// Reads `handler` and what stands below it.
    pub fn read(keys: &mut Keys) -> Self {
        let class = keys.text("handler").unwrap_or_else(|| JSON.to_owned());
        let mut below = keys.below("handler.");
        let handler = match class.as_str() {
            JSON => Self::Json,
            BLOB => {
                let list = below.text("mandatoryParameters").unwrap_or_default();
                let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
                Self::Blob {
                    mandatory: names.map(str::to_owned).collect(),
                }
            }
            CUT_BLOB => Self::CutBlob {
                bytes_max: below.number("maxBlobLength", 100_000_000, 1..=i32::MAX as usize),
            },
            other => {
                let (code, message) = unknown(other);
                keys.note(Severity::Error, "handler", code, message);
                return Self::Json;
            }
        };
        keys.absorb(below);
        handler
    }

    /// How much of a body is kept, by those who cut.
    pub fn kept_bytes_max(&self) -> Option<usize> {
        match self {
            Self::CutBlob { bytes_max } => Some(*bytes_max),
            _ => None,
        }
    }
}

fn unknown(class: &str) -> (&'static str, String) {
    let known = [JSON, BLOB, CUT_BLOB];
    let simple = |name: &'static str| name.rsplit('.').next().unwrap_or(name);
    let meant = nearest(class, known.into_iter()).or_else(|| {
        let last = class.rsplit('.').next().unwrap_or(class);
        known
            .into_iter()
            .find(|name| simple(name).eq_ignore_ascii_case(last))
    });
    let foreign = class.contains('.') && !class.starts_with("org.apache.flume.");
    let (code, hint) = match meant {
        Some(meant) => ("unknown-type", format!("; did you mean \"{meant}\"?")),
        None if foreign => (
            "java-class",
            "; it is a Java class of somebody else's, and no Java runs here".to_owned(),
        ),
        None => ("unknown-type", format!("; there are {}", known.join(", "))),
    };
    (code, format!("\"{class}\" is no handler that is known{hint}"))
}

/// A request that the handler does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Not what it reads.
    Bad(String),
    /// Compressed in a way that it does not know.
    Encoding(String),
    /// More than this many bytes when inflated.
    TooLarge(usize),
    /// Others have the memory that it needs when inflated.
    Memory(String),
    /// Anything else.
    Unexpected(String),
}

impl Refused {
    /// As Flume answers it.
    pub fn answer(&self) -> (StatusCode, String) {
        match self {
            Self::Bad(reason) => (
                StatusCode::BAD_REQUEST,
                format!("Bad request from client. {reason}"),
            ),
            Self::Encoding(name) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "Bad request from client. Content-Encoding {name} is not known; allowed are gzip and identity"
                ),
            ),
            Self::TooLarge(max) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("Request body exceeds maxRequestBytes = {max} when inflated"),
            ),
            Self::Memory(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason.clone()),
            Self::Unexpected(reason) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("Deserializer threw unexpected exception. {reason}"),
            ),
        }
    }
}

/// Bytes that are inflated between two looks at the limits.
const INFLATE_BYTES: u64 = 64 << 10;

/// The handler at work.
#[derive(Debug)]
pub struct Take {
    handler: Handler,
    limits: EventLimits,
    inflated_bytes_max: usize,
}

impl Take {
    /// For bodies of at most so many bytes.
    pub fn new(handler: Handler, max_request_bytes: usize) -> Self {
        let limits = EventLimits::default();
        let kept = handler.kept_bytes_max().unwrap_or(max_request_bytes);
        Self {
            handler,
            limits: EventLimits {
                body_bytes: limits.body_bytes.max(kept),
                ..limits
            },
            inflated_bytes_max: max_request_bytes,
        }
    }

    /// The events of a request. What its body takes when inflated is counted in `share`.
    pub fn events(&self, head: &Parts, body: Vec<u8>, share: &mut Share) -> Result<Batch, Refused> {
        match &self.handler {
            Handler::Json => self.json(head, body, share),
            Handler::Blob { mandatory } => {
                let parameters = Parameters::of(head.uri.query().unwrap_or_default());
                for name in mandatory {
                    if !parameters.0.iter().any(|(key, _)| key == name) {
                        let reason = format!("Please specify {name} parameter in the request.");
                        return Err(Refused::Unexpected(reason));
                    }
                }
                self.blob(&parameters, body)
            }
            Handler::CutBlob { .. } => {
                let mut parameters = Parameters::of(head.uri.query().unwrap_or_default());
                let mut body = body;
                let content_type = text(head, &CONTENT_TYPE);
                if let Some(content_type) = content_type {
                    if is_form(content_type) {
                        parameters.add(&String::from_utf8_lossy(&body));
                        body.clear();
                    }
                    parameters.set("Content-Type", content_type);
                }
                self.blob(&parameters, body)
            }
        }
    }

    fn json(&self, head: &Parts, body: Vec<u8>, share: &mut Share) -> Result<Batch, Refused> {
        let charset = charset(head)?;
        let body = self.decompressed(head, body, share)?;
        let read = |text| {
            read_events(text, self.limits)
                .map_err(|error| Refused::Bad(format!("Request has invalid JSON Syntax. {error}")))
        };
        if charset == Charset::Utf8 {
            return read(body);
        }
        let text = charset.decode(&body).into_owned();
        drop(body);
        self.encoded(&read(text.into_bytes())?, charset)
    }

    /// The bodies in the request's own charset, as Flume stores them.
    fn encoded(&self, batch: &Batch, charset: Charset) -> Result<Batch, Refused> {
        let mut encoded = BatchBuilder::with_capacity(self.limits, batch.used_bytes());
        for event in batch.iter() {
            let body = String::from_utf8_lossy(event.body());
            encoded
                .push(event.headers(), &charset.encode(&body))
                .map_err(|error| Refused::Bad(error.to_string()))?;
        }
        Ok(encoded.finish())
    }

    fn decompressed(&self, head: &Parts, body: Vec<u8>, share: &mut Share) -> Result<Vec<u8>, Refused> {
        let name = text(head, &CONTENT_ENCODING).unwrap_or_default().trim();
        if name.is_empty() || name.eq_ignore_ascii_case("identity") {
            Ok(body)
        } else if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            self.inflated(&body, share)
        } else {
            Err(Refused::Encoding(name.to_owned()))
        }
    }

    fn inflated(&self, body: &[u8], share: &mut Share) -> Result<Vec<u8>, Refused> {
        let mut inflated = Vec::new();
        let mut reader = MultiGzDecoder::new(body);
        loop {
            let read = reader.by_ref().take(INFLATE_BYTES).read_to_end(&mut inflated);
            let read = read.map_err(|error| Refused::Bad(format!("Request is no gzip. {error}")))?;
            if inflated.len() > self.inflated_bytes_max {
                return Err(Refused::TooLarge(self.inflated_bytes_max));
            }
            if read == 0 {
                return Ok(inflated);
            }
            share
                .grow_to(body.len() + inflated.capacity())
                .map_err(|error| Refused::Memory(error.to_string()))?;
        }
    }

    /// One event. The headers go behind the body in the buffer that was received, so that the body stays where it is.
    fn blob(&self, parameters: &Parameters<'_>, mut bytes: Vec<u8>) -> Result<Batch, Refused> {
        let body = 0..bytes.len();
        let mut index = IndexBuilder::new(self.limits);
        let refused = |error: EventError| Refused::Bad(error.to_string());
        for (key, value) in &parameters.0 {
            let at = bytes.len();
            bytes.extend_from_slice(key.as_bytes());
            let value_at = bytes.len();
            bytes.extend_from_slice(value.as_bytes());
            index
                .header(at..value_at, value_at..bytes.len())
                .map_err(refused)?;
        }
        index.end(&bytes, body).map_err(refused)?;
        let pinned = bytes.capacity();
        Ok(index.finish(bytes.into()).pinning(pinned))
    }
}

fn text<'a>(head: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    std::str::from_utf8(head.headers.get(name)?.as_bytes()).ok()
}

fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The charset that a request names, else UTF-8.
fn charset(head: &Parts) -> Result<Charset, Refused> {
    let content_type = text(head, &CONTENT_TYPE).unwrap_or_default();
    let parameter = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        is_charset.then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    };
    let Some(name) = content_type.split(';').skip(1).find_map(parameter) else {
        return Ok(Charset::Utf8);
    };
    match Charset::named(&name) {
        Some(charset @ (Charset::Utf8 | Charset::Utf16 | Charset::Utf32)) => Ok(charset),
        Some(_) => Err(Refused::Unexpected(
            "JSON handler supports UTF-8, UTF-16 and UTF-32 only.".to_owned(),
        )),
        None => Err(Refused::Unexpected(name)),
    }
}

/// Names and values, the first of each name.
struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// Parameters of a request; the rest is ignored. More than an event may have headers.
const PARAMETERS_MAX: usize = 2_048;

impl<'a> Parameters<'a> {
    /// Those of a query.
    fn of(query: &'a str) -> Self {
        let mut parameters = Self(Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.first(decoded(name), decoded(value));
        }
        parameters
    }

    /// Those of a form come after those of the query.
    fn add(&mut self, form: &str) {
        for (name, value) in Parameters::of(form).0 {
            self.first(Cow::Owned(name.into_owned()), Cow::Owned(value.into_owned()));
        }
    }

    fn first(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        if self.0.len() < PARAMETERS_MAX && !self.0.iter().any(|(held, _)| *held == name) {
            self.0.push((name, value));
        }
    }

    fn set(&mut self, name: &'a str, value: &'a str) {
        self.0.retain(|(held, _)| held != name);
        self.0.push((name.into(), value.into()));
    }
}

/// `+` is a blank, `%XX` a byte of UTF-8; a `%` that begins no such thing is itself.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, behind @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
                bytes.push(digit(*high) << 4 | digit(*low));
                rest = behind;
            }
            _ => bytes.push(*byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}
