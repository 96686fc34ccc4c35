//! The driver on real sockets, with a line protocol in place of a real one: `open NAME`,
//! `who`, `sub FILTER`, `pub TOPIC BYTES`, `stall`, `toil FILLING`, `boom`. Every wait is for an event,
//! bounded by a read timeout.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_access::{Access, Allowed};
use gateway_bus::{Bus, Limits};
use gateway_config::Bind;
use gateway_model::{
    Adapter, ClientId, Close, Deliveries, Event, Open, Peer, Protocol, Publish, Qos, Reason, Reply, Request,
    Sink, Subscription, Ticket, TopicFilter,
};

use crate::{
    Broker, Carrier, ClientLimits, DoorLimits, ListenError, ListenerSettings, Shards, bind, start_shards,
};

mod accepting;
mod bridges;
pub(crate) mod desk;
mod limits;
mod promises;
mod proxies;
mod tls;
mod websocket;

struct Lines;

impl Protocol for Lines {
    fn connect(&self, _: Instant, peer: &Peer, _: u64) -> Box<dyn Adapter> {
        Box::new(Line { peer: peer.clone(), silence_max: None, heard: Instant::now() })
    }
}

/// Whoever holds it stops the shards of those who say `stall`.
static STALL: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

struct Line {
    peer: Peer,
    /// Whoever says nothing for so long is gone.
    silence_max: Option<Duration>,
    heard: Instant,
}

impl Adapter for Line {
    fn receive(&mut self, now: Instant, bytes: &[u8], out: &mut dyn Sink) -> usize {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return 0 };
        let begun = Instant::now();
        self.heard = now;
        let line = std::str::from_utf8(&bytes[..end]).unwrap();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["open", name] => {
                let open = Open { client_id: ClientId::parse(name).ok(), ..Open::transient() };
                out.request(Ticket(0), Request::Open(Box::new(open)));
            }
            ["who"] => {
                let name = self.peer.certificate_name().map_or("-", |name| &**name);
                out.wire().extend(format!("{} {name}\n", self.peer.address).as_bytes());
            }
            ["sub", filter] => {
                let filter = TopicFilter::parse(filter).unwrap();
                let subscription = Subscription::new(filter, Qos::AtMostOnce);
                out.request(Ticket(1), Request::Subscribe(vec![subscription]));
            }
            ["pub", topic, length] => {
                let topic = out.topic(topic.as_bytes()).unwrap();
                let payload = Bytes::from(vec![b'x'; length.parse().unwrap()]);
                out.publish(Ticket(2), Publish::new(topic, payload), None);
            }
            ["alive", millis] => self.silence_max = Some(Duration::from_millis(millis.parse().unwrap())),
            ["stall"] => drop(STALL.lock()),
            ["toil", _] => while begun.elapsed() < Duration::from_millis(10) {},
            ["boom"] => panic!("the test asked for it"),
            _ => out.close(Close::because(Reason::ProtocolError)),
        }
        end + 1
    }

    fn handle(&mut self, _: Instant, event: Event, out: &mut dyn Sink) {
        match event {
            Event::Reply(_, Reply::Opened(Ok(opened))) => {
                out.wire().extend(format!("opened {}\n", opened.client_id).as_bytes());
            }
            Event::Reply(_, Reply::Subscribed(_)) => out.wire().extend(b"subscribed\n"),
            Event::Timeout => out.close(Close::because(Reason::KeepAliveTimeout)),
            Event::Evicted(reason) => {
                out.wire().extend(format!("evicted {reason}\n").as_bytes());
                out.close(Close::because(reason));
            }
            _ => {}
        }
    }

    fn deliver(&mut self, now: Instant, outbox: &mut dyn Deliveries, out: &mut dyn Sink) {
        while out.has_room() {
            let Some(outgoing) = outbox.next(now) else { return };
            let head = format!("msg {} {}\n", outgoing.message.topic, outgoing.message.payload.len());
            out.wire().extend(head.as_bytes());
            out.wire().append(&outgoing.message.payload);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.silence_max.map(|silence_max| self.heard + silence_max)
    }

    fn protocol(&self) -> &'static str {
        "lines"
    }
}

