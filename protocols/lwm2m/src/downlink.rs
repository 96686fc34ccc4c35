//! Requests to a device: one at a time, over several messages if bodies are long or formats are
//! refused, and the observations that come of them.
//!
//! ```text
//!   begin ──▶ request ──▶ 2.31 / 2.05 with more  ──▶ next block    ┐
//!               ▲     ──▶ 4.06, 4.15             ──▶ next format   ├──▶ request
//!               │     ──▶ anything else          ──▶ answer, settle, idle
//!               └───────────────────────────────────────────────────
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_model::{DeliveryId, Outgoing, Settlement, Sink, Topic};
use protocol_coap::block::{Block, Download, Progress};
use protocol_coap::datagram::Datagram;
use protocol_coap::exchange::{Exchanges, Tag};
use protocol_coap::message::{Code, Token, number};
use serde_json::Value as Json;

use crate::answer::{self, Answer};
use crate::codec::{CodecError, Format, Reading};
use crate::command::{Action, Command};
use crate::device::{Device, Wish};
use crate::endpoint::IGNORED;
use crate::objects;
use crate::path::Path;
use crate::request::{self, Formats, Upload};
use crate::translate::Source;

/// A request under way.
pub(crate) struct Active {
    action: Action,
    path: Path,
    tag: Tag,
    /// Who waits for the answer; `None` for the gateway's own wishes.
    caller: Option<Caller>,
    upload: Option<Upload>,
    /// How many write formats were tried before.
    attempt: usize,
    download: Download,
    /// The block of the answer to ask for.
    block: Option<Block>,
    /// The token of the observation to cancel.
    token: Option<Token>,
    observing: bool,
}

impl Active {
    /// What the gateway itself wants to observe: a command to observe comes again by itself.
    pub(crate) fn observed(&self) -> Option<Path> {
        (self.caller.is_none() && matches!(self.action, Action::Observe)).then_some(self.path)
    }
}

/// Where the answer to a command goes.
pub(crate) struct Caller {
    id: Option<Json>,
    words: Box<str>,
    delivery: Option<DeliveryId>,
    response_topic: Option<Topic>,
    correlation: Option<Bytes>,
}

/// A resource that the device tells news about.
pub(crate) struct Observation {
    path: Path,
    tag: Tag,
    pub(crate) token: Token,
    /// Of the newest notification: its Observe option and its arrival (RFC 7641 section 3.4).
    newest: (u32, Instant),
}

impl Observation {
    pub(crate) fn path(&self) -> Path {
        self.path
    }
}

impl Device {
    /// Whether a command may be sent now.
    pub(crate) fn is_ready(&self) -> bool {
        self.active.is_none() && self.watched().wishes.is_empty() && !self.is_asleep()
    }

