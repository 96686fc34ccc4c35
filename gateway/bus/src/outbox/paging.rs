use std::io;
use std::sync::Arc;

use gateway_store::{Place, ReadError, Store};

use super::tail::{Item, Reference};
use super::{Changes, Entry, Outbox, Rare, Tail};

/// Messages of a queue at hand, while a connection holds the session: enough that what is read again
/// from the log is read by the batch.
const HEAD_MESSAGES: usize = 512;
/// And their bytes.
const HEAD_BYTES: u32 = 256 * 1024;
/// How often the disk may say that it cannot read a message before that counts as damaged. It is asked
/// when the bus is polled, so that this takes some seconds.
const READS_MAX: u8 = 20;

/// Why there is no message to a reference.
pub(super) enum Unread {
    /// It is not written yet.
    Early(Reference),
    /// It cannot be read now, which may pass.
    Failed(Reference, Arc<io::Error>),
    Damaged(Reference),
}

/// What of a durable session's queue is at hand, and what is in its tail. All that is at hand goes
/// before all in the tail.
impl Outbox {
    /// The connection has gone and the session goes on: what waits is kept as references.
    pub(crate) fn leave(&mut self, changes: &mut Changes<'_>) {
        self.bounds.set_away(true);
        self.shorten(changes);
        self.rest();
    }

    pub(super) fn tail(&self) -> Option<&Tail> {
        self.rare.as_ref()?.tail.as_ref()
    }

    pub(super) fn tail_mut(&mut self) -> Option<&mut Tail> {
        self.rare.as_mut()?.tail.as_mut()
    }

    /// How many messages of the queue are at hand.
    pub(super) fn head(&self) -> usize {
        self.entries.len() - self.in_flight()
    }

    /// How many are not.
    pub(super) fn behind(&self) -> usize {
        self.tail().map_or(0, |tail| (tail.sums().count + tail.lost().count) as usize)
    }

    /// Puts a copy that is accounted for into its place.
    #[inline(always)]
    pub(super) fn enqueue(&mut self, entry: Entry, changes: &Changes<'_>) {
        if self.rare.is_some() || !self.is_last(&entry) {
            return self.insert(entry, changes);
        }
        self.entries.push_back(entry);
        self.shorten(changes);
    }

    /// Whether a copy goes behind all that is at hand.
    #[inline(always)]
    pub(super) fn is_last(&self, entry: &Entry) -> bool {
        self.head() == 0 || self.entries.back().is_some_and(|last| last.priority >= entry.priority)
    }

    /// The same as `enqueue`, where it may have to go into the tail or before others.
    #[inline(never)]
    fn insert(&mut self, entry: Entry, changes: &Changes<'_>) {
        if let Some(tail) = self.tail_mut()
            && tail.priority().is_some_and(|first| entry.priority <= first)
        {
            tail.push_back(entry.priority, Item::new(entry));
            return;
        }
        self.entries.insert(self.first_below(entry.priority), entry);
        self.shorten(changes);
    }

    /// Moves what is too much to have at hand to the tail, if there can be one.
    #[inline]
    pub(super) fn shorten(&mut self, changes: &Changes<'_>) {
        if self.bounds.is_durable() && self.is_long() {
            let pages = changes.store().filter(|store| store.pages().is_some());
            pages.into_iter().for_each(|store| self.shorten_to_tail(store));
        }
    }

