use std::collections::HashMap;

use foldhash::fast::FixedState;

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
    /// For filters that end here.
    exact: Option<Box<V>>,
    /// For filters that go on with `#` from here.
    hash: Option<Box<V>>,
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
        Self { plus: NONE, uses: 0, exact: None, hash: None }
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
                let node = &mut self.nodes[at as usize];
                node.uses += u32::from(node.hash.is_none());
                self.len += usize::from(node.hash.is_none());
                return node.hash.get_or_insert_default();
            }
            at = if level == "+" { self.plus_of(at) } else { self.child_of(at, level) };
        }
        let node = &mut self.nodes[at as usize];
        node.uses += u32::from(node.exact.is_none());
        self.len += usize::from(node.exact.is_none());
        node.exact.get_or_insert_default()
    }

    pub(crate) fn find(&mut self, filter: &str) -> Option<&mut V> {
        let (path, at) = self.path(filter)?;
        let node = &mut self.nodes[at as usize];
        let value = if ends_with_hash(filter, path.len()) { &mut node.hash } else { &mut node.exact };
        value.as_deref_mut()
    }

    pub(crate) fn get(&self, filter: &str) -> Option<&V> {
        let (path, at) = self.path(filter)?;
        let node = &self.nodes[at as usize];
        let value = if ends_with_hash(filter, path.len()) { &node.hash } else { &node.exact };
        value.as_deref()
    }

    /// Removes a filter's value and every node that only it needed.
    pub(crate) fn remove(&mut self, filter: &str) {
        let Some((path, mut at)) = self.path(filter) else { return };
        let node = &mut self.nodes[at as usize];
        let value = if ends_with_hash(filter, path.len()) { &mut node.hash } else { &mut node.exact };
        if value.take().is_none() {
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
                    if let Some(value) = &node.hash {
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
            for value in [&node.exact, &node.hash].into_iter().flatten() {
                found(value);
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
        entry.uses -= 1;
        if entry.uses == 0 {
            self.free_levels.push(entry.id);
            self.levels.remove(level);
        }
    }
}

/// `steps` is the number of levels without a `#` at the end.
fn ends_with_hash(filter: &str, steps: usize) -> bool {
    filter.split('/').count() > steps
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