/// A broker with two shards and the line protocol on a free port.
struct Bench {
    broker: Arc<Broker>,
    shards: Shards,
    address: SocketAddr,
}

impl Bench {
    fn new() -> Self {
        Self::with(ClientLimits::default())
    }

    fn with(client_limits: ClientLimits) -> Self {
        Self::of(client_limits, 2)
    }

    fn of(client_limits: ClientLimits, shards: usize) -> Self {
        let limits = DoorLimits {
            topic_levels_max: 8,
            topic_bytes_max: 64,
            client_id_bytes_max: 64,
            logins_pending_max: 8,
        };
        let access = Access::new(gateway_access::Config::default());
        let broker = Broker::new(Bus::new(Limits::default(), 1), access, limits, 2);
        let broker = Arc::new(broker.with_client_limits(client_limits));
        let shards = start_shards(&broker, shards, 3).unwrap();
        let address = { internet(bind(&broker, &shards, settings(LOOPBACK)).unwrap()) };
        Self { broker, shards, address }
    }

    fn connect(&self, name: &str) -> Client {
        Client::new(self.address).open(name)
    }

    /// Opens one more listener.
    fn listen(&self, settings: ListenerSettings) -> SocketAddr {
        internet(bind(&self.broker, &self.shards, settings).unwrap())
    }

