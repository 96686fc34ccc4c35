//! The services at the door, with a bus, given times and no sockets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_access::{Access, Allowed, Identity};
use gateway_bus::{Bus, Limits, Moment, RouteCache};
use gateway_model::{
    Adapter, ClientId, Close, Deliveries, Expiry, Notify, Open, Outgoing, Peer, Placeholders, Properties,
    Protocol, Publish, Qos, Reason, Refusal, Settlement, Subscription, Topic, TopicFilter, Will,
};

use crate::services::mount::Mounted;
use crate::services::settings::{AutoSubscribeSettings, RewriteAction, RewriteSettings};
use crate::services::{NameCache, ServicesSettings};
use crate::{AutoSubscriptions, Broker, DoorLimits, Principal, Rewrites, SysSettings};

/// A broker, its clock and one publishing thread's caches.
struct Scene {
    broker: Broker,
    moment: Moment,
    routes: RouteCache,
    names: NameCache,
}

struct Deaf;

/// A protocol that says it has counted something.
struct Counting;

impl Protocol for Counting {
    fn connect(&self, _: Instant, _: &Peer, _: u64) -> Box<dyn Adapter> {
        unreachable!("these clients have no connections")
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![("packets/received", 21)]
    }
}

impl Notify for Deaf {
    fn notify(&self) {}
}

fn rewrite(source: &str, pattern: &str, target: &str) -> RewriteSettings {
    let [source, pattern, target] = [source, pattern, target].map(str::to_owned);
    RewriteSettings { action: RewriteAction::All, source, pattern, target }
}

fn auto_subscribe(topic: &str, retain_handling: u8) -> AutoSubscribeSettings {
    let protocols = vec!["mqtt".to_owned()];
    AutoSubscribeSettings {
        topic: topic.to_owned(),
        qos: 1,
        no_local: false,
        retain_as_published: false,
        retain_handling,
        protocols,
    }
}

fn mounted(mountpoint: &str) -> ServicesSettings {
    let mountpoint = Placeholders::parse(mountpoint).unwrap();
    ServicesSettings { mountpoints: HashMap::from([("site".to_owned(), mountpoint)]), ..settings() }
}

fn settings() -> ServicesSettings {
    ServicesSettings { node: "n/1".to_owned(), ..ServicesSettings::default() }
}

fn open(client_id: &str) -> Open {
    Open {
        client_id: ClientId::parse(client_id).ok(),
        protocol: "mqtt5",
        keep_alive_secs: 30,
        ..Open::transient()
    }
}

fn lasting(client_id: &str) -> Open {
    Open { clean_start: false, expiry: Expiry::After(Duration::from_secs(60)), ..open(client_id) }
}

fn peer(listener: &str) -> Peer {
    Peer::new(([127, 0, 0, 1], 40_000).into(), listener.into())
}

impl Scene {
    fn new(settings: ServicesSettings) -> Self {
        let bus = Bus::new(Limits::default(), 1);
        let routes = bus.route_cache();
        let limits = DoorLimits {
            topic_levels_max: 32,
            topic_bytes_max: 4096,
            client_id_bytes_max: 64,
            logins_pending_max: 1,
        };
        let access = Access::new(gateway_access::Config::default());
        let broker = Broker::new(bus, access, limits, 2).with_services(settings);
        broker.listens("site", 1884, Arc::new(Counting));
        broker.listens("plain", 1883, Arc::new(Counting));
        let moment = Moment { instant: Instant::now(), unix_millis: 1_767_225_599_000 };
        Self { broker, moment, routes, names: NameCache::default() }
    }

    fn pass(&mut self, secs: u64) {
        self.moment.instant += Duration::from_secs(secs);
        self.moment.unix_millis += secs * 1000;
        self.broker.services.sys.poll(&self.broker, self.moment);
    }

    fn try_open(&self, listener: &str, open: Open) -> Result<Principal, Refusal> {
        let peer = peer(listener);
        let admitted = self.broker.admit(self.moment, &peer, open, Allowed::default(), Arc::new(Deaf).into());
        admitted.map(|(principal, _)| principal)
    }

    /// At the listener without a mount point.
    fn open(&self, client_id: &str) -> Principal {
        self.try_open("plain", open(client_id)).unwrap()
    }

    fn subscribe(&self, client: &Principal, filter: &str) -> Reason {
        let filter = TopicFilter::parse(filter).unwrap();
        let subscriptions = vec![Subscription::new(filter, Qos::AtLeastOnce)];
        self.broker.subscribe(self.moment, &peer("plain"), client, subscriptions).value[0]
    }

