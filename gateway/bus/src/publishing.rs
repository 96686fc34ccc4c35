use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gateway_model::{ClientId, Delayed, Message, Publish, Qos, Reason, Stored, Testament, Topic};
use gateway_store as store;

use crate::bus::REVIEW_EVERY;
use crate::group::NeedsLog;
use crate::retained::Retained;
use crate::routes::{Listed, Route};
use crate::turn::{Holds, Turn};
use crate::{Attachment, Bus, Counter, DropReason, Moment, Promise, RouteCache};

/// A packet identifier that the publisher's session is to remember.
pub(crate) type Hold<'a> = Option<(&'a Attachment, NonZeroU16)>;

/// A publish on its way to those who want it.
struct Passage<'a> {
    hold: Hold<'a>,
    retained: bool,
    /// Somebody waits for the answer.
    is_awaited: bool,
}

impl Bus {
    /// Takes a message in and gives every matching session its copy. With `hold`, the publisher's
    /// session remembers the packet identifier, unless the publish is refused.
    ///
    /// What must be stored is refused with `QuotaExceeded`, before anything changes, while there is
    /// no room for it.
    pub fn publish(
        &self,
        moment: Moment,
        publisher: &Attachment,
        publish: Publish,
        hold: Option<NonZeroU16>,
        cache: &mut RouteCache,
    ) -> Promise<Reason> {
        let hold = hold.map(|id| (publisher, id));
        if publish.retain {
            let mut turn = self.turn();
            let message = make(moment, publisher.client_id().clone(), publish);
            let reason = self.take_in(&mut turn, moment, message, Some(hold));
            return turn.promise(reason);
        }
        let generation = self.generation.load(Ordering::Acquire);
        let route = cache.route(&publish.topic, generation, |topic| self.routes.read().route(topic));
        if hold.is_none() && route.is_brief() {
            return Promise::now(self.publish_briefly(moment, publisher, publish, &route));
        }
        let mut turn = self.turn();
        if publish.qos > Qos::AtMostOnce && self.is_to_be_stored(&route, publisher.client_id(), hold) {
            if turn.is_full() {
                return Promise::now(self.refuse());
            }
            turn.begin();
        }
        if hold.is_some() && !remember(hold) {
            return Promise::now(Reason::SessionTakenOver);
        }
        self.counters.add(Counter::Accepted, 1);
        if route.is_empty() {
            self.counters.add(Counter::Unrouted, 1);
            self.hold(&mut turn, hold);
            return turn.promise(Reason::NoMatchingSubscribers);
        }
        let message = make(moment, publisher.client_id().clone(), publish);
        let passage = Passage { hold, retained: false, is_awaited: true };
        let reason = self.dispatch(&mut turn, &message, &route, passage);
        turn.promise(reason)
    }

    /// Publishes in the gateway's own name (a word that begins with `$`).
    pub fn publish_as(&self, moment: Moment, publisher: &ClientId, publish: Publish) -> Reason {
        let message = make(moment, publisher.clone(), publish);
        self.take_in(&mut self.turn(), moment, message, Some(None))
    }

    /// Holds a publish back; [`Bus::poll`] releases it when its time has come. Its expiry counts
    /// from now; it is retained, routed and counted as accepted then.
    pub fn publish_delayed(
        &self,
        moment: Moment,
        publisher: &ClientId,
        delay: Duration,
        publish: Publish,
        hold: Option<(&Attachment, NonZeroU16)>,
    ) -> Promise<Reason> {
        let mut turn = self.turn();
        let reason = self.delay(&mut turn, moment, publisher, delay, publish, Some(hold));
        turn.promise(reason)
    }

    /// Publishes what was held back until now. When to come again, if what is due has to wait for
    /// room.
    pub(crate) fn release_delayed(&self, moment: Moment) -> Option<Instant> {
        loop {
            let next = self.delayed.lock().next().filter(|next| next.due <= moment.instant)?;
            let mut turn = self.turn();
            if next.is_stored {
                if turn.is_full() {
                    return Some(moment.instant + REVIEW_EVERY);
                }
                turn.begin();
            }
            let Some(message) = self.delayed.lock().take(next) else { continue };
            if message.is_expired(moment.instant) {
                self.counters.add(Counter::DelayedExpired, 1);
                self.count_unpublished(&message.publisher, &message.topic, DropReason::DelayedExpired);
            } else {
                self.counters.add(Counter::DelayedReleased, 1);
                if self.take_in(&mut turn, moment, again(&message), None).is_error() {
                    self.count_unpublished(&message.publisher, &message.topic, DropReason::Unpublished);
                }
            }
            if next.is_stored {
                turn.append_lazily(&store::Record::Undelayed { serial: next.serial });
                turn.let_go(&message);
            }
        }
    }

