//! The message layer of RFC 7252 section 4 for one peer: message IDs, deduplication,
//! retransmission, NSTART, and the matching of acknowledgements, resets and responses.
//!
//! ```text
//!  receive ─▶ malformed CON, ping ──▶ RST                                  ─▶ Handled
//!          ─▶ CON/NON seen before ──▶ the same reply again                 ─▶ Handled
//!          ─▶ CON/NON request     ──▶ remembered                           ─▶ Request ─▶ reply
//!          ─▶ response, known token ▶ ACK if CON                           ─▶ Response
//!          ─▶ response, unknown   ──▶ RST (ends a forgotten observation)   ─▶ Handled
//!          ─▶ ACK / RST of ours   ──▶ retransmission stops, next is sent   ─▶ Acknowledged / Reset
//!
//!  confirmable: queued ─(fewer than NSTART in flight)▶ in flight ─▶ acknowledged | reset | timed out
//! ```
//!
//! It is no endpoint: it knows no resources and decides nothing about a request. Time is an
//! argument; call [`Exchanges::handle_timeout`] when [`Exchanges::next_timeout`] has passed.

use std::sync::Arc;
use std::time::Instant;

use coap_lite::{MessageType, Packet};
use gateway_model::WireBuffer;

use crate::datagram::Datagram;
use crate::message::{Code, Token, encode, encode_bare, number};
use crate::ongoing::{Confirmable, Ongoing, Outstanding, push};
use crate::random::Random;
use crate::recent::Recent;
pub use crate::transmission::{EXCHANGE_LIFETIME, NON_LIFETIME, Transmission};

/// Chosen by the caller for a message it sends; comes back with what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

/// Where a reply to a request must go. Keep it until the request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub message_id: u16,
    pub token: Token,
    pub confirmable: bool,
    /// An empty ACK went out: the reply will be a separate response (RFC 7252 section 5.2.2).
    pub acknowledged: bool,
}

impl Origin {
    pub fn of(request: &Datagram<'_>) -> Self {
        Self {
            message_id: request.message_id,
            token: request.token,
            confirmable: request.kind == MessageType::Confirmable,
            acknowledged: false,
        }
    }
}

/// What a datagram turned out to be.
#[derive(Clone, Copy, Debug)]
pub enum Received<'a> {
    /// A request that was not seen before. Answer it through `reply`, now or later.
    Request(Datagram<'a>),
    /// The response to a request of ours; an observation's notification has the same tag.
    Response {
        tag: Tag,
        token: Token,
        /// More responses may follow under this token: it is an established observation.
        observing: bool,
        datagram: Datagram<'a>,
    },
    /// The peer has the Confirmable message of that tag. For a request the response follows.
    Acknowledged(Tag),
    /// The peer rejected a message of ours: a notification nobody wants, a request not understood.
    Reset(Tag),
    /// Done with: a duplicate, a ping, noise.
    Handled,
}

/// Why a Confirmable message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many messages wait for the peer")]
pub struct QueueFull;

/// All exchanges with one peer. A gateway has a million of them, and with most peers
/// nothing is under way.
pub struct Exchanges {
    settings: Arc<Transmission>,
    random: Random,
    recent: Recent,
    /// What of ours the peer has not answered, if there is anything.
    ongoing: Option<Box<Ongoing>>,
    next_token: u32,
    next_message_id: u16,
}

