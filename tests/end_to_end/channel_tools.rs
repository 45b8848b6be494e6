//! `node channel`: looking at, repairing and exporting file channels, of agents at work and of stopped ones; and what an agent
//! does with a damaged channel.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::avro::Connection;
use tests::folder::Folder;
use tests::http;
use tests::port;
use tests::process::{Node, Stream};
use tests::wait::{self, LIVENESS};

/// Three segments of a mebibyte.
const LINES: u64 = 6_000;

/// A file channel with an avro source before it and, if wanted, a file_roll sink behind it.
struct Flow {
    folder: Folder,
    port: u16,
    admin: u16,
}

impl Flow {
    fn new(name: &str) -> Self {
        Self {
            folder: Folder::new(name),
            port: port::free(),
            admin: port::free(),
        }
    }

    fn configuration(&self, drains: bool, more: &str) -> PathBuf {
        let (port, data, out) = (self.port, self.folder.at("data"), self.folder.at("out"));
        self.folder.make("out");
        let sink = format!(
            "a1.sinks = k1
a1.sinks.k1.type = file_roll
a1.sinks.k1.sink.directory = {out}
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.channel = c1
"
        );
        let text = format!(
            "a1.sources = r1
a1.channels = c1
a1.sources.r1.type = avro
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
a1.channels.c1.type = file
a1.channels.c1.dataDirs = {data}
a1.channels.c1.minimumRequiredSpace = 1048576
a1.channels.c1.maxFileSize = 1048576
{}{more}",
            if drains { &sink } else { "" }
        );
        self.folder.write("node.properties", &text)
    }

    fn start(&self, drains: bool, more: &str) -> Node {
        Node::agent("a1", self.configuration(drains, more))
            .admin(self.admin)
            .start()
    }

    /// Lines with these numbers, acknowledged.
    fn put(&self, numbers: std::ops::RangeInclusive<u64>) {
        drop(Connection::open_when_up(self.port));
        let pad = "x".repeat(400);
        let text: String = numbers.map(|number| format!("{number} {pad}\n")).collect();
        let file = self.folder.write("lines", &text);
        let words = [
            "avro-client",
            "-H",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-F",
            &file.display().to_string(),
        ];
        let mut client = Node::run(&words);
        assert_eq!(client.wait_exit(LIVENESS), 0);
    }

    /// A stopped channel with [`LINES`] events.
    fn filled(name: &str) -> Self {
        let flow = Self::new(name);
        let mut node = flow.start(false, "");
        flow.put(1..=LINES);
        assert_eq!(node.stop(), 0);
        flow
    }

    fn data(&self) -> String {
        self.folder.at("data")
    }

    /// Flips a bit of a put in the middle of the oldest segment; returns the numbers of the events that are lost.
    fn damage(&self) -> std::ops::RangeInclusive<u64> {
        let (code, blocks) = json(&["channel", "inspect", &self.data(), "-v", "--json"]);
        assert_eq!(code, 0);
        let blocks = blocks[0]["blocks"].as_array().expect("blocks").clone();
        let in_first = |block: &&Value| block["file"] == "seg-0000000000000000.wal";
        let first: Vec<Value> = blocks.iter().filter(in_first).cloned().collect();
        let block = &first[first.len() / 2];
        let record = block["records"][0].as_str().expect("a record");
        let events = record
            .strip_prefix("Put events ")
            .and_then(|rest| rest.split(',').next());
        let (first, last) = events
            .and_then(|events| events.split_once('-'))
            .expect("a put of several events");
        let path = self.folder.path().join("data/millrace/seg-0000000000000000.wal");
        let mut bytes = fs::read(&path).expect("the segment is there");
        bytes[block["offset"].as_u64().expect("a place") as usize + 1_000] ^= 4;
        fs::write(&path, bytes).expect("the segment can be written");
        first.parse().expect("a number")..=last.parse().expect("a number")
    }

    /// The numbers of the lines that the sink has written, in their order.
    fn written(&self) -> Vec<u64> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.folder.at("out"))
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        files.iter().flat_map(|file| numbers(file)).collect()
    }

    /// Waits until the sink has written so many lines, and returns their numbers.
    #[track_caller]
    fn wait_written(&self, count: usize) -> Vec<u64> {
        wait::until(&format!("{count} lines"), LIVENESS, || {
            Some(self.written()).filter(|lines| lines.len() >= count)
        })
    }
}

