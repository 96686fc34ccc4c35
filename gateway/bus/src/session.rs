use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_model::{ClientId, Expiry, Message, Moment, Notifier, NotifyMany, Qos, Testament, Tick, Will};
use gateway_store::{Away, Copy, SessionRecord, Shared};

use crate::budget::Budget;
use crate::lock::{Mutex, MutexGuard};
use crate::outbox::{Changes, Entry, Outbox, Pushed};
use crate::routes::Target;
use crate::subscriptions::Subscriptions;
use crate::timers::Deadlines;
use crate::turn::Turn;
use crate::{Attachment, Bus, Counters, DropReason};

/// Identity, subscriptions, outbox, will and expiry: whatever receives messages.
pub struct Session {
    pub client_id: ClientId,
    /// Unique as long as the log speaks of it; orders sessions within a route. It is odd if the session
    /// is durable: so it was opened, and so it stays.
    pub(crate) number: u64,
    pub(crate) state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) outbox: Outbox,
    pub(crate) subscriptions: Subscriptions,
    expiry: Lifetime,
    /// See [`crate::SessionOptions::owner`].
    pub(crate) owner: u32,
    /// Boxed, as most sessions never have any of it.
    pub(crate) rare: Option<Box<Rare>>,
    /// What waits while the session is away; none for most.
    pub(crate) deadlines: Option<Box<Deadlines>>,
    /// Whoever looks after the connection that holds the session; `None` while it is away.
    notify: Option<Arc<dyn NotifyMany>>,
    /// That connection's, there.
    notify_key: u32,
    /// Counts attachments, so that a connection that lost the session cannot touch it.
    pub(crate) epoch: u32,
    /// The connection knows that there is something to deliver.
    pub(crate) notified: bool,
    /// What of its queue the budget knows.
    steps: u16,
    /// Removed from the bus; nothing may be queued any more.
    pub(crate) ended: bool,
}

/// What few sessions have.
#[derive(Default)]
pub(crate) struct Rare {
    /// Identifiers of exactly-once publishes received and not yet released.
    #[allow(clippy::box_collection)] // for the size of the others
    held: Option<Box<BTreeSet<NonZeroU16>>>,
    /// What the protocol keeps with the session.
    pub(crate) kept: Option<Box<[u8]>>,
    will: Option<Arc<dyn Testament>>,
}

/// An [`Expiry`] in half the space: milliseconds, with the largest number for ever.
#[derive(Clone, Copy)]
struct Lifetime(u64);

/// A session among others, found by its name.
pub(crate) struct Named(pub(crate) Arc<Session>);

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

/// The bit of a session's number that says so.
const DURABLE: u64 = 1;

impl Session {
    /// The number of a session that is opened as the `count`-th.
    pub(crate) fn number(count: u64, is_durable: bool) -> u64 {
        count << 1 | u64::from(is_durable)
    }

    pub(crate) fn new(client_id: ClientId, number: u64, outbox: Outbox) -> Self {
        debug_assert_eq!(number & DURABLE != 0, outbox.is_durable());
        let state = State {
            outbox,
            subscriptions: Subscriptions::default(),
            expiry: Lifetime::from(Expiry::Immediately),
            owner: 0,
            rare: None,
            deadlines: None,
            notify: None,
            notify_key: 0,
            epoch: 0,
            notified: false,
            steps: 0,
            ended: false,
        };
        Self { client_id, number, state: Mutex::new(state) }
    }

    /// It outlives its connection, and the process: the log knows of it.
    #[inline]
    pub(crate) fn is_durable(&self) -> bool {
        self.number & DURABLE != 0
    }

    /// Queues one copy and wakes the connection if it does not know yet.
    pub(crate) fn push_message(
        &self,
        turn: &mut Turn<'_>,
        message: &Arc<Message>,
        target: &Target,
        priority: u8,
        counters: &Counters,
    ) {
        let state = self.state.lock();
        let retain = message.retain && target.retain_as_published;
        let entry = state.copy(message, target, retain, priority);
        let dropped = self.push(turn, state, entry, None);
        self.count_dropped(counters, message, dropped);
    }

    /// The same for a session and a live message that the log has nothing to do with.
    pub(crate) fn push_briefly(&self, bus: &Bus, message: &Arc<Message>, target: &Target, priority: u8) {
        let mut state = self.state.lock();
        let entry = state.copy(message, target, false, priority);
        let Err(entry) = state.push_last(entry) else { return };
        let dropped = self.push(&mut bus.turn(), state, entry, None);
        self.count_dropped(&bus.counters, message, dropped);
    }

    /// Queues a copy; if the message is being stored, the log is to list it. `shared` is what the log
    /// has to know of its group. Returns what was dropped, and why.
    #[inline(always)]
    pub(crate) fn push(
        &self,
        turn: &mut Turn<'_>,
        mut state: MutexGuard<'_, State>,
        entry: Entry,
        shared: Option<Shared>,
    ) -> Option<(DropReason, u32)> {
        if turn.is_storing() && self.is_durable() && entry.qos > Qos::AtMostOnce {
            return self.push_stored(turn, state, entry, shared);
        }
        let must_be_stored = entry.message.qos.min(entry.qos) > Qos::AtMostOnce && self.is_durable();
        debug_assert!(!must_be_stored, "the publisher knew what its route needs");
        let Pushed { dropped, .. } = state.push_accounted(turn, entry);
        drop(state);
        turn.collect(self);
        dropped
    }

