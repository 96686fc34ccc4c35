//! MQTT 5 clients, each with one subscription at QoS 1, and the few packets that they say.

use std::ops::Range;
use std::time::Duration;

use gateway_broker::Line;

use crate::gateway::Gateway;
use crate::population::Population;

const KEEP_ALIVE_SECS: u16 = 60;
const EXPIRY_SECS: u32 = 60;
const SHARED: &str = "devices/all/commands";

#[derive(Default)]
pub struct Sessions {
    /// By number; nothing else is known of a peer.
    lines: Vec<Line>,
}

impl Population for Sessions {
    fn name(&self) -> &'static str {
        "MQTT session"
    }

    fn attach(&mut self, gateway: &mut Gateway, index: u32) {
        let line = gateway.bench.connect();
        gateway.bench.send(line, &connect(&format!("device-{index:07}"), KEEP_ALIVE_SECS, EXPIRY_SECS));
        gateway.bench.send(line, &subscribe(&self.topic(index)));
        let answers = gateway.bench.received(line);
        assert!(answers.first() == Some(&0x20) && answers.last() == Some(&1), "{answers:02x?}");
        debug_assert_eq!(self.lines.len(), index as usize);
        self.lines.push(line);
    }

    fn topic(&self, index: u32) -> String {
        format!("devices/{index:07}/commands")
    }

    fn shared_topic(&self) -> Option<&'static str> {
        Some(SHARED)
    }

    fn join(&mut self, gateway: &mut Gateway, index: u32) {
        let line = self.lines[index as usize];
        gateway.bench.send(line, &subscribe(SHARED));
        assert_eq!(gateway.bench.received(line).last(), Some(&1), "QoS 1 is granted");
    }

    fn answer(&mut self, gateway: &mut Gateway, peers: Range<u32>) -> u64 {
        let mut count = 0;
        for index in peers {
            let line = self.lines[index as usize];
            let received = gateway.bench.received(line);
            if let Some([high, low]) = packet_identifier(&received) {
                gateway.bench.send(line, &[0x40, 2, high, low]);
                count += 1;
            }
        }
        count
    }

    fn ignore(&mut self, gateway: &mut Gateway) {
        self.lines.drain(..).for_each(|line| gateway.bench.turn_away(line));
    }

    fn is_found_out_by_silence(&self) -> bool {
        false
    }

    fn longest_life(&self) -> Duration {
        Duration::from_secs(u64::from(KEEP_ALIVE_SECS) * 3 / 2 + u64::from(EXPIRY_SECS))
    }
}

/// A CONNECT that begins anew.
pub fn connect(client_id: &str, keep_alive_secs: u16, expiry_secs: u32) -> Vec<u8> {
    let [high, low] = keep_alive_secs.to_be_bytes();
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, 2, high, low, 5, 0x11];
    body.extend(expiry_secs.to_be_bytes());
    put_text(&mut body, client_id);
    packet(0x10, &body)
}

pub fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, topic);
    body.extend([0, 1, 0]);
    body.extend(payload);
    packet(0x32, &body)
}

fn subscribe(filter: &str) -> Vec<u8> {
    let mut body = vec![0, 1, 0];
    put_text(&mut body, filter);
    body.push(1);
    packet(0x82, &body)
}

/// Of one PUBLISH at QoS 1 and nothing else.
fn packet_identifier(bytes: &[u8]) -> Option<[u8; 2]> {
    let [0x32, length, high, low, rest @ ..] = bytes else { return None };
    assert_eq!(usize::from(*length) + 2, bytes.len(), "one packet, and a short one");
    let topic = usize::from(u16::from_be_bytes([*high, *low]));
    rest.get(topic..topic + 2)?.try_into().ok()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "a length of one byte");
    [&[first, body.len() as u8], body].concat()
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    body.extend((text.len() as u16).to_be_bytes());
    body.extend(text.as_bytes());
}
