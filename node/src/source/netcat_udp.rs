//! `netcatudp`: text in datagrams, Flume's NetcatUdpSource.
//!
//! A datagram is one event: what stands before its first LF, or all of it, of any size that datagrams can have (Flume
//! cuts them at 2,048 bytes). An empty datagram is an empty event. With `remoteAddress` its sender is in that header, as
//! Java writes it: `/127.0.0.1:46407`; without it there is no header (in Flume one without a name).
//!
//! Promise: none; nobody waits for a receiver of datagrams. What has arrived together is put together. What a full
//! channel does not take within its keep-alive is dropped and counted, no more than that.
//!
//! Failures: the address in use: tried again until it is free. Source: `flume/sources.md` 5.9, `flume/wire.md` 7.2.

use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::source::{DynSource, Source, SourceContext};
use crate::io::datagrams::{Datagrams, Reader};
use crate::io::host_names::java_text;
use crate::io::listen;
use proto::event::BatchBuilder;
use std::net::SocketAddr;
use tokio::net::UdpSocket;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "netcatudp",
    classes: &["org.apache.flume.source.NetcatUdpSource"],
    in_flume_metrics: true,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `bind`: host name or address; default all interfaces.
    pub bind: Option<String>,
    /// `port`: 0 to 65535, 0 takes a free one; required.
    pub port: u16,
    /// `remoteAddress`: name of the header for the sender; default none. The guide's spelling `remoteAddressHeader` is
    /// understood, with a warning.
    pub remote_address: Option<String>,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        Self {
            bind: keys.text("bind"),
            port: keys.required_number("port", 0..=u16::MAX),
            remote_address: remote_address(keys),
        }
    }

    /// The source; nothing is bound yet.
    pub fn build(self) -> Result<NetcatUdp, BuildError> {
        Ok(NetcatUdp(self))
    }
}

fn remote_address(keys: &mut Keys) -> Option<String> {
    let name = keys.text("remoteAddress");
    let other = keys.text("remoteAddressHeader");
    if other.is_some() {
        let message = "the guide's spelling; honoured here, in Flume only remoteAddress has an effect";
        keys.warn("remoteAddressHeader", "other-spelling", message.to_owned());
    }
    name.or(other)
}

/// The source.
#[derive(Debug)]
pub struct NetcatUdp(Config);

impl Source for NetcatUdp {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        let socket = listen::udp_anywhere(self.0.bind.as_deref(), self.0.port).await?;
        self.serve(socket, ctx).await
    }
}

impl NetcatUdp {
    async fn serve(self, socket: UdpSocket, ctx: SourceContext) -> Result<(), RunError> {
        if let Ok(address) = socket.local_addr() {
            tracing::info!(source = %ctx.name, %address, "Netcat UDP source listens");
        }
        ctx.ready();
        let texts = Texts {
            header: self.0.remote_address,
            ctx: ctx.clone(),
        };
        Datagrams::new(socket).run(&ctx, texts).await
    }
}

/// What is made of datagrams.
struct Texts {
    header: Option<String>,
    ctx: SourceContext,
}

impl Reader for Texts {
    async fn meet(&mut self, _: &[SocketAddr]) {}

    fn append(&mut self, datagram: &[u8], peer: SocketAddr, batch: &mut BatchBuilder) {
        let end = datagram
            .iter()
            .position(|b| *b == b'\n')
            .unwrap_or(datagram.len());
        let header = self.header.iter().map(|key| (key.as_str(), shown(peer)));
        if let Err(error) = batch.push(header, &datagram[..end]) {
            self.ctx.counters.refused_inputs.add(1);
            tracing::error!(source = %self.ctx.name, %peer, %error, "datagram dropped");
        }
    }
}

/// As Java's `InetSocketAddress` shows an address that has no name.
fn shown(peer: SocketAddr) -> String {
    let address = java_text(peer.ip());
    if address.contains(':') {
        format!("/[{address}]:{}", peer.port())
    } else {
        format!("/{address}:{}", peer.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::source::{BODIES, Running, of};
    use crate::component::contract::{self, Recorder};
    use std::net::Ipv4Addr;

    fn read(pairs: &[(&str, &str)]) -> (Config, Vec<String>) {
        let pairs: Vec<_> = pairs.iter().copied().chain([("port", "0")]).collect();
        let mut keys = Keys::of("source r1 (netcatudp)", &pairs);
        let config = Config::read(&mut keys);
        (config, keys.finish().iter().map(|f| f.to_string()).collect())
    }

    async fn bound() -> (UdpSocket, UdpSocket) {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        sender.connect(receiver.local_addr().unwrap()).await.unwrap();
        (receiver, sender)
    }

    fn fed() -> Box<dyn DynSource> {
        of(|ctx| async move {
            let (receiver, sender) = bound().await;
            for n in 0..BODIES {
                sender.send(n.to_string().as_bytes()).await.unwrap();
            }
            read(&[]).0.build().unwrap().serve(receiver, ctx).await
        })
    }

    // Nobody sends a refused datagram again, so that promise is not among these.
    contract::source::suite!(@each fed;
        everything_arrives_once_in_order_and_is_counted,
        it_says_that_it_is_ready,
        it_stops_when_there_is_nothing_more,
        it_stops_while_the_channel_refuses,
        it_stops_while_a_put_hangs,
        dropped_in_the_middle_it_leaves_no_task_behind,
    );

    /// The events of these datagrams, and the sender's port.
    async fn events_of(pairs: &[(&str, &str)], datagrams: &[&[u8]]) -> (Vec<String>, u16) {
        let (receiver, sender) = bound().await;
        let recorder = Recorder::new();
        let source = read(pairs).0.build().unwrap();
        let running = Running::start(of(|ctx| source.serve(receiver, ctx)), recorder.clone());
        for datagram in datagrams {
            sender.send(datagram).await.unwrap();
        }
        recorder.until(|seen| seen.events >= datagrams.len()).await;
        running.stop().await.unwrap();
        (recorder.events(), sender.local_addr().unwrap().port())
    }

    #[tokio::test]
    async fn case_10_the_sender_is_in_the_header_that_is_asked_for() {
        for key in ["remoteAddress", "remoteAddressHeader"] {
            let (events, port) = events_of(&[(key, "ra")], &[b"hi\nthere\n"]).await;
            assert_eq!(events, [format!("ra=/127.0.0.1:{port} | hi")]);
        }
        assert_eq!(shown("[::1]:5".parse().unwrap()), "/[0:0:0:0:0:0:0:1]:5");
        assert_eq!(shown("[::ffff:10.0.0.1]:5".parse().unwrap()), "/10.0.0.1:5");
    }

    #[tokio::test]
    async fn cases_11_and_12_there_are_no_headers_and_nothing_is_cut() {
        let large = vec![b'x'; 5_000];
        let (events, _) = events_of(&[], &[b"hello", &large, b"", b"\n"]).await;
        assert_eq!(events[0], " | hello");
        assert_eq!(events[1].len(), 5_003);
        assert_eq!(events[2..], [" | ", " | "]);
    }

    #[test]
    fn the_guides_spelling_is_understood_with_a_warning() {
        let (config, findings) = read(&[("remoteAddressHeader", "a"), ("remoteAddress", "b")]);
        assert_eq!(config.remote_address.as_deref(), Some("b"));
        assert!(findings[0].contains("other-spelling"), "{findings:?}");
        assert_eq!(findings.len(), 1);
    }
}
