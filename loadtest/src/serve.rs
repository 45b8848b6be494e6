//! The sink end: an Avro RPC server that verifies every event (`collect`) or answers without looking (`swallow`).
//!
//! It answers each connection's calls in their order. Handshakes follow Flume's algorithm: the own hash is BOTH, a
//! foreign one is NONE until the client has sent its text, then CLIENT or BOTH; the text itself is not looked into.

use crate::frames::FrameReader;
use crate::identity::Verifier;
use crate::ledger::{Ledger, SentBy, Verdict};
use crate::wire::{self, Cursor, PROTOCOL, PROTOCOL_HASH};
use anyhow::{Context as _, Result, anyhow, ensure};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Name of the server's thread.
pub const THREAD_NAME: &str = "collect";

/// Most foreign protocol hashes that are remembered.
const PROTOCOLS_MAX: usize = 1024;

/// How much a [`Server`] looks at what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every event is checked.
    Verify,
    /// Frames are delimited and answered; the first of a connection must carry the own hash.
    Swallow,
}

#[derive(Debug)]
struct Shared {
    mode: Mode,
    ledger: Mutex<Ledger>,
    calls: AtomicU64,
    bytes: AtomicU64,
    protocols: Mutex<HashSet<[u8; 16]>>,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server in a thread of its own; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Listens on a loopback address and serves.
    ///
    /// # Errors
    /// When the address is not loopback or cannot be bound.
    pub fn start(address: SocketAddr, mode: Mode) -> Result<Self> {
        ensure!(
            address.ip().is_loopback(),
            "listen {address}: only loopback addresses are allowed"
        );
        let listener =
            std::net::TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            mode,
            ledger: Mutex::default(),
            calls: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            protocols: Mutex::new(HashSet::from([PROTOCOL_HASH])),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, mut stopped) = oneshot::channel::<()>();
        let serving = shared.clone();
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    ended = accept(listener, serving) => ended,
                    _ = &mut stopped => Ok(()),
                }
            })
        };
        std::thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(work)
            .context("server thread")?;
        Ok(Self {
            shared,
            address,
            _stop: stop,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls answered so far.
    pub fn calls(&self) -> u64 {
        self.shared.calls.load(Relaxed)
    }

    /// Bytes of frames received so far.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Relaxed)
    }

    /// Different intact events so far.
    pub fn distinct(&self) -> u64 {
        self.shared.ledger().distinct()
    }

    /// See [`Ledger::verdict`].
    pub fn verdict(&self, sent: Option<&[SentBy]>) -> Verdict {
        self.shared.ledger().verdict(sent)
    }

    /// Waits until `events` different ones are in; gives up when none came for `patience`, or at `deadline`.
    pub fn wait_for(&self, events: u64, patience: Duration, deadline: Instant) {
        let (mut seen, mut since) = (0, Instant::now());
        while seen < events && since.elapsed() < patience && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
            let now = self.distinct();
            if now > seen {
                (seen, since) = (now, Instant::now());
            }
        }
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let shared = shared.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, shared).await {
                eprintln!("sink end: {peer}: {error:#}");
            }
        });
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) -> Result<()> {
    let mut reader = FrameReader::default();
    let mut session = Session::default();
    let mut answers = Vec::new();
    loop {
        let size = stream.read(reader.spare()).await.context("read")?;
        if size == 0 {
            return Ok(());
        }
        reader.filled(size);
        while let Some(frame) = reader.next()? {
            shared.calls.fetch_add(1, Relaxed);
            shared.bytes.fetch_add(frame.size() as u64, Relaxed);
            if shared.mode == Mode::Swallow {
                let handshake: &[u8] = if session.connected { &[] } else { &[0; 4] };
                session.connected = true;
                wire::put_answer(&mut answers, frame.serial, handshake, &[0, 0]);
            } else {
                session.answer(frame.serial, reader.message(frame), &shared, &mut answers);
            }
        }
        if !answers.is_empty() {
            stream.write_all(&answers).await.context("write")?;
            answers.clear();
        }
    }
}

