use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{ClientId, Publish, Reason};

/// The request to authenticate and to open, or resume, a session.
#[derive(Clone, Debug)]
pub struct Open {
    /// `None`: the gateway assigns one.
    pub client_id: Option<ClientId>,
    pub credentials: Credentials,
    /// Present if the client wants to prove itself by a method of several steps.
    pub authentication: Option<Authentication>,
    /// Throw an earlier session of that name away (MQTT 5.0 section 3.1.2.4).
    pub clean_start: bool,
    /// How long the session outlives its connection.
    pub expiry: Expiry,
    /// How many deliveries above QoS 0 may be unsettled at a time; at least 1.
    pub receive_maximum: u16,
    pub will: Option<Arc<dyn Testament>>,
    /// The protocol and version spoken, as in [`crate::Adapter::protocol`]; for people to read.
    pub protocol: &'static str,
    /// The keep-alive the client asked for; 0 is none. For people to read.
    pub keep_alive_secs: u16,
}

impl Open {
    /// A session that ends with its connection, for an unnamed client without credentials.
    pub fn transient() -> Self {
        Self {
            client_id: None,
            credentials: Credentials::default(),
            authentication: None,
            clean_start: true,
            expiry: Expiry::Immediately,
            receive_maximum: u16::MAX,
            will: None,
            protocol: "",
            keep_alive_secs: 0,
        }
    }
}

/// What a client offers as proof. Never printed.
#[derive(Clone, Default)]
pub struct Credentials {
    pub username: Option<Box<str>>,
    pub password: Option<Bytes>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", if self.username.is_some() { "named" } else { "anonymous" })
    }
}

/// The beginning of an enhanced authentication (MQTT 5.0 section 4.12). Its data is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Authentication {
    /// The method's name, such as `SCRAM-SHA-256`.
    pub method: Box<str>,
    /// What the client says first; methods in which the server speaks first have none.
    pub data: Option<Bytes>,
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authentication({})", self.method)
    }
}

/// How long a session outlives its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    Immediately,
    After(Duration),
    Never,
}

/// The session that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    pub client_id: ClientId,
    /// An earlier session was resumed, with its subscriptions and queue.
    pub session_present: bool,
    /// The expiry granted: what was asked for, cut to the gateway's limit.
    pub expiry: Expiry,
    /// Packet identifiers that the session holds from before: see [`crate::Sink::publish`].
    pub held: Vec<NonZeroU16>,
    /// What the authentication method has to say in the end.
    pub authentication_data: Option<Bytes>,
}

/// Why no session was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// For the client to read, if its protocol carries text; holds no secrets.
    pub text: Box<str>,
}

/// What is published when a session's connection ends without a goodbye.
#[derive(Clone, Debug)]
pub struct Will {
    pub publish: Publish,
    /// How long to wait for the client to come back first (MQTT 5.0 section 3.1.3.2.2).
    pub delay: Duration,
}

/// What a session has for its will: the will itself, or something smaller of which it is made when
/// somebody looks at it. Of a million sessions few ever need theirs.
pub trait Testament: fmt::Debug + Send + Sync {
    /// The same each time.
    fn will(&self) -> Will;

    /// See [`Will::delay`].
    fn delay(&self) -> Duration;
}

impl Testament for Will {
    fn will(&self) -> Will {
        self.clone()
    }

    fn delay(&self) -> Duration {
        self.delay
    }
}

impl From<Will> for Arc<dyn Testament> {
    fn from(will: Will) -> Self {
        Arc::new(will)
    }
}
