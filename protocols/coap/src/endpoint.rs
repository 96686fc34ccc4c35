//! The adapter: one peer's requests, in the order they come.

use std::sync::Arc;
use std::time::Instant;

use coap_lite::Packet;
use gateway_model::{Adapter, Close, Deliveries, Event, Reason, Reply, Sink, Tick, Ticket};
use smallvec::SmallVec;

use crate::bodies::Bodies;
use crate::config::Config;
use crate::datagram::Datagram;
use crate::exchange::{Exchanges, Origin, Received, Tag, Transmission};
use crate::message::{Code, add_uint, code_of, number};
use crate::observe::Observations;
use crate::pending::{Pending, PendingRequests, What};
use crate::request::{Asked, ReplyTo, Resource, Unacceptable};
use crate::session::Session;
use crate::translate::Refused;

/// A CoAP peer, as the gateway sees it.
pub struct Endpoint {
    pub(crate) config: Arc<Config>,
    pub(crate) exchanges: Exchanges,
    pub(crate) observations: Observations,
    pub(crate) session: Session,
    pub(crate) pending: PendingRequests,
    /// The last request, or the end of the last observation.
    pub(crate) last_use: Tick,
    /// What is too long for one message, if there is any.
    pub(crate) bodies: Option<Box<Bodies>>,
    /// Tickets given out; 0 is for requests whose reply names itself or does not matter.
    tickets: u64,
}

/// The topic of a request. Longer ones are not on the stack.
pub(crate) type RawTopic = SmallVec<[u8; 128]>;

impl Endpoint {
    pub(crate) fn new(config: Arc<Config>, transmission: Arc<Transmission>, now: Instant, seed: u64) -> Self {
        Self {
            exchanges: Exchanges::new(transmission, seed),
            observations: Observations::default(),
            session: Session::Closed,
            pending: PendingRequests::default(),
            last_use: now.into(),
            bodies: None,
            tickets: 0,
            config,
        }
    }

    fn request(&mut self, now: Instant, datagram: Datagram<'_>, origin: Origin, out: &mut dyn Sink) {
        self.last_use = now.into();
        let to = ReplyTo::new(origin, &datagram);
        let mut topic = RawTopic::new();
        match Asked::parse(datagram, &mut topic) {
            Ok(asked) => self.dispatch(now, &asked, &topic, to, out),
            Err(Unacceptable::BadOption(_)) if !origin.confirmable => {
                self.exchanges.reset(origin, out.wire())
            }
            Err(Unacceptable::BadOption(refused) | Unacceptable::Refused(refused)) => {
                self.refuse(now, to, &refused, out);
            }
        }
    }

    /// Takes up a request that waited for the session.
    pub(crate) fn request_again(&mut self, now: Instant, bytes: &[u8], origin: Origin, out: &mut dyn Sink) {
        if let Ok(datagram) = Datagram::parse(bytes) {
            self.request(now, datagram, origin, out);
        }
    }

    fn dispatch(&mut self, now: Instant, asked: &Asked<'_>, topic: &[u8], to: ReplyTo, out: &mut dyn Sink) {
        let code = asked.datagram.code;
        let allowed = match asked.resource {
            Resource::Topic => matches!(code, Code::GET | Code::PUT | Code::POST | Code::DELETE),
            Resource::Discovery | Resource::Collection => code == Code::GET,
        };
        if !allowed {
            return self.refuse(now, to, &Refused::new(Code::METHOD_NOT_ALLOWED, ""), out);
        }
        if !self.enter_session(now, asked, to, out) {
            return;
        }
        match (asked.resource, code, asked.observe) {
            (Resource::Discovery | Resource::Collection, ..) => self.list(now, asked, to, out),
            (Resource::Topic, Code::GET, Some(0)) => self.observe(now, asked, topic, to, out),
            (Resource::Topic, Code::GET, observe) => {
                if observe == Some(1) {
                    self.cancel_token(now, to.origin.token, out);
                }
                if observe == Some(1) && topic.iter().any(|byte| matches!(byte, b'+' | b'#')) {
                    return self.answer(now, to, crate::message::with_code(Code::CONTENT), out);
                }
                self.read(now, asked, topic, to, out);
            }
            (Resource::Topic, ..) => self.publish(now, asked, topic, to, out),
        }
    }

