//! Two ways to extend the gateway, each a whole in under 120 lines, compiled and run by the tests.
//!
//! - [`custom_protocol`]: devices that speak lines of text.
//! - [`custom_bridge`]: messages appended to a file.
//!
//! Neither is linked into `tidegate`. To use one, make it a crate of its own under `protocols/` or
//! `bridges/` and enter it in the catalog; the `README.md` in those folders says how.

pub mod custom_bridge;
pub mod custom_protocol;
