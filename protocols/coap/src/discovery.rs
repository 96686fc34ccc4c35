//! `GET /.well-known/core` and `GET /ps`: what there is (RFC 6690).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use coap_lite::CoapOption;
use gateway_model::{Message, Reason, Request, Sink, TopicFilter};

use crate::block::serve;
use crate::content_format::{LINK_FORMAT, from_media_type};
use crate::endpoint::Endpoint;
use crate::link_format::{Link, write};
use crate::message::{Code, add_uint, number, with_code};
use crate::pending::What;
use crate::request::{Asked, ReplyTo, Resource};
use crate::translate::{Refused, Wanted, add_piece, hash};

/// A request for links.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    /// `/.well-known/core` also names the entry point; `/ps` only what is in it.
    with_entry: bool,
    /// Query parameters that every link must match (RFC 6690 section 4.1).
    filters: Vec<(Box<str>, Box<str>)>,
    wanted: Wanted,
}

impl From<&Asked<'_>> for Listing {
    fn from(asked: &Asked<'_>) -> Self {
        let credentials = ["clientid", "c", "username", "u", "password", "p"];
        let filters = asked.datagram.texts(number::URI_QUERY).filter_map(|query| query.split_once('='));
        Self {
            with_entry: asked.resource == Resource::Discovery,
            filters: filters
                .filter(|(name, _)| !credentials.contains(name))
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            wanted: asked.wanted.clone(),
        }
    }
}

impl From<Asked<'_>> for Listing {
    fn from(asked: Asked<'_>) -> Self {
        Self::from(&asked)
    }
}

impl Endpoint {
    pub(crate) fn list(&mut self, now: Instant, asked: &Asked<'_>, to: ReplyTo, out: &mut dyn Sink) {
        let Ok(filter) = TopicFilter::parse("#") else { return };
        if let Some(ticket) = self.wait(now, to, What::List(Box::new(asked.into())), out) {
            out.request(ticket, Request::Retained { filter, limit: self.config.discovery_topics_max });
        }
    }

    pub(crate) fn listed(
        &mut self,
        now: Instant,
        to: ReplyTo,
        listing: &Listing,
        retained: Result<Vec<Arc<Message>>, Reason>,
        out: &mut dyn Sink,
    ) {
        // Who may not read everything still sees the entry point.
        self.list_topics(now, to, listing, &retained.unwrap_or_default(), out);
    }

    pub(crate) fn list_topics(
        &mut self,
        now: Instant,
        to: ReplyTo,
        listing: &Listing,
        retained: &[Arc<Message>],
        out: &mut dyn Sink,
    ) {
        if listing.wanted.accept.is_some_and(|accept| accept != LINK_FORMAT) {
            let refused = Refused::new(Code::NOT_ACCEPTABLE, "links are application/link-format");
            return self.refuse(now, to, &refused, out);
        }
        let mut links = topic_links(retained);
        // Sorted, so that the blocks of two requests fit together.
        links.sort_by(|a, b| a.target.cmp(&b.target));
        if listing.with_entry {
            links.insert(0, Link::new("/ps").with("rt", "core.ps").with("ct", LINK_FORMAT));
        }
        links.retain(|link| listing.filters.iter().all(|(name, value)| link.matches(name, value)));
        let body = Bytes::from(write(&links));
        let etag = hash([&body]);
        let Some(piece) = serve(&body, listing.wanted.block, self.config.szx()) else {
            return self.refuse(
                now,
                to,
                &Refused::new(Code::BAD_REQUEST, "the block lies behind the end"),
                out,
            );
        };
        let valid = listing.wanted.etags.contains(&etag);
        let mut packet = with_code(if valid { Code::VALID } else { Code::CONTENT });
        packet.add_option(CoapOption::ETag, etag.to_vec());
        if !valid {
            add_uint(&mut packet, number::CONTENT_FORMAT, u32::from(LINK_FORMAT));
            add_piece(&mut packet, piece, body.len());
        }
        self.answer(now, to, packet, out);
    }
}

fn topic_links(retained: &[Arc<Message>]) -> Vec<Link> {
    let link = |message: &Arc<Message>| {
        let mut target = String::from("/ps");
        for level in message.topic.levels() {
            target.push('/');
            percent_encode(level, &mut target);
        }
        let link = Link::new(target).with("rt", "core.ps.data").with("sz", message.payload.len());
        let content_type =
            message.properties.as_ref().and_then(|properties| properties.content_type.as_deref());
        match content_type.and_then(from_media_type) {
            Some(format) => link.with("ct", format),
            None => link,
        }
    };
    retained.iter().map(link).collect()
}

/// RFC 3986 section 3.3: everything but `pchar` is escaped.
fn percent_encode(segment: &str, text: &mut String) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or('0');
            text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}
