use std::ops::Range;
use std::time::Duration;

use crate::gateway::Gateway;

/// Brings nobody in yet.
pub type Make = fn(&mut Gateway) -> Box<dyn Population>;

/// Peers of one kind, known by their numbers. What they are told is read as it comes and forgotten.
pub trait Population {
    /// Of one of them, for people to read.
    fn name(&self) -> &'static str;

    /// Brings a peer in: when this returns, it is idle.
    fn attach(&mut self, gateway: &mut Gateway, index: u32);

    /// The topic of what is for one peer alone.
    fn topic(&self, index: u32) -> String;

    /// The topic of what is for all that joined; without one, each is told by itself.
    fn shared_topic(&self) -> Option<&'static str>;

    /// Lets a peer hear of the shared topic too.
    fn join(&mut self, gateway: &mut Gateway, index: u32);

    /// Reads what has come for these peers, and answers it as they would. How many messages it was.
    fn answer(&mut self, gateway: &mut Gateway, peers: Range<u32>) -> u64;

    /// Looks away from what comes: the peers are gone.
    fn ignore(&mut self, gateway: &mut Gateway);

    /// Whether a peer that is gone is found out only by what it does not acknowledge.
    fn is_found_out_by_silence(&self) -> bool;

    /// How long after the last word of a peer nothing is left of it.
    fn longest_life(&self) -> Duration;
}