    #[inline(never)]
    fn push_stored(
        &self,
        turn: &mut Turn<'_>,
        mut state: MutexGuard<'_, State>,
        mut entry: Entry,
        shared: Option<Shared>,
    ) -> Option<(DropReason, u32)> {
        entry.list();
        let copy = self.copy(&entry, shared);
        let Pushed { listed, dropped } = state.push_accounted(turn, entry);
        drop(state);
        if let Some(ordinal) = listed {
            turn.note(Copy { ordinal, ..copy });
        }
        turn.collect(self);
        dropped
    }

    fn count_dropped(&self, counters: &Counters, message: &Message, dropped: Option<(DropReason, u32)>) {
        if let Some((reason, count)) = dropped {
            // What makes room for it may be of another topic.
            let topic = (reason != DropReason::QueueFull).then_some(&message.topic);
            counters.add_dropped(&self.client_id, topic, reason, count);
        }
    }

    /// A copy as the log has it.
    pub(crate) fn copy(&self, entry: &Entry, shared: Option<Shared>) -> Copy {
        Copy {
            session: self.number,
            ordinal: entry.ordinal(),
            qos: entry.qos,
            retain: entry.retain,
            priority: entry.priority,
            state: entry.state(),
            identifiers: entry.identifiers.clone(),
            shared,
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

    /// All of it but its copies, as the log has it.
    pub(crate) fn record(&self, moment: Moment) -> SessionRecord {
        let state = self.state.lock();
        SessionRecord {
            number: self.number,
            client_id: self.client_id.clone(),
            owner: state.owner,
            expiry: state.expiry(),
            will: state.will(),
            away: state.away(moment),
            next_ordinal: state.outbox.next_ordinal(),
            subscriptions: state.subscriptions.to_vec(),
            held: state.held(),
            kept: state.kept(),
        }
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.state.lock().notify.is_some()
    }

    /// Takes the session from whoever holds it and gives it to `notify`.
    pub(crate) fn attach(
        self: &Arc<Self>,
        state: &mut State,
        notify: Notifier,
        window: u16,
        took_over: bool,
    ) -> Attachment {
        state.evict();
        (state.notify, state.notify_key) = (Some(notify.many), notify.key);
        state.outbox.restart(window);
        state.notified = false;
        state.wake();
        Attachment::new(self.clone(), state.epoch, took_over)
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

    /// Whether its time was over while it waited for its client, also if nobody has looked since.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let ends = self.deadlines.as_ref().and_then(|deadlines| deadlines.expiry);
        !self.is_attached() && ends.is_some_and(|ends| ends <= now.into())
    }

    pub(crate) fn is_will_overdue(&self, now: Instant) -> bool {
        self.deadlines.as_ref().and_then(|deadlines| deadlines.will).is_some_and(|due| due <= now.into())
    }

    pub(crate) fn set_will(&mut self, will: Option<Arc<dyn Testament>>) {
        if will.is_some() || self.rare.is_some() {
            self.rare.get_or_insert_default().will = will;
        }
    }

    pub(crate) fn take_will(&mut self) -> Option<Arc<dyn Testament>> {
        self.rare.as_mut()?.will.take()
    }

    /// As the log has it.
    pub(crate) fn will(&self) -> Option<Box<Will>> {
        Some(Box::new(self.rare.as_ref()?.will.as_ref()?.will()))
    }

    pub(crate) fn held(&self) -> Vec<NonZeroU16> {
        let held = self.rare.as_ref().and_then(|rare| rare.held.as_ref());
        held.into_iter().flat_map(|held| held.iter().copied()).collect()
    }

    pub(crate) fn hold(&mut self, id: NonZeroU16) {
        self.rare.get_or_insert_default().held.get_or_insert_default().insert(id);
    }

    /// Whether it was held.
    pub(crate) fn let_go(&mut self, id: NonZeroU16) -> bool {
        let held = self.rare.as_mut().and_then(|rare| rare.held.as_mut());
        held.is_some_and(|held| held.remove(&id))
    }

    /// What waits while nobody holds the session; `None` while somebody does.
    pub(crate) fn away(&self, moment: Moment) -> Option<Away> {
        if self.is_attached() {
            return None;
        }
        let unix_millis = |deadline: Option<Tick>| Some(moment.unix_millis_at(deadline?.instant()?));
        let deadlines = self.deadlines.as_deref();
        Some(Away {
            ends_unix_millis: unix_millis(deadlines.and_then(|deadlines| deadlines.expiry)),
            will_unix_millis: unix_millis(deadlines.and_then(|deadlines| deadlines.will)),
            sent_before: self.outbox.sent_before(),
        })
    }

    pub(crate) fn kept(&self) -> Option<Bytes> {
        self.rare.as_ref()?.kept.as_deref().map(Bytes::copy_from_slice)
    }

    /// What came through a restart.
    pub(crate) fn restore_rare(&mut self, held: Vec<NonZeroU16>, kept: Option<Bytes>) {
        if !held.is_empty() || kept.is_some() {
            let kept = kept.as_deref().map(Into::into);
            let rare = self.rare.get_or_insert_default();
            rare.kept = kept;
            rare.held = (!held.is_empty()).then(|| Box::new(held.into_iter().collect()));
        }
    }

    /// The lower of both (MQTT 5.0 section 3.8.4), unless the session has it upgraded.
    pub(crate) fn effective_qos(&self, published: Qos, subscribed: Qos) -> Qos {
        if self.outbox.limits().upgrade_qos { subscribed } else { published.min(subscribed) }
    }

    /// A copy as a subscription wants it.
    #[inline(always)]
    fn copy(&self, message: &Arc<Message>, target: &Target, retain: bool, priority: u8) -> Entry {
        let qos = self.effective_qos(message.qos, target.qos);
        Entry::new(message.clone(), target.identifiers.clone(), qos, retain, priority)
    }

    /// Queues a copy if that is as simple as it nearly always is.
    #[inline(always)]
    fn push_last(&mut self, queued: Entry) -> Result<(), Entry> {
        if self.ended || self.notify.is_none() || self.steps > 0 {
            return Err(queued);
        }
        self.outbox.push_last(queued)?;
        self.wake();
        Ok(())
    }

    #[inline(always)]
    fn push_accounted(&mut self, turn: &mut Turn<'_>, queued: Entry) -> Pushed {
        turn.changes.is_tight = self.steps > 0 && turn.budget().is_spent();
        let pushed = self.push(queued, &mut turn.changes);
        self.account(turn.budget());
        pushed
    }

    #[inline(always)]
    fn push(&mut self, queued: Entry, changes: &mut Changes<'_>) -> Pushed {
        let outbox = &mut self.outbox;
        if self.ended {
            outbox.reject();
            return Pushed { listed: None, dropped: Some((DropReason::SessionEnded, 1)) };
        }
        if self.notify.is_none() && queued.qos == Qos::AtMostOnce && !outbox.limits().store_qos0 {
            outbox.reject();
            return Pushed { listed: None, dropped: Some((DropReason::Offline, 1)) };
        }
        let pushed = outbox.push(queued, changes);
        self.wake();
        pushed
    }

    /// Takes in what another member of a group had; `admit` sees each copy that is queued. Returns what
    /// was dropped of it, and why.
    pub(crate) fn merge(
        &mut self,
        mut copies: Vec<Entry>,
        changes: &mut Changes<'_>,
        admit: &mut dyn FnMut(&mut Entry),
    ) -> [(DropReason, u32); 2] {
        debug_assert!(!self.ended, "nothing comes back from a session that has ended");
        let all = copies.len();
        if self.notify.is_none() && !self.outbox.limits().store_qos0 {
            copies.retain(|copy| copy.qos > Qos::AtMostOnce);
        }
        let rejected = (all - copies.len()) as u32;
        self.outbox.lose(rejected);
        let over = self.outbox.merge(copies, changes, admit);
        self.wake();
        [(DropReason::Offline, rejected), (DropReason::QueueFull, over)]
    }

    /// What waits at QoS 0 goes unless it is to be stored; returns how much that was.
    pub(crate) fn forget_qos0(&mut self, changes: &mut Changes<'_>) -> u32 {
        if self.outbox.limits().store_qos0 { 0 } else { self.outbox.clear_qos0(changes) }
    }

    /// Tells the budget how long the queue is, after it has changed.
    #[inline]
    pub(crate) fn account(&mut self, budget: &Budget) {
        let steps = Budget::steps(self.outbox.queue_bytes());
        if steps != self.steps {
            budget.change(self.steps, steps);
            self.steps = steps;
        }
    }

    pub(crate) fn wake(&mut self) {
        if !self.notified
            && self.outbox.backlog() > 0
            && let Some(notify) = &self.notify
        {
            self.notified = true;
            notify.notify(self.notify_key);
        }
    }

    /// Whether a connection held the session. It is told, and its attachment becomes void.
    pub(crate) fn evict(&mut self) -> bool {
        self.epoch = self.epoch.wrapping_add(1);
        let previous = self.notify.take();
        if let Some(notify) = &previous {
            notify.notify(self.notify_key);
        }
        previous.is_some()
    }

    /// The timers' entry of `at` has come up: whether the will is due, and whether the session is
    /// over. `None` if the entry no longer counts, or nothing waits any more.
    pub(crate) fn look(&mut self, at: Tick, now: Instant) -> Option<(bool, bool)> {
        let deadlines = self.deadlines.as_mut().filter(|deadlines| deadlines.armed == Some(at))?;
        deadlines.armed = None;
        let is_due = |deadline: Option<Tick>| deadline.is_some_and(|deadline| deadline <= now.into());
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
    use crate::leaf::Leaf;

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
