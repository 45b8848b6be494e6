//! A folder of `examples/` as it is published, started with ports and paths of the test's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tests::binary;
use tests::folder::Folder;
use tests::port;
use tests::process::{Agent, Node};

use crate::published_examples::STARTED;

/// Where published examples keep their files.
const FILES: &str = "/tmp/millrace";

/// An example as it is published, in a folder of the test's own.
#[derive(Debug)]
pub struct Example {
    /// Its `node.properties`, with paths and ports of the test's own.
    pub text: String,
    /// Stands for `/tmp/millrace`.
    pub folder: Folder,
    /// Free ports in place of published ones.
    ports: BTreeMap<u16, u16>,
}

impl Example {
    /// Reads a folder of `examples/`.
    #[track_caller]
    pub fn read(name: &str) -> Self {
        assert!(STARTED.contains(&name), "{name}: add it to STARTED");
        let folder = Folder::new(name);
        let text = read(&examples().join(name).join("node.properties"));
        let text = text.replace(FILES, &folder.path().display().to_string());
        Self {
            text,
            folder,
            ports: BTreeMap::new(),
        }
    }

    /// Puts a free port in place of a published one.
    #[track_caller]
    pub fn with_free_port(mut self, published: u16) -> Self {
        let free = port::free();
        let (before, after) = (format!(".port = {published}\n"), format!(".port = {free}\n"));
        assert!(
            self.text.contains(&before),
            "the example does not use port {published}"
        );
        self.text = self.text.replace(&before, &after);
        self.ports.insert(published, free);
        self
    }

    /// The port that stands for a published one.
    pub fn port(&self, published: u16) -> u16 {
        self.ports[&published]
    }

    /// Another text in place of one that is there.
    #[track_caller]
    pub fn replace(&mut self, before: &str, after: &str) {
        assert!(self.text.contains(before), "the example has no {before:?}");
        self.text = self.text.replace(before, after);
    }

    /// Starts one of its agents.
    pub fn start(&self, agent: &str) -> Node {
        self.agent(agent).start()
    }

    /// One of its agents, to be started.
    pub fn agent(&self, agent: &str) -> Agent {
        let file = self.folder.path().join("node.properties");
        // Another agent may be reading it: what is right is not written again.
        if fs::read_to_string(&file).is_ok_and(|text| text == self.text) {
            return Node::agent(agent, file);
        }
        Node::agent(agent, self.folder.write("node.properties", &self.text))
    }
}

/// The folder of all examples.
pub fn examples() -> PathBuf {
    binary::workspace().join("examples")
}

/// A whole file.
#[track_caller]
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
