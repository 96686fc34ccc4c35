use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds since 1970 that only go forward: the time of day is looked at once, so that a step of
/// it during a run changes nothing, and two runs on one machine agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_at: u64,
}

impl Clock {
    pub fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_at: nanos(since_1970) }
    }

    #[inline]
    pub fn now(&self) -> u64 {
        self.started_at + nanos(self.started.elapsed())
    }
}

/// Five hundred years fit.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// For rates and for people.
pub fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
