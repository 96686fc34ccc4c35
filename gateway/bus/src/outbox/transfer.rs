use gateway_model::Qos;

use super::paging::Unread;
use super::tail::Item;
use super::{Changes, Entry, Outbox, Stage, Tail};

/// How many copies that cannot be read now others are looked for behind: each may take the disk long.
const UNREAD_MAX: usize = 16;

/// How far the taking of a group's copies reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What was not sent.
    Queued,
    /// Also what was sent at QoS 1 on a connection that is gone.
    Sent,
    /// Also what was sent at QoS 1 before this serial on a connection that stands. Each stays
    /// behind as withdrawn.
    SentBefore(u32),
}

/// What moves between the members of a group.
impl Outbox {
    /// Messages that may still be queued.
    #[inline]
    pub(crate) fn messages_free(&self) -> usize {
        let live = self.queued() - self.replayed() as usize;
        (self.limits().messages_max as usize).saturating_sub(live)
    }

    /// Bytes that may still be queued.
    #[inline]
    pub(crate) fn bytes_free(&self) -> usize {
        self.limits().bytes_max.saturating_sub(self.queue_bytes) as usize
    }

    /// Whether a delivery of this size may go in flight: a large one only while all that is in flight
    /// is within the bytes of the queue, or if it is alone. Light ones are bounded by the window, and
    /// are not added up.
    pub(crate) fn bears(&self, size: usize) -> bool {
        const LIGHT: usize = 64 * 1024;
        if size <= LIGHT || self.in_flight == 0 {
            return true;
        }
        let sent = self.entries.range(..self.in_flight()).map(|entry| entry.message.size());
        sent.sum::<usize>() + size <= self.limits().bytes_max as usize
    }

    /// Whether nothing above QoS 0 can be sent until something is settled.
    pub(crate) fn is_blocked(&self) -> bool {
        self.in_flight >= self.window
    }

    /// Serial of the next delivery above QoS 0.
    pub(crate) fn next_serial(&self) -> u32 {
        self.next_serial
    }

    /// The serial of the oldest delivery that an answer is owed for, if one of the group is among
    /// them that was sent before `end` and could be withdrawn.
    pub(crate) fn owed(&self, group: u32, end: u32) -> Option<u32> {
        let in_flight = || self.entries.range(..self.in_flight());
        let reach = Reach::SentBefore(end);
        if !in_flight().any(|entry| entry.group == group && self.reaches(reach, entry)) {
            return None;
        }
        let owed = in_flight().filter(|entry| entry.stage != Stage::Withdrawn && !entry.is_received());
        owed.map(|entry| entry.serial).max_by_key(|serial| self.age(*serial))
    }

    /// Lets go of the identifiers of what was withdrawn: the connection that knew them is gone.
    pub(crate) fn forget_withdrawn(&mut self) {
        if self.withdrawn() > 0 {
            self.in_flight -= std::mem::take(&mut self.rare_mut().withdrawn);
            self.entries.retain(|entry| entry.stage != Stage::Withdrawn);
            self.rest();
        }
    }

