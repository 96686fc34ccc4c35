use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use gateway_model::{BridgeState, Message, Receipt, Settlement};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::{Notify, oneshot};

use crate::POISON;
use crate::config::{Config, ConfigError};
use crate::route::{Parking, Pumped, Routes};
use crate::translate::{Fate, Record, Translator, fate};

/// How long the thread waits for librdkafka's events when there is nothing else to do.
const POLL_IDLE: Duration = Duration::from_millis(250);
/// The same while records are parked or the bridge closes.
const POLL_BUSY: Duration = Duration::from_millis(10);
/// How long librdkafka may take to give back what was purged.
const PURGE: Duration = Duration::from_secs(5);

type Producer = BaseProducer<Context>;

/// A parcel that Kafka can never take, and the error that says so.
type Convict = (Box<Parcel>, RDKafkaErrorCode);

/// One message on its way. librdkafka carries it as the opaque of its record, so no table is
/// needed to find the receipt of an acknowledgement.
pub(crate) struct Parcel {
    pub message: Arc<Message>,
    pub receipt: Receipt,
    /// The rendered Kafka topic.
    pub topic: Arc<str>,
    /// Order of arrival.
    pub order: u64,
    /// Kafka refused its batch: it is sent alone, and then the verdict is its own.
    pub alone: bool,
}

/// The producer and the thread that serves it.
///
/// `offer` hands records to librdkafka on the caller's thread (it only queues them); the thread
/// takes acknowledgements, sends again what was parked, and replaces a producer that is broken.
pub(crate) struct Client {
    shared: Arc<Shared>,
    /// Answers (by being dropped) when the thread has ended.
    ended: Option<oneshot::Receiver<()>>,
}

struct Shared {
    name: String,
    in_flight_max: usize,
    line: Mutex<Line>,
    /// Told whenever a parcel was settled. One waiter: `send` is called one after the other.
    room: Notify,
    health: Mutex<Health>,
    /// Mirrors `health`, so that an acknowledgement need not lock it.
    connected: AtomicBool,
    /// Kinds of poison already logged.
    poisons: Mutex<HashSet<String>>,
}

struct Health {
    state: BridgeState,
    /// The last error that librdkafka told, and its text.
    cause: Option<(RDKafkaErrorCode, Box<str>)>,
    /// Acknowledgements seen at the last statistics, if some were outstanding.
    outstanding_since: Option<u64>,
}

struct Line {
    routes: Routes,
    acknowledged: u64,
    /// `None` while it is being replaced, and after the end.
    producer: Option<Arc<Producer>>,
    /// Set by `close`: give up on acknowledgements then.
    close_at: Option<Instant>,
}

struct Context {
    shared: Arc<Shared>,
}

impl Parcel {
    pub fn new(message: Arc<Message>, receipt: Receipt) -> Box<Self> {
        Box::new(Self { message, receipt, topic: Arc::default(), order: 0, alone: false })
    }
}

impl Client {
    pub fn start(name: &str, config: &Config) -> Result<Self, ConfigError> {
        let shared = Arc::new(Shared {
            name: name.into(),
            in_flight_max: config.in_flight_max as usize,
            line: Mutex::new(Line {
                routes: Routes::default(),
                acknowledged: 0,
                producer: None,
                close_at: None,
            }),
            room: Notify::new(),
            health: Mutex::new(Health { state: BridgeState::Starting, cause: None, outstanding_since: None }),
            connected: AtomicBool::new(false),
            poisons: Mutex::default(),
        });
        let library = config.to_client_config(name);
        shared.line().producer = Some(shared.clone().create(&library).map_err(ConfigError::from_kafka)?);
        let (end, ended) = oneshot::channel();
        let server = Server { shared: shared.clone(), library, translator: Translator::new(config.clone()) };
        let spawned = thread::Builder::new().name(format!("kafka-{name}")).spawn(move || {
            server.run();
            drop(end);
        });
        if let Err(error) = spawned {
            // The producer's context holds `shared`: without a thread, nobody would part them.
            let producer = shared.line().producer.take();
            drop(producer);
            return Err(error.into());
        }
        Ok(Self { shared, ended: Some(ended) })
    }

