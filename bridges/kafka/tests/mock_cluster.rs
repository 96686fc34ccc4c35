//! The bridge against librdkafka's own mock cluster: order per key, outages, poison.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bridge_kafka::{Config, ConfigError, Kafka, PropertyValue};
use gateway_model::{
    Bridge, BridgeState, ClientId, DeliveryId, Message, Properties, Qos, Receipt, Settle, Settlement, Topic,
};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Notify;

const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 3;

/// In the session's place: what became of each message, in order of settlement.
#[derive(Default)]
struct Ledger {
    settled: Mutex<Vec<(DeliveryId, Settlement)>>,
    changed: Notify,
}

impl Settle for Ledger {
    fn settle(&self, id: DeliveryId, settlement: Settlement) {
        self.settled.lock().unwrap().push((id, settlement));
        self.changed.notify_one();
    }
}

impl Ledger {
    fn settled(&self) -> Vec<(DeliveryId, Settlement)> {
        self.settled.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.settled.lock().unwrap().len()
    }

    async fn wait_for(&self, count: usize) {
        let wait = async {
            while self.count() < count {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("settled in time");
    }

    fn all(&self, settlement: Settlement) -> bool {
        self.settled.lock().unwrap().iter().all(|(_, settled)| *settled == settlement)
    }
}

struct Fixture {
    cluster: MockCluster<'static, DefaultProducerContext>,
    ledger: Arc<Ledger>,
    sent: u16,
}

impl Fixture {
    fn new(brokers: i32) -> Self {
        let cluster = MockCluster::new(brokers).unwrap();
        cluster.create_topic("plant", PARTITIONS, 1).unwrap();
        Self { cluster, ledger: Arc::default(), sent: 0 }
    }

    fn config(&self, more: &str) -> Config {
        let servers = self.cluster.bootstrap_servers();
        serde_json::from_str(&format!(
            r#"{{"servers":["{servers}"],"topic":"plant",
                "properties":{{"reconnect.backoff.ms":10,"reconnect.backoff.max.ms":50,"retry.backoff.ms":5,
                "retry.backoff.max.ms":20,"topic.metadata.refresh.interval.ms":1000}}{more}}}"#
        ))
        .unwrap()
    }

    fn kafka(&self, more: &str) -> Kafka {
        Kafka::new("test", self.config(more)).unwrap()
    }

    /// Sends message number `sent` of one of seven devices.
    async fn send(&mut self, kafka: &mut Kafka, payload_len: usize) {
        self.sent += 1;
        let id = DeliveryId::new(self.sent).unwrap();
        let receipt = Receipt::new(self.ledger.clone(), id);
        kafka.send(Arc::new(message(self.sent, payload_len)), receipt).await;
    }

    /// The numbers of the records in the topic by key, in the order of their offsets.
    fn stored(&self, count: usize) -> BTreeMap<String, Vec<u16>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "check")
            .create()
            .unwrap();
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            partitions.add_partition_offset("plant", partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&partitions).unwrap();
        let (mut stored, mut seen) = (BTreeMap::<String, Vec<u16>>::new(), 0);
        let deadline = Instant::now() + PATIENCE;
        while seen < count && Instant::now() < deadline {
            if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
                let key = String::from_utf8(record.key().unwrap().to_vec()).unwrap();
                let number = std::str::from_utf8(&record.payload().unwrap()[..5]).unwrap();
                stored.entry(key).or_default().push(number.parse().unwrap());
                seen += 1;
            }
        }
        stored
    }

    /// Every number exactly once, and ascending within its key.
    fn assert_complete_and_in_order(&self) {
        let stored = self.stored(usize::from(self.sent));
        let mut all: Vec<u16> = stored.values().flatten().copied().collect();
        for (key, numbers) in &stored {
            assert!(numbers.is_sorted(), "{key}: {numbers:?}");
        }
        all.sort_unstable();
        assert_eq!(all, (1..=self.sent).collect::<Vec<_>>());
    }
}

