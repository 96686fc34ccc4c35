//! Packets as a client reads them: strictly, and not with our codec.

use crate::Version;

/// What only a server sends, and what both send.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    Connack {
        session_present: bool,
        reason: u8,
        properties: Vec<Property>,
    },
    Publish(Box<Publish>),
    Acknowledgement(Acknowledgement),
    Suback {
        id: u16,
        reasons: Vec<u8>,
        properties: Vec<Property>,
    },
    /// Before 5.0 it holds no reasons.
    Unsuback {
        id: u16,
        reasons: Vec<u8>,
        properties: Vec<Property>,
    },
    Pingresp,
    Disconnect {
        reason: u8,
        properties: Vec<Property>,
    },
    Auth {
        reason: u8,
        properties: Vec<Property>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    pub duplicate: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: String,
    pub id: u16,
    pub properties: Vec<Property>,
    pub payload: Vec<u8>,
    /// Bytes of the whole packet.
    pub len: usize,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP, by the upper half of its first byte.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledgement {
    pub kind: u8,
    pub id: u16,
    pub reason: u8,
    pub properties: Vec<Property>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    pub identifier: u8,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(u32),
    Text(String),
    Data(Vec<u8>),
    Pair(String, String),
}

impl Packet {
    /// # Panics
    /// If it is not what a server may send.
    pub fn parse(version: Version, first: u8, body: &[u8]) -> Self {
        let mut reader = Reader { rest: body, version };
        let packet = match first {
            0x20 => {
                let flags = reader.byte();
                assert!(flags <= 1, "CONNACK with reserved flags {flags:#04x}");
                let reason = reader.byte();
                Self::Connack { session_present: flags == 1, reason, properties: reader.properties(0x20) }
            }
            0x30..=0x3F => Self::Publish(Box::new(publish(first, &mut reader))),
            0x40 | 0x50 | 0x62 | 0x70 => {
                let id = reader.two();
                let reason = if reader.is_empty() { 0 } else { reader.byte() };
                assert!(reason == 0 || version == Version::V5, "a reason before MQTT 5.0");
                let properties = if reader.is_empty() { Vec::new() } else { reader.properties(first) };
                Self::Acknowledgement(Acknowledgement { kind: first >> 4, id, reason, properties })
            }
            0x90 => {
                let (id, properties) = (reader.two(), reader.properties(first));
                Self::Suback { id, reasons: reader.rest(), properties }
            }
            0xB0 => {
                let (id, properties) = (reader.two(), reader.properties(first));
                let reasons = if version == Version::V5 { reader.rest() } else { Vec::new() };
                Self::Unsuback { id, reasons, properties }
            }
            0xD0 => Self::Pingresp,
            0xE0 | 0xF0 if version == Version::V5 => {
                let reason = if reader.is_empty() { 0 } else { reader.byte() };
                let properties = if reader.is_empty() { Vec::new() } else { reader.properties(first) };
                match first {
                    0xE0 => Self::Disconnect { reason, properties },
                    _ => Self::Auth { reason, properties },
                }
            }
            _ => panic!("no packet of a server: {first:#04x} {body:02x?}"),
        };
        assert!(reader.is_empty(), "{} bytes too many in {packet:?}", reader.rest.len());
        packet
    }

    pub fn properties(&self) -> &[Property] {
        match self {
            Self::Connack { properties, .. }
            | Self::Suback { properties, .. }
            | Self::Unsuback { properties, .. }
            | Self::Disconnect { properties, .. }
            | Self::Auth { properties, .. } => properties,
            Self::Publish(publish) => &publish.properties,
            Self::Acknowledgement(acknowledgement) => &acknowledgement.properties,
            Self::Pingresp => &[],
        }
    }

    /// The value of a property that is a number.
    pub fn number(&self, identifier: u8) -> Option<u32> {
        match self.value(identifier)? {
            Value::Number(number) => Some(*number),
            other => panic!("{identifier:#04x} is {other:?}"),
        }
    }

    pub fn value(&self, identifier: u8) -> Option<&Value> {
        self.properties()
            .iter()
            .find(|property| property.identifier == identifier)
            .map(|property| &property.value)
    }

    pub fn has(&self, identifier: u8) -> bool {
        self.value(identifier).is_some()
    }

    #[track_caller]
    pub fn publish(&self) -> &Publish {
        match self {
            Self::Publish(publish) => publish,
            other => panic!("no PUBLISH: {other:?}"),
        }
    }

    #[track_caller]
    pub fn acknowledgement(&self) -> &Acknowledgement {
        match self {
            Self::Acknowledgement(acknowledgement) => acknowledgement,
            other => panic!("no acknowledgement: {other:?}"),
        }
    }
}

impl Publish {
    pub fn text(&self) -> String {
        String::from_utf8(self.payload.clone()).expect("a text")
    }

    /// The values of a property that may come several times.
    pub fn all(&self, identifier: u8) -> Vec<Value> {
        let wanted = self.properties.iter().filter(|property| property.identifier == identifier);
        wanted.map(|property| property.value.clone()).collect()
    }
}

fn publish(first: u8, reader: &mut Reader<'_>) -> Publish {
    let len = reader.rest.len();
    let qos = first >> 1 & 3;
    assert!(qos < 3, "QoS 3");
    let topic = reader.text();
    let id = if qos > 0 { reader.two() } else { 0 };
    assert!(qos == 0 || id > 0, "packet identifier 0");
    let properties = reader.properties(0x30);
    let payload = reader.rest();
    Publish {
        duplicate: first & 0x08 != 0,
        qos,
        retain: first & 0x01 != 0,
        topic,
        id,
        properties,
        payload,
        len: 1 + crate::wire::variable(len as u32).len() + len,
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    version: Version,
}

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        assert!(count <= self.rest.len(), "{count} bytes missing");
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        taken
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest).to_vec()
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn two(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two"))
    }

    fn four(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("four"))
    }

    fn data(&mut self) -> Vec<u8> {
        let len = self.two();
        self.take(len.into()).to_vec()
    }

    fn text(&mut self) -> String {
        let text = String::from_utf8(self.data()).expect("UTF-8");
        assert!(!text.contains('\0'), "U+0000");
        text
    }

    fn variable(&mut self) -> u32 {
        let mut value = 0;
        for place in 0..4 {
            let byte = self.byte();
            value |= u32::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                assert!(place == 0 || byte != 0, "padded");
                return value;
            }
        }
        panic!("five bytes of a variable byte integer");
    }

    /// `first`: of the packet they are in.
    fn properties(&mut self, first: u8) -> Vec<Property> {
        if self.version != Version::V5 {
            return Vec::new();
        }
        let len = self.variable() as usize;
        let mut inside = Reader { rest: self.take(len), version: Version::V5 };
        let mut properties: Vec<Property> = Vec::new();
        while !inside.is_empty() {
            let identifier = inside.byte();
            assert!(may_hold(first, identifier), "{identifier:#04x} in {first:#04x}");
            let often = identifier == 0x26 || identifier == 0x0B;
            let again = properties.iter().any(|property| property.identifier == identifier);
            assert!(often || !again, "{identifier:#04x} twice");
            properties.push(Property { identifier, value: value(identifier, &mut inside) });
        }
        properties
    }
}