    fn replied(&mut self, now: Instant, ticket: Ticket, reply: Reply, out: &mut dyn Sink) {
        if let Reply::Opened(opened) = reply {
            return self.session_opened(now, opened, out);
        }
        let Some(Pending { to, what, .. }) = self.pending.take(ticket) else { return };
        match (what, reply) {
            (What::Published(code), Reply::Published(reason)) => self.published(now, to, reason, code, out),
            (What::Condition(held), Reply::Retained(retained)) => {
                self.conditioned(now, to, *held, retained, out);
            }
            (What::Read(read), Reply::Retained(retained)) => self.retrieved(now, to, &read, retained, out),
            (What::Subscribed { observation, read }, Reply::Subscribed(granted)) => {
                self.subscribed(now, to, observation, read, &granted, out);
            }
            (What::Observed { observation, read }, Reply::Retained(retained)) => {
                self.observed(now, to, observation, &read, retained, out);
            }
            (What::List(listing), Reply::Retained(retained)) => self.listed(now, to, &listing, retained, out),
            _ => self.refuse(now, to, &Refused::new(Code::INTERNAL_SERVER_ERROR, ""), out),
        }
    }

    fn time_passed(&mut self, now: Instant, out: &mut dyn Sink) {
        while let Some(tag) = self.exchanges.handle_timeout(now, out.wire()) {
            self.lost_observer(now, tag, "timeout", out);
        }
        self.acknowledge_slow(now, out);
        self.bodies.take_if(|bodies| bodies.expire(now));
        if self.idle_at().is_some_and(|at| at <= now) {
            out.close(Close::GOODBYE);
        }
    }

    /// When nothing is left to stay for.
    fn idle_at(&self) -> Option<Instant> {
        let idle = self.observations.list.is_empty() && self.pending.is_empty();
        if idle { self.last_use.checked_add(self.config.idle())?.instant() } else { None }
    }

    /// Tells everyone who waits or observes that it is over.
    fn evicted(&mut self, now: Instant, reason: Reason, out: &mut dyn Sink) {
        let refused = Refused::because(reason);
        for pending in self.pending.take_all() {
            self.refuse(now, pending.to, &refused, out);
        }
        for observation in std::mem::take(&mut self.observations).list {
            let tag = Tag(observation.number);
            self.exchanges.send(observation.token, &mut refused.packet(), tag, out.wire());
        }
        out.close(Close::because(reason));
    }

    pub(crate) fn bodies(&mut self) -> &mut Bodies {
        Bodies::of(&mut self.bodies, &self.config)
    }

    pub(crate) fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Answers, unless the peer asked to be spared (RFC 7967).
    pub(crate) fn answer(&mut self, now: Instant, to: ReplyTo, mut packet: Packet, out: &mut dyn Sink) {
        if to.suppresses(code_of(&packet)) {
            return self.answer_nothing(to, out);
        }
        if let Some(block) = to.block1 {
            add_uint(&mut packet, number::BLOCK1, block.value());
        }
        self.exchanges.reply(now, to.origin, &mut packet, out.wire());
    }

    /// RFC 7967 section 2: a Confirmable request is still acknowledged.
    pub(crate) fn answer_nothing(&mut self, to: ReplyTo, out: &mut dyn Sink) {
        let mut origin = to.origin;
        self.exchanges.acknowledge(&mut origin, out.wire());
    }

    pub(crate) fn refuse(&mut self, now: Instant, to: ReplyTo, refused: &Refused, out: &mut dyn Sink) {
        self.answer(now, to, refused.packet(), out);
    }
}

impl Adapter for Endpoint {
    fn receive(&mut self, now: Instant, bytes: &[u8], out: &mut dyn Sink) -> usize {
        match self.exchanges.receive(now, bytes, out.wire()) {
            Received::Request(datagram) if self.is_waiting(&datagram, out) => {}
            Received::Request(datagram) => self.request(now, datagram, Origin::of(&datagram), out),
            Received::Acknowledged(tag) => self.notified(now, tag, out),
            Received::Reset(tag) => self.lost_observer(now, tag, "unobserved", out),
            // We ask nothing of a CoAP peer.
            Received::Response { .. } | Received::Handled => {}
        }
        bytes.len()
    }

    fn handle(&mut self, now: Instant, event: Event, out: &mut dyn Sink) {
        match event {
            Event::Reply(ticket, reply) => self.replied(now, ticket, reply, out),
            Event::Timeout => self.time_passed(now, out),
            Event::Evicted(reason) => self.evicted(now, reason, out),
            Event::Closed | Event::Settled(_) => {}
        }
    }

    fn deliver(&mut self, now: Instant, outbox: &mut dyn Deliveries, out: &mut dyn Sink) {
        self.pull(now, outbox, out);
    }

    fn next_timeout(&self) -> Option<Instant> {
        let timeouts = [
            self.exchanges.next_timeout(),
            self.pending.next_timeout(),
            self.bodies.as_ref().and_then(|bodies| bodies.next_timeout()),
            self.idle_at(),
        ];
        timeouts.into_iter().flatten().min()
    }

    fn protocol(&self) -> &'static str {
        "coap"
    }
}

#[cfg(test)]
mod tests;
