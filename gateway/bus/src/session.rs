use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_model::{
    ClientId, Deliveries, DeliveryId, Expiry, Identifiers, Message, Notify, Qos, Reason, Settled, Settlement,
    Will,
};
use gateway_store::{Place, Store};
use parking_lot::Mutex;

use crate::outbox::{Changes, Drain, Entry, Outbox};
use crate::subscriptions::Subscriptions;
use crate::timers::Deadlines;
use crate::{Counter, Counters, DropReason};

/// Identity, subscriptions, outbox, will and expiry: whatever receives messages.
pub struct Session {
    pub client_id: ClientId,
    /// Unique for the life of the bus; orders sessions within a route.
    pub(crate) number: u64,
    pub(crate) state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) outbox: Outbox,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) will: Option<Box<Will>>,
    expiry: Lifetime,
    /// See [`crate::SessionOptions::owner`].
    pub(crate) owner: u32,
    /// Identifiers of exactly-once publishes received and not yet released; boxed, as most sessions
    /// never have any.
    #[allow(clippy::box_collection)]
    held: Option<Box<BTreeSet<NonZeroU16>>>,
    /// What waits while the session is away; none for most.
    pub(crate) deadlines: Option<Box<Deadlines>>,
    /// The connection that holds the session; `None` while it is away.
    notify: Option<Arc<dyn Notify>>,
    /// Counts attachments, so that a connection that lost the session cannot touch it.
    pub(crate) epoch: u32,
    /// The connection knows that there is something to deliver.
    notified: bool,
    /// Removed from the bus; nothing may be queued any more.
    pub(crate) ended: bool,
    /// Why the connection with the previous epoch lost the session.
    evicted: Option<Reason>,
}

/// An [`Expiry`] in half the space: milliseconds, with the largest number for ever.
#[derive(Clone, Copy)]
struct Lifetime(u64);

/// A session among others, found by its name.
pub(crate) struct Named(pub(crate) Arc<Session>);

/// A connection's hold on a session. Void as soon as another connection takes it over.
#[derive(Clone)]
pub struct Attachment {
    pub session: Arc<Session>,
    epoch: u32,
    /// Another connection held the session, or the one of that name before it.
    pub took_over: bool,
}

/// What came of a turn with an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Messages that still wait.
    pub left: usize,
    /// Messages handed out, by QoS.
    pub sent: [u32; 3],
    /// What is next waits until the store is durable up to here; [`Place::NOWHERE`] if it does not.
    pub waits_for: Place,
}

/// A look at one session, for metrics and the admin page.
#[derive(Clone, Debug)]
pub struct SessionView {
    pub client_id: ClientId,
    pub connected: bool,
    pub subscriptions: usize,
    pub queued: usize,
    pub queue_bytes: usize,
    pub in_flight: usize,
    pub unaccounted: u32,
}

impl Session {
    pub(crate) fn new(client_id: ClientId, number: u64, outbox: Outbox) -> Self {
        let state = State {
            outbox,
            subscriptions: Subscriptions::default(),
            will: None,
            expiry: Lifetime::from(Expiry::Immediately),
            owner: 0,
            held: None,
            deadlines: None,
            notify: None,
            epoch: 0,
            notified: false,
            ended: false,
            evicted: None,
        };
        Self { client_id, number, state: Mutex::new(state) }
    }

    /// Queues one copy and wakes the connection if it does not know yet.
    pub(crate) fn push_message(
        &self,
        message: &Arc<Message>,
        qos_max: Qos,
        retain: bool,
        identifiers: Identifiers,
        priority: u8,
        counters: &Counters,
    ) {
        let mut state = self.state.lock();
        let qos = state.effective_qos(message.qos, qos_max);
        let entry = Entry::new(message.clone(), identifiers, qos, retain, priority);
        if let Some((reason, count)) = state.push(entry) {
            drop(state);
            // What makes room for it may be of another topic.
            let topic = (reason != DropReason::QueueFull).then_some(&message.topic);
            counters.add_dropped(&self.client_id, topic, reason, count);
        }
    }

    pub fn view(&self) -> SessionView {
        let state = self.state.lock();
        SessionView {
            client_id: self.client_id.clone(),
            connected: state.notify.is_some(),
            subscriptions: state.subscriptions.len(),
            queued: state.outbox.queued(),
            queue_bytes: state.outbox.queue_bytes(),
            in_flight: state.outbox.unsettled(),
            unaccounted: state.outbox.unaccounted(),
        }
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.state.lock().notify.is_some()
    }

