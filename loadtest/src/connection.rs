//! One connection of the driver: up to `in_flight` calls outstanding, each in a slot with its own encoded frame.
//!
//! A frame is encoded once; before each sending only the serial and, per event, 16 bytes of number and checksum are
//! patched. Reading and writing are polled side by side, so that an answer is timed when it comes and not when a large
//! frame has left. Small frames that are ready together leave in one write.
//!
//! A call that is not answered OK is sent again after [`RESEND_PAUSE`] with the same events, and nothing new is sent
//! before it: with one call in flight the order holds; with more, calls already on their way may overtake it.

use crate::frames::FrameReader;
use crate::identity::{self, Producer, STAMP_AT, STAMP_SIZE, Stamp};
use crate::ledger::SentBy;
use crate::wire::{self, Buffers, Status};
use anyhow::{Context as _, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How long a refused call waits before it is sent again.
const RESEND_PAUSE: Duration = Duration::from_millis(1);

/// Frames up to this size are gathered into one write.
const GATHERED_SIZE_MAX: usize = 16 << 10;

/// Longest latency that is told apart.
const LATENCY_MAX: Duration = Duration::from_secs(120);

/// What the driver's connections do at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Send, but keep no latencies. The first.
    WarmUp,
    /// Send and keep latencies.
    Measure,
    /// Send nothing new; wait for the answers.
    Drain,
}

/// Counters that all connections of a driver share; read while they run.
#[derive(Debug, Default)]
pub struct Counters {
    /// Calls answered OK.
    pub calls: AtomicU64,
    /// Events in them.
    pub events: AtomicU64,
    /// Calls answered FAILED.
    pub failed: AtomicU64,
    /// Calls answered with a system error.
    pub errors: AtomicU64,
    phase: AtomicU8,
}

impl Counters {
    /// Moves all connections on.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    fn is_in(&self, phase: Phase) -> bool {
        self.phase.load(Relaxed) == phase as u8
    }
}

/// What every call looks like.
#[derive(Debug, Clone, Copy)]
pub struct CallShape {
    /// Events per call; 1 means `append`, more `appendBatch`.
    pub batch: usize,
    /// Bytes of each body.
    pub body: usize,
    /// Framing.
    pub buffers: Buffers,
    /// Calls outstanding per connection.
    pub in_flight: usize,
}

/// An encoded call and the places in it that change.
struct Template {
    frame: Vec<u8>,
    head_size: usize,
    stamps: Vec<StampPlace>,
}

/// Where a stamp goes: `first` bytes at `at`, the others behind the next buffer's length.
#[derive(Debug, Clone, Copy)]
struct StampPlace {
    at: u32,
    first: u8,
}

impl Template {
    fn new(shape: &CallShape, producer: Producer) -> Self {
        let body = identity::body(producer, shape.body);
        let mut head = Vec::new();
        let mut params = Vec::with_capacity(shape.batch * (shape.body + 4) + 8);
        wire::put_call(&mut head, if shape.batch == 1 { "append" } else { "appendBatch" });
        if shape.batch > 1 {
            wire::put_long(&mut params, shape.batch as i64);
        }
        let mut stamps = Vec::with_capacity(shape.batch);
        for _ in 0..shape.batch {
            params.push(0);
            wire::put_bytes(&mut params, &body);
            let offset = params.len() - body.len() + STAMP_AT;
            let at = shape.buffers.locate(head.len(), offset);
            let whole = (1..STAMP_SIZE).find(|&n| shape.buffers.locate(head.len(), offset + n) != at + n);
            stamps.push(StampPlace {
                at: at as u32,
                first: whole.unwrap_or(STAMP_SIZE) as u8,
            });
        }
        if shape.batch > 1 {
            params.push(0);
        }
        Self {
            frame: shape.buffers.frame(0, &head, &params),
            head_size: head.len(),
            stamps,
        }
    }

    fn patch(&mut self, serial: u32, stamp: &Stamp, first_number: u64) {
        self.frame[..4].copy_from_slice(&serial.to_be_bytes());
        for (number, place) in (first_number..).zip(&self.stamps) {
            let bytes = stamp.bytes(number);
            let (at, first) = (place.at as usize, place.first as usize);
            if first == STAMP_SIZE {
                self.frame[at..at + STAMP_SIZE].copy_from_slice(&bytes);
            } else {
                self.frame[at..at + first].copy_from_slice(&bytes[..first]);
                let rest = at + first + 4;
                self.frame[rest..rest + STAMP_SIZE - first].copy_from_slice(&bytes[first..]);
            }
        }
    }

