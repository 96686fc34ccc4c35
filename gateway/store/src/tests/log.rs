//! The log, byte by byte: records are any bytes here.

mod damage;
pub(in crate::tests) mod rig;
mod space;
mod torn;
