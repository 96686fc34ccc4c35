use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_model::{Adapter, Close, Deliveries, Event, Reason, Reply, Sink, Ticket, Topic};

use crate::acknowledgements::{Acknowledgements, Received};
use crate::alias::Aliases;
use crate::codec::{
    Auth, Disconnect, Header, PacketType, Properties, Property, PropertyBuffer, Version, is_disconnect_reason,
};
use crate::config::{Config, FRAME_LEN_MAX, session_expiry};
use crate::handshake::Asked;
use crate::subscribing::PartlyInvalid;
use crate::violation::Violation;

/// One client's connection.
///
/// ```text
///   Connecting ──CONNECT──▶ Opening ──Reply::Opened(Ok)──▶ Open
///       │                      │ Err: CONNACK                │ DISCONNECT, violation,
///       │ timeout, not MQTT    ▼                             ▼ eviction, keep-alive
///       └──────────────────▶ Closed ◀────────────────────────┘
/// ```
///
/// Small, because there are many: what only some clients need is boxed.
pub(crate) struct Connection {
    pub(crate) config: Arc<Config>,
    pub(crate) stage: Stage,
    /// The last topic published to. A publisher that repeats it costs no look-up.
    pub(crate) last_topic: Option<Topic>,
    /// When the last packet came; before the first one, when the connection was made.
    pub(crate) last_receive: Instant,
    pub(crate) inflow: Option<Box<Inflow>>,
    /// Silence after which the client is gone, in milliseconds; 0: never.
    pub(crate) silence_millis_max: u32,
    /// The largest packet the client takes, in bytes.
    pub(crate) frame_len_max: u32,
    /// Numbers the requests, so that a packet identifier used twice confuses no reply.
    pub(crate) requests: u32,
    /// A SUBSCRIBE or UNSUBSCRIBE is not answered yet.
    pub(crate) reply_is_due: bool,
    pub(crate) version: Version,
    /// Reason strings are welcome (MQTT 5.0 section 3.1.2.11.7).
    pub(crate) problem_information: bool,
    /// CONNECT asked for no expiry, so DISCONNECT may not either (MQTT 5.0 section 3.14.2.2.2).
    pub(crate) expires_at_once: bool,
}

pub(crate) enum Stage {
    Connecting,
    /// The session is being opened; nothing is consumed meanwhile.
    Opening(Box<Asked>),
    Open,
    Closed,
}

/// What a client needs that publishes above QoS 0, uses topic aliases or subscribes to nonsense.
#[derive(Default)]
pub(crate) struct Inflow {
    pub(crate) acknowledgements: Acknowledgements,
    pub(crate) received: Received,
    pub(crate) aliases: Aliases,
    pub(crate) partly_invalid: Vec<PartlyInvalid>,
}

/// What a ticket is about: its upper byte. The rest is a number of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Open = 0,
    /// A publish at QoS 0: whatever the answer, nothing follows.
    Unacknowledged = 1,
    /// A publish above; the number is that of its acknowledgement.
    Acknowledged = 2,
    /// SUBSCRIBE or UNSUBSCRIBE; the number ends with the packet identifier.
    Request = 3,
}

impl Kind {
    pub(crate) fn ticket(self, number: u64) -> Ticket {
        Ticket((self as u64) << 56 | number)
    }

    /// The number in a ticket of this kind.
    pub(crate) fn number(self, ticket: Ticket) -> Option<u64> {
        (ticket.0 >> 56 == self as u64).then_some(ticket.0 & (u64::MAX >> 8))
    }
}

impl Connection {
    pub(crate) fn new(now: Instant, config: Arc<Config>) -> Self {
        Self {
            config,
            stage: Stage::Connecting,
            last_topic: None,
            last_receive: now,
            inflow: None,
            silence_millis_max: 0,
            frame_len_max: FRAME_LEN_MAX,
            requests: 0,
            reply_is_due: false,
            version: Version::V311,
            problem_information: true,
            expires_at_once: true,
        }
    }

    pub(crate) fn inflow(&mut self) -> &mut Inflow {
        self.inflow.get_or_insert_default()
    }