/// The numbers of whole lines.
fn numbers(file: &Path) -> Vec<u64> {
    let text = fs::read_to_string(file).expect("text");
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| {
            line.split(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a numbered line")
        })
        .collect()
}

/// Runs a command to its end: exit code, standard output, standard error.
fn run(words: &[&str]) -> (i32, String, String) {
    let mut command = Node::run(words);
    let code = command.wait_exit(LIVENESS);
    let of = |stream| command.log().lines_of(stream).join("\n");
    (code, of(Stream::Out), of(Stream::Err))
}

fn json(words: &[&str]) -> (i32, Value) {
    let (code, out, err) = run(words);
    let value = serde_json::from_str(&out);
    (
        code,
        value.unwrap_or_else(|error| panic!("{error}: {out}\n{err}")),
    )
}

/// All but the events of a range, which count from 0 where lines count from 1.
fn all_but(lost: &std::ops::RangeInclusive<u64>) -> Vec<u64> {
    (1..=LINES).filter(|line| !lost.contains(&(line - 1))).collect()
}

/// A metric of the page, by its name.
fn metric(page: &str, name: &str) -> Option<u64> {
    let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Every format, to files and to standard output.
#[track_caller]
fn assert_exports(flow: &Flow) {
    let text = flow.folder.at("c1.txt");
    let (code, _, err) = run(&["channel", "export", &flow.data(), "--format", "text", "-o", &text]);
    assert!(code == 0 && err.contains("6000 events"), "{err}");
    assert_eq!(numbers(Path::new(&text)), (1..=LINES).collect::<Vec<_>>());
    let (code, _, err) = run(&["channel", "export", &flow.data(), "--format", "text", "-o", &text]);
    assert!(code == 74 && err.contains("is there already"), "{err}");
    let (code, out, _) = run(&["channel", "export", &flow.data(), "--format", "json", "-o", "-"]);
    assert_eq!((code, out.lines().count() as u64), (0, LINES));
    let first: Value = serde_json::from_str(out.lines().next().unwrap_or_default()).expect("an object");
    assert!(
        first["body"]
            .as_str()
            .is_some_and(|body| body.starts_with("1 xxx")),
        "{first}"
    );

    let avro = flow.folder.at("c1.avro");
    let (code, _, err) = run(&["channel", "export", &flow.data(), "-o", &avro]);
    assert!(code == 0 && err.contains("6000 events"), "{err}");
    let container = fs::read(&avro).expect("the container can be read");
    let head = String::from_utf8_lossy(&container[..400]).into_owned();
    assert!(
        head.starts_with("Obj\u{1}") && head.contains("{\"type\":\"record\",\"name\":\"Event\""),
        "{head}"
    );
    let last = format!("{LINES} xxx");
    assert!(
        container
            .windows(last.len())
            .any(|window| window == last.as_bytes())
    );
}

#[test]
fn a_channel_at_work_is_inspected_verified_and_exported_and_left_as_it_is() {
    let flow = Flow::new("tools-live");
    let mut node = flow.start(false, "");
    flow.put(1..=LINES);
    let (code, look) = json(&["channel", "inspect", &flow.data(), "--json"]);
    assert_eq!(code, 0);
    let look = &look[0];
    assert_eq!(
        (look["channel"].as_str(), look["queuedEvents"].as_u64()),
        (Some("c1"), Some(LINES))
    );
    assert_eq!(
        (look["inUse"].as_bool(), look["process"].as_u64()),
        (Some(true), Some(u64::from(node.id())))
    );
    assert!(
        look["segments"]
            .as_array()
            .is_some_and(|segments| segments.len() >= 3),
        "{look}"
    );
    assert_eq!(
        (look["oldest"]["event"].as_u64(), look["newest"]["event"].as_u64()),
        (Some(0), Some(LINES - 1))
    );

    // The folder inside, and the configuration, mean the same.
    let inside = format!("{}/millrace", flow.data());
    let (code, out, _) = run(&["channel", "verify", &inside]);
    assert!(
        code == 0 && out.contains("sound; ") && out.contains("6000 queued events"),
        "{out}"
    );
    let file = flow.folder.at("node.properties");
    let (code, out, _) = run(&["channel", "inspect", "-f", &file, "-c", "c1"]);
    assert!(
        code == 0 && out.contains(&format!("in use by process {}", node.id())),
        "{out}"
    );

    assert_exports(&flow);
    let (code, _, err) = run(&["channel", "repair", &flow.data(), "--skip"]);
    assert!(
        code == 73 && err.contains("already locked") && err.contains("stop the agent first"),
        "{err}"
    );
    assert_eq!(node.stop(), 0);
    let (_, look) = json(&["channel", "inspect", &flow.data(), "--json"]);
    assert_eq!(
        (look[0]["inUse"].as_bool(), look[0]["queuedEvents"].as_u64()),
        (Some(false), Some(LINES))
    );
}

#[test]
fn a_channel_that_is_written_and_drained_meanwhile_is_never_called_damaged() {
    let flow = Flow::new("tools-moving");
    let mut node = flow.start(true, "");
    // The source listens when the channel is open.
    drop(Connection::open_when_up(flow.port));
    let mut looks = 0;
    for round in 0..4_u64 {
        let from = round * LINES + 1;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| flow.put(from..=from + LINES - 1));
            while !writer.is_finished() {
                looks += 1;
                let (code, out, err) = run(&["channel", "verify", &flow.data()]);
                assert_eq!(code, 0, "{out}{err}");
                let (code, out, err) = run(&["channel", "inspect", &flow.data()]);
                assert_eq!(code, 0, "{out}{err}");
                let (code, out, err) = run(&["channel", "export", &flow.data(), "--format", "text"]);
                assert_eq!(code, 0, "{err}");
                let exported: Vec<u64> = out
                    .lines()
                    .map(|line| {
                        line.split(' ')
                            .next()
                            .and_then(|n| n.parse().ok())
                            .expect("a whole line")
                    })
                    .collect();
                assert!(exported.is_sorted_by(|a, b| a < b), "in order, each once");
            }
        });
    }
    assert!(looks > 0);
    let lines = flow.wait_written(4 * LINES as usize);
    assert_eq!(lines, (1..=4 * LINES).collect::<Vec<_>>());
    assert_eq!(node.stop(), 0);
}

