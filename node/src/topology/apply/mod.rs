//! From a plan to recipes: builds every component once, names all mistakes, and wires the actors.

mod planned;

pub use planned::{ActorRecipe, Applied, LiveChannel, Planned, Reuse};

use super::catalog::{self, Kind};
use super::diff::Id;
use super::graph::Component;
use super::plan::{Pipeline, Plan, Processor};
use super::unbuilt;
use crate::component::channel::{Channel, ChannelHandle};
use crate::component::counters::{ChannelCounters, SinkCounters, SourceCounters, StorageCounters};
use crate::component::error::{BuildError, RunError};
use crate::component::interceptor::Interceptor;
use crate::component::keys::{Finding, Keys, Place, Severity};
use crate::component::processor::{DynProcessor, SinkHandle};
use crate::component::registry::{BuildContext, Built, Found, Kinds, Types};
use crate::component::selector::Selector;
use crate::component::sink::DynSink;
use crate::component::source::DynSource;
use crate::flow::channel_host::ChannelRecipe;
use crate::flow::env::Env;
use crate::flow::ingest::Ingest;
use crate::flow::processor_host::ProcessorRecipe;
use crate::flow::sink_host::{SinkPort, SinkRecipe};
use crate::flow::source_host::{Rebuild, SourceRecipe};
use crate::flow::task_host::TaskRecipe;
use crate::flow::watched::panic_text;
use crate::io::tls::TlsDefaults;
use crate::supervise::Gate;
use crate::telemetry::{ComponentKind, FlumeEntry};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long sinks may go on after the sources have stopped, until memory channels are empty.
const DRAIN: Duration = Duration::from_secs(30);
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// What all components of an agent are built with.
#[derive(Clone)]
pub struct Site {
    /// The node.
    pub env: Env,
    /// The types that are known.
    pub types: Arc<Types>,
    /// `-Xmx`, in bytes.
    pub max_heap_bytes: Option<u64>,
    /// What TLS settings default to.
    pub tls: Arc<TlsDefaults>,
}

impl Site {
    /// What the component of this name is built with.
    pub fn context(&self, name: &str, channels: &[String]) -> BuildContext {
        BuildContext {
            name: name.into(),
            clock: self.env.clock.clone(),
            max_heap_bytes: self.max_heap_bytes,
            tls: self.tls.clone(),
            channels: channels.iter().map(|c| Arc::from(c.as_str())).collect(),
            types: self.types.clone(),
        }
    }
}

/// Builds everything once, but for what is reused. The findings tell whether it may run.
pub fn apply(plan: &Plan, site: &Site, reuse: &Reuse) -> (Applied, Vec<Finding>) {
    let mut builder = Builder::new(site, reuse);
    for pipeline in &plan.pipelines {
        builder.pipeline(pipeline);
    }
    (builder.applied, builder.findings)
}

/// What there is to say about the settings of sources and sinks that have no channel left.
pub fn examine_lost(lost: &[(Kind, Component)], site: &Site) -> Vec<Finding> {
    let reuse = Reuse::default();
    let mut builder = Builder::new(site, &reuse);
    for (kind, component) in lost {
        let types = &site.types;
        if *kind == Kind::Sink {
            builder.build(*kind, component, &types.sinks, &[]);
            continue;
        }
        let title = format!("source {} ({})", component.name, component.type_name);
        let mut all = Keys::new(title, component.place.clone(), component.entries.clone());
        builder.interceptors(&mut all, component);
        let mut rest = component.clone();
        // What its selector names cannot exist.
        rest.entries = all.others(&["interceptors", "interceptors.", "selector."]);
        builder.build(*kind, &rest, &types.sources, &[]);
    }
    builder.findings
}

struct Builder<'a> {
    site: &'a Site,
    reuse: &'a Reuse,
    findings: Vec<Finding>,
    applied: Applied,
}

/// A component's type with what its build function needs: its recipe.
struct Recipe<T: 'static> {
    found: Found<T>,
    keys: Keys,
    ctx: BuildContext,
}

impl<T> Clone for Recipe<T> {
    fn clone(&self) -> Self {
        Self {
            found: self.found.clone(),
            keys: self.keys.clone(),
            ctx: self.ctx.clone(),
        }
    }
}

