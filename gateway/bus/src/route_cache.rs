use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;
use gateway_model::{Topic, TopicError};

use crate::routes::Route;

/// What one publishing thread remembers: topics it has parsed, and where they lead.
///
/// A direct-mapped table: a topic has one place, found by its hash; another topic with the same
/// place pushes it out. So a topic that is published again costs one hash and one comparison, and
/// the table never needs cleaning. It grows while it is crowded, up to the limit; from then on a topic that is
/// there gives way only to the eighth that comes in vain, because where there are too many topics for the
/// table nearly all would be pushed out before they come again. Long topics and those that come in vain
/// share one place, so that nobody fills the memory with them.
pub struct RouteCache {
    /// The first is the place of those that get no other, the others are a power of two.
    slots: Vec<Option<Slot>>,
    slots_max: usize,
    /// Evictions since the last growth.
    crowded: usize,
    hasher: FixedState,
    /// The slot of the topic that was asked for last: its publish follows at once.
    last: usize,
}

struct Slot {
    topic: Topic,
    /// The state of the routes that `route` was made from.
    generation: u64,
    route: Option<Arc<Route>>,
    /// Topics that came in vain since this one was asked for.
    refused: u8,
}

const SLOTS_MIN: usize = 64;
/// A longer topic costs so much to send that finding its route again does not show.
const SHORT_BYTES_MAX: usize = 256;
const LAST_PLACE: usize = 0;
/// The table is worth most if this is somewhat more than topics have one place.
const REFUSED_MAX: u8 = 7;

impl RouteCache {
    pub(crate) fn new(topics_max: usize, hasher: FixedState) -> Self {
        let slots_max = topics_max.next_power_of_two().max(SLOTS_MIN);
        Self { slots: Vec::new(), slots_max, crowded: 0, hasher, last: 0 }
    }

    /// The topic of these bytes, shared with earlier uses if it is remembered.
    pub fn topic(&mut self, raw: &[u8]) -> Result<Topic, TopicError> {
        let place = self.place(raw);
        if let Some(slot) = self.slots.get_mut(place).and_then(Option::as_mut)
            && slot.topic.as_bytes() == raw
        {
            if slot.refused > 0 {
                slot.refused = 0;
            }
            self.last = place;
            return Ok(slot.topic.clone());
        }
        if let Some(Some(slot)) = self.slots.get(LAST_PLACE)
            && slot.topic.as_bytes() == raw
        {
            self.last = LAST_PLACE;
            return Ok(slot.topic.clone());
        }
        let topic = Topic::parse_bytes(raw)?;
        self.remember(topic.clone(), place);
        Ok(topic)
    }

    /// The route of a topic, made by `find` if it is not known or out of date.
    pub(crate) fn route(
        &mut self,
        topic: &Topic,
        generation: u64,
        find: impl FnOnce(&Topic) -> Route,
    ) -> Arc<Route> {
        let is_last = |slot: &Slot| slot.topic.is_same(topic);
        if !self.slots.get(self.last).and_then(Option::as_ref).is_some_and(is_last) {
            let place = self.place(topic.as_bytes());
            match self.slots.get(place).and_then(Option::as_ref) {
                Some(slot) if slot.topic == *topic => self.last = place,
                _ => self.remember(topic.clone(), place),
            }
        }
        let slot = self.slots[self.last].as_mut().expect("the last slot holds the topic");
        match &slot.route {
            Some(route) if slot.generation == generation => route.clone(),
            _ => {
                let route = Arc::new(find(topic));
                slot.route = Some(route.clone());
                slot.generation = generation;
                route
            }
        }
    }

    /// Lets go of routes that are out of date, and with them of sessions that have ended.
    pub(crate) fn forget_before(&mut self, generation: u64) {
        for slot in self.slots.iter_mut().flatten() {
            if slot.generation != generation {
                slot.route = None;
            }
        }
    }

    fn place(&self, raw: &[u8]) -> usize {
        if raw.len() > SHORT_BYTES_MAX {
            return LAST_PLACE;
        }
        let mut hasher = self.hasher.build_hasher();
        hasher.write(raw);
        1 + (hasher.finish() as usize & (self.slots.len().max(SLOTS_MIN + 1) - 2))
    }

    fn remember(&mut self, topic: Topic, mut place: usize) {
        if self.slots.is_empty() {
            self.slots.resize_with(1 + SLOTS_MIN, || None);
        }
        let is_full = self.slots.len() > self.slots_max;
        match &mut self.slots[place] {
            Some(present) if is_full && present.refused < REFUSED_MAX => {
                present.refused += 1;
                place = LAST_PLACE;
            }
            Some(_) if place != LAST_PLACE => {
                self.crowded += 1;
                if self.crowded > self.slots.len() / 4 && !is_full {
                    self.grow();
                    place = self.place(topic.as_bytes());
                }
            }
            _ => {}
        }
        self.slots[place] = Some(Slot { topic, generation: 0, route: None, refused: 0 });
        self.last = place;
    }

    fn grow(&mut self) {
        let larger = ((self.slots.len() - 1) * 4).min(self.slots_max);
        let old = std::mem::take(&mut self.slots);
        self.slots.resize_with(1 + larger, || None);
        self.crowded = 0;
        for slot in old.into_iter().flatten() {
            let place = self.place(slot.topic.as_bytes());
            self.slots[place] = Some(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for `t/0` to `t/{count - 1}` in turn; how many of them were there from the round before.
    fn round(cache: &mut RouteCache, before: &mut Vec<Topic>, count: usize) -> usize {
        let now: Vec<Topic> =
            (0..count).map(|number| cache.topic(format!("t/{number}").as_bytes()).unwrap()).collect();
        let kept = now.iter().zip(before.iter()).filter(|(now, before)| now.is_same(before)).count();
        *before = now;
        kept
    }

    #[test]
    fn too_many_topics_do_not_push_each_other_out() {
        let mut cache = RouteCache::new(64, FixedState::with_seed(1));
        let mut topics = Vec::new();
        for _ in 0..3 {
            round(&mut cache, &mut topics, 256);
        }
        // Four for each place: one of them is always there.
        let kept = round(&mut cache, &mut topics, 256);
        assert!(kept > 50, "{kept} of 64 places are of use");
    }

    #[test]
    fn what_is_asked_for_no_more_gives_way() {
        let mut cache = RouteCache::new(64, FixedState::with_seed(1));
        round(&mut cache, &mut Vec::new(), 1000);
        for _ in 0..9 {
            for number in 0..8 {
                cache.topic(format!("new/{number}").as_bytes()).unwrap();
            }
        }
        let is_kept = |cache: &mut RouteCache, number: usize| {
            let raw = format!("new/{number}");
            let first = cache.topic(raw.as_bytes()).unwrap();
            // What has no place of its own is pushed out by the next.
            cache.topic(format!("{raw}/{}", "long".repeat(100)).as_bytes()).unwrap();
            cache.topic(raw.as_bytes()).unwrap().is_same(&first)
        };
        let kept = (0..8).filter(|number| is_kept(&mut cache, *number)).count();
        assert!(kept >= 6, "only {kept} of 8 have places");
    }
}