/// What a verifying server remembers of a connection.
#[derive(Debug, Default)]
struct Session {
    connected: bool,
    verifier: Verifier,
}

impl Session {
    fn answer(&mut self, serial: u32, message: &[u8], shared: &Shared, out: &mut Vec<u8>) {
        let mut cursor = Cursor(message);
        let mut handshake = Vec::new();
        let result = self
            .shake_hands(&mut cursor, shared, &mut handshake)
            .and_then(|()| {
                if self.connected {
                    self.call(&mut cursor, &mut shared.ledger())
                } else {
                    Ok(true)
                }
            });
        match result {
            // A handshake alone: there is nothing else to answer.
            Ok(ping) if !self.connected || ping => {
                out.extend_from_slice(&serial.to_be_bytes());
                out.extend_from_slice(&1u32.to_be_bytes());
                out.extend_from_slice(&(handshake.len() as u32).to_be_bytes());
                out.extend_from_slice(&handshake);
            }
            Ok(_) => wire::put_answer(out, serial, &handshake, &[0, 0]),
            Err(error) => {
                eprintln!("sink end: call {serial}: {error:#}");
                shared.ledger().record_corrupt();
                let mut payload = vec![1, 0];
                wire::put_bytes(&mut payload, format!("{error:#}").as_bytes());
                wire::put_answer(out, serial, &handshake, &payload);
            }
        }
    }

    fn shake_hands(&mut self, cursor: &mut Cursor<'_>, shared: &Shared, out: &mut Vec<u8>) -> Result<()> {
        if self.connected {
            return Ok(());
        }
        let mut client_hash = [0; 16];
        client_hash.copy_from_slice(cursor.take(16)?);
        let has_text = cursor.long()? == 1;
        if has_text {
            cursor.bytes()?;
        }
        let right_guess = cursor.take(16)? == PROTOCOL_HASH;
        if cursor.long()? == 1 {
            cursor.skip_map()?;
        }
        let mut protocols = shared.protocols.lock().unwrap_or_else(PoisonError::into_inner);
        if has_text && protocols.len() < PROTOCOLS_MAX {
            protocols.insert(client_hash);
        }
        self.connected = has_text || protocols.contains(&client_hash);
        if self.connected && right_guess {
            out.extend_from_slice(&[0; 4]);
            return Ok(());
        }
        out.extend_from_slice(&[if self.connected { 2 } else { 4 }, 2]);
        wire::put_bytes(out, PROTOCOL.as_bytes());
        out.push(2);
        out.extend_from_slice(&PROTOCOL_HASH);
        out.push(0);
        Ok(())
    }

    /// Says whether it was a mere ping, which has no payload in its answer.
    fn call(&mut self, cursor: &mut Cursor<'_>, ledger: &mut Ledger) -> Result<bool> {
        cursor.skip_map()?;
        match cursor.bytes()? {
            b"" => Ok(true),
            b"append" => self.event(cursor, ledger).map(|()| false),
            b"appendBatch" => loop {
                let count = cursor.block()?;
                if count == 0 {
                    return Ok(false);
                }
                for _ in 0..count {
                    self.event(cursor, ledger)?;
                }
            },
            other => Err(anyhow!(
                "No such remote message: {}",
                String::from_utf8_lossy(other)
            )),
        }
    }

