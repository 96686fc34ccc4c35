//! What is promised is told when it is durable, and not before: the driver on a bench, with a store whose
//! disk writes only when the test says so.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_access::{Access, Config};
use gateway_bus::{Bus, Counter, Limits};
use gateway_model::{
    Adapter, ClientId, Close, Deliveries, Event, Expiry, Open, Outcome, Peer, Protocol, Publish, Qos, Reason,
    Reply, Request, Settled, Settlement, Sink, Subscription, Ticket, Topic, TopicFilter, Will,
};
use gateway_store::{Disk, Options, Simulated, Store};

use crate::shard::bench::{Bench, Line};
use crate::tests::desk::Desk;
use crate::waiting::Owed;
use crate::{Broker, DoorLimits, clock};

/// A line protocol of publishes that are acknowledged.
struct Words;

#[derive(Default)]
struct Peerless {
    silence_max: Option<Duration>,
    heard: Option<Instant>,
    /// It leaves what follows while it waits for an answer.
    is_patient: bool,
    /// Answers to come.
    due: usize,
}

impl Protocol for Words {
    fn connect(&self, _: Instant, _: &Peer, _: u64) -> Box<dyn Adapter> {
        Box::new(Peerless::default())
    }
}

fn say(out: &mut dyn Sink, text: impl std::fmt::Display) {
    out.wire().extend(format!("{text}\n").as_bytes());
}

impl Peerless {
    fn request(&mut self, words: &[&str], out: &mut dyn Sink) {
        let filter = |text: &str| TopicFilter::parse(text).unwrap();
        let number = |text: &str| text.parse::<u16>().unwrap();
        self.due += usize::from(matches!(words[0], "open" | "transient" | "sub" | "unsub" | "keep"));
        match words {
            ["open", name] => {
                let client_id = ClientId::parse(name).ok();
                let publish = Publish::new(Topic::parse("wills").unwrap(), name.to_string());
                let will = Some(Will { publish, delay: Duration::ZERO }.into());
                let expiry = Expiry::Never;
                let open = Open { client_id, clean_start: false, expiry, will, ..Open::transient() };
                out.request(Ticket(0), Request::Open(Box::new(open)));
            }
            ["transient"] => out.request(Ticket(0), Request::Open(Box::new(Open::transient()))),
            ["bye"] => out.close(Close::GOODBYE),
            ["sub", text, qos] => {
                let qos = Qos::from_u8(qos.parse().unwrap()).unwrap();
                out.request(Ticket(0), Request::Subscribe(vec![Subscription::new(filter(text), qos)]));
            }
            ["unsub", text] => out.request(Ticket(0), Request::Unsubscribe(vec![filter(text)])),
            ["keep", text] => out.request(Ticket(0), Request::Keep(text.to_string().into())),
            ["pub", id, qos, topic, length] => {
                let qos = Qos::from_u8(qos.parse().unwrap()).unwrap();
                let topic = out.topic(topic.as_bytes()).unwrap();
                let payload = vec![b'x'; length.parse().unwrap()];
                let publish = Publish { qos, ..Publish::new(topic, payload) };
                let hold = NonZeroU16::new(number(id)).filter(|_| qos == Qos::ExactlyOnce);
                match out.publish(Ticket(number(id).into()), publish, hold) {
                    Outcome::Done(_) if qos == Qos::AtMostOnce => {}
                    Outcome::Done(reason) => say(out, format_args!("{reason} {id}")),
                    Outcome::Later => self.due += 1,
                }
            }
            ["rel", id] => {
                let id = NonZeroU16::new(number(id)).unwrap();
                if let Outcome::Done(_) = out.release(Ticket(0), id) {
                    say(out, "released");
                }
            }
            ["ack", id] => {
                out.settle(NonZeroU16::new(number(id)).unwrap(), Settlement::Acknowledged);
            }
            ["rec", id] => {
                let id = NonZeroU16::new(number(id)).unwrap();
                if out.settle(id, Settlement::Received) == Settled::Done {
                    say(out, format_args!("rel {id}"));
                }
            }
            _ => out.close(Close::because(Reason::ProtocolError)),
        }
    }
}

