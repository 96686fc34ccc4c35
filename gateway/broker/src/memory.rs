use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use gateway_model::WireBuffer;
use parking_lot::Mutex;

use crate::carrier::Read;
use crate::ready_queue::{IO, ReadyQueue};

/// A carrier without a socket, for the bench: one end of a [`Pipe`].
pub(crate) struct Memory(pub(crate) Arc<Mutex<Pipe>>);

/// What lies between the bench and one connection.
#[derive(Default)]
pub(crate) struct Pipe {
    /// Only while there is something, or memory for it: peers of a bench may be a million.
    under_way: Option<Box<UnderWay>>,
    /// The peer has closed.
    pub(crate) cut: bool,
    /// The peer takes nothing.
    pub(crate) stalled: bool,
    /// Nobody looks at what the peer takes.
    pub(crate) turned_away: bool,
    /// The gateway writes nothing more.
    pub(crate) shut: bool,
    /// Whom to tell when something has changed on the bench's side, if he waits for that.
    watcher: Option<(Arc<ReadyQueue>, u32)>,
    waits: bool,
}

#[derive(Default)]
struct UnderWay {
    to_gateway: VecDeque<u8>,
    from_gateway: Vec<u8>,
}

impl Memory {
    pub(crate) fn watch(&self, queue: &Arc<ReadyQueue>, key: u32) {
        self.0.lock().watcher = Some((queue.clone(), key));
    }

    pub(crate) fn read(&self, scratch: &mut [u8]) -> Read {
        let mut pipe = self.0.lock();
        let count = pipe.take(scratch);
        if count > 0 {
            return Read::Scratch(count);
        }
        if pipe.cut {
            return Read::Closed;
        }
        pipe.waits = true;
        Read::Pending
    }

    pub(crate) fn write(&self, wire: &mut WireBuffer) -> io::Result<bool> {
        let mut pipe = self.0.lock();
        if pipe.cut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if pipe.stalled && !wire.is_empty() {
            pipe.waits = true;
            return Ok(false);
        }
        if !wire.is_empty() && !pipe.turned_away {
            let from_gateway = &mut pipe.under_way.get_or_insert_default().from_gateway;
            wire.slices().for_each(|slice| from_gateway.extend_from_slice(slice));
        }
        wire.clear();
        Ok(true)
    }

    pub(crate) fn shutdown(&self) {
        self.0.lock().shut = true;
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Pipe {
    /// Bytes on the bench's side.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.under_way.get_or_insert_default().to_gateway.extend(bytes);
        self.wake();
    }

    /// How much the gateway has not read yet.
    #[cfg(test)]
    pub(crate) fn unread(&self) -> usize {
        self.under_way.as_ref().map_or(0, |under_way| under_way.to_gateway.len())
    }

    /// What the gateway has written, in exchange for memory for what it will write.
    pub(crate) fn swap(&mut self, into: &mut Vec<u8>) {
        std::mem::swap(&mut self.under_way.get_or_insert_default().from_gateway, into);
        self.rest();
    }

    /// Bytes for the gateway, as many as there are and fit.
    fn take(&mut self, scratch: &mut [u8]) -> usize {
        let Some(under_way) = &mut self.under_way else { return 0 };
        let to_gateway = &mut under_way.to_gateway;
        let count = to_gateway.len().min(scratch.len());
        let (front, back) = to_gateway.as_slices();
        let (from_front, from_back) = scratch[..count].split_at_mut(count.min(front.len()));
        from_front.copy_from_slice(&front[..from_front.len()]);
        from_back.copy_from_slice(&back[..from_back.len()]);
        to_gateway.drain(..count);
        if to_gateway.is_empty() {
            *to_gateway = VecDeque::new();
        }
        self.rest();
        count
    }

    fn rest(&mut self) {
        let is_nothing =
            |under_way: &UnderWay| under_way.to_gateway.is_empty() && under_way.from_gateway.capacity() == 0;
        self.under_way.take_if(|under_way| is_nothing(under_way));
    }

    /// Something has changed on the bench's side.
    pub(crate) fn wake(&mut self) {
        if let (true, Some((queue, key))) = (std::mem::take(&mut self.waits), &self.watcher) {
            queue.raise(*key, IO);
        }
    }
}

/// A datagram socket without a socket, for the bench.
pub(crate) type Air = Arc<Mutex<Datagrams>>;

/// What is under way between the bench and one datagram socket, from and to any number of addresses.
#[derive(Default)]
pub(crate) struct Datagrams {
    to_gateway: VecDeque<(SocketAddr, Box<[u8]>)>,
    /// The bytes of what the gateway has sent, one after the other.
    bytes: Vec<u8>,
    /// To whom each of them goes, and where in `bytes` it ends.
    from_gateway: Vec<(SocketAddr, usize)>,
}

impl Datagrams {
    /// As a socket does: what is longer than the buffer is cut off.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let (address, datagram) = self.to_gateway.pop_front()?;
        let length = datagram.len().min(scratch.len());
        scratch[..length].copy_from_slice(&datagram[..length]);
        Some((length, address))
    }

    pub(crate) fn send(&mut self, datagram: &[u8], address: SocketAddr) -> usize {
        self.bytes.extend_from_slice(datagram);
        self.from_gateway.push((address, self.bytes.len()));
        datagram.len()
    }

    /// A datagram on the bench's side.
    pub(crate) fn put(&mut self, address: SocketAddr, datagram: &[u8]) {
        self.to_gateway.push_back((address, datagram.into()));
    }

    /// Shows everything that the gateway has sent, in order.
    pub(crate) fn drain(&mut self, mut show: impl FnMut(SocketAddr, &[u8])) {
        let mut begin = 0;
        for (address, end) in self.from_gateway.drain(..) {
            show(address, &self.bytes[begin..end]);
            begin = end;
        }
        self.bytes.clear();
    }
}
