//! A case: a folder with `load.properties` (what to send), `node.properties` (the subject's agents) and `README.md`.
//!
//! In `node.properties` each `${PORT…}` stands for a free port: `${PORT}` is where the driver sends, `${PORT_A2}` where
//! agent `a2` listens, `${PORT_COLLECT}` where the verifying sink end does; any other name gets a port of its own.

use crate::connection::CallShape;
use crate::wire::Buffers;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// Name of the placeholder for the driver's target.
pub const PORT_TARGET: &str = "PORT";

/// Name of the placeholder for the verifying sink end.
pub const PORT_COLLECT: &str = "PORT_COLLECT";

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Calls of Avro RPC, each answered.
    Avro,
    /// Syslog over TCP, without an answer.
    Syslog,
    /// Files that grow and are rotated away.
    Tail,
}

/// What `load.properties` says.
#[derive(Debug, Clone)]
pub struct Case {
    /// Name of the folder.
    pub name: String,
    /// First paragraph of the README.
    pub about: String,
    /// Agents in the direction of the flow; started last first.
    pub agents: Vec<String>,
    /// Who sends.
    pub driver: Driver,
    /// Connections of the driver.
    pub connections: usize,
    /// Calls of the driver; for syslog the batch is messages of a write, and the body a whole message.
    pub shape: CallShape,
    /// Seconds before figures are taken.
    pub warm_up: Duration,
    /// Seconds in which they are.
    pub measure: Duration,
    /// Whether everything ends in the verifying sink end.
    pub collect: bool,
    /// Whether everything ends in files, where the driver looks for it: of the folder `files` (syslog), or `out` (tail).
    pub files: bool,
    /// Lines after which a file is rotated away, 0 for never (tail).
    pub lines_per_file: u64,
    /// Configuration with placeholders.
    pub node_properties: String,
}

impl Case {
    /// Reads a case's folder.
    ///
    /// # Errors
    /// Names the file and the key.
    pub fn load(folder: &Path) -> Result<Self> {
        let read = |file| {
            let path = folder.join(file);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let name = folder
            .file_name()
            .ok_or_else(|| anyhow!("{}: no case", folder.display()))?;
        let name = name.to_string_lossy().into_owned();
        let about = read("README.md")?
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect::<Vec<_>>()
            .join(" ");
        Self::parse(
            name,
            about.trim().to_owned(),
            &read("load.properties")?,
            read("node.properties")?,
        )
        .with_context(|| folder.join("load.properties").display().to_string())
    }

    pub(crate) fn parse(name: String, about: String, load: &str, node_properties: String) -> Result<Self> {
        let mut keys = properties(load)?;
        let seconds = |keys: &mut _, key, default| value(keys, key, default).map(Duration::from_secs_f64);
        let case = Self {
            name,
            about,
            agents: value(&mut keys, "agents", "a1".to_owned())?
                .split(',')
                .map(|a| a.trim().to_owned())
                .collect(),
            driver: match value(&mut keys, "driver", "avro".to_owned())?.as_str() {
                "avro" => Driver::Avro,
                "syslog" => Driver::Syslog,
                "tail" => Driver::Tail,
                other => bail!("driver: expected avro, syslog or tail, found {other:?}"),
            },
            connections: value(&mut keys, "connections", 4)?,
            shape: CallShape {
                batch: value(&mut keys, "batch", 1000)?,
                body: value(&mut keys, "body", 500)?,
                in_flight: value(&mut keys, "in-flight", 1)?,
                buffers: match value(&mut keys, "frame-buffers", "one".to_owned())?.as_str() {
                    "one" => Buffers::One,
                    "java" => Buffers::Java,
                    other => bail!("frame-buffers: expected one or java, found {other:?}"),
                },
            },
            warm_up: seconds(&mut keys, "warm-up", 2.0)?,
            measure: seconds(&mut keys, "seconds", 10.0)?,
            collect: value(&mut keys, "collect", false)?,
            files: value(&mut keys, "files", false)?,
            lines_per_file: value(&mut keys, "lines-per-file", 0)?,
            node_properties,
        };
        if let Some(key) = keys.keys().next() {
            bail!("{key}: no such key");
        }
        ensure!(
            case.driver == Driver::Tail || case.placeholders().contains(&PORT_TARGET.to_owned()),
            "node.properties: no ${{PORT}} in it"
        );
        ensure!(
            case.driver == Driver::Tail || case.lines_per_file == 0,
            "lines-per-file: only with driver = tail"
        );
        ensure!(
            case.driver != Driver::Tail || (case.collect != case.files && case.agents.len() == 1),
            "driver = tail: expected one agent, and either collect = true or files = true"
        );
        ensure!(
            case.driver != Driver::Avro || !case.files,
            "files: not with driver = avro"
        );
        ensure!(
            case.driver != Driver::Syslog || !case.collect,
            "collect: not with driver = syslog"
        );
        ensure!(
            case.collect == case.placeholders().contains(&PORT_COLLECT.to_owned()),
            "collect must be true exactly when node.properties has ${{PORT_COLLECT}}"
        );
        Ok(case)
    }

    /// Names of the placeholders in `node.properties`, each once.
    pub fn placeholders(&self) -> Vec<String> {
        let pieces = self
            .node_properties
            .split("${PORT")
            .skip(1)
            .filter_map(|piece| piece.split_once('}'));
        let mut names: Vec<String> = pieces.map(|(rest, _)| format!("PORT{rest}")).collect();
        names.sort();
        names.dedup();
        names
    }

    /// `node.properties` with ports in place of the placeholders.
    pub fn configuration(&self, ports: &BTreeMap<String, u16>) -> String {
        ports
            .iter()
            .fold(self.node_properties.clone(), |text, (name, port)| {
                text.replace(&format!("${{{name}}}"), &port.to_string())
            })
    }

    /// The placeholder of the port on which an agent listens.
    pub fn port_of_agent(&self, agent: &str) -> String {
        match self.agents.first() {
            Some(first) if first == agent => PORT_TARGET.to_owned(),
            _ => format!("{PORT_TARGET}_{}", agent.to_uppercase()),
        }
    }
}

/// `key=value` lines; `#` starts a comment line.
fn properties(text: &str) -> Result<BTreeMap<String, String>> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| anyhow!("{line}: expected key=value"))?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

