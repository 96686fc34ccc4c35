//! The HTTP endpoint for operators: is the process alive, does it accept clients, what are its
//! numbers, whose messages were dropped.
//!
//! It knows nothing of the broker: it asks [`Probes`], which the composing program fills in. It is
//! not for clients, asks for no password, and so listens to this machine only by default.
//!
//! Read `endpoint.rs`: one route per question.

mod endpoint;

pub use endpoint::{Endpoint, Probes, Readiness};
