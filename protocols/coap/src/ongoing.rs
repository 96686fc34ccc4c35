//! What of ours is under way with one peer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use gateway_model::WireBuffer;

use crate::exchange::Tag;
use crate::message::Token;
use crate::transmission::Transmission;

/// How many of our last Non-confirmable messages a Reset can still be matched to.
const UNRELIABLE_MAX: usize = 16;

/// Invariant: what is queued waits because NSTART are in flight.
#[derive(Default)]
pub(crate) struct Ongoing {
    in_flight: Vec<Confirmable>,
    pub(crate) queue: VecDeque<Confirmable>,
    /// Requests of ours that wait for a response, and observations of ours.
    pub(crate) requests: Vec<Outstanding>,
    /// Our last Non-confirmable messages that carry a tag, newest last.
    unreliable: Vec<(u16, Tag)>,
}

pub(crate) struct Confirmable {
    pub(crate) message_id: u16,
    pub(crate) datagram: Box<[u8]>,
    pub(crate) tag: Option<Tag>,
    pub(crate) retransmissions: u8,
    pub(crate) timeout: Duration,
    pub(crate) due: Instant,
}

pub(crate) struct Outstanding {
    pub(crate) token: Token,
    pub(crate) message_id: u16,
    pub(crate) tag: Tag,
    pub(crate) observe: bool,
    /// `None` while it waits for NSTART, and once an observation is established.
    pub(crate) deadline: Option<Instant>,
}

impl Ongoing {
    /// Whether it may be thrown away.
    pub(crate) fn is_over(&self) -> bool {
        self.is_idle() && self.queue.is_empty() && self.unreliable.is_empty()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.requests.is_empty()
    }

    pub(crate) fn has_slot(&self, settings: &Transmission) -> bool {
        self.in_flight.len() < settings.nstart.max(1)
    }

    pub(crate) fn is_taken(&self, message_id: u16) -> bool {
        self.in_flight.iter().chain(&self.queue).any(|message| message.message_id == message_id)
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let retransmit = self.in_flight.iter().map(|message| message.due).min();
        let response = self.requests.iter().filter_map(|request| request.deadline).min();
        retransmit.into_iter().chain(response).min()
    }

    /// See [`crate::exchange::Exchanges::handle_timeout`].
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        settings: &Transmission,
        wire: &mut WireBuffer,
    ) -> Option<Tag> {
        let mut index = 0;
        while let Some(message) = self.in_flight.get_mut(index) {
            if message.due > now {
                index += 1;
            } else if message.retransmissions < settings.max_retransmit {
                message.retransmissions += 1;
                message.timeout *= 2;
                message.due = now + message.timeout;
                wire.extend(&message.datagram);
                wire.end_datagram();
                index += 1;
            } else {
                let lost = self.in_flight.swap_remove(index);
                self.requests.retain(|request| request.message_id != lost.message_id);
                self.launch_queued(now, settings, wire);
                if lost.tag.is_some() {
                    return lost.tag;
                }
            }
        }
        let index = self.requests.iter().position(|request| request.deadline.is_some_and(|at| at <= now))?;
        let request = self.requests.swap_remove(index);
        self.land(now, request.message_id, settings, wire);
        Some(request.tag)
    }

    /// Sends a Confirmable message, or lets it wait for its turn.
    pub(crate) fn launch(
        &mut self,
        now: Instant,
        message: Confirmable,
        settings: &Transmission,
        wire: &mut WireBuffer,
    ) {
        if self.has_slot(settings) {
            self.send(now, message, settings, wire);
        } else {
            self.queue.push_back(message);
        }
    }

    pub(crate) fn launch_queued(&mut self, now: Instant, settings: &Transmission, wire: &mut WireBuffer) {
        while self.has_slot(settings) {
            let Some(message) = self.queue.pop_front() else { return };
            self.send(now, message, settings, wire);
        }
    }

    fn send(
        &mut self,
        now: Instant,
        mut message: Confirmable,
        settings: &Transmission,
        wire: &mut WireBuffer,
    ) {
        message.due = now + message.timeout;
        let id = message.message_id;
        if let Some(request) = self.requests.iter_mut().find(|request| request.message_id == id) {
            request.deadline = Some(now + settings.response_timeout);
        }
        wire.extend(&message.datagram);
        wire.end_datagram();
        push(&mut self.in_flight, message);
    }

    /// Takes a Confirmable message out of flight and sends the next.
    pub(crate) fn land(
        &mut self,
        now: Instant,
        message_id: u16,
        settings: &Transmission,
        wire: &mut WireBuffer,
    ) -> Option<Confirmable> {
        let index = self.in_flight.iter().position(|message| message.message_id == message_id)?;
        let message = self.in_flight.swap_remove(index);
        self.launch_queued(now, settings, wire);
        Some(message)
    }

    /// Keeps the Confirmable messages, sent or not, that `keep` says.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Confirmable) -> bool) {
        self.queue.retain(&keep);
        self.in_flight.retain(&keep);
    }

    pub(crate) fn remember_unreliable(&mut self, message_id: u16, tag: Tag) {
        if self.unreliable.len() >= UNRELIABLE_MAX {
            self.unreliable.remove(0);
        }
        push(&mut self.unreliable, (message_id, tag));
    }

    /// The tag of one of the last Non-confirmable messages.
    pub(crate) fn unreliable(&self, message_id: u16) -> Option<Tag> {
        self.unreliable.iter().rev().find(|(id, _)| *id == message_id).map(|(_, tag)| *tag)
    }
}

/// Adds to a list that mostly holds one.
pub(crate) fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len().max(1));
    }
    list.push(item);
}
