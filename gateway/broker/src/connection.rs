use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use gateway_access::Verdict;
use gateway_bus::{Drained, Moment};
use gateway_model::{Adapter, Close, Event, Reason, Reply, WireBuffer};
use gateway_store::Place;

use crate::carrier::{Carrier, Read};
use crate::gauges::ListenerGauges;
use crate::meter::Meter;
use crate::services::mount::Mounted;
use crate::signal::Signal;
use crate::turn::{Client, Turn, World};
use crate::waiting::{Awaited, What};

/// One peer: its carrier, its adapter, its hold on a session.
///
/// An idle connection holds no buffers: `partial` is empty but for an incomplete packet, `wire`
/// is there only between writing and flushing.
pub(crate) struct Connection {
    pub(crate) carrier: Carrier,
    pub(crate) adapter: Box<dyn Adapter>,
    pub(crate) client: Client,
    pub(crate) signal: Arc<Signal>,
    pub(crate) waker: Waker,
    pub(crate) gauges: Arc<ListenerGauges>,
    /// Bytes that the adapter has not consumed yet.
    partial: Vec<u8>,
    pub(crate) wire: Option<Box<WireBuffer>>,
    /// The socket takes no more; the waker is registered.
    blocked: Option<Box<Blocked>>,
    /// The earliest entry for this connection among the shard's timers.
    pub(crate) armed: Option<Instant>,
    pub(crate) phase: Phase,
    /// It is on the shard's list of connections to serve in this pass.
    pub(crate) touched: bool,
    /// What the adapter left is to be shown to it again before anything else is read.
    hears_again: bool,
    /// The stream has ended, behind what the adapter has left for now.
    ended: bool,
    /// The peer takes nothing any more. What it has sent is still heard: only reading tells that it is
    /// gone.
    is_deaf: bool,
}

/// A socket that takes no more.
struct Blocked {
    /// What it had taken when it was last seen to take anything.
    taken: u32,
    /// When it is given up unless it takes something.
    until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// The adapter has closed; what it wrote is still on its way out.
    Flushing {
        until: Instant,
    },
    /// Everything is out and the peer was told. What it still sends is thrown away until it closes
    /// too, because closing with unread bytes would destroy what it has not read yet.
    Lingering {
        until: Instant,
    },
    Gone,
}

/// Input is not read while more than this waits to be written: a peer that does not read its
/// acknowledgements may not make us store them.
const UNREAD_MAX: usize = 256 * 1024;
/// Reads for one connection in one pass: a packet per WebSocket frame should not cost a pass each.
const READS_MAX: usize = 64;
const FLUSH_TIME: Duration = Duration::from_secs(5);
const LINGER_TIME: Duration = Duration::from_secs(1);

impl Connection {
    pub(crate) fn new(
        carrier: Carrier,
        adapter: Box<dyn Adapter>,
        client: Client,
        signal: Arc<Signal>,
        gauges: Arc<ListenerGauges>,
    ) -> Self {
        let waker = signal.waker();
        Self {
            carrier,
            adapter,
            client,
            signal,
            waker,
            gauges,
            partial: Vec::new(),
            wire: None,
            blocked: None,
            armed: None,
            phase: Phase::Open,
            touched: false,
            hears_again: false,
            ended: false,
            is_deaf: false,
        }
    }

