use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{JoinHandle, Thread};

use gateway_broker::Broker;
use gateway_model::Notify;
use gateway_store::{Room, Store};
use parking_lot::Mutex;

/// A thread that frees what the store no longer needs, when there may be something: after a segment has
/// been filled, and while space is short. An idle gateway writes nothing.
pub struct Cleaner {
    bell: Arc<Bell>,
    thread: JoinHandle<()>,
}

struct Bell {
    /// The store to look at and the thread to wake, until it is stopped: the store holds its watchers.
    watched: Mutex<Option<(Arc<dyn Store>, Thread)>>,
    /// The segment that was written to when it rang last.
    segment: AtomicU32,
    rung: AtomicBool,
    stopping: AtomicBool,
}

impl Cleaner {
    pub fn start(broker: &Arc<Broker>) -> std::io::Result<Self> {
        let store = broker.bus.store();
        let bell = Arc::new(Bell {
            watched: Mutex::default(),
            segment: AtomicU32::new(store.durable().segment()),
            // What was recovered may be mostly dead.
            rung: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
        });
        let (ours, cleaned) = (bell.clone(), broker.clone());
        let thread = std::thread::Builder::new().name("cleaner".to_owned());
        let thread = thread.spawn(move || ours.run(&cleaned))?;
        *bell.watched.lock() = Some((store.clone(), thread.thread().clone()));
        store.watch(bell.clone());
        Ok(Self { bell, thread })
    }

    pub fn stop(self) {
        self.bell.watched.lock().take();
        self.bell.stopping.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the cleaner of the store had ended by a panic");
        }
    }
}

impl Bell {
    fn run(&self, broker: &Broker) {
        while !self.stopping.load(Ordering::Acquire) {
            if !self.rung.swap(false, Ordering::AcqRel) {
                std::thread::park();
                continue;
            }
            let mut more = true;
            while more && !self.stopping.load(Ordering::Acquire) {
                more = broker.bus.clean();
            }
        }
    }
}

impl Notify for Bell {
    fn notify(&self) {
        let watched = self.watched.lock();
        let Some((store, cleaner)) = &*watched else { return };
        let segment = store.durable().segment();
        let is_new = self.segment.swap(segment, Ordering::Relaxed) != segment;
        if is_new || store.room() == Room::Full {
            self.rung.store(true, Ordering::Release);
            cleaner.unpark();
        }
    }
}
