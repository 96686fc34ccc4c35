//! The whole gateway without sockets, and clients that speak MQTT 3.1.1 to it.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Instant;

use gateway_access::Access;
use gateway_broker::{Bench, Broker, DoorLimits, Line};
use gateway_bus::{Bus, Limits};
use gateway_model::{Moment, Qos, Reason};
use gateway_store::{Disk, Options, Simulated};
use protocol_mqtt::Mqtt;
use protocol_mqtt::codec::{
    Acknowledgement, Connect, Header, Packet, PacketType, Properties, Publish, RequestedFilter, Subscribe,
    Version,
};

/// Everything random in the gateway comes from this, so that it does the same in every run.
const SEED: u64 = 1;
const VERSION: Version = Version::V311;

pub struct Rig {
    bench: Bench,
    /// Written to in [`Rig::run`] only, so that nothing depends on a thread.
    disk: Option<Arc<Disk>>,
    received: Vec<u8>,
}

impl Rig {
    /// A gateway that keeps nothing.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// A gateway with a store on a simulated disk: what it is told is what a real one would be told.
    pub fn with_disk() -> Self {
        let anchor = Moment { instant: Instant::now(), unix_millis: 0 };
        let disk = Disk::open_unthreaded(Options::default(), Arc::new(Simulated::new(SEED)), anchor);
        Self::with(Some(Arc::new(disk.expect("a new disk").0)))
    }

    fn with(disk: Option<Arc<Disk>>) -> Self {
        let door = DoorLimits {
            topic_levels_max: 128,
            topic_bytes_max: 65_535,
            client_id_bytes_max: 1024,
            logins_pending_max: 64,
        };
        let mut bus = Bus::new(Limits::default(), SEED);
        if let Some(disk) = &disk {
            bus = bus.with_store(disk.clone());
        }
        let broker = Broker::new(bus, Access::new(Default::default()), door, SEED);
        let bench = Bench::new(broker, Arc::new(Mqtt::new(Default::default())));
        Self { bench, disk, received: Vec::new() }
    }

    /// A client whose session ends with its connection, or outlives it.
    pub fn client(&mut self, client_id: &str, outlives: bool) -> Line {
        let connect = Connect {
            version: VERSION,
            clean_start: !outlives,
            keep_alive_secs: 60,
            properties: Properties::default(),
            client_id,
            will: None,
            username: None,
            password: None,
        };
        let line = self.bench.connect();
        let answer = self.ask(line, &Packet::Connect(Box::new(connect)));
        assert_eq!(answer, [0x20, 2, 0, 0], "{client_id} is not let in");
        line
    }

    pub fn subscribe<'a>(&mut self, line: Line, filters: impl IntoIterator<Item = &'a str>, qos: Qos) {
        let filters: Vec<_> = filters.into_iter().map(|filter| RequestedFilter::new(filter, qos)).collect();
        let reasons = vec![qos as u8; filters.len()];
        let packet_id = NonZeroU16::MIN;
        let subscribe = Subscribe { packet_id, properties: Properties::default(), filters };
        let answer = self.ask(line, &Packet::Subscribe(subscribe));
        assert!(answer.ends_with(&reasons), "refused: {answer:?}");
    }

    /// Bytes that the gateway finds when it runs.
    pub fn put(&mut self, line: Line, bytes: &[u8]) {
        self.bench.put(line, bytes);
    }

    /// Everything that the gateway does now. What has to be durable is written and synced once for all
    /// that was put.
    pub fn run(&mut self) {
        self.bench.run();
        if let Some(disk) = &self.disk {
            assert!(disk.commit(), "the disk fails");
            self.bench.run();
        }
    }

    /// What has come for a client since the last look.
    pub fn receive(&mut self, line: Line) -> &[u8] {
        self.bench.receive_into(line, &mut self.received);
        &self.received
    }

    fn ask(&mut self, line: Line, packet: &Packet<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet.encode(VERSION, &mut bytes);
        self.put(line, &bytes);
        self.run();
        self.receive(line).to_vec()
    }
}

/// PUBLISH.
pub fn publish(topic: &str, packet_id: Option<NonZeroU16>, payload: &[u8]) -> Vec<u8> {
    let qos = if packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
    let topic = topic.as_bytes();
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id,
        properties: Properties::default(),
        payload,
    };
    let mut bytes = Vec::new();
    publish.encode(VERSION, &mut bytes);
    bytes
}

/// The PUBACKs for all publishes in `bytes`, appended to `answers`. How many they are.
pub fn acknowledge(mut bytes: &[u8], answers: &mut Vec<u8>) -> usize {
    let mut count = 0;
    while let Some(header) = Header::parse(bytes).expect("a packet") {
        let (frame, rest) = bytes.split_at(header.frame_len());
        let publish = Publish::decode(VERSION, header.first, &frame[header.header_len..]).expect("a PUBLISH");
        let packet_id = publish.packet_id.expect("it is at QoS 1");
        Acknowledgement::new(packet_id, Reason::Success).encode(VERSION, PacketType::Puback, answers);
        count += 1;
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a packet");
    count
}
