use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gateway_bus::Moment;
use gateway_model::WireBuffer;

use super::{Connection, Phase, UNREAD_MAX};
use crate::ready_queue::IO;
use crate::turn::World;

const FLUSH_TIME: Duration = Duration::from_secs(5);
const LINGER_TIME: Duration = Duration::from_secs(1);

/// A socket that takes no more.
pub(super) struct Blocked {
    /// What it had taken when it was last seen to take anything.
    taken: u32,
    /// When it is given up unless it takes something.
    until: Option<Instant>,
}

impl Connection {
    /// Writes out what there is, and moves a closing connection on.
    pub(crate) fn flush(&mut self, world: &mut World, pool: &mut Pool, moment: Moment) {
        if self.client.closing.is_some() && self.phase == Phase::Open {
            self.detach(world, moment);
            self.enter(Phase::Flushing, moment.instant + FLUSH_TIME);
        }
        if !self.write(world, pool, moment) {
            if self.is_open() {
                self.is_deaf = true;
                self.discard(world, pool);
                world.raise(&mut self.client, IO);
            } else {
                self.carrier_closed(world, pool, moment);
            }
        }
        if self.phase == Phase::Flushing && !self.is_blocked() {
            let failed = self.client.closing.as_ref().is_some_and(|close| close.reason.is_error());
            if !failed && self.carrier.says_goodbye() {
                self.carrier.shutdown();
            }
            if failed && !self.carrier.is_datagram() {
                self.carrier.shutdown();
                // Reading starts again, to throw away.
                world.raise(&mut self.client, IO);
                self.enter(Phase::Lingering, moment.instant + LINGER_TIME);
            } else {
                self.phase = Phase::Gone;
            }
        }
    }

    fn enter(&mut self, phase: Phase, ends: Instant) {
        (self.phase, self.phase_ends) = (phase, Some(ends.into()));
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    pub(super) fn stalls_at(&self) -> Option<Instant> {
        self.blocked.as_ref()?.until
    }

    /// The last look at a socket before it is given up: does it take anything?
    pub(super) fn takes_something(&mut self, world: &World, pool: &mut Pool, moment: Moment) -> bool {
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

    /// False if the carrier failed.
    fn write(&mut self, world: &World, pool: &mut Pool, moment: Moment) -> bool {
        if self.wire.is_none() && !self.is_blocked() {
            return true;
        }
        if self.is_deaf {
            self.discard(world, pool);
            return true;
        }
        let mut wire = self.wire.take().unwrap_or_default();
        let before = wire.len();
        let result = self.carrier.write(&mut wire);
        let written = (before - wire.len()) as u64;
        self.gauges.bytes_out.fetch_add(written, Ordering::Relaxed);
        match result {
            Ok(false) => self.watch(world, moment),
            _ => self.blocked = None,
        }
        if before > UNREAD_MAX && wire.len() <= UNREAD_MAX {
            world.raise(&mut self.client, IO);
        }
        if wire.is_empty() {
            pool.put(wire);
        } else {
            self.wire = Some(wire);
        }
        result.is_ok()
    }

    /// Throws away what was to be written.
    fn discard(&mut self, world: &World, pool: &mut Pool) {
        self.blocked = None;
        let Some(wire) = self.wire.take() else { return };
        self.gauges.bytes_unsent.fetch_add(wire.len() as u64, Ordering::Relaxed);
        if wire.len() > UNREAD_MAX {
            world.raise(&mut self.client, IO);
        }
        pool.put(wire);
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

    pub(super) fn take(&mut self) -> Box<WireBuffer> {
        self.0.pop().unwrap_or_default()
    }

    pub(crate) fn put(&mut self, mut wire: Box<WireBuffer>) {
        if self.0.len() < Self::BUFFERS_MAX && wire.capacity() <= Self::CAPACITY_MAX {
            wire.clear();
            self.0.push(wire);
        }
    }
}
