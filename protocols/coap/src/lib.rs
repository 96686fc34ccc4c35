//! CoAP for the gateway: the message layer of RFC 7252, 7641 and 7959 as pure state machines.

pub mod block;
pub mod content_format;
pub mod datagram;
pub mod exchange;
pub mod link_format;
pub mod message;
mod random;
mod recent;
