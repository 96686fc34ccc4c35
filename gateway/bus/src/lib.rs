//! The engine of the gateway: who gets which message, and what waits for whom.
//!
//! A [`Bus`] holds sessions, the routes from topics to them, and retained messages. Everything
//! that receives messages is a [`Session`]: an MQTT client, a CoAP observer, an LwM2M device, a
//! bridge. It knows no protocol, does no I/O and reads no clock; driven from one thread with given
//! times and a given seed it is deterministic.
//!
//! Concurrency: `publish` runs on many threads at once. Routes are read under a shared lock, and
//! only when a publisher's [`RouteCache`] does not know the topic already; every session has its
//! own small lock. Locks are taken in this order: the log of the store, sessions, retained, routes,
//! the members of a group, one session, timers, notes of drops. No two sessions are ever locked at
//! once, so what moves from one member of a group to another is in neither for a moment, under the
//! lock of the group.
//!
//! The log comes first: nobody who holds a lock of the bus may begin to append (`lock.rs` sees to
//! it). So whatever the log has to know happens under its lock, and records are in the order of what
//! they tell; only what leaves a session may be written after it has left. What goes to sessions that
//! end with their connections never takes it; what is published at QoS 0 does only if something that
//! the log has makes room for it, or is found to have expired.
//!
//! `opening.rs` has sessions come and go, `subscribing.rs` and `publishing.rs` are what they do, and
//! `sharing.rs` moves what a member of a group leaves behind. `turn.rs` is what one call does to the
//! store, `holding.rs` what the store asks, `recovering.rs` what a restart finds. Read
//! [`Bus::publish`], then `outbox.rs`.

mod attachment;
mod audit;
mod budget;
mod bus;
mod counters;
mod delayed;
mod drops;
mod group;
mod holding;
mod leaf;
mod limits;
mod lock;
#[cfg(feature = "testing")]
mod matching;
mod opening;
mod outbox;
mod priorities;
mod promise;
mod publishing;
mod recovering;
mod retained;
mod route_cache;
mod routes;
mod session;
mod sharing;
mod subscribers;
mod subscribing;
mod subscriptions;
#[cfg(test)]
mod tests;
mod timers;
mod trie;
mod turn;
mod unread;
mod vacancy;

pub use attachment::{Attachment, Drained};
pub use audit::Audit;
pub use bus::{Bus, SessionOptions, Totals};
pub use counters::{Counter, Counters, DropReason};
pub use drops::{ClientDrops, Dropped};
pub use gateway_model::Moment;
pub use limits::{DropPolicy, Limits, QueueLimits, Sharing};
pub use priorities::PriorityDefault;
pub use promise::Promise;
pub use recovering::Recovered;
pub use route_cache::RouteCache;
pub use session::{Session, SessionView};
