//! A protocol for devices that can do no better than lines of text:
//!
//! ```text
//! device:  SUB plant/+/command⏎          gateway:  plant/7/command open the valve⏎
//!          PUB plant/7/level 42⏎
//! ```

use std::time::Instant;

use bytes::Bytes;
use gateway_model::{
    Adapter, Close, Deliveries, Event, Open, Outcome, Peer, Protocol, Publish, Qos, Reason, Reply, Request,
    Settlement, Sink, Subscription, Ticket, TopicFilter,
};

/// No line may be longer, in bytes.
const LINE_LEN_MAX: usize = 4096;

pub struct Lines;

impl Protocol for Lines {
    fn connect(&self, _: Instant, _: &Peer, _: u64) -> Box<dyn Adapter> {
        Box::new(Connection::Fresh)
    }
}

/// One device. Fresh ──first byte──▶ Opening ──Opened──▶ Open
enum Connection {
    Fresh,
    Opening,
    Open,
}

impl Adapter for Connection {
    fn receive(&mut self, _: Instant, bytes: &[u8], out: &mut dyn Sink) -> usize {
        match self {
            // Nothing is consumed until the session is open: the driver shows the bytes again.
            Self::Fresh => {
                *self = Self::Opening;
                out.request(Ticket(0), Request::Open(Box::new(Open::transient())));
                0
            }
            Self::Opening => 0,
            Self::Open => {
                let mut consumed = 0;
                while let Some(len) = bytes[consumed..].iter().position(|byte| *byte == b'\n') {
                    if let Err(reason) = command(&bytes[consumed..consumed + len], out) {
                        out.close(Close::because(reason));
                    }
                    consumed += len + 1;
                }
                if bytes.len() - consumed > LINE_LEN_MAX {
                    out.close(Close::because(Reason::PacketTooLarge));
                }
                consumed
            }
        }
    }

    fn handle(&mut self, _: Instant, event: Event, out: &mut dyn Sink) {
        match event {
            Event::Reply(_, Reply::Opened(Ok(_))) => *self = Self::Open,
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
            // Lines are not acknowledged: written is delivered.
            if let Some(id) = outgoing.id {
                out.settle(id, Settlement::Delivered);
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    fn protocol(&self) -> &'static str {
        "lines"
    }
}

fn command(line: &[u8], out: &mut dyn Sink) -> Result<(), Reason> {
    match line.split_at_checked(4) {
        Some((b"PUB ", rest)) => {
            let mut parts = rest.splitn(2, |byte| *byte == b' ');
            let topic = out.topic(parts.next().unwrap_or_default()).map_err(|_| Reason::TopicNameInvalid)?;
            let payload = Bytes::copy_from_slice(parts.next().unwrap_or_default());
            match out.publish(Ticket(0), Publish::new(topic, payload), None) {
                Outcome::Done(reason) if reason.is_error() => Err(reason),
                _ => Ok(()),
            }
        }
        Some((b"SUB ", filter)) => {
            let filter = TopicFilter::parse_bytes(filter).map_err(|_| Reason::TopicFilterInvalid)?;
            let subscription = Subscription::new(filter, Qos::AtMostOnce);
            out.request(Ticket(0), Request::Subscribe(vec![subscription]));
            Ok(())
        }
        _ => Err(Reason::MalformedPacket),
    }
}

#[cfg(test)]
mod tests;
