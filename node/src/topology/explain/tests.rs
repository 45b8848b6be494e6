//! Snapshots of texts, and what holds for every graph: no panic, each box once, a width that fits, sound XML.

use super::*;
use crate::component::keys::{Entry, Place};
use crate::topology::{graph, plan};
use proptest::prelude::*;
use std::path::Path;

fn entry(value: &str) -> Entry {
    let place = Place {
        file: Path::new("f").into(),
        line: 1,
    };
    Entry {
        value: value.to_owned(),
        place,
    }
}

fn agent(lines: &str) -> Graph {
    let pairs = lines.lines().filter_map(|l| l.trim().split_once('='));
    let properties = pairs
        .map(|(k, v)| (format!("a.{}", k.trim()), entry(v.trim())))
        .collect();
    graph::read(&properties, "a", &entry("").place).0
}

/// Compares what stands below the first pipeline's title.
fn check(lines: &str, expected: &str) {
    let found = text("a", &agent(lines));
    let body: Vec<&str> = found.lines().skip(4).collect();
    assert_eq!(
        body.join("\n").trim_end(),
        expected.trim_matches('\n'),
        "\n{found}"
    );
}

const SINGLE: &str = "
    sources = r1
    channels = c1
    sinks = k1
    sources.r1.type = netcat
    sources.r1.bind = 0.0.0.0
    sources.r1.port = 44444
    sources.r1.channels = c1
    channels.c1.type = memory
    channels.c1.capacity = 10000
    sinks.k1.type = logger
    sinks.k1.channel = c1";

const FAN: &str = "
    sources = web audit
    channels = fast safe spare
    sinks = k1 k2 k3
    sources.web.type = avro
    sources.web.port = 41414
    sources.web.channels = fast safe spare
    sources.web.interceptors = stamp host
    sources.web.interceptors.stamp.type = timestamp
    sources.web.interceptors.host.type = org.apache.flume.interceptor.HostInterceptor$Builder
    sources.web.selector.type = multiplexing
    sources.web.selector.header = severity
    sources.web.selector.mapping.info = fast
    sources.web.selector.mapping.error = fast safe
    sources.web.selector.default = safe
    sources.web.selector.optional.error = spare
    sources.audit.type = exec
    sources.audit.command = tail -F /var/log/audit
    sources.audit.channels = safe
    channels.fast.type = memory
    channels.safe.type = file
    channels.spare.type = memory
    sinks.k1.type = null
    sinks.k1.channel = fast
    sinks.k2.type = hdfs
    sinks.k2.hdfs.path = /events/%Y
    sinks.k2.channel = safe
    sinks.k3.type = null
    sinks.k3.channel = spare";

const FAILOVER: &str = "
    sources = in
    channels = c1 c2
    sinks = primary secondary
    sinkgroups = g1
    sinkgroups.g1.sinks = primary secondary
    sinkgroups.g1.processor.type = failover
    sinkgroups.g1.processor.priority.primary = 10
    sources.in.type = spooldir
    sources.in.spoolDir = /var/spool
    sources.in.channels = c1 c2
    channels.c1.type = memory
    channels.c2.type = memory
    sinks.primary.type = avro
    sinks.primary.hostname = east
    sinks.primary.port = 4545
    sinks.primary.channel = c1
    sinks.secondary.type = avro
    sinks.secondary.hostname = west
    sinks.secondary.port = 4545
    sinks.secondary.channel = c2";

const ODD: &str = "
    sources = 日志源 s2
    channels = c1
    sinks = k1
    sources.日志源.type = seq
    sources.日志源.channels = c1
    sources.s2.type = com.example.Thing
    sources.s2.channels = c9
    channels.c1.type = memory
    sinks.k1.type = file_roll
    sinks.k1.sink.directory = /srv/a<b>&\"c\"
    sinks.k1.channel = c8";

const SINGLE_EXPECTED: &str = r#"
                          ╭ channel c1 ──────╮
┌ source r1 ───────┐      │ memory           │      ┌ sink k1 ───────┐
│ netcat           │─────▶│ 10 000 events    │─────▶│ logger         │
│ on 0.0.0.0:44444 │      │ 100 in one batch │      │ to the log     │
└──────────────────┘      ╰──────────────────╯      └────────────────┘
"#;

#[test]
fn a_single_flow_is_a_straight_line() {
    check(SINGLE, SINGLE_EXPECTED);
}

