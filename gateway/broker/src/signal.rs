use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;
use gateway_model::Notify;
use parking_lot::Mutex;

/// Something of a shard that can become ready: a connection, or a datagram socket.
///
/// It is the waker for the socket and the notifier for the session's outbox at once; both only
/// put its number on the shard's list.
pub(crate) struct Signal {
    queue: Arc<ReadyQueue>,
    key: u32,
    raised: AtomicU8,
}

/// The socket can be read or written.
pub(crate) const IO: u8 = 1;
/// The outbox has something, or the session was taken away.
pub(crate) const OUTBOX: u8 = 2;
/// What the peer asked for is not all done.
pub(crate) const WORK: u8 = 4;

/// The numbers of what is ready, filled from any thread, emptied by the shard.
#[derive(Default)]
pub(crate) struct ReadyQueue {
    ready: Mutex<Vec<u32>>,
    /// The shard is in a pass and will look at the list again before it sleeps.
    awake: AtomicBool,
    pub(crate) waker: AtomicWaker,
}

impl Signal {
    pub(crate) fn new(queue: &Arc<ReadyQueue>, key: u32) -> Arc<Self> {
        Arc::new(Self { queue: queue.clone(), key, raised: AtomicU8::new(0) })
    }

    pub(crate) fn key(&self) -> u32 {
        self.key
    }

    /// What was raised since the last look.
    pub(crate) fn take(&self) -> u8 {
        self.raised.swap(0, Ordering::AcqRel)
    }

    pub(crate) fn raise(&self, what: u8) {
        if self.raised.fetch_or(what, Ordering::AcqRel) == 0 {
            self.queue.ready.lock().push(self.key);
            self.queue.wake();
        }
    }

    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(self.clone())
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.raise(IO);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raise(IO);
    }
}

impl Notify for Signal {
    fn notify(&self) {
        self.raise(OUTBOX);
    }
}

impl ReadyQueue {
    /// Wakes the shard unless it is going to look anyway.
    pub(crate) fn wake(&self) {
        if !self.awake.load(Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    pub(crate) fn begin_pass(&self) {
        self.awake.store(true, Ordering::SeqCst);
    }

    /// After this, every raise wakes the shard again; true if there is something on the list.
    pub(crate) fn end_pass(&self) -> bool {
        self.awake.store(false, Ordering::SeqCst);
        !self.ready.lock().is_empty()
    }

    /// Moves the list into `into`, which must be empty.
    pub(crate) fn take(&self, into: &mut Vec<u32>) {
        std::mem::swap(&mut *self.ready.lock(), into);
    }
}
