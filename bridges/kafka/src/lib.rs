//! The bridge to Apache Kafka: every message becomes one record.
//!
//! The record's value is the payload as it came; topic, key and headers come from templates. What
//! Kafka has acknowledged (`acks = "all"` by default) is settled as delivered; what it has not is
//! retried for ever, in order per key, and stays in the gateway's session meanwhile. A record that
//! Kafka can never take (too large, invalid) is dropped as `poison`.
//!
//! It is not a consumer, and it keeps nothing on disk: the session that feeds it does.
//!
//! Read `config.rs` for what can be set, `translate.rs` for how a message becomes a record and
//! which errors are final (both pure), then `client.rs` for the producer and `route.rs` for what
//! keeps the order when a record comes back.

mod client;
mod config;
mod route;
mod translate;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use gateway_model::{Bridge, BridgeState, Message, Receipt, Settlement};

pub use config::{Acks, Compression, Config, ConfigError, Mechanism, PropertyValue, Sasl, SecurityProtocol};

use crate::client::{Client, Parcel};
use crate::translate::{Record, Translator};

/// How long `close` waits for what Kafka is about to acknowledge.
const CLOSE_FLUSH: Duration = Duration::from_secs(5);

/// The reason, in metrics, of a message that Kafka can never take.
const POISON: Settlement = Settlement::Dropped("poison");

/// A running bridge. Dropping it returns what is unsettled at once; `close` flushes first.
pub struct Kafka {
    translator: Translator,
    record: Record,
    client: Client,
}

impl Kafka {
    /// Starts the bridge. An unreachable Kafka is not an error: it is tried until it answers.
    ///
    /// `name` is the bridge's in the configuration, for logs and Kafka's `client.id`.
    pub fn new(name: &str, config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let client = Client::start(name, &config)?;
        Ok(Self { translator: Translator::new(config), record: Record::default(), client })
    }
}

impl Bridge for Kafka {
    fn send(
        &mut self,
        message: Arc<Message>,
        receipt: Receipt,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            if let Err(cause) = self.translator.translate(&message, &mut self.record) {
                self.client.report_poison(&message, &cause.to_string());
                return receipt.settle(POISON);
            }
            let mut parcel = Parcel::new(message, receipt);
            while let Err(refused) = self.client.offer(parcel, &self.record) {
                parcel = refused;
                self.client.room().await;
            }
        })
    }

    fn watch(&self) -> Box<dyn Fn() -> BridgeState + Send + Sync> {
        self.client.watch()
    }

    fn close(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.client.close(CLOSE_FLUSH))
    }
}
