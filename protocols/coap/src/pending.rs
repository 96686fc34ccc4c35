//! Requests of the peer that wait for the gateway.

use std::time::Instant;

use gateway_model::{Publish, Sink, Ticket};

use crate::datagram::Datagram;
use crate::discovery::Listing;
use crate::endpoint::Endpoint;
use crate::exchange::Origin;
use crate::message::Code;
use crate::ongoing::push;
use crate::publish::Condition;
use crate::request::ReplyTo;
use crate::translate::{Refused, Wanted};

pub(crate) struct Pending {
    pub(crate) ticket: Ticket,
    pub(crate) to: ReplyTo,
    /// When to acknowledge it on its own; `None` once that is done or if it is Non-confirmable.
    pub(crate) acknowledge_at: Option<Instant>,
    pub(crate) what: What,
}

pub(crate) enum What {
    /// For the session: the whole request, to be read again.
    Session(Box<[u8]>),
    /// For a publish to be durable; then the code is the answer.
    Published(Code),
    /// For the retained message, to compare it with If-Match and If-None-Match.
    Condition(Box<(Publish, Condition, Code)>),
    /// For the retained message, to show it.
    Read(Box<Read>),
    /// For an observation's subscription to be granted.
    Subscribed { observation: u64, read: Box<Read> },
    /// For the retained message, to begin an observation with it.
    Observed { observation: u64, read: Box<Read> },
    /// For the retained topics.
    List(Box<Listing>),
}

/// A read of one topic.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) wanted: Wanted,
    /// Nothing retained is an empty 2.05 rather than a 4.04.
    pub(crate) empty_is_content: bool,
}

/// In order of arrival. Of an idle peer there are none, which is no more than a pointer.
#[derive(Default)]
#[allow(clippy::box_collection)] // for the size of the empty one
pub(crate) struct PendingRequests(Option<Box<Vec<Pending>>>);

impl PendingRequests {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.len())
    }

    fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.0.iter().flat_map(|list| list.iter())
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.0.iter_mut().flat_map(|list| list.iter_mut())
    }

    fn push(&mut self, pending: Pending) {
        push(self.0.get_or_insert_default(), pending);
    }

    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Pending> {
        let index = self.iter().position(|pending| pending.ticket == ticket)?;
        let pending = self.0.as_mut()?.remove(index);
        self.0.take_if(|list| list.is_empty());
        Some(pending)
    }

    #[cfg(test)]
    pub(crate) fn is_waiting_for(&self, ticket: Ticket) -> bool {
        self.iter().any(|pending| pending.ticket == ticket)
    }

    fn of(&self, datagram: &Datagram<'_>) -> Option<&Pending> {
        let (message_id, token) = (datagram.message_id, datagram.token);
        self.iter().find(|pending| {
            let origin = pending.to.origin;
            origin.message_id == message_id && origin.token == token
        })
    }

    pub(crate) fn take_waiting_for_session(&mut self) -> Vec<Pending> {
        let is_waiting = |pending: &Pending| matches!(pending.what, What::Session(_));
        let (waiting, others): (Vec<_>, Vec<_>) = self.take_all().into_iter().partition(is_waiting);
        self.0 = Some(Box::new(others)).filter(|list| !list.is_empty());
        waiting
    }

    pub(crate) fn take_all(&mut self) -> Vec<Pending> {
        self.0.take().map(|list| *list).unwrap_or_default()
    }

    /// Deadlines ascend with arrival, so the first is the next.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.iter().find_map(|pending| pending.acknowledge_at)
    }
}

impl Endpoint {
    /// Whether this request waits already: a duplicate that is so late that the message layer, which
    /// remembers only the last ones, does not know it any more. It must not be carried out again.
    pub(crate) fn is_waiting(&mut self, datagram: &Datagram<'_>, out: &mut dyn Sink) -> bool {
        let Some(pending) = self.pending.of(datagram) else { return false };
        if pending.to.origin.acknowledged {
            self.exchanges.acknowledge(&mut Origin::of(datagram), out.wire());
        }
        true
    }

    /// Lets a request wait and returns the ticket under which its answer must come.
    /// `None` if too many wait already: it was refused with 5.03.
    pub(crate) fn wait(
        &mut self,
        now: Instant,
        to: ReplyTo,
        what: What,
        out: &mut dyn Sink,
    ) -> Option<Ticket> {
        if self.pending.len() >= self.config.pending_max.max(1) {
            self.refuse(now, to, &Refused::busy("too many requests wait"), out);
            return None;
        }
        let ticket = self.next_ticket();
        self.wait_for(now, ticket, to, what);
        Some(ticket)
    }

    /// Lets a request wait under a ticket that was given out already.
    pub(crate) fn wait_for(&mut self, now: Instant, ticket: Ticket, to: ReplyTo, what: What) {
        let waits = to.origin.confirmable && !to.origin.acknowledged;
        let acknowledge_at = waits.then(|| now + self.config.separate_after());
        self.pending.push(Pending { ticket, to, acknowledge_at, what });
    }

    /// Acknowledges what has waited long enough that the peer might retransmit.
    pub(crate) fn acknowledge_slow(&mut self, now: Instant, out: &mut dyn Sink) {
        for pending in self.pending.iter_mut() {
            if pending.acknowledge_at.is_some_and(|at| at <= now) {
                pending.acknowledge_at = None;
                self.exchanges.acknowledge(&mut pending.to.origin, out.wire());
            }
        }
    }
}
