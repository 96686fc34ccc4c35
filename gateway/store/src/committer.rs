use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, slice};

use crate::batch::Batch;
use crate::disk::Mode;
use crate::engine::Engine;
use crate::files::File;
use crate::segment::{self, Header};
use crate::{Place, Room};

/// Writes what has been appended, syncs it and says so: all that changes the files of an open log.
pub(crate) struct Committer {
    /// The segment written to.
    file: Option<(u32, Arc<dyn File>)>,
    /// Could not be written yet.
    unwritten: Option<Arc<Batch>>,
    /// Written and not synced. If a sync fails nobody knows what the disk has of these, so they are
    /// written again.
    unsynced: Vec<Arc<Batch>>,
    /// Of all of these together.
    unsynced_bytes: u64,
    rewrite: bool,
    synced: Place,
    /// The last place before which everything in the files is synced: what the next batch says.
    proof: Place,
    synced_at: Instant,
    /// After a failure, when to try again and how long to wait after the next one.
    retry: Option<(Instant, Duration)>,
    /// When to look for space again.
    look: Option<Instant>,
    /// What the log of the gateway says last.
    said: Said,
}

/// What is logged when it changes, and not whenever it is tried again.
#[derive(Default)]
struct Said {
    full: bool,
    stays: bool,
    /// Why there was no other segment the last time.
    no_space: Option<io::Error>,
}

/// How long what nobody waits for may stay unwritten.
const LAZY_MAX: Duration = Duration::from_secs(1);
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Runs it in a thread of its own until the engine stops.
pub(crate) fn spawn(mut committer: Committer, engine: &Arc<Engine>) -> io::Result<JoinHandle<()>> {
    let engine = Arc::clone(engine);
    thread::Builder::new().name("store".to_owned()).spawn(move || {
        // After a panic nobody knows what has been written: nothing more may become durable.
        if catch_unwind(AssertUnwindSafe(|| committer.run(&engine))).is_err() {
            tracing::error!("the store has ended by a panic: nothing becomes durable any more");
            engine.fail_for_good();
        }
    })
}

impl Committer {
    pub fn new(engine: &Engine) -> Self {
        Self {
            file: None,
            unwritten: None,
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            rewrite: false,
            synced: engine.durable(),
            proof: engine.before,
            synced_at: Instant::now(),
            retry: None,
            look: None,
            said: Said::default(),
        }
    }

    /// Everything before it survives a power cut.
    #[cfg(test)]
    pub fn synced(&self) -> Place {
        self.synced
    }

    fn run(&mut self, engine: &Engine) {
        engine.set_committer(thread::current());
        // Whoever stopped it before that could not wake it.
        while !engine.is_stopping() {
            match self.pass(engine) {
                // Parking for no time at all is a system call, too.
                Some(Duration::ZERO) => {}
                Some(wait) => thread::park_timeout(wait),
                None => thread::park(),
            }
        }
        self.commit(engine);
    }

    /// Does what is due, and says how long nothing else will be; `None`: until it is woken.
    fn pass(&mut self, engine: &Engine) -> Option<Duration> {
        let now = Instant::now();
        if let Some((at, _)) = self.retry
            && at > now
        {
            return Some(at - now);
        }
        let lazy_due = {
            let log = engine.log.lock();
            let lazy_due = log.lazy_since.map(|since| since + LAZY_MAX);
            if log.urgent { Some(now) } else { lazy_due }
        };
        let sync_due = match engine.options.mode {
            Mode::Interval(interval) if !self.unsynced.is_empty() => Some(self.synced_at + interval),
            _ => None,
        };
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let retire = self.look.is_none_or(|at| at <= now) && self.has_retiring(engine);
        let work = due(lazy_due) || due(sync_due) || self.retry.is_some() || retire;
        if work && !self.work(engine, due(sync_due), 1) {
            return self.retry.map(|(at, _)| at.saturating_duration_since(now));
        }
        if due(self.look) || engine.log.lock().wanted().is_some() && self.look.is_none() {
            self.prepare(engine);
        }
        if work {
            // While this was written more may have come.
            return Some(Duration::ZERO);
        }
        let next = [lazy_due, sync_due, self.look].into_iter().flatten().min();
        next.map(|at| at.saturating_duration_since(now))
    }

    /// Writes and syncs everything that there is. Whether it worked.
    pub fn commit(&mut self, engine: &Engine) -> bool {
        let worked = self.work(engine, true, usize::MAX);
        self.prepare(engine);
        worked
    }

