use std::num::NonZeroU16;
use std::time::Duration;

use gateway_model::{
    Expiry, Message, Moment, PayloadFormat, Properties, Publish, RetainHandling, Subscription, Will,
};

use crate::decode::FirstHolders;
use crate::kind::{self, Kind};
use crate::{Away, Copy, CopyState, Delayed, MessageRecord, Record, SessionRecord};

/// The longest a number may be: seven bits in a byte.
const VARINT_MAX: usize = 10;

impl Record {
    /// Appends the record's kind and contents. `anchor` turns instants into wall-clock time.
    pub fn encode(&self, anchor: Moment, into: &mut Vec<u8>) {
        let out = &mut Encoder { bytes: into };
        match self {
            Self::Message(record) => out.message_record(record, anchor),
            Self::Settled { session, ordinals } => {
                out.begin(Kind::Settled, *session);
                out.number(ordinals.len() as u64);
                ordinals.iter().for_each(|ordinal| out.number(*ordinal));
            }
            Self::Received { session, ordinal } => {
                out.begin(Kind::Received, *session);
                out.number(*ordinal);
            }
            Self::Session(record) => out.session(record),
            Self::Attached { session, owner, expiry, will } => {
                out.begin(Kind::Attached, *session);
                out.number((*owner).into());
                out.expiry(*expiry);
                out.optional(will.as_deref(), Encoder::will);
            }
            Self::Away { session, expiry, away, will } => {
                out.begin(Kind::Away, *session);
                out.expiry(*expiry);
                out.away(away);
                out.optional(will.as_deref(), Encoder::will);
            }
            Self::Willed { session } => out.begin(Kind::Willed, *session),
            Self::Ended { session } => out.begin(Kind::Ended, *session),
            Self::Subscribed { session, subscription } => {
                out.begin(Kind::Subscribed, *session);
                out.subscription(subscription);
            }
            Self::Unsubscribed { session, filter } => {
                out.begin(Kind::Unsubscribed, *session);
                out.slice(filter.as_str().as_bytes());
            }
            Self::Held { session, id } => {
                out.begin(Kind::Held, *session);
                out.number(id.get().into());
            }
            Self::Released { session, id } => {
                out.begin(Kind::Released, *session);
                out.number(id.get().into());
            }
            Self::Kept { session, bytes } => {
                out.begin(Kind::Kept, *session);
                out.slice(bytes);
            }
            Self::Cleared { topic } => {
                out.byte(Kind::Cleared as u8);
                out.slice(topic.as_bytes());
            }
            Self::Undelayed { serial } => out.begin(Kind::Undelayed, *serial),
        }
    }

    /// Appends the record of a message anew, as it is in `record` but for who holds it.
    pub(crate) fn encode_anew(
        record: &[u8],
        message_len: usize,
        is_retained: bool,
        holders: &FirstHolders,
        into: &mut Vec<u8>,
    ) {
        const HOLDERS: u8 = kind::message::RETAINED | kind::message::DELAYED | kind::message::HELD;
        into.push(record[0]);
        into.push(
            record[1] & !HOLDERS
                | holder_flags(is_retained, holders.delayed.is_some(), holders.held.is_some()),
        );
        into.extend_from_slice(&record[2..message_len]);
        Encoder { bytes: into }.holders(&holders.copies, holders.delayed, holders.held);
    }
}

impl MessageRecord {
    /// No fewer bytes than the record of this message with so many copies needs, if the copies have
    /// so many subscription identifiers between them.
    pub fn size_max(message: &Message, copies: usize, identifiers: usize) -> usize {
        const FIXED: usize = 2 + 9 * VARINT_MAX;
        // Flags, session, ordinal, priority, count of identifiers, group, ticket.
        const COPY: usize = 1 + 2 * VARINT_MAX + 1 + 5 + 8 + 5;
        FIXED
            + message.topic.len()
            + message.payload.len()
            + message.publisher.as_str().len()
            + properties_size_max(message.properties.as_deref())
            + copies * COPY
            + identifiers * 5
    }
}

