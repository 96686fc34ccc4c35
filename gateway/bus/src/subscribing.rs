use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use gateway_model::{Identifiers, Message, Qos, Reason, RetainHandling, Subscription, TopicFilter};
use gateway_store::Record;

use crate::outbox::Entry;
use crate::publishing::again;
use crate::retained::Retained;
use crate::routes::{Listed, Subscriber};
use crate::turn::{Holds, Turn};
use crate::{Attachment, Bus, Counter, Promise};

impl Bus {
    /// Adds subscriptions and queues the retained messages they ask for. One reason each: the
    /// granted QoS, or an error. New ones of a client's durable session are refused with
    /// `QuotaExceeded` while the store has no room.
    pub fn subscribe(
        &self,
        now: Instant,
        attachment: &Attachment,
        subscriptions: Vec<Subscription>,
    ) -> Promise<Vec<Reason>> {
        let session = &attachment.session;
        let mut turn = self.turn_of(session);
        let has_room = !(session.is_durable() && turn.is_full() && !attachment.client_id().is_reserved());
        let one = |subscription| self.subscribe_one(&mut turn, now, attachment, subscription, has_room);
        let reasons = subscriptions.into_iter().map(one).collect();
        turn.promise(reasons)
    }

    /// One reason each: `Success`, or `NoSubscriptionExisted`.
    pub fn unsubscribe(&self, attachment: &Attachment, filters: &[TopicFilter]) -> Promise<Vec<Reason>> {
        let mut turn = self.turn_of(&attachment.session);
        let unsubscribe = |filter| self.unsubscribe_one(&mut turn, attachment, filter);
        let reasons = filters.iter().map(unsubscribe).collect();
        turn.promise(reasons)
    }

    /// What the session of an attachment is subscribed to.
    pub fn filters(&self, attachment: &Attachment) -> Vec<TopicFilter> {
        let subscriptions = attachment.session.state.lock().subscriptions.to_vec();
        subscriptions.into_iter().map(|one| one.filter).collect()
    }

    /// The retained messages of a filter, at most `limit`.
    pub fn retained(&self, now: Instant, filter: &TopicFilter, limit: usize) -> Vec<Arc<Message>> {
        let mut turn = self.turn();
        let mut retained = self.retained.lock();
        let found = retained.read(&mut turn, filter, now, limit);
        self.count_lapsed(&mut retained);
        found
    }

    fn unsubscribe_one(&self, turn: &mut Turn<'_>, attachment: &Attachment, filter: &TopicFilter) -> Reason {
        let session = &attachment.session;
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
        if session.is_durable() {
            turn.append(&Record::Unsubscribed { session: session.number, filter: filter.clone() });
        }
        if let Some(group) = group {
            self.leave_behind(turn, session, &group);
        }
        Reason::Success
    }

    fn subscribe_one(
        &self,
        turn: &mut Turn<'_>,
        now: Instant,
        attachment: &Attachment,
        subscription: Subscription,
        has_room: bool,
    ) -> Reason {
        let session = &attachment.session;
        // Held throughout, so that a retained publish is either stored before or routed after.
        let mut retained = self.retained.lock();
        let mut routes = self.routes.write();
        let mut state = session.state.lock();
        if !attachment.holds(&state) {
            return Reason::UnspecifiedError;
        }
        let known = state.subscriptions.get(&subscription.filter);
        let is_new = known.is_none();
        let is_same = known == Some(&subscription);
        if !has_room {
            // Most clients subscribe anew whenever they come. Whoever is refused may go again, and then
            // nobody empties the queue that fills the disk. Retained messages would only fill it more.
            return if is_same { granted(&subscription) } else { Reason::QuotaExceeded };
        }
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
        if session.is_durable() {
            turn.append(&Record::Subscribed { session: session.number, subscription: subscription.clone() });
        }
        if let Some(group) = group {
            drop(retained);
            self.gather(turn, &group);
        } else {
            self.replay(turn, now, attachment, &subscription, is_new, identifiers, &mut retained);
            self.count_lapsed(&mut retained);
        }
        granted(&subscription)
    }

    /// Queues the retained messages that a subscription asks for.
    #[allow(clippy::too_many_arguments)]
    fn replay(
        &self,
        turn: &mut Turn<'_>,
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
        let state = session.state.lock();
        if !attachment.holds(&state) {
            return;
        }
        let room = state.outbox.replay_room();
        drop(state);
        for message in retained.read(turn, &subscription.filter, now, room) {
            if subscription.no_local && message.publisher == session.client_id {
                continue;
            }
            let state = session.state.lock();
            let qos = state.effective_qos(message.qos, subscription.qos);
            let is_stored = session.is_durable() && qos.min(message.qos) > Qos::AtMostOnce;
            // Those who hold what is retained are written down already.
            let message = if is_stored { again(&message) } else { message };
            let priority = routes.priority(&message.topic);
            let entry = Entry::new(message.clone(), identifiers.clone(), qos, true, priority).replayed();
            if is_stored {
                turn.begin_message(&message, Listed::one(&identifiers));
            }
            self.counters.add(Counter::Matched, 1);
            let dropped = session.push(turn, state, entry, None);
            self.counters.count_dropped(session, dropped);
            turn.store(&message, Holds::default());
        }
    }
}

fn granted(subscription: &Subscription) -> Reason {
    match subscription.qos {
        Qos::AtMostOnce => Reason::Success,
        Qos::AtLeastOnce => Reason::GrantedQos1,
        Qos::ExactlyOnce => Reason::GrantedQos2,
    }
}
