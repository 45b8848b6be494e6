//! The avro source and the avro sink over loopback sockets: against each other, and against peers that answer
//! wrongly, late or not at all, or that send too much.
//!
//! The foreign side is written here with `proto::avro`'s state machines over blocking sockets: [`Server`] takes
//! what our sink sends, [`Client`] calls our source. Whatever a peer does, no event is lost or reordered, the
//! connection it concerns is closed and counted, and the node goes on.
//!
//! Sources listen on an address of 127/8 that is this process's own: a port there is never taken by a stranger's
//! outgoing connection. Nothing sleeps but [`until`], which polls a condition.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the answer")]

use bytes::BytesMut;
use node::component::channel::{Lease, Want};
use node::component::context::{Clock, SystemClock};
use node::component::error::RunError;
use node::component::sink::{Sink, SinkContext};
use node::flow::board::State;
use node::source::embedded::Embedded;
use node::telemetry::metric::{self, Metric};
use node::{Node, NodeBuilder, Outcome};
use proto::avro::datum::Datum;
use proto::avro::handshake::{HandshakeRequest, HandshakeResponse, Match};
use proto::avro::{
    Call, CallError, ClientConnection, ClientStep, Frame, FrameDecoder, FrameLimits, ServerConnection,
    ServerStep, Status, encode_frame,
};
use proto::event::{Batch, Event, EventLimits};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A builder with these properties of agent `a1`; later texts win.
fn agent(texts: &[&str]) -> NodeBuilder {
    let lines = texts.iter().flat_map(|text| text.lines());
    let pairs = lines.filter_map(|line| line.split_once('='));
    let empty = Node::builder().agent("a1").worker_threads(2);
    pairs.fold(empty, |builder, (key, value)| {
        builder.property(format!("a1.{}", key.trim()), value)
    })
}

fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(begin.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn started(builder: NodeBuilder) -> Node {
    let node = builder.start().unwrap();
    until("the source serves", || {
        node.board().get("source r1") == Some(State::Running)
    });
    node
}

/// Stops without waiting for what peers do.
fn stop(node: Node) -> Outcome {
    node.stop();
    node.stop();
    node.wait()
}

fn count(node: &Node, of: Metric, component: &str, type_name: &str) -> u64 {
    let labels = [("component", component), ("type", type_name)];
    node.registry().counter(of, &labels).value()
}

/// A stream with the frames in it; what is written to a peer that has gone is lost without a word.
struct Framed {
    stream: TcpStream,
    frames: FrameDecoder,
    input: BytesMut,
}

impl Framed {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            frames: FrameDecoder::new(FrameLimits::default()),
            input: BytesMut::new(),
        }
    }

    /// The next frame; none when the peer has closed.
    fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.next_frame(&mut self.input).unwrap() {
                return Some(frame);
            }
            let mut piece = [0; 8_192];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(read) => self.input.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }
}

fn bodies(batch: &Batch) -> Vec<String> {
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    batch.iter().map(|event| text(event.body())).collect()
}

// The sink and its peers.

/// What our sink connects to.
struct Server {
    wire: Framed,
    rpc: ServerConnection,
}

impl Server {
    fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().unwrap();
        Self {
            wire: Framed::new(stream),
            rpc: ServerConnection::new(Arc::default(), EventLimits::default()),
        }
    }

    /// The next call; none when the sink has closed.
    fn call(&mut self) -> Option<Call> {
        let frame = self.wire.next()?;
        let mut out = BytesMut::new();
        match self.rpc.handle(frame, &mut out) {
            ServerStep::Call(call) => Some(call),
            ServerStep::Replied => panic!("the sink sent something else than a call"),
        }
    }

    fn answer(&mut self, call: Call, status: Status) -> Vec<String> {
        let mut out = BytesMut::new();
        call.reply.write(status, &mut out);
        self.wire.write(&out);
        bodies(&call.batch)
    }

    /// Takes a call and answers OK.
    fn take(&mut self) -> Vec<String> {
        let call = self.call().unwrap();
        self.answer(call, Status::Ok)
    }
}

/// A clock that can be put forward.
#[derive(Debug, Default)]
struct Ahead {
    system: SystemClock,
    by_seconds: AtomicU64,
}

