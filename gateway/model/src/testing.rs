//! A recorder in the driver's place, for tests of adapters: bytes in, bytes and requests out.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::time::Instant;

use crate::{
    Close, Deliveries, DeliveryId, Outcome, Outgoing, Publish, Reason, Request, Settled, Settlement, Sink,
    Ticket, Topic, TopicError, WireBuffer,
};

/// Keeps everything an adapter asked for, in order; answers publishes with `publish_outcome`.
pub struct Recorder {
    pub wire: WireBuffer,
    pub published: Vec<(Ticket, Publish)>,
    pub requests: VecDeque<(Ticket, Request)>,
    pub settled: Vec<(DeliveryId, Settlement)>,
    /// Identifiers held, in order of holding.
    pub held: Vec<NonZeroU16>,
    pub released: Vec<(Ticket, NonZeroU16)>,
    pub closed: Option<Close>,
    /// What the next releases are answered with.
    pub release_outcome: Outcome,
    /// What the next publishes are answered with.
    pub publish_outcome: Outcome,
    /// What `settle` answers.
    pub settles: Settled,
    /// `has_room` while the wire holds fewer bytes than this.
    pub room: usize,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            wire: WireBuffer::default(),
            published: Vec::new(),
            requests: VecDeque::new(),
            settled: Vec::new(),
            held: Vec::new(),
            released: Vec::new(),
            closed: None,
            release_outcome: Outcome::Done(Reason::Success),
            publish_outcome: Outcome::Done(Reason::Success),
            settles: Settled::Done,
            room: 64 * 1024,
        }
    }
}

impl Recorder {
    /// Takes everything written so far, as one stream.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        let bytes = self.wire.slices().collect::<Vec<_>>().concat();
        self.wire.clear();
        bytes
    }

    /// Takes the datagrams written so far.
    pub fn take_datagrams(&mut self) -> Vec<Vec<u8>> {
        let datagrams = self.wire.datagrams().map(<[u8]>::to_vec).collect();
        self.wire.clear();
        datagrams
    }
}

impl Sink for Recorder {
    fn wire(&mut self) -> &mut WireBuffer {
        &mut self.wire
    }

    fn has_room(&mut self) -> bool {
        self.wire.len() < self.room
    }

    fn topic(&mut self, raw: &[u8]) -> Result<Topic, TopicError> {
        Topic::parse_bytes(raw)
    }

    fn publish(&mut self, ticket: Ticket, publish: Publish, hold: Option<NonZeroU16>) -> Outcome {
        self.published.push((ticket, publish));
        let is_refused = matches!(self.publish_outcome, Outcome::Done(reason) if reason.is_error());
        self.held.extend(hold.filter(|id| !is_refused && !self.held.contains(id)));
        self.publish_outcome
    }

    fn request(&mut self, ticket: Ticket, request: Request) {
        self.requests.push_back((ticket, request));
    }

    fn settle(&mut self, id: DeliveryId, settlement: Settlement) -> Settled {
        self.settled.push((id, settlement));
        self.settles
    }

    fn release(&mut self, ticket: Ticket, id: NonZeroU16) -> Outcome {
        self.held.retain(|known| *known != id);
        self.released.push((ticket, id));
        self.release_outcome
    }

    fn close(&mut self, close: Close) {
        self.closed.get_or_insert(close);
    }
}

/// An outbox that hands out what it was given, and counts what was refused.
#[derive(Default)]
pub struct Outbox(pub VecDeque<Outgoing>, pub usize);

impl Deliveries for Outbox {
    fn next(&mut self, _: Instant) -> Option<Outgoing> {
        self.0.pop_front()
    }

    fn refuse_last(&mut self, _: &'static str) {
        self.1 += 1;
    }

    fn backlog(&self) -> usize {
        self.0.len()
    }
}
