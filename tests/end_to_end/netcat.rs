//! The netcat sources: what is answered, and when.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};

use tests::folder::Folder;
use tests::port;
use tests::process::{Node, Signal};
use tests::wait::{self, LIVENESS};

use crate::assert_numbered;

const LINES: u64 = 2_000;

fn connect(port: u16) -> TcpStream {
    let what = format!("a listener on port {port}");
    let stream = wait::until(&what, LIVENESS, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
    });
    stream
        .set_read_timeout(Some(LIVENESS))
        .expect("a limit that is not zero");
    stream
}

fn configuration(port: u16, more: &str) -> String {
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sources.r1.type = netcat
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
{more}"
    )
}

const LOGGER: &str = "a1.sinks = k1
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
";

/// Everything that is answered until the node closes; this end says nothing more.
fn answers(stream: &mut TcpStream, sent: &[u8]) -> String {
    stream.write_all(sent).expect("the node reads");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("the connection is open");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the node closes");
    text
}

#[test]
fn what_was_answered_ok_has_arrived_once_and_in_order() {
    let port = port::free();
    let folder = Folder::new("netcat");
    let file = folder.write("node.properties", &configuration(port, LOGGER));
    let mut node = Node::agent("a1", file).start();
    let mut writer = connect(port);
    let mut reader = BufReader::new(writer.try_clone().expect("descriptors are left"));
    let (mut number, mut answer) = (0, String::new());
    // Fifty at a time, so that several share a put, and no more than the channel has room for.
    while number < LINES {
        let until = (number + 50).min(LINES);
        let lines: String = (number + 1..=until)
            .map(|number| format!("line {number}\n"))
            .collect();
        writer.write_all(lines.as_bytes()).expect("the node reads");
        for _ in number..until {
            answer.clear();
            reader.read_line(&mut answer).expect("the node answers");
            assert_eq!(answer, "OK\n");
        }
        number = until;
        node.wait_for_events(usize::try_from(number.saturating_sub(40)).expect("a small number"));
    }
    node.wait_for_events(usize::try_from(LINES).expect("a small number"));
    assert_eq!(node.stop(), 0);
    assert_numbered(&node.logged(), "line ", LINES);
}

#[test]
fn a_full_channel_is_told_with_flumes_words_and_the_connection_stays() {
    let port = port::free();
    let folder = Folder::new("netcat-full");
    let more = "a1.sources.r1.ack-every-event = false
a1.channels.c1.capacity = 2
a1.channels.c1.transactionCapacity = 2
a1.channels.c1.keep-alive = 1
";
    let file = folder.write("node.properties", &configuration(port, more));
    let mut node = Node::agent("a1", file).start();
    let full = "FAILED: Space for commit to queue couldn't be acquired. Sinks are likely not keeping up with sources, \
                or the buffer size is too tight\n";
    assert_eq!(answers(&mut connect(port), b"1\n2\n3\n"), full);
    node.signal(Signal::Term);
    assert_eq!(node.wait_exit(LIVENESS), 75, "two events are left in the channel");
}

#[test]
fn a_line_that_is_too_long_and_bytes_that_are_no_text_close_the_connection_and_no_other() {
    let port = port::free();
    let folder = Folder::new("netcat-bad");
    let file = folder.write("node.properties", &configuration(port, LOGGER));
    let mut node = Node::agent("a1", file).start();
    let mut good = connect(port);
    let long = "C".repeat(512) + "\n";
    let refused = "FAILED: Event exceeds the maximum length (512 chars, including newline)\n";
    assert_eq!(answers(&mut connect(port), long.as_bytes()), refused);
    assert_eq!(answers(&mut connect(port), &long.as_bytes()[1..]), "OK\n");
    assert_eq!(answers(&mut connect(port), b"\xff\xfe\n"), "");
    assert_eq!(answers(&mut good, b"one\r\n\ntwo\nhalf"), "OK\nOK\nOK\n");
    let texts: Vec<String> = node.wait_for_events(4).iter().map(|event| event.text()).collect();
    assert_eq!(texts[1..], ["one\r", "", "two"]);
    assert_eq!(node.stop(), 0);
}

#[test]
fn datagrams_tell_their_sender() {
    let port = port::free();
    let folder = Folder::new("netcatudp");
    let text = format!(
        "a1.sources = r1
a1.channels = c1
a1.channels.c1.type = memory
a1.sources.r1.type = netcatudp
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.remoteAddress = ra
a1.sources.r1.channels = c1
{LOGGER}"
    );
    let mut node = Node::agent("a1", folder.write("node.properties", &text)).start();
    node.wait_for_line("the source", LIVENESS, |line| {
        line.contains("Netcat UDP source listens")
    });
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket
        .send_to(b"hi\nthere\n", (Ipv4Addr::LOCALHOST, port))
        .expect("a datagram");
    let event = &node.wait_for_events(1)[0];
    let from = socket.local_addr().expect("it is bound").port();
    assert_eq!(
        (event.headers.as_str(), event.text().as_str()),
        (&*format!("ra=/127.0.0.1:{from}"), "hi")
    );
    assert_eq!(node.stop(), 0);
}
