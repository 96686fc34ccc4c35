use std::time::Duration;

use gateway_access::{Access, Anonymous};
use gateway_broker::{Bench, Broker, DoorLimits, Line};
use gateway_bus::{Bus, Limits, Moment};
use protocol_mqtt::Mqtt;

use crate::mqtt;

/// The gateway on its bench, and one MQTT client that publishes.
pub struct Gateway {
    pub bench: Bench,
    publisher: Line,
}

/// Room for a million of everything, and for the publisher.
const MANY: usize = 4_000_000;

impl Gateway {
    pub fn new() -> Self {
        let limits = Limits {
            sessions_max: MANY,
            retained_messages_max: MANY,
            retained_bytes_max: usize::MAX,
            ..Limits::default()
        };
        let door = DoorLimits {
            topic_levels_max: 128,
            topic_bytes_max: 65_535,
            client_id_bytes_max: 1024,
            logins_pending_max: 64,
        };
        // Peers have addresses of their own, which are not this machine's.
        let access = gateway_access::Config { anonymous: Anonymous::Always, ..Default::default() };
        let broker = Broker::new(Bus::new(limits, 1), Access::new(access), door, 2);
        let mut bench = Bench::new(broker, std::sync::Arc::new(Mqtt::new(Default::default())));
        let publisher = bench.connect();
        bench.send(publisher, &mqtt::connect("publisher", 0, 0));
        assert_eq!(bench.received(publisher).first(), Some(&0x20), "the publisher is let in");
        Self { bench, publisher }
    }

    /// Publishes at QoS 1, and takes the acknowledgement.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.bench.send(self.publisher, &mqtt::publish(topic, payload));
        let puback = self.bench.received(self.publisher);
        assert_eq!(puback.first(), Some(&0x40), "a publish is acknowledged: {puback:02x?}");
    }

    /// Copies that nobody can explain. What is uncertain is certain after some seconds.
    pub fn unaccounted(&self) -> u64 {
        let bus = &self.bench.broker().bus;
        let moment = Moment { instant: std::time::Instant::now(), unix_millis: 0 };
        bus.audit(moment);
        bus.audit(Moment { instant: moment.instant + Duration::from_secs(5), ..moment }).unaccounted
    }

    /// Peers that the bus knows, but for the publisher.
    pub fn sessions(&self) -> usize {
        self.bench.broker().bus.totals().sessions - 1
    }
}
