//! What one client may do to the others: nothing.

use gateway_bus::Moment;

use super::*;
use crate::connection::{Connection, Pool};
use crate::memory::{Memory, Pipe};
use crate::meter::Meter;
use crate::ready_queue::ReadyQueue;
use crate::turn::{self, World};

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

/// What it still sends is thrown away at any rate: closed with unread bytes, the socket would destroy what
/// the client was told at last.
#[test]
fn a_client_over_its_rate_may_say_the_rest_when_it_is_closed() {
    let limits = ClientLimits { message_rate_max: Some(20), ..ClientLimits::default() };
    let bench = Bench::with(limits);
    let mut talker = bench.connect("talker");
    // One piece, a few messages over the rate, and an error.
    talker.say(&format!("{}nonsense", "pub t 1\n".repeat(25)));
    assert_eq!(talker.hear(), "");
    talker.0.get_mut().write_all(&vec![b'x'; 16_000_000]).unwrap();
    bench.stop();
}

/// When its pause is over and it has to take something first, that is waited for, not looked for.
#[test]
fn a_client_over_its_rate_that_takes_nothing_costs_nothing() {
    let limits = ClientLimits { byte_rate_max: Some(64_000), write_stall: None, ..ClientLimits::default() };
    let bench = Bench::with(limits);
    let queue = Arc::<ReadyQueue>::default();
    let (mut world, mut pool) = (World::new(bench.broker.clone(), Box::new(|_| ()), &queue), Pool::default());
    let mut moment = Moment { instant: Instant::now(), unix_millis: 0 };
    let peer = Peer::new(([127, 0, 0, 1], 10_000).into(), "lines".into());
    let adapter = Lines.connect(moment.instant, &peer, 0);
    let mut client = turn::Client::new(peer, true, 0, 1);
    client.meter = Meter::new(moment.instant, &bench.broker.client_limits);
    let pipe = Arc::<parking_lot::Mutex<Pipe>>::default();
    let carrier = crate::carrier::Carrier::Memory(Memory(pipe.clone()));
    let gauges = bench.broker.gauges.listener("lines");
    let mut connection = Connection::new(carrier, adapter, client, gauges);

    // The answers to a second's worth are more than may wait.
    pipe.lock().stalled = true;
    pipe.lock().put("who\n".repeat(20_000).as_bytes());
    connection.read(&mut world, &mut pool, &mut vec![0; 100_000], moment);
    connection.flush(&mut world, &mut pool, moment);
    let until = connection.client.meter.as_ref().unwrap().until.expect("it is over its rate");
    moment.instant = until;
    assert_eq!(connection.next_timeout(), None, "nothing happens before it takes something");
    // It goes on as soon as it does.
    pipe.lock().stalled = false;
    connection.flush(&mut world, &mut pool, moment);
    connection.read(&mut world, &mut pool, &mut vec![0; 100_000], moment);
    connection.flush(&mut world, &mut pool, moment);
    let mut answers = Vec::new();
    pipe.lock().swap(&mut answers);
    assert!(answers.len() > 18 * 16_000, "{} bytes, which is a second's worth", answers.len());
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

/// A handshake is a task beside the shard's own: a few steps of many are done in each pass.
#[test]
fn handshakes_come_to_their_end_while_others_are_busy() {
    let bench = Bench::of(ClientLimits::default(), 1);
    let address = bench.listen(ListenerSettings { proxy_protocol: true, ..settings(LOOPBACK) });
    let mut busy = bench.connect("busy");
    let is_done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let done = is_done.clone();
    let flood = std::thread::spawn(move || {
        // As long as what is read at once: the shard is in one pass after the other.
        let toil = format!("toil {}", "x".repeat(64 * 1024 - 6));
        (0..200).for_each(|_| busy.say(&toil));
        busy.say("who");
        busy.hear();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    let mut clients: Vec<Client> = (0..60).map(|_| Client::new(address)).collect();
    for client in &mut clients {
        client.say("PROXY TCP4 127.0.0.1 127.0.0.1 7 7\r\nopen c");
    }
    for client in &mut clients {
        // All have the same name; who is not the last hears of that next.
        assert_eq!(client.hear(), "opened c");
    }
    assert!(!is_done.load(std::sync::atomic::Ordering::SeqCst), "only the end of the flood let them in");
    flood.join().unwrap();
    bench.stop();
}
