use serde::{Deserialize, Serialize};

use crate::limits::zero_is_unlimited;

/// `[shared]`: shared subscriptions.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shared {
    /// To which member of a group a message goes.
    pub strategy: Strategy,
    /// Seconds after which a member that takes nothing is passed over; `u32::MAX` is never.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub stall_secs: u32,
    /// Seconds after which what a member did not acknowledge goes to another; `u32::MAX` is never.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub ack_secs: u32,
}

impl Default for Shared {
    fn default() -> Self {
        Self { strategy: Strategy::RoundRobin, stall_secs: 1, ack_secs: 30 }
    }
}

/// To which member of a group a message goes, if several can take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// One after the other.
    #[default]
    RoundRobin,
    Random,
    /// The same one until it goes.
    Sticky,
    /// The one with the fewest messages queued and in flight.
    LeastInFlight,
    /// By the name of the publisher.
    HashClient,
    HashTopic,
}
