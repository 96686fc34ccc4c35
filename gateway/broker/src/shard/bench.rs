use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use gateway_bus::Moment;
use gateway_model::{ClientId, Protocol, Publish, Reason};
use parking_lot::Mutex;

use super::{Arrival, SOCKET_KEY, Shard, ShardHandle, Shards};
use crate::Broker;
use crate::carrier::Carrier;
use crate::listener::{self, Listener, ListenerSettings};
use crate::login::SlowLogin;
use crate::memory::{Air, Memory, Pipe};
use crate::ready_queue::IO;
use crate::sockets::Medium;

/// The real gateway without sockets, threads and a running clock: one shard with its connections,
/// the door and the bus behind it. Bytes go in and come out of lines, which are what a socket
/// would be, and time passes only in [`Bench::advance`]. The same calls give the same bytes.
///
/// Every call but [`Bench::put`] returns when nothing is left to do at that moment.
pub struct Bench {
    shard: Shard,
    broker: Arc<Broker>,
    listener: Arc<Listener>,
    lines: Vec<Arc<Mutex<Pipe>>>,
    ports: Vec<Air>,
    moment: Moment,
    /// The shard's own timer belongs to it; it never runs.
    _runtime: tokio::runtime::Runtime,
}

/// One peer of a bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line(usize);

/// A datagram socket of a bench, which anybody may send to from any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Port(usize);

/// More passes than this without an end are a gateway that is never done.
const PASSES_MAX: usize = 100_000;
/// The wall clock when a bench begins: 2025-01-01.
const UNIX_MILLIS: u64 = 1_735_689_600_000;

impl Bench {
    /// A gateway with one listener, bound to a loopback address.
    ///
    /// # Panics
    /// If the system has no descriptors left for a runtime.
    pub fn new(broker: Broker, protocol: Arc<dyn Protocol>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let guard = runtime.enter();
        let broker = Arc::new(broker);
        let handle = ShardHandle {
            inbox: Mutex::default(),
            queue: Arc::default(),
            load: AtomicUsize::new(0),
            thread: Mutex::default(),
        };
        let shards = Shards { handles: [handle].into(), turn: Arc::default(), descriptors: Arc::default() };
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = ListenerSettings::new("bench", loopback.into(), listener::Carrier::Stream, protocol);
        let listener = Listener::new(&settings, broker.gauges.listener("bench"), None);
        let moment = Moment { instant: Instant::now(), unix_millis: UNIX_MILLIS };
        let mut shard = Shard::new(broker.clone(), shards.clone(), 0, 1).expect("a poller");
        // What takes long is done at once: there is no other thread.
        shard.world.offload = Box::new(move |SlowLogin { key, generation, work }| {
            shards.handles[0].send(Arrival::Verdict(key, generation, work()));
        });
        drop(guard);
        Self { shard, broker, listener, lines: Vec::new(), ports: Vec::new(), moment, _runtime: runtime }
    }

    /// A new connection from a loopback address.
    pub fn connect(&mut self) -> Line {
        let pipe = Arc::<Mutex<Pipe>>::default();
        let line = Line(self.lines.len());
        self.lines.push(pipe.clone());
        let port = 10_000 + (line.0 % 50_000) as u16;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        self.listener.gauges.enter(usize::MAX);
        let key = self.shard.connect(
            Carrier::Memory(Memory(pipe)),
            self.listener.peer(address),
            &self.listener,
            self.moment,
        );
        assert!(key.is_some(), "there is no socket to watch");
        self.run();
        line
    }

    /// Opens a datagram socket with a listener of its own, bound to a loopback address.
    pub fn open_port(&mut self, name: &str, protocol: Arc<dyn Protocol>) -> Port {
        let air = Air::default();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = ListenerSettings::new(name, loopback.into(), listener::Carrier::Udp, protocol);
        let listener = Listener::new(&settings, self.broker.gauges.listener(name), None);
        self.shard.open_socket(Medium::Memory(air.clone()), listener);
        self.ports.push(air);
        self.run();
        Port(self.ports.len() - 1)
    }

    /// A datagram from an address.
    pub fn send_datagram(&mut self, port: Port, from: SocketAddr, datagram: &[u8]) {
        self.send_datagrams(port, [(from, datagram)]);
    }

