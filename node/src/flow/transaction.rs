//! Flume's transaction (begin, put and take, commit or rollback, close) over permits and leases.
//!
//! For programs that were written against Flume's API and for its acceptance cases; components use permits and
//! leases themselves. States and messages are Flume's (`flume/runtime.md` 8.3). Where Flume binds a transaction
//! to a thread, this one is a value with one owner, so "called from different thread" cannot happen. Puts need
//! room of their own: what the same transaction takes is free only afterwards.

use crate::component::channel::{ChannelError, ChannelHandle, Claim, Lease, Want};
use proto::event::{Batch, BatchBuilder, Event, EventLimits};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    /// Made, not begun.
    New,
    /// Begun.
    Open,
    /// Committed or rolled back.
    Completed,
    /// Closed.
    Closed,
}

impl fmt::Display for TransactionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "NEW",
            Self::Open => "OPEN",
            Self::Completed => "COMPLETED",
            Self::Closed => "CLOSED",
        })
    }
}

/// What a transaction answers instead.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum TransactionError {
    /// A call that the state does not allow.
    #[error("{call}() called when transaction is {state}{hint}")]
    IllegalState {
        /// The call.
        call: &'static str,
        /// The state.
        state: TransactionState,
        /// What to do, after the state.
        hint: &'static str,
    },
    /// The channel refuses.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The event is too large.
    #[error(transparent)]
    Event(#[from] proto::event::EventError),
}

/// One transaction on one channel.
#[derive(Debug)]
pub struct Transaction {
    channel: ChannelHandle,
    state: TransactionState,
    puts: Vec<Event>,
    takes: Vec<Lease>,
}

impl Transaction {
    /// A new one.
    pub fn new(channel: &ChannelHandle) -> Self {
        Self {
            channel: channel.clone(),
            state: TransactionState::New,
            puts: Vec::new(),
            takes: Vec::new(),
        }
    }

    /// Where it stands.
    pub fn state(&self) -> TransactionState {
        self.state
    }

    /// Begins it.
    pub fn begin(&mut self) -> Result<(), TransactionError> {
        self.expect(TransactionState::New, "begin")?;
        self.state = TransactionState::Open;
        Ok(())
    }

    /// Adds an event to what commit will put.
    pub fn put(&mut self, event: Event) -> Result<(), TransactionError> {
        self.expect(TransactionState::Open, "put")?;
        if let Some(allowed) = self
            .channel
            .limits()
            .transaction_capacity
            .filter(|c| self.puts.len() >= *c)
        {
            return Err(ChannelError::TooLarge {
                found: self.puts.len() + 1,
                allowed,
            }
            .into());
        }
        self.puts.push(event);
        Ok(())
    }

    /// Takes one event; waits up to the channel's keep-alive, then there is none.
    pub async fn take(&mut self) -> Result<Option<Event>, TransactionError> {
        self.expect(TransactionState::Open, "take")?;
        let limits = self.channel.limits();
        if let Some(allowed) = limits.transaction_capacity.filter(|c| self.takes.len() >= *c) {
            return Err(ChannelError::TakeTooLarge { allowed }.into());
        }
        let wait: Duration = limits.keep_alive;
        let Some(lease) = self.channel.take(Want::events(1), wait).await? else {
            return Ok(None);
        };
        let event = lease.batch().get(0).map(|e| e.to_event());
        self.takes.push(lease);
        Ok(event)
    }

    /// Commits all puts and takes. After a failure the transaction is still open and may be rolled back.
    pub async fn commit(&mut self) -> Result<(), TransactionError> {
        self.expect(TransactionState::Open, "commit")?;
        if !self.puts.is_empty() {
            let batch = self.batch()?;
            let permit = self.channel.reserve(Claim::of(&batch)).await?;
            permit.commit(batch, None).await?;
            self.puts.clear();
        }
        for lease in self.takes.drain(..) {
            lease.commit().await?;
        }
        self.state = TransactionState::Completed;
        Ok(())
    }

    /// Forgets the puts and puts taken events back.
    pub fn rollback(&mut self) -> Result<(), TransactionError> {
        self.expect(TransactionState::Open, "rollback")?;
        self.state = TransactionState::Completed;
        self.puts.clear();
        self.takes.clear();
        Ok(())
    }

