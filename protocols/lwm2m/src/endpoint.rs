//! One UDP source address: the interfaces that a device uses towards the server.
//!
//! ```text
//!   unregistered ─ POST /rd ─▶ opening ─ session opened ─▶ registered ─ DELETE /rd/{id} ─▶ leaving ─ kept ─▶ closed
//!        │ POST /rd/{id}    ──▶  │                            │ ▲  │ lifetime over ──────────▶ closed
//!        │ of another port,      │ refused: 4.01, 4.03        │ │  │ it moved away ──────────▶ closed
//!        │ or before a restart   │                            │ │  │
//!        │ nothing for 60 s      ▼                            └─┘ POST /rd, POST /rd/{id}, POST /dp
//!        ▼                     closed
//!      closed
//! ```

mod keeping;
mod owed;
mod resuming;
mod send;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coap_lite::Packet;
use gateway_model::{
    Adapter, ClientId, Close, Deliveries, Event, Expiry, Open, Opened, Peer, Qos, Reason, Refusal, Reply,
    Request, RetainHandling, Settlement, Sink, Subscription, Tick, Ticket,
};
use protocol_coap::block::{Block, Upload, UploadLimits, Uploads, szx_for};
use protocol_coap::datagram::{Datagram, check_options};
use protocol_coap::exchange::{EXCHANGE_LIFETIME, Exchanges, Origin, Received, Transmission};
use protocol_coap::message::{Code, add_uint, number, with_payload};

use crate::config::Config;
use crate::device::Device;
use crate::endpoint::owed::Owed;
use crate::location::{Location, Locations};
use crate::registration::{Registration, Update};
use crate::registry::{Listed, Pin, Registry};
use crate::translate::State;

/// Replies under this ticket need no reaction.
pub(crate) const IGNORED: Ticket = Ticket(0);
const OPEN: Ticket = Ticket(1);
const SUBSCRIBE: Ticket = Ticket(2);
/// Tickets from here on belong to Sends, and to what is kept.
const NUMBERED_MIN: u64 = 16;
/// How long an address may stay without a registration.
const UNREGISTERED: Duration = Duration::from_secs(60);
/// Answers to one device that may wait for the store; beyond it, 5.03.
pub(crate) const ANSWERS_WAITING_MAX: usize = 16;
/// How long a device is asked to stay away after 4.29 and 5.03, as Max-Age.
const RETRY_AFTER_SECS: u32 = 5;
/// Bodies that one device may have under way at a time: a registration and a Send.
const UPLOADS_MAX: usize = 2;

pub(crate) struct Endpoint {
    registry: Arc<Registry>,
    locations: Locations,
    exchanges: Exchanges,
    /// Bodies on their way in, if there are any.
    uploads: Option<Box<Uploads>>,
    stage: Stage,
    /// What waits for the store, if anything does.
    owed: Option<Box<Owed>>,
    next_ticket: u64,
}

enum Stage {
    Unregistered {
        address: SocketAddr,
        until: Tick,
    },
    Opening(Box<Opening>),
    Registered(Device),
    /// It said goodbye, and is answered when that is durable.
    Leaving(Box<Leaving>),
    Closed,
}

struct Leaving {
    asked: Asked,
    ticket: Ticket,
    address: SocketAddr,
}

/// What waits for the session.
struct Opening {
    asked: Asked,
    registration: Arc<Registration>,
    goal: Goal,
    /// What is to be taken over, if an address has it now.
    pin: Option<Pin>,
}

enum Goal {
    Register,
    /// A device that had another address moves here with the registration at this location.
    Move(Location, Update),
    /// The goodbye of a device that had another address: its session is taken over to be ended.
    Deregister(Location),
    /// A Send by a device that registered before a restart: its Content-Format and its body.
    Send(Location, (Option<u32>, Bytes)),
}

impl Goal {
    /// Of the registration that it takes over.
    fn location(&self) -> Option<Location> {
        match self {
            Self::Register => None,
            Self::Move(location, _) | Self::Deregister(location) | Self::Send(location, _) => Some(*location),
        }
    }
}

/// A request's origin and the Block1 option that its answer repeats.
type Asked = (Origin, Option<Block>);

