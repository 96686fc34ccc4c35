use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gateway_access::{Denial, Subject};
use gateway_model::Reason;
use parking_lot::Mutex;

/// Counts publishes and subscriptions that are not allowed, and writes the first of each client to the
/// log: then a summary, so that a client that goes on does not fill the disk.
#[derive(Default)]
pub(crate) struct Denials {
    counts: [[AtomicU64; Denial::NAMES.len()]; ACTIONS.len()],
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    logged: Vec<Logged>,
    /// Denials that were not logged because there were too many clients to log for.
    unlogged: u64,
}

struct Logged {
    client_id: Box<str>,
    action: usize,
    at: Instant,
    suppressed: u64,
}

const ACTIONS: [&str; 2] = ["publish", "subscribe"];
const QUIET: Duration = Duration::from_secs(10);
/// Clients and actions that are logged within `QUIET`.
const LOGGED_MAX: usize = 64;

impl Denials {
    pub(crate) fn publish(&self, now: Instant, subject: &Subject<'_>, topic: &str, denial: Denial) -> Reason {
        self.deny(now, 0, subject, topic, denial)
    }

    pub(crate) fn subscribe(
        &self,
        now: Instant,
        subject: &Subject<'_>,
        filter: &str,
        denial: Denial,
    ) -> Reason {
        self.deny(now, 1, subject, filter, denial)
    }

    /// Action, reason, and how often.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        ACTIONS.iter().zip(&self.counts).flat_map(|(action, counts)| {
            let count = |(reason, count): (&&'static str, &AtomicU64)| {
                (*action, *reason, count.load(Ordering::Relaxed))
            };
            Denial::NAMES.iter().zip(counts).map(count)
        })
    }

    fn deny(
        &self,
        now: Instant,
        action: usize,
        subject: &Subject<'_>,
        topic: &str,
        denial: Denial,
    ) -> Reason {
        self.counts[action][denial.index()].fetch_add(1, Ordering::Relaxed);
        let due = self.recent.lock().due(now, subject.client_id, action);
        if let Some((suppressed, unlogged)) = due {
            tracing::warn!(
                client = subject.client_id,
                user = subject.identity.username.as_deref(),
                peer = %subject.address,
                topic = %Shortened(topic),
                suppressed,
                unlogged,
                "{} refused: {denial}",
                ACTIONS[action]
            );
        }
        Reason::NotAuthorized
    }
}

impl Recent {
    /// What was left out before, if this one is to be logged.
    fn due(&mut self, now: Instant, client_id: &str, action: usize) -> Option<(u64, u64)> {
        let known = |logged: &&mut Logged| logged.action == action && *logged.client_id == *client_id;
        if let Some(logged) = self.logged.iter_mut().find(known) {
            if now.saturating_duration_since(logged.at) < QUIET {
                logged.suppressed += 1;
                return None;
            }
            logged.at = now;
            return Some((std::mem::take(&mut logged.suppressed), std::mem::take(&mut self.unlogged)));
        }
        if self.logged.len() >= LOGGED_MAX {
            self.logged.retain(|logged| now.saturating_duration_since(logged.at) < QUIET);
        }
        if self.logged.len() >= LOGGED_MAX {
            self.unlogged += 1;
            return None;
        }
        self.logged.push(Logged { client_id: client_id.into(), action, at: now, suppressed: 0 });
        Some((0, std::mem::take(&mut self.unlogged)))
    }
}

/// A topic of 64 KiB does not belong in a log.
struct Shortened<'a>(&'a str);

impl std::fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const BYTES_MAX: usize = 200;
        match self.0.len() {
            0..=BYTES_MAX => write!(f, "{}", self.0.escape_debug()),
            _ => write!(f, "{}...", self.0[..self.0.floor_char_boundary(BYTES_MAX)].escape_debug()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_per_client_and_for_all() {
        let (now, mut recent) = (Instant::now(), Recent::default());
        assert_eq!(recent.due(now, "a", 0), Some((0, 0)));
        assert_eq!(recent.due(now, "a", 0), None);
        assert_eq!(recent.due(now, "a", 1), Some((0, 0)));
        assert_eq!(recent.due(now + QUIET, "a", 0), Some((1, 0)));
        let later = now + QUIET;
        let logged = (0..1000).filter(|number| recent.due(later, &number.to_string(), 0).is_some()).count();
        assert_eq!(logged, LOGGED_MAX - 1, "one is taken by the client above");
        assert_eq!(recent.due(later + QUIET, "b", 0), Some((0, 1000 - logged as u64)));
        assert!(recent.logged.len() <= LOGGED_MAX);
    }

    #[test]
    fn a_topic_is_shown_in_part_and_without_control_characters() {
        assert_eq!(Shortened("a/\u{1b}").to_string(), "a/\\u{1b}");
        assert_eq!(Shortened(&"ä".repeat(300)).to_string(), format!("{}...", "ä".repeat(100)));
    }
}
