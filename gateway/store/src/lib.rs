//! What must survive a crash: the log of everything durable, and the state that it amounts to.
//!
//! A [`Store`] is appended to under the outermost lock there is ([`Store::begin`]), says how far it is
//! durable, and reads a message again by its [`Place`]. [`Memory`] keeps nothing; [`Disk`] keeps a log in
//! a directory, behind [`Files`], so that tests can put a disk in its place that fails. It knows no routes,
//! no limits of queues and no protocol: who still needs what is in the log it asks of [`Holders`].
//!
//! `record.rs` has all that can be said, `store.rs` the contract. `log.rs` is the end of the log, as far as
//! it is not written; `segment.rs`, `batch.rs` and `frame.rs` are its bytes; `committer.rs` writes and syncs
//! them. `recovery.rs` reads the log at the start, `replay.rs` makes an [`Image`] of it, and `cleaning.rs`
//! gives space back. `scratch.rs` are pages of queues, which need not survive anything.

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
