use std::collections::BTreeMap;

use gateway_model::{Reason, Reply};

use super::Bench;

/// What was counted, without what is nothing.
fn counts(bench: &Bench) -> BTreeMap<&'static str, u64> {
    let counts = bench.connection.config.packets.counts().into_iter();
    counts.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn every_packet_in_both_directions_is_counted() {
    let mut bench = Bench::open_311();
    bench.exchange(b"\x30\x03\x00\x01a\x32\x05\x00\x01a\x00\x01\x34\x05\x00\x01a\x00\x02\x62\x02\x00\x02");
    bench.exchange(b"\xc0\x00");
    bench.receive(b"\x82\x06\x00\x05\x00\x01a\x00");
    let (ticket, _) = bench.out.requests.pop_front().unwrap();
    bench.reply(ticket, Reply::Subscribed(vec![Reason::Success]));
    bench.exchange(b"\x50\x02\x00\x09");
    bench.exchange(b"\xe0\x00");
    let expected = [
        ("packets/received", 9),
        ("packets/sent", 7),
        ("packets/connect/received", 1),
        ("packets/connack/sent", 1),
        ("packets/publish/received", 3),
        ("packets/puback/sent", 1),
        ("packets/pubrec/sent", 1),
        ("packets/pubrel/received", 1),
        ("packets/pubcomp/sent", 1),
        ("packets/pingreq/received", 1),
        ("packets/pingresp/sent", 1),
        ("packets/subscribe/received", 1),
        ("packets/suback/sent", 1),
        ("packets/pubrec/received", 1),
        ("packets/pubrel/sent", 1),
        ("packets/disconnect/received", 1),
    ];
    assert_eq!(counts(&bench), BTreeMap::from(expected));
}
