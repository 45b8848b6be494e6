//! What runs, and the one path by which it changes: start is a reload against nothing.
//!
//! Order: sources that go or restart are stopped; channels that go are emptied by their old sinks (at most 30 s);
//! then their processors, sinks and actors stop. Channels take over other settings in place. Then the new ones
//! start: channels, sinks, processors, sources. Everything has been built once before the first one is touched,
//! so a bad configuration changes nothing.

use super::apply::{Applied, LiveChannel, Planned, Reuse, Site, apply, drained};
use super::diff::{Changes, Id, diff};
use super::graph::Graph;
use super::plan::plan;
use crate::component::channel::ChannelHandle;
use crate::component::keys::{Finding, Keys, Severity};
use crate::flow::board::State;
use crate::flow::sink_host::SinkPort;
use crate::supervise::{ChildSpec, Strategy, SupervisorRecipe, supervisor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The running agent as the control thread knows it.
pub struct Live {
    site: Site,
    graph: Graph,
    channels: BTreeMap<String, LiveChannel>,
    ports: BTreeMap<String, Arc<SinkPort>>,
    /// The supervisors of pipelines, by the name of the channel after which each was made.
    homes: BTreeMap<String, SupervisorRecipe>,
    /// In which home a child runs, and its number there.
    children: BTreeMap<Id, (String, u64)>,
    pipelines: SupervisorRecipe,
}

impl Live {
    /// Nothing runs yet; pipelines will be children of `pipelines`.
    pub fn new(site: Site, pipelines: SupervisorRecipe) -> Self {
        Self {
            site,
            graph: Graph::default(),
            channels: BTreeMap::new(),
            ports: BTreeMap::new(),
            homes: BTreeMap::new(),
            children: BTreeMap::new(),
            pipelines,
        }
    }

    /// What components are built with.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The channels that there are.
    pub fn channels(&self) -> Vec<ChannelHandle> {
        self.channels.values().map(|c| c.handle.clone()).collect()
    }

    /// Changes to another graph; with an error among the findings nothing is touched; if `lenient`, only
    /// when what is to go on would lose what it hangs on.
    pub async fn reload(
        &mut self,
        graph: Graph,
        lenient: bool,
    ) -> Result<(Changes, Vec<Finding>), Vec<Finding>> {
        let in_place = |name: &str| {
            self.channels
                .get(name)
                .is_some_and(|c| c.handle.channel().reconfigurable())
        };
        let changes = diff(&self.graph, &graph, in_place);
        let stays = |name: &String| !changes.stops(&Id::Channel(name.clone()));
        let kept = self.channels.iter().filter(|(name, _)| stays(name));
        let reuse = Reuse {
            channels: kept.map(|(name, live)| (name.clone(), live.clone())).collect(),
            ports: self.ports.clone(),
        };
        let (applied, findings) = apply(&plan(graph.clone()), &self.site, &reuse);
        let errors = findings.iter().any(|f| f.severity == Severity::Error);
        let there = |id: &Id| applied.children.iter().any(|child| child.id == *id);
        // What runs and is to go on running must not lose its footing to an error elsewhere.
        let cut = self.children.keys().any(|id| !changes.stops(id) && !there(id));
        if errors && (!lenient || cut) {
            return Err(findings);
        }
        self.change(&changes, graph, applied).await;
        Ok((changes, findings))
    }

    /// Starts what was applied where nothing runs yet.
    pub async fn start(&mut self, graph: Graph, applied: Applied) {
        let changes = diff(&self.graph, &graph, |_| false);
        self.change(&changes, graph, applied).await;
    }

    async fn change(&mut self, changes: &Changes, graph: Graph, applied: Applied) {
        let of = |kind: fn(&Id) -> bool| move |id: &Id| kind(id);
        self.stop(changes, of(|id| matches!(id, Id::Source(_)))).await;
        self.empty_removed(changes).await;
        self.stop(changes, of(|id| matches!(id, Id::Processor(_)))).await;
        self.stop(changes, of(|id| matches!(id, Id::Sink(_)))).await;
        self.stop(changes, of(|id| matches!(id, Id::Channel(_)))).await;
        self.drop_removed(changes);
        self.reconfigure(changes, &graph);
        self.graph = graph;
        self.channels = applied.channels;
        self.ports = applied.ports;
        self.start_new(changes, &applied.children).await;
        self.forget_empty_homes().await;
    }

    async fn stop(&mut self, changes: &Changes, kind: impl Fn(&Id) -> bool) {
        let going: Vec<Id> = self
            .children
            .keys()
            .filter(|id| kind(id) && changes.stops(id))
            .cloned()
            .collect();
        let mut touched = BTreeSet::new();
        for id in going {
            let Some((home, number)) = self.children.remove(&id) else {
                continue;
            };
            if let Some(recipe) = self.homes.get(&home) {
                recipe.children.borrow_mut().retain(|spec| spec.id != number);
                touched.insert(home);
            }
        }
        self.reconcile(touched).await;
    }

    async fn reconcile(&self, homes: BTreeSet<String>) {
        for recipe in homes.iter().filter_map(|home| self.homes.get(home)) {
            recipe.reconcile().await;
        }
    }

    /// Lets the old sinks empty the channels that go, as far as they have sinks.
    async fn empty_removed(&self, changes: &Changes) {
        let read = |name: &str| {
            self.graph
                .sinks
                .iter()
                .any(|sink| sink.edges.iter().any(|c| c == name))
        };
        let going = self
            .channels
            .iter()
            .filter(|(name, _)| changes.stops(&Id::Channel((*name).clone())));
        let drainable: Vec<ChannelHandle> = going
            .filter(|(name, _)| read(name))
            .map(|(_, live)| live.handle.clone())
            .collect();
        if !drainable.is_empty() {
            tokio::select! {
                () = drained(drainable) => {}
                () = self.site.env.hurry.cancelled() => {}
            }
        }
    }

    /// Counts and reports what is lost with a channel that could not be emptied.
    fn drop_removed(&mut self, changes: &Changes) {
        for (name, live) in &self.channels {
            if !changes.stops(&Id::Channel(name.clone())) {
                continue;
            }
            let events = live.handle.channel().close();
            if events > 0 {
                live.handle.counters().dropped.add(events as u64);
                tracing::error!(channel = name, events, "removed with events in it: they are lost");
            }
        }
    }

    fn reconfigure(&self, changes: &Changes, graph: &Graph) {
        for name in &changes.reconfigured {
            let component = graph.channels.iter().find(|c| c.name == *name);
            if let (Some(component), Some(live)) = (component, self.channels.get(name)) {
                let title = format!("channel {name} ({})", component.type_name);
                let mut keys = Keys::new(title, component.place.clone(), component.entries.clone());
                live.handle.reconfigure(&mut keys, &self.site.context(name, &[]));
            }
        }
    }

    /// Starts new children, lower ranks first, each in the home of a channel of its pipeline.
    async fn start_new(&mut self, changes: &Changes, planned: &[Planned]) {
        let mut new: Vec<(&Planned, ChildSpec)> = planned
            .iter()
            .filter(|child| changes.starts(&child.id))
            .map(|child| (child, child.spec()))
            .collect();
        new.sort_by_key(|(_, spec)| spec.rank);
        // All of them, before the first one starts: nobody may think that the node is ready meanwhile.
        for (_, spec) in &new {
            self.site.env.board.set(&spec.title, State::Starting);
        }
        let ranks: BTreeSet<u8> = new.iter().map(|(_, spec)| spec.rank).collect();
        for rank in ranks {
            let mut touched = BTreeSet::new();
            for (child, spec) in new.iter().filter(|(_, spec)| spec.rank == rank) {
                let home = self.home_of(&child.pipeline, planned).await;
                self.children.insert(child.id.clone(), (home.clone(), spec.id));
                if let Some(recipe) = self.homes.get(&home) {
                    recipe.children.borrow_mut().push(spec.clone());
                    touched.insert(home);
                }
            }
            self.reconcile(touched).await;
        }
    }

    /// The home of a pipeline: that of one of its channels which runs already, else a new one.
    async fn home_of(&mut self, pipeline: &str, planned: &[Planned]) -> String {
        let members = planned.iter().filter(|child| child.pipeline == pipeline);
        let known = members
            .filter_map(|child| self.children.get(&child.id))
            .map(|(home, _)| home.clone())
            .next();
        if let Some(home) = known.or_else(|| self.homes.contains_key(pipeline).then(|| pipeline.to_owned())) {
            return home;
        }
        let title = format!("pipeline {pipeline}");
        let recipe = SupervisorRecipe::new(
            title.clone(),
            Strategy::OneForOne,
            Vec::new(),
            self.site.env.clone(),
        );
        self.homes.insert(pipeline.to_owned(), recipe.clone());
        let spec = ChildSpec::supervisor(title, 0, move || supervisor(&recipe));
        self.pipelines.children.borrow_mut().push(spec);
        self.pipelines.reconcile().await;
        pipeline.to_owned()
    }

    async fn forget_empty_homes(&mut self) {
        let used: BTreeSet<&String> = self.children.values().map(|(home, _)| home).collect();
        let empty: Vec<String> = self
            .homes
            .keys()
            .filter(|home| !used.contains(home))
            .cloned()
            .collect();
        for home in empty {
            self.homes.remove(&home);
            let title = format!("pipeline {home}");
            self.pipelines
                .children
                .borrow_mut()
                .retain(|spec| spec.title != title);
            self.pipelines.reconcile().await;
        }
    }
}
