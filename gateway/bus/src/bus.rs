use std::collections::HashSet;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::fast::FixedState;
use gateway_model::{
    ClientId, Deliveries, DeliveryId, Expiry, Moment, Notify, Open, Opened, Outgoing, Reason, Settled,
    Settlement, Will,
};
use gateway_store::{Memory, Store};
use parking_lot::{Mutex, RwLock};

use crate::audit::Suspicion;
use crate::delayed::Delayed;
use crate::group::{Group, Rules};
use crate::outbox::{Changes, Outbox};
use crate::priorities::Priorities;
use crate::retained::Retained;
use crate::routes::Routes;
use crate::session::{Named, State};
use crate::timers::Timers;
use crate::{
    Attachment, ClientDrops, Counter, Counters, Drained, DropReason, Limits, Promise, QueueLimits,
    RouteCache, Session, SessionView,
};

/// Sessions, routes and retained messages, and the one way in: [`Bus::publish`].
pub struct Bus {
    pub(crate) limits: Limits,
    pub(crate) store: Arc<dyn Store>,
    hasher: FixedState,
    sessions: Mutex<HashSet<Named, FixedState>>,
    pub(crate) retained: Mutex<Retained>,
    pub(crate) routes: RwLock<Routes>,
    /// Grows with every change of the routes; what was looked up before is out of date.
    pub(crate) generation: AtomicU64,
    timers: Mutex<Timers>,
    /// Locked alone, as is `watched`.
    pub(crate) delayed: Mutex<Delayed>,
    pub(crate) rules: Rules,
    /// Groups with members that may hang, or with messages that wait for room.
    pub(crate) watched: Mutex<Vec<Arc<Group>>>,
    next_session: AtomicU64,
    /// Locked alone.
    pub(crate) suspicion: Mutex<Suspicion>,
    pub(crate) counters: Counters,
}

/// Where a session differs from the configured limits.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionOptions {
    pub queue: Option<QueueLimits>,
    /// Deliveries above QoS 0 unsettled at a time.
    pub in_flight_max: Option<u16>,
    /// Whose it is, as a number that stands for a name; 0 is nobody's. Another owner does not resume
    /// it but begins anew.
    pub owner: u32,
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

/// How often groups are looked at whose members may hang.
const REVIEW_EVERY: Duration = Duration::from_secs(1);

/// How many filters of a session that ends are taken out of the routes under one lock.
const FILTERS_AT_A_TIME: usize = 256;

impl Bus {
    /// `seed` makes the hashing of topics unpredictable; the same seed gives the same behaviour.
    pub fn new(limits: Limits, seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        let priorities =
            Priorities::new(&limits.queue_priorities, limits.queue_priority_default, hasher.clone());
        let rules = Rules {
            sharing: limits.sharing,
            stall: limits.sharing_stall,
            ack: limits.sharing_ack,
            hasher: hasher.clone(),
        };
        Self {
            limits,
            store: Arc::new(Memory),
            sessions: Mutex::new(HashSet::with_hasher(hasher.clone())),
            retained: Mutex::default(),
            routes: RwLock::new(Routes::new(hasher.clone(), priorities)),
            generation: AtomicU64::new(1),
            timers: Mutex::default(),
            delayed: Mutex::default(),
            rules,
            watched: Mutex::default(),
            next_session: AtomicU64::new(1),
            suspicion: Mutex::default(),
            counters: Counters::new(hasher.clone()),
            hasher,
        }
    }