    /// Takes a parcel, or gives it back if there is no room.
    pub fn offer(&self, mut parcel: Box<Parcel>, record: &Record) -> Result<(), Box<Parcel>> {
        let shared = &*self.shared;
        let mut line = shared.line();
        if line.routes.unsettled() >= shared.in_flight_max {
            return Err(parcel);
        }
        parcel.topic = record.topic.clone();
        line.routes.number(&mut parcel);
        let Line { routes, producer, .. } = &mut *line;
        let Some(producer) = producer.as_ref().filter(|_| routes.is_straight(&record.topic)) else {
            routes.park(parcel, Parking::Behind, Instant::now());
            return Ok(());
        };
        match produce(producer, parcel, record) {
            Ok(()) => routes.sent(&record.topic),
            Err((parcel, RDKafkaErrorCode::QueueFull)) if routes.in_producer() > 0 => return Err(parcel),
            Err((parcel, code)) => {
                let convicted = shared.failed(routes, parcel, code, true);
                drop(line);
                convicted.into_iter().for_each(|convict| shared.convict(convict));
            }
        }
        Ok(())
    }

    /// Returns when `offer` may have become possible.
    pub async fn room(&self) {
        self.shared.room.notified().await;
    }

    pub fn watch(&self) -> Box<dyn Fn() -> BridgeState + Send + Sync> {
        let shared = self.shared.clone();
        Box::new(move || lock(&shared.health).state.clone())
    }

    pub fn report_poison(&self, message: &Message, cause: &str) {
        self.shared.report_poison(message, "untranslatable", cause);
    }

    /// Waits up to `flush` for acknowledgements if Kafka is there, then returns what is left.
    pub async fn close(mut self, flush: Duration) {
        self.shared.line().close_at = Some(Instant::now() + flush);
        if let Some(ended) = self.ended.take() {
            let _ = ended.await;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.line().close_at.get_or_insert_with(Instant::now);
    }
}

/// Runs on the bridge's own thread.
struct Server {
    shared: Arc<Shared>,
    library: ClientConfig,
    translator: Translator,
}

impl Server {
    fn run(mut self) {
        let shared = self.shared.clone();
        let mut record = Record::default();
        loop {
            let (producer, wait, closing, convicts) = {
                let mut line = shared.line();
                let closing = line.close_at.is_some();
                let convicts = if closing { Vec::new() } else { self.pump(&mut line, &mut record) };
                let closing = line.close_at.is_some_and(|at| {
                    let connected = shared.connected.load(Ordering::Relaxed);
                    line.routes.in_producer() == 0 || !connected || at <= Instant::now()
                });
                let busy = line.routes.parked() > 0 || line.close_at.is_some();
                (line.producer.clone(), if busy { POLL_BUSY } else { POLL_IDLE }, closing, convicts)
            };
            convicts.into_iter().for_each(|convict| shared.convict(convict));
            if closing {
                self.retire();
                // In order of arrival: dropping a receipt returns its message.
                let parcels = shared.line().routes.take_parked();
                return parcels.into_iter().for_each(drop);
            }
            let Some(producer) = producer else {
                self.replace();
                continue;
            };
            producer.poll(wait);
            // An idempotent producer may meet an error after which it must not go on.
            if let Some((code, reason)) = producer.client().fatal_error() {
                shared.away(code, &reason);
                drop(producer);
                self.retire();
            }
        }
    }

    /// Sends what is parked and due; gives back what turns out to be poison.
    fn pump(&mut self, line: &mut Line, record: &mut Record) -> Vec<Convict> {
        let (mut refused, mut convicts) = (Vec::new(), Vec::new());
        let Some(producer) = line.producer.clone() else { return convicts };
        line.routes.pump(Instant::now(), |parcel| {
            // Its first translation succeeded, and translation depends on the message alone.
            let _ = self.translator.translate(&parcel.message, record);
            match produce(&producer, parcel, record) {
                Ok(()) => Pumped::Sent,
                Err((parcel, code)) if fate(code) == Fate::Poison => {
                    convicts.push((parcel, code));
                    Pumped::Gone
                }
                Err((parcel, code)) => {
                    refused.push((parcel.topic.clone(), code));
                    Pumped::Refused(parcel)
                }
            }
        });
        for (topic, code) in refused {
            if !matches!(code, RDKafkaErrorCode::QueueFull | RDKafkaErrorCode::Fatal) {
                self.shared.away(code, &format!("{topic}: {code}"));
                line.routes.delay(&topic, Instant::now());
            }
        }
        convicts
    }