    /// Takes the session from whoever holds it and gives it to `notify`.
    pub(crate) fn attach(
        self: &Arc<Self>,
        state: &mut State,
        notify: Arc<dyn Notify>,
        window: u16,
        took_over: bool,
    ) -> Attachment {
        state.evict(Reason::SessionTakenOver);
        state.notify = Some(notify);
        state.evicted = None;
        if let Some(deadlines) = &mut state.deadlines {
            (deadlines.will, deadlines.expiry) = (None, None);
        }
        state.outbox.restart(window);
        state.notified = false;
        state.wake();
        Attachment { session: self.clone(), epoch: state.epoch, took_over }
    }
}

impl State {
    pub(crate) fn is_attached(&self) -> bool {
        self.notify.is_some()
    }

    pub(crate) fn expiry(&self) -> Expiry {
        self.expiry.into()
    }

    pub(crate) fn set_expiry(&mut self, expiry: Expiry) {
        self.expiry = expiry.into();
    }

    /// A session that was to end with its connection is not taken over but ended, even if its
    /// connection still stands ([MQTT-3.1.2-6] of 3.1.1, MQTT 5.0 section 3.1.2.11.2). So is that of
    /// another owner: its subscriptions and its queue may hold what this one has no right to.
    pub(crate) fn may_be_resumed_by(&self, owner: u32) -> bool {
        self.expiry() != Expiry::Immediately && self.owner == owner
    }

    pub(crate) fn held(&self) -> Vec<NonZeroU16> {
        self.held.iter().flat_map(|held| held.iter().copied()).collect()
    }

    /// The lower of both (MQTT 5.0 section 3.8.4), unless the session has it upgraded.
    pub(crate) fn effective_qos(&self, published: Qos, subscribed: Qos) -> Qos {
        if self.outbox.limits().upgrade_qos { subscribed } else { published.min(subscribed) }
    }

    #[inline]
    pub(crate) fn push(&mut self, queued: Entry) -> Option<(DropReason, u32)> {
        let outbox = &mut self.outbox;
        if self.ended {
            outbox.reject();
            return Some((DropReason::SessionEnded, 1));
        }
        if self.notify.is_none() && queued.qos == Qos::AtMostOnce && !outbox.limits().store_qos0 {
            outbox.reject();
            return Some((DropReason::Offline, 1));
        }
        let dropped = outbox.push(queued, &mut Changes::nowhere()).dropped;
        self.wake();
        dropped
    }

    /// Takes in what another member of a group had. Returns what was dropped of it, and why.
    pub(crate) fn merge(&mut self, mut copies: Vec<Entry>) -> [(DropReason, u32); 2] {
        debug_assert!(!self.ended, "nothing comes back from a session that has ended");
        let all = copies.len();
        if self.notify.is_none() && !self.outbox.limits().store_qos0 {
            copies.retain(|copy| copy.qos > Qos::AtMostOnce);
        }
        let rejected = (all - copies.len()) as u32;
        self.outbox.lose(rejected);
        let over = self.outbox.merge(copies, &mut Changes::nowhere(), &mut |_| {});
        self.wake();
        [(DropReason::Offline, rejected), (DropReason::QueueFull, over)]
    }

    /// What waits at QoS 0 goes unless it is to be stored; returns how much that was.
    pub(crate) fn forget_qos0(&mut self) -> u32 {
        if self.outbox.limits().store_qos0 { 0 } else { self.outbox.clear_qos0(&mut Changes::nowhere()) }
    }

    fn wake(&mut self) {
        if !self.notified
            && self.outbox.backlog() > 0
            && let Some(notify) = &self.notify
        {
            self.notified = true;
            notify.notify();
        }
    }

    /// Whether a connection held the session. It is told, and its attachment becomes void.
    pub(crate) fn evict(&mut self, reason: Reason) -> bool {
        self.epoch = self.epoch.wrapping_add(1);
        self.evicted = Some(reason);
        let previous = self.notify.take();
        if let Some(notify) = &previous {
            notify.notify();
        }
        previous.is_some()
    }

    /// The timers' entry of `at` has come up: whether the will is due, and whether the session is
    /// over. `None` if the entry no longer counts, or nothing waits any more.
    pub(crate) fn look(&mut self, at: Instant, now: Instant) -> Option<(bool, bool)> {
        let deadlines = self.deadlines.as_mut().filter(|deadlines| deadlines.armed == Some(at))?;
        deadlines.armed = None;
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let due = (is_due(deadlines.will), is_due(deadlines.expiry));
        if due.0 {
            deadlines.will = None;
        }
        if deadlines.next().is_none() {
            self.deadlines = None;
        }
        (!self.ended && self.notify.is_none()).then_some(due)
    }

    /// The connection lets go by itself.
    pub(crate) fn release(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.outbox.forget_withdrawn();
        self.notify = None;
        self.notified = false;
    }
}

impl Attachment {
    pub fn client_id(&self) -> &ClientId {
        &self.session.client_id
    }

