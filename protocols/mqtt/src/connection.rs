use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_model::{Adapter, Close, Deliveries, Event, Reason, Reply, Sink, Tick, Ticket, Topic};

use crate::capabilities::refused_flags;
use crate::codec::{Disconnect, Header, PacketType, Property, Version};
use crate::config::{FRAME_LEN_MAX, session_expiry};
use crate::explanation;
use crate::extras::Extras;
use crate::packets::{Run, Shared};
use crate::violation::Violation;

/// One client's connection.
///
/// ```text
///   Connecting ──CONNECT──▶ Opening ──Reply::Opened(Ok)──▶ Open
///       │                    │ ▲ │                           │
///       │ timeout,  Challenge│ │ │Err: CONNACK               │ DISCONNECT, violation,
///       │ not MQTT      AUTH ▼ │AUTH                         │ eviction, keep-alive
///       │           Authenticating                           ▼
///       └──────────────────▶ Closed ◀────────────────────────┘
/// ```
///
/// Small, because there are many: what only some clients need is boxed.
pub(crate) struct Connection {
    pub(crate) config: Arc<Shared>,
    /// The last topic published to. A publisher that repeats it costs no look-up.
    pub(crate) last_topic: Option<Topic>,
    /// When the last packet came; before the first one, when the connection was made.
    pub(crate) last_receive: Tick,
    pub(crate) extras: Option<Box<Extras>>,
    /// Silence after which the client is gone, in milliseconds; 0: never.
    pub(crate) silence_millis_max: u32,
    /// The largest packet the client takes, in bytes.
    pub(crate) frame_len_max: u32,
    /// How many topics may get a number towards the client; 0 for one that did not ask.
    pub(crate) outgoing_alias_maximum: u16,
    pub(crate) stage: Stage,
    pub(crate) version: Version,
    /// Flags of a PUBLISH that are not offered, as far as one bit can tell.
    pub(crate) refused_flags: u8,
    /// A SUBSCRIBE or UNSUBSCRIBE is not answered yet.
    pub(crate) reply_is_due: bool,
    /// Reason strings are welcome (MQTT 5.0 section 3.1.2.11.7).
    pub(crate) problem_information: bool,
    /// CONNECT asked for no expiry, so DISCONNECT may not either (MQTT 5.0 section 3.14.2.2.2).
    pub(crate) expires_at_once: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Connecting,
    /// The session is being opened; nothing is consumed meanwhile.
    Opening,
    /// The same, but the client is to answer a challenge.
    Authenticating,
    Open,
    Closed,
}

