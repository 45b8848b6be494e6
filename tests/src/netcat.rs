//! A client of the netcat source: sends a line and reads its answer, as `nc` does.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};

use crate::wait;

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects as soon as somebody listens.
    ///
    /// # Panics
    /// When nobody does within 30 seconds.
    #[track_caller]
    pub fn open_when_up(port: u16) -> Self {
        let what = format!("a listener on port {port}");
        let stream = wait::until(&what, wait::LIVENESS, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        });
        let set = stream.set_read_timeout(Some(wait::LIVENESS));
        set.and_then(|()| stream.set_nodelay(true))
            .expect("a socket takes its options");
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Sends lines, and makes sure that each of them is answered by `OK`.
    ///
    /// # Panics
    /// When one is not, or not within 30 seconds.
    #[track_caller]
    pub fn send(&mut self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let sent = self.stream.get_mut().write_all(text.as_bytes());
        sent.unwrap_or_else(|error| panic!("netcat: {error}"));
        for line in lines {
            let mut answer = String::new();
            let read = self.stream.read_line(&mut answer);
            read.unwrap_or_else(|error| panic!("netcat, {line:?}: {error}"));
            assert_eq!(answer, "OK\n", "{line:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn every_line_is_sent_and_its_answer_read() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream);
            let mut seen = Vec::new();
            for _ in 0..3 {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                lines.get_mut().write_all(b"OK\n").unwrap();
                seen.push(line);
            }
            seen
        });
        let mut client = Client::open_when_up(port);
        client.send(&["a".to_owned(), "b".to_owned()]);
        client.send(&["c".to_owned()]);
        assert_eq!(server.join().unwrap(), ["a\n", "b\n", "c\n"]);
    }
}
