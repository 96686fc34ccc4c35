use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gateway_model::{Reason, Sink, Ticket};
use protocol_coap::block::Block;
use protocol_coap::exchange::Origin;
use protocol_coap::message::Code;

use super::{Asked, Endpoint, Goal, Stage, refusal_code};
use crate::codec::Format;
use crate::path::Path;
use crate::translate::Source;

/// A Send whose values are not all durable yet.
pub(super) struct PendingSend {
    ticket: Ticket,
    origin: Origin,
    block: Option<Block>,
    left: usize,
    refused: Option<Reason>,
}

impl Endpoint {
    /// Data that the device sends on its own (OMA LwM2M Core 1.1 section 6.4.5): acknowledged when
    /// the gateway has them safely.
    pub(super) fn receive_send(
        &mut self,
        now: Instant,
        asked: Asked,
        content_format: Option<u32>,
        body: &Bytes,
        out: &mut dyn Sink,
    ) {
        let ticket = self.next_ticket();
        let Some(device) = self.device() else {
            return self.receive_send_unregistered(now, asked, content_format, body, out);
        };
        let number = content_format.and_then(|number| u16::try_from(number).ok());
        let format = number.and_then(Format::from_number);
        let Some(format @ (Format::SenmlJson | Format::SenmlCbor)) = format else {
            return self.refuse(now, asked, Code::UNSUPPORTED_CONTENT_FORMAT, "send SenML: 110 or 112", out);
        };
        let readings = match format.decode(Path::ROOT, body) {
            Ok(readings) => readings,
            Err(error) => return self.refuse(now, asked, Code::BAD_REQUEST, &error.to_string(), out),
        };
        let (left, refused) = device.publish_values(&readings, Source::Send, ticket, out);
        let send = PendingSend { ticket, origin: asked.0, block: asked.1, left, refused };
        if left == 0 {
            self.accepted(now, &send, out);
        } else {
            self.owed().sends.push(send);
        }
    }

    /// It may have registered before a restart.
    fn receive_send_unregistered(
        &mut self,
        now: Instant,
        asked: Asked,
        content_format: Option<u32>,
        body: &Bytes,
        out: &mut dyn Sink,
    ) {
        if let Stage::Unregistered { address, .. } = self.stage
            && let Some((location, registration)) = self.registry.find_absent(now, address)
        {
            let goal = Goal::Send(location, (content_format, body.clone()));
            let registration = Arc::new(registration.moved(address));
            return self.begin(now, asked, registration, goal, out);
        }
        self.refuse(now, asked, Code::NOT_FOUND, "register first", out);
    }

    pub(super) fn published(&mut self, now: Instant, ticket: Ticket, reason: Reason, out: &mut dyn Sink) {
        let Some(sends) = self.owed.as_mut().map(|owed| &mut owed.sends) else { return };
        let Some(place) = sends.iter().position(|send| send.ticket == ticket) else { return };
        let Some(send) = sends.get_mut(place) else { return };
        send.left -= 1;
        if reason.is_error() {
            send.refused = send.refused.or(Some(reason));
        }
        if send.left == 0 {
            let send = sends.swap_remove(place);
            self.rest();
            self.accepted(now, &send, out);
        }
    }

    fn accepted(&mut self, now: Instant, send: &PendingSend, out: &mut dyn Sink) {
        let asked = (send.origin, send.block);
        match send.refused {
            None => self.answer(now, asked, Code::CHANGED, out),
            Some(reason) => self.refuse(now, asked, refusal_code(reason), reason.name(), out),
        }
    }
}
