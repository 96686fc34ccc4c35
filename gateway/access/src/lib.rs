//! Who may connect, and what they may publish and read.
//!
//! One door for every protocol: the broker asks [`Access`] before it opens a session, routes a
//! publish or makes a subscription. It decides and nothing else: it has no I/O, logs nothing and
//! counts nothing.
//!
//! Read `access.rs`: [`Access::authenticate`] holds the rules for connecting, and below it are those
//! for topics. `config.rs` is the `[access]` section.

mod access;
mod config;
mod verdict;

pub use access::{Access, Identity};
pub use config::{Anonymous, Config, User};
pub use verdict::{Allowed, Exchange, Login, Verdict};
