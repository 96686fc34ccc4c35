use std::collections::{BTreeMap, HashMap};

use gateway_model::{Identifiers, Qos, Topic};

use crate::{CopyState, Place, SessionRecord, Shared};

/// The state that a log amounts to: what was there when the gateway stopped.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// By number.
    pub sessions: HashMap<u64, SessionImage>,
    pub retained: HashMap<Topic, Place>,
    /// When they are due (milliseconds since 1970) and where they are, by serial.
    pub delayed: BTreeMap<u64, (u64, Place)>,
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
    pub identifiers: Identifiers,
    pub shared: Option<Shared>,
}