fn properties_size_max(properties: Option<&Properties>) -> usize {
    let Some(properties) = properties else { return 0 };
    let pair = |(key, value): &(Box<str>, Box<str>)| 2 * VARINT_MAX + key.len() + value.len();
    1 + 4 * VARINT_MAX
        + properties.content_type.as_ref().map_or(0, |text| text.len())
        + properties.response_topic.as_ref().map_or(0, |topic| topic.len())
        + properties.correlation_data.as_ref().map_or(0, |data| data.len())
        + properties.user_properties.iter().map(pair).sum::<usize>()
}

struct Encoder<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Encoder<'_> {
    /// The message first, so that reading it again does not need to look at the copies.
    fn message_record(&mut self, record: &MessageRecord, anchor: Moment) {
        let message = &*record.message;
        self.byte(Kind::Message as u8);
        self.byte(
            message.qos as u8
                | flag(message.retain, kind::message::RETAIN)
                | flag(message.expires_at.is_some(), kind::message::EXPIRES)
                | flag(message.properties.is_some(), kind::message::PROPERTIES)
                | holder_flags(record.retained, record.delayed.is_some(), record.held.is_some()),
        );
        self.slice(message.topic.as_bytes());
        self.slice(&message.payload);
        self.slice(message.publisher.as_str().as_bytes());
        self.number(message.accepted_unix_millis.get());
        if let Some(at) = message.expires_at {
            self.number(anchor.unix_millis_at(at));
        }
        if let Some(properties) = &message.properties {
            self.properties(properties);
        }
        self.holders(&record.copies, record.delayed, record.held);
    }

    fn holders(&mut self, copies: &[Copy], delayed: Option<Delayed>, held: Option<(u64, NonZeroU16)>) {
        if let Some(delayed) = delayed {
            self.number(delayed.serial);
            self.number(delayed.due_unix_millis);
        }
        if let Some((session, id)) = held {
            self.number(session);
            self.number(id.get().into());
        }
        self.number(copies.len() as u64);
        copies.iter().for_each(|copy| self.copy(copy));
    }

    fn copy(&mut self, copy: &Copy) {
        let state = match copy.state {
            CopyState::Waiting => 0,
            CopyState::Replayed => 1,
            CopyState::Moved => 2,
            CopyState::Received => 3,
        };
        let identifiers = copy.identifiers.as_slice();
        self.byte(
            copy.qos as u8
                | state << kind::copy::STATE_SHIFT
                | flag(copy.retain, kind::copy::RETAIN)
                | flag(copy.priority > 0, kind::copy::PRIORITY)
                | flag(!identifiers.is_empty(), kind::copy::IDENTIFIERS)
                | flag(copy.shared.is_some(), kind::copy::SHARED),
        );
        self.number(copy.session);
        self.number(copy.ordinal);
        if copy.priority > 0 {
            self.byte(copy.priority);
        }
        if !identifiers.is_empty() {
            self.number(identifiers.len() as u64);
            identifiers.iter().for_each(|identifier| self.number((*identifier).into()));
        }
        if let Some(shared) = copy.shared {
            // A hash: a varint would be longer.
            self.bytes.extend_from_slice(&shared.group.to_le_bytes());
            self.number(shared.ticket.into());
        }
    }

    fn session(&mut self, record: &SessionRecord) {
        self.begin(Kind::Session, record.number);
        self.slice(record.client_id.as_str().as_bytes());
        self.number(record.owner.into());
        self.expiry(record.expiry);
        self.optional(record.will.as_deref(), Self::will);
        self.optional(record.away.as_ref(), Self::away);
        self.number(record.next_ordinal);
        self.number(record.subscriptions.len() as u64);
        record.subscriptions.iter().for_each(|subscription| self.subscription(subscription));
        self.number(record.held.len() as u64);
        record.held.iter().for_each(|id| self.number(id.get().into()));
        self.optional(record.kept.as_deref(), Self::slice);
    }

    fn away(&mut self, away: &Away) {
        self.optional(away.ends_unix_millis.as_ref(), |out, millis| out.number(*millis));
        self.optional(away.will_unix_millis.as_ref(), |out, millis| out.number(*millis));
        self.number(away.sent_before);
    }

    fn expiry(&mut self, expiry: Expiry) {
        match expiry {
            Expiry::Immediately => self.byte(0),
            Expiry::After(duration) => {
                self.byte(1);
                self.duration(duration);
            }
            Expiry::Never => self.byte(2),
        }
    }

    fn subscription(&mut self, subscription: &Subscription) {
        let retain_handling = match subscription.retain_handling {
            RetainHandling::Always => 0,
            RetainHandling::IfNew => 1,
            RetainHandling::Never => 2,
        };
        self.byte(
            subscription.qos as u8
                | retain_handling << kind::subscription::RETAIN_SHIFT
                | flag(subscription.no_local, kind::subscription::NO_LOCAL)
                | flag(subscription.retain_as_published, kind::subscription::RETAIN_AS_PUBLISHED)
                | flag(subscription.identifier.is_some(), kind::subscription::IDENTIFIER),
        );
        self.slice(subscription.filter.as_str().as_bytes());
        if let Some(identifier) = subscription.identifier {
            self.number(identifier.get().into());
        }
    }

    fn will(&mut self, will: &Will) {
        let Publish { topic, payload, qos, retain, expiry, properties } = &will.publish;
        self.byte(
            *qos as u8
                | flag(*retain, kind::will::RETAIN)
                | flag(expiry.is_some(), kind::will::EXPIRES)
                | flag(properties.is_some(), kind::will::PROPERTIES),
        );
        self.slice(topic.as_bytes());
        self.slice(payload);
        self.duration(will.delay);
        if let Some(expiry) = expiry {
            self.duration(*expiry);
        }
        if let Some(properties) = properties {
            self.properties(properties);
        }
    }

    fn properties(&mut self, properties: &Properties) {
        let format = match properties.payload_format {
            None => 0,
            Some(PayloadFormat::Unspecified) => 1,
            Some(PayloadFormat::Utf8) => 2,
        };
        self.byte(
            format
                | flag(properties.content_type.is_some(), kind::properties::CONTENT_TYPE)
                | flag(properties.response_topic.is_some(), kind::properties::RESPONSE_TOPIC)
                | flag(properties.correlation_data.is_some(), kind::properties::CORRELATION_DATA)
                | flag(!properties.user_properties.is_empty(), kind::properties::USER_PROPERTIES),
        );
        if let Some(text) = &properties.content_type {
            self.slice(text.as_bytes());
        }
        if let Some(topic) = &properties.response_topic {
            self.slice(topic.as_bytes());
        }
        if let Some(data) = &properties.correlation_data {
            self.slice(data);
        }
        if !properties.user_properties.is_empty() {
            self.number(properties.user_properties.len() as u64);
            for (key, value) in &properties.user_properties {
                self.slice(key.as_bytes());
                self.slice(value.as_bytes());
            }
        }
    }

    fn begin(&mut self, kind: Kind, subject: u64) {
        self.byte(kind as u8);
        self.number(subject);
    }

    fn optional<T: ?Sized>(&mut self, value: Option<&T>, encode: impl FnOnce(&mut Self, &T)) {
        self.byte(value.is_some().into());
        if let Some(value) = value {
            encode(self, value);
        }
    }

    fn duration(&mut self, duration: Duration) {
        self.number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }

    fn slice(&mut self, slice: &[u8]) {
        self.number(slice.len() as u64);
        self.bytes.extend_from_slice(slice);
    }

    /// Seven bits in a byte, the lowest first.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }
}

fn holder_flags(is_retained: bool, is_delayed: bool, is_held: bool) -> u8 {
    flag(is_retained, kind::message::RETAINED)
        | flag(is_delayed, kind::message::DELAYED)
        | flag(is_held, kind::message::HELD)
}

fn flag(is_set: bool, bit: u8) -> u8 {
    if is_set { bit } else { 0 }
}