    /// Takes everything back from the producer and ends it.
    fn retire(&self) {
        // Offers are parked from here on, so that nothing overtakes what comes back.
        let Some(producer) = self.shared.line().producer.take() else { return };
        producer.purge(PurgeConfig::default().queue().inflight());
        let deadline = Instant::now() + PURGE;
        while self.shared.line().routes.in_producer() > 0 && Instant::now() < deadline {
            producer.poll(POLL_BUSY);
        }
    }

    fn replace(&self) {
        match self.shared.clone().create(&self.library) {
            Ok(producer) => self.shared.line().producer = Some(producer),
            Err(error) => {
                self.shared.away(RDKafkaErrorCode::Fail, &error.to_string());
                thread::park_timeout(Duration::from_secs(1));
            }
        }
    }
}

impl Shared {
    fn create(self: Arc<Self>, library: &ClientConfig) -> Result<Arc<Producer>, KafkaError> {
        library.create_with_context::<Context, Producer>(Context { shared: self }).map(Arc::new)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        lock(&self.line)
    }

    /// Parks a parcel that could not be sent, or gives it back if it never can be.
    /// `local`: librdkafka refused the record itself, not Kafka its batch.
    fn failed(
        &self,
        routes: &mut Routes,
        mut parcel: Box<Parcel>,
        code: RDKafkaErrorCode,
        local: bool,
    ) -> Option<Convict> {
        let now = Instant::now();
        match (fate(code), code) {
            (Fate::Poison, _) if local || parcel.alone => {
                routes.forget_idle(&parcel.topic);
                return Some((parcel, code));
            }
            (Fate::Poison, _) => {
                parcel.alone = true;
                routes.park(parcel, Parking::TakenBack, now);
            }
            // The producer's trouble, not the topic's.
            (_, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight | RDKafkaErrorCode::Fatal) => {
                routes.park(parcel, Parking::TakenBack, now);
            }
            _ => {
                self.away(code, &format!("{}: {code}", parcel.topic));
                routes.park(parcel, Parking::Failed, now);
            }
        }
        None
    }

    /// Not to be called with the line locked: settling goes to the session.
    fn convict(&self, (parcel, code): Convict) {
        self.report_poison(&parcel.message, &format!("{code:?}"), &code.to_string());
        parcel.receipt.settle(POISON);
        self.room.notify_one();
    }

    /// Keeps the text of the first error of a kind: librdkafka's tell how many went before, and
    /// whoever watches the state would see a change with every attempt.
    fn away(&self, code: RDKafkaErrorCode, cause: &str) {
        let mut health = lock(&self.health);
        self.connected.store(false, Ordering::Relaxed);
        let known = health.cause.as_ref().is_some_and(|(known, _)| *known == code);
        if !known || !matches!(health.state, BridgeState::Retrying(_)) {
            health.cause = Some((code, cause.into()));
            health.state = BridgeState::Retrying(cause.into());
        }
    }

    /// No broker is connected. One that swallows packets is an error to librdkafka after 30 s
    /// (`socket.connection.setup.timeout.ms`) only; whoever watches the state should know before.
    fn unanswered(&self) {
        let is_starting = lock(&self.health).state == BridgeState::Starting;
        if is_starting {
            self.away(RDKafkaErrorCode::OperationTimedOut, "no broker has answered yet");
        }
    }

    fn present(&self) {
        if !self.connected.swap(true, Ordering::Relaxed) {
            let mut health = lock(&self.health);
            health.cause = None;
            health.state = BridgeState::Connected;
        }
    }

    fn report_poison(&self, message: &Message, kind: &str, cause: &str) {
        if lock(&self.poisons).insert(kind.into()) {
            tracing::error!(
                bridge = self.name,
                topic = message.topic.as_str(),
                client = message.publisher.as_str(),
                cause,
                "Kafka can never take this message; it is dropped as poison, further ones of this kind silently"
            );
        }
    }
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        // Whatever matters also comes as an error, once; this repeats it at every attempt.
        tracing::debug!(bridge = self.shared.name, facility, text, "librdkafka");
    }

