use divan::Bencher;
use divan::counter::ItemsCount;
use gateway_model::{Publish, Qos};

use crate::crowd::{Crowd, filter, topic};
use crate::rig::{self, Rig};
use crate::sizes;

const TOPIC: &str = "plant/hall-3/state";
const PAYLOAD: [u8; 64] = [b'x'; 64];

/// One publish at QoS 0 into the outboxes of so many sessions, and out of them.
#[divan::bench(args = sizes([1, 100, 10_000]))]
fn bus(bencher: Bencher<'_, '_>, sessions: usize) {
    let mut crowd = Crowd::new(sessions);
    crowd.sessions.iter().for_each(|session| crowd.subscribe(session, filter(TOPIC)));
    let publish = Publish::new(topic(TOPIC), PAYLOAD.to_vec());
    bencher.counter(ItemsCount::new(sessions)).bench_local(|| {
        crowd.publish(publish.clone());
        let delivered: usize = crowd.sessions.iter().map(|session| crowd.drain(session)).sum();
        assert_eq!(delivered, sessions);
    });
}

/// The same through the whole gateway, from the bytes of the publisher to those that each session's client
/// is sent.
#[divan::bench(args = sizes([1, 100, 10_000]))]
fn gateway(bencher: Bencher<'_, '_>, sessions: usize) {
    let mut rig = Rig::new();
    let session = |number: usize| {
        let line = rig.client(&number.to_string(), false);
        rig.subscribe(line, [TOPIC], Qos::AtMostOnce);
        line
    };
    let lines: Vec<_> = (0..sessions).map(session).collect();
    let publisher = rig.client("publisher", false);
    let bytes = rig::publish(TOPIC, None, &PAYLOAD);
    bencher.counter(ItemsCount::new(sessions)).bench_local(|| {
        rig.put(publisher, &bytes);
        rig.run();
        lines.iter().for_each(|line| assert_eq!(rig.receive(*line).len(), bytes.len()));
    });
}

/// One publish at QoS 1 to a client whose session outlives it, on a simulated disk: appended, synced,
/// acknowledged, delivered, and acknowledged by the receiver.
#[divan::bench]
fn gateway_durable(bencher: Bencher<'_, '_>) {
    let mut rig = Rig::with_disk();
    let subscriber = rig.client("subscriber", true);
    rig.subscribe(subscriber, [TOPIC], Qos::AtLeastOnce);
    let publisher = rig.client("publisher", false);
    let bytes = rig::publish(TOPIC, Some(std::num::NonZeroU16::MIN), &PAYLOAD);
    let mut answers = Vec::new();
    bencher.bench_local(|| {
        rig.put(publisher, &bytes);
        rig.run();
        assert_eq!(rig.receive(publisher), [0x40, 2, 0, 1]);
        answers.clear();
        assert_eq!(rig::acknowledge(rig.receive(subscriber), &mut answers), 1);
        rig.put(subscriber, &answers);
        rig.run();
    });
}
