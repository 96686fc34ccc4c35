//! Notifications: deliveries on their way to observers (RFC 7641 sections 3.2 and 4.5).

use std::time::{Duration, Instant};

use coap_lite::CoapOption;
use gateway_model::{Deliveries, DeliveryId, Outgoing, Qos, Settlement, Sink};

use crate::bodies::Bodies;
use crate::config::{Config, NotifyType, ObserveQueue};
use crate::endpoint::Endpoint;
use crate::exchange::Tag;
use crate::message::{Code, add_uint, number};
use crate::observe::{Observation, Parcel, Waiting};
use crate::retained::location_of;
use crate::translate::{Refused, Wanted, represent};

/// RFC 7641 section 4.5: at least one Confirmable notification every 24 hours.
const CONFIRM_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

impl Endpoint {
    pub(crate) fn pull(&mut self, now: Instant, outbox: &mut dyn Deliveries, out: &mut dyn Sink) {
        while out.has_room() && self.may_pull() {
            let Some(outgoing) = outbox.next(now) else { break };
            self.take(now, outgoing, outbox, out);
        }
    }

    /// Where every message counts, what is above QoS 0 stays in the session's outbox until its
    /// turn: settling the one before makes the driver call again.
    fn may_pull(&self) -> bool {
        let holds =
            |observation: &Observation| observation.waiting.iter().any(|waiting| waiting.delivery.is_some());
        self.config.observe_queue == ObserveQueue::Latest || !self.observations.list.iter().any(holds)
    }

    fn take(&mut self, now: Instant, outgoing: Outgoing, outbox: &mut dyn Deliveries, out: &mut dyn Sink) {
        if outgoing.released {
            return self.settle_one(outgoing.id, Settlement::Delivered, out);
        }
        let identifiers = outgoing.identifiers.as_slice();
        let is_for = |observation: &Observation| match identifiers {
            [] => observation.filter.matches(&outgoing.message.topic),
            some => some.contains(&observation.identifier.get()),
        };
        let count = self.observations.list.iter().filter(|observation| is_for(observation)).count();
        if count == 0 {
            return match outgoing.id {
                Some(id) => self.settle(id, Settlement::Dropped("unobserved"), out),
                None => outbox.refuse_last("unobserved"),
            };
        }
        if let (Some(id), true) = (outgoing.id, count > 1) {
            self.observations.parcels.get_or_insert_default().push(Parcel {
                id,
                remaining: count,
                delivered: false,
            });
        }
        let mut superseded = Vec::new();
        for observation in self.observations.list.iter_mut().filter(|observation| is_for(observation)) {
            let (message, is_shared) = (outgoing.message.clone(), count > 1);
            let waiting = Waiting { message, delivery: outgoing.id, qos: outgoing.qos, is_shared };
            superseded.extend(enqueue(&self.config, observation, waiting));
        }
        for older in superseded {
            match older.delivery {
                Some(id) => self.settle(id, Settlement::Dropped("superseded"), out),
                // Of two at QoS 0 that were taken one is not sent: which of them is all the same.
                None if outgoing.id.is_none() && count == 1 && !older.is_shared => {
                    outbox.refuse_last("superseded")
                }
                None => {}
            }
        }
        self.notify(now, out);
    }

    /// Sends what may be sent, each observation in its turn.
    pub(crate) fn notify(&mut self, now: Instant, out: &mut dyn Sink) {
        let mut rested = 0;
        while rested < self.observations.list.len() {
            let index = self.observations.turn as usize % self.observations.list.len();
            self.observations.turn = index as u32 + 1;
            if self.notify_one(now, index, out) { rested = 0 } else { rested += 1 }
        }
    }

    /// Sends the next notification of one observation, if there is one and it may go.
    fn notify_one(&mut self, now: Instant, index: usize, out: &mut dyn Sink) -> bool {
        let has_slot = self.exchanges.has_slot();
        let Some(observation) = self.observations.list.get_mut(index) else { return false };
        if observation.registering || observation.outstanding.is_some() {
            return false;
        }
        let Some(front) = observation.waiting.front() else { return false };
        let overdue = observation.confirmed_at.elapsed(now) >= CONFIRM_EVERY;
        let confirmable = overdue || is_confirmable(self.config.notify_type, front.qos);
        if confirmable && !has_slot {
            return false;
        }
        let Some(waiting) = observation.waiting.pop_front() else { return false };
        if waiting.message.is_expired(now) {
            self.settle_one(waiting.delivery, Settlement::Dropped("expired"), out);
            return true;
        }
        self.send_notification(now, index, waiting, confirmable, out);
        true
    }

