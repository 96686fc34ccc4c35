//! The contract between a protocol and the one driver that owns every socket and clock.
//!
//! An [`Adapter`] is a pure state machine for one peer: one TCP or WebSocket connection, or one
//! UDP source address. It takes bytes, events and time, and yields bytes and requests through a
//! [`Sink`]. It has no socket, no clock, no thread, no unseeded randomness and no `async fn`.
//!
//! The life of an adapter:
//!
//! ```text
//!   Protocol::connect ──▶ receive(bytes)* ──▶ request(Open) ──▶ handle(Reply::Opened)
//!        ┌───────────────────────────────────────────────────────┘
//!        ▼
//!   receive(bytes) / handle(event) / deliver(outbox)  in any order, until
//!   out.close(..)  or  handle(Event::Closed)          after which it is dropped
//! ```
//!
//! Rules for adapters:
//! - Until a session is open only `Open`, `wire` and `close` may be used.
//! - Replies may come at once (after the current call returns) or much later, in any order of
//!   tickets; a [`Outcome::Later`] publish is answered by [`Reply::Published`].
//! - Bytes from the wire never panic.
//! - `deliver` is called only while the peer can take bytes; it drains the outbox while
//!   [`Sink::has_room`] says so. Requests made inside `deliver` are carried out after it returns.
//!   It runs when the outbox has something new, and after every call of `receive` or `handle`.
//! - `next_timeout` is read after every call; when the moment has passed, `handle(Event::Timeout)`
//!   follows. It may come late, never early.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::{
    Authentication, ClientId, Deliveries, DeliveryId, Expiry, Message, Open, Opened, Publish, Reason,
    Refusal, Settled, Settlement, Subscription, Topic, TopicError, TopicFilter, WireBuffer,
};

/// A protocol's state machine for one peer. See the module documentation.
pub trait Adapter: Send {
    /// Bytes from the peer. Returns how many were consumed; the driver keeps the rest and shows it
    /// again, followed by what arrives next, and also after events, before anything else is read. On a
    /// datagram carrier `bytes` is one whole datagram and the result is ignored.
    fn receive(&mut self, now: Instant, bytes: &[u8], out: &mut dyn Sink) -> usize;

    /// A reply, the end of something, or time passing.
    fn handle(&mut self, now: Instant, event: Event, out: &mut dyn Sink);

    /// Moves deliveries from the session's outbox to the peer while `out` has room.
    fn deliver(&mut self, now: Instant, outbox: &mut dyn Deliveries, out: &mut dyn Sink);

    /// When to call `handle(Event::Timeout)`, if at all.
    fn next_timeout(&self) -> Option<Instant>;

    /// The protocol and version spoken, as a metric label: `mqtt5`, `coap`.
    fn protocol(&self) -> &'static str;
}

/// Makes adapters: one per protocol and configuration, shared by its listeners.
pub trait Protocol: Send + Sync {
    /// `seed` feeds whatever randomness the adapter needs (message identifiers, jitter).
    fn connect(&self, now: Instant, peer: &Peer, seed: u64) -> Box<dyn Adapter>;

    /// What an adapter had kept ([`Request::Keep`]) with a session that has come through a restart of
    /// the gateway. Called for each such session before the first peer connects.
    fn restore(&self, now: Instant, client_id: &ClientId, kept: &Bytes) {
        let _ = (now, client_id, kept);
    }

    /// What the protocol's adapters have counted so far, by its name in `$SYS`.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it connects from, or where a trusted proxy says it does. The peer of a Unix socket
    /// shows as 127.0.0.1 with port 0.
    pub address: SocketAddr,
    /// By what way it came: one for all who have nothing else to show.
    pub origin: Arc<Origin>,
}

/// What a peer is known by besides its address.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The listener's name in the configuration.
    pub listener: Arc<str>,
    /// The name in its verified certificate, if the listener takes identities from there.
    pub certificate_name: Option<Arc<str>>,
}

impl Peer {
    /// A peer without a certificate.
    pub fn new(address: SocketAddr, listener: Arc<str>) -> Self {
        Self { address, origin: Arc::new(Origin { listener, certificate_name: None }) }
    }

    /// The listener's name in the configuration.
    pub fn listener(&self) -> &Arc<str> {
        &self.origin.listener
    }

    /// The name in its verified certificate, if the listener takes identities from there.
    pub fn certificate_name(&self) -> Option<&Arc<str>> {
        self.origin.certificate_name.as_ref()
    }
}

/// What an adapter can do to the world. Implemented by the driver; by a recorder in tests.
pub trait Sink {
    /// Where bytes for the peer go.
    fn wire(&mut self) -> &mut WireBuffer;

    /// Whether more deliveries may be written now.
    fn has_room(&mut self) -> bool;

