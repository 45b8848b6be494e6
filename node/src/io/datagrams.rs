//! Datagrams, many at a time: one wake-up reads all that have arrived, up to a bound.
//!
//! Datagrams of any size are received whole. The system's receive buffer is asked to hold 4 MiB (it gives as much as
//! `net.core.rmem_max` allows), as nobody waits for a receiver of datagrams: what finds it full is lost.

use super::deliver;
use crate::component::error::RunError;
use crate::component::source::SourceContext;
use proto::event::{BatchBuilder, EventLimits};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep};

/// The largest datagram.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Bytes of datagrams that are read before they are put.
const HELD_BYTES_MAX: usize = 256 << 10;
/// And how many.
const HELD_MAX: usize = 1_000;
/// What the system is asked to hold.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// How long a stopping source reads what has arrived before.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// How long after the request to stop puts may take.
const LAST_PUT: Duration = Duration::from_secs(3);

/// A socket, and the datagrams that were read and not yet put.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    bytes: Vec<u8>,
    held: Vec<(Range<usize>, SocketAddr)>,
    /// Events dropped since the last put that was taken whole.
    dropped: usize,
}

/// What a source makes of datagrams.
pub trait Reader: Send {
    /// Looks at who has sent before anything is appended; may wait a little.
    fn meet(&mut self, peers: &[SocketAddr]) -> impl Future<Output = ()> + Send;

    /// Appends the event of a datagram, or none.
    fn append(&mut self, datagram: &[u8], peer: SocketAddr, batch: &mut BatchBuilder);
}

impl Datagrams {
    /// Over a bound socket.
    pub fn new(socket: UdpSocket) -> Self {
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        Self {
            socket,
            bytes: vec![0; HELD_BYTES_MAX + DATAGRAM_BYTES_MAX],
            held: Vec::new(),
            dropped: 0,
        }
    }

    /// Reads and puts until the source is to stop.
    ///
    /// # Errors
    /// The socket broke; a new one may work.
    pub async fn run(mut self, ctx: &SourceContext, mut reader: impl Reader) -> Result<(), RunError> {
        let broken = |error: io::Error| RunError::retry("cannot receive datagrams").caused_by(error);
        loop {
            let received = tokio::select! {
                biased;
                () = ctx.shutdown.requested() => break,
                received = self.receive() => received,
            };
            received.map_err(broken)?;
            self.put(ctx, &mut reader).await;
        }
        let until = Instant::now() + DRAIN_MAX;
        // The socket may not have been looked at since the last datagrams came.
        while Instant::now() < until && self.has_more().await {
            self.drain().map_err(broken)?;
            self.put(ctx, &mut reader).await;
        }
        Ok(())
    }

    /// Waits for a datagram, then reads all that are there, up to the bounds.
    async fn receive(&mut self) -> io::Result<()> {
        loop {
            self.socket.readable().await?;
            self.drain()?;
            if !self.held.is_empty() {
                return Ok(());
            }
        }
    }

