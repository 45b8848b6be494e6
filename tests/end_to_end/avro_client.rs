//! `node avro-client`: every line of a file, a folder or standard input at a live avro source, and its words and exit
//! code where that cannot be.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use tests::avro::Connection;
use tests::folder::Folder;
use tests::ledger::Ledger;
use tests::port;
use tests::process::{Node, Stream};
use tests::wait::LIVENESS;

use crate::assert_numbered;

const LINES: u64 = 5_000;

/// avro source → memory channel → logger, and what a test adds to it.
fn server(folder: &Folder, more: &str) -> (Node, u16) {
    let port = port::free();
    let text = format!(
        "a1.sources = r1
a1.channels = c1
a1.sources.r1.type = avro
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
{more}"
    );
    let node = Node::agent("a1", folder.write("node.properties", &text)).start();
    drop(Connection::open_when_up(port));
    (node, port)
}

const LOGGER: &str = "a1.sinks = k1\na1.sinks.k1.type = logger\na1.sinks.k1.channel = c1\n";

/// `node avro-client` to that port, with these words.
fn client(port: u16, words: &[&str]) -> Node {
    let port = port.to_string();
    let start = ["avro-client", "-H", "127.0.0.1", "-p", port.as_str()];
    Node::run(&[&start, words].concat())
}

/// Expects an end with that code and a text on standard error.
#[track_caller]
fn assert_ends(mut client: Node, code: i32, text: &str) {
    let ended = client.wait_exit(LIVENESS);
    let said = client.log().lines_of(Stream::Err).join("\n");
    assert_eq!(ended, code, "{said}");
    assert!(said.contains(text), "{text:?} in\n{said}");
    assert_eq!(client.log().lines_of(Stream::Out), [""; 0]);
}

fn numbered(prefix: &str, numbers: std::ops::RangeInclusive<u64>) -> String {
    numbers.map(|number| format!("{prefix}{number}\n")).collect()
}

fn count(events: u64) -> usize {
    usize::try_from(events).expect("a small number")
}

#[test]
fn every_line_of_a_file_arrives_once_and_in_order() {
    let folder = Folder::new("avro-client-file");
    let (mut node, port) = server(&folder, LOGGER);
    let file = folder.write("a.log", &numbered("line ", 1..=LINES));
    let client = client(port, &["-F", &file.display().to_string()]);
    assert_ends(client, 0, &format!("{LINES} events"));
    node.wait_for_events(count(LINES));
    assert_eq!(node.stop(), 0);
    assert_numbered(&node.logged(), "line ", LINES);
}

/// Case 46 of wire.md.
#[test]
fn headers_of_a_file_go_with_every_line() {
    let folder = Folder::new("avro-client-headers");
    let (node, port) = server(&folder, LOGGER);
    let file = folder.write("a.log", "l1\nl2\r\nl3é");
    let headers = folder.write("h.properties", "# who\nk1=v1\nk2 : v2\n");
    let words = [file.display().to_string(), headers.display().to_string()];
    let client = client(port, &["-F", &words[0], "-R", &words[1]]);
    assert_ends(client, 0, "stored: 3 events, 8 bytes, in 1 batch");
    let events = node.wait_for_events(3);
    let bodies: Vec<String> = events.iter().map(|event| event.text()).collect();
    assert_eq!(bodies, ["l1", "l2", "l3é"]);
    assert!(
        events.iter().all(|event| event.headers == "k1=v1, k2=v2"),
        "{events:?}"
    );
}

#[test]
fn standard_input_is_sent_as_it_comes() {
    let folder = Folder::new("avro-client-stdin");
    let (node, port) = server(&folder, LOGGER);
    let port = port.to_string();
    let words = ["avro-client", "--host", "127.0.0.1", "--port", &port];
    let mut client = Node::run_with_input(&words);
    client.type_in("1\n");
    // The client is still running, and so no end of input has made it send.
    node.wait_for_events(1);
    assert!(client.is_running());
    client.type_in("2\n3");
    client.end_input();
    assert_ends(client, 0, "3 events");
    assert_numbered(&node.wait_for_events(3), "", 3);
}

