//! From a plan to recipes: builds every component once, names all mistakes, and wires the actors.

use super::diff::Id;
use super::graph::Component;
use super::plan::{Pipeline, Plan, Processor};
use crate::component::channel::{Channel, ChannelHandle};
use crate::component::counters::{ChannelCounters, SinkCounters, SourceCounters};
use crate::component::error::RunError;
use crate::component::interceptor::Interceptor;
use crate::component::keys::{Finding, Keys, Severity, nearest};
use crate::component::processor::SinkHandle;
use crate::component::registry::{BuildContext, Found, Kinds, Types};
use crate::component::selector::Selector;
use crate::flow::channel_host::{ChannelRecipe, channel_host};
use crate::flow::env::Env;
use crate::flow::ingest::Ingest;
use crate::flow::processor_host::ProcessorRecipe;
use crate::flow::sink_host::{SinkPort, SinkRecipe};
use crate::flow::source_host::{Rebuild, SourceRecipe};
use crate::flow::task_host::{TaskRecipe, task_host};
use crate::supervise::{ChildSpec, Gate};
use crate::telemetry::{ComponentKind, FlumeEntry};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long sinks may go on after the sources have stopped, until memory channels are empty.
const DRAIN: Duration = Duration::from_secs(30);
const DRAIN_POLL: Duration = Duration::from_millis(5);

const RANK_CHANNEL: u8 = 0;
const RANK_SINK: u8 = 1;
const RANK_PROCESSOR: u8 = 2;
const RANK_SOURCE: u8 = 3;

/// A plan made ready to run.
#[derive(Default)]
pub struct Applied {
    /// Every child, in the order of pipelines.
    pub children: Vec<Planned>,
    /// The channels by name.
    pub channels: BTreeMap<String, LiveChannel>,
    /// The sinks' ports by name.
    pub ports: BTreeMap<String, Arc<SinkPort>>,
}

/// What goes on when a configuration changes, and must not be made anew.
#[derive(Clone, Default)]
pub struct Reuse {
    /// Channels that stay.
    pub channels: BTreeMap<String, LiveChannel>,
    /// Ports of sinks: their processors go on holding them.
    pub ports: BTreeMap<String, Arc<SinkPort>>,
}

/// A channel and where it is shown.
#[derive(Clone)]
pub struct LiveChannel {
    /// The way to it.
    pub handle: ChannelHandle,
    /// Its entry in Flume's JSON.
    pub entry: Arc<FlumeEntry>,
}

/// A child before it exists: made of what may cross threads.
pub struct Planned {
    /// Which one.
    pub id: Id,
    /// The name of its pipeline: of that one's first channel.
    pub pipeline: String,
    /// What its actor is made of.
    pub recipe: ActorRecipe,
    /// What must be so before it is asked to stop.
    pub gate: Option<Gate>,
}

/// The recipe of an actor.
#[derive(Clone)]
pub enum ActorRecipe {
    /// Of a channel.
    Channel(ChannelRecipe),
    /// Of a source, a sink or a processor.
    Task(TaskRecipe),
}

impl Planned {
    /// As a child of its pipeline's supervisor.
    pub fn spec(&self) -> ChildSpec {
        let rank = match self.id {
            Id::Channel(_) => RANK_CHANNEL,
            Id::Sink(_) => RANK_SINK,
            Id::Processor(_) => RANK_PROCESSOR,
            Id::Source(_) => RANK_SOURCE,
        };
        let mut spec = match self.recipe.clone() {
            ActorRecipe::Channel(recipe) => {
                ChildSpec::leaf(self.id.to_string(), rank, move || channel_host(&recipe))
            }
            ActorRecipe::Task(recipe) => {
                ChildSpec::leaf(self.id.to_string(), rank, move || task_host(&recipe))
            }
        };
        spec.gate = self.gate.clone();
        spec
    }
}

/// What all components of an agent are built with.
#[derive(Clone)]
pub struct Site {
    /// The node.
    pub env: Env,
    /// The types that are known.
    pub types: Arc<Types>,
    /// `-Xmx`, in bytes.
    pub max_heap_bytes: Option<u64>,
}