fn value(identifier: u8, reader: &mut Reader<'_>) -> Value {
    match identifier {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => {
            let value = reader.byte();
            assert!(value <= 1, "{identifier:#04x} is {value}");
            Value::Number(value.into())
        }
        0x13 | 0x21..=0x23 => Value::Number(reader.two().into()),
        0x02 | 0x11 | 0x18 | 0x27 => Value::Number(reader.four()),
        0x0B => Value::Number(reader.variable()),
        0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Value::Text(reader.text()),
        0x09 | 0x16 => Value::Data(reader.data()),
        0x26 => Value::Pair(reader.text(), reader.text()),
        _ => panic!("no property {identifier:#04x}"),
    }
}

/// Which properties a server may put where (MQTT 5.0 table 2-4; sections 3.2.2.3, 3.3.2.3,
/// 3.14.2.2).
fn may_hold(first: u8, identifier: u8) -> bool {
    let allowed: &[u8] = match first {
        0x20 => &[
            0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
            0x2A,
        ],
        0x30 => &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26],
        // MQTT-3.14.2-2: no session expiry.
        0xE0 => &[0x1C, 0x1F, 0x26],
        0xF0 => &[0x15, 0x16, 0x1F, 0x26],
        _ => &[0x1F, 0x26],
    };
    allowed.contains(&identifier)
}