    async fn has_more(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(20), self.socket.readable())
            .await
            .is_ok()
    }

    fn drain(&mut self) -> io::Result<()> {
        let mut at = 0;
        while self.held.len() < HELD_MAX && at < HELD_BYTES_MAX {
            match self.socket.try_recv_from(&mut self.bytes[at..]) {
                Ok((read, peer)) => {
                    self.held.push((at..at + read, peer));
                    at += read;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The answer to something that somebody else sent from this port.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) if self.held.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(())
    }

    async fn put(&mut self, ctx: &SourceContext, reader: &mut impl Reader) {
        let peers: Vec<SocketAddr> = self.held.iter().map(|(_, peer)| *peer).collect();
        reader.meet(&peers).await;
        let capacity = ctx.transaction_capacity().unwrap_or(HELD_MAX).max(1);
        for some in self.held.chunks(capacity) {
            let bytes = some.iter().map(|(place, _)| place.len() + 64).sum();
            let mut batch = BatchBuilder::with_capacity(EventLimits::default(), bytes);
            for (place, peer) in some {
                reader.append(&self.bytes[place.clone()], *peer, &mut batch);
            }
            ctx.counters.received.add(batch.len() as u64);
            let last_call = async {
                ctx.shutdown.requested().await;
                sleep(LAST_PUT).await;
            };
            tokio::select! {
                biased;
                dropped = deliver::what_fits(ctx, batch.finish()) => tell(ctx, &mut self.dropped, dropped),
                () = last_call => break,
            }
        }
        self.held.clear();
    }
}

/// Says when a series of drops begins and when it has ended, however many there are.
fn tell(ctx: &SourceContext, series: &mut usize, dropped: usize) {
    if dropped > 0 && *series == 0 {
        tracing::warn!(source = %ctx.name, events = dropped, "the channel is full: events are dropped");
    } else if dropped == 0 && *series > 0 {
        tracing::warn!(source = %ctx.name, events = *series, "the channel has room again; so many events were dropped");
    }
    *series = if dropped == 0 { 0 } else { *series + dropped };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::{Recorder, soon};
    use std::net::Ipv4Addr;

    struct All;

    impl Reader for All {
        async fn meet(&mut self, peers: &[SocketAddr]) {
            assert!(!peers.is_empty());
        }

        fn append(&mut self, datagram: &[u8], _: SocketAddr, batch: &mut BatchBuilder) {
            batch.push(std::iter::empty::<(&str, &str)>(), datagram).unwrap();
        }
    }

    async fn bound() -> (UdpSocket, UdpSocket) {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        sender.connect(receiver.local_addr().unwrap()).await.unwrap();
        (receiver, sender)
    }

    #[tokio::test]
    async fn what_has_arrived_is_one_batch_and_is_put_when_the_source_stops() {
        let (receiver, sender) = bound().await;
        for n in 0..50 {
            sender.send(n.to_string().as_bytes()).await.unwrap();
        }
        let recorder = Recorder::new();
        let ctx = recorder.context();
        ctx.shutdown.request();
        soon(Datagrams::new(receiver).run(&ctx, All)).await.unwrap();
        let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        assert_eq!(recorder.batches(), [expected]);
        assert_eq!(
            (ctx.counters.received.value(), ctx.counters.accepted.value()),
            (50, 50)
        );
    }

    #[tokio::test]
    async fn the_largest_datagram_comes_whole_and_many_of_them_do_not_come_at_once() {
        let (receiver, sender) = bound().await;
        let recorder = Recorder::new();
        let ctx = recorder.context();
        let run = tokio::spawn({
            let ctx = ctx.clone();
            async move { Datagrams::new(receiver).run(&ctx, All).await }
        });
        let large = vec![b'x'; 65_507];
        for n in 1..=10 {
            sender.send(&large).await.unwrap();
            recorder.until(|seen| seen.events == n).await;
        }
        ctx.shutdown.request();
        soon(run).await.unwrap().unwrap();
        assert!(recorder.bodies().iter().all(|body| body.len() == large.len()));
    }

    #[tokio::test]
    async fn no_more_than_the_bound_is_held() {
        let (receiver, sender) = bound().await;
        let mut datagrams = Datagrams::new(receiver);
        // As much as the system holds, which may be less than all of them.
        for _ in 0..3 * HELD_MAX {
            sender.send(b"x").await.unwrap();
        }
        datagrams.receive().await.unwrap();
        assert!((1..=HELD_MAX).contains(&datagrams.held.len()));
    }

    #[tokio::test]
    async fn what_a_full_channel_refuses_is_dropped_and_counted() {
        let (receiver, sender) = bound().await;
        let recorder = Recorder::new();
        recorder.refuse(1);
        let ctx = recorder.context();
        let run = tokio::spawn({
            let ctx = ctx.clone();
            async move { Datagrams::new(receiver).run(&ctx, All).await }
        });
        sender.send(b"lost").await.unwrap();
        recorder.until(|seen| seen.refused == 1).await;
        sender.send(b"kept").await.unwrap();
        recorder.until(|seen| seen.events == 1).await;
        ctx.shutdown.request();
        soon(run).await.unwrap().unwrap();
        assert_eq!(recorder.bodies(), ["kept"]);
        let counters = &ctx.counters;
        assert_eq!((counters.received.value(), counters.accepted.value()), (2, 1));
        assert_eq!(counters.channel_write_failures.value(), 1);
    }
}
