use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

/// A table that shrinks when most of it is vacant: where a fleet was, its room is given back.
///
/// It is to be called after each removal. It is worth it when fifteen of sixteen places are vacant: moving
/// those that stay costs no more than a part of what it cost to remove the others, and the new table,
/// which for a moment is there beside the old one, is small.
pub(crate) trait Vacancy {
    fn give_back(&mut self);
}

const SPARE: usize = 64;

/// What to shrink to, if it is worth it.
fn goal(count: usize, capacity: usize) -> Option<usize> {
    (16 * count + SPARE < capacity).then_some(2 * count)
}

impl<K: Eq + Hash, V, S: BuildHasher> Vacancy for HashMap<K, V, S> {
    #[inline]
    fn give_back(&mut self) {
        if let Some(goal) = goal(self.len(), self.capacity()) {
            self.shrink_to(goal);
        }
    }
}

impl<T: Eq + Hash, S: BuildHasher> Vacancy for HashSet<T, S> {
    #[inline]
    fn give_back(&mut self) {
        if let Some(goal) = goal(self.len(), self.capacity()) {
            self.shrink_to(goal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_full_gives_its_room_back_and_not_again_and_again() {
        let mut table: HashSet<u32> = (0..100_000).collect();
        let mut shrinks = 0;
        for gone in 0..100_000 {
            let before = table.capacity();
            table.remove(&gone);
            table.give_back();
            // What was removed may leave a mark, which takes a little of the capacity too.
            shrinks += usize::from(table.capacity() < before / 2);
        }
        assert!((1..10).contains(&shrinks), "{shrinks} times");
        assert!(table.capacity() <= 2 * SPARE, "{}", table.capacity());
        // A small one, and one that is half full, stay as they are.
        let mut table: HashSet<u32> = (0..50).collect();
        let before = table.capacity();
        table.clear();
        table.give_back();
        assert_eq!(table.capacity(), before);
    }
}
