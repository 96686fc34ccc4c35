use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gateway_model::{Deliveries, DeliveryId, Identifiers, Outgoing, Qos, Settled, Settlement};
use gateway_store::{Place, Store};

use super::shelf::{Shelf, copy, message};
use crate::QueueLimits;
use crate::outbox::{Changes, Drain, Entry, Gone, Lookups, Outbox, Reach};

/// The same twice: a queue with a tail, and one that is all in memory.
pub(super) struct Pair {
    pub(super) shelf: Arc<Shelf>,
    pub(super) store: Arc<dyn Store>,
    pub(super) paged: Outbox,
    pub(super) plain: Outbox,
    /// What the log lists, by ordinal.
    pub(super) listed: BTreeMap<u64, Place>,
    /// Taken out, to be merged later.
    aside: Vec<(Entry, Entry)>,
    /// In flight, by topic: identifiers in both.
    pub(super) in_flight: Vec<(String, DeliveryId, DeliveryId)>,
    lookups: Lookups,
    next: u32,
    now: Instant,
}

/// One copy to be queued.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) published: Qos,
    pub(super) qos: Qos,
    pub(super) priority: u8,
    pub(super) group: Option<(u32, u32)>,
    pub(super) is_replayed: bool,
    /// The caller has put it in the log.
    pub(super) is_offered: bool,
    pub(super) bytes: usize,
    pub(super) identifiers: Identifiers,
}

impl Draft {
    pub(super) fn new(qos: Qos) -> Self {
        let (priority, group, is_replayed, bytes) = (0, None, false, 0);
        let is_offered = qos > Qos::AtMostOnce;
        let identifiers = Identifiers::None;
        Self { published: qos, qos, priority, group, is_replayed, is_offered, bytes, identifiers }
    }
}

static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];

impl Pair {
    pub(super) fn new(window: u16, limits: QueueLimits) -> Self {
        let shelf = Arc::new(Shelf::default());
        Self {
            store: shelf.clone(),
            shelf,
            paged: Outbox::new(window, limits, true),
            plain: Outbox::new(window, limits, false),
            listed: BTreeMap::new(),
            aside: Vec::new(),
            lookups: Lookups::default(),
            in_flight: Vec::new(),
            next: 0,
            now: Instant::now(),
        }
    }

    pub(super) fn push(&mut self, draft: &Draft) {
        let (ours, theirs) = self.copies(draft);
        let place = ours.message.stored.get();
        let mut changes = Changes::new(&self.store);
        let pushed = self.paged.push(ours, &mut changes);
        self.note(&changes.gone.clone());
        let plain = self.plain.push(theirs, &mut Changes::nowhere());
        assert_eq!(pushed.dropped, plain.dropped);
        if let Some(ordinal) = pushed.listed {
            assert!(self.listed.insert(ordinal, Place::from_number(place)).is_none());
        }
    }

