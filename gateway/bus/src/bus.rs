use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::fast::FixedState;
use gateway_model::{Deliveries, DeliveryId, Moment, Outgoing, Reason, Settled, Settlement};
use gateway_store::{Memory, Record, Store};

use crate::audit::Suspicion;
use crate::budget::Budget;
use crate::delayed::Delayed;
use crate::group::{Group, Rules};
use crate::lock::{Mutex, RwLock};
use crate::outbox::Changes;
use crate::outbox::Lookups;
use crate::priorities::Priorities;
use crate::retained::Retained;
use crate::routes::Routes;
use crate::session::Named;
use crate::timers::Timers;
use crate::turn::Turn;
use crate::unread::Unread;
use crate::{
    Attachment, ClientDrops, Counters, Drained, Limits, Promise, QueueLimits, RouteCache, Session,
    SessionView,
};

/// Sessions, routes and retained messages, and the one way in: [`Bus::publish`].
pub struct Bus {
    pub(crate) limits: Limits,
    pub(crate) store: Arc<dyn Store>,
    /// The store keeps something.
    pub(crate) keeps: bool,
    hasher: FixedState,
    pub(crate) sessions: Mutex<Sessions>,
    /// Those of them that the log knows, by number. Locked alone.
    pub(crate) durable: Mutex<HashMap<u64, Arc<Session>, FixedState>>,
    pub(crate) retained: Mutex<Retained>,
    pub(crate) routes: RwLock<Routes>,
    /// Grows with every change of the routes; what was looked up before is out of date.
    pub(crate) generation: AtomicU64,
    pub(crate) timers: Mutex<Timers>,
    /// Locked alone, as is `watched`.
    pub(crate) delayed: Mutex<Delayed>,
    pub(crate) budget: Budget,
    /// What cleaning has looked up: the last lock of all.
    pub(crate) lookups: Mutex<Lookups>,
    pub(crate) rules: Rules,
    /// Groups with members that may hang, or with messages that wait for room.
    pub(crate) watched: Mutex<Vec<Arc<Group>>>,
    /// Locked alone.
    pub(crate) unread: Mutex<Unread>,
    pub(crate) next_session: AtomicU64,
    /// A moment that is not long ago, for those who have none. Locked alone.
    clock: Mutex<Option<Moment>>,
    /// Locked alone.
    pub(crate) suspicion: Mutex<Suspicion>,
    pub(crate) counters: Counters,
}