fn value<T: FromStr<Err: std::fmt::Display>>(
    keys: &mut BTreeMap<String, String>,
    key: &str,
    default: T,
) -> Result<T> {
    let Some(text) = keys.remove(key) else {
        return Ok(default);
    };
    text.parse().map_err(|error| anyhow!("{key}: {error}: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(load: &str, node: &str) -> Result<Case> {
        Case::parse("x".into(), String::new(), load, node.into())
    }

    #[test]
    fn keys_left_out_have_defaults_and_unknown_ones_are_refused() {
        let case = parse("# comment\nbatch = 7\n", "port=${PORT}").unwrap();
        assert_eq!(
            (case.shape.batch, case.connections, case.measure.as_secs()),
            (7, 4, 10)
        );
        assert!(parse("bacth=7", "${PORT}").is_err());
        assert!(parse("batch=many", "${PORT}").is_err());
        assert!(parse("collect=true", "${PORT}").is_err());
        assert!(parse("files=true", "${PORT}").is_err());
        assert!(parse("driver=pigeon", "${PORT}").is_err());
        assert!(parse("driver=tail", "${PORT}").is_err());
        assert!(parse("lines-per-file=5", "${PORT}").is_err());
        assert!(parse("driver=syslog\ncollect=true", "${PORT} ${PORT_COLLECT}").is_err());
    }

    #[test]
    fn every_placeholder_is_replaced() {
        let case = parse(
            "agents=a1,a2\ncollect=true",
            "${PORT} ${PORT_A2} ${PORT_A2} ${PORT_COLLECT}",
        )
        .unwrap();
        let ports = BTreeMap::from_iter(case.placeholders().into_iter().zip(1..));
        assert_eq!(case.configuration(&ports), "1 2 2 3");
        assert_eq!(
            (case.port_of_agent("a1"), case.port_of_agent("a2")),
            ("PORT".into(), "PORT_A2".into())
        );
    }

    #[test]
    fn the_cases_of_this_folder_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let case = Case::load(&entry.unwrap().path()).unwrap();
            assert!(!case.about.is_empty(), "{}", case.name);
            for agent in &case.agents {
                assert!(
                    case.driver == Driver::Tail || case.placeholders().contains(&case.port_of_agent(agent)),
                    "{}: {agent}",
                    case.name
                );
                assert!(
                    case.node_properties.contains(&format!("{agent}.sources")),
                    "{}: {agent}",
                    case.name
                );
            }
            count += 1;
        }
        assert!(count >= 10);
    }
}
