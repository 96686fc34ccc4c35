use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gateway_access::{Denial, Subject};
use gateway_model::Reason;
use parking_lot::Mutex;

use crate::log_limit::{LeftOut, LogLimit};

/// Counts publishes and subscriptions that are not allowed, and logs them, within bounds for each client
/// and action.
#[derive(Default)]
pub(crate) struct Denials {
    counts: [[AtomicU64; Denial::NAMES.len()]; ACTIONS.len()],
    logged: Mutex<LogLimit<Source>>,
}

/// A client, and the action that it may not do.
struct Source {
    client_id: Box<str>,
    action: usize,
}

const ACTIONS: [&str; 2] = ["publish", "subscribe"];

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
        let is_source = |source: &Source| source.action == action && *source.client_id == *subject.client_id;
        let source = || Source { client_id: subject.client_id.into(), action };
        let due = self.logged.lock().due(now, is_source, source);
        if let Some(LeftOut { suppressed, unlogged }) = due {
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
    fn a_topic_is_shown_in_part_and_without_control_characters() {
        assert_eq!(Shortened("a/\u{1b}").to_string(), "a/\\u{1b}");
        assert_eq!(Shortened(&"ä".repeat(300)).to_string(), format!("{}...", "ä".repeat(100)));
    }
}