fn message(number: u16, payload_len: usize) -> Message {
    Message {
        topic: Topic::parse(&format!("plant/{}", number % 7)).unwrap(),
        payload: format!("{number:05}{}", "x".repeat(payload_len)).into(),
        properties: Some(Arc::new(Properties {
            user_properties: vec![("site".into(), "north".into())],
            ..Properties::default()
        })),
        publisher: ClientId::parse("sensor").unwrap(),
        accepted_unix_millis: (1_700_000_000_000 + u64::from(number)).into(),
        expires_at: None,
        qos: Qos::AtLeastOnce,
        retain: false,
        stored: Default::default(),
    }
}

async fn wait_for_state(kafka: &Kafka, wanted: impl Fn(&BridgeState) -> bool) -> BridgeState {
    let wait = async {
        loop {
            let state = kafka.state();
            if wanted(&state) {
                return state;
            }
            // librdkafka's threads change it, of which the runtime knows nothing.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the state in time")
}

#[tokio::test]
async fn records_carry_value_key_headers_and_time() {
    let mut fixture = Fixture::new(1);
    let mut kafka = fixture.kafka("");
    fixture.send(&mut kafka, 0).await;
    fixture.ledger.wait_for(1).await;
    assert_eq!(kafka.state(), BridgeState::Connected);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", fixture.cluster.bootstrap_servers())
        .set("group.id", "check")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset("plant", partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let record = consumer.poll(PATIENCE).unwrap().unwrap();
    assert_eq!(record.payload(), Some(&b"00001"[..]));
    assert_eq!(record.key(), Some(&b"plant/1"[..]));
    assert_eq!(record.timestamp().to_millis(), Some(1_700_000_000_001));
    let headers: Vec<_> = record.headers().unwrap().iter().map(|h| (h.key, h.value.unwrap())).collect();
    assert!(headers.contains(&("mqtt-topic", b"plant/1")));
    assert!(headers.contains(&("user.site", b"north")));
    Box::new(kafka).close().await;
}

#[tokio::test]
async fn a_burst_of_errors_costs_neither_messages_nor_order() {
    let mut fixture = Fixture::new(3);
    let mut kafka = fixture.kafka("");
    for _ in 0..10 {
        for _ in 0..50 {
            fixture.send(&mut kafka, 20).await;
        }
        fixture.cluster.request_errors(
            RDKafkaApiKey::Produce,
            &[
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            ],
        );
    }
    fixture.ledger.wait_for(500).await;
    assert!(fixture.ledger.all(Settlement::Delivered));
    fixture.assert_complete_and_in_order();
}

#[tokio::test]
async fn errors_that_librdkafka_gives_up_on_are_retried_by_the_bridge() {
    let mut fixture = Fixture::new(1);
    let mut kafka = fixture.kafka("");
    fixture.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 4],
    );
    for _ in 0..200 {
        fixture.send(&mut kafka, 20).await;
    }
    let state = wait_for_state(&kafka, |state| matches!(state, BridgeState::Retrying(_))).await;
    let BridgeState::Retrying(cause) = state else { unreachable!() };
    assert!(cause.contains("plant") && cause.contains("authorization"), "{cause}");
    fixture.ledger.wait_for(200).await;
    assert!(fixture.ledger.all(Settlement::Delivered));
    assert_eq!(kafka.state(), BridgeState::Connected);
    fixture.assert_complete_and_in_order();
}

#[tokio::test]
async fn a_broker_that_goes_and_comes_back_gets_everything() {
    let mut fixture = Fixture::new(1);
    let mut kafka = fixture.kafka("");
    for _ in 0..100 {
        fixture.send(&mut kafka, 20).await;
    }
    fixture.ledger.wait_for(100).await;
    fixture.cluster.broker_down(1).unwrap();
    for _ in 0..100 {
        fixture.send(&mut kafka, 20).await;
    }
    wait_for_state(&kafka, |state| matches!(state, BridgeState::Retrying(_))).await;
    assert_eq!(fixture.ledger.count(), 100);
    fixture.cluster.broker_up(1).unwrap();
    fixture.ledger.wait_for(200).await;
    assert!(fixture.ledger.all(Settlement::Delivered));
    fixture.assert_complete_and_in_order();
}

#[tokio::test]
async fn a_broker_that_hangs_is_noticed_though_its_connection_stands() {
    let mut fixture = Fixture::new(1);
    let mut config = fixture.config("");
    config.properties.insert("statistics.interval.ms".into(), PropertyValue::Number(100));
    let mut kafka = Kafka::new("test", config).unwrap();
    fixture.send(&mut kafka, 20).await;
    fixture.ledger.wait_for(1).await;
    fixture.cluster.broker_round_trip_time(1, Duration::from_secs(3)).unwrap();
    fixture.send(&mut kafka, 20).await;
    let state = wait_for_state(&kafka, |state| matches!(state, BridgeState::Retrying(_))).await;
    assert_eq!(state, BridgeState::Retrying("connected, but nothing is acknowledged".into()));
    fixture.cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
    fixture.ledger.wait_for(2).await;
    assert_eq!(kafka.state(), BridgeState::Connected);
    fixture.assert_complete_and_in_order();
}

#[tokio::test]
async fn a_full_window_holds_the_sender_until_there_is_room() {
    let mut fixture = Fixture::new(1);
    let mut kafka = fixture.kafka(r#","in_flight_max":10"#);
    fixture.cluster.broker_down(1).unwrap();
    for _ in 0..10 {
        fixture.send(&mut kafka, 20).await;
    }
    let blocked = tokio::time::timeout(Duration::from_millis(50), fixture.send(&mut kafka, 20)).await;
    assert!(blocked.is_err());
    assert_eq!(fixture.ledger.count(), 1, "the message whose send was given up is returned");
    assert!(fixture.ledger.all(Settlement::Returned));
    fixture.cluster.broker_up(1).unwrap();
    for _ in 0..100 {
        fixture.send(&mut kafka, 20).await;
    }
    fixture.ledger.wait_for(111).await;
}

#[tokio::test]
async fn only_the_message_that_is_too_large_is_poison() {
    let mut fixture = Fixture::new(1);
    let mut kafka = fixture.kafka(r#","message_bytes_max":2000"#);
    for number in 0..30 {
        fixture.send(&mut kafka, if number == 15 { 5000 } else { 20 }).await;
    }
    fixture.ledger.wait_for(30).await;
    let settled = fixture.ledger.settled();
    let poison: Vec<_> = settled.iter().filter(|(_, s)| *s == Settlement::Dropped("poison")).collect();
    assert_eq!(poison.len(), 1);
    assert_eq!(poison[0].0.get(), 16);
}

#[tokio::test]
async fn poison_that_waits_behind_a_failure_does_not_block_what_follows() {
    let mut fixture = Fixture::new(1);
    let mut kafka = fixture.kafka(r#","message_bytes_max":2000"#);
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    fixture.cluster.request_errors(RDKafkaApiKey::Produce, &[refusal]);
    fixture.send(&mut kafka, 20).await;
    wait_for_state(&kafka, |state| matches!(state, BridgeState::Retrying(_))).await;
    fixture.send(&mut kafka, 5000).await;
    fixture.send(&mut kafka, 20).await;
    fixture.ledger.wait_for(3).await;
    let mut settled = fixture.ledger.settled();
    settled.sort_unstable_by_key(|(id, _)| *id);
    let settlements: Vec<_> = settled.into_iter().map(|(_, settlement)| settlement).collect();
    assert_eq!(settlements, [Settlement::Delivered, Settlement::Dropped("poison"), Settlement::Delivered]);
}

#[tokio::test]
async fn a_batch_that_kafka_refuses_is_sent_again_one_by_one() {
    let mut fixture = Fixture::new(1);
    let mut kafka = fixture.kafka(r#","linger_millis":50"#);
    fixture
        .cluster
        .request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 1]);
    for _ in 0..21 {
        fixture.send(&mut kafka, 20).await;
    }
    fixture.ledger.wait_for(21).await;
    assert!(fixture.ledger.all(Settlement::Delivered));
    fixture.assert_complete_and_in_order();
}

#[tokio::test]
async fn a_producer_that_must_not_go_on_is_replaced() {
    let mut fixture = Fixture::new(1);
    let mut kafka = fixture.kafka("");
    for _ in 0..20 {
        fixture.send(&mut kafka, 20).await;
    }
    fixture.ledger.wait_for(20).await;
    // In answer to the first batch that is outstanding: a hole in the sequence that cannot be closed.
    fixture.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
    );
    for _ in 0..100 {
        fixture.send(&mut kafka, 20).await;
    }
    fixture.ledger.wait_for(120).await;
    assert!(fixture.ledger.all(Settlement::Delivered));
    fixture.assert_complete_and_in_order();
}

#[tokio::test]
async fn closing_in_an_outage_returns_messages_in_order() {
    let mut fixture = Fixture::new(1);
    let mut kafka = fixture.kafka("");
    fixture.cluster.broker_down(1).unwrap();
    for _ in 0..50 {
        fixture.send(&mut kafka, 20).await;
    }
    Box::new(kafka).close().await;
    let settled = fixture.ledger.settled();
    assert_eq!(settled.len(), 50);
    assert!(fixture.ledger.all(Settlement::Returned));
    assert!(settled.is_sorted_by_key(|(id, _)| *id));
}

#[tokio::test]
async fn closing_waits_for_what_kafka_is_about_to_acknowledge() {
    let mut fixture = Fixture::new(1);
    let mut kafka = fixture.kafka(r#","linger_millis":100"#);
    fixture.send(&mut kafka, 20).await;
    fixture.ledger.wait_for(1).await;
    for _ in 0..50 {
        fixture.send(&mut kafka, 20).await;
    }
    Box::new(kafka).close().await;
    assert_eq!(fixture.ledger.count(), 51);
    assert!(fixture.ledger.all(Settlement::Delivered));
}

/// The first error may come at any moment of the start: it must not get lost.
#[tokio::test]
async fn an_unreachable_kafka_does_not_fail_the_start_and_is_named() {
    const STARTS: u16 = 40;
    for start in 1..=STARTS {
        let mut fixture = Unreachable::new("127.0.0.1:1");
        if start % 2 == 0 {
            fixture.send().await;
        }
        let state = wait_for_state(&fixture.kafka, |state| matches!(state, BridgeState::Retrying(_))).await;
        let BridgeState::Retrying(cause) = state else { unreachable!() };
        assert!(cause.contains("127.0.0.1:1") && cause.contains("refused"), "start {start}: {cause}");
        assert_eq!(fixture.ledger.count(), 0);
    }
}

#[tokio::test]
async fn a_kafka_that_swallows_everything_is_not_starting_for_ever() {
    // Connections wait in the listener's queue, where nobody takes them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut fixture = Unreachable::new(&silent.local_addr().unwrap().to_string());
    fixture.send().await;
    let state = wait_for_state(&fixture.kafka, |state| *state != BridgeState::Starting).await;
    assert_eq!(state, BridgeState::Retrying("no broker has answered yet".into()));
}

/// A bridge to servers that are not there.
struct Unreachable {
    kafka: Kafka,
    ledger: Arc<Ledger>,
}

impl Unreachable {
    fn new(server: &str) -> Self {
        let config = format!(
            r#"{{"servers":["{server}"],"topic":"plant","properties":{{"statistics.interval.ms":200}}}}"#
        );
        let kafka = Kafka::new("test", serde_json::from_str(&config).unwrap()).unwrap();
        Self { kafka, ledger: Arc::default() }
    }

    async fn send(&mut self) {
        let receipt = Receipt::new(self.ledger.clone(), DeliveryId::MIN);
        self.kafka.send(Arc::new(message(1, 20)), receipt).await;
    }
}

#[test]
fn librdkafka_checks_properties_and_codecs() {
    let refused = |json: &str| Kafka::new("test", serde_json::from_str(json).unwrap()).err();
    let unknown = r#"{"servers":["127.0.0.1:1"],"topic":"t","properties":{"no.such.thing":1}}"#;
    assert!(matches!(refused(unknown), Some(ConfigError::Property { key, .. }) if key == "no.such.thing"));
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let json = format!(r#"{{"servers":["127.0.0.1:1"],"topic":"t","compression":"{codec}"}}"#);
        assert!(refused(&json).is_none(), "{codec}");
    }
}
