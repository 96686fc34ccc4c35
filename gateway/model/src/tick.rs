use std::num::NonZeroU64;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// An [`Instant`] in half the space, for what there may be a million of: nanoseconds before or after the
/// first moment that anybody made one of.
///
/// That first one may lie anywhere, a week ahead if it is a deadline. What is more than 292 years from it
/// is at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(NonZeroU64);

static FIRST: OnceLock<Instant> = OnceLock::new();
/// The first one; less is before it.
const MIDDLE: u64 = 1 << 63;

impl Tick {
    /// `None` if the clock does not reach so far.
    pub fn instant(self) -> Option<Instant> {
        let first = FIRST.get()?;
        match self.0.get().checked_sub(MIDDLE) {
            Some(ahead) => first.checked_add(Duration::from_nanos(ahead)),
            None => first.checked_sub(Duration::from_nanos(MIDDLE - self.0.get())),
        }
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
        let first = *FIRST.get_or_init(|| instant);
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let number = match instant.checked_duration_since(first) {
            Some(ahead) => MIDDLE.saturating_add(nanos(ahead)),
            None => MIDDLE.saturating_sub(nanos(first - instant)),
        };
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever other tests have made first, some of these are before it and some behind.
    #[test]
    fn to_the_nanosecond_on_both_sides_of_the_first() {
        let now = Instant::now();
        let (nano, month) = (Duration::from_nanos(1), Duration::from_secs(30 * 24 * 60 * 60));
        let first = Tick::from(now + month);
        for instant in [now, now + nano, now - month, now + 2 * month, now + Duration::from_secs(1 << 32)] {
            assert_eq!(Tick::from(instant).instant(), Some(instant));
            assert!(Tick::from(instant) < Tick::from(instant + nano));
            assert_eq!(Tick::from(instant).elapsed(instant + month), month);
        }
        assert_eq!(first.instant(), Some(now + month));
        let tick = Tick::from(now);
        assert_eq!((tick.elapsed(now + nano), tick.elapsed(now - nano)), (nano, Duration::ZERO));
        assert_eq!(tick.checked_add(nano), Some(Tick::from(now + nano)));
        assert_eq!(tick.checked_add(Duration::MAX), None);
        assert_eq!(size_of::<Option<Tick>>(), 8);
    }

    #[test]
    fn what_is_far_away_is_at_the_end() {
        let now = Instant::now();
        let far = Duration::from_secs(1000 * 365 * 24 * 60 * 60);
        let later = now.checked_add(far).map(Tick::from);
        assert!(later.is_none_or(|tick| tick == Tick(NonZeroU64::MAX)));
        let earlier = now.checked_sub(far).map(Tick::from);
        assert!(earlier.is_none_or(|tick| tick == Tick(NonZeroU64::MIN)));
    }
}
