use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::ops::RangeInclusive;

use foldhash::fast::FixedState;
use gateway_store::{PAGE_BYTES, PageNumber, Pages};

use super::codec::{self, Previous};
use super::lookups::{Found, Lookups};
use super::{Item, Reference, Sums};

/// Some items of a run, in order: at most what fits a page.
///
/// ```text
///   Coded ──full──▶ Paged ──first of its run──▶ Coded ──▶ items, one by one
///     └────────┬──────┘
///              └─ from the back, or from between ──▶ Loose ──full──▶ Coded
/// ```
pub(super) struct Chunk {
    pub(super) sums: Sums,
    /// No reference has a lower ordinal,
    lowest: u64,
    /// or a higher one.
    highest: u64,
    form: Form,
}

/// Boxed, as most are pages, and there are many of those.
#[allow(clippy::box_collection)]
enum Form {
    Coded(Box<Coded>),
    Loose(Box<VecDeque<Item>>),
    Paged { page: PageNumber, hash: u32 },
}

/// References as they are on a page.
#[derive(Default)]
struct Coded {
    bytes: Vec<u8>,
    /// How many bytes were taken, and the last reference in them.
    taken: usize,
    front: Previous,
    back: Previous,
    /// Nothing is added any more.
    is_closed: bool,
}

/// A page is not what was written.
#[derive(Debug)]
pub(super) struct Damaged;

/// Items of a loose chunk at most.
const LOOSE_MAX: usize = 2048;

impl Chunk {
    /// One that begins with an item.
    pub(super) fn new(item: Item) -> Self {
        let form = Form::Coded(Box::default());
        let mut chunk = Self { sums: Sums::default(), lowest: u64::MAX, highest: 0, form };
        if let Some(item) = chunk.push_back(item) {
            chunk.form = Form::Loose(Box::default());
            let rest = chunk.push_back(item);
            debug_assert!(rest.is_none(), "it is empty");
        }
        chunk
    }

    /// Returns the item if it needs another chunk.
    pub(super) fn push_back(&mut self, item: Item) -> Option<Item> {
        let sums = Sums::of(&item);
        let ordinal = item.reference().map(|reference| reference.ordinal);
        match (&mut self.form, item) {
            (Form::Loose(items), item) if items.len() < LOOSE_MAX => items.push_back(item),
            (Form::Coded(coded), Item::Reference(reference)) => {
                if !coded.push(&reference) {
                    return Some(Item::Reference(reference));
                }
            }
            (_, item) => return Some(item),
        }
        self.sums.add(sums);
        if let Some(ordinal) = ordinal {
            (self.lowest, self.highest) = (self.lowest.min(ordinal), self.highest.max(ordinal));
        }
        None
    }

    pub(super) fn pop_front(&mut self, pages: Option<&dyn Pages>) -> Result<Option<Item>, Damaged> {
        if self.sums.count == 0 {
            return Ok(None);
        }
        self.open(pages)?;
        let item = match &mut self.form {
            Form::Coded(coded) => coded.pop().map(Item::Reference),
            Form::Loose(items) => items.pop_front(),
            Form::Paged { .. } => None,
        };
        let item = item.ok_or(Damaged)?;
        self.sums.subtract(Sums::of(&item));
        Ok(Some(item))
    }

    /// Takes out the first item, or the last one, that is wanted.
    pub(super) fn remove(
        &mut self,
        pages: Option<&dyn Pages>,
        is_last: bool,
        is_wanted: impl Fn(&Item) -> bool,
    ) -> Result<Option<Item>, Damaged> {
        let items = self.loosen(pages)?;
        let found =
            if is_last { items.iter().rposition(is_wanted) } else { items.iter().position(is_wanted) };
        let item = found.and_then(|at| items.remove(at));
        if let Some(item) = &item {
            self.sums.subtract(Sums::of(item));
        }
        Ok(item)
    }

    /// Whether a reference may be here, from what is known without a look.
    pub(super) fn may_have(&self, ordinal: u64) -> bool {
        self.sums.count > 0 && (self.lowest..=self.highest).contains(&ordinal)
    }

    pub(super) fn find(
        &self,
        ordinal: u64,
        pages: Option<&dyn Pages>,
        lookups: &mut Lookups,
    ) -> Result<Option<Found>, Damaged> {
        let is_it = |reference: &Reference| reference.ordinal == ordinal;
        match &self.form {
            Form::Coded(coded) => Ok(coded.references().find(is_it).as_ref().map(Found::from)),
            Form::Loose(items) => {
                let mut references = items.iter().filter_map(Item::reference);
                Ok(references.find(|reference| is_it(reference)).map(Found::from))
            }
            Form::Paged { page, hash } => lookups.find((*page, *hash), ordinal, || {
                let coded = Coded::closed(read(*page, *hash, pages)?);
                Ok(coded.references().map(|reference| Found::from(&reference)).collect())
            }),
        }
    }