    /// What could not be read may be tried again.
    pub(crate) fn read_again(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.reads_later = false;
        }
    }

    /// Reads the next messages of the tail, when none is at hand any more. What is not written yet
    /// cannot be read: then this is until when to wait. What cannot be read now is not tried again
    /// before [`Outbox::read_again`].
    pub(super) fn refill(&mut self, changes: &mut Changes<'_>) -> Option<Place> {
        let store = self.tail()?.store().clone();
        let mut until = None;
        while self.head() == 0 && self.behind() > 0 && until.is_none() && !self.reads_later() {
            for _ in 0..HEAD_MESSAGES / 2 {
                if self.head_bytes() >= HEAD_BYTES / 2 {
                    break;
                }
                let Some((priority, item)) = self.tail_mut().and_then(Tail::pop_front) else { break };
                match self.read(&*store, priority, item) {
                    Ok(entry) => {
                        self.rare_mut().reads_failed = 0;
                        self.entries.push_back(entry);
                    }
                    Err(Unread::Early(reference)) => {
                        until = Some(Place::from_number(reference.place.number() + 1));
                        self.put_back(priority, reference);
                        break;
                    }
                    Err(Unread::Failed(reference, error)) if self.may_pass(&error) => {
                        changes.reads_later = true;
                        self.put_back(priority, reference);
                        break;
                    }
                    Err(Unread::Failed(reference, _) | Unread::Damaged(reference)) => {
                        self.drop_damaged(reference, changes);
                    }
                }
            }
            self.drop_lost(changes);
        }
        self.rest();
        until.filter(|_| self.head() == 0)
    }

    /// An item of the tail with its message.
    pub(super) fn read(&mut self, store: &dyn Store, priority: u8, item: Item) -> Result<Entry, Unread> {
        let reference = match item {
            Item::Whole(entry) => return Ok(entry),
            Item::Reference(reference) => reference,
        };
        match store.read(reference.place) {
            Ok(message) => {
                // The same, unless it was counted otherwise by who wrote it.
                self.queue_bytes = self.queue_bytes - reference.size + message.size() as u32;
                Ok(reference.into_entry(message, priority))
            }
            // Whoever publishes it has a place, and has not written there yet.
            Err(_) if reference.place >= store.durable() => Err(Unread::Early(reference)),
            Err(ReadError::Io { error, .. }) => Err(Unread::Failed(reference, error)),
            Err(ReadError::Nowhere(_) | ReadError::Damaged { .. }) => Err(Unread::Damaged(reference)),
        }
    }

    fn drop_damaged(&mut self, reference: Reference, changes: &mut Changes<'_>) {
        changes.gone.push(reference.gone());
        changes.damaged += 1;
        self.settled = self.settled.wrapping_add(1);
        self.dequeue(&Item::Reference(reference));
    }

    /// An item of the tail does not wait any more.
    pub(super) fn dequeue(&mut self, item: &Item) {
        self.queue_bytes -= item.size();
        if item.is_replayed() {
            self.rare_mut().replayed -= 1;
        }
    }

    /// Puts what was first back where it was.
    fn put_back(&mut self, priority: u8, reference: Reference) {
        if let Some(tail) = self.tail_mut() {
            tail.push_front(priority, vec![Item::Reference(reference)]);
        }
    }

    fn reads_later(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.reads_later)
    }

    /// Whether what could not be read is worth another try, and no other before that.
    fn may_pass(&mut self, error: &io::Error) -> bool {
        let rare = self.rare_mut();
        rare.reads_failed += u8::from(!is_want(error));
        rare.reads_later = rare.reads_failed < READS_MAX;
        if !rare.reads_later {
            rare.reads_failed = 0;
        }
        rare.reads_later
    }

    /// Drops what the tail could not read again, which waited until now. The log is not told of pages,
    /// as nobody knows what was on them: it comes again after a restart.
    fn drop_lost(&mut self, changes: &mut Changes<'_>) {
        let Some(tail) = self.tail_mut() else { return };
        let lost = tail.take_lost();
        if lost.count > 0 {
            changes.damaged += lost.count;
            self.settled = self.settled.wrapping_add(lost.count);
            self.queue_bytes -= lost.bytes;
            self.rare_mut().replayed -= lost.replayed;
        }
    }

    fn head_bytes(&self) -> u32 {
        self.queue_bytes - self.tail().map_or(0, |tail| tail.sums().bytes + tail.lost().bytes)
    }

    fn is_long(&self) -> bool {
        let head = self.head();
        head > HEAD_MESSAGES
            || head > 1 && self.head_bytes() > HEAD_BYTES
            || head > 0 && self.bounds.is_away()
    }

    /// Keeps half of what may be at hand, so that this is done by the batch.
    fn shorten_to_tail(&mut self, store: &Arc<dyn Store>) {
        let mut keep = if self.bounds.is_away() { 0 } else { self.head().min(HEAD_MESSAGES / 2) };
        let sizes = self.entries.range(self.in_flight()..).map(|entry| entry.message.size() as u32);
        let within = sizes.scan(0u32, |sum, size| {
            *sum = sum.saturating_add(size);
            Some(*sum)
        });
        keep = keep.min(within.take_while(|sum| *sum <= HEAD_BYTES / 2).count());
        let mut rest = self.entries.split_off(self.in_flight() + keep);
        let tail = self.rare.get_or_insert_default().tail.get_or_insert_with(|| Tail::new(store.clone()));
        // The last priority first, each in order.
        while let Some(priority) = rest.back().map(|entry| entry.priority) {
            let first = rest.partition_point(|entry| entry.priority > priority);
            tail.push_front(priority, rest.split_off(first).into_iter().map(Item::new).collect());
        }
    }
}

impl Rare {
    /// Lets go of a tail in which nothing is left.
    pub(super) fn rest(&mut self) {
        if self.tail.as_ref().is_some_and(Tail::is_empty) {
            self.tail = None;
            (self.reads_failed, self.reads_later) = (0, false);
        }
    }
}

/// Whether a read has failed for want of memory or of a descriptor (ENOMEM, ENFILE and EMFILE of
/// errno(3)), which says nothing of what is stored, however long it lasts.
fn is_want(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(12 | 23 | 24))
}