    fn send_notification(
        &mut self,
        now: Instant,
        index: usize,
        waiting: Waiting,
        confirmable: bool,
        out: &mut dyn Sink,
    ) {
        let etag = self.etag(&waiting.message);
        let szx = self.config.szx();
        let Some(observation) = self.observations.list.get_mut(index) else { return };
        let exact = !observation.filter.has_wildcard();
        // RFC 7641 section 4.2: what observers of a deleted resource are told, and the last thing.
        let deleted = exact && waiting.message.retain && waiting.message.payload.is_empty();
        let wanted = Wanted { accept: observation.accept, ..Wanted::default() };
        let represented = match deleted {
            true => Err(Refused::new(Code::NOT_FOUND, "the retained message was deleted")),
            false => represent(&waiting.message, etag, now, &wanted, szx),
        };
        let ends = represented.is_err();
        let mut packet = represented.unwrap_or_else(|refused| refused.packet());
        if !ends {
            add_uint(&mut packet, number::OBSERVE, observation.next_sequence());
        }
        if !exact || observation.filter.group().is_some() {
            for segment in location_of(&waiting.message.topic).filter(|segment| segment.len() <= 255) {
                packet.add_option(CoapOption::LocationPath, segment.as_bytes().to_vec());
            }
        }
        if packet.get_option(CoapOption::Block2).is_some() {
            Bodies::of(&mut self.bodies, &self.config).large.keep(now, &waiting.message);
        }
        let (token, number) = (observation.token, observation.number);
        let sent = confirmable
            && self
                .exchanges
                .confirm(now, token, &mut packet, (!ends).then_some(Tag(number)), out.wire())
                .is_ok();
        if sent && !ends {
            observation.outstanding = Some(waiting.delivery);
            return;
        }
        if !sent {
            self.exchanges.send(token, &mut packet, Tag(number), out.wire());
        }
        self.settle_one(waiting.delivery, Settlement::Delivered, out);
        if ends {
            self.end_observation(now, number, Settlement::Dropped("refused"), out);
        }
    }

    /// The peer acknowledged a notification.
    pub(crate) fn notified(&mut self, now: Instant, tag: Tag, out: &mut dyn Sink) {
        let Some(observation) = self.observations.get(tag.0) else { return };
        observation.confirmed_at = now.into();
        let delivery = observation.outstanding.take();
        self.settle_one(delivery.flatten(), Settlement::Delivered, out);
        self.notify(now, out);
    }

    /// The peer rejected a notification, or never acknowledged it: nobody observes any more.
    pub(crate) fn lost_observer(&mut self, now: Instant, tag: Tag, why: &'static str, out: &mut dyn Sink) {
        self.end_observation(now, tag.0, Settlement::Dropped(why), out);
        self.notify(now, out);
    }

    fn settle_one(&mut self, id: Option<DeliveryId>, settlement: Settlement, out: &mut dyn Sink) {
        if let Some(id) = id {
            self.settle(id, settlement, out);
        }
    }

    /// One observation is done with a delivery.
    pub(crate) fn settle(&mut self, id: DeliveryId, settlement: Settlement, out: &mut dyn Sink) {
        let parcels = self.observations.parcels.as_deref_mut().into_iter().flatten();
        let Some((index, parcel)) = parcels.enumerate().find(|(_, parcel)| parcel.id == id) else {
            out.settle(id, settlement);
            return;
        };
        parcel.remaining -= 1;
        parcel.delivered |= settlement == Settlement::Delivered;
        if parcel.remaining == 0 {
            out.settle(id, if parcel.delivered { Settlement::Delivered } else { settlement });
            if let Some(parcels) = &mut self.observations.parcels {
                parcels.swap_remove(index);
            }
            self.observations.parcels.take_if(|parcels| parcels.is_empty());
        }
    }
}

/// Adds a message to an observation's queue; returns what it pushed out.
fn enqueue(config: &Config, observation: &mut Observation, waiting: Waiting) -> Vec<Waiting> {
    let mut superseded = Vec::new();
    let queue = &mut observation.waiting;
    if config.observe_queue == ObserveQueue::Latest {
        let index = queue.iter().position(|older| older.message.topic == waiting.message.topic);
        superseded.extend(index.and_then(|index| queue.remove(index)));
    }
    if queue.len() >= config.observe_waiting_max.max(1) {
        superseded.extend(queue.pop_front());
    }
    queue.push_back(waiting);
    superseded
}

fn is_confirmable(notify_type: NotifyType, qos: Qos) -> bool {
    match notify_type {
        NotifyType::Qos => qos != Qos::AtMostOnce,
        NotifyType::Con => true,
        NotifyType::Non => false,
    }
}
