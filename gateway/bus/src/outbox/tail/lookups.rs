use std::collections::HashMap;

use gateway_store::{CopyState, PageNumber, Place};

use super::Reference;

/// Pages as they were looked up last, so that a run of copies of one page reads it once.
///
/// A page is known by its number and what is on it: one that has changed since is another one.
#[derive(Default)]
pub(crate) struct Lookups {
    pages: HashMap<(PageNumber, u32), Box<[Found]>>,
}

/// What is asked of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) ordinal: u64,
    pub(crate) place: Place,
    pub(crate) state: CopyState,
}

/// Some 16 MB at most, as long as the log is being cleaned.
const PAGES_MAX: usize = 512;

impl Lookups {
    /// The reference with this ordinal on a page, which is read unless it is known.
    pub(super) fn find<E>(
        &mut self,
        page: (PageNumber, u32),
        ordinal: u64,
        read: impl FnOnce() -> Result<Vec<Found>, E>,
    ) -> Result<Option<Found>, E> {
        if !self.pages.contains_key(&page) {
            let mut all = read()?;
            all.sort_unstable_by_key(|found| found.ordinal);
            if self.pages.len() >= PAGES_MAX {
                self.pages.clear();
            }
            self.pages.insert(page, all.into());
        }
        let all = &self.pages[&page];
        let at = all.binary_search_by_key(&ordinal, |found| found.ordinal);
        Ok(at.ok().map(|at| all[at]))
    }

    /// What was looked up is of no more use.
    pub(crate) fn clear(&mut self) {
        self.pages = HashMap::new();
    }
}

impl From<&Reference> for Found {
    fn from(reference: &Reference) -> Self {
        Self { ordinal: reference.ordinal, place: reference.place, state: reference.state }
    }
}
