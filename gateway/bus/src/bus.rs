use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use foldhash::fast::FixedState;
use gateway_model::{
    ClientId, Expiry, Message, Notify, Open, Opened, Publish, Qos, Reason, RetainHandling, Subscription,
    TopicFilter, Will,
};
use parking_lot::{Mutex, RwLock};

use crate::outbox::{Outbox, Queued};
use crate::retained::Retained;
use crate::routes::{Route, Routes, Subscriber};
use crate::session::State;
use crate::timers::Timers;
use crate::{
    Attachment, Counter, Counters, DropReason, Limits, QueueLimits, RouteCache, Session, SessionView,
};

/// Sessions, routes and retained messages, and the one way in: [`Bus::publish`].
pub struct Bus {
    limits: Limits,
    hasher: FixedState,
    sessions: Mutex<HashMap<ClientId, Arc<Session>, FixedState>>,
    retained: Mutex<Retained>,
    routes: RwLock<Routes>,
    /// Grows with every change of the routes; what was looked up before is out of date.
    generation: AtomicU64,
    timers: Mutex<Timers>,
    next_session: AtomicU64,
    counters: Counters,
}

/// Where a session differs from the configured limits.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionOptions {
    pub queue: Option<QueueLimits>,
    /// Deliveries above QoS 0 unsettled at a time.
    pub in_flight_max: Option<u16>,
}

/// How many there are at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connected or not, bridges included.
    pub sessions: usize,
    pub subscriptions: usize,
    pub shared_subscriptions: usize,
    /// Different filters that somebody subscribed to.
    pub filters: usize,
    pub retained: usize,
}

/// Both clocks at one moment: the steady one for durations, the wall clock for people.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub instant: Instant,
    pub unix_millis: u64,
}

impl Bus {
    /// `seed` makes the hashing of topics unpredictable; the same seed gives the same behaviour.
    pub fn new(limits: Limits, seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            limits,
            sessions: Mutex::new(HashMap::with_hasher(hasher.clone())),
            retained: Mutex::default(),
            routes: RwLock::new(Routes::new(hasher.clone())),
            generation: AtomicU64::new(1),
            timers: Mutex::default(),
            next_session: AtomicU64::new(1),
            counters: Counters::new(),
            hasher,
        }
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A cache for one publishing thread.
    pub fn route_cache(&self) -> RouteCache {
        RouteCache::new(self.limits.route_cache_topics_max, self.hasher.clone())
    }

    /// Opens a session under `client_id`, or resumes it; whoever holds it loses it.
    pub fn open(
        &self,
        moment: Moment,
        client_id: ClientId,
        open: Open,
        options: SessionOptions,
        notify: Arc<dyn Notify>,
    ) -> Result<(Attachment, Opened), Reason> {
        let expiry = self.grant(open.expiry);
        let window_max = options.in_flight_max.unwrap_or(self.limits.in_flight_max);
        let window = open.receive_maximum.clamp(1, window_max.max(1));
        let mut sessions = self.sessions.lock();
        let previous = sessions.get(&client_id).cloned();
        if previous.is_none() && sessions.len() >= self.limits.sessions_max {
            return Err(Reason::QuotaExceeded);
        }
        // A session that was to end with its connection is not taken over but ended, even if its
        // connection still stands ([MQTT-3.1.2-6] of 3.1.1, MQTT 5.0 section 3.1.2.11.2).
        let session_present = !open.clean_start
            && previous.as_ref().is_some_and(|session| session.state.lock().expiry != Expiry::Immediately);
        let mut wills = Vec::new();
        let mut took_over = false;
        let session = match previous {
            Some(session) if session_present => session,
            previous => {
                if let Some(previous) = previous {
                    let will;
                    (took_over, will) = self.end(&previous);
                    wills.extend(will);
                }
                let number = self.next_session.fetch_add(1, Ordering::Relaxed);
                let outbox = Outbox::new(window, options.queue.unwrap_or(self.limits.queue));
                let session = Arc::new(Session::new(client_id.clone(), number, outbox));
                sessions.insert(client_id.clone(), session.clone());
                self.counters.add(Counter::SessionsOpened, 1);
                session
            }
        };
        let (attachment, held) = {
            let mut state = session.state.lock();
            if session_present {
                took_over = state.is_attached();
                wills.extend(self.take_over(&mut state));
                self.counters.add(Counter::SessionsResumed, 1);
            }
            state.will = open.will;
            state.expiry = expiry;
            let held = state.held.iter().copied().collect();
            (session.attach(&mut state, notify, window, took_over), held)
        };
        drop(sessions);
        wills.into_iter().for_each(|will| self.publish_will(moment, &client_id, *will));
        Ok((attachment, Opened { client_id, session_present, expiry, held, authentication_data: None }))
    }

