use std::hint::black_box;
use std::num::NonZeroU16;

use gateway_broker::Line;
use gateway_model::Qos;

use crate::rig::{Rig, acknowledge, publish};

/// A fixed piece of work for the gateway.
pub struct Workload {
    pub name: &'static str,
    pub what: &'static str,
    /// Does it so many rounds, and then so many that are counted. How many messages were delivered in
    /// these.
    pub run: fn(before: usize, rounds: usize) -> usize,
}

pub const WORKLOADS: [Workload; 3] = [
    Workload {
        name: "p2p-qos0",
        what: "100 publishers with a subscriber each, QoS 0, 64 bytes, 32 publishes at a time",
        run: p2p_qos0,
    },
    Workload {
        name: "p2p-qos1",
        what: "the same at QoS 1, 16 at a time, all acknowledgements, half of the subscribers durable",
        run: p2p_qos1,
    },
    Workload {
        name: "fan-out",
        what: "a publish to 100 sessions, each to another topic, among 30,000 other subscriptions",
        run: fan_out,
    },
];

const PAIRS: usize = 100;
const PAYLOAD: [u8; 64] = [b'x'; 64];

/// The only part that is counted: callgrind begins when this function is entered and stops when it
/// returns. So what the peers do, and the set-up, is not in the figures, however much it is. Never
/// inlined, as callgrind finds it by its name, [`COUNTED`].
#[inline(never)]
pub fn gateway_runs_counted(rig: &mut Rig) {
    black_box(&mut *rig).run();
    black_box(rig);
}

/// [`gateway_runs_counted`], as a pattern for callgrind.
pub const COUNTED: &str = "*gateway_runs_counted*";

fn run(rig: &mut Rig, is_counted: bool) {
    if is_counted { gateway_runs_counted(rig) } else { rig.run() }
}

/// Publisher, subscriber and topic.
struct Pair {
    publisher: Line,
    subscriber: Line,
    topic: String,
}

fn pairs(rig: &mut Rig, qos: Qos, outlives: impl Fn(usize) -> bool) -> Vec<Pair> {
    let pair = |number| {
        let topic = format!("line/{number}/temperature");
        let subscriber = rig.client(&format!("subscriber-{number}"), outlives(number));
        rig.subscribe(subscriber, [topic.as_str()], qos);
        Pair { publisher: rig.client(&format!("publisher-{number}"), false), subscriber, topic }
    };
    (0..PAIRS).map(pair).collect()
}

fn p2p_qos0(before: usize, rounds: usize) -> usize {
    const BATCH: usize = 32;
    let mut rig = Rig::new();
    let pairs = pairs(&mut rig, Qos::AtMostOnce, |_| false);
    let batches: Vec<_> =
        pairs.iter().map(|pair| publish(&pair.topic, None, &PAYLOAD).repeat(BATCH)).collect();
    for round in 0..before + rounds {
        for (pair, batch) in pairs.iter().zip(&batches) {
            rig.put(pair.publisher, batch);
        }
        run(&mut rig, round >= before);
        for (pair, batch) in pairs.iter().zip(&batches) {
            assert_eq!(rig.receive(pair.subscriber), batch, "{} was not delivered as it came", pair.topic);
        }
    }
    rounds * PAIRS * BATCH
}

fn p2p_qos1(before: usize, rounds: usize) -> usize {
    const WINDOW: u16 = 16;
    let mut rig = Rig::with_disk();
    let pairs = pairs(&mut rig, Qos::AtLeastOnce, |number| number % 2 == 0);
    let batch = |pair: &Pair| -> Vec<u8> {
        let ids = (1..=WINDOW).map(NonZeroU16::new);
        ids.flat_map(|id| publish(&pair.topic, id, &PAYLOAD)).collect()
    };
    let batches: Vec<_> = pairs.iter().map(batch).collect();
    let pubacks: Vec<u8> = (1..=WINDOW as u8).flat_map(|id| [0x40, 2, 0, id]).collect();
    let mut answers = Vec::new();
    for round in 0..before + rounds {
        for (pair, batch) in pairs.iter().zip(&batches) {
            rig.put(pair.publisher, batch);
        }
        run(&mut rig, round >= before);
        for pair in &pairs {
            assert_eq!(rig.receive(pair.publisher), pubacks, "{} was not acknowledged", pair.topic);
            answers.clear();
            let count = acknowledge(rig.receive(pair.subscriber), &mut answers);
            assert_eq!(count, usize::from(WINDOW), "{} was not delivered", pair.topic);
            rig.put(pair.subscriber, &answers);
        }
        run(&mut rig, round >= before);
    }
    rounds * PAIRS * usize::from(WINDOW)
}

fn fan_out(before: usize, rounds: usize) -> usize {
    const SESSIONS: usize = 100;
    const OTHERS: usize = 300;
    const OTHERS_FILTERS: usize = 100;
    let mut rig = Rig::new();
    let session = |number| {
        let line = rig.client(&format!("session-{number}"), false);
        rig.subscribe(line, ["line/0/+/state"], Qos::AtMostOnce);
        line
    };
    let sessions: Vec<_> = (0..SESSIONS).map(session).collect();
    for other in 1..=OTHERS {
        let line = rig.client(&format!("other-{other}"), false);
        let filter = |machine: usize| match machine % 3 {
            0 => format!("line/{other}/{machine}/state"),
            1 => format!("line/{other}/{machine}/+"),
            _ => format!("line/{other}/{machine}/#"),
        };
        let filters: Vec<_> = (0..OTHERS_FILTERS).map(filter).collect();
        rig.subscribe(line, filters.iter().map(String::as_str), Qos::AtMostOnce);
    }
    let publisher = rig.client("publisher", false);
    for round in 0..before + rounds {
        // Another topic each time, so that the route is looked up and not remembered.
        let message = publish(&format!("line/0/{round}/state"), None, &PAYLOAD);
        rig.put(publisher, &message);
        run(&mut rig, round >= before);
        for line in &sessions {
            assert_eq!(rig.receive(*line), message, "a session did not get the message");
        }
    }
    rounds * SESSIONS
}
