use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;

use gateway_model::{Qos, Reason, Sink, Ticket};

/// Publishes of the client that wait for their acknowledgement, in the order they came.
///
/// MQTT-4.6.0-2 and -3: acknowledgements go out in that order, so an accepted publish waits here
/// behind one that is not yet durable.
#[derive(Debug, Default)]
pub(crate) struct Acknowledgements {
    waiting: VecDeque<Waiting>,
    /// The number of the first in `waiting`; the others follow without gaps.
    first_number: u64,
    at_least_once: usize,
}

/// A publish and, once known, how it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) packet_id: NonZeroU16,
    pub(crate) qos: Qos,
    pub(crate) reason: Option<Reason>,
}

impl Acknowledgements {
    /// The number that the next one pushed will have.
    pub(crate) fn next_number(&self) -> u64 {
        self.first_number + self.waiting.len() as u64
    }

    pub(crate) fn push(&mut self, waiting: Waiting) {
        self.at_least_once += usize::from(waiting.qos == Qos::AtLeastOnce);
        self.waiting.push_back(waiting);
    }

    /// Says how the publish with this number went; an unknown number is ignored.
    pub(crate) fn resolve(&mut self, number: u64, reason: Reason) {
        let index = number.checked_sub(self.first_number).and_then(|index| usize::try_from(index).ok());
        if let Some(waiting) = index.and_then(|index| self.waiting.get_mut(index)) {
            waiting.reason = Some(reason);
        }
    }

    /// Takes the first one, if it is known how it went.
    pub(crate) fn pop_ready(&mut self) -> Option<(Waiting, Reason)> {
        let reason = self.waiting.front()?.reason?;
        let waiting = self.waiting.pop_front()?;
        self.first_number += 1;
        self.at_least_once -= usize::from(waiting.qos == Qos::AtLeastOnce);
        Some((waiting, reason))
    }

    pub(crate) fn is_waiting(&self, packet_id: NonZeroU16) -> bool {
        self.waiting.iter().any(|waiting| waiting.packet_id == packet_id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many of them are at QoS 1. Those at QoS 2 are counted by [`Received`].
    pub(crate) fn at_least_once(&self) -> usize {
        self.at_least_once
    }
}

/// Packet identifiers of QoS 2 publishes that are published but not yet released (PUBREL): another
/// PUBLISH with one of them is the same message again (MQTT 5.0 section 4.3.3), also when it comes
/// on a later connection: the session holds them.
///
/// A map, because a client before MQTT 5.0 can fill it with all 65,535 numbers. The flag says whether
/// it was published on this connection.
#[derive(Debug, Default)]
pub(crate) struct Received {
    ids: BTreeMap<NonZeroU16, bool>,
    published_here: usize,
}

impl Received {
    /// Those that the session held from an earlier connection.
    pub(crate) fn resume(held: Vec<NonZeroU16>) -> Self {
        Self { ids: held.into_iter().map(|id| (id, false)).collect(), published_here: 0 }
    }

    /// A PUBLISH with this identifier came, perhaps again.
    pub(crate) fn insert(&mut self, packet_id: NonZeroU16) {
        if self.ids.insert(packet_id, true) != Some(true) {
            self.published_here += 1;
        }
    }

    pub(crate) fn contains(&self, packet_id: NonZeroU16) -> bool {
        self.ids.contains_key(&packet_id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, packet_id: NonZeroU16, out: &mut dyn Sink) -> bool {
        let known = self.ids.remove(&packet_id);
        if let Some(published_here) = known {
            self.published_here -= usize::from(published_here);
            out.release(Ticket::default(), packet_id);
        }
        known.is_some()
    }

    /// How many count towards the Receive Maximum, which starts anew with each connection (MQTT 5.0
    /// section 4.9): those published on this one.
    pub(crate) fn published_here(&self) -> usize {
        self.published_here
    }
}
