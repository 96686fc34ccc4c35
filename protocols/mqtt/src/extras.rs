use crate::acknowledgements::Acknowledgements;
use crate::alias::{Aliases, OutgoingAliases};
use crate::authentication::Exchange;
use crate::handshake::Asked;
use crate::received::Received;
use crate::releases::Releases;

/// What a connection needs beyond the common: while it is being opened, if it publishes above
/// QoS 0, if it is to release what is not yet durable, if it uses topic aliases or an authentication method, or if it subscribes to nonsense.
#[derive(Default)]
pub(crate) struct Extras {
    /// From CONNECT to CONNACK.
    pub(crate) asked: Option<Box<Asked>>,
    pub(crate) acknowledgements: Acknowledgements,
    pub(crate) received: Received,
    pub(crate) releases: Option<Box<Releases>>,
    pub(crate) aliases: Aliases,
    pub(crate) outgoing_aliases: Option<Box<OutgoingAliases>>,
    /// Present if CONNECT named an authentication method.
    pub(crate) exchange: Option<Box<Exchange>>,
    /// One per filter of a SUBSCRIBE or UNSUBSCRIBE that is not answered yet, some of whose filters
    /// are none: whether it was asked for.
    pub(crate) partly_invalid: Option<Box<[bool]>>,
}

impl Extras {
    /// Whether a connection that has just been opened can do without.
    pub(crate) fn is_spare(&self) -> bool {
        self.exchange.is_none() && self.received.is_empty()
    }
}
