//! The way of a batch from its source into the channels: interceptors, selector, reservations, commits.
//!
//! Fan-out reserves in every required channel before it commits in any, so a full channel refuses the batch
//! before another one holds it (Flume commits one by one and doubles on the sender's retry). Reservations are
//! made in the order of the channels' names in every source: two sources can never wait for each other.

use crate::component::BoxFuture;
use crate::component::channel::{ChannelError, ChannelHandle, Claim, Position};
use crate::component::fault::{Faults, Stage};
use crate::component::interceptor::Interceptor;
use crate::component::selector::Selector;
use crate::component::source::Put;
use bytes::Bytes;
use proto::event::Batch;
use std::sync::Arc;

/// What stands behind one source.
pub struct Ingest {
    /// The source's name.
    pub name: Arc<str>,
    /// How its positions are named in channels.
    pub owner: Arc<str>,
    /// In configured order.
    pub interceptors: Vec<Box<dyn Interceptor>>,
    /// Routes by place in `channels`.
    pub selector: Box<dyn Selector>,
    /// In configured order.
    pub channels: Vec<ChannelHandle>,
    /// Fault points.
    pub faults: Faults,
}

impl Put for Ingest {
    fn put(&self, batch: Batch, position: Option<Bytes>) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(self.put_all(batch, position))
    }

    fn position(&self) -> Option<Bytes> {
        // The channel that commits last: what it knows, all others know.
        let mut required = self.selector.required();
        self.sort(&mut required, |place| *place);
        self.channels.get(*required.last()?)?.position(&self.owner)
    }

    fn transaction_capacity(&self) -> Option<usize> {
        let required = self.selector.required();
        required
            .iter()
            .filter_map(|place| self.channels.get(*place)?.limits().transaction_capacity)
            .min()
    }

    fn durable(&self) -> bool {
        let required = self.selector.required();
        let mut channels = required.iter().filter_map(|place| self.channels.get(*place));
        channels.any(|channel| channel.limits().durable)
    }
}

impl Ingest {
    /// Resolves when every channel serves.
    pub async fn serve(&self) {
        for channel in &self.channels {
            channel.serves().await;
        }
    }

    async fn put_all(&self, batch: Batch, position: Option<Bytes>) -> Result<(), ChannelError> {
        self.faults.point(Stage::Put, &self.name);
        let position = position.map(|bytes| Position {
            owner: self.owner.clone(),
            bytes,
        });
        let mut batch = batch;
        for interceptor in &self.interceptors {
            batch = interceptor
                .intercept(batch)
                .map_err(|e| ChannelError::Interceptor(e.to_string()))?;
        }
        let mut routes = self.selector.route(batch);
        routes.required.retain(|(_, batch)| !batch.is_empty());
        if position.is_some() {
            self.carry_position(&mut routes.required);
        }
        self.sort(&mut routes.required, |(place, _)| *place);
        let mut permits = Vec::with_capacity(routes.required.len());
        for (place, batch) in routes.required {
            let channel = self.channel(place)?;
            if let Some(position) = &position
                && channel.position(&self.owner).as_ref() == Some(&position.bytes)
            {
                // An earlier attempt got as far as this channel: it must not have the batch twice.
                continue;
            }
            permits.push((channel.reserve(Claim::of(&batch)).await?, batch));
        }
        self.faults.point(Stage::PutReserved, &self.name);
        for (permit, batch) in permits {
            permit.commit(batch, position.clone()).await?;
        }
        self.faults.point(Stage::PutCommitted, &self.name);
        for (place, batch) in routes.optional {
            self.put_optional(place, batch).await;
        }
        Ok(())
    }

    /// A position moves on in every required channel, also where no event of the batch goes.
    fn carry_position(&self, required: &mut Vec<(usize, Batch)>) {
        for place in self.selector.required() {
            if !required.iter().any(|(p, _)| *p == place) {
                required.push((place, Batch::default()));
            }
        }
    }

    async fn put_optional(&self, place: usize, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        let put = async {
            let permit = self.channel(place)?.reserve(Claim::of(&batch)).await?;
            permit.commit(batch.clone(), None).await
        };
        if let Err(error) = put.await {
            let channel = self.channels.get(place).map_or("?", |c| c.name());
            let events = batch.len();
            tracing::warn!(source = %self.name, channel, events, %error, "Unable to put batch on optional channel");
        }
    }

    fn channel(&self, place: usize) -> Result<&ChannelHandle, ChannelError> {
        self.channels
            .get(place)
            .ok_or_else(|| ChannelError::Bug(format!("selector chose channel number {place}")))
    }

    fn sort<T>(&self, places: &mut [T], place: impl Fn(&T) -> usize) {
        let name = |item: &T| self.channels.get(place(item)).map(|c| c.name());
        places.sort_by(|a, b| name(a).cmp(&name(b)));
    }
}
