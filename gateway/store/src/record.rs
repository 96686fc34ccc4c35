use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use gateway_model::{ClientId, Expiry, Identifiers, Message, Qos, Subscription, Topic, TopicFilter, Will};
use smallvec::SmallVec;

/// One thing that happened, as the log has it. What is not in a record did not happen.
///
/// Replayed in order, records give the state ([`crate::Image`]). Each is idempotent: a session, copy
/// or topic that comes again replaces what was there, and what refers to something unknown changes
/// nothing.
#[derive(Clone, Debug)]
pub enum Record {
    Message(MessageRecord),
    /// Copies that have left their session: delivered or dropped.
    Settled {
        session: u64,
        ordinals: SmallVec<[u64; 2]>,
    },
    /// The receiver has a copy at QoS 2 (PUBREC): only its release is still to be sent.
    Received {
        session: u64,
        ordinal: u64,
    },
    /// All that a session is but its copies: it begins, or is written anew when old segments go.
    Session(Box<SessionRecord>),
    /// A connection holds the session from now on.
    Attached {
        session: u64,
        owner: u32,
        expiry: Expiry,
        will: Option<Box<Will>>,
    },
    Away {
        session: u64,
        expiry: Expiry,
        away: Away,
        will: Option<Box<Will>>,
    },
    /// Its will has been published, or is not to be.
    Willed {
        session: u64,
    },
    /// The session is over, with all its copies.
    Ended {
        session: u64,
    },
    Subscribed {
        session: u64,
        subscription: Subscription,
    },
    Unsubscribed {
        session: u64,
        filter: TopicFilter,
    },
    /// An identifier of the peer's exactly-once publishes without a message to store.
    Held {
        session: u64,
        id: NonZeroU16,
    },
    Released {
        session: u64,
        id: NonZeroU16,
    },
    /// What a protocol keeps with its session.
    Kept {
        session: u64,
        bytes: Bytes,
    },
    /// The topic has no retained message any more.
    Cleared {
        topic: Topic,
    },
    /// What was delayed under this serial has been published, or has expired.
    Undelayed {
        serial: u64,
    },
}

/// A message and everybody who holds it from the beginning; nobody joins later.
#[derive(Clone, Debug)]
pub struct MessageRecord {
    pub message: Arc<Message>,
    pub copies: SmallVec<[Copy; 1]>,
    /// It is its topic's retained message from now on.
    pub retained: bool,
    pub delayed: Option<Delayed>,
    /// The publishing session, and the packet identifier that it holds from now on.
    pub held: Option<(u64, NonZeroU16)>,
}

/// One session's hold on a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    pub session: u64,
    /// Its place among all copies that the session ever had. Its packet identifier follows from it,
    /// so that it is the same after a restart.
    pub ordinal: u64,
    pub qos: Qos,
    pub retain: bool,
    /// Higher goes first.
    pub priority: u8,
    pub state: CopyState,
    pub identifiers: Identifiers,
    pub shared: Option<Shared>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyState {
    #[default]
    Waiting,
    /// A retained message for a new subscription: it waits, but does not count against the number of
    /// messages.
    Replayed,
    /// It waits after another member of its group did not acknowledge it in time.
    Moved,
    /// The receiver has it (PUBREC).
    Received,
}

/// A copy that a group gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shared {
    /// [`Shared::group_of`] the subscription.
    pub group: u64,
    /// Its place in the sequence of the group.
    pub ticket: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delayed {
    pub serial: u64,
    pub due_unix_millis: u64,
}

/// A session as a whole.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// Unique as long as any record speaks of it.
    pub number: u64,
    pub client_id: ClientId,
    pub owner: u32,
    pub expiry: Expiry,
    pub will: Option<Box<Will>>,
    /// `None` while a connection holds it.
    pub away: Option<Away>,
    /// The ordinal of the next copy.
    pub next_ordinal: u64,
    pub subscriptions: Vec<Subscription>,
    /// Packet identifiers of the peer's exactly-once publishes that are not released.
    pub held: Vec<NonZeroU16>,
    pub kept: Option<Bytes>,
}

/// What waits while no connection holds a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Away {
    /// When the session ends; `None` is never.
    pub ends_unix_millis: Option<u64>,
    /// When its will is due, if it has one.
    pub will_unix_millis: Option<u64>,
    /// Copies before this ordinal may have been sent already.
    pub sent_before: u64,
}

impl Shared {
    /// The name of a group in the log: the same for the same subscription in every process.
    pub fn group_of(filter: &TopicFilter) -> u64 {
        // FNV-1a: fixed for ever, as it is written to disk.
        filter.as_str().bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        })
    }
}