    /// The same, with a store for what is to outlive the process.
    pub fn with_store(self, store: Arc<dyn Store>) -> Self {
        Self { store, ..self }
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Who has lost what since this was asked last, a client at a time.
    pub fn collect_drops(&self, moment: Moment) -> Vec<ClientDrops> {
        self.counters.drops.collect(moment.unix_millis)
    }

    /// Who has lost what, the latest first, and how many clients are not remembered.
    pub fn drops(&self, moment: Moment) -> (Vec<ClientDrops>, u64) {
        self.counters.drops.all(moment.unix_millis)
    }

    pub(crate) fn count_dropped(&self, session: &Session, reason: DropReason, count: u32) {
        self.counters.add_dropped(&session.client_id, None, reason, count);
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
    ) -> Result<(Attachment, Promise<Opened>), Reason> {
        let expiry = self.grant(open.expiry);
        let window_max = options.in_flight_max.unwrap_or(self.limits.in_flight_max);
        let window = open.receive_maximum.clamp(1, window_max.max(1));
        let mut sessions = self.sessions.lock();
        let previous = sessions.get(&client_id).map(|named| named.0.clone());
        if previous.is_none() && sessions.len() >= self.limits.sessions_max {
            return Err(Reason::QuotaExceeded);
        }
        let resumes = |session: &Arc<Session>| session.state.lock().may_be_resumed_by(options.owner);
        let session_present = !open.clean_start && previous.as_ref().is_some_and(resumes);
        let mut wills = Vec::new();
        let mut took_over = false;
        let session = match previous {
            Some(session) if session_present => session,
            previous => {
                if let Some(previous) = previous {
                    let will;
                    (took_over, will) = self.end(&previous);
                    self.counters.add(Counter::SessionsDiscarded, 1);
                    wills.extend(will);
                }
                let number = self.next_session.fetch_add(1, Ordering::Relaxed);
                let outbox = Outbox::new(window, options.queue.unwrap_or(self.limits.queue), false);
                let session = Arc::new(Session::new(client_id.clone(), number, outbox));
                sessions.replace(Named(session.clone()));
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
            state.owner = options.owner;
            state.will = open.will;
            state.set_expiry(expiry);
            let held = state.held();
            (session.attach(&mut state, notify, window, took_over), held)
        };
        drop(sessions);
        if session_present {
            self.come_back(&session);
        }
        wills.into_iter().for_each(|will| self.publish_will(moment, &client_id, *will));
        let opened = Opened { client_id, session_present, expiry, held, authentication_data: None };
        Ok((attachment, Promise::now(opened)))
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
            state.set_expiry(self.grant(expiry));
        }
        let will = state.will.take().filter(|_| publish_will);
        let expiry = state.expiry();
        if expiry == Expiry::Immediately {
            drop(state);
            self.remove(session);
            will.into_iter().for_each(|will| self.publish_will(moment, &session.client_id, *will));
            return true;
        }
        // What others of a group may take goes to them first.
        let groups = state.outbox.groups();
        if groups.is_empty() {
            self.count_dropped(session, DropReason::Offline, state.forget_qos0());
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
        if !groups.is_empty() {
            self.hand_on(session, groups);
            let mut state = session.state.lock();
            if !state.is_attached() {
                self.count_dropped(session, DropReason::Offline, state.forget_qos0());
            }
        }
        now_due.into_iter().for_each(|will| self.publish_will(moment, &session.client_id, *will));
        true
    }

    /// Lets `drain` pull from the outbox, unless the attachment is void: then it says why.
    pub fn deliver(
        &self,
        attachment: &Attachment,
        drain: impl FnOnce(&mut dyn Deliveries),
    ) -> Result<Drained, Reason> {
        attachment.deliver(&self.counters, &self.store, drain)
    }

    /// Takes one delivery, for a receiver that goes message by message (a bridge).
    pub fn next(&self, attachment: &Attachment, now: Instant) -> Result<Option<Outgoing>, Reason> {
        let mut next = None;
        self.deliver(attachment, |outbox| next = outbox.next(now))?;
        Ok(next)
    }

    /// Says what became of a delivery.
    pub fn settle(
        &self,
        attachment: &Attachment,
        id: DeliveryId,
        settlement: Settlement,
    ) -> Promise<Settled> {
        Promise::now(attachment.settle(&self.counters, id, settlement))
    }

    /// Forgets an identifier of the peer's exactly-once publishes.
    pub fn release(&self, attachment: &Attachment, id: NonZeroU16) -> Promise<()> {
        attachment.hold(id, false);
        Promise::now(())
    }

    /// Keeps what a protocol wants kept with its session, as long as that lasts.
    pub fn keep(&self, attachment: &Attachment, bytes: Bytes) -> Promise<()> {
        let _ = (attachment, bytes);
        Promise::now(())
    }

    /// Does what has become due; returns when to call again, if anything waits.
    pub fn poll(&self, moment: Moment) -> Option<Instant> {
        self.tidy_timers();
        self.end_waiting(moment);
        self.release_delayed(moment);
        self.review_groups(moment);
        let watch = (!self.watched.lock().is_empty()).then(|| moment.instant + REVIEW_EVERY);
        let (timer, delayed) = (self.timers.lock().next(), self.delayed.lock().next());
        [timer, delayed, watch].into_iter().flatten().min()
    }

    /// Lets a publishing thread's cache go of routes that are out of date.
    pub fn trim(&self, cache: &mut RouteCache) {
        cache.forget_before(self.generation.load(Ordering::Acquire));
    }

    /// A look at every session, one after the other: no moment of the whole.
    pub fn sessions(&self) -> Vec<SessionView> {
        let sessions: Vec<_> = self.sessions.lock().iter().map(|named| named.0.clone()).collect();
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

    /// Publishes held back by `$delayed/`, and their bytes.
    pub fn delayed_size(&self) -> (usize, usize) {
        let delayed = self.delayed.lock();
        (delayed.count(), delayed.bytes())
    }

    #[cfg(test)]
    pub(crate) fn timer_count(&self) -> usize {
        self.timers.lock().len()
    }

    /// Publishes wills and ends sessions whose time has come.
    fn end_waiting(&self, moment: Moment) {
        loop {
            let next = self.timers.lock().pop(moment.instant);
            let Some((at, session)) = next else { return };
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
            let is_current = |present: &Named| Arc::ptr_eq(&present.0, session);
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
        let (filters, will, took_over, left) = {
            let mut state = session.state.lock();
            if state.ended {
                return (false, None);
            }
            state.ended = true;
            let took_over = state.evict(Reason::SessionTakenOver);
            if took_over {
                self.counters.add(Counter::SessionsTakenOver, 1);
            }
            let mut changes = Changes::nowhere();
            let left = state.outbox.take_shared(&mut changes);
            self.count_dropped(session, DropReason::SessionEnded, state.outbox.clear(&mut changes));
            let filters = std::mem::take(&mut state.subscriptions).into_filters();
            (filters, state.will.take(), took_over, left)
        };
        self.counters.add(Counter::SessionsEnded, 1);
        // Others look up routes in between: there may be a hundred thousand filters.
        for some in filters.chunks(FILTERS_AT_A_TIME) {
            let mut routes = self.routes.write();
            some.iter().for_each(|filter| routes.unsubscribe(filter, session));
            self.generation.fetch_add(1, Ordering::Release);
        }
        self.bequeath(session, left);
        (took_over, will)
    }
}