impl Endpoint {
    pub(crate) fn new(
        now: Instant,
        transmission: Arc<Transmission>,
        registry: Arc<Registry>,
        peer: &Peer,
        seed: u64,
    ) -> Self {
        Self {
            registry,
            exchanges: Exchanges::new(transmission, seed),
            uploads: None,
            locations: Locations::new(seed),
            stage: Stage::Unregistered { address: peer.address, until: (now + UNREGISTERED).into() },
            owed: None,
            next_ticket: NUMBERED_MIN,
        }
    }

    /// Where the device is.
    fn address(&self) -> Option<SocketAddr> {
        match &self.stage {
            Stage::Unregistered { address, .. } => Some(*address),
            Stage::Opening(opening) => Some(opening.registration.address),
            Stage::Registered(device) => Some(device.registration().address),
            Stage::Leaving(leaving) => Some(leaving.address),
            Stage::Closed => None,
        }
    }

    fn config(&self) -> &Config {
        &self.registry.config
    }

    fn uploads(&mut self) -> &mut Uploads {
        let config = &self.registry.config;
        let limits = || UploadLimits {
            bytes_max: config.body_bytes_max,
            count_max: UPLOADS_MAX,
            lifetime: EXCHANGE_LIFETIME,
            szx_max: szx_for(config.block_bytes),
        };
        self.uploads.get_or_insert_with(|| Box::new(Uploads::new(limits())))
    }

