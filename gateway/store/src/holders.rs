use gateway_model::Topic;

use crate::{CopyState, Place, SessionRecord};

/// Who may hold a stored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder<'a> {
    Copy { session: u64, ordinal: u64 },
    Retained(&'a Topic),
    Delayed { serial: u64 },
}

/// The state that a log belongs to, as cleaning asks for it: the running bus, or an
/// [`crate::Image`].
///
/// Called while the log is locked: what it says stays true until what follows from it is appended.
pub trait Holders {
    /// Whether the holder still holds the message stored at `place`, and in which state. Of what is
    /// retained or delayed the state means nothing.
    fn holds(&self, holder: Holder<'_>, place: Place) -> Option<CopyState>;

    /// A message that it holds lies elsewhere from now on.
    fn moved(&self, holder: Holder<'_>, from: Place, to: Place);

    /// The session as it is now; `None` if it is over.
    fn session(&self, number: u64) -> Option<SessionRecord>;
}