impl Adapter for Peerless {
    fn receive(&mut self, now: Instant, bytes: &[u8], out: &mut dyn Sink) -> usize {
        let mut consumed = 0;
        self.heard = Some(now);
        while let Some(end) = bytes[consumed..].iter().position(|byte| *byte == b'\n') {
            if self.is_patient && self.due > 0 {
                break;
            }
            let line = std::str::from_utf8(&bytes[consumed..consumed + end]).unwrap();
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["patient"] => self.is_patient = true,
                ["alive", millis] => self.silence_max = Some(Duration::from_millis(millis.parse().unwrap())),
                ref words => self.request(words, out),
            }
            consumed += end + 1;
        }
        consumed
    }

    fn handle(&mut self, _: Instant, event: Event, out: &mut dyn Sink) {
        self.due = self.due.saturating_sub(usize::from(matches!(event, Event::Reply(..))));
        match event {
            Event::Reply(_, Reply::Opened(Ok(opened))) => {
                say(out, format_args!("opened {}", opened.session_present));
            }
            Event::Reply(_, Reply::Subscribed(reasons)) => say(out, reasons[0]),
            Event::Reply(_, Reply::Unsubscribed(_)) => say(out, "unsubscribed"),
            Event::Reply(_, Reply::Kept) => say(out, "kept"),
            Event::Reply(_, Reply::Released) => say(out, "released"),
            Event::Reply(ticket, Reply::Published(reason)) => say(out, format_args!("{reason} {}", ticket.0)),
            Event::Settled(id) => say(out, format_args!("rel {id}")),
            Event::Timeout => out.close(Close::because(Reason::KeepAliveTimeout)),
            Event::Evicted(reason) => {
                say(out, reason);
                out.close(Close::because(reason));
            }
            _ => {}
        }
    }

    fn deliver(&mut self, now: Instant, outbox: &mut dyn Deliveries, out: &mut dyn Sink) {
        while out.has_room() {
            let Some(outgoing) = outbox.next(now) else { return };
            let id = outgoing.id.map_or(0, NonZeroU16::get);
            say(out, format_args!("msg {} {id}", outgoing.message.topic));
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        Some(self.heard? + self.silence_max?)
    }

    fn protocol(&self) -> &'static str {
        "words"
    }
}

/// A gateway whose disk does nothing by itself.
struct Scene {
    bench: Bench,
    disk: Arc<Disk>,
}

impl Scene {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let files = Arc::new(Simulated::new(1));
        let (disk, _) = Disk::open_unthreaded(options, files, clock::moment()).unwrap();
        let disk = Arc::new(disk);
        let limits = DoorLimits {
            topic_levels_max: 8,
            topic_bytes_max: 64,
            client_id_bytes_max: 64,
            logins_pending_max: 1,
        };
        let bus = Bus::new(Limits::default(), 1).with_store(disk.clone());
        let broker = Broker::new(bus, Access::new(Config::default()), limits, 2);
        Self { bench: Bench::new(broker, Arc::new(Words)), disk }
    }

    /// The disk writes all there is, and the gateway does what follows.
    fn sync(&mut self) {
        assert!(self.disk.commit());
        self.bench.advance(Duration::ZERO);
    }

    fn say(&mut self, line: Line, text: &str) {
        self.bench.send(line, format!("{text}\n").as_bytes());
    }

    fn hear(&mut self, line: Line) -> Vec<String> {
        let bytes = self.bench.received(line);
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    fn is_connected(&self, name: &str) -> bool {
        let views = self.bench.broker().bus.sessions();
        views.iter().any(|view| view.connected && view.client_id.as_str() == name)
    }

    fn count(&self, counter: Counter) -> u64 {
        self.bench.broker().bus.counters().count(counter)
    }

    /// What is answered once the disk has written, and nothing before.
    #[track_caller]
    fn told_when_durable(&mut self, line: Line, text: &str, answer: &str) {
        self.say(line, text);
        assert_eq!(self.hear(line), [""; 0], "{text}");
        self.sync();
        assert_eq!(self.hear(line), [answer], "{text}");
    }

    /// A client with a session that stays.
    fn client(&mut self, name: &str) -> Line {
        let line = self.bench.connect();
        self.told_when_durable(line, &format!("open {name}"), "opened false");
        line
    }

    /// A client whose session ends with its connection.
    fn transient(&mut self) -> Line {
        let line = self.bench.connect();
        self.say(line, "transient");
        assert_eq!(self.hear(line), ["opened false"]);
        line
    }
}