    fn stats(&self, statistics: Statistics) {
        let (in_producer, parked, acknowledged) = {
            let line = self.shared.line();
            (line.routes.in_producer(), line.routes.parked(), line.acknowledged)
        };
        let outstanding = (in_producer > 0).then_some(acknowledged);
        let before = std::mem::replace(&mut lock(&self.shared.health).outstanding_since, outstanding);
        if outstanding.is_some() && outstanding == before {
            // A broker that hangs keeps its connection up until `socket.timeout.ms`, a minute.
            if self.shared.connected.load(Ordering::Relaxed) {
                self.shared
                    .away(RDKafkaErrorCode::OperationTimedOut, "connected, but nothing is acknowledged");
            }
        } else if statistics.brokers.values().any(|broker| broker.state == "UP") {
            if parked == 0 {
                self.shared.present();
            }
        } else {
            self.shared.unanswered();
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let shared = &self.shared;
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        match code {
            // Its text names no cause; the errors of the single brokers, which came before, do.
            RDKafkaErrorCode::AllBrokersDown => {
                let known = lock(&shared.health).cause.clone();
                let (code, cause) = known.unwrap_or_else(|| (code, reason.into()));
                shared.away(code, &cause);
            }
            // One broker of several may go without harm.
            _ if shared.connected.load(Ordering::Relaxed) => {
                lock(&shared.health).cause = Some((code, reason.into()));
            }
            _ => shared.away(code, reason),
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Parcel>;

    fn delivery(&self, result: &DeliveryResult<'_>, parcel: Box<Parcel>) {
        let shared = &*self.shared;
        let mut line = shared.line();
        match result {
            Ok(_) => {
                line.routes.came_back(&parcel.topic, true);
                line.acknowledged += 1;
                let healthy = line.routes.parked() == 0;
                drop(line);
                if healthy {
                    shared.present();
                }
                parcel.receipt.settle(Settlement::Delivered);
                shared.room.notify_one();
            }
            Err((error, _)) => {
                line.routes.came_back(&parcel.topic, false);
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                let convicted = shared.failed(&mut line.routes, parcel, code, false);
                drop(line);
                convicted.into_iter().for_each(|convict| shared.convict(convict));
            }
        }
    }
}

fn produce(
    producer: &Producer,
    parcel: Box<Parcel>,
    record: &Record,
) -> Result<(), (Box<Parcel>, RDKafkaErrorCode)> {
    let message = parcel.message.clone();
    let mut base = BaseRecord::<[u8], [u8], _>::with_opaque_to(&record.topic, parcel)
        .payload(&message.payload)
        .timestamp(i64::try_from(message.accepted_unix_millis.get()).unwrap_or(i64::MAX));
    base.key = Some(&record.key[..]).filter(|key| !key.is_empty());
    if record.headers.len() > 0 {
        let empty = OwnedHeaders::new_with_capacity(record.headers.len());
        base.headers = Some(
            record
                .headers
                .iter()
                .fold(empty, |headers, (key, value)| headers.insert(Header { key, value: Some(value) })),
        );
    }
    producer.send(base).map_err(|(error, base)| {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        (base.delivery_opaque, code)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests {
    use gateway_model::{ClientId, DeliveryId, Qos, Settle, Topic};

    use super::*;

    struct Nobody;

    impl Settle for Nobody {
        fn settle(&self, _: DeliveryId, _: Settlement) {}
    }

    /// A parcel bound for a Kafka topic.
    pub(crate) fn parcel(topic: &str) -> Box<Parcel> {
        let message = Message {
            topic: Topic::parse("t").unwrap(),
            payload: "p".into(),
            properties: None,
            publisher: ClientId::parse("c").unwrap(),
            accepted_unix_millis: 0.into(),
            expires_at: None,
            qos: Qos::AtLeastOnce,
            retain: false,
            stored: Default::default(),
        };
        let receipt = Receipt::new(Arc::new(Nobody), DeliveryId::MIN);
        let mut parcel = Parcel::new(Arc::new(message), receipt);
        parcel.topic = topic.into();
        parcel
    }
}
