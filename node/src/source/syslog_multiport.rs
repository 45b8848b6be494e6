//! `multiport_syslogtcp`: syslog over TCP on several ports, Flume's MultiportSyslogTCPSource.
//!
//! A message ends with LF; counted frames of RFC 6587 are understood as well (see [`proto::syslog::Framing`]). Headers
//! and bodies are those of Flume's newer parser (see [`proto::syslog::Multiport`]), which reads text: each port may
//! have a charset of its own, and bodies keep it.
//!
//! Promise: as `syslogtcp`: what was received whole is put until the channels take it, and meanwhile nothing is read.
//!
//! | failure | what happens |
//! |---|---|
//! | a channel refuses | put again with back-off (Flume drops the batch) |
//! | a message that is none, or that the charset cannot read | an event of status `Invalid`; counted as a read failure |
//! | a message over `eventSize` | its first bytes are an event of status `Incomplete`, the rest one of its own |
//! | an empty line | passed over (Flume loses all that came with it) |
//! | a port is in use | the others serve; it is tried again until it is free |
//! | more than `maxConnections`, nothing for `idleTimeout`, no TLS where there should be | the connection is closed and counted |
//!
//! Source: `flume/sources.md` 5.13, 5.15.

use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::{BuildContext, Type};
use crate::component::source::{DynSource, Source, SourceContext};
use crate::io::host_names::HostNames;
use crate::io::listen;
use crate::io::pump::{Parser, Pump, idle_timeout};
use crate::io::serve::{CONNECTIONS_MAX, Closed, Ends, Handler, Server};
use crate::io::syslog::{ClientHeaders, borrowed, event_size, keep_fields};
use crate::io::tls::ServerTls;
use crate::java::charset::Charset;
use cluster::backoff::Backoff;
use proto::event::BatchBuilder;
use proto::syslog::{Framing, KeepFields, Multiport, Parsed};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "multiport_syslogtcp",
    classes: &["org.apache.flume.source.MultiportSyslogTCPSource"],
    in_flume_metrics: true,
    build: |keys, ctx| Ok(Box::new(Config::read(keys, ctx).build()?)),
};

/// Waits before a port that is in use is tried again.
const BIND_FIRST: Duration = Duration::from_millis(100);
const BIND_MAX: Duration = Duration::from_secs(3);

/// Settings.
#[derive(Clone)]
pub struct Config {
    /// `host`: host name or address; default all interfaces.
    pub host: Option<String>,
    /// `ports`: separated by blanks, 0 takes a free one; required.
    pub ports: Vec<u16>,
    /// `eventSize`: bytes of a message without its LF; default 2,500.
    pub event_size_bytes: usize,
    /// `batchSize`: events of one put at most; default 100.
    pub batch_size_events: usize,
    /// `readBufferBytes`: bytes that a connection's buffer begins with, 8 KiB to 256 KiB, whatever is asked for;
    /// default 1,024. The guide's spelling `readBufferSize` is understood, with a warning.
    pub read_buffer_bytes: usize,
    /// `portHeader`: name of the header for the port that a message came to; default none.
    pub port_header: Option<String>,
    /// `clientIPHeader`, `clientHostnameHeader`; default none.
    pub client: ClientHeaders,
    /// `charset.default`: default UTF-8.
    pub charset: Charset,
    /// `charset.port.<port>`: for this port.
    pub charsets: BTreeMap<u16, Charset>,
    /// `keepFields`: what stays in the body; default none.
    pub keep: KeepFields,
    /// `ssl` and what goes with it; default none.
    pub tls: Option<ServerTls>,
    /// `maxConnections` (ours): connections at once, over all ports; default 10,000.
    pub connections_max: usize,
    /// `idleTimeout` (ours): milliseconds without a byte after which a connection is closed; default 0, never.
    pub idle: Option<Duration>,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys, ctx: &BuildContext) -> Self {
        let ports = ports(keys);
        keys.without_effect(
            "numProcessors",
            "has no effect: all connections share the node's threads",
        );
        let charset = charset(keys, "charset.default");
        Self {
            host: keys.text("host"),
            event_size_bytes: event_size(keys),
            batch_size_events: keys.number("batchSize", 100, 1..=i32::MAX as usize),
            read_buffer_bytes: read_buffer(keys),
            port_header: keys.text("portHeader"),
            client: ClientHeaders::read(keys),
            charset: charset.unwrap_or(Charset::Utf8),
            charsets: charsets(keys, &ports),
            keep: keep_fields(keys),
            tls: ServerTls::read(keys, &ctx.tls),
            connections_max: keys.number("maxConnections", CONNECTIONS_MAX, 1..=1_000_000),
            idle: idle_timeout(keys),
            ports,
        }
    }

    /// The source; nothing is bound yet.
    pub fn build(self) -> Result<SyslogMultiport, BuildError> {
        Ok(SyslogMultiport(self))
    }
}