    /// The connection ends. Void attachments change nothing; whether this one was not.
    pub fn detach(
        &self,
        moment: Moment,
        attachment: &Attachment,
        publish_will: bool,
        expiry: Option<Expiry>,
    ) -> bool {
        let session = &attachment.session;
        let mut state = session.state.lock();
        if !attachment.holds(&state) {
            return false;
        }
        state.release();
        if let Some(expiry) = expiry {
            state.expiry = self.grant(expiry);
        }
        let will = state.will.take().filter(|_| publish_will);
        let expiry = state.expiry;
        if expiry == Expiry::Immediately {
            drop(state);
            self.remove(session);
            will.into_iter().for_each(|will| self.publish_will(moment, &session.client_id, *will));
            return true;
        }
        if !state.outbox.limits.store_qos0 {
            let gone = state.outbox.clear_qos0();
            self.counters.add_dropped(DropReason::Offline, gone.into());
        }
        let now_due = match will {
            Some(will) if !will.delay.is_zero() => {
                state.deadlines.get_or_insert_default().will = Some(moment.instant + will.delay);
                state.will = Some(will);
                None
            }
            will => will,
        };
        if let Expiry::After(expiry) = expiry {
            state.deadlines.get_or_insert_default().expiry = Some(moment.instant + expiry);
        }
        if let Some(deadlines) = &mut state.deadlines {
            self.timers.lock().arm(session, deadlines);
        }
        drop(state);
        now_due.into_iter().for_each(|will| self.publish_will(moment, &session.client_id, *will));
        true
    }

    /// Adds subscriptions and queues the retained messages they ask for. One reason each: the
    /// granted QoS, or an error.
    pub fn subscribe(
        &self,
        now: Instant,
        attachment: &Attachment,
        subscriptions: Vec<Subscription>,
    ) -> Vec<Reason> {
        subscriptions
            .into_iter()
            .map(|subscription| self.subscribe_one(now, attachment, subscription))
            .collect()
    }

    /// One reason each: `Success`, or `NoSubscriptionExisted`.
    pub fn unsubscribe(&self, attachment: &Attachment, filters: &[TopicFilter]) -> Vec<Reason> {
        let session = &attachment.session;
        filters
            .iter()
            .map(|filter| {
                let mut routes = self.routes.write();
                let mut state = session.state.lock();
                if !attachment.holds(&state) {
                    return Reason::NoSubscriptionExisted;
                }
                if !state.subscriptions.remove(filter) {
                    return Reason::NoSubscriptionExisted;
                }
                drop(state);
                routes.unsubscribe(filter, session);
                self.generation.fetch_add(1, Ordering::Release);
                Reason::Success
            })
            .collect()
    }

    /// The retained messages of a filter, at most `limit`.
    pub fn retained(&self, now: Instant, filter: &TopicFilter, limit: usize) -> Vec<Arc<Message>> {
        self.retained.lock().read(filter, now, limit)
    }

