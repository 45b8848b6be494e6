//! The hop between the generations: Flume to us and we to Flume over Avro, on every kind of wire, and what happens when
//! either is away or full for a while.

use tests::folder::Folder;
use tests::port;
use tests::process::Node;
use tests::wait::LIVENESS;

use crate::events::{assert_rolled, assert_rolled_from, numbered};
use crate::flume::{Flume, STOPPED, Version};
use crate::hop::{EVENTS, Wire, check_from, check_to, entry, feed, reader, receiver, sender};

#[test]
fn flumes_sink_delivers_to_our_source() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    check_from(flume, &Wire::default());
}

#[test]
fn our_sink_delivers_to_flumes_source() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    check_to(flume, &Wire::default());
}

#[test]
fn older_flumes_sink_delivers_to_our_source() {
    let Some(flume) = Flume::find(Version::V1_9) else {
        return;
    };
    check_from(flume, &Wire::default());
}

#[test]
fn our_sink_delivers_to_older_flumes_source() {
    let Some(flume) = Flume::find(Version::V1_9) else {
        return;
    };
    check_to(flume, &Wire::default());
}

#[test]
fn flumes_sink_compresses_for_our_source() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    check_from(flume, &Wire::default().deflate("9"));
}

#[test]
fn our_sink_compresses_for_flumes_source() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    check_to(flume, &Wire::default().deflate("6"));
}

#[test]
fn flumes_sink_trusts_our_source_with_java_stores() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    check_from(flume, &Wire::default().tls(flume, "JKS", "jks"));
}

#[test]
fn our_sink_trusts_flumes_source_with_java_stores() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    check_to(flume, &Wire::default().tls(flume, "JKS", "jks"));
}

#[test]
fn flumes_sink_speaks_tls_1_2_with_pkcs12_stores_to_our_source() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    let wire = Wire::default().tls(flume, "PKCS12", "p12");
    check_from(flume, &wire.source("include-protocols", "TLSv1.2"));
}

#[test]
fn our_sink_speaks_tls_1_2_with_pkcs12_stores_to_flumes_source() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    let wire = Wire::default().tls(flume, "PKCS12", "p12");
    check_to(flume, &wire.source("exclude-protocols", "TLSv1.3"));
}

#[test]
fn flumes_sink_puts_tls_into_compression() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    check_from(flume, &Wire::default().tls(flume, "PKCS12", "p12").deflate("6"));
}

#[test]
fn our_sink_puts_tls_into_compression() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    check_to(flume, &Wire::default().tls(flume, "PKCS12", "p12").deflate("1"));
}

#[test]
fn older_flumes_sink_puts_compression_into_tls() {
    let Some(flume) = Flume::find(Version::V1_9) else {
        return;
    };
    check_from(flume, &Wire::default().tls(flume, "JKS", "jks").deflate("6"));
}

#[test]
fn our_sink_puts_compression_into_tls_when_told_to() {
    let Some(flume) = Flume::find(Version::V1_9) else {
        return;
    };
    let wire = Wire::default().tls(flume, "JKS", "jks").deflate("6");
    check_to(flume, &wire.sink("tls-nesting", "outer"));
}

#[test]
fn our_sink_waits_for_a_flume_that_comes_later() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    let folder = Folder::new("late-flume");
    let (from, port) = (port::free(), port::free());
    let file = folder.write(
        "node.properties",
        &(sender(port, &Wire::default()) + &entry(from)),
    );
    let mut node = Node::agent("a1", file).start();
    feed(from);
    let mut peer = flume.agent(&folder, "r1", &receiver(&folder, port, &Wire::default()));
    assert_rolled(&folder.path().join("rolled"), EVENTS, numbered);
    assert_eq!(node.stop(), 0);
    assert_eq!(peer.process.stop(), STOPPED);
}

#[test]
fn flumes_sink_waits_for_room_with_us_and_for_us() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    let folder = Folder::new("full-for-flume");
    let port = port::free();
    let text = receiver(&folder, port, &Wire::default()) + "a1.channels.c1.keep-alive = 0\n";
    let without_sink = text.replace("a1.sinks = k1", "").replace("= 10000", "= 1000");
    let file = folder.write("node.properties", &without_sink);
    let mut node = Node::agent("a1", &file).start();
    let mut peer = flume.agent(
        &folder,
        "k1",
        &(sender(port, &Wire::default()) + &reader(&folder)),
    );
    let refused = "Unable to deliver event";
    peer.process
        .wait_for_line("a refusal", LIVENESS, |line| line.contains(refused));

    // We go, and leave what was acknowledged; then somebody else comes, who has room.
    assert_eq!(node.stop(), 75, "events are left in a memory channel");
    let left = node
        .log()
        .lines()
        .iter()
        .find_map(|line| line.split_once("events=")?.1.parse::<u64>().ok());
    assert_eq!(left, Some(1000), "what was answered with OK, and nothing else");
    folder.write("node.properties", &text);
    let mut node = Node::agent("a1", &file).start();
    assert_rolled_from(&folder.path().join("rolled"), 1001..=EVENTS, numbered);
    assert_eq!(peer.process.stop(), STOPPED);
    assert_eq!(node.stop(), 0);
}