#[test]
fn damage_stops_a_channel_and_is_named_with_its_events_and_what_to_do() {
    let flow = Flow::filled("tools-stop");
    let lost = flow.damage();
    let range = format!("events {} to {}", lost.start(), lost.end());
    let (code, out, _) = run(&["channel", "verify", &flow.data()]);
    assert_eq!(code, 65, "{out}");
    assert!(
        out.contains("DAMAGED in 1 place") && out.contains(&range),
        "{out}"
    );
    let (_, verdict) = json(&["channel", "verify", &flow.data(), "--json"]);
    let damage = &verdict[0]["damages"][0];
    assert_eq!(damage["file"], "seg-0000000000000000.wal");
    assert_eq!(
        (damage["firstEvent"].as_u64(), damage["lastEvent"].as_u64()),
        (Some(*lost.start()), Some(*lost.end()))
    );
    assert_eq!(damage["lostEvents"].as_u64(), Some(lost.end() - lost.start() + 1));

    let text = flow.folder.at("c1.txt");
    let (code, _, err) = run(&["channel", "export", &flow.data(), "--format", "text", "-o", &text]);
    assert!(
        code == 65 && err.contains(&range) && err.contains("--skip-damage"),
        "{err}"
    );
    assert!(!Path::new(&text).exists());
    let (code, _, err) = run(&[
        "channel",
        "export",
        &flow.data(),
        "--format",
        "text",
        "-o",
        &text,
        "--skip-damage",
    ]);
    assert!(code == 0 && err.contains(&range), "{err}");
    assert_eq!(numbers(Path::new(&text)), all_but(&lost));

    let mut node = flow.start(true, "");
    let line = node.wait_for_line("the damage", LIVENESS, |line| line.contains(&range));
    let command = format!("node channel repair {} --skip", flow.data());
    assert!(
        line.contains(&command) && line.contains("seg-0000000000000000.wal: bytes "),
        "{line}"
    );
    let page = http::get_until(flow.admin, "/metrics", "unhealthy", |answer| {
        metric(&answer.body, "channel_unhealthy") == Some(1)
    });
    assert_eq!(metric(&page.body, "channel_open"), Some(0));
    node.stop();
}

