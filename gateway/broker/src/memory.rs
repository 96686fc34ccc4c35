use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Waker};

use gateway_model::WireBuffer;
use parking_lot::Mutex;

use crate::carrier::Read;

/// A carrier without a socket, for the bench: one end of a [`Pipe`].
pub(crate) struct Memory(pub(crate) Arc<Mutex<Pipe>>);

/// What lies between the bench and one connection.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(crate) to_gateway: VecDeque<u8>,
    pub(crate) from_gateway: Vec<u8>,
    /// The peer has closed.
    pub(crate) cut: bool,
    /// The peer takes nothing.
    pub(crate) stalled: bool,
    /// The gateway writes nothing more.
    pub(crate) shut: bool,
    waker: Option<Waker>,
}

impl Memory {
    pub(crate) fn read(&self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Read {
        let mut pipe = self.0.lock();
        let count = pipe.to_gateway.len().min(scratch.len());
        if count > 0 {
            let (front, back) = pipe.to_gateway.as_slices();
            let (from_front, from_back) = scratch[..count].split_at_mut(count.min(front.len()));
            from_front.copy_from_slice(&front[..from_front.len()]);
            from_back.copy_from_slice(&back[..from_back.len()]);
            pipe.to_gateway.drain(..count);
            return Read::Scratch(count);
        }
        if pipe.cut {
            return Read::Closed;
        }
        pipe.waker = Some(cx.waker().clone());
        Read::Pending
    }

    pub(crate) fn write(&self, cx: &mut Context<'_>, wire: &mut WireBuffer) -> io::Result<bool> {
        let mut pipe = self.0.lock();
        if pipe.cut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if pipe.stalled && !wire.is_empty() {
            pipe.waker = Some(cx.waker().clone());
            return Ok(false);
        }
        wire.slices().for_each(|slice| pipe.from_gateway.extend_from_slice(slice));
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
    /// Something has changed on the bench's side.
    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
