use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::vacancy::Vacancy;

/// Wildcard filters by level, so that matching costs by the depth of the topic and the wildcards
/// on its way, not by the number of filters.
///
/// Levels are interned; an edge is found in one table by (node, level). Nodes live in a vector
/// and refer to each other by index; a freed node is used again.
pub(crate) struct Trie<V> {
    nodes: Vec<Node<V>>,
    free: Vec<u32>,
    edges: HashMap<(u32, u32), u32, FixedState>,
    levels: HashMap<Box<str>, Level, FixedState>,
    free_levels: Vec<u32>,
    levels_made: u32,
    /// Filters with a value.
    len: usize,
}

struct Node<V> {
    /// The child for `+`, or `NONE`.
    plus: u32,
    /// What holds this node up: children, and the two values.
    uses: u32,
    values: Values<V>,
}

/// The value of the filter that ends at a node, and of the one that goes on with `#` from there. Few nodes
/// have both; one stands in place, where looking at the node has fetched it already.
#[derive(Default)]
enum Values<V> {
    #[default]
    None,
    Exact(V),
    Hash(V),
    Both(Box<Pair<V>>),
}

struct Pair<V> {
    exact: V,
    hash: V,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Exact,
    Hash,
}

struct Level {
    id: u32,
    /// Edges that carry it.
    uses: u32,
}

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self { plus: NONE, uses: 0, values: Values::None }
    }
}

impl<V: Default> Trie<V> {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self {
            nodes: vec![Node::default()],
            free: Vec::new(),
            edges: HashMap::with_hasher(hasher.clone()),
            levels: HashMap::with_hasher(hasher),
            free_levels: Vec::new(),
            levels_made: 0,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The value of a filter, made if there is none.
    pub(crate) fn entry(&mut self, filter: &str) -> &mut V {
        let mut at = ROOT;
        for level in filter.split('/') {
            if level == "#" {
                return self.value_of(at, End::Hash);
            }
            at = if level == "+" { self.plus_of(at) } else { self.child_of(at, level) };
        }
        self.value_of(at, End::Exact)
    }

    pub(crate) fn find(&mut self, filter: &str) -> Option<&mut V> {
        let (path, at) = self.path(filter)?;
        self.nodes[at as usize].values.get_mut(End::of(filter, path.len()))
    }

    pub(crate) fn get(&self, filter: &str) -> Option<&V> {
        let (path, at) = self.path(filter)?;
        self.nodes[at as usize].values.get(End::of(filter, path.len()))
    }

    /// Removes a filter's value and every node that only it needed.
    pub(crate) fn remove(&mut self, filter: &str) {
        let Some((path, mut at)) = self.path(filter) else { return };
        let node = &mut self.nodes[at as usize];
        if !node.values.remove(End::of(filter, path.len())) {
            return;
        }
        node.uses -= 1;
        self.len -= 1;
        for (parent, level) in path.into_iter().rev() {
            if self.nodes[at as usize].uses > 0 {
                return;
            }
            self.free.push(at);
            self.unlink(parent, level);
            self.nodes[parent as usize].uses -= 1;
            at = parent;
        }
        if self.len == 0 {
            self.nodes = vec![Node::default()];
            self.free = Vec::new();
        }
    }

    /// Calls `found` with the value of every filter that matches the topic.
    pub(crate) fn matches<'t>(&'t self, topic: &str, mut found: impl FnMut(&'t V)) {
        if self.nodes[ROOT as usize].uses == 0 {
            return;
        }
        let reserved = topic.starts_with('$');
        // The nodes reached so far; nearly always one to four.
        let mut now: smallvec::SmallVec<[u32; 16]> = smallvec::smallvec![ROOT];
        let mut next = smallvec::SmallVec::<[u32; 16]>::new();
        let mut first = true;
        for level in topic.split('/') {
            let id = self.levels.get(level).map(|level| level.id);
            for &at in &now {
                let node = &self.nodes[at as usize];
                if !(first && reserved) {
                    if let Some(value) = node.values.get(End::Hash) {
                        found(value);
                    }
                    if node.plus != NONE {
                        next.push(node.plus);
                    }
                }
                if let Some(child) = id.and_then(|id| self.edges.get(&(at, id))) {
                    next.push(*child);
                }
            }
            std::mem::swap(&mut now, &mut next);
            next.clear();
            first = false;
            if now.is_empty() {
                return;
            }
        }
        for &at in &now {
            let node = &self.nodes[at as usize];
            // `a/#` matches `a` as well (MQTT 5.0 section 4.7.1.2).
            for end in [End::Exact, End::Hash] {
                node.values.get(end).into_iter().for_each(&mut found);
            }
        }
    }