/// What a ticket is about: its upper byte. The rest is a number of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Open = 0,
    /// A publish at QoS 0: whatever the answer, nothing follows.
    Unacknowledged = 1,
    /// A publish above, or a release; the number is that of its acknowledgement.
    Acknowledged = 2,
    /// SUBSCRIBE or UNSUBSCRIBE; the number is the packet identifier.
    Request = 3,
    /// Authentication of an open session.
    Authentication = 4,
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
    pub(crate) fn new(now: Instant, config: Arc<Shared>) -> Self {
        Self {
            refused_flags: refused_flags(&config),
            config,
            last_topic: None,
            last_receive: now.into(),
            extras: None,
            silence_millis_max: 0,
            frame_len_max: FRAME_LEN_MAX,
            outgoing_alias_maximum: 0,
            stage: Stage::Connecting,
            version: Version::V311,
            reply_is_due: false,
            problem_information: true,
            expires_at_once: true,
        }
    }

    pub(crate) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// When a connection that has not sent a packet yet has used up its time.
    pub(crate) fn connect_deadline(&self) -> Option<Instant> {
        self.last_receive.checked_add(self.config.connect_timeout()?)?.instant()
    }

    /// Cuts the next packet off `bytes`; `None` if it is not complete yet.
    #[inline]
    fn next_frame<'a>(&self, bytes: &'a [u8]) -> Result<Option<(Header, &'a [u8])>, Violation> {
        let Some(header) = Header::parse(bytes)? else {
            return Ok(None);
        };
        let (max, text) = match self.stage {
            Stage::Open => (self.config.frame_len_max(), "packet is larger than mqtt.packet_bytes_max"),
            _ => (self.config.connect_bytes_max as usize, "packet is larger than mqtt.connect_bytes_max"),
        };
        if header.frame_len() > max {
            return Err(Violation::new(Reason::PacketTooLarge, text));
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
                self.config.packets.sent(PacketType::Pingresp.first_byte(), 1);
                out.wire().extend(&[PacketType::Pingresp.first_byte(), 0]);
                Ok(())
            }
            PacketType::Pingreq => Err(Violation::new(Reason::MalformedPacket, "PINGREQ with a body")),
            PacketType::Disconnect => self.disconnect(body, out),
            PacketType::Auth => self.auth(body, out),
            PacketType::Connect => Err(Violation::protocol("second CONNECT")), // MQTT-3.1.0-2
            PacketType::Connack | PacketType::Suback | PacketType::Unsuback | PacketType::Pingresp => {
                Err(Violation::protocol("packet that only a server sends"))
            }
        }
    }

    /// The client says goodbye (MQTT 5.0 section 3.14).
    fn disconnect(&mut self, body: &[u8], out: &mut dyn Sink) -> Result<(), Violation> {
        let packet = Disconnect::decode(self.version, body)?;
        if !is_said_by_clients(packet.reason) {
            return Err(Violation::protocol("DISCONNECT with a reason that only a server has"));
        }
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

    pub(crate) fn close(&mut self, close: Close, out: &mut dyn Sink) {
        self.stage = Stage::Closed;
        self.extras = None;
        out.close(close);
    }

    pub(crate) fn fail(&mut self, violation: Violation, out: &mut dyn Sink) {
        tracing::debug!(reason = %violation.reason, what = violation.text, "client dismissed");
        match self.stage {
            // Before a CONNECT there is nobody to talk to.
            Stage::Connecting => self.close(Close::because(violation.reason), out),
            // MQTT-3.14.0-1: no DISCONNECT before the CONNACK.
            Stage::Opening | Stage::Authenticating => self.refuse(violation.reason, violation.text, out),
            Stage::Closed => {}
            Stage::Open => self.dismiss(violation.reason, violation.text, out),
        }
    }

    fn evicted(&mut self, reason: Reason, out: &mut dyn Sink) {
        match self.stage {
            Stage::Open => self.dismiss(reason, explanation::of_farewell(reason), out),
            // Its session was not durable yet, and has another connection now: nothing was promised. No
            // CONNACK has a word for that, and DISCONNECT may not come first (MQTT-3.14.0-1).
            Stage::Opening if reason == Reason::SessionTakenOver => self.close(Close::because(reason), out),
            Stage::Opening | Stage::Authenticating => {
                self.refuse(reason, explanation::of_farewell(reason), out)
            }
            Stage::Connecting | Stage::Closed => self.close(Close::because(reason), out),
        }
    }

    fn timed_out(&mut self, now: Instant, out: &mut dyn Sink) {
        if self.next_timeout().is_none_or(|at| now < at) {
            return;
        }
        match self.stage {
            // MQTT-3.1.2-22 (5.0), MQTT-3.1.2-24 (3.1.1).
            Stage::Open => {
                let reason = Reason::KeepAliveTimeout;
                self.dismiss(reason, explanation::of_farewell(reason), out);
            }
            Stage::Authenticating => {
                let text = "authentication took longer than mqtt.connect_timeout_secs";
                self.refuse(Reason::NotAuthorized, text, out);
            }
            _ => self.close(Close::because(Reason::KeepAliveTimeout), out),
        }
    }

    /// Whether packets are taken now. Not while a SUBSCRIBE or UNSUBSCRIBE waits for its reply: what
    /// follows it, a DISCONNECT even, must find it answered (MQTT-3.8.4-1). A client that MQTT gives
    /// no Receive Maximum is held back here while too many of its publishes wait for their
    /// acknowledgement.
    #[inline]
    fn takes_packets(&self) -> bool {
        match self.stage {
            Stage::Connecting | Stage::Authenticating => true,
            Stage::Open if self.reply_is_due => false,
            Stage::Open => self.extras.as_ref().is_none_or(|extras| {
                self.version == Version::V5
                    || extras.acknowledgements.len() < usize::from(self.config.receive_maximum.get())
            }),
            Stage::Opening | Stage::Closed => false,
        }
    }
}

