//! Packets as bytes, for one that sends them: made here and not by our codec, so that a mistake of
//! it is not made twice.

use crate::Version;

pub const PAYLOAD_FORMAT: u8 = 0x01;
pub const MESSAGE_EXPIRY: u8 = 0x02;
pub const CONTENT_TYPE: u8 = 0x03;
pub const RESPONSE_TOPIC: u8 = 0x08;
pub const CORRELATION_DATA: u8 = 0x09;
pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
pub const SESSION_EXPIRY: u8 = 0x11;
pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub const SERVER_KEEP_ALIVE: u8 = 0x13;
pub const AUTHENTICATION_METHOD: u8 = 0x15;
pub const AUTHENTICATION_DATA: u8 = 0x16;
pub const REQUEST_PROBLEM: u8 = 0x17;
pub const WILL_DELAY: u8 = 0x18;
pub const REQUEST_RESPONSE: u8 = 0x19;
pub const RESPONSE_INFORMATION: u8 = 0x1A;
pub const REASON_STRING: u8 = 0x1F;
pub const RECEIVE_MAXIMUM: u8 = 0x21;
pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
pub const TOPIC_ALIAS: u8 = 0x23;
pub const MAXIMUM_QOS: u8 = 0x24;
pub const RETAIN_AVAILABLE: u8 = 0x25;
pub const USER: u8 = 0x26;
pub const MAXIMUM_PACKET: u8 = 0x27;

pub const PINGREQ: &[u8] = &[0xC0, 0];
/// DISCONNECT with reason 0x00, in every version.
pub const GOODBYE: &[u8] = &[0xE0, 0];

/// A packet: its first byte and its body, with the length between them.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], &variable(body.len() as u32)[..], body].concat()
}

/// A Variable Byte Integer (MQTT 5.0 section 1.5.5).
pub fn variable(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value % 128) as u8;
        value /= 128;
        bytes.push(if value > 0 { byte | 0x80 } else { byte });
        if value == 0 {
            return bytes;
        }
    }
}

/// Binary data or text, behind its length.
pub fn sized(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

pub fn byte(identifier: u8, value: u8) -> Vec<u8> {
    vec![identifier, value]
}

pub fn two(identifier: u8, value: u16) -> Vec<u8> {
    [&[identifier][..], &value.to_be_bytes()].concat()
}

pub fn four(identifier: u8, value: u32) -> Vec<u8> {
    [&[identifier][..], &value.to_be_bytes()].concat()
}

pub fn text(identifier: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![identifier], sized(value)].concat()
}

pub fn user(key: &str, value: &str) -> Vec<u8> {
    [vec![USER], sized(key), sized(value)].concat()
}

pub fn subscription_identifier(value: u32) -> Vec<u8> {
    [vec![SUBSCRIPTION_IDENTIFIER], variable(value)].concat()
}

/// The properties of a packet behind their length; MQTT 3.1.1 has none.
fn properties(version: Version, properties: &[u8]) -> Vec<u8> {
    match version {
        Version::V5 => [&variable(properties.len() as u32)[..], properties].concat(),
        _ => Vec::new(),
    }
}

/// A CONNECT to be.
#[derive(Clone)]
pub struct Connect {
    pub version: Version,
    pub clean: bool,
    pub keep_alive_secs: u16,
    pub properties: Vec<u8>,
    pub client_id: String,
    pub will: Option<Will>,
    pub username: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
}

#[derive(Clone)]
pub struct Will {
    pub topic: Vec<u8>,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Vec<u8>,
}

