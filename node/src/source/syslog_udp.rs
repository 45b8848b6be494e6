//! `syslogudp`: syslog in datagrams, Flume's SyslogUDPSource.
//!
//! A datagram is one message, up to its first LF if it has one, of any size that datagrams can have (Flume cuts them at
//! 2,048 bytes). Headers and bodies are those of Flume's parser of old (see [`proto::syslog::Legacy`]).
//!
//! Promise: none; nobody waits for a receiver of datagrams. What has arrived together is put together. What a full
//! channel does not take within its keep-alive is dropped and counted, no more than that; meanwhile the system holds
//! what its receive buffer has room for.
//!
//! Failures: an empty datagram is counted as a read failure; the address in use: tried again until it is free.
//! Source: `flume/sources.md` 5.12, 5.14.

use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::source::{DynSource, Source, SourceContext};
use crate::io::datagrams::{Datagrams, Reader};
use crate::io::host_names::HostNames;
use crate::io::listen;
use crate::io::syslog::{ClientHeaders, CustomFormat, LocalZone, borrowed, keep_fields};
use proto::event::BatchBuilder;
use proto::syslog::{KeepFields, Legacy, When, datagram};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::UdpSocket;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "syslogudp",
    classes: &["org.apache.flume.source.SyslogUDPSource"],
    in_flume_metrics: true,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// `host`: host name or address; default all interfaces.
    pub host: Option<String>,
    /// `port`: 0 to 65535, 0 takes a free one; required.
    pub port: u16,
    /// `keepFields`: what stays in the body; default none.
    pub keep: KeepFields,
    /// `clientIPHeader`, `clientHostnameHeader`; default none.
    pub client: ClientHeaders,
    /// `format.regex`, `format.search`, `format.replace`, `format.dateFormat`; default none.
    pub format: Option<CustomFormat>,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        Self {
            host: keys.text("host"),
            port: keys.required_number("port", 0..=u16::MAX),
            keep: keep_fields(keys),
            client: ClientHeaders::read(keys),
            format: CustomFormat::read(keys),
        }
    }

    /// The source; nothing is bound yet.
    pub fn build(self) -> Result<SyslogUdp, BuildError> {
        Ok(SyslogUdp(self))
    }
}

/// The source.
#[derive(Debug)]
pub struct SyslogUdp(Config);

impl Source for SyslogUdp {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        let socket = listen::udp_anywhere(self.0.host.as_deref(), self.0.port).await?;
        self.serve(socket, ctx).await
    }
}

impl SyslogUdp {
    async fn serve(self, socket: UdpSocket, ctx: SourceContext) -> Result<(), RunError> {
        if let Ok(address) = socket.local_addr() {
            tracing::info!(source = %ctx.name, %address, "Syslog UDP source listens");
        }
        ctx.ready();
        let messages = Messages {
            parser: Legacy::new(self.0.keep),
            zone: LocalZone::system(),
            names: HostNames::new(ctx.clock.clone()),
            met: BTreeMap::new(),
            now_unix_ms: 0,
            config: self.0,
            ctx: ctx.clone(),
        };
        Datagrams::new(socket).run(&ctx, messages).await
    }
}

/// What is made of datagrams.
struct Messages {
    config: Config,
    parser: Legacy,
    zone: LocalZone,
    names: HostNames,
    /// Names of the peers of these datagrams.
    met: BTreeMap<IpAddr, Arc<str>>,
    now_unix_ms: i64,
    ctx: SourceContext,
}

impl Reader for Messages {
    async fn meet(&mut self, peers: &[SocketAddr]) {
        self.now_unix_ms = self.ctx.clock.unix_ms() as i64;
        if self.config.client.host_name.is_none() {
            return;
        }
        self.met = peers.iter().map(|peer| (peer.ip(), Arc::from(""))).collect();
        let names = self.met.iter_mut().map(|(address, name)| {
            let names = self.names.clone();
            async move { *name = names.of(*address).await }
        });
        futures_util::future::join_all(names).await;
    }

