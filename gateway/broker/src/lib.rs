//! The running broker: everything asynchronous around the pure parts.
//!
//! It owns every socket, every clock reading and every thread. Protocols come in as
//! [`gateway_model::Protocol`]s, bridges as [`gateway_model::Bridge`]s; this crate knows none of
//! them by name.
//!
//! - [`Broker`] is the one door to the bus: authentication and authorization happen here, so that
//!   no adapter can go round them.
//! - `shard.rs` is the driver: one thread and one tokio runtime per core, on which one task owns
//!   that core's connections. There is no task, no channel and no timer per connection.
//! - `login.rs` is a client's way in.
//! - `turn.rs` is what an adapter sees of all this.
//! - `bridges.rs` feeds sinks from their sessions.
//! - `shard/bench.rs`, with the feature `testing`, is the driver without sockets and with a clock
//!   that stands still until it is told to move.
//! - `services.rs` renames topics, subscribes for clients, and tells of itself in `$SYS`.
//!
//! Read `shard.rs` first.

mod acceptor;
mod bridges;
mod broker;
mod bucket;
mod carrier;
mod certificate;
mod clock;
mod connection;
mod denials;
mod descriptors;
mod direct;
mod drops;
mod forwarded;
mod gauges;
mod handshake;
mod listener;
mod log_limit;
mod login;
#[cfg(any(test, feature = "testing"))]
mod memory;
mod meter;
mod outgoing;
mod peers;
mod permit;
mod poller;
mod proxy_protocol;
mod ready_queue;
mod refusals;
mod services;
mod shard;
mod socket_file;
mod sockets;
mod stream;
mod subscribing;
mod telemetry;
#[cfg(test)]
mod tests;
mod tls;
mod traffic;
mod turn;
mod upgrade;
mod waiting;
mod websocket;

pub use bridges::{BridgeHandle, BridgeSession, retire_bridges, start_bridge};
pub use broker::{Broker, DoorLimits, Principal};
pub use clock::moment;
pub use descriptors::reserve_descriptors;
pub use listener::{Carrier, ListenError, ListenerSettings, Upgrade, bind};
pub use meter::ClientLimits;
pub use services::ServicesSettings;
pub use services::auto_subscribe::AutoSubscriptions;
pub use services::rewrite::Rewrites;
pub use services::settings::{AutoSubscribeSettings, RewriteAction, RewriteSettings, SysSettings};
#[cfg(any(test, feature = "testing"))]
pub use shard::bench::{Bench, Line, Port};
pub use shard::{Shards, start_shards};
pub use tls::{Tls, TlsError};
