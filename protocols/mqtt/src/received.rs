use std::collections::BTreeMap;
use std::num::NonZeroU16;

/// Packet identifiers of QoS 2 publishes that are published and whose PUBCOMP has not left: another
/// PUBLISH with one of them is the same message again (MQTT 5.0 section 4.3.3), also when it comes
/// on a later connection: the session holds them.
///
/// ```text
///   PUBLISH ──▶ held ──PUBREL──▶ releasing ──PUBCOMP──▶ free
///                 └──PUBREC with an error─────────────▶ free
/// ```
///
/// A map, because a client before MQTT 5.0 can fill it with all 65,535 numbers.
#[derive(Debug, Default)]
pub(crate) struct Received {
    ids: BTreeMap<NonZeroU16, Held>,
    published_here: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// It was published on this connection.
    here: bool,
    /// PUBREL came, and its PUBCOMP waits until it is durable that the identifier is free.
    releasing: bool,
}

/// What a PUBREL found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Unknown,
    Held,
    /// A PUBREL came before.
    Releasing,
}

impl Received {
    /// Those that the session held from an earlier connection.
    pub(crate) fn resume(held: Vec<NonZeroU16>) -> Self {
        Self { ids: held.into_iter().map(|id| (id, Held::default())).collect(), published_here: 0 }
    }

    /// A PUBLISH with this identifier came, perhaps again.
    pub(crate) fn insert(&mut self, packet_id: NonZeroU16) {
        let held = self.ids.entry(packet_id).or_default();
        self.published_here += usize::from(!held.here);
        held.here = true;
    }

    pub(crate) fn contains(&self, packet_id: NonZeroU16) -> bool {
        self.ids.contains_key(&packet_id)
    }

    pub(crate) fn is_releasing(&self, packet_id: NonZeroU16) -> bool {
        self.ids.get(&packet_id).is_some_and(|held| held.releasing)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// PUBREL came.
    pub(crate) fn release(&mut self, packet_id: NonZeroU16) -> Found {
        match self.ids.get_mut(&packet_id) {
            None => Found::Unknown,
            Some(held) if held.releasing => Found::Releasing,
            Some(held) => {
                held.releasing = true;
                Found::Held
            }
        }
    }

    /// PUBCOMP leaves: the identifier is free. False if it is not being released: the publish was
    /// refused in the meantime.
    pub(crate) fn complete(&mut self, packet_id: NonZeroU16) -> bool {
        let is_releasing = self.is_releasing(packet_id);
        if is_releasing {
            self.refuse(packet_id);
        }
        is_releasing
    }

    /// A PUBREC leaves that says no: the identifier is free. The session never held it.
    pub(crate) fn refuse(&mut self, packet_id: NonZeroU16) {
        if let Some(held) = self.ids.remove(&packet_id) {
            self.published_here -= usize::from(held.here);
        }
    }

    /// How many count towards the Receive Maximum, which starts anew with each connection (MQTT 5.0
    /// section 4.9): those published on this one.
    pub(crate) fn published_here(&self) -> usize {
        self.published_here
    }
}