fn ports(keys: &mut Keys) -> Vec<u16> {
    let list = keys.required("ports");
    let mut ports = Vec::new();
    for word in list.split_whitespace() {
        match word.parse() {
            Ok(port) => ports.push(port),
            Err(_) => keys.wrong(
                "ports",
                &format!("expected ports, 0 to 65535, separated by blanks, found \"{word}\""),
            ),
        }
    }
    ports
}

fn read_buffer(keys: &mut Keys) -> usize {
    let bytes = keys.number("readBufferBytes", 1_024, 1..=i32::MAX as usize);
    if keys.text("readBufferSize").is_none() {
        return bytes;
    }
    let message = "the guide's spelling; honoured here, in Flume only readBufferBytes has an effect";
    keys.warn("readBufferSize", "other-spelling", message.to_owned());
    keys.number("readBufferSize", bytes, 1..=i32::MAX as usize)
}

fn charset(keys: &mut Keys, key: &str) -> Option<Charset> {
    let name = keys.text(key)?;
    let found = Charset::named(&name);
    if found.is_none() {
        keys.wrong(
            key,
            &format!("expected a charset such as UTF-8 or ISO-8859-1, found \"{name}\""),
        );
    }
    found
}

fn charsets(keys: &mut Keys, ports: &[u16]) -> BTreeMap<u16, Charset> {
    let mut part = keys.below("charset.port.");
    let known = ports
        .iter()
        .filter_map(|port| Some((*port, charset(&mut part, &port.to_string())?)));
    let known = known.collect();
    keys.absorb(part);
    known
}

/// The source.
pub struct SyslogMultiport(Config);

impl Source for SyslogMultiport {
    fn batch_size(&self) -> Option<usize> {
        Some(self.0.batch_size_events)
    }

    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        let bound = self.0.ports.iter().map(|port| self.bound(*port, &ctx));
        self.serve_all(bound, &ctx).await;
        Ok(())
    }
}

impl SyslogMultiport {
    /// Serves each port as soon as it is there.
    async fn serve_all<F>(&self, ports: impl Iterator<Item = F>, ctx: &SourceContext)
    where
        F: Future<Output = Option<TcpListener>> + Send,
    {
        let handler = Connections {
            config: self.0.clone(),
            names: HostNames::new(ctx.clock.clone()),
            ctx: ctx.clone(),
        };
        let server = Server::new(ctx.clone(), handler, self.0.tls.clone(), self.0.connections_max);
        let is_ready = AtomicBool::new(false);
        let (server, is_ready) = (&server, &is_ready);
        let served = ports.map(|port| async move {
            let Some(listener) = port.await else {
                return; // the source is to stop
            };
            if !is_ready.swap(true, Relaxed) {
                ctx.ready();
            }
            server.accept(listener).await;
        });
        futures_util::future::join_all(served).await;
    }

    /// Listens on a port as soon as that can be had; none when the source is to stop.
    async fn bound(&self, port: u16, ctx: &SourceContext) -> Option<TcpListener> {
        let mut backoff = Backoff::new(BIND_FIRST, BIND_MAX, ctx.seed ^ u64::from(port));
        loop {
            match listen::tcp_anywhere(self.0.host.as_deref(), port).await {
                Ok(listener) => {
                    let address = listener.local_addr().ok()?;
                    tracing::info!(source = %ctx.name, %address, "Multiport syslog TCP source listens");
                    return Some(listener);
                }
                Err(error) => {
                    tracing::warn!(source = %ctx.name, port, %error, "port cannot be had yet; the others serve");
                    if ctx.shutdown.sleep(backoff.fail()).await {
                        return None;
                    }
                }
            }
        }
    }
}

/// What the connections of one source share.
struct Connections {
    config: Config,
    names: HostNames,
    ctx: SourceContext,
}

impl Handler for Connections {
    async fn serve<S>(&self, stream: S, ends: Ends) -> Result<(), Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = &self.config;
        let port = ends.local.port();
        let mut headers = config.client.of(ends.peer.ip(), &self.names).await;
        headers.extend(config.port_header.clone().map(|key| (key, port.to_string())));
        let messages = Messages {
            framing: Framing::new(config.event_size_bytes).counting().keeping_cr(),
            parser: Multiport::new(config.keep),
            charset: config.charsets.get(&port).copied().unwrap_or(config.charset),
            headers,
            ctx: &self.ctx,
        };
        Pump::new(&self.ctx, Some(config.batch_size_events), config.idle)
            .reading(config.read_buffer_bytes)
            .run(stream, messages)
            .await
    }
}

/// The messages of one connection.
struct Messages<'a> {
    framing: Framing,
    parser: Multiport,
    charset: Charset,
    headers: Vec<(String, String)>,
    ctx: &'a SourceContext,
}