#[test]
fn nothing_is_said_before_it_is_durable() {
    let mut scene = Scene::new();
    let receiver = scene.client("receiver");
    scene.told_when_durable(receiver, "sub a 1", "granted_qos1");
    scene.told_when_durable(receiver, "sub b 2", "granted_qos2");
    scene.told_when_durable(receiver, "keep this", "kept");
    let publisher = scene.client("publisher");
    scene.told_when_durable(publisher, "pub 1 1 a 5", "success 1");
    let heard = scene.hear(receiver);
    assert!(heard.len() == 1 && heard[0].starts_with("msg a "), "{heard:?}");
    scene.say(publisher, "pub 7 2 b 5");
    assert_eq!(scene.hear(receiver), [""; 0], "a crash could else send it again, under another identifier");
    scene.sync();
    assert_eq!(scene.hear(publisher), ["success 7"]);
    scene.told_when_durable(publisher, "rel 7", "released");
    let heard = scene.hear(receiver);
    let id = heard[0].strip_prefix("msg b ").unwrap().to_owned();
    scene.told_when_durable(receiver, &format!("rec {id}"), &format!("rel {id}"));
    scene.told_when_durable(receiver, "unsub a", "unsubscribed");
}

#[test]
fn what_must_not_outlive_anything_does_not_wait() {
    let mut scene = Scene::new();
    let (one, other) = (scene.transient(), scene.transient());
    for filter in ["a 0", "b 1", "c 2"] {
        scene.say(one, &format!("sub {filter}"));
    }
    assert_eq!(scene.hear(one), ["success", "granted_qos1", "granted_qos2"]);
    for publish in ["1 0 a 1", "2 1 b 1", "3 2 c 1", "4 1 nobody 1"] {
        scene.say(other, &format!("pub {publish}"));
    }
    assert_eq!(scene.hear(other), ["success 2", "success 3", "no_matching_subscribers 4"]);
    assert_eq!(scene.hear(one).len(), 3);
    assert_eq!(scene.disk.figures().bytes_pending, 0);
}

#[test]
fn answers_come_in_the_order_of_the_publishes() {
    let mut scene = Scene::new();
    let receiver = scene.client("receiver");
    scene.told_when_durable(receiver, "sub a 1", "granted_qos1");
    let publishers = [scene.client("one"), scene.client("other")];
    for round in 0..3 {
        for line in publishers {
            let publishes: Vec<_> = (1..=50).map(|id| format!("pub {id} 1 a {round}")).collect();
            scene.say(line, &publishes.join("\n"));
        }
        publishers.iter().for_each(|line| assert_eq!(scene.hear(*line), [""; 0]));
        scene.sync();
        let acknowledged: Vec<_> = (1..=50).map(|id| format!("success {id}")).collect();
        publishers.iter().for_each(|line| assert_eq!(scene.hear(*line), acknowledged));
    }
}

#[test]
fn a_session_is_neither_read_nor_served_until_it_may_be_told_of() {
    let mut scene = Scene::new();
    let first = scene.client("device");
    scene.told_when_durable(first, "sub a 1", "granted_qos1");
    scene.bench.cut(first);
    let publisher = scene.client("publisher");
    scene.told_when_durable(publisher, "pub 1 1 a 1", "success 1");
    let again = scene.bench.connect();
    scene.say(again, "open device");
    scene.say(again, "pub 1 0 b 1");
    scene.say(publisher, "pub 2 0 a 1");
    assert_eq!(scene.hear(again), [""; 0]);
    let accepted = scene.bench.broker().bus.counters().count(gateway_bus::Counter::Accepted);
    scene.sync();
    let heard = scene.hear(again);
    assert_eq!(heard[0], "opened true");
    assert_eq!(heard.iter().filter(|line| line.starts_with("msg a")).count(), 2, "{heard:?}");
    let counters = scene.bench.broker().bus.counters();
    assert_eq!(counters.count(gateway_bus::Counter::Accepted), accepted + 1, "what came meanwhile is read");
}

#[test]
fn a_session_may_be_taken_over_before_it_was_told_of() {
    let mut scene = Scene::new();
    let (first, second) = (scene.bench.connect(), scene.bench.connect());
    scene.say(first, "open device");
    scene.say(second, "open device");
    assert_eq!(scene.hear(first), ["session_taken_over"]);
    scene.sync();
    assert_eq!(scene.hear(first), [""; 0]);
    assert_eq!(scene.hear(second), ["opened true"]);
}

