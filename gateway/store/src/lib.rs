//! What must survive a crash: the log of everything durable, and the state that it amounts to.

mod appending;
mod batch;
mod cleaning;
mod committer;
mod decode;
mod disk;
mod encode;
mod engine;
mod files;
mod frame;
mod holders;
mod identity;
mod image;
mod kind;
mod log;
mod memory;
mod pages;
mod pause;
mod place;
mod record;
mod recovery;
mod replay;
mod retiring;
mod scratch;
mod segment;
mod store;
mod survey;
#[cfg(test)]
mod tests;

pub use appending::Appending;
pub use decode::DecodeError;
pub use disk::{Disk, Mode, Options};
pub use files::{Directory, File, Files};
#[cfg(any(test, feature = "testing"))]
pub use files::{Fault, Operation, Simulated};
pub use holders::{Holder, Holders};
pub use identity::Identity;
pub use image::{CopyImage, Image, SessionImage};
pub use memory::Memory;
pub use pages::{PAGE_BYTES, PageNumber, Pages};
pub use place::Place;
pub use record::{Away, Copy, CopyState, Delayed, MessageRecord, Record, SessionRecord, Shared};
pub use recovery::{Damage, Damaged, OpenError};
pub use store::{Figures, ReadError, Room, Store};
pub use survey::Survey;
