use std::sync::Arc;

use gateway_store::{Place, Store};
use smallvec::SmallVec;

use super::Entry;
use super::tail::Item;

/// What the log has to be told of after something was done to an outbox, and what the outbox had
/// from the store for it.
///
/// Whoever did it appends a Settled record with the ordinals and lets go of the places, when no lock
/// of the bus is held any more.
pub(crate) struct Changes<'a> {
    store: Option<&'a Arc<dyn Store>>,
    /// Copies that the log listed and that have left.
    pub(crate) gone: SmallVec<[Gone; 1]>,
    /// The ordinal of a listed copy that its receiver has now (PUBREC).
    pub(crate) received: Option<u64>,
    /// Copies dropped because they could not be read again; the outbox has accounted for them.
    pub(crate) damaged: u32,
    /// What is next could not be read now: somebody has to come again.
    pub(crate) reads_later: bool,
    /// The queue is not to grow.
    pub(crate) is_tight: bool,
}

/// A copy that has left its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) ordinal: u64,
    pub(crate) place: Place,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(store: &'a Arc<dyn Store>) -> Self {
        Self { store: Some(store), ..Self::nowhere() }
    }

    /// For what has no store: all stays in memory.
    pub(crate) fn nowhere() -> Self {
        Self {
            store: None,
            gone: SmallVec::new(),
            received: None,
            damaged: 0,
            reads_later: false,
            is_tight: false,
        }
    }

    pub(super) fn store(&self) -> Option<&'a Arc<dyn Store>> {
        self.store
    }

    /// Notes that an entry has left.
    #[inline]
    pub(super) fn leaves(&mut self, entry: &Entry) {
        if entry.is_listed() {
            self.gone.push(Gone { ordinal: entry.ordinal(), place: entry.place() });
        }
    }

    /// Notes that an item of a tail has left.
    pub(super) fn leaves_behind(&mut self, item: &Item) {
        match item {
            Item::Reference(reference) => self.gone.push(reference.gone()),
            Item::Whole(entry) => self.leaves(entry),
        }
    }
}