    /// Cuts the next packet off `bytes`; `None` if it is not complete yet.
    #[inline]
    fn next_frame<'a>(&self, bytes: &'a [u8]) -> Result<Option<(Header, &'a [u8])>, Violation> {
        let Some(header) = Header::parse(bytes)? else {
            return Ok(None);
        };
        let max = match self.stage {
            Stage::Connecting => self.config.connect_bytes_max as usize,
            _ => self.config.frame_len_max(),
        };
        if header.frame_len() > max {
            return Err(Violation::new(Reason::PacketTooLarge, "packet is larger than allowed"));
        }
        if self.version == Version::V5 && header.is_padded() {
            return Err(Violation::new(Reason::MalformedPacket, "remaining length is padded"));
        }
        Ok(bytes.get(header.header_len..header.frame_len()).map(|body| (header, body)))
    }

    /// One packet of an open session.
    #[inline]
    fn packet(&mut self, first: u8, body: &[u8], out: &mut dyn Sink) -> Result<(), Violation> {
        let packet_type = PacketType::of(self.version, first)?;
        match packet_type {
            PacketType::Publish => self.publish(first, body, out),
            PacketType::Puback | PacketType::Pubrec | PacketType::Pubcomp => {
                self.acknowledged(packet_type, body, out)
            }
            PacketType::Pubrel => self.released(body, out),
            PacketType::Subscribe => self.subscribe(body, out),
            PacketType::Unsubscribe => self.unsubscribe(body, out),
            PacketType::Pingreq if body.is_empty() => {
                out.wire().extend(&[PacketType::Pingresp.first_byte(), 0]);
                Ok(())
            }
            PacketType::Pingreq => Err(Violation::new(Reason::MalformedPacket, "PINGREQ with a body")),
            PacketType::Disconnect => self.disconnect(body, out),
            PacketType::Auth => {
                Auth::decode(body)?;
                Err(Violation::protocol("AUTH without an authentication method"))
            }
            PacketType::Connect => Err(Violation::protocol("second CONNECT")), // MQTT-3.1.0-2
            PacketType::Connack | PacketType::Suback | PacketType::Unsuback | PacketType::Pingresp => {
                Err(Violation::protocol("packet that only a server sends"))
            }
        }
    }

    /// The client says goodbye (MQTT 5.0 section 3.14).
    fn disconnect(&mut self, body: &[u8], out: &mut dyn Sink) -> Result<(), Violation> {
        let packet = Disconnect::decode(self.version, body)?;
        let mut expiry = None;
        for property in packet.properties.iter() {
            match property {
                Property::SessionExpirySecs(secs) if secs > 0 && self.expires_at_once => {
                    return Err(Violation::protocol("session expiry raised from 0"));
                }
                Property::SessionExpirySecs(secs) => expiry = Some(session_expiry(secs)),
                _ => {}
            }
        }
        // MQTT-3.14.4-3: only a goodbye with 0x00 takes the will back.
        let publish_will = packet.reason != Reason::Success;
        self.close(Close { reason: packet.reason, publish_will, expiry }, out);
        Ok(())
    }

    /// Ends an open connection, saying why if the version can.
    pub(crate) fn dismiss(&mut self, reason: Reason, text: &str, out: &mut dyn Sink) {
        if self.version == Version::V5 {
            let legal = if is_disconnect_reason(reason) { reason } else { Reason::UnspecifiedError };
            let mut properties = PropertyBuffer::default();
            // MQTT-3.14.2-3: not if it makes the packet too large; 16 bytes are more than the rest.
            if self.problem_information && !text.is_empty() && text.len() + 16 <= self.frame_len_max as usize
            {
                properties.push(Property::ReasonString(text));
            }
            let properties: Properties<'_> = properties.as_properties();
            Disconnect { reason: legal, properties }.encode(self.version, out.wire().as_mut_vec());
        }
        self.close(Close::because(reason), out);
    }

    pub(crate) fn close(&mut self, close: Close, out: &mut dyn Sink) {
        self.stage = Stage::Closed;
        self.inflow = None;
        out.close(close);
    }

    pub(crate) fn fail(&mut self, violation: Violation, out: &mut dyn Sink) {
        tracing::debug!(reason = %violation.reason, what = violation.text, "client dismissed");
        match self.stage {
            // Before a CONNECT there is nobody to talk to.
            Stage::Connecting => self.close(Close::because(violation.reason), out),
            _ => self.dismiss(violation.reason, violation.text, out),
        }
    }

    fn evicted(&mut self, reason: Reason, out: &mut dyn Sink) {
        match self.stage {
            Stage::Open => self.dismiss(reason, "", out),
            Stage::Opening(_) => self.refuse(reason, "", out),
            Stage::Connecting | Stage::Closed => self.close(Close::because(reason), out),
        }
    }

    fn timed_out(&mut self, now: Instant, out: &mut dyn Sink) {
        if self.next_timeout().is_none_or(|at| now < at) {
            return;
        }
        match self.stage {
            // MQTT-3.1.2-22 (5.0), MQTT-3.1.2-24 (3.1.1).
            Stage::Open => self.dismiss(Reason::KeepAliveTimeout, "", out),
            _ => self.close(Close::because(Reason::KeepAliveTimeout), out),
        }
    }

    /// Whether packets are taken now. Not while a SUBSCRIBE or UNSUBSCRIBE waits for its reply: what
    /// follows it, a DISCONNECT even, must find it answered (MQTT-3.8.4-1). A client that MQTT gives no Receive Maximum is held back
    /// here while too many of its publishes wait for their acknowledgement.
    #[inline]
    fn takes_packets(&self) -> bool {
        match self.stage {
            Stage::Connecting => true,
            Stage::Open if self.reply_is_due => false,
            Stage::Open => self.inflow.as_ref().is_none_or(|inflow| {
                self.version == Version::V5
                    || inflow.acknowledgements.len() < usize::from(self.config.receive_maximum.get())
            }),
            Stage::Opening(_) | Stage::Closed => false,
        }
    }
}