    fn next_ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket - 1)
    }

    fn device(&mut self) -> Option<&mut Device> {
        match &mut self.stage {
            Stage::Registered(device) => Some(device),
            _ => None,
        }
    }

    fn request(&mut self, now: Instant, request: &Datagram<'_>, out: &mut dyn Sink) {
        let origin = Origin::of(request);
        if let Err(defect) = check_options(request, |_| true) {
            return self.refuse(now, (origin, None), defect.code(), &defect.to_string(), out);
        }
        let (block, body) = match Block::of(request, number::BLOCK1) {
            Ok(None) => (None, Bytes::copy_from_slice(request.payload)),
            Ok(Some(block)) => match self.uploads().receive(now, request, block) {
                Upload::Complete(body, block) => (Some(block), body),
                other => return self.block(now, origin, other, out),
            },
            Err(error) => {
                return self.refuse(now, (origin, None), Code::BAD_REQUEST, &error.to_string(), out);
            }
        };
        let asked = (origin, block);
        if self.owed.as_ref().map_or(0, |owed| owed.len()) >= ANSWERS_WAITING_MAX {
            let text = "too many requests wait for the store";
            return self.refuse(now, asked, Code::SERVICE_UNAVAILABLE, text, out);
        }
        // A path of more than two segments is none of ours.
        let mut segments = request.texts(number::URI_PATH);
        let path = [segments.next(), segments.next(), segments.next()];
        match (request.code, path) {
            (Code::POST, [Some("rd"), None, None]) => self.register(now, asked, request, &body, out),
            (Code::POST, [Some("rd"), Some(id), None]) => self.update(now, asked, id, request, &body, out),
            (Code::DELETE, [Some("rd"), Some(id), None]) => self.deregister(now, asked, id, out),
            (Code::POST, [Some("dp"), None, None]) => {
                let content_format = request.uint(number::CONTENT_FORMAT, 2);
                self.receive_send(now, asked, content_format, &body, out);
            }
            (_, [Some("rd"), _, None] | [Some("dp"), None, None]) => {
                self.refuse(
                    now,
                    asked,
                    Code::METHOD_NOT_ALLOWED,
                    "use POST, or DELETE of a registration",
                    out,
                );
            }
            _ => self.refuse(now, asked, Code::NOT_FOUND, "this is /rd and /dp of LwM2M", out),
        }
    }

    /// An upload that is not complete.
    fn block(&mut self, now: Instant, origin: Origin, upload: Upload, out: &mut dyn Sink) {
        let asked = (origin, None);
        match upload {
            Upload::Continue(block) => self.answer(now, (origin, Some(block)), Code::CONTINUE, out),
            Upload::TooLarge(size) => {
                let mut packet = with_payload(Code::REQUEST_ENTITY_TOO_LARGE, "above body_bytes_max");
                add_uint(&mut packet, number::SIZE1, u32::try_from(size).unwrap_or(u32::MAX));
                self.exchanges.reply(now, origin, &mut packet, out.wire());
            }
            Upload::Incomplete => {
                self.refuse(now, asked, Code::REQUEST_ENTITY_INCOMPLETE, "a block is missing", out);
            }
            Upload::Malformed | Upload::Complete(..) => {
                self.refuse(now, asked, Code::BAD_REQUEST, "a block is not full", out);
            }
        }
    }

    /// OMA LwM2M Core 1.1 section 6.2.1.
    fn register(
        &mut self,
        now: Instant,
        asked: Asked,
        request: &Datagram<'_>,
        body: &[u8],
        out: &mut dyn Sink,
    ) {
        let Some(address) = self.address() else { return };
        let registration = match Registration::parse(request, body, address, self.config()) {
            Ok(registration) => Arc::new(registration),
            Err(error) => return self.refuse(now, asked, error.code(), &error.to_string(), out),
        };
        match &mut self.stage {
            Stage::Registered(device) if device.registration().endpoint() == registration.endpoint() => {
                let listed = self.registry.list(self.locations.next(), registration);
                device.replace(now, listed, &mut self.exchanges, out);
                self.registered(now, asked, out);
            }
            Stage::Registered(_) => self.leave_to_another(out),
            // The session being opened is for one name; another device's turn comes after.
            Stage::Opening(opening) => {
                if opening.registration.endpoint() == registration.endpoint() {
                    **opening = Opening { asked, registration, goal: Goal::Register, pin: None };
                }
            }
            Stage::Unregistered { .. } => self.begin(now, asked, registration, Goal::Register, out),
            // A device that comes back at once finds a new adapter with its retransmission.
            Stage::Leaving(..) | Stage::Closed => {}
        }
    }

    /// Asks for the session; what was asked for is done when it is open.
    fn begin(
        &mut self,
        now: Instant,
        asked: Asked,
        registration: Arc<Registration>,
        goal: Goal,
        out: &mut dyn Sink,
    ) {
        match self.open(&registration) {
            Some(open) => {
                let pin = goal.location().and_then(|location| self.registry.pin(location));
                self.stage = Stage::Opening(Box::new(Opening { asked, registration, goal, pin }));
                out.request(OPEN, Request::Open(Box::new(open)));
            }
            None => self.refuse(now, asked, Code::BAD_REQUEST, "ep makes no client identifier", out),
        }
    }

    /// The session of a device: its command queue outlives its address by one lifetime.
    fn open(&self, registration: &Arc<Registration>) -> Option<Open> {
        let client_id = format!("{}{}", self.config().client_id_prefix, registration.endpoint());
        Some(Open {
            client_id: Some(ClientId::parse(&client_id).ok()?),
            clean_start: false,
            expiry: Expiry::After(registration.lifetime()),
            receive_maximum: 1,
            will: Some(registration.clone()),
            protocol: self.protocol(),
            ..Open::transient()
        })
    }

    fn opened(&mut self, now: Instant, result: Result<Opened, Refusal>, out: &mut dyn Sink) {
        let Stage::Opening(opening) = std::mem::replace(&mut self.stage, Stage::Closed) else { return };
        let Opening { asked, registration, goal, pin: _pin } = *opening;
        if let Err(refusal) = result {
            self.refuse(now, asked, refusal_code(refusal.reason), &refusal.text, out);
            out.close(Close::because(refusal.reason));
            return;
        }
        match goal {
            Goal::Register => {
                let listed = self.registry.list(self.locations.next(), registration);
                self.settle(now, listed, out);
                self.registered(now, asked, out);
            }
            Goal::Move(location, update) => self.moved(now, asked, (location, registration), &update, out),
            Goal::Deregister(location) => {
                self.resumed_by_goodbye(now, asked, (location, registration), out);
            }
            Goal::Send(location, send) => {
                self.resumed_by_send(now, asked, (location, registration), send, out);
            }
        }
    }

    /// The device lives at this address from now on.
    fn settle(&mut self, now: Instant, listed: Listed, out: &mut dyn Sink) {
        let device = Device::new(now, listed);
        if let Ok(filter) = device.topics().commands() {
            // A retained command would be obeyed again at every registration.
            let subscription = Subscription {
                retain_handling: RetainHandling::Never,
                ..Subscription::new(filter, Qos::AtLeastOnce)
            };
            out.request(SUBSCRIBE, Request::Subscribe(vec![subscription]));
        }
        self.stage = Stage::Registered(device);
    }

    /// Says so to everyone.
    fn registered(&mut self, now: Instant, asked: Asked, out: &mut dyn Sink) {
        let Stage::Registered(device) = &mut self.stage else { return };
        device.heard(now);
        device.publish_event("register", out);
        device.publish_status(State::Online, out);
        let location = device.listed.location();
        self.keep(out);
        self.answer_when_kept(now, asked, Some(location), out);
    }

    /// OMA LwM2M Core 1.1 section 6.2.2.
    fn update(
        &mut self,
        now: Instant,
        asked: Asked,
        id: &str,
        request: &Datagram<'_>,
        body: &[u8],
        out: &mut dyn Sink,
    ) {
        let Some(location) = Location::parse(id) else { return self.unknown(now, asked, out) };
        let here = self.device().is_some_and(|device| device.listed.location() == location);
        let elsewhere = if here { None } else { self.find(now, location) };
        if !here && elsewhere.is_none() {
            return self.unknown(now, asked, out);
        }
        let update = match Update::parse(request, body, self.config()) {
            Ok(update) => update,
            Err(error) => return self.refuse(now, asked, error.code(), &error.to_string(), out),
        };
        if let Some(registration) = elsewhere {
            return self.move_here(now, asked, (location, registration), update, out);
        }
        let Stage::Registered(device) = &mut self.stage else { return };
        let changed = device.update(now, &update);
        let was_asleep = device.heard(now);
        device.publish_event("update", out);
        if changed || was_asleep {
            device.publish_status(State::Online, out);
        }
        // An Update that only says "still here" promises nothing new, and writes nothing.
        if changed {
            self.keep(out);
        }
        self.answer_when_kept(now, asked, None, out);
    }

    fn answer(&mut self, now: Instant, (origin, block): Asked, code: Code, out: &mut dyn Sink) {
        match block {
            None => self.exchanges.reply_bare(now, origin, code, out.wire()),
            Some(_) => self.exchanges.reply(now, origin, &mut coded(code, block), out.wire()),
        }
    }

    fn refuse(&mut self, now: Instant, (origin, block): Asked, code: Code, text: &str, out: &mut dyn Sink) {
        let mut packet = coded(code, block);
        if matches!(code, Code::SERVICE_UNAVAILABLE | Code::TOO_MANY_REQUESTS) {
            add_uint(&mut packet, number::MAX_AGE, RETRY_AFTER_SECS);
        }
        packet.payload = text.as_bytes().to_vec();
        self.exchanges.reply(now, origin, &mut packet, out.wire());
    }

    /// What the device could not be asked stays in its queue.
    fn end(&mut self, now: Instant, close: Close, out: &mut dyn Sink) {
        self.forget_answers();
        if let Stage::Registered(mut device) = std::mem::replace(&mut self.stage, Stage::Closed) {
            device.take_back(now, &mut self.exchanges, out);
        }
        out.close(close);
    }

    fn time_passed(&mut self, now: Instant, out: &mut dyn Sink) {
        self.uploads.take_if(|uploads| {
            uploads.expire(now);
            uploads.is_empty()
        });
        while let Some(tag) = self.exchanges.handle_timeout(now, out.wire()) {
            if let Some(device) = self.device() {
                device.fail(tag, "timeout", "the device did not answer", out);
            }
        }
        match &mut self.stage {
            Stage::Unregistered { until, .. } if *until <= now.into() => {
                self.end(now, Close::because(Reason::KeepAliveTimeout), out);
            }
            Stage::Registered(device) if device.is_expired(now) => {
                device.publish_event("expire", out);
                device.publish_status(State::Offline, out);
                self.keep_nothing(out);
                let close = Close { publish_will: false, ..Close::because(Reason::KeepAliveTimeout) };
                self.end(now, close, out);
            }
            Stage::Registered(device) => device.rest(now, out),
            _ => {}
        }
    }

    fn pump(&mut self, now: Instant, out: &mut dyn Sink) {
        let is_answered = self.is_answered();
        if let Stage::Registered(device) = &mut self.stage {
            // A device that is not registered yet, as far as it knows, need not answer requests.
            if is_answered {
                device.pump(now, &mut self.exchanges, out);
            }
            if device.has_observations_to_keep() {
                self.keep(out);
            }
        }
    }
}

