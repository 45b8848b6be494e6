//! A node in a program: `cargo run -p examples --bin embed`.
//!
//! Two things that a configuration file alone cannot do:
//!
//! 1. The program puts events in itself, through an [`Embedded`], as with Flume's `EmbeddedAgent`: each `put` and
//!    `put_all` returns when the channel has the events, or says why it has not.
//! 2. A component of one's own: the sink [`Alarm`] below, registered as `com.acme.Alarm`. A source, channel,
//!    interceptor, selector or serializer is registered in the same way.
//!
//! ```text
//!   this program --put--> source r1 (embedded) --> channel c1 (memory) --> sink k1 (com.acme.Alarm) --> terminal
//! ```
//!
//! The program reports temperatures of three rooms; the sink names those that are too warm. Then the node is
//! stopped, which delivers what is still queued, and the program ends.

use node::component::channel::{Lease, Want};
use node::component::error::RunError;
use node::component::keys::Keys;
use node::component::sink::{Sink, SinkContext};
use node::flow::board::State;
use node::source::embedded::Embedded;
use node::{Node, Outcome, StartError};
use proto::event::Event;
use std::time::{Duration, Instant};

/// What stands in a `.properties` file otherwise; `NodeBuilder::file` reads one.
const CONFIGURATION: [(&str, &str); 9] = [
    ("a1.sources", "r1"),
    ("a1.channels", "c1"),
    ("a1.sinks", "k1"),
    ("a1.sources.r1.type", "embedded"),
    ("a1.sources.r1.channels", "c1"),
    ("a1.channels.c1.type", "memory"),
    ("a1.sinks.k1.type", "com.acme.Alarm"),
    ("a1.sinks.k1.channel", "c1"),
    ("a1.sinks.k1.above", "25"),
];

/// A sink of our own: prints every event whose body is a number above a limit.
struct Alarm {
    /// `above`: degrees from which on an event is worth a line; -100 to 100, default 30.
    above: i32,
}

impl Alarm {
    /// Reads the sink's properties. Whatever is wrong becomes a finding, and the node does not start.
    fn read(keys: &mut Keys) -> Self {
        Self {
            above: keys.number("above", 30, -100..=100),
        }
    }
}

impl Sink for Alarm {
    /// How many events it likes to get at once.
    fn want(&self) -> Want {
        Want::events(10)
    }

    /// A lease holds the events until it is committed. Whoever returns an error instead, or panics, drops the
    /// lease: its events go back to the head of the channel and come again.
    async fn process(&mut self, lease: Lease, ctx: &SinkContext) -> Result<(), RunError> {
        for event in lease.batch().iter() {
            let degrees: Option<i32> = str::from_utf8(event.body()).ok().and_then(|b| b.parse().ok());
            let room = event.header("room").unwrap_or("?");
            match degrees {
                Some(degrees) if degrees > self.above => println!("sink: {room} has {degrees} degrees"),
                Some(_) => {}
                None => println!("sink: {room} sent something that is no number"),
            }
        }
        let events = lease.batch().len() as u64;
        lease.commit().await?;
        ctx.counters.delivered.add(events); // for the metrics page
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The program keeps one end, the node builds its source from the other; again after a restart of it.
    let program = Embedded::new();
    let end = program.clone();
    let builder = Node::builder()
        .agent("a1")
        .source("embedded", move |_, _| Ok(end.source()))
        .sink("com.acme.Alarm", |keys, _| Ok(Alarm::read(keys)));
    let builder = CONFIGURATION
        .iter()
        .fold(builder, |builder, (key, value)| builder.property(*key, *value));
    let node = builder.start().inspect_err(|error| {
        // All mistakes of a configuration at once: try 500 as `above`.
        if let StartError::Findings(findings) = error {
            findings.iter().for_each(|finding| eprintln!("{finding}"));
        }
    })?;
    wait_for_source(&node)?;
    println!("program: the node runs");

    // The node's own runtime serves; in a program with one of its own it is `program.put(..).await`.
    let runtime = node.runtime().clone();
    let kitchen = Event::new("27").with_header("room", "kitchen");
    runtime.block_on(program.put(&kitchen))?;
    println!("program: one event is stored");

    let rooms = [("hall", "19"), ("kitchen", "28"), ("attic", "31")];
    let events = rooms.map(|(room, degrees)| Event::new(degrees).with_header("room", room));
    runtime.block_on(program.put_all(&events))?;
    println!("program: {} events are stored, all or none of them", events.len());

    node.stop();
    match node.wait() {
        Outcome::Stopped { left: 0 } => println!("program: the node has stopped, every event was delivered"),
        other => return Err(format!("the node ended otherwise: {other:?}").into()),
    }
    Ok(())
}

/// A node starts in the background. Until its source runs, every put is refused.
fn wait_for_source(node: &Node) -> Result<(), String> {
    let begin = Instant::now();
    while node.board().get("source r1") != Some(State::Running) {
        if begin.elapsed() > Duration::from_secs(10) {
            return Err(format!("does not start: {}", node.board().not_ready().join("; ")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
