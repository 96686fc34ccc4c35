//! Clients that take, or send, in a way that could starve the others: memory stays bounded, others
//! are served as before, and the log and the metrics say what was refused.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::faults::excess::resident_kib;
use crate::harness::gateway::Settings;
use crate::harness::raw::RawClient;
use crate::harness::world::eventually;
use crate::harness::{Gateway, Outcome, World};
use crate::{ensure, ensure_eq};

crate::cases!("faults":
    a_client_that_never_reads_is_given_up_and_its_session_is_kept,
    a_client_that_acknowledges_nothing_holds_no_more_than_its_queue,
    a_publisher_at_full_speed_fills_no_more_than_the_queue_of_who_is_away,
    thousands_of_connections_that_say_nothing_are_bounded_and_given_up,
    connects_that_come_byte_by_byte_are_given_up,
    a_flood_of_connections_is_slowed_down_and_the_admitted_are_served,
);

/// What the gateway may take beyond its limits for queues, in all of these.
const MEMORY_KIB_MAX: u64 = 48 * 1024;
/// A round trip of a client that does nothing wrong, in a debug build on a busy machine.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(1500);

fn a_client_that_never_reads_is_given_up_and_its_session_is_kept(world: &mut World) -> Outcome {
    let gateway = with_limits(world, "limits.write_stall_secs=2 session.queue_bytes_max=1000000")?;
    let before = resident_kib(&gateway)?;
    let mut deaf = RawClient::persistent(gateway.ports.mqtt, "deaf")?;
    ensure_eq!(deaf.subscribe(&["flood".to_owned()])?, vec![1], "the SUBACK");
    let mut witness = Witness::start(&gateway)?;
    let mut publisher = RawClient::connect(gateway.ports.mqtt, "publisher")?;
    // Beyond what both sockets take and what the in-flight window holds.
    for _ in 0..400 {
        publisher.publish_payload("flood", &[b'x'; 50_000])?;
    }
    witness.round_trip()?;
    gateway.process.line("took nothing for limits.write_stall_secs", 20)?;
    ensure_eq!(gateway.metric("tidegate_connections_stalled_total")?, Some(1.0), "stalled connections");
    witness.round_trip()?;
    bounded(&gateway, before)?;
    drop(deaf);
    let mut again = RawClient::persistent(gateway.ports.mqtt, "deaf")?;
    ensure!(again.session_present(), "its session is gone");
    ensure_eq!(again.packet()?.0 >> 4, 3, "what had waited");
    drop((again, publisher, witness));
    gateway.stop()
}

fn a_client_that_acknowledges_nothing_holds_no_more_than_its_queue(world: &mut World) -> Outcome {
    let gateway = with_limits(world, "session.queue_messages_max=500 session.in_flight_max=20")?;
    let before = resident_kib(&gateway)?;
    let mut silent = RawClient::connect(gateway.ports.mqtt, "silent")?;
    ensure_eq!(silent.subscribe(&["flood".to_owned()])?, vec![1], "the SUBACK");
    let mut witness = Witness::start(&gateway)?;
    let mut publisher = RawClient::connect(gateway.ports.mqtt, "publisher")?;
    for _ in 0..2_000 {
        publisher.publish_payload("flood", &[b'x'; 1_000])?;
    }
    witness.round_trip()?;
    ensure_eq!(gateway.metric("tidegate_queued_messages")?, Some(500.0), "what waits");
    ensure_eq!(
        gateway.metric("tidegate_in_flight_messages")?,
        Some(20.0),
        "what it owes acknowledgements for"
    );
    let dropped = gateway.metric("tidegate_messages_dropped_total")?;
    ensure_eq!(dropped, Some(1_480.0), "the rest, counted");
    for _ in 0..20 {
        ensure_eq!(silent.packet()?.0 >> 4, 3, "what was sent");
    }
    bounded(&gateway, before)?;
    drop((silent, publisher, witness));
    gateway.stop()
}

fn a_publisher_at_full_speed_fills_no_more_than_the_queue_of_who_is_away(world: &mut World) -> Outcome {
    let gateway = with_limits(world, "session.queue_bytes_max=2000000 session.queue_qos0=true")?;
    let mut away = RawClient::persistent(gateway.ports.mqtt, "away")?;
    ensure_eq!(away.subscribe(&["flood".to_owned()])?, vec![1], "the SUBACK");
    drop(away);
    eventually("it is away", 10, || {
        let away = gateway.metric("tidegate_sessions{state=\"away\"}")?;
        Ok(away.filter(|count| *count == 1.0))
    })?;
    let before = resident_kib(&gateway)?;
    let mut witness = Witness::start(&gateway)?;
    let mut publisher = RawClient::connect(gateway.ports.mqtt, "publisher")?;
    for _ in 0..50 {
        for _ in 0..400 {
            publisher.send_qos0("flood", &[b'x'; 5_000])?;
        }
        witness.round_trip()?;
    }
    // All 20,000 of them, 100 MB, have gone the same way as this one.
    ensure_eq!(publisher.publish("end")?, 0x10, "nobody subscribed to the end");
    let dropped = gateway.metric("tidegate_messages_dropped_total")?.unwrap_or_default() as u64;
    ensure!(dropped > 19_000, "only {dropped} were dropped");
    let queued = gateway.metric("tidegate_queued_bytes")?.unwrap_or_default() as u64;
    ensure!(queued <= 2_000_000, "{queued} bytes wait");
    bounded(&gateway, before)?;
    drop((publisher, witness));
    gateway.stop()
}

