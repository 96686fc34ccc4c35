use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use gateway_model::{ClientId, Message, Qos, Stored, Topic};
use gateway_store::{CopyImage, CopyState, Place, ReadError, Shared};

use super::flight::far_from;
use super::tail::{Item, Reference};
use super::{Changes, Outbox, Stage, Tail};

/// Reads a message of the log.
type Read<'a> = dyn FnMut(Place) -> Result<Arc<Message>, ReadError> + 'a;

impl Outbox {
    /// Takes in what a session had when the gateway stopped. What has an ordinal before `sent_before`
    /// may have been sent and is marked as a duplicate when it is sent. `group` knows the number of a
    /// group that copies were shared in, if it exists.
    ///
    /// The session is away. Only messages in flight are read.
    pub(crate) fn restore(
        &mut self,
        copies: BTreeMap<u64, CopyImage>,
        next_ordinal: u64,
        sent_before: u64,
        group: &dyn Fn(Shared) -> Option<u32>,
        read: &mut Read<'_>,
        changes: &mut Changes<'_>,
    ) {
        let Some(store) = changes.store() else { return };
        let beyond = copies.last_key_value().map_or(0, |(last, _)| last + 1);
        self.next_ordinal = self.next_ordinal.max(next_ordinal).max(beyond);
        self.base = far_from(self.next_ordinal);
        self.bounds.set_away(true);
        let mut waiting = Vec::new();
        for (ordinal, image) in copies {
            self.matched = self.matched.wrapping_add(1);
            let (state, priority) = (image.state, image.priority);
            let reference = reference(ordinal, image, ordinal < sent_before, group);
            if state != CopyState::Received {
                self.queue_bytes += reference.size;
                if state == CopyState::Replayed {
                    self.rare_mut().replayed += 1;
                }
                waiting.push((priority, reference));
                continue;
            }
            let Some(message) = self.read_received(read, &reference, changes) else { continue };
            let mut entry = reference.into_entry(message, priority);
            (entry.serial, entry.stage) = (self.next_serial, Stage::Release);
            self.next_serial = self.next_serial.wrapping_add(1);
            self.in_flight += 1;
            self.rare_mut().resend += 1;
            self.entries.push_back(entry);
        }
        if waiting.is_empty() {
            return;
        }
        waiting.sort_by_key(|(priority, _)| Reverse(*priority));
        in_order_of_tickets(&mut waiting);
        let tail = self.rare_mut().tail.get_or_insert_with(|| Tail::new(store.clone()));
        for (priority, reference) in waiting {
            tail.push_back(priority, Item::Reference(reference));
        }
    }

    /// The message of a copy that its receiver has. Nobody will see it again: while it cannot be read,
    /// any other does for the release, without which the receiver would keep the identifier for ever.
    fn read_received(
        &mut self,
        read: &mut Read<'_>,
        reference: &Reference,
        changes: &mut Changes<'_>,
    ) -> Option<Arc<Message>> {
        match read(reference.place) {
            Ok(message) => Some(message),
            Err(ReadError::Io { .. }) => Some(Arc::new(stand_in())),
            Err(ReadError::Nowhere(_) | ReadError::Damaged { .. }) => {
                changes.gone.push(reference.gone());
                changes.damaged += 1;
                self.settled = self.settled.wrapping_add(1);
                None
            }
        }
    }
}

fn stand_in() -> Message {
    Message {
        topic: Topic::parse("$unread").expect("a topic"),
        payload: Bytes::new(),
        properties: None,
        publisher: ClientId::parse("$unread").expect("a name"),
        accepted_unix_millis: 0.into(),
        expires_at: None,
        qos: Qos::ExactlyOnce,
        retain: false,
        stored: Stored::default(),
    }
}

fn reference(
    ordinal: u64,
    image: CopyImage,
    may_be_known: bool,
    group: &dyn Fn(Shared) -> Option<u32>,
) -> Reference {
    let CopyImage { place, size, qos, retain, state, .. } = image;
    let (identifiers, shared) = (image.identifiers(), image.shared());
    // What may have been sent at QoS 2 is its receiver's alone (MQTT-4.8.2-4).
    let may_move = !may_be_known || qos != Qos::ExactlyOnce;
    let known = shared.filter(|_| may_move).and_then(|shared| Some((group(shared)?, shared.ticket)));
    let (group, ticket) = known.unwrap_or_default();
    Reference { place, ordinal, identifiers, size, group, ticket, qos, retain, state, may_be_known }
}

/// Puts the copies of each group and priority, among their own places, in the order of their tickets.
fn in_order_of_tickets(waiting: &mut Vec<(u8, Reference)>) {
    let mut shared: BTreeMap<(u8, u32), Vec<usize>> = BTreeMap::new();
    for (place, (priority, reference)) in waiting.iter().enumerate() {
        if reference.group > 0 {
            shared.entry((*priority, reference.group)).or_default().push(place);
        }
    }
    if shared.is_empty() {
        return;
    }
    let mut order: Vec<usize> = (0..waiting.len()).collect();
    for places in shared.into_values() {
        let mut sorted = places.clone();
        sorted.sort_by_key(|place| waiting[*place].1.ticket);
        places.into_iter().zip(sorted).for_each(|(place, from)| order[place] = from);
    }
    let mut old: Vec<_> = std::mem::take(waiting).into_iter().map(Some).collect();
    waiting.extend(order.into_iter().filter_map(|from| old[from].take()));
}
