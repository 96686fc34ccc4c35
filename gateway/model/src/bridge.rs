//! The contract between a sink and the runner that feeds it.
//!
//! A bridge is a subscriber: the runner opens a session for it, whose outbox is its spool. The
//! bus does not know that Kafka exists. What the runner hands over stays in the session, in
//! flight, until its [`Receipt`] is settled; an outage of the sink is just an offline subscriber.
//!
//! Unlike an adapter a bridge is asynchronous, because client libraries own their sockets. What
//! can be pure in it (templates, mapping, signatures) stays in `translate.rs`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::{DeliveryId, Message, Settlement};

/// A sink for messages. The runner calls `send` for one message after the other.
///
/// The bridge retries what is transient by itself, for ever and in order per key; it settles a
/// receipt as `Delivered` when the sink has the message, and as `Dropped(reason)` only for poison:
/// a message that can never be sent.
pub trait Bridge: Send {
    /// Takes a message over. Returns when the next one may come, not when this one is delivered.
    fn send(
        &mut self,
        message: Arc<Message>,
        receipt: Receipt,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// A look at the state that works while `send` waits, for `/metrics` and logs.
    fn watch(&self) -> Box<dyn Fn() -> BridgeState + Send + Sync>;

    /// The state now.
    fn state(&self) -> BridgeState {
        (self.watch())()
    }

    /// Stops; what is unsettled stays in the session.
    fn close(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Health never owns data: no state may create, delete or time out queued messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BridgeState {
    Starting,
    Connected,
    /// The sink is away or refuses; the text names the cause as the library gave it.
    Retrying(Box<str>),
}

/// The duty to say what became of one message. Dropped unsettled, the message returns to the queue.
pub struct Receipt {
    duty: Option<(Arc<dyn Settle>, DeliveryId)>,
}

/// Takes settlements; implemented by the runner's session, by a recorder in tests.
pub trait Settle: Send + Sync {
    fn settle(&self, id: DeliveryId, settlement: Settlement);
}

impl Receipt {
    pub fn new(settle: Arc<dyn Settle>, id: DeliveryId) -> Self {
        Self { duty: Some((settle, id)) }
    }

    pub fn settle(mut self, settlement: Settlement) {
        if let Some((settle, id)) = self.duty.take() {
            settle.settle(id, settlement);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some((settle, id)) = self.duty.take() {
            settle.settle(id, Settlement::Returned);
        }
    }
}
