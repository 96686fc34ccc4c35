//! What may not be said before it is durable.
//!
//! The bus answers with a promise: a result and a place in the log. If the store has not come so far,
//! the result waits here. When the store has, it rings, and the next pass of the shard tells all that
//! it covers, in the order in which it was promised.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gateway_model::{DeliveryId, Notify, Reason, Reply, Ticket};
use gateway_store::{Place, Room, Store};

use crate::ready_queue::ReadyQueue;

/// What waits for the store in one shard.
pub(crate) struct Waiting {
    store: Arc<dyn Store>,
    bell: Arc<Bell>,
    list: VecDeque<Awaited>,
    /// Connections that are not read until the store has caught up, by slot and generation.
    paused: Vec<(u32, u32)>,
}

/// Something that the connection in a slot may be told when the store is durable up to a place.
pub(crate) struct Awaited {
    pub(crate) place: Place,
    pub(crate) key: u32,
    /// Distinguishes the connection from a later one in the same slot.
    pub(crate) generation: u32,
    pub(crate) what: What,
}

pub(crate) enum What {
    /// A publish, with its bytes.
    Published(Ticket, Reason, u32),
    Released(Ticket),
    /// Boxed, as publishes are many and anything else is rare.
    Reply(Ticket, Box<Reply>),
    Settled(DeliveryId),
    /// There is more to deliver.
    Deliver,
}

/// What a client asked for and has no answer to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owed {
    answers: u32,
    bytes: u32,
}

/// Rung by the store. The shard is woken only if something waits there.
struct Bell {
    queue: Arc<ReadyQueue>,
    waits: AtomicBool,
    rung: AtomicBool,
}

impl Waiting {
    pub(crate) fn new(store: Arc<dyn Store>, queue: &Arc<ReadyQueue>) -> Self {
        let bell = Bell { queue: queue.clone(), waits: AtomicBool::new(false), rung: AtomicBool::new(false) };
        let bell = Arc::new(bell);
        store.watch(bell.clone());
        Self { store, bell, list: VecDeque::new(), paused: Vec::new() }
    }

    /// Whether what is promised may be told now. Nearly always nothing has to be durable for it.
    #[inline]
    pub(crate) fn is_durable(&self, place: Place) -> bool {
        place == Place::NOWHERE || place <= self.store.durable()
    }

    pub(crate) fn push(&mut self, awaited: Awaited) {
        if self.list.is_empty() {
            self.bell.waits.store(true, Ordering::SeqCst);
        }
        self.list.push_back(awaited);
    }

    /// Up to where everything may be told that waits; `None` if nothing does.
    pub(crate) fn due(&self) -> Option<Place> {
        (!self.list.is_empty()).then(|| self.store.durable())
    }

    /// The first of what waits, if it is covered by `durable`. What was promised later for an earlier
    /// place waits for its turn: at most until the next sync.
    pub(crate) fn pop(&mut self, durable: Place) -> Option<Awaited> {
        let awaited = self.list.pop_front_if(|awaited| awaited.place <= durable);
        if self.list.is_empty() {
            self.bell.waits.store(false, Ordering::SeqCst);
        }
        awaited
    }

    /// Whether a client that is owed so much has to wait for the store before it is heard again.
    pub(crate) fn holds_back(&self, owed: Owed) -> bool {
        owed.is_something() && (owed.is_too_much() || self.store.room() == Room::Behind)
    }

    /// A connection is not read from now on; see [`Waiting::take_paused`].
    pub(crate) fn pause(&mut self, key: u32, generation: u32) {
        self.paused.push((key, generation));
    }

    /// Those that are not read, if the store may have caught up: to be looked at again. Whoever is paused
    /// is owed something, so that the shard is woken when that has changed.
    pub(crate) fn take_paused(&mut self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.paused)
    }

    /// Whether the store has rung since the last time.
    pub(crate) fn was_rung(&self) -> bool {
        self.bell.rung.load(Ordering::SeqCst) && self.bell.rung.swap(false, Ordering::SeqCst)
    }

    /// At the end of a pass, when the shard can be woken again: whether it has to go on all the same,
    /// because something became durable between its promise and its place on the list.
    pub(crate) fn has_news(&self) -> bool {
        let is_due = |awaited: &Awaited| awaited.place <= self.store.durable();
        self.bell.rung.load(Ordering::SeqCst) || self.list.front().is_some_and(is_due)
    }
}

