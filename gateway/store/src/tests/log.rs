//! The log, byte by byte: records are any bytes here.

mod damage;
mod files;
pub(in crate::tests) mod rig;
mod torn;
