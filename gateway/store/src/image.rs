use std::collections::{BTreeMap, HashMap};

use gateway_model::{Identifiers, Qos, Topic, TopicFilter};
use parking_lot::Mutex;

use crate::{Copy, CopyState, Holder, Holders, Place, SessionRecord, Shared};

/// The state that a log amounts to: what was there when the gateway stopped.
///
/// `replay.rs` has it follow from records.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// By number.
    pub sessions: HashMap<u64, SessionImage>,
    pub retained: HashMap<Topic, Place>,
    /// When they are due (milliseconds since 1970) and where they are, by serial.
    pub delayed: BTreeMap<u64, (u64, Place)>,
    /// Above the number of every session of which a record speaks.
    pub next_session: u64,
    /// Above the serial of every delayed message of which a record speaks.
    pub next_serial: u64,
    /// Copies of sessions whose record has not come yet: cleaning writes a session anew behind the
    /// messages that it holds.
    pub(crate) orphans: HashMap<u64, BTreeMap<u64, CopyImage>>,
    /// Where the filters of sessions with many subscriptions stand in their lists.
    pub(crate) positions: HashMap<u64, HashMap<TopicFilter, usize>>,
}

#[derive(Clone, Debug)]
pub struct SessionImage {
    /// As it is now: everything that came after the record is in it.
    pub record: SessionRecord,
    /// What waits or is in flight, by ordinal.
    pub copies: BTreeMap<u64, CopyImage>,
}

/// A copy, without its message.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyImage {
    pub place: Place,
    /// [`gateway_model::Message::size`] of its message.
    pub size: u32,
    pub qos: Qos,
    pub retain: bool,
    pub priority: u8,
    pub state: CopyState,
    /// A pointer, as copies are many and this is rare.
    extras: Option<Box<Extras>>,
}

/// What few copies have.
#[derive(Clone, Debug, PartialEq)]
struct Extras {
    identifiers: Identifiers,
    shared: Option<Shared>,
}

impl CopyImage {
    /// Of a message of `size` bytes at `place`.
    pub fn new(place: Place, size: u32, copy: Copy) -> Self {
        let Copy { session: _, ordinal: _, qos, retain, priority, state, identifiers, shared } = copy;
        let is_plain = identifiers == Identifiers::None && shared.is_none();
        let extras = (!is_plain).then(|| Box::new(Extras { identifiers, shared }));
        Self { place, size, qos, retain, priority, state, extras }
    }

    pub fn identifiers(&self) -> Identifiers {
        self.extras.as_ref().map_or(Identifiers::None, |extras| extras.identifiers.clone())
    }

    pub fn shared(&self) -> Option<Shared> {
        self.extras.as_ref()?.shared
    }
}

impl Image {
    /// The place of every hold on a message: as often as the message is held.
    pub fn holds(&self) -> impl Iterator<Item = Place> {
        let copies = self.sessions.values().flat_map(|session| session.copies.values());
        let copies = copies.map(|copy| copy.place);
        copies.chain(self.retained.values().copied()).chain(self.delayed.values().map(|(_, place)| *place))
    }
}

/// So that a log can be cleaned while nothing runs.
impl Holders for Mutex<Image> {
    fn holds(&self, holder: Holder<'_>, place: Place) -> Option<CopyState> {
        let image = self.lock();
        let (at, state) = match holder {
            Holder::Copy { session, ordinal } => {
                let copy = image.sessions.get(&session)?.copies.get(&ordinal)?;
                (copy.place, copy.state)
            }
            Holder::Retained(topic) => (*image.retained.get(topic)?, CopyState::default()),
            Holder::Delayed { serial } => (image.delayed.get(&serial)?.1, CopyState::default()),
        };
        (at == place).then_some(state)
    }

    fn moved(&self, holder: Holder<'_>, from: Place, to: Place) {
        let mut image = self.lock();
        let place = match holder {
            Holder::Copy { session, ordinal } => {
                let session = image.sessions.get_mut(&session);
                session.and_then(|session| session.copies.get_mut(&ordinal)).map(|copy| &mut copy.place)
            }
            Holder::Retained(topic) => image.retained.get_mut(topic),
            Holder::Delayed { serial } => image.delayed.get_mut(&serial).map(|(_, place)| place),
        };
        if let Some(place) = place.filter(|place| **place == from) {
            *place = to;
        }
    }

    fn session(&self, number: u64) -> Option<SessionRecord> {
        Some(self.lock().sessions.get(&number)?.record.clone())
    }
}
