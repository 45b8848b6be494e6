//! `syslogtcp`: syslog over TCP, Flume's SyslogTcpSource.
//!
//! A message ends with LF; counted frames of RFC 6587 are understood as well (see [`proto::syslog::Framing`]). Headers
//! and bodies are those of Flume's parser of old (see [`proto::syslog::Legacy`]).
//!
//! Promise: syslog has no acknowledgement. What was received whole is put, in the order of its connection, and put
//! again until the channels take it; meanwhile nothing is read, so that the sender waits. Lost is what the system had
//! received, and the source had not read, when a connection breaks or the process dies.
//!
//! | failure | what happens |
//! |---|---|
//! | a channel refuses | put again with back-off (Flume drops the message) |
//! | a message that no channel could ever hold | dropped and counted, an error in the log |
//! | a message over `eventSize` | its first bytes are an event of status `Incomplete`, the rest one of its own |
//! | not a syslog message | an event of status `Invalid` with all of its bytes |
//! | a last message without an end | dropped, as in Flume |
//! | more than `maxConnections`, nothing for `idleTimeout`, no TLS where there should be | the connection is closed and counted |
//! | the address is in use | tried again until it is free (Flume never listens then) |
//!
//! Source: `flume/sources.md` 5.11, 5.14.

use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::{BuildContext, Type};
use crate::component::source::{DynSource, Source, SourceContext};
use crate::io::host_names::HostNames;
use crate::io::listen;
use crate::io::pump::{Parser, Pump, idle_timeout};
use crate::io::serve::{CONNECTIONS_MAX, Closed, Ends, Handler, Server};
use crate::io::syslog::{ClientHeaders, CustomFormat, LocalZone, borrowed, event_size, keep_fields};
use crate::io::tls::ServerTls;
use proto::event::BatchBuilder;
use proto::syslog::{Framing, KeepFields, Legacy, When};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "syslogtcp",
    classes: &["org.apache.flume.source.SyslogTcpSource"],
    in_flume_metrics: true,
    build: |keys, ctx| Ok(Box::new(Config::read(keys, ctx).build()?)),
};

/// Settings.
#[derive(Clone)]
pub struct Config {
    /// `host`: host name or address; default all interfaces (Flume listens nowhere then).
    pub host: Option<String>,
    /// `port`: 0 to 65535, 0 takes a free one; required.
    pub port: u16,
    /// `eventSize`: bytes of a message without its end; default 2,500.
    pub event_size_bytes: usize,
    /// `keepFields`: what stays in the body; default none.
    pub keep: KeepFields,
    /// `clientIPHeader`, `clientHostnameHeader`; default none.
    pub client: ClientHeaders,
    /// `format.regex`, `format.search`, `format.replace`, `format.dateFormat`; default none.
    pub format: Option<CustomFormat>,
    /// `ssl` and what goes with it; default none.
    pub tls: Option<ServerTls>,
    /// `maxConnections` (ours): connections at once; default 10,000.
    pub connections_max: usize,
    /// `idleTimeout` (ours): milliseconds without a byte after which a connection is closed; default 0, never.
    pub idle: Option<Duration>,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys, ctx: &BuildContext) -> Self {
        Self {
            host: keys.text("host"),
            port: keys.required_number("port", 0..=u16::MAX),
            event_size_bytes: event_size(keys),
            keep: keep_fields(keys),
            client: ClientHeaders::read(keys),
            format: CustomFormat::read(keys),
            tls: ServerTls::read(keys, &ctx.tls),
            connections_max: keys.number("maxConnections", CONNECTIONS_MAX, 1..=1_000_000),
            idle: idle_timeout(keys),
        }
    }

    /// The source; nothing is bound yet.
    pub fn build(self) -> Result<SyslogTcp, BuildError> {
        Ok(SyslogTcp(self))
    }
}

/// The source.
pub struct SyslogTcp(Config);

impl Source for SyslogTcp {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        let listener = listen::tcp_anywhere(self.0.host.as_deref(), self.0.port).await?;
        self.serve(listener, ctx).await
    }
}

impl SyslogTcp {
    async fn serve(self, listener: TcpListener, ctx: SourceContext) -> Result<(), RunError> {
        let local = listener
            .local_addr()
            .map_err(|e| RunError::retry("local address").caused_by(e))?;
        tracing::info!(source = %ctx.name, address = %local, "Syslog TCP source listens");
        ctx.ready();
        let (tls, connections_max) = (self.0.tls.clone(), self.0.connections_max);
        let handler = Connections {
            config: self.0,
            names: HostNames::new(ctx.clock.clone()),
            ctx: ctx.clone(),
        };
        Server::new(ctx, handler, tls, connections_max)
            .accept(listener)
            .await;
        Ok(())
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
        let messages = Messages {
            framing: Framing::new(config.event_size_bytes).counting(),
            parser: Legacy::new(config.keep),
            format: config.format.as_ref(),
            zone: LocalZone::system(),
            headers: config.client.of(ends.peer.ip(), &self.names).await,
            ctx: &self.ctx,
        };
        Pump::new(&self.ctx, None, config.idle)
            .run(stream, messages)
            .await
    }
}

