//! `load_balancing`: each event to one of the source's channels, Flume's LoadBalancingChannelSelector. (Flume 1.11 cannot
//! load it; this is what its guide says.)
//!
//! Promise: every event goes to exactly one channel, in turn (`round_robin`, from the first channel on; the turn goes on
//! from batch to batch and is shared by all tasks of the source) or by chance (`random`). Events keep their order within
//! each channel. There is no failover: a full channel refuses the whole batch, before any channel has committed.
//!
//! Failures: a `policy` that is neither is an error of the configuration. Source: `flume/sources.md` 8.

use crate::component::error::BuildError;
use crate::component::keys::{Keys, nearest};
use crate::component::registry::Type;
use crate::component::selector::{Routes, Selector};
use proto::event::Batch;
use rand::RngExt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How the list names it.
pub const TYPE: Type<Box<dyn Selector>> = Type {
    alias: "load_balancing",
    classes: &["org.apache.flume.channel.LoadBalancingChannelSelector"],
    in_flume_metrics: false,
    build: |keys, ctx| Ok(Box::new(Config::read(keys, ctx.channels.len()).build()?)),
};

/// Settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// How many channels the source has.
    pub channels: usize,
    /// `policy`: default round_robin.
    pub policy: Policy,
}

/// Which channel comes next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// The one after the last one.
    #[default]
    RoundRobin,
    /// Any, all with the same chance.
    Random,
}

const POLICIES: [(&str, Policy); 2] = [("round_robin", Policy::RoundRobin), ("random", Policy::Random)];

impl Config {
    /// Reads the properties below `selector.` for a source with so many channels.
    pub fn read(keys: &mut Keys, channels: usize) -> Self {
        // Whoever chose this selector has read it.
        let _ = keys.text("type");
        let mut policy = Policy::default();
        if let Some(found) = keys.text("policy") {
            match POLICIES
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(&found))
            {
                Some((_, chosen)) => policy = *chosen,
                None => {
                    let near = nearest(&found, POLICIES.iter().map(|(name, _)| *name));
                    let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
                    keys.wrong(
                        "policy",
                        &format!("expected round_robin or random, found \"{found}\"{hint}"),
                    );
                }
            }
        }
        Self { channels, policy }
    }

    /// The selector.
    pub fn build(self) -> Result<LoadBalancing, BuildError> {
        Ok(LoadBalancing {
            places: (0..self.channels).collect(),
            policy: self.policy,
            turn: AtomicUsize::new(0),
        })
    }
}

/// The selector.
#[derive(Debug)]
pub struct LoadBalancing {
    places: Vec<usize>,
    policy: Policy,
    turn: AtomicUsize,
}

impl Selector for LoadBalancing {
    fn route(&self, batch: Batch) -> Routes {
        let channels = self.places.len();
        if channels == 0 {
            return Routes::default();
        }
        let only = |place: usize| &self.places[place..=place];
        let dealt = match self.policy {
            Policy::RoundRobin => {
                // One step of the shared counter a batch, of as many turns as it has events.
                let mut turn = self.turn.fetch_add(batch.len(), Ordering::Relaxed) % channels;
                batch.dealt(channels, |_| {
                    let place = turn;
                    turn = (turn + 1) % channels;
                    only(place)
                })
            }
            Policy::Random => {
                let mut random = rand::rng();
                batch.dealt(channels, |_| only(random.random_range(0..channels)))
            }
        };
        let filled = dealt
            .into_iter()
            .enumerate()
            .filter(|(_, batch)| !batch.is_empty());
        Routes {
            required: filled.collect(),
            optional: Vec::new(),
        }
    }

    fn required(&self) -> Vec<usize> {
        self.places.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)], channels: usize) -> (LoadBalancing, Vec<String>) {
        let mut keys = Keys::of("source r1 (seq)", pairs);
        let selector = Config::read(&mut keys, channels).build().unwrap();
        (selector, keys.finish().iter().map(|f| f.to_string()).collect())
    }

    fn bodies(routes: &Routes) -> Vec<(usize, String)> {
        assert!(routes.optional.is_empty());
        let text = |batch: &Batch| batch.iter().map(|e| String::from_utf8_lossy(e.body())).collect();
        routes
            .required
            .iter()
            .map(|(place, batch)| (*place, text(batch)))
            .collect()
    }

    fn batch(bodies: &str) -> Batch {
        bodies.as_bytes().chunks(1).collect()
    }

    #[test]
    fn the_turn_goes_from_channel_to_channel_and_on_with_the_next_batch() {
        let (selector, findings) = read(&[("policy", "ROUND_ROBIN")], 4);
        assert!(findings.is_empty());
        let seen = |text: &str| bodies(&selector.route(batch(text)));
        let expect = |list: &[(usize, &str)]| {
            list.iter()
                .map(|(n, t)| (*n, (*t).to_owned()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            seen("abcdefgh"),
            expect(&[(0, "ae"), (1, "bf"), (2, "cg"), (3, "dh")])
        );
        assert_eq!(seen("ij"), expect(&[(0, "i"), (1, "j")]));
        assert_eq!(seen(""), []);
        assert_eq!(seen("klm"), expect(&[(0, "m"), (2, "k"), (3, "l")]));
        assert_eq!(selector.required(), [0, 1, 2, 3]);
    }

    #[test]
    fn chance_gives_every_event_to_one_channel_and_every_channel_its_share() {
        let (selector, _) = read(&[("policy", "random")], 4);
        let all: Batch = std::iter::repeat_n(&b"x"[..], 4_000).collect();
        let routes = selector.route(all);
        let shares: Vec<usize> = routes.required.iter().map(|(_, batch)| batch.len()).collect();
        assert_eq!(shares.iter().sum::<usize>(), 4_000);
        // Nine standard deviations from a thousand.
        assert!(
            shares.len() == 4 && shares.iter().all(|n| (750..1_250).contains(n)),
            "{shares:?}"
        );
    }

    #[test]
    fn tasks_share_the_turn() {
        let (selector, _) = read(&[], 3);
        let shares = std::sync::Mutex::new([0; 3]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..75 {
                        for (place, batch) in selector.route(batch("xy")).required {
                            shares.lock().unwrap()[place] += batch.len();
                        }
                    }
                });
            }
        });
        assert_eq!(*shares.lock().unwrap(), [200; 3]);
    }

    #[test]
    fn a_policy_that_is_none_is_refused() {
        assert_eq!(
            read(&[("policy", "roundrobin")], 2).1,
            [
                "(given):0: error[bad-value]: source r1 (seq): policy: expected round_robin or random, found \
                 \"roundrobin\"; did you mean \"round_robin\"?"
            ]
        );
    }
}