fn thousands_of_connections_that_say_nothing_are_bounded_and_given_up(world: &mut World) -> Outcome {
    // Both ends of each count against the descriptors of this machine's processes.
    let count = descriptors().saturating_sub(1_000).min(10_000);
    let admitted = count * 4 / 5;
    let gateway = with_limits(
        world,
        &format!("mqtt.connect_timeout_secs=6 listener.mqtt.connections_max={}", admitted + 1),
    )?;
    let before = resident_kib(&gateway)?;
    let mut witness = Witness::start(&gateway)?;
    let half_open: Result<Vec<TcpStream>, _> =
        (0..count).map(|_| TcpStream::connect(("127.0.0.1", gateway.ports.mqtt))).collect();
    let half_open = half_open?;
    eventually("the rest is refused", 10, || {
        let refused = gateway.metric("tidegate_connects_over_limit_total")?;
        Ok(refused.filter(|refused| *refused == (count - admitted) as f64))
    })?;
    gateway.process.line("listener.mqtt.connections_max is reached", 5)?;
    witness.round_trip()?;
    bounded(&gateway, before)?;
    eventually("they are given up", 30, || {
        witness.round_trip()?;
        Ok(gateway.metric("tidegate_connections{listener=\"mqtt\"}")?.filter(|open| *open == 1.0))
    })?;
    drop((half_open, witness));
    gateway.stop()
}

fn connects_that_come_byte_by_byte_are_given_up(world: &mut World) -> Outcome {
    let gateway =
        with_limits(world, "mqtt.connect_timeout_secs=3 listener.websocket.handshake_timeout_secs=3")?;
    let before = resident_kib(&gateway)?;
    let mut witness = Witness::start(&gateway)?;
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";
    let upgrade = b"GET /mqtt HTTP/1.1\r\nHost: x\r\n";
    let mut slow = Vec::new();
    for (port, bytes) in [(gateway.ports.mqtt, &connect[..]), (gateway.ports.websocket, upgrade)] {
        for _ in 0..300 {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            slow.push((stream, bytes.iter()));
        }
    }
    // Each says one more byte now and then: that must not keep it alive.
    let started = Instant::now();
    let mut left = 0;
    eventually("they are given up", 30, || {
        witness.round_trip()?;
        if left < 12 && started.elapsed() > Duration::from_millis(left * 200) {
            left += 1;
            for (stream, bytes) in &mut slow {
                let _ = stream.write_all(bytes.next().map_or(&[], std::slice::from_ref));
            }
        }
        Ok(gateway.metric("tidegate_connections")?.filter(|open| *open == 1.0))
    })?;
    ensure!(started.elapsed() < Duration::from_secs(12), "that took {:?}", started.elapsed());
    let failed = gateway.metric("tidegate_handshakes_failed_total")?;
    ensure_eq!(failed, Some(300.0), "upgrades that were given up");
    bounded(&gateway, before)?;
    drop((slow, witness));
    gateway.stop()
}

fn a_flood_of_connections_is_slowed_down_and_the_admitted_are_served(world: &mut World) -> Outcome {
    let gateway = with_limits(world, "listener.mqtt.connect_rate_max=20")?;
    let mut witness = Witness::start(&gateway)?;
    let streams: Result<Vec<TcpStream>, _> =
        (0..500).map(|_| TcpStream::connect(("127.0.0.1", gateway.ports.mqtt))).collect();
    let _streams = streams?;
    witness.round_trip()?;
    let refused = gateway.metric("tidegate_connects_over_rate_total")?.unwrap_or_default() as u64;
    ensure!(refused > 300, "only {refused} of 500 were refused");
    gateway.process.line("listener.mqtt.connect_rate_max is reached", 5)?;
    let said = gateway.process.transcript.snapshot();
    let lines = said.iter().filter(|line| line.contains("connect_rate_max is reached")).count();
    ensure!(lines <= 9, "{lines} lines for {refused} refusals");
    drop(witness);
    gateway.stop()
}

fn with_limits(world: &mut World, set: &str) -> Outcome<Gateway> {
    let set = set.split(' ').map(str::to_owned).collect();
    Gateway::start_with(world, Settings { set, ..Settings::default() })
}

fn bounded(gateway: &Gateway, before: u64) -> Outcome {
    let grown = resident_kib(gateway)?.saturating_sub(before);
    ensure!(grown < MEMORY_KIB_MAX, "the gateway has grown by {grown} KiB");
    Ok(())
}

/// How many files this process may open.
fn descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(1024)
}

/// Another client, that does nothing wrong.
struct Witness(RawClient);

impl Witness {
    fn start(gateway: &Gateway) -> Outcome<Self> {
        let mut client = RawClient::connect(gateway.ports.mqtt, "witness")?;
        ensure_eq!(client.subscribe(&["witness".to_owned()])?, vec![1], "the SUBACK");
        Ok(Self(client))
    }

    /// Publishes to itself; it may take no longer than usual.
    fn round_trip(&mut self) -> Outcome {
        let started = Instant::now();
        self.0.send_qos0("witness", b"?")?;
        ensure_eq!(self.0.packet()?.0 >> 4, 3, "its own message");
        let took = started.elapsed();
        ensure!(took < ROUND_TRIP_MAX, "a round trip took {took:?}");
        Ok(())
    }
}
