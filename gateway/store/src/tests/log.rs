//! The log, byte by byte: records are any bytes here.

mod damage;
mod files;
mod rig;
mod torn;
