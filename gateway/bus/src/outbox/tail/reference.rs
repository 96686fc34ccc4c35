use std::sync::Arc;

use gateway_model::{Identifiers, Message, Qos};
use gateway_store::{CopyState, Place};

use crate::outbox::{Entry, Gone};

/// A copy that waits, without its message. Its priority is that of the run it is in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reference {
    pub(crate) place: Place,
    pub(crate) ordinal: u64,
    pub(crate) identifiers: Identifiers,
    /// Of its message.
    pub(crate) size: u32,
    /// As in [`Entry`].
    pub(crate) group: u32,
    pub(crate) ticket: u32,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// Not `Received`.
    pub(crate) state: CopyState,
    /// It may have been sent before the gateway was restarted.
    pub(crate) may_be_known: bool,
}

/// What waits behind the head of a queue.
pub(crate) enum Item {
    Reference(Reference),
    /// The log does not list it: it can only be kept whole.
    Whole(Entry),
}

impl Item {
    pub(crate) fn new(entry: Entry) -> Self {
        if !entry.is_listed() {
            return Self::Whole(entry);
        }
        Self::Reference(Reference {
            place: entry.place(),
            ordinal: entry.ordinal(),
            size: entry.message.size() as u32,
            group: entry.group,
            ticket: entry.ticket,
            qos: entry.qos,
            retain: entry.retain,
            state: entry.state(),
            may_be_known: entry.serial != 0,
            identifiers: entry.identifiers,
        })
    }

    pub(crate) fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Reference(reference) => Some(reference),
            Self::Whole(_) => None,
        }
    }

    pub(crate) fn reference_mut(&mut self) -> Option<&mut Reference> {
        match self {
            Self::Reference(reference) => Some(reference),
            Self::Whole(_) => None,
        }
    }

    pub(crate) fn size(&self) -> u32 {
        match self {
            Self::Reference(reference) => reference.size,
            Self::Whole(entry) => entry.message.size() as u32,
        }
    }

    pub(crate) fn qos(&self) -> Qos {
        match self {
            Self::Reference(reference) => reference.qos,
            Self::Whole(entry) => entry.qos,
        }
    }

    pub(crate) fn is_replayed(&self) -> bool {
        match self {
            Self::Reference(reference) => reference.state == CopyState::Replayed,
            Self::Whole(entry) => entry.is_replayed(),
        }
    }

    pub(crate) fn group(&self) -> u32 {
        match self {
            Self::Reference(reference) => reference.group,
            Self::Whole(entry) => entry.group,
        }
    }

    pub(crate) fn ticket(&self) -> u32 {
        match self {
            Self::Reference(reference) => reference.ticket,
            Self::Whole(entry) => entry.ticket,
        }
    }
}

impl Reference {
    pub(crate) fn gone(&self) -> Gone {
        Gone { ordinal: self.ordinal, place: self.place }
    }

    /// With its message at hand again.
    pub(crate) fn into_entry(self, message: Arc<Message>, priority: u8) -> Entry {
        message.stored.set(self.place.number());
        let mut entry = Entry::new(message, self.identifiers, self.qos, self.retain, priority);
        entry.set_ordinal(self.ordinal);
        entry.list();
        entry.set_state(self.state);
        entry.serial = self.may_be_known.into();
        entry.shared(self.group, self.ticket)
    }
}
