//! The source over sockets: the source's contract over every way to wrap its frames, Flume's own bytes, peers that
//! speak something else, and peers that may not connect.

use super::*;
use crate::component::contract::source::{BODIES, Running, suite};
use crate::component::contract::{Log, Recorder, soon};
use crate::io::deflate::Deflate;
use crate::io::stream::BoxStream;
use crate::io::tls::ClientTls;
use bytes::BytesMut;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use proto::avro::{ClientConnection, ClientStep, FrameDecoder, FrameLimits, KnownServer};
use proto::event::Batch;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const STORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stores/ec.p12");
const TLS: [(&str, &str); 3] = [
    ("ssl", "true"),
    ("keystore", STORE),
    ("keystore-password", "changeit"),
];
const DEFLATE: (&str, &str) = ("compression-type", "Deflate");

/// Vectors of wire.md 1.15.
const A1: &str = "00000001000000020000002b86aadae2c45474c0fe93ffd0f2350a650086aadae2c45474c0fe93ffd0f2350a650200000c617070656e640000000c0202610262000a68656c6c6f";
const A1_ANSWER: &str = "000000010000000300000004000000000000000100000000020000";
const A2_ANSWER: &str = "0000000200000003000000000000000100000000020000";
const A11: &str = "00000002000000020000000d0016617070656e6442617463680000000100";
const A12: &str = "789c62606060646060600262edb655b71e1d092939f06ff2ff0b9f4cb95219d00580aa78120b0a52f35280ca79989812999218b832527372f201000000ffff";

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// An address of 127/8 that is this process's own, where no outgoing connection of a stranger takes the port.
fn address() -> SocketAddr {
    static PORT: AtomicU16 = AtomicU16::new(31_414);
    let [.., high, low] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, 78, high, low), PORT.fetch_add(1, Relaxed)).into()
}

fn avro(address: SocketAddr, more: &[(&str, &str)]) -> Avro {
    let (bind, port) = (address.ip().to_string(), address.port().to_string());
    let pairs = [&[("bind", bind.as_str()), ("port", port.as_str())], more].concat();
    let mut keys = Keys::of("source r1 (avro)", &pairs);
    let config = Config::read(&mut keys, &TlsDefaults::default());
    let found = keys.finish();
    assert!(found.is_empty(), "{found:?}");
    config.build().unwrap()
}

fn started(more: &[(&str, &str)]) -> (SocketAddr, Running) {
    let address = address();
    (
        address,
        Running::start(Box::new(avro(address, more)), Recorder::new()),
    )
}

/// How a client wraps what it sends.
#[derive(Debug, Clone, Copy)]
enum Wrap {
    Plain,
    Deflate,
    Tls,
    TlsInDeflate,
    DeflateInTls,
}

fn client_tls(more: &[(&str, &str)]) -> ClientTls {
    let trust = [
        ("ssl", "true"),
        ("truststore", STORE),
        ("truststore-password", "changeit"),
    ];
    ClientTls::read(
        &mut Keys::of("x", &[&trust, more].concat()),
        &TlsDefaults::default(),
    )
    .unwrap()
}