impl Exchanges {
    pub fn new(settings: impl Into<Arc<Transmission>>, seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            next_message_id: random.next() as u16,
            next_token: random.next() as u32,
            settings: settings.into(),
            random,
            recent: Recent::default(),
            ongoing: None,
        }
    }

    /// Takes one datagram. What the layer answers by itself goes to `wire`.
    pub fn receive<'a>(&mut self, now: Instant, bytes: &'a [u8], wire: &mut WireBuffer) -> Received<'a> {
        let datagram = match Datagram::parse(bytes) {
            Ok(datagram) => datagram,
            Err(malformed) => {
                if let Some(message_id) = malformed.reset {
                    write_empty(MessageType::Reset, message_id, wire);
                }
                return Received::Handled;
            }
        };
        match datagram.kind {
            MessageType::Acknowledgement => self.receive_acknowledgement(now, datagram, wire),
            MessageType::Reset => self.receive_reset(now, datagram.message_id, wire),
            _ if datagram.code == Code::EMPTY => {
                // A ping (RFC 7252 section 4.3).
                write_empty(MessageType::Reset, datagram.message_id, wire);
                Received::Handled
            }
            _ => self.receive_message(now, datagram, wire),
        }
    }

    fn receive_message<'a>(
        &mut self,
        now: Instant,
        datagram: Datagram<'a>,
        wire: &mut WireBuffer,
    ) -> Received<'a> {
        if let Some(reply) = self.recent.find(now, datagram.message_id) {
            // RFC 7252 section 4.5: a NON duplicate is ignored, a CON is answered the same again.
            if !reply.is_empty() && datagram.kind == MessageType::Confirmable {
                wire.extend(reply);
                wire.end_datagram();
            }
            return Received::Handled;
        }
        let confirmable = datagram.kind == MessageType::Confirmable;
        let lifetime = if confirmable { EXCHANGE_LIFETIME } else { NON_LIFETIME };
        if datagram.code.is_request() {
            self.recent.remember(now, datagram.message_id, lifetime, self.settings.recent_max);
            return Received::Request(datagram);
        }
        let Some(response) = self.take_response(now, datagram, wire) else {
            write_empty(MessageType::Reset, datagram.message_id, wire);
            return Received::Handled;
        };
        self.recent.remember(now, datagram.message_id, lifetime, self.settings.recent_max);
        if confirmable {
            let start = wire.as_mut_vec().len();
            encode_bare(
                MessageType::Acknowledgement,
                Code::EMPTY,
                datagram.message_id,
                Token::default(),
                wire.as_mut_vec(),
            );
            self.finish(datagram.message_id, start, wire);
        }
        response
    }

    /// Matches a response by its token (RFC 7252 section 5.3.2).
    fn take_response<'a>(
        &mut self,
        now: Instant,
        datagram: Datagram<'a>,
        wire: &mut WireBuffer,
    ) -> Option<Received<'a>> {
        let requests = &mut self.ongoing.as_mut()?.requests;
        let index = requests.iter().position(|request| request.token == datagram.token)?;
        let request = requests.get_mut(index)?;
        let (tag, token, message_id) = (request.tag, request.token, request.message_id);
        let observing = request.observe
            && datagram.code.is_success()
            && datagram.values(number::OBSERVE).next().is_some();
        if observing {
            request.deadline = None;
        } else {
            requests.swap_remove(index);
        }
        // A separate response can overtake the acknowledgement and stands for it.
        self.land(now, message_id, wire);
        self.rest();
        Some(Received::Response { tag, token, observing, datagram })
    }

    fn receive_acknowledgement<'a>(
        &mut self,
        now: Instant,
        datagram: Datagram<'a>,
        wire: &mut WireBuffer,
    ) -> Received<'a> {
        let Some(landed) = self.land(now, datagram.message_id, wire) else { return Received::Handled };
        if datagram.code != Code::EMPTY {
            return self.take_response(now, datagram, wire).unwrap_or(Received::Handled);
        }
        self.rest();
        landed.tag.map_or(Received::Handled, Received::Acknowledged)
    }

    fn receive_reset<'a>(&mut self, now: Instant, message_id: u16, wire: &mut WireBuffer) -> Received<'a> {
        let tag = match self.land(now, message_id, wire) {
            Some(landed) => landed.tag,
            None => self.ongoing.as_ref().and_then(|ongoing| ongoing.unreliable(message_id)),
        };
        if let (Some(ongoing), Some(_)) = (&mut self.ongoing, tag) {
            ongoing.requests.retain(|request| request.message_id != message_id);
        }
        self.rest();
        tag.map_or(Received::Handled, Received::Reset)
    }

    /// Answers with a code alone.
    pub fn reply_bare(&mut self, now: Instant, origin: Origin, code: Code, wire: &mut WireBuffer) {
        if origin.acknowledged {
            return self.reply(now, origin, &mut crate::message::with_code(code), wire);
        }
        let start = wire.as_mut_vec().len();
        let (kind, message_id) = self.reply_header(origin);
        encode_bare(kind, code, message_id, origin.token, wire.as_mut_vec());
        self.finish(origin.message_id, start, wire);
    }

    /// Answers a request: in the ACK if there is none yet, else as a separate response
    /// (RFC 7252 sections 5.2.1 to 5.2.3).
    pub fn reply(&mut self, now: Instant, origin: Origin, packet: &mut Packet, wire: &mut WireBuffer) {
        self.reply_tagged(now, origin, packet, None, wire);
    }

    /// Like [`Exchanges::reply`]; a Reset of it, where it can have one, is reported under the tag.
    pub fn reply_tagged(
        &mut self,
        now: Instant,
        origin: Origin,
        packet: &mut Packet,
        tag: Option<Tag>,
        wire: &mut WireBuffer,
    ) {
        if origin.acknowledged && self.confirm(now, origin.token, packet, tag, wire).is_ok() {
            return;
        }
        let start = wire.as_mut_vec().len();
        let (kind, message_id) = self.reply_header(origin);
        encode(packet, kind, message_id, origin.token, wire.as_mut_vec());
        if origin.acknowledged {
            // The queue is full: unreliable is better than never.
            wire.end_datagram();
        } else {
            self.finish(origin.message_id, start, wire);
        }
        if let (MessageType::NonConfirmable, Some(tag)) = (kind, tag) {
            self.ongoing().remember_unreliable(message_id, tag);
        }
    }

    /// Acknowledges a request whose reply takes longer, so that the peer stops retransmitting.
    pub fn acknowledge(&mut self, origin: &mut Origin, wire: &mut WireBuffer) {
        if !origin.confirmable || origin.acknowledged {
            return;
        }
        origin.acknowledged = true;
        let start = wire.as_mut_vec().len();
        encode_bare(
            MessageType::Acknowledgement,
            Code::EMPTY,
            origin.message_id,
            Token::default(),
            wire.as_mut_vec(),
        );
        self.finish(origin.message_id, start, wire);
    }

    /// Refuses a request on the message layer.
    pub fn reset(&mut self, origin: Origin, wire: &mut WireBuffer) {
        let start = wire.as_mut_vec().len();
        encode_bare(MessageType::Reset, Code::EMPTY, origin.message_id, Token::default(), wire.as_mut_vec());
        self.finish(origin.message_id, start, wire);
    }

    /// Sends a Confirmable message under a token of the peer's: a notification.
    /// `Acknowledged`, `Reset` or a timeout will report its tag.
    ///
    /// # Errors
    /// The queue is full.
    pub fn confirm(
        &mut self,
        now: Instant,
        token: Token,
        packet: &mut Packet,
        tag: Option<Tag>,
        wire: &mut WireBuffer,
    ) -> Result<(), QueueFull> {
        if self.is_full() {
            return Err(QueueFull);
        }
        let message_id = self.allocate_message_id();
        self.launch(now, message_id, token, packet, tag, wire);
        Ok(())
    }

    /// Sends a Non-confirmable message under a token of the peer's. A Reset of one of the last 16
    /// is reported with its tag.
    pub fn send(&mut self, token: Token, packet: &mut Packet, tag: Tag, wire: &mut WireBuffer) {
        let message_id = self.allocate_message_id();
        encode(packet, MessageType::NonConfirmable, message_id, token, wire.as_mut_vec());
        wire.end_datagram();
        self.ongoing().remember_unreliable(message_id, tag);
    }

    /// Sends a Confirmable request of ours. With `observe` the token stays valid for notifications
    /// once a response carried the Observe option; end that with [`Exchanges::forget`].
    ///
    /// # Errors
    /// The queue is full.
    pub fn request(
        &mut self,
        now: Instant,
        packet: &mut Packet,
        tag: Tag,
        observe: bool,
        wire: &mut WireBuffer,
    ) -> Result<Token, QueueFull> {
        let token = self.allocate_token();
        self.request_as(now, token, packet, tag, observe, wire)?;
        Ok(token)
    }

    /// Like [`Exchanges::request`], under a token of an earlier request: to cancel an observation
    /// with Observe=1 (RFC 7641 section 3.6).
    ///
    /// # Errors
    /// The queue is full.
    pub fn request_as(
        &mut self,
        now: Instant,
        token: Token,
        packet: &mut Packet,
        tag: Tag,
        observe: bool,
        wire: &mut WireBuffer,
    ) -> Result<(), QueueFull> {
        if self.is_full() {
            return Err(QueueFull);
        }
        let message_id = self.allocate_message_id();
        let requests = &mut self.ongoing().requests;
        requests.retain(|request| request.token != token);
        push(requests, Outstanding { token, message_id, tag, observe, deadline: None });
        self.launch(now, message_id, token, packet, Some(tag), wire);
        Ok(())
    }

    /// No longer expects anything under a token; a later notification is answered with a Reset.
    pub fn forget(&mut self, token: Token) {
        let Some(ongoing) = &mut self.ongoing else { return };
        if let Some(index) = ongoing.requests.iter().position(|request| request.token == token) {
            let request = ongoing.requests.swap_remove(index);
            ongoing.retain(|message| message.message_id != request.message_id);
        }
        self.rest();
    }

    /// Takes back the Confirmable messages of a tag, sent or not: nobody wants them any more.
    pub fn withdraw(&mut self, now: Instant, tag: Tag, wire: &mut WireBuffer) {
        let Some(ongoing) = &mut self.ongoing else { return };
        ongoing.retain(|message| message.tag != Some(tag));
        ongoing.requests.retain(|request| request.tag != tag);
        ongoing.launch_queued(now, &self.settings, wire);
        self.rest();
    }

    /// Whether a Confirmable message would go out at once (NSTART).
    pub fn has_slot(&self) -> bool {
        self.ongoing.as_ref().is_none_or(|ongoing| ongoing.has_slot(&self.settings))
    }

    /// Whether nothing of ours waits for the peer.
    pub fn is_idle(&self) -> bool {
        self.ongoing.as_ref().is_none_or(|ongoing| ongoing.is_idle())
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let ongoing = self.ongoing.as_ref().and_then(|ongoing| ongoing.next_timeout());
        ongoing.into_iter().chain(self.recent.next_expiry()).min()
    }

    /// Retransmits what is due. Returns the tag of one message that was given up (not acknowledged
    /// after MAX_RETRANSMIT, or without response); call again until it returns `None`.
    pub fn handle_timeout(&mut self, now: Instant, wire: &mut WireBuffer) -> Option<Tag> {
        self.recent.expire(now);
        let given_up = self.ongoing.as_mut()?.handle_timeout(now, &self.settings, wire);
        self.rest();
        given_up
    }

    fn is_full(&self) -> bool {
        let queue_max = self.settings.queue_max;
        !self.has_slot() && self.ongoing.as_ref().is_some_and(|ongoing| ongoing.queue.len() >= queue_max)
    }

    fn allocate_message_id(&mut self) -> u16 {
        loop {
            let message_id = self.next_message_id;
            self.next_message_id = message_id.wrapping_add(1);
            // At most NSTART and the queue are taken, so this ends.
            if !self.ongoing.as_ref().is_some_and(|ongoing| ongoing.is_taken(message_id)) {
                return message_id;
            }
        }
    }

    fn allocate_token(&mut self) -> Token {
        loop {
            self.next_token = self.next_token.wrapping_add(1);
            let mut requests = self.ongoing.iter().flat_map(|ongoing| &ongoing.requests);
            if let Some(token) = Token::new(&self.next_token.to_be_bytes())
                && requests.all(|request| request.token != token)
            {
                return token;
            }
        }
    }

    fn launch(
        &mut self,
        now: Instant,
        message_id: u16,
        token: Token,
        packet: &mut Packet,
        tag: Option<Tag>,
        wire: &mut WireBuffer,
    ) {
        let mut datagram = Vec::new();
        encode(packet, MessageType::Confirmable, message_id, token, &mut datagram);
        // RFC 7252 section 4.2: random between ACK_TIMEOUT and ACK_TIMEOUT * ACK_RANDOM_FACTOR (1.5).
        let timeout = self.settings.ack_timeout.mul_f64(1.0 + self.random.fraction() / 2.0);
        let datagram = datagram.into();
        let message = Confirmable { message_id, datagram, tag, retransmissions: 0, timeout, due: now };
        self.ongoing.get_or_insert_default().launch(now, message, &self.settings, wire);
    }

    /// Takes a Confirmable message of ours out of flight and sends the next.
    fn land(&mut self, now: Instant, message_id: u16, wire: &mut WireBuffer) -> Option<Confirmable> {
        self.ongoing.as_mut()?.land(now, message_id, &self.settings, wire)
    }

    fn ongoing(&mut self) -> &mut Ongoing {
        self.ongoing.get_or_insert_default()
    }

    /// Keeps nothing of what is over.
    fn rest(&mut self) {
        self.ongoing.take_if(|ongoing| ongoing.is_over());
    }

    fn reply_header(&mut self, origin: Origin) -> (MessageType, u16) {
        if origin.confirmable && !origin.acknowledged {
            (MessageType::Acknowledgement, origin.message_id)
        } else {
            (MessageType::NonConfirmable, self.allocate_message_id())
        }
    }

    /// Ends the datagram that began at `start` and keeps it for duplicates of `message_id`.
    fn finish(&mut self, message_id: u16, start: usize, wire: &mut WireBuffer) {
        let reply = wire.as_mut_vec().get(start..).unwrap_or_default();
        self.recent.answer(message_id, reply, self.settings.recent_bytes_max);
        wire.end_datagram();
    }
}

fn write_empty(kind: MessageType, message_id: u16, wire: &mut WireBuffer) {
    encode_bare(kind, Code::EMPTY, message_id, Token::default(), wire.as_mut_vec());
    wire.end_datagram();
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