    /// Takes a message from the outbox as a command.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        outgoing: Outgoing,
        exchanges: &mut Exchanges,
        out: &mut dyn Sink,
    ) {
        let message = &outgoing.message;
        let Some(words) = self.topics().command_words(&message.topic) else {
            // Only the device's own command filter is subscribed; a resumed session may hold others.
            settle(outgoing.id, Settlement::Dropped("bad_command"), out);
            return;
        };
        let properties = message.properties.as_deref();
        let mut caller = Caller {
            id: None,
            words: words.into(),
            delivery: outgoing.id,
            response_topic: properties.and_then(|properties| properties.response_topic.clone()),
            correlation: properties.and_then(|properties| properties.correlation_data.clone()),
        };
        match Command::parse(words, &message.payload) {
            Ok(command) => {
                caller.id = command.id;
                self.start(now, command.action, command.path, Some(caller), exchanges, out);
            }
            Err(error) => self.reject(caller, Answer::failed("bad_command", error), out),
        }
    }

    /// Sends the gateway's own next request, if nothing is under way.
    pub(crate) fn pump(&mut self, now: Instant, exchanges: &mut Exchanges, out: &mut dyn Sink) {
        while self.active.is_none() && !self.is_asleep() {
            let next = self.watched.as_mut().and_then(|watched| watched.wishes.pop_front());
            let Some(wish) = next else { return };
            let (action, path) = match wish {
                Wish::Observe(path) => (Action::Observe, path),
                Wish::Read(path) => (Action::Read, path),
            };
            self.start(now, action, path, None, exchanges, out);
        }
    }

    fn start(
        &mut self,
        now: Instant,
        action: Action,
        path: Path,
        caller: Option<Caller>,
        exchanges: &mut Exchanges,
        out: &mut dyn Sink,
    ) {
        let mut active = Active {
            action,
            path,
            tag: Tag(0),
            caller,
            upload: None,
            attempt: 0,
            download: Download::default(),
            block: None,
            token: None,
            observing: false,
        };
        match self.prepare(&mut active) {
            Ok(()) => self.send(now, Box::new(active), exchanges, out),
            Err(answer) => {
                if let Some(caller) = active.caller {
                    self.reject(caller, answer, out);
                }
            }
        }
    }

    /// Finds the body, or the observation to end.
    fn prepare(&mut self, active: &mut Active) -> Result<(), Answer> {
        match &active.action {
            Action::Write { written, .. } | Action::Create(written) => {
                let encoded = self.formats.encode(written, active.attempt);
                let (attempt, format, payload) =
                    encoded.map_err(|error| Answer::failed("bad_command", error))?;
                active.attempt = attempt;
                active.upload = Some(Upload::new(format.number(), payload, self.config().block_bytes));
            }
            Action::Execute(arguments) if !arguments.is_empty() => {
                let payload = Bytes::copy_from_slice(arguments.as_bytes());
                active.upload = Some(Upload::new(Format::Text.number(), payload, self.config().block_bytes));
            }
            Action::Cancel => {
                let found = self.watched().observations.iter().position(|o| o.path == active.path);
                let place = found
                    .ok_or_else(|| Answer::failed("4.04", format!("{} is not observed", active.path)))?;
                active.token = Some(self.watched_mut().observations.swap_remove(place).token);
                self.note_observations();
            }
            Action::Observe => {
                let observations = &self.watched().observations;
                let renews = observations.iter().any(|o| o.path == active.path);
                if !renews && observations.len() >= self.config().observations_max {
                    return Err(Answer::failed(
                        "bad_command",
                        "observations_max is reached: cancel one first",
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn send(&mut self, now: Instant, mut active: Box<Active>, exchanges: &mut Exchanges, out: &mut dyn Sink) {
        self.next_tag += 1;
        active.tag = Tag(self.next_tag);
        let mut packet = request::packet(
            &active.action,
            active.path,
            self.registration().said().objects.root(),
            self.formats.accept(),
            active.upload.as_ref(),
            active.block,
        );
        let observe = active.action == Action::Observe && active.block.is_none();
        let sent = match active.token.filter(|_| active.block.is_none()) {
            Some(token) => exchanges.request_as(now, token, &mut packet, active.tag, false, out.wire()),
            None => exchanges.request(now, &mut packet, active.tag, observe, out.wire()).map(drop),
        };
        match sent {
            Ok(()) => self.active = Some(active),
            // Only our own notifications could fill the queue, and there are none.
            Err(error) => self.finish(*active, Answer::failed("busy", error), out),
        }
    }

    /// A response: to the request under way, or news from an observation.
    pub(crate) fn respond(
        &mut self,
        now: Instant,
        (tag, token, observing): (Tag, Token, bool),
        response: &Datagram<'_>,
        exchanges: &mut Exchanges,
        out: &mut dyn Sink,
    ) {
        match self.active.take_if(|active| active.tag == tag) {
            Some(mut active) => {
                if observing {
                    active.observing = true;
                    self.keep_observation(now, &active, token, response, exchanges);
                }
                self.advance(now, active, response, exchanges, out);
            }
            None => self.notify(now, tag, observing, response, out),
        }
    }

    fn advance(
        &mut self,
        now: Instant,
        mut active: Box<Active>,
        response: &Datagram<'_>,
        exchanges: &mut Exchanges,
        out: &mut dyn Sink,
    ) {
        let reads = matches!(active.action, Action::Read | Action::Observe | Action::Cancel);
        match response.code {
            Code::CONTINUE if let Some(upload) = &mut active.upload => {
                let block = Block::of(response, number::BLOCK1).ok().flatten();
                if upload.body.advance(block) {
                    return self.send(now, active, exchanges, out);
                }
                self.finish(
                    *active,
                    Answer::coded(response.code).error("the device wants more than there is"),
                    out,
                );
            }
            Code::NOT_ACCEPTABLE if reads && self.formats.refuse_accept() => {
                self.send(now, active, exchanges, out);
            }
            Code::UNSUPPORTED_CONTENT_FORMAT
                if matches!(active.action, Action::Write { .. } | Action::Create(_)) =>
            {
                active.attempt += 1;
                match self.prepare(&mut active) {
                    Ok(()) => self.send(now, active, exchanges, out),
                    Err(_) => self.finish_refused(*active, response, out),
                }
            }
            Code::CONTENT => match active.download.receive(response, self.config().body_bytes_max) {
                Progress::Next(block) => {
                    active.block = Some(block);
                    self.send(now, active, exchanges, out);
                }
                Progress::Complete(payload) => {
                    let answer = self.content(&active, response, payload, out);
                    self.finish(*active, answer, out);
                }
                Progress::Broken => {
                    let answer =
                        Answer::coded(response.code).error("the answer's blocks do not fit together");
                    self.finish(*active, answer, out);
                }
                Progress::TooLarge => {
                    let answer =
                        Answer::coded(response.code).error("the answer is longer than body_bytes_max");
                    self.finish(*active, answer, out);
                }
            },
            code if code.is_success() => {
                let answer = Answer::coded(code);
                let location: Vec<_> = response.texts(number::LOCATION_PATH).collect();
                let answer = match location.is_empty() {
                    true => answer,
                    false => answer.with("location", format!("/{}", location.join("/")).into()),
                };
                self.finish(*active, answer, out);
            }
            _ => self.finish_refused(*active, response, out),
        }
    }

    /// A whole 2.05 answer.
    fn content(
        &mut self,
        active: &Active,
        response: &Datagram<'_>,
        payload: Bytes,
        out: &mut dyn Sink,
    ) -> Answer {
        let answer = Answer::coded(response.code);
        if active.action == Action::Discover {
            return match answer::links(&payload, self.config().links_max) {
                Ok(links) => answer.with("value", links),
                Err(error) => answer.error(error).raw(Format::LINK, &payload),
            };
        }
        let answer = match active.action {
            Action::Observe => answer.with("observing", active.observing.into()),
            _ => answer,
        };
        let content_format = content_format(response, active.path);
        match decode(content_format, active.path, &payload) {
            Ok(readings) => {
                let source = if active.action == Action::Observe { Source::Notify } else { Source::Read };
                self.publish_values(&readings, source, IGNORED, out);
                answer.with("value", answer::tree(active.path, &readings))
            }
            Err(error) => answer.error(error).raw(content_format, &payload),
        }
    }

    fn keep_observation(
        &mut self,
        now: Instant,
        active: &Active,
        token: Token,
        response: &Datagram<'_>,
        exchanges: &mut Exchanges,
    ) {
        let observations = &mut self.watched_mut().observations;
        observations.retain(|observation| {
            let keep = observation.path != active.path;
            if !keep {
                exchanges.forget(observation.token);
            }
            keep
        });
        let newest = (response.uint(number::OBSERVE, 3).unwrap_or(0), now);
        observations.push(Observation { path: active.path, tag: active.tag, token, newest });
        self.note_observations();
    }

    fn notify(
        &mut self,
        now: Instant,
        tag: Tag,
        observing: bool,
        response: &Datagram<'_>,
        out: &mut dyn Sink,
    ) {
        let observations = &mut self.watched_mut().observations;
        let Some(place) = observations.iter().position(|observation| observation.tag == tag) else {
            return;
        };
        let Some(observation) = observations.get_mut(place) else { return };
        let path = observation.path;
        if !observing {
            // An error, or an answer without Observe, is the last (RFC 7641 section 3.2).
            observations.swap_remove(place);
            self.note_observations();
        } else {
            let sequence = response.uint(number::OBSERVE, 3).unwrap_or(0);
            if !is_newer(observation.newest, (sequence, now)) {
                return;
            }
            observation.newest = (sequence, now);
        }
        if response.code != Code::CONTENT {
            return;
        }
        if Block::of(response, number::BLOCK2).is_ok_and(|block| block.is_some_and(|block| block.more)) {
            self.wish(Wish::Read(path));
            return;
        }
        let payload = Bytes::copy_from_slice(response.payload);
        match decode(content_format(response, path), path, &payload) {
            Ok(readings) => {
                self.publish_values(&readings, Source::Notify, IGNORED, out);
            }
            Err(error) => {
                tracing::warn!(endpoint = self.registration().endpoint(), %path, %error, "malformed notification");
            }
        }
    }

    /// The device said with a Reset that it does not understand the request, or nothing at all.
    pub(crate) fn fail(&mut self, tag: Tag, word: &'static str, error: &str, out: &mut dyn Sink) {
        if let Some(active) = self.active.take_if(|active| active.tag == tag) {
            self.finish(*active, Answer::failed(word, error), out);
        }
    }

    /// Returns the command under way to the queue: the device will not answer it any more.
    pub(crate) fn take_back(&mut self, now: Instant, exchanges: &mut Exchanges, out: &mut dyn Sink) {
        let Some(active) = self.active.take() else { return };
        exchanges.withdraw(now, active.tag, out.wire());
        settle(active.caller.and_then(|caller| caller.delivery), Settlement::Returned, out);
    }

    fn finish(&mut self, active: Active, answer: Answer, out: &mut dyn Sink) {
        let Some(caller) = active.caller else { return };
        let answer = answer.into_json(caller.id);
        let settlement = match answer.get("code").and_then(Json::as_str) {
            Some("timeout") => Settlement::Dropped("timeout"),
            _ => Settlement::Delivered,
        };
        self.publish_answer(&caller.words, caller.response_topic, caller.correlation, &answer, out);
        settle(caller.delivery, settlement, out);
    }

    fn finish_refused(&mut self, active: Active, response: &Datagram<'_>, out: &mut dyn Sink) {
        let answer = refusal(response, active.path);
        self.finish(active, answer, out);
    }

    /// Answers a command that never becomes a request.
    fn reject(&mut self, caller: Caller, answer: Answer, out: &mut dyn Sink) {
        let answer = answer.into_json(caller.id);
        self.publish_answer(&caller.words, caller.response_topic, caller.correlation, &answer, out);
        settle(caller.delivery, Settlement::Dropped("bad_command"), out);
    }
}

fn settle(delivery: Option<DeliveryId>, settlement: Settlement, out: &mut dyn Sink) {
    if let Some(id) = delivery {
        out.settle(id, settlement);
    }
}

/// An error answer, with the device's own words if it has any. Whether something may be done is the
/// device's to say, not our table's: its object may be of another version.
fn refusal(response: &Datagram<'_>, path: Path) -> Answer {
    let answer = Answer::coded(response.code);
    match (std::str::from_utf8(response.payload), objects::resource(path)) {
        (Ok(text), _) if !text.is_empty() => answer.error(text),
        (_, Some(resource)) if response.code == Code::METHOD_NOT_ALLOWED => {
            answer.error(format_args!("refused by the device: {} is {}", resource.name, resource.operations))
        }
        _ => answer.error("refused by the device"),
    }
}

fn content_format(response: &Datagram<'_>, path: Path) -> u16 {
    let named = response.uint(number::CONTENT_FORMAT, 2).and_then(|number| u16::try_from(number).ok());
    named.unwrap_or_else(|| Formats::assumed(path).number())
}

fn decode(content_format: u16, path: Path, payload: &Bytes) -> Result<Vec<Reading>, CodecError> {
    Format::from_number(content_format).ok_or(CodecError::Unsupported(content_format))?.decode(path, payload)
}

/// RFC 7641 section 3.4.
fn is_newer((v1, t1): (u32, Instant), (v2, t2): (u32, Instant)) -> bool {
    const HALF: u32 = 1 << 23;
    v1 < v2 && v2 - v1 < HALF || v1 > v2 && v1 - v2 > HALF || t2 > t1 + Duration::from_secs(128)
}
