use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use gateway_model::{ClientId, Identifiers, Qos, Subscription, Topic, TopicFilter};
use gateway_store::Shared;
use smallvec::SmallVec;

use crate::Session;
use crate::group::{Group, Groups};
use crate::leaf::Leaf;
use crate::priorities::Priorities;
use crate::trie::Trie;
use crate::vacancy::Vacancy;

/// Who subscribed to what. Exact filters are found by hash, wildcards by trie.
pub(crate) struct Routes {
    /// The key shares the text of the first subscription to it.
    exact: HashMap<Arc<str>, Leaf, FixedState>,
    wildcard: Trie<Leaf>,
    /// All groups by their numbers.
    groups: HashMap<u32, Arc<Group>, FixedState>,
    last_group: u32,
    priorities: Priorities,
    /// Subscriptions, shared ones included.
    count: usize,
    /// Those of them that are shared.
    shared: usize,
    /// Those of them that may match a topic of the gateway's own, which begins with `$`.
    reserved: usize,
}

/// One subscription as the routes hold it.
#[derive(Clone)]
pub(crate) struct Subscriber {
    pub(crate) session: Arc<Session>,
    /// 0 is none.
    pub(crate) identifier: u32,
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// By `$exclusive/`: nobody else may have this filter so.
    pub(crate) exclusive: bool,
}

impl Subscriber {
    pub(crate) fn new(session: Arc<Session>, subscription: &Subscription) -> Self {
        Self {
            session,
            identifier: subscription.identifier.map_or(0, u32::from),
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            exclusive: subscription.filter.is_exclusive(),
        }
    }

    pub(crate) fn identifiers(&self) -> Identifiers {
        if self.identifier == 0 { Identifiers::None } else { Identifiers::One(self.identifier) }
    }
}

/// Everybody who gets what is published to one topic.
pub(crate) struct Route {
    /// One per session: overlapping subscriptions are merged (MQTT 5.0 section 3.3.4), except No
    /// Local ones with others.
    pub(crate) targets: Vec<Target>,
    pub(crate) groups: Groups,
    /// Of the topic, in queues.
    pub(crate) priority: u8,
    /// The log is to have what it takes to sessions above QoS 0.
    durable: bool,
    /// How many copies of a message the log may have to list, and how many subscription identifiers
    /// those may have.
    pub(crate) listed_max: Listed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) copies: usize,
    pub(crate) identifiers: usize,
}

pub(crate) struct Target {
    pub(crate) session: Arc<Session>,
    pub(crate) identifiers: Identifiers,
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
}

impl Route {
    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty()
    }

    /// Whether the log has nothing to do with anybody it leads to.
    #[inline]
    pub(crate) fn is_brief(&self) -> bool {
        !self.durable && self.groups.is_empty()
    }

    /// Whether the log is to have a message above QoS 0 that this client publishes.
    #[inline]
    pub(crate) fn is_durable_for(&self, publisher: &ClientId) -> bool {
        let is_durable = |target: &Target| target.is_durable();
        self.durable
            && (self.wanting(publisher).any(is_durable) || self.groups.iter().any(|group| group.is_durable()))
    }

    /// The targets but those that leave out what their own client publishes: by name, as a will is
    /// published when its connection is gone (MQTT-3.8.3-3).
    #[inline]
    pub(crate) fn wanting(&self, publisher: &ClientId) -> impl Iterator<Item = &Target> {
        let is_own = |target: &Target| target.no_local && target.session.client_id == *publisher;
        self.targets.iter().filter(move |target| !is_own(target))
    }
}

impl Listed {
    pub(crate) fn one(identifiers: &Identifiers) -> Self {
        Self { copies: 1, identifiers: identifiers.as_slice().len() }
    }
}

