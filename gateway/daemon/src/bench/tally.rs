use super::failures::Failures;
use super::histogram::Histogram;

/// What has been counted so far. Everything grows but `connected`, `blocked` and `missing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Clients that are there now, subscribed if they are to be.
    pub connected: u64,
    /// Clients that were there at some time.
    pub established: u64,
    /// Clients that never got there.
    pub refused: u64,
    /// Connections that ended without our doing.
    pub lost_connections: u64,
    pub sent: u64,
    /// PUBACK and PUBCOMP.
    pub acknowledged: u64,
    /// Publishes that the broker answered with an error.
    pub denied: u64,
    /// Copies that subscribers of this run are to have.
    pub owed: u64,
    /// Deliveries, duplicates too.
    pub received: u64,
    pub duplicates: u64,
    pub out_of_order: u64,
    /// Sequence numbers that were skipped and have not come. In a shared subscription one thread may see
    /// the gap and another one what fills it.
    pub missing: i64,
    /// Deliveries that are not of this run, or not for who got them.
    pub unexpected: u64,
    /// Times that a publisher gave up waiting for what was under way.
    pub stalls: u64,
    /// Messages of an open loop whose time had come when it ended, and that had not left.
    pub unsent: u64,
    /// Clients that the broker holds up: it does not read what they have written.
    pub blocked: u64,
    /// When the last client was there.
    pub established_at: u64,
    /// When something first arrived, 0 if nothing has, and when something last arrived or was
    /// acknowledged.
    pub arrived_from: u64,
    pub progress_at: u64,
}

/// What a thread counts and the summary reads.
pub struct Live {
    pub tally: Tally,
    /// From the stamp to the arrival, since it was last looked at.
    pub delivery: Histogram,
    /// From PUBLISH to PUBACK or PUBCOMP.
    pub acknowledgement: Histogram,
    /// From the first SYN to the CONNACK.
    pub connect: Histogram,
    pub failures: Failures,
}

impl Live {
    pub fn new() -> Self {
        Self {
            tally: Tally::default(),
            delivery: Histogram::new(),
            acknowledgement: Histogram::new(),
            connect: Histogram::new(),
            failures: Failures::default(),
        }
    }

    /// Takes what another one has measured and adds what it has counted.
    pub fn absorb(&mut self, other: &mut Self) {
        self.tally.add(&other.tally);
        other.delivery.drain_into(&mut self.delivery);
        other.acknowledgement.drain_into(&mut self.acknowledgement);
        other.connect.drain_into(&mut self.connect);
        other.failures.drain_into(&mut self.failures);
    }
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.connected += other.connected;
        self.established += other.established;
        self.refused += other.refused;
        self.lost_connections += other.lost_connections;
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.denied += other.denied;
        self.owed += other.owed;
        self.received += other.received;
        self.duplicates += other.duplicates;
        self.out_of_order += other.out_of_order;
        self.missing = self.missing.saturating_add(other.missing);
        self.unexpected += other.unexpected;
        self.stalls += other.stalls;
        self.unsent += other.unsent;
        self.blocked += other.blocked;
        if self.arrived_from == 0 || (1..self.arrived_from).contains(&other.arrived_from) {
            self.arrived_from = other.arrived_from;
        }
        self.established_at = self.established_at.max(other.established_at);
        self.progress_at = self.progress_at.max(other.progress_at);
    }

    /// Different messages that have arrived.
    pub fn arrived(&self) -> u64 {
        self.received - self.duplicates
    }

    /// What has not arrived of what had to.
    pub fn lost(&self) -> u64 {
        match self.owed {
            0 => u64::try_from(self.missing).unwrap_or(0),
            owed => owed.saturating_sub(self.arrived()),
        }
    }

    /// Clients that came up or will not.
    pub fn decided(&self) -> u64 {
        self.established + self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_is_what_was_owed_and_has_not_arrived() {
        let tally = Tally { owed: 10, received: 9, duplicates: 2, missing: 1, ..Tally::default() };
        assert_eq!((tally.arrived(), tally.lost()), (7, 3));
        let listener = Tally { owed: 0, received: 9, missing: 4, ..Tally::default() };
        assert_eq!(listener.lost(), 4, "who only listens knows the gaps");
    }

    #[test]
    fn threads_add_up() {
        let (mut all, mut one) = (Live::new(), Live::new());
        one.tally = Tally { sent: 5, progress_at: 9, ..Tally::default() };
        one.delivery.record(70);
        all.absorb(&mut one);
        one.tally.progress_at = 4;
        one.delivery.record(80);
        all.absorb(&mut one);
        assert_eq!((all.tally.sent, all.tally.progress_at), (10, 9));
        assert_eq!((all.delivery.count(), one.delivery.count()), (2, 0));
    }
}
