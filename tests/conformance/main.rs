//! What MQTT 5.0 and 3.1.1 demand, statement by statement, checked on the real gateway without
//! sockets and with a clock that is moved by hand.
//!
//! - `statements-5.0.txt` and `statements-3.1.1.txt` list the normative statements of the standards.
//!   Each has tests, which its name finds (`mqtt5_3_1_2_22_...` is of `MQTT-3.1.2-22`), or a reason
//!   why it has none; `registry.rs` fails if it has neither. `README.md` is the table of both, and is
//!   made by `UPDATE=1 cargo test -p tidegate-tests --test conformance`.
//! - `scene.rs` is the gateway and its clients, `wire.rs` makes packets, `packet.rs` reads them.
//! - `sequences/` goes beyond the statements: every packet, broken in every way there is.
//!
//! Run with `cargo test -p tidegate-tests --test conformance [TEXT]`.

#[macro_use]
mod registry;

mod acknowledge;
mod authenticate;
mod capability;
mod connack;
mod connect;
mod deliver;
mod flow;
mod format;
mod goodbye;
mod packet;
mod publish;
mod qos;
mod retain;
mod scene;
#[path = "../harness/scram.rs"]
mod scram;
mod sequences;
mod session;
mod shared;
mod subscribe;
mod topics;
mod unsubscribe;
mod websocket;
mod will;
mod wire;

/// What a test speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// It has no numbered statements; the sequences are for it as well.
    V31,
    V311,
    V5,
}

impl Version {
    /// The protocol name in CONNECT.
    pub fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            _ => "MQTT",
        }
    }

    /// The protocol level in CONNECT.
    pub fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}