    /// Takes a message in and gives every matching session its copy.
    pub fn publish(
        &self,
        moment: Moment,
        publisher: &Attachment,
        publish: Publish,
        cache: &mut RouteCache,
    ) -> Reason {
        if publish.retain {
            return self.publish_retained(moment, publisher.client_id(), publish);
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
        if publish.retain {
            return self.publish_retained(moment, publisher, publish);
        }
        let route = self.routes.read().route(&publish.topic);
        self.counters.add(Counter::Accepted, 1);
        self.dispatch(&make(moment, publisher.clone(), publish), &route)
    }

    /// Does what has become due; returns when to call again, if anything waits.
    pub fn poll(&self, moment: Moment) -> Option<Instant> {
        self.tidy_timers();
        loop {
            let mut timers = self.timers.lock();
            let Some((at, session)) = timers.pop(moment.instant) else { return timers.next() };
            drop(timers);
            let Some(session) = session.upgrade() else { continue };
            let mut state = session.state.lock();
            let Some((will_is_due, is_expired)) = state.look(at, moment.instant) else { continue };
            // A session that ends is the last moment for its will (MQTT 5.0 section 3.1.2.5).
            let will = if will_is_due || is_expired { state.will.take() } else { None };
            if let (false, Some(deadlines)) = (is_expired, &mut state.deadlines) {
                self.timers.lock().arm(&session, deadlines);
            }
            drop(state);
            if is_expired {
                self.remove(&session);
            }
            will.into_iter().for_each(|will| self.publish_will(moment, &session.client_id, *will));
        }
    }

    /// Lets a publishing thread's cache go of routes that are out of date.
    pub fn trim(&self, cache: &mut RouteCache) {
        cache.forget_before(self.generation.load(Ordering::Acquire));
    }

    /// A look at every session, one after the other: no moment of the whole.
    pub fn sessions(&self) -> Vec<SessionView> {
        let sessions: Vec<_> = self.sessions.lock().values().cloned().collect();
        sessions.iter().map(|session| session.view()).collect()
    }

    pub fn subscription_count(&self) -> usize {
        self.routes.read().count()
    }

    /// What there is, counted without a look at each.
    pub fn totals(&self) -> Totals {
        let sessions = self.sessions.lock().len();
        let (retained, _) = self.retained_size();
        let routes = self.routes.read();
        Totals {
            sessions,
            retained,
            subscriptions: routes.count(),
            shared_subscriptions: routes.shared(),
            filters: routes.filters(),
        }
    }

    /// Whether anybody may be interested in the gateway's own topics, which begin with `$`.
    pub fn reads_reserved(&self) -> bool {
        self.routes.read().reserved() > 0
    }

    /// Whether any subscription matches the topic: what costs something to make need not be made for
    /// nobody.
    pub fn is_wanted(&self, topic: &str) -> bool {
        self.routes.read().wants(topic)
    }

    /// Retained messages and their bytes.
    pub fn retained_size(&self) -> (usize, usize) {
        let retained = self.retained.lock();
        (retained.count(), retained.bytes())
    }

    #[cfg(test)]
    pub(crate) fn timer_count(&self) -> usize {
        self.timers.lock().len()
    }

    /// Keeps of a crowd of timers those that still count.
    fn tidy_timers(&self) {
        let sessions = self.sessions.lock().len();
        let crowd = self.timers.lock().take_crowd(sessions);
        for (at, session) in crowd {
            let counts = |session: &Arc<Session>| {
                let state = session.state.lock();
                state.deadlines.as_ref().is_some_and(|deadlines| deadlines.armed == Some(at))
            };
            if session.upgrade().as_ref().is_some_and(counts) {
                self.timers.lock().put(at, session);
            }
        }
    }

    fn grant(&self, expiry: Expiry) -> Expiry {
        match (expiry, self.limits.session_expiry_max) {
            (Expiry::After(wish), _) if wish.is_zero() => Expiry::Immediately,
            (Expiry::After(wish), Some(max)) => Expiry::After(wish.min(max)),
            (Expiry::Never, Some(max)) => Expiry::After(max),
            (expiry, _) => expiry,
        }
    }

    /// The connection of a session that goes on is replaced. A will is due unless it may wait for
    /// exactly this (MQTT 5.0 section 3.1.3.2.2).
    fn take_over(&self, state: &mut State) -> Option<Box<Will>> {
        let will = state.will.take();
        if !state.evict(Reason::SessionTakenOver) {
            return None;
        }
        self.counters.add(Counter::SessionsTakenOver, 1);
        will.filter(|will| will.delay.is_zero())
    }

    fn remove(&self, session: &Arc<Session>) {
        {
            let mut sessions = self.sessions.lock();
            let is_current = |present: &Arc<Session>| Arc::ptr_eq(present, session);
            if sessions.get(&session.client_id).is_some_and(is_current) {
                // Between the moment that made it due and this lock it may have been resumed.
                if session.state.lock().is_attached() {
                    return;
                }
                sessions.remove(&session.client_id);
            }
        }
        self.end(session);
    }

    /// Ends a session: subscriptions, queue and all. Whether a connection held it, and its will, if
    /// that is still due.
    fn end(&self, session: &Arc<Session>) -> (bool, Option<Box<Will>>) {
        let (filters, will, took_over) = {
            let mut state = session.state.lock();
            if state.ended {
                return (false, None);
            }
            state.ended = true;
            let took_over = state.evict(Reason::SessionTakenOver);
            if took_over {
                self.counters.add(Counter::SessionsTakenOver, 1);
            }
            self.counters.add_dropped(DropReason::SessionEnded, state.outbox.clear().into());
            (std::mem::take(&mut state.subscriptions).into_filters(), state.will.take(), took_over)
        };
        self.counters.add(Counter::SessionsEnded, 1);
        if !filters.is_empty() {
            let mut routes = self.routes.write();
            filters.iter().for_each(|filter| routes.unsubscribe(filter, session));
            self.generation.fetch_add(1, Ordering::Release);
        }
        (took_over, will)
    }

    fn subscribe_one(&self, now: Instant, attachment: &Attachment, subscription: Subscription) -> Reason {
        let session = &attachment.session;
        let granted = match subscription.qos {
            Qos::AtMostOnce => Reason::Success,
            Qos::AtLeastOnce => Reason::GrantedQos1,
            Qos::ExactlyOnce => Reason::GrantedQos2,
        };
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
        state.subscriptions.insert(subscription.clone());
        // A group, once locked, looks at its members: no session may be locked around it.
        drop(state);
        let subscriber = Subscriber::new(session.clone(), &subscription);
        let identifiers = subscriber.identifiers();
        routes.subscribe(&subscription.filter, subscriber);
        self.generation.fetch_add(1, Ordering::Release);
        drop(routes);
        let wants_retained = match subscription.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        if !wants_retained || subscription.filter.group().is_some() || retained.count() == 0 {
            return granted;
        }
        let mut state = session.state.lock();
        if !attachment.holds(&state) {
            return granted;
        }
        for message in retained.read(&subscription.filter, now, state.outbox.replay_room()) {
            if subscription.no_local && message.publisher == session.client_id {
                continue;
            }
            let qos = state.effective_qos(message.qos, subscription.qos);
            let queued =
                Queued { message, identifiers: identifiers.clone(), qos, retain: true, replayed: true };
            self.counters.add(Counter::Matched, 1);
            if let Some((reason, count)) = state.push(queued) {
                self.counters.add_dropped(reason, count.into());
            }
        }
        granted
    }

    fn publish_retained(&self, moment: Moment, publisher: &ClientId, publish: Publish) -> Reason {
        let limits = &self.limits;
        if publish.payload.len() > limits.retained_payload_bytes_max {
            self.counters.add(Counter::Refused, 1);
            return Reason::QuotaExceeded;
        }
        let message = make(moment, publisher.clone(), publish);
        let mut retained = self.retained.lock();
        let stored =
            retained.store(&message, moment.instant, limits.retained_messages_max, limits.retained_bytes_max);
        if stored.is_error() {
            self.counters.add(Counter::Refused, 1);
            return stored;
        }
        self.counters.add(Counter::Accepted, 1);
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
                &self.counters,
            );
        }
        for group in &route.groups {
            let Some(member) = group.choose() else { continue };
            matched += 1;
            let retain = message.retain && member.retain_as_published;
            member.session.push_message(message, member.qos, retain, member.identifiers(), &self.counters);
        }
        if matched == 0 {
            self.counters.add(Counter::Unrouted, 1);
            return Reason::NoMatchingSubscribers;
        }
        self.counters.add(Counter::Matched, matched);
        Reason::Success
    }

    fn publish_will(&self, moment: Moment, client_id: &ClientId, will: Will) {
        self.counters.add(Counter::WillsPublished, 1);
        self.publish_as(moment, client_id, will.publish);
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
    })
}