    /// Datagrams that one pass of the gateway finds together.
    pub fn send_datagrams<D: AsRef<[u8]>>(
        &mut self,
        port: Port,
        datagrams: impl IntoIterator<Item = (SocketAddr, D)>,
    ) {
        let mut air = self.ports[port.0].lock();
        datagrams.into_iter().for_each(|(from, datagram)| air.put(from, datagram.as_ref()));
        drop(air);
        // As the poller would.
        self.shard.handle().queue.raise(SOCKET_KEY | port.0 as u32, IO);
        self.run();
    }

    /// Shows every datagram that the gateway has sent since the last look, and to whom.
    pub fn received_datagrams(&mut self, port: Port, show: impl FnMut(SocketAddr, &[u8])) {
        self.ports[port.0].lock().drain(show);
    }

    /// Bytes that the bench holds for its lines, in place of the system's sockets.
    pub fn lines_bytes(&self) -> usize {
        let line = 2 * size_of::<usize>() + size_of::<Mutex<Pipe>>();
        self.lines.len() * line + self.lines.capacity() * size_of::<Arc<Mutex<Pipe>>>()
    }

    /// Bytes from the peer, as one read brings them.
    pub fn send(&mut self, line: Line, bytes: &[u8]) {
        self.put(line, bytes);
        self.run();
    }

    /// The same, but the gateway does nothing until [`Bench::run`], so that one pass finds what many
    /// peers have sent.
    pub fn put(&mut self, line: Line, bytes: &[u8]) {
        let mut pipe = self.lines[line.0].lock();
        pipe.put(bytes);
    }

    /// Does everything that is to be done at this moment.
    pub fn run(&mut self) {
        let queue = self.shard.handle().queue.clone();
        for _ in 0..PASSES_MAX {
            queue.begin_pass();
            self.shard.work(&queue, self.moment);
            if !self.shard.has_more(&queue) {
                return;
            }
        }
        panic!("the gateway does not come to rest");
    }

    /// What has come for the peer since the last look.
    pub fn received(&mut self, line: Line) -> Vec<u8> {
        let mut received = Vec::new();
        self.lines[line.0].lock().swap(&mut received);
        received
    }

    /// The same in `into`, whose memory takes in what comes next: for whoever measures, nothing is
    /// allocated.
    pub fn receive_into(&mut self, line: Line, into: &mut Vec<u8>) {
        into.clear();
        self.lines[line.0].lock().swap(into);
    }

    /// Whether the gateway has closed: nothing more will come.
    pub fn is_closed(&self, line: Line) -> bool {
        self.lines[line.0].lock().shut
    }

    /// The network fails: the peer is gone without a word.
    pub fn cut(&mut self, line: Line) {
        let mut pipe = self.lines[line.0].lock();
        pipe.cut = true;
        pipe.wake();
        drop(pipe);
        self.run();
    }

    /// Whether the peer takes what is written to it.
    pub fn stall(&mut self, line: Line, stalled: bool) {
        let mut pipe = self.lines[line.0].lock();
        pipe.stalled = stalled;
        pipe.wake();
        drop(pipe);
        self.run();
    }

    /// Lets time pass; everything that becomes due happens at its own moment.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.moment.instant + duration;
        loop {
            let bus = self.broker.poll_at(self.moment);
            self.run();
            let shard = self.shard.timers.next();
            let due = [bus, shard].into_iter().flatten().min().unwrap_or(end).min(end);
            // What is due already has been done; an entry that stays behind says nothing.
            let next = due.max(self.moment.instant + Duration::from_millis(1)).min(end);
            if self.moment.instant == end {
                return;
            }
            let passed = next - self.moment.instant;
            self.moment.instant = next;
            self.moment.unix_millis += u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        }
    }

    /// From now on what comes for the peer is thrown away.
    pub fn turn_away(&mut self, line: Line) {
        self.lines[line.0].lock().turned_away = true;
    }

    /// The gateway ends: everybody is said goodbye to.
    pub fn stop(&mut self) {
        self.shard.handle().send(Arrival::Stop);
        self.run();
    }

    /// Something that the gateway itself has to say.
    pub fn publish(&mut self, publish: Publish) -> Reason {
        let gateway = ClientId::parse("$gateway").expect("a name");
        let reason = self.broker.bus.publish_as(self.moment, &gateway, publish);
        self.run();
        reason
    }

    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }
}
