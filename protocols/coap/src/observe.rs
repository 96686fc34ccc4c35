//! `GET` with Observe: registration and cancellation (RFC 7641 sections 3.1, 3.6 and 4.1).
//!
//! ```text
//!  GET Observe=0 ──▶ Subscribe ──granted──▶ Retained (exact topics) ──▶ 2.05 + Observe ──▶ live
//!                        └──refused──▶ 4.xx
//!  live ──▶ gone   by Observe=1, Reset, MAX_RETRANSMIT, an error notification, eviction
//! ```
//! Messages that arrive before the first answer wait in the observation, so between the retained
//! message and the live ones nothing is lost.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use gateway_model::{
    DeliveryId, Message, Qos, Reason, Request, RetainHandling, Settlement, Sink, Subscription, Tick, Ticket,
    TopicFilter,
};
use smallvec::SmallVec;

use crate::endpoint::Endpoint;
use crate::exchange::Tag;
use crate::message::{Code, Token, add_uint, number};
use crate::pending::{Read, What};
use crate::queue::Queue;
use crate::request::{Asked, ReplyTo};
use crate::translate::Refused;

/// Observe values are 24 bits wide (RFC 7641 section 3.4).
pub(crate) const SEQUENCE_MASK: u32 = (1 << 24) - 1;

pub(crate) struct Observation {
    /// Never used again; also the [`Tag`] of its notifications.
    pub(crate) number: u64,
    pub(crate) token: Token,
    pub(crate) filter: TopicFilter,
    /// Shared by all observations of the same filter: to the gateway they are one subscription.
    pub(crate) identifier: NonZeroU32,
    pub(crate) sequence: u32,
    pub(crate) accept: Option<u16>,
    /// The first answer has not been given yet.
    pub(crate) registering: bool,
    /// A Confirmable notification is unacknowledged: the delivery it carries.
    pub(crate) outstanding: Option<Option<DeliveryId>>,
    pub(crate) waiting: Queue,
    /// When the peer last proved that it still listens.
    pub(crate) confirmed_at: Tick,
}

/// A message on its way to one observation.
pub(crate) struct Waiting {
    pub(crate) message: Arc<Message>,
    pub(crate) delivery: Option<DeliveryId>,
    pub(crate) qos: Qos,
    /// Other observations were to be told of it too.
    pub(crate) is_shared: bool,
}

/// A delivery that several observations share; settled when the last of them is done.
pub(crate) struct Parcel {
    pub(crate) id: DeliveryId,
    pub(crate) remaining: usize,
    pub(crate) delivered: bool,
}

/// All observations of a peer.
#[derive(Default)]
pub(crate) struct Observations {
    /// Nearly always one, which is held in place.
    pub(crate) list: SmallVec<[Observation; 1]>,
    /// Of few peers there are any.
    #[allow(clippy::box_collection)]
    pub(crate) parcels: Option<Box<Vec<Parcel>>>,
    next_number: u64,
    next_identifier: u32,
    /// Where the search for the next notification begins, so that all get their turn.
    pub(crate) turn: u32,
}

impl Observation {
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = (self.sequence + 1) & SEQUENCE_MASK;
        self.sequence
    }
}

impl Observations {
    pub(crate) fn get(&mut self, number: u64) -> Option<&mut Observation> {
        self.list.iter_mut().find(|observation| observation.number == number)
    }

    fn position(&self, token: Token) -> Option<usize> {
        self.list.iter().position(|observation| observation.token == token)
    }

    fn add(&mut self, token: Token, filter: TopicFilter, now: Instant) -> &mut Observation {
        let known = self.list.iter().find(|observation| observation.filter == filter).map(|o| o.identifier);
        let identifier = known.unwrap_or_else(|| {
            // MQTT allows 1 to 268,435,455.
            self.next_identifier = self.next_identifier % 268_435_455 + 1;
            NonZeroU32::new(self.next_identifier).unwrap_or(NonZeroU32::MIN)
        });
        self.next_number += 1;
        let observation = Observation {
            number: self.next_number,
            token,
            filter,
            identifier,
            sequence: 0,
            accept: None,
            registering: true,
            outstanding: None,
            waiting: Queue::default(),
            confirmed_at: now.into(),
        };
        self.list.reserve_exact(1);
        self.list.push(observation);
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    fn is_observed(&self, filter: &TopicFilter) -> bool {
        self.list.iter().any(|observation| observation.filter == *filter)
    }
}

impl Endpoint {
    /// `GET` with Observe=0.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        topic: &[u8],
        to: ReplyTo,
        out: &mut dyn Sink,
    ) {
        let filter = match TopicFilter::parse_bytes(topic) {
            Ok(filter) => filter,
            Err(error) => {
                return self.refuse(now, to, &Refused::new(Code::BAD_REQUEST, error.to_string()), out);
            }
        };
        let token = to.origin.token;
        let known = self.observations.position(token);
        let same =
            known.filter(|index| self.observations.list.get(*index).is_some_and(|o| o.filter == filter));
        if known.is_none() && self.observations.list.len() >= self.config.observations_max {
            // RFC 7641 section 4.1: no room for another observer, so it is an ordinary GET.
            return match filter.has_wildcard() {
                true => self.refuse(now, to, &Refused::busy("too many observations"), out),
                false => self.read(now, asked, topic, to, out),
            };
        }
        if let (Some(_), None) = (known, same) {
            self.cancel_token(now, token, out);
        }
        let (observation, is_new) = match same.and_then(|index| self.observations.list.get_mut(index)) {
            Some(observation) => (observation, false),
            None => (self.observations.add(token, filter.clone(), now), true),
        };
        observation.accept = asked.wanted.accept;
        observation.registering = true;
        let (number, identifier) = (observation.number, observation.identifier);
        let retain_handling = match (filter.has_wildcard(), is_new) {
            // An exact topic's retained message is read, to be the first answer itself.
            (false, _) => RetainHandling::Never,
            (true, true) => RetainHandling::Always,
            (true, false) => RetainHandling::IfNew,
        };
        let read = Box::new(Read { wanted: asked.wanted.clone(), empty_is_content: true });
        let Some(ticket) = self.wait(now, to, What::Subscribed { observation: number, read }, out) else {
            return self.end_observation(now, number, Settlement::Dropped("refused"), out);
        };
        let subscription = Subscription {
            identifier: Some(identifier),
            retain_handling,
            ..Subscription::new(filter, asked.qos.unwrap_or(self.config.subscribe_qos()))
        };
        out.request(ticket, Request::Subscribe(vec![subscription]));
    }

