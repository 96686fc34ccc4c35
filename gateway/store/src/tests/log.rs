//! The log, byte by byte: records are any bytes here.

mod damage;
mod foul_play;
pub(in crate::tests) mod rig;
mod space;
mod torn;
