use std::io;
use std::sync::Arc;
use std::time::Duration;

use gateway_model::{Message, Moment, Notify};
use parking_lot::Mutex;

use crate::cleaning::Cleaner;
use crate::committer::{self, Committer};
use crate::engine::Engine;
use crate::files::Files;
use crate::pause::Pause;
use crate::recovery::{self, Damaged, OpenError};
use crate::scratch::Scratch;
use crate::{Appending, Figures, Holders, Image, Pages, Place, ReadError, Room, Store};

/// Keeps everything in a directory.
pub struct Disk {
    engine: Arc<Engine>,
    /// `None` while it runs in a thread of its own.
    committer: Option<Mutex<Committer>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    cleaner: Mutex<Cleaner>,
    /// For cleaning, as long as the disk is behind.
    pause: Arc<Pause>,
    scratch: Scratch,
    torn: Option<Place>,
}

/// How a store is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub mode: Mode,
    /// The size of one file of the log.
    pub segment_bytes: u32,
    /// Of all files of the log; beyond it nothing new is taken in.
    pub bytes_max: u64,
    /// Appended and not yet durable; beyond it the store is behind.
    pub pending_bytes_max: u64,
}

/// What durable means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Synced to the disk: it survives a power cut.
    Sync,
    /// Written: it survives the end of the process. What was written is synced so long after, so a
    /// power cut loses that much at most.
    Interval(Duration),
}

impl Default for Options {
    fn default() -> Self {
        Self { mode: Mode::Sync, segment_bytes: 8 << 20, bytes_max: 1 << 30, pending_bytes_max: 4 << 20 }
    }
}

/// How long cleaning waits for the disk before it asks whether it is still wanted.
const PAUSE_MAX: Duration = Duration::from_secs(1);

impl Disk {
    /// Opens what is there, and begins to write in a thread of its own. `anchor` converts between
    /// the instants of messages and the wall clock's time that is stored.
    pub fn open(options: Options, files: Arc<dyn Files>, anchor: Moment) -> Result<(Self, Image), OpenError> {
        let (mut disk, image) = Self::open_unthreaded(options, files, anchor)?;
        let committer = disk.committer.take().expect("it has just been opened").into_inner();
        let thread = committer::spawn(committer, &disk.engine).map_err(OpenError::Thread)?;
        disk.thread = Mutex::new(Some(thread));
        Ok((disk, image))
    }

    /// Opens what is there, and writes when [`Disk::commit`] is called: for whoever needs to know
    /// what happens when. Dropping it writes nothing.
    pub fn open_unthreaded(
        options: Options,
        files: Arc<dyn Files>,
        anchor: Moment,
    ) -> Result<(Self, Image), OpenError> {
        let mut image = Image::default();
        let mut recovered = recovery::recover(&*files, &mut image)?;
        let orphans = image.finish();
        if orphans > 0 {
            tracing::error!(orphans, "queued messages belong to sessions that were lost to damage");
        }
        recovered.count(image.holds());
        let scratch = Scratch::open(Arc::clone(&files));
        let torn = recovered.torn;
        let engine = Arc::new(Engine::new(options, files, anchor, recovered));
        let mut committer = Committer::new(&engine);
        committer.prepare(&engine);
        let pause = Arc::new(Pause::default());
        engine.watch(pause.clone());
        let disk = Self {
            engine,
            committer: Some(Mutex::new(committer)),
            thread: Mutex::default(),
            cleaner: Mutex::default(),
            pause,
            scratch,
            torn,
        };
        Ok((disk, image))
    }

    /// Writes and syncs everything that was appended, and whatever else is due. Whether it worked;
    /// what did not is done again the next time. With a thread of its own it only wakes that.
    pub fn commit(&self) -> bool {
        match &self.committer {
            Some(committer) => committer.lock().commit(&self.engine),
            None => {
                self.engine.wake();
                true
            }
        }
    }

    /// Writes everything that was appended, and ends: what is appended afterwards never becomes durable.
    pub fn close(&self) {
        if let Some(thread) = self.thread.lock().take() {
            self.engine.stop();
            // It has said why if it panicked.
            let _ = thread.join();
        }
    }

    /// Writes everything that is held anew and removes the segments that it was in; if parts of one cannot
    /// be read, only with leave to discard these. Only for a log that was opened with
    /// [`Disk::open_unthreaded`]. If it fails in between, nothing is lost.
    pub fn compact(&self, holders: &dyn Holders, discards_unreadable: bool) -> io::Result<()> {
        let mut cleaner = self.cleaner.lock();
        let last = self.engine.segments().last().map(|(number, _)| *number);
        cleaner.force(&self.engine, discards_unreadable);
        loop {
            let more = cleaner.try_step(&self.engine, holders)?;
            if (!more || self.engine.is_loaded()) && !self.commit() {
                return Err(io::Error::other("the disk is full, or fails"));
            }
            if !more {
                break;
            }
        }
        match self.engine.segments().first() {
            Some((number, _)) if Some(*number) <= last => {
                Err(io::Error::other("there is no space to work in"))
            }
            _ => Ok(()),
        }
    }

    /// Whether nothing will ever become durable again, by a defect of the store. Its watchers are rung
    /// then; only a restart helps.
    pub fn has_failed(&self) -> bool {
        self.engine.has_failed()
    }

    #[cfg(test)]
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What was found damaged when it was opened.
    pub fn damaged(&self) -> &[Damaged] {
        &self.engine.damaged
    }

    /// Where the log was cut when it was opened, if something unfinished was behind.
    pub fn torn(&self) -> Option<Place> {
        self.torn
    }
}

impl Store for Disk {
    fn begin(&self) -> Option<Appending<'_>> {
        Some(self.engine.begin())
    }

    fn durable(&self) -> Place {
        self.engine.durable()
    }

    fn read(&self, place: Place) -> Result<Arc<Message>, ReadError> {
        self.engine.read(place)
    }

    fn room(&self) -> Room {
        self.engine.room()
    }

    fn clean(&self, holders: &dyn Holders) -> bool {
        if self.engine.is_loaded() {
            if self.committer.is_none() {
                self.pause.wait(PAUSE_MAX, || !self.engine.is_loaded());
            }
            return true;
        }
        self.cleaner.lock().step(&self.engine, holders)
    }

    fn watch(&self, watcher: Arc<dyn Notify>) {
        self.engine.watch(watcher);
    }

    fn pages(&self) -> Option<&dyn Pages> {
        Some(&self.scratch)
    }

    fn figures(&self) -> Figures {
        self.engine.figures()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}