impl Parser for Messages<'_> {
    fn parse(&mut self, input: &mut &[u8], events_max: usize, batch: &mut BatchBuilder) {
        let now_unix_ms = self.ctx.clock.unix_ms() as i64;
        let extra = borrowed(&self.headers);
        let charset = self.charset;
        let mut invalid = 0;
        while batch.len() < events_max
            && let Some(message) = self.framing.next(input)
        {
            let is_plain = contains_ascii(charset) && message.bytes.is_ascii();
            let charset = if is_plain { Charset::Utf8 } else { charset };
            let text = charset.decode_strict(message.bytes);
            let pushed = self.parser.push(
                message,
                text.as_deref(),
                |text| charset.encode(text),
                now_unix_ms,
                &extra,
                batch,
            );
            match pushed {
                Ok(Parsed::Invalid) => invalid += 1,
                Ok(_) => {}
                Err(error) => {
                    self.ctx.counters.refused_inputs.add(1);
                    tracing::error!(source = %self.ctx.name, %error, "message dropped");
                }
            }
        }
        self.ctx.counters.read_failures.add(invalid);
    }
}

/// Whether seven bits mean the same as in UTF-8, so that nothing is to be done about them.
fn contains_ascii(charset: Charset) -> bool {
    match charset {
        Charset::Utf8 | Charset::Ascii | Charset::Latin1 => true,
        Charset::Other(encoding) => encoding.is_ascii_compatible(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::source::{BODIES, Running, of};
    use crate::component::contract::{self, ManualClock, Recorder};
    use crate::component::registry::Types;
    use std::future::ready;
    use std::net::{Ipv4Addr, SocketAddr};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;

    fn read(pairs: &[(&str, &str)]) -> (Config, Vec<String>) {
        let mut keys = Keys::of("source r1 (multiport_syslogtcp)", pairs);
        let ctx = contract::build_context("r1", ManualClock::at(0), Types::default());
        let config = Config::read(&mut keys, &ctx);
        (config, keys.finish().iter().map(|f| f.to_string()).collect())
    }

    fn source(pairs: &[(&str, &str)]) -> SyslogMultiport {
        let pairs: Vec<_> = [("ports", "0")]
            .into_iter()
            .chain(pairs.iter().copied())
            .collect();
        let (config, findings) = read(&pairs);
        assert!(findings.is_empty(), "{findings:?}");
        config.build().unwrap()
    }

    async fn bound() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn fed() -> Box<dyn DynSource> {
        of(|ctx| async move {
            let (listener, address) = bound().await;
            let feed = async {
                let mut stream = TcpStream::connect(address).await.unwrap();
                for n in 0..BODIES {
                    let line = format!("<13>1 2012-04-13T11:11:11Z h {n}\n");
                    let _ = stream.write_all(line.as_bytes()).await;
                }
                ctx.shutdown.requested().await;
            };
            let source = source(&[("batchSize", "4")]);
            tokio::join!(source.serve_all([ready(Some(listener))].into_iter(), &ctx), feed);
            Ok(())
        })
    }

    contract::source::suite!(fed);

    /// Sends bytes to the first port and to the second and returns the events, sorted, and the second port.
    async fn events_of(
        configure: impl Fn(&[u16]) -> SyslogMultiport,
        sent: [&[u8]; 2],
        count: usize,
    ) -> (Vec<String>, [u16; 2], SourceContext) {
        let (first, second) = (bound().await, bound().await);
        let ports = [first.1.port(), second.1.port()];
        let (source, recorder) = (configure(&ports), Recorder::new());
        let serve = of(move |ctx| async move {
            source
                .serve_all([first.0, second.0].map(|l| ready(Some(l))).into_iter(), &ctx)
                .await;
            Ok(())
        });
        let running = Running::start(serve, recorder.clone());
        for (address, bytes) in [first.1, second.1].into_iter().zip(sent) {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
        }
        recorder.until(|seen| seen.events >= count).await;
        let ctx = running.ctx.clone();
        running.stop().await.unwrap();
        let mut events = recorder.events();
        events.sort();
        (events, ports, ctx)
    }

    #[tokio::test]
    async fn cases_65_and_66_name_the_port_of_each_message() {
        let message = b"<13>1 2012-04-13T11:11:11Z host1 a msg\n";
        let sent = [&message[..], b"<10>Good good data\n"];
        let (events, [p1, p2], ctx) = events_of(|_| source(&[("portHeader", "port")]), sent, 2).await;
        let first = format!(
            "Facility=1,Severity=5,Priority=13,Version=1,timestamp=1334315471000,host=host1,port={p1} | a msg"
        );
        let second = format!("flume.syslog.status=Invalid,port={p2} | <10>Good good data");
        assert_eq!(events, [first, second]);
        assert_eq!(ctx.counters.read_failures.value(), 1);
    }

    #[tokio::test]
    async fn case_72_each_port_has_a_charset() {
        let message = b"<13>1 2012-04-13T11:11:11Z host1 \xe9\n";
        let configure = |ports: &[u16]| {
            let list = format!("{} {}", ports[0], ports[1]);
            let key = format!("charset.port.{}", ports[1]);
            let (config, findings) = read(&[("ports", &list), (&key, "ISO-8859-1")]);
            assert!(findings.is_empty(), "{findings:?}");
            config.build().unwrap()
        };
        let (events, _, ctx) = events_of(configure, [message, message], 2).await;
        assert_eq!(
            events[0],
            "Facility=1,Severity=5,Priority=13,Version=1,timestamp=1334315471000,host=host1 | \u{fffd}"
        );
        assert_eq!(
            events[1],
            "flume.syslog.status=Invalid | <13>1 2012-04-13T11:11:11Z host1 \u{fffd}"
        );
        assert_eq!(ctx.counters.read_failures.value(), 1);
    }

    #[tokio::test]
    async fn cases_67_and_70_now_is_the_time_of_receipt_and_empty_lines_are_nothing() {
        let (events, ..) = events_of(|_| source(&[]), [b"<14>1 - - nul\n\n<14>1 - - nul\n", b""], 2).await;
        let event = "Facility=1,Severity=6,Priority=14,Version=1,timestamp=1700000000000,host=- | nul";
        assert_eq!(events, [event, event]);
    }

    #[tokio::test]
    async fn batches_have_at_most_batch_size_events() {
        let (listener, address) = bound().await;
        let (source, recorder) = (source(&[("batchSize", "7")]), Recorder::new());
        assert_eq!(Source::batch_size(&source), Some(7));
        let serve = of(move |ctx| async move {
            source.serve_all([ready(Some(listener))].into_iter(), &ctx).await;
            Ok(())
        });
        let running = Running::start(serve, recorder.clone());
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all("<14>1 - - x\n".repeat(100).as_bytes())
            .await
            .unwrap();
        recorder.until(|seen| seen.events == 100).await;
        running.stop().await.unwrap();
        assert!(recorder.batches().iter().all(|batch| batch.len() <= 7));
    }

    #[tokio::test]
    async fn a_port_in_use_is_had_later_and_the_others_serve_meanwhile() {
        let (taken, taken_address) = bound().await;
        let (free, free_address) = bound().await;
        drop(free);
        let list = format!("{} {}", taken_address.port(), free_address.port());
        let (config, _) = read(&[("host", "127.0.0.1"), ("ports", &list)]);
        let recorder = Recorder::new();
        let running = Running::start(Box::new(config.build().unwrap()), recorder.clone());
        send_when_up(free_address).await;
        recorder.until(|seen| seen.events == 1).await;
        drop(taken);
        send_when_up(taken_address).await;
        recorder.until(|seen| seen.events == 2).await;
        running.stop().await.unwrap();
    }

    async fn send_when_up(address: SocketAddr) {
        contract::soon(async {
            loop {
                if let Ok(mut stream) = TcpStream::connect(address).await {
                    return stream.write_all(b"<14>1 - - x\n").await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    #[test]
    fn mistakes_are_named_all_at_once() {
        let (_, findings) = read(&[
            ("ports", "1 x 70000"),
            ("charset.default", "none"),
            ("charset.port.1", "nor this"),
            ("charset.port.2", "UTF-8"),
            ("readBufferSize", "2048"),
            ("numProcessors", "4"),
        ]);
        let expected = [
            "bad-value]: source r1 (multiport_syslogtcp): ports: expected ports, 0 to 65535, separated by blanks, found \"x\"",
            "bad-value]: source r1 (multiport_syslogtcp): ports: expected ports, 0 to 65535, separated by blanks, found \"70000\"",
            "no-effect]: source r1 (multiport_syslogtcp): numProcessors: has no effect: all connections share the node's threads",
            "bad-value]: source r1 (multiport_syslogtcp): charset.default: expected a charset such as UTF-8 or ISO-8859-1, found \"none\"",
            "other-spelling]: source r1 (multiport_syslogtcp): readBufferSize: the guide's spelling; honoured here, in Flume only readBufferBytes has an effect",
            "bad-value]: source r1 (multiport_syslogtcp): charset.port.1: expected a charset such as UTF-8 or ISO-8859-1, found \"nor this\"",
            "unknown-key]: source r1 (multiport_syslogtcp): charset.port.2: unknown, ignored",
        ];
        assert_eq!(findings.len(), expected.len(), "{findings:#?}");
        for (finding, expected) in findings.iter().zip(expected) {
            assert!(finding.contains(expected), "{finding}");
        }
    }
}
