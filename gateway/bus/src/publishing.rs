use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway_model::{ClientId, Delayed, Message, Publish, Reason, Stored, Topic, Will};

use crate::retained::Retained;
use crate::routes::Route;
use crate::{Attachment, Bus, Counter, DropReason, Moment, Promise, RouteCache};

impl Bus {
    /// Takes a message in and gives every matching session its copy. With `hold`, the publisher's
    /// session remembers the packet identifier, unless the publish is refused.
    pub fn publish(
        &self,
        moment: Moment,
        publisher: &Attachment,
        publish: Publish,
        hold: Option<NonZeroU16>,
        cache: &mut RouteCache,
    ) -> Promise<Reason> {
        let reason = self.publish_now(moment, publisher, publish, cache);
        if let Some(id) = hold.filter(|_| !reason.is_error()) {
            publisher.hold(id, true);
        }
        Promise::now(reason)
    }

    fn publish_now(
        &self,
        moment: Moment,
        publisher: &Attachment,
        publish: Publish,
        cache: &mut RouteCache,
    ) -> Reason {
        if publish.retain {
            return self.take_in(moment, make(moment, publisher.client_id().clone(), publish));
        }
        let generation = self.generation.load(Ordering::Acquire);
        let route = cache.route(&publish.topic, generation, |topic| self.routes.read().route(topic));
        self.counters.add(Counter::Accepted, 1);
        if route.is_empty() {
            self.counters.add(Counter::Unrouted, 1);
            return Reason::NoMatchingSubscribers;
        }
        let message = make(moment, publisher.client_id().clone(), publish);
        self.dispatch(&message, &route)
    }

    /// Publishes in the gateway's own name (a word that begins with `$`).
    pub fn publish_as(&self, moment: Moment, publisher: &ClientId, publish: Publish) -> Reason {
        self.take_in(moment, make(moment, publisher.clone(), publish))
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
        let reason = self.delay(moment, publisher, delay, publish);
        if let Some((attachment, id)) = hold.filter(|_| !reason.is_error()) {
            attachment.hold(id, true);
        }
        Promise::now(reason)
    }

    fn delay(&self, moment: Moment, publisher: &ClientId, delay: Duration, publish: Publish) -> Reason {
        let message = make(moment, publisher.clone(), publish);
        if delay.is_zero() {
            return self.take_in(moment, message);
        }
        let limits = &self.limits;
        let is_held = self.delayed.lock().hold(
            moment.instant + delay,
            message,
            limits.delayed_messages_max,
            limits.delayed_bytes_max,
        );
        self.counters.add(if is_held { Counter::Delayed } else { Counter::Refused }, 1);
        if is_held { Reason::Success } else { Reason::QuotaExceeded }
    }

    /// Publishes what was held back until now.
    pub(crate) fn release_delayed(&self, moment: Moment) {
        loop {
            let next = self.delayed.lock().pop(moment.instant);
            let Some(message) = next else { return };
            if message.is_expired(moment.instant) {
                self.counters.add(Counter::DelayedExpired, 1);
                self.count_unpublished(&message.publisher, &message.topic, DropReason::DelayedExpired);
                continue;
            }
            self.counters.add(Counter::DelayedReleased, 1);
            let (publisher, topic) = (message.publisher.clone(), message.topic.clone());
            if self.take_in(moment, message).is_error() {
                self.count_unpublished(&publisher, &topic, DropReason::Unpublished);
            }
        }
    }

    /// A will to `$delayed/` is held back from now on.
    pub(crate) fn publish_will(&self, moment: Moment, client_id: &ClientId, will: Will) {
        self.counters.add(Counter::WillsPublished, 1);
        let mut publish = will.publish;
        let topic = publish.topic.clone();
        let reason = match Delayed::parse(&topic) {
            Some(Ok(Delayed { delay, topic })) => {
                publish.topic = topic;
                self.delay(moment, client_id, delay, publish)
            }
            _ => self.publish_as(moment, client_id, publish),
        };
        if reason.is_error() {
            self.count_unpublished(client_id, &topic, DropReason::Unpublished);
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

    /// Accepts a message, with the routes looked up anew.
    fn take_in(&self, moment: Moment, message: Arc<Message>) -> Reason {
        if !message.retain {
            let route = self.routes.read().route(&message.topic);
            self.counters.add(Counter::Accepted, 1);
            return self.dispatch(&message, &route);
        }
        let mut retained = self.retained.lock();
        let stored = match message.payload.len() > self.limits.retained_payload_bytes_max {
            true => Reason::QuotaExceeded,
            false => retained.store(&message, moment.instant, &self.limits),
        };
        self.count_lapsed(&mut retained);
        if stored.is_error() {
            self.counters.add(Counter::Refused, 1);
            return stored;
        }
        self.counters.add(Counter::Accepted, 1);
        // Under the lock, so that a subscription gets it as retained or live, not both or neither.
        let route = self.routes.read().route(&message.topic);
        self.dispatch(&message, &route)
    }

    fn dispatch(&self, message: &Arc<Message>, route: &Route) -> Reason {
        let mut matched = 0;
        for target in &route.targets {
            // By name, as a will is published when its connection is gone (MQTT-3.8.3-3).
            if target.no_local && message.publisher == target.session.client_id {
                continue;
            }
            matched += 1;
            let retain = message.retain && target.retain_as_published;
            target.session.push_message(
                message,
                target.qos,
                retain,
                target.identifiers.clone(),
                route.priority,
                &self.counters,
            );
        }
        for group in &route.groups {
            let given = group.give(&self.rules, message, route.priority, &self.counters);
            matched += u64::from(given.matched);
            self.watch(group, given);
        }
        if matched == 0 {
            self.counters.add(Counter::Unrouted, 1);
            return Reason::NoMatchingSubscribers;
        }
        self.counters.add(Counter::Matched, matched);
        Reason::Success
    }
}

fn make(moment: Moment, publisher: ClientId, publish: Publish) -> Arc<Message> {
    let Publish { topic, payload, qos, retain, expiry, properties } = publish;
    Arc::new(Message {
        topic,
        payload,
        properties,
        publisher,
        accepted_unix_millis: moment.unix_millis,
        expires_at: expiry.map(|expiry| moment.instant + expiry),
        qos,
        retain,
        stored: Stored::default(),
    })
}