    /// The steps to a filter's last node, each `(parent, level)`, and that node.
    fn path<'f>(&self, filter: &'f str) -> Option<(Vec<(u32, &'f str)>, u32)> {
        let mut steps = Vec::new();
        let mut at = ROOT;
        for level in filter.split('/').filter(|level| *level != "#") {
            steps.push((at, level));
            at = match level {
                "+" => Some(self.nodes[at as usize].plus).filter(|plus| *plus != NONE)?,
                level => *self.edges.get(&(at, self.levels.get(level)?.id))?,
            };
        }
        Some((steps, at))
    }

    fn value_of(&mut self, at: u32, end: End) -> &mut V {
        let node = &mut self.nodes[at as usize];
        if node.values.get(end).is_none() {
            node.uses += 1;
            self.len += 1;
            node.values.insert(end, V::default());
        }
        node.values.get_mut(end).expect("it was just put there")
    }

    fn plus_of(&mut self, at: u32) -> u32 {
        if self.nodes[at as usize].plus == NONE {
            let made = self.make();
            let node = &mut self.nodes[at as usize];
            node.plus = made;
            node.uses += 1;
        }
        self.nodes[at as usize].plus
    }

    fn child_of(&mut self, at: u32, level: &str) -> u32 {
        let known = self.levels.get(level).map(|level| level.id);
        if let Some(child) = known.and_then(|id| self.edges.get(&(at, id))) {
            return *child;
        }
        let child = self.make();
        let id = match self.levels.get_mut(level) {
            Some(level) => {
                level.uses += 1;
                level.id
            }
            None => {
                let id = self.free_levels.pop().unwrap_or_else(|| {
                    self.levels_made += 1;
                    self.levels_made - 1
                });
                self.levels.insert(level.into(), Level { id, uses: 1 });
                id
            }
        };
        self.edges.insert((at, id), child);
        self.nodes[at as usize].uses += 1;
        child
    }

    fn make(&mut self) -> u32 {
        if let Some(at) = self.free.pop() {
            self.nodes[at as usize] = Node::default();
            return at;
        }
        self.nodes.push(Node::default());
        u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 levels of filters fit in memory")
    }

    fn unlink(&mut self, parent: u32, level: &str) {
        if level == "+" {
            self.nodes[parent as usize].plus = NONE;
            return;
        }
        let Some(entry) = self.levels.get_mut(level) else { return };
        self.edges.remove(&(parent, entry.id));
        self.edges.give_back();
        entry.uses -= 1;
        if entry.uses == 0 {
            self.free_levels.push(entry.id);
            self.levels.remove(level);
            self.levels.give_back();
        }
    }
}

impl<V> Values<V> {
    fn get(&self, end: End) -> Option<&V> {
        match (self, end) {
            (Self::Exact(value), End::Exact) | (Self::Hash(value), End::Hash) => Some(value),
            (Self::Both(pair), End::Exact) => Some(&pair.exact),
            (Self::Both(pair), End::Hash) => Some(&pair.hash),
            _ => None,
        }
    }

    fn get_mut(&mut self, end: End) -> Option<&mut V> {
        match (self, end) {
            (Self::Exact(value), End::Exact) | (Self::Hash(value), End::Hash) => Some(value),
            (Self::Both(pair), End::Exact) => Some(&mut pair.exact),
            (Self::Both(pair), End::Hash) => Some(&mut pair.hash),
            _ => None,
        }
    }

    /// There must be none at that end.
    fn insert(&mut self, end: End, value: V) {
        *self = match (std::mem::take(self), end) {
            (Self::Hash(hash), End::Exact) => Self::Both(Box::new(Pair { exact: value, hash })),
            (Self::Exact(exact), End::Hash) => Self::Both(Box::new(Pair { exact, hash: value })),
            (_, End::Exact) => Self::Exact(value),
            (_, End::Hash) => Self::Hash(value),
        };
    }

    /// Whether there was one.
    fn remove(&mut self, end: End) -> bool {
        let was_there = self.get(end).is_some();
        *self = match (std::mem::take(self), end) {
            (Self::Both(pair), End::Exact) => Self::Hash(pair.hash),
            (Self::Both(pair), End::Hash) => Self::Exact(pair.exact),
            (Self::Exact(_), End::Exact) | (Self::Hash(_), End::Hash) => Self::None,
            (other, _) => other,
        };
        was_there
    }
}

impl End {
    /// Of a filter of so many levels without a `#` at the end.
    fn of(filter: &str, levels: usize) -> Self {
        if filter.split('/').count() > levels { Self::Hash } else { Self::Exact }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_model::{Topic, TopicFilter};

    fn matching(trie: &Trie<String>, topic: &str) -> Vec<String> {
        let mut found = Vec::new();
        trie.matches(topic, |value| found.push(value.clone()));
        found.sort();
        found
    }

    #[test]
    fn agrees_with_the_definition_of_matching() {
        let parts = ["a", "b", "", "+", "#", "$s"];
        let mut filters = Vec::new();
        let mut topics = Vec::new();
        for a in parts {
            for b in parts {
                for text in [a.to_string(), format!("{a}/{b}"), format!("{a}/b/{b}"), format!("{a}/{b}/a")] {
                    if let Ok(filter) = TopicFilter::parse(&text) {
                        filters.push(filter);
                    }
                    topics.extend(Topic::parse(&text));
                }
            }
        }
        filters.sort();
        filters.dedup();
        let mut trie = Trie::new(FixedState::default());
        for filter in &filters {
            *trie.entry(filter.path()) = filter.to_string();
        }
        let check = |trie: &Trie<String>, filters: &[TopicFilter]| {
            for topic in &topics {
                let expected: Vec<String> =
                    filters.iter().filter(|filter| filter.matches(topic)).map(ToString::to_string).collect();
                assert_eq!(matching(trie, topic), expected, "{topic}");
            }
        };
        check(&trie, &filters);
        let (gone, kept): (Vec<_>, Vec<_>) =
            filters.iter().cloned().enumerate().partition(|(i, _)| i % 3 == 0);
        gone.iter().for_each(|(_, filter)| trie.remove(filter.path()));
        check(&trie, &kept.iter().map(|(_, filter)| filter.clone()).collect::<Vec<_>>());
        kept.iter().for_each(|(_, filter)| trie.remove(filter.path()));
        assert!(trie.edges.is_empty() && trie.levels.is_empty());
        assert_eq!(trie.nodes.len(), trie.free.len() + 1);
    }
}
