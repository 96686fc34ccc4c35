//! A registered device: what it said, whether it is awake, what it is being asked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gateway_model::{Outcome, Reason, Sink, Tick, Ticket, Topic};
use protocol_coap::exchange::Exchanges;
use serde_json::{Value as Json, json};

use crate::codec::Reading;
use crate::config::Config;
use crate::downlink::{Active, Observation};
use crate::endpoint::IGNORED;
use crate::kept::Kept;
use crate::path::Path;
use crate::registration::{Registration, Update};
use crate::registry::Listed;
use crate::request::Formats;
use crate::translate::{self, Description, Source, State, Topics};

/// Invariants: at most one request is `active` (NSTART 1, and a device in queue mode must be asked
/// one thing at a time); while `asleep` nothing new is sent.
pub(crate) struct Device {
    /// Its registration, and where that is.
    pub(crate) listed: Listed,
    pub(crate) formats: Formats,
    expires: Tick,
    /// When it may go to sleep; `None` without queue mode.
    awake_until: Option<Tick>,
    asleep: bool,
    pub(crate) active: Option<Box<Active>>,
    /// What is observed, if anything is.
    pub(crate) watched: Option<Box<Watched>>,
    pub(crate) next_tag: u64,
    /// The observations may have changed since.
    observations_noted: bool,
}

/// What a device is to tell by itself. Many devices are asked for nothing.
#[derive(Default)]
pub(crate) struct Watched {
    pub(crate) observations: Vec<Observation>,
    /// What the gateway itself wants from the device, before any command.
    pub(crate) wishes: VecDeque<Wish>,
    /// What was last kept of `observed_to_keep`.
    kept: Vec<Path>,
}

static NOTHING: Watched = Watched { observations: Vec::new(), wishes: VecDeque::new(), kept: Vec::new() };

/// A request of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Observe(Path),
    /// The whole of what a notification could only begin to tell.
    Read(Path),
}

impl Device {
    pub(crate) fn new(now: Instant, listed: Listed) -> Self {
        let registration = listed.registration();
        let mut device = Self {
            formats: Formats::new(registration.version),
            expires: (now + registration.lifetime()).into(),
            awake_until: None,
            asleep: false,
            active: None,
            watched: None,
            next_tag: 0,
            observations_noted: false,
            listed,
        };
        device.wish_for_observations();
        device.heard(now);
        device
    }

    /// A new registration in place of the old: the device has forgotten what it was asked to
    /// observe (OMA LwM2M Core 1.1 section 6.4.2), and perhaps what it was asked at all.
    pub(crate) fn replace(
        &mut self,
        now: Instant,
        listed: Listed,
        exchanges: &mut Exchanges,
        out: &mut dyn Sink,
    ) {
        self.take_back(now, exchanges, out);
        if let Some(watched) = &mut self.watched {
            watched.observations.drain(..).for_each(|observation| exchanges.forget(observation.token));
            watched.wishes.clear();
        }
        self.listed = listed;
        self.formats = Formats::new(self.registration().version);
        self.expires = (now + self.registration().lifetime()).into();
        self.wish_for_observations();
    }

    /// True if anything but the lifetime's start changed.
    pub(crate) fn update(&mut self, now: Instant, update: &Update) -> bool {
        let registration = self.registration().updated(update);
        self.expires = (now + registration.lifetime()).into();
        let changed = registration != *self.registration();
        if changed {
            self.listed.change(Arc::new(registration));
        }
        changed
    }

    /// Holds the registration that is the session's will, if it says the same as its own.
    pub(crate) fn share(&mut self, will: Arc<Registration>) {
        if will == *self.listed.registration() {
            self.listed.change(will);
        }
    }

    /// Observes again what another address observed: its tokens are not ours.
    pub(crate) fn resume_observations(&mut self, observed: &[Path]) {
        for wish in observed.iter().map(|path| Wish::Observe(*path)) {
            self.wish(wish);
        }
    }

    /// To be called when the observations have changed.
    pub(crate) fn note_observations(&mut self) {
        self.listed.note_observed(self.observed().collect());
        self.observations_noted = true;
    }

