//! The settings of the gateway: where they come from, what they mean, and what is wrong with them.
//!
//! Layers, the weakest first: the embedded `tidegate.toml`, a file, the environment
//! (`TIDEGATE__LISTENER__MQTT__BIND`), `--set listener.mqtt.bind=...`. Tables are merged; lists and
//! single values are replaced. Every mistake is reported with its place and the nearest right name.
//!
//! This crate does not know the protocols and bridges. Their sections have types of their own, which
//! the composing program names in [`Known`]; they are then judged with the rest by [`Layers::load`]
//! and read with [`Settings::section`] and [`BridgeEntry::extract`].
//!
//! Read [`Layers`] first, then [`Settings`]; `section.rs` explains how mistakes are collected.

mod bind;
mod bridge;
mod delayed;
mod document;
mod key;
mod known;
mod layers;
mod limits;
mod listener;
mod node;
mod problem;
mod retained;
mod secret;
mod section;
mod session;
mod settings;
mod shared;
mod store;
mod tls;
mod tree;

pub use bind::Bind;
pub use bridge::{BridgeEntry, BridgeKeys};
pub use delayed::Delayed;
pub use key::Key;
pub use known::{Carrier, Known, Schema, fields};
pub use layers::{DEFAULT_TEXT, ENVIRONMENT_PREFIX, Layers};
pub use limits::Limits;
pub use listener::{Anonymous, Listener, ProxyProtocol};
pub use node::{Admin, Log, LogFormat, LogLevel, Node};
pub use problem::{Origin, Problem, Problems};
pub use retained::Retained;
pub use secret::{MASK, Secret};
pub use session::{PriorityDefault, QueueDrop, Session};
pub use settings::{Line, Settings};
pub use shared::{Shared, Strategy};
pub use store::{Durability, Store};
pub use tls::{CertificateIdentity, ClientAuth, ListenerTls};

#[cfg(test)]
mod tests;
