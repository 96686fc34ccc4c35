//! The gateway as its users meet it: the real binary, real clients, real sinks.
//!
//! - `harness/` starts and stops programs, waits for what they say, and speaks as much of each protocol as
//!   that takes.
//! - `flows/` are named for what a user does; each starts its own gateway on free loopback ports.
//! - `faults/` is what goes wrong: clients that send what they should not, crashes, disks that are full, slow
//!   or damaged.
//! - `interop/` are the foreign clients and what they need, in their own languages.
//! - `tidy/` checks the rules of the source tree.
//!
//! Conformance by bytes is a binary of its own, `conformance/`, which needs no gateway and no client.
//! Run with `cargo test -p tidegate-tests -- [--list] [--skip TEXT] [TEXT]...`; a TEXT matches part of a name.

mod faults;
mod flows;
mod harness;
mod tidy;

fn main() -> std::process::ExitCode {
    let mut cases = tidy::cases();
    cases.extend(flows::cases());
    cases.extend(faults::cases());
    harness::suite::main(cases)
}