    pub(crate) fn subscribed(
        &mut self,
        now: Instant,
        to: ReplyTo,
        number: u64,
        read: Box<Read>,
        granted: &[Reason],
        out: &mut dyn Sink,
    ) {
        let reason = granted.first().copied().unwrap_or(Reason::UnspecifiedError);
        let Some(observation) = self.observations.get(number) else {
            // Cancelled meanwhile, under the same token.
            return self.observed(now, to, number, &read, Ok(Vec::new()), out);
        };
        let filter = observation.filter.clone();
        if reason.is_error() {
            self.end_observation(now, number, Settlement::Dropped("refused"), out);
            return self.refuse(now, to, &Refused::because(reason), out);
        }
        if filter.has_wildcard() || filter.group().is_some() {
            return self.observed(now, to, number, &read, Ok(Vec::new()), out);
        }
        let ticket = self.next_ticket();
        self.wait_for(now, ticket, to, What::Observed { observation: number, read });
        out.request(ticket, Request::Retained { filter, limit: 1 });
    }

    /// Gives the first answer; from here on the observation is live.
    pub(crate) fn observed(
        &mut self,
        now: Instant,
        to: ReplyTo,
        number: u64,
        read: &Read,
        retained: Result<Vec<Arc<Message>>, Reason>,
        out: &mut dyn Sink,
    ) {
        // The subscription was granted; who may not read what is retained still sees what comes.
        let retained = retained.unwrap_or_default();
        let message = retained.first().filter(|message| !message.is_expired(now));
        let mut packet = match self.show(now, read, message) {
            Ok(packet) => packet,
            Err(refused) => {
                self.end_observation(now, number, Settlement::Dropped("refused"), out);
                return self.refuse(now, to, &refused, out);
            }
        };
        let Some(observation) = self.observations.get(number) else {
            return self.answer(now, to, packet, out);
        };
        add_uint(&mut packet, number::OBSERVE, observation.next_sequence());
        observation.registering = false;
        if to.suppresses(crate::message::code_of(&packet)) {
            self.answer_nothing(to, out);
        } else {
            self.exchanges.reply_tagged(now, to.origin, &mut packet, Some(Tag(number)), out.wire());
        }
        self.notify(now, out);
    }

    /// `GET` with Observe=1: ends the observation of that token, whatever it observes.
    pub(crate) fn cancel_token(&mut self, now: Instant, token: Token, out: &mut dyn Sink) {
        let Some(index) = self.observations.position(token) else { return };
        if let Some(number) = self.observations.list.get(index).map(|observation| observation.number) {
            self.end_observation(now, number, Settlement::Dropped("unobserved"), out);
        }
    }

    /// Removes an observation, settles what it held, and unsubscribes if it was the filter's last.
    pub(crate) fn end_observation(
        &mut self,
        now: Instant,
        number: u64,
        settlement: Settlement,
        out: &mut dyn Sink,
    ) {
        let Some(index) = self.observations.list.iter().position(|o| o.number == number) else { return };
        let observation = self.observations.list.remove(index);
        self.observations.list.shrink_to_fit();
        self.exchanges.withdraw(now, Tag(number), out.wire());
        let waiting = observation.waiting.into_iter().map(|waiting| waiting.delivery);
        for id in waiting.chain(observation.outstanding).flatten() {
            self.settle(id, settlement, out);
        }
        if !self.observations.is_observed(&observation.filter) {
            out.request(Ticket::default(), Request::Unsubscribe(vec![observation.filter]));
        }
        self.last_use = now.into();
    }
}