/// Connects as soon as somebody listens.
async fn connected(address: SocketAddr) -> TcpStream {
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return stream,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn wrapped(stream: TcpStream, wrap: Wrap) -> io::Result<BoxStream> {
    let tls = client_tls(&[]);
    Ok(match wrap {
        Wrap::Plain => Box::new(stream),
        Wrap::Deflate => Box::new(Deflate::new(stream, 9)),
        Wrap::Tls => Box::new(tls.connect("h", stream).await?),
        Wrap::TlsInDeflate => Box::new(tls.connect("h", Deflate::new(stream, 0)).await?),
        Wrap::DeflateInTls => Box::new(Deflate::new(tls.connect("h", stream).await?, 6)),
    })
}

/// A client that makes one call after the other.
struct Client {
    stream: BoxStream,
    rpc: ClientConnection,
    frames: FrameDecoder,
    input: BytesMut,
}

impl Client {
    async fn connect(address: SocketAddr, wrap: Wrap) -> io::Result<Self> {
        Ok(Self {
            stream: wrapped(connected(address).await, wrap).await?,
            rpc: ClientConnection::new(KnownServer::default()),
            frames: FrameDecoder::new(FrameLimits::replies()),
            input: BytesMut::new(),
        })
    }

    /// Whether the call was answered OK; an error when the connection has ended.
    async fn append(&mut self, body: &str) -> io::Result<bool> {
        let mut call = BytesMut::new();
        let batch: Batch = [body.as_bytes()].into_iter().collect();
        self.rpc.append_batch(&batch, &mut call).unwrap();
        self.stream.write_all(&call).await?;
        self.stream.flush().await?;
        loop {
            if let Some(frame) = self.frames.next_frame(&mut self.input).unwrap() {
                match self.rpc.handle(&frame).unwrap() {
                    ClientStep::Done { outcome, .. } => return Ok(outcome.is_ok()),
                    ClientStep::Resend { .. } => panic!("the source knows Flume's protocol"),
                }
            }
            self.frames.prepare(&mut self.input);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The source together with a client that sends it the numbers of the contract.
struct Fed {
    source: Avro,
    address: SocketAddr,
    wrap: Wrap,
}

impl Fed {
    fn boxed(more: &[(&str, &str)], wrap: Wrap) -> Box<dyn DynSource> {
        let address = address();
        Box::new(Self {
            source: avro(address, more),
            address,
            wrap,
        })
    }
}

async fn feed(address: SocketAddr, wrap: Wrap) -> io::Result<()> {
    let mut client = Client::connect(address, wrap).await?;
    for n in 0..BODIES {
        while !client.append(&n.to_string()).await? {}
    }
    // The connection stays open, as a client's does.
    client.stream.read_u8().await.map(drop)
}

impl Source for Fed {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        let mut source = Box::pin(self.source.run(ctx));
        tokio::select! {
            ended = &mut source => ended,
            _ = feed(self.address, self.wrap) => source.await,
        }
    }
}

mod plain {
    use super::*;
    suite!(|| Fed::boxed(&[], Wrap::Plain));
}

mod deflate {
    use super::*;
    suite!(|| Fed::boxed(&[DEFLATE], Wrap::Deflate));
}

mod tls {
    use super::*;
    suite!(|| Fed::boxed(&TLS, Wrap::Tls));
}

mod both_as_flume_1_11 {
    use super::*;
    suite!(|| Fed::boxed(&[&TLS[..], &[DEFLATE]].concat(), Wrap::TlsInDeflate));
}

mod both_as_flume_1_9 {
    use super::*;
    suite!(|| Fed::boxed(&[&TLS[..], &[DEFLATE]].concat(), Wrap::DeflateInTls));
}

/// Sends bytes and reads until the source closes or `answer` bytes have come.
async fn exchange(stream: &mut BoxStream, sent: &[u8], answer: usize) -> Vec<u8> {
    stream.write_all(sent).await.unwrap();
    stream.flush().await.unwrap();
    let mut read = vec![0; answer];
    soon(stream.read_exact(&mut read)).await.unwrap();
    read
}

#[tokio::test]
async fn flumes_own_compressed_bytes_are_understood() {
    // Acceptance case 18 of the wire, and A11 on the same connection.
    let (address, running) = started(&[DEFLATE]);
    let mut stream = connected(address).await;
    stream.write_all(&unhex(A12)).await.unwrap();
    let mut raw = [0; 2];
    soon(stream.read_exact(&mut raw)).await.unwrap();
    assert_eq!(raw, [0x78, 0x9c]);
    let mut inflate = Decompress::new(true);
    let mut answer = Vec::with_capacity(64);
    inflate
        .decompress_vec(&raw, &mut answer, FlushDecompress::None)
        .unwrap();
    while answer.len() < A1_ANSWER.len() / 2 {
        let mut byte = [0];
        soon(stream.read_exact(&mut byte)).await.unwrap();
        inflate
            .decompress_vec(&byte, &mut answer, FlushDecompress::None)
            .unwrap();
    }
    assert_eq!(answer, unhex(A1_ANSWER));
    assert_eq!(running.recorder.bodies(), ["hello"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn every_flush_and_level_of_a_peer_will_do() {
    let (address, running) = started(&[DEFLATE]);
    let calls = [unhex(A1), unhex(A11)];
    for (level, flush) in [
        (6, FlushCompress::Sync),
        (9, FlushCompress::Full),
        (0, FlushCompress::Full),
        (1, FlushCompress::Finish),
    ] {
        let mut compressed = Vec::with_capacity(1 << 10);
        let mut compress = Compress::new(Compression::new(level), true);
        compress
            .compress_vec(&calls.concat(), &mut compressed, flush)
            .unwrap();
        let mut stream = connected(address).await;
        stream.write_all(&compressed).await.unwrap();
        let mut stream: BoxStream = Box::new(Deflate::new(stream, 6));
        let expected = unhex(&[A1_ANSWER, A2_ANSWER].concat());
        assert_eq!(
            exchange(&mut stream, b"", expected.len()).await,
            expected,
            "{level} {flush:?}"
        );
    }
    assert_eq!(running.recorder.bodies(), ["hello"; 4]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn both_versions_of_tls_and_both_nestings_are_understood() {
    // Acceptance cases 20 and 21 of the wire.
    let answer = unhex(A1_ANSWER);
    let (address, running) = started(&TLS);
    for version in ["TLSv1.2", "TLSv1.3"] {
        let tls = client_tls(&[("include-protocols", version)]);
        let stream = tls.connect("h", connected(address).await).await.unwrap();
        let mut stream: BoxStream = Box::new(stream);
        assert_eq!(
            exchange(&mut stream, &unhex(A1), answer.len()).await,
            answer,
            "{version}"
        );
    }
    running.stop().await.unwrap();
    let (address, running) = started(&[&TLS[..], &[DEFLATE]].concat());
    for wrap in [Wrap::TlsInDeflate, Wrap::DeflateInTls] {
        let mut stream = wrapped(connected(address).await, wrap).await.unwrap();
        assert_eq!(
            exchange(&mut stream, &unhex(A1), answer.len()).await,
            answer,
            "{wrap:?}"
        );
    }
    running.stop().await.unwrap();
}

/// Everything until the source closes.
async fn until_closed(stream: &mut TcpStream) -> usize {
    let mut all = Vec::new();
    match soon(stream.read_to_end(&mut all)).await {
        Ok(read) => read,
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            all.len()
        }
    }
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_closed_counted_and_told() {
    let both = [&TLS[..], &[DEFLATE]].concat();
    let hello = b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03".as_slice();
    let (call, compressed) = (unhex(A1), unhex(A12));
    let log = Log::capture();
    for (more, sent, reason) in [
        // Acceptance case 19 of the wire.
        (
            &[DEFLATE][..],
            &call[..],
            "what comes is no zlib stream: it begins with 00",
        ),
        (
            &[DEFLATE],
            hello,
            "what comes is no zlib stream: it begins with 16",
        ),
        (&TLS, &call, "TLS handshake: the peer does not speak TLS"),
        (&TLS, &compressed, "TLS handshake: the peer does not speak TLS"),
        (
            &both,
            &call,
            "the peer speaks neither TLS nor zlib: it begins with 00",
        ),
        // zlib, and inside it no TLS.
        (&both, &compressed, "TLS handshake: the peer does not speak TLS"),
        (&[], hello, "it seems to speak TLS, and ssl is not true here"),
        (
            &[],
            &compressed,
            "it seems to compress, and compression-type is not deflate here",
        ),
    ] {
        let (address, running) = started(more);
        let mut stream = connected(address).await;
        stream.write_all(sent).await.unwrap();
        until_closed(&mut stream).await;
        let refused = running.ctx.counters.refused_inputs.clone();
        soon(async {
            while refused.value() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let text = log.text();
        assert!(text.contains(reason), "{reason}: {text}");
        assert_eq!(refused.value(), 1);
        // The source goes on.
        connected(address).await;
        assert_eq!(running.recorder.seen().puts, 0);
        running.stop().await.unwrap();
    }
    // Nesting that is not configured shows inside.
    for (more, wrap, reason) in [
        (&TLS[..], Wrap::DeflateInTls, "it seems to compress"),
        (&[DEFLATE], Wrap::TlsInDeflate, "it seems to speak TLS"),
    ] {
        let (address, running) = started(more);
        assert!(feed(address, wrap).await.is_err());
        soon(async {
            while !log.text().contains(&format!("; {reason}")) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_silent_peer_is_given_up_and_does_not_hold_the_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let both = avro(address(), &[&TLS[..], &[DEFLATE]].concat()).config.layers;
    tokio::time::pause();
    let error = both.accept(stream).await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    tokio::time::resume();

    let (address, running) = started(&TLS);
    let mut silent = connected(address).await;
    running.stop().await.unwrap();
    assert_eq!(until_closed(&mut silent).await, 0);
}

#[tokio::test]
async fn who_is_denied_is_closed_at_once_without_a_byte() {
    // Acceptance case 22 of the wire.
    let deny = [("ipFilter", "true"), ("ipFilterRules", "deny:ip:127.*")];
    let (address, running) = started(&deny);
    let mut stream = connected(address).await;
    assert_eq!(until_closed(&mut stream).await, 0);
    assert_eq!(running.ctx.counters.refused_inputs.value(), 1);
    running.stop().await.unwrap();

    let allow = [
        ("ipFilter", "true"),
        ("ipFilterRules", "allow:ip:127.*,deny:name:*"),
    ];
    let (address, running) = started(&allow);
    let mut client = Client::connect(address, Wrap::Plain).await.unwrap();
    assert!(soon(client.append("x")).await.unwrap());
    running.stop().await.unwrap();
}

#[test]
fn what_is_not_understood_of_the_compression_is_told() {
    let mut keys = Keys::of(
        "x",
        &[("bind", "h"), ("port", "1"), ("compression-type", "defalte")],
    );
    let config = Config::read(&mut keys, &TlsDefaults::default());
    assert!(!config.layers.deflate);
    let found = keys.finish();
    assert_eq!(
        found[0].message,
        "expected one of none, deflate, found \"defalte\"; none is used, as in Flume; did you mean \"deflate\"?"
    );
}