    fn unsubscribe(&self, client: &Principal, filter: &str) -> Reason {
        self.broker.unsubscribe(client, &[TopicFilter::parse(filter).unwrap()]).value[0]
    }

    fn publish(&mut self, client: &Principal, topic: &str) -> Reason {
        self.send(client, Publish::new(Topic::parse(topic).unwrap(), "x"))
    }

    fn send(&mut self, client: &Principal, publish: Publish) -> Reason {
        let caches = (&mut self.routes, &mut self.names);
        self.broker.publish(self.moment, &peer("plain"), &mut client.clone(), publish, None, caches).value
    }

    /// Takes what has come and settles it.
    fn take(&self, client: &Principal) -> Vec<Outgoing> {
        let mut taken = Vec::new();
        let drained = self.broker.bus.deliver(&client.attachment, |outbox| {
            let now = self.moment.instant;
            match client.mount.as_deref() {
                None => taken.extend(std::iter::from_fn(|| outbox.next(now))),
                Some(mount) => {
                    let mut mounted = Mounted { outbox, mount };
                    taken.extend(std::iter::from_fn(|| mounted.next(now)));
                }
            }
        });
        drained.expect("the client holds its session");
        for id in taken.iter().filter_map(|outgoing| outgoing.id) {
            let _ = self.broker.bus.settle(&client.attachment, id, Settlement::Delivered);
        }
        taken
    }

    fn topics(&self, client: &Principal) -> Vec<String> {
        self.take(client).iter().map(|outgoing| outgoing.topic().to_owned()).collect()
    }

    /// Topics, from behind the client's identifier on, and payloads.
    fn events(&self, client: &Principal) -> Vec<(String, serde_json::Value)> {
        let event = |outgoing: &Outgoing| {
            let (_, rest) = outgoing.topic().split_once("/clients/").expect("an event's topic");
            (rest.to_owned(), serde_json::from_slice(&outgoing.message.payload).unwrap())
        };
        self.take(client).iter().map(event).collect()
    }

    fn texts(&self, client: &Principal) -> HashMap<String, String> {
        let text = |payload: &Bytes| String::from_utf8(payload.to_vec()).unwrap();
        let entry = |outgoing: &Outgoing| (outgoing.topic().to_owned(), text(&outgoing.message.payload));
        self.take(client).iter().map(entry).collect()
    }
}

#[test]
fn a_session_is_resumed_by_the_user_who_opened_it_only() {
    let scene = Scene::new(settings());
    let present = |username: Option<&str>| {
        let identity = Identity { username: username.map(Into::into), ..Identity::default() };
        let allowed = Allowed { identity, ..Allowed::default() };
        let admitted = scene.broker.admit(
            scene.moment,
            &peer("plain"),
            lasting("device"),
            allowed,
            Arc::new(Deaf).into(),
        );
        admitted.unwrap().1.value.session_present
    };
    let users = [Some("press"), Some("press"), Some("lathe"), None, None, Some("press")];
    assert_eq!(users.map(present), [false, true, false, false, true, false]);
}

#[test]
fn a_rewritten_topic_is_what_flows_and_what_is_judged() {
    let rules = [rewrite("x/#", "^x/y/(.+)$", "z/y/$1"), rewrite("up/#", "^up/(.+)$", "$$1")];
    let rewrites = Rewrites::new(&rules).unwrap();
    let mut scene = Scene::new(ServicesSettings { rewrites, ..settings() });
    let (device, observer) = (scene.open("device"), scene.open("observer"));
    scene.subscribe(&observer, "#");
    assert_eq!(scene.subscribe(&device, "x/y/+"), Reason::GrantedQos1);
    assert_eq!(scene.publish(&device, "x/y/1"), Reason::Success);
    assert_eq!(scene.publish(&device, "x/z"), Reason::Success);
    assert_eq!(scene.topics(&observer), ["z/y/1", "x/z"]);
    assert_eq!(scene.topics(&device), ["z/y/1"]);
    assert_eq!(scene.publish(&device, "up/SYS/a"), Reason::NotAuthorized, "as $SYS/a would be");
    assert_eq!(scene.unsubscribe(&device, "x/y/+"), Reason::Success);
    assert_eq!(scene.unsubscribe(&device, "z/y/+"), Reason::NoSubscriptionExisted);
}

