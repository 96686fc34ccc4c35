//! The driver: one thread, one tokio runtime and one task per core, which owns that core's
//! connections.
//!
//! The shard's [`Poller`] says which plain sockets are ready. The waker of every other socket and the
//! notifier of a session put a key on the shard's [`ReadyQueue`]. One wake-up of the shard is one pass
//! over what was found and over that list:
//!
//! ```text
//!   1  arrivals, due timers, what has become durable
//!   2  every ready connection: read once, let the adapter handle all packets in it
//!      (publishes go straight into the outboxes of their receivers, which become ready)
//!   3  every connection touched by 1 and 2: deliver from its outbox, then one write
//! ```
//!
//! So all packets of one read are handled before anything is flushed, all output of one pass
//! leaves in one write, and a subscriber is served once for all publishers of the pass.

#[cfg(any(test, feature = "testing"))]
pub(crate) mod bench;

use std::future::{Future, poll_fn};
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use gateway_access::Verdict;
use gateway_bus::Moment;
use gateway_model::{Event, Peer, Reason, Refusal, Tick};
use parking_lot::Mutex;
use tokio::time::Sleep;

use self::datagrams::{address_of, is_forgettable};
use self::timers::{Entry, Timers};
use crate::acceptor::{Acceptor, LooseListener};
use crate::broker::scramble;
use crate::carrier::Carrier;
use crate::connection::{Connection, Phase, Pool};
use crate::descriptors::Descriptors;
use crate::direct::LooseSocket;
use crate::handshake::Greeted;
use crate::listener::Listener;
use crate::login::SlowLogin;
use crate::meter::Meter;
use crate::poller::{Poller, Ready};
use crate::ready_queue::{IO, OUTBOX, Raised, ReadyQueue, WORK};
use crate::sockets::{DatagramSocket, Medium};
use crate::turn::{Client, World};
use crate::waiting::Awaited;
use crate::{Broker, clock};

mod accept;
mod datagrams;
mod timers;

/// All shards; a clone is a handle.
#[derive(Clone)]
pub struct Shards {
    handles: Arc<[ShardHandle]>,
    turn: Arc<AtomicUsize>,
    descriptors: Arc<Descriptors>,
}

pub(crate) struct ShardHandle {
    inbox: Mutex<Vec<Arrival>>,
    queue: Arc<ReadyQueue>,
    /// Its connections, as of its last pass.
    load: AtomicUsize,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// What comes to a shard from outside.
pub(crate) enum Arrival {
    Listener(LooseListener, Arc<Listener>),
    /// A connection that another shard has accepted.
    Stream(LooseSocket, SocketAddr, Arc<Listener>),
    /// The end of a handshake, and whether it succeeded.
    Greeted(Option<Greeted>, Arc<Listener>),
    Socket(UdpSocket, Arc<Listener>),
    /// What another thread found about a login: slot and generation of its connection.
    Verdict(u32, u32, Verdict),
    /// Say goodbye to everybody and end.
    Stop,
}

/// Keys of datagram sockets and acceptors, to tell them from connections.
const SOCKET_KEY: u32 = 1 << 31;
const ACCEPTOR_KEY: u32 = 1 << 30;
const SCRATCH_BYTES: usize = 64 * 1024;
/// Rounds of deliver and write for one connection in one pass.
const ROUNDS_MAX: usize = 8;
/// Steps of handshakes between two passes. That of TLS with the key takes a millisecond; with one at a time,
/// a fleet that comes back while others are busy would run out of its time.
const HANDSHAKE_STEPS_MAX: u32 = 8;
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// Starts `count` shards, each on its own thread.
pub fn start_shards(broker: &Arc<Broker>, count: usize, seed: u64) -> std::io::Result<Shards> {
    let handle = |index: usize| {
        let handle = ShardHandle {
            inbox: Mutex::default(),
            queue: Arc::default(),
            load: AtomicUsize::new(0),
            thread: Mutex::default(),
        };
        (handle, scramble(seed.wrapping_add(index as u64)))
    };
    let (handles, seeds): (Vec<_>, Vec<_>) = (0..count.max(1)).map(handle).unzip();
    let shards = Shards { handles: handles.into(), turn: Arc::default(), descriptors: Arc::default() };
    for (index, seed) in seeds.into_iter().enumerate() {
        // After each pass, a look at the sockets. The shard is the whole load of its runtime, but for handshakes.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(HANDSHAKE_STEPS_MAX)
            .max_blocking_threads(1)
            .build()?;
        let shard = {
            let _runtime = runtime.enter();
            Shard::new(broker.clone(), shards.clone(), index, seed)?
        };
        let thread = std::thread::Builder::new().name(format!("shard-{index}"));
        let thread = thread.spawn(move || runtime.block_on(tokio::task::unconstrained(shard.run())))?;
        *shards.handles[index].thread.lock() = Some(thread);
    }
    Ok(shards)
}

impl Shards {
    /// The shard for the next arrival, in turn.
    pub(crate) fn next(&self) -> &ShardHandle {
        &self.handles[self.turn.fetch_add(1, Ordering::Relaxed) % self.handles.len()]
    }

