use foldhash::fast::FixedState;
use gateway_model::{Topic, TopicFilter};

use crate::trie::Trie;

/// Which topics go first in queues; 0 for all if nothing is configured.
pub(crate) struct Priorities {
    table: Option<Trie<u8>>,
    others: u8,
}

/// Where topics that are not in the table stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PriorityDefault {
    /// Behind all that are.
    #[default]
    Lowest,
    /// With those of priority 255.
    Highest,
}

impl Priorities {
    pub(crate) fn new(table: &[(TopicFilter, u8)], others: PriorityDefault, hasher: FixedState) -> Self {
        if table.is_empty() {
            return Self { table: None, others: 0 };
        }
        let mut trie = Trie::new(hasher);
        for (filter, priority) in table {
            let known: &mut u8 = trie.entry(filter.path());
            *known = (*priority).max(*known);
        }
        Self { table: Some(trie), others: if others == PriorityDefault::Lowest { 0 } else { u8::MAX } }
    }

    /// The highest of all filters that match.
    pub(crate) fn of(&self, topic: &Topic) -> u8 {
        let Some(table) = &self.table else { return 0 };
        let mut highest = None;
        table.matches(topic, |priority| highest = highest.max(Some(*priority)));
        highest.unwrap_or(self.others)
    }
}
