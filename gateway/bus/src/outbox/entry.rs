use std::cmp::Reverse;
use std::sync::Arc;

use gateway_model::{Identifiers, Message, Qos};
use gateway_store::{CopyState, Place};

/// One copy of a message, waiting or in flight.
pub(crate) struct Entry {
    pub(crate) message: Arc<Message>,
    pub(crate) identifiers: Identifiers,
    /// Its place among all copies of the session, from which its packet identifier follows; the
    /// highest bit says that the log lists it.
    number: u64,
    /// Number of the group it was shared in; 0 is none.
    pub(crate) group: u32,
    /// Its place in the sequence of the group. It repeats after 2^32 messages, when some that move
    /// may be put in the wrong place once.
    pub(crate) ticket: u32,
    /// In flight: its place in the order of first sending. Waiting: not 0 if it may have been sent
    /// before the gateway was restarted.
    pub(super) serial: u32,
    pub(crate) qos: Qos,
    /// Higher goes first.
    pub(crate) priority: u8,
    pub(crate) retain: bool,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    /// Waiting; another member of the group did not acknowledge it in time.
    Moved,
    /// Waiting; a retained message for a new subscription: not held to the number of messages,
    /// which is for what piles up while nobody reads.
    Replayed,
    Sent,
    /// Sent after it had moved: it stays, so that what is slow everywhere is not done for ever.
    Kept,
    /// To be sent again.
    Again,
    /// The receiver has the message (PUBREC).
    Received,
    /// The receiver has the message: the release is to be sent again.
    Release,
    /// It moved to another member of the group: a late acknowledgement frees the identifier.
    Withdrawn,
}

const LISTED: u64 = 1 << 63;

impl Entry {
    /// A copy that waits.
    pub(crate) fn new(
        message: Arc<Message>,
        identifiers: Identifiers,
        qos: Qos,
        retain: bool,
        priority: u8,
    ) -> Self {
        let stage = Stage::Waiting;
        Self { message, identifiers, number: 0, group: 0, ticket: 0, serial: 0, qos, priority, retain, stage }
    }

    /// A copy of a retained message for a new subscription.
    pub(crate) fn replayed(self) -> Self {
        Self { stage: Stage::Replayed, ..self }
    }

    /// A copy that a group gave.
    pub(crate) fn shared(self, group: u32, ticket: u32) -> Self {
        Self { group, ticket, ..self }
    }

    /// The record of its message at `message.stored` lists it, or will: the log has to be told when it
    /// leaves.
    pub(crate) fn list(&mut self) {
        self.number |= LISTED;
    }

    pub(crate) fn unlist(&mut self) {
        self.number &= !LISTED;
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.number & LISTED != 0
    }

    pub(crate) fn ordinal(&self) -> u64 {
        self.number & !LISTED
    }

    pub(super) fn set_ordinal(&mut self, ordinal: u64) {
        self.number = self.number & LISTED | ordinal;
    }

    /// Where the log has it.
    pub(super) fn place(&self) -> Place {
        Place::from_number(self.message.stored.get())
    }

    /// As the log knows it.
    pub(crate) fn state(&self) -> CopyState {
        match self.stage {
            Stage::Replayed => CopyState::Replayed,
            Stage::Moved | Stage::Kept => CopyState::Moved,
            Stage::Received | Stage::Release => CopyState::Received,
            Stage::Waiting | Stage::Sent | Stage::Again | Stage::Withdrawn => CopyState::Waiting,
        }
    }

    /// Of one that waits.
    pub(super) fn set_state(&mut self, state: CopyState) {
        self.stage = match state {
            CopyState::Moved => Stage::Moved,
            CopyState::Replayed => Stage::Replayed,
            CopyState::Waiting | CopyState::Received => Stage::Waiting,
        };
    }

    /// By which queues and groups sort.
    pub(crate) fn rank(&self) -> (Reverse<u8>, u32) {
        (Reverse(self.priority), self.ticket)
    }

    /// What stays behind of one that was sent: it belongs to no group any more.
    pub(super) fn withdrawn(&self) -> Self {
        let (message, identifiers) = (self.message.clone(), Identifiers::None);
        Self { message, identifiers, group: 0, number: self.ordinal(), stage: Stage::Withdrawn, ..*self }
    }

    pub(super) fn is_replayed(&self) -> bool {
        self.stage == Stage::Replayed
    }

    /// Whether it has to be sent (or released) again.
    pub(super) fn is_again(&self) -> bool {
        matches!(self.stage, Stage::Again | Stage::Release)
    }

    pub(super) fn is_received(&self) -> bool {
        matches!(self.stage, Stage::Received | Stage::Release)
    }

    /// Of an entry in flight: it is to be sent again.
    pub(super) fn repeat(&mut self) {
        self.stage = if self.is_received() { Stage::Release } else { Stage::Again };
    }
}