    /// Gives every shard its share in a listening socket.
    pub(crate) fn listen(&self, socket: &LooseListener, listener: &Arc<Listener>) -> std::io::Result<()> {
        let shares: Result<Vec<_>, _> = self.handles.iter().map(|_| socket.try_clone()).collect();
        for (handle, share) in self.handles.iter().zip(shares?) {
            handle.send(Arrival::Listener(share, listener.clone()));
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn loads(&self) -> Vec<usize> {
        self.handles.iter().map(|handle| handle.load.load(Ordering::Relaxed)).collect()
    }

    /// The shard for a connection that shard `own` has accepted: itself unless another has clearly
    /// fewer, because moving a socket costs as much as accepting it. A shard that has not yet fetched
    /// what it was given before may be stuck, and gets no more.
    fn place(&self, own: usize, load: usize) -> usize {
        let loads = self.handles.iter().map(|handle| handle.load.load(Ordering::Relaxed)).enumerate();
        let others = loads.filter(|(index, _)| *index != own);
        match others.min_by_key(|(_, load)| *load) {
            Some((other, least))
                if load > least + least / 32 + 2 && self.handles[other].inbox.lock().is_empty() =>
            {
                self.handles[other].load.fetch_add(1, Ordering::Relaxed);
                other
            }
            _ => own,
        }
    }

    /// Says goodbye to every connection and waits until all shards have ended.
    pub fn stop(&self) {
        self.handles.iter().for_each(|handle| handle.send(Arrival::Stop));
        for handle in self.handles.iter() {
            if let Some(thread) = handle.thread.lock().take()
                && thread.join().is_err()
            {
                tracing::error!("a shard had ended by a panic");
            }
        }
    }
}

impl ShardHandle {
    pub(crate) fn send(&self, arrival: Arrival) {
        self.inbox.lock().push(arrival);
        self.queue.wake();
    }
}

struct Shard {
    world: World,
    shards: Shards,
    index: usize,
    slots: Vec<Option<Box<Connection>>>,
    free: Vec<u32>,
    poller: Poller,
    /// What the poller found for this pass.
    found: Vec<Ready>,
    sockets: Vec<DatagramSocket>,
    acceptors: Vec<Acceptor>,
    /// Connections whose handshake is under way.
    greeting: usize,
    timers: Timers,
    sleep: Pin<Box<Sleep>>,
    pool: Pool,
    scratch: Vec<u8>,
    /// Connections to serve at the end of this pass.
    touched: Vec<u32>,
    ready: Vec<Raised>,
    generation: u32,
    seed: u64,
    trim_at: Instant,
    stopping: bool,
}

impl Shard {
    /// In the runtime that it is to run in.
    fn new(broker: Arc<Broker>, shards: Shards, index: usize, seed: u64) -> std::io::Result<Self> {
        let now = clock::moment().instant;
        Ok(Self {
            world: World::new(broker, offload_to(shards.clone(), index), &shards.handles[index].queue),
            shards,
            index,
            slots: Vec::new(),
            free: Vec::new(),
            poller: Poller::new()?,
            found: Vec::new(),
            sockets: Vec::new(),
            acceptors: Vec::new(),
            greeting: 0,
            timers: Timers::default(),
            sleep: Box::pin(tokio::time::sleep_until(now.into())),
            pool: Pool::default(),
            scratch: vec![0; SCRATCH_BYTES],
            touched: Vec::new(),
            ready: Vec::new(),
            generation: 0,
            seed,
            trim_at: now + TRIM_EVERY,
            stopping: false,
        })
    }

    async fn run(mut self) {
        poll_fn(|cx| self.pass(cx)).await;
    }

    fn handle(&self) -> &ShardHandle {
        &self.shards.handles[self.index]
    }

    fn pass(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let queue = self.handle().queue.clone();
        queue.waker.register(cx.waker());
        queue.begin_pass();
        let has_all = self.poller.look(cx, &mut self.found);
        let moment = clock::moment();
        self.work(&queue, moment);
        self.handle().load.store(self.load(), Ordering::Relaxed);
        if self.stopping && self.slots.iter().all(Option::is_none) {
            return Poll::Ready(());
        }
        self.sleep_until_due(cx, moment);
        if self.has_more(&queue) || !has_all {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// At the end of a pass: whether there is something to do before anything else happens.
    fn has_more(&self, queue: &ReadyQueue) -> bool {
        queue.end_pass() || !self.handle().inbox.lock().is_empty() || self.world.waiting.has_news()
    }

    /// What a pass does, whoever holds the clock.
    fn work(&mut self, queue: &ReadyQueue, moment: Moment) {
        self.arrive(moment);
        self.fire(moment);
        self.tell(moment);
        self.hear(moment);
        // What becomes ready by the reads of the first round is delivered in the same pass.
        for _ in 0..2 {
            let mut ready = std::mem::take(&mut self.ready);
            queue.take(&mut ready);
            for Raised { key, what } in ready.drain(..) {
                self.serve(key, what, moment);
            }
            self.ready = ready;
        }
        let mut touched = std::mem::take(&mut self.touched);
        for key in touched.drain(..) {
            self.settle_down(key, moment);
        }
        self.touched = touched;
        self.tidy_timers();
    }

    fn arrive(&mut self, moment: Moment) {
        let arrivals = std::mem::take(&mut *self.handle().inbox.lock());
        for arrival in arrivals {
            match arrival {
                Arrival::Listener(socket, listener) => self.open_acceptor(socket, listener),
                Arrival::Stream(socket, address, listener) => {
                    self.take_over(socket, address, &listener, moment);
                }
                Arrival::Greeted(greeted, listener) => self.greeted(greeted, &listener, moment),
                Arrival::Socket(socket, listener) => {
                    self.open_socket(Medium::System(mio::net::UdpSocket::from_std(socket)), listener);
                }
                Arrival::Verdict(key, generation, verdict) => self.decided(key, generation, verdict, moment),
                Arrival::Stop => self.stop(moment),
            }
        }
    }

    /// Tells everybody what has become durable, and reads again from those who had to wait for that.
    fn tell(&mut self, moment: Moment) {
        let was_rung = self.world.waiting.was_rung();
        let Some(durable) = self.world.waiting.due() else { return };
        let mut has_moved = was_rung;
        while let Some(Awaited { key, generation, what, .. }) = self.world.waiting.pop(durable) {
            has_moved = true;
            self.with(key, |connection, world, pool, _| {
                if connection.client.generation == generation {
                    connection.promised(world, pool, moment, what);
                }
            });
            self.touch(key);
        }
        if has_moved {
            for (key, generation) in self.world.waiting.take_paused() {
                self.with(key, |connection, world, _, _| {
                    if connection.client.generation == generation {
                        connection.resume_reading(world);
                    }
                });
                self.touch(key);
            }
        }
    }

    /// Serves what the poller has found.
    fn hear(&mut self, moment: Moment) {
        let mut found = std::mem::take(&mut self.found);
        // Before anything else: what is served may give its key away.
        for ready in &found {
            if let Some(Some(connection)) = self.slots.get_mut(ready.key as usize)
                && let Carrier::Direct(socket) = &mut connection.carrier
            {
                socket.note(*ready);
            }
        }
        for ready in found.drain(..) {
            self.serve(ready.key, IO, moment);
        }
        self.found = found;
    }

    /// How many peers it has to look after.
    fn load(&self) -> usize {
        self.slots.len() - self.free.len() + self.greeting
    }

    /// Makes a connection of a carrier; the first look at it follows in this pass. Its key, unless the
    /// system cannot watch it.
    fn connect(
        &mut self,
        mut carrier: Carrier,
        peer: Peer,
        listener: &Arc<Listener>,
        moment: Moment,
    ) -> Option<u32> {
        let key = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        let queue = &self.shards.handles[self.index].queue;
        if let Err(error) = carrier.watch(&self.poller, queue, key) {
            accept::lose(listener, &error);
            self.free.push(key);
            return None;
        }
        self.generation = self.generation.wrapping_add(1);
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let adapter = listener.protocol.connect(moment.instant, &peer, scramble(self.seed));
        let mut client = Client::new(peer, listener.local, key, self.generation);
        client.is_datagram = carrier.is_datagram();
        if !carrier.is_datagram() {
            client.meter = Meter::new(moment.instant, &self.world.broker.client_limits);
        }
        // Of the others the poller says whether there is anything to read.
        if !matches!(carrier, Carrier::Direct(_) | Carrier::Datagram(_)) {
            self.world.raise(&mut client, IO);
        }
        let connection = Connection::new(carrier, adapter, client, listener.gauges.clone());
        self.slots[key as usize] = Some(Box::new(connection));
        self.touch(key);
        Some(key)
    }

    fn decided(&mut self, key: u32, generation: u32, verdict: Verdict, moment: Moment) {
        self.world.broker.login_decided();
        self.with(key, |connection, world, pool, _| {
            if connection.client.generation == generation && connection.phase == Phase::Open {
                connection.decided(world, pool, moment, verdict);
            }
        });
        self.touch(key);
    }

    fn stop(&mut self, moment: Moment) {
        self.stopping = true;
        self.acceptors.clear();
        for key in 0..self.slots.len() as u32 {
            self.with(key, |connection, world, pool, _| {
                if connection.phase == Phase::Open && connection.client.closing.is_none() {
                    connection.handle(world, pool, moment, Event::Evicted(Reason::ServerShuttingDown));
                }
            });
            self.touch(key);
        }
    }

    fn fire(&mut self, moment: Moment) {
        while let Some(Entry { at, key, generation }) = self.timers.pop_due(moment.instant) {
            let mut due = false;
            self.with(key, |connection, world, pool, _| {
                // An entry that an earlier one has replaced says nothing any more.
                if connection.client.generation != generation || connection.armed != Some(at) {
                    return;
                }
                connection.armed = None;
                due = true;
                if connection.next_timeout().is_some_and(|at| at <= moment.instant) {
                    connection.timeout(world, pool, moment);
                }
            });
            if due {
                self.touch(key);
            }
        }
        if self.trim_at <= moment.instant {
            self.trim_at = moment.instant + TRIM_EVERY;
            self.world.broker.bus.trim(&mut self.world.cache);
        }
        self.resume_accepting(moment);
    }

    fn serve(&mut self, key: u32, what: u8, moment: Moment) {
        if key & SOCKET_KEY != 0 {
            self.receive_datagrams(key & !SOCKET_KEY, moment);
            return;
        }
        if key & ACCEPTOR_KEY != 0 {
            self.accept(key & !ACCEPTOR_KEY, moment);
            return;
        }
        self.with(key, |connection, world, pool, scratch| {
            let raised = std::mem::take(&mut connection.client.raised) | what;
            connection.client.settled |= raised & OUTBOX != 0;
            if raised & WORK != 0 {
                connection.go_on(world, pool, moment);
            }
            if raised & IO != 0 {
                connection.read(world, pool, scratch, moment);
            }
        });
        self.touch(key);
    }

    fn touch(&mut self, key: u32) {
        if let Some(Some(connection)) = self.slots.get_mut(key as usize)
            && !connection.touched
        {
            connection.touched = true;
            self.touched.push(key);
        }
    }

    /// The end of a connection's pass: deliver, write, arm its timer, or remove it.
    fn settle_down(&mut self, key: u32, moment: Moment) {
        let Some(mut connection) = self.slots[key as usize].take() else { return };
        connection.touched = false;
        let (world, pool) = (&mut self.world, &mut self.pool);
        connection.client.settled |= std::mem::take(&mut connection.client.behind);
        for round in 0.. {
            let full = connection.client.settled && connection.deliver(world, pool, moment);
            if let Carrier::Datagram(socket) = connection.carrier
                && let Some(wire) = connection.wire.take()
            {
                self.sockets[socket as usize].send(connection.client.peer.address, &wire);
                pool.put(wire);
            }
            connection.flush(world, pool, moment);
            // What was settled inside `deliver` may have made room for more.
            if !full && !connection.client.settled || connection.is_blocked() {
                connection.client.settled |= full;
                break;
            }
            connection.client.settled = true;
            if round == ROUNDS_MAX {
                world.raise(&mut connection.client, OUTBOX);
                break;
            }
        }
        if connection.phase == Phase::Gone || is_forgettable(&connection) {
            self.remove(key, *connection);
            return;
        }
        if let Some(at) = connection.next_timeout().map(Tick::from)
            && connection.armed.is_none_or(|armed| at < armed)
        {
            connection.armed = Some(at);
            self.timers.push(Entry { at, key, generation: connection.client.generation });
        }
        self.slots[key as usize] = Some(connection);
    }

    fn tidy_timers(&mut self) {
        let counts = |entry: &Entry| {
            let connection = self.slots[entry.key as usize].as_ref();
            connection
                .is_some_and(|one| one.armed == Some(entry.at) && one.client.generation == entry.generation)
        };
        self.timers.tidy(self.slots.len() - self.free.len(), counts);
    }

    fn remove(&mut self, key: u32, connection: Connection) {
        if let Carrier::Datagram(socket) = connection.carrier {
            let address = connection.client.peer.address;
            self.sockets[socket as usize].peers.remove(key, address, address_of(&self.slots));
        }
        // Above QoS 0 its messages come again; those at QoS 0 count as delivered.
        let unsent = connection.wire.as_ref().map_or(0, |wire| wire.len());
        connection.gauges.bytes_unsent.fetch_add(unsent as u64, Ordering::Relaxed);
        connection.gauges.leave();
        self.free.push(key);
    }

    fn with(&mut self, key: u32, call: impl FnOnce(&mut Connection, &mut World, &mut Pool, &mut [u8])) {
        if let Some(Some(connection)) = self.slots.get_mut(key as usize) {
            call(connection, &mut self.world, &mut self.pool, &mut self.scratch);
        }
    }

    fn sleep_until_due(&mut self, cx: &mut Context<'_>, moment: Moment) {
        let due = self.timers.next().map_or(self.trim_at, |at| at.min(self.trim_at));
        let resume = self.acceptors.iter().filter_map(|acceptor| acceptor.paused_until).min();
        let due = resume.map_or(due, |resume| resume.min(due));
        // Never earlier than the next millisecond: that is the timer's resolution.
        let due = due.max(moment.instant);
        if self.sleep.deadline().into_std() != due {
            self.sleep.as_mut().reset(due.into());
        }
        if self.sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}

/// Decides logins on a thread of this runtime that is for nothing else.
fn offload_to(shards: Shards, index: usize) -> Box<dyn Fn(SlowLogin) + Send> {
    Box::new(move |SlowLogin { key, generation, work }| {
        let shards = shards.clone();
        tokio::task::spawn_blocking(move || {
            let verdict = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
                let text = "the proof could not be checked".into();
                Verdict::Refused(Refusal { reason: Reason::ImplementationSpecificError, text })
            });
            shards.handles[index].send(Arrival::Verdict(key, generation, verdict));
        });
    })
}