impl Site {
    /// What the component of this name is built with.
    pub fn context(&self, name: &str, channels: &[String]) -> BuildContext {
        BuildContext {
            name: name.into(),
            clock: self.env.clock.clone(),
            max_heap_bytes: self.max_heap_bytes,
            channels: channels.iter().map(|c| Arc::from(c.as_str())).collect(),
            types: self.types.clone(),
        }
    }
}

/// Builds everything once, but for what is reused. The findings tell whether it may run.
pub fn apply(plan: &Plan, site: &Site, reuse: &Reuse) -> (Applied, Vec<Finding>) {
    let mut builder = Builder {
        site,
        reuse,
        findings: Vec::new(),
        applied: Applied::default(),
    };
    for pipeline in &plan.pipelines {
        builder.pipeline(pipeline);
    }
    (builder.applied, builder.findings)
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

impl Builder<'_> {
    fn pipeline(&mut self, pipeline: &Pipeline) {
        let mut made: Vec<(Id, ActorRecipe, Option<Gate>)> = Vec::new();
        for channel in &pipeline.channels {
            let recipe = self.channel(channel);
            made.extend(recipe.map(|r| (Id::Channel(channel.name.clone()), ActorRecipe::Channel(r), None)));
        }
        let mut ports: BTreeMap<&str, (SinkHandle, ChannelHandle)> = BTreeMap::new();
        for sink in &pipeline.sinks {
            if let Some((recipe, handle, channel)) = self.sink(sink) {
                made.push((Id::Sink(sink.name.clone()), ActorRecipe::Task(recipe), None));
                ports.insert(&sink.name, (handle, channel));
            }
        }
        for processor in &pipeline.processors {
            if let Some((recipe, gate)) = self.processor(processor, &ports) {
                made.push((
                    Id::Processor(processor.name.clone()),
                    ActorRecipe::Task(recipe),
                    Some(gate),
                ));
            }
        }
        for source in &pipeline.sources {
            let recipe = self.source(source);
            made.extend(recipe.map(|r| (Id::Source(source.name.clone()), ActorRecipe::Task(r), None)));
        }
        let planned = |(id, recipe, gate)| Planned {
            id,
            pipeline: pipeline.name().to_owned(),
            recipe,
            gate,
        };
        self.applied.children.extend(made.into_iter().map(planned));
    }

    fn channel(&mut self, component: &Component) -> Option<ChannelRecipe> {
        let types = self.site.types.clone();
        let (recipe, channel) = self.build("channel", component, &types.channels, &[])?;
        let env = self.site.env.clone();
        let type_name = recipe.found.name.clone();
        let live = self
            .reuse
            .channels
            .get(&component.name)
            .cloned()
            .unwrap_or_else(|| {
                let counters = ChannelCounters::new(&env.registry, &component.name, &type_name);
                let shown = recipe.found.in_flume_metrics;
                LiveChannel {
                    handle: ChannelHandle::new(&component.name, channel, counters, env.faults.clone()),
                    entry: self.entry(ComponentKind::Channel, &component.name, &type_name, shown),
                }
            });
        let LiveChannel { handle, entry } = live.clone();
        self.applied.channels.insert(component.name.clone(), live);
        Some(ChannelRecipe {
            title: format!("channel {}", component.name),
            handle,
            entry,
            env,
        })
    }

    fn sink(&mut self, component: &Component) -> Option<(TaskRecipe, SinkHandle, ChannelHandle)> {
        let types = self.site.types.clone();
        let (recipe, sink) = self.build("sink", component, &types.sinks, &[])?;
        let channel = self
            .applied
            .channels
            .get(component.edges.first()?)?
            .handle
            .clone();
        self.check_batch("sink", component, sink.batch_size(), &channel);
        let env = self.site.env.clone();
        let type_name = recipe.found.name.clone();
        let entry = self.entry(
            ComponentKind::Sink,
            &component.name,
            &type_name,
            recipe.found.in_flume_metrics,
        );
        let known = self.reuse.ports.get(&component.name).cloned();
        let port = known.unwrap_or_else(|| SinkPort::new(&component.name));
        self.applied.ports.insert(component.name.clone(), port.clone());
        let made = SinkRecipe {
            name: component.name.clone(),
            build: recipe.rebuild(),
            channel: channel.clone(),
            port: port.clone(),
            counters: SinkCounters::new(&env.registry, &component.name, &type_name),
            entry,
            env,
        };
        Some((made.task(), SinkHandle::new(port), channel))
    }

    fn processor(
        &mut self,
        processor: &Processor,
        ports: &BTreeMap<&str, (SinkHandle, ChannelHandle)>,
    ) -> Option<(TaskRecipe, Gate)> {
        let members: Vec<&(SinkHandle, ChannelHandle)> = processor
            .sinks
            .iter()
            .filter_map(|s| ports.get(s.as_str()))
            .collect();
        if members.is_empty() {
            return None; // its sinks could not be built; that is an error already
        }
        let types = self.site.types.clone();
        let component = processor
            .group
            .clone()
            .map(below_processor)
            .unwrap_or_else(|| Component {
                name: processor.name.clone(),
                type_name: "default".to_owned(),
                place: crate::component::keys::Place {
                    file: std::path::Path::new("").into(),
                    line: 0,
                },
                entries: BTreeMap::new(),
                edges: processor.sinks.clone(),
            });
        let (recipe, _) = self.build("sink group", &component, &types.processors, &processor.sinks)?;
        let made = ProcessorRecipe {
            name: processor.name.clone(),
            build: recipe.rebuild(),
            sinks: members.iter().map(|(handle, _)| handle.clone()).collect(),
            env: self.site.env.clone(),
        };
        let channels: Vec<ChannelHandle> = members.iter().map(|(_, channel)| channel.clone()).collect();
        let gate: Gate = Arc::new(move || Box::pin(drained(channels.clone())));
        Some((made.task(), gate))
    }

    fn source(&mut self, component: &Component) -> Option<TaskRecipe> {
        let types = self.site.types.clone();
        let mut component = component.clone();
        let title = format!("source {} ({})", component.name, component.type_name);
        let mut all = Keys::new(
            &title,
            component.place.clone(),
            std::mem::take(&mut component.entries),
        );
        let interceptors = self.interceptors(&mut all, &component);
        let selector = self.selector(&mut all, &component);
        component.entries = all.others(&["interceptors", "interceptors.", "selector."]);
        let (recipe, source) = self.build("source", &component, &types.sources, &[])?;
        let channels: Vec<ChannelHandle> = component
            .edges
            .iter()
            .filter_map(|name| Some(self.applied.channels.get(name)?.handle.clone()))
            .collect();
        for channel in &channels {
            self.check_batch("source", &component, source.batch_size(), channel);
        }
        if channels.len() < component.edges.len() {
            return None; // a channel of it could not be built; that is an error already
        }
        let env = self.site.env.clone();
        let type_name = recipe.found.name.clone();
        let entry = self.entry(
            ComponentKind::Source,
            &component.name,
            &type_name,
            recipe.found.in_flume_metrics,
        );
        let ingest = Ingest {
            name: component.name.as_str().into(),
            owner: format!("source/{}", component.name).into(),
            interceptors: interceptors?,
            selector: selector?,
            channels,
            faults: env.faults.clone(),
        };
        let made = SourceRecipe {
            counters: SourceCounters::new(&env.registry, &component.name, &type_name),
            name: component.name.clone(),
            build: recipe.rebuild(),
            ingest: Arc::new(ingest),
            entry,
            env,
        };
        Some(made.task())
    }

    fn interceptors(&mut self, keys: &mut Keys, source: &Component) -> Option<Vec<Box<dyn Interceptor>>> {
        let types = self.site.types.clone();
        let names = keys.text("interceptors").unwrap_or_default();
        let mut chain = Vec::new();
        let mut complete = true;
        for name in names.split_whitespace() {
            let part = keys.below(&format!("interceptors.{name}."));
            let built = self.part("interceptor", name, source, part, &types.interceptors, None);
            complete &= built.is_some();
            chain.extend(built);
        }
        complete.then_some(chain)
    }

    fn selector(&mut self, keys: &mut Keys, source: &Component) -> Option<Box<dyn Selector>> {
        let types = self.site.types.clone();
        let part = keys.below("selector.");
        self.part(
            "selector",
            "of",
            source,
            part,
            &types.selectors,
            Some("replicating"),
        )
    }

    /// Builds a part of a source from the keys below its prefix.
    fn part<T: 'static>(
        &mut self,
        word: &str,
        name: &str,
        source: &Component,
        mut keys: Keys,
        kinds: &Kinds<T>,
        default: Option<&str>,
    ) -> Option<T> {
        let type_name = match default {
            Some(default) => keys.text("type").unwrap_or_else(|| default.to_owned()),
            None => keys.required("type"),
        };
        if !type_name.is_empty() {
            if let Some(found) = kinds.find(&type_name) {
                let ctx = self.context(&source.name, &source.edges);
                let built = found.build(&mut keys, &ctx);
                return self.conclude(keys, built);
            }
            let known: Vec<&str> = kinds.names().collect();
            keys.wrong(
                "type",
                &unknown_type(&type_name, &known, &format!("{word} {name}")),
            );
        }
        self.findings.extend(keys.finish());
        None
    }

    /// Finds a component's type and builds one value.
    fn build<T: 'static>(
        &mut self,
        word: &str,
        component: &Component,
        kinds: &Kinds<T>,
        edges: &[String],
    ) -> Option<(Recipe<T>, T)> {
        let title = format!("{word} {} ({})", component.name, component.type_name);
        let keys = Keys::new(title, component.place.clone(), component.entries.clone());
        let Some(found) = kinds.find(&component.type_name) else {
            let known: Vec<&str> = kinds.names().collect();
            self.findings.push(Finding {
                place: component.place.clone(),
                severity: Severity::Error,
                code: "unknown-type",
                component: format!("{word} {}", component.name),
                property: Some("type".to_owned()),
                message: unknown_type(&component.type_name, &known, word),
            });
            return None;
        };
        let edges = if edges.is_empty() { &component.edges } else { edges };
        let recipe = Recipe {
            found,
            keys: keys.clone(),
            ctx: self.context(&component.name, edges),
        };
        let mut keys = keys;
        let built = recipe.found.build(&mut keys, &recipe.ctx);
        self.conclude(keys, built).map(|value| (recipe, value))
    }

    fn conclude<T>(
        &mut self,
        mut keys: Keys,
        built: Result<T, crate::component::error::BuildError>,
    ) -> Option<T> {
        if let Err(error) = &built
            && !keys.has_errors()
        {
            keys.broken(&error.to_string());
        }
        let failed = keys.has_errors();
        self.findings.extend(keys.finish());
        built.ok().filter(|_| !failed)
    }

    fn context(&self, name: &str, channels: &[String]) -> BuildContext {
        self.site.context(name, channels)
    }

    /// A batch that no transaction can hold would be refused for ever.
    fn check_batch(
        &mut self,
        word: &str,
        component: &Component,
        batch: Option<usize>,
        channel: &ChannelHandle,
    ) {
        let (Some(batch), Some(capacity)) = (batch, channel.limits().transaction_capacity) else {
            return;
        };
        if batch > capacity {
            let name = channel.name();
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
    }

    fn entry(&self, kind: ComponentKind, name: &str, type_name: &str, shown: bool) -> Arc<FlumeEntry> {
        let entry = FlumeEntry::new(&self.site.env.registry, kind, name, type_name);
        if shown {
            self.site.env.registry.show(entry.clone());
        }
        entry
    }
}

