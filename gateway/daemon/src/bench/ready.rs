use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// The clients of a thread whose sockets can be read or written, and what wakes the thread.
#[derive(Default)]
pub struct ReadyList {
    ready: Mutex<Vec<u32>>,
    waker: AtomicWaker,
}

/// The waker of one client: it puts its number on the list, once.
pub struct Signal {
    list: Arc<ReadyList>,
    client: u32,
    is_listed: AtomicBool,
}

impl ReadyList {
    pub fn signal(self: &Arc<Self>, client: u32) -> Arc<Signal> {
        Arc::new(Signal { list: Arc::clone(self), client, is_listed: AtomicBool::new(false) })
    }

    /// The thread is to look at what else there is to do.
    pub fn wake(&self) {
        self.waker.wake();
    }

    pub fn register(&self, context: &Context<'_>) {
        self.waker.register(context.waker());
    }

    pub fn is_empty(&self) -> bool {
        self.ready.lock().is_empty()
    }

    /// Moves the list into `into`, which must be empty.
    pub fn take(&self, into: &mut Vec<u32>) {
        std::mem::swap(&mut *self.ready.lock(), into);
    }
}

impl Signal {
    /// Before the client is served: what comes from now on lists it again.
    pub fn reset(&self) {
        self.is_listed.store(false, Ordering::Release);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_listed.swap(true, Ordering::AcqRel) {
            self.list.ready.lock().push(self.client);
            self.list.wake();
        }
    }
}
