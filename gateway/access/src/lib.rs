//! Who may connect, and what they may publish and read.
//!
//! One door for every protocol: the broker asks [`Access`] before it opens a session, routes a
//! publish or makes a subscription. It decides and nothing else: it opens no socket, logs nothing and
//! counts nothing. The files that the settings name are read by [`Access::reload`].
//!
//! Read `access.rs`: [`Access::authenticate`] holds the ways to be let in, in their order. `password.rs`
//! is how passwords are stored, `users.rs` who has one, `scram.rs` the login by challenge. `acl.rs`
//! leads to the rules for topics. `config.rs` is the `[access]` section.

mod access;
mod acl;
mod argon2id;
mod config;
mod file_error;
mod identity;
mod password;
mod password_file;
mod pbkdf2;
mod proven;
mod scram;
mod secret_bytes;
mod users;
mod verdict;

pub use access::{Access, Loaded};
pub use acl::Denial;
pub use config::{AclDefault, Client, Config, User};
pub use file_error::FileError;
pub use gateway_config::Anonymous;
pub use identity::{Identity, Subject, Way};
pub use password::{HashError, HashForm};
pub use password_file::PasswordFile;
pub use verdict::{Allowed, Exchange, Login, Verdict};
