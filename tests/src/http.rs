//! GET of a page on the loopback interface, for metrics and health; POST, for the http source.
//!
//! The connection is closed after one answer, so the answer is what comes until the end; chunks are put together.

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
    ask(port, &format!("GET {path} HTTP/1.1"), "", "")
}

/// Posts a text once, as `curl -d` does it, its header of a form included.
///
/// # Errors
/// When nobody listens, or what comes back is not HTTP.
pub fn post(port: u16, path: &str, body: &str) -> io::Result<Answer> {
    let headers = format!(
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
        body.len()
    );
    ask(port, &format!("POST {path} HTTP/1.1"), &headers, body)
}

/// Posts events to an http source, each with its headers, as soon as somebody listens.
///
/// # Panics
/// When nobody does within 30 seconds, or the answer is not 200.
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
    let answer = wait::until(&format!("an http source on port {port}"), wait::LIVENESS, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some(post(port, "/", &body))
    });
    let answer = answer.unwrap_or_else(|error| panic!("port {port}: {error}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn ask(port: u16, request: &str, headers: &str, body: &str) -> io::Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(wait::LIVENESS))?;
    let head = format!("{request}\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
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
