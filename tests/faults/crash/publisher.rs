//! A client that publishes, several messages at a time, and sends again what was not acknowledged
//! when its connection was lost (MQTT-4.4.0-1).

use std::collections::VecDeque;

use crate::faults::crash::client::Client;
use crate::faults::crash::ledger::{Fault, MessageId, Tick};
use crate::faults::crash::packet::{self, Packet, Publish};
use crate::faults::crash::stage::{Deed, Stage};
use crate::harness::Outcome;

pub struct Publisher {
    pub client: Client,
    topics: Vec<String>,
    /// In the order in which they were sent.
    pending: VecDeque<Pending>,
    last_id: u16,
    /// When the last PUBREL that is put off is due: they keep their order.
    release_due: Tick,
}

struct Pending {
    id: u16,
    message: MessageId,
    /// PUBREC has been seen: only PUBREL is sent from now on.
    received: bool,
}

/// Few packet identifiers, so that they are soon used again.
const IDS: u16 = 40;
const WINDOW: usize = 16;
/// Ticks that a PUBREL may be put off.
const PATIENCE: usize = 30;

impl Publisher {
    pub fn new(id: String, persistent: bool, topics: Vec<String>) -> Self {
        let client = Client::new(id, persistent, 20);
        Self { client, topics, pending: VecDeque::new(), last_id: 0, release_due: 0 }
    }

    pub fn connect(&mut self, stage: &mut Stage) -> Outcome {
        if !self.client.persistent {
            // What was not acknowledged to a session that is over is nobody's promise.
            self.pending.drain(..).for_each(|pending| stage.ledger.abandon(pending.message));
        }
        self.client.connect(stage, false)
    }

    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Publishes as much as its window allows.
    pub fn work(&mut self, stage: &mut Stage) {
        let window = 1 + stage.random.below(WINDOW);
        while self.client.open && self.pending.len() < window {
            let topic = self.topics[stage.random.below(self.topics.len())].clone();
            let state = topic.starts_with("r/");
            // Of one retained topic all have one QoS: between two, MQTT promises no order.
            let qos = if state { 1 + topic.as_bytes()[2] % 2 } else { 1 + stage.random.below(2) as u8 };
            let length = if stage.random.one_in(20) { 10_000 } else { 200 };
            let length = stage.random.below(length);
            let clears = state && stage.random.one_in(4);
            let message = stage.ledger.create(&topic, qos, clears, length);
            self.publish(stage, message);
        }
    }

    pub fn publish(&mut self, stage: &mut Stage, message: MessageId) {
        let id = self.free_id();
        self.pending.push_back(Pending { id, message, received: false });
        self.transmit(stage, id, message, false);
    }

    pub fn handle(&mut self, stage: &mut Stage, packet: Packet) {
        match packet {
            Packet::Connack { present, reason } => {
                self.client.accept(stage, present, reason);
                self.resume(stage);
            }
            Packet::Puback { id, reason } => {
                self.check(stage, "PUBACK", id, reason);
                let found = self.pending.iter().position(|pending| pending.id == id);
                if let Some(pending) = found.and_then(|at| self.pending.remove(at)) {
                    stage.ledger.acknowledge(&self.client.id, pending.message, "PUBACK");
                }
            }
            Packet::Pubrec { id, reason } => {
                self.check(stage, "PUBREC", id, reason);
                let found = self.pending.iter_mut().find(|pending| pending.id == id);
                if let Some(pending) = found {
                    pending.received = true;
                    let message = pending.message;
                    stage.ledger.acknowledge(&self.client.id, message, "PUBREC");
                    let deed = Deed::Send {
                        link: self.client.link_number(),
                        who: self.client.id.clone(),
                        bytes: packet::pubrel(id),
                        about: Some(message),
                        what: "PUBREL",
                    };
                    self.release_due = stage.put_off(deed, PATIENCE, self.release_due);
                }
            }
            Packet::Pubcomp { id } => {
                let found = self.pending.iter().position(|pending| pending.id == id && pending.received);
                match found.and_then(|at| self.pending.remove(at)) {
                    Some(pending) => stage.ledger.acknowledge(&self.client.id, pending.message, "PUBCOMP"),
                    None => self.refused(stage, format!("PUBCOMP names {id}, which waits for none")),
                }
            }
            // A guest that subscribes does not care for what it gets.
            Packet::Suback { .. } | Packet::Publish(_) | Packet::Pubrel { .. } => {}
            other => self.refused(stage, format!("it gets {other:?}")),
        }
    }

    fn resume(&mut self, stage: &mut Stage) {
        if !self.client.persistent {
            self.client.send(&packet::subscribe(1, &["t/#".to_owned()], 1));
        }
        let pending: Vec<_> =
            self.pending.iter().map(|pending| (pending.id, pending.message, pending.received)).collect();
        for (id, message, received) in pending {
            if received {
                stage.ledger.note(&self.client.id, Some(message), "sends PUBREL again".into());
                self.client.send(&packet::pubrel(id));
            } else {
                self.transmit(stage, id, message, true);
            }
        }
    }

    fn transmit(&mut self, stage: &mut Stage, id: u16, message: MessageId, duplicate: bool) {
        stage.ledger.send(&self.client.id, message, id);
        let payload = stage.ledger.payload(message);
        let told = stage.ledger.message(message);
        let retain = told.topic.starts_with("r/");
        let publish = Publish { topic: told.topic.clone(), id, qos: told.qos, duplicate, retain, payload };
        self.client.send(&publish.encode());
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % IDS + 1;
            if !self.pending.iter().any(|pending| pending.id == self.last_id) {
                return self.last_id;
            }
        }
    }

    /// The acknowledgement is a good one, and of something that waits for such a one.
    fn check(&self, stage: &mut Stage, packet: &str, id: u16, reason: u8) {
        let qos = if packet == "PUBACK" { 1 } else { 2 };
        let waits = |pending: &&Pending| pending.id == id && stage.ledger.message(pending.message).qos == qos;
        if self.pending.iter().find(waits).is_none() {
            self.refused(stage, format!("{packet} names {id}, which waits for none"));
        }
        if reason >= 0x80 {
            self.refused(stage, format!("{packet} of {id} has reason {reason:#04x}"));
        }
    }

    fn refused(&self, stage: &mut Stage, text: String) {
        stage.ledger.violate(Fault::Refused, &self.client.id, None, text);
    }
}
