use std::sync::Arc;

use gateway_model::{ClientId, Identifiers, Message, Moment, Qos, Stored, Topic};
use smallvec::smallvec;

use crate::decode::Replayed;
use crate::tests::dice::{Dice, with_seeds};
use crate::tests::log::rig::moment;
use crate::tests::records;
use crate::{Copy, CopyState, DecodeError, MessageRecord, Place, Record};

const PLACE: Place = Place::NOWHERE;

fn encode(record: &Record, anchor: Moment) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(anchor, &mut bytes);
    bytes
}

#[test]
fn what_is_written_is_read() {
    let anchor = moment();
    with_seeds(3_000, |seed| {
        let place = Place::new(seed as u32, 7);
        let record = records::record(&mut Dice(seed), anchor, place);
        let bytes = encode(&record, anchor);
        let read = Record::decode(&bytes, anchor, place).unwrap();
        assert_eq!(format!("{read:?}"), format!("{record:?}"));
        if let Record::Message(record) = &record {
            let identifiers = record.copies.iter().map(|copy| copy.identifiers.as_slice().len()).sum();
            let most = MessageRecord::size_max(&record.message, record.copies.len(), identifiers);
            assert!(bytes.len() <= most, "{} bytes for {record:?}", bytes.len());
            let message = Record::decode_message(&bytes, anchor, place).unwrap();
            assert_eq!(format!("{message:?}"), format!("{:?}", record.message));
        }
    });
}

#[test]
fn replaying_sees_the_same_without_the_message() {
    let anchor = moment();
    with_seeds(1_000, |seed| {
        let record = records::message_record(&mut Dice(seed), anchor, PLACE);
        let bytes = encode(&Record::Message(record.clone()), anchor);
        let Ok(Replayed::Message(outline)) = Record::decode_replayed(&bytes) else { panic!("no message") };
        assert_eq!(outline.size as usize, record.message.size());
        assert_eq!(outline.topic.as_ref(), record.retained.then_some(&record.message.topic));
        let holders = outline.holders;
        assert_eq!(
            (holders.copies, holders.delayed, holders.held),
            (record.copies, record.delayed, record.held)
        );
    });
}

#[test]
fn a_part_is_no_record() {
    let anchor = moment();
    with_seeds(300, |seed| {
        let mut bytes = encode(&records::record(&mut Dice(seed), anchor, PLACE), anchor);
        for len in 0..bytes.len() {
            assert!(Record::decode(&bytes[..len], anchor, PLACE).is_err(), "{len} of {bytes:?}");
            assert!(Record::decode_replayed(&bytes[..len]).is_err(), "{len} of {bytes:?}");
            let _ = Record::decode_message(&bytes[..len], anchor, PLACE);
        }
        bytes.push(0);
        assert!(Record::decode(&bytes, anchor, PLACE).is_err());
        assert!(Record::decode_replayed(&bytes).is_err());
    });
}

#[test]
fn any_bytes_are_survived() {
    let anchor = moment();
    with_seeds(3_000, |seed| {
        let dice = &mut Dice(seed);
        let mut bytes = encode(&records::record(dice, anchor, PLACE), anchor);
        for _ in 0..=dice.below(4) {
            let at = dice.below(bytes.len());
            bytes[at] = dice.number() as u8;
        }
        let _ = Record::decode(&bytes, anchor, PLACE);
        let _ = Record::decode_replayed(&bytes);
        let _ = Record::decode_message(&bytes, anchor, PLACE);
    });
}

/// A count of 2^60 would take all memory if it were believed.
#[test]
fn counts_are_not_believed() {
    let count = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
    for head in [&[2, 1][..], &[13, 1], &[14], &[1, 0]] {
        let bytes = [head, &count, &[1; 20]].concat();
        assert_eq!(Record::decode(&bytes, moment(), PLACE).unwrap_err(), DecodeError::EndsEarly);
    }
}

#[test]
fn an_unknown_kind_is_named() {
    for bytes in [&[0][..], &[17], &[255, 1, 2]] {
        let error = Record::decode(bytes, moment(), PLACE).unwrap_err();
        assert_eq!(error, DecodeError::UnknownKind(bytes[0]));
        assert!(error.to_string().contains(&bytes[0].to_string()));
    }
    assert_eq!(Record::decode_message(&[8, 1], moment(), PLACE).unwrap_err(), DecodeError::NoMessage);
}

/// The kinds and the layout are on disks: these bytes are read for ever.
#[test]
fn the_layout_stays() {
    let bytes = b"\x01\x21\x03a/b\x02hi\x01p\xD0\x0F\x01\x7D\x07\x80\x02\x09\x01\x05";
    let Ok(Record::Message(record)) = Record::decode(bytes, moment(), PLACE) else { panic!("no message") };
    assert_eq!((&*record.message.topic, &record.message.payload[..]), ("a/b", &b"hi"[..]));
    assert_eq!((record.message.accepted_unix_millis.get(), record.retained), (2_000, true));
    let copy = &record.copies[0];
    assert_eq!((copy.session, copy.ordinal, copy.priority), (7, 256, 9));
    assert_eq!((copy.state, copy.retain), (CopyState::Received, true));
    assert_eq!(copy.identifiers.as_slice(), [5]);
    assert_eq!(encode(&Record::Message(record), moment()), bytes);
}

#[test]
fn a_small_message_is_small() {
    let message = Message {
        topic: Topic::parse("building/7/floor/3/t").unwrap(),
        payload: vec![0; 64].into(),
        properties: None,
        publisher: ClientId::parse("sensor-0815").unwrap(),
        accepted_unix_millis: 1_700_000_000_000.into(),
        expires_at: None,
        qos: Qos::AtLeastOnce,
        retain: false,
        stored: Stored::default(),
    };
    let copy = Copy {
        session: 100_000,
        ordinal: 1_000_000,
        qos: Qos::AtLeastOnce,
        retain: false,
        priority: 0,
        state: CopyState::Waiting,
        identifiers: Identifiers::None,
        shared: None,
    };
    let record = Record::Message(MessageRecord {
        message: Arc::new(message),
        copies: smallvec![copy],
        retained: false,
        delayed: None,
        held: None,
    });
    assert!(encode(&record, moment()).len() < 120);
}