    /// A will to `$delayed/` is held back from now on. Nobody could be told of a refusal: what must
    /// be stored is, from the room that is kept for ends.
    pub(crate) fn publish_will(
        &self,
        turn: &mut Turn<'_>,
        moment: Moment,
        client_id: &ClientId,
        will: &dyn Testament,
    ) {
        self.counters.add(Counter::WillsPublished, 1);
        let mut publish = will.will().publish;
        let topic = publish.topic.clone();
        let reason = match Delayed::parse(&topic) {
            Some(Ok(Delayed { delay, topic })) => {
                publish.topic = topic;
                self.delay(turn, moment, client_id, delay, publish, None)
            }
            _ => self.take_in(turn, moment, make(moment, client_id.clone(), publish), None),
        };
        if reason.is_error() {
            self.count_unpublished(client_id, &topic, DropReason::Unpublished);
        }
    }

    /// Writes down what was retained at QoS 0, if it is time. When to come again.
    pub(crate) fn write_retained(&self, moment: Moment) -> Option<Instant> {
        let next = self.retained.lock().next_write(&self.limits)?;
        if next > moment.instant {
            return Some(next);
        }
        self.write_retained_now(moment)
    }

    /// Writes down what was retained at QoS 0: the gateway ends in order. When to come again, if not
    /// everything could be written.
    pub fn write_retained_now(&self, moment: Moment) -> Option<Instant> {
        let mut last = None;
        loop {
            let mut turn = self.turn();
            if turn.is_full() {
                return Some(moment.instant + REVIEW_EVERY);
            }
            turn.begin();
            let mut retained = self.retained.lock();
            last = retained.write(&mut turn, &self.limits, last, moment.instant);
            if last.is_none() {
                return retained.next_write(&self.limits);
            }
        }
    }

    pub(crate) fn count_lapsed(&self, retained: &mut Retained) {
        for message in retained.take_lapsed() {
            self.count_unpublished(&message.publisher, &message.topic, DropReason::RetainedExpired);
        }
    }

    /// Nobody is there to be told what became of it.
    fn count_unpublished(&self, publisher: &ClientId, topic: &Topic, reason: DropReason) {
        self.counters.add_dropped(publisher, Some(topic), reason, 1);
    }

    /// `client` is `None` if nobody waits for the answer, who could try again.
    fn delay(
        &self,
        turn: &mut Turn<'_>,
        moment: Moment,
        publisher: &ClientId,
        delay: Duration,
        publish: Publish,
        client: Option<Hold<'_>>,
    ) -> Reason {
        let message = make(moment, publisher.clone(), publish);
        if delay.is_zero() {
            return self.take_in(turn, moment, message, client);
        }
        if message.qos > Qos::AtMostOnce {
            if client.is_some() && turn.is_full() {
                return self.refuse();
            }
            turn.begin();
            turn.begin_message(&message, Listed::default());
        }
        if !remember(client.flatten()) {
            return Reason::SessionTakenOver;
        }
        let limits = &self.limits;
        let due = moment.instant + delay;
        let (messages_max, bytes_max) = (limits.delayed_messages_max, limits.delayed_bytes_max);
        let serial = self.delayed.lock().hold(due, message.clone(), messages_max, bytes_max);
        let due_unix_millis = moment.unix_millis_at(due);
        let delayed = serial.map(|serial| store::Delayed { serial, due_unix_millis });
        if delayed.is_none() {
            forget(client.flatten());
        }
        let held = client.flatten().filter(|_| delayed.is_some()).and_then(in_log);
        turn.store(&message, Holds { retained: false, delayed, held, is_awaited: client.is_some() });
        self.counters.add(if serial.is_some() { Counter::Delayed } else { Counter::Refused }, 1);
        if serial.is_some() { Reason::Success } else { Reason::QuotaExceeded }
    }

    /// Accepts a message, with the routes looked up anew. `client` is `None` if nobody waits for the
    /// answer, who could try again.
    fn take_in(
        &self,
        turn: &mut Turn<'_>,
        moment: Moment,
        message: Arc<Message>,
        client: Option<Hold<'_>>,
    ) -> Reason {
        let hold = client.flatten();
        let mut passage = Passage { hold, retained: message.retain, is_awaited: client.is_some() };
        let is_durable = message.qos > Qos::AtMostOnce;
        if !message.retain {
            let route = self.routes.read().route(&message.topic);
            if is_durable && self.is_to_be_stored(&route, &message.publisher, hold) {
                if client.is_some() && turn.is_full() {
                    return self.refuse();
                }
                turn.begin();
            }
            if !remember(hold) {
                return Reason::SessionTakenOver;
            }
            self.counters.add(Counter::Accepted, 1);
            return self.dispatch(turn, &message, &route, passage);
        }
        if is_durable && self.keeps {
            // It has to be known now, as the log comes before the lock: clearing needs no room
            // unless somebody is to hear of it.
            let needs_room = || {
                !message.payload.is_empty() || {
                    let route = self.routes.read().route(&message.topic);
                    self.is_to_be_stored(&route, &message.publisher, hold)
                }
            };
            if client.is_some() && turn.is_full() && needs_room() {
                return self.refuse();
            }
            turn.begin();
        }
        if !remember(hold) {
            return Reason::SessionTakenOver;
        }
        let mut retained = self.retained.lock();
        if self.retain(turn, moment, &message, &mut retained).is_error() {
            forget(hold);
            return self.refuse();
        }
        passage.retained = !message.payload.is_empty();
        self.counters.add(Counter::Accepted, 1);
        // Under the lock, so that a subscription gets it as retained or live, not both or neither.
        let route = self.routes.read().route(&message.topic);
        self.dispatch(turn, &message, &route, passage)
    }

