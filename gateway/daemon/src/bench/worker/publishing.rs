use protocol_mqtt::codec::Acknowledgement;

use super::Worker;
use crate::bench::client::Client;
use crate::bench::run::{Loop, Seat, Stage};
use crate::bench::tally::Live;
use crate::client::{ClientError, Said};

/// Messages that a publisher may put out at a turn if nothing but its socket holds it up.
const BURST: u64 = 64;
/// Bytes that a publisher may have unsent and still put out more.
const BACKLOG_BYTES_MAX: usize = 64 * 1024;

impl Worker {
    /// The publisher may have something to send.
    #[inline]
    pub(super) fn list(&mut self, publisher: u32) {
        if self.stage != Stage::Publishing {
            return;
        }
        let Some(known) = self.publishers.get_mut(publisher as usize) else { return };
        if !std::mem::replace(&mut known.is_listed, true) {
            self.sendable.push(publisher);
        }
    }

    /// Lists a publisher that nothing but its socket holds up, now that the socket does not.
    #[inline]
    pub(super) fn list_if_held_up(&mut self, publisher: u32) {
        let is_flood = matches!(self.run.loop_, Loop::Closed { .. });
        let Some(known) = self.publishers.get(publisher as usize) else { return };
        let is_free = is_flood && !known.is_answered() && known.sent < self.run.count_max;
        if is_free || self.is_behind(publisher) {
            self.list(publisher);
        }
    }

    /// Puts out what may be published now; when the next message is due.
    pub(super) fn publish(&mut self, live: &mut Live) -> u64 {
        if self.stage != Stage::Publishing {
            return u64::MAX;
        }
        let now = self.run.clock.now();
        let next = match self.run.loop_ {
            Loop::Closed { .. } => u64::MAX,
            Loop::Open(_) => self.list_due(now),
        };
        let mut sendable = std::mem::take(&mut self.sendable);
        for publisher in sendable.drain(..) {
            self.put_out(publisher, now, live);
        }
        // What was listed meanwhile stays; the larger vector is worth keeping.
        if self.sendable.is_empty() {
            self.sendable = sendable;
        }
        next
    }

    /// Lists whose time has come; when the next one's comes.
    fn list_due(&mut self, now: u64) -> u64 {
        let Loop::Open(pace) = self.run.loop_ else { return u64::MAX };
        let (from, count) = (self.run.published_from(), self.publishers.len() as u64);
        if count == 0 {
            return u64::MAX;
        }
        loop {
            let (publisher, sequence) = ((self.turn % count) as u32, self.turn / count);
            if sequence >= self.run.count_max {
                return u64::MAX;
            }
            let number = self.publishers[publisher as usize].number;
            let due = from.saturating_add(pace.due(number, sequence));
            if due > now {
                return due;
            }
            self.list(publisher);
            self.turn += 1;
        }
    }

    fn put_out(&mut self, index: u32, now: u64, live: &mut Live) {
        let Some(publisher) = self.publishers.get_mut(index as usize) else { return };
        publisher.is_listed = false;
        let client = self.clients.get_mut(publisher.client as usize);
        let Some((open, _)) = client.filter(|client| client.is_up()).and_then(Client::open) else { return };
        let left = self.run.count_max.saturating_sub(publisher.sent);
        let unacknowledged = publisher.packet_ids.in_use();
        let window_max = open.receive_maximum.saturating_sub(unacknowledged);
        let mut emitted = 0;
        match self.run.loop_ {
            Loop::Closed { window } => {
                let room = match publisher.is_answered() {
                    true => u64::from(publisher.room(window).min(window_max)),
                    false => BURST,
                };
                while emitted < room.min(left) && open.line.backlog() < BACKLOG_BYTES_MAX {
                    open.line.put(&mut self.spare, |out| publisher.emit(now, now, out));
                    emitted += 1;
                }
            }
            Loop::Open(pace) => {
                let from = self.run.published_from();
                let room = if publisher.takes_ids() { u64::from(window_max) } else { u64::MAX };
                while emitted < room.min(left) && open.line.backlog() < BACKLOG_BYTES_MAX {
                    let due = from.saturating_add(pace.due(publisher.number, publisher.sent));
                    if due > now {
                        break;
                    }
                    open.line.put(&mut self.spare, |out| publisher.emit(now, due, out));
                    emitted += 1;
                }
            }
        }
        if emitted > 0 {
            live.tally.sent += emitted;
            live.tally.owed += emitted * u64::from(publisher.copies());
            if !std::mem::replace(&mut open.line.is_dirty, true) {
                self.dirty.push(publisher.client);
            }
        }
    }

