/// When what happens at a rate is due: evenly, from a given time on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Nanoseconds between two of one client.
    gap: f64,
    /// Clients that have this pace; their turns are spread over the gap.
    clients: u32,
}

impl Pace {
    /// `rate` per second of each client.
    pub fn new(rate: f64, clients: u32) -> Self {
        Self { gap: 1e9 / rate, clients: clients.max(1) }
    }

    /// When a client's message with this sequence number is due, in nanoseconds after the start.
    ///
    /// It follows from the numbers alone: whoever was held up catches up, each message with the time
    /// at which it should have left, and no delay is left out of the figures.
    #[inline]
    pub fn due(&self, client: u32, sequence: u64) -> u64 {
        let turn = f64::from(client) / f64::from(self.clients);
        ((sequence as f64 + turn) * self.gap) as u64
    }

    /// How many messages of a client were due before `elapsed`.
    pub fn passed(&self, client: u32, elapsed: u64) -> u64 {
        let turn = f64::from(client) / f64::from(self.clients);
        (elapsed as f64 / self.gap - turn).ceil().max(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_take_turns() {
        let pace = Pace::new(10.0, 4);
        let due: Vec<u64> = (0..8).map(|turn| pace.due(turn % 4, u64::from(turn / 4)) / 1_000_000).collect();
        assert_eq!(due, [0, 25, 50, 75, 100, 125, 150, 175]);
    }

    #[test]
    fn what_should_have_left_is_known() {
        let pace = Pace::new(10.0, 4);
        assert_eq!([0, 1, 100_000_001].map(|elapsed| pace.passed(0, elapsed)), [0, 1, 2]);
        assert_eq!([0, 25_000_000, 25_000_001].map(|elapsed| pace.passed(1, elapsed)), [0, 0, 1]);
    }

    #[test]
    fn nothing_drifts() {
        // A third of a millisecond has no exact form; after a day it is still in time.
        let pace = Pace::new(3000.0, 1);
        assert_eq!(pace.due(0, 3000 * 86_400), 86_400_000_000_000);
    }
}