#[test]
fn a_will_is_renamed_too() {
    let rewrites = Rewrites::new(&[rewrite("will", "^will$", "gone/${clientid}")]).unwrap();
    let scene = Scene::new(ServicesSettings { rewrites, ..mounted("m/") });
    let observer = scene.open("observer");
    scene.subscribe(&observer, "#");
    let publish = Publish::new(Topic::parse("will").unwrap(), "x");
    let will = || Some(Will { publish: publish.clone(), delay: Duration::ZERO }.into());
    let device = scene.try_open("site", Open { will: will(), ..open("device") }).unwrap();
    scene.broker.detach(scene.moment, &device, None);
    assert_eq!(scene.topics(&observer), ["m/gone/device"]);
    let refusal = scene.try_open("site", Open { will: will(), ..open("a/b") }).map(drop).unwrap_err();
    assert_eq!(
        (refusal.reason, &*refusal.text),
        (Reason::TopicNameInvalid, "the will's topic cannot be renamed")
    );
}

#[test]
fn a_delayed_will_is_renamed_by_the_topic_it_comes_to() {
    let rewrites = Rewrites::new(&[rewrite("a/#", "^a/(.*)$", "b/$1")]).unwrap();
    let mut scene = Scene::new(ServicesSettings { rewrites, ..mounted("m/") });
    let observer = scene.open("observer");
    scene.subscribe(&observer, "#");
    let publish = Publish::new(Topic::parse("$delayed/5/a/1").unwrap(), "x");
    let will = Some(Will { publish, delay: Duration::ZERO }.into());
    let device = scene.try_open("site", Open { will, ..open("device") }).unwrap();
    scene.broker.detach(scene.moment, &device, None);
    assert!(scene.topics(&observer).is_empty());
    scene.pass(5);
    scene.broker.bus.poll(scene.moment);
    assert_eq!(scene.topics(&observer), ["m/b/1"]);
}

#[test]
fn a_mounted_client_sees_nothing_of_its_mount_point() {
    let mut scene = Scene::new(mounted("site/${clientid}/"));
    let observer = scene.open("observer");
    scene.subscribe(&observer, "#");
    let device = scene.try_open("site", open("d1")).unwrap();
    let other = scene.try_open("site", open("d2")).unwrap();
    for client in [&device, &other] {
        assert_eq!(scene.subscribe(client, "#"), Reason::GrantedQos1);
    }
    let response_topic = Topic::parse("answers/1").ok();
    let publish = Publish {
        properties: Some(Arc::new(Properties { response_topic, ..Properties::default() })),
        ..Publish::new(Topic::parse("a").unwrap(), "x")
    };
    scene.send(&device, publish);
    let seen = scene.take(&device);
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].topic(), seen[0].response_topic()), ("a", Some("answers/1")));
    let outside = scene.take(&observer);
    assert_eq!((outside[0].topic(), outside[0].response_topic()), ("site/d1/a", Some("site/d1/answers/1")));
    assert!(scene.topics(&other).is_empty());
    // From outside in, and what is just not below the mount point.
    scene.publish(&observer, "site/d1/b/c");
    scene.publish(&observer, "site/d1");
    assert_eq!(scene.topics(&device), ["b/c"]);
    assert_eq!(scene.publish(&device, "$SYS/x"), Reason::NotAuthorized);
    assert_eq!(scene.subscribe(&device, "$SYS/brokers"), Reason::GrantedQos1);
    assert_eq!(scene.unsubscribe(&device, "#"), Reason::Success);
    scene.publish(&device, "a");
    assert!(scene.topics(&device).is_empty());
}

#[test]
fn retained_messages_and_shared_subscriptions_are_mounted() {
    let mut scene = Scene::new(mounted("m/"));
    let (device, outside) = (scene.try_open("site", open("d")).unwrap(), scene.open("o"));
    scene.send(&device, Publish { retain: true, ..Publish::new(Topic::parse("state").unwrap(), "x") });
    scene.subscribe(&device, "+");
    assert_eq!(scene.topics(&device), ["state"]);
    scene.subscribe(&outside, "m/state");
    assert_eq!(scene.topics(&outside), ["m/state"]);
    scene.subscribe(&device, "$share/g/jobs/+");
    scene.publish(&outside, "m/jobs/1");
    scene.publish(&outside, "jobs/2");
    assert_eq!(scene.topics(&device), ["jobs/1"]);
    let state = TopicFilter::parse("state").unwrap();
    let found = scene.broker.retained(scene.moment, &peer("plain"), &device, &state, 9);
    assert_eq!(found.unwrap().len(), 1);
}