const FAN_EXPECTED: &str = r#"
                                    ╭ channel fast ───────╮
                                    │ memory              │      ┌ sink k1 ───────┐
                                    │ 100 events          │─────▶│ null           │
┌ source web ────────────────┐ ╭───▶│ 100 in one batch    │      │ discards       │
│ avro                       │ │    ╰─────────────────────╯      └────────────────┘
│ on port 41414              │ │
│ 1. timestamp (stamp)       │ │    ╭ channel spare ──────╮
│ 2. HostInterceptor (host)  │─┼╌╌╌▷│ memory              │      ┌ sink k3 ───────┐
│ ◇ multiplexing on severity │ │    │ 100 events          │─────▶│ null           │
│   error, info → fast       │ │    │ 100 in one batch    │      │ discards       │
│   error → spare            │ │    ╰─────────────────────╯      └────────────────┘
│   error, default → safe    │ │
└────────────────────────────┘ │    ╭ channel safe ───────╮
                               │    │ file                │      ┌ sink k2 ───────┐
┌ source audit ──────────────┐ ╰───▶│ 1 000 000 events    │─────▶│ hdfs           │
│ exec                       │─────▶│ 10 000 in one batch │      │ /events/%Y     │
│ $ tail -F /var/log/audit   │      │                     │      └────────────────┘
└────────────────────────────┘      ╰─────────────────────╯

╌╌▷ optional: a failure there does not fail the batch
"#;

#[test]
fn a_fan_out_shows_mappings_interceptors_and_optional_wires() {
    check(FAN, FAN_EXPECTED);
}

const FAILOVER_EXPECTED: &str = r#"
                                                  ╔ group g1 · failover ════════╗
                        ╭ channel c1 ──────╮      ║  ┌ sink primary ─────────┐  ║
                        │ memory           │      ║  │ avro                  │  ║
                        │ 100 events       │──────╫─▶│ priority 10           │  ║
┌ source in ─────┐ ╭───▶│ 100 in one batch │      ║  │ to east:4545          │  ║
│ spooldir       │ │    ╰──────────────────╯      ║  └───────────────────────┘  ║
│ /var/spool     │─┤                              ║  ┌ sink secondary ───────┐  ║
│ ◇ replicating  │ │    ╭ channel c2 ──────╮      ║  │ avro                  │  ║
└────────────────┘ ╰───▶│ memory           │      ║  │ priority -1 (default) │  ║
                        │ 100 events       │──────╫─▶│ to west:4545          │  ║
                        │ 100 in one batch │      ║  └───────────────────────┘  ║
                        ╰──────────────────╯      ╚═════════════════════════════╝
"#;

#[test]
fn a_group_frames_its_sinks_with_their_priorities() {
    check(FAILOVER, FAILOVER_EXPECTED);
}

const ODD_EXPECTED: &str = r#"
                        ╭ channel c1 ───────╮
┌ source 日志源 ─┐      │ memory            │
│ seq            │─────▶│ 100 events        │
└────────────────┘      │ 100 in one batch  │
                        │ ! nobody reads it │
                        ╰───────────────────╯

━━ Not connected: s2 · 1 source ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━

┌ source s2 ─────────────┐
│ Thing                  │
│ ! writes to no channel │
└────────────────────────┘

━━ Not connected: k1 · 1 sink ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━

┌ sink k1 ───────────┐
│ file_roll          │
│ /srv/a<b>&"c"      │
│ ! reads no channel │
└────────────────────┘
"#;

#[test]
fn what_is_not_connected_is_drawn_and_says_so() {
    check(ODD, ODD_EXPECTED);
}

#[test]
fn an_agent_with_nothing_says_so() {
    assert_eq!(text("a", &Graph::default()), "Agent a: nothing runs\n");
    assert_eq!(plan_text(&Plan::default()), "Nothing runs.\n");
    sound(&svg("a", &Graph::default()));
}

#[test]
fn the_plan_is_numbered_in_the_order_of_start() {
    let text = plan_text(&plan::plan(agent(FAILOVER)));
    let lines: Vec<&str> = text.lines().take(7).collect();
    assert_eq!(
        lines,
        [
            "Pipeline c1",
            "   1  channel    c1 (memory)",
            "   2  channel    c2 (memory)",
            "   3  sink       primary (avro)    reads c1",
            "   4  sink       secondary (avro)  reads c2",
            "   5  processor  g1 (failover)     drives secondary, primary",
            "   6  source     in (spooldir)     writes c1, c2",
        ]
    );
    assert!(text.contains("Stop, the other way round"), "{text}");
}

