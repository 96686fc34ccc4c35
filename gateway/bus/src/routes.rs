use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use gateway_model::{Identifiers, Qos, Subscription, Topic, TopicFilter};
use smallvec::SmallVec;

use crate::Session;
use crate::group::{Group, Groups};
use crate::trie::Trie;

/// Who subscribed to what. Exact filters are found by hash, wildcards by trie.
pub(crate) struct Routes {
    exact: HashMap<Box<str>, Leaf, FixedState>,
    wildcard: Trie<Leaf>,
    /// Subscriptions, shared ones included.
    count: usize,
    /// Those of them that are shared.
    shared: usize,
    /// Those of them that may match a topic of the gateway's own, which begins with `$`.
    reserved: usize,
}

#[derive(Default)]
struct Leaf {
    subscribers: SmallVec<[Subscriber; 1]>,
    groups: Groups,
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
}

impl Subscriber {
    pub(crate) fn new(session: Arc<Session>, subscription: &Subscription) -> Self {
        Self {
            session,
            identifier: subscription.identifier.map_or(0, u32::from),
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
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
}

impl Routes {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self {
            exact: HashMap::with_hasher(hasher.clone()),
            wildcard: Trie::new(hasher),
            count: 0,
            shared: 0,
            reserved: 0,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Adds a subscription or replaces the session's earlier one to the same filter.
    pub(crate) fn subscribe(&mut self, filter: &TopicFilter, subscriber: Subscriber) {
        let leaf = self.leaf(filter);
        let is_new = match filter.group() {
            None => leaf.subscribe(subscriber),
            Some(name) => match leaf.groups.iter().find(|group| &*group.name == name) {
                Some(group) => group.join(subscriber),
                None => {
                    let group = Group::new(name);
                    group.join(subscriber);
                    leaf.groups.push(Arc::new(group));
                    true
                }
            },
        };
        self.count += usize::from(is_new);
        self.shared += usize::from(is_new && filter.group().is_some());
        self.reserved += usize::from(is_new && filter.path().starts_with('$'));
    }

    pub(crate) fn unsubscribe(&mut self, filter: &TopicFilter, session: &Session) {
        let path = filter.path();
        let leaf = if filter.has_wildcard() { self.wildcard.find(path) } else { self.exact.get_mut(path) };
        let Some(leaf) = leaf else { return };
        match filter.group() {
            None => leaf.subscribers.retain(|subscriber| subscriber.session.number != session.number),
            Some(name) => leaf.groups.retain(|group| &*group.name != name || !group.leave(session)),
        }
        self.count -= 1;
        self.shared -= usize::from(filter.group().is_some());
        self.reserved -= usize::from(filter.path().starts_with('$'));
        if leaf.subscribers.is_empty() && leaf.groups.is_empty() {
            if filter.has_wildcard() {
                self.wildcard.remove(path);
            } else {
                self.exact.remove(path);
            }
        }
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
        let mut targets: Vec<Target> =
            found.iter().flat_map(|leaf| &leaf.subscribers).map(Target::from).collect();
        if found.len() > 1 {
            targets.sort_by_key(|target| (target.session.number, target.no_local));
            targets.dedup_by(|later, earlier| earlier.merge(later));
        }
        Route { targets, groups: found.iter().flat_map(|leaf| leaf.groups.iter().cloned()).collect() }
    }

    fn leaf(&mut self, filter: &TopicFilter) -> &mut Leaf {
        let path = filter.path();
        if filter.has_wildcard() {
            return self.wildcard.entry(path);
        }
        if !self.exact.contains_key(path) {
            self.exact.insert(path.into(), Leaf::default());
        }
        self.exact.get_mut(path).expect("it was just put there")
    }
}

impl Leaf {
    fn subscribe(&mut self, subscriber: Subscriber) -> bool {
        match self.subscribers.iter_mut().find(|present| present.session.number == subscriber.session.number)
        {
            Some(present) => {
                *present = subscriber;
                false
            }
            None => {
                self.subscribers.push(subscriber);
                true
            }
        }
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
            (ours, theirs) => Identifiers::Many([ours, theirs].concat().into()),
        };
        true
    }
}
