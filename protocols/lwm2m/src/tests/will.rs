//! What is said of a device whose connection ends without a word.

use gateway_model::Testament;

use super::registration::update;
use super::restart::{restarted, send};
use super::*;
use crate::location::Location;

const OFFLINE: &str = r#"{"address":"127.0.0.1:56830","binding":"U","ep":"ep1","lifetime":300,"lwm2m":"1.1","objects":{"1":{"instances":[0],"ver":"1.1"},"3":{"instances":[0]},"31024":{"instances":[]}},"queue":false,"sms":null,"state":"offline"}"#;

/// The will that comes with the next request to open a session.
fn will(bench: &Bench) -> Arc<dyn Testament> {
    let Some((_, Request::Open(open))) = bench.out.requests.front() else { panic!("a request to open") };
    open.will.clone().expect("a will")
}

/// Topic and payload of a will, which is as it has to be otherwise.
fn words(will: &dyn Testament) -> (String, String) {
    assert_eq!((will.delay(), will.will().delay), (Duration::from_secs(1), Duration::from_secs(1)));
    let Publish { topic, payload, qos, retain, expiry, properties } = will.will().publish;
    assert_eq!((qos, retain, expiry), (Qos::AtLeastOnce, true, None));
    assert_eq!(properties.unwrap().content_type.as_deref(), Some("application/json"));
    (topic.to_string(), String::from_utf8(payload.to_vec()).unwrap())
}

#[test]
fn a_will_calls_the_device_offline() {
    let mut bench = Bench::new(Config::default());
    bench.ask(registration(PLAIN));
    let will = will(&bench);
    assert_eq!(words(&*will), ("lwm2m/ep1/status".into(), OFFLINE.into()));
    let location = location(&bench.open(Ok(()))[0]);
    bench.ask(update(&location, &["lt=1000"]));
    assert_eq!(
        words(&*will),
        ("lwm2m/ep1/status".into(), OFFLINE.into()),
        "what is in the log is not changed"
    );
}

#[test]
fn a_will_says_where_the_device_is_and_what_it_has_said_last() {
    let protocol = Lwm2m::new(Config { topic_prefix: "a/b".into(), ..Config::default() });
    let mut bench = Bench::at(&protocol, "127.0.0.1:56830", 7);
    let location = location(&bench.register(&["ep=ep1", "lt=300", "lwm2m=1.1", "b=UX", "sms=+49"]));
    let mut moved = Bench::at(&protocol, "[::ffff:127.0.0.1]:9", 8);
    moved.ask(update(&location, &["lt=1000"]));
    let (topic, words) = words(&*will(&moved));
    let expected = OFFLINE.replace("127.0.0.1:56830", "[::ffff:127.0.0.1]:9").replace("300", "1000");
    let expected = expected.replace(r#""U""#, r#""UX""#).replace("null", r#""+49""#);
    assert_eq!((&*topic, words), ("a/b/ep1/status", expected));
}

#[test]
fn a_will_needs_no_memory_of_its_own() {
    let protocol = Lwm2m::new(Config::default());
    let mut bench = Bench::at(&protocol, "127.0.0.1:56830", 7);
    bench.ask(registration(PLAIN));
    let first = will(&bench);
    let location = location(&bench.open(Ok(()))[0]);
    let is_registered = |protocol: &Lwm2m, will: &Arc<dyn Testament>| {
        let location = Location::parse(&location).unwrap();
        let registration = protocol.registry.find(Instant::now(), location, "127.0.0.1:1".parse().unwrap());
        std::ptr::addr_eq(Arc::as_ptr(will), Arc::as_ptr(&registration.unwrap()))
    };
    assert!(is_registered(&protocol, &first));

    let mut moved = Bench::at(&protocol, "127.0.0.1:1", 8);
    moved.ask(update(&location, &["lt=1000"]));
    let second = will(&moved);
    moved.open(Ok(()));
    assert!(is_registered(&protocol, &second) && !is_registered(&protocol, &first));

    let (protocol, mut again) = restarted(&moved, "127.0.0.1:1");
    again.ask(send("20.5"));
    let third = will(&again);
    again.open(Ok(()));
    assert!(is_registered(&protocol, &third));
}