impl Adapter for Endpoint {
    fn receive(&mut self, now: Instant, bytes: &[u8], out: &mut dyn Sink) -> usize {
        if matches!(self.stage, Stage::Closed) {
            return bytes.len();
        }
        let received = self.exchanges.receive(now, bytes, out.wire());
        // Requests are looked at first: a DELETE or a new registration says more than being awake.
        if let Received::Request(request) = received {
            self.request(now, &request, out);
        }
        if let Stage::Registered(device) = &mut self.stage {
            match received {
                Received::Response { tag, token, observing, datagram } => {
                    device.respond(now, (tag, token, observing), &datagram, &mut self.exchanges, out);
                }
                Received::Reset(tag) => {
                    device.fail(tag, "reset", "the device does not understand the request", out)
                }
                _ => {}
            }
            if !matches!(received, Received::Handled) && device.heard(now) {
                device.publish_status(State::Online, out);
            }
        }
        self.pump(now, out);
        bytes.len()
    }

    fn handle(&mut self, now: Instant, event: Event, out: &mut dyn Sink) {
        match event {
            Event::Reply(OPEN, Reply::Opened(result)) => self.opened(now, result, out),
            Event::Reply(SUBSCRIBE, Reply::Subscribed(reasons)) => {
                if let (Some(reason), Some(device)) = (reasons.iter().find(|r| r.is_error()), self.device()) {
                    let endpoint = device.registration().endpoint();
                    tracing::warn!(endpoint, %reason, "commands cannot be subscribed: the device gets none");
                }
            }
            Event::Reply(ticket, Reply::Published(reason)) => self.published(now, ticket, reason, out),
            Event::Reply(ticket, Reply::Kept) => self.kept(now, ticket, out),
            Event::Reply(..) => {}
            Event::Timeout => self.time_passed(now, out),
            Event::Evicted(reason) => {
                // After a take-over the new adapter says what state the device is in.
                let publish_will = reason != Reason::SessionTakenOver;
                // An Update may have changed the lifetime since the session was opened.
                let expiry = self.device().map(|device| Expiry::After(device.registration().lifetime()));
                let expiry = expiry.filter(|_| publish_will);
                self.end(now, Close { publish_will, expiry, ..Close::because(reason) }, out);
            }
            Event::Settled(_) => {}
            Event::Closed => {
                self.stage = Stage::Closed;
                self.forget_answers();
            }
        }
        self.pump(now, out);
    }

