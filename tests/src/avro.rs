//! An Avro RPC client for the protocol of Flume's avro source, and raw connections for hostile input.
//!
//! Written by hand from `flume/wire.md` 1.2 to 1.9, and on purpose without the crate `proto`: if both ends shared a
//! codec, a mistake in it would cancel out. It blocks, and knows just what tests need: a handshake with Flume's own
//! hash, `append`, `appendBatch`, and answers cut into any number of buffers.
//!
//! ```text
//! frame    = serial i32 | buffers i32 | then per buffer: length i32 | bytes           big-endian
//! message  = the buffers, one after another
//! request  = [handshake] | 00 no metadata | name | parameters
//! response = [handshake] | 00 no metadata | 00 status, or 01 00 text of an error
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::wait;

/// MD5 of the protocol text of every released Flume (wire.md 1.5).
pub const HASH: [u8; 16] = [
    0x86, 0xaa, 0xda, 0xe2, 0xc4, 0x54, 0x74, 0xc0, 0xfe, 0x93, 0xff, 0xd0, 0xf2, 0x35, 0x0a, 0x65,
];

/// A response beyond this is a mistake.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Headers and body.
pub type Event<'a> = (&'a [(&'a str, &'a str)], &'a [u8]);

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Stored.
    Ok,
    /// The channel refused.
    Failed,
    /// Flume never says so.
    Unknown,
    /// A system error, with its text.
    Error(String),
}

/// A frame as it came, its buffers put together: where one ends and the next begins means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The number of the call.
    pub serial: i32,
    /// The concatenation of its buffers.
    pub message: Vec<u8>,
}

impl Frame {
    /// A frame of a vector in hexadecimal.
    ///
    /// # Panics
    /// When it is not exactly one whole frame.
    #[track_caller]
    pub fn of_hex(hex: &str) -> Self {
        let bytes = unhex(hex);
        let mut rest = bytes.as_slice();
        let frame = read_frame(&mut rest).expect("a vector is one whole frame");
        assert!(rest.is_empty(), "bytes after the frame: {}", hex_of(rest));
        frame
    }
}

/// A raw connection to a port of the loopback interface.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Connects once.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(wait::LIVENESS))?;
        Ok(Self { stream })
    }

    /// Connects as soon as somebody listens.
    ///
    /// # Panics
    /// When nobody does within 30 seconds.
    #[track_caller]
    pub fn open_when_up(port: u16) -> Self {
        let what = format!("a listener on port {port}");
        wait::until(&what, wait::LIVENESS, || Self::open(port).ok())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the other side has closed.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more comes from here.
    pub fn close_writing(&mut self) {
        // It may be closed already, which is all the better.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When the other side closes, or sends something else.
    pub fn receive(&mut self) -> io::Result<Frame> {
        self.stream.set_read_timeout(Some(wait::LIVENESS))?;
        read_frame(&mut self.stream)
    }

    /// Everything that comes until the other side closes; None when it has not within the limit.
    pub fn bytes_until_closed(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let start = Instant::now();
        let mut bytes = Vec::new();
        let mut part = [0; 4096];
        loop {
            let left = limit
                .checked_sub(start.elapsed())
                .filter(|left| !left.is_zero())?;
            // An error here means that the socket is gone, which the read tells as well.
            let _ = self.stream.set_read_timeout(Some(left));
            match self.stream.read(&mut part) {
                Ok(0) => return Some(bytes),
                Ok(read) => bytes.extend_from_slice(&part[..read]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return None,
                    ErrorKind::Interrupted => {}
                    // Reset: the other side closed while bytes of ours were still unread.
                    _ => return Some(bytes),
                },
            }
        }
    }
}

/// A client that behaves.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    serial: i32,
    /// Whether the handshake is done.
    is_connected: bool,
}

impl Client {
    /// Connects as soon as somebody listens.
    ///
    /// # Panics
    /// When nobody does within 30 seconds.
    #[track_caller]
    pub fn open_when_up(port: u16) -> Self {
        Self {
            connection: Connection::open_when_up(port),
            serial: 0,
            is_connected: false,
        }
    }

    /// Sends one event by `append`.
    ///
    /// # Errors
    /// When the connection fails or the answer is not understood.
    pub fn append(&mut self, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
        self.call("append", &event((headers, body)))
    }

