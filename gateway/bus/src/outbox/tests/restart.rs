use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gateway_model::{Deliveries, Identifiers, Outgoing, Qos, Settled, Settlement};
use gateway_store::{Copy, CopyImage, CopyState, Shared, Store};

use super::shelf::{Shelf, message};
use crate::QueueLimits;
use crate::outbox::{Changes, Drain, Lookups, Outbox};

const TWO: Qos = Qos::ExactlyOnce;

struct Restart {
    shelf: Arc<Shelf>,
    store: Arc<dyn Store>,
    copies: BTreeMap<u64, CopyImage>,
}

impl Restart {
    fn new() -> Self {
        let shelf = Arc::new(Shelf::default());
        Self { store: shelf.clone(), shelf, copies: BTreeMap::new() }
    }

    fn copy(&mut self, ordinal: u64, qos: Qos) -> &mut CopyImage {
        self.copy_of(ordinal, qos, None)
    }

    fn copy_of(&mut self, ordinal: u64, qos: Qos, shared: Option<Shared>) -> &mut CopyImage {
        let message = message(&format!("t{ordinal}"), Bytes::new(), qos);
        let place = self.shelf.put(&message);
        let copy = Copy {
            session: 1,
            ordinal,
            qos,
            retain: false,
            priority: 0,
            state: CopyState::Waiting,
            identifiers: Identifiers::One(3),
            shared,
        };
        self.copies.entry(ordinal).or_insert(CopyImage::new(place, message.size() as u32, copy))
    }

    fn restore(&self, next_ordinal: u64, sent_before: u64) -> Outbox {
        let mut outbox = Outbox::new(10, QueueLimits::default(), true);
        let mut changes = Changes::new(&self.store);
        let group = |shared: Shared| u32::try_from(shared.group).ok();
        let copies = self.copies.clone();
        outbox.restore(
            copies,
            next_ordinal,
            sent_before,
            &group,
            &mut |place| self.shelf.read(place),
            &mut changes,
        );
        assert_eq!(outbox.unaccounted(), 0);
        outbox
    }

    fn drain(&self, outbox: &mut Outbox) -> Vec<Outgoing> {
        let mut changes = Changes::new(&self.store);
        let mut drain = Drain::new(outbox, &mut changes);
        std::iter::from_fn(|| drain.next(Instant::now())).collect()
    }
}

fn topics(taken: &[Outgoing]) -> Vec<&str> {
    taken.iter().map(|outgoing| outgoing.message.topic.as_str()).collect()
}

/// MQTT 5.0 section 4.4: what may have been sent comes again under its identifier, as a duplicate.
#[test]
fn what_may_have_been_sent_comes_again_as_it_was() {
    let mut restart = Restart::new();
    for ordinal in [65_534, 65_535, 65_537, 65_540] {
        restart.copy(ordinal, TWO);
    }
    restart.copy(65_535, TWO).state = CopyState::Received;
    let mut outbox = restart.restore(65_550, 65_538);
    assert_eq!((outbox.queued(), outbox.unsettled(), outbox.next_ordinal()), (3, 1, 65_550));
    assert_eq!(outbox.sent_before(), 65_538);
    assert_eq!(
        outbox.held(65_535, restart.copies[&65_535].place, &mut Lookups::default()),
        Some(CopyState::Received)
    );
    outbox.restart(10);
    let taken = restart.drain(&mut outbox);
    assert_eq!(topics(&taken), ["t65535", "t65534", "t65537", "t65540"]);
    let flags: Vec<_> = taken.iter().map(|taken| (taken.released, taken.duplicate)).collect();
    assert_eq!(flags, [(true, false), (false, true), (false, true), (false, false)]);
    let ids: Vec<_> = taken.iter().map(|taken| taken.id.unwrap().get()).collect();
    assert_eq!(ids, [1, 65_535, 3, 6]);
    let mut changes = Changes::new(&restart.store);
    let settled = outbox.settle(taken[0].id.unwrap(), Settlement::Completed, &mut changes);
    assert_eq!((settled, changes.gone[0].ordinal), (Settled::Done, 65_535));
}

/// Without its release the receiver would keep the identifier for ever.
#[test]
fn what_the_receiver_has_is_released_though_it_cannot_be_read_now() {
    let mut restart = Restart::new();
    for ordinal in 1..4 {
        restart.copy(ordinal, TWO);
    }
    restart.copy(2, TWO).state = CopyState::Received;
    let place = restart.copies[&2].place;
    restart.shelf.fail(place, 5);
    let mut outbox = restart.restore(4, 4);
    assert_eq!((outbox.queued(), outbox.unsettled()), (2, 1));
    assert_eq!(outbox.held(2, place, &mut Lookups::default()), Some(CopyState::Received));
    outbox.restart(10);
    let taken = restart.drain(&mut outbox);
    let flags: Vec<_> = taken.iter().map(|taken| (taken.id.unwrap().get(), taken.released)).collect();
    assert_eq!(flags, [(3, true), (2, false), (4, false)]);
    let mut changes = Changes::new(&restart.store);
    let settled = outbox.settle(taken[0].id.unwrap(), Settlement::Completed, &mut changes);
    assert_eq!((settled, changes.gone[0].ordinal, changes.gone[0].place), (Settled::Done, 2, place));
    assert_eq!(outbox.queue_bytes() + outbox.unaccounted() as usize, 0);
}

#[test]
fn priorities_and_groups_have_their_order() {
    let mut restart = Restart::new();
    for (ordinal, priority, shared) in [
        (1, 0, None),
        (2, 0, Some((7, 30))),
        (3, 5, None),
        (4, 0, Some((7, 10))),
        (5, 0, Some((u64::MAX, 1))),
        (6, 0, Some((7, 20))),
        (7, 5, Some((7, 40))),
    ] {
        let shared = shared.map(|(group, ticket)| Shared { group, ticket });
        restart.copy_of(ordinal, TWO, shared).priority = priority;
    }
    let mut outbox = restart.restore(8, 0);
    assert_eq!(outbox.groups(), [7], "a group that is not there any more has nothing");
    outbox.restart(100);
    assert_eq!(topics(&restart.drain(&mut outbox)), ["t3", "t7", "t1", "t4", "t6", "t5", "t2"]);
}

/// The identifier of a stored message follows from its ordinal: it waits while another has it.
#[test]
fn a_listed_copy_waits_for_its_identifier() {
    let mut restart = Restart::new();
    for ordinal in [5, 65_540, 65_541] {
        restart.copy(ordinal, TWO);
    }
    let mut outbox = restart.restore(65_542, 0);
    outbox.restart(100);
    let taken = restart.drain(&mut outbox);
    assert_eq!(topics(&taken), ["t5"]);
    let mut changes = Changes::new(&restart.store);
    assert_eq!(outbox.settle(taken[0].id.unwrap(), Settlement::Delivered, &mut changes), Settled::Done);
    let again = restart.drain(&mut outbox);
    assert_eq!(topics(&again), ["t65540", "t65541"]);
    assert_eq!(again[0].id, taken[0].id);
}

#[test]
fn replayed_copies_do_not_count_after_a_restart() {
    let mut restart = Restart::new();
    (0..20).for_each(|ordinal| restart.copy(ordinal, Qos::AtLeastOnce).state = CopyState::Replayed);
    let outbox = restart.restore(20, 0);
    assert_eq!(outbox.messages_free(), QueueLimits::default().messages_max as usize);
    assert_eq!(outbox.held(3, restart.copies[&3].place, &mut Lookups::default()), Some(CopyState::Replayed));
}