    /// Makes the next segment ahead if it is time, so that a full disk is known before it hurts.
    pub fn prepare(&mut self, engine: &Engine) {
        let before = engine.room();
        let wanted = {
            let log = engine.log.lock();
            let left = engine.options.bytes_max.saturating_sub(log.bytes_on_disk());
            log.wanted().map(|number| (number, left >= engine.options.segment_bytes.into()))
        };
        let made = match wanted {
            Some((number, true)) => match self.make(engine, number, engine.options.segment_bytes) {
                Ok(()) => true,
                Err(error) => {
                    self.said.no_space = Some(error);
                    false
                }
            },
            Some((_, false)) => {
                self.said.no_space = None;
                false
            }
            None => true,
        };
        let stuck = !made || self.has_retiring(engine);
        self.look = stuck.then(|| Instant::now() + RETRY_MAX);
        let mut log = engine.log.lock();
        log.set_no_space(!made);
        engine.measure(&log);
        drop(log);
        self.announce(engine, before);
    }

    /// Says so if the room has changed.
    fn announce(&mut self, engine: &Engine, before: Room) {
        let was_full = std::mem::replace(&mut self.said.full, engine.is_full());
        if let Some(error) = &self.said.no_space
            && engine.is_full()
            && !was_full
            // What whoever watches the room says, too.
            && error.kind() != io::ErrorKind::StorageFull
        {
            tracing::warn!(%error, "the store is full, as it can make no other file");
        }
        if engine.room() != before {
            engine.ring();
        }
    }

    /// Writes up to so many batches. Whether it worked.
    pub fn work(&mut self, engine: &Engine, sync: bool, batches: usize) -> bool {
        let before = engine.room();
        match self.write_all(engine, sync, batches) {
            Ok(()) => {
                if self.retry.take().is_some() {
                    tracing::info!("the store writes again");
                    engine.set_failing(false);
                }
                let retired = self.retire(engine);
                let stayed = std::mem::replace(&mut self.said.stays, retired.is_err());
                if let Err(error) = retired {
                    engine.counters.failures.fetch_add(1, Relaxed);
                    if !stayed {
                        tracing::warn!(%error, "a file of the store that is not needed any more stays for now");
                    }
                    self.look = Some(Instant::now() + RETRY_MAX);
                }
                self.announce(engine, before);
                true
            }
            Err(error) => {
                engine.counters.failures.fetch_add(1, Relaxed);
                let wait = self.retry.map_or(RETRY_MIN, |(_, wait)| wait);
                if self.retry.is_none() {
                    tracing::error!(%error, "the store cannot write; it refuses new messages until it can");
                    engine.set_failing(true);
                }
                self.retry = Some((Instant::now() + wait, (2 * wait).min(RETRY_MAX)));
                self.announce(engine, before);
                false
            }
        }
    }

    fn write_all(&mut self, engine: &Engine, sync: bool, batches: usize) -> io::Result<()> {
        if self.rewrite {
            for index in 0..self.unsynced.len() {
                let batch = Arc::clone(&self.unsynced[index]);
                self.write(engine, &batch)?;
            }
            self.sync(engine)?;
        }
        for _ in 0..batches {
            let batch = match self.unwritten.take() {
                Some(batch) => batch,
                None => match self.take(engine)? {
                    Some(batch) => batch,
                    None => break,
                },
            };
            if let Err(error) = self.write(engine, &batch) {
                self.unwritten = Some(batch);
                return Err(error);
            }
            engine.log.lock().landed(&batch);
            if engine.options.mode != Mode::Sync {
                publish(engine, slice::from_ref(&batch));
            }
            self.unsynced_bytes += batch.bytes.len() as u64;
            self.unsynced.push(batch);
            if engine.options.mode == Mode::Sync {
                self.sync(engine)?;
            }
        }
        if sync || self.unsynced_bytes > engine.options.pending_bytes_max || self.has_retiring(engine) {
            self.sync(engine)?;
        }
        Ok(())
    }