    /// Whether its receiver has something to do before the next message can reach it.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_blocked() || self.queued() > 0
    }

    /// Changes whenever a copy is delivered or dropped.
    pub(crate) fn settled(&self) -> u32 {
        self.settled
    }

    /// Changes whenever its receiver, or want of room, makes something leave.
    pub(crate) fn progress(&self) -> u32 {
        self.settled().wrapping_sub(self.withdrawn().into())
    }

    /// Whether messages of a group wait or are unacknowledged here that could move.
    pub(crate) fn holds(&self, group: u32) -> bool {
        let in_flight = self.in_flight();
        let may_move = |(place, entry): (usize, &Entry)| {
            entry.group == group && (place >= in_flight || entry.qos == Qos::AtLeastOnce)
        };
        self.entries.iter().enumerate().any(may_move) || self.tail().is_some_and(|tail| tail.count(group) > 0)
    }

    /// Numbers of the groups it holds messages of, each once.
    pub(crate) fn groups(&self) -> Vec<u32> {
        let all = self.entries.iter().map(|entry| entry.group);
        let mut groups: Vec<u32> = all.filter(|group| *group > 0).collect();
        groups.extend(self.tail().iter().flat_map(|tail| tail.groups()));
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Takes out copies of a group, in order, until `place` has no place for one. What was sent at
    /// QoS 2, or may have been before a restart, stays (MQTT-4.8.2-4). The log lists them no more.
    pub(crate) fn take<P>(
        &mut self,
        group: u32,
        reach: Reach,
        changes: &mut Changes<'_>,
        mut place: impl FnMut(&Entry) -> Option<P>,
    ) -> Vec<(P, Entry)> {
        let mut taken = Vec::new();
        let mut is_over = false;
        let in_flight = self.in_flight();
        self.sort_in_flight();
        for (at, mut entry) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            let is_sent = at < in_flight;
            let may_move = !is_over && entry.group == group && (!is_sent || self.reaches(reach, &entry));
            let found = if may_move { place(&entry) } else { None };
            is_over |= may_move && found.is_none();
            let Some(place) = found else {
                self.entries.push_back(entry);
                continue;
            };
            let is_late = matches!(reach, Reach::SentBefore(_));
            changes.leaves(&entry);
            entry.unlist();
            if !is_sent {
                self.queue_bytes -= entry.message.size() as u32;
            } else if is_late && entry.stage == Stage::Sent {
                self.entries.push_back(entry.withdrawn());
                self.rare_mut().withdrawn += 1;
                entry.stage = Stage::Moved;
            } else {
                self.in_flight -= 1;
                if entry.is_again() {
                    self.rare_mut().resend -= 1;
                }
                entry.stage = if is_late { Stage::Moved } else { Stage::Waiting };
            }
            taken.push((place, entry));
        }
        if !is_over {
            self.take_behind(group, changes, place, &mut taken);
        }
        self.matched = self.matched.wrapping_sub(taken.len() as u32);
        self.rest();
        taken
    }

    fn take_behind<P>(
        &mut self,
        group: u32,
        changes: &mut Changes<'_>,
        mut place: impl FnMut(&Entry) -> Option<P>,
        taken: &mut Vec<(P, Entry)>,
    ) {
        let Some(mut tail) = self.rare.as_mut().and_then(|rare| rare.tail.take()) else { return };
        let mut left = tail.count(group);
        if left > 0 {
            let store = tail.store().clone();
            let (mut damaged, mut unread) = (Vec::new(), 0);
            tail.rewrite(|priority, item, kept| {
                if item.group() != group {
                    kept.push(item);
                    return false;
                }
                left -= 1;
                if item.reference().is_some_and(|item| item.may_be_known && item.qos == Qos::ExactlyOnce) {
                    kept.push(item);
                    return left == 0;
                }
                let mut entry = match self.read(&*store, priority, item) {
                    Ok(entry) => entry,
                    Err(Unread::Early(reference)) => {
                        kept.push(Item::Reference(reference));
                        return true;
                    }
                    // It stays with its session, whose client will try it again.
                    Err(Unread::Failed(reference, _)) => {
                        kept.push(Item::Reference(reference));
                        unread += 1;
                        return left == 0 || unread == UNREAD_MAX;
                    }
                    Err(Unread::Damaged(reference)) => {
                        damaged.push(reference);
                        return left == 0;
                    }
                };
                let Some(place) = place(&entry) else {
                    kept.push(Item::new(entry));
                    return true;
                };
                changes.leaves(&entry);
                entry.unlist();
                self.queue_bytes -= entry.message.size() as u32;
                taken.push((place, entry));
                left == 0
            });
            for reference in damaged {
                changes.gone.push(reference.gone());
                tail.add_lost(reference);
            }
        }
        self.rare_mut().tail = Some(tail);
    }

    /// Whether something in flight moves too.
    fn reaches(&self, reach: Reach, entry: &Entry) -> bool {
        entry.qos == Qos::AtLeastOnce
            && match reach {
                Reach::Queued => false,
                Reach::Sent => true,
                Reach::SentBefore(end) => {
                    matches!(entry.stage, Stage::Sent | Stage::Again)
                        && self.age(entry.serial) > self.age(end)
                }
            }
    }

    /// Takes out everything of groups that may go to others; the session has ended.
    pub(crate) fn take_shared(&mut self, changes: &mut Changes<'_>) -> Vec<Entry> {
        let mut all = Vec::new();
        for group in self.groups() {
            let taken = self.take(group, Reach::Sent, changes, |_| Some(()));
            all.extend(taken.into_iter().map(|(_, entry)| entry));
        }
        all
    }

    /// Accounts for copies that were taken out and then dropped.
    pub(crate) fn lose(&mut self, count: u32) {
        self.matched = self.matched.wrapping_add(count);
        self.settled = self.settled.wrapping_add(count);
    }

    /// Puts copies of one group among those that wait, each at its place in the sequence of the
    /// group. Returns how many were dropped for want of room.
    ///
    /// Each that is queued has its ordinal when `admit` sees it: there it may be listed in the log,
    /// with a message of its own, as nobody joins the record of another.
    pub(crate) fn merge(
        &mut self,
        mut copies: Vec<Entry>,
        changes: &mut Changes<'_>,
        admit: &mut dyn FnMut(&mut Entry),
    ) -> u32 {
        copies.sort_by_key(Entry::rank);
        let all = copies.len() as u32;
        self.matched = self.matched.wrapping_add(all);
        let mut room = (self.messages_free(), self.bytes_free());
        copies.retain(|copy| {
            let size = copy.message.size();
            let fits = room.0 > 0 && size <= room.1;
            if fits {
                room = (room.0 - 1, room.1 - size);
            }
            fits
        });
        for copy in &mut copies {
            (copy.serial, self.next_ordinal) = (0, self.next_ordinal + 1);
            copy.set_ordinal(self.next_ordinal - 1);
            admit(copy);
        }
        let dropped = all - copies.len() as u32;
        self.settled = self.settled.wrapping_add(dropped);
        self.queue_bytes += copies.iter().map(|copy| copy.message.size() as u32).sum::<u32>();
        let mut copies = copies.into_iter().peekable();
        let queue = self.entries.split_off(self.in_flight());
        self.entries.reserve(queue.len() + copies.len());
        for present in queue {
            let goes_first = |next: &Entry| {
                next.priority > present.priority
                    || next.group == present.group && next.rank() < present.rank()
            };
            while let Some(next) = copies.next_if(goes_first) {
                self.entries.push_back(next);
            }
            self.entries.push_back(present);
        }
        self.extend(copies.collect(), changes);
        dropped
    }

    /// Puts copies of one group behind all that is at hand.
    fn extend(&mut self, mut copies: Vec<Entry>, changes: &mut Changes<'_>) {
        let first = self.tail().and_then(Tail::priority);
        let at_hand = copies.partition_point(|copy| first.is_none_or(|first| copy.priority > first));
        let behind = copies.split_off(at_hand);
        self.entries.extend(copies);
        if let Some(tail) = self.tail_mut() {
            tail.merge(behind);
        }
        self.shorten(changes);
    }
}