    pub(crate) fn deliver(
        &self,
        counters: &Counters,
        store: &Arc<dyn Store>,
        drain: impl FnOnce(&mut dyn Deliveries),
    ) -> Result<Drained, Reason> {
        let mut state = self.session.state.lock();
        if state.epoch != self.epoch {
            return Err(state.evicted.unwrap_or(Reason::SessionTakenOver));
        }
        state.notified = false;
        let mut changes = Changes::new(store);
        let mut turn = Drain::new(&mut state.outbox, &mut changes);
        drain(&mut turn);
        let Drain { delivered, expired, sent, refused, waits_for, .. } = turn;
        state.outbox.rest();
        let left = state.outbox.queued();
        drop(state);
        if delivered > 0 {
            counters.add(Counter::Delivered, delivered.into());
        }
        if let Some((reason, count)) = refused {
            counters.add_dropped(self.client_id(), None, DropReason::from_name(reason), count);
        }
        counters.add_dropped(self.client_id(), None, DropReason::Expired, expired);
        counters.add_dropped(self.client_id(), None, DropReason::Damaged, changes.damaged);
        Ok(Drained { left, sent, waits_for })
    }

    pub(crate) fn settle(&self, counters: &Counters, id: DeliveryId, settlement: Settlement) -> Settled {
        let mut state = self.session.state.lock();
        if state.epoch != self.epoch {
            return Settled::Unknown;
        }
        let before = state.outbox.settled();
        let settled = state.outbox.settle(id, settlement, &mut Changes::nowhere());
        // What another member of a group has now is counted there.
        let is_counted = state.outbox.settled() != before;
        if settled != Settled::Done {
            return settled;
        }
        if settlement == Settlement::Returned {
            state.wake();
        }
        drop(state);
        match settlement {
            _ if !is_counted => {}
            Settlement::Delivered | Settlement::Acknowledged | Settlement::Completed => {
                counters.add(Counter::Delivered, 1);
            }
            Settlement::Refused(_) => counters.add_dropped(self.client_id(), None, DropReason::Refused, 1),
            Settlement::Dropped(reason) => {
                counters.add_dropped(self.client_id(), None, DropReason::from_name(reason), 1);
            }
            Settlement::Received | Settlement::Returned => {}
        }
        settled
    }

    /// Remembers or forgets an identifier of the peer's exactly-once publishes.
    pub(crate) fn hold(&self, id: NonZeroU16, held: bool) {
        let mut state = self.session.state.lock();
        if state.epoch != self.epoch {
            return;
        }
        if held {
            state.held.get_or_insert_default().insert(id);
        } else if let Some(known) = &mut state.held {
            known.remove(&id);
        }
    }

    /// Why the attachment is void, if it is.
    pub fn evicted(&self) -> Option<Reason> {
        let state = self.session.state.lock();
        (state.epoch != self.epoch).then(|| state.evicted.unwrap_or(Reason::SessionTakenOver))
    }

    pub(crate) fn holds(&self, state: &State) -> bool {
        state.epoch == self.epoch
    }
}

impl From<Expiry> for Lifetime {
    fn from(expiry: Expiry) -> Self {
        match expiry {
            Expiry::Immediately => Self(0),
            // Rounded up, so that what is to last a moment does not end at once.
            Expiry::After(after) => {
                Self(u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
            }
            Expiry::Never => Self(u64::MAX),
        }
    }
}

impl From<Lifetime> for Expiry {
    fn from(lifetime: Lifetime) -> Self {
        match lifetime.0 {
            0 => Self::Immediately,
            u64::MAX => Self::Never,
            millis => Self::After(Duration::from_millis(millis)),
        }
    }
}

impl Borrow<ClientId> for Named {
    fn borrow(&self) -> &ClientId {
        &self.0.client_id
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.client_id.hash(state);
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.client_id == other.0.client_id
    }
}

impl Eq for Named {}

#[cfg(test)]
mod tests {
    use gateway_model::Subscription;

    use super::*;
    use crate::routes::Leaf;

    /// Idle sessions with a subscription are what there is most of: what each costs in the bus.
    #[test]
    fn an_idle_session_is_small() {
        let counts = 2 * size_of::<usize>();
        let session = size_of::<Session>() + counts;
        assert!(session <= 224, "{session} bytes for a session");
        let entries = size_of::<Named>() + size_of::<Arc<str>>() + size_of::<Leaf>();
        assert!(entries <= 48, "{entries} bytes in tables");
        assert!(size_of::<Subscription>() <= 32);
    }

    #[test]
    fn lifetimes_come_back() {
        for expiry in [Expiry::Immediately, Expiry::Never, Expiry::After(Duration::from_millis(1500))] {
            assert_eq!(Expiry::from(Lifetime::from(expiry)), expiry);
        }
        let brief = Expiry::from(Lifetime::from(Expiry::After(Duration::from_nanos(1))));
        assert_eq!(brief, Expiry::After(Duration::from_millis(1)));
    }
}
