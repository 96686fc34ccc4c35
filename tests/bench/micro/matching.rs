use divan::Bencher;

use crate::crowd::{Crowd, filter, topic};
use crate::sizes;

/// A session has so many subscriptions.
const FILTERS: usize = 100;
/// Topics that are asked for in turn, so that not all is in the nearest cache of the processor.
const TOPICS: usize = 1024;

/// Where a topic leads, past the cache: to three sessions, among so many subscriptions. A third of them is
/// exact, a third ends in `+` and a third in `#`.
#[divan::bench(args = sizes([1_000, 100_000, 1_000_000]), sample_size = 100)]
fn route(bencher: Bencher<'_, '_>, subscriptions: usize) {
    let crowd = Crowd::new(subscriptions.div_ceil(FILTERS));
    for number in 0..subscriptions {
        let (machine, kind) = (number / 3, number % 3);
        let end = ["temperature", "+", "#"][kind];
        // The three of a machine are of three sessions.
        let session = &crowd.sessions[number % crowd.sessions.len()];
        crowd.subscribe(session, filter(&format!("hall/{}/machine/{machine}/{end}", machine % 100)));
    }
    let machines = subscriptions / 3;
    let name = |turn: usize| {
        let machine = turn * 7919 % machines;
        topic(&format!("hall/{}/machine/{machine}/temperature", machine % 100))
    };
    let topics: Vec<_> = (0..TOPICS).map(name).collect();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn = (turn + 1) % TOPICS;
        assert_eq!(crowd.bus.match_topic(&topics[turn]), 3);
    });
}
