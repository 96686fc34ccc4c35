//! The rules of MQTT over WebSocket (MQTT 5.0 section 6): which upgrade requests are accepted,
//! with which subprotocol, and which frames carry MQTT.
//!
//! It is not a WebSocket implementation: the driver does the HTTP upgrade and the framing and asks
//! [`Handshake`] what to answer. It is not a second MQTT either: what the frames carry is a stream
//! that goes to the adapter of `protocol-mqtt`, made by the same [`Mqtt`].
//!
//! Read [`Config`], then [`Handshake::check`].

mod config;
mod handshake;

pub use config::Config;
pub use handshake::{Handshake, HandshakeError};
/// What speaks inside the WebSocket.
pub use protocol_mqtt::Mqtt;

/// Whether a data frame may carry MQTT (MQTT-6.0.0-1): a text frame ends the connection.
/// A packet may span frames and a frame may hold several packets (MQTT-6.0.0-2).
pub fn carries_mqtt(is_binary: bool) -> bool {
    is_binary
}