impl Connect {
    /// A clean one without a keep-alive.
    pub fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            clean: true,
            keep_alive_secs: 0,
            properties: Vec::new(),
            client_id: client_id.into(),
            will: None,
            username: None,
            password: None,
        }
    }

    /// Takes an earlier session up, and leaves one behind that is kept for an hour or more.
    pub fn resuming(mut self) -> Self {
        self.clean = false;
        match self.version {
            Version::V5 => self.with(four(SESSION_EXPIRY, 3600)),
            _ => self,
        }
    }

    pub fn keep_alive(mut self, secs: u16) -> Self {
        self.keep_alive_secs = secs;
        self
    }

    /// With a property more; MQTT 5.0 only.
    pub fn with(mut self, property: Vec<u8>) -> Self {
        self.properties.extend(property);
        self
    }

    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    pub fn login(mut self, username: &str, password: &str) -> Self {
        self.username = Some(username.into());
        self.password = Some(password.into());
        self
    }

    pub fn flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| 0x04 | will.qos << 3 | u8::from(will.retain) << 5);
        u8::from(self.username.is_some()) << 7
            | u8::from(self.password.is_some()) << 6
            | will
            | u8::from(self.clean) << 1
    }

    pub fn payload(&self) -> Vec<u8> {
        let mut payload = sized(&self.client_id);
        if let Some(will) = &self.will {
            payload.extend(properties(self.version, &will.properties));
            payload.extend(sized(&will.topic));
            payload.extend(sized(&will.payload));
        }
        self.username.iter().chain(&self.password).for_each(|field| payload.extend(sized(field)));
        payload
    }

    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(self.flags(), &self.payload())
    }

    /// With flags and a payload that need not fit each other.
    pub fn encode_with(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut body = sized(self.version.protocol_name());
        body.extend([self.version.level(), flags]);
        body.extend(self.keep_alive_secs.to_be_bytes());
        body.extend(properties(self.version, &self.properties));
        body.extend(payload);
        packet(0x10, &body)
    }
}

impl Will {
    pub fn new(topic: &str, payload: &str) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos: 0, retain: false, properties: Vec::new() }
    }

    pub fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    pub fn with(mut self, property: Vec<u8>) -> Self {
        self.properties.extend(property);
        self
    }
}

/// A PUBLISH to be.
#[derive(Clone)]
pub struct Publish {
    pub version: Version,
    pub flags: u8,
    pub topic: Vec<u8>,
    pub id: Option<u16>,
    pub properties: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Publish {
    /// At QoS 0.
    pub fn new(version: Version, topic: &str, payload: impl AsRef<[u8]>) -> Self {
        Self {
            version,
            flags: 0,
            topic: topic.into(),
            id: None,
            properties: Vec::new(),
            payload: payload.as_ref().to_vec(),
        }
    }

    /// At QoS 1 or 2.
    pub fn qos(mut self, qos: u8, id: u16) -> Self {
        self.flags |= qos << 1;
        self.id = Some(id);
        self
    }

    /// At any QoS; the identifier counts above 0.
    pub fn at(self, qos: u8, id: u16) -> Self {
        if qos == 0 { self } else { self.qos(qos, id) }
    }

    pub fn retained(mut self) -> Self {
        self.flags |= 0x01;
        self
    }

    pub fn again(mut self) -> Self {
        self.flags |= 0x08;
        self
    }

    pub fn with(mut self, property: Vec<u8>) -> Self {
        self.properties.extend(property);
        self
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut body = sized(&self.topic);
        body.extend(self.id.iter().flat_map(|id| id.to_be_bytes()));
        body.extend(properties(self.version, &self.properties));
        body.extend(&self.payload);
        packet(0x30 | self.flags, &body)
    }
}

/// SUBSCRIBE: filters with their options.
pub fn subscribe(version: Version, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    subscribe_with(version, id, &[], filters)
}

pub fn subscribe_with(version: Version, id: u16, with: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(properties(version, with));
    for (filter, options) in filters {
        body.extend(sized(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

pub fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(properties(version, &[]));
    filters.iter().for_each(|filter| body.extend(sized(filter)));
    packet(0xA2, &body)
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

/// PUBACK, PUBREC, PUBREL or PUBCOMP of MQTT 5.0 with a reason and properties.
pub fn acknowledgement(first: u8, id: u16, reason: u8, with: &[u8]) -> Vec<u8> {
    packet(first, &[&id.to_be_bytes()[..], &[reason], &properties(Version::V5, with)].concat())
}

/// DISCONNECT of MQTT 5.0.
pub fn disconnect(reason: u8, with: &[u8]) -> Vec<u8> {
    packet(0xE0, &[&[reason][..], &properties(Version::V5, with)].concat())
}

pub fn auth(reason: u8, with: &[u8]) -> Vec<u8> {
    packet(0xF0, &[&[reason][..], &properties(Version::V5, with)].concat())
}