    /// The ordinals that may be here, if there are any.
    pub(super) fn ordinals(&self) -> RangeInclusive<u64> {
        self.lowest..=self.highest
    }

    pub(super) fn is_paged(&self) -> bool {
        matches!(self.form, Form::Paged { .. })
    }

    /// Takes out all items, if they can be read.
    pub(super) fn take_all(&mut self, pages: Option<&dyn Pages>) -> Result<VecDeque<Item>, Damaged> {
        let items = std::mem::take(self.loosen(pages)?);
        self.sums = Sums::default();
        Ok(items)
    }

    pub(super) fn each_group(&self, pages: Option<&dyn Pages>, see: &mut dyn FnMut(u32)) {
        match &self.form {
            Form::Coded(coded) => coded.references().for_each(|reference| see(reference.group)),
            Form::Loose(items) => items.iter().for_each(|item| see(item.group())),
            Form::Paged { page, hash } => {
                let bytes = read(*page, *hash, pages).unwrap_or_default();
                Coded::closed(bytes).references().for_each(|reference| see(reference.group));
            }
        }
    }

    /// To a page, if it consists of references and there are pages.
    pub(super) fn write_out(&mut self, pages: Option<&dyn Pages>) {
        let (Some(pages), Form::Coded(coded)) = (pages, &self.form) else { return };
        if coded.taken > 0 {
            return;
        }
        // Without room on the disk it stays where it is.
        if let Ok(page) = pages.put(&coded.bytes) {
            self.form = Form::Paged { page, hash: hash(&coded.bytes) };
        }
    }

    /// Gives back the page, if there is one.
    pub(super) fn free(&mut self, pages: Option<&dyn Pages>) {
        if let (Some(pages), Form::Paged { page, .. }) = (pages, &self.form) {
            pages.free(*page);
        }
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        match &self.form {
            Form::Coded(coded) => size_of::<Coded>() + coded.bytes.capacity(),
            Form::Loose(items) => items.capacity() * size_of::<Item>(),
            Form::Paged { .. } => 0,
        }
    }

    /// Reads the page, which is given back.
    fn open(&mut self, pages: Option<&dyn Pages>) -> Result<(), Damaged> {
        if let Form::Paged { page, hash } = self.form {
            let bytes = read(page, hash, pages)?;
            self.free(pages);
            self.form = Form::Coded(Box::new(Coded::closed(bytes)));
        }
        Ok(())
    }

    fn loosen(&mut self, pages: Option<&dyn Pages>) -> Result<&mut VecDeque<Item>, Damaged> {
        self.open(pages)?;
        if let Form::Coded(coded) = &self.form {
            let items: VecDeque<_> = coded.references().map(Item::Reference).collect();
            if items.len() != self.sums.count as usize {
                return Err(Damaged);
            }
            self.form = Form::Loose(Box::new(items));
        }
        match &mut self.form {
            Form::Loose(items) => Ok(items),
            Form::Coded(_) | Form::Paged { .. } => Err(Damaged),
        }
    }

    /// The items of one that is loose and can be shorter.
    pub(super) fn take_loose(&mut self) -> Option<VecDeque<Item>> {
        let Form::Loose(items) = &mut self.form else { return None };
        if items.len() < LOOSE_MAX || items.iter().any(|item| item.reference().is_none()) {
            return None;
        }
        self.sums = Sums::default();
        Some(std::mem::take(items))
    }
}

impl Coded {
    fn closed(bytes: Vec<u8>) -> Self {
        Self { bytes, is_closed: true, ..Self::default() }
    }

    /// Whether it has a place for the reference.
    fn push(&mut self, reference: &Reference) -> bool {
        if self.is_closed {
            return false;
        }
        let (length, back) = (self.bytes.len(), self.back);
        codec::encode(reference, &mut self.back, &mut self.bytes);
        let fits = self.bytes.len() <= PAGE_BYTES;
        if !fits {
            self.bytes.truncate(length);
            self.back = back;
        }
        fits
    }

    fn pop(&mut self) -> Option<Reference> {
        let mut rest = self.bytes.get(self.taken..)?;
        let reference = codec::decode(&mut rest, &mut self.front)?;
        self.taken = self.bytes.len() - rest.len();
        Some(reference)
    }

    /// Those that were not taken.
    fn references(&self) -> impl Iterator<Item = Reference> + '_ {
        let mut rest = self.bytes.get(self.taken..).unwrap_or_default();
        let mut previous = self.front;
        std::iter::from_fn(move || codec::decode(&mut rest, &mut previous))
    }
}

fn read(page: PageNumber, expected: u32, pages: Option<&dyn Pages>) -> Result<Vec<u8>, Damaged> {
    let bytes = pages.ok_or(Damaged)?.get(page).map_err(|_| Damaged)?;
    if hash(&bytes) == expected { Ok(bytes) } else { Err(Damaged) }
}

/// Only for this process: it is kept here, not with the page.
fn hash(bytes: &[u8]) -> u32 {
    FixedState::with_seed(0).hash_one(bytes) as u32
}
