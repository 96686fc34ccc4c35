use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use gateway_model::{Identifiers, Message, Qos, Reason, RetainHandling, Subscription, TopicFilter};

use crate::outbox::Entry;
use crate::retained::Retained;
use crate::routes::Subscriber;
use crate::{Attachment, Bus, Counter, Promise};

impl Bus {
    /// Adds subscriptions and queues the retained messages they ask for. One reason each: the
    /// granted QoS, or an error.
    pub fn subscribe(
        &self,
        now: Instant,
        attachment: &Attachment,
        subscriptions: Vec<Subscription>,
    ) -> Promise<Vec<Reason>> {
        let one = |subscription| self.subscribe_one(now, attachment, subscription);
        Promise::now(subscriptions.into_iter().map(one).collect())
    }

    /// One reason each: `Success`, or `NoSubscriptionExisted`.
    pub fn unsubscribe(&self, attachment: &Attachment, filters: &[TopicFilter]) -> Promise<Vec<Reason>> {
        let session = &attachment.session;
        let unsubscribe = |filter: &TopicFilter| {
            let mut routes = self.routes.write();
            let mut state = session.state.lock();
            if !attachment.holds(&state) || !state.subscriptions.remove(filter) {
                return Reason::NoSubscriptionExisted;
            }
            drop(state);
            let group = routes.group_of(filter);
            routes.unsubscribe(filter, session);
            self.generation.fetch_add(1, Ordering::Release);
            drop(routes);
            if let Some(group) = group {
                self.leave_behind(session, &group);
            }
            Reason::Success
        };
        Promise::now(filters.iter().map(unsubscribe).collect())
    }

    /// What the session of an attachment is subscribed to.
    pub fn filters(&self, attachment: &Attachment) -> Vec<TopicFilter> {
        attachment.session.state.lock().subscriptions.filters()
    }

    /// The retained messages of a filter, at most `limit`.
    pub fn retained(&self, now: Instant, filter: &TopicFilter, limit: usize) -> Vec<Arc<Message>> {
        let mut retained = self.retained.lock();
        let found = retained.read(filter, now, limit);
        self.count_lapsed(&mut retained);
        found
    }

    fn subscribe_one(&self, now: Instant, attachment: &Attachment, subscription: Subscription) -> Reason {
        let session = &attachment.session;
        // Held throughout, so that a retained publish is either stored before or routed after.
        let mut retained = self.retained.lock();
        let mut routes = self.routes.write();
        let mut state = session.state.lock();
        if !attachment.holds(&state) {
            return Reason::UnspecifiedError;
        }
        let is_new = !state.subscriptions.contains(&subscription.filter);
        if is_new && state.subscriptions.len() >= self.limits.subscriptions_max {
            return Reason::QuotaExceeded;
        }
        if subscription.filter.is_exclusive() && routes.is_taken(&subscription.filter, session) {
            return Reason::QuotaExceeded;
        }
        state.subscriptions.insert(subscription.clone());
        // A group, once locked, looks at its members: no session may be locked around it.
        drop(state);
        let subscriber = Subscriber::new(session.clone(), &subscription);
        let identifiers = subscriber.identifiers();
        let group = routes.subscribe(&subscription.filter, subscriber);
        self.generation.fetch_add(1, Ordering::Release);
        drop(routes);
        match group {
            Some(group) => self.gather(&group),
            None => self.replay(now, attachment, &subscription, is_new, identifiers, &mut retained),
        }
        self.count_lapsed(&mut retained);
        match subscription.qos {
            Qos::AtMostOnce => Reason::Success,
            Qos::AtLeastOnce => Reason::GrantedQos1,
            Qos::ExactlyOnce => Reason::GrantedQos2,
        }
    }

    /// Queues the retained messages that a subscription asks for.
    fn replay(
        &self,
        now: Instant,
        attachment: &Attachment,
        subscription: &Subscription,
        is_new: bool,
        identifiers: Identifiers,
        retained: &mut Retained,
    ) {
        let wants_retained = match subscription.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        if !wants_retained || retained.count() == 0 {
            return;
        }
        // Locked before the session, as everywhere.
        let routes = self.routes.read();
        let session = &attachment.session;
        let mut state = session.state.lock();
        if !attachment.holds(&state) {
            return;
        }
        for message in retained.read(&subscription.filter, now, state.outbox.replay_room()) {
            if subscription.no_local && message.publisher == session.client_id {
                continue;
            }
            let qos = state.effective_qos(message.qos, subscription.qos);
            let priority = routes.priority(&message.topic);
            let entry = Entry::new(message, identifiers.clone(), qos, true, priority).replayed();
            self.counters.add(Counter::Matched, 1);
            if let Some((reason, count)) = state.push(entry) {
                self.count_dropped(session, reason, count);
            }
        }
    }
}
