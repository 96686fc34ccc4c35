use std::sync::Arc;

use gateway_model::{Message, Notify};

use crate::{Appending, Holders, Pages, Place};

/// Where what must not be lost is kept: a log of records, and a way to read a message again.
///
/// There are two: [`crate::Memory`], which keeps nothing, and [`crate::Disk`].
///
/// Order of locks: [`Store::begin`] takes the outermost lock there is. Whoever holds a lock of the
/// bus must not begin; whoever has begun may take them. So the order of records is the order of what
/// happened, and no one can settle a copy before the log has it.
pub trait Store: Send + Sync {
    /// Begins to append; everybody else who wants to waits until it is dropped. `None`: nothing is
    /// kept here.
    fn begin(&self) -> Option<Appending<'_>>;

    /// Everything appended before this place is as durable as the settings promise.
    fn durable(&self) -> Place;

    /// The message stored at a place, as it was appended; also while it is not yet durable.
    fn read(&self, place: Place) -> Result<Arc<Message>, ReadError>;

    /// Whether new messages are to be taken in.
    fn room(&self) -> Room;

    /// Makes room by writing what is still held in the oldest segment anew, if it is worth it.
    /// Whether there is more to do. Meant for a thread that has time; one at a time.
    fn clean(&self, holders: &dyn Holders) -> bool;

    /// Rings whenever `durable` has moved, and when `room` has changed.
    fn watch(&self, watcher: Arc<dyn Notify>);

    /// Where queues put what they do not need at hand; `None` if they are to keep it in memory.
    fn pages(&self) -> Option<&dyn Pages>;

    fn figures(&self) -> Figures;
}

/// How much more the store takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Open,
    /// The disk is slower than what comes in: whoever waits for it should not be read until it has
    /// caught up.
    Behind,
    /// The disk, or the store's share of it, is full, or it fails: nothing new that must be kept.
    Full,
}

/// Why a stored message cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    #[error("nothing is stored at {0}")]
    Nowhere(Place),
    #[error("the record at {place} is damaged: {what}")]
    Damaged { place: Place, what: &'static str },
    #[error("the segment of {place} cannot be read: {error}")]
    Io { place: Place, error: Arc<std::io::Error> },
}

/// What a store has done, and has. All numbers are monotonic but the sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages appended, not counting those written anew.
    pub messages: u64,
    /// Bytes handed to the disk, of any kind: flash wears by these.
    pub bytes_written: u64,
    /// Those of them that cleaning wrote anew.
    pub bytes_cleaned: u64,
    pub syncs: u64,
    /// Bytes of all segments on the disk.
    pub bytes_on_disk: u64,
    pub segments: u64,
    /// Bytes appended and not yet durable.
    pub bytes_pending: u64,
    /// Ranges that were damaged, and their bytes: set aside at the start, or gone with their segment.
    pub damaged_ranges: u64,
    pub damaged_bytes: u64,
    /// Writes or syncs that failed.
    pub failures: u64,
    /// The last one did: the room is full however much space there is.
    pub is_failing: bool,
}