    fn append(&mut self, bytes: &[u8], peer: SocketAddr, batch: &mut BatchBuilder) {
        let Some(message) = datagram(bytes) else {
            self.ctx.counters.read_failures.add(1);
            tracing::debug!(source = %self.ctx.name, %peer, "a datagram without a message");
            return;
        };
        let name = self
            .met
            .get(&peer.ip())
            .map_or_else(String::new, |name| name.to_string());
        let headers = self.config.client.with(peer.ip(), name);
        let offset_seconds = |local| self.zone.offset_seconds(local);
        let when = When {
            now_unix_ms: self.now_unix_ms,
            offset_seconds: &offset_seconds,
        };
        let format = self.config.format.as_ref();
        let text = format.map(|_| String::from_utf8_lossy(message.bytes));
        let custom = format
            .zip(text.as_ref())
            .and_then(|(format, text)| format.fields(text));
        if let Err(error) = self
            .parser
            .push(message, custom, &when, &borrowed(&headers), batch)
        {
            self.ctx.counters.refused_inputs.add(1);
            tracing::error!(source = %self.ctx.name, %peer, %error, "message dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::source::{BODIES, Running, of};
    use crate::component::contract::{self, Recorder};
    use std::net::Ipv4Addr;

    fn source(pairs: &[(&str, &str)]) -> SyslogUdp {
        let pairs: Vec<_> = pairs.iter().copied().chain([("port", "0")]).collect();
        let mut keys = Keys::of("source r1 (syslogudp)", &pairs);
        let config = Config::read(&mut keys);
        assert!(keys.finish().is_empty());
        config.build().unwrap()
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
                let line = format!("<13>1 2012-04-13T11:11:11Z h {n}");
                sender.send(line.as_bytes()).await.unwrap();
            }
            source(&[]).serve(receiver, ctx).await
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

    async fn events_of(
        pairs: &[(&str, &str)],
        datagrams: &[&[u8]],
        count: usize,
    ) -> (Vec<String>, SourceContext) {
        let (receiver, sender) = bound().await;
        let (source, recorder) = (source(pairs), Recorder::new());
        let running = Running::start(of(|ctx| source.serve(receiver, ctx)), recorder.clone());
        for datagram in datagrams {
            sender.send(datagram).await.unwrap();
        }
        recorder.until(|seen| seen.events >= count).await;
        let ctx = running.ctx.clone();
        running.stop().await.unwrap();
        (recorder.events(), ctx)
    }

    const FIELDS: &str = "Facility=1,Severity=5,priority=13,version=1,timestamp=1334315471000,host=host1";

    #[tokio::test]
    async fn case_63_a_datagram_without_an_end_is_kept_whole() {
        let datagram = "<13>1 2012-04-13T11:11:11Z host1 nonl";
        let (events, _) = events_of(&[("keepFields", "all")], &[datagram.as_bytes()], 1).await;
        assert_eq!(events, [format!("{FIELDS} | {datagram}")]);
    }

    #[tokio::test]
    async fn case_64_a_datagram_is_one_message_of_any_size() {
        let large = format!("<13>1 2012-04-13T11:11:11Z host1 {}", "x".repeat(60_000));
        let (events, _) = events_of(
            &[],
            &[b"<13>1 2012-04-13T11:11:11Z host1 a\nb\n", large.as_bytes()],
            2,
        )
        .await;
        assert_eq!(events[0], format!("{FIELDS} | a"));
        assert_eq!(events[1].len(), FIELDS.len() + 3 + 60_000);
    }

    #[tokio::test]
    async fn an_empty_datagram_is_a_read_failure() {
        let (events, ctx) = events_of(&[], &[b"", b"\n", b"<13>x"], 1).await;
        assert_eq!(events, ["Facility=1,Severity=5 | <13>x"]);
        assert_eq!(
            (ctx.counters.read_failures.value(), ctx.counters.received.value()),
            (2, 1)
        );
    }

    #[tokio::test]
    async fn the_sender_is_in_headers() {
        let headers = [("clientIPHeader", "ip"), ("clientHostnameHeader", "hn")];
        let (events, _) = events_of(&headers, &[b"<13>x", b"<13>y"], 2).await;
        for event in events {
            assert!(
                event.contains("Severity=5,ip=127.0.0.1,hn=") && !event.contains("hn= "),
                "{event}"
            );
        }
    }

    #[tokio::test]
    async fn no_message_has_the_priority_of_another_sender() {
        let (events, _) = events_of(&[], &[b"<13>1 2012-04-13T11:11:11Z host1 a", b"<10>other"], 2).await;
        assert_eq!(events[1], "Facility=1,Severity=2 | <10>other");
    }
}
