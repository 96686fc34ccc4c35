use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::secret_bytes::{hmac_sha256, random};

/// Logins that succeeded lately, so that a thousand clients that come back at once do not have to
/// prove anew what took milliseconds of CPU each.
///
/// Kept is a hash of name and password under a key that is made anew with each reload of the users
/// and never leaves the process.
pub(crate) struct Proven {
    key: [u8; 32],
    lifetime: Duration,
    entries_max: usize,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    tags: HashSet<[u8; 32]>,
    /// In the order of their end: all live equally long.
    ends: VecDeque<(Instant, [u8; 32])>,
}

impl Proven {
    pub(crate) fn new(lifetime: Duration, entries_max: usize) -> Self {
        Self { key: random(), lifetime, entries_max, entries: Mutex::default() }
    }

    pub(crate) fn contains(&self, now: Instant, username: &str, password: &[u8]) -> bool {
        let mut entries = self.entries.lock();
        entries.forget(now);
        // Nothing to find saves the hash.
        !entries.tags.is_empty() && entries.tags.contains(&self.tag(username, password))
    }

    pub(crate) fn insert(&self, now: Instant, username: &str, password: &[u8]) {
        if self.lifetime.is_zero() || self.entries_max == 0 {
            return;
        }
        let tag = self.tag(username, password);
        let mut entries = self.entries.lock();
        entries.forget(now);
        if entries.tags.insert(tag) {
            entries.ends.push_back((now + self.lifetime, tag));
        }
        if entries.ends.len() > self.entries_max {
            entries.drop_oldest();
        }
    }

    fn tag(&self, username: &str, password: &[u8]) -> [u8; 32] {
        let length = (username.len() as u64).to_le_bytes();
        hmac_sha256(&self.key, &[&length, username.as_bytes(), password])
    }
}

impl Entries {
    fn forget(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, tag)) = self.ends.pop_front() {
            self.tags.remove(&tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_remembered_for_a_while() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let proven = Proven::new(second, 10);
        proven.insert(now, "a", b"bc");
        proven.insert(now, "a", b"bc");
        assert!(proven.contains(now, "a", b"bc"));
        assert!(!proven.contains(now, "ab", b"c") && !proven.contains(now, "a", b"b"));
        assert!(!proven.contains(now + second, "a", b"bc"));
        assert!(proven.entries.lock().tags.is_empty());
    }

    #[test]
    fn the_memory_is_bounded_and_can_be_off() {
        let now = Instant::now();
        let proven = Proven::new(Duration::from_secs(1), 2);
        for name in ["a", "b", "c"] {
            proven.insert(now, name, b"x");
        }
        assert!(!proven.contains(now, "a", b"x") && proven.contains(now, "c", b"x"));
        assert_eq!(proven.entries.lock().ends.len(), 2);
        for off in [Proven::new(Duration::ZERO, 2), Proven::new(Duration::from_secs(1), 0)] {
            off.insert(now, "a", b"x");
            assert!(!off.contains(now, "a", b"x"));
        }
    }
}