pub(crate) type Sessions = HashSet<Named, FixedState>;

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
pub(crate) const REVIEW_EVERY: Duration = Duration::from_secs(1);

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
        let budget = Budget::new(limits.queues_bytes_max);
        Self {
            limits,
            store: Arc::new(Memory),
            keeps: false,
            durable: Mutex::new(HashMap::with_hasher(hasher.clone())),
            clock: Mutex::default(),
            sessions: Mutex::new(HashSet::with_hasher(hasher.clone())),
            retained: Mutex::default(),
            routes: RwLock::new(Routes::new(hasher.clone(), priorities)),
            generation: AtomicU64::new(1),
            timers: Mutex::default(),
            delayed: Mutex::default(),
            budget,
            lookups: Mutex::default(),
            rules,
            watched: Mutex::default(),
            unread: Mutex::default(),
            next_session: AtomicU64::new(1),
            suspicion: Mutex::default(),
            counters: Counters::new(hasher.clone()),
            hasher,
        }
    }

    /// The same, with a store for what is to outlive the process.
    pub fn with_store(self, store: Arc<dyn Store>) -> Self {
        let keeps = store.begin().is_some();
        Self { store, keeps, ..self }
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

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A cache for one publishing thread.
    pub fn route_cache(&self) -> RouteCache {
        RouteCache::new(self.limits.route_cache_topics_max, self.hasher.clone())
    }

    /// Lets `drain` pull from the outbox, unless the attachment is void: then it says why.
    pub fn deliver(
        &self,
        attachment: &Attachment,
        drain: impl FnOnce(&mut dyn Deliveries),
    ) -> Result<Drained, Reason> {
        attachment.deliver(&self.counters, &mut self.turn(), drain)
    }

    /// Takes one delivery, for a receiver that goes message by message (a bridge).
    pub fn next(&self, attachment: &Attachment, now: Instant) -> Result<Option<Outgoing>, Reason> {
        let mut next = None;
        self.deliver(attachment, |outbox| next = outbox.next(now))?;
        Ok(next)
    }

    /// Says what became of a delivery.
    ///
    /// The log hears of it when the session has changed: whoever queues a copy has the log until its
    /// record is written, so that nothing is settled there before it is known. Only what is received
    /// has the log from the beginning, as another connection that takes the session over meanwhile
    /// must not release what the log does not know to be received.
    pub fn settle(
        &self,
        attachment: &Attachment,
        id: DeliveryId,
        settlement: Settlement,
    ) -> Promise<Settled> {
        let session = &attachment.session;
        if !session.is_durable() {
            let changes = &mut Changes::nowhere();
            return Promise::now(attachment.settle(&self.counters, changes, id, settlement));
        }
        let mut turn = self.turn();
        if settlement == Settlement::Received {
            turn.begin();
        }
        let settled = attachment.settle(&self.counters, &mut turn.changes, id, settlement);
        turn.collect(session);
        if let Some(ordinal) = turn.changes.received.take() {
            turn.append(&Record::Received { session: session.number, ordinal });
        }
        turn.promise(settled)
    }

    /// Forgets an identifier of the peer's exactly-once publishes.
    pub fn release(&self, attachment: &Attachment, id: NonZeroU16) -> Promise<()> {
        let session = &attachment.session;
        let mut turn = self.turn_of(session);
        if attachment.release(id) {
            turn.append(&Record::Released { session: session.number, id });
        }
        turn.promise(())
    }

    /// Keeps what a protocol wants kept with its session, as long as that lasts.
    pub fn keep(&self, attachment: &Attachment, bytes: Bytes) -> Promise<()> {
        let session = &attachment.session;
        if !session.is_durable() {
            // It would end with the process as the session does.
            return Promise::now(());
        }
        let mut turn = self.turn_of(session);
        if attachment.keep(&bytes) {
            turn.append(&Record::Kept { session: session.number, bytes });
        }
        turn.promise(())
    }

    /// Does what has become due; returns when to call again, if anything waits.
    pub fn poll(&self, moment: Moment) -> Option<Instant> {
        self.set_clock(moment);
        self.end_waiting(moment);
        let postponed = self.release_delayed(moment);
        self.review_groups(moment);
        let write = self.write_retained(moment);
        let unread = self.read_again(moment);
        let watch = (!self.watched.lock().is_empty()).then(|| moment.instant + REVIEW_EVERY);
        let timer = self.timers.lock().next();
        let delayed = postponed.or_else(|| self.delayed.lock().next().map(|next| next.due));
        [timer, delayed, watch, write, unread].into_iter().flatten().min()
    }

    /// Makes room in the store, if that is worth it; whether there is more to do. For a thread that has
    /// time, one at a time.
    pub fn clean(&self) -> bool {
        let is_more = self.store.clean(self);
        self.lookups.lock().clear();
        is_more
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

    /// What one call does to the store. It must be the first thing that the call makes.
    #[inline]
    pub(crate) fn turn(&self) -> Turn<'_> {
        Turn::new(self)
    }

    /// The same for what the log has to know of a session: with the log, if it knows the session.
    pub(crate) fn turn_of(&self, session: &Session) -> Turn<'_> {
        let mut turn = self.turn();
        if session.is_durable() {
            turn.begin();
        }
        turn
    }

    pub(crate) fn set_clock(&self, moment: Moment) {
        if self.keeps {
            *self.clock.lock() = Some(moment);
        }
    }

    pub(crate) fn clock(&self) -> Option<Moment> {
        *self.clock.lock()
    }

    #[cfg(test)]
    pub(crate) fn timer_count(&self) -> usize {
        self.timers.lock().len()
    }
}