    /// What is observed or about to be.
    fn observed(&self) -> impl Iterator<Item = Path> + '_ {
        let Watched { observations, wishes, .. } = self.watched();
        let wished = wishes.iter().filter_map(|wish| match wish {
            Wish::Observe(path) => Some(*path),
            Wish::Read(_) => None,
        });
        let under_way = self.active.as_ref().and_then(|active| active.observed());
        observations.iter().map(Observation::path).chain(under_way).chain(wished)
    }

    /// What has to be kept of the observations: not those that begin by themselves.
    fn observed_to_keep(&self) -> Vec<Path> {
        let is_asked_for = |path: &Path| !self.config().auto_observed().any(|auto| auto == *path);
        let mut observed: Vec<Path> = self.observed().filter(is_asked_for).collect();
        observed.sort_unstable();
        observed.dedup();
        observed
    }

    /// Whether the observations are others than were kept.
    pub(crate) fn has_observations_to_keep(&mut self) -> bool {
        let noted = std::mem::take(&mut self.observations_noted);
        let differ = noted && self.observed_to_keep() != self.watched().kept;
        self.watched.take_if(|watched| watched.is_nothing());
        differ
    }

    /// What is to be kept with the session, now.
    pub(crate) fn kept(&mut self) -> Bytes {
        let observed = self.observed_to_keep();
        if observed != self.watched().kept {
            self.watched_mut().kept.clone_from(&observed);
        }
        let kept = Kept {
            location: self.listed.location(),
            registration: self.listed.registration().clone(),
            observed: observed.into(),
        };
        kept.encode()
    }

    fn wish_for_observations(&mut self) {
        let objects = self.registration().said().objects;
        let wanted = self.config().auto_observed().filter(|path| objects.has(*path));
        let wanted: Vec<_> = wanted.map(Wish::Observe).collect();
        wanted.into_iter().for_each(|wish| self.wish(wish));
    }

    /// Wants it, unless it does already.
    pub(crate) fn wish(&mut self, wish: Wish) {
        let wishes = &mut self.watched_mut().wishes;
        if !wishes.contains(&wish) {
            wishes.push_back(wish);
        }
    }

    pub(crate) fn watched(&self) -> &Watched {
        self.watched.as_deref().unwrap_or(&NOTHING)
    }

    pub(crate) fn watched_mut(&mut self) -> &mut Watched {
        self.watched.get_or_insert_default()
    }

    /// Something came from the device: it listens for a while. True if it was asleep.
    pub(crate) fn heard(&mut self, now: Instant) -> bool {
        self.awake_until = self.registration().queue_mode.then(|| (now + self.config().awake()).into());
        std::mem::take(&mut self.asleep)
    }

    /// Puts the device to sleep if its time has come.
    pub(crate) fn rest(&mut self, now: Instant, out: &mut dyn Sink) {
        if !self.asleep && self.active.is_none() && self.awake_until.is_some_and(|until| until <= now.into())
        {
            self.asleep = true;
            self.publish_status(State::Asleep, out);
        }
    }

    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.expires <= now.into()
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let next = match self.awake_until {
            Some(until) if !self.asleep && self.active.is_none() => until.min(self.expires),
            _ => self.expires,
        };
        next.instant()
    }

    pub(crate) fn config(&self) -> &Config {
        self.listed.config()
    }

    pub(crate) fn registration(&self) -> &Registration {
        self.listed.registration()
    }

    pub(crate) fn topics(&self) -> Topics<'_> {
        Topics::new(&self.config().topic_prefix, self.registration().endpoint())
    }

    pub(crate) fn publish_status(&self, state: State, out: &mut dyn Sink) {
        let status = translate::status(self.registration(), state);
        warn_if_refused("status", out.publish(IGNORED, status, None));
    }

    pub(crate) fn publish_event(&self, name: &'static str, out: &mut dyn Sink) {
        let Ok(topic) = self.topics().event(name, out) else { return };
        let registration = self.registration();
        let event = match name {
            "register" | "update" => translate::event(topic, &Description { registration, state: None }),
            _ => translate::event(topic, &json!({"ep": registration.endpoint()})),
        };
        warn_if_refused(name, out.publish(IGNORED, event, None));
    }

    /// Publishes values under `ticket`. Returns how many of them are not yet durable, and the first
    /// refusal.
    pub(crate) fn publish_values(
        &self,
        readings: &[Reading],
        source: Source,
        ticket: Ticket,
        out: &mut dyn Sink,
    ) -> (usize, Option<Reason>) {
        let (mut later, mut refused) = (0, None);
        for reading in readings {
            let Ok(topic) = self.topics().resource(reading.path, out) else { continue };
            match out.publish(
                ticket,
                translate::value(topic, reading, source, self.config().payload_mode),
                None,
            ) {
                Outcome::Later => later += 1,
                Outcome::Done(reason) if reason.is_error() => refused = refused.or(Some(reason)),
                Outcome::Done(_) => {}
            }
        }
        if let Some(reason) = refused {
            tracing::warn!(endpoint = self.registration().endpoint(), %reason, "values were not accepted");
        }
        (later, refused)
    }

    /// Publishes the answer to a command, to where it is wanted.
    pub(crate) fn publish_answer(
        &self,
        words: &str,
        response_topic: Option<Topic>,
        correlation: Option<Bytes>,
        answer: &Json,
        out: &mut dyn Sink,
    ) {
        let topic = match response_topic {
            Some(topic) => Ok(topic),
            None => self.topics().response(words, out),
        };
        if let Ok(topic) = topic {
            let publish = translate::answer(topic, answer, correlation);
            warn_if_refused("answer", out.publish(IGNORED, publish, None));
        }
    }
}

impl Watched {
    fn is_nothing(&self) -> bool {
        self.observations.is_empty() && self.wishes.is_empty() && self.kept.is_empty()
    }
}

fn warn_if_refused(what: &str, outcome: Outcome) {
    if let Outcome::Done(reason) = outcome
        && reason.is_error()
    {
        tracing::warn!(what, %reason, "not accepted");
    }
}
