use std::io;

use gateway_model::Moment;

use crate::recovery::{self, Damaged, OpenError, Replay};
use crate::{Files, Image, Place, Record};

/// What a log holds, found out without changing it: also while a gateway writes to it.
#[derive(Debug)]
pub struct Survey {
    /// Of the log's format.
    pub version: u32,
    pub segments: usize,
    /// Bytes of their files, and how many of these are in use.
    pub file_bytes: u64,
    pub used_bytes: u64,
    pub records: u64,
    pub damaged: Vec<Damaged>,
    /// Where something unfinished begins, if the log ends with that: of a crash, or of a gateway that
    /// is just writing.
    pub torn: Option<Place>,
    /// Copies whose session was lost with something damaged.
    pub orphans: usize,
    pub image: Image,
}

/// A log that changes while it is read is read again, but not for ever.
const ATTEMPTS: usize = 8;

impl Survey {
    /// Reads and checks every byte. Of messages that wait nothing is kept but their size.
    pub fn of(files: &dyn Files, anchor: Moment) -> Result<Self, OpenError> {
        let mut seen_before = Vec::new();
        for _ in 1..ATTEMPTS {
            match Self::try_of(files, anchor) {
                // A segment was removed while the others were read.
                Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                // What is written between two reads looks like a hole; a hole stays.
                Ok(survey) if survey.damaged != seen_before => seen_before = survey.damaged,
                other => return other,
            }
        }
        Self::try_of(files, anchor)
    }

    fn try_of(files: &dyn Files, anchor: Moment) -> Result<Self, OpenError> {
        let mut reader = Reader { image: Image::default(), anchor, records: 0 };
        let found = recovery::look(files, &mut reader)?;
        let Reader { mut image, records, .. } = reader;
        Ok(Self {
            version: crate::segment::VERSION,
            segments: found.segments.len(),
            file_bytes: found.segments.values().map(|segment| segment.size).sum(),
            used_bytes: found.segments.values().map(|segment| u64::from(segment.used)).sum(),
            records,
            damaged: found.damaged,
            torn: found.torn,
            orphans: image.finish(),
            image,
        })
    }
}

struct Reader {
    image: Image,
    anchor: Moment,
    records: u64,
}

impl Replay for Reader {
    fn replay(&mut self, place: Place, record: &[u8]) -> Option<usize> {
        // Also what replaying passes over has to be right.
        Record::decode(record, self.anchor, place).ok()?;
        self.records += 1;
        self.image.replay(place, record).ok()
    }
}