    /// Reads what the socket has, and lets the adapter handle it.
    pub(crate) fn read(&mut self, world: &mut World, pool: &mut Pool, scratch: &mut [u8], moment: Moment) {
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        for _ in 0..READS_MAX {
            // What an adapter that has closed had to say goes out before anything else is read.
            let reads = self.is_open() || matches!(self.phase, Phase::Lingering { .. });
            if !reads {
                return;
            }
            if self.wire.as_ref().is_some_and(|wire| wire.len() > UNREAD_MAX) {
                return; // flushing raises the signal again
            }
            if self.is_open() && self.client.is_served_elsewhere() {
                return; // who serves it raises the signal again; until then its bytes stay in the socket
            }
            if std::mem::take(&mut self.hears_again) {
                self.feed_partial(world, pool, moment);
                continue;
            }
            if self.is_open() && self.waits_for_the_store(world) {
                return; // when the store has caught up, the shard raises the signal again
            }
            if self.ended {
                return self.stream_ended(world, pool, moment);
            }
            if self.client.meter.is_some() && !self.receive_held(world, pool, moment) {
                return; // its timer raises the signal again
            }
            if self.client.principal.is_some() {
                self.carrier.lift_bound();
            }
            match self.carrier.read(&mut cx, scratch) {
                Read::Scratch(count) => {
                    self.receive_metered(world, pool, moment, &scratch[..count]);
                    if count == scratch.len() {
                        break;
                    }
                }
                Read::Frame(frame) => self.receive_metered(world, pool, moment, &frame),
                Read::Closed => return self.stream_ended(world, pool, moment),
                Read::Pending => return,
            }
        }
        // There may be more; the others come first.
        self.signal.raise(crate::signal::IO);
    }

    /// Whether the adapter may still be called.
    fn is_open(&self) -> bool {
        self.phase == Phase::Open && self.client.closing.is_none()
    }

    /// Bytes for the adapter; if a rate is limited, as many as it allows now.
    fn receive_metered(&mut self, world: &mut World, pool: &mut Pool, moment: Moment, bytes: &[u8]) {
        if self.client.meter.is_none() {
            return self.receive(world, pool, moment, bytes);
        }
        let mut rest = bytes;
        while !rest.is_empty() && self.is_open() {
            let (piece, behind) = rest.split_at(rest.len().min(Meter::PIECE));
            rest = behind;
            self.receive(world, pool, moment, piece);
            let Some(meter) = &mut self.client.meter else { return };
            meter.received(piece.len());
            if meter.pause(moment.instant).is_some() {
                meter.held = rest.to_vec();
                self.gauges.slow(&self.client.peer);
                return;
            }
        }
    }

    /// Shows the adapter what a pause has held back. Whether more may be read now.
    fn receive_held(&mut self, world: &mut World, pool: &mut Pool, moment: Moment) -> bool {
        let Some(meter) = &mut self.client.meter else { return true };
        if meter.until.is_some_and(|until| until > moment.instant) {
            return false;
        }
        meter.until = None;
        let held = std::mem::take(&mut meter.held);
        self.receive_metered(world, pool, moment, &held);
        self.client.meter.as_ref().is_none_or(|meter| meter.until.is_none())
    }

    /// Bytes for the adapter, after those it left over.
    pub(crate) fn receive(&mut self, world: &mut World, pool: &mut Pool, moment: Moment, bytes: &[u8]) {
        if bytes.is_empty() || !self.is_open() {
            return;
        }
        self.gauges.bytes_in.fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
        if self.partial.is_empty() {
            let consumed = self.feed(world, pool, moment, bytes);
            if consumed < bytes.len() && !self.carrier.is_datagram() {
                self.partial.extend_from_slice(&bytes[consumed..]);
            }
            return;
        }
        self.partial.extend_from_slice(bytes);
        let partial = std::mem::take(&mut self.partial);
        let consumed = self.feed(world, pool, moment, &partial);
        self.keep(partial, consumed);
    }

    /// Calls the adapter until it neither consumes nor is answered. Returns what it consumed.
    fn feed(&mut self, world: &mut World, pool: &mut Pool, moment: Moment, bytes: &[u8]) -> usize {
        let mut consumed = 0;
        loop {
            let rest = &bytes[consumed..];
            let count = self
                .turn(world, pool, moment, |adapter, turn| adapter.receive(moment.instant, rest, turn))
                .unwrap_or(rest.len());
            consumed += count.min(rest.len());
            let answered = self.answer(world, pool, moment);
            let ended = self.client.closing.is_some() || consumed == bytes.len();
            if ended || self.carrier.is_datagram() || (count == 0 && !answered) {
                return consumed;
            }
        }
    }

