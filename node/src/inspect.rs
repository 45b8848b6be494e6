//! The commands that look at a configuration and run nothing: `check` and `explain`.

use node::cli::{self, CheckOptions, ExplainOptions, View};
use node::component::keys::{Finding, Place, Severity};
use node::config::{self, Loaded, Sources, check};
use node::topology::graph::{self, Graph};
use node::topology::{all_types, explain, plan};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    let agent = options.sources.agent.as_deref();
    let (text, status) = check::run(&loaded, agent, &Arc::new(all_types()), options.json);
    print!("{text}");
    status
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
    let first = sources
        .files
        .first()
        .map_or(Path::new("(given)"), PathBuf::as_path);
    graph::read(
        &loaded.entries(),
        agent,
        &Place {
            file: first.into(),
            line: 0,
        },
    )
}
