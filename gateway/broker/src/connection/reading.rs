use std::time::Instant;

use gateway_bus::Moment;

use super::{Connection, Phase, Pool, UNREAD_MAX};
use crate::carrier::Read;
use crate::meter::Meter;
use crate::ready_queue::IO;
use crate::turn::World;

/// Reads for one connection in one pass: a packet per WebSocket frame should not cost a pass each.
const READS_MAX: usize = 64;

impl Connection {
    /// Reads what the socket has, and lets the adapter handle it.
    pub(crate) fn read(&mut self, world: &mut World, pool: &mut Pool, scratch: &mut [u8], moment: Moment) {
        for _ in 0..READS_MAX {
            // What an adapter that has closed had to say goes out before anything else is read.
            let reads = self.is_open() || matches!(self.phase, Phase::Lingering);
            if !reads {
                return;
            }
            if self.has_much_unsent() {
                return; // flushing raises it again
            }
            if self.is_open() && self.client.is_served_elsewhere() {
                return; // who serves it raises it again; until then its bytes stay in the socket
            }
            if std::mem::take(&mut self.hears_again) {
                self.feed_partial(world, pool, moment);
                continue;
            }
            if self.is_open() && self.waits_for_the_store(world) {
                return; // when the store has caught up, the shard raises it again
            }
            if self.ended {
                return self.stream_ended(world, pool, moment);
            }
            // What is thrown away needs no measure.
            if self.is_open() && self.client.meter.is_some() && !self.receive_held(world, pool, moment) {
                return; // its timer raises it again
            }
            if self.client.principal.is_some() {
                self.carrier.lift_bound();
            }
            match self.carrier.read(scratch) {
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
        world.raise(&mut self.client, IO);
    }

    /// Whether the peer has to take something before it is heard again.
    fn has_much_unsent(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| wire.len() > UNREAD_MAX)
    }

    /// When the pause of a client over its rate ends, unless something else keeps it from being read:
    /// whoever ends that raises it, and a timer that has come would come again and again.
    pub(super) fn hears_at(&self) -> Option<Instant> {
        let waits = self.has_much_unsent() || self.client.paused || self.client.is_served_elsewhere();
        self.client.meter.as_ref()?.until.filter(|_| !waits)
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
                self.partial.extend(&bytes[consumed..]);
            }
            return;
        }
        self.partial.extend(bytes);
        let partial = self.partial.take();
        let consumed = self.feed(world, pool, moment, &partial);
        self.partial.keep(partial, consumed);
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

    /// Shows the adapter again what it left over.
    pub(super) fn feed_partial(&mut self, world: &mut World, pool: &mut Pool, moment: Moment) {
        if !self.partial.is_empty() && self.client.closing.is_none() {
            let partial = self.partial.take();
            let consumed = self.feed(world, pool, moment, &partial);
            self.partial.keep(partial, consumed);
        }
    }

    /// Whether the adapter may have left what came behind something that waits for the store.
    pub(super) fn has_unheard(&self) -> bool {
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
            world.waiting.pause(self.client.key, self.client.generation);
        }
        true
    }

    /// A paused connection is read again, unless the store has still not caught up.
    pub(crate) fn resume_reading(&mut self, world: &mut World) {
        self.client.paused = false;
        if !self.waits_for_the_store(world) {
            world.raise(&mut self.client, IO);
        }
    }
}