    /// An event for the adapter; what it did not consume before is shown again.
    pub(crate) fn handle(&mut self, world: &mut World, pool: &mut Pool, moment: Moment, event: Event) {
        self.turn(world, pool, moment, |adapter, turn| adapter.handle(moment.instant, event, turn));
        self.answer(world, pool, moment);
        self.feed_partial(world, pool, moment);
    }

    /// Shows the adapter again what it left over.
    fn feed_partial(&mut self, world: &mut World, pool: &mut Pool, moment: Moment) {
        if !self.partial.is_empty() && self.client.closing.is_none() {
            let partial = std::mem::take(&mut self.partial);
            let consumed = self.feed(world, pool, moment, &partial);
            self.keep(partial, consumed);
        }
    }

    /// What another thread found about the client's proof.
    pub(crate) fn decided(&mut self, world: &mut World, pool: &mut Pool, moment: Moment, verdict: Verdict) {
        self.turn(world, pool, moment, |_, turn| turn.resume(verdict));
        self.answer(world, pool, moment);
        self.feed_partial(world, pool, moment);
        // Nothing was read meanwhile.
        self.signal.raise(crate::signal::IO);
    }

    /// What the peer may be told now that the store has come so far.
    pub(crate) fn promised(&mut self, world: &mut World, pool: &mut Pool, moment: Moment, what: What) {
        let event = match what {
            What::Deliver => {
                self.client.settled = true;
                return;
            }
            What::Settled(id) => Event::Settled(id),
            What::Published(ticket, reason, bytes) => {
                self.client.owed.settle(bytes);
                Event::Reply(ticket, Reply::Published(reason))
            }
            What::Released(ticket) => {
                self.client.owed.settle(0);
                Event::Reply(ticket, Reply::Released)
            }
            What::Reply(ticket, reply) => {
                self.client.owed.settle(0);
                if matches!(*reply, Reply::Opened(_)) {
                    self.client.opening = false;
                    self.client.settled = true;
                    // Nothing was read meanwhile.
                    self.signal.raise(crate::signal::IO);
                }
                Event::Reply(ticket, *reply)
            }
        };
        if !self.is_open() {
            return;
        }
        self.turn(world, pool, moment, |adapter, turn| adapter.handle(moment.instant, event, turn));
        self.answer(world, pool, moment);
        // Once for all answers of this pass, of which there may be a thousand.
        self.hears_again = !self.partial.is_empty();
        if self.hears_again || self.ended {
            self.signal.raise(crate::signal::IO);
        }
    }

    /// Whether the adapter may have left what came behind something that waits for the store.
    fn has_unheard(&self) -> bool {
        !self.partial.is_empty() && self.client.owed.is_something()
    }

    /// There is nothing more to read. The end comes in its turn: after what was left is heard.
    fn stream_ended(&mut self, world: &mut World, pool: &mut Pool, moment: Moment) {
        self.ended = true;
        if !(self.is_open() && self.has_unheard()) {
            self.carrier_closed(world, pool, moment);
        }
    }

    /// Whether its peer has to wait for the disk before it is heard again.
    fn waits_for_the_store(&mut self, world: &mut World) -> bool {
        let has_much_unheard = self.partial.len() > UNREAD_MAX && self.has_unheard();
        if !has_much_unheard && !world.waiting.holds_back(self.client.owed) {
            return false;
        }
        if !self.client.paused {
            self.client.paused = true;
            world.waiting.pause(self.signal.key(), self.client.generation);
        }
        true
    }

    /// A paused connection is read again, unless the store has still not caught up.
    pub(crate) fn resume_reading(&mut self, world: &mut World) {
        self.client.paused = false;
        if !self.waits_for_the_store(world) {
            self.signal.raise(crate::signal::IO);
        }
    }