/// The messages of one connection.
struct Messages<'a> {
    framing: Framing,
    parser: Legacy,
    format: Option<&'a CustomFormat>,
    zone: LocalZone,
    headers: Vec<(String, String)>,
    ctx: &'a SourceContext,
}

impl Parser for Messages<'_> {
    fn parse(&mut self, input: &mut &[u8], events_max: usize, batch: &mut BatchBuilder) {
        let offset_seconds = |local| self.zone.offset_seconds(local);
        let when = When {
            now_unix_ms: self.ctx.clock.unix_ms() as i64,
            offset_seconds: &offset_seconds,
        };
        let extra = borrowed(&self.headers);
        while batch.len() < events_max
            && let Some(message) = self.framing.next(input)
        {
            let text = self.format.map(|_| String::from_utf8_lossy(message.bytes));
            let custom = self
                .format
                .zip(text.as_ref())
                .and_then(|(format, text)| format.fields(text));
            if let Err(error) = self.parser.push(message, custom, &when, &extra, batch) {
                self.ctx.counters.refused_inputs.add(1);
                tracing::error!(source = %self.ctx.name, %error, "message dropped");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::source::{BODIES, Running, of};
    use crate::component::contract::{self, ManualClock, Recorder, soon};
    use crate::component::registry::Types;
    use crate::io::tls::ClientTls;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    fn read(pairs: &[(&str, &str)]) -> (Config, Vec<String>) {
        let pairs: Vec<_> = pairs.iter().copied().chain([("port", "0")]).collect();
        let mut keys = Keys::of("source r1 (syslogtcp)", &pairs);
        let ctx = contract::build_context("r1", ManualClock::at(0), Types::default());
        let config = Config::read(&mut keys, &ctx);
        (config, keys.finish().iter().map(|f| f.to_string()).collect())
    }

    fn source(pairs: &[(&str, &str)]) -> SyslogTcp {
        let (config, findings) = read(pairs);
        assert!(findings.is_empty(), "{findings:?}");
        config.build().unwrap()
    }

    async fn bound() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Sends the suite's bodies and stays connected.
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
            tokio::join!(source(&[]).serve(listener, ctx.clone()), feed).0
        })
    }

    contract::source::suite!(fed);

    struct Fixture {
        running: Running,
        recorder: Arc<Recorder>,
        address: SocketAddr,
    }

    async fn start(pairs: &[(&str, &str)]) -> Fixture {
        let (listener, address) = bound().await;
        let (source, recorder) = (source(pairs), Recorder::new());
        let running = Running::start(of(|ctx| source.serve(listener, ctx)), recorder.clone());
        Fixture {
            running,
            recorder,
            address,
        }
    }

    /// Sends bytes in these pieces and returns the events.
    async fn events_of(pairs: &[(&str, &str)], pieces: &[&str], count: usize) -> Vec<String> {
        let fixture = start(pairs).await;
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.unwrap();
        }
        fixture.recorder.until(|seen| seen.events >= count).await;
        fixture.running.stop().await.unwrap();
        fixture.recorder.events()
    }

    const MESSAGE: &str = "<13>1 2012-04-13T11:11:11Z host1 a msg\n";
    const EVENT: &str =
        "Facility=1,Severity=5,priority=13,version=1,timestamp=1334315471000,host=host1 | a msg";

    #[tokio::test]
    async fn cases_49_to_51_and_73_also_over_two_segments() {
        let (head, tail) = MESSAGE.split_at(11);
        let unmatched = "Facility=1,Severity=2 | <10>Good good data";
        let found = events_of(&[], &[head, tail, "<10>Good good data\n"], 2).await;
        assert_eq!(found, [EVENT, unmatched]);
    }

    #[tokio::test]
    async fn case_61_a_format_of_the_users_own_comes_first() {
        let format = [
            (
                "format.regex",
                r"<(\d{1,3})>(v)? ?(\d{4}/\d{2}/\d{2} \d{2}:\d{2}:\d{2} [+]\d{4}) (\S+) (.*)",
            ),
            ("format.dateFormat", "yyyy/MM/dd HH:mm:ss Z"),
        ];
        let sent = format!("<13>2012/04/13 11:11:11 +0000 hostA custom body\n{MESSAGE}");
        let found = events_of(&format, &[&sent], 2).await;
        let custom = "Facility=1,Severity=5,priority=13,timestamp=1334315471000,host=hostA | custom body";
        assert_eq!(found, [custom, EVENT]);
    }

    #[tokio::test]
    async fn case_62_peers_are_in_headers() {
        let found = events_of(
            &[("clientIPHeader", "ip"), ("clientHostnameHeader", "hn")],
            &[MESSAGE],
            1,
        )
        .await;
        let (headers, body) = found[0].split_once(" | ").unwrap();
        assert!(headers.contains(",ip=127.0.0.1,hn="), "{headers}");
        assert!(!headers.ends_with("hn="), "{headers}");
        assert_eq!(body, "a msg");
    }

    #[tokio::test]
    async fn case_60_without_a_host_all_interfaces_are_served() {
        let listener = listen::tcp_anywhere(None, 0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let recorder = Recorder::new();
        let running = Running::start(of(move |ctx| source(&[]).serve(listener, ctx)), recorder.clone());
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.write_all(MESSAGE.as_bytes()).await.unwrap();
        recorder.until(|seen| seen.events == 1).await;
        running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn counted_frames_and_lines_come_over_one_connection() {
        let found = events_of(&[], &["15 <13>1 - - onex\n15 <13>1 - - two\r\n", MESSAGE], 3).await;
        assert_eq!(found[2], EVENT);
        assert!(
            found[0].ends_with("| onex") && found[1].ends_with("| two"),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn a_sender_waits_while_the_channel_refuses_and_nothing_is_lost() {
        let fixture = start(&[]).await;
        fixture.recorder.refuse(4);
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        for n in 0..1_000 {
            stream
                .write_all(format!("<13>1 - - {n}\n").as_bytes())
                .await
                .unwrap();
        }
        fixture.recorder.until(|seen| seen.events == 1_000).await;
        let counters = fixture.running.ctx.counters.clone();
        fixture.running.stop().await.unwrap();
        let expected: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
        assert_eq!(fixture.recorder.bodies(), expected);
        assert_eq!(
            (counters.received.value(), counters.accepted.value()),
            (1_000, 1_000)
        );
        assert_eq!(counters.channel_write_failures.value(), 4);
    }

    #[tokio::test]
    async fn what_was_sent_before_the_end_is_put_and_a_last_part_is_not() {
        let fixture = start(&[]).await;
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        stream
            .write_all(b"<13>1 - - whole\n<13>1 - - part")
            .await
            .unwrap();
        drop(stream);
        fixture.recorder.until(|seen| seen.events == 1).await;
        let open = fixture.running.ctx.counters.open_connections.clone();
        soon(async {
            while open.value() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        fixture.running.stop().await.unwrap();
        assert_eq!(fixture.recorder.bodies(), ["whole"]);
    }

    #[tokio::test]
    async fn messages_come_over_tls_and_without_it_nothing_does() {
        let store = format!("{}/tests/stores/rsa.jks", env!("CARGO_MANIFEST_DIR"));
        let server = [
            ("ssl", "true"),
            ("keystore", &store),
            ("keystore-password", "changeit"),
        ];
        let client = [
            ("ssl", "true"),
            ("truststore", &store),
            ("truststore-password", "changeit"),
        ];
        let client = ClientTls::read(&mut Keys::of("client", &client), &Default::default()).unwrap();
        let fixture = start(&server).await;
        let mut plain = TcpStream::connect(fixture.address).await.unwrap();
        plain.write_all(MESSAGE.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon(plain.read_to_end(&mut answer)).await; // an alert, or nothing
        let stream = TcpStream::connect(fixture.address).await.unwrap();
        let mut stream = client.connect("some.host", stream).await.unwrap();
        stream.write_all(MESSAGE.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        fixture.recorder.until(|seen| seen.events == 1).await;
        let refused = fixture.running.ctx.counters.refused_inputs.clone();
        fixture.running.stop().await.unwrap();
        assert_eq!(fixture.recorder.events(), [EVENT]);
        assert_eq!(refused.value(), 1);
    }

    #[test]
    fn settings_have_flumes_defaults_and_limits() {
        let (config, findings) = read(&[]);
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(
            (config.event_size_bytes, config.connections_max, config.idle),
            (2_500, 10_000, None)
        );
        let (config, findings) = read(&[
            ("eventSize", "2147483647"),
            ("idleTimeout", "1"),
            ("maxConnections", "0"),
        ]);
        assert_eq!(
            (config.event_size_bytes, config.idle),
            (64 << 20, Some(Duration::from_millis(1)))
        );
        assert!(
            findings[0].contains("maxConnections: expected 1 to 1000000, found \"0\""),
            "{findings:?}"
        );
    }
}
