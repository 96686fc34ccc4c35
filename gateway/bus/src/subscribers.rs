use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::routes::Subscriber;

/// Several subscribers of one filter, each session once, in no order. A fleet that subscribes to the same
/// filter comes and goes one by one: where each stands is known without a look at the others.
#[derive(Default)]
pub(crate) struct Subscribers {
    list: Vec<Subscriber>,
    /// The place of each in the list; empty while the list is short.
    places: HashMap<Key, u32, FixedState>,
}

/// What tells the subscribers of one filter apart: the number of the session, and whether it is exclusive.
pub(crate) type Key = (u64, bool);

/// Up to so many are looked through.
pub(crate) const FEW_MAX: usize = 16;

pub(crate) fn key(subscriber: &Subscriber) -> Key {
    #[cfg(test)]
    crate::leaf::tests::LOOKS.with(|looks| looks.set(looks.get() + 1));
    (subscriber.session.number, subscriber.exclusive)
}

impl Subscribers {
    pub(crate) fn as_slice(&self) -> &[Subscriber] {
        &self.list
    }

    /// Adds one, or replaces the same session's; whether it is new.
    pub(crate) fn insert(&mut self, subscriber: Subscriber) -> bool {
        if let Some(place) = self.place(key(&subscriber)) {
            self.list[place] = subscriber;
            return false;
        }
        self.list.push(subscriber);
        if self.list.len() > FEW_MAX {
            let begin = if self.places.is_empty() { 0 } else { self.list.len() - 1 };
            let places = self.list.iter().enumerate().skip(begin);
            self.places.extend(places.map(|(place, one)| (key(one), place as u32)));
        }
        true
    }

    pub(crate) fn remove(&mut self, gone: Key) {
        let Some(place) = self.place(gone) else { return };
        self.list.swap_remove(place);
        self.places.remove(&gone);
        if self.list.len() <= FEW_MAX {
            self.places = HashMap::default();
        } else if let Some(moved) = self.list.get(place) {
            self.places.insert(key(moved), place as u32);
        }
        if self.list.len() * 4 < self.list.capacity() {
            self.list.shrink_to(self.list.len() * 2);
            self.places.shrink_to(self.list.len() * 2);
        }
    }

    /// Entries that there is room for: of the list, and of the places.
    #[cfg(test)]
    pub(crate) fn room(&self) -> (usize, usize) {
        (self.list.capacity(), self.places.capacity())
    }

    fn place(&self, sought: Key) -> Option<usize> {
        if self.places.is_empty() {
            return self.list.iter().position(|present| key(present) == sought);
        }
        self.places.get(&sought).map(|place| *place as usize)
    }
}