    /// A topic from the wire. Repeated topics share one allocation and cost no parsing.
    fn topic(&mut self, raw: &[u8]) -> Result<Topic, TopicError>;

    /// Publishes for the open session. Never blocks.
    ///
    /// With `hold`, the session remembers that packet identifier of the peer's exactly-once publishes
    /// in the same moment, so that it knows it again when the peer reconnects ([`Opened::held`]),
    /// unless the publish is refused: both are durable, or neither is.
    fn publish(&mut self, ticket: Ticket, publish: Publish, hold: Option<NonZeroU16>) -> Outcome;

    /// Anything rarer; answered by [`Event::Reply`] with the same ticket.
    fn request(&mut self, ticket: Ticket, request: Request);

    /// What became of a delivery above QoS 0. Unknown identifiers, and settlements that do not fit
    /// the delivery, change nothing; the result says so. After [`Settled::Later`] follows
    /// [`Event::Settled`].
    fn settle(&mut self, id: DeliveryId, settlement: Settlement) -> Settled;

    /// Forgets a held packet identifier: the peer may use it for something else once it is told.
    /// `Done` with the reason `Success`, or `Later` and then [`Reply::Released`]; do not answer the
    /// peer before. Never refused.
    fn release(&mut self, ticket: Ticket, id: NonZeroU16) -> Outcome;

    /// Ends the connection after what was written has been flushed, and detaches the session.
    fn close(&mut self, close: Close);
}

/// Chosen by the adapter, comes back with the reply. Its meaning is the adapter's alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// How a publish went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted and, as far as promised, durable: `Success` or `NoMatchingSubscribers`.
    /// Or refused: any error reason.
    Done(Reason),
    /// Accepted, not yet durable: [`Reply::Published`] will follow. Do not acknowledge before.
    Later,
}

#[derive(Clone, Debug)]
pub enum Request {
    /// Authenticate, and open or resume the session. Once per adapter; after a refusal it may try
    /// again with other credentials. Answered by [`Reply::Opened`], or first by
    /// [`Reply::Challenge`] if it named an authentication method.
    Open(Box<Open>),
    /// The client's answer to a [`Reply::Challenge`].
    Authenticate(Bytes),
    /// Authenticate the client of the open session anew (MQTT 5.0 section 4.12.1). Answered by
    /// [`Reply::Reauthenticated`], or first by [`Reply::Challenge`].
    Reauthenticate(Authentication),
    Subscribe(Vec<Subscription>),
    Unsubscribe(Vec<TopicFilter>),
    /// Read the retained messages of a filter, at most `limit` of them.
    Retained {
        filter: TopicFilter,
        limit: usize,
    },
    /// Keep this with the session in place of what was kept before: state of the protocol that has
    /// to survive a restart. [`Protocol::restore`] gives it back. Answered by [`Reply::Kept`] when it
    /// is durable.
    Keep(Bytes),
}

#[derive(Clone, Debug)]
pub enum Reply {
    Opened(Result<Opened, Refusal>),
    /// Authentication goes on: show this to the client and answer with [`Request::Authenticate`].
    Challenge(Bytes),
    /// With what the method has to say in the end. After an `Err` the adapter closes.
    Reauthenticated(Result<Option<Bytes>, Refusal>),
    /// One per subscription, in order: the granted QoS as a reason, or an error.
    Subscribed(Vec<Reason>),
    /// One per filter, in order.
    Unsubscribed(Vec<Reason>),
    /// `Err` if the session may not read the filter.
    Retained(Result<Vec<Arc<Message>>, Reason>),
    /// The answer to a publish that was [`Outcome::Later`].
    Published(Reason),
    /// The answer to a release that was [`Outcome::Later`].
    Released,
    Kept,
}

#[derive(Clone, Debug)]
pub enum Event {
    Reply(Ticket, Reply),
    /// A settlement that was [`Settled::Later`] is durable: the peer may be told.
    Settled(DeliveryId),
    /// The moment of `next_timeout` has passed.
    Timeout,
    /// The gateway ends this connection: taken over, kicked, shutting down, too slow. Say so to
    /// the peer if the protocol can, then `close`. The session is already detached if it was
    /// taken over.
    Evicted(Reason),
    /// The carrier is gone; nothing can be written any more.
    Closed,
}

/// How an adapter ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// Why, for logs, metrics and `client.disconnected`.
    pub reason: Reason,
    /// Publish the will (after its delay). False only after a proper goodbye.
    pub publish_will: bool,
    /// Replaces the session's expiry (MQTT 5.0 section 3.14.2.2.2).
    pub expiry: Option<Expiry>,
}

impl Close {
    /// After the peer said goodbye.
    pub const GOODBYE: Close = Close { reason: Reason::Success, publish_will: false, expiry: None };

    pub fn because(reason: Reason) -> Self {
        Self { reason, publish_will: true, expiry: None }
    }
}
