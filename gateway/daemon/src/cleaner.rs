use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{JoinHandle, Thread};

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
    failed: tokio::sync::Notify,
}

impl Cleaner {
    /// `clean` does a part of the work, and says whether there is more.
    pub fn start(store: &Arc<dyn Store>, clean: impl Fn() -> bool + Send + 'static) -> std::io::Result<Self> {
        let bell = Arc::new(Bell {
            watched: Mutex::default(),
            segment: AtomicU32::new(store.durable().segment()),
            // What was recovered may be mostly dead.
            rung: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            failed: tokio::sync::Notify::new(),
        });
        let ours = bell.clone();
        let thread = std::thread::Builder::new().name("cleaner".to_owned());
        let thread = thread.spawn(move || {
            // After a panic nothing is freed any more, until the disk is full.
            if catch_unwind(AssertUnwindSafe(|| ours.run(clean))).is_err() {
                tracing::error!("the cleaner of the store has ended by a panic");
                ours.failed.notify_one();
            }
        })?;
        *bell.watched.lock() = Some((store.clone(), thread.thread().clone()));
        store.watch(bell.clone());
        Ok(Self { bell, thread })
    }

    /// Ends when it has ended by a panic: only a restart helps.
    pub async fn failed(&self) {
        self.bell.failed.notified().await;
    }

    pub fn stop(self) {
        self.bell.watched.lock().take();
        self.bell.stopping.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // It has said so if it panicked.
        let _ = self.thread.join();
    }
}

impl Bell {
    fn run(&self, clean: impl Fn() -> bool) {
        while !self.stopping.load(Ordering::Acquire) {
            if !self.rung.swap(false, Ordering::AcqRel) {
                std::thread::park();
                continue;
            }
            let mut more = true;
            while more && !self.stopping.load(Ordering::Acquire) {
                more = clean();
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway_store::Memory;

    use super::*;

    #[tokio::test]
    async fn a_cleaner_that_panics_says_so() {
        let store: Arc<dyn Store> = Arc::new(Memory);
        let cleaner = Cleaner::start(&store, || panic!("on purpose")).unwrap();
        tokio::time::timeout(Duration::from_secs(10), cleaner.failed()).await.expect("it says so");
        cleaner.stop();
    }

    #[tokio::test]
    async fn a_cleaner_that_has_nothing_to_do_stays() {
        let store: Arc<dyn Store> = Arc::new(Memory);
        let (sender, asked) = std::sync::mpsc::channel();
        let cleaner = Cleaner::start(&store, move || sender.send(()).is_err()).unwrap();
        asked.recv_timeout(Duration::from_secs(10)).expect("it looks once at the beginning");
        let failed = tokio::time::timeout(Duration::ZERO, cleaner.failed());
        assert!(failed.await.is_err());
        cleaner.stop();
        assert!(asked.try_recv().is_err());
    }
}