#[test]
fn a_delayed_publish_is_renamed_before_it_waits() {
    let rewrites = Rewrites::new(&[rewrite("a/#", "^a/(.*)$", "b/$1")]).unwrap();
    let mut scene = Scene::new(ServicesSettings { rewrites, ..mounted("m/") });
    let (device, observer) = (scene.try_open("site", open("d")).unwrap(), scene.open("o"));
    scene.subscribe(&observer, "#");
    assert_eq!(scene.publish(&device, "$delayed/5/a/1"), Reason::Success);
    assert!(scene.topics(&observer).is_empty());
    scene.pass(5);
    scene.broker.bus.poll(scene.moment);
    assert_eq!(scene.topics(&observer), ["m/b/1"]);
    for topic in ["$delayed/5/$SYS/a", "$delayed/5/$delayed/5/a"] {
        assert_eq!(scene.publish(&device, topic), Reason::NotAuthorized, "{topic}");
    }
    assert_eq!(scene.publish(&device, "$delayed/x/a"), Reason::TopicNameInvalid);
}

#[test]
fn rewriting_comes_before_mounting() {
    let rewrites =
        Rewrites::new(&[rewrite("a/#", "^a/(.*)$", "b/$1"), rewrite("m/#", "^m/.*$", "no")]).unwrap();
    let mut scene = Scene::new(ServicesSettings { rewrites, ..mounted("m/") });
    let (device, observer) = (scene.try_open("site", open("d")).unwrap(), scene.open("o"));
    scene.subscribe(&observer, "#");
    scene.subscribe(&device, "a/+");
    scene.publish(&device, "a/1");
    assert_eq!(scene.topics(&observer), ["m/b/1"]);
    assert_eq!(scene.topics(&device), ["b/1"]);
}

#[test]
fn a_client_whose_name_does_not_fit_its_mount_point_is_refused() {
    let scene = Scene::new(mounted("site/${clientid}/"));
    for bad in ["a/b", "a+", "#"] {
        let refusal = scene.try_open("site", open(bad)).map(drop).unwrap_err();
        assert_eq!(refusal.reason, Reason::ClientIdentifierNotValid);
        let text =
            "listener.site.mountpoint \"site/${clientid}/\": the client identifier holds +, #, / or U+0000";
        assert_eq!(&*refusal.text, text);
    }
    assert!(scene.try_open("plain", open("a/b")).is_ok());
    let unnamed = scene.try_open("site", Open { client_id: None, ..open("x") }).unwrap();
    assert!(unnamed.mount.is_some(), "an assigned identifier fits");
    let scene = Scene::new(mounted("${username}/"));
    let refusal = scene.try_open("site", open("a")).map(drop).unwrap_err();
    assert_eq!(refusal.reason, Reason::NotAuthorized);
    assert!(refusal.text.ends_with("the client has no user name"), "{}", refusal.text);
}

#[test]
fn clients_are_subscribed_once_and_without_asking() {
    let entries = [auto_subscribe("in/${clientid}/#", 1), auto_subscribe("u/${username}", 0)];
    let auto_subscriptions = AutoSubscriptions::new(&entries).unwrap();
    let mut scene = Scene::new(ServicesSettings { auto_subscriptions, ..mounted("m/") });
    let sender = scene.open("sender");
    scene.send(&sender, Publish { retain: true, ..Publish::new(Topic::parse("in/d/state").unwrap(), "x") });
    let before = scene.broker.bus.subscription_count();
    for topics in [&["in/d/state"][..], &[]] {
        let device = scene.try_open("plain", lasting("d")).unwrap();
        assert_eq!(scene.broker.bus.subscription_count(), before + 1);
        assert_eq!(scene.topics(&device), topics, "retained messages come for a new subscription");
        scene.publish(&sender, "in/d/1");
        assert_eq!(scene.topics(&device), ["in/d/1"]);
        scene.broker.detach(scene.moment, &device, None);
    }
    let mounted = scene.try_open("site", open("e")).unwrap();
    scene.publish(&sender, "m/in/e/1");
    assert_eq!(scene.topics(&mounted), ["in/e/1"]);
    let count = scene.broker.bus.subscription_count();
    scene.try_open("plain", Open { protocol: "coap", ..open("f") }).unwrap();
    scene.try_open("plain", open("g/h")).unwrap();
    assert_eq!(scene.broker.bus.subscription_count(), count, "another protocol; a name that does not fit");
}

