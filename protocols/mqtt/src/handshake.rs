use std::time::Instant;

use bytes::Bytes;
use gateway_model::{
    ClientId, Close, Credentials, Open, Opened, Publish, Reason, Refusal, Request, Sink, Topic, Will,
};

use crate::acknowledgements::Received;
use crate::codec::{
    Connack, Connect, LastWill, Properties, Property, PropertyBuffer, Version, is_connack_reason,
};
use crate::config::{FRAME_LEN_MAX, expiry_secs, session_expiry};
use crate::connection::{Connection, Kind, Stage};
use crate::translate;
use crate::violation::Violation;

/// What a CONNECT asked for that its CONNACK has to answer.
pub(crate) struct Asked {
    unnamed: bool,
    keep_alive_secs: u16,
    expiry_secs: u32,
}

/// The properties of a CONNECT, with their defaults (MQTT 5.0 section 3.1.2.11).
struct ConnectProperties {
    expiry_secs: u32,
    receive_maximum: u16,
    frame_len_max: u32,
    problem_information: bool,
    enhanced_authentication: bool,
}

impl ConnectProperties {
    fn read(properties: Properties<'_>) -> Self {
        let mut read = Self {
            expiry_secs: 0,
            receive_maximum: u16::MAX,
            frame_len_max: FRAME_LEN_MAX,
            problem_information: true,
            enhanced_authentication: false,
        };
        for property in properties.iter() {
            match property {
                Property::SessionExpirySecs(secs) => read.expiry_secs = secs,
                Property::ReceiveMaximum(maximum) => read.receive_maximum = maximum,
                Property::MaximumPacketBytes(maximum) => read.frame_len_max = maximum.min(FRAME_LEN_MAX),
                Property::RequestProblemInformation(wanted) => read.problem_information = wanted,
                Property::AuthenticationMethod(_) => read.enhanced_authentication = true,
                _ => {}
            }
        }
        read
    }
}

impl Connection {
    /// The first packet, which is a CONNECT by its first byte.
    pub(crate) fn connect(&mut self, body: &[u8], is_padded: bool, out: &mut dyn Sink) {
        let packet = match Connect::decode(body) {
            Ok(packet) => packet,
            Err(failed) => {
                let Some(version) = failed.version else {
                    return self.close(Close::because(failed.error.reason()), out);
                };
                self.version = version;
                let violation = match failed.unsupported_level {
                    true => Violation::new(Reason::UnsupportedProtocolVersion, failed.error.text()),
                    false => failed.error.into(),
                };
                return self.refuse(violation.reason, violation.text, out);
            }
        };
        self.version = packet.version;
        let properties = ConnectProperties::read(packet.properties);
        self.problem_information = properties.problem_information;
        self.frame_len_max = properties.frame_len_max;
        self.expires_at_once = properties.expiry_secs == 0;
        if is_padded && packet.version == Version::V5 {
            return self.refuse(Reason::MalformedPacket, "remaining length is padded", out);
        }
        match self.open(&packet, &properties) {
            Ok(open) => {
                self.stage = Stage::Opening(Box::new(Asked {
                    unnamed: open.client_id.is_none(),
                    keep_alive_secs: packet.keep_alive_secs,
                    expiry_secs: properties.expiry_secs,
                }));
                out.request(Kind::Open.ticket(0), Request::Open(Box::new(open)));
            }
            Err(violation) => self.refuse(violation.reason, violation.text, out),
        }
    }

    fn open(&self, packet: &Connect<'_>, properties: &ConnectProperties) -> Result<Open, Violation> {
        if properties.enhanced_authentication {
            return Err(Violation::new(Reason::BadAuthenticationMethod, "no such authentication method"));
        }
        let expiry = match packet.version {
            Version::V5 => session_expiry(properties.expiry_secs),
            _ => self.config.session_expiry_before_v5(packet.clean_start),
        };
        Ok(Open {
            client_id: client_id(packet)?,
            credentials: Credentials {
                username: packet.username.map(Into::into),
                password: packet.password.map(Bytes::copy_from_slice),
            },
            authentication: None,
            clean_start: packet.clean_start,
            expiry,
            receive_maximum: properties.receive_maximum,
            will: packet.will.as_ref().map(will).transpose()?.map(Box::new),
            protocol: packet.version.name(),
            keep_alive_secs: packet.keep_alive_secs,
        })
    }

