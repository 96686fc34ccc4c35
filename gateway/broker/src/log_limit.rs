use std::time::{Duration, Instant};

/// Keeps clients that do the same for ever from filling the log: of each source the first event is
/// logged, then one every while with the number of those left out; and of so many sources at a time.
pub(crate) struct LogLimit<S> {
    logged: Vec<Logged<S>>,
    /// Events that were not logged because there were too many sources.
    unlogged: u64,
}

struct Logged<S> {
    source: S,
    at: Instant,
    suppressed: u64,
}

/// What was not logged before an event that is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// From the same source.
    pub(crate) suppressed: u64,
    /// From sources for which there was no room.
    pub(crate) unlogged: u64,
}

const QUIET: Duration = Duration::from_secs(10);
/// Sources that are logged within `QUIET`.
const SOURCES_MAX: usize = 64;

impl<S> Default for LogLimit<S> {
    fn default() -> Self {
        Self { logged: Vec::new(), unlogged: 0 }
    }
}

impl<S> LogLimit<S> {
    /// What was left out before, if this event is to be logged. The source is made only if it is new.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        is_source: impl Fn(&S) -> bool,
        source: impl FnOnce() -> S,
    ) -> Option<LeftOut> {
        let is_recent = |logged: &Logged<S>| now.saturating_duration_since(logged.at) < QUIET;
        let mut suppressed = 0;
        if let Some(logged) = self.logged.iter_mut().find(|logged| is_source(&logged.source)) {
            if is_recent(logged) {
                logged.suppressed += 1;
                return None;
            }
            logged.at = now;
            suppressed = std::mem::take(&mut logged.suppressed);
        } else {
            if self.logged.len() >= SOURCES_MAX {
                self.logged.retain(is_recent);
            }
            if self.logged.len() >= SOURCES_MAX {
                self.unlogged += 1;
                return None;
            }
            self.logged.push(Logged { source: source(), at: now, suppressed: 0 });
        }
        Some(LeftOut { suppressed, unlogged: std::mem::take(&mut self.unlogged) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_per_source_and_for_all() {
        let (now, mut limit) = (Instant::now(), LogLimit::default());
        let mut due = |now, source: u32| limit.due(now, |known| *known == source, || source);
        assert_eq!(due(now, 0), Some(LeftOut::default()));
        assert_eq!(due(now, 0), None);
        assert_eq!(due(now, 1), Some(LeftOut::default()));
        let later = now + QUIET;
        assert_eq!(due(later, 0), Some(LeftOut { suppressed: 1, unlogged: 0 }));
        let logged = (1000..2000).filter(|source| due(later, *source).is_some()).count();
        assert_eq!(logged, SOURCES_MAX - 1, "one is taken by the source above");
        let left_out = LeftOut { suppressed: 0, unlogged: 1000 - logged as u64 };
        assert_eq!(due(later + QUIET, 2), Some(left_out));
        assert!(limit.logged.len() <= SOURCES_MAX);
    }
}
