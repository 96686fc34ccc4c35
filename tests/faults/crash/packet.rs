//! MQTT 5 as far as the clients here speak it, with exact control of every packet.

use std::io::{self, Read};

use crate::harness::raw::{self, packet, text};

/// What the gateway says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Connack { present: bool, reason: u8 },
    Publish(Publish),
    Puback { id: u16, reason: u8 },
    Pubrec { id: u16, reason: u8 },
    Pubrel { id: u16 },
    Pubcomp { id: u16 },
    Suback { reasons: Vec<u8> },
    Unsuback { reasons: Vec<u8> },
    Disconnect { reason: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub topic: String,
    /// 0 at QoS 0.
    pub id: u16,
    pub qos: u8,
    pub duplicate: bool,
    pub retain: bool,
    pub payload: Vec<u8>,
}

/// A CONNECT without a keep-alive, as nothing here may depend on time.
pub fn connect(client_id: &str, clean_start: bool, expiry_secs: u32, receive_maximum: u16) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x05".to_vec();
    body.extend([u8::from(clean_start) << 1, 0, 0, 8, 0x11]);
    body.extend(expiry_secs.to_be_bytes());
    body.push(0x21);
    body.extend(receive_maximum.to_be_bytes());
    body.extend(text(client_id));
    packet(0x10, &body)
}

impl Publish {
    pub fn encode(&self) -> Vec<u8> {
        let first = 0x30 | u8::from(self.duplicate) << 3 | self.qos << 1 | u8::from(self.retain);
        let mut body = text(&self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        body.push(0);
        body.extend(&self.payload);
        packet(first, &body)
    }
}

pub fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}

pub fn pubrec(id: u16) -> Vec<u8> {
    packet(0x50, &id.to_be_bytes())
}

pub fn pubrel(id: u16) -> Vec<u8> {
    packet(0x62, &id.to_be_bytes())
}

pub fn pubcomp(id: u16) -> Vec<u8> {
    packet(0x70, &id.to_be_bytes())
}

/// A SUBSCRIBE of filters, all at one QoS.
pub fn subscribe(id: u16, filters: &[String], qos: u8) -> Vec<u8> {
    let mut body = [&id.to_be_bytes()[..], &[0]].concat();
    for filter in filters {
        body.extend(text(filter));
        body.push(qos);
    }
    packet(0x82, &body)
}

pub fn unsubscribe(id: u16, filters: &[String]) -> Vec<u8> {
    let mut body = [&id.to_be_bytes()[..], &[0]].concat();
    filters.iter().for_each(|filter| body.extend(text(filter)));
    packet(0xa2, &body)
}

pub fn disconnect() -> Vec<u8> {
    packet(0xe0, &[])
}

/// The next packet; an error of kind `InvalidData` if it is not one that a gateway sends.
pub fn read(from: &mut impl Read) -> io::Result<Packet> {
    let (first, body) = raw::read(from)?;
    let wrong = || {
        io::Error::new(io::ErrorKind::InvalidData, format!("not a packet of ours: {first:02x} {body:02x?}"))
    };
    parse(first, &body).ok_or_else(wrong)
}

fn parse(first: u8, body: &[u8]) -> Option<Packet> {
    let id = || Some(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    let reason = body.get(2).copied().unwrap_or(0);
    Some(match first {
        0x20 => Packet::Connack { present: *body.first()? == 1, reason: *body.get(1)? },
        0x30..=0x3f => Packet::Publish(parse_publish(first, body)?),
        0x40 => Packet::Puback { id: id()?, reason },
        0x50 => Packet::Pubrec { id: id()?, reason },
        0x62 => Packet::Pubrel { id: id()? },
        0x70 => Packet::Pubcomp { id: id()? },
        0x90 => Packet::Suback { reasons: reasons(body)? },
        0xb0 => Packet::Unsuback { reasons: reasons(body)? },
        0xe0 => Packet::Disconnect { reason: body.first().copied().unwrap_or(0) },
        _ => return None,
    })
}

fn parse_publish(first: u8, body: &[u8]) -> Option<Publish> {
    let mut rest = body;
    let qos = first >> 1 & 3;
    let length = rest.split_off(..2)?;
    let topic = rest.split_off(..usize::from(u16::from_be_bytes([length[0], length[1]])))?;
    let id = if qos == 0 { &[0, 0] } else { rest.split_off(..2)? };
    // Less than 128 bytes of properties.
    let properties = *rest.split_off_first()?;
    rest.split_off(..usize::from(properties))?;
    Some(Publish {
        topic: String::from_utf8(topic.to_vec()).ok()?,
        id: u16::from_be_bytes([id[0], id[1]]),
        qos,
        duplicate: first & 8 != 0,
        retain: first & 1 != 0,
        payload: rest.to_vec(),
    })
}

/// What follows a packet identifier and less than 128 bytes of properties.
fn reasons(body: &[u8]) -> Option<Vec<u8>> {
    body.get(3 + usize::from(*body.get(2)?)..).map(<[u8]>::to_vec)
}