#[test]
fn an_answer_is_not_given_to_the_next_in_its_place() {
    let mut scene = Scene::new();
    let receiver = scene.client("receiver");
    scene.told_when_durable(receiver, "sub a 1", "granted_qos1");
    let publisher = scene.client("publisher");
    scene.say(publisher, "pub 1 1 a 1\nsub b 1\nunsub b");
    let opening = scene.bench.connect();
    scene.say(opening, "open opening");
    scene.bench.cut(publisher);
    scene.bench.cut(opening);
    assert!(!scene.is_connected("publisher"), "its place is free");
    let (one, other) = (scene.transient(), scene.transient());
    scene.sync();
    assert_eq!((scene.hear(one), scene.hear(other)), (vec![], vec![]));
    scene.say(one, "pub 2 1 nobody 1");
    assert_eq!(scene.hear(one), ["no_matching_subscribers 2"]);
}

#[test]
fn a_slow_disk_stops_those_who_wait_for_it_and_nobody_else() {
    let mut scene = Scene::with(Options { pending_bytes_max: 100_000, ..Options::default() });
    let receiver = scene.client("receiver");
    scene.told_when_durable(receiver, "sub a 1", "granted_qos1");
    let publisher = scene.client("publisher");
    let (one, other) = (scene.transient(), scene.transient());
    scene.say(one, "sub quick 1");
    scene.hear(one);
    scene.say(publisher, "alive 5000");
    let accepted = |scene: &Scene| {
        let broker = scene.bench.broker();
        broker.bus.counters().count(gateway_bus::Counter::Accepted)
    };
    let before = accepted(&scene);
    (1..=20).for_each(|id| scene.say(publisher, &format!("pub {id} 1 a 30000")));
    let heard = accepted(&scene) - before;
    assert!((3..=5).contains(&heard), "{heard} of 20 were read");
    (1..=20).for_each(|id| scene.say(other, &format!("pub {id} 1 quick 10")));
    assert_eq!(scene.hear(one).len(), 20);
    assert_eq!(scene.hear(other).len(), 20);
    // Its silence says nothing as long as nobody listens.
    scene.bench.advance(Duration::from_secs(60));
    let mut answers = Vec::new();
    for _ in 0..20 {
        scene.sync();
        answers.extend(scene.hear(publisher));
    }
    assert_eq!(answers, (1..=20).map(|id| format!("success {id}")).collect::<Vec<_>>());
    assert!(!scene.bench.is_closed(publisher));
}

#[test]
fn one_client_waits_for_so_much_at_most() {
    let mut scene = Scene::new();
    let receiver = scene.client("receiver");
    scene.told_when_durable(receiver, "sub a 1", "granted_qos1");
    let publisher = scene.client("publisher");
    let most = Owed::ANSWERS_MAX as usize;
    (0..most + 10).for_each(|_| scene.say(publisher, "pub 1 1 a 1"));
    scene.sync();
    assert_eq!(scene.hear(publisher).len(), most);
    scene.sync();
    assert_eq!(scene.hear(publisher).len(), 10);
    let half = Owed::BYTES_MAX / 2;
    (0..3).for_each(|_| scene.say(publisher, &format!("pub 1 1 a {half}")));
    scene.sync();
    assert_eq!(scene.hear(publisher).len(), 2);
    scene.sync();
    assert_eq!(scene.hear(publisher).len(), 1);
}

/// A datagram cannot be left in the socket.
#[test]
fn a_datagram_from_who_waits_for_too_much_is_refused() {
    let mut desk = Desk::new();
    desk.turn(|turn| turn.request(Desk::TICKET, Request::Open(Box::new(Open::transient()))));
    let publish = |desk: &mut Desk, qos| {
        let topic = gateway_model::Topic::parse("a").unwrap();
        let mut outcome = Outcome::Later;
        desk.turn(|turn| {
            outcome = turn.publish(Desk::TICKET, Publish { qos, ..Publish::new(topic, "") }, None);
        });
        outcome
    };
    let taken = Outcome::Done(Reason::NoMatchingSubscribers);
    for is_datagram in [false, true] {
        desk.client.is_datagram = is_datagram;
        (0..Owed::ANSWERS_MAX).for_each(|_| desk.client.owed.add(0));
        assert_eq!(publish(&mut desk, Qos::AtMostOnce), taken);
        let expected = if is_datagram { Outcome::Done(Reason::ServerBusy) } else { taken };
        assert_eq!(publish(&mut desk, Qos::AtLeastOnce), expected);
        (0..Owed::ANSWERS_MAX).for_each(|_| desk.client.owed.settle(0));
        assert_eq!(publish(&mut desk, Qos::AtLeastOnce), taken);
    }
}

