use gateway_model::Reason;
use protocol_mqtt::codec::{PacketError, Properties, Property, Version};

/// How a client run failed; each kind has an exit code of its own, for scripts.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What was asked for cannot be done.
    #[error("{0}")]
    Usage(String),
    #[error("cannot connect to {address}: {error}")]
    Unreachable { address: String, error: String },
    /// The broker's CONNACK said no.
    #[error("connection refused by broker: {said}")]
    Refused { said: Said, version: Version },
    /// The connection ended while there was something to do.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The broker's DISCONNECT.
    #[error("disconnected by broker: {0}")]
    Disconnected(Said),
    #[error("the broker sent what is not MQTT: {0}")]
    Packet(#[from] PacketError),
    /// The broker at the other end is none, or not through this door.
    #[error("{0}")]
    NoBroker(String),
    /// The broker did not take a message or subscription.
    #[error("{0}")]
    Denied(String),
    #[error("no more messages within {0} s")]
    TimedOut(f64),
    #[error("cannot read {0}")]
    Input(String),
    #[error("cannot write to standard output: {0}")]
    Output(String),
    /// The system does not give what is needed, or we have a mistake.
    #[error("{0}")]
    System(String),
}

impl ClientError {
    /// What mosquitto_pub and mosquitto_sub end with, where scripts go by it: the code of the
    /// CONNACK, 7 for a lost connection, 14 for an unreachable broker, 27 for a timeout. 2 is what a
    /// wrong command line ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Denied(_) | Self::Input(_) | Self::Output(_) | Self::System(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 14,
            Self::Refused { said, version: Version::V5 } => said.reason.code(),
            Self::Refused { said, .. } => return_code(said.reason),
            Self::Lost(_) | Self::Disconnected(_) | Self::Packet(_) | Self::NoBroker(_) => 7,
            Self::TimedOut(_) => 27,
        }
    }

    /// Whether it may go well later, without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost(_) => true,
            Self::Refused { said, .. } => matches!(
                said.reason,
                Reason::ServerUnavailable | Reason::ServerBusy | Reason::ConnectionRateExceeded
            ),
            // To come back after a takeover would throw out whoever took over, who would come back.
            Self::Disconnected(said) => matches!(
                said.reason,
                Reason::Success
                    | Reason::UnspecifiedError
                    | Reason::ServerBusy
                    | Reason::ServerShuttingDown
                    | Reason::KeepAliveTimeout
                    | Reason::ReceiveMaximumExceeded
                    | Reason::MessageRateTooHigh
                    | Reason::QuotaExceeded
                    | Reason::ConnectionRateExceeded
                    | Reason::MaximumConnectTime
            ),
            _ => false,
        }
    }
}

/// For `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0 done, 1 message or subscription refused, 2 wrong usage, 7 connection lost, 14 broker unreachable,
  27 timeout (-W). Connection refused: the code of the CONNACK, 135 not authorized, 134 bad user name
  or password; before MQTT 5 these are 5 and 4";

/// MQTT 3.1.1 table 3.1.
fn return_code(reason: Reason) -> u8 {
    match reason {
        Reason::UnsupportedProtocolVersion => 1,
        Reason::ClientIdentifierNotValid => 2,
        Reason::BadUserNameOrPassword => 4,
        Reason::NotAuthorized => 5,
        _ => 3,
    }
}

/// A reason as the broker put it: the code's name and number, and what else it said (MQTT 5.0).
#[derive(Debug)]
pub struct Said {
    pub reason: Reason,
    text: Option<String>,
    /// Another server to go to (MQTT 5.0 section 4.11).
    server: Option<String>,
}

impl Said {
    pub fn new(reason: Reason, properties: Properties<'_>) -> Self {
        let mut said = Self { reason, text: None, server: None };
        for property in properties.iter() {
            match property {
                Property::ReasonString(text) => said.text = Some(text.to_owned()),
                Property::ServerReference(text) => said.server = Some(text.to_owned()),
                _ => {}
            }
        }
        said
    }

    /// The code alone, by name and number.
    pub fn code(&self) -> String {
        let name = self.reason.name().replace('_', " ");
        match self.reason.is_error() {
            true => format!("{name} (0x{:02x})", self.reason.code()),
            false => name,
        }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.code())?;
        if let Some(text) = &self.text {
            write!(f, ": {text}")?;
        }
        match &self.server {
            Some(server) => write!(f, "; it names the server {server}"),
            None => Ok(()),
        }
    }
}