#[test]
fn who_comes_and_goes_is_told_in_order() {
    let scene = Scene::new(settings());
    let observer = scene.open("observer");
    assert!(scene.take(&observer).is_empty());
    scene.subscribe(&observer, "$SYS/brokers/+/clients/#");
    let first = scene.try_open("site", lasting("a/b+")).unwrap();
    let second = scene.try_open("site", lasting("a/b+")).unwrap();
    // The first connection hears of it later; that changes nothing.
    scene.broker.detach(scene.moment, &first, None);
    scene.broker.detach(scene.moment, &second, Some(Close::GOODBYE));
    let third = scene.try_open("site", open("a/b+")).unwrap();
    scene.broker.detach(scene.moment, &third, None);
    let events = scene.events(&observer);
    let told: Vec<_> =
        events.iter().map(|(topic, event)| (topic.as_str(), event["reason"].as_str())).collect();
    let (connected, disconnected) = ("a%2Fb%2B/connected", "a%2Fb%2B/disconnected");
    assert_eq!(
        told,
        [
            (connected, None),
            (disconnected, Some("session_taken_over")),
            (connected, None),
            (disconnected, Some("normal")),
            (connected, None),
            (disconnected, Some("connection_lost")),
        ]
    );
    let expected = serde_json::json!({
        "clientid": "a/b+", "username": null, "ipaddress": "127.0.0.1", "sockport": 1884,
        "proto_name": "MQTT", "proto_ver": 5, "keepalive": 30, "connack": 0, "clean_start": false,
        "expiry_interval": 60, "connected_at": 1_767_225_599u64, "ts": 1_767_225_599_000u64,
    });
    assert_eq!(events[0].1, expected);
    let expected = serde_json::json!({
        "clientid": "a/b+", "username": null, "reason": "normal",
        "disconnected_at": 1_767_225_599u64, "ts": 1_767_225_599_000u64,
    });
    assert_eq!(events[3].1, expected);
    assert_eq!(scene.broker.services.clients.connections(), 1, "the observer");
}

#[test]
fn events_of_one_client_keep_their_order_among_threads() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 200;
    let scene = Scene::new(settings());
    let observer = scene.open("observer");
    scene.subscribe(&observer, "$SYS/brokers/+/clients/+/+");
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let scene = &scene;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let client = scene.open("twin");
                    // The others are left to be taken over.
                    if (number + round) % 3 > 0 {
                        scene.broker.detach(scene.moment, &client, None);
                    }
                }
            });
        }
    });
    let mut told = Vec::new();
    loop {
        let events = scene.events(&observer);
        if events.is_empty() {
            break;
        }
        told.extend(events.into_iter().map(|(topic, _)| topic));
    }
    assert!(told.len() > THREADS * ROUNDS);
    for (number, topic) in told.iter().enumerate() {
        let expected = if number % 2 == 0 { "twin/connected" } else { "twin/disconnected" };
        assert_eq!(topic, expected, "event {number}");
    }
    let connections = 1 + told.len() % 2;
    assert_eq!(scene.broker.services.clients.connections(), connections as u64);
}

#[test]
fn events_can_be_switched_off() {
    let sys = SysSettings { client_events: false, ..SysSettings::default() };
    let scene = Scene::new(ServicesSettings { sys, ..settings() });
    let observer = scene.open("observer");
    scene.subscribe(&observer, "$SYS/#");
    scene.open("other");
    assert!(scene.take(&observer).is_empty());
}

