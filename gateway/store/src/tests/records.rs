//! Records with anything in them that can be.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_model::{
    ClientId, Expiry, Message, Moment, PayloadFormat, Properties, Publish, Qos, RetainHandling, Stored,
    Subscription, Topic, TopicFilter, Will,
};

use crate::tests::dice::Dice;
use crate::{Away, Copy, CopyState, Delayed, MessageRecord, Place, Record, SessionRecord, Shared};

pub(super) fn record(dice: &mut Dice, anchor: Moment, place: Place) -> Record {
    let session = number(dice);
    match dice.below(18) {
        0..4 => Record::Message(message_record(dice, anchor, place)),
        4 => Record::Settled { session, ordinals: (0..dice.below(5)).map(|_| number(dice)).collect() },
        5 => Record::Received { session, ordinal: number(dice) },
        6 => Record::Session(Box::new(session_record(dice))),
        7 => Record::Attached {
            session,
            owner: number(dice) as u32,
            expiry: expiry(dice),
            will: maybe(dice, will),
        },
        8 => Record::Away { session, expiry: expiry(dice), away: away(dice), will: maybe(dice, will) },
        9 => Record::Willed { session },
        10 => Record::Ended { session },
        11 => Record::Subscribed { session, subscription: subscription(dice) },
        12 => Record::Unsubscribed { session, filter: filter(dice) },
        13 => Record::Held { session, id: packet_id(dice) },
        14 => Record::Released { session, id: packet_id(dice) },
        15 => Record::Kept { session, bytes: bytes(dice) },
        16 => Record::Cleared { topic: topic(dice) },
        _ => Record::Undelayed { serial: number(dice) },
    }
}

pub(super) fn message_record(dice: &mut Dice, anchor: Moment, place: Place) -> MessageRecord {
    MessageRecord {
        message: Arc::new(message(dice, anchor, place)),
        copies: (0..dice.below(4)).map(|_| copy(dice)).collect(),
        retained: dice.one_in(2),
        delayed: maybe(dice, |dice| Delayed { serial: number(dice), due_unix_millis: number(dice) }),
        held: maybe(dice, |dice| (number(dice), packet_id(dice))),
    }
}

fn message(dice: &mut Dice, anchor: Moment, place: Place) -> Message {
    Message {
        topic: topic(dice),
        payload: bytes(dice),
        properties: maybe(dice, properties),
        publisher: ClientId::parse(&word(dice)).unwrap(),
        accepted_unix_millis: number(dice).into(),
        expires_at: maybe(dice, |dice| anchor.instant + Duration::from_millis(dice.below(1 << 40) as u64)),
        qos: qos(dice),
        retain: dice.one_in(2),
        stored: Stored::at(place.number()),
    }
}

pub(super) fn copy(dice: &mut Dice) -> Copy {
    Copy {
        session: number(dice),
        ordinal: number(dice),
        qos: qos(dice),
        retain: dice.one_in(2),
        priority: if dice.one_in(2) { 0 } else { dice.number() as u8 },
        state: [CopyState::Waiting, CopyState::Replayed, CopyState::Moved, CopyState::Received]
            [dice.below(4)],
        identifiers: (0..dice.below(4)).map(|_| number(dice) as u32).collect::<Vec<_>>().into(),
        shared: maybe(dice, |dice| Shared { group: number(dice), ticket: number(dice) as u32 }),
    }
}

pub(super) fn session_record(dice: &mut Dice) -> SessionRecord {
    SessionRecord {
        number: number(dice),
        client_id: ClientId::parse(&word(dice)).unwrap(),
        owner: number(dice) as u32,
        expiry: expiry(dice),
        will: maybe(dice, will),
        away: maybe(dice, away),
        next_ordinal: number(dice),
        subscriptions: (0..dice.below(4)).map(|_| subscription(dice)).collect(),
        held: (0..dice.below(4)).map(|_| packet_id(dice)).collect(),
        kept: maybe(dice, bytes),
    }
}

fn away(dice: &mut Dice) -> Away {
    Away {
        ends_unix_millis: maybe(dice, number),
        will_unix_millis: maybe(dice, number),
        sent_before: number(dice),
    }
}

fn subscription(dice: &mut Dice) -> Subscription {
    Subscription {
        filter: filter(dice),
        qos: qos(dice),
        no_local: dice.one_in(2),
        retain_as_published: dice.one_in(2),
        retain_handling: [RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never]
            [dice.below(3)],
        identifier: maybe(dice, |dice| NonZeroU32::new(number(dice) as u32 | 1).unwrap()),
    }
}

fn will<T: From<Will>>(dice: &mut Dice) -> T {
    let publish = Publish {
        topic: topic(dice),
        payload: bytes(dice),
        qos: qos(dice),
        retain: dice.one_in(2),
        expiry: maybe(dice, |dice| Duration::from_millis(number(dice))),
        properties: maybe(dice, properties),
    };
    Will { publish, delay: Duration::from_millis(number(dice)) }.into()
}

fn properties<T: From<Properties>>(dice: &mut Dice) -> T {
    Properties {
        payload_format: [None, Some(PayloadFormat::Unspecified), Some(PayloadFormat::Utf8)][dice.below(3)],
        content_type: maybe(dice, |dice| word(dice).into()),
        response_topic: maybe(dice, topic),
        correlation_data: maybe(dice, bytes),
        user_properties: (0..dice.below(3)).map(|_| (word(dice).into(), word(dice).into())).collect(),
    }
    .into()
}

fn expiry(dice: &mut Dice) -> Expiry {
    match dice.below(3) {
        0 => Expiry::Immediately,
        1 => Expiry::After(Duration::from_millis(number(dice))),
        _ => Expiry::Never,
    }
}

fn filter(dice: &mut Dice) -> TopicFilter {
    let text =
        [format!("$share/g/{}/+", word(dice)), format!("{}/#", word(dice)), "#".to_owned(), word(dice)];
    TopicFilter::parse(&text[dice.below(4)]).unwrap()
}

fn topic(dice: &mut Dice) -> Topic {
    Topic::parse(&word(dice)).unwrap()
}

fn qos(dice: &mut Dice) -> Qos {
    Qos::from_u8(dice.below(3) as u8).unwrap()
}

fn packet_id(dice: &mut Dice) -> NonZeroU16 {
    NonZeroU16::new(dice.number() as u16 | 1).unwrap()
}

fn word(dice: &mut Dice) -> String {
    (0..=dice.below(12)).map(|_| ['a', 'b', '/', 'ä', '€', '🦀'][dice.below(6)]).collect()
}

fn bytes(dice: &mut Dice) -> Bytes {
    (0..dice.below(40)).map(|_| dice.number() as u8).collect()
}

/// Of any length as well as any value.
fn number(dice: &mut Dice) -> u64 {
    dice.number() >> dice.below(64)
}

fn maybe<T>(dice: &mut Dice, make: impl FnOnce(&mut Dice) -> T) -> Option<T> {
    if dice.one_in(2) { Some(make(dice)) } else { None }
}
