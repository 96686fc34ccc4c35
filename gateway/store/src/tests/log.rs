//! The log, byte by byte: records are any bytes here.

mod damage;
mod rig;
mod space;
mod torn;
