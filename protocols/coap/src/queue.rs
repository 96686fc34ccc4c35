use std::collections::VecDeque;

use crate::observe::Waiting;

/// Messages that wait for their turn at one observation. Nearly always there are none, which is no more
/// than a pointer.
#[derive(Default)]
#[allow(clippy::box_collection)] // for the size of the empty one
pub(crate) struct Queue(Option<Box<VecDeque<Waiting>>>);

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.len())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.0.iter().flat_map(|queue| queue.iter())
    }

    pub(crate) fn front(&self) -> Option<&Waiting> {
        self.0.as_ref()?.front()
    }

    pub(crate) fn push_back(&mut self, waiting: Waiting) {
        self.0.get_or_insert_default().push_back(waiting);
    }

    pub(crate) fn pop_front(&mut self) -> Option<Waiting> {
        self.remove(0)
    }

    pub(crate) fn remove(&mut self, place: usize) -> Option<Waiting> {
        let removed = self.0.as_mut()?.remove(place);
        self.0.take_if(|queue| queue.is_empty());
        removed
    }
}

impl IntoIterator for Queue {
    type Item = Waiting;
    type IntoIter = std::collections::vec_deque::IntoIter<Waiting>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map(|queue| *queue).unwrap_or_default().into_iter()
    }
}
