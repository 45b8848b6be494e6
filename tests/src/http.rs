//! HTTP on the loopback interface: pages of metrics and health, and events for http sources.
//!
//! A page is asked for on a connection of its own, so the answer is what comes until the end; chunks are put together.
//! A [`Connection`] carries many requests, for servers whose answers have a length.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use serde_json::Value;

use crate::wait;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// Decoded text.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Asks for a page once.
///
/// # Errors
/// When nobody listens, or what comes back is not HTTP.
pub fn get(port: u16, path: &str) -> io::Result<Answer> {
    let mut stream = connect(port)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// Asks for a page until its answer is as wanted, and returns that.
///
/// # Panics
/// When it is not within 30 seconds.
#[track_caller]
pub fn get_until(port: u16, path: &str, what: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    wait::until(&format!("{path}: {what}"), wait::LIVENESS, || {
        get(port, path).ok().filter(|answer| wanted(answer))
    })
}

/// Waits for Flume's JSON metrics to be as wanted, and returns them.
///
/// # Panics
/// When they are not within 30 seconds.
#[track_caller]
pub fn metrics_until(port: u16, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let ready = |answer: &Answer| answer.status == 200 && wanted(&answer.json());
    get_until(port, "/metrics", what, ready).json()
}

/// Posts a body once, on a connection of its own.
///
/// # Errors
/// As [`get`].
pub fn post(port: u16, content_type: &str, body: impl AsRef<[u8]>) -> io::Result<Answer> {
    Connection::open(port)?.post("/", content_type, body)
}

/// How `curl -d` calls what it sends.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// Posts events as JSON, each with its headers, to an http source as soon as it listens.
///
/// # Panics
/// When it does not within 30 seconds, or the answer is not 200.
#[track_caller]
pub fn post_events(port: u16, events: &[(&[(&str, &str)], &str)]) {
    let event = |(headers, body): &(&[(&str, &str)], &str)| {
        let headers: serde_json::Map<String, Value> = headers
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).into()))
            .collect();
        serde_json::json!({ "headers": headers, "body": body })
    };
    let body = Value::Array(events.iter().map(event).collect()).to_string();
    let answer = Connection::open_when_up(port).post("/", FORM, body);
    let answer = answer.unwrap_or_else(|error| panic!("port {port}: {error}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// The bytes of a POST.
pub fn post_request(path: &str, content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A connection for many requests.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn open(port: u16) -> io::Result<Self> {
        Ok(Self {
            stream: connect(port)?,
            received: Vec::new(),
        })
    }

    /// Connects as soon as somebody listens.
    ///
    /// # Panics
    /// When nobody does within 30 seconds.
    #[track_caller]
    pub fn open_when_up(port: u16) -> Self {
        wait::until(&format!("a listener on port {port}"), wait::LIVENESS, || {
            Self::open(port).ok()
        })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the other side has closed.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Posts a body and waits for the answer.
    ///
    /// # Errors
    /// When the other side closes before it has answered, or what comes is not HTTP.
    pub fn post(&mut self, path: &str, content_type: &str, body: impl AsRef<[u8]>) -> io::Result<Answer> {
        self.send(post_request(path, content_type, body))?;
        self.answer()
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// As [`post`](Self::post).
    pub fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((answer, length)) = first_answer(&self.received) {
                self.received.drain(..length);
                return Ok(answer);
            }
            let mut piece = [0; 4096];
            let read = self.stream.read(&mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.extend_from_slice(&piece[..read]);
        }
    }

    /// Waits for the other side to close and returns what it still said.
    ///
    /// # Panics
    /// When it does not within 30 seconds.
    #[track_caller]
    pub fn until_closed(mut self) -> String {
        let mut rest = self.received;
        match self.stream.read_to_end(&mut rest) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("not closed, but {:?}", String::from_utf8_lossy(&rest))
            }
            _ => String::from_utf8_lossy(&rest).into_owned(),
        }
    }
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    stream.set_read_timeout(Some(wait::LIVENESS))?;
    Ok(stream)
}

/// An answer with a length or in chunks, if all of it is there, and its bytes.
fn first_answer(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = if head.contains("transfer-encoding: chunked") {
        chunked_length(&bytes[end..])?
    } else {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
    };
    Some((parse(bytes.get(..end + length)?)?, end + length))
}

/// Bytes of all chunks, without trailers.
fn chunked_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes[at..].windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        at += line + 2 + size + 2;
        if at > bytes.len() {
            return None;
        }
        if size == 0 {
            return Some(at);
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let rest = &bytes[end + 4..];
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { joined(rest)? } else { rest.to_vec() };
    Some(Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// Chunks put together.
fn joined(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let chunk = rest.get(end + 2..)?.split_at_checked(size)?;
        body.extend_from_slice(chunk.0);
        rest = chunk.1.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    fn check(text: &str, expected: Option<(u16, &str)>) {
        let found = parse(text.as_bytes());
        let found = found.as_ref().map(|answer| (answer.status, answer.body.as_str()));
        assert_eq!(found, expected);
    }

    #[test]
    fn answers_are_read_with_and_without_chunks() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            Some((200, "{}")),
        );
        check("HTTP/1.0 503 Service Unavailable\r\n\r\n", Some((503, "")));
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\nb;x=y\r\n \"a\": \"b\"} \r\n0\r\n\r\n",
            Some((200, "{ \"a\": \"b\"} ")),
        );
    }

    #[test]
    fn answers_on_one_connection_are_told_apart() {
        let both =
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
        let (first, length) = first_answer(both).unwrap();
        assert_eq!((first.status, first.body.as_str()), (200, "ok"));
        let (second, rest) = first_answer(&both[length..]).unwrap();
        assert_eq!((second.status, length + rest), (503, both.len()));
        assert!(first_answer(&both[..length - 1]).is_none());
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nHTTP/1.1 200";
        let (answer, length) = first_answer(chunked).unwrap();
        assert_eq!(
            (answer.body.as_str(), &chunked[length..]),
            ("a", &b"HTTP/1.1 200"[..])
        );
        assert!(first_answer(&chunked[..length - 1]).is_none());
    }

    #[test]
    fn half_an_answer_is_none() {
        check("HTTP/1.1 200 OK\r\n", None);
        check("ICY 200 OK\r\n\r\n", None);
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
            None,
        );
    }

    #[test]
    fn a_page_is_asked_for_by_its_path() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"a\":\"1\"}").unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let answer = get(port, "/metrics").unwrap();
        assert_eq!((answer.status, answer.json()["a"].as_str()), (200, Some("1")));
        assert!(server.join().unwrap().starts_with("GET /metrics HTTP/1.1\r\n"));
        assert!(get(port, "/metrics").is_err(), "nobody listens any more");
    }
}
