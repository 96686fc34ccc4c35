//! CoAP over datagrams, as pure state machines: bytes and time in, bytes and requests out.
//!
//! It is not a server: it has no socket, no clock and no thread. One [`Endpoint`] is one peer
//! (one source address); the driver demultiplexes. It is not a bus either: topics, retained
//! messages and queues are the gateway's, and `/ps/{topic}` is a window onto them.
//!
//! A request that publishes is answered when what it published is durable, as far as anybody wants
//! it durable. If that takes long, a Confirmable one gets an empty acknowledgement first (RFC 7252
//! section 5.2.2); a full store is 5.03 with a Max-Age. The session behind a peer ends with it:
//! CoAP has no way to come back to one, so an observation and what waits for it do not outlive the
//! gateway, and a client observes again when notifications stay away (RFC 7641 section 3.3.1).
//!
//! How to read it, from the wire inwards:
//! - [`datagram`] admits what RFC 7252 calls a message, [`message`] builds one on coap-lite.
//! - [`exchange`] is the message layer for one peer: reliability, deduplication, matching.
//! - [`block`], [`link_format`], [`content_format`] are the data formats around it. All of these
//!   are also what `protocol-lwm2m` stands on.
//! - `endpoint` is the adapter, with one file per thing it does: `request` (what is asked),
//!   `session`, `publish`, `retained`, `observe`, `discovery`; `translate` holds every mapping
//!   between the gateway's words and CoAP's.

pub mod block;
mod bodies;
mod config;
pub mod content_format;
pub mod datagram;
mod discovery;
mod endpoint;
pub mod exchange;
pub mod link_format;
pub mod message;
mod notify;
mod observe;
mod ongoing;
mod pending;
mod publish;
mod queue;
pub mod random;
mod recent;
mod request;
mod retained;
mod session;
mod translate;
mod transmission;

use std::sync::Arc;
use std::time::Instant;

use gateway_model::{Adapter, Peer, Protocol};

pub use config::{Config, NotifyType, ObserveQueue};
pub use endpoint::Endpoint;

use crate::exchange::Transmission;

/// The protocol: makes an [`Endpoint`] per peer.
#[derive(Clone, Debug)]
pub struct Coap {
    config: Arc<Config>,
    transmission: Arc<Transmission>,
}

impl Coap {
    pub fn new(config: Config) -> Self {
        Self { transmission: Arc::new(config.transmission()), config: Arc::new(config) }
    }
}

impl Protocol for Coap {
    fn connect(&self, now: Instant, _: &Peer, seed: u64) -> Box<dyn Adapter> {
        Box::new(Endpoint::new(self.config.clone(), self.transmission.clone(), now, seed))
    }
}