    /// Sends events by `appendBatch`.
    ///
    /// # Errors
    /// When the connection fails or the answer is not understood.
    pub fn append_batch(&mut self, events: &[Event<'_>]) -> io::Result<Reply> {
        self.call("appendBatch", &array(events))
    }

    fn call(&mut self, name: &str, parameters: &[u8]) -> io::Result<Reply> {
        self.serial += 1;
        let mut start = if self.is_connected {
            Vec::new()
        } else {
            handshake()
        };
        start.push(0);
        start.extend(string(name.as_bytes()));
        self.connection.send(&frame(self.serial, &[&start, parameters]))?;
        let answer = self.connection.receive()?;
        if answer.serial != self.serial {
            return Err(invalid(&format!("serial {} for {}", answer.serial, self.serial)));
        }
        let mut rest = Datum(&answer.message);
        if !self.is_connected {
            rest.handshake()?;
            self.is_connected = true;
        }
        rest.reply()
    }
}

/// A frame of these buffers.
pub fn frame(serial: i32, buffers: &[&[u8]]) -> Vec<u8> {
    let length = |bytes: &[u8]| {
        i32::try_from(bytes.len())
            .expect("tests send small buffers")
            .to_be_bytes()
    };
    let count = i32::try_from(buffers.len()).expect("tests send few buffers");
    let mut bytes = serial.to_be_bytes().to_vec();
    bytes.extend(count.to_be_bytes());
    for buffer in buffers {
        bytes.extend(length(buffer));
        bytes.extend_from_slice(buffer);
    }
    bytes
}

/// A call of `append` on a connection whose handshake is done.
pub fn append_frame(serial: i32, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut start = vec![0];
    start.extend(string(b"append"));
    frame(serial, &[&start, &event((headers, body))])
}

/// The bytes of hexadecimal text.
///
/// # Panics
/// When it is something else.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .map(|digit| digit.to_digit(16).expect("hexadecimal digits"))
        .collect();
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).expect("two digits make a byte"),
        _ => panic!("half a byte in {text}"),
    });
    bytes.collect()
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_frame(input: &mut impl Read) -> io::Result<Frame> {
    let mut number = || -> io::Result<i32> {
        let mut bytes = [0; 4];
        input.read_exact(&mut bytes)?;
        Ok(i32::from_be_bytes(bytes))
    };
    let (serial, buffers) = (number()?, number()?);
    let mut message = Vec::new();
    for _ in 0..buffers {
        let mut bytes = [0; 4];
        input.read_exact(&mut bytes)?;
        let length = usize::try_from(i32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
        if length > MESSAGE_BYTES_MAX - message.len() {
            return Err(invalid(&format!("a buffer of {length} bytes")));
        }
        let start = message.len();
        message.resize(start + length, 0);
        input.read_exact(&mut message[start..])?;
    }
    Ok(Frame { serial, message })
}

/// Own hash, no text, own hash, no metadata written as Java does: an empty map.
fn handshake() -> Vec<u8> {
    let mut bytes = HASH.to_vec();
    bytes.push(0);
    bytes.extend(HASH);
    bytes.extend([2, 0]);
    bytes
}

fn event((headers, body): Event<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !headers.is_empty() {
        bytes.extend(count(headers.len()));
        for (key, value) in headers {
            bytes.extend(string(key.as_bytes()));
            bytes.extend(string(value.as_bytes()));
        }
    }
    bytes.push(0);
    bytes.extend(string(body));
    bytes
}

fn array(events: &[Event<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !events.is_empty() {
        bytes.extend(count(events.len()));
        bytes.extend(events.iter().flat_map(|one| event(*one)));
    }
    bytes.push(0);
    bytes
}

fn string(value: &[u8]) -> Vec<u8> {
    let mut bytes = count(value.len());
    bytes.extend_from_slice(value);
    bytes
}

fn count(value: usize) -> Vec<u8> {
    long(i64::try_from(value).expect("a length in memory fits"))
}

/// Zig-zag, then groups of seven bits, the lowest first.
fn long(value: i64) -> Vec<u8> {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while left > 0x7f {
        bytes.push(left.to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    bytes.push(left.to_le_bytes()[0]);
    bytes
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// What is left of a message.
struct Datum<'a>(&'a [u8]);

impl Datum<'_> {
    fn byte(&mut self) -> io::Result<u8> {
        let (first, rest) = self.0.split_first().ok_or_else(|| invalid("a short message"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn bytes(&mut self, length: usize) -> io::Result<&[u8]> {
        let (bytes, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| invalid("a short message"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn long(&mut self) -> io::Result<i64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(invalid("a number of more than ten bytes"))
    }

    fn string(&mut self) -> io::Result<String> {
        let length = usize::try_from(self.long()?).map_err(|_| invalid("a negative length"))?;
        Ok(String::from_utf8_lossy(self.bytes(length)?).into_owned())
    }

    /// Match BOTH or CLIENT, with or without the server's own text and hash.
    fn handshake(&mut self) -> io::Result<()> {
        let matched = self.byte()?;
        if self.byte()? == 2 {
            self.string()?;
        }
        if self.byte()? == 2 {
            self.bytes(HASH.len())?;
        }
        let metadata = self.byte()?;
        match (matched, metadata) {
            (0 | 2, 0) => Ok(()),
            _ => Err(invalid(&format!(
                "handshake with match {matched}, metadata {metadata}"
            ))),
        }
    }

    /// All that is left must be one answer.
    fn reply(&mut self) -> io::Result<Reply> {
        let reply = match (self.byte()?, self.byte()?, self.byte()?) {
            (0, 0, 0) => Reply::Ok,
            (0, 0, 2) => Reply::Failed,
            (0, 0, 4) => Reply::Unknown,
            (0, 1, 0) => Reply::Error(self.string()?),
            other => return Err(invalid(&format!("an answer that starts with {other:?}"))),
        };
        if self.0.is_empty() {
            Ok(reply)
        } else {
            Err(invalid(&format!("{} bytes after the answer", self.0.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// Vectors of wire.md 1.15.
    const A1: &str = "00000001000000020000002b86aadae2c45474c0fe93ffd0f2350a650086aadae2c45474c0fe93ffd0f2350a650200000c617070656e640000000c0202610262000a68656c6c6f";
    const A1_REPLY: &str = "000000010000000300000004000000000000000100000000020000";
    const A2: &str = "000000020000000200000008000c617070656e64000000020000";
    const A3: &str = "00000003000000020000000d0016617070656e6442617463680000000d04000278020261026200027900";
    const A6_REPLY: &str = "000000030000000300000000000000010000000048010088016f72672e6170616368652e6176726f2e4176726f52756e74696d65457863657074696f6e3a204e6f20737563682072656d6f7465206d6573736167653a206e6f73756368";

    /// Runs a client against a peer that gives these answers; returns what the peer was sent.
    fn sent(answers: &[&str], client: impl FnOnce(&mut Client)) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers: Vec<Vec<u8>> = answers.iter().map(|answer| unhex(answer)).collect();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&answers.concat()).unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            hex_of(&bytes)
        });
        client(&mut Client::open_when_up(port));
        server.join().unwrap()
    }

    #[test]
    fn the_first_calls_are_flumes_own_bytes() {
        let bytes = sent(
            &[
                A1_REPLY,
                "0000000200000003000000000000000100000000020002",
                "000000030000000100000003000004",
            ],
            |client| {
                assert_eq!(client.append(&[("a", "b")], b"hello").unwrap(), Reply::Ok);
                assert_eq!(client.append(&[], b"").unwrap(), Reply::Failed);
                let batch: [Event<'_>; 2] = [(&[], b"x"), (&[("a", "b")], b"y")];
                assert_eq!(client.append_batch(&batch).unwrap(), Reply::Unknown);
            },
        );
        assert_eq!(bytes, [A1, A2, A3].concat());
    }

    #[test]
    fn a_system_error_is_told_with_its_text() {
        let mut datum = Frame::of_hex(A6_REPLY).message;
        let text = "org.apache.avro.AvroRuntimeException: No such remote message: nosuch";
        assert_eq!(Datum(&datum).reply().unwrap(), Reply::Error(text.to_owned()));
        datum.push(0);
        assert!(Datum(&datum).reply().is_err(), "nothing may follow");
    }

    #[test]
    fn a_foreign_serial_is_no_answer() {
        sent(
            &["000000020000000100000007000000000000 00"
                .replace(' ', "")
                .as_str()],
            |client| {
                let error = client.append(&[], b"").unwrap_err();
                assert_eq!(error.to_string(), "serial 2 for 1");
            },
        );
    }

    #[test]
    fn buffers_may_be_cut_anywhere() {
        let one = Frame::of_hex(
            "000000010000000100000007000000000000 00"
                .replace(' ', "")
                .as_str(),
        );
        assert_eq!(one, Frame::of_hex(A1_REPLY));
    }

    #[test]
    fn numbers_survive_a_round_trip() {
        for (value, hex) in [(0, "00"), (-1, "01"), (1, "02"), (64, "8001"), (1334, "ec14")] {
            assert_eq!(hex_of(&long(value)), hex);
        }
        for value in [0, -1, 63, 64, i64::MAX, i64::MIN] {
            assert_eq!(Datum(&long(value)).long().unwrap(), value);
        }
    }

    #[test]
    fn pipelined_calls_look_like_calls() {
        assert_eq!(hex_of(&append_frame(2, &[], b"")), A2);
    }

    #[test]
    fn a_closed_connection_is_told_from_a_silent_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection::open(listener.local_addr().unwrap().port()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        assert_eq!(connection.bytes_until_closed(Duration::from_millis(20)), None);
        peer.write_all(b"bye").unwrap();
        drop(peer);
        assert_eq!(
            connection.bytes_until_closed(wait::LIVENESS),
            Some(b"bye".to_vec())
        );
    }
}
