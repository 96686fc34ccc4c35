mod partial;
mod reading;
mod writing;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use gateway_access::Verdict;
use gateway_bus::{Drained, Moment};
use gateway_model::{Adapter, Close, Event, Reason, Reply, Tick, WireBuffer};
use gateway_store::Place;

use self::partial::Partial;
use self::writing::Blocked;
pub(crate) use self::writing::Pool;
use crate::carrier::Carrier;
use crate::gauges::ListenerGauges;
use crate::ready_queue::IO;
use crate::services::mount::Mounted;
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
    pub(crate) gauges: Arc<ListenerGauges>,
    /// Bytes that the adapter has not consumed yet.
    partial: Partial,
    pub(crate) wire: Option<Box<WireBuffer>>,
    /// The socket takes no more.
    blocked: Option<Box<Blocked>>,
    /// The earliest entry for this connection among the shard's timers.
    pub(crate) armed: Option<Tick>,
    pub(crate) phase: Phase,
    /// When a phase of saying goodbye is over at the latest.
    phase_ends: Option<Tick>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// The adapter has closed; what it wrote is still on its way out.
    Flushing,
    /// Everything is out and the peer was told. What it still sends is thrown away until it closes
    /// too, because closing with unread bytes would destroy what it has not read yet.
    Lingering,
    Gone,
}

/// Input is not read while more than this waits to be written: a peer that does not read its
/// acknowledgements may not make us store them.
const UNREAD_MAX: usize = 256 * 1024;

impl Connection {
    pub(crate) fn new(
        carrier: Carrier,
        adapter: Box<dyn Adapter>,
        client: Client,
        gauges: Arc<ListenerGauges>,
    ) -> Self {
        Self {
            carrier,
            adapter,
            client,
            gauges,
            partial: Partial::default(),
            wire: None,
            blocked: None,
            armed: None,
            phase: Phase::Open,
            phase_ends: None,
            touched: false,
            hears_again: false,
            ended: false,
            is_deaf: false,
        }
    }

    /// Whether the adapter may still be called.
    fn is_open(&self) -> bool {
        self.phase == Phase::Open && self.client.closing.is_none()
    }

    /// An event for the adapter; what it did not consume before is shown again.
    pub(crate) fn handle(&mut self, world: &mut World, pool: &mut Pool, moment: Moment, event: Event) {
        self.turn(world, pool, moment, |adapter, turn| adapter.handle(moment.instant, event, turn));
        self.answer(world, pool, moment);
        self.feed_partial(world, pool, moment);
    }

    /// What another thread found about the client's proof.
    pub(crate) fn decided(&mut self, world: &mut World, pool: &mut Pool, moment: Moment, verdict: Verdict) {
        self.turn(world, pool, moment, |_, turn| turn.resume(verdict));
        self.answer(world, pool, moment);
        self.feed_partial(world, pool, moment);
        // Nothing was read meanwhile.
        world.raise(&mut self.client, IO);
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
                    world.raise(&mut self.client, IO);
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
            world.raise(&mut self.client, IO);
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
            world.raise(&mut self.client, IO);
        }
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
            let (key, generation) = (self.client.key, self.client.generation);
            world.waiting.push(Awaited { place, key, generation, what: What::Deliver });
        }
    }

    /// The session has gone to somebody else.
    fn evicted(&mut self, world: &mut World, pool: &mut Pool, moment: Moment, reason: Reason) {
        self.client.principal = None;
        self.handle(world, pool, moment, Event::Evicted(reason));
        self.client.closing.get_or_insert_with(|| Close::because(reason).into());
    }

    /// When to look at this connection again even if nothing happens.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open => {
                let adapter = self.adapter.next_timeout().filter(|_| !self.is_held_back());
                [adapter, self.stalls_at(), self.hears_at()].into_iter().flatten().min()
            }
            Phase::Flushing | Phase::Lingering => self.phase_ends?.instant(),
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
                if is_due(self.hears_at()) {
                    world.raise(&mut self.client, IO);
                }
                if is_due(self.adapter.next_timeout()) && !self.is_held_back() {
                    self.handle(world, pool, moment, Event::Timeout);
                }
            }
            Phase::Flushing | Phase::Lingering | Phase::Gone => self.phase = Phase::Gone,
        }
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
        world.broker.detach(moment, &principal, self.client.closing.as_deref().copied());
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
        let mut turn = Turn { world, moment, wire: &mut wire, client: &mut self.client, delivering: false };
        let adapter = &mut *self.adapter;
        let result = catch_unwind(AssertUnwindSafe(|| call(adapter, &mut turn))).ok();
        if result.is_none() {
            tracing::error!(peer = %self.client.peer.address, "an adapter panicked; its connection is closed");
            let close = || Close::because(Reason::ImplementationSpecificError).into();
            self.client.closing.get_or_insert_with(close);
        }
        if wire.is_empty() {
            pool.put(wire);
        } else {
            self.wire = Some(wire);
        }
        result
    }
}
