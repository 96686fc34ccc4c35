//! What a client run says on standard error.

use protocol_mqtt::codec::{Acknowledgement, Packet};

use super::error::Said;

/// How much to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Nothing: the exit code tells.
    pub quiet: bool,
    /// Every packet.
    pub debug: bool,
}

impl Report {
    pub fn problem(self, text: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("tidegate: {text}");
        }
    }

    pub fn sent(self, packet: &Packet<'_>) {
        if self.debug {
            eprintln!("sent {}", described(packet));
        }
    }

    pub fn received(self, packet: &Packet<'_>) {
        if self.debug {
            eprintln!("received {}", described(packet));
        }
    }
}

/// A packet in a line, without payloads and passwords.
fn described(packet: &Packet<'_>) -> String {
    let acknowledgement = |name: &str, packet: &Acknowledgement<'_>| {
        format!("{name} {} {}", packet.packet_id, Said::new(packet.reason, packet.properties))
    };
    match packet {
        Packet::Connect(packet) => format!(
            "CONNECT as {:?}, clean start {}, keep alive {} s",
            packet.client_id, packet.clean_start, packet.keep_alive_secs
        ),
        Packet::Connack(packet) => {
            let said = Said::new(packet.reason, packet.properties);
            format!("CONNACK {said}, session present {}", packet.session_present)
        }
        Packet::Publish(packet) => format!(
            "PUBLISH {} on {:?}, QoS {}, retain {}, duplicate {}, {} bytes",
            packet.packet_id.map_or(0, std::num::NonZeroU16::get),
            String::from_utf8_lossy(packet.topic),
            packet.qos as u8,
            packet.retain,
            packet.dup,
            packet.payload.len()
        ),
        Packet::Puback(packet) => acknowledgement("PUBACK", packet),
        Packet::Pubrec(packet) => acknowledgement("PUBREC", packet),
        Packet::Pubrel(packet) => acknowledgement("PUBREL", packet),
        Packet::Pubcomp(packet) => acknowledgement("PUBCOMP", packet),
        Packet::Subscribe(packet) => {
            let filters: Vec<_> = packet.filters.iter().map(|filter| filter.filter).collect();
            format!("SUBSCRIBE {} {}", packet.packet_id, filters.join(" "))
        }
        Packet::Suback(packet) => {
            let reasons: Vec<_> = packet.reasons.iter().map(|reason| reason.name()).collect();
            format!("SUBACK {} {}", packet.packet_id, reasons.join(" "))
        }
        Packet::Unsubscribe(packet) => {
            format!("UNSUBSCRIBE {} {}", packet.packet_id, packet.filters.join(" "))
        }
        Packet::Unsuback(packet) => format!("UNSUBACK {}", packet.packet_id),
        Packet::Pingreq => "PINGREQ".to_owned(),
        Packet::Pingresp => "PINGRESP".to_owned(),
        Packet::Disconnect(packet) => {
            format!("DISCONNECT {}", Said::new(packet.reason, packet.properties))
        }
        Packet::Auth(packet) => format!("AUTH {}", Said::new(packet.reason, packet.properties)),
    }
}