impl Adapter for Connection {
    fn receive(&mut self, now: Instant, bytes: &[u8], out: &mut dyn Sink) -> usize {
        let mut consumed = 0;
        while self.takes_packets() {
            let rest = bytes.get(consumed..).unwrap_or_default();
            let connecting = matches!(self.stage, Stage::Connecting);
            let result = match self.next_frame(rest) {
                // What does not begin as a CONNECT need not arrive in full (MQTT-3.1.0-1).
                _ if connecting && rest.first().is_some_and(|first| *first != 0x10) => {
                    Err(Violation::protocol("first packet is not CONNECT"))
                }
                Ok(None) => break,
                Ok(Some((header, body))) => {
                    consumed += header.frame_len();
                    if connecting {
                        self.connect(body, header.is_padded(), out);
                        Ok(())
                    } else {
                        self.packet(header.first, body, out)
                    }
                }
                Err(violation) => Err(violation),
            };
            if let Err(violation) = result {
                self.fail(violation, out);
            }
        }
        if consumed > 0 {
            self.last_receive = now;
        }
        if matches!(self.stage, Stage::Closed) { bytes.len() } else { consumed }
    }

    fn handle(&mut self, now: Instant, event: Event, out: &mut dyn Sink) {
        match event {
            _ if matches!(self.stage, Stage::Closed) => {}
            Event::Reply(_, Reply::Opened(result)) => self.opened(now, result, out),
            Event::Reply(ticket, Reply::Published(reason)) => self.published(ticket, reason, out),
            Event::Reply(ticket, Reply::Subscribed(reasons)) => self.subscribed(ticket, reasons, out),
            Event::Reply(ticket, Reply::Unsubscribed(reasons)) => self.unsubscribed(ticket, reasons, out),
            // Never asked for: MQTT gets retained messages through its subscriptions.
            Event::Reply(_, Reply::Retained(_) | Reply::Challenge(_) | Reply::Reauthenticated(_)) => {}
            Event::Timeout => self.timed_out(now, out),
            Event::Evicted(reason) => self.evicted(reason, out),
            Event::Closed => self.stage = Stage::Closed,
        }
    }

    fn deliver(&mut self, now: Instant, outbox: &mut dyn Deliveries, out: &mut dyn Sink) {
        if !matches!(self.stage, Stage::Open) {
            return;
        }
        while out.has_room() {
            let Some(outgoing) = outbox.next(now) else { break };
            self.send(now, &outgoing, outbox, out);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Connecting => self.last_receive.checked_add(self.config.connect_timeout()?),
            Stage::Open if self.silence_millis_max > 0 => {
                self.last_receive.checked_add(Duration::from_millis(u64::from(self.silence_millis_max)))
            }
            _ => None,
        }
    }

    fn protocol(&self) -> &'static str {
        if matches!(self.stage, Stage::Connecting) { "mqtt" } else { self.version.name() }
    }
}
