//! What one client may ask for in excess, and that the others do not notice.

use crate::harness::mqtt::{Subscriber, publish};
use crate::harness::raw::RawClient;
use crate::harness::world::eventually;
use crate::harness::{Gateway, Outcome, Stop, World};
use crate::{ensure, ensure_eq};

crate::cases!("faults":
    a_client_with_100_000_subscriptions_is_served_and_then_stopped,
    topics_of_65_535_bytes_and_of_many_levels_are_bounded,
);

const SUBSCRIPTIONS: u32 = 100_000;
/// What 100,000 subscriptions with their filters may take: 300 bytes each are the target.
const SUBSCRIPTIONS_KIB_MAX: u64 = 60 * 1024;

fn a_client_with_100_000_subscriptions_is_served_and_then_stopped(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let before = resident_kib(&gateway)?;
    let mut greedy = RawClient::connect(gateway.ports.mqtt, "greedy")?;
    for first in (0..SUBSCRIPTIONS).step_by(1000) {
        let filters: Vec<String> = (first..first + 1000).map(|n| format!("greedy/{n}/+")).collect();
        let reasons = greedy.subscribe(&filters)?;
        ensure!(reasons.iter().all(|reason| *reason == 1), "subscriptions from {first} are granted");
    }
    ensure_eq!(greedy.subscribe(&["one/more".to_owned()])?, vec![0x97], "limits.subscriptions_max");
    let grown = resident_kib(&gateway)?.saturating_sub(before);
    ensure!(grown < SUBSCRIPTIONS_KIB_MAX, "{SUBSCRIPTIONS} subscriptions take {grown} KiB");
    // Others are routed as before, and so is the greedy client itself.
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-t", "greedy/77/x", "-q", "1"])?;
    publish(world, gateway.ports.mqtt, &["-t", "greedy/77/x", "-q", "1", "-m", "hello"])?;
    ensure_eq!(heard.message()?.payload, "hello", "what others get");
    ensure_eq!(greedy.packet()?.0 >> 4, 3, "a PUBLISH for the greedy client");
    drop(greedy);
    eventually("its subscriptions are gone", 15, || {
        Ok(gateway.metric("tidegate_subscriptions")?.filter(|count| *count <= 1.0))
    })?;
    drop(heard);
    gateway.stop()
}

fn topics_of_65_535_bytes_and_of_many_levels_are_bounded(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let mut client = RawClient::connect(gateway.ports.mqtt, "deep")?;
    let deep = "/".repeat(65_535);
    let long = "x".repeat(65_535);
    ensure_eq!(client.subscribe(&[deep.clone(), long.clone()])?, vec![0x8f, 1], "65,536 levels, and one");
    ensure_eq!(client.publish(&deep)?, 0x90, "limits.topic_levels_max");
    ensure_eq!(client.publish(&long)?, 0x00, "one level of 65,535 bytes");
    ensure_eq!(client.packet()?.1.len(), 2 + 65_535 + 2 + 1, "it comes back whole");
    // As many distinct ones as a busy minute brings: what is remembered of topics is bounded.
    let before = resident_kib(&gateway)?;
    for number in 0..2_000 {
        let topic = format!("{number:05}{}", "y".repeat(60_000));
        let reason = client.publish(&topic)?;
        ensure_eq!(reason, 0x10, "nobody subscribed");
    }
    let grown = resident_kib(&gateway)?.saturating_sub(before);
    ensure!(grown < 64 * 1024, "2,000 long topics leave {grown} KiB behind");
    drop(client);
    gateway.stop()
}

pub(super) fn resident_kib(gateway: &Gateway) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.trim().split(' ').next()?.parse().ok());
    number.ok_or_else(|| Stop::Failed("no VmRSS in /proc".into()))
}