impl<T: 'static> Recipe<T> {
    fn rebuild(self) -> Rebuild<T> {
        Arc::new(move || {
            let mut keys = self.keys.clone();
            self.found
                .build(&mut keys, &self.ctx)
                .map_err(|e| RunError::reconfigure(e.to_string()))
        })
    }
}

/// A component that was built once, before it is known whether what it hangs on was built too.
struct Made<'a, T: 'static> {
    component: &'a Component,
    recipe: Recipe<T>,
    value: T,
}

type MadeChannels<'a> = BTreeMap<&'a str, Made<'a, Arc<dyn Channel>>>;

/// A source with what only a source has.
struct MadeSource<'a> {
    made: Made<'a, Box<dyn DynSource>>,
    interceptors: Vec<Box<dyn Interceptor>>,
    selector: Box<dyn Selector>,
    channels: Vec<&'a str>,
}

impl<'s> Builder<'s> {
    fn new(site: &'s Site, reuse: &'s Reuse) -> Self {
        Self {
            site,
            reuse,
            findings: Vec::new(),
            applied: Applied::default(),
        }
    }

    /// Builds all, drops what lost what it hangs on, as Flume does, and wires the rest. Only what is wired is shown
    /// to anybody: a component that failed leaves no trace but its findings.
    fn pipeline(&mut self, pipeline: &Pipeline) {
        let types = self.site.types.clone();
        let mut channels = MadeChannels::new();
        for component in &pipeline.channels {
            if let Some((recipe, value)) = self.build(Kind::Channel, component, &types.channels, &[]) {
                channels.insert(
                    &component.name,
                    Made {
                        component,
                        recipe,
                        value,
                    },
                );
            }
        }
        let mut sinks = BTreeMap::new();
        for component in &pipeline.sinks {
            if let Some(made) = self.sink(component, &channels) {
                sinks.insert(component.name.as_str(), made);
            }
        }
        let mut processors = Vec::new();
        for processor in &pipeline.processors {
            let mut left = processor.clone();
            left.sinks.retain(|s| sinks.contains_key(s.as_str()));
            // Its sinks could not be built: that is an error already.
            if left.sinks.is_empty() {
                continue;
            }
            // Built for all sinks that it was meant to have: that one is lost is no second mistake.
            match self.processor(processor) {
                Some(recipe) => processors.push((left, recipe)),
                None => sinks.retain(|name, _| !left.sinks.iter().any(|s| s == name)),
            }
        }
        let mut sources = Vec::new();
        for component in &pipeline.sources {
            sources.extend(self.source(component, &channels));
        }
        channels.retain(|name, _| {
            let read = sinks
                .values()
                .any(|s| s.component.edges.iter().any(|e| e == name));
            read || sources.iter().any(|s| s.channels.contains(name))
        });
        self.wire(pipeline, channels, sinks, processors, sources);
    }

    fn wire(
        &mut self,
        pipeline: &Pipeline,
        channels: MadeChannels<'_>,
        mut sinks: BTreeMap<&str, Made<'_, Box<dyn DynSink>>>,
        processors: Vec<(Processor, Recipe<Box<dyn DynProcessor>>)>,
        sources: Vec<MadeSource<'_>>,
    ) {
        let mut wired: Vec<(Id, ActorRecipe, Option<Gate>)> = Vec::new();
        let mut channels = channels;
        for component in &pipeline.channels {
            if let Some(made) = channels.remove(component.name.as_str()) {
                let recipe = self.wire_channel(made);
                wired.push((
                    Id::Channel(component.name.clone()),
                    ActorRecipe::Channel(recipe),
                    None,
                ));
            }
        }
        let mut ports: BTreeMap<&str, (SinkHandle, ChannelHandle)> = BTreeMap::new();
        for component in &pipeline.sinks {
            let made = sinks.remove(component.name.as_str());
            if let Some((recipe, handle, channel)) = made.and_then(|made| self.wire_sink(made)) {
                wired.push((Id::Sink(component.name.clone()), ActorRecipe::Task(recipe), None));
                ports.insert(&component.name, (handle, channel));
            }
        }
        for (processor, recipe) in processors {
            let (task, gate) = self.wire_processor(&processor, recipe, &ports);
            wired.push((Id::Processor(processor.name), ActorRecipe::Task(task), Some(gate)));
        }
        for source in sources {
            let id = Id::Source(source.made.component.name.clone());
            wired.push((id, ActorRecipe::Task(self.wire_source(source)), None));
        }
        let planned = |(id, recipe, gate)| Planned {
            id,
            pipeline: pipeline.name().to_owned(),
            recipe,
            gate,
        };
        self.applied.children.extend(wired.into_iter().map(planned));
    }

