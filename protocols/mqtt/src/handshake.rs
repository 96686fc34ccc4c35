use std::time::Instant;

use bytes::Bytes;
use gateway_model::{
    Authentication, ClientId, Close, Credentials, Open, Opened, Publish, Reason, Refusal, Request, Sink,
    Topic, Will,
};

use crate::authentication::Exchange;
use crate::codec::{Connack, Connect, LastWill, Properties, Property, PropertyBuffer, Version};
use crate::config::{FRAME_LEN_MAX, expiry_secs, session_expiry};
use crate::connection::{Connection, Kind, Stage};
use crate::received::Received;
use crate::translate;
use crate::violation::Violation;

/// What a CONNECT asked for that its CONNACK has to answer.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    unnamed: bool,
    response_information: bool,
    /// Kept only if the Response Information is asked for.
    username: Option<Box<str>>,
    keep_alive_secs: u16,
    expiry_secs: u32,
}

/// The properties of a CONNECT, with their defaults (MQTT 5.0 section 3.1.2.11).
struct ConnectProperties<'a> {
    expiry_secs: u32,
    receive_maximum: u16,
    frame_len_max: u32,
    topic_alias_maximum: u16,
    problem_information: bool,
    response_information: bool,
    method: Option<&'a str>,
    data: Option<&'a [u8]>,
}

impl<'a> ConnectProperties<'a> {
    fn read(properties: Properties<'a>) -> Self {
        let mut read = Self {
            expiry_secs: 0,
            receive_maximum: u16::MAX,
            frame_len_max: FRAME_LEN_MAX,
            topic_alias_maximum: 0,
            problem_information: true,
            response_information: false,
            method: None,
            data: None,
        };
        for property in properties.iter() {
            match property {
                Property::SessionExpirySecs(secs) => read.expiry_secs = secs,
                Property::ReceiveMaximum(maximum) => read.receive_maximum = maximum,
                Property::MaximumPacketBytes(maximum) => read.frame_len_max = maximum.min(FRAME_LEN_MAX),
                Property::RequestProblemInformation(wanted) => read.problem_information = wanted,
                Property::RequestResponseInformation(wanted) => read.response_information = wanted,
                Property::TopicAliasMaximum(maximum) => read.topic_alias_maximum = maximum,
                Property::AuthenticationMethod(method) => read.method = Some(method),
                Property::AuthenticationData(data) => read.data = Some(data),
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
        self.outgoing_alias_maximum =
            properties.topic_alias_maximum.min(self.config.topic_alias_maximum_outbound);
        if is_padded && packet.version == Version::V5 {
            return self.refuse(Reason::MalformedPacket, "remaining length is padded", out);
        }
        match self.open(&packet, &properties) {
            Ok(open) => {
                // The time since the connection was made counts.
                let deadline = self.connect_deadline();
                let extras = self.extras();
                extras.asked = Some(Box::new(Asked {
                    unnamed: open.client_id.is_none(),
                    response_information: properties.response_information,
                    username: packet.username.filter(|_| properties.response_information).map(Into::into),
                    keep_alive_secs: packet.keep_alive_secs,
                    expiry_secs: properties.expiry_secs,
                }));
                extras.exchange = properties.method.map(|method| Box::new(Exchange::new(method, deadline)));
                self.stage = Stage::Opening;
                out.request(Kind::Open.ticket(0), Request::Open(Box::new(open)));
            }
            Err(violation) => self.refuse(violation.reason, violation.text, out),
        }
    }

    fn open(&self, packet: &Connect<'_>, properties: &ConnectProperties<'_>) -> Result<Open, Violation> {
        if let Some(will) = &packet.will {
            self.check_publish(will.qos, will.retain)?; // MQTT-3.2.2-12 and -13
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
            authentication: properties.method.map(|method| Authentication {
                method: method.into(),
                data: properties.data.map(Bytes::copy_from_slice),
            }),
            clean_start: packet.clean_start,
            expiry,
            receive_maximum: properties.receive_maximum,
            will: packet.will.as_ref().map(will).transpose()?.map(Into::into),
            protocol: packet.version.name(),
            keep_alive_secs: packet.keep_alive_secs,
        })
    }

    /// The answer to `Request::Open`.
    pub(crate) fn opened(&mut self, now: Instant, result: Result<Opened, Refusal>, out: &mut dyn Sink) {
        if !matches!(self.stage, Stage::Opening | Stage::Authenticating) {
            debug_assert!(false, "opened without asking");
            return;
        }
        let mut opened = match result {
            Ok(opened) => opened,
            Err(refusal) => return self.refuse(refusal.reason, &refusal.text, out),
        };
        let extras = self.extras();
        let asked = extras.asked.take().unwrap_or_default();
        extras.received = Received::resume(std::mem::take(&mut opened.held));
        let keep_alive_secs = match self.version {
            Version::V5 => self.config.keep_alive_secs(asked.keep_alive_secs),
            _ => asked.keep_alive_secs,
        };
        self.silence_millis_max = self.config.silence_millis_max(keep_alive_secs);
        self.last_receive = now.into();
        self.stage = Stage::Open;
        let properties = match self.version {
            Version::V5 => self.granted(&asked, &opened, keep_alive_secs),
            _ => PropertyBuffer::default(),
        };
        if let Some(exchange) = &mut self.extras().exchange {
            exchange.rest();
        }
        self.extras.take_if(|extras| extras.is_spare());
        let version = self.version;
        // MQTT 3.1 section 3.2: the byte is reserved.
        let session_present = opened.session_present && version != Version::V31;
        let fits = self.write(properties, "", out, |properties, into| {
            Connack { session_present, reason: Reason::Success, properties }.encode(version, into);
        });
        if !fits {
            // MQTT-3.1.2-24: what the client has to know it cannot be told.
            self.close(Close::because(Reason::PacketTooLarge), out);
        }
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
        self.push_capabilities(&mut properties);
        // MQTT-3.1.2-28.
        if asked.response_information {
            let (client_id, username) = (opened.client_id.as_str(), asked.username.as_deref());
            let information = self.config.response_information_for(client_id, username);
            if let Some(information) = information {
                properties.push(Property::ResponseInformation(&information));
            }
        }
        // MQTT-4.12.0-5.
        if let Some(exchange) = self.extras.as_ref().and_then(|extras| extras.exchange.as_ref()) {
            exchange.push(&mut properties, opened.authentication_data.as_ref());
        }
        properties
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