    /// Whether something of this publisher was due before its turn in an open loop, and was held up.
    fn is_behind(&self, publisher: u32) -> bool {
        let Loop::Open(pace) = self.run.loop_ else { return false };
        let Some(publisher) = self.publishers.get(publisher as usize) else { return false };
        let due = self.run.published_from().saturating_add(pace.due(publisher.number, publisher.sent));
        self.stage == Stage::Publishing && publisher.sent < self.run.count_max && due <= self.run.clock.now()
    }

    /// The broker has taken over a message, or refused it.
    pub(super) fn acknowledged(
        &mut self,
        index: u32,
        packet: &Acknowledgement<'_>,
        now: u64,
        live: &mut Live,
    ) {
        let Some(client) = self.clients.get(index as usize) else { return };
        let place = client.place as u32;
        let publisher = self.publishers.get_mut(client.place).filter(|known| known.client == index);
        let Some(publisher) = publisher else { return };
        let Some(at) = publisher.packet_ids.release(packet.packet_id) else { return };
        live.tally.progress_at = now;
        if packet.reason.is_error() {
            live.tally.denied += 1;
            let said = Said::new(packet.reason, packet.properties);
            let client_id = self.run.roster.client_id(client.member);
            live.failures.add(&client_id, &ClientError::Denied(format!("message refused by broker: {said}")));
        } else {
            live.tally.acknowledged += 1;
            live.acknowledgement.record(now.saturating_sub(at));
        }
        self.list(place);
    }

    /// Copies of a message of this publisher have arrived, wherever it is.
    #[inline]
    pub(super) fn settle(&mut self, number: u32, copies: u64, now: u64) {
        let threads = self.run.roster.threads;
        let thread = self.run.roster.thread_of_publisher(number) as usize;
        if thread != self.thread {
            if let Some(settled) = self.settled.get_mut(thread) {
                settled.push((number, copies));
            }
            return;
        }
        let place = number / threads;
        if let Some(publisher) = self.publishers.get_mut(place as usize) {
            publisher.settle(copies, now);
            if matches!(self.run.loop_, Loop::Closed { .. }) {
                self.list(place);
            }
        }
    }

    /// Tells the other threads what has arrived of theirs, and hears what they have to tell.
    pub(super) fn settle_others(&mut self, seat: &Seat) {
        if self.settled.len() == 1 {
            return;
        }
        for (thread, settled) in
            self.settled.iter_mut().enumerate().filter(|(_, settled)| !settled.is_empty())
        {
            if let Some(other) = self.run.threads.get(thread) {
                other.settled.lock().append(settled);
                other.ready.wake();
            }
        }
        let settled = std::mem::take(&mut *seat.settled.lock());
        let now = self.run.clock.now();
        for (number, copies) in settled {
            self.settle(number, copies, now);
        }
    }

    /// Who has waited since `then` for messages that are lost goes on without them.
    pub(super) fn give_up_stuck(&mut self, then: u64, live: &mut Live) {
        if self.stage != Stage::Publishing {
            return;
        }
        for index in 0..self.publishers.len() {
            if self.publishers[index].give_up(then) {
                live.tally.stalls += 1;
                self.list(index as u32);
            }
        }
    }

    pub(super) fn stop_publishing(&mut self, live: &mut Live) {
        self.sendable.clear();
        if let Loop::Open(pace) = self.run.loop_ {
            let elapsed = self.run.clock.now().saturating_sub(self.run.published_from());
            let behind = self.publishers.iter().map(|publisher| {
                pace.passed(publisher.number, elapsed).min(self.run.count_max).saturating_sub(publisher.sent)
            });
            live.tally.unsent += behind.sum::<u64>();
        }
    }
}
