use gateway_model::Qos;

use super::{InFlight, Outbox, Queued};

/// What moves between the members of a group.
impl Outbox {
    /// Messages that may still be queued.
    pub(crate) fn messages_free(&self) -> usize {
        let live = self.queue.len() - self.replayed as usize;
        (self.limits.messages_max as usize).saturating_sub(live)
    }

    /// Bytes that may still be queued.
    pub(crate) fn bytes_free(&self) -> usize {
        (self.limits.bytes_max - self.queue_bytes.min(self.limits.bytes_max)) as usize
    }

    /// Whether nothing above QoS 0 can be sent until something is settled.
    pub(crate) fn is_blocked(&self) -> bool {
        self.in_flight.len() >= usize::from(self.window)
    }

    /// Changes whenever something leaves.
    pub(crate) fn settled(&self) -> u32 {
        self.delivered.wrapping_add(self.dropped)
    }

    /// Whether messages of a group wait or are unacknowledged here that could move.
    pub(crate) fn holds(&self, group: u32) -> bool {
        let may_move = |entry: &InFlight| entry.queued.group == group && entry.queued.qos == Qos::AtLeastOnce;
        self.queue.iter().any(|queued| queued.group == group) || self.in_flight.iter().any(may_move)
    }

    /// Numbers of the groups it holds messages of, each once.
    pub(crate) fn groups(&self) -> Vec<u32> {
        let all = self.queue.iter().chain(self.in_flight.iter().map(|entry| &entry.queued));
        let mut groups: Vec<u32> = all.map(|queued| queued.group).filter(|group| *group > 0).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Takes out copies of a group, in order, until `place` has no place for one. `sent`: also what
    /// was sent at QoS 1 and not acknowledged. What was sent at QoS 2 stays (MQTT-4.8.2-4).
    pub(crate) fn take<P>(
        &mut self,
        group: u32,
        sent: bool,
        mut place: impl FnMut(&Queued) -> Option<P>,
    ) -> Vec<(P, Queued)> {
        let mut taken = Vec::new();
        let mut is_over = false;
        let mut decide = |queued: &Queued, may_move: bool| {
            let found = if is_over || !may_move || queued.group != group { None } else { place(queued) };
            is_over |= may_move && queued.group == group && found.is_none();
            found
        };
        if sent {
            for entry in std::mem::take(&mut self.in_flight) {
                match decide(&entry.queued, entry.queued.qos == Qos::AtLeastOnce) {
                    Some(place) => {
                        self.resend -= u16::from(entry.resend);
                        taken.push((place, entry.queued));
                    }
                    None => self.in_flight.push_back(entry),
                }
            }
        }
        for queued in std::mem::take(&mut self.queue) {
            match decide(&queued, true) {
                Some(place) => {
                    self.queue_bytes -= queued.message.size() as u32;
                    self.replayed -= u32::from(queued.replayed);
                    taken.push((place, queued));
                }
                None => self.queue.push_back(queued),
            }
        }
        self.matched = self.matched.wrapping_sub(taken.len() as u32);
        self.rest();
        taken
    }

    /// Takes out everything of groups that may go to others; the session has ended.
    pub(crate) fn take_shared(&mut self) -> Vec<Queued> {
        let mut all = Vec::new();
        for group in self.groups() {
            all.extend(self.take(group, true, |_| Some(())).into_iter().map(|(_, queued)| queued));
        }
        all
    }

    /// Accounts for copies that were taken out and then dropped.
    pub(crate) fn lose(&mut self, count: u32) {
        self.matched = self.matched.wrapping_add(count);
        self.dropped = self.dropped.wrapping_add(count);
    }

    /// Puts copies of one group among those that wait, each at its place in the sequence of the
    /// group. Returns how many were dropped for want of room.
    pub(crate) fn merge(&mut self, mut copies: Vec<Queued>) -> u32 {
        copies.sort_by_key(Queued::rank);
        let all = copies.len() as u32;
        self.matched = self.matched.wrapping_add(all);
        let mut room = (self.messages_free(), self.bytes_free());
        copies.retain(|queued| {
            let size = queued.message.size();
            let fits = room.0 > 0 && size <= room.1;
            if fits {
                room = (room.0 - 1, room.1 - size);
            }
            fits
        });
        let dropped = all - copies.len() as u32;
        self.dropped = self.dropped.wrapping_add(dropped);
        self.queue_bytes += copies.iter().map(|queued| queued.message.size() as u32).sum::<u32>();
        let mut copies = copies.into_iter().peekable();
        let before = std::mem::take(&mut self.queue);
        self.queue.reserve(before.len() + copies.len());
        for present in before {
            let goes_first = |next: &Queued| {
                next.priority > present.priority
                    || next.group == present.group && next.rank() < present.rank()
            };
            while let Some(next) = copies.next_if(goes_first) {
                self.queue.push_back(next);
            }
            self.queue.push_back(present);
        }
        self.queue.extend(copies);
        dropped
    }
}