#[test]
fn the_tree_is_told_at_its_intervals() {
    let sys = SysSettings { interval_secs: 60, heartbeat_secs: 30, client_events: true };
    let mut scene = Scene::new(ServicesSettings { sys, ..settings() });
    scene.pass(0);
    let observer = scene.open("observer");
    scene.subscribe(&observer, "#");
    assert!(scene.take(&observer).is_empty(), "wildcards do not match it (MQTT 5.0 section 4.7.2)");
    for prefix in ["$SYS/brokers/n%2F1", "$SYS/broker/n%2F1"] {
        scene.subscribe(&observer, &format!("{prefix}/#"));
        let retained = scene.texts(&observer);
        assert_eq!(retained[&format!("{prefix}/version")], env!("CARGO_PKG_VERSION"));
        assert_eq!(retained[&format!("{prefix}/sysdescr")], "Tidegate");
        assert_eq!(retained.len(), 2);
    }
    scene.subscribe(&observer, "$SYS/brokers");
    assert_eq!(scene.texts(&observer)["$SYS/brokers"], "n%2F1");
    scene.publish(&observer, "a");
    scene.publish(&observer, "$SYS/a");
    scene.take(&observer);
    scene.pass(29);
    assert!(scene.take(&observer).is_empty());
    scene.pass(1);
    let heartbeat = scene.texts(&observer);
    assert_eq!(heartbeat["$SYS/brokers/n%2F1/uptime"], "30 seconds");
    assert_eq!(heartbeat["$SYS/broker/n%2F1/datetime"], "2026-01-01 00:00:29");
    assert_eq!(heartbeat.len(), 4);
    scene.pass(30);
    let told = scene.texts(&observer);
    for (topic, text) in [
        ("$SYS/brokers/n%2F1/stats/connections/count", "1"),
        ("$SYS/brokers/n%2F1/stats/connections.max", "1"),
        ("$SYS/broker/n%2F1/stats/subscriptions/shared/count", "0"),
        ("$SYS/broker/n%2F1/stats/subscriptions.shared.max", "0"),
        ("$SYS/brokers/n%2F1/stats/subscriptions/count", "4"),
        ("$SYS/brokers/n%2F1/stats/retained/count", "6"),
        ("$SYS/brokers/n%2F1/metrics/client/subscribe", "4"),
        ("$SYS/brokers/n%2F1/session/created", "1"),
        ("$SYS/broker/n%2F1/metrics/session/terminated", "0"),
        ("$SYS/brokers/n%2F1/metrics/packets/received", "42"),
        ("$SYS/brokers/n%2F1/metrics/packets/publish/auth_error", "1"),
        ("$SYS/brokers/n%2F1/metrics/packets/publish/error", "1"),
    ] {
        assert_eq!(told.get(topic).map(String::as_str), Some(text), "{topic}");
    }
}

#[test]
fn only_what_is_wanted_is_told() {
    let sys = SysSettings { interval_secs: 1, heartbeat_secs: 1, client_events: true };
    let mut scene = Scene::new(ServicesSettings { sys, ..settings() });
    scene.pass(0);
    let accepted = |scene: &Scene| scene.broker.bus.counters().count(gateway_bus::Counter::Accepted);
    let before = accepted(&scene);
    let observer = scene.open("observer");
    scene.subscribe(&observer, "#");
    scene.pass(1);
    assert_eq!(accepted(&scene), before, "nobody wants anything");
    scene.subscribe(&observer, "$SYS/brokers/+/stats/connections.count");
    scene.subscribe(&observer, "$SYS/broker/clients/total");
    scene.pass(1);
    assert_eq!(accepted(&scene), before + 2);
    let mut topics = scene.topics(&observer);
    topics.sort();
    assert_eq!(topics, ["$SYS/broker/clients/total", "$SYS/brokers/n%2F1/stats/connections.count"]);
    let off = SysSettings { interval_secs: 0, heartbeat_secs: 0, client_events: false };
    let mut scene = Scene::new(ServicesSettings { sys: off, ..settings() });
    scene.pass(0);
    let observer = scene.open("observer");
    scene.subscribe(&observer, "$SYS/brokers/+/uptime");
    scene.pass(100_000);
    assert!(scene.take(&observer).is_empty());
}

#[test]
fn maxima_stay() {
    let mut scene = Scene::new(settings());
    scene.pass(0);
    let observer = scene.open("observer");
    for filter in ["$SYS/brokers/+/stats/connections/+", "$SYS/brokers/+/stats/sessions/+"] {
        scene.subscribe(&observer, filter);
    }
    // More at a time than at any interval.
    let crowd: Vec<_> = (0..5).map(|number| scene.open(&format!("c{number}"))).collect();
    crowd.iter().for_each(|client| scene.broker.detach(scene.moment, client, None));
    scene.pass(60);
    let told = scene.texts(&observer);
    assert_eq!(told["$SYS/brokers/n%2F1/stats/connections/count"], "1");
    assert_eq!(told["$SYS/brokers/n%2F1/stats/connections/max"], "6");
    assert_eq!(told["$SYS/brokers/n%2F1/stats/sessions/max"], "1", "what was seen at an interval");
}
