//! A protocol for devices that can do no better than lines of text:
//!
//! ```text
//! device:  SUB plant/+/command⏎          gateway:  OK⏎   plant/7/command open the valve⏎
//!          PUB plant/7/level 42⏎                   OK⏎
//! ```
//!
//! `OK` is said when what the line asked for is durable, and the next line is not read before.

use std::time::Instant;

use gateway_model::{
    Adapter, Close, Deliveries, Event, Open, Outcome, Peer, Protocol, Publish, Qos, Reason, Reply, Request,
    Sink, Subscription, Ticket, TopicFilter,
};

const LINE_LEN_MAX: usize = 4096;

pub struct Lines;

impl Protocol for Lines {
    fn connect(&self, _: Instant, _: &Peer, _: u64) -> Box<dyn Adapter> {
        Box::new(Connection::Fresh)
    }
}

/// One device: Fresh ──first byte──▶ Busy ──Opened──▶ Open ──line──▶ Busy ──reply──▶ Open
/// While it is busy nothing is read.
#[derive(Clone, Copy, PartialEq)]
enum Connection {
    Fresh,
    Busy,
    Open,
}

impl Connection {
    /// The last line is done with. After one that was refused no other is read.
    fn answer(&mut self, reason: Reason, out: &mut dyn Sink) {
        if reason.is_error() {
            return out.close(Close::because(reason));
        }
        *self = Self::Open;
        out.wire().extend(b"OK\n");
    }
}

impl Adapter for Connection {
    fn receive(&mut self, _: Instant, bytes: &[u8], out: &mut dyn Sink) -> usize {
        if *self == Self::Fresh {
            *self = Self::Busy;
            out.request(Ticket(0), Request::Open(Box::new(Open::transient())));
        }
        // What is not consumed now the driver shows again, after every event too.
        let mut consumed = 0;
        while let (Self::Open, Some(len)) = (*self, bytes[consumed..].iter().position(|b| *b == b'\n')) {
            *self = Self::Busy;
            if let Ok(Outcome::Done(reason)) | Err(reason) = command(&bytes[consumed..consumed + len], out) {
                self.answer(reason, out);
            }
            consumed += len + 1;
        }
        if *self == Self::Open && bytes.len() - consumed > LINE_LEN_MAX {
            out.close(Close::because(Reason::PacketTooLarge));
        }
        consumed
    }

    fn handle(&mut self, _: Instant, event: Event, out: &mut dyn Sink) {
        match event {
            Event::Reply(_, Reply::Opened(Ok(_))) => *self = Self::Open,
            Event::Reply(_, Reply::Published(reason)) => self.answer(reason, out),
            Event::Reply(_, Reply::Subscribed(reasons)) => self.answer(reasons[0], out),
            Event::Reply(_, Reply::Opened(Err(refusal))) => out.close(Close::because(refusal.reason)),
            Event::Evicted(reason) => out.close(Close::because(reason)),
            _ => {}
        }
    }

    fn deliver(&mut self, now: Instant, outbox: &mut dyn Deliveries, out: &mut dyn Sink) {
        while out.has_room() {
            let Some(outgoing) = outbox.next(now) else { return };
            let wire = out.wire();
            wire.extend(outgoing.message.topic.as_bytes());
            wire.push(b' ');
            wire.append(&outgoing.message.payload);
            wire.push(b'\n');
            // At QoS 0 what is taken is delivered. Above, say with `settle` what became of it.
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    fn protocol(&self) -> &'static str {
        "lines"
    }
}

fn command(line: &[u8], out: &mut dyn Sink) -> Result<Outcome, Reason> {
    match line.split_at_checked(4) {
        Some((b"PUB ", rest)) => {
            let mut parts = rest.splitn(2, |byte| *byte == b' ');
            let topic = out.topic(parts.next().unwrap_or_default()).map_err(|_| Reason::TopicNameInvalid)?;
            let payload = parts.next().unwrap_or_default().to_vec();
            let publish = Publish { qos: Qos::AtLeastOnce, ..Publish::new(topic, payload) };
            Ok(out.publish(Ticket(0), publish, None))
        }
        Some((b"SUB ", filter)) => {
            let filter = TopicFilter::parse_bytes(filter).map_err(|_| Reason::TopicFilterInvalid)?;
            out.request(Ticket(0), Request::Subscribe(vec![Subscription::new(filter, Qos::AtMostOnce)]));
            Ok(Outcome::Later)
        }
        _ => Err(Reason::MalformedPacket),
    }
}

#[cfg(test)]
mod tests;
