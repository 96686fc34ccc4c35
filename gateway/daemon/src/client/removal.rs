use std::collections::{HashSet, VecDeque};
use std::num::NonZeroU16;

use gateway_model::Qos;
use protocol_mqtt::codec::{Packet, Properties, Publish};

use super::connection::Connection;
use super::error::ClientError;

/// The first identifier; those below are for SUBSCRIBE and UNSUBSCRIBE.
const ID_MIN: u16 = 16;

/// The retained messages that are to be cleared, as many at a time as the broker takes.
#[derive(Default)]
pub struct Removal {
    waiting: VecDeque<Vec<u8>>,
    unacknowledged: HashSet<NonZeroU16>,
    last_id: u16,
}

impl Removal {
    pub fn add(&mut self, topic: &[u8]) {
        self.waiting.push_back(topic.to_vec());
    }

    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.unacknowledged.is_empty()
    }

    pub fn acknowledged(&mut self, id: NonZeroU16) {
        self.unacknowledged.remove(&id);
    }

    /// What was on its way when the connection ended comes again, as it is still retained.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// An empty retained message clears its topic (MQTT-3.3.1-6).
    pub fn queue(&mut self, connection: &mut Connection) -> Result<(), ClientError> {
        let (window, qos) = match connection.broker.qos_max {
            Qos::AtMostOnce => (usize::MAX, Qos::AtMostOnce),
            _ => (usize::from(connection.broker.receive_maximum), Qos::AtLeastOnce),
        };
        while self.unacknowledged.len() < window.min(usize::from(u16::MAX - ID_MIN)) {
            let Some(topic) = self.waiting.pop_front() else { break };
            let packet_id = (qos == Qos::AtLeastOnce).then(|| self.next_id());
            self.unacknowledged.extend(packet_id);
            connection.queue_within(&Packet::Publish(Publish {
                dup: false,
                qos,
                retain: true,
                topic: &topic,
                packet_id,
                properties: Properties::default(),
                payload: b"",
            }))?;
        }
        Ok(())
    }

    fn next_id(&mut self) -> NonZeroU16 {
        loop {
            self.last_id = self.last_id.wrapping_add(1).max(ID_MIN);
            match NonZeroU16::new(self.last_id) {
                Some(id) if !self.unacknowledged.contains(&id) => return id,
                _ => {}
            }
        }
    }
}