impl Routes {
    pub(crate) fn new(hasher: FixedState, priorities: Priorities) -> Self {
        Self {
            exact: HashMap::with_hasher(hasher.clone()),
            wildcard: Trie::new(hasher.clone()),
            groups: HashMap::with_hasher(hasher),
            last_group: 0,
            priorities,
            count: 0,
            shared: 0,
            reserved: 0,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Adds a subscription or replaces the session's earlier one to the same filter. Returns the
    /// group that it is a member of then.
    pub(crate) fn subscribe(&mut self, filter: &TopicFilter, subscriber: Subscriber) -> Option<Arc<Group>> {
        let Some(name) = filter.group() else {
            let is_new = self.leaf(filter).insert(subscriber);
            self.note(filter, is_new);
            return None;
        };
        let group = match self.leaf(filter).group(name) {
            Some(group) => group.clone(),
            None => {
                let group = self.make_group(name, Shared::group_of(filter));
                self.leaf(filter).add_group(group.clone());
                group
            }
        };
        let is_new = group.join(subscriber);
        self.shared += usize::from(is_new);
        self.note(filter, is_new);
        Some(group)
    }

    pub(crate) fn unsubscribe(&mut self, filter: &TopicFilter, session: &Session) {
        let Some(leaf) = self.find(filter) else { return };
        let mut orphan = None;
        match filter.group() {
            None => leaf.remove(session, filter.is_exclusive()),
            Some(name) => orphan = leaf.leave(name, session),
        }
        let is_empty = leaf.is_empty();
        self.count -= 1;
        self.shared -= usize::from(filter.group().is_some());
        self.reserved -= usize::from(filter.path().starts_with('$'));
        if let Some(number) = orphan {
            self.groups.remove(&number);
        }
        if is_empty && filter.has_wildcard() {
            self.wildcard.remove(filter.path());
        } else if is_empty {
            self.exact.remove(filter.path());
            self.exact.give_back();
        }
    }

    /// Whether another session has the filter for itself.
    pub(crate) fn is_taken(&self, filter: &TopicFilter, session: &Session) -> bool {
        let holds = |present: &Subscriber| present.exclusive && present.session.number != session.number;
        self.get(filter).is_some_and(|leaf| leaf.subscribers().iter().any(holds))
    }

    pub(crate) fn group(&self, number: u32) -> Option<Arc<Group>> {
        self.groups.get(&number).cloned()
    }

    pub(crate) fn group_of(&self, filter: &TopicFilter) -> Option<Arc<Group>> {
        let name = filter.group()?;
        self.get(filter)?.group(name).cloned()
    }

    pub(crate) fn priority(&self, topic: &Topic) -> u8 {
        self.priorities.of(topic)
    }

    pub(crate) fn shared(&self) -> usize {
        self.shared
    }

    pub(crate) fn reserved(&self) -> usize {
        self.reserved
    }

    /// Filters that somebody subscribed to.
    pub(crate) fn filters(&self) -> usize {
        self.exact.len() + self.wildcard.len()
    }

    /// Whether any subscription matches the topic.
    pub(crate) fn wants(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.reserved == 0 {
            return false;
        }
        let mut wanted = self.exact.contains_key(topic);
        self.wildcard.matches(topic, |_| wanted = true);
        wanted
    }

    pub(crate) fn route(&self, topic: &Topic) -> Route {
        let mut found: SmallVec<[&Leaf; 8]> = SmallVec::new();
        found.extend(self.exact.get(topic.as_str()));
        self.wildcard.matches(topic, |leaf| found.push(leaf));
        let subscribers = || found.iter().flat_map(|leaf| leaf.subscribers());
        let mut targets: Vec<Target> = subscribers().map(Target::from).collect();
        // Within one leaf a session is twice only if once exclusively.
        if found.len() > 1 || subscribers().any(|subscriber| subscriber.exclusive) {
            targets.sort_by_key(|target| (target.session.number, target.no_local));
            targets.dedup_by(|later, earlier| earlier.merge(later));
        }
        let groups = found.iter().flat_map(|leaf| leaf.groups()).cloned();
        let mut groups: Groups = groups.collect();
        groups.sort_unstable_by_key(|group| group.number);
        // Of groups nobody knows yet whose member it will be.
        let mut listed_max = Listed { copies: groups.len(), identifiers: groups.len() };
        for target in targets.iter().filter(|target| target.is_durable()) {
            listed_max.copies += 1;
            listed_max.identifiers += target.identifiers.as_slice().len();
        }
        let durable = listed_max.copies > groups.len() || groups.iter().any(|group| group.is_durable());
        Route { targets, groups, priority: self.priority(topic), durable, listed_max }
    }

    fn leaf(&mut self, filter: &TopicFilter) -> &mut Leaf {
        let path = filter.path();
        if filter.has_wildcard() {
            return self.wildcard.entry(path);
        }
        if !self.exact.contains_key(path) {
            let is_whole = path.len() == filter.text().len();
            let key = if is_whole { filter.text().clone() } else { path.into() };
            self.exact.insert(key, Leaf::default());
        }
        self.exact.get_mut(path).expect("it was just put there")
    }

    fn note(&mut self, filter: &TopicFilter, is_new: bool) {
        self.count += usize::from(is_new);
        self.reserved += usize::from(is_new && filter.path().starts_with('$'));
    }

    fn get(&self, filter: &TopicFilter) -> Option<&Leaf> {
        let path = filter.path();
        if filter.has_wildcard() { self.wildcard.get(path) } else { self.exact.get(path) }
    }

    fn find(&mut self, filter: &TopicFilter) -> Option<&mut Leaf> {
        let path = filter.path();
        if filter.has_wildcard() { self.wildcard.find(path) } else { self.exact.get_mut(path) }
    }

    fn make_group(&mut self, name: &str, mark: u64) -> Arc<Group> {
        let mut next = || {
            self.last_group = self.last_group.wrapping_add(1).max(1);
            self.last_group
        };
        let mut number = next();
        while self.groups.contains_key(&number) {
            number = next();
        }
        let group = Arc::new(Group::new(name, number, mark));
        self.groups.insert(number, group.clone());
        group
    }
}

impl From<&Subscriber> for Target {
    fn from(subscriber: &Subscriber) -> Self {
        Self {
            session: subscriber.session.clone(),
            identifiers: subscriber.identifiers(),
            qos: subscriber.qos,
            no_local: subscriber.no_local,
            retain_as_published: subscriber.retain_as_published,
        }
    }
}

impl Target {
    fn is_durable(&self) -> bool {
        self.session.is_durable() && self.qos > Qos::AtMostOnce
    }

    /// Takes another subscription of the same session in. False if it is another session's, or if
    /// only one of them leaves out the session's own messages: then neither QoS nor identifiers of
    /// the one may show in a message that only the other matches (MQTT-3.8.3-3).
    fn merge(&mut self, other: &Target) -> bool {
        if self.session.number != other.session.number || self.no_local != other.no_local {
            return false;
        }
        self.qos = self.qos.max(other.qos);
        self.retain_as_published |= other.retain_as_published;
        self.identifiers = match (self.identifiers.as_slice(), other.identifiers.as_slice()) {
            (_, []) => return true,
            ([], _) => other.identifiers.clone(),
            (ours, theirs) => Identifiers::from([ours, theirs].concat()),
        };
        true
    }
}
