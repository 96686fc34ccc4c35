use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_model::{
    ClientId, Expiry, Identifiers, Message, Moment, PayloadFormat, Properties, Publish, Qos, RetainHandling,
    Stored, Subscription, Topic, TopicFilter, Will,
};
use smallvec::SmallVec;

use crate::kind::{self, Kind};
use crate::{Away, Copy, CopyState, Delayed, MessageRecord, Place, Record, SessionRecord, Shared};

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the record is of the unknown kind {0}")]
    UnknownKind(u8),
    #[error("the record ends early")]
    EndsEarly,
    #[error("the record has something wrong for its {0}")]
    Wrong(&'static str),
    #[error("the record is longer than its contents")]
    TooLong,
    #[error("the record is no message")]
    NoMessage,
}

impl DecodeError {
    /// The same in words that are there for ever.
    pub fn what(self) -> &'static str {
        match self {
            Self::UnknownKind(_) => "the kind",
            Self::EndsEarly | Self::TooLong => "the length",
            Self::Wrong(what) => what,
            Self::NoMessage => "the kind: it is no message",
        }
    }
}

/// What replaying needs of a message's record: everything but the message itself.
#[derive(Debug)]
pub(crate) struct Outline {
    /// [`Message::size`] of the message.
    pub size: u32,
    /// Of a retained message.
    pub topic: Option<Topic>,
    pub holders: FirstHolders,
    /// How many bytes at the beginning of the record are the message's.
    pub message_len: usize,
}

/// Who holds a message from the beginning.
#[derive(Debug, Default)]
pub(crate) struct FirstHolders {
    pub copies: SmallVec<[Copy; 1]>,
    pub delayed: Option<Delayed>,
    pub held: Option<(u64, NonZeroU16)>,
}

/// A record as replaying takes it.
#[derive(Debug)]
pub(crate) enum Replayed {
    Message(Outline),
    Other(Record),
}

impl Record {
    /// Reads what [`Record::encode`] wrote, to the last byte. `place` is where it was; messages bear
    /// it from then on. `anchor` turns wall-clock time into instants.
    pub fn decode(bytes: &[u8], anchor: Moment, place: Place) -> Result<Record, DecodeError> {
        let mut input = Decoder { rest: bytes };
        let record = match input.kind()? {
            Kind::Message => {
                let (message, flags) = input.message(anchor, place)?;
                let message = Arc::new(message);
                let FirstHolders { copies, delayed, held } = input.holders(flags)?;
                let retained = flags & kind::message::RETAINED != 0;
                Self::Message(MessageRecord { message, copies, retained, delayed, held })
            }
            kind => input.other(kind)?,
        };
        input.end().map(|()| record)
    }

    /// Reads only the message of a record that has one, without looking at who holds it.
    pub fn decode_message(bytes: &[u8], anchor: Moment, place: Place) -> Result<Message, DecodeError> {
        let mut input = Decoder { rest: bytes };
        match input.kind()? {
            Kind::Message => Ok(input.message(anchor, place)?.0),
            _ => Err(DecodeError::NoMessage),
        }
    }

    /// Reads a record without its message.
    pub(crate) fn decode_replayed(bytes: &[u8]) -> Result<Replayed, DecodeError> {
        let mut input = Decoder { rest: bytes };
        let replayed = match input.kind()? {
            Kind::Message => Replayed::Message(input.outline(bytes.len())?),
            kind => Replayed::Other(input.other(kind)?),
        };
        input.end().map(|()| replayed)
    }
}

