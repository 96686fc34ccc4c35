use gateway_model::Reason;
use protocol_mqtt::codec::{PacketError, Properties, Property};

/// How a client run failed; each kind has an exit code of its own, for scripts.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What was asked for cannot be done.
    #[error("{0}")]
    Usage(String),
    #[error("cannot connect to {address}: {error}")]
    Unreachable { address: String, error: String },
    /// The broker's CONNACK said no.
    #[error("connection refused by broker: {0}")]
    Refused(Said),
    /// The connection ended while there was something to do.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The broker's DISCONNECT.
    #[error("disconnected by broker: {0}")]
    Disconnected(Said),
    #[error("the broker sent what is not MQTT: {0}")]
    Packet(#[from] PacketError),
    /// The broker did not take a message or subscription.
    #[error("{0}")]
    Denied(String),
    #[error("no more messages within {0} s")]
    TimedOut(f64),
    #[error("cannot read {0}")]
    Input(String),
}

impl ClientError {
    /// 27 is what mosquitto_sub says for a timeout; 2 is what a wrong command line ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Denied(_) | Self::Input(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Refused(_) => 4,
            Self::Lost(_) | Self::Disconnected(_) | Self::Packet(_) => 5,
            Self::TimedOut(_) => 27,
        }
    }
}

/// For `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 message or subscription refused, 2 wrong usage, \
                              3 broker unreachable, 4 connection refused by broker, 5 connection lost, \
                              27 timeout (-W)";

/// A reason as the broker put it: the code's name, and its own text if it sent one (MQTT 5.0).
#[derive(Debug)]
pub struct Said {
    pub reason: Reason,
    text: Option<String>,
}

impl Said {
    pub fn new(reason: Reason, properties: Properties<'_>) -> Self {
        let text = properties.iter().find_map(|property| match property {
            Property::ReasonString(text) => Some(text.to_owned()),
            _ => None,
        });
        Self { reason, text }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason.name().replace('_', " "))?;
        match &self.text {
            Some(text) => write!(f, " — {text}"),
            None => Ok(()),
        }
    }
}