    /// The next piece of what the peer asked for.
    pub(crate) fn go_on(&mut self, world: &mut World, pool: &mut Pool, moment: Moment) {
        if !self.is_open() {
            return;
        }
        self.turn(world, pool, moment, |_, turn| turn.go_on_subscribing());
        self.answer(world, pool, moment);
        if self.client.subscribing.is_none() {
            self.feed_partial(world, pool, moment);
            // Nothing was read meanwhile.
            self.signal.raise(crate::signal::IO);
        }
    }

    /// Keeps what was not consumed, in no more memory than it needs.
    fn keep(&mut self, partial: Vec<u8>, consumed: usize) {
        self.partial = if consumed == 0 { partial } else { partial[consumed..].to_vec() };
    }

    /// Hands replies over, and the replies to what was asked meanwhile. Whether there were any.
    fn answer(&mut self, world: &mut World, pool: &mut Pool, moment: Moment) -> bool {
        let mut answered = false;
        while let Some((ticket, reply)) = world.replies.pop_front() {
            answered = true;
            self.turn(world, pool, moment, |adapter, turn| {
                adapter.handle(moment.instant, Event::Reply(ticket, reply), turn)
            });
        }
        answered
    }

    /// Lets the adapter drain the outbox. Whether it stopped for lack of room.
    pub(crate) fn deliver(&mut self, world: &mut World, pool: &mut Pool, moment: Moment) -> bool {
        let Some(principal) = self.client.principal.as_ref().filter(|_| self.is_open()) else {
            // Nothing will be delivered any more: there is no reason to come again.
            self.client.settled = false;
            return false;
        };
        let (attachment, mount) = (principal.attachment.clone(), principal.mount.clone());
        if self.is_blocked() || self.is_deaf || self.client.opening {
            self.client.settled &= self.is_blocked();
            // A stuck socket, or disk, does not keep the session from its next owner.
            if let Some(reason) = attachment.evicted() {
                self.evicted(world, pool, moment, reason);
            }
            return false;
        }
        self.client.settled = false;
        let broker = world.broker.clone();
        let mut full = false;
        let result = self.turn(world, pool, moment, |adapter, turn| {
            turn.delivering = true;
            let result = broker.bus.deliver(&attachment, |outbox| match &mount {
                None => adapter.deliver(moment.instant, outbox, turn),
                Some(mount) => adapter.deliver(moment.instant, &mut Mounted { outbox, mount }, turn),
            });
            turn.carry_out_deferred();
            full = !gateway_model::Sink::has_room(turn);
            result
        });
        self.answer(world, pool, moment);
        match result {
            None => false,
            Some(Ok(Drained { left, sent, waits_for })) => {
                self.client.behind = left > 0;
                world.traffic.sent(sent);
                if waits_for != Place::NOWHERE {
                    self.deliver_again(world, waits_for);
                }
                full && left > 0
            }
            Some(Err(reason)) => {
                self.evicted(world, pool, moment, reason);
                false
            }
        }
    }

    /// What is next in the outbox may be sent when the store is durable up to a place.
    fn deliver_again(&mut self, world: &mut World, place: Place) {
        if world.waiting.is_durable(place) {
            self.client.settled = true;
        } else if self.client.delivers_at < place {
            self.client.delivers_at = place;
            let (key, generation) = (self.signal.key(), self.client.generation);
            world.waiting.push(Awaited { place, key, generation, what: What::Deliver });
        }
    }

    /// The session has gone to somebody else.
    fn evicted(&mut self, world: &mut World, pool: &mut Pool, moment: Moment, reason: Reason) {
        self.client.principal = None;
        self.handle(world, pool, moment, Event::Evicted(reason));
        self.client.closing.get_or_insert(Close::because(reason));
    }

