//! Topic aliases towards the client (MQTT 5.0 section 3.3.2.3.4).

use std::num::NonZeroU16;

use gateway_model::{Message, Outgoing, Qos, Settlement, Topic};

use super::delivering::{message, numbered, outgoing};
use super::{Bench, CONNECT_311, connect_5};
use crate::Config;
use crate::codec::{Header, Packet, Property, Version};

fn client(maximum: u16) -> Bench {
    Bench::open(&connect_5(&[Property::TopicAliasMaximum(maximum)]))
}

fn on(topic: &str) -> Outgoing {
    outgoing(Message { topic: Topic::parse(topic).unwrap(), ..message("hi") })
}

/// Topic and alias of each publish in a stream.
fn sent(mut bytes: &[u8]) -> Vec<(String, Option<u16>)> {
    let mut found = Vec::new();
    while let Ok(Some(header)) = Header::parse(bytes) {
        let body = &bytes[header.header_len..header.frame_len()];
        let Ok(Packet::Publish(publish)) = Packet::decode(Version::V5, header.first, body) else { panic!() };
        let alias = publish.properties.iter().find_map(|property| match property {
            Property::TopicAlias(alias) => Some(alias),
            _ => None,
        });
        found.push((String::from_utf8(publish.topic.to_vec()).unwrap(), alias));
        bytes = &bytes[header.frame_len()..];
    }
    assert!(bytes.is_empty());
    found
}

#[test]
fn a_topic_is_named_once_and_numbered_from_then_on() {
    let mut bench = client(5);
    assert_eq!(bench.deliver([on("topic/1")]), b"\x30\x0f\x00\x07topic/1\x03\x23\x00\x01hi");
    assert_eq!(bench.deliver([on("topic/1")]), b"\x30\x08\x00\x00\x03\x23\x00\x01hi");
    assert_eq!(bench.deliver([on("topic/2")]), b"\x30\x0f\x00\x07topic/2\x03\x23\x00\x02hi");
    let numbered =
        numbered(Message { topic: Topic::parse("topic/1").unwrap(), ..message("hi") }, 7, Qos::AtLeastOnce);
    assert_eq!(bench.deliver([numbered]), b"\x32\x0a\x00\x00\x00\x07\x03\x23\x00\x01hi");
}

#[test]
fn clients_that_did_not_ask_get_none() {
    for connect in [CONNECT_311.to_vec(), connect_5(&[]), connect_5(&[Property::TopicAliasMaximum(0)])] {
        let mut bench = Bench::open(&connect);
        let first = bench.deliver([on("topic/1")]);
        assert_eq!(bench.deliver([on("topic/1")]), first);
        assert!(bench.connection.extras.is_none());
    }
    let config = Config { topic_alias_maximum_outbound: 0, ..Config::default() };
    let mut bench = Bench::open_with(config, &connect_5(&[Property::TopicAliasMaximum(9)]));
    assert_eq!(
        sent(&bench.deliver([on("topic/1"), on("topic/1")])),
        [("topic/1".into(), None), ("topic/1".into(), None)]
    );
}

#[test]
fn clients_that_asked_cost_nothing_until_a_topic_is_worth_it() {
    let mut bench = client(5);
    assert!(bench.connection.extras.is_none());
    assert_eq!(
        sent(&bench.deliver([on("t/1234"), on("t/1234")])),
        [("t/1234".into(), None), ("t/1234".into(), None)]
    );
    assert!(bench.connection.extras.is_none());
}

#[test]
fn mqtt_3_1_2_26_and_27_the_smaller_maximum_holds() {
    for (asked, set, numbers) in [(2, 16, 2), (16, 2, 2), (u16::MAX, 3, 3)] {
        let config = Config { topic_alias_maximum_outbound: set, ..Config::default() };
        let mut bench = Bench::open_with(config, &connect_5(&[Property::TopicAliasMaximum(asked)]));
        let topics: Vec<String> = (0..40).map(|number| format!("topic/{number}")).collect();
        let bytes = bench.deliver(topics.iter().map(|topic| on(topic)));
        let aliases: Vec<u16> = sent(&bytes).into_iter().filter_map(|(_, alias)| alias).collect();
        assert_eq!(aliases.iter().max(), Some(&numbers));
        assert!(!aliases.contains(&0));
    }
}

