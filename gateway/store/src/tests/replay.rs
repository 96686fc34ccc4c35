use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gateway_model::{Message, Qos, Subscription, TopicFilter};
use parking_lot::Mutex;

use crate::tests::dice::{Dice, with_seeds};
use crate::tests::domain::{Domain, State, Turn};
use crate::tests::log::rig::moment;
use crate::{Holders, Image, Place, Record};

/// A log without a disk.
#[derive(Default)]
struct Records(BTreeMap<Place, Record>);

impl Turn for Records {
    fn append(&mut self, record: &Record, _: bool) -> Place {
        let place = Place::new(1, self.0.len() as u32);
        self.0.insert(place, record.clone());
        place
    }

    fn let_go(&mut self, _: Place) {}
}

impl Records {
    fn read(&self, place: Place) -> Arc<Message> {
        let Record::Message(record) = &self.0[&place] else { panic!("no message at {place}") };
        record.message.stored.set(place.number());
        record.message.clone()
    }

    fn text_of(&self, image: &Image) -> String {
        State::of(image, |place| self.read(place)).to_text()
    }
}

/// The image is the state after every record, also when it is told twice of all, and also when it is
/// made of bytes.
#[test]
fn the_image_is_what_happened() {
    let anchor = moment();
    with_seeds(60, |seed| {
        let dice = &mut Dice(seed);
        let domain = Domain::default();
        let mut records = Records::default();
        let mut states = Vec::new();
        for _ in 0..100 {
            states.extend(domain.act(dice, &mut records));
        }
        let (mut applied, mut replayed) = (Image::default(), Image::default());
        for ((place, record), state) in records.0.iter().zip(&states) {
            let mut bytes = Vec::new();
            record.encode(anchor, &mut bytes);
            applied.apply(*place, record.clone());
            replayed.replay(*place, &bytes).unwrap();
            assert_eq!(records.text_of(&applied), state.to_text());
        }
        for (place, record) in &records.0 {
            applied.apply(*place, record.clone());
        }
        let last = states.last().unwrap();
        assert_eq!(records.text_of(&applied), last.to_text());
        assert_eq!(records.text_of(&replayed), last.to_text());
        assert_eq!(replayed.holds().count(), last.holds());
        assert_eq!(replayed.finish(), 0);
    });
}

/// Cleaning writes sessions behind messages that they hold, and drops what was before.
#[test]
fn copies_wait_for_their_session() {
    with_seeds(300, |seed| {
        let dice = &mut Dice(seed);
        let domain = Domain::default();
        let mut records = Records::default();
        for _ in 0..100 {
            domain.act(dice, &mut records);
        }
        let kept = records.0.iter().filter(|(_, record)| !matches!(record, Record::Session(_)));
        let mut image = Image::default();
        for (place, record) in kept {
            image.apply(*place, record.clone());
        }
        for number in 0..1_000 {
            if let Some(record) = domain.session(number) {
                image.apply(Place::new(2, number as u32), Record::Session(Box::new(record)));
            }
        }
        assert_eq!(records.text_of(&image), domain.state().to_text());
        assert_eq!(image.finish(), 0);
    });
}

/// Copies whose session was lost with a damaged part of the log are counted, and forgotten.
#[test]
fn copies_without_a_session_are_counted() {
    let domain = Domain::default();
    let mut records = Records::default();
    let dice = &mut Dice(3);
    while domain.state().holds() < 10 {
        domain.act(dice, &mut records);
    }
    let mut image = Image::default();
    for (place, record) in &records.0 {
        if !matches!(record, Record::Session(_)) {
            image.apply(*place, record.clone());
        }
    }
    let held = domain.state().holds() - image.retained.len() - image.delayed.len();
    assert_eq!(image.finish(), held);
    assert_eq!(image.finish(), 0);
}

#[test]
fn thousands_of_subscriptions_are_not_searched_one_by_one() {
    let mut image = Image::default();
    let domain = Domain::default();
    let mut records = Records::default();
    domain.act(&mut Dice(0), &mut records);
    image.apply(Place::NOWHERE, Record::Session(Box::new(domain.session(0).unwrap())));
    let filter = |number: usize| TopicFilter::parse(&format!("devices/{number}")).unwrap();
    let mut expected: HashMap<TopicFilter, bool> = HashMap::new();
    let dice = &mut Dice(7);
    for round in 0..100_000 {
        let filter = filter(dice.below(20_000));
        if dice.one_in(3) {
            expected.remove(&filter);
            image.apply(Place::NOWHERE, Record::Unsubscribed { session: 0, filter });
        } else {
            let mut subscription = Subscription::new(filter.clone(), Qos::AtLeastOnce);
            subscription.no_local = round % 2 == 0;
            expected.insert(filter, subscription.no_local);
            image.apply(Place::NOWHERE, Record::Subscribed { session: 0, subscription });
        }
    }
    let subscriptions = &image.sessions[&0].record.subscriptions;
    assert_eq!(subscriptions.len(), expected.len());
    assert!(
        subscriptions
            .iter()
            .all(|subscription| { expected.get(&subscription.filter) == Some(&subscription.no_local) })
    );
}

/// A log is cleaned by its image when nothing runs.
#[test]
fn an_image_knows_who_holds_what() {
    let domain = Domain::default();
    let mut records = Records::default();
    let dice = &mut Dice(5);
    for _ in 0..200 {
        domain.act(dice, &mut records);
    }
    let mut image = Image::default();
    for (place, record) in &records.0 {
        image.apply(*place, record.clone());
    }
    let image = Mutex::new(image);
    let mut held = 0;
    for (place, record) in &records.0 {
        let Record::Message(record) = record else { continue };
        let copies = record
            .copies
            .iter()
            .map(|copy| crate::Holder::Copy { session: copy.session, ordinal: copy.ordinal });
        let retained = record.retained.then_some(crate::Holder::Retained(&record.message.topic));
        let delayed = record.delayed.map(|delayed| crate::Holder::Delayed { serial: delayed.serial });
        for holder in copies.chain(retained).chain(delayed) {
            assert_eq!(image.holds(holder, *place), domain.holds(holder, *place));
            let elsewhere = Place::new(9, place.offset());
            if image.holds(holder, *place).is_some() {
                held += 1;
                image.moved(holder, *place, elsewhere);
                assert!(image.holds(holder, elsewhere).is_some() && image.holds(holder, *place).is_none());
            }
        }
    }
    assert_eq!(held, domain.state().holds());
}