    fn wire_channel(&mut self, made: Made<'_, Arc<dyn Channel>>) -> ChannelRecipe {
        let env = self.site.env.clone();
        let (name, type_name) = (&made.component.name, &made.recipe.found.name);
        let live = self.reuse.channels.get(name).cloned().unwrap_or_else(|| {
            let mut counters = ChannelCounters::new(&env.registry, name, type_name);
            if made.value.limits().durable {
                counters.storage = StorageCounters::new(&env.registry, name, type_name);
            }
            LiveChannel {
                handle: ChannelHandle::new(name, made.value, counters, env.faults.clone()),
                entry: self.entry(ComponentKind::Channel, name, &made.recipe.found),
            }
        });
        let LiveChannel { handle, entry } = live.clone();
        self.applied.channels.insert(name.clone(), live);
        ChannelRecipe {
            title: format!("channel {name}"),
            handle,
            entry,
            env,
        }
    }

    fn sink<'a>(
        &mut self,
        component: &'a Component,
        channels: &MadeChannels<'_>,
    ) -> Option<Made<'a, Box<dyn DynSink>>> {
        let types = self.site.types.clone();
        let (recipe, value) = self.build(Kind::Sink, component, &types.sinks, &[])?;
        let channel = channels.get(component.edges.first()?.as_str())?;
        let fits = self.check_batch("sink", component, value.batch_size(), channel);
        fits.then_some(Made {
            component,
            recipe,
            value,
        })
    }

    fn wire_sink(
        &mut self,
        made: Made<'_, Box<dyn DynSink>>,
    ) -> Option<(TaskRecipe, SinkHandle, ChannelHandle)> {
        let channel = self
            .applied
            .channels
            .get(made.component.edges.first()?)?
            .handle
            .clone();
        let env = self.site.env.clone();
        let name = &made.component.name;
        let entry = self.entry(ComponentKind::Sink, name, &made.recipe.found);
        let known = self.reuse.ports.get(name).cloned();
        let port = known.unwrap_or_else(|| SinkPort::new(name));
        self.applied.ports.insert(name.clone(), port.clone());
        let recipe = SinkRecipe {
            name: name.clone(),
            counters: SinkCounters::new(&env.registry, name, &made.recipe.found.name),
            build: made.recipe.rebuild(),
            channel: channel.clone(),
            port: port.clone(),
            entry,
            env,
        };
        Some((recipe.task(), SinkHandle::new(port, channel.name()), channel))
    }

    fn processor(&mut self, processor: &Processor) -> Option<Recipe<Box<dyn DynProcessor>>> {
        let types = self.site.types.clone();
        let lone = || Component {
            name: processor.name.clone(),
            type_name: "default".to_owned(),
            place: Place {
                file: Path::new("").into(),
                line: 0,
            },
            entries: BTreeMap::new(),
            edges: Vec::new(),
        };
        let component = processor.group.clone().unwrap_or_else(lone);
        let built = self.build(Kind::Processor, &component, &types.processors, &processor.sinks);
        built.map(|(recipe, _)| recipe)
    }

    fn wire_processor(
        &mut self,
        processor: &Processor,
        recipe: Recipe<Box<dyn DynProcessor>>,
        ports: &BTreeMap<&str, (SinkHandle, ChannelHandle)>,
    ) -> (TaskRecipe, Gate) {
        let members: Vec<&(SinkHandle, ChannelHandle)> = processor
            .sinks
            .iter()
            .filter_map(|s| ports.get(s.as_str()))
            .collect();
        let made = ProcessorRecipe {
            name: processor.name.clone(),
            build: recipe.rebuild(),
            sinks: members.iter().map(|(handle, _)| handle.clone()).collect(),
            env: self.site.env.clone(),
        };
        let channels: Vec<ChannelHandle> = members.iter().map(|(_, channel)| channel.clone()).collect();
        let gate: Gate = Arc::new(move || Box::pin(drained(channels.clone())));
        (made.task(), gate)
    }

    fn source<'a>(
        &mut self,
        component: &'a Component,
        channels: &MadeChannels<'a>,
    ) -> Option<MadeSource<'a>> {
        let types = self.site.types.clone();
        let title = format!("source {} ({})", component.name, component.type_name);
        let mut all = Keys::new(title, component.place.clone(), component.entries.clone());
        let interceptors = self.interceptors(&mut all, component);
        let mut selector = self.selector(&mut all, component);
        let mut rest = component.clone();
        rest.entries = all.others(&["interceptors", "interceptors.", "selector."]);
        let before = self.findings.len();
        let built = self.build(Kind::Source, &rest, &types.sources, &[]);
        // A key without the prefix of an interceptor is only known for one next to the list of them.
        let found = &mut self.findings[before..];
        let type_name = &component.type_name;
        catalog::unknown::explain(found, Kind::Source, type_name, "", &component.entries);
        let left: Vec<&str> = component
            .edges
            .iter()
            .filter_map(|name| channels.get_key_value(name.as_str()).map(|(name, _)| *name))
            .collect();
        if left.is_empty() {
            return None; // none of its channels could be built; that is an error already
        }
        if left.len() < component.edges.len() && selector.is_some() {
            rest.edges = left.iter().map(|name| (*name).to_owned()).collect();
            selector = self.selector(&mut all, &rest);
        }
        let (recipe, value) = built?;
        let mut fits = true;
        for name in &left {
            if let Some(channel) = channels.get(name) {
                fits &= self.check_batch("source", component, value.batch_size(), channel);
            }
        }
        let made = Made {
            component,
            recipe,
            value,
        };
        let (interceptors, selector) = (interceptors?, selector?);
        fits.then_some(MadeSource {
            made,
            interceptors,
            selector,
            channels: left,
        })
    }

    fn wire_source(&mut self, source: MadeSource<'_>) -> TaskRecipe {
        let env = self.site.env.clone();
        let made = source.made;
        let name = &made.component.name;
        let entry = self.entry(ComponentKind::Source, name, &made.recipe.found);
        let channels = source.channels.iter();
        let ingest = Ingest {
            name: name.as_str().into(),
            owner: format!("source/{name}").into(),
            interceptors: source.interceptors,
            selector: source.selector,
            channels: channels
                .filter_map(|name| Some(self.applied.channels.get(*name)?.handle.clone()))
                .collect(),
            faults: env.faults.clone(),
        };
        let recipe = SourceRecipe {
            counters: SourceCounters::new(&env.registry, name, &made.recipe.found.name),
            name: name.clone(),
            build: made.recipe.rebuild(),
            ingest: Arc::new(ingest),
            entry,
            env,
        };
        recipe.task()
    }

    fn interceptors(&mut self, keys: &mut Keys, source: &Component) -> Option<Vec<Box<dyn Interceptor>>> {
        let types = self.site.types.clone();
        let names = keys.text("interceptors").unwrap_or_default();
        let mut chain = Vec::new();
        let mut complete = true;
        for name in names.split_whitespace() {
            let part = keys.below(&format!("interceptors.{name}."));
            let built = self.part(Kind::Interceptor, source, part, &types.interceptors, None);
            complete &= built.is_some();
            chain.extend(built);
        }
        self.findings
            .extend(unbuilt::unlisted_interceptors(keys, &names, source));
        complete.then_some(chain)
    }

    fn selector(&mut self, keys: &mut Keys, source: &Component) -> Option<Box<dyn Selector>> {
        let types = self.site.types.clone();
        let part = keys.below("selector.");
        self.part(
            Kind::Selector,
            source,
            part,
            &types.selectors,
            Some("replicating"),
        )
    }

    /// Builds a part of a source from the keys below its prefix.
    fn part<T: 'static>(
        &mut self,
        kind: Kind,
        source: &Component,
        mut keys: Keys,
        kinds: &Kinds<T>,
        default: Option<&str>,
    ) -> Option<T> {
        let type_name = match (keys.text("type"), default) {
            (Some(found), _) => found,
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                let _ = keys.required("type");
                // Which keys it knows is not known either: their names would only be noise.
                let errors = keys.finish().into_iter().filter(|f| f.code != "unknown-key");
                self.findings.extend(errors);
                return None;
            }
        };
        let Some(found) = kinds.find(&type_name) else {
            let found = unbuilt::refuse(kind, &type_name, None, keys, kinds.names());
            self.findings.extend(found);
            return None;
        };
        let ctx = self.context(&source.name, &source.edges);
        let built = guarded(|| found.build(&mut keys, &ctx));
        self.conclude(kind, &found.name, keys, built)
    }

    /// Finds a component's type and builds one value. The peers of a source or sink are its channels, those of a
    /// processor its sinks.
    fn build<T: 'static>(
        &mut self,
        kind: Kind,
        component: &Component,
        kinds: &Kinds<T>,
        peers: &[String],
    ) -> Option<(Recipe<T>, T)> {
        let group = kind == Kind::Processor;
        let word = if group { "sink group" } else { kind.word() };
        let title = format!("{word} {} ({})", component.name, component.type_name);
        let mut keys = Keys::new(title, component.place.clone(), component.entries.clone());
        if group {
            let own = keys.below("processor.");
            self.findings
                .extend(unbuilt::strangers_of_a_group(keys, &component.type_name));
            keys = own;
        }
        let peers = if group { peers } else { &component.edges };
        let Some(found) = kinds.find(&component.type_name) else {
            let at = Some(&component.place);
            let found = unbuilt::refuse(kind, &component.type_name, at, keys, kinds.names());
            self.findings.extend(found);
            return None;
        };
        let recipe = Recipe {
            found,
            keys: keys.clone(),
            ctx: self.context(&component.name, peers),
        };
        let built = guarded(|| recipe.found.build(&mut keys, &recipe.ctx));
        let type_name = recipe.found.name.clone();
        self.conclude(kind, &type_name, keys, built)
            .map(|value| (recipe, value))
    }

    fn conclude<T>(&mut self, kind: Kind, type_name: &str, mut keys: Keys, built: Built<T>) -> Option<T> {
        if let Err(error) = &built
            && !keys.has_errors()
        {
            keys.broken(&error.to_string());
        }
        let failed = keys.has_errors();
        let prefix = keys.prefix().to_owned();
        let entries = keys.others(&[]);
        let mut findings = keys.finish();
        catalog::unknown::explain(&mut findings, kind, type_name, &prefix, &entries);
        for finding in &mut findings {
            // The sinks are the group's own.
            if finding.property.as_deref() == Some("processor.sinks") {
                finding.property = Some("sinks".to_owned());
            }
        }
        self.findings.extend(findings);
        built.ok().filter(|_| !failed)
    }

    fn context(&self, name: &str, channels: &[String]) -> BuildContext {
        self.site.context(name, channels)
    }

    /// Whether the channel's transactions hold a batch: one that none can hold would be refused for ever.
    fn check_batch(
        &mut self,
        word: &str,
        component: &Component,
        batch: Option<usize>,
        channel: &Made<'_, Arc<dyn Channel>>,
    ) -> bool {
        let (Some(batch), Some(capacity)) = (batch, channel.value.limits().transaction_capacity) else {
            return true;
        };
        if batch > capacity {
            let name = &channel.component.name;
            self.findings.push(Finding {
                place: component.place.clone(),
                severity: Severity::Error,
                code: "batch-over-transaction",
                component: format!("{word} {} ({})", component.name, component.type_name),
                property: None,
                message: format!(
                    "Incompatible {word} and channel settings defined: its batch size is {batch}, allowed are at most \
                     {capacity} (transactionCapacity of channel {name})"
                ),
            });
        }
        batch <= capacity
    }

    fn entry<T>(&self, kind: ComponentKind, name: &str, found: &Found<T>) -> Arc<FlumeEntry> {
        let entry = FlumeEntry::new(&self.site.env.registry, kind, name, &found.name);
        if found.in_flume_metrics {
            self.site.env.registry.show(entry.clone());
        }
        entry
    }
}

/// A build function that panics is a finding: it must not take down who reads the configuration.
fn guarded<T>(build: impl FnOnce() -> Built<T>) -> Built<T> {
    std::panic::catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(|panic| {
        Err(BuildError(format!(
            "panicked while it was built: {}",
            panic_text(&*panic)
        )))
    })
}

/// Resolves when none of the channels that a process end would empty holds an event any more, or after 30 s.
pub(super) async fn drained(channels: Vec<ChannelHandle>) {
    let volatile: Vec<&Arc<dyn Channel>> = channels.iter().map(ChannelHandle::channel).collect();
    let empty = async {
        while volatile.iter().any(|c| c.volatile() > 0) {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    if tokio::time::timeout(DRAIN, empty).await.is_err() {
        tracing::warn!(limit = ?DRAIN, "memory channels are not empty; stopping all the same");
    }
}

#[cfg(test)]
mod tests;
