use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_model::{Message, Moment, Qos, Reason, Topic, TopicFilter};
use gateway_store::{Place, Record};

use crate::Limits;
use crate::turn::{Holds, Turn};

/// The last retained message of every topic that has one.
///
/// Sorted by topic, so that a filter reads only the range that begins with its fixed levels.
///
/// What was published above QoS 0 is in the log before it is here. What was published at QoS 0 is
/// written later, if the topic still has it then: sensors repeat themselves, and flash wears.
#[derive(Default)]
pub(crate) struct Retained {
    messages: BTreeMap<Topic, Kept>,
    bytes: usize,
    /// No message expires before this.
    first_expiry: Option<Instant>,
    /// What was removed because its time was over, until somebody counts it.
    lapsed: Vec<Arc<Message>>,
    /// Topics of which the log does not know what a publish at QoS 0 has made of them.
    unwritten: BTreeSet<Topic>,
    unwritten_since: Option<Instant>,
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
    pub(crate) fn store(
        &mut self,
        turn: &mut Turn<'_>,
        message: &Arc<Message>,
        now: Instant,
        limits: &Limits,
    ) -> Reason {
        if message.payload.is_empty() {
            self.clear(turn, message, now);
            return Reason::Success;
        }
        let fits = |retained: &Self| {
            let replaced = retained.messages.get(&message.topic).map(|old| old.message.size());
            retained.bytes - replaced.unwrap_or(0) + message.size() <= limits.retained_bytes_max
                && (replaced.is_some() || retained.messages.len() < limits.retained_messages_max)
        };
        if !fits(self) {
            self.sweep(turn, now);
        }
        if !fits(self) {
            return Reason::QuotaExceeded;
        }
        let was_stored = self.remove(turn, &message.topic).is_some_and(|old| is_stored(&old));
        if message.qos > Qos::AtMostOnce {
            self.unwritten.remove(&message.topic);
        } else if turn.keeps() && (was_stored || limits.retained_qos0_write.is_some() && !is_own(message)) {
            self.write_later(&message.topic, now);
        }
        let at_most = limits.retained_expiry_max.map(|expiry| now + expiry);
        let until = message.expires_at.into_iter().chain(at_most).min();
        self.insert(message.clone(), until);
        Reason::Success
    }

    /// Takes in what was retained before a restart, unless its time has passed.
    pub(crate) fn restore(&mut self, message: &Arc<Message>, moment: Moment, limits: &Limits) -> bool {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let at_most = limits
            .retained_expiry_max
            .map(|most| moment.instant_at(message.accepted_unix_millis.get().saturating_add(millis(most))));
        let until = message.expires_at.into_iter().chain(at_most).min();
        let is_alive = until.is_none_or(|until| until > moment.instant);
        if is_alive {
            self.insert(message.clone(), until);
        }
        is_alive
    }

    /// Appends what was published at QoS 0 and not yet written; at most `count` of it.
    pub(crate) fn write(&mut self, turn: &mut Turn<'_>, limits: &Limits, count: usize) {
        for _ in 0..count {
            let Some(topic) = self.unwritten.pop_first() else { break };
            match self.messages.get(&topic) {
                Some(kept) if limits.retained_qos0_write.is_some() && !is_own(&kept.message) => {
                    turn.begin_message(&kept.message, 0, 0);
                    turn.store(&kept.message, Holds { retained: true, ..Holds::default() });
                }
                _ => turn.append_lazily(&Record::Cleared { topic }),
            }
        }
        self.unwritten_since = self.unwritten_since.filter(|_| !self.unwritten.is_empty());
    }

    /// When to write what was published at QoS 0.
    pub(crate) fn next_write(&self, limits: &Limits) -> Option<Instant> {
        self.unwritten_since.map(|since| since + limits.retained_qos0_write.unwrap_or_default())
    }

    /// The retained messages of a filter in order of topic, at most `limit`; expired ones are
    /// removed on the way.
    pub(crate) fn read(
        &mut self,
        turn: &mut Turn<'_>,
        filter: &TopicFilter,
        now: Instant,
        limit: usize,
    ) -> Vec<Arc<Message>> {
        if !filter.has_wildcard() {
            let Some(kept) = self.messages.get(filter.path()) else { return Vec::new() };
            let message = kept.message.clone();
            if kept.is_over(now) {
                self.lapse(turn, &message.topic);
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
        for topic in &expired {
            self.lapse(turn, topic);
        }
        found
    }

    /// What was removed because its time was over, once.
    pub(crate) fn take_lapsed(&mut self) -> Vec<Arc<Message>> {
        std::mem::take(&mut self.lapsed)
    }

    pub(crate) fn get(&self, topic: &Topic) -> Option<&Arc<Message>> {
        self.messages.get(topic).map(|kept| &kept.message)
    }

    pub(crate) fn count(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn clear(&mut self, turn: &mut Turn<'_>, message: &Message, now: Instant) {
        let topic = &message.topic;
        let is_known =
            self.remove(turn, topic).is_some_and(|old| is_stored(&old)) || self.unwritten.contains(topic);
        if !is_known {
            return;
        }
        if message.qos > Qos::AtMostOnce {
            self.unwritten.remove(topic);
            turn.append(&Record::Cleared { topic: topic.clone() });
        } else {
            self.write_later(topic, now);
        }
    }

    fn write_later(&mut self, topic: &Topic, now: Instant) {
        self.unwritten.insert(topic.clone());
        self.unwritten_since.get_or_insert(now);
    }

    fn insert(&mut self, message: Arc<Message>, until: Option<Instant>) {
        self.bytes += message.size();
        self.messages.insert(message.topic.clone(), Kept { message, until });
        self.first_expiry = self.first_expiry.into_iter().chain(until).min();
    }

    /// Removes what has expired; costs a walk only when something has.
    fn sweep(&mut self, turn: &mut Turn<'_>, now: Instant) {
        if self.first_expiry.is_none_or(|first| first > now) {
            return;
        }
        let (bytes, lapsed) = (&mut self.bytes, &mut self.lapsed);
        self.messages.retain(|_, kept| {
            let keep = !kept.is_over(now);
            if !keep {
                *bytes -= kept.message.size();
                turn.let_go(&kept.message);
                lapsed.push(kept.message.clone());
            }
            keep
        });
        self.first_expiry = self.messages.values().filter_map(|kept| kept.until).min();
    }

    fn lapse(&mut self, turn: &mut Turn<'_>, topic: &Topic) {
        let old = self.remove(turn, topic);
        self.lapsed.extend(old);
    }

    fn remove(&mut self, turn: &mut Turn<'_>, topic: &Topic) -> Option<Arc<Message>> {
        let old = self.messages.remove(topic)?.message;
        self.bytes -= old.size();
        turn.let_go(&old);
        Some(old)
    }
}

fn is_stored(message: &Message) -> bool {
    message.stored.get() != Place::NOWHERE.number()
}

/// Whether the gateway published it, which does so again after a restart.
fn is_own(message: &Message) -> bool {
    message.publisher.as_str().starts_with('$')
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
