//! What the device is told only when it is durable.

use std::time::Instant;

use bytes::Bytes;
use coap_lite::CoapOption;
use gateway_model::{Close, Expiry, Request, Sink, Ticket};
use protocol_coap::message::{Code, number};

use super::{Asked, Endpoint, Leaving, Stage, coded};
use crate::location::Location;
use crate::translate::State;

/// The answer to a registration or an Update, until that is kept.
pub(super) struct Waiting {
    ticket: Ticket,
    asked: Asked,
    /// The location of a new registration.
    created: Option<Location>,
}

impl Endpoint {
    /// Keeps the registration as it is now.
    pub(super) fn keep(&mut self, out: &mut dyn Sink) {
        let Some(device) = self.device() else { return };
        let kept = device.kept();
        let ticket = self.next_ticket();
        self.owed().keeping = Some(ticket);
        out.request(ticket, Request::Keep(kept));
    }

    /// The registration is over: a restart must not bring it back.
    pub(super) fn keep_nothing(&mut self, out: &mut dyn Sink) -> Ticket {
        let ticket = self.next_ticket();
        self.owed().keeping = Some(ticket);
        out.request(ticket, Request::Keep(Bytes::new()));
        ticket
    }

    /// Says yes when the registration is kept as it is now: 2.01 with a location, else 2.04.
    pub(super) fn answer_when_kept(
        &mut self,
        now: Instant,
        asked: Asked,
        created: Option<Location>,
        out: &mut dyn Sink,
    ) {
        match self.owed.as_ref().and_then(|owed| owed.keeping) {
            Some(ticket) => self.owed().waiting.push(Waiting { ticket, asked, created }),
            None => self.answer_kept(now, asked, created, out),
        }
    }

    fn answer_kept(&mut self, now: Instant, asked: Asked, created: Option<Location>, out: &mut dyn Sink) {
        let Some(location) = created else { return self.answer(now, asked, Code::CHANGED, out) };
        let mut packet = coded(Code::CREATED, asked.1);
        packet.add_option(CoapOption::LocationPath, b"rd".to_vec());
        packet.add_option(number::LOCATION_PATH.into(), location.to_string().into_bytes());
        self.exchanges.reply(now, asked.0, &mut packet, out.wire());
    }

    pub(super) fn kept(&mut self, now: Instant, ticket: Ticket, out: &mut dyn Sink) {
        if let Stage::Leaving(leaving) = &self.stage
            && leaving.ticket == ticket
        {
            self.answer(now, leaving.asked, Code::DELETED, out);
            return self.end(now, Close { expiry: Some(Expiry::Immediately), ..Close::GOODBYE }, out);
        }
        let Some(owed) = &mut self.owed else { return };
        owed.keeping.take_if(|keeping| *keeping == ticket);
        let (done, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut owed.waiting).into_iter().partition(|waiting| waiting.ticket == ticket);
        owed.waiting = others;
        self.rest();
        for Waiting { asked, created, .. } in done {
            self.answer_kept(now, asked, created, out);
        }
    }

    /// The device says goodbye; it is told that it was heard when it cannot come back by a restart.
    pub(super) fn goodbye(&mut self, now: Instant, asked: Asked, out: &mut dyn Sink) {
        let Stage::Registered(device) = &mut self.stage else { return };
        device.publish_event("deregister", out);
        device.publish_status(State::Offline, out);
        let address = device.registration().address;
        let ticket = self.keep_nothing(out);
        let leaving = Box::new(Leaving { asked, ticket, address });
        let before = std::mem::replace(&mut self.stage, Stage::Leaving(leaving));
        if let Stage::Registered(mut device) = before {
            device.listed.end();
            device.take_back(now, &mut self.exchanges, out);
        }
    }
}