impl Owed {
    /// Answers that one client may wait for at a time, and bytes of their publishes. So many are enough to
    /// keep a disk busy that takes some milliseconds for a sync, and few enough that one client does not
    /// fill what the store holds back for all (`store.pending_bytes_max`). It is looked at between reads: what
    /// one read brings is taken in as a whole.
    pub(crate) const ANSWERS_MAX: u32 = 1024;
    pub(crate) const BYTES_MAX: u32 = 1024 * 1024;

    pub(crate) fn add(&mut self, bytes: u32) {
        self.answers += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(crate) fn settle(&mut self, bytes: u32) {
        self.answers = self.answers.saturating_sub(1);
        self.bytes = if self.answers == 0 { 0 } else { self.bytes.saturating_sub(bytes) };
    }

    pub(crate) fn is_something(self) -> bool {
        self.answers > 0
    }

    fn is_too_much(self) -> bool {
        self.answers >= Self::ANSWERS_MAX || self.bytes >= Self::BYTES_MAX
    }
}

impl Notify for Bell {
    fn notify(&self) {
        // The store has moved before this look at the list, and the shard looks at the store after it has
        // put something there: one of them sees the other.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.waits.load(Ordering::SeqCst) {
            self.rung.store(true, Ordering::SeqCst);
            self.queue.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::{Wake, Waker};
    use std::time::Duration;

    use gateway_store::{Disk, Options, Record, Simulated};

    use super::*;

    struct Alarm(mpsc::Sender<()>);

    impl Wake for Alarm {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    /// A list over a disk, and what it is woken by.
    fn waiting(disk: Disk) -> (Arc<Disk>, Waiting, mpsc::Receiver<()>) {
        let disk = Arc::new(disk);
        let waiting = Waiting::new(disk.clone(), &Arc::default());
        let woken = sleep(&waiting);
        (disk, waiting, woken)
    }

    /// As at the end of a pass: it can be woken again.
    fn sleep(waiting: &Waiting) -> mpsc::Receiver<()> {
        let (sender, woken) = mpsc::channel();
        waiting.bell.queue.waker.register(&Waker::from(Arc::new(Alarm(sender))));
        woken
    }

    fn append(disk: &Disk) -> Place {
        let mut appending = disk.begin().unwrap();
        appending.append(&Record::Ended { session: 1 });
        appending.end()
    }

    fn awaited(place: Place) -> Awaited {
        Awaited { place, key: 0, generation: 0, what: What::Deliver }
    }

    fn disk() -> Disk {
        let files = Arc::new(Simulated::new(1));
        Disk::open_unthreaded(Options::default(), files, crate::clock::moment()).unwrap().0
    }

    #[test]
    fn a_shard_is_woken_only_if_something_waits_there() {
        let (disk, mut waiting, woken) = waiting(disk());
        append(&disk);
        disk.commit();
        assert!(woken.try_recv().is_err() && !waiting.was_rung() && !waiting.has_news());
        let place = append(&disk);
        waiting.push(awaited(place));
        assert!(!waiting.has_news() && !waiting.is_durable(place));
        disk.commit();
        assert!(woken.try_recv().is_ok() && waiting.was_rung() && waiting.has_news());
        let durable = waiting.due().unwrap();
        assert_eq!(waiting.pop(durable).unwrap().place, place);
        assert!(waiting.pop(durable).is_none() && waiting.due().is_none());
        let woken = sleep(&waiting);
        append(&disk);
        disk.commit();
        assert!(woken.try_recv().is_err());
    }

    /// The store may move between the promise and its place on the list.
    #[test]
    fn nothing_that_became_durable_meanwhile_is_forgotten() {
        let files = Arc::new(Simulated::new(1));
        let disk = Disk::open(Options::default(), files, crate::clock::moment()).unwrap().0;
        let (disk, mut waiting, _) = waiting(disk);
        for _ in 0..2000 {
            let place = append(&disk);
            waiting.push(awaited(place));
            let woken = sleep(&waiting);
            while !waiting.has_news() {
                woken.recv_timeout(Duration::from_secs(20)).expect("it is woken");
            }
            waiting.was_rung();
            let durable = waiting.due().unwrap();
            while waiting.pop(durable).is_some() {}
        }
    }
}