    /// Closes it; an open one must be committed or rolled back first.
    pub fn close(&mut self) -> Result<(), TransactionError> {
        if !matches!(self.state, TransactionState::New | TransactionState::Completed) {
            let hint = match self.state {
                TransactionState::Open => " - you must either commit or rollback first",
                _ => "!",
            };
            return Err(TransactionError::IllegalState {
                call: "close",
                state: self.state,
                hint,
            });
        }
        self.state = TransactionState::Closed;
        Ok(())
    }

    fn batch(&self) -> Result<Batch, TransactionError> {
        let mut builder = BatchBuilder::new(EventLimits::default());
        for event in &self.puts {
            builder.push(event.headers(), &event.body)?;
        }
        Ok(builder.finish())
    }

    fn expect(&self, state: TransactionState, call: &'static str) -> Result<(), TransactionError> {
        if self.state == state {
            return Ok(());
        }
        Err(TransactionError::IllegalState {
            call,
            state: self.state,
            hint: "!",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::memory;
    use crate::component::counters::ChannelCounters;
    use crate::component::fault::Faults;
    use crate::component::keys::Keys;
    use std::sync::Arc;

    fn channel(pairs: &[(&str, &str)]) -> ChannelHandle {
        let channel = memory::Config::read(&mut Keys::of("channel c1 (memory)", pairs), None)
            .build()
            .unwrap();
        crate::component::channel::Channel::attach(&channel);
        ChannelHandle::new(
            "c1",
            Arc::new(channel),
            ChannelCounters::default(),
            Faults::default(),
        )
    }

    fn text(error: TransactionError) -> String {
        error.to_string()
    }

    #[tokio::test]
    async fn misuse_is_answered_in_flumes_words() {
        let mut tx = Transaction::new(&channel(&[]));
        assert_eq!(
            text(tx.put(Event::new("a")).unwrap_err()),
            "put() called when transaction is NEW!"
        );
        tx.begin().unwrap();
        assert_eq!(
            text(tx.begin().unwrap_err()),
            "begin() called when transaction is OPEN!"
        );
        assert_eq!(
            text(tx.close().unwrap_err()),
            "close() called when transaction is OPEN - you must either commit or rollback first"
        );
        tx.commit().await.unwrap();
        assert_eq!(
            text(tx.commit().await.unwrap_err()),
            "commit() called when transaction is COMPLETED!"
        );
        tx.close().unwrap();
        assert_eq!(
            text(tx.take().await.unwrap_err()),
            "take() called when transaction is CLOSED!"
        );
        assert_eq!(
            text(tx.close().unwrap_err()),
            "close() called when transaction is CLOSED!"
        );
    }

    #[tokio::test]
    async fn puts_appear_at_commit_and_takes_return_at_rollback() {
        let channel = channel(&[("keep-alive", "0")]);
        let mut put = Transaction::new(&channel);
        put.begin().unwrap();
        put.put(Event::new("one").with_header("k", "v")).unwrap();
        put.put(Event::new("two")).unwrap();
        assert_eq!(channel.channel().held(), 0);
        put.commit().await.unwrap();
        for attempt in 0..2 {
            let mut take = Transaction::new(&channel);
            take.begin().unwrap();
            assert_eq!(
                take.take().await.unwrap(),
                Some(Event::new("one").with_header("k", "v"))
            );
            assert_eq!(take.take().await.unwrap(), Some(Event::new("two")));
            assert_eq!(take.take().await.unwrap(), None);
            if attempt == 0 {
                take.rollback().unwrap();
            } else {
                take.commit().await.unwrap();
            }
        }
        assert_eq!(channel.channel().held(), 0);
    }

    #[tokio::test]
    async fn a_put_beyond_the_transaction_capacity_is_refused() {
        let channel = channel(&[("transactionCapacity", "1")]);
        let mut tx = Transaction::new(&channel);
        tx.begin().unwrap();
        tx.put(Event::new("a")).unwrap();
        assert!(
            text(tx.put(Event::new("b")).unwrap_err())
                .starts_with("Put queue for MemoryTransaction of capacity 1 full")
        );
    }
}
