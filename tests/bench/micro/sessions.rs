use divan::Bencher;

use crate::crowd::{Crowd, client_id, filter};
use crate::sizes;

/// A session begins among so many others, subscribes, and ends.
#[divan::bench(args = sizes([1_000, 100_000]), sample_size = 100)]
fn open_subscribe_end(bencher: Bencher<'_, '_>, others: usize) {
    let crowd = Crowd::new(others);
    for (number, session) in crowd.sessions.iter().enumerate() {
        crowd.subscribe(session, filter(&format!("device/{number}/command")));
    }
    let (name, command) = (client_id("newcomer"), filter("device/newcomer/command"));
    bencher.bench(|| {
        let session = crowd.open(name.clone());
        crowd.subscribe(&session, command.clone());
        assert!(crowd.bus.detach(crowd.moment, &session, false, None));
    });
}

/// The same for one that is there already: it is taken over.
#[divan::bench(sample_size = 100)]
fn take_over(bencher: Bencher<'_, '_>) {
    let crowd = Crowd::new(1_000);
    let name = client_id("again");
    let _first = crowd.open(name.clone());
    bencher.bench(|| crowd.open(name.clone()));
}