/// Of what is not durable nobody is told anything any more; and nobody waits for a disk that does nothing.
#[test]
fn the_gateway_ends_while_answers_wait() {
    let mut scene = Scene::new();
    let receiver = scene.client("receiver");
    scene.told_when_durable(receiver, "sub a 2", "granted_qos2");
    let publisher = scene.client("publisher");
    (1..=10).for_each(|id| scene.say(publisher, &format!("pub {id} 2 a 5")));
    let opening = scene.bench.connect();
    scene.say(opening, "open device");
    let lines = [receiver, publisher, opening];
    scene.bench.stop();
    lines.iter().for_each(|line| assert_eq!(scene.hear(*line), ["server_shutting_down"]));
    scene.bench.advance(Duration::from_secs(10));
    assert!(lines.iter().all(|line| scene.bench.is_closed(*line)));
    let connected = scene.bench.broker().bus.sessions().iter().filter(|view| view.connected).count();
    assert_eq!(connected, 0);
    scene.sync();
    lines.iter().for_each(|line| assert_eq!(scene.hear(*line), [""; 0]));
}

/// Else its last words would be lost: acknowledgements behind a SUBSCRIBE, and the goodbye itself.
#[test]
fn the_end_of_a_client_is_heard_after_all_that_it_said() {
    for waits in ["sub a 1", "unsub a", "keep x", "pub 1 1 a 1"] {
        let mut scene = Scene::new();
        let client = scene.client("device");
        scene.told_when_durable(client, "sub a 1", "granted_qos1");
        scene.say(client, &format!("patient\n{waits}\npub 2 0 nobody 1\nbye"));
        scene.bench.cut(client);
        assert!(scene.is_connected("device"), "{waits}: there is something that it said last");
        let before = scene.count(Counter::Accepted);
        scene.sync();
        assert!(!scene.is_connected("device"), "{waits}");
        assert_eq!(scene.count(Counter::Accepted) - before, 1, "{waits}");
        assert_eq!(scene.count(Counter::WillsPublished), 0, "{waits}: it said goodbye");
    }
}

/// That its socket takes nothing any more says nothing of what it had sent.
#[test]
fn a_client_that_takes_nothing_any_more_is_heard_to_the_end() {
    let mut scene = Scene::new();
    let client = scene.client("device");
    scene.told_when_durable(client, "sub a 1", "granted_qos1");
    let publisher = scene.client("publisher");
    scene.say(client, "patient\nsub b 1\nack 1\nbye");
    scene.bench.cut(client);
    scene.say(publisher, "pub 1 1 a 1");
    assert!(scene.is_connected("device"), "the delivery could not be written");
    scene.sync();
    assert!(!scene.is_connected("device"));
    assert_eq!(scene.count(Counter::WillsPublished), 0);
    assert_eq!(scene.count(Counter::Delivered), 1, "its acknowledgement was heard");
}

/// One without a goodbye is gone as soon as nothing is left to hear, though answers to it still wait.
#[test]
fn a_client_that_said_nothing_more_is_gone_at_once() {
    let mut scene = Scene::new();
    let client = scene.client("device");
    scene.say(client, "sub a 1");
    scene.bench.cut(client);
    assert!(!scene.is_connected("device"));
    assert_eq!(scene.count(Counter::WillsPublished), 1);
    scene.sync();
}

/// It is gone when the disk has written, at the latest.
#[test]
fn a_client_may_go_while_its_session_is_opened() {
    let mut scene = Scene::new();
    let first = scene.bench.connect();
    scene.say(first, "open device");
    scene.bench.cut(first);
    scene.sync();
    assert!(!scene.is_connected("device"));
    let (second, third) = (scene.bench.connect(), scene.bench.connect());
    scene.say(second, "open device");
    scene.bench.cut(second);
    scene.say(third, "open device");
    scene.bench.cut(third);
    scene.sync();
    assert!(!scene.is_connected("device"));
    assert!(
        [first, second, third]
            .iter()
            .all(|line| scene.hear(*line).iter().all(|text| !text.contains("opened")))
    );
}
