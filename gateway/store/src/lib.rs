//! What must survive a crash: the log of everything durable, and the state that it amounts to.

mod appending;
mod decode;
mod encode;
mod holders;
mod image;
mod kind;
mod memory;
mod pages;
mod place;
mod record;
mod replay;
mod store;
#[cfg(test)]
mod tests;

pub use appending::Appending;
pub use decode::DecodeError;
pub use holders::{Holder, Holders};
pub use image::{CopyImage, Image, SessionImage};
pub use memory::Memory;
pub use pages::{PAGE_BYTES, PageNumber, Pages};
pub use place::Place;
pub use record::{Away, Copy, CopyState, Delayed, MessageRecord, Record, SessionRecord, Shared};
pub use store::{Figures, ReadError, Room, Store};
