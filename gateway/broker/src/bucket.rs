use std::time::{Duration, Instant};

/// A token bucket: so many per second, a second's worth at once. It may go below nothing, and fills
/// up from there.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_sec: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// Full at first.
    pub(crate) fn new(now: Instant, per_sec: u32) -> Self {
        Self { per_sec: per_sec.into(), tokens: per_sec.into(), filled: now }
    }

    /// Takes so many out, there or not.
    pub(crate) fn take(&mut self, count: f64) {
        self.tokens -= count;
    }

    /// Whether there is at least one; else when there will be.
    pub(crate) fn is_empty_until(&mut self, now: Instant) -> Option<Instant> {
        let passed = now.saturating_duration_since(self.filled);
        self.filled = self.filled.max(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * self.per_sec).min(self.per_sec);
        let missing = 1.0 - self.tokens;
        (missing > 1e-6).then(|| now + Duration::from_secs_f64(missing / self.per_sec))
    }

    /// Takes one if there is one.
    pub(crate) fn try_take(&mut self, now: Instant) -> bool {
        let there = self.is_empty_until(now).is_none();
        if there {
            self.take(1.0);
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_goes_at_once_and_then_so_many_per_second() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut bucket = Bucket::new(start, 10);
        assert_eq!((0..20).filter(|_| bucket.try_take(start)).count(), 10);
        assert_eq!((0..20).filter(|_| bucket.try_take(at(500))).count(), 5);
        assert_eq!((0..20).filter(|_| bucket.try_take(at(60_000))).count(), 10, "it holds no more");
    }

    #[test]
    fn a_debt_is_waited_out() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 10);
        bucket.take(30.0);
        let until = bucket.is_empty_until(start).unwrap();
        assert!(until - start >= Duration::from_millis(2099), "20 owed and 1 to take: {:?}", until - start);
        assert!(until - start <= Duration::from_millis(2101));
        assert_eq!(bucket.is_empty_until(until), None);
    }
}
