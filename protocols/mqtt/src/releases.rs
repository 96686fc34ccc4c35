use std::collections::{BTreeMap, VecDeque};

use gateway_model::{DeliveryId, Reason};

/// PUBRELs that wait until it is durable that the client has the message: a PUBREC that we forgot
/// would let the message come a second time.
///
/// MQTT-4.6.0-4: PUBRELs go out in the order of the PUBRECs, so one that may leave waits here behind
/// one that may not.
#[derive(Debug, Default)]
pub(crate) struct Releases {
    order: VecDeque<DeliveryId>,
    /// All that are in `order`, each once; with the reason for those that may leave.
    reasons: BTreeMap<DeliveryId, Option<Reason>>,
}

impl Releases {
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(crate) fn contains(&self, id: DeliveryId) -> bool {
        self.reasons.contains_key(&id)
    }

    /// One more at the end, unless it waits already: its PUBREL answers both PUBRECs.
    pub(crate) fn push(&mut self, id: DeliveryId, reason: Option<Reason>) {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.reasons.entry(id) {
            entry.insert(reason);
            self.order.push_back(id);
        }
    }

    /// It is durable; one that does not wait is ignored.
    pub(crate) fn settled(&mut self, id: DeliveryId) {
        if let Some(reason) = self.reasons.get_mut(&id) {
            reason.get_or_insert(Reason::Success);
        }
    }

    /// Takes the first one, if it may leave.
    pub(crate) fn pop_ready(&mut self) -> Option<(DeliveryId, Reason)> {
        let id = *self.order.front()?;
        let reason = (*self.reasons.get(&id)?)?;
        self.order.pop_front();
        self.reasons.remove(&id);
        Some((id, reason))
    }
}