#[test]
fn what_the_client_reads_is_what_was_sent() {
    let mut bench = client(3);
    let mut known: Vec<Option<String>> = vec![None; 4];
    let (mut saved, mut disorder) = (0, 7u32);
    for _ in 0..2_000 {
        disorder = disorder.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // The later topics are rare.
        let topic = format!("topic/{}", (disorder >> 24).trailing_zeros());
        let [(text, alias)] = &sent(&bench.deliver([on(&topic)]))[..] else { panic!() };
        match alias {
            Some(alias) if text.is_empty() => {
                saved += 1;
                assert_eq!(known[usize::from(*alias)].as_deref(), Some(&*topic));
            }
            Some(alias) => known[usize::from(*alias)] = Some(text.clone()),
            None => {}
        }
        assert!(text.is_empty() || *text == topic);
    }
    assert!(saved > 1_200, "{saved}");
}

#[test]
fn topics_that_come_round_in_a_circle_keep_their_numbers() {
    let mut bench = client(4);
    let circle: Vec<String> = (0..8).map(|number| format!("topic/{number}")).collect();
    let mut short = 0;
    for _ in 0..100 {
        let bytes = bench.deliver(circle.iter().map(|topic| on(topic)));
        short += sent(&bytes).iter().filter(|(topic, _)| topic.is_empty()).count();
    }
    assert!(short >= 390, "{short} of 800");
}

#[test]
fn numbers_of_topics_that_are_no_longer_sent_are_taken_away() {
    let mut bench = client(2);
    bench.deliver([on("topic/1"), on("topic/2"), on("topic/1"), on("topic/2")]);
    let bytes = bench.deliver((0..20).map(|_| on("topic/3")));
    assert_eq!(sent(&bytes).last(), Some(&(String::new(), Some(1))));
}

#[test]
fn an_alias_that_makes_a_packet_too_large_is_left_out() {
    let config = Config { topic_alias_maximum: 0, ..Config::default() };
    let tight = |maximum| {
        let properties = [Property::TopicAliasMaximum(5), Property::MaximumPacketBytes(maximum)];
        Bench::open_with(config.clone(), &connect_5(&properties))
    };
    // 14 bytes as it is, 17 with the alias, 10 once it is known.
    let plain = b"\x30\x0c\x00\x07topic/1\x00hi";
    let mut bench = tight(16);
    assert_eq!(bench.deliver([on("topic/1")]), plain);
    assert_eq!(bench.deliver([on("topic/1")]), plain);
    let mut bench = tight(17);
    let first = bench.deliver([on("topic/1")]);
    assert_eq!((first.len(), bench.deliver([on("topic/1")]).len()), (17, 10));

    // A payload that fits only without the topic.
    let long = |number| {
        let message = Message { topic: Topic::parse("topic/1").unwrap(), ..message("123456789") };
        numbered(message, number, Qos::AtLeastOnce)
    };
    let mut bench = tight(20);
    assert_eq!(bench.deliver([long(1)]), b"", "23 bytes");
    assert_eq!(bench.out.settled, [(NonZeroU16::MIN, Settlement::Dropped("packet_too_large"))]);
    bench.deliver([on("topic/1")]);
    assert_eq!(bench.deliver([long(2)]).len(), 19);
    assert_eq!(bench.out.settled.len(), 1);
}

#[test]
fn a_qos_2_publish_names_its_topic() {
    let mut bench = client(5);
    let message = Message { topic: Topic::parse("topic/1").unwrap(), ..message("hi") };
    let twice = numbered(message, 7, Qos::ExactlyOnce);
    let bytes = bench.deliver([on("topic/1"), twice, on("topic/1")]);
    let [first, second, third] = &sent(&bytes)[..] else { panic!() };
    assert_eq!((first.1, second, third.1), (Some(1), &("topic/1".into(), None), Some(1)));
}

#[test]
fn a_mount_point_is_not_part_of_the_topic_that_is_numbered() {
    let mut bench = client(5);
    let mounted = |topic: &str| Outgoing { mount_len: 2, ..on(topic) };
    let bytes = bench.deliver([mounted("a/topic/1"), mounted("b/topic/1"), mounted("a/topic/1")]);
    assert_eq!(
        sent(&bytes),
        [("topic/1".into(), Some(1)), (String::new(), Some(1)), (String::new(), Some(1))]
    );
}