    #[inline]
    fn event(&mut self, cursor: &mut Cursor<'_>, ledger: &mut Ledger) -> Result<()> {
        cursor.skip_map()?;
        match self.verifier.check(cursor.bytes()?) {
            Some((producer, number)) => ledger.record(producer, number),
            None => ledger.record_corrupt(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{self, Producer, STAMP_AT, STAMP_SIZE, Stamp};
    use crate::wire::Buffers;
    use std::io::{Read as _, Write as _};

    const PRODUCER: Producer = Producer {
        run: 5,
        connection: 1,
    };

    fn event(number: u64) -> Vec<u8> {
        let mut body = identity::body(PRODUCER, 200);
        body[STAMP_AT..STAMP_AT + STAMP_SIZE].copy_from_slice(&Stamp::new(PRODUCER, 200).bytes(number));
        body
    }

    fn exchange(stream: &mut std::net::TcpStream, request: &[u8], answer_size: usize) -> Vec<u8> {
        stream.write_all(request).unwrap();
        let mut answer = vec![0; answer_size];
        stream.read_exact(&mut answer).unwrap();
        answer
    }

    fn start() -> (Server, std::net::TcpStream) {
        let server = Server::start(([127, 0, 0, 1], 0).into(), Mode::Verify).unwrap();
        let stream = std::net::TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (server, stream)
    }

    fn verdict_on(bodies: &[Vec<u8>]) -> Verdict {
        let (server, mut stream) = start();
        let (mut head, mut params) = (Vec::new(), Vec::new());
        wire::put_handshake(&mut head);
        wire::put_call(&mut head, "appendBatch");
        wire::put_long(&mut params, bodies.len() as i64);
        for body in bodies {
            params.extend_from_slice(b"\x02\x02k\x02v\x00");
            wire::put_bytes(&mut params, body);
        }
        params.push(0);
        let answer = exchange(&mut stream, &Buffers::Java.frame(1, &head, &params), 27);
        assert_eq!(&answer[12..], b"\0\0\0\0\0\0\0\x01\0\0\0\0\x02\0\0");
        server.verdict(Some(&[SentBy {
            producer: PRODUCER,
            next: 5,
            unsure: vec![],
        }]))
    }

    #[test]
    fn each_planted_fault_is_found() {
        let good: Vec<_> = (0..5).map(event).collect();
        let clean = verdict_on(&good);
        assert!(clean.is_clean(), "{clean}");

        let missing = verdict_on(&[&good[..2], &good[3..]].concat());
        assert_eq!(
            missing,
            Verdict {
                events: 4,
                missing: 1,
                ..clean
            }
        );

        let duplicated = verdict_on(&[&good[..], &good[2..3]].concat());
        assert_eq!(
            duplicated,
            Verdict {
                events: 6,
                duplicated: 1,
                ..clean
            }
        );

        let mut swapped = good.clone();
        swapped.swap(1, 2);
        assert_eq!(
            verdict_on(&swapped),
            Verdict {
                reordered: 1,
                ..clean
            }
        );

        let mut broken = good;
        broken[4][199] ^= 1;
        assert_eq!(
            verdict_on(&broken),
            Verdict {
                corrupt: 1,
                missing: 1,
                ..clean
            }
        );
    }

    #[test]
    fn a_foreign_protocol_is_asked_for_its_text_once() {
        let foreign = [0x30; 16];
        let call = |text: Option<&[u8]>, guess: [u8; 16]| {
            let mut head = foreign.to_vec();
            head.push(if text.is_some() { 2 } else { 0 });
            text.iter().for_each(|text| wire::put_bytes(&mut head, text));
            head.extend_from_slice(&guess);
            head.push(0);
            wire::put_call(&mut head, "append");
            Buffers::One.frame(1, &head, &[0, 0])
        };
        let (server, mut stream) = start();
        // Sizes and edges as captured from a live Flume 1.11.
        let none = exchange(&mut stream, &call(None, foreign), 1368);
        assert_eq!(
            none[..19],
            *b"\0\0\0\x01\0\0\0\x01\0\0\x05\x4c\x04\x02\xec\x14{\"p"
        );
        let both = exchange(&mut stream, &call(Some(b"{}"), PROTOCOL_HASH), 27);
        assert_eq!(both[12..16], [0; 4]);

        let mut second = std::net::TcpStream::connect(server.address()).unwrap();
        let client = exchange(&mut second, &call(None, foreign), 1379);
        assert_eq!(client[..16], *b"\0\0\0\x01\0\0\0\x03\0\0\x05\x4c\x02\x02\xec\x14");
    }

    #[test]
    fn a_ping_is_answered_by_the_handshake_alone() {
        let (_server, mut stream) = start();
        let mut head = Vec::new();
        wire::put_handshake(&mut head);
        wire::put_call(&mut head, "");
        let answer = exchange(&mut stream, &Buffers::One.frame(1, &head, &[]), 16);
        assert_eq!(answer, [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0]);
    }
}
