//! The rules of MQTT over WebSocket (MQTT 5.0 section 6): which upgrade requests are accepted, and
//! with which subprotocol.
//!
//! It is not a WebSocket implementation: the driver does the HTTP upgrade and the framing, asks
//! [`Handshake`] what to answer, and closes on a text frame. It is not a second MQTT either: a packet
//! may span binary frames and a frame may hold several packets (MQTT-6.0.0-2), so their payloads, one
//! after the other, are a stream for the adapter of `protocol-mqtt`, made by the same [`Mqtt`].
//!
//! Read [`Config`], then [`Handshake::check`].

mod config;
mod handshake;

pub use config::Config;
pub use handshake::{Handshake, HandshakeError};
/// What speaks inside the WebSocket.
pub use protocol_mqtt::Mqtt;