    /// Writes out what there is, and moves a closing connection on.
    pub(crate) fn flush(&mut self, world: &mut World, pool: &mut Pool, moment: Moment) {
        if self.client.closing.is_some() && self.phase == Phase::Open {
            self.detach(world, moment);
            self.phase = Phase::Flushing { until: moment.instant + FLUSH_TIME };
        }
        if !self.write(world, pool, moment) {
            if self.is_open() {
                self.is_deaf = true;
                self.discard(pool);
                self.signal.raise(crate::signal::IO);
            } else {
                self.carrier_closed(world, pool, moment);
            }
        }
        if matches!(self.phase, Phase::Flushing { .. }) && !self.is_blocked() {
            let failed = self.client.closing.is_some_and(|close| close.reason.is_error());
            if !failed && self.carrier.says_goodbye() {
                self.carrier.shutdown(&mut Context::from_waker(&self.waker));
            }
            self.phase = if failed && !self.carrier.is_datagram() {
                self.carrier.shutdown(&mut Context::from_waker(&self.waker));
                // Reading starts again, to throw away.
                self.signal.raise(crate::signal::IO);
                Phase::Lingering { until: moment.instant + LINGER_TIME }
            } else {
                Phase::Gone
            };
        }
    }

    /// When to look at this connection again even if nothing happens.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open => {
                let metered = self.client.meter.as_ref().and_then(|meter| meter.until);
                let adapter = self.adapter.next_timeout().filter(|_| !self.is_held_back());
                [adapter, self.stalls_at(), metered].into_iter().flatten().min()
            }
            Phase::Flushing { until } | Phase::Lingering { until } => Some(until),
            Phase::Gone => None,
        }
    }

    /// A moment of `next_timeout` has come.
    pub(crate) fn timeout(&mut self, world: &mut World, pool: &mut Pool, moment: Moment) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= moment.instant);
        match self.phase {
            Phase::Open if self.client.closing.is_some() => {}
            Phase::Open => {
                if is_due(self.stalls_at()) && !self.takes_something(world, pool, moment) {
                    self.gauges.stall(&self.client.peer);
                    return self.carrier_closed(world, pool, moment);
                }
                if self.client.meter.as_ref().is_some_and(|meter| is_due(meter.until)) {
                    self.signal.raise(crate::signal::IO);
                }
                if is_due(self.adapter.next_timeout()) && !self.is_held_back() {
                    self.handle(world, pool, moment, Event::Timeout);
                }
            }
            Phase::Flushing { .. } | Phase::Lingering { .. } | Phase::Gone => self.phase = Phase::Gone,
        }
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Whether a client's rate, or the disk, keeps the adapter from hearing it: then its silence says
    /// nothing. A stranger has the adapter's time all the same.
    fn is_held_back(&self) -> bool {
        let is_stream = !self.client.is_datagram;
        let waits = self.client.paused
            || self.client.opening
            || is_stream && (self.has_unheard() || self.client.is_served_elsewhere());
        self.client.principal.is_some() && (waits || self.is_metered_out())
    }

    fn is_metered_out(&self) -> bool {
        self.client.meter.as_ref().is_some_and(|meter| meter.until.is_some())
    }

    fn stalls_at(&self) -> Option<Instant> {
        self.blocked.as_ref()?.until
    }

    /// The last look at a socket before it is given up: does it take anything?
    fn takes_something(&mut self, world: &World, pool: &mut Pool, moment: Moment) -> bool {
        let before = self.carrier.taken();
        self.carrier.set_insists(true);
        let is_sound = self.write(world, pool, moment);
        self.carrier.set_insists(false);
        is_sound && self.carrier.taken() != before
    }

    /// Gives a socket that takes no more its time, anew whenever it has taken something.
    fn watch(&mut self, world: &World, moment: Moment) {
        let taken = self.carrier.taken();
        if self.blocked.as_ref().is_some_and(|blocked| blocked.taken == taken) {
            return;
        }
        let until = world.broker.client_limits.write_stall.map(|patience| moment.instant + patience);
        self.blocked = Some(Box::new(Blocked { taken, until }));
    }

    /// The carrier is gone: the adapter hears of it, the session is let go of.
    pub(crate) fn carrier_closed(&mut self, world: &mut World, pool: &mut Pool, moment: Moment) {
        if self.is_open() {
            self.handle(world, pool, moment, Event::Closed);
        }
        self.detach(world, moment);
        self.phase = Phase::Gone;
    }

    fn detach(&mut self, world: &World, moment: Moment) {
        let Some(principal) = self.client.principal.take() else { return };
        world.broker.detach(moment, &principal, self.client.closing);
    }

    /// False if the carrier failed.
    fn write(&mut self, world: &World, pool: &mut Pool, moment: Moment) -> bool {
        if self.wire.is_none() && !self.is_blocked() {
            return true;
        }
        if self.is_deaf {
            self.discard(pool);
            return true;
        }
        let mut wire = self.wire.take().unwrap_or_default();
        let before = wire.len();
        let result = self.carrier.write(&mut Context::from_waker(&self.waker), &mut wire);
        let written = (before - wire.len()) as u64;
        self.gauges.bytes_out.fetch_add(written, std::sync::atomic::Ordering::Relaxed);
        match result {
            Ok(false) => self.watch(world, moment),
            _ => self.blocked = None,
        }
        if before > UNREAD_MAX && wire.len() <= UNREAD_MAX {
            self.signal.raise(crate::signal::IO);
        }
        if wire.is_empty() {
            pool.put(wire);
        } else {
            self.wire = Some(wire);
        }
        result.is_ok()
    }

    /// Throws away what was to be written.
    fn discard(&mut self, pool: &mut Pool) {
        self.blocked = None;
        let Some(wire) = self.wire.take() else { return };
        self.gauges.bytes_unsent.fetch_add(wire.len() as u64, std::sync::atomic::Ordering::Relaxed);
        if wire.len() > UNREAD_MAX {
            self.signal.raise(crate::signal::IO);
        }
        pool.put(wire);
    }

    /// One call into the adapter; `None` if it panicked. That is a defect of ours, which costs one
    /// peer its connection and nobody else anything.
    fn turn<R>(
        &mut self,
        world: &mut World,
        pool: &mut Pool,
        moment: Moment,
        call: impl FnOnce(&mut dyn Adapter, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let mut wire = self.wire.take().unwrap_or_else(|| pool.take());
        let mut turn = Turn {
            world,
            moment,
            wire: &mut wire,
            client: &mut self.client,
            signal: &self.signal,
            delivering: false,
        };
        let adapter = &mut *self.adapter;
        let result = catch_unwind(AssertUnwindSafe(|| call(adapter, &mut turn))).ok();
        if result.is_none() {
            tracing::error!(peer = %self.client.peer.address, "an adapter panicked; its connection is closed");
            self.client.closing.get_or_insert(Close::because(Reason::ImplementationSpecificError));
        }
        if wire.is_empty() {
            pool.put(wire);
        } else {
            self.wire = Some(wire);
        }
        result
    }
}

/// Write buffers between uses.
#[derive(Default)]
// Boxed, because buffers move between here and connections, which should stay small.
#[allow(clippy::vec_box)]
pub(crate) struct Pool(Vec<Box<WireBuffer>>);

impl Pool {
    const BUFFERS_MAX: usize = 64;
    const CAPACITY_MAX: usize = 128 * 1024;

    fn take(&mut self) -> Box<WireBuffer> {
        self.0.pop().unwrap_or_default()
    }

    pub(crate) fn put(&mut self, mut wire: Box<WireBuffer>) {
        if self.0.len() < Self::BUFFERS_MAX && wire.capacity() <= Self::CAPACITY_MAX {
            wire.clear();
            self.0.push(wire);
        }
    }
}
