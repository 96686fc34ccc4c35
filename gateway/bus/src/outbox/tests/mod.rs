//! The outbox of a durable session, whose queue may be longer than its head.
//!
//! `shelf.rs` is a store in memory. `pair.rs` does the same to an outbox with a tail and to one
//! without, which is a plain queue and has its own reference in the tests of the bus.

mod failing;
mod long;
mod pair;
mod random;
mod restart;
mod shelf;
