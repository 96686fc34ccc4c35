//! `PUT`, `POST` and `DELETE` on a topic.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gateway_model::{Message, Outcome, Publish, Qos, Reason, Request, Sink, TopicFilter};

use crate::block::Upload;
use crate::datagram::Datagram;
use crate::endpoint::Endpoint;
use crate::message::{Code, add_uint, number, with_code};
use crate::pending::What;
use crate::request::{Asked, ReplyTo};
use crate::translate::{Refused, etag_of, properties_of};

/// If-Match and If-None-Match (RFC 7252 section 5.10.8).
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    /// `Some(vec![])` stands for an empty If-Match: any value will do.
    if_match: Option<Vec<[u8; 8]>>,
    if_none_match: bool,
}

impl Condition {
    fn of(datagram: &Datagram<'_>) -> Self {
        let mut condition = Self { if_match: None, if_none_match: false };
        let mut any = false;
        for value in datagram.values(number::IF_MATCH) {
            any |= value.is_empty();
            condition.if_match.get_or_insert_default().extend(<[u8; 8]>::try_from(value));
        }
        if any {
            condition.if_match = Some(Vec::new());
        } else if condition.if_match.as_ref().is_some_and(Vec::is_empty) {
            // Only ETags that are none of ours: nothing can match.
            condition.if_match = Some(vec![[0; 8]]);
        }
        condition.if_none_match = datagram.values(number::IF_NONE_MATCH).next().is_some();
        condition
    }

    fn is_met(&self, current: Option<&Message>) -> bool {
        if self.if_none_match && current.is_some() {
            return false;
        }
        match (&self.if_match, current) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(etags), Some(message)) => etags.is_empty() || etags.contains(&etag_of(message)),
        }
    }
}

impl Endpoint {
    pub(crate) fn publish(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        topic: &[u8],
        mut to: ReplyTo,
        out: &mut dyn Sink,
    ) {
        // Once it is published there is no way back, so the bound stands before it.
        if self.pending.len() >= self.config.pending_max.max(1) {
            return self.refuse(now, to, &Refused::busy("too many requests wait"), out);
        }
        let topic = match out.topic(topic) {
            Ok(topic) => topic,
            Err(error) => {
                return self.refuse(now, to, &Refused::new(Code::BAD_REQUEST, error.to_string()), out);
            }
        };
        let Some(payload) = self.body(now, asked, &mut to, out) else { return };
        let confirmable = to.origin.confirmable;
        let (retain, code, payload) = match asked.datagram.code {
            Code::DELETE => (true, Code::DELETED, Bytes::new()),
            Code::PUT => (asked.retain.unwrap_or(self.config.put_retain), Code::CHANGED, payload),
            _ => (asked.retain.unwrap_or(false), Code::CHANGED, payload),
        };
        let publish = Publish {
            topic,
            payload,
            qos: asked.qos.unwrap_or(if confirmable { Qos::AtLeastOnce } else { Qos::AtMostOnce }),
            retain,
            expiry: asked.expiry,
            properties: properties_of(asked.content_format),
        };
        if !asked.has_conditions {
            return self.submit(now, to, publish, code, out);
        }
        let filter = TopicFilter::from(&publish.topic);
        let what = What::Condition(Box::new((publish, Condition::of(&asked.datagram), code)));
        if let Some(ticket) = self.wait(now, to, what, out) {
            out.request(ticket, Request::Retained { filter, limit: 1 });
        }
    }

    /// The request's body, once it is complete.
    fn body(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        to: &mut ReplyTo,
        out: &mut dyn Sink,
    ) -> Option<Bytes> {
        let Some(block) = asked.block1 else {
            if asked.datagram.payload.len() > self.config.body_bytes_max {
                self.refuse_too_large(now, *to, self.config.body_bytes_max, out);
                return None;
            }
            return Some(Bytes::copy_from_slice(asked.datagram.payload));
        };
        match self.bodies().uploads.receive(now, &asked.datagram, block) {
            Upload::Complete(body, block) => {
                to.block1 = Some(block);
                return Some(body);
            }
            Upload::Continue(block) => {
                to.block1 = Some(block);
                self.answer(now, *to, with_code(Code::CONTINUE), out);
            }
            Upload::Incomplete => {
                let refused = Refused::new(Code::REQUEST_ENTITY_INCOMPLETE, "a block is missing");
                self.refuse(now, *to, &refused, out);
            }
            Upload::Malformed => {
                let refused = Refused::new(Code::BAD_REQUEST, "a block that is not the last is not full");
                self.refuse(now, *to, &refused, out);
            }
            Upload::TooLarge(bytes_max) => self.refuse_too_large(now, *to, bytes_max, out),
        }
        None
    }

    fn refuse_too_large(&mut self, now: Instant, to: ReplyTo, bytes_max: usize, out: &mut dyn Sink) {
        let mut packet = Refused::new(Code::REQUEST_ENTITY_TOO_LARGE, "the body is too large").packet();
        add_uint(&mut packet, number::SIZE1, u32::try_from(bytes_max).unwrap_or(u32::MAX));
        self.answer(now, to, packet, out);
    }

    fn submit(&mut self, now: Instant, to: ReplyTo, publish: Publish, code: Code, out: &mut dyn Sink) {
        let ticket = self.next_ticket();
        match out.publish(ticket, publish, None) {
            Outcome::Done(reason) => self.published(now, to, reason, code, out),
            Outcome::Later => self.wait_for(now, ticket, to, What::Published(code)),
        }
    }

    pub(crate) fn published(
        &mut self,
        now: Instant,
        to: ReplyTo,
        reason: Reason,
        code: Code,
        out: &mut dyn Sink,
    ) {
        if reason.is_error() {
            self.refuse(now, to, &Refused::because(reason), out);
        } else if to.block1.is_some() {
            self.answer(now, to, with_code(code), out);
        } else if to.suppresses(code) {
            self.answer_nothing(to, out);
        } else {
            self.exchanges.reply_bare(now, to.origin, code, out.wire());
        }
    }

    pub(crate) fn conditioned(
        &mut self,
        now: Instant,
        to: ReplyTo,
        (publish, condition, code): (Publish, Condition, Code),
        retained: Result<Vec<Arc<Message>>, Reason>,
        out: &mut dyn Sink,
    ) {
        let retained = match retained {
            Ok(retained) => retained,
            Err(reason) => return self.refuse(now, to, &Refused::because(reason), out),
        };
        let current = retained.first().map(|message| &**message);
        if !condition.is_met(current) {
            return self.refuse(
                now,
                to,
                &Refused::new(Code::PRECONDITION_FAILED, "the value has changed"),
                out,
            );
        }
        let creates = current.is_none() && publish.retain && code == Code::CHANGED;
        self.submit(now, to, publish, if creates { Code::CREATED } else { code }, out);
    }
}
