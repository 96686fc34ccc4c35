use std::num::NonZeroU64;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// An [`Instant`] in half the space, for what there may be a million of: nanoseconds of this process.
///
/// What was before a day before the first of them is that moment, and what is 584 years away is the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(NonZeroU64);

/// As far back as anything may lie that is measured by one.
const PAST: Duration = Duration::from_secs(24 * 60 * 60);

fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(PAST).unwrap_or(now)
    })
}

impl Tick {
    /// `None` for ever.
    pub fn instant(self) -> Option<Instant> {
        epoch().checked_add(Duration::from_nanos(self.0.get() - 1))
    }

    /// How long ago it is; nothing if it is still to come.
    pub fn elapsed(self, now: Instant) -> Duration {
        let now = Self::from(now);
        Duration::from_nanos(now.0.get().saturating_sub(self.0.get()))
    }

    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(u64::try_from(duration.as_nanos()).ok()?).map(Self)
    }
}

impl From<Instant> for Tick {
    fn from(instant: Instant) -> Self {
        let nanos = instant.saturating_duration_since(epoch()).as_nanos();
        Self(NonZeroU64::MIN.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_the_nanosecond() {
        let now = Instant::now();
        let nano = Duration::from_nanos(1);
        for instant in [now, now + nano, now - Duration::from_secs(3600), now + Duration::from_secs(1 << 32)] {
            assert_eq!(Tick::from(instant).instant(), Some(instant));
            assert!(Tick::from(instant) < Tick::from(instant + nano));
        }
        let tick = Tick::from(now);
        assert_eq!(tick.elapsed(now + nano), nano);
        assert_eq!(tick.elapsed(now - nano), Duration::ZERO);
        assert_eq!(tick.checked_add(nano), Some(Tick::from(now + nano)));
        assert_eq!(tick.checked_add(Duration::MAX), None);
        assert_eq!(size_of::<Option<Tick>>(), 8);
    }

    #[test]
    fn what_is_far_away_is_at_the_end() {
        let now = Instant::now();
        let long_ago = now.checked_sub(2 * PAST);
        assert!(long_ago.is_none_or(|instant| Tick::from(instant).instant() < Some(now - PAST / 2)));
        let far = Duration::from_secs(1000 * 365 * 24 * 60 * 60);
        let ages = now.checked_add(far).map(Tick::from);
        assert!(ages.is_none_or(|tick| tick == Tick(NonZeroU64::MAX)));
    }
}
