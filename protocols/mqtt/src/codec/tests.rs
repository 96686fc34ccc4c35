use gateway_model::{PayloadFormat, Qos, Reason};

use super::*;

fn decode(version: Version, bytes: &[u8]) -> Result<Packet<'_>, PacketError> {
    let header = Header::parse(bytes)?.expect("a whole header");
    assert_eq!(header.frame_len(), bytes.len(), "length in the vector {bytes:02x?}");
    Packet::decode(version, header.first, &bytes[header.header_len..])
}

/// Packets as they stand on the wire, canonical, so that encoding gives back the same bytes.
const VECTORS: &[(Version, &[u8])] = &[
    // CONNECT
    (Version::V31, b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01a"),
    (Version::V311, b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"),
    (Version::V311, b"\x10\x1a\x00\x04MQTT\x04\xf6\x00\x0a\x00\x01c\x00\x01w\x00\x02hi\x00\x01u\x00\x01p"),
    (Version::V5, b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02id"),
    (
        Version::V5,
        b"\x10\x32\x00\x04MQTT\x05\x2c\x00\x3c\x14\x11\x00\x00\x00\x0a\x21\x00\x14\x22\x00\x05\x17\x00\x19\x01\x27\x00\x00\x10\x00\
          \x00\x01c\x07\x18\x00\x00\x00\x05\x01\x01\x00\x01w\x00\x03bye",
    ),
    (Version::V5, b"\x10\x16\x00\x04MQTT\x05\x40\x00\x00\x06\x15\x00\x03jwt\x00\x00\x00\x01p"),
    // CONNACK
    (Version::V31, b"\x20\x02\x00\x05"),
    (Version::V311, b"\x20\x02\x01\x00"),
    (Version::V5, b"\x20\x03\x00\x00\x00"),
    (Version::V5, b"\x20\x12\x00\x00\x0f\x12\x00\x02ab\x13\x00\x1e\x24\x01\x2a\x00\x1a\x00\x00"),
    (Version::V5, b"\x20\x0a\x00\x87\x07\x1f\x00\x04nope"),
    // PUBLISH
    (Version::V311, b"\x30\x05\x00\x01ahi"),
    (Version::V311, b"\x30\x03\x00\x01a"),
    (Version::V31, b"\x3d\x06\x00\x01a\x00\x07x"),
    (Version::V5, b"\x33\x08\x00\x01a\x00\x01\x00hi"),
    (Version::V5, b"\x34\x0d\x00\x00\x00\x09\x06\x23\x00\x03\x0b\x81\x01hi"),
    (
        Version::V5,
        b"\x31\x2c\x00\x01t\x27\x01\x01\x02\x00\x00\x00\x09\x03\x00\x04json\x08\x00\x03r/1\x09\x00\x02\xff\x00\x26\x00\x01k\x00\x01v\
          \x26\x00\x01k\x00\x01w!",
    ),
    // PUBACK, PUBREC, PUBREL, PUBCOMP
    (Version::V311, b"\x40\x02\x00\x01"),
    (Version::V5, b"\x40\x03\x12\x34\x10"),
    (Version::V5, b"\x50\x02\x00\x01"),
    (Version::V5, b"\x50\x0b\x00\x01\x97\x07\x1f\x00\x04full"),
    (Version::V31, b"\x62\x02\x00\x01"),
    (Version::V5, b"\x62\x03\x00\x01\x92"),
    (Version::V5, b"\x70\x0b\x00\x01\x00\x07\x26\x00\x01a\x00\x01b"),
    // SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK
    (Version::V311, b"\x82\x0a\x00\x01\x00\x01#\x01\x00\x01+\x02"),
    (Version::V5, b"\x82\x0a\x00\x02\x03\x0b\xff\x01\x00\x01a\x2d"),
    (Version::V311, b"\x90\x04\x00\x01\x02\x80"),
    (Version::V5, b"\x90\x05\x00\x01\x00\x01\x8f"),
    (Version::V311, b"\xa2\x05\x00\x01\x00\x01#"),
    (Version::V5, b"\xa2\x0d\x00\x01\x07\x26\x00\x01a\x00\x01b\x00\x01#"),
    (Version::V31, b"\xb0\x02\x00\x01"),
    (Version::V5, b"\xb0\x05\x00\x01\x00\x00\x11"),
    // PINGREQ, PINGRESP
    (Version::V311, b"\xc0\x00"),
    (Version::V5, b"\xd0\x00"),
    // DISCONNECT, AUTH
    (Version::V311, b"\xe0\x00"),
    (Version::V5, b"\xe0\x00"),
    (Version::V5, b"\xe0\x01\x04"),
    (Version::V5, b"\xe0\x07\x00\x05\x11\x00\x00\x00\x0a"),
    (Version::V5, b"\xf0\x00"),
    (Version::V5, b"\xf0\x0c\x18\x0a\x15\x00\x01m\x16\x00\x03abc"),
];

#[test]
fn encoding_what_was_decoded_gives_the_same_bytes() {
    for (version, bytes) in VECTORS {
        let packet = decode(*version, bytes).unwrap_or_else(|error| panic!("{bytes:02x?}: {error}"));
        let mut encoded = Vec::new();
        packet.encode(*version, &mut encoded);
        assert_eq!(encoded, *bytes, "{packet:?}");
    }
}

#[test]
fn every_shortened_vector_is_an_error_or_another_packet_but_no_panic() {
    for (version, bytes) in VECTORS {
        let header = Header::parse(bytes).unwrap().unwrap();
        let body = &bytes[header.header_len..];
        for len in 0..body.len() {
            let _ = Packet::decode(*version, header.first, &body[..len]);
        }
    }
}

#[test]
fn fields_are_what_the_bytes_say() {
    let Ok(Packet::Connect(connect)) = decode(Version::V5, VECTORS[4].1) else { panic!() };
    let will = connect.will.unwrap();
    assert_eq!((connect.client_id, connect.keep_alive_secs, connect.clean_start), ("c", 60, false));
    assert_eq!((will.qos, will.retain, will.topic, will.payload), (Qos::AtLeastOnce, true, "w", &b"bye"[..]));
    assert_eq!(
        will.properties.iter().collect::<Vec<_>>(),
        [Property::WillDelaySecs(5), Property::PayloadFormat(PayloadFormat::Utf8)]
    );
    let Ok(Packet::Publish(publish)) = decode(Version::V31, b"\x3d\x06\x00\x01a\x00\x07x") else { panic!() };
    assert!(publish.dup && publish.retain && publish.qos == Qos::ExactlyOnce);
    assert_eq!((publish.topic, publish.payload), (&b"a"[..], &b"x"[..]));
    let Ok(Packet::Connack(connack)) = decode(Version::V311, b"\x20\x02\x00\x05") else { panic!() };
    assert_eq!(connack.reason, Reason::NotAuthorized);
}

#[test]
fn malformed_and_illegal_packets_are_told_apart() {
    use PacketError::{Malformed, Protocol};
    let malformed: &[(Version, &[u8])] = &[
        (Version::V311, b"\x00\x00"),                                     // type 0
        (Version::V311, b"\xf0\x00"),                                     // AUTH before 5.0
        (Version::V311, b"\x80\x06\x00\x01\x00\x01a\x00"),                // SUBSCRIBE flags
        (Version::V5, b"\x60\x02\x00\x01"),                               // PUBREL flags
        (Version::V5, b"\xc1\x00"),                                       // PINGREQ flags
        (Version::V5, b"\xc0\x01\x00"),                                   // PINGREQ body
        (Version::V311, b"\x36\x05\x00\x01a\x00\x01"),                    // QoS 3
        (Version::V311, b"\x38\x03\x00\x01a"),                            // DUP at QoS 0
        (Version::V311, b"\x30\x02\x00\x01"),                             // topic cut off
        (Version::V5, b"\x30\x04\x00\x01a\x05"),                          // properties cut off
        (Version::V5, b"\x30\x05\x00\x01a\x80\x00"),                      // padded length
        (Version::V5, b"\x30\x06\x00\x01a\x02\x24\x01"),                  // property of another
        (Version::V5, b"\x30\x05\x00\x01a\x01\x7e"),                      // unknown property
        (Version::V5, b"\x30\x09\x00\x01a\x05\x03\x00\x02\xc3\x28"),      // invalid UTF-8
        (Version::V5, b"\x30\x0a\x00\x01a\x06\x03\x00\x03\xed\xa0\x80"),  // surrogate
        (Version::V311, b"\x82\x06\x00\x01\x00\x01\x00\x00"),             // U+0000
        (Version::V311, b"\x82\x06\x00\x01\x00\x01a\x04"),                // options of 5.0
        (Version::V5, b"\x82\x07\x00\x01\x00\x00\x01a\x40"),              // reserved options
        (Version::V311, b"\x40\x03\x00\x01\x00"),                         // PUBACK too long
        (Version::V5, b"\x40\x03\x00\x01\x92"),                           // reason of PUBREL
        (Version::V311, b"\xe0\x01\x00"),                                 // DISCONNECT body
        (Version::V311, b"\x10\x0c\x00\x04MQTT\x04\x03\x00\x00\x00\x00"), // reserved flag
        (Version::V311, b"\x10\x0f\x00\x04MQTT\x04\x42\x00\x00\x00\x00\x00\x01p"), // password alone
        (Version::V311, b"\x10\x0c\x00\x04MQTT\x04\x22\x00\x00\x00\x00"), // will retain, no will
        (Version::V311, b"\x10\x12\x00\x04MQTT\x04\x1e\x00\x00\x00\x00\x00\x01w\x00\x01x"), // will QoS 3
        (Version::V311, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x00!"), // trailing byte
    ];
    for (version, bytes) in malformed {
        assert!(matches!(decode(*version, bytes), Err(Malformed(_))), "{bytes:02x?}");
    }
    let illegal: &[(Version, &[u8])] = &[
        (Version::V311, b"\x32\x05\x00\x01a\x00\x00"), // packet identifier 0
        (Version::V311, b"\x40\x02\x00\x00"),
        (Version::V311, b"\x82\x02\x00\x01"), // no filter
        (Version::V5, b"\xa2\x03\x00\x01\x00"),
        (Version::V311, b"\x82\x06\x00\x01\x00\x01a\x03"), // QoS 3
        (Version::V5, b"\x82\x07\x00\x01\x00\x00\x01a\x30"), // retain handling 3
        (Version::V5, b"\x82\x0b\x00\x01\x04\x0b\x01\x0b\x02\x00\x01a\x00"), // identifier twice
        (Version::V5, b"\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00"), // identifier 0
        (Version::V5, b"\x30\x08\x00\x01a\x04\x01\x00\x01\x00"), // property twice
        (Version::V5, b"\x30\x06\x00\x01a\x02\x01\x02"),   // format 2
        (Version::V5, b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x03\x21\x00\x00\x00\x00"), // receive maximum 0
        (Version::V5, b"\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x05\x27\x00\x00\x00\x00\x00\x00"),
        (Version::V5, b"\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x04\x16\x00\x01x\x00\x00"), // data, no method
        (Version::V311, b"\x10\x0c\x00\x04MQTX\x04\x02\x00\x00\x00\x00"),                // not MQTT
        (Version::V311, b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00"),                // level 6
    ];
    for (version, bytes) in illegal {
        assert!(matches!(decode(*version, bytes), Err(Protocol(_))), "{bytes:02x?}");
    }
}

#[test]
fn remaining_length_of_every_size_can_be_incomplete() {
    for (len, encoded) in [
        (0, &b"\x00"[..]),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16_383, b"\xff\x7f"),
        (16_384, b"\x80\x80\x01"),
        (2_097_151, b"\xff\xff\x7f"),
        (2_097_152, b"\x80\x80\x80\x01"),
        (Header::BODY_LEN_MAX, b"\xff\xff\xff\x7f"),
    ] {
        let mut bytes = vec![0x30];
        bytes.extend_from_slice(encoded);
        for short in 0..bytes.len() {
            assert_eq!(Header::parse(&bytes[..short]), Ok(None));
        }
        let header = Header::parse(&bytes).unwrap().unwrap();
        assert_eq!((header.body_len, header.header_len), (len, bytes.len()));
        assert!(!header.is_padded());
    }
    assert!(Header::parse(b"\x30\xff\xff\xff\xff\x01").is_err());
    assert!(Header::parse(b"\x30\xff\xff\xff\xff").is_err());
    assert!(Header::parse(b"\x30\x80\x00").unwrap().unwrap().is_padded());
}

#[test]
fn long_bodies_move_behind_their_longer_length() {
    let filters = vec!["x"; 100];
    let packet = Packet::Unsubscribe(Unsubscribe {
        packet_id: std::num::NonZeroU16::MIN,
        properties: Properties::default(),
        filters,
    });
    let mut bytes = vec![0xEE];
    packet.encode(Version::V311, &mut bytes);
    assert_eq!(bytes[..4], [0xEE, 0xA2, 0xAE, 0x02]);
    assert_eq!(decode(Version::V311, &bytes[1..]), Ok(packet));
}

#[test]
fn counted_lengths_of_properties_are_the_written_ones() {
    for (version, bytes) in VECTORS.iter().filter(|(version, _)| *version == Version::V5) {
        let properties = match decode(*version, bytes).unwrap() {
            Packet::Connect(packet) => packet.properties,
            Packet::Connack(packet) => packet.properties,
            Packet::Publish(packet) => packet.properties,
            Packet::Subscribe(packet) => packet.properties,
            Packet::Auth(packet) => packet.properties,
            _ => continue,
        };
        for property in properties.iter() {
            let mut written = Vec::new();
            property.write(&mut written);
            assert_eq!(written.len(), property.wire_len(), "{property:?}");
        }
    }
}
