use std::collections::VecDeque;

use gateway_model::Qos;

use super::{Changes, Entry, Outbox, Tail};
use crate::DropPolicy;

/// What leaves without being delivered.
impl Outbox {
    #[inline(always)]
    pub(super) fn fits(&self, entry: &Entry) -> bool {
        (entry.is_replayed() || self.messages_free() > 0) && entry.message.size() <= self.bytes_free()
    }

    /// Drops copies until a new one fits, or takes no more room than they did: after a restart a queue
    /// may be over its limits by what was in flight, and that is not to go for one new copy. So it is
    /// as well where a queue is not to grow. Whether there is room, and how many went.
    #[cold]
    pub(super) fn make_room(&mut self, new: &Entry, evicted: &mut u32, changes: &mut Changes<'_>) -> bool {
        let live = |outbox: &Self| outbox.queued() - outbox.replayed() as usize;
        let (live_before, bytes_before) = (live(self), self.queue_bytes() + 1);
        loop {
            let is_one_fewer = new.is_replayed() || self.messages_free() > 0 || live(self) < live_before;
            let size = new.message.size();
            let fits = !changes.is_tight && size <= self.bytes_free();
            if is_one_fewer && (fits || self.queue_bytes() + size < bytes_before) {
                return true;
            }
            let Some(gone) = self.evict_for(new, changes) else { return false };
            *evicted += gone;
        }
    }

    /// Drops one copy that has less right to be here than the new one: of the lowest priority the
    /// oldest, or the newest if that is the policy. `None` if there is no such copy; else how many
    /// went, which is none if what was damaged went instead.
    ///
    /// Where it is the number that is too large, replayed messages stay, as they do not count.
    pub(super) fn evict_for(&mut self, new: &Entry, changes: &mut Changes<'_>) -> Option<u32> {
        let size = new.message.size();
        let limits = self.limits();
        if size > limits.bytes_max as usize {
            return None;
        }
        let live = size <= self.bytes_free() && self.replayed() > 0;
        let counts = |entry: &Entry| !live || !entry.is_replayed();
        let begin = self.in_flight();
        let last = self.entries.range(begin..).rposition(counts).map(|last| begin + last);
        let behind = self.tail().and_then(|tail| tail.lowest(live));
        let lowest = behind.or_else(|| Some(self.entries[last?].priority))?;
        let victim = match limits.drop {
            DropPolicy::Oldest if new.priority >= lowest => {
                let first = if lowest == u8::MAX { begin } else { self.first_below(lowest + 1) };
                self.entries.range(first..).position(counts).map(|at| first + at)
            }
            DropPolicy::Newest if new.priority > lowest => last.filter(|_| behind.is_none()),
            DropPolicy::Oldest | DropPolicy::Newest => return None,
        };
        let Some(victim) = victim else {
            let is_last = limits.drop == DropPolicy::Newest;
            return Some(self.evict_behind(lowest, is_last, live, changes));
        };
        let victim = self.remove_queued(victim).expect("it was found");
        changes.leaves(&victim);
        Some(1)
    }

    /// Empties the outbox; returns how many copies went. The tail comes back with those of them that were
    /// not at hand: to let go of them takes a look at each page.
    pub(crate) fn clear(&mut self, changes: &mut Changes<'_>) -> (u32, Option<Tail>) {
        let gone = self.backlog() as u32;
        self.entries.iter().for_each(|entry| changes.leaves(entry));
        self.settled = self.settled.wrapping_add(gone);
        self.entries = VecDeque::new();
        (self.queue_bytes, self.in_flight) = (0, 0);
        (gone, self.rare.take().and_then(|rare| rare.tail))
    }

    /// Drops what waits at QoS 0: its receiver is gone and it is not to be stored.
    pub(crate) fn clear_qos0(&mut self, changes: &mut Changes<'_>) -> u32 {
        let before = self.entries.len();
        let (mut bytes, mut replayed) = (0, 0);
        // Nothing in flight is at QoS 0.
        self.entries.retain(|entry| {
            let keep = entry.qos != Qos::AtMostOnce;
            if !keep {
                bytes += entry.message.size() as u32;
                replayed += u32::from(entry.is_replayed());
                changes.leaves(entry);
            }
            keep
        });
        let mut gone = (before - self.entries.len()) as u32;
        if let Some(tail) = self.tail_mut().filter(|tail| tail.sums().qos0 > 0) {
            tail.rewrite(|_, item, kept| {
                if item.qos() > Qos::AtMostOnce {
                    kept.push(item);
                } else {
                    bytes += item.size();
                    replayed += u32::from(item.is_replayed());
                    changes.leaves_behind(&item);
                    gone += 1;
                }
                false
            });
        }
        self.queue_bytes -= bytes;
        if replayed > 0 {
            self.rare_mut().replayed -= replayed;
        }
        self.settled = self.settled.wrapping_add(gone);
        gone
    }

    #[inline(always)]
    pub(super) fn remove_queued(&mut self, place: usize) -> Option<Entry> {
        let entry = if place == 0 {
            self.entries.pop_front()?
        } else if place == self.in_flight() {
            self.entries.swap(place, 0);
            self.entries.pop_front()?
        } else {
            self.entries.remove(place)?
        };
        self.queue_bytes -= entry.message.size() as u32;
        if entry.is_replayed() {
            self.rare_mut().replayed -= 1;
        }
        Some(entry)
    }

    fn evict_behind(&mut self, priority: u8, is_last: bool, live: bool, changes: &mut Changes<'_>) -> u32 {
        let item = self.tail_mut().and_then(|tail| tail.evict(priority, is_last, live));
        if let Some(item) = &item {
            changes.leaves_behind(item);
            self.dequeue(item);
        }
        u32::from(item.is_some())
    }
}