    fn retain(
        &self,
        turn: &mut Turn<'_>,
        moment: Moment,
        message: &Arc<Message>,
        retained: &mut Retained,
    ) -> Reason {
        if message.payload.len() > self.limits.retained_payload_bytes_max {
            return Reason::QuotaExceeded;
        }
        let reason = retained.store(turn, message, moment.instant, &self.limits);
        self.count_lapsed(retained);
        reason
    }

    /// Whether a publish above QoS 0 has to be stored before it may be answered.
    #[inline]
    fn is_to_be_stored(&self, route: &Route, publisher: &ClientId, hold: Hold<'_>) -> bool {
        route.is_durable_for(publisher) || hold.is_some_and(|(attachment, _)| attachment.session.is_durable())
    }

    fn refuse(&self) -> Reason {
        self.counters.add(Counter::Refused, 1);
        Reason::QuotaExceeded
    }

    /// The log has nothing to do with it, so there is no turn with the log either.
    fn publish_briefly(
        &self,
        moment: Moment,
        publisher: &Attachment,
        publish: Publish,
        route: &Route,
    ) -> Reason {
        self.counters.add(Counter::Accepted, 1);
        if route.is_empty() {
            self.counters.add(Counter::Unrouted, 1);
            return Reason::NoMatchingSubscribers;
        }
        let message = make(moment, publisher.client_id().clone(), publish);
        let mut matched = 0;
        for target in route.wanting(&message.publisher) {
            matched += 1;
            target.session.push_briefly(self, &message, target, route.priority);
        }
        self.count_matched(matched)
    }

    fn dispatch(
        &self,
        turn: &mut Turn<'_>,
        message: &Arc<Message>,
        route: &Route,
        passage: Passage<'_>,
    ) -> Reason {
        if message.qos > Qos::AtMostOnce && turn.has_begun() {
            turn.begin_message(message, route.listed_max);
        }
        let mut matched = 0;
        for target in route.wanting(&message.publisher) {
            matched += 1;
            target.session.push_message(turn, message, target, route.priority, &self.counters);
        }
        for group in &route.groups {
            let given = loop {
                match group.give(turn, &self.rules, message, route.priority, &self.counters) {
                    Ok(given) => break given,
                    // Its first durable member has come since the route was looked up.
                    Err(NeedsLog) => {
                        turn.begin();
                        turn.begin_message(message, route.listed_max);
                    }
                }
            };
            matched += u64::from(given.matched);
            self.watch(group, given);
        }
        if turn.is_storing() {
            let held = passage.hold.and_then(in_log);
            let Passage { retained, is_awaited, .. } = passage;
            turn.store(message, Holds { retained, delayed: None, held, is_awaited });
        } else if passage.hold.is_some() {
            self.hold(turn, passage.hold);
        }
        self.count_matched(matched)
    }

    #[inline]
    fn count_matched(&self, matched: u64) -> Reason {
        if matched == 0 {
            self.counters.add(Counter::Unrouted, 1);
            return Reason::NoMatchingSubscribers;
        }
        self.counters.add(Counter::Matched, matched);
        Reason::Success
    }

    /// Writes down an identifier that comes with no message to store.
    fn hold(&self, turn: &mut Turn<'_>, hold: Hold<'_>) {
        if let Some((session, id)) = hold.and_then(in_log) {
            turn.append(&store::Record::Held { session, id });
        }
    }
}

/// The publisher's session remembers the identifier, before anything else changes. It does not if another
/// connection has it by now: there the client sends the message again, and it must count only once.
fn remember(hold: Hold<'_>) -> bool {
    hold.is_none_or(|(attachment, id)| attachment.hold(id))
}

/// The publish is refused after all.
fn forget(hold: Hold<'_>) {
    if let Some((attachment, id)) = hold {
        attachment.release(id);
    }
}

/// A remembered identifier with the number of its session, if the log is to know.
fn in_log((attachment, id): (&Attachment, NonZeroU16)) -> Option<(u64, NonZeroU16)> {
    let session = &attachment.session;
    session.is_durable().then_some((session.number, id))
}

fn make(moment: Moment, publisher: ClientId, publish: Publish) -> Arc<Message> {
    let Publish { topic, payload, qos, retain, expiry, properties } = publish;
    Arc::new(Message {
        topic,
        payload,
        properties,
        publisher,
        accepted_unix_millis: moment.unix_millis.into(),
        expires_at: expiry.map(|expiry| moment.instant + expiry),
        qos,
        retain,
        stored: Stored::default(),
    })
}

/// The same message for holders of its own: nobody joins those of a message that is stored.
pub(crate) fn again(message: &Message) -> Arc<Message> {
    Arc::new(Message {
        topic: message.topic.clone(),
        payload: message.payload.clone(),
        properties: message.properties.clone(),
        publisher: message.publisher.clone(),
        stored: Stored::default(),
        ..*message
    })
}
