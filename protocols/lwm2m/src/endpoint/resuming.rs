//! A registration that was made from another address, or before a restart of the gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gateway_model::{Close, Reason, Sink};
use protocol_coap::message::Code;

use super::{Asked, Endpoint, Goal, Stage};
use crate::location::Location;
use crate::registration::{Registration, Update};
use crate::registry::Moved;
use crate::translate::State;

impl Endpoint {
    /// The registration that a device at this address may speak for.
    pub(super) fn find(&self, now: Instant, location: Location) -> Option<Arc<Registration>> {
        self.registry.find(now, location, self.address()?)
    }

    /// The device has got another address: its session follows it here, and the adapter that had
    /// it is told that it was taken over. Or the gateway was started anew, and nobody had it.
    pub(super) fn move_here(
        &mut self,
        now: Instant,
        asked: Asked,
        (location, registration): (Location, Arc<Registration>),
        update: Update,
        out: &mut dyn Sink,
    ) {
        match &self.stage {
            Stage::Unregistered { address, .. } => {
                let registration = Arc::new(registration.moved(*address).updated(&update));
                self.begin(now, asked, registration, Goal::Move(location, update), out);
            }
            Stage::Opening(_) => {
                self.refuse(now, asked, Code::SERVICE_UNAVAILABLE, "the session is being opened", out);
            }
            Stage::Registered(_) => self.leave_to_another(out),
            Stage::Leaving(..) | Stage::Closed => {}
        }
    }

    /// The rest of an Update that came from another address than the device had.
    pub(super) fn moved(
        &mut self,
        now: Instant,
        asked: Asked,
        (location, expected): (Location, Arc<Registration>),
        update: &Update,
        out: &mut dyn Sink,
    ) {
        if !self.resume(now, asked, (location, expected.address), out) {
            return;
        }
        let Stage::Registered(device) = &mut self.stage else { return };
        device.update(now, update);
        device.share(expected);
        device.heard(now);
        device.publish_event("update", out);
        device.publish_status(State::Online, out);
        self.keep(out);
        self.answer_when_kept(now, asked, None, out);
    }

    /// The rest of a Send that was the first word of a device after a restart.
    pub(super) fn resumed_by_send(
        &mut self,
        now: Instant,
        asked: Asked,
        (location, expected): (Location, Arc<Registration>),
        (content_format, body): (Option<u32>, Bytes),
        out: &mut dyn Sink,
    ) {
        if !self.resume(now, asked, (location, expected.address), out) {
            return;
        }
        let Stage::Registered(device) = &mut self.stage else { return };
        device.share(expected);
        device.publish_status(State::Online, out);
        self.receive_send(now, asked, content_format, &body, out);
    }

    /// The rest of a goodbye from another address.
    pub(super) fn resumed_by_goodbye(
        &mut self,
        now: Instant,
        asked: Asked,
        (location, expected): (Location, Arc<Registration>),
        out: &mut dyn Sink,
    ) {
        if self.resume(now, asked, (location, expected.address), out) {
            self.goodbye(now, asked, out);
        }
    }

    /// Takes the registration at a location over to an address, now that its session is. False if it ended
    /// meanwhile: then the device was told.
    fn resume(
        &mut self,
        now: Instant,
        asked: Asked,
        (location, address): (Location, SocketAddr),
        out: &mut dyn Sink,
    ) -> bool {
        let Some(moved) = self.registry.take(location, address) else {
            self.unknown(now, asked, out);
            out.close(Close::GOODBYE);
            return false;
        };
        let Moved { listed, observed } = moved;
        self.settle(now, listed, out);
        let Stage::Registered(device) = &mut self.stage else { return false };
        device.resume_observations(&observed);
        true
    }

    pub(super) fn unknown(&mut self, now: Instant, asked: Asked, out: &mut dyn Sink) {
        self.refuse(now, asked, Code::NOT_FOUND, "unknown registration: register again", out);
    }

    /// Another device behind the address. A session is opened once per adapter: the retransmission
    /// of this request will find a new one.
    pub(super) fn leave_to_another(&mut self, out: &mut dyn Sink) {
        self.keep_nothing(out);
        out.close(Close::because(Reason::SessionTakenOver));
        self.stage = Stage::Closed;
    }

    /// OMA LwM2M Core 1.1 section 6.2.3.
    pub(super) fn deregister(&mut self, now: Instant, asked: Asked, id: &str, out: &mut dyn Sink) {
        let location = Location::parse(id);
        if location.is_some() && self.device().map(|device| device.listed.location()) == location {
            return self.goodbye(now, asked, out);
        }
        let found = location.and_then(|location| Some((location, self.find(now, location)?)));
        match (found, &self.stage) {
            (Some((location, registration)), Stage::Unregistered { address, .. }) => {
                let registration = Arc::new(registration.moved(*address));
                self.begin(now, asked, registration, Goal::Deregister(location), out);
            }
            _ => self.refuse(now, asked, Code::NOT_FOUND, "unknown registration", out),
        }
    }
}
