use std::collections::HashMap;

use foldhash::fast::RandomState;
use gateway_model::{Subscription, TopicFilter};

/// A session's subscriptions, one per filter.
///
/// Nearly every session has one, which is held in place; a session with thousands must not make
/// each further one cost a walk over all of them.
#[allow(clippy::box_collection)] // for the size of the others
#[derive(Default)]
pub(crate) enum Subscriptions {
    #[default]
    None,
    One(Subscription),
    Few(Vec<Subscription>),
    /// Boxed, so that the few do not pay for the many.
    Many(Box<HashMap<TopicFilter, Subscription, RandomState>>),
}

/// From here on a walk is dearer than a hash.
const FEW_MAX: usize = 32;

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Many(map) => map.len(),
            few => few.as_slice().len(),
        }
    }

    pub(crate) fn get(&self, filter: &TopicFilter) -> Option<&Subscription> {
        match self {
            Self::Many(map) => map.get(filter),
            few => few.as_slice().iter().find(|present| present.filter == *filter),
        }
    }

    /// Adds a subscription or replaces the one to the same filter.
    pub(crate) fn insert(&mut self, subscription: Subscription) {
        let is_same = |present: &&mut Subscription| present.filter == subscription.filter;
        match self {
            Self::None => *self = Self::One(subscription),
            Self::One(present) if present.filter == subscription.filter => *present = subscription,
            Self::One(_) => {
                let Self::One(first) = std::mem::take(self) else { unreachable!("it was just seen") };
                *self = Self::Few(vec![first, subscription]);
            }
            Self::Few(list) => {
                if let Some(present) = list.iter_mut().find(is_same) {
                    *present = subscription;
                } else if list.len() < FEW_MAX {
                    // Most sessions stop at a few: no room for more is kept.
                    list.reserve_exact(1);
                    list.push(subscription);
                } else {
                    let all = std::mem::take(list).into_iter().chain([subscription]);
                    *self = Self::Many(Box::new(all.map(|one| (one.filter.clone(), one)).collect()));
                }
            }
            Self::Many(map) => {
                map.insert(subscription.filter.clone(), subscription);
            }
        }
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, filter: &TopicFilter) -> bool {
        match self {
            Self::None => false,
            Self::One(present) => {
                let is_it = present.filter == *filter;
                if is_it {
                    *self = Self::None;
                }
                is_it
            }
            Self::Few(list) => {
                let index = list.iter().position(|present| present.filter == *filter);
                index.map(|index| list.swap_remove(index)).is_some()
            }
            Self::Many(map) => map.remove(filter).is_some(),
        }
    }

    /// The filters by which it is a member of groups, sorted.
    pub(crate) fn shared(&self) -> Vec<TopicFilter> {
        let shared = |one: &Subscription| one.filter.group().map(|_| one.filter.clone());
        let mut filters: Vec<TopicFilter> = match self {
            Self::Many(map) => map.values().filter_map(shared).collect(),
            few => few.as_slice().iter().filter_map(shared).collect(),
        };
        filters.sort_unstable();
        filters
    }

    pub(crate) fn to_vec(&self) -> Vec<Subscription> {
        match self {
            Self::Many(map) => map.values().cloned().collect(),
            few => few.as_slice().to_vec(),
        }
    }

    pub(crate) fn into_filters(self) -> Vec<TopicFilter> {
        match self {
            Self::None => Vec::new(),
            Self::One(one) => vec![one.filter],
            Self::Few(list) => list.into_iter().map(|one| one.filter).collect(),
            Self::Many(map) => map.into_keys().collect(),
        }
    }

    fn as_slice(&self) -> &[Subscription] {
        match self {
            Self::None | Self::Many(_) => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Few(list) => list,
        }
    }
}

#[cfg(test)]
mod tests {
    use gateway_model::Qos;

    use super::*;

    #[test]
    fn few_and_many_behave_alike() {
        let filter = |number: usize| TopicFilter::parse(&format!("t/{number}")).unwrap();
        for count in [1, 2, FEW_MAX, FEW_MAX + 1, 1000] {
            let mut subscriptions = Subscriptions::default();
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
                (0..count).for_each(|number| subscriptions.insert(Subscription::new(filter(number), qos)));
                assert_eq!(subscriptions.len(), count);
            }
            assert!(
                subscriptions.get(&filter(count - 1)).is_some()
                    && subscriptions.get(&filter(count)).is_none()
            );
            assert!(subscriptions.remove(&filter(0)) && !subscriptions.remove(&filter(0)));
            assert_eq!(subscriptions.into_filters().len(), count - 1);
        }
    }
}
