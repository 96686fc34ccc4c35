mod scan;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_model::{Message, Moment, Qos, Reason, Topic, TopicFilter};
use gateway_store::{Place, Record};

use self::scan::Scan;
use crate::Limits;
use crate::routes::Listed;
use crate::turn::{Holds, Turn};

/// The last retained message of every topic that has one.
///
/// Sorted by topic, so that a filter looks only where a match may be.
///
/// What was published above QoS 0 is in the log before it is here. What was published at QoS 0 is
/// written later, if the topic still has it then: sensors repeat themselves, and flash wears. Until
/// then what it replaced is held in the log: a crash may bring back what was acknowledged before, but
/// does not leave nothing.
#[derive(Default)]
pub(crate) struct Retained {
    messages: BTreeSet<Kept>,
    bytes: usize,
    /// No message expires before this.
    first_expiry: Option<Instant>,
    /// What was removed because its time was over, until somebody counts it.
    lapsed: Vec<Arc<Message>>,
    /// Topics of which the log does not know what a publish at QoS 0 has made of them, and where it has
    /// what they had before; [`Place::NOWHERE`] if it has nothing.
    unwritten: BTreeMap<Topic, Place>,
    unwritten_since: Option<Instant>,
}

/// How much of what is retained at QoS 0 is written in one turn: others have to wait for it.
const WRITTEN_AT_A_TIME: usize = 256;

/// A message among others, found by its topic.
struct Kept {
    message: Arc<Message>,
    /// When it stops being kept: its own end, or that of the time anything may be kept.
    until: Option<Instant>,
}

