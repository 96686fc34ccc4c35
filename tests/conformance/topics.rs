//! Section 4.7: topics and filters.

use crate::Version::{self, V5};
use crate::packet::Packet;
use crate::scene::{Client, Scene};
use crate::wire::{Publish, packet, sized, subscribe};

conformance! {
    mqtt5_4_7_1_1_a_number_sign_is_alone_and_last: number_sign(V5);
    mqtt311_4_7_1_2_a_number_sign_is_alone_and_last: number_sign(V311);
    mqtt5_4_7_1_2_a_plus_takes_a_whole_level: plus(V5);
    mqtt311_4_7_1_3_a_plus_takes_a_whole_level: plus(V311);
    mqtt5_4_7_2_1_wildcards_do_not_find_dollar_topics: dollar(V5);
    mqtt311_4_7_2_1_wildcards_do_not_find_dollar_topics: dollar(V311);
    mqtt5_4_7_3_1_topics_and_filters_are_not_empty: empty(V5);
    mqtt311_4_7_3_1_topics_and_filters_are_not_empty: empty(V311);
    mqtt5_4_7_3_2_topics_and_filters_hold_no_u_0000: nul(V5);
    mqtt311_4_7_3_2_topics_and_filters_hold_no_u_0000: nul(V311);
    mqtt5_4_7_3_3_topics_and_filters_have_a_longest: longest(V5);
    mqtt311_4_7_3_3_topics_and_filters_have_a_longest: longest(V311);
    mqtt5_4_7_3_4_matching_changes_nothing: unchanged(V5);
    mqtt311_4_7_3_4_matching_changes_nothing: unchanged(V311);
}

/// Whether SUBSCRIBE takes the filter; if not it says why and goes on.
fn is_taken(scene: &mut Scene, client: Client, filter: &str) -> bool {
    let packets = scene.exchange(client, &subscribe(client.version, 1, &[(filter, 0)]));
    let [Packet::Suback { reasons, .. }] = &packets[..] else { panic!("{filter:?}: {packets:?}") };
    let refusal = if client.version == V5 { 0x8F } else { 0x80 };
    assert!(reasons[..] == [0] || reasons[..] == [refusal], "{reasons:02x?}");
    reasons[..] == [0]
}

fn number_sign(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    for filter in ["#", "/#", "a/#", "a/b/#", "+/#", "//#"] {
        assert!(is_taken(&mut scene, client, filter), "{filter}");
    }
    for filter in ["a#", "#/a", "a/#/b", "a/b#", "##", "#/#", "#/", "/#/", "a/#b", "+#"] {
        assert!(!is_taken(&mut scene, client, filter), "{filter}");
    }
    // It stands for the parent, too, and for any number of levels.
    let client = scene.subscriber(version, "d", "a/b/#", 0);
    for topic in ["a/b", "a/b/", "a/b/c/d", "a", "a/bb"] {
        scene.publish(client, topic, topic);
    }
    assert_eq!(scene.texts(client), ["a/b", "a/b/", "a/b/c/d"]);
}

fn plus(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    for filter in ["+", "+/a", "a/+", "a/+/b", "+/+", "/+", "+/", "a/+/#"] {
        assert!(is_taken(&mut scene, client, filter), "{filter}");
    }
    for filter in ["a+", "+a", "a/b+", "a/+b/c", "++", "a/++"] {
        assert!(!is_taken(&mut scene, client, filter), "{filter}");
    }
    let client = scene.subscriber(version, "d", "a/+/c", 0);
    for topic in ["a/b/c", "a//c", "a/c", "a/b/b/c", "a/b/c/"] {
        scene.publish(client, topic, topic);
    }
    assert_eq!(scene.texts(client), ["a/b/c", "a//c"]);
}

/// The gateway itself publishes there; clients may not.
fn dollar(version: Version) {
    let mut scene = Scene::new();
    let blind: Vec<Client> = ["#", "+", "+/x", "+/#", "+/+"]
        .iter()
        .enumerate()
        .map(|(n, filter)| scene.subscriber(version, &format!("c{n}"), filter, 0))
        .collect();
    let seeing: Vec<Client> = ["$own/#", "$own/x", "$own/+"]
        .iter()
        .enumerate()
        .map(|(n, filter)| scene.subscriber(version, &format!("s{n}"), filter, 0))
        .collect();
    scene.say("$own/x", "p", false);
    for client in blind {
        scene.nothing(client);
    }
    for client in seeing {
        assert_eq!(scene.texts(client), ["p"]);
    }
    // Nor by what is retained; elsewhere in a topic $ is a character like others.
    scene.say("$own/y", "kept", true);
    let late = scene.client(version, "late");
    assert!(scene.subscribe(late, "#", 0).is_empty());
    assert_eq!(scene.subscribe(late, "$own/#", 0).len(), 1);
    scene.publish(late, "a/$b", "p");
    assert_eq!(scene.texts(late), ["p"]);
}

fn empty(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    assert!(!is_taken(&mut scene, client, ""));
    scene.offend(client, &Publish::new(version, "", "p").encode(), 0x82);
    let client = scene.client(version, "c");
    // One character is enough.
    for topic in ["a", "/", " "] {
        scene.subscribe(client, topic, 0);
        scene.publish(client, topic, topic);
        assert_eq!(scene.texts(client), [topic]);
    }
}

fn nul(version: Version) {
    let mut scene = Scene::new();
    let properties: &[u8] = if version == V5 { &[0] } else { &[] };
    for text in ["\0", "a\0", "a/\0/b"] {
        let client = scene.client(version, "c");
        scene.offend(client, &Publish::new(version, text, "p").encode(), 0x81);
        let client = scene.client(version, "c");
        scene.offend(client, &subscribe(version, 1, &[(text, 0)]), 0x81);
        let client = scene.client(version, "c");
        let body = [&[0, 1], properties, &sized(text)].concat();
        scene.offend(client, &packet(0xA2, &body), 0x81);
    }
}

/// A length has two bytes, so more cannot be said; what can be said works, up to the limit set.
fn longest(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    let long = "x".repeat(scene.topic_bytes_max());
    scene.subscribe(client, &long, 0);
    scene.publish(client, &long, "p");
    assert_eq!(scene.publishes(client)[0].topic, long);
    let longer = "x".repeat(usize::from(u16::MAX));
    assert!(long.len() == longer.len() || !is_taken(&mut scene, client, &longer));
    scene.lives(client);
}

fn unchanged(version: Version) {
    let mut scene = Scene::new();
    // Composed and decomposed, cases, spaces, empty levels, dots: all different.
    let topics = [
        "\u{e9}", "e\u{301}", "E\u{301}", "a/b", "a//b", "a/b/", "/a/b", "a/./b", " a/b", "\u{212b}",
        "\u{c5}",
    ];
    let clients: Vec<Client> = topics
        .iter()
        .enumerate()
        .map(|(n, topic)| scene.subscriber(version, &format!("c{n}"), topic, 0))
        .collect();
    let publisher = scene.client(version, "publisher");
    for topic in topics {
        scene.publish(publisher, topic, topic);
    }
    for (client, topic) in clients.into_iter().zip(topics) {
        let came = scene.publishes(client);
        assert_eq!(came.iter().map(|publish| publish.topic.as_str()).collect::<Vec<_>>(), [topic]);
    }
}