    /// The answer to `Request::Open`.
    pub(crate) fn opened(&mut self, now: Instant, result: Result<Opened, Refusal>, out: &mut dyn Sink) {
        let asked = match std::mem::replace(&mut self.stage, Stage::Open) {
            Stage::Opening(asked) => asked,
            unasked => {
                debug_assert!(false, "opened without asking");
                self.stage = unasked;
                return;
            }
        };
        let mut opened = match result {
            Ok(opened) => opened,
            Err(refusal) => return self.refuse(refusal.reason, &refusal.text, out),
        };
        if !opened.held.is_empty() {
            self.inflow().received = Received::resume(std::mem::take(&mut opened.held));
        }
        let keep_alive_secs = match self.version {
            Version::V5 => self.config.keep_alive_secs(asked.keep_alive_secs),
            _ => asked.keep_alive_secs,
        };
        self.silence_millis_max = self.config.silence_millis_max(keep_alive_secs);
        self.last_receive = now;
        let properties = match self.version {
            Version::V5 => self.granted(&asked, &opened, keep_alive_secs),
            _ => PropertyBuffer::default(),
        };
        Connack {
            // MQTT 3.1 section 3.2: the byte is reserved.
            session_present: opened.session_present && self.version != Version::V31,
            reason: Reason::Success,
            properties: properties.as_properties(),
        }
        .encode(self.version, out.wire().as_mut_vec());
    }

    /// What the CONNACK has to say because it is not the default or not what was asked for.
    fn granted(&self, asked: &Asked, opened: &Opened, keep_alive_secs: u16) -> PropertyBuffer {
        let mut properties = PropertyBuffer::default();
        let granted_secs = expiry_secs(opened.expiry);
        if granted_secs != asked.expiry_secs {
            properties.push(Property::SessionExpirySecs(granted_secs));
        }
        if self.config.receive_maximum.get() != u16::MAX {
            properties.push(Property::ReceiveMaximum(self.config.receive_maximum.get()));
        }
        if self.config.packet_bytes_max < FRAME_LEN_MAX {
            properties.push(Property::MaximumPacketBytes(self.config.packet_bytes_max));
        }
        if asked.unnamed {
            properties.push(Property::AssignedClientId(opened.client_id.as_str()));
        }
        if self.config.topic_alias_maximum > 0 {
            properties.push(Property::TopicAliasMaximum(self.config.topic_alias_maximum));
        }
        if keep_alive_secs != asked.keep_alive_secs {
            properties.push(Property::ServerKeepAliveSecs(keep_alive_secs));
        }
        properties
    }

    /// Says no to a CONNECT, as far as its version has a word for it, and closes.
    pub(crate) fn refuse(&mut self, reason: Reason, text: &str, out: &mut dyn Sink) {
        tracing::debug!(%reason, text, "connection refused");
        let answer = match self.version {
            Version::V5 if is_connack_reason(reason) => Some(reason),
            Version::V5 => Some(Reason::UnspecifiedError),
            // MQTT-3.1.4-1 (3.1.1): a CONNECT that breaks the rules is not answered.
            _ if matches!(
                reason,
                Reason::MalformedPacket | Reason::ProtocolError | Reason::TopicNameInvalid
            ) =>
            {
                None
            }
            _ => Some(reason),
        };
        if let Some(reason) = answer {
            let mut properties = PropertyBuffer::default();
            let fits = text.len() + 16 <= self.frame_len_max as usize;
            if self.problem_information && fits && !text.is_empty() {
                properties.push(Property::ReasonString(text));
            }
            let properties = properties.as_properties();
            Connack { session_present: false, reason, properties }
                .encode(self.version, out.wire().as_mut_vec());
        }
        self.close(Close::because(reason), out);
    }
}

/// `None` if the gateway is to assign one.
fn client_id(packet: &Connect<'_>) -> Result<Option<ClientId>, Violation> {
    let invalid = |text| Violation::new(Reason::ClientIdentifierNotValid, text);
    match packet.client_id {
        "" => match packet.version {
            Version::V5 => Ok(None),
            Version::V311 if packet.clean_start => Ok(None),
            // MQTT-3.1.3-8 (3.1.1): without a name the session could not be found again.
            Version::V311 => Err(invalid("an unnamed client must start clean")),
            Version::V31 => Err(invalid("MQTT 3.1 demands a client identifier")),
        },
        name if name.starts_with('$') => Err(invalid("client identifier begins with $")),
        name => ClientId::parse(name).map(Some).map_err(|_| invalid("client identifier is not valid")),
    }
}

fn will(will: &LastWill<'_>) -> Result<Will, Violation> {
    let topic = Topic::parse_bytes(will.topic.as_bytes())
        .map_err(|_| Violation::new(Reason::TopicNameInvalid, "topic of the will is not a topic"))?;
    let translated = translate::properties(will.properties, Topic::parse_bytes)?;
    translate::check_payload(translated.properties.as_deref(), will.payload)
        .map_err(|reason| Violation::new(reason, "payload of the will is not UTF-8"))?;
    Ok(Will {
        publish: Publish {
            topic,
            payload: Bytes::copy_from_slice(will.payload),
            qos: will.qos,
            retain: will.retain,
            expiry: translated.expiry,
            properties: translated.properties,
        },
        delay: translated.will_delay,
    })
}
