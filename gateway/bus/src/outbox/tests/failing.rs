use std::time::Instant;

use gateway_model::{Deliveries, Qos};
use gateway_store::Place;

use super::pair::{Draft, Pair};
use crate::QueueLimits;
use crate::outbox::{Changes, Drain, Outbox, Reach};

const EIO: i32 = 5;
const EMFILE: i32 = 24;

/// A session that is away, with five copies of group 1 in its tail, and the places of the messages.
fn away() -> (Pair, Vec<Place>) {
    let mut pair = Pair::new(100, QueueLimits::default());
    pair.lose_connection(false);
    (0..5).for_each(|ticket| pair.push(&Draft { group: Some((1, ticket)), ..Draft::new(Qos::AtLeastOnce) }));
    let places = pair.listed.values().copied().collect();
    (pair, places)
}

/// What a drain takes, whether somebody has to come again, and how many copies were damaged.
fn turn(pair: &mut Pair) -> (usize, bool, u32) {
    let mut changes = Changes::new(&pair.store);
    let mut drain = Drain::new(&mut pair.paged, &mut changes);
    let taken = std::iter::from_fn(|| drain.next(Instant::now())).count();
    assert_eq!(drain.waits_for, Place::NOWHERE);
    assert_eq!(pair.paged.unaccounted(), 0);
    (taken, changes.reads_later, changes.damaged)
}

fn counts(outbox: &Outbox) -> (usize, usize) {
    (outbox.queued(), outbox.queue_bytes())
}

#[test]
fn what_cannot_be_read_now_waits_where_it_was() {
    let (mut pair, places) = away();
    pair.paged.restart(100);
    pair.shelf.fail(places[2], EIO);
    assert_eq!(turn(&mut pair), (2, true, 0), "what is before it goes first");
    let before = counts(&pair.paged);
    assert_eq!(turn(&mut pair), (0, false, 0), "nobody has told it to try again");
    pair.paged.read_again();
    assert_eq!(turn(&mut pair), (0, true, 0));
    assert_eq!(counts(&pair.paged), before);
    pair.shelf.mend(places[2]);
    assert_eq!(turn(&mut pair), (0, false, 0));
    pair.paged.read_again();
    assert_eq!(turn(&mut pair), (3, false, 0));
    assert_eq!(counts(&pair.paged), (0, 0));
}

#[test]
fn what_the_disk_fails_to_read_again_and_again_is_damaged() {
    let (mut pair, places) = away();
    pair.paged.restart(100);
    pair.shelf.fail(places[0], EIO);
    for _ in 1..20 {
        assert_eq!(turn(&mut pair), (0, true, 0));
        assert_eq!(turn(&mut pair), (0, false, 0), "that was no other try");
        pair.paged.read_again();
    }
    assert_eq!(turn(&mut pair), (4, false, 1));
}

/// However long no descriptor is left.
#[test]
fn what_cannot_be_opened_is_not_damaged() {
    let (mut pair, places) = away();
    pair.paged.restart(100);
    pair.shelf.fail(places[0], EMFILE);
    for _ in 0..1000 {
        assert_eq!(turn(&mut pair), (0, true, 0));
        pair.paged.read_again();
    }
    pair.shelf.mend(places[0]);
    assert_eq!(turn(&mut pair), (5, false, 0));
}

#[test]
fn what_cannot_be_read_now_does_not_move() {
    let (mut pair, places) = away();
    for place in &places[1..3] {
        pair.shelf.fail(*place, EIO);
    }
    let mut changes = Changes::new(&pair.store);
    let taken = pair.paged.take(1, Reach::Sent, &mut changes, |_| Some(()));
    let tickets: Vec<_> = taken.iter().map(|(_, entry)| entry.ticket).collect();
    assert_eq!(tickets, [0, 3, 4]);
    assert_eq!((changes.gone.len(), changes.damaged, pair.paged.queued()), (3, 0, 2));
    assert!(pair.paged.holds(1));
    assert_eq!(pair.paged.unaccounted(), 0);
    for place in &places[1..3] {
        pair.shelf.mend(*place);
    }
    pair.paged.restart(100);
    assert_eq!(turn(&mut pair), (2, false, 0));
}
