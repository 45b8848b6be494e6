//! The root: nobody is above it, so its own crashes are answered here.

use super::policy::{Answer, Policy};
use super::supervisor::{SupervisorRecipe, supervisor};
use crate::component::error::RunError;
use crate::flow::watched::{Exit, Stop};
use tokio_util::sync::CancellationToken;

/// Runs the root supervisor until `stop` is cancelled and everything has stopped, or until it gives up.
pub async fn supervise_root(recipe: &SupervisorRecipe, stop: &CancellationToken) -> Exit {
    let clock = recipe.env.clock.clone();
    let mut policy = Policy::new(false, recipe.env.seed);
    loop {
        policy.started(clock.now());
        let root = supervisor(recipe);
        let ask = root.stop_recipient();
        let exit = root.exit();
        tokio::pin!(exit);
        let ended = tokio::select! {
            exit = &mut exit => exit,
            () = stop.cancelled() => {
                let _ = ask.send(Stop).await;
                (&mut exit).await
            }
        };
        if stop.is_cancelled() {
            return ended_while_stopping(ended);
        }
        match policy.ended(clock.now(), &ended) {
            // A child escalated to it: that is the end, as nothing above could help.
            _ if matches!(ended, Exit::Failed(_)) => return ended,
            Answer::Restart(wait) | Answer::Retry(wait) => {
                tracing::error!(exit = %ended, ?wait, "the root supervisor crashed; it is started again");
                tokio::time::sleep(wait).await;
            }
            Answer::LeaveStopped => {
                return Exit::Failed(RunError::bug("the root supervisor ended by itself"));
            }
            Answer::Park(_) | Answer::Escalate => return ended,
        }
    }
}

/// A crash during the stop changes nothing: everything below is dead, and what is queued is counted.
fn ended_while_stopping(exit: Exit) -> Exit {
    if !matches!(exit, Exit::Finished) {
        tracing::error!(%exit, "the root supervisor crashed while stopping");
    }
    Exit::Finished
}
