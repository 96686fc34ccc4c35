//! SCRAM-SHA-256, without channel binding: `exchange.rs` is the login, `message.rs` what is said in
//! it, `verifier.rs` what is kept of a password.

mod exchange;
mod message;
mod verifier;

pub(crate) use exchange::{METHOD, Scram, invented_salt};
pub(crate) use verifier::Verifier;