    fn deliver(&mut self, now: Instant, outbox: &mut dyn Deliveries, out: &mut dyn Sink) {
        if !self.is_answered() {
            return;
        }
        let Stage::Registered(device) = &mut self.stage else { return };
        while device.is_ready() && out.has_room() {
            let Some(outgoing) = outbox.next(now) else { return };
            if outgoing.released {
                if let Some(id) = outgoing.id {
                    out.settle(id, Settlement::Delivered);
                }
                continue;
            }
            device.begin(now, outgoing, &mut self.exchanges, out);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let own = match &self.stage {
            Stage::Unregistered { until, .. } => until.instant(),
            Stage::Registered(device) => device.next_timeout(),
            Stage::Opening(_) | Stage::Leaving(..) => None,
            Stage::Closed => return None,
        };
        let uploads = self.uploads.as_ref().and_then(|uploads| uploads.next_timeout());
        [own, self.exchanges.next_timeout(), uploads].into_iter().flatten().min()
    }

    fn protocol(&self) -> &'static str {
        "lwm2m"
    }
}

fn coded(code: Code, block: Option<Block>) -> Packet {
    let mut packet = protocol_coap::message::with_code(code);
    if let Some(block) = block {
        block.add_to(&mut packet, number::BLOCK1);
    }
    packet
}

/// Why the gateway refused, in CoAP's words.
fn refusal_code(reason: Reason) -> Code {
    match reason {
        Reason::BadUserNameOrPassword | Reason::BadAuthenticationMethod => Code::UNAUTHORIZED,
        Reason::QuotaExceeded
        | Reason::ServerBusy
        | Reason::ServerUnavailable
        | Reason::ServerShuttingDown => Code::SERVICE_UNAVAILABLE,
        Reason::ConnectionRateExceeded | Reason::MessageRateTooHigh => Code::TOO_MANY_REQUESTS,
        Reason::ClientIdentifierNotValid | Reason::TopicNameInvalid => Code::BAD_REQUEST,
        _ => Code::FORBIDDEN,
    }
}