    /// The sum of a metric over its labels.
    fn metric(&self, name: &str) -> u64 {
        let page = self.broker.metrics(&[]);
        let values = page.lines().filter(|line| line.starts_with(name));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Waits until a metric has a value: a peer may see its connection end a moment before it counts.
    fn await_metric(&self, name: &str, value: u64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.metric(name) != value {
            assert!(Instant::now() < deadline, "{name} is {}, not {value}", self.metric(name));
            std::thread::yield_now();
        }
    }

    fn stop(self) {
        self.shards.stop();
    }
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn internet(bound: Bind) -> SocketAddr {
    match bound {
        Bind::Internet(address) => address,
        Bind::Unix(path) => panic!("{} is no address", path.display()),
    }
}

fn settings(address: SocketAddr) -> ListenerSettings {
    ListenerSettings {
        connections_max: 100,
        ..ListenerSettings::new("lines", address.into(), Carrier::Stream, Arc::new(Lines))
    }
}

struct Client<S = TcpStream>(BufReader<S>);

impl Client {
    fn new(address: SocketAddr) -> Self {
        Self::over(tcp(address))
    }
}

/// A connection on which no read lasts for ever.
fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

impl<S: Read + Write> Client<S> {
    fn over(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    fn open(mut self, name: &str) -> Self {
        self.say(&format!("open {name}"));
        assert_eq!(self.hear(), format!("opened {name}"));
        self
    }

    fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next line; empty at the end of the connection.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn subscribe(&mut self, filter: &str) {
        self.say(&format!("sub {filter}"));
        assert_eq!(self.hear(), "subscribed");
    }

    fn hear_message(&mut self, topic: &str, length: usize) {
        assert_eq!(self.hear(), format!("msg {topic} {length}"));
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).unwrap();
        assert!(payload.iter().all(|byte| *byte == b'x'));
    }
}

#[test]
fn messages_of_any_size_cross_between_shards_in_order() {
    let bench = Bench::new();
    let (mut one, mut other) = (bench.connect("one"), bench.connect("other"));
    one.subscribe("t/#");
    let sizes = [0, 1, 100, 8 * 1024, 3_000_000, 7, 70_000];
    sizes.iter().for_each(|size| other.say(&format!("pub t/{size} {size}")));
    sizes.iter().for_each(|size| one.hear_message(&format!("t/{size}"), *size));
    assert!(bench.broker.metrics(&[]).contains("tidegate_unaccounted_messages 0"));
    bench.stop();
}

#[test]
fn lines_may_arrive_in_any_pieces() {
    let bench = Bench::new();
    let mut client = bench.connect("pieces");
    for byte in b"sub a\npub a 3\n" {
        client.0.get_mut().write_all(&[*byte]).unwrap();
    }
    assert_eq!(client.hear(), "subscribed");
    client.hear_message("a", 3);
    bench.stop();
}

#[test]
fn a_stuck_socket_gives_its_session_up_at_once() {
    let bench = Bench::new();
    let mut stuck = bench.connect("device");
    stuck.subscribe("flood");
    let mut publisher = bench.connect("publisher");
    // More than both socket buffers take, to a client that does not read.
    (0..12).for_each(|_| publisher.say("pub flood 1000000"));
    publisher.subscribe("done");
    publisher.say("pub done 1");
    publisher.hear_message("done", 1);
    let mut successor = bench.connect("device");
    successor.subscribe("done");
    publisher.say("pub done 2");
    successor.hear_message("done", 2);
    bench.stop();
}

#[test]
fn a_panicking_adapter_costs_one_connection() {
    let bench = Bench::new();
    let mut victim = bench.connect("victim");
    let mut witnesses: Vec<_> = (0..4).map(|number| bench.connect(&format!("witness{number}"))).collect();
    victim.say("boom");
    assert_eq!(victim.hear(), "");
    for witness in &mut witnesses {
        witness.subscribe("t");
        witness.say("pub t 1");
        witness.hear_message("t", 1);
    }
    bench.stop();
}

#[test]
fn everybody_hears_of_a_shutdown() {
    let bench = Bench::new();
    let mut client = bench.connect("client");
    bench.stop();
    assert_eq!(client.hear(), "evicted server_shutting_down");
    assert_eq!(client.hear(), "");
}

#[test]
fn a_port_in_use_is_named() {
    let bench = Bench::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = bind(&bench.broker, &bench.shards, settings(taken.local_addr().unwrap())).unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    assert!(error.to_string().starts_with("listener.lines.bind: 127.0.0.1:"), "{error}");
    bench.stop();
}

#[test]
fn a_will_passes_the_same_door_as_a_publish() {
    struct Deaf;
    impl gateway_model::Notify for Deaf {
        fn notify(&self) {}
    }
    let bench = Bench::new();
    let peer = Peer::new(bench.address, "lines".into());
    let open = |topic: &str| {
        let publish = Publish::new(gateway_model::Topic::parse(topic).unwrap(), "x");
        let will = Some(gateway_model::Will { publish, delay: Duration::ZERO }.into());
        let open = Open { will, ..Open::transient() };
        let moment = crate::clock::moment();
        let opened = bench.broker.admit(moment, &peer, open, Allowed::default(), Arc::new(Deaf).into());
        opened.map(|_| ()).map_err(|refusal| refusal.reason)
    };
    assert_eq!(open("a/b"), Ok(()));
    assert_eq!(open("$SYS/broker/version"), Err(Reason::NotAuthorized));
    assert_eq!(open("1/2/3/4/5/6/7/8/9"), Err(Reason::TopicNameInvalid));
    assert_eq!(open("$delayed/5/a/b"), Ok(()));
    assert_eq!(open("$delayed/5/$SYS/broker/version"), Err(Reason::NotAuthorized));
    assert_eq!(open("$delayed/5/$delayed/5/a"), Err(Reason::NotAuthorized), "once only");
    assert_eq!(open("$delayed/5/1/2/3/4/5/6/7/8/9"), Err(Reason::TopicNameInvalid));
    assert_eq!(open("$delayed/x/a"), Err(Reason::TopicNameInvalid));
    assert_eq!(open(&"x".repeat(64)), Ok(()));
    assert_eq!(open(&"x".repeat(65)), Err(Reason::TopicNameInvalid));
    bench.stop();
}

/// `$delayed/` is asked for by topic, but is no way round the door.
#[test]
fn a_delayed_publish_passes_the_same_door() {
    let bench = Bench::new();
    let mut client = bench.connect("client");
    client.subscribe("t");
    client.say("pub $delayed/0/t 3");
    client.hear_message("t", 3);
    client.say("pub $delayed/0/$SYS/t 3");
    client.say("pub $delayed/x/t 3");
    client.say("pub $delayed/0/1/2/3/4/5/6/7/8/9 3");
    client.say("pub $delayed/100/t 3");
    client.say("pub t 1");
    client.hear_message("t", 1);
    let metrics = bench.broker.metrics(&[]);
    for line in ["messages_refused_total 3", "messages_delayed_total 1", "delayed_messages 1"] {
        assert!(metrics.contains(&format!("\ntidegate_{line}\n")), "{line}");
    }
    bench.stop();
}
