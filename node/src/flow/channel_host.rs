//! The actor of a channel. It carries no batch: it attaches the channel, looks after it, and detaches it however
//! it ends. The queue belongs to the recipe's channel, so the next actor finds it as it was.

use super::board::State;
use super::env::Env;
use super::watched::{Exit, ExitNote, Stop, Watched, start};
use crate::component::channel::ChannelHandle;
use crate::component::error::RunError;
use crate::component::fault::Stage;
use crate::telemetry::FlumeEntry;
use actix::fut::wrap_future;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use std::sync::Arc;
use std::time::Duration;

/// How often a channel's books are checked and its gauges refreshed.
const TICK: Duration = Duration::from_secs(5);

/// What a channel's actor is made of.
#[derive(Debug, Clone)]
pub struct ChannelRecipe {
    /// `channel c1`, for the board.
    pub title: String,
    /// The channel.
    pub handle: ChannelHandle,
    /// Its entry in Flume's JSON.
    pub entry: Arc<FlumeEntry>,
    /// The node.
    pub env: Env,
}

struct ChannelHost {
    recipe: ChannelRecipe,
    note: ExitNote,
    /// Of its attachment; none before.
    generation: Option<u64>,
}

/// Starts the actor.
pub fn channel_host(recipe: &ChannelRecipe) -> Watched {
    let note = ExitNote::default();
    start(
        ChannelHost {
            recipe: recipe.clone(),
            note: note.clone(),
            generation: None,
        },
        note,
    )
}

impl Actor for ChannelHost {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let ChannelRecipe {
            title,
            handle,
            entry,
            env,
        } = &self.recipe;
        env.faults.point(Stage::ChannelStart, handle.name());
        self.generation = Some(handle.channel().attach());
        entry.started(env.clock.unix_ms());
        handle.gauge();
        // One that reads files first is not ready yet.
        env.board.set(title, State::Starting);
        let (channel, board, title) = (handle.channel().clone(), env.board.clone(), title.clone());
        ctx.spawn(wrap_future(async move {
            channel.serves().await;
            board.set(&title, State::Running);
        }));
        let tick = if env.faults.armed() {
            Duration::from_millis(5)
        } else {
            TICK
        };
        ctx.run_interval(tick, Self::tick);
    }
}

impl ChannelHost {
    fn tick(&mut self, ctx: &mut Context<Self>) {
        let handle = &self.recipe.handle;
        self.recipe.env.faults.point(Stage::ChannelTick, handle.name());
        handle.gauge();
        if let Err(broken) = handle.channel().check() {
            let error = match handle.channel().is_fatal() {
                true => RunError::fatal(broken),
                false => RunError::bug(format!("does not pass its check: {broken}")),
            };
            self.note.leave(Exit::Failed(error));
            ctx.stop();
        }
    }
}

impl Handler<Stop> for ChannelHost {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Drop for ChannelHost {
    fn drop(&mut self) {
        if let Some(generation) = self.generation {
            self.recipe.handle.channel().detach(generation);
        }
        self.recipe.entry.stopped(self.recipe.env.clock.unix_ms());
    }
}
