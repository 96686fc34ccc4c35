use bytes::Bytes;
use gateway_model::{Authentication, ClientId, Credentials, Peer, Reason, Refusal};

use crate::Identity;

/// Who asks to be let in, and with what proof.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    pub peer: &'a Peer,
    pub listener_is_loopback: bool,
    /// `None`: the gateway will assign one.
    pub client_id: Option<&'a ClientId>,
    pub credentials: &'a Credentials,
    pub authentication: Option<&'a Authentication>,
}

/// What becomes of a login.
pub enum Verdict {
    Allowed(Allowed),
    Refused(Refusal),
    /// Only milliseconds of CPU can tell: call it on a thread that nobody waits for.
    Slow(Box<dyn FnOnce() -> Verdict + Send>),
    /// The client is to be shown this, and its answer given to the exchange.
    Challenge(Bytes, Box<dyn Exchange>),
}

/// A client that may open a session.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    pub identity: Identity,
    /// What an authentication method has to say in the end.
    pub data: Option<Bytes>,
}

/// An authentication of several steps that is under way.
pub trait Exchange: Send {
    /// What the client answered to the challenge.
    fn answer(self: Box<Self>, data: &[u8]) -> Verdict;
}

pub(crate) fn refuse(reason: Reason, text: &str) -> Refusal {
    Refusal { reason, text: text.into() }
}
