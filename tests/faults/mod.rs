//! What no client should send, and what must not come of it.

mod garbage;

pub use garbage::cases;
