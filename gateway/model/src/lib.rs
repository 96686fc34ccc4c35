//! The language of the gateway: what every other crate speaks and none may change on its own.
//!
//! Here are the nouns (topic, filter, message, subscription, delivery, reason) and the two
//! contracts: [`Adapter`], which a protocol implements, and [`Bridge`], which a sink implements.
//!
//! It is not an engine: nothing here routes, stores or sends. It has no I/O, no clock and no
//! randomness; time is an argument.
//!
//! Read [`Message`] first, then [`adapter`]: its module documentation tells how a byte from a
//! socket becomes a message and how a message becomes bytes again.

pub mod adapter;
pub mod bridge;
mod client_id;
mod delayed;
mod delivery;
mod filter;
mod message;
mod moment;
mod placeholders;
mod qos;
mod reason;
mod session;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
mod tick;
mod topic;
mod wire;

pub use adapter::{Adapter, Close, Event, Origin, Outcome, Peer, Protocol, Reply, Request, Sink, Ticket};
pub use bridge::{Bridge, BridgeState, Receipt, Settle};
pub use client_id::{ClientId, ClientIdError};
pub use delayed::Delayed;
pub use delivery::{
    Deliveries, DeliveryId, Identifiers, Notifier, Notify, NotifyMany, Outgoing, Settled, Settlement,
};
pub use filter::{FilterError, TopicFilter};
pub use message::{Message, PayloadFormat, Properties, Publish, Stored};
pub use moment::{Moment, UnixMillis};
pub use placeholders::{FillError, PlaceholderError, Placeholders};
pub use qos::Qos;
pub use reason::Reason;
pub use session::{Authentication, Credentials, Expiry, Open, Opened, Refusal, Testament, Will};
pub use subscription::{RetainHandling, Subscription};
pub use tick::Tick;
pub use topic::{Topic, TopicError};
pub use wire::WireBuffer;
