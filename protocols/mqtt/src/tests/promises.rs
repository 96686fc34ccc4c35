//! Nothing is answered before what the answer promises is durable.

use std::num::NonZeroU16;

use gateway_model::{ClientId, Event, Expiry, Opened, Outcome, Qos, Reason, Reply, Settled, Ticket};

use super::delivering::{message, numbered};
use super::{Bench, CONNECT_5_TERSE, CONNECT_311};
use crate::Config;

fn id(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// A session that holds 7 and 8 from an earlier connection, and forgets nothing at once.
fn resumed(connect: &[u8]) -> Bench {
    let mut bench = Bench::new(Config { receive_maximum: 2.try_into().unwrap(), ..Config::default() });
    bench.connect(connect);
    let client_id = ClientId::parse("c").unwrap();
    let held = vec![id(7), id(8)];
    bench.out.held = held.clone();
    let opened =
        Opened { client_id, session_present: true, expiry: Expiry::Never, held, authentication_data: None };
    bench.reply(Ticket(0), Reply::Opened(Ok(opened)));
    bench.out.take_bytes();
    bench.out.release_outcome = Outcome::Later;
    bench
}

#[test]
fn pubcomp_waits_until_it_is_durable_that_the_identifier_is_free() {
    for connect in [CONNECT_311, CONNECT_5_TERSE] {
        let mut bench = resumed(connect);
        assert_eq!(bench.exchange(b"\x62\x02\x00\x07\x62\x02\x00\x08"), b"");
        let tickets: Vec<_> = bench.out.released.iter().map(|(ticket, _)| *ticket).collect();
        bench.reply(tickets[0], Reply::Released);
        assert_eq!(bench.out.take_bytes(), b"\x70\x02\x00\x07");
        bench.reply(tickets[0], Reply::Released);
        assert_eq!(bench.out.take_bytes(), b"");
        bench.reply(tickets[1], Reply::Released);
        assert_eq!(bench.out.take_bytes(), b"\x70\x02\x00\x08");
    }
}

#[test]
fn a_second_pubrel_is_answered_together_with_the_first() {
    let mut bench = resumed(CONNECT_5_TERSE);
    assert_eq!(bench.exchange(b"\x62\x02\x00\x07\x62\x02\x00\x07"), b"");
    assert_eq!(bench.out.released.len(), 1);
    // One that nobody knows does not wait for others.
    assert_eq!(bench.exchange(b"\x62\x02\x00\x63"), b"\x70\x03\x00\x63\x92");
    bench.reply(bench.out.released[0].0, Reply::Released);
    assert_eq!(bench.out.take_bytes(), b"\x70\x02\x00\x07");
    assert_eq!(bench.exchange(b"\x62\x02\x00\x07"), b"\x70\x03\x00\x07\x92");
    assert_eq!(bench.out.released.len(), 1);
}

#[test]
fn mqtt_2_2_1_3_an_identifier_is_in_use_until_pubcomp() {
    let mut bench = resumed(CONNECT_5_TERSE);
    bench.exchange(b"\x62\x02\x00\x07");
    assert_eq!(bench.exchange(b"\x34\x06\x00\x01a\x00\x07\x00"), b"\x50\x03\x00\x07\x91");
    assert_eq!(bench.exchange(b"\x3c\x06\x00\x01a\x00\x07\x00"), b"\x50\x03\x00\x07\x91");
    assert_eq!(bench.exchange(b"\x32\x06\x00\x01a\x00\x07\x00"), b"\x40\x03\x00\x07\x91");
    assert!(bench.published().is_empty());
    bench.reply(bench.out.released[0].0, Reply::Released);
    assert_eq!(bench.out.take_bytes(), b"\x70\x02\x00\x07");
    assert_eq!(bench.exchange(b"\x34\x06\x00\x01a\x00\x07\x00"), b"\x50\x02\x00\x07");
    assert_eq!((bench.published().len(), &bench.out.held[..]), (1, &[id(8), id(7)][..]));

    let mut bench = resumed(CONNECT_311);
    bench.exchange(b"\x62\x02\x00\x07");
    assert_eq!(bench.exchange(b"\x34\x05\x00\x01a\x00\x07"), b"");
    assert_eq!(bench.closed_because(), Some(Reason::PacketIdentifierInUse));
    assert!(bench.published().is_empty());
}

#[test]
fn mqtt_4_9_a_release_that_waits_still_counts() {
    let mut bench = resumed(CONNECT_5_TERSE);
    bench.exchange(b"\x34\x06\x00\x01a\x00\x01\x00\x34\x06\x00\x01a\x00\x02\x00");
    assert_eq!(bench.exchange(b"\x62\x02\x00\x01"), b"");
    // Of an earlier connection: it never took a place, and gives none back.
    assert_eq!(bench.exchange(b"\x62\x02\x00\x07"), b"");
    let tickets: Vec<_> = bench.out.released.iter().map(|(ticket, _)| *ticket).collect();
    bench.reply(tickets[0], Reply::Released);
    bench.reply(tickets[1], Reply::Released);
    assert_eq!(bench.out.take_bytes(), b"\x70\x02\x00\x01\x70\x02\x00\x07");
    assert_eq!(bench.exchange(b"\x34\x06\x00\x01a\x00\x03\x00"), b"\x50\x02\x00\x03");
    assert_eq!(bench.exchange(b"\x62\x02\x00\x03"), b"");
    assert_eq!(bench.exchange(b"\x32\x06\x00\x01a\x00\x04\x00"), b"\xe0\x01\x93");
}

#[test]
fn pubcomp_never_passes_the_pubrec_of_its_publish() {
    let mut bench = Bench::open_5();
    bench.out.publish_outcome = Outcome::Later;
    assert_eq!(bench.exchange(b"\x34\x06\x00\x01a\x00\x07\x00\x62\x02\x00\x07"), b"");
    bench.reply(bench.out.published[0].0, Reply::Published(Reason::Success));
    assert_eq!(bench.out.take_bytes(), b"\x50\x02\x00\x07\x70\x02\x00\x07");
    // And if the publish is refused in the end, there was nothing to release.
    assert_eq!(bench.exchange(b"\x34\x06\x00\x01a\x00\x07\x00\x62\x02\x00\x07"), b"");
    bench.reply(bench.out.published[1].0, Reply::Published(Reason::QuotaExceeded));
    assert_eq!(bench.out.take_bytes(), b"\x50\x03\x00\x07\x97\x70\x03\x00\x07\x92");
}

#[test]
fn a_late_pubcomp_does_not_free_the_identifier_of_another_publish() {
    let mut bench = Bench::open_5();
    (bench.out.publish_outcome, bench.out.release_outcome) = (Outcome::Later, Outcome::Later);
    bench.exchange(b"\x34\x06\x00\x01a\x00\x07\x00\x62\x02\x00\x07");
    bench.reply(bench.out.published[0].0, Reply::Published(Reason::QuotaExceeded));
    assert_eq!(bench.out.take_bytes(), b"\x50\x03\x00\x07\x97");
    assert_eq!(bench.exchange(b"\x34\x06\x00\x01a\x00\x07\x00"), b"");
    bench.reply(bench.out.released[0].0, Reply::Released);
    assert_eq!(bench.out.take_bytes(), b"\x70\x03\x00\x07\x92");
    assert_eq!(bench.exchange(b"\x3c\x06\x00\x01a\x00\x07\x00"), b"");
    assert_eq!(bench.published().len(), 2, "the second is known");
}

#[test]
fn a_refused_publish_holds_nothing_and_releases_nothing() {
    for later in [false, true] {
        let mut bench = Bench::open_5();
        let refused = Outcome::Done(Reason::QuotaExceeded);
        bench.out.publish_outcome = if later { Outcome::Later } else { refused };
        bench.receive(b"\x34\x06\x00\x01a\x00\x07\x00");
        if later {
            bench.reply(bench.out.published[0].0, Reply::Published(Reason::QuotaExceeded));
        }
        assert_eq!(bench.out.take_bytes(), b"\x50\x03\x00\x07\x97");
        assert!(bench.out.released.is_empty());
        bench.out.publish_outcome = Outcome::Done(Reason::Success);
        assert_eq!(bench.exchange(b"\x34\x06\x00\x01a\x00\x07\x00"), b"\x50\x02\x00\x07");
        assert_eq!(bench.published().len(), 2);
    }
}

#[test]
fn a_full_disk_ends_a_connection_of_3_1_1_and_acknowledges_nothing() {
    let mut bench = Bench::open_311();
    bench.out.publish_outcome = Outcome::Later;
    bench.exchange(b"\x34\x05\x00\x01a\x00\x01");
    bench.out.publish_outcome = Outcome::Done(Reason::QuotaExceeded);
    assert_eq!(bench.exchange(b"\x34\x05\x00\x01a\x00\x02\x32\x05\x00\x01a\x00\x03"), b"");
    assert_eq!((bench.closed_because(), &bench.out.held[..]), (None, &[id(1)][..]));
    bench.reply(bench.out.published[0].0, Reply::Published(Reason::Success));
    assert_eq!(bench.out.take_bytes(), b"\x50\x02\x00\x01");
    assert_eq!(bench.closed_because(), Some(Reason::QuotaExceeded));
}

#[test]
fn pubrel_waits_until_it_is_durable_that_the_client_has_the_message() {
    for mut bench in [Bench::open_311(), Bench::open_5()] {
        bench.out.settles = Settled::Later;
        assert_eq!(bench.exchange(b"\x50\x02\x00\x07"), b"");
        bench.handle(Event::Settled(id(7)));
        assert_eq!(bench.out.take_bytes(), b"\x62\x02\x00\x07");
        bench.handle(Event::Settled(id(7)));
        assert_eq!(bench.out.take_bytes(), b"");
        bench.out.settles = Settled::Done;
        assert_eq!(bench.exchange(b"\x70\x02\x00\x07"), b"");
    }
}

#[test]
fn mqtt_4_6_0_4_pubrels_keep_the_order_of_the_pubrecs() {
    let mut bench = Bench::open_5();
    bench.out.settles = Settled::Later;
    assert_eq!(bench.exchange(b"\x50\x02\x00\x07\x50\x02\x00\x05"), b"");
    bench.out.settles = Settled::Unknown;
    assert_eq!(bench.exchange(b"\x50\x02\x00\x03"), b"");
    bench.out.settles = Settled::Done;
    assert_eq!(bench.exchange(b"\x50\x02\x00\x04"), b"");
    bench.handle(Event::Settled(id(5)));
    assert_eq!(bench.out.take_bytes(), b"");
    bench.handle(Event::Settled(id(7)));
    let released = b"\x62\x02\x00\x07\x62\x02\x00\x05\x62\x03\x00\x03\x92\x62\x02\x00\x04";
    assert_eq!(bench.out.take_bytes(), released);
    assert_eq!(bench.exchange(b"\x50\x02\x00\x06"), b"\x62\x02\x00\x06");
}

#[test]
fn a_second_pubrec_brings_no_pubrel_before_its_time() {
    let mut bench = Bench::open_5();
    bench.out.settles = Settled::Later;
    assert_eq!(bench.exchange(b"\x50\x02\x00\x07"), b"");
    bench.out.settles = Settled::Done;
    assert_eq!(bench.exchange(b"\x50\x02\x00\x07"), b"");
    assert_eq!(bench.out.settled.len(), 1);
    // Nor does a delivery that is taken up again.
    let again = gateway_model::Outgoing { released: true, ..numbered(message("hi"), 7, Qos::ExactlyOnce) };
    assert_eq!(bench.deliver([again]), b"");
    bench.handle(Event::Settled(id(7)));
    assert_eq!(bench.out.take_bytes(), b"\x62\x02\x00\x07");
    assert_eq!(bench.exchange(b"\x50\x02\x00\x07"), b"\x62\x02\x00\x07");
}

#[test]
fn pubcomp_before_its_pubrel_is_out_of_order() {
    let mut bench = Bench::open_5();
    bench.out.settles = Settled::Later;
    bench.exchange(b"\x50\x02\x00\x07");
    bench.out.settles = Settled::Done;
    assert_eq!(bench.exchange(b"\x70\x02\x00\x07"), b"\xe0\x01\x82");
    assert_eq!(bench.out.settled.len(), 1);
}
