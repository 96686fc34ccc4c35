use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;
use gateway_model::{Topic, TopicError};

use crate::routes::Route;

/// What one publishing thread remembers: topics it has parsed, and where they lead.
///
/// A direct-mapped table: a topic has one place, found by its hash; another topic with the same
/// place pushes it out. So a topic that is published again costs one hash and one comparison, and
/// the table never needs cleaning. It grows while it is crowded, up to the limit. Long topics share
/// one place, so that nobody fills the memory with them.
pub struct RouteCache {
    /// The first is the place of long topics, the others are a power of two.
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
}

const SLOTS_MIN: usize = 64;
/// A longer topic costs so much to send that finding its route again does not show.
const SHORT_BYTES_MAX: usize = 256;
const LONG_PLACE: usize = 0;

impl RouteCache {
    pub(crate) fn new(topics_max: usize, hasher: FixedState) -> Self {
        let slots_max = topics_max.next_power_of_two().max(SLOTS_MIN);
        Self { slots: Vec::new(), slots_max, crowded: 0, hasher, last: 0 }
    }

    /// The topic of these bytes, shared with earlier uses if it is remembered.
    pub fn topic(&mut self, raw: &[u8]) -> Result<Topic, TopicError> {
        let place = self.place(raw);
        if let Some(slot) = self.slots.get(place).and_then(Option::as_ref)
            && slot.topic.as_bytes() == raw
        {
            self.last = place;
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
            return LONG_PLACE;
        }
        let mut hasher = self.hasher.build_hasher();
        hasher.write(raw);
        1 + (hasher.finish() as usize & (self.slots.len().max(SLOTS_MIN + 1) - 2))
    }

    fn remember(&mut self, topic: Topic, mut place: usize) {
        if self.slots.is_empty() {
            self.slots.resize_with(1 + SLOTS_MIN, || None);
        }
        if self.slots[place].is_some() && place != LONG_PLACE {
            self.crowded += 1;
            if self.crowded > self.slots.len() / 4 && self.slots.len() < self.slots_max {
                self.grow();
                place = self.place(topic.as_bytes());
            }
        }
        self.slots[place] = Some(Slot { topic, generation: 0, route: None });
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
