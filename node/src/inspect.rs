//! The commands that look at a configuration and run nothing: `check` and `explain`.

use node::Node;
use node::StartError;
use node::cli::{self, CheckOptions, ExplainOptions, View};
use node::component::keys::{Entry, Finding, Place, Severity};
use node::config::{self, Loaded, Sources};
use node::topology::graph::{self, Graph};
use node::topology::{explain, plan};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Names everything that is found; 1 with errors.
pub fn check(options: &CheckOptions) -> u8 {
    options.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let loaded = match config::load(&options.sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("Error: {error}");
            return cli::EXIT_CONFIGURATION;
        }
    };
    let mut findings: Vec<Finding> = Vec::new();
    for agent in agents(&loaded, &options.sources) {
        let builder = Node::builder()
            .agent(agent)
            .configuration(options.sources.clone())
            .max_heap_bytes(options.max_heap_bytes);
        match builder.check() {
            Ok(found) | Err(StartError::Findings(found)) => findings.extend(found),
            Err(error) => {
                eprintln!("Error: {error}");
                return cli::EXIT_CONFIGURATION;
            }
        }
    }
    // What concerns the file and not an agent was found once for each of them.
    let mut told = BTreeSet::new();
    findings.retain(|finding| told.insert(finding.to_string()));
    if options.json {
        println!("{}", json(&findings));
    } else {
        findings.iter().for_each(|finding| println!("{finding}"));
        println!("{}", totals(&findings));
    }
    u8::from(count(&findings, Severity::Error) > 0)
}

/// Shows the flow graphs.
pub fn explain(options: &ExplainOptions) -> u8 {
    options.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let loaded = match config::load(&options.sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("Error: {error}");
            return cli::EXIT_CONFIGURATION;
        }
    };
    let agents = agents(&loaded, &options.sources);
    if options.view == View::Svg && agents.len() > 1 {
        eprintln!(
            "Error: a picture shows one agent; choose one of {} with -n",
            agents.join(", ")
        );
        return cli::EXIT_USAGE;
    }
    for agent in agents {
        let (graph, findings) = graph_of(&loaded, &agent, &options.sources);
        for finding in findings.iter().filter(|f| f.severity == Severity::Error) {
            eprintln!("{finding}");
        }
        match options.view {
            View::Text => print!("{}", explain::text(&agent, &graph)),
            View::Svg => print!("{}", explain::svg(&agent, &graph)),
            View::Plan => print!("{}", explain::plan_text(&plan::plan(graph))),
        }
    }
    cli::EXIT_OK
}

/// The agent that was asked for, or all that the files configure.
fn agents(loaded: &Loaded, sources: &Sources) -> Vec<String> {
    if let Some(agent) = &sources.agent {
        return vec![agent.clone()];
    }
    let named = loaded.properties.iter().filter_map(|p| {
        let (agent, rest) = p.key.split_once('.')?;
        ["sources", "channels", "sinks"]
            .contains(&rest.split('.').next()?)
            .then(|| agent.to_owned())
    });
    named.collect::<BTreeSet<_>>().into_iter().collect()
}

fn graph_of(loaded: &Loaded, agent: &str, sources: &Sources) -> (Graph, Vec<Finding>) {
    let entry = |p: &config::Property| Entry {
        value: p.value.clone(),
        place: p.place.clone(),
    };
    let all: BTreeMap<String, Entry> = loaded
        .properties
        .iter()
        .map(|p| (p.key.clone(), entry(p)))
        .collect();
    let first = sources
        .files
        .first()
        .map_or(Path::new("(given)"), PathBuf::as_path);
    graph::read(
        &all,
        agent,
        &Place {
            file: first.into(),
            line: 0,
        },
    )
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|f| f.severity == severity).count()
}

fn totals(findings: &[Finding]) -> String {
    let told = |severity, word: &str| {
        let n = count(findings, severity);
        format!("{n} {word}{}", if n == 1 { "" } else { "s" })
    };
    let errors = told(Severity::Error, "error");
    format!(
        "{errors}, {}, {}",
        told(Severity::Warning, "warning"),
        told(Severity::Note, "note")
    )
}

fn json(findings: &[Finding]) -> String {
    let one = |f: &Finding| {
        serde_json::json!({
            "file": f.place.file.display().to_string(),
            "line": f.place.line,
            "severity": f.severity.to_string(),
            "code": f.code,
            "component": f.component,
            "property": f.property,
            "message": f.message,
        })
    };
    let all: Vec<serde_json::Value> = findings.iter().map(one).collect();
    serde_json::json!({
        "findings": all,
        "errors": count(findings, Severity::Error),
        "warnings": count(findings, Severity::Warning),
        "notes": count(findings, Severity::Note),
    })
    .to_string()
}
