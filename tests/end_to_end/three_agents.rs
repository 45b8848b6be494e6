//! A chain of three: exec → avro → avro → files, with batches, and stopped from its start to its end.

use std::fs;
use std::path::{Path, PathBuf};

use tests::folder::Folder;
use tests::ledger::Ledger;
use tests::port;
use tests::process::Node;
use tests::wait::{self, LIVENESS};

const LINES: u64 = 5_000;

/// The end of the chain, by its middle, from its start.
fn configuration(middle: u16, end: u16, folder: &Path) -> String {
    let folder = folder.display();
    let channels: String = ["a1", "a2", "a3"].map(channel).concat();
    format!(
        "{channels}
a1.sources = r1
a1.sinks = k1
a1.sources.r1.type = exec
a1.sources.r1.shell = /bin/sh -c
a1.sources.r1.command = for i in $(seq 1 {LINES}); do echo $i; done
a1.sources.r1.batchSize = 100
a1.sources.r1.channels = c1
a1.sinks.k1.type = avro
a1.sinks.k1.hostname = 127.0.0.1
a1.sinks.k1.port = {middle}
a1.sinks.k1.channel = c1

a2.sources = r1
a2.sinks = k1
a2.sources.r1.type = avro
a2.sources.r1.bind = 127.0.0.1
a2.sources.r1.port = {middle}
a2.sources.r1.channels = c1
a2.sinks.k1.type = avro
a2.sinks.k1.hostname = 127.0.0.1
a2.sinks.k1.port = {end}
a2.sinks.k1.channel = c1

a3.sources = r1
a3.sinks = k1
a3.sources.r1.type = avro
a3.sources.r1.bind = 127.0.0.1
a3.sources.r1.port = {end}
a3.sources.r1.channels = c1
a3.sinks.k1.type = file_roll
a3.sinks.k1.sink.directory = {folder}
a3.sinks.k1.sink.rollInterval = 0
a3.sinks.k1.channel = c1
"
    )
}

fn channel(agent: &str) -> String {
    format!(
        "{agent}.channels = c1
{agent}.channels.c1.type = memory
{agent}.channels.c1.capacity = 10000
{agent}.channels.c1.transactionCapacity = 1000
"
    )
}

#[test]
fn a_chain_of_three_delivers_all_lines_once_and_in_order() {
    let folder = Folder::new("three-agents");
    let out = folder.make("out");
    let text = configuration(port::free(), port::free(), &out);
    let file = folder.write("node.properties", &text);
    let mut nodes = ["a3", "a2", "a1"].map(|name| Node::agent(name, &file).start());
    wait::until_true("all lines in the files", LIVENESS, || {
        lines_in(&out).len() >= usize::try_from(LINES).expect("a small number")
    });

    for node in nodes.iter_mut().rev() {
        assert_eq!(node.stop(), 0);
    }
    let mut ledger = Ledger::new();
    ledger.sent("r1", 1..=LINES);
    for line in lines_in(&out) {
        ledger.saw_text("r1", "", &line);
    }
    ledger.assert_once_and_in_order();
}

/// The whole lines of all files of a file_roll sink, in the order in which it has written them.
pub fn lines_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        // Hidden: the sink's note about a file that it has just opened.
        .filter(|path| {
            !path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'))
        })
        .collect();
    // `<milliseconds>-<n>`: by numbers, as 10 comes after 9; a sink that is built anew counts from 1 again.
    files.sort_by_key(|file| number_of(file));
    let texts = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
    texts
        .flat_map(|text| {
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            whole.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

fn number_of(file: &Path) -> Option<(u64, u64)> {
    let (time, number) = file.file_name()?.to_str()?.rsplit_once('-')?;
    Some((time.parse().ok()?, number.parse().ok()?))
}