#[test]
fn with_skip_the_rest_flows_on_and_the_alarm_is_there() {
    let flow = Flow::filled("tools-skip");
    let lost = flow.damage();
    let mut node = flow.start(true, "a1.channels.c1.onCorruption = skip\n");
    let rest = all_but(&lost);
    assert_eq!(flow.wait_written(rest.len()), rest);
    let range = format!("events {} to {}", lost.start(), lost.end());
    node.wait_for_line("the report", LIVENESS, |line| line.contains(&range));
    let page = http::get_until(flow.admin, "/metrics", "drained", |answer| {
        metric(&answer.body, "channel_events") == Some(0)
    });
    let metric = |name: &str| metric(&page.body, name);
    assert_eq!(metric("channel_corrupt_ranges_total"), Some(1));
    assert_eq!(
        metric("channel_lost_events_total"),
        Some(lost.end() - lost.start() + 1)
    );
    assert_eq!(
        (metric("channel_unhealthy"), metric("channel_open")),
        (Some(0), Some(1))
    );
    assert_eq!(node.stop(), 0);
    assert_eq!(flow.written(), rest);
}

#[test]
fn after_a_repair_the_channel_starts_without_a_question_and_the_damaged_file_is_kept() {
    let flow = Flow::filled("tools-repair");
    let lost = flow.damage();
    let segment = flow.folder.path().join("data/millrace/seg-0000000000000000.wal");
    let damaged = fs::read(&segment).expect("the segment is there");
    let (code, _, err) = run(&["channel", "repair", &flow.data()]);
    assert!(
        code == 64 && err.contains("--skip says that this is meant"),
        "{err}"
    );
    assert_eq!(fs::read(&segment).expect("the segment is there"), damaged);

    let (code, out, err) = run(&["channel", "repair", &flow.data(), "--skip"]);
    let range = format!("events {} to {}", lost.start(), lost.end());
    assert!(
        code == 0 && out.contains("given up: seg-0000000000000000.wal") && out.contains(&range),
        "{out}{err}"
    );
    let kept: Vec<PathBuf> = fs::read_dir(flow.folder.path().join("data/millrace/quarantine"))
        .expect("the quarantine is there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    let is_copy = |path: &PathBuf| path.to_string_lossy().contains("seg-0000000000000000.wal.");
    let copy = kept.iter().find(|path| is_copy(path)).expect("a copy");
    assert_eq!(fs::read(copy).expect("the copy can be read"), damaged);
    assert!(
        kept.iter().any(|path| path.to_string_lossy().ends_with(".json")),
        "{kept:?}"
    );

    let (code, out, _) = run(&["channel", "verify", &flow.data()]);
    assert!(
        code == 0 && out.contains(&format!("repaired before: {range} were given up")),
        "{out}"
    );
    let (code, out, _) = run(&["channel", "repair", &flow.data(), "--skip"]);
    assert!(code == 0 && out.contains("sound, nothing to repair"), "{out}");

    let mut node = flow.start(true, "");
    let rest = all_but(&lost);
    assert_eq!(flow.wait_written(rest.len()), rest);
    assert_eq!(node.stop(), 0);
    assert_eq!(flow.written(), rest);
}

#[test]
fn what_is_no_channel_is_told_and_does_not_keep_others_from_being_looked_at() {
    let flow = Flow::filled("tools-others");
    let empty = flow.folder.make("empty").display().to_string();
    let flume = flow.folder.make("flume").display().to_string();
    flow.folder.write("flume/log-1", "x");
    let (code, out, err) = run(&["channel", "verify", &empty, &flume, &flow.data()]);
    assert_eq!(code, 66);
    assert!(out.contains("sound; "), "{out}");
    assert!(
        err.contains("is not a folder of a file channel")
            && err.contains("file channel of Flume's (1 data files)"),
        "{err}"
    );
    let file = flow.folder.at("node.properties");
    let (code, _, err) = run(&["channel", "verify", "-f", &file, "-c", "c2"]);
    assert!(
        code == 78 && err.contains("expected a file channel \"c2\"") && err.contains("c1 of a1 (file)"),
        "{err}"
    );
    assert_eq!(
        fs::read_dir(&empty).expect("the folder is there").count(),
        0,
        "nothing was made"
    );
}
