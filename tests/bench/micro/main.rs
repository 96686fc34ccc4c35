//! What the parts of the gateway cost, in time: `cargo bench -p tidegate-bench --bench micro [TEXT]`.
//!
//! - `mqtt.rs`, `coap.rs`: bytes to packets and back
//! - `matching.rs`: from a topic to those who subscribed to it
//! - `fan_out.rs`: one publish to many sessions, through the bus alone and through the whole gateway
//! - `log.rs`: the store
//! - `sessions.rs`, `retained.rs`: what the bus does besides
//!
//! `crowd.rs` is a bus with sessions, `rig.rs` the gateway without sockets. `cargo test` does everything
//! once, with the least of each size.

mod coap;
mod crowd;
mod fan_out;
mod log;
mod matching;
mod mqtt;
mod retained;
mod rig;
mod sessions;

use divan::Divan;

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if is_measured() {
        divan::main();
    } else {
        // Arguments are for the other tests, and divan refuses what it does not know.
        Divan::default().test_benches();
    }
}

/// The sizes to measure; in a test, which runs unoptimized, only the first.
fn sizes<const COUNT: usize>(sizes: [usize; COUNT]) -> Vec<usize> {
    sizes.into_iter().take(if is_measured() { COUNT } else { 1 }).collect()
}

/// `cargo bench` says so.
fn is_measured() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}