impl Clock for Ahead {
    fn unix_ms(&self) -> u64 {
        self.system.unix_ms()
    }

    fn now(&self) -> cluster::time::Time {
        self.system.now() + Duration::from_secs(self.by_seconds.load(Relaxed))
    }
}

/// A node whose avro sink sends to `listener` what is put into its embedded source.
struct Sender {
    node: Node,
    end: Embedded,
    listener: TcpListener,
    clock: Arc<Ahead>,
}

impl Sender {
    fn start(extra: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (node, end, clock) = sending(&Ipv4Addr::LOCALHOST.to_string(), port, extra);
        Self {
            node,
            end,
            listener,
            clock,
        }
    }

    fn put(&self, bodies: &[&'static str]) {
        put(&self.node, &self.end, bodies);
    }

    fn accept(&self) -> Server {
        Server::accept(&self.listener)
    }

    fn count(&self, of: Metric) -> u64 {
        count(&self.node, of, "k1", "avro")
    }

    /// Every event must have been delivered.
    fn finish(self, delivered: u64) {
        until("the sink has committed", || {
            self.count(metric::SINK_DELIVERED_EVENTS) == delivered
        });
        self.node.stop();
        assert_eq!(self.node.wait(), Outcome::Stopped { left: 0 });
    }
}

fn sending(host: &str, port: u16, extra: &str) -> (Node, Embedded, Arc<Ahead>) {
    let (end, clock) = (Embedded::new(), Arc::new(Ahead::default()));
    let given = format!("sinks.k1.hostname = {host}\nsinks.k1.port = {port}");
    let text = "
        sources = r1
        sources.r1.type = com.acme.Program
        sources.r1.channels = c1
        channels = c1
        channels.c1.type = memory
        channels.c1.capacity = 2000
        sinks = k1
        sinks.k1.type = avro
        sinks.k1.channel = c1";
    let source = end.clone();
    let builder = agent(&[text, &given, extra])
        .clock(clock.clone())
        .source("com.acme.Program", move |_, _| Ok(source.source()));
    (started(builder), end, clock)
}

fn put(node: &Node, end: &Embedded, bodies: &[&'static str]) {
    let events: Vec<Event> = bodies.iter().map(|body| Event::new(*body)).collect();
    let runtime = node.runtime().clone();
    runtime.block_on(end.put_all(&events)).unwrap();
}

/// The first call meets a peer that does this, and its connection is closed; over the next one the same events
/// come again, in order and before later ones.
fn comes_again_after(misbehave: impl FnOnce(&mut Server, Call)) {
    let sender = Sender::start("sinks.k1.batch-size = 2");
    sender.put(&["a", "b", "c"]);
    let mut server = sender.accept();
    let call = server.call().unwrap();
    assert_eq!(bodies(&call.batch), ["a", "b"]);
    misbehave(&mut server, call);
    assert!(server.wire.next().is_none(), "the sink closes the connection");
    let mut next = sender.accept();
    assert_eq!(next.take(), ["a", "b"]);
    assert_eq!(next.take(), ["c"]);
    assert_eq!(sender.count(metric::SINK_WRITE_FAILURES), 1);
    sender.finish(3);
}

#[test]
fn a_peer_that_does_not_know_our_protocol_is_sent_its_text() {
    let sender = Sender::start("");
    sender.put(&["a", "b"]);
    let mut server = sender.accept();
    let first = server.wire.next().unwrap();
    let request = HandshakeRequest::read(&mut Datum::new(&first.payload)).unwrap();
    assert!(request.client_text.is_none());
    let (mut response, mut out) = (BytesMut::new(), BytesMut::new());
    HandshakeResponse::own(Match::None).write(&mut response);
    encode_frame(first.serial, &[&response], &mut out).unwrap();
    server.wire.write(&out);

    let second = server.wire.next().unwrap();
    assert_ne!(second.serial, first.serial);
    let request = HandshakeRequest::read(&mut Datum::new(&second.payload)).unwrap();
    assert!(request.client_text.is_some());
    let ServerStep::Call(call) = server.rpc.handle(second, &mut BytesMut::new()) else {
        panic!("the call comes with the text");
    };
    assert_eq!(server.answer(call, Status::Ok), ["a", "b"]);
    sender.put(&["c"]);
    assert_eq!(server.take(), ["c"]);
    assert_eq!(sender.count(metric::SINK_CONNECTIONS_CREATED), 1);
    assert_eq!(sender.count(metric::SINK_WRITE_FAILURES), 0);
    sender.finish(3);
}

#[test]
fn events_that_a_peer_could_not_store_come_again() {
    comes_again_after(|server, call| _ = server.answer(call, Status::Failed));
}

#[test]
fn an_answer_to_another_call_closes_the_connection() {
    comes_again_after(|server, call| {
        let mut out = BytesMut::new();
        let serial = call.reply.serial();
        call.reply.write(Status::Ok, &mut out);
        out[..4].copy_from_slice(&(serial + 1).to_be_bytes());
        server.wire.write(&out);
    });
}

#[test]
fn an_answer_that_is_no_avro_closes_the_connection() {
    comes_again_after(|server, _| server.wire.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
}

#[test]
fn a_peer_that_closes_in_the_middle_of_a_call_gets_it_again() {
    comes_again_after(|server, _| server.wire.stream.shutdown(std::net::Shutdown::Write).unwrap());
}

#[test]
fn an_answer_that_comes_too_late_does_not_count() {
    let sender = Sender::start("sinks.k1.request-timeout = 1000");
    sender.put(&["a"]);
    let mut server = sender.accept();
    // The first call has the connect-timeout; this is about the second.
    assert_eq!(server.take(), ["a"]);
    sender.put(&["b"]);
    let call = server.call().unwrap();
    let begin = Instant::now();
    assert!(server.wire.next().is_none(), "the sink closes the connection");
    assert!(
        begin.elapsed() > Duration::from_millis(900),
        "{:?}",
        begin.elapsed()
    );
    server.answer(call, Status::Ok);
    assert_eq!(sender.accept().take(), ["b"]);
    sender.finish(2);
}

#[test]
fn a_connection_older_than_the_reset_interval_is_replaced() {
    let sender = Sender::start("sinks.k1.reset-connection-interval = 60");
    sender.put(&["a"]);
    let mut server = sender.accept();
    assert_eq!(server.take(), ["a"]);
    sender.put(&["b"]);
    assert_eq!(server.take(), ["b"]);
    until("both are committed", || {
        sender.count(metric::SINK_DELIVERED_EVENTS) == 2
    });
    sender.clock.by_seconds.store(60, Relaxed);
    sender.put(&["c"]);
    assert!(server.wire.next().is_none(), "the sink closes the old one");
    assert_eq!(sender.accept().take(), ["c"]);
    assert_eq!(sender.count(metric::SINK_WRITE_FAILURES), 0);
    sender.finish(3);
}

// The source and its peers.

/// What calls our source.
struct Client {
    wire: Framed,
    rpc: ClientConnection,
}

impl Client {
    fn open(address: SocketAddr) -> Self {
        Self {
            wire: Framed::new(TcpStream::connect(address).unwrap()),
            rpc: ClientConnection::default(),
        }
    }

    /// The bytes of an `appendBatch` call.
    fn encoded(&mut self, bodies: &[&[u8]]) -> BytesMut {
        let mut out = BytesMut::new();
        let batch = Batch::from_iter(bodies.iter().copied());
        self.rpc.append_batch(&batch, &mut out).unwrap();
        out
    }

    /// The next answer; none when the source has closed.
    fn answer(&mut self) -> Option<(i32, Result<(), CallError>)> {
        let frame = self.wire.next()?;
        match self.rpc.handle(&frame).unwrap() {
            ClientStep::Done { serial, outcome } => Some((serial, outcome)),
            ClientStep::Resend { .. } => panic!("our own protocol is known"),
        }
    }

    /// Whether a call with one event is answered OK.
    fn is_served(&mut self) -> bool {
        let call = self.encoded(&[b"hello"]);
        self.wire.write(&call);
        self.answer().is_some_and(|(_, outcome)| outcome.is_ok())
    }
}

/// Collects what it is given.
struct Collected(Arc<Mutex<Vec<String>>>);

impl Sink for Collected {
    fn want(&self) -> Want {
        Want::events(100)
    }

    async fn process(&mut self, lease: Lease, _: &SinkContext) -> Result<(), RunError> {
        let bodies = bodies(lease.batch());
        lease.commit().await?;
        lock(&self.0).extend(bodies);
        Ok(())
    }
}

/// A node with an avro source.
struct Receiver {
    node: Node,
    address: SocketAddr,
    received: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    fn start(extra: &str) -> Self {
        static PORT: AtomicU16 = AtomicU16::new(41_414);
        let [.., high, low] = std::process::id().to_be_bytes();
        let host = Ipv4Addr::new(127, 77, high, low);
        let address = SocketAddr::from((host, PORT.fetch_add(1, Relaxed)));
        let given = format!("sources.r1.bind = {host}\nsources.r1.port = {}", address.port());
        let text = "
            sources = r1
            sources.r1.type = avro
            sources.r1.channels = c1
            channels = c1
            channels.c1.type = memory
            channels.c1.capacity = 2000
            sinks = k1
            sinks.k1.type = com.acme.Collected
            sinks.k1.channel = c1";
        let received = Arc::new(Mutex::new(Vec::new()));
        let collected = received.clone();
        let builder = agent(&[text, &given, extra]);
        let node = started(builder.sink("com.acme.Collected", move |_, _| Ok(Collected(collected.clone()))));
        Self {
            node,
            address,
            received,
        }
    }

    fn client(&self) -> Client {
        Client::open(self.address)
    }

    fn refused(&self) -> u64 {
        count(&self.node, metric::SOURCE_REFUSED_INPUTS, "r1", "avro")
    }

    /// One input was refused; the source serves all others.
    fn must_go_on_after_refusing(self, inputs: u64) {
        until("it is counted", || self.refused() == inputs);
        assert!(self.client().is_served());
        assert_eq!(self.refused(), inputs);
        assert_eq!(self.node.board().get("source r1"), Some(State::Running));
        stop(self.node);
    }
}

#[test]
fn our_sink_and_our_source_carry_every_event_in_order() {
    let receiver = Receiver::start("");
    let (host, port) = (receiver.address.ip().to_string(), receiver.address.port());
    let (node, end, _) = sending(&host, port, "sinks.k1.batch-size = 7");
    let expected: Vec<String> = (0..1_000).map(|n| format!("event {n}")).collect();
    let runtime = node.runtime().clone();
    for some in expected.chunks(50) {
        let events: Vec<Event> = some.iter().map(|body| Event::new(body.clone())).collect();
        runtime.block_on(end.put_all(&events)).unwrap();
    }
    node.stop();
    assert_eq!(node.wait(), Outcome::Stopped { left: 0 });
    receiver.node.stop();
    assert_eq!(receiver.node.wait(), Outcome::Stopped { left: 0 });
    assert_eq!(*lock(&receiver.received), expected);
}

#[test]
fn calls_sent_without_waiting_are_stored_and_answered_in_order() {
    let receiver = Receiver::start("");
    let mut client = receiver.client();
    assert!(client.is_served());
    let names: Vec<String> = (0..200).map(|n| format!("call {n}")).collect();
    let mut calls = BytesMut::new();
    for name in &names {
        calls.extend_from_slice(&client.encoded(&[name.as_bytes()]));
    }
    client.wire.write(&calls);
    for serial in 2..=201 {
        assert_eq!(client.answer(), Some((serial, Ok(()))));
    }
    until("all are delivered", || lock(&receiver.received).len() == 201);
    assert_eq!(lock(&receiver.received)[1..], names);
    assert_eq!(stop(receiver.node), Outcome::Stopped { left: 0 });
}

#[test]
fn answers_to_earlier_calls_do_not_wait_for_one_that_finds_the_channel_full() {
    let full = "
        sinks =
        channels.c1.capacity = 3
        channels.c1.transactionCapacity = 3
        channels.c1.keep-alive = 25";
    let receiver = Receiver::start(full);
    let mut client = receiver.client();
    assert!(client.is_served());
    let mut calls = BytesMut::new();
    for body in ["two", "three", "four"] {
        calls.extend_from_slice(&client.encoded(&[body.as_bytes()]));
    }
    client.wire.write(&calls);
    assert_eq!(client.answer(), Some((2, Ok(()))));
    assert_eq!(client.answer(), Some((3, Ok(()))));
    let channel = receiver.node.channel("c1").unwrap();
    assert_eq!(channel.channel().held(), 3);
    // Only now is there room for the fourth.
    let runtime = receiver.node.runtime().clone();
    runtime.block_on(async {
        let lease = channel.take(Want::events(1), Duration::ZERO).await.unwrap();
        lease.unwrap().commit().await.unwrap();
    });
    assert_eq!(client.answer(), Some((4, Ok(()))));
    assert_eq!(stop(receiver.node), Outcome::Stopped { left: 3 });
}

#[test]
fn bytes_that_are_no_frame_close_the_connection() {
    let receiver = Receiver::start("");
    let strangers: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x5a",
        b"\x00\x00\x00\x01\x00\x00\x00\x00",
        b"\x00\x00\x00\x01\x00\x00\x00\x01\xff\xff\xff\xff",
    ];
    for bytes in strangers {
        let mut client = receiver.client();
        client.wire.write(bytes);
        assert!(client.wire.next().is_none(), "{bytes:?}");
    }
    receiver.must_go_on_after_refusing(4);
}

#[test]
fn a_call_of_max_frame_bytes_is_taken_and_one_of_a_byte_more_closes_the_connection() {
    let receiver = Receiver::start("sources.r1.maxFrameBytes = 1024");
    // A frame of two buffers: what is not message is its number, their count and their lengths.
    let message_bytes = |call: &BytesMut| call.len() - 16;
    let fixed = message_bytes(&receiver.client().encoded(&[&[b'x'; 500]])) - 500;
    for (bytes, fits) in [(1_024, true), (1_025, false)] {
        let mut client = receiver.client();
        let call = client.encoded(&[&vec![b'x'; bytes - fixed]]);
        assert_eq!(message_bytes(&call), bytes);
        client.wire.write(&call);
        assert_eq!(client.answer(), fits.then_some((1, Ok(()))));
    }
    receiver.must_go_on_after_refusing(1);
}

#[test]
fn a_connection_beyond_max_connections_is_closed_and_there_is_room_again_later() {
    let receiver = Receiver::start("sources.r1.maxConnections = 2");
    let (mut one, mut two) = (receiver.client(), receiver.client());
    assert!(one.is_served() && two.is_served());
    assert!(!receiver.client().is_served());
    assert_eq!(receiver.refused(), 1);
    assert!(one.is_served() && two.is_served());
    drop(one);
    let labels = [("component", "r1"), ("type", "avro")];
    let open = receiver
        .node
        .registry()
        .gauge(metric::SOURCE_OPEN_CONNECTIONS, &labels);
    until("its place is free", || open.value() == 1);
    receiver.must_go_on_after_refusing(1);
    drop(two);
}

#[test]
fn partial_calls_beyond_max_buffered_bytes_close_the_connection_that_brings_too_much() {
    let receiver = Receiver::start("sources.r1.maxBufferedBytes = 1048576");
    // Of each connection's buffer 256 KiB are free: one call of this size fits into 1 MiB, two at a time do not.
    let body = vec![b'x'; 900 << 10];
    let mut alone = receiver.client();
    let call = alone.encoded(&[&body]);
    alone.wire.write(&call);
    assert_eq!(alone.answer(), Some((1, Ok(()))));
    drop(alone);

    let mut clients = [receiver.client(), receiver.client()];
    let part = 850 << 10;
    let calls = clients.each_mut().map(|client| client.encoded(&[&body]));
    for (client, call) in clients.iter_mut().zip(&calls) {
        client.wire.write(&call[..part]);
    }
    until("one is refused", || receiver.refused() > 0);
    // Which one depends on who is read first; if the other comes at that very moment, it is both.
    let mut closed = 0;
    for (client, call) in clients.iter_mut().zip(&calls) {
        client.wire.write(&call[part..]);
        match client.answer() {
            Some(answer) => assert_eq!(answer, (1, Ok(()))),
            None => closed += 1,
        }
    }
    assert!(closed > 0);
    receiver.must_go_on_after_refusing(closed);
}