    /// Takes up to so many deliveries; the topics.
    pub(super) fn drain(&mut self, count: usize) -> Vec<String> {
        let now = self.now;
        let mut changes = Changes::new(&self.store);
        let mut drain = Drain::new(&mut self.paged, &mut changes);
        let ours: Vec<_> = std::iter::from_fn(|| drain.next(now)).take(count).collect();
        assert_eq!(drain.waits_for, Place::NOWHERE);
        self.paged.rest();
        let gone = changes.gone.clone();
        self.note(&gone);
        let mut nothing = Changes::nowhere();
        let mut drain = Drain::new(&mut self.plain, &mut nothing);
        let theirs: Vec<_> = std::iter::from_fn(|| drain.next(now)).take(count).collect();
        let shape = |outgoing: &Outgoing| {
            let Outgoing { qos, retain, duplicate, released, identifiers, .. } = outgoing.clone();
            (outgoing.message.topic.as_str().to_owned(), qos, retain, duplicate, released, identifiers)
        };
        assert_eq!(ours.iter().map(shape).collect::<Vec<_>>(), theirs.iter().map(shape).collect::<Vec<_>>());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            if let (Some(ours_id), Some(theirs_id)) = (ours.id, theirs.id) {
                let topic = ours.message.topic.as_str();
                self.in_flight.retain(|(present, ..)| present != topic);
                self.in_flight.push((topic.to_owned(), ours_id, theirs_id));
            }
        }
        ours.iter().map(|outgoing| outgoing.message.topic.as_str().to_owned()).collect()
    }

    pub(super) fn settle(&mut self, at: usize, settlement: Settlement) {
        let (_, ours, theirs) = self.in_flight[at].clone();
        let mut changes = Changes::new(&self.store);
        let settled = self.paged.settle(ours, settlement, &mut changes);
        let gone = changes.gone.clone();
        self.note(&gone);
        assert_eq!(settled, self.plain.settle(theirs, settlement, &mut Changes::nowhere()));
        if settled == Settled::Done && !matches!(settlement, Settlement::Received | Settlement::Returned) {
            self.in_flight.remove(at);
        }
    }

    pub(super) fn lose_connection(&mut self, stores_qos0: bool) {
        let mut changes = Changes::new(&self.store);
        for outbox in [&mut self.paged, &mut self.plain] {
            outbox.forget_withdrawn();
        }
        if !stores_qos0 {
            let ours = self.paged.clear_qos0(&mut changes);
            assert_eq!(ours, self.plain.clear_qos0(&mut Changes::nowhere()));
        }
        self.paged.leave(&mut changes);
        let gone = changes.gone.clone();
        self.note(&gone);
    }

    pub(super) fn come_back(&mut self, window: u16) {
        self.paged.restart(window);
        self.plain.restart(window);
    }

    /// Takes out up to `room` copies of a group. Those that `returns` says are put back, others when
    /// this is called again.
    pub(super) fn take(&mut self, group: u32, reach: Reach, room: usize, returns: impl Fn(usize) -> bool) {
        let aside = std::mem::take(&mut self.aside).into_iter();
        let (now, later) = aside.partition(|(entry, _)| entry.group == group);
        self.aside = later;
        self.merge(now);
        let placing = |mut left: usize| {
            move |_: &Entry| {
                let found = left > 0;
                left = left.saturating_sub(1);
                found.then_some(())
            }
        };
        let mut changes = Changes::new(&self.store);
        let ours = self.paged.take(group, reach, &mut changes, placing(room));
        let gone = changes.gone.clone();
        self.note(&gone);
        let theirs = self.plain.take(group, reach, &mut Changes::nowhere(), placing(room));
        let topics = |taken: &[((), Entry)]| {
            taken.iter().map(|(_, entry)| entry.message.topic.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(topics(&ours), topics(&theirs));
        let taken = topics(&ours);
        self.in_flight.retain(|(topic, ..)| !taken.contains(topic));
        let both = ours.into_iter().zip(theirs).map(|((_, ours), (_, theirs))| (ours, theirs));
        let (now, later): (Vec<_>, Vec<_>) = both.enumerate().partition(|(at, _)| returns(*at));
        self.merge(now.into_iter().map(|(_, both)| both).collect());
        self.aside.extend(later.into_iter().map(|(_, both)| both));
    }

    fn merge(&mut self, both: Vec<(Entry, Entry)>) {
        let (ours, theirs) = both.into_iter().unzip();
        let (shelf, listed) = (self.shelf.clone(), &mut self.listed);
        let mut changes = Changes::new(&self.store);
        let mut admit = |entry: &mut Entry| {
            if entry.qos > Qos::AtMostOnce && entry.message.qos > Qos::AtMostOnce {
                let message = copy(&entry.message, Place::NOWHERE);
                let place = shelf.put(&message);
                entry.message = Arc::new(message);
                entry.list();
                assert!(listed.insert(entry.ordinal(), place).is_none());
            }
        };
        let dropped = self.paged.merge(ours, &mut changes, &mut admit);
        assert_eq!(dropped, self.plain.merge(theirs, &mut Changes::nowhere(), &mut |_| {}));
    }

    /// Cleaning moves what the log still lists.
    pub(super) fn shift(&mut self, ordinal: u64) {
        let from = self.listed[&ordinal];
        assert!(self.paged.held(ordinal, from, &mut self.lookups).is_some(), "{ordinal} is held");
        let to = self.shelf.shift(from);
        self.paged.moved(ordinal, to);
        self.listed.insert(ordinal, to);
    }

    pub(super) fn check(&self) {
        let (paged, plain) = (&self.paged, &self.plain);
        let counts = |outbox: &Outbox| {
            let sizes = (outbox.queued(), outbox.queue_bytes(), outbox.unsettled(), outbox.backlog());
            let free = (outbox.messages_free(), outbox.bytes_free(), outbox.is_blocked(), outbox.is_behind());
            (sizes, free, outbox.unaccounted(), outbox.groups(), outbox.progress())
        };
        assert_eq!(counts(paged), counts(plain));
        assert_eq!(paged.unaccounted(), 0);
        (1..4).for_each(|group| assert_eq!(paged.holds(group), plain.holds(group), "group {group}"));
    }

    pub(super) fn check_listed(&self) {
        let mut lookups = Lookups::default();
        for (ordinal, place) in &self.listed {
            assert!(self.paged.held(*ordinal, *place, &mut lookups).is_some(), "{ordinal} is held");
            assert_eq!(self.paged.held(*ordinal, Place::NOWHERE, &mut lookups), None);
            let next = ordinal + 1;
            if !self.listed.contains_key(&next) {
                assert_eq!(self.paged.held(next, *place, &mut lookups), None);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        let mut changes = Changes::new(&self.store);
        let (ours, tail) = self.paged.clear(&mut changes);
        tail.into_iter().for_each(|mut tail| tail.clear(&mut changes));
        let gone = changes.gone.clone();
        self.note(&gone);
        let (theirs, _) = self.plain.clear(&mut Changes::nowhere());
        assert_eq!(ours, theirs);
        self.check();
        assert!(self.listed.is_empty(), "{:?} never left", self.listed);
        assert!(self.shelf.pages().is_empty(), "pages that nobody has");
    }

    fn copies(&mut self, draft: &Draft) -> (Entry, Entry) {
        self.next += 1;
        let payload = Bytes::from_static(&ZEROES[..draft.bytes]);
        let message = Arc::new(message(&format!("t{}", self.next), payload, draft.published));
        let entry = || {
            let identifiers = draft.identifiers.clone();
            let entry = Entry::new(message.clone(), identifiers, draft.qos, false, draft.priority);
            match draft.group {
                _ if draft.is_replayed => entry.replayed(),
                Some((group, ticket)) => entry.shared(group, ticket),
                None => entry,
            }
        };
        let (mut ours, theirs) = (entry(), entry());
        if draft.is_offered {
            self.shelf.put(&message);
            ours.list();
        }
        (ours, theirs)
    }

    fn note(&mut self, gone: &[Gone]) {
        for gone in gone {
            assert_eq!(self.listed.remove(&gone.ordinal), Some(gone.place), "ordinal {}", gone.ordinal);
        }
    }
}
