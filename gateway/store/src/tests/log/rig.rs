use std::sync::Arc;
use std::time::Instant;

use gateway_model::Moment;

use crate::committer::Committer;
use crate::disk::{Mode, Options};
use crate::engine::Engine;
use crate::files::Files;
use crate::recovery::{self, Recovered, Replay};
use crate::tests::dice::Dice;
use crate::{Damaged, Place, Simulated, frame};

/// A log on a disk, and what was ever appended to it.
pub struct Rig {
    pub engine: Arc<Engine>,
    pub committer: Committer,
    pub damaged: Vec<Damaged>,
    pub torn: Option<Place>,
    /// What recovery found, or what was appended since.
    pub records: Vec<(Place, Vec<u8>)>,
}

#[derive(Default)]
struct Collected(Vec<(Place, Vec<u8>)>);

impl Replay for Collected {
    fn replay(&mut self, place: Place, record: &[u8]) -> Option<usize> {
        self.0.push((place, record.to_vec()));
        Some(0)
    }
}

pub const SMALL: Options =
    Options { mode: Mode::Sync, segment_bytes: 2048, bytes_max: 1 << 20, pending_bytes_max: 4096 };

impl Rig {
    pub fn open(disk: &Simulated, options: Options) -> Self {
        Self::try_open(Arc::new(disk.clone()), options).expect("the disk works")
    }

    pub fn try_open(files: Arc<dyn Files>, options: Options) -> Result<Self, recovery::OpenError> {
        let mut collected = Collected::default();
        let recovered = recovery::recover(&*files, &mut collected)?;
        let Recovered { damaged, torn, .. } = &recovered;
        let (damaged, torn) = (damaged.clone(), *torn);
        let engine = Arc::new(Engine::new(options, files, moment(), recovered));
        let mut committer = Committer::new(&engine);
        committer.prepare(&engine);
        Ok(Self { engine, committer, damaged, torn, records: collected.0 })
    }

    pub fn append(&mut self, record: &[u8]) -> Place {
        let place = {
            let _turn = self.engine.begin();
            self.engine.append_bytes(&mut self.engine.log.lock(), 1, |out| out.extend_from_slice(record))
        };
        self.records.push((place, record.to_vec()));
        place
    }

    /// A record of a random size, often small, that says which it is.
    pub fn append_any(&mut self, dice: &mut Dice) -> Place {
        let length = match dice.below(20) {
            0 => 8 + dice.below(6000),
            1..5 => 8 + dice.below(600),
            _ => 8 + dice.below(40),
        };
        let mut record = vec![dice.number() as u8; length];
        record[..8].copy_from_slice(&(self.records.len() as u64).to_le_bytes());
        self.append(&record)
    }

    pub fn commit(&mut self) -> bool {
        self.committer.commit(&self.engine)
    }

    /// Writes it, and syncs it only if that is due.
    pub fn write(&mut self) -> bool {
        self.committer.work(&self.engine, false, usize::MAX)
    }

    /// Everything that was appended can be read where it was said to be.
    pub fn check_reading(&self) {
        for (place, record) in &self.records {
            let found = self.engine.frame(*place);
            assert!(found.is_ok_and(|found| found[frame::OVERHEAD..] == *record), "{place} reads otherwise");
        }
    }

    /// What was appended before the place that is durable.
    pub fn durable(&self) -> usize {
        self.before(self.engine.durable())
    }

    /// What survives a power cut.
    pub fn synced(&self) -> usize {
        self.before(self.committer.synced())
    }

    fn before(&self, place: Place) -> usize {
        self.records.iter().take_while(|(at, _)| *at < place).count()
    }
}

pub(in crate::tests) fn moment() -> Moment {
    Moment { instant: Instant::now(), unix_millis: 1_700_000_000_000 }
}
