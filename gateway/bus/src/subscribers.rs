use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::Session;
use crate::routes::Subscriber;

/// The subscribers of one filter, each session once. Most filters have one, which is held in place.
#[derive(Default)]
pub(crate) enum Subscribers {
    #[default]
    None,
    One(Subscriber),
    Many(Box<Many>),
}

/// In no order. A fleet that subscribes to the same filter comes and goes one by one: where each stands
/// is known without a look at the others.
#[derive(Default)]
pub(crate) struct Many {
    list: Vec<Subscriber>,
    /// The place of each in the list; empty while the list is short.
    places: HashMap<Key, u32, FixedState>,
}

/// What tells the subscribers of one filter apart: the number of the session, and whether it is exclusive.
type Key = (u64, bool);

/// Up to so many are looked through.
const FEW_MAX: usize = 16;

fn key(subscriber: &Subscriber) -> Key {
    #[cfg(test)]
    tests::LOOKS.with(|looks| looks.set(looks.get() + 1));
    (subscriber.session.number, subscriber.exclusive)
}

impl Subscribers {
    pub(crate) fn as_slice(&self) -> &[Subscriber] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => &many.list,
        }
    }

    /// Adds one, or replaces the same session's; whether it is new.
    pub(crate) fn insert(&mut self, subscriber: Subscriber) -> bool {
        match self {
            Self::None => *self = Self::One(subscriber),
            Self::One(one) if key(one) == key(&subscriber) => {
                *one = subscriber;
                return false;
            }
            Self::One(_) => {
                let Self::One(first) = std::mem::take(self) else { unreachable!("it was one") };
                let many = Many { list: vec![first, subscriber], places: HashMap::default() };
                *self = Self::Many(Box::new(many));
            }
            Self::Many(many) => return many.insert(subscriber),
        }
        true
    }

    pub(crate) fn remove(&mut self, session: &Session, exclusive: bool) {
        let gone = (session.number, exclusive);
        match self {
            Self::One(one) if key(one) == gone => *self = Self::None,
            Self::Many(many) => {
                many.remove(gone);
                if many.list.is_empty() {
                    *self = Self::None;
                }
            }
            Self::None | Self::One(_) => {}
        }
    }
}

impl Many {
    fn insert(&mut self, subscriber: Subscriber) -> bool {
        if let Some(place) = self.place(key(&subscriber)) {
            self.list[place] = subscriber;
            return false;
        }
        self.list.push(subscriber);
        if self.list.len() > FEW_MAX {
            let begin = if self.places.is_empty() { 0 } else { self.list.len() - 1 };
            let places = self.list.iter().enumerate().skip(begin);
            self.places.extend(places.map(|(place, one)| (key(one), place as u32)));
        }
        true
    }

    fn remove(&mut self, gone: Key) {
        let Some(place) = self.place(gone) else { return };
        self.list.swap_remove(place);
        self.places.remove(&gone);
        if self.list.len() <= FEW_MAX {
            self.places = HashMap::default();
        } else if let Some(moved) = self.list.get(place) {
            self.places.insert(key(moved), place as u32);
        }
        if self.list.len() * 4 < self.list.capacity() {
            self.list.shrink_to(self.list.len() * 2);
            self.places.shrink_to(self.list.len() * 2);
        }
    }

    fn place(&self, sought: Key) -> Option<usize> {
        if self.places.is_empty() {
            return self.list.iter().position(|present| key(present) == sought);
        }
        self.places.get(&sought).map(|place| *place as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use gateway_model::{ClientId, Qos, Subscription, TopicFilter};

    use super::*;
    use crate::QueueLimits;
    use crate::outbox::Outbox;

    thread_local! {
        /// How often a subscriber was looked at.
        pub(super) static LOOKS: Cell<u64> = const { Cell::new(0) };
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
        let mut subscribers = Subscribers::default();
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
                assert_eq!(subscribers.insert(one), known.is_none(), "step {step}");
                known.map(|place| model.remove(place));
                model.push((ours, qos));
            } else {
                subscribers.remove(&one.session, one.exclusive);
                known.map(|place| model.remove(place));
            }
            let mut keys: Vec<Key> = subscribers.as_slice().iter().map(key).collect();
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
            let mut subscribers = Subscribers::default();
            (1..=others)
                .for_each(|count| assert!(subscribers.insert(subscriber(count, Qos::AtMostOnce, false))));
            assert!(subscribers.insert(subscriber(0, Qos::AtMostOnce, false)));
            assert!(!subscribers.insert(subscriber(0, Qos::ExactlyOnce, false)));
            let ours = subscribers.as_slice().iter().filter(|one| one.session.number == 0);
            assert_eq!(ours.map(|one| one.qos).collect::<Vec<_>>(), [Qos::ExactlyOnce], "{others} others");
        }
    }

    /// The last of a fleet costs what the first did, when it comes and when it goes.
    #[test]
    fn a_fleet_comes_and_goes_without_a_look_at_all_of_it() {
        const FLEET: u64 = 100_000;
        let mut subscribers = Subscribers::default();
        let all: Vec<Subscriber> =
            (0..FLEET).map(|count| subscriber(count, Qos::AtMostOnce, false)).collect();
        let sessions: Vec<Arc<Session>> = all.iter().map(|one| one.session.clone()).collect();
        LOOKS.set(0);
        all.into_iter().for_each(|one| assert!(subscribers.insert(one)));
        sessions[..FLEET as usize - 10].iter().for_each(|session| subscribers.remove(session, false));
        assert!(LOOKS.get() < 6 * FLEET, "{} looks", LOOKS.get());
        let Subscribers::Many(many) = &subscribers else { panic!("ten are left") };
        assert!(many.list.capacity() <= 64 && many.places.capacity() == 0, "{}", many.list.capacity());
    }
}