#[test]
fn files_of_a_folder_are_sent_and_renamed_and_found_to_be_done_the_next_time() {
    let folder = Folder::new("avro-client-folder");
    let (node, port) = server(&folder, LOGGER);
    let spool = folder.make("spool");
    for (name, numbers) in [("a", 1..=300), ("b", 301..=600)] {
        folder.write(&format!("spool/{name}"), &numbered("", numbers));
    }
    folder.write("spool/.hidden", "no\n");
    let spool = spool.display().to_string();
    assert_ends(client(port, &["--dirname", &spool]), 0, "600 events");
    assert_numbered(&node.wait_for_events(600), "", 600);
    let names = |folder: &str| {
        let entries = fs::read_dir(folder).expect("the folder is there");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(
        names(&spool),
        [".flumespool", ".hidden", "a.COMPLETED", "b.COMPLETED"]
    );

    assert_ends(client(port, &["--dirname", &spool]), 0, "0 events");
    folder.write("spool/c", "601\n");
    assert_ends(
        client(port, &["--dirname", &spool]),
        0,
        "stored: 1 event, 3 bytes, in 1 batch, of 1 file",
    );
    assert_numbered(&node.wait_for_events(601), "", 601);
}

#[test]
fn a_file_of_a_folder_is_taken_up_where_a_full_channel_ended_the_last_command() {
    let folder = Folder::new("avro-client-resume");
    let small = "a1.channels.c1.capacity = 300\na1.channels.c1.keep-alive = 0\n";
    let (mut node, port) = server(&folder, small);
    let spool = folder.make("spool").display().to_string();
    folder.write("spool/a", &numbered("", 1..=1000));
    let refused = client(port, &["--dirname", &spool, "--retry", "0"]);
    assert_ends(refused, 75, "stored: 300 events");
    assert_eq!(node.stop(), 75, "events are left in a memory channel");

    let (node, port) = server(&folder, LOGGER);
    assert_ends(client(port, &["--dirname", &spool]), 0, "stored: 700 events");
    let mut ledger = Ledger::new();
    ledger.sent("r1", 301..=1000);
    for event in node.wait_for_events(700) {
        ledger.saw_text("r1", "", &event.text());
    }
    ledger.assert_once_and_in_order();
}

#[test]
fn a_full_channel_is_tried_again_and_nothing_comes_twice() {
    let folder = Folder::new("avro-client-full");
    let small = "a1.channels.c1.capacity = 100\na1.channels.c1.keep-alive = 0\n";
    let (node, port) = server(&folder, small);
    let file = folder.write("a.log", &numbered("", 1..=1000));
    let client = client(port, &["-F", &file.display().to_string(), "--retry", "60"]);
    client.wait_for_line("the refusal", LIVENESS, |line| {
        line.contains("the server answered FAILED: its channel is full")
            && line.contains("trying again for 60 s")
    });
    // Now there is somebody who empties it.
    let text = fs::read_to_string(folder.path().join("node.properties")).expect("it was written");
    folder.write("node.properties", &format!("{text}{LOGGER}"));
    let mut node = node;
    node.signal(tests::process::Signal::Hangup);
    assert_ends(client, 0, "1000 events");
    assert_numbered(&node.wait_for_events(1000), "", 1000);
}

#[test]
fn a_batch_that_never_fits_is_given_up_and_its_count_told() {
    let folder = Folder::new("avro-client-refused");
    let small = "a1.channels.c1.transactionCapacity = 10\na1.channels.c1.keep-alive = 0\n";
    let (node, port) = server(&folder, &format!("{small}{LOGGER}"));
    let file = folder.write("a.log", &numbered("", 1..=20));
    let file = file.display().to_string();
    let refused = client(port, &["-F", &file, "--retry", "0", "--batch-size", "11"]);
    assert_ends(
        refused,
        75,
        "takes no batch of that size (--batch-size)\nstored: 0 events",
    );
    assert_ends(client(port, &["-F", &file, "--batch-size", "10"]), 0, "20 events");
    assert_numbered(&node.wait_for_events(20), "", 20);
}

#[test]
fn servers_of_a_properties_file_are_tried_in_turn() {
    let folder = Folder::new("avro-client-failover");
    let (node, port) = server(&folder, LOGGER);
    let nobody = port::free();
    let properties = folder.write(
        "client.properties",
        &format!(
            "client.type = default_failover
hosts = h1 h2
hosts.h1 = 127.0.0.1:{nobody}
hosts.h2 = 127.0.0.1:{port}
batch-size = 3
"
        ),
    );
    let file = folder.write("a.log", &numbered("", 1..=10));
    let (properties, file) = (properties.display().to_string(), file.display().to_string());
    let client = Node::run(&["avro-client", "-P", &properties, "-F", &file]);
    assert_ends(client, 0, "stored: 10 events, 11 bytes, in 4 batches");
    assert_numbered(&node.wait_for_events(10), "", 10);
}

#[test]
fn a_server_that_is_not_there_or_unknown_is_named() {
    let nobody = port::free();
    assert_ends(
        client(nobody, &[]),
        69,
        &format!("127.0.0.1:{nobody}: Connection refused (os error 111): nobody listens there"),
    );
    let unknown = Node::run(&["avro-client", "-H", "no.such.host.invalid", "-p", "1"]);
    assert_ends(unknown, 69, "unknown host \"no.such.host.invalid\"");
}

#[test]
fn a_server_that_speaks_something_else_is_not_tried_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client comes");
        let mut first = [0; 8];
        stream.read_exact(&mut first).expect("the client speaks first");
    });
    let folder = Folder::new("avro-client-stranger");
    let file = folder.write("a.log", "x\n");
    let client = client(port, &["-F", &file.display().to_string()]);
    assert_ends(client, 69, "Is this the port of an avro source?");
    server.join().expect("the server has seen the client");
}

#[test]
fn what_cannot_be_read_is_named_before_anything_is_sent() {
    let folder = Folder::new("avro-client-input");
    let (mut node, port) = server(&folder, LOGGER);
    let missing = folder.at("nosuch");
    assert_ends(
        client(port, &["-F", &missing]),
        66,
        "nosuch: No such file or directory",
    );
    let file = folder.write("a.log", "x\n");
    let file = file.display().to_string();
    assert_ends(client(port, &["-F", &file, "-R", &missing]), 66, "headers: ");
    assert_ends(client(port, &["-F", &folder.at("")]), 66, "--dirname");
    assert_ends(client(port, &["--dirname", &file]), 66, "--filename");
    assert_ends(
        Node::run(&["avro-client", "-P", &missing, "-F", &file]),
        78,
        "nosuch",
    );
    let wrong = folder.write("client.properties", "hosts = h1\n");
    let wrong = Node::run(&["avro-client", "-P", &wrong.display().to_string(), "-F", &file]);
    assert_ends(wrong, 78, "hosts.h1: required, but not there");
    assert_eq!(node.stop(), 0);
    assert_eq!(node.logged(), []);
}