    /// The frame with a handshake at the start of its first buffer's data.
    fn with_handshake(&self) -> Vec<u8> {
        let mut handshake = Vec::new();
        wire::put_handshake(&mut handshake);
        let mut size = [0; 4];
        size.copy_from_slice(&self.frame[8..12]);
        let size = u32::from_be_bytes(size) + handshake.len() as u32;
        debug_assert!(size as usize >= handshake.len() + self.head_size);
        [
            &self.frame[..8],
            &size.to_be_bytes(),
            &handshake,
            &self.frame[12..],
        ]
        .concat()
    }
}

struct Slot {
    template: Template,
    first_number: u64,
    serial: u32,
    in_flight: bool,
    sent_at: Instant,
}

/// See the module. [`Connection::run`] drives it, [`Connection::finish`] tells what it did.
pub struct Connection {
    stream: TcpStream,
    counters: Arc<Counters>,
    producer: Producer,
    stamp: Stamp,
    batch: u64,
    slots: Vec<Slot>,
    idle: VecDeque<usize>,
    refused: Vec<usize>,
    pause: Option<Pin<Box<Sleep>>>,
    output: Output,
    reader: FrameReader,
    calls_sent: u32,
    next_number: u64,
    greeted: bool,
    latency: Histogram<u64>,
}

/// Bytes on their way out.
#[derive(Default)]
struct Output {
    gathered: Vec<u8>,
    /// A large frame, written from where it lies.
    slot: Option<usize>,
    written: usize,
}

/// What a connection did.
#[derive(Debug)]
pub struct Report {
    /// What the collector should have seen.
    pub sent: SentBy,
    /// Of the calls answered while measuring, in nanoseconds.
    pub latency: Histogram<u64>,
}

/// An empty latency histogram.
///
/// # Errors
/// Never with the bounds as they are.
pub fn latency_histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(100, LATENCY_MAX.as_nanos() as u64, 3).context("histogram bounds")
}

impl Connection {
    /// Takes over a connected stream; encodes all frames.
    ///
    /// # Errors
    /// Never with the bounds as they are.
    pub fn new(
        stream: TcpStream,
        producer: Producer,
        shape: &CallShape,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        let slot = || Slot {
            template: Template::new(shape, producer),
            first_number: 0,
            serial: 0,
            in_flight: false,
            sent_at: Instant::now(),
        };
        Ok(Self {
            stream,
            counters,
            producer,
            stamp: Stamp::new(producer, shape.body as u32),
            batch: shape.batch as u64,
            slots: (0..shape.in_flight).map(|_| slot()).collect(),
            idle: (0..shape.in_flight).collect(),
            refused: Vec::new(),
            pause: None,
            output: Output::default(),
            reader: FrameReader::default(),
            calls_sent: 0,
            next_number: 0,
            greeted: false,
            latency: latency_histogram()?,
        })
    }

    /// Bytes of one call on the wire.
    pub fn frame_size(&self) -> usize {
        self.slots[0].template.frame.len()
    }