impl Adapter for Connection {
    fn receive(&mut self, now: Instant, bytes: &[u8], out: &mut dyn Sink) -> usize {
        let mut consumed = 0;
        let mut run = Run::default();
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
                    run.count(header.first, &self.config.packets);
                    match self.stage {
                        Stage::Open => self.packet(header.first, body, out),
                        Stage::Connecting => {
                            self.connect(body, header.is_padded(), out);
                            Ok(())
                        }
                        _ => self.authenticating(header.first, body, out),
                    }
                }
                Err(violation) => Err(violation),
            };
            if let Err(violation) = result {
                self.fail(violation, out);
            }
        }
        if consumed > 0 {
            self.last_receive = now.into();
            run.end(&self.config.packets);
        }
        if matches!(self.stage, Stage::Closed) { bytes.len() } else { consumed }
    }

    fn handle(&mut self, now: Instant, event: Event, out: &mut dyn Sink) {
        match event {
            _ if matches!(self.stage, Stage::Closed) => {}
            Event::Reply(_, Reply::Opened(result)) => self.opened(now, result, out),
            Event::Reply(ticket, Reply::Published(reason)) => self.resolved(ticket, reason, out),
            Event::Reply(ticket, Reply::Released) => self.resolved(ticket, Reason::Success, out),
            Event::Reply(ticket, Reply::Subscribed(reasons)) => self.subscribed(ticket, reasons, out),
            Event::Reply(ticket, Reply::Unsubscribed(reasons)) => self.unsubscribed(ticket, reasons, out),
            Event::Reply(_, Reply::Challenge(data)) => self.challenged(now, &data, out),
            Event::Reply(_, Reply::Reauthenticated(result)) => self.reauthenticated(result, out),
            // Never asked for: MQTT gets retained messages through its subscriptions, and the gateway
            // keeps its sessions.
            Event::Reply(_, Reply::Retained(_) | Reply::Kept) => {}
            Event::Settled(id) => self.settled(id, out),
            Event::Timeout => self.timed_out(now, out),
            Event::Evicted(reason) => self.evicted(reason, out),
            Event::Closed => self.stage = Stage::Closed,
        }
    }

    fn deliver(&mut self, now: Instant, outbox: &mut dyn Deliveries, out: &mut dyn Sink) {
        if !matches!(self.stage, Stage::Open) {
            return;
        }
        let mut sent = 0;
        while out.has_room() {
            let Some(outgoing) = outbox.next(now) else { break };
            sent += u64::from(self.send(now, &outgoing, outbox, out));
        }
        self.config.packets.sent(PacketType::Publish.first_byte(), sent);
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Connecting => self.connect_deadline(),
            Stage::Open if self.silence_millis_max > 0 => {
                let silence_max = Duration::from_millis(self.silence_millis_max.into());
                self.last_receive.checked_add(silence_max)?.instant()
            }
            Stage::Authenticating => self.extras.as_ref()?.exchange.as_ref()?.deadline,
            _ => None,
        }
    }

    fn protocol(&self) -> &'static str {
        if matches!(self.stage, Stage::Connecting) { "mqtt" } else { self.version.name() }
    }
}

/// MQTT 5.0 table 3-10, and 0x8C for one that does not trust the gateway (section 2.4).
fn is_said_by_clients(reason: Reason) -> bool {
    matches!(reason.code(), 0x00 | 0x04 | 0x80..=0x83 | 0x8C | 0x90 | 0x93..=0x99)
}
