//! The bridge to a web server: every message becomes one POST.
//!
//! The body is one JSON object, the headers are those of Standard Webhooks 1.0. Only a 2xx answer
//! settles a message as delivered. An outage, an overload or a refusal that an operator can repair
//! is retried for ever, with growing delays; an answer that blames the message itself (400, 413,
//! 422, ...) drops it as `poison`.
//!
//! Order is kept per key: a key hashes to one of a few lanes, a lane has one request outstanding,
//! and a retry holds up its own lane only.
//!
//! It is not a queue: what is not delivered stays in the gateway's session. It sends no batches,
//! follows no redirects and uses no proxy.
//!
//! Read `config.rs` for what can be set; `translate.rs` (body, headers, URL), `identity.rs`,
//! `signature.rs` and `retry.rs` (what an answer means, when to try again) are pure; `lane.rs`
//! puts them to work, and `client.rs` speaks HTTP.

mod client;
mod config;
mod identity;
mod lane;
mod retry;
mod signature;
mod translate;

use std::future::Future;
use std::hash::{DefaultHasher, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bridge_template::{Template, View};
use gateway_model::{Bridge, BridgeState, Message, Receipt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use config::{Body, Config, ConfigError, Secrets};
pub use signature::SecretError;

use crate::client::Http;
use crate::identity::Identities;
use crate::lane::{Health, Lane, Parcel};
use crate::translate::Translator;

/// How long `close` waits for the answers to requests that are under way.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// A running bridge. Dropping it returns what is unsettled at once; `close` waits for answers.
pub struct Webhook {
    config: Config,
    translator: Arc<Translator>,
    http: Arc<Http>,
    health: Arc<Health>,
    identities: Identities,
    key: Vec<u8>,
    next_lane: usize,
    /// Empty until the first message: tasks need the runtime that `send` runs in.
    lanes: Vec<mpsc::Sender<Parcel>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Webhook {
    /// Prepares the bridge; connects when the first message comes.
    ///
    /// `name` is the bridge's in the configuration, for logs.
    pub fn new(name: &str, config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            translator: Arc::new(Translator::new(&config)?),
            http: Arc::new(Http::new(&config)?),
            health: Arc::new(Health::new(name, usize::from(config.lanes))),
            identities: Identities::default(),
            key: Vec::new(),
            next_lane: 0,
            lanes: Vec::new(),
            stop: watch::Sender::new(false),
            tasks: JoinSet::new(),
            config,
        })
    }

    fn open_lanes(&mut self) {
        for index in 0..usize::from(self.config.lanes) {
            let (queue, parcels) = mpsc::channel(usize::from(self.config.lane_queue_max));
            let lane = Lane {
                index,
                endpoint: self.http.clone(),
                translator: self.translator.clone(),
                health: self.health.clone(),
                timeout: Duration::from_secs(self.config.timeout_secs.into()),
                backoff: self.config.backoff(),
                stop: self.stop.subscribe(),
            };
            self.tasks.spawn(lane.run(parcels));
            self.lanes.push(queue);
        }
    }

    /// Messages of one key share a lane; those without a key are dealt out in turn.
    fn lane_of(&mut self, message: &Message) -> usize {
        let lanes = self.lanes.len();
        self.key.clear();
        key(&self.config.key, message, &mut self.key);
        if self.key.is_empty() {
            self.next_lane = (self.next_lane + 1) % lanes;
            return self.next_lane;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.key);
        usize::try_from(hasher.finish() % lanes as u64).expect("smaller than a usize")
    }
}

impl Bridge for Webhook {
    fn send(
        &mut self,
        message: Arc<Message>,
        receipt: Receipt,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            if self.lanes.is_empty() {
                self.open_lanes();
            }
            let lane = self.lane_of(&message);
            let id = self.identities.assign(&message);
            // A lane ends only with the bridge; should it panic, the receipt returns the message.
            let _ = self.lanes[lane].send(Parcel { message, receipt, id }).await;
        })
    }

    fn watch(&self) -> Box<dyn Fn() -> BridgeState + Send + Sync> {
        let health = self.health.clone();
        Box::new(move || health.state())
    }

    fn close(mut self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            self.stop.send_replace(true);
            self.lanes.clear();
            let answers = async { while self.tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(CLOSE_GRACE, answers).await.is_err() {
                self.tasks.shutdown().await;
            }
        })
    }
}

fn key(template: &Template, message: &Message, out: &mut Vec<u8>) {
    template.render(&View::new(message), out);
}