/// What is left to read.
struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn kind(&mut self) -> Result<Kind, DecodeError> {
        let byte = self.byte()?;
        Kind::from_u8(byte).ok_or(DecodeError::UnknownKind(byte))
    }

    /// The message of a record, and the flags that say what follows.
    fn message(&mut self, anchor: Moment, place: Place) -> Result<(Message, u8), DecodeError> {
        let flags = self.byte()?;
        let message = Message {
            topic: self.topic()?,
            payload: self.bytes()?,
            publisher: self.client_id()?,
            accepted_unix_millis: self.number()?.into(),
            expires_at: match flags & kind::message::EXPIRES {
                0 => None,
                _ => Some(anchor.instant_at(self.number()?)),
            },
            properties: match flags & kind::message::PROPERTIES {
                0 => None,
                _ => Some(Arc::new(self.properties()?)),
            },
            qos: qos(flags)?,
            retain: flags & kind::message::RETAIN != 0,
            stored: Stored::at(place.number()),
        };
        Ok((message, flags))
    }

    /// The same as [`Decoder::message`], but nothing is made of it.
    fn outline(&mut self, record_len: usize) -> Result<Outline, DecodeError> {
        let flags = self.byte()?;
        qos(flags)?;
        let topic = self.slice()?;
        let payload = self.slice()?;
        self.slice()?;
        self.number()?;
        if flags & kind::message::EXPIRES != 0 {
            self.number()?;
        }
        let mut size = Message::SIZE_MIN + topic.len() + payload.len();
        if flags & kind::message::PROPERTIES != 0 {
            size += self.skip_properties()?;
        }
        let topic = match flags & kind::message::RETAINED {
            0 => None,
            _ => Some(Topic::parse_bytes(topic).map_err(|_| DecodeError::Wrong("topic"))?),
        };
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let message_len = record_len - self.rest.len();
        Ok(Outline { size, topic, holders: self.holders(flags)?, message_len })
    }

    /// What follows the message in its record.
    fn holders(&mut self, flags: u8) -> Result<FirstHolders, DecodeError> {
        let delayed = match flags & kind::message::DELAYED {
            0 => None,
            _ => Some(Delayed { serial: self.number()?, due_unix_millis: self.number()? }),
        };
        let held = match flags & kind::message::HELD {
            0 => None,
            _ => Some((self.number()?, self.packet_id()?)),
        };
        let count = self.count(3)?;
        let mut copies = SmallVec::with_capacity(count);
        for _ in 0..count {
            copies.push(self.copy()?);
        }
        Ok(FirstHolders { copies, delayed, held })
    }

    fn copy(&mut self) -> Result<Copy, DecodeError> {
        let flags = self.byte()?;
        let state = match flags >> kind::copy::STATE_SHIFT & 3 {
            0 => CopyState::Waiting,
            1 => CopyState::Replayed,
            2 => CopyState::Moved,
            _ => CopyState::Received,
        };
        Ok(Copy {
            session: self.number()?,
            ordinal: self.number()?,
            qos: qos(flags)?,
            retain: flags & kind::copy::RETAIN != 0,
            priority: if flags & kind::copy::PRIORITY != 0 { self.byte()? } else { 0 },
            state,
            identifiers: match flags & kind::copy::IDENTIFIERS {
                0 => Identifiers::None,
                _ => self.identifiers()?,
            },
            shared: match flags & kind::copy::SHARED {
                0 => None,
                _ => Some(Shared { group: self.fixed()?, ticket: self.number32()? }),
            },
        })
    }

    fn identifiers(&mut self) -> Result<Identifiers, DecodeError> {
        match self.count(1)? {
            1 => Ok(Identifiers::One(self.number32()?)),
            count => {
                let mut identifiers = Vec::with_capacity(count);
                for _ in 0..count {
                    identifiers.push(self.number32()?);
                }
                Ok(identifiers.into())
            }
        }
    }

    fn other(&mut self, kind: Kind) -> Result<Record, DecodeError> {
        if kind == Kind::Cleared {
            return Ok(Record::Cleared { topic: self.topic()? });
        }
        let session = self.number()?;
        Ok(match kind {
            Kind::Message | Kind::Cleared | Kind::Oldest => return Err(DecodeError::Wrong("kind")),
            Kind::Settled => {
                let count = self.count(1)?;
                let mut ordinals = SmallVec::with_capacity(count);
                for _ in 0..count {
                    ordinals.push(self.number()?);
                }
                Record::Settled { session, ordinals }
            }
            Kind::Received => Record::Received { session, ordinal: self.number()? },
            Kind::Session => Record::Session(Box::new(self.session(session)?)),
            Kind::Attached => {
                let (owner, expiry) = (self.number32()?, self.expiry()?);
                Record::Attached { session, owner, expiry, will: self.will()? }
            }
            Kind::Away => {
                let (expiry, away) = (self.expiry()?, self.away()?);
                Record::Away { session, expiry, away, will: self.will()? }
            }
            Kind::Willed => Record::Willed { session },
            Kind::Ended => Record::Ended { session },
            Kind::Subscribed => Record::Subscribed { session, subscription: self.subscription()? },
            Kind::Unsubscribed => Record::Unsubscribed { session, filter: self.filter()? },
            Kind::Held => Record::Held { session, id: self.packet_id()? },
            Kind::Released => Record::Released { session, id: self.packet_id()? },
            Kind::Kept => Record::Kept { session, bytes: self.bytes()? },
            Kind::Undelayed => Record::Undelayed { serial: session },
        })
    }

    fn session(&mut self, number: u64) -> Result<SessionRecord, DecodeError> {
        let client_id = self.client_id()?;
        let owner = self.number32()?;
        let expiry = self.expiry()?;
        let will = self.will()?;
        let away = if self.is_there()? { Some(self.away()?) } else { None };
        let next_ordinal = self.number()?;
        let count = self.count(3)?;
        let mut subscriptions = Vec::with_capacity(count);
        for _ in 0..count {
            subscriptions.push(self.subscription()?);
        }
        let count = self.count(1)?;
        let mut held = Vec::with_capacity(count);
        for _ in 0..count {
            held.push(self.packet_id()?);
        }
        let kept = if self.is_there()? { Some(self.bytes()?) } else { None };
        Ok(SessionRecord {
            number,
            client_id,
            owner,
            expiry,
            will,
            away,
            next_ordinal,
            subscriptions,
            held,
            kept,
        })
    }

    fn away(&mut self) -> Result<Away, DecodeError> {
        Ok(Away {
            ends_unix_millis: if self.is_there()? { Some(self.number()?) } else { None },
            will_unix_millis: if self.is_there()? { Some(self.number()?) } else { None },
            sent_before: self.number()?,
        })
    }

    fn expiry(&mut self) -> Result<Expiry, DecodeError> {
        match self.byte()? {
            0 => Ok(Expiry::Immediately),
            1 => Ok(Expiry::After(self.duration()?)),
            2 => Ok(Expiry::Never),
            _ => Err(DecodeError::Wrong("session expiry")),
        }
    }

    fn subscription(&mut self) -> Result<Subscription, DecodeError> {
        let flags = self.byte()?;
        Ok(Subscription {
            qos: qos(flags)?,
            retain_handling: match flags >> kind::subscription::RETAIN_SHIFT & 3 {
                0 => RetainHandling::Always,
                1 => RetainHandling::IfNew,
                2 => RetainHandling::Never,
                _ => return Err(DecodeError::Wrong("retain handling")),
            },
            no_local: flags & kind::subscription::NO_LOCAL != 0,
            retain_as_published: flags & kind::subscription::RETAIN_AS_PUBLISHED != 0,
            filter: self.filter()?,
            identifier: match flags & kind::subscription::IDENTIFIER {
                0 => None,
                _ => Some(
                    NonZeroU32::new(self.number32()?).ok_or(DecodeError::Wrong("subscription identifier"))?,
                ),
            },
        })
    }

    fn will(&mut self) -> Result<Option<Box<Will>>, DecodeError> {
        if !self.is_there()? {
            return Ok(None);
        }
        let flags = self.byte()?;
        let (topic, payload, delay) = (self.topic()?, self.bytes()?, self.duration()?);
        let publish = Publish {
            topic,
            payload,
            qos: qos(flags)?,
            retain: flags & kind::will::RETAIN != 0,
            expiry: if flags & kind::will::EXPIRES != 0 { Some(self.duration()?) } else { None },
            properties: match flags & kind::will::PROPERTIES {
                0 => None,
                _ => Some(Arc::new(self.properties()?)),
            },
        };
        Ok(Some(Box::new(Will { publish, delay })))
    }

    fn properties(&mut self) -> Result<Properties, DecodeError> {
        let flags = self.byte()?;
        let mut properties = Properties {
            payload_format: match flags & 3 {
                0 => None,
                1 => Some(PayloadFormat::Unspecified),
                2 => Some(PayloadFormat::Utf8),
                _ => return Err(DecodeError::Wrong("payload format")),
            },
            ..Properties::default()
        };
        if flags & kind::properties::CONTENT_TYPE != 0 {
            properties.content_type = Some(self.text()?);
        }
        if flags & kind::properties::RESPONSE_TOPIC != 0 {
            properties.response_topic = Some(self.topic()?);
        }
        if flags & kind::properties::CORRELATION_DATA != 0 {
            properties.correlation_data = Some(self.bytes()?);
        }
        if flags & kind::properties::USER_PROPERTIES != 0 {
            let count = self.count(2)?;
            properties.user_properties = Vec::with_capacity(count);
            for _ in 0..count {
                properties.user_properties.push((self.text()?, self.text()?));
            }
        }
        Ok(properties)
    }

    /// [`Properties::size`] of what would be read.
    fn skip_properties(&mut self) -> Result<usize, DecodeError> {
        let flags = self.byte()?;
        let mut size = Properties::default().size();
        for part in [
            kind::properties::CONTENT_TYPE,
            kind::properties::RESPONSE_TOPIC,
            kind::properties::CORRELATION_DATA,
        ] {
            if flags & part != 0 {
                size += self.slice()?.len();
            }
        }
        if flags & kind::properties::USER_PROPERTIES != 0 {
            for _ in 0..self.count(2)? {
                size += Properties::USER_PROPERTY_SIZE_MIN + self.slice()?.len() + self.slice()?.len();
            }
        }
        Ok(size)
    }

    fn topic(&mut self) -> Result<Topic, DecodeError> {
        Topic::parse_bytes(self.slice()?).map_err(|_| DecodeError::Wrong("topic"))
    }

    fn filter(&mut self) -> Result<TopicFilter, DecodeError> {
        TopicFilter::parse_bytes(self.slice()?).map_err(|_| DecodeError::Wrong("topic filter"))
    }

    fn client_id(&mut self) -> Result<ClientId, DecodeError> {
        let text = std::str::from_utf8(self.slice()?).map_err(|_| DecodeError::Wrong("client identifier"))?;
        ClientId::parse(text).map_err(|_| DecodeError::Wrong("client identifier"))
    }

    fn text(&mut self) -> Result<Box<str>, DecodeError> {
        Ok(std::str::from_utf8(self.slice()?).map_err(|_| DecodeError::Wrong("text"))?.into())
    }

    fn packet_id(&mut self) -> Result<NonZeroU16, DecodeError> {
        let id = u16::try_from(self.number()?).ok().and_then(NonZeroU16::new);
        id.ok_or(DecodeError::Wrong("packet identifier"))
    }

    fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        Ok(Bytes::copy_from_slice(self.slice()?))
    }

    fn duration(&mut self) -> Result<Duration, DecodeError> {
        Ok(Duration::from_millis(self.number()?))
    }

    fn is_there(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Wrong("mark of presence")),
        }
    }

    /// How many of something follow that takes at least so many bytes each: never more than can, so
    /// that a wrong number does not allocate what is not there.
    fn count(&mut self, bytes_min: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.number()?).map_err(|_| DecodeError::EndsEarly)?;
        if count > self.rest.len() / bytes_min {
            return Err(DecodeError::EndsEarly);
        }
        Ok(count)
    }

    fn slice(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.count(1)?;
        let (slice, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(slice)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(DecodeError::Wrong("number"))
    }

    fn number32(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.number()?).map_err(|_| DecodeError::Wrong("number"))
    }

    fn fixed(&mut self) -> Result<u64, DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::EndsEarly)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (byte, rest) = self.rest.split_first().ok_or(DecodeError::EndsEarly)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TooLong) }
    }
}

fn qos(flags: u8) -> Result<Qos, DecodeError> {
    Qos::from_u8(flags & 3).ok_or(DecodeError::Wrong("QoS"))
}
