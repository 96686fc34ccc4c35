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
