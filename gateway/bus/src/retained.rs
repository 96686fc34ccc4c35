use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use gateway_model::{Message, Reason, Topic, TopicFilter};

/// The last retained message of every topic that has one.
///
/// Sorted by topic, so that a filter reads only the range that begins with its fixed levels.
#[derive(Default)]
pub(crate) struct Retained {
    messages: BTreeMap<Topic, Arc<Message>>,
    bytes: usize,
}

impl Retained {
    /// Stores, replaces or (with an empty payload) clears.
    pub(crate) fn store(&mut self, message: &Arc<Message>, messages_max: usize, bytes_max: usize) -> Reason {
        if message.payload.is_empty() {
            self.remove(&message.topic);
            return Reason::Success;
        }
        let replaced = self.messages.get(&message.topic).map_or(0, |old| old.size());
        if self.bytes - replaced + message.size() > bytes_max
            || (replaced == 0 && self.messages.len() >= messages_max)
        {
            return Reason::QuotaExceeded;
        }
        self.bytes = self.bytes - replaced + message.size();
        self.messages.insert(message.topic.clone(), message.clone());
        Reason::Success
    }

    fn remove(&mut self, topic: &Topic) {
        if let Some(old) = self.messages.remove(topic) {
            self.bytes -= old.size();
        }
    }

    /// The retained messages of a filter in order of topic, at most `limit`; expired ones are
    /// removed on the way.
    pub(crate) fn read(&mut self, filter: &TopicFilter, now: Instant, limit: usize) -> Vec<Arc<Message>> {
        if !filter.has_wildcard() {
            let found = self.messages.get(filter.path()).cloned();
            if found.as_ref().is_some_and(|message| message.is_expired(now)) {
                found.inspect(|message| self.remove(&message.topic));
                return Vec::new();
            }
            return found.into_iter().take(limit).collect();
        }
        let prefix = fixed_prefix(filter.path());
        let mut expired = Vec::new();
        let found = self
            .messages
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(prefix))
            .filter(|(topic, _)| filter.matches(topic))
            .filter(|(topic, message)| {
                let gone = message.is_expired(now);
                expired.extend(gone.then(|| (*topic).clone()));
                !gone
            })
            .take(limit)
            .map(|(_, message)| message.clone())
            .collect();
        expired.iter().for_each(|topic| self.remove(topic));
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
