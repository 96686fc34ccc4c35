use std::cmp::Reverse;

use gateway_model::Qos;

use super::reference::{Arrival, Copy, Counts, Reference, Sent, Session};

impl Reference {
    /// A crash at a moment when everything is in the log that belongs there, and a new start.
    pub(super) fn restart(&mut self, now: u64) {
        self.now = now;
        self.counts = Counts::default();
        self.sessions.retain(|_, session| session.is_durable);
        self.sessions.iter_mut().for_each(|(client, session)| session.restart(*client, now));
        self.retained_log.retain(|_, (_, until)| until.is_none_or(|until| until > now));
        self.retained = self.retained_log.clone();
        self.unwritten.clear();
        self.delayed.retain(|(_, body)| body.qos > Qos::AtMostOnce);
    }
}

impl Session {
    /// What is left of it after a crash: nothing at QoS 0, and of what was on its way only that the
    /// receiver had it is known.
    fn restart(&mut self, client: usize, now: u64) {
        if std::mem::take(&mut self.connected) {
            let at = |secs: u64| (now + secs) * 1000 + client as u64;
            self.ends_at = self.expiry.map(at);
            self.will_at = self.will.as_ref().map(|(_, delay)| at(*delay));
        }
        let is_stored = |copy: &Copy| copy.qos.min(copy.body.qos) > Qos::AtMostOnce;
        let (received, mut again): (Vec<Sent>, Vec<Sent>) =
            std::mem::take(&mut self.sent).into_iter().partition(|sent| sent.received);
        self.sent = received;
        self.sent.sort_by_key(|sent| sent.copy.arrival.ordinal);
        let mut queue: Vec<Copy> = again
            .drain(..)
            .map(|sent| Copy {
                arrival: Arrival { was_sent: Some(true), id: sent.id, ..sent.copy.arrival },
                ..sent.copy
            })
            .collect();
        for mut copy in self.queue.drain(..) {
            copy.arrival.was_sent = copy.arrival.was_sent.filter(|was_sent| *was_sent);
            queue.push(copy);
        }
        queue.retain(is_stored);
        queue.sort_by_key(|copy| (Reverse(copy.priority), copy.arrival.ordinal));
        self.queue = queue.into();
    }
}