#[test]
fn long_and_wide_texts_are_cut_in_their_middle() {
    assert_eq!(shortened("/a/very/long/path.log", 11), "/a/v…th.log");
    assert_eq!(shortened("日志源日志源", 7), "日…源");
    assert_eq!(shortened("abc", 0), "");
    assert_eq!(
        wrapped("/var/log/nginx/access.log", 16, 2),
        ["/var/log/nginx/", "access.log"]
    );
}

#[test]
fn the_picture_escapes_and_tells_everything() {
    let picture = svg("a\u{1}<&", &agent(ODD));
    sound(&picture);
    assert!(picture.contains("/srv/a&lt;b&gt;&amp;&quot;c&quot;"), "{picture}");
    for picture in [svg("a", &agent(FAN)), svg("a", &agent(FAILOVER))] {
        sound(&picture);
        assert!(
            !picture.contains("<script") && !picture.contains("href"),
            "{picture}"
        );
    }
    let fan = svg("a", &agent(FAN));
    for told in [
        "error, info",
        "error, default",
        "multiplexing on severity",
        "1 timestamp · stamp",
        "wire optional\"",
    ] {
        assert!(fan.contains(told), "{told}: {fan}");
    }
    assert!(svg("a", &agent(FAILOVER)).contains("priority 10"));
}

/// Tags balance, attributes are quoted, nothing stands unescaped.
fn sound(xml: &str) {
    let mut open = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        plain(&rest[..at]);
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{xml}");
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        tag.split('"').for_each(plain);
        if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap());
        }
    }
    assert_eq!((open.len(), rest.trim()), (0, ""), "{xml}");
}

fn plain(text: &str) {
    assert!(!text.contains(['<', '>']), "{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
    for part in text.split('&').skip(1) {
        assert!(
            ["amp;", "lt;", "gt;", "quot;", "#39;"]
                .iter()
                .any(|e| part.starts_with(e)),
            "{text}"
        );
    }
}

/// Edges, type and properties of a component.
type Part = (Vec<usize>, String, BTreeMap<String, String>);

/// Any graph at all, sound or not: edges lead anywhere, sinks stand in several groups.
fn graphs() -> impl Strategy<Value = Graph> {
    let edges = |most| prop::collection::vec(0..20usize, 0..most);
    let facts = prop::collection::btree_map(
        "(bind|port|hdfs.path|selector.type|interceptors|capacity)",
        ".{0,60}",
        0..4,
    );
    let part = |most| (edges(most), ".{0,12}", facts.clone());
    let list = |most, edges| prop::collection::vec(part(edges), 0..most);
    (list(10, 1), list(14, 8), list(14, 3), list(4, 5)).prop_map(|(channels, sources, sinks, groups)| {
        let build = |list: Vec<Part>, kind: &str, to: &str| {
            let one = |(at, (edges, type_name, facts)): (usize, Part)| Component {
                name: format!("{kind}{at:02}"),
                type_name,
                place: entry("").place,
                entries: facts.into_iter().map(|(k, v)| (k, entry(&v))).collect(),
                edges: edges.into_iter().map(|e| format!("{to}{e:02}")).collect(),
            };
            list.into_iter().enumerate().map(one).collect::<Vec<Component>>()
        };
        Graph {
            channels: build(channels, "CH", ""),
            sources: build(sources, "SO", "CH"),
            sinks: build(sinks, "SI", "CH"),
            groups: build(groups, "GR", "SI"),
            ..Graph::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_graph_is_explained(graph in graphs()) {
        let shown = text("a", &graph);
        let picture = svg("a", &graph);
        sound(&picture);
        prop_assert!(shown.lines().all(|l| columns(l) <= 120), "{}", shown);
        prop_assert_eq!(&shown, &text("a", &graph));
        for (word, list) in [("channel", &graph.channels), ("source", &graph.sources), ("sink", &graph.sinks)] {
            for part in list {
                let named = format!("{word} {} ", part.name);
                prop_assert_eq!(shown.matches(&named).count(), 1, "{} in {}", named, shown);
                let boxed = picture.lines().filter(|l| l.contains("class=\"name\" x=") && l.contains(&format!(">{}<", part.name)));
                prop_assert_eq!(boxed.count(), 1, "{}", part.name);
            }
        }
        plan_text(&plan::plan(graph));
    }
}
