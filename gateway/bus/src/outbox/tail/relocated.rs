use std::ops::RangeInclusive;

use gateway_store::Place;

use super::Reference;

/// Where copies lie that the log has written anew, until what has their references is written again
/// too: a page for each would be dear.
#[derive(Default)]
pub(super) struct Relocated {
    /// By ordinal.
    places: Vec<(u64, Place)>,
}

/// Enough that most of a page is written again at once: 8 KiB.
const PLACES_MAX: usize = 512;

impl Relocated {
    pub(super) fn is_full(&self) -> bool {
        self.places.len() >= PLACES_MAX
    }

    pub(super) fn put(&mut self, ordinal: u64, place: Place) {
        match self.find(ordinal) {
            Ok(at) => self.places[at].1 = place,
            // Nearly always behind all others.
            Err(at) => self.places.insert(at, (ordinal, place)),
        }
    }

    pub(super) fn get(&self, ordinal: u64) -> Option<Place> {
        Some(self.places[self.find(ordinal).ok()?].1)
    }

    /// Whether one of these may be among them.
    pub(super) fn is_among(&self, ordinals: &RangeInclusive<u64>) -> bool {
        let at = self.places.partition_point(|(ordinal, _)| ordinal < ordinals.start());
        self.places.get(at).is_some_and(|(ordinal, _)| ordinals.contains(ordinal))
    }

    /// The reference knows its place from now on.
    pub(super) fn tell(&self, reference: &mut Reference) {
        if let Some(place) = self.get(reference.ordinal) {
            reference.place = place;
        }
    }

    /// The same for one that leaves the tail.
    pub(super) fn take_out(&mut self, reference: &mut Reference) {
        if !self.places.is_empty()
            && let Ok(at) = self.find(reference.ordinal)
        {
            reference.place = self.places.remove(at).1;
        }
    }

    pub(super) fn clear(&mut self) {
        self.places = Vec::new();
    }

    fn find(&self, ordinal: u64) -> Result<usize, usize> {
        self.places.binary_search_by_key(&ordinal, |(ordinal, _)| *ordinal)
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.places.capacity() * size_of::<(u64, Place)>()
    }
}
