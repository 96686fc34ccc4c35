use std::sync::atomic::Ordering;
use std::time::Instant;

use gateway_model::{Deliveries, Identifiers, Qos, Settlement};
use gateway_store::Place;

use super::pair::{Draft, Pair};
use crate::outbox::{Changes, Drain, Lookups};
use crate::{DropPolicy, QueueLimits};

const ONE: Qos = Qos::AtLeastOnce;

fn long(messages_max: u32, drop: DropPolicy) -> QueueLimits {
    QueueLimits { messages_max, bytes_max: u32::MAX, drop, ..QueueLimits::default() }
}

/// As many messages as a device that is away for a week may have: what is in memory are kilobytes.
#[test]
fn a_million_messages_cost_kilobytes() {
    let mut pair = Pair::new(100, long(1_000_000, DropPolicy::Oldest));
    pair.lose_connection(false);
    let draft = Draft::new(ONE);
    let message = std::sync::Arc::new(super::shelf::message("t", bytes::Bytes::new(), ONE));
    let mut changes = Changes::new(&pair.store);
    let mut push = |outbox: &mut crate::outbox::Outbox, number: u64| {
        message.stored.set(1000 + 150 * number);
        let identifiers = draft.identifiers.clone();
        let mut entry = crate::outbox::Entry::new(message.clone(), identifiers, ONE, false, 0);
        entry.list();
        outbox.push(entry, &mut changes)
    };
    for number in 0..1_000_000 {
        assert_eq!(push(&mut pair.paged, number).listed, Some(number));
    }
    assert_eq!(pair.paged.queued(), 1_000_000);
    assert!(pair.paged.entries.is_empty());
    let memory = pair.paged.tail().map_or(0, |tail| tail.memory());
    assert!(memory < 100_000, "{memory} bytes");
    // A full queue that takes in as much again stays as small.
    for number in 1_000_000..1_500_000 {
        assert!(push(&mut pair.paged, number).dropped.is_some());
    }
    let memory = pair.paged.tail().map_or(0, |tail| tail.memory());
    assert!(memory < 100_000, "{memory} bytes");
    let gone: Vec<_> = changes.gone.iter().map(|gone| gone.ordinal).collect();
    assert!(gone.iter().copied().eq(0..500_000), "the oldest go first");
    let held = |number| {
        let place = Place::from_number(1000 + 150 * number);
        pair.paged.held(number, place, &mut Lookups::default()).is_some()
    };
    assert_eq!([499_999, 500_000, 1_499_999, 1_500_000].map(held), [false, true, true, false]);
}

#[test]
fn a_long_queue_comes_back_in_order() {
    let mut pair = Pair::new(100, long(20_000, DropPolicy::Oldest));
    pair.come_back(100);
    (0..5000).for_each(|_| pair.push(&Draft::new(ONE)));
    pair.lose_connection(false);
    (0..5000).for_each(|_| pair.push(&Draft::new(ONE)));
    assert!(pair.shelf.pages().len() > 3);
    pair.come_back(100);
    let mut all = Vec::new();
    loop {
        let some = pair.drain(1000);
        if some.is_empty() {
            break;
        }
        all.extend(some);
        assert!(pair.paged.entries.len() <= 700, "{} at hand", pair.paged.entries.len());
        while !pair.in_flight.is_empty() {
            pair.settle(0, Settlement::Acknowledged);
        }
    }
    assert!(
        all.iter().map(String::as_str).eq((1..=10_000)
            .map(|number| format!("t{number}"))
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str))
    );
    pair.clear();
}

/// The newest of a lower priority make room at the back, where pages have to be opened.
#[test]
fn the_back_of_a_tail_makes_room() {
    let mut pair = Pair::new(1, long(6000, DropPolicy::Newest));
    (0..6000).for_each(|_| pair.push(&Draft::new(ONE)));
    for round in 0..20 {
        (0..500).for_each(|_| pair.push(&Draft { priority: 1, ..Draft::new(ONE) }));
        pair.check();
        let taken = pair.drain(100);
        assert!(!taken.is_empty() || round > 0);
        while !pair.in_flight.is_empty() {
            pair.settle(0, Settlement::Delivered);
        }
        (0..50).for_each(|_| pair.push(&Draft::new(ONE)));
    }
    pair.clear();
}

/// What is not in the log can only be kept whole; it keeps its place.
#[test]
fn what_is_not_listed_keeps_its_place() {
    let mut pair = Pair::new(100, long(20_000, DropPolicy::Oldest));
    for number in 0..6000 {
        let is_offered = number % 7 != 0;
        let qos = if number % 7 == 0 { Qos::AtMostOnce } else { ONE };
        pair.push(&Draft { is_offered, ..Draft::new(qos) });
    }
    pair.check();
    loop {
        if pair.drain(100).is_empty() {
            break;
        }
        while !pair.in_flight.is_empty() {
            pair.settle(0, Settlement::Delivered);
        }
    }
    assert_eq!(pair.paged.queued(), 0);
    pair.clear();
}

