use std::sync::Arc;

use crate::Session;
use crate::group::{Group, Groups};
use crate::routes::Subscriber;
use crate::subscribers::{Subscribers, key};

/// Who gets what is published to one filter. Of most filters that is one subscriber, who is held in place.
#[derive(Default)]
pub(crate) enum Leaf {
    #[default]
    Empty,
    One(Subscriber),
    Several(Box<Several>),
}

#[derive(Default)]
pub(crate) struct Several {
    subscribers: Subscribers,
    groups: Groups,
}

impl Leaf {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(crate) fn subscribers(&self) -> &[Subscriber] {
        match self {
            Self::Empty => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several.subscribers.as_slice(),
        }
    }

    pub(crate) fn groups(&self) -> &[Arc<Group>] {
        match self {
            Self::Several(several) => &several.groups,
            Self::Empty | Self::One(_) => &[],
        }
    }

    pub(crate) fn group(&self, name: &str) -> Option<&Arc<Group>> {
        self.groups().iter().find(|group| &*group.name == name)
    }

    /// Adds a subscriber, or replaces the same session's; whether it is new.
    pub(crate) fn insert(&mut self, subscriber: Subscriber) -> bool {
        match self {
            Self::Empty => {
                *self = Self::One(subscriber);
                true
            }
            Self::One(one) if key(one) == key(&subscriber) => {
                *one = subscriber;
                false
            }
            Self::One(_) | Self::Several(_) => self.several().subscribers.insert(subscriber),
        }
    }

    pub(crate) fn remove(&mut self, session: &Session, exclusive: bool) {
        let gone = (session.number, exclusive);
        match self {
            Self::One(one) if key(one) == gone => *self = Self::Empty,
            Self::Several(several) => several.subscribers.remove(gone),
            Self::Empty | Self::One(_) => {}
        }
        self.rest();
    }

    pub(crate) fn add_group(&mut self, group: Arc<Group>) {
        self.several().groups.push(group);
    }

    /// Takes a member out of a group; the number of the group if that was the last one.
    pub(crate) fn leave(&mut self, name: &str, session: &Session) -> Option<u32> {
        let Self::Several(several) = self else { return None };
        let place = several.groups.iter().position(|group| &*group.name == name)?;
        if !several.groups[place].leave(session) {
            return None;
        }
        let number = several.groups.remove(place).number;
        self.rest();
        Some(number)
    }

    fn several(&mut self) -> &mut Several {
        if !matches!(self, Self::Several(_)) {
            let mut several = Box::<Several>::default();
            if let Self::One(one) = std::mem::take(self) {
                several.subscribers.insert(one);
            }
            *self = Self::Several(several);
        }
        let Self::Several(several) = self else { unreachable!("it was made so") };
        several
    }

    fn rest(&mut self) {
        if self.subscribers().is_empty() && self.groups().is_empty() {
            *self = Self::Empty;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use gateway_model::{ClientId, Qos, Subscription, TopicFilter};

    use super::*;
    use crate::QueueLimits;
    use crate::outbox::Outbox;
    use crate::subscribers::{FEW_MAX, Key};

    thread_local! {
        /// How often a subscriber was looked at.
        pub(crate) static LOOKS: Cell<u64> = const { Cell::new(0) };
    }

    fn subscriber(count: u64, qos: Qos, is_exclusive: bool) -> Subscriber {
        let outbox = Outbox::new(1, QueueLimits::default(), false);
        let client_id = ClientId::parse("c").unwrap();
        let session = Arc::new(Session::new(client_id, Session::number(count, false), outbox));
        let filter = if is_exclusive { "$exclusive/a" } else { "a" };
        Subscriber::new(session, &Subscription::new(TopicFilter::parse(filter).unwrap(), qos))
    }

    /// Against a plain list, with numbers that meet again and again.
    #[test]
    fn few_and_many_behave_alike() {
        let mut model: Vec<(Key, Qos)> = Vec::new();
        let mut leaf = Leaf::default();
        let mut dice = 7u64;
        for step in 0..20_000u64 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // The population swells and shrinks.
            let (grows, range) = (step / 1000 % 2 == 0, 60);
            let one = subscriber((dice >> 33) % range, Qos::AtLeastOnce, (dice >> 60) & 7 == 0);
            let ours = key(&one);
            let known = model.iter().position(|(present, _)| *present == ours);
            if ((dice >> 50) & 3 != 0) == grows {
                let qos = one.qos;
                assert_eq!(leaf.insert(one), known.is_none(), "step {step}");
                known.map(|place| model.remove(place));
                model.push((ours, qos));
            } else {
                leaf.remove(&one.session, one.exclusive);
                known.map(|place| model.remove(place));
            }
            let mut keys: Vec<Key> = leaf.subscribers().iter().map(key).collect();
            let mut expected: Vec<Key> = model.iter().map(|(key, _)| *key).collect();
            keys.sort_unstable();
            expected.sort_unstable();
            assert_eq!(keys, expected, "step {step}");
        }
    }

    /// Whoever subscribes anew is not there twice.
    #[test]
    fn a_subscriber_is_replaced() {
        for others in [0, 1, FEW_MAX as u64, 100] {
            let mut leaf = Leaf::default();
            (1..=others)
                .for_each(|count| assert!(leaf.insert(subscriber(count, Qos::AtMostOnce, false))));
            assert!(leaf.insert(subscriber(0, Qos::AtMostOnce, false)));
            assert!(!leaf.insert(subscriber(0, Qos::ExactlyOnce, false)));
            let ours = leaf.subscribers().iter().filter(|one| one.session.number == 0);
            assert_eq!(ours.map(|one| one.qos).collect::<Vec<_>>(), [Qos::ExactlyOnce], "{others} others");
        }
    }

    /// The last of a fleet costs what the first did, when it comes and when it goes.
    #[test]
    fn a_fleet_comes_and_goes_without_a_look_at_all_of_it() {
        const FLEET: u64 = 100_000;
        let mut leaf = Leaf::default();
        let all: Vec<Subscriber> =
            (0..FLEET).map(|count| subscriber(count, Qos::AtMostOnce, false)).collect();
        let sessions: Vec<Arc<Session>> = all.iter().map(|one| one.session.clone()).collect();
        LOOKS.set(0);
        all.into_iter().for_each(|one| assert!(leaf.insert(one)));
        sessions[..FLEET as usize - 10].iter().for_each(|session| leaf.remove(session, false));
        assert!(LOOKS.get() < 6 * FLEET, "{} looks", LOOKS.get());
        let Leaf::Several(several) = &leaf else { panic!("ten are left") };
        let (list, places) = several.subscribers.room();
        assert!(list <= 64 && places == 0, "{list}");
    }
}
