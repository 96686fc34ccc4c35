//! New connections: spread over the shards, through a Unix socket, in bounds.

use std::os::unix::net::UnixStream;

use super::*;

#[test]
fn connections_are_spread_evenly_over_the_shards() {
    let bench = Bench::new();
    let clients: Vec<Client> = (0..90).map(|number| bench.connect(&format!("c{number}"))).collect();
    let loads = bench.shards.loads();
    let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
    assert!(most - least <= 6, "{loads:?}");
    drop(clients);
    bench.stop();
}

#[test]
fn a_stuck_shard_keeps_no_newcomers_waiting() {
    let bench = Bench::new();
    let stuck = STALL.lock();
    bench.connect("stopper").say("stall");
    let waiting = (0..40).filter(|number| {
        let mut client = Client::new(bench.address);
        client.0.get_ref().set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        client.say(&format!("open c{number}"));
        client.0.read_line(&mut String::new()).is_err()
    });
    // One that the stuck shard was accepting at that moment, and one that it was given.
    assert!(waiting.count() <= 2);
    drop(stuck);
    bench.stop();
}

#[test]
fn a_unix_socket_is_a_place_on_this_machine() {
    let bench = Bench::new();
    let path = std::env::temp_dir().join(format!("tidegate-accept-{}.sock", std::process::id()));
    let unix = ListenerSettings { bind: Bind::Unix(path.clone()), ..settings(LOOPBACK) };
    assert_eq!(bind(&bench.broker, &bench.shards, unix).unwrap(), Bind::Unix(path.clone()));
    let dial = || {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client::over(stream)
    };
    let mut one = dial().open("one");
    one.say("who");
    assert_eq!(one.hear(), "127.0.0.1:0 -");
    one.subscribe("t");
    let mut other = dial().open("other");
    other.say("pub t 3000000");
    one.hear_message("t", 3_000_000);
    let again = ListenerSettings { bind: Bind::Unix(path.clone()), ..settings(LOOPBACK) };
    let error = bind(&bench.broker, &bench.shards, again).unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    bench.stop();
    assert!(!path.exists(), "the file goes with the listener");
}

#[test]
fn whoever_comes_over_a_limit_is_closed_at_once_and_counted() {
    let bench = Bench::new();
    let full = bench.listen(ListenerSettings { connections_max: 3, ..settings(LOOPBACK) });
    let busy = bench.listen(ListenerSettings { connect_rate_max: Some(3), ..settings(LOOPBACK) });
    for (address, metric) in
        [(full, "tidegate_connects_over_limit_total"), (busy, "tidegate_connects_over_rate_total")]
    {
        let served: Vec<Client> =
            (0..3).map(|number| Client::new(address).open(&format!("c{number}"))).collect();
        let mut refused = Client::new(address);
        let mut answer = String::new();
        // An end or a reset, by whether the refusal came before the words did.
        let _ = refused.0.get_mut().write_all(b"open refused\n");
        assert!(matches!(refused.0.read_line(&mut answer), Ok(0) | Err(_)), "{answer}");
        bench.await_metric(metric, 1);
        drop(served);
    }
    bench.stop();
}
