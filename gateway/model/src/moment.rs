use std::time::{Duration, Instant};

/// Both clocks at one moment: the steady one for durations, the wall clock for people and for what
/// outlives the process.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub instant: Instant,
    pub unix_millis: u64,
}

impl Moment {
    /// The wall clock's reading at another instant, as far as this moment knows.
    pub fn unix_millis_at(&self, instant: Instant) -> u64 {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        match instant.checked_duration_since(self.instant) {
            Some(ahead) => self.unix_millis.saturating_add(millis(ahead)),
            None => self.unix_millis.saturating_sub(millis(self.instant - instant)),
        }
    }

    /// The instant at which the wall clock reads `unix_millis`; what is past is now, and what is too
    /// far away for the clock is a century ahead.
    pub fn instant_at(&self, unix_millis: u64) -> Instant {
        const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        let ahead = Duration::from_millis(unix_millis.saturating_sub(self.unix_millis));
        self.instant + ahead.min(FAR)
    }
}

/// Milliseconds since 1970, in the six bytes that they need until the year 10889: a message with two
/// bytes more of it would be of the next larger kind of allocation, which costs a tenth of its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnixMillis([u8; 6]);

impl UnixMillis {
    pub fn get(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

/// What is later than the last is the last.
impl From<u64> for UnixMillis {
    fn from(millis: u64) -> Self {
        const LAST: u64 = (1 << 48) - 1;
        let [a, b, c, d, e, f, _, _] = millis.min(LAST).to_le_bytes();
        Self([a, b, c, d, e, f])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_come_back() {
        for millis in [0, 1, 1_700_000_000_123, (1 << 48) - 1] {
            assert_eq!(UnixMillis::from(millis).get(), millis);
        }
        assert_eq!(UnixMillis::from(u64::MAX).get(), (1 << 48) - 1);
    }
}