/// Cleaning moves a long queue copy by copy. It stays on pages.
#[test]
fn a_page_is_written_anew_for_hundreds_of_copies() {
    let mut pair = Pair::new(100, long(20_000, DropPolicy::Oldest));
    pair.lose_connection(false);
    (0..10_000).for_each(|_| pair.push(&Draft::new(ONE)));
    let pages = pair.shelf.pages().len() as u64;
    let accesses = |pair: &Pair| pair.shelf.accesses.load(Ordering::Relaxed);
    let before = accesses(&pair);
    (0..10_000).for_each(|ordinal| pair.shift(ordinal));
    let accesses = accesses(&pair) - before;
    assert!(accesses < 20 * pages, "{accesses} for {pages} pages");
    let memory = pair.paged.tail().map_or(0, |tail| tail.memory());
    assert!(memory < 50_000, "{memory} bytes");
    pair.check_listed();
    pair.clear();
}

#[test]
fn a_damaged_page_is_dropped_and_counted() {
    let damages: [fn(&mut Vec<u8>); 4] =
        [|bytes| bytes[100] ^= 1, |bytes| bytes.truncate(50), Vec::clear, |bytes| bytes.extend([0; 9])];
    for damage in damages {
        let mut pair = Pair::new(100, long(20_000, DropPolicy::Oldest));
        pair.lose_connection(false);
        for number in 0..10_000 {
            let group = (number % 3 == 0).then_some((1, number));
            pair.push(&Draft { group, identifiers: Identifiers::One(9), ..Draft::new(ONE) });
        }
        let page = pair.shelf.pages()[1];
        pair.shelf.damage(page, damage);
        let mut copies = pair.listed.iter().step_by(50);
        assert!(
            copies.all(|(at, place)| pair.paged.held(*at, *place, &mut Lookups::default()).is_some()),
            "the log keeps them"
        );
        pair.paged.restart(65_535);
        let mut changes = Changes::new(&pair.store);
        let mut drain = Drain::new(&mut pair.paged, &mut changes);
        let now = Instant::now();
        let taken = std::iter::from_fn(|| drain.next(now)).count();
        let damaged = changes.damaged as usize;
        assert!(damaged > 500 && damaged < 2000, "{damaged}");
        assert_eq!(taken + damaged, 10_000);
        assert_eq!((pair.paged.queued(), pair.paged.queue_bytes(), pair.paged.unaccounted()), (0, 0, 0));
        assert!(pair.shelf.pages().is_empty());
    }
}

#[test]
fn a_message_that_cannot_be_read_is_dropped_and_counted() {
    let mut pair = Pair::new(100, long(20_000, DropPolicy::Oldest));
    pair.lose_connection(false);
    (0..10).for_each(|_| pair.push(&Draft::new(ONE)));
    let (ordinal, place) = pair.listed.iter().nth(3).map(|(ordinal, place)| (*ordinal, *place)).unwrap();
    pair.shelf.take(place);
    pair.paged.restart(100);
    let mut changes = Changes::new(&pair.store);
    let mut drain = Drain::new(&mut pair.paged, &mut changes);
    let now = Instant::now();
    assert_eq!(std::iter::from_fn(|| drain.next(now)).count(), 9);
    assert_eq!(changes.damaged, 1);
    assert_eq!(changes.gone.iter().map(|gone| gone.ordinal).collect::<Vec<_>>(), [ordinal]);
    assert_eq!(pair.paged.unaccounted(), 0);
}

/// A publisher gives a message its place before it writes there, and another thread may drain then.
#[test]
fn what_is_not_written_yet_is_waited_for() {
    let mut pair = Pair::new(100, long(20_000, DropPolicy::Oldest));
    pair.lose_connection(false);
    (0..3).for_each(|_| pair.push(&Draft::new(ONE)));
    let place = pair.listed[&1];
    let message = pair.shelf.take(place);
    pair.paged.restart(100);
    pair.shelf.set_durable(place);
    let turn = |pair: &mut Pair| {
        let mut changes = Changes::new(&pair.store);
        let mut drain = Drain::new(&mut pair.paged, &mut changes);
        let taken: Vec<_> = std::iter::from_fn(|| drain.next(Instant::now())).collect();
        let waits_for = drain.waits_for;
        assert_eq!(changes.damaged, 0);
        (taken.len(), waits_for)
    };
    let until = Place::from_number(place.number() + 1);
    assert_eq!(turn(&mut pair), (1, until));
    assert_eq!(turn(&mut pair), (0, until));
    pair.shelf.give_back(place, message);
    assert_eq!(turn(&mut pair), (2, Place::NOWHERE));
}

#[test]
fn exactly_once_waits_until_it_is_durable() {
    let mut pair = Pair::new(100, long(100, DropPolicy::Oldest));
    pair.come_back(100);
    pair.push(&Draft::new(ONE));
    pair.push(&Draft::new(Qos::ExactlyOnce));
    pair.push(&Draft::new(ONE));
    let place = pair.listed[&1];
    pair.shelf.set_durable(place);
    let turn = |pair: &mut Pair| {
        let mut changes = Changes::new(&pair.store);
        let mut drain = Drain::new(&mut pair.paged, &mut changes);
        let taken = std::iter::from_fn(|| drain.next(Instant::now())).count();
        (taken, drain.waits_for)
    };
    let until = Place::from_number(place.number() + 1);
    assert_eq!(turn(&mut pair), (1, until), "what comes behind waits as well");
    assert_eq!(turn(&mut pair), (0, until));
    pair.shelf.set_durable(until);
    assert_eq!(turn(&mut pair), (2, Place::NOWHERE));
}