    /// The next batch. Before a segment is left behind it is synced, so that the first batch in the next
    /// one says how far it reached: whatever is missing of it later has been damaged.
    fn take(&mut self, engine: &Engine) -> io::Result<Option<Arc<Batch>>> {
        let proof = self.proof;
        let unsynced = self.unsynced.last().map(|batch| batch.segment);
        let taken = engine.between_turns(|log| {
            let leaves = unsynced.is_some() && log.next_segment().is_some_and(|next| Some(next) != unsynced);
            if leaves { None } else { Some(log.take(proof)) }
        });
        match taken {
            Some(batch) => Ok(batch),
            None => {
                self.sync(engine)?;
                let proof = self.proof;
                Ok(engine.between_turns(|log| log.take(proof)))
            }
        }
    }

    fn write(&mut self, engine: &Engine, batch: &Batch) -> io::Result<()> {
        let file = self.file_of(engine, batch)?;
        file.write_at(&batch.bytes, batch.offset.into())?;
        engine.counters.bytes_written.fetch_add(batch.bytes.len() as u64, Relaxed);
        Ok(())
    }

    fn file_of(&mut self, engine: &Engine, batch: &Batch) -> io::Result<Arc<dyn File>> {
        if let Some((number, file)) = &self.file
            && *number == batch.segment
        {
            return Ok(Arc::clone(file));
        }
        let size = engine.log.lock().segments.get(&batch.segment).map_or(0, |segment| segment.size);
        if size < batch.segment_size.into() {
            self.make(engine, batch.segment, batch.segment_size)?;
        }
        let file = engine.files.open(&segment::name(batch.segment))?;
        self.file = Some((batch.segment, Arc::clone(&file)));
        Ok(file)
    }

    /// Makes the file of a segment, or makes it larger.
    fn make(&mut self, engine: &Engine, number: u32, size: u32) -> io::Result<()> {
        let (salt, existed) = {
            let log = engine.log.lock();
            (log.salt(), log.exists(number))
        };
        let name = segment::name(number);
        let make = || {
            let file = engine.files.create(&name)?;
            file.allocate(size.into())?;
            let header = Header { version: segment::VERSION, number, salt };
            file.write_at(&header.encode(), 0)?;
            file.sync()?;
            engine.files.sync_names()
        };
        if let Err(error) = make() {
            if !existed {
                // Half of a file would only take space. If it stays, it is made whole later.
                let _ = engine.files.remove(&name);
            }
            return Err(error);
        }
        engine.counters.bytes_written.fetch_add(segment::HEADER as u64, Relaxed);
        engine.counters.syncs.fetch_add(1, Relaxed);
        engine.log.lock().made(number, size.into());
        Ok(())
    }

    fn sync(&mut self, engine: &Engine) -> io::Result<()> {
        let Some(last) = self.unsynced.last() else { return Ok(()) };
        let end = last.end();
        let (_, file) = self.file.as_ref().expect("it has been written to");
        self.rewrite = true;
        file.sync()?;
        self.rewrite = false;
        engine.counters.syncs.fetch_add(1, Relaxed);
        (self.synced, self.proof) = (end, end);
        self.synced_at = Instant::now();
        if engine.options.mode == Mode::Sync {
            publish(engine, &self.unsynced);
        }
        self.unsynced_bytes = 0;
        let mut log = engine.log.lock();
        self.unsynced.drain(..).for_each(|batch| log.reuse(batch));
        Ok(())
    }

    fn has_retiring(&self, engine: &Engine) -> bool {
        let end = self.unsynced.last().map_or(self.synced, |batch| batch.end());
        engine.retiring.lock().first().is_some_and(|(_, once)| *once <= end)
    }

    /// Removes segments that nobody needs any more, strictly the oldest first.
    fn retire(&mut self, engine: &Engine) -> io::Result<()> {
        loop {
            let due = engine.retiring.lock().first().copied().filter(|(_, once)| *once <= self.synced);
            let Some((number, _)) = due else { return Ok(()) };
            match engine.files.remove(&segment::name(number)) {
                // From an attempt before, which then failed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
            // Whoever opens it from now on finds it gone.
            engine.close(number);
            engine.files.sync_names()?;
            engine.log.lock().segments.remove(&number);
            engine.retiring.lock().remove(0);
            // There is space again, perhaps for what there was none for.
            self.look = self.look.map(|_| Instant::now());
        }
    }
}

/// Says that batches are as durable as the settings promise.
fn publish(engine: &Engine, batches: &[Arc<Batch>]) {
    let Some(last) = batches.last() else { return };
    let mut log = engine.log.lock();
    batches.iter().for_each(|batch| log.durable(batch));
    engine.measure(&log);
    drop(log);
    engine.set_durable(last.end());
    engine.ring();
}
