//! `node channel import`, killed again and again: every event of Flume's channel is delivered once, in order.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tests::folder::Folder;
use tests::ledger::Ledger;
use tests::process::{Node, Signal};
use tests::wait::{self, LIVENESS};
use tests::{http, port};

/// Events in the channel.
const EVENTS: u64 = 60_000;
/// Events of one of Flume's transactions.
const TRANSACTION: u64 = 100;

fn with_length(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    out.push(length.to_le_bytes()[0]);
    out.extend_from_slice(bytes);
}

/// A record as Flume 1.11 writes it. A put has no checksum here, which Flume allows.
fn record(log: &mut Vec<u8>, kind: u8, transaction: u64, order: u64, body: &[u8]) {
    let mut head = vec![0x0d, kind, 0, 0, 0, 0x11];
    head.extend(transaction.to_le_bytes());
    head.push(0x19);
    head.extend(order.to_le_bytes());
    let mut payload = Vec::new();
    with_length(&mut payload, &head);
    with_length(&mut payload, body);
    payload.push(0);
    log.push(0x7f);
    log.extend(u32::try_from(payload.len()).unwrap_or_default().to_be_bytes());
    log.extend(payload);
}

fn put(log: &mut Vec<u8>, transaction: u64, order: u64, body: &str) {
    let (mut event, mut put) = (vec![0x12], vec![0x0a]);
    with_length(&mut event, body.as_bytes());
    with_length(&mut put, &event);
    record(log, 1, transaction, order, &put);
}

/// Two folders, whose transactions take turns, as Flume would leave them.
fn write_channel(folder: &Folder) -> String {
    let mut logs = [Vec::new(), Vec::new()];
    let mut order = 1_000;
    for transaction in 0..EVENTS / TRANSACTION {
        let log = &mut logs[usize::from(transaction % 2 == 1)];
        for n in 1..=TRANSACTION {
            order += 1;
            let filler = "x".repeat(usize::try_from(order % 400).unwrap_or_default());
            put(
                log,
                transaction,
                order,
                &format!("event {} {filler}", transaction * TRANSACTION + n),
            );
        }
        order += 1;
        record(log, 4, transaction, order, &[0x0d, 1, 0, 0, 0]);
    }
    let mut names = Vec::new();
    for (number, log) in (1_u8..).zip(logs) {
        let home = folder.make(&format!("data{number}"));
        let mut meta = vec![0x0d, 3, 0, 0, 0, 0x15, number, 0, 0, 0, 0x19];
        meta.extend([0; 8]);
        meta.push(0x21);
        meta.extend([0; 8]);
        let mut framed = Vec::new();
        with_length(&mut framed, &meta);
        fs::write(home.join(format!("log-{number}")), log).expect("the folder of a test is writable");
        fs::write(home.join(format!("log-{number}.meta")), framed).expect("the folder of a test is writable");
        names.push(home.display().to_string());
    }
    names.join(",")
}

fn delivered(folder: &Path) -> Ledger {
    let mut ledger = Ledger::new();
    ledger.sent("flume", 1..=EVENTS);
    for entry in fs::read_dir(folder)
        .expect("the sink's folder is there")
        .flatten()
    {
        let text = fs::read_to_string(entry.path()).expect("the sink wrote text");
        for line in text.lines() {
            let number = line
                .strip_prefix("event ")
                .and_then(|rest| rest.split(' ').next()?.parse().ok());
            match number {
                Some(number) => ledger.saw("flume", number),
                None => ledger.saw_corrupt(line),
            }
        }
    }
    ledger
}

#[test]
fn an_import_that_is_killed_again_and_again_moves_every_event_once() {
    let folder = Folder::new("channel-import");
    let dirs = write_channel(&folder);
    let file = format!(
        "a1.channels = c1
a1.sinks = k1
a1.channels.c1.type = file
a1.channels.c1.dataDirs = {dirs}
a1.channels.c1.minimumRequiredSpace = 0
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = {}
a1.sinks.k1.sink.rollInterval = 0
",
        folder.make("rolled").display()
    );
    let file = folder.write("a1.properties", &file);
    let name = file.display().to_string();
    let given = std::env::var("MILLRACE_SEEDS").ok();
    let first = given
        .as_deref()
        .and_then(|seeds| seeds.split_once("..")?.0.parse().ok());
    let seed: u64 = first.unwrap_or(1);
    let next = seed + 1;
    println!(
        "again: MILLRACE_SEEDS={seed}..{next} cargo test -p tests --test end_to_end killed_again_and_again"
    );
    let mut rng = SmallRng::seed_from_u64(seed);
    // A little longer each time, so that it ends.
    let mut killed = 0;
    for attempt in 0..200_u64 {
        let mut import = Node::run(&["channel", "import", "-f", &name, "-n", "a1", "-c", "c1"]);
        let life = Duration::from_millis(rng.random_range(0..60) + 2 * attempt);
        // The wait has an end without a condition on purpose: the moment of the kill is random.
        if wait::within(life, || (!import.is_running()).then_some(())).is_some() {
            assert_eq!(import.wait_exit(LIVENESS), 0, "{:?}", import.log().lines());
            break;
        }
        import.signal(Signal::Kill);
        import.wait_exit(LIVENESS);
        killed += 1;
        // Nobody may start on half of it.
        if attempt % 8 == 0 {
            let mut check = Node::run(&["check", "-f", &name, "-n", "a1"]);
            if check.wait_exit(LIVENESS) != 1 {
                assert!(
                    !folder.path().join("data1/flume-importing").exists(),
                    "all but the last word was done"
                );
            }
        }
    }
    println!("killed {killed} times");
    let metrics = port::free();
    let mut node = Node::agent("a1", &file).monitoring(metrics).start();
    http::metrics_until(metrics, "all events are delivered", |page| {
        let channel = &page["CHANNEL.c1"];
        let taken = channel["EventTakeSuccessCount"]
            .as_str()
            .and_then(|text| text.parse::<u64>().ok());
        channel["ChannelSize"] == "0" && taken.is_some_and(|taken| taken >= EVENTS)
    });
    assert_eq!(node.stop(), 0);
    delivered(&folder.path().join("rolled")).assert_once_and_in_order();
}
