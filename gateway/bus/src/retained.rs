use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use gateway_model::{Message, Reason, Topic, TopicFilter};

use crate::Limits;

/// The last retained message of every topic that has one.
///
/// Sorted by topic, so that a filter reads only the range that begins with its fixed levels.
#[derive(Default)]
pub(crate) struct Retained {
    messages: BTreeMap<Topic, Kept>,
    bytes: usize,
    /// No message expires before this.
    first_expiry: Option<Instant>,
    /// What was removed because its time was over, until somebody counts it.
    lapsed: Vec<Arc<Message>>,
}

struct Kept {
    message: Arc<Message>,
    /// When it stops being kept: its own end, or that of the time anything may be kept.
    until: Option<Instant>,
}

impl Kept {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl Retained {
    /// Stores, replaces or (with an empty payload) clears.
    pub(crate) fn store(&mut self, message: &Arc<Message>, now: Instant, limits: &Limits) -> Reason {
        if message.payload.is_empty() {
            self.remove(&message.topic);
            return Reason::Success;
        }
        let fits = |retained: &Self| {
            let replaced = retained.messages.get(&message.topic).map(|old| old.message.size());
            retained.bytes - replaced.unwrap_or(0) + message.size() <= limits.retained_bytes_max
                && (replaced.is_some() || retained.messages.len() < limits.retained_messages_max)
        };
        if !fits(self) {
            self.sweep(now);
        }
        if !fits(self) {
            return Reason::QuotaExceeded;
        }
        self.remove(&message.topic);
        self.bytes += message.size();
        let at_most = limits.retained_expiry_max.map(|expiry| now + expiry);
        let until = message.expires_at.into_iter().chain(at_most).min();
        self.messages.insert(message.topic.clone(), Kept { message: message.clone(), until });
        self.first_expiry = self.first_expiry.into_iter().chain(until).min();
        Reason::Success
    }

    /// Removes what has expired; costs a walk only when something has.
    fn sweep(&mut self, now: Instant) {
        if self.first_expiry.is_none_or(|first| first > now) {
            return;
        }
        let (bytes, lapsed) = (&mut self.bytes, &mut self.lapsed);
        self.messages.retain(|_, kept| {
            let keep = !kept.is_over(now);
            if !keep {
                *bytes -= kept.message.size();
                lapsed.push(kept.message.clone());
            }
            keep
        });
        self.first_expiry = self.messages.values().filter_map(|kept| kept.until).min();
    }

    /// What was removed because its time was over, once.
    pub(crate) fn take_lapsed(&mut self) -> Vec<Arc<Message>> {
        std::mem::take(&mut self.lapsed)
    }

    fn lapse(&mut self, topic: &Topic) {
        let old = self.remove(topic);
        self.lapsed.extend(old);
    }

    fn remove(&mut self, topic: &Topic) -> Option<Arc<Message>> {
        let old = self.messages.remove(topic)?.message;
        self.bytes -= old.size();
        Some(old)
    }

    /// The retained messages of a filter in order of topic, at most `limit`; expired ones are
    /// removed on the way.
    pub(crate) fn read(&mut self, filter: &TopicFilter, now: Instant, limit: usize) -> Vec<Arc<Message>> {
        if !filter.has_wildcard() {
            let Some(kept) = self.messages.get(filter.path()) else { return Vec::new() };
            let message = kept.message.clone();
            if kept.is_over(now) {
                self.lapse(&message.topic);
                return Vec::new();
            }
            return Some(message).into_iter().take(limit).collect();
        }
        let prefix = fixed_prefix(filter.path());
        let mut expired = Vec::new();
        let found = self
            .messages
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(prefix))
            .filter(|(topic, _)| filter.matches(topic))
            .filter(|(topic, kept)| {
                let gone = kept.is_over(now);
                expired.extend(gone.then(|| (*topic).clone()));
                !gone
            })
            .take(limit)
            .map(|(_, kept)| kept.message.clone())
            .collect();
        expired.iter().for_each(|topic| self.lapse(topic));
        found
    }

    pub(crate) fn count(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What every matching topic begins with: `a/b/+` gives `a/b/`, but `a/#` gives `a`, which it
/// matches as well.
fn fixed_prefix(path: &str) -> &str {
    let wildcard = path.find(['+', '#']).unwrap_or(path.len());
    match &path[wildcard..] {
        "#" => path[..wildcard].strip_suffix('/').unwrap_or(&path[..wildcard]),
        _ => &path[..wildcard],
    }
}
