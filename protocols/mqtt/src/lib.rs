//! MQTT 5.0, 3.1.1 and 3.1 as a pure state machine: one [`gateway_model::Adapter`] per connection,
//! which tells the version from the CONNECT.
//!
//! It is not a server: it has no socket and no clock, keeps no sessions, queues or retained
//! messages and decides about no permission; all that lies behind [`gateway_model::Sink`].
//!
//! Read `connection.rs` first (the states, and who handles which packet), then `handshake.rs`,
//! `inbound.rs`, `outbound.rs` and `subscribing.rs`, one for each thing a client can do.
//! `acknowledgements.rs`, `received.rs` and `releases.rs` are what waits until it is durable.
//! [`codec`] stands alone and works in both directions, for clients too.
//! `authentication.rs` and `alias.rs` are what only some clients use, `capabilities.rs` is what a
//! listener can be told not to offer.

mod acknowledgements;
mod alias;
mod authentication;
mod capabilities;
pub mod codec;
mod config;
mod connection;
mod explanation;
mod extras;
mod farewell;
mod handshake;
mod inbound;
mod outbound;
mod packets;
mod received;
mod releases;
mod subscribing;
#[cfg(test)]
mod tests;
mod translate;
mod violation;

use std::sync::Arc;
use std::time::Instant;

use gateway_model::{Adapter, Peer, Protocol};

pub use config::Config;

/// The protocol as a listener sees it.
pub struct Mqtt {
    shared: Arc<packets::Shared>,
}

impl Mqtt {
    pub fn new(config: Config) -> Self {
        Self { shared: Arc::new(packets::Shared::new(config)) }
    }
}

impl Protocol for Mqtt {
    /// Nothing in MQTT needs randomness: the seed is not used.
    fn connect(&self, now: Instant, peer: &Peer, _seed: u64) -> Box<dyn Adapter> {
        tracing::trace!(address = %peer.address, listener = %peer.listener(), "connected");
        Box::new(connection::Connection::new(now, Arc::clone(&self.shared)))
    }

    /// Packets by type.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.shared.packets.counts()
    }
}
