mod chunk;
mod codec;
mod lookups;
mod reference;
mod relocated;
mod run;
mod sums;

use std::sync::Arc;

use gateway_store::{CopyState, Place, Store};
use smallvec::SmallVec;

pub(crate) use self::lookups::Lookups;
pub(crate) use self::reference::{Item, Reference};
use self::relocated::Relocated;
use self::run::{Paging, Run};
pub(crate) use self::sums::Sums;
use super::{Changes, Entry};

/// What waits behind the head of a durable session's queue: references of a few bytes, without
/// messages, and most of them on pages.
///
/// ```text
///   head ◀─pop_front── chunk at hand │ page │ page │ ... │ chunk at hand ◀─push_back── queue
/// ```
pub(crate) struct Tail {
    store: Arc<dyn Store>,
    /// The highest priority first; nearly always one.
    runs: SmallVec<[Run; 1]>,
    sums: Sums,
    /// What could not be read again and was not dropped yet.
    lost: Sums,
    /// How many items each group has here.
    groups: Vec<(u32, u32)>,
    /// What the items themselves do not know yet.
    relocated: Relocated,
    /// What may have been sent before a restart has an ordinal before this.
    sent_before: u64,
}

impl Tail {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let (runs, sums, lost, groups) = (SmallVec::new(), Sums::default(), Sums::default(), Vec::new());
        Self { store, runs, sums, lost, groups, relocated: Relocated::default(), sent_before: 0 }
    }

    pub(crate) fn sums(&self) -> Sums {
        self.sums
    }

    /// What could not be read again: it is no part of the sums any more.
    pub(crate) fn lost(&self) -> Sums {
        self.lost
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sums.count == 0 && self.lost.count == 0
    }

    /// Of what is first.
    pub(crate) fn priority(&self) -> Option<u8> {
        self.runs.first().map(|run| run.priority)
    }

    /// The lowest priority; with `live` only of what counts as a message.
    pub(crate) fn lowest(&self, live: bool) -> Option<u8> {
        self.runs.iter().rev().find(|run| !live || run.is_live()).map(|run| run.priority)
    }

    pub(crate) fn sent_before(&self) -> u64 {
        self.sent_before
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = u32> + '_ {
        self.groups.iter().map(|(group, _)| *group)
    }

    /// How many items of a group are here.
    pub(crate) fn count(&self, group: u32) -> u32 {
        self.groups.iter().find(|(present, _)| *present == group).map_or(0, |(_, count)| *count)
    }

    /// Puts an item behind all others of its priority.
    pub(crate) fn push_back(&mut self, priority: u8, item: Item) {
        self.enter(&item);
        let at = self.run(priority);
        self.runs[at].push_back(item, self.store.pages());
    }

    /// Puts items of one priority, in order, before all others: no other may have a higher one.
    pub(crate) fn push_front(&mut self, priority: u8, items: Vec<Item>) {
        items.iter().for_each(|item| self.enter(item));
        let at = self.run(priority);
        debug_assert_eq!(at, 0, "nothing is before what was before the tail");
        self.runs[at].push_front(items, self.store.pages());
    }

    /// The first item and its priority.
    pub(crate) fn pop_front(&mut self) -> Option<(u8, Item)> {
        loop {
            let priority = self.priority()?;
            let item = self.turn(0, |run, paging| run.pop_front(paging));
            if let Some(item) = item {
                return Some((priority, item));
            }
        }
    }

    /// Takes out the first item of a priority, or its last one.
    pub(crate) fn evict(&mut self, priority: u8, is_last: bool, live: bool) -> Option<Item> {
        let at = self.runs.iter().position(|run| run.priority == priority)?;
        self.turn(at, |run, paging| run.evict(is_last, live, paging))
    }

    /// The state of a copy at a place. What cannot be read may be it: then it waits, so that the log
    /// keeps it.
    pub(crate) fn find(&self, ordinal: u64, place: Place, lookups: &mut Lookups) -> Option<CopyState> {
        let pages = self.store.pages();
        let lies = |found: Place| self.relocated.get(ordinal).unwrap_or(found);
        self.runs.iter().find_map(|run| match run.find(ordinal, pages, lookups) {
            Ok(found) => found.filter(|found| lies(found.place) == place).map(|found| found.state),
            Err(_) => Some(CopyState::Waiting),
        })
    }

    /// A copy lies elsewhere in the log.
    pub(crate) fn relocate(&mut self, ordinal: u64, place: Place) {
        self.relocated.put(ordinal, place);
        if self.relocated.is_full() {
            let pages = self.store.pages();
            self.runs.iter_mut().for_each(|run| run.relocate(&self.relocated, pages));
            self.relocated.clear();
        }
    }

    /// Goes through all items in order until `sort` says that it is over. It may keep an item, return
    /// nothing for it, or put others before it.
    pub(crate) fn rewrite(&mut self, mut sort: impl FnMut(u8, Item, &mut Vec<Item>) -> bool) {
        let (mut put, mut lost) = (Vec::new(), Sums::default());
        let (mut at, mut is_over) = (0, false);
        while at < self.runs.len() && !is_over {
            let priority = self.runs[at].priority;
            let mut old = std::mem::replace(&mut self.runs[at], Run::new(priority));
            while !is_over {
                let mut paging = Paging { pages: self.store.pages(), lost: &mut lost };
                let Some(mut item) = old.pop_front(&mut paging) else { break };
                self.leave(&mut item);
                is_over = sort(priority, item, &mut put);
                for item in put.drain(..) {
                    self.enter(&item);
                    self.runs[at].push_back(item, self.store.pages());
                }
            }
            self.runs[at].append(old);
            at += 1;
        }
        self.runs.retain(|run| !run.is_empty());
        self.lose(lost);
    }

    /// Puts copies of one group, sorted by rank, each before the first of the group and its priority
    /// that has a higher ticket, or else behind its priority.
    pub(crate) fn merge(&mut self, copies: Vec<Entry>) {
        let mut copies = copies.into_iter().peekable();
        let mut behind = Vec::new();
        if copies.peek().is_some_and(|copy| self.count(copy.group) > 0) {
            self.rewrite(|priority, item, kept| {
                behind.extend(std::iter::from_fn(|| copies.next_if(|copy| copy.priority > priority)));
                let goes_first = |copy: &Entry| {
                    copy.priority == priority && copy.group == item.group() && copy.ticket < item.ticket()
                };
                kept.extend(std::iter::from_fn(|| copies.next_if(goes_first)).map(Item::new));
                kept.push(item);
                copies.peek().is_none()
            });
        }
        for copy in behind.into_iter().chain(copies) {
            self.push_back(copy.priority, Item::new(copy));
        }
    }

    /// Lets go of all that is here.
    pub(crate) fn clear(&mut self, changes: &mut Changes<'_>) {
        while let Some((_, item)) = self.pop_front() {
            changes.leaves_behind(&item);
        }
    }

    /// The message of an item that was taken out cannot be read.
    pub(crate) fn add_lost(&mut self, reference: Reference) {
        self.lost.add(Sums::of(&Item::Reference(reference)));
    }

    pub(crate) fn take_lost(&mut self) -> Sums {
        std::mem::take(&mut self.lost)
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        let runs: usize = self.runs.iter().map(|run| size_of::<Run>() + run.memory()).sum();
        size_of::<Self>() + runs + self.relocated.memory() + self.groups.capacity() * size_of::<(u32, u32)>()
    }

    /// Takes an item out of a run.
    fn turn(
        &mut self,
        at: usize,
        take: impl FnOnce(&mut Run, &mut Paging<'_>) -> Option<Item>,
    ) -> Option<Item> {
        let (run, mut lost) = (&mut self.runs[at], Sums::default());
        let mut item = take(run, &mut Paging { pages: self.store.pages(), lost: &mut lost });
        if run.is_empty() {
            self.runs.remove(at);
        }
        item.iter_mut().for_each(|item| self.leave(item));
        self.lose(lost);
        item
    }

    /// Where the run of a priority is; there is one from now on.
    fn run(&mut self, priority: u8) -> usize {
        let at = self.runs.iter().position(|run| run.priority <= priority).unwrap_or(self.runs.len());
        if self.runs.get(at).is_none_or(|run| run.priority < priority) {
            self.runs.insert(at, Run::new(priority));
        }
        at
    }

    fn enter(&mut self, item: &Item) {
        self.sums.add(Sums::of(item));
        if let Item::Reference(reference) = item
            && reference.may_be_known
        {
            self.sent_before = self.sent_before.max(reference.ordinal + 1);
        }
        enroll(&mut self.groups, item.group());
    }

    fn leave(&mut self, item: &mut Item) {
        if let Some(reference) = item.reference_mut() {
            self.relocated.take_out(reference);
        }
        self.sums.subtract(Sums::of(item));
        let group = item.group();
        if group == 0 {
            return;
        }
        if let Some((_, count)) = self.groups.iter_mut().find(|(present, _)| *present == group) {
            *count = count.saturating_sub(1);
            self.groups.retain(|(_, count)| *count > 0);
        }
    }

    /// Accounts for what could not be read again. Of which groups it was nobody knows.
    fn lose(&mut self, lost: Sums) {
        if lost.count == 0 {
            return;
        }
        self.sums.subtract(lost);
        self.lost.add(lost);
        if self.groups.is_empty() {
            return;
        }
        let mut groups = Vec::new();
        let pages = self.store.pages();
        self.runs.iter().for_each(|run| run.each_group(pages, &mut |group| enroll(&mut groups, group)));
        self.groups = groups;
    }
}

fn enroll(groups: &mut Vec<(u32, u32)>, group: u32) {
    match groups.iter_mut().find(|(present, _)| *present == group) {
        _ if group == 0 => {}
        Some((_, count)) => *count += 1,
        None => groups.push((group, 1)),
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let pages = self.store.pages();
        self.runs.iter_mut().for_each(|run| run.free(pages));
    }
}
