use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;
use gateway_model::NotifyMany;
use parking_lot::Mutex;

/// What is ready on a shard, connections and sockets by their keys, filled from any thread and emptied
/// by the shard.
///
/// A key may be on the list twice, or that of a connection that is gone: a look at whoever has it now
/// finds nothing to do.
#[derive(Default)]
pub(crate) struct ReadyQueue {
    ready: Mutex<Vec<Raised>>,
    /// The shard is in a pass and will look at the list again before it sleeps.
    awake: AtomicBool,
    pub(crate) waker: AtomicWaker,
}

/// A key on the list, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raised {
    pub(crate) key: u32,
    pub(crate) what: u8,
}

/// The socket can be read or written.
pub(crate) const IO: u8 = 1;
/// The outbox has something, or the session was taken away.
pub(crate) const OUTBOX: u8 = 2;
/// What the peer asked for is not all done.
pub(crate) const WORK: u8 = 4;

impl ReadyQueue {
    pub(crate) fn raise(&self, key: u32, what: u8) {
        self.ready.lock().push(Raised { key, what });
        self.wake();
    }

    /// For a socket that the runtime watches.
    pub(crate) fn waker(self: &Arc<Self>, key: u32) -> Waker {
        Waker::from(Arc::new(SocketWaker { queue: self.clone(), key }))
    }

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
    pub(crate) fn take(&self, into: &mut Vec<Raised>) {
        std::mem::swap(&mut *self.ready.lock(), into);
    }
}

/// A session has something for its connection.
impl NotifyMany for ReadyQueue {
    fn notify(&self, key: u32) {
        self.raise(key, OUTBOX);
    }
}

struct SocketWaker {
    queue: Arc<ReadyQueue>,
    key: u32,
}

impl Wake for SocketWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.queue.raise(self.key, IO);
    }
}
