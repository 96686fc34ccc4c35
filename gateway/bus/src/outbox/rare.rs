use super::Tail;

/// What few outboxes have, or for a while only.
#[derive(Default)]
pub(super) struct Rare {
    /// Retained messages in the queue.
    pub(super) replayed: u32,
    /// How many in flight are somebody else's now.
    pub(super) withdrawn: u16,
    /// How many of what is in flight are to be sent again.
    pub(super) resend: u16,
    /// What waits behind what is at hand.
    pub(super) tail: Option<Tail>,
    /// How often the disk could not read what is first in the tail.
    pub(super) reads_failed: u8,
    /// It is not tried again yet.
    pub(super) reads_later: bool,
}

impl Rare {
    pub(super) fn is_nothing(&self) -> bool {
        self.replayed == 0 && self.withdrawn == 0 && self.resend == 0 && self.tail.is_none()
    }
}
