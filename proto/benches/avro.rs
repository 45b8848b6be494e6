//! What a batch costs in Avro: reading a call out of the read buffer into a batch, and writing it as a call.
//!
//! Throughput is in events. Every decode includes filling the read buffer, as a socket would, which `refill` shows
//! alone: the difference is the codec. `java` cuts the call into buffers of 8,192 bytes, as Java sends it.

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use proto::avro::{ClientConnection, FrameDecoder, FrameLimits, ServerConnection, ServerStep};
use proto::avro::{Status, encode_events, encode_frame};
use proto::event::{Batch, BatchBuilder, EventLimits};
use std::hint::black_box;
use std::sync::Arc;

const BODY_BYTES: usize = 500;
const HEADERS: [(&str, &str); 2] = [("host", "web-17.example.org"), ("timestamp", "1700000000000")];

fn batch(events: usize, headers: usize) -> Batch {
    let mut builder = BatchBuilder::new(EventLimits::default());
    for _ in 0..events {
        builder
            .push(HEADERS[..headers].iter().copied(), &[b'x'; BODY_BYTES])
            .expect("far below the limits");
    }
    builder.finish()
}

/// A server past its handshake.
fn connected() -> ServerConnection {
    let mut out = BytesMut::new();
    ClientConnection::default()
        .append_batch(&Batch::default(), &mut out)
        .expect("a fresh client");
    let mut server = ServerConnection::new(Arc::default(), EventLimits::default());
    receive(
        &mut FrameDecoder::new(FrameLimits::default()),
        &mut server,
        &mut out,
    );
    server
}

fn receive(decoder: &mut FrameDecoder, server: &mut ServerConnection, input: &mut BytesMut) -> usize {
    let mut out = BytesMut::with_capacity(64);
    let mut events = 0;
    while let Some(frame) = decoder.next_frame(input).expect("valid frames") {
        if let ServerStep::Call(call) = server.handle(frame, &mut out) {
            events += call.batch.len();
            call.reply.write(Status::Ok, &mut out);
            black_box(&call.batch);
        }
    }
    black_box(&out);
    events
}

/// The call as one frame whose buffers have at most `buffer` bytes.
fn call(batch: &Batch, buffer: usize) -> BytesMut {
    let mut message = BytesMut::from(&b"\0\x16appendBatch"[..]);
    encode_events(batch, &mut message);
    let parts: Vec<&[u8]> = message.chunks(buffer).collect();
    let mut out = BytesMut::new();
    encode_frame(1, &parts, &mut out).expect("a short call");
    out
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("avro/decode");
    for (events, headers) in [(1_000, 0), (1_000, 2), (100, 0), (1, 0)] {
        let batch = batch(events, headers);
        let name = format!("{events}x{BODY_BYTES}B/{headers}h");
        group.throughput(Throughput::Elements(events as u64));
        for (shape, buffer) in [("one", usize::MAX), ("java", 8_192)] {
            let bytes = call(&batch, buffer);
            let mut server = connected();
            let mut decoder = FrameDecoder::new(FrameLimits::default());
            let mut input = BytesMut::new();
            group.bench_function(BenchmarkId::new(shape, &name), |bencher| {
                bencher.iter(|| {
                    input.reserve(bytes.len());
                    input.extend_from_slice(black_box(&bytes));
                    receive(&mut decoder, &mut server, &mut input)
                });
            });
        }
        let bytes = call(&batch, usize::MAX);
        let mut input = BytesMut::with_capacity(bytes.len());
        group.bench_function(BenchmarkId::new("refill", &name), |bencher| {
            bencher.iter(|| {
                input.clear();
                input.extend_from_slice(black_box(&bytes));
            });
        });
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("avro/encode");
    for (events, headers) in [(1_000, 0), (1_000, 2), (100, 0), (1, 0)] {
        let batch = batch(events, headers);
        group.throughput(Throughput::Elements(events as u64));
        let mut out = BytesMut::new();
        group.bench_function(
            BenchmarkId::new("call", format!("{events}x{BODY_BYTES}B/{headers}h")),
            |bencher| {
                bencher.iter(|| {
                    out.clear();
                    ClientConnection::default()
                        .append_batch(black_box(&batch), &mut out)
                        .expect("a fresh client")
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