impl Borrow<str> for Kept {
    fn borrow(&self) -> &str {
        &self.message.topic
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        self.message.topic.as_str().cmp(&other.message.topic)
    }
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Kept {}

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
            let replaced = retained.get(&message.topic).map(|old| old.message.size());
            retained.bytes - replaced.unwrap_or(0) + message.size() <= limits.retained_bytes_max
                && (replaced.is_some() || retained.messages.len() < limits.retained_messages_max)
        };
        if !fits(self) {
            self.sweep(turn, now);
        }
        if !fits(self) {
            return Reason::QuotaExceeded;
        }
        let at_most = limits.retained_expiry_max.map(|expiry| now + expiry);
        let until = message.expires_at.into_iter().chain(at_most).min();
        let old = self.insert(message.clone(), until);
        let before = self.place_before(&message.topic, old.as_deref());
        let is_worth_it = limits.retained_qos0_write.is_some() && !is_own(message);
        if message.qos > Qos::AtMostOnce {
            turn.let_go_of(before);
        } else if turn.keeps() && (before != Place::NOWHERE || is_worth_it) {
            self.write_later(&message.topic, before, now);
        }
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

    /// Appends some of what was published at QoS 0 and not yet written, in order of topic; the last
    /// topic of them if there may be more behind. What comes `after` all waits for the next round.
    pub(crate) fn write(
        &mut self,
        turn: &mut Turn<'_>,
        limits: &Limits,
        after: Option<Topic>,
        now: Instant,
    ) -> Option<Topic> {
        let begin = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.unwritten.range::<Topic, _>((begin, Bound::Unbounded)).take(WRITTEN_AT_A_TIME);
        let topics: Vec<Topic> = behind.map(|(topic, _)| topic.clone()).collect();
        for topic in &topics {
            let before = self.unwritten.remove(topic).unwrap_or_default();
            match self.get(topic) {
                Some(kept) if limits.retained_qos0_write.is_some() && !is_own(&kept.message) => {
                    turn.begin_message(&kept.message, Listed::default());
                    turn.store(&kept.message, Holds { retained: true, ..Holds::default() });
                }
                _ if before == Place::NOWHERE => {}
                _ => turn.append_lazily(&Record::Cleared { topic: topic.clone() }),
            }
            turn.let_go_of(before);
        }
        if topics.len() == WRITTEN_AT_A_TIME {
            return topics.last().cloned();
        }
        self.unwritten_since = (!self.unwritten.is_empty()).then_some(now);
        None
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
            let Some(kept) = self.get(filter.path()) else { return Vec::new() };
            let message = kept.message.clone();
            if kept.is_over(now) {
                self.lapse(turn, &message.topic);
                return Vec::new();
            }
            return Some(message).into_iter().take(limit).collect();
        }
        let mut expired = Vec::new();
        let found = Scan::new(&self.messages, filter)
            .filter(|kept| {
                let gone = kept.is_over(now);
                expired.extend(gone.then(|| kept.message.topic.clone()));
                !gone
            })
            .take(limit)
            .map(|kept| kept.message.clone())
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

    /// Where the log has what a restart would find under the topic.
    pub(crate) fn place(&self, topic: &Topic) -> Option<Place> {
        let kept = || Some(place(&self.get(topic)?.message));
        self.unwritten.get(topic).copied().or_else(kept)
    }

    /// It lies elsewhere now.
    pub(crate) fn moved(&mut self, topic: &Topic, to: Place) {
        if let Some(before) = self.unwritten.get_mut(topic) {
            *before = to;
        } else if let Some(kept) = self.get(topic) {
            kept.message.stored.set(to.number());
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn clear(&mut self, turn: &mut Turn<'_>, message: &Message, now: Instant) {
        let topic = &message.topic;
        let old = self.remove(topic);
        let before = self.place_before(topic, old.as_deref());
        if before == Place::NOWHERE {
            return;
        }
        if message.qos > Qos::AtMostOnce {
            turn.append(&Record::Cleared { topic: topic.clone() });
            turn.let_go_of(before);
        } else {
            self.write_later(topic, before, now);
        }
    }

    fn write_later(&mut self, topic: &Topic, before: Place, now: Instant) {
        self.unwritten.insert(topic.clone(), before);
        self.unwritten_since.get_or_insert(now);
    }

    fn get(&self, topic: &str) -> Option<&Kept> {
        self.messages.get(topic)
    }

    /// Puts a message in the place of the one before.
    fn insert(&mut self, message: Arc<Message>, until: Option<Instant>) -> Option<Arc<Message>> {
        self.bytes += message.size();
        self.first_expiry = self.first_expiry.into_iter().chain(until).min();
        let old = self.messages.replace(Kept { message, until })?.message;
        self.bytes -= old.size();
        Some(old)
    }

    /// Removes what has expired; costs a walk only when something has.
    fn sweep(&mut self, turn: &mut Turn<'_>, now: Instant) {
        if self.first_expiry.is_none_or(|first| first > now) {
            return;
        }
        let (bytes, lapsed) = (&mut self.bytes, &mut self.lapsed);
        self.messages.retain(|kept| {
            let keep = !kept.is_over(now);
            if !keep {
                *bytes -= kept.message.size();
                turn.let_go(&kept.message);
                lapsed.push(kept.message.clone());
            }
            keep
        });
        self.first_expiry = self.messages.iter().filter_map(|kept| kept.until).min();
    }

    fn lapse(&mut self, turn: &mut Turn<'_>, topic: &Topic) {
        if let Some(old) = self.remove(topic) {
            turn.let_go(&old);
            self.lapsed.push(old);
        }
    }

    /// Where the log has what a restart would have found under the topic, now that `old` has been taken from there.
    fn place_before(&mut self, topic: &Topic, old: Option<&Message>) -> Place {
        self.unwritten.remove(topic).or_else(|| old.map(place)).unwrap_or_default()
    }

    fn remove(&mut self, topic: &Topic) -> Option<Arc<Message>> {
        let old = self.messages.take(topic.as_str())?.message;
        self.bytes -= old.size();
        Some(old)
    }
}

fn place(message: &Message) -> Place {
    Place::from_number(message.stored.get())
}

/// Whether the gateway published it, which does so again after a restart.
fn is_own(message: &Message) -> bool {
    message.publisher.is_reserved()
}
