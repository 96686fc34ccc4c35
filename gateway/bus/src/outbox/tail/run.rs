use std::collections::VecDeque;

use gateway_store::Pages;

use super::chunk::{Chunk, Damaged};
use super::lookups::{Found, Lookups};
use super::relocated::Relocated;
use super::{Item, Sums};

/// What waits at one priority, in order.
pub(super) struct Run {
    pub(super) priority: u8,
    chunks: VecDeque<Chunk>,
}

/// What a run needs for whatever is done to it.
pub(super) struct Paging<'a> {
    pub(super) pages: Option<&'a dyn Pages>,
    /// What could not be read again.
    pub(super) lost: &'a mut Sums,
}

impl Run {
    pub(super) fn new(priority: u8) -> Self {
        Self { priority, chunks: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.iter().all(|chunk| chunk.sums.count == 0)
    }

    pub(super) fn push_back(&mut self, item: Item, pages: Option<&dyn Pages>) {
        let rest = match self.chunks.back_mut() {
            Some(last) => last.push_back(item),
            None => Some(item),
        };
        let Some(item) = rest else { return };
        self.close(pages);
        self.chunks.push_back(Chunk::new(item));
    }

    /// Puts items before all others.
    pub(super) fn push_front(&mut self, items: impl IntoIterator<Item = Item>, pages: Option<&dyn Pages>) {
        let mut first = Self::new(self.priority);
        items.into_iter().for_each(|item| first.push_back(item, pages));
        while let Some(chunk) = first.chunks.pop_back() {
            self.chunks.push_front(chunk);
        }
    }

    /// Puts all of another run behind.
    pub(super) fn append(&mut self, mut other: Self) {
        self.chunks.append(&mut other.chunks);
    }

    pub(super) fn pop_front(&mut self, paging: &mut Paging<'_>) -> Option<Item> {
        loop {
            let first = self.chunks.front_mut()?;
            match first.pop_front(paging.pages) {
                Ok(Some(item)) => {
                    if first.sums.count == 0 {
                        self.chunks.pop_front();
                    }
                    return Some(item);
                }
                Ok(None) => {}
                Err(Damaged) => {
                    paging.lost.add(first.sums);
                    first.free(paging.pages);
                }
            }
            self.chunks.pop_front();
        }
    }

    /// Takes out the first item, or the last one; with `live` only what counts as a message, which
    /// replayed ones do not.
    pub(super) fn evict(&mut self, is_last: bool, live: bool, paging: &mut Paging<'_>) -> Option<Item> {
        if !is_last && !live {
            return self.pop_front(paging);
        }
        loop {
            let counts = |chunk: &Chunk| {
                let replayed = if live { chunk.sums.replayed } else { 0 };
                chunk.sums.count > replayed
            };
            let mut places = self.chunks.iter();
            let at = if is_last { places.rposition(counts) } else { places.position(counts) }?;
            let chunk = &mut self.chunks[at];
            match chunk.remove(paging.pages, is_last, |item| !live || !item.is_replayed()) {
                Ok(Some(item)) => {
                    if chunk.sums.count == 0 {
                        self.chunks.remove(at);
                    }
                    return Some(item);
                }
                Ok(None) | Err(Damaged) => {
                    paging.lost.add(chunk.sums);
                    chunk.free(paging.pages);
                    self.chunks.remove(at);
                }
            }
        }
    }

    /// Whether something counts as a message.
    pub(super) fn is_live(&self) -> bool {
        self.chunks.iter().any(|chunk| chunk.sums.count > chunk.sums.replayed)
    }

    /// What cannot be read may be what is asked for.
    pub(super) fn find(
        &self,
        ordinal: u64,
        pages: Option<&dyn Pages>,
        lookups: &mut Lookups,
    ) -> Result<Option<Found>, Damaged> {
        for chunk in self.chunks.iter().filter(|chunk| chunk.may_have(ordinal)) {
            let found = chunk.find(ordinal, pages, lookups)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Writes again what has references that lie elsewhere now.
    pub(super) fn relocate(&mut self, relocated: &Relocated, pages: Option<&dyn Pages>) {
        for mut chunk in std::mem::take(&mut self.chunks) {
            let is_paged = chunk.is_paged();
            let is_concerned = chunk.sums.count > 0 && relocated.is_among(&chunk.ordinals());
            let items = if is_concerned { chunk.take_all(pages).ok() } else { None };
            let Some(mut items) = items else {
                // As it is; what cannot be read is found out when it is wanted.
                self.chunks.push_back(chunk);
                continue;
            };
            items.iter_mut().filter_map(Item::reference_mut).for_each(|one| relocated.tell(one));
            // It may need more than one page now.
            let mut anew = Self::new(self.priority);
            items.into_iter().for_each(|item| anew.push_back(item, None));
            if is_paged {
                anew.chunks.iter_mut().for_each(|chunk| chunk.write_out(pages));
            }
            self.append(anew);
        }
    }

    /// The group of each item, as far as they can be read.
    pub(super) fn each_group(&self, pages: Option<&dyn Pages>, see: &mut dyn FnMut(u32)) {
        self.chunks.iter().for_each(|chunk| chunk.each_group(pages, see));
    }

    pub(super) fn free(&mut self, pages: Option<&dyn Pages>) {
        self.chunks.iter_mut().for_each(|chunk| chunk.free(pages));
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let chunks = self.chunks.iter().map(Chunk::memory).sum::<usize>();
        chunks + self.chunks.capacity() * size_of::<Chunk>()
    }

    /// The last chunk is full. The first stays at hand, as it is wanted next.
    fn close(&mut self, pages: Option<&dyn Pages>) {
        let Some(items) = self.chunks.back_mut().and_then(Chunk::take_loose) else {
            if self.chunks.len() > 1
                && let Some(last) = self.chunks.back_mut()
            {
                last.write_out(pages);
            }
            return;
        };
        self.chunks.pop_back();
        items.into_iter().for_each(|item| self.push_back(item, pages));
    }
}