    /// Sends and reads until [`Phase::Drain`] was entered and every call is answered.
    ///
    /// # Errors
    /// When the peer closes, or answers what is no answer.
    pub async fn run(&mut self) -> Result<()> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// What was sent; calls not answered OK are listed as unsure.
    pub fn finish(self) -> Report {
        let unsure = self
            .slots
            .iter()
            .enumerate()
            .filter(|(index, slot)| slot.in_flight || self.refused.contains(index));
        let unsure = unsure
            .map(|(_, slot)| slot.first_number..slot.first_number + self.batch)
            .collect();
        Report {
            sent: SentBy {
                producer: self.producer,
                next: self.next_number,
                unsure,
            },
            latency: self.latency,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            self.poll_pause(context);
            self.fill();
            if self.idle.len() == self.slots.len() && self.output.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let wrote = self.poll_write(context)?;
            let read = self.poll_read(context)?;
            if wrote.is_pending() && read.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Lets refused calls go again, lowest numbers first, once their pause is over.
    fn poll_pause(&mut self, context: &mut Context<'_>) {
        if self
            .pause
            .as_mut()
            .is_some_and(|pause| pause.as_mut().poll(context).is_ready())
        {
            self.pause = None;
        }
    }

    /// Puts calls into the output if it is empty.
    fn fill(&mut self) {
        if !self.output.is_empty() {
            return;
        }
        let gather = self.frame_size() <= GATHERED_SIZE_MAX;
        while let Some(index) = self.next_slot() {
            let slot = &mut self.slots[index];
            slot.serial = self.calls_sent;
            slot.in_flight = true;
            slot.sent_at = Instant::now();
            slot.template.patch(slot.serial, &self.stamp, slot.first_number);
            self.calls_sent = self.calls_sent.wrapping_add(1);
            if !self.greeted {
                self.output.gathered = slot.template.with_handshake();
                return;
            }
            if !gather {
                self.output.slot = Some(index);
                return;
            }
            self.output.gathered.extend_from_slice(&slot.template.frame);
        }
    }

    /// The slot to be sent now, with its first number set.
    fn next_slot(&mut self) -> Option<usize> {
        if self.calls_sent > 0 && !self.greeted {
            return None;
        }
        if !self.refused.is_empty() {
            return if self.pause.is_none() {
                Some(self.refused.remove(0))
            } else {
                None
            };
        }
        if self.counters.is_in(Phase::Drain) {
            return None;
        }
        let index = self.idle.pop_front()?;
        self.slots[index].first_number = self.next_number;
        self.next_number += self.batch;
        Some(index)
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Result<Poll<()>> {
        let bytes = match self.output.slot {
            Some(index) => &self.slots[index].template.frame,
            None => &self.output.gathered,
        };
        let bytes = &bytes[self.output.written..];
        if bytes.is_empty() {
            return Ok(Poll::Pending);
        }
        match pin!(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(written) => self.output.written += written.context("write to the subject")?,
        }
        let size = self.output.slot.map_or(self.output.gathered.len(), |index| {
            self.slots[index].template.frame.len()
        });
        if self.output.written == size {
            self.output.slot = None;
            self.output.gathered.clear();
            self.output.written = 0;
        }
        Ok(Poll::Ready(()))
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Result<Poll<()>> {
        let mut buffer = ReadBuf::new(self.reader.spare());
        match pin!(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(read) => read.context("read from the subject")?,
        }
        let size = buffer.filled().len();
        ensure!(size > 0, "the subject closed the connection");
        self.reader.filled(size);
        while let Some(frame) = self.reader.next()? {
            let status = wire::read_answer(self.reader.message(frame), !self.greeted)?;
            self.greeted = true;
            self.answered(frame.serial, status)?;
        }
        Ok(Poll::Ready(()))
    }

    fn answered(&mut self, serial: u32, status: Status) -> Result<()> {
        let found = self
            .slots
            .iter()
            .position(|slot| slot.in_flight && slot.serial == serial);
        let index =
            found.ok_or_else(|| anyhow!("the subject answered call {serial}, which is not outstanding"))?;
        let slot = &mut self.slots[index];
        slot.in_flight = false;
        if self.counters.is_in(Phase::Measure) {
            self.latency
                .saturating_record(slot.sent_at.elapsed().as_nanos() as u64);
        }
        if status == Status::Ok {
            self.counters.calls.fetch_add(1, Relaxed);
            self.counters.events.fetch_add(self.batch, Relaxed);
            self.idle.push_back(index);
            return Ok(());
        }
        let counter = if status == Status::Failed {
            &self.counters.failed
        } else {
            &self.counters.errors
        };
        counter.fetch_add(1, Relaxed);
        self.refused.push(index);
        self.refused.sort_by_key(|&index| self.slots[index].first_number);
        self.pause
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(RESEND_PAUSE)));
        Ok(())
    }
}

impl Output {
    fn is_empty(&self) -> bool {
        self.slot.is_none() && self.gathered.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Verifier;
    use crate::wire::Cursor;

    const PRODUCER: Producer = Producer {
        run: 9,
        connection: 2,
    };

    fn check(batch: usize, body: usize, buffers: Buffers, handshake: bool) {
        let shape = CallShape {
            batch,
            body,
            buffers,
            in_flight: 1,
        };
        let mut template = Template::new(&shape, PRODUCER);
        template.patch(7, &Stamp::new(PRODUCER, body as u32), 1000);
        let stream = if handshake {
            template.with_handshake()
        } else {
            template.frame
        };
        let mut reader = FrameReader::default();
        let mut rest = &stream[..];
        let frame = loop {
            let spare = reader.spare();
            let size = spare.len().min(rest.len());
            spare[..size].copy_from_slice(&rest[..size]);
            reader.filled(size);
            rest = &rest[size..];
            if let Some(frame) = reader.next().unwrap() {
                break frame;
            }
        };
        assert!(rest.is_empty());
        let mut cursor = Cursor(reader.message(frame));
        if handshake {
            cursor.take(35).unwrap();
        }
        cursor.skip_map().unwrap();
        cursor.bytes().unwrap();
        if batch > 1 {
            assert_eq!(cursor.block().unwrap(), batch as u64);
        }
        let mut verifier = Verifier::default();
        for number in 1000..1000 + batch as u64 {
            cursor.skip_map().unwrap();
            assert_eq!(verifier.check(cursor.bytes().unwrap()), Some((PRODUCER, number)));
        }
        assert_eq!(cursor.0.len(), usize::from(batch > 1));
    }

    #[test]
    fn patched_frames_verify_in_either_framing() {
        for buffers in [Buffers::One, Buffers::Java] {
            for (batch, body) in [(1, 32), (1, 500), (100, 32), (1000, 500), (300, 509), (3, 20_000)] {
                check(batch, body, buffers, false);
                check(batch, body, buffers, true);
            }
        }
    }
}
