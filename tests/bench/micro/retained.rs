use divan::Bencher;
use divan::counter::ItemsCount;
use gateway_model::Publish;

use crate::crowd::{Crowd, filter, topic};
use crate::sizes;

const MACHINES: usize = 100;

/// A topic's retained message is replaced, among so many.
#[divan::bench(args = sizes([1_000, 100_000]), sample_size = 100)]
fn set(bencher: Bencher<'_, '_>, count: usize) {
    let mut crowd = crowd(count);
    let publish = message(count / 2);
    bencher.bench_local(|| crowd.publish(publish.clone()));
}

/// The hundred retained messages of one hall are looked up by `hall/N/+/state`, among so many.
#[divan::bench(args = sizes([1_000, 100_000]))]
fn look_up(bencher: Bencher<'_, '_>, count: usize) {
    let crowd = crowd(count);
    let wanted = filter(&format!("hall/{}/+/state", count / MACHINES / 2));
    bencher.counter(ItemsCount::new(MACHINES)).bench(|| {
        let found = crowd.bus.retained(crowd.moment.instant, &wanted, usize::MAX);
        assert_eq!(found.len(), MACHINES);
    });
}

/// What a new subscriber to `hall/+/7/state` costs, which has a message in every hall.
#[divan::bench(args = sizes([1_000, 100_000]))]
fn look_up_across(bencher: Bencher<'_, '_>, count: usize) {
    let crowd = crowd(count);
    let wanted = filter("hall/+/7/state");
    bencher.counter(ItemsCount::new(count / MACHINES)).bench(|| {
        let found = crowd.bus.retained(crowd.moment.instant, &wanted, usize::MAX);
        assert_eq!(found.len(), count / MACHINES);
    });
}

fn crowd(count: usize) -> Crowd {
    let mut crowd = Crowd::new(0);
    (0..count).for_each(|number| crowd.publish(message(number)));
    crowd
}

fn message(number: usize) -> Publish {
    let topic = topic(&format!("hall/{}/{}/state", number / MACHINES, number % MACHINES));
    Publish { retain: true, ..Publish::new(topic, b"running".to_vec()) }
}