/// A group's properties without `processor.`, as its processor reads them.
fn below_processor(mut group: Component) -> Component {
    let strip =
        |(key, entry): (String, _)| (key.strip_prefix("processor.").unwrap_or(&key).to_owned(), entry);
    group.entries = group.entries.into_iter().map(strip).collect();
    group
}

fn unknown_type(found: &str, known: &[&str], word: &str) -> String {
    let aliases: Vec<&str> = known.iter().copied().filter(|n| !n.contains('.')).collect();
    let near = nearest(found, known.iter().copied());
    let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
    let list = if aliases.is_empty() {
        "none".to_owned()
    } else {
        aliases.join(", ")
    };
    format!("\"{found}\" is no {word} type of this version; there are: {list}{hint}")
}

/// Resolves when none of the channels that a process end would empty holds an event any more, or after 30 s.
pub(super) async fn drained(channels: Vec<ChannelHandle>) {
    let volatile: Vec<&Arc<dyn Channel>> = channels
        .iter()
        .filter(|c| !c.limits().durable)
        .map(ChannelHandle::channel)
        .collect();
    let empty = async {
        while volatile.iter().any(|c| c.held() > 0) {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    if tokio::time::timeout(DRAIN, empty).await.is_err() {
        tracing::warn!(limit = ?DRAIN, "memory channels are not empty; stopping all the same");
    }
}
