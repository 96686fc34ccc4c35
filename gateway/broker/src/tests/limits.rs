//! What one client may do to the others: nothing.

use super::*;

#[test]
fn a_client_over_its_message_rate_is_slowed_down_and_loses_nothing() {
    let limits = ClientLimits { message_rate_max: Some(200), ..ClientLimits::default() };
    let bench = Bench::with(limits);
    let mut hearer = bench.connect("hearer");
    hearer.subscribe("t/#");
    let mut talker = bench.connect("talker");
    let started = Instant::now();
    (0..500).for_each(|number| talker.say(&format!("pub t/{number} 1")));
    (0..500).for_each(|number| hearer.hear_message(&format!("t/{number}"), 1));
    // A second's worth at once, some 30 in advance, then 200 per second.
    assert!(started.elapsed() > Duration::from_millis(1200), "{:?}", started.elapsed());
    assert!(bench.metric("tidegate_clients_slowed_total") > 0);
    bench.stop();
}

/// It may have said long ago that it is there; it is just not heard.
#[test]
fn a_client_that_is_slowed_down_is_not_taken_for_silent() {
    let limits = ClientLimits { message_rate_max: Some(20), ..ClientLimits::default() };
    let bench = Bench::with(limits);
    let mut hearer = bench.connect("hearer");
    hearer.subscribe("t");
    let mut talker = bench.connect("talker");
    talker.say("alive 200");
    // The first piece alone holds a dozen more than a second's worth: half a second's pause.
    (0..60).for_each(|_| talker.say("pub t 1"));
    (0..60).for_each(|_| hearer.hear_message("t", 1));
    assert_eq!(talker.0.read(&mut [0]).unwrap(), 0, "in the end it is silent");
    bench.stop();
}

#[test]
fn a_client_over_its_byte_rate_is_slowed_down_while_others_are_not() {
    let limits = ClientLimits { byte_rate_max: Some(10_000), ..ClientLimits::default() };
    let bench = Bench::with(limits);
    let mut hearer = bench.connect("hearer");
    hearer.subscribe("t");
    let mut talker = bench.connect("talker");
    let started = Instant::now();
    // 25,000 bytes of lines.
    (0..2500).for_each(|_| talker.say("pub t 123"));
    let mut quick = bench.connect("quick");
    quick.say("pub t 7");
    let mut quick_at = None;
    for count in 0..2501 {
        let line = hearer.hear();
        let length = if line == "msg t 7" { 7 } else { 123 };
        if length == 7 {
            quick_at = Some(count);
        }
        hearer.0.read_exact(&mut vec![0; length]).unwrap();
    }
    assert!(started.elapsed() > Duration::from_millis(1300), "{:?}", started.elapsed());
    assert!(quick_at.unwrap() < 1500, "overtakes what is held back, not {quick_at:?}th");
    bench.stop();
}

/// Slowly is not nothing: what matters is whether the socket takes anything.
#[test]
fn a_socket_that_takes_nothing_is_given_up_and_one_that_takes_little_is_not() {
    let limits = ClientLimits { write_stall: Some(Duration::from_millis(500)), ..ClientLimits::default() };
    let bench = Bench::with(limits);
    let mut stuck = bench.connect("stuck");
    let mut slow = bench.connect("slow");
    stuck.subscribe("flood");
    slow.subscribe("flood");
    let mut publisher = bench.connect("publisher");
    (0..12).for_each(|_| publisher.say("pub flood 1000000"));
    let mut ticks = bench.connect("ticks");
    ticks.0.get_ref().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let started = Instant::now();
    // Takes some of it ten times a second, for three times as long as the other has.
    let mut taken = vec![0; 200_000];
    while started.elapsed() < Duration::from_millis(1500) {
        slow.0.read_exact(&mut taken).unwrap();
        let _ = ticks.0.read(&mut [0]);
    }
    bench.await_metric("tidegate_connections_stalled_total", 1);
    let mut rest = Vec::new();
    let _ = stuck.0.read_to_end(&mut rest);
    assert!(rest.len() < 12_000_000, "all of it had arrived");
    slow.0.read_exact(&mut vec![0; 5_000_000]).unwrap();
    bench.stop();
}

#[test]
fn a_handshake_that_does_not_end_is_ended_and_bounded() {
    let bench = Bench::new();
    let upgrade: crate::Upgrade = Arc::new(|_, _, _| Ok(None));
    let carrier = Carrier::WebSocket { upgrade, message_bytes_max: 1024, stranger_bytes_max: 512 };
    let handshake_timeout = Duration::from_millis(500);
    let slow = ListenerSettings { carrier, handshake_timeout, connections_max: 10, ..settings(LOOPBACK) };
    let address = bench.listen(slow);
    let mut half: Vec<Client> = (0..30)
        .map(|_| {
            let mut client = Client::new(address);
            let _ = client.0.get_mut().write_all(b"GET / HT");
            client
        })
        .collect();
    for client in &mut half {
        // Those beyond the limit at once, the others in time: an end or a reset.
        let _ = client.0.read_to_end(&mut Vec::new());
    }
    bench.await_metric("tidegate_connects_over_limit_total", 20);
    bench.await_metric("tidegate_handshakes_failed_total{listener=\"lines\",step=\"timed_out\"}", 10);
    bench.stop();
}
