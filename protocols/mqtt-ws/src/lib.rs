//! The rules of MQTT over WebSocket (MQTT 5.0 section 6): which upgrade requests are accepted,
//! with which subprotocol, and what becomes of text frames.
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

/// What to close with on a text frame: MQTT travels in binary frames only (MQTT-6.0.0-1; RFC 6455
/// section 7.4.1, "unsupported data"). A packet may span binary frames and a frame may hold several
/// packets (MQTT-6.0.0-2), so their payloads, one after the other, are the adapter's stream.
pub const TEXT_FRAME_CLOSE_CODE: u16 = 1003;
