//! `GET` of a topic: its retained message.

use std::sync::Arc;
use std::time::Instant;

use coap_lite::Packet;
use gateway_model::{Message, Reason, Request, Sink, Topic, TopicFilter};

use crate::bodies::ETAG_KEPT_LEN_MIN;
use crate::endpoint::Endpoint;
use crate::message::{Code, with_code};
use crate::pending::{Read, What};
use crate::request::{Asked, ReplyTo};
use crate::translate::{Refused, etag_of, represent};

impl Endpoint {
    pub(crate) fn read(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        topic: &[u8],
        to: ReplyTo,
        out: &mut dyn Sink,
    ) {
        let topic = match out.topic(topic) {
            Ok(topic) => topic,
            Err(error) => {
                return self.refuse(now, to, &Refused::new(Code::BAD_REQUEST, error.to_string()), out);
            }
        };
        let read = Read { wanted: asked.wanted.clone(), empty_is_content: asked.observe == Some(1) };
        if read.wanted.block.is_some_and(|block| block.number > 0)
            && let Some(notified) = self.bodies.as_ref().and_then(|bodies| bodies.large.find(&topic))
        {
            return self.retrieved(now, to, &read, Ok(vec![notified]), out);
        }
        let filter = TopicFilter::from(&topic);
        if let Some(ticket) = self.wait(now, to, What::Read(Box::new(read)), out) {
            out.request(ticket, Request::Retained { filter, limit: 1 });
        }
    }

    pub(crate) fn retrieved(
        &mut self,
        now: Instant,
        to: ReplyTo,
        read: &Read,
        retained: Result<Vec<Arc<Message>>, Reason>,
        out: &mut dyn Sink,
    ) {
        let packet = retained
            .map_err(Refused::because)
            .and_then(|retained| self.show(now, read, retained.first().filter(|m| !m.is_expired(now))));
        match packet {
            Ok(packet) => self.answer(now, to, packet, out),
            Err(refused) => self.refuse(now, to, &refused, out),
        }
    }

    /// The retained message, or what stands for its absence.
    pub(crate) fn show(
        &mut self,
        now: Instant,
        read: &Read,
        message: Option<&Arc<Message>>,
    ) -> Result<Packet, Refused> {
        match message {
            Some(message) => {
                let etag = self.etag(message);
                represent(message, etag, now, &read.wanted, self.config.szx())
            }
            None if read.empty_is_content => Ok(with_code(Code::CONTENT)),
            None => Err(Refused::new(Code::NOT_FOUND, "the topic has no retained message")),
        }
    }

    pub(crate) fn etag(&mut self, message: &Arc<Message>) -> [u8; 8] {
        if message.payload.len() < ETAG_KEPT_LEN_MIN {
            return etag_of(message);
        }
        self.bodies().etag(message)
    }
}

/// A topic's path segments, for Location-Path.
pub(crate) fn location_of(topic: &Topic) -> impl Iterator<Item = &str> {
    std::iter::once("ps").chain(topic.levels())
}
