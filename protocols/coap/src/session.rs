//! The gateway session behind a peer: opened by the first request that needs one.

use std::time::Instant;

use bytes::Bytes;
use gateway_model::{ClientId, Credentials, Open, Opened, Refusal, Request, Sink, Ticket};

use crate::endpoint::{Endpoint, RawTopic};
use crate::message::Code;
use crate::pending::What;
use crate::request::{Asked, ReplyTo, Resource};
use crate::translate::{Refused, code_for_refusal};

/// Credentials as they stand in a query: `?clientid=&username=&password=` or `?c=&u=&p=`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) client_id: Option<Box<str>>,
    pub(crate) username: Option<Box<str>>,
    pub(crate) password: Option<Box<str>>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login")
    }
}

/// With what it was asked for, if that was anything.
///
/// ```text
///  Closed ──request──▶ Opening ──Opened(Ok)──▶ Open
///    ▲                    │
///    └───Opened(Err)──────┘   the waiting requests get 4.01; a later one may try again
/// ```
#[derive(Debug)]
pub(crate) enum Session {
    Closed,
    Opening(Option<Box<Login>>),
    Open(Option<Box<Login>>),
}

impl Login {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn open(&self, receive_maximum: u16) -> Result<Open, Refused> {
        let client_id = self.client_id.as_deref().map(ClientId::parse).transpose();
        let client_id = client_id.map_err(|error| Refused::new(Code::BAD_REQUEST, error.to_string()))?;
        let credentials = Credentials {
            username: self.username.clone(),
            password: self.password.as_ref().map(|text| Bytes::copy_from_slice(text.as_bytes())),
        };
        Ok(Open { client_id, credentials, receive_maximum, protocol: "coap", ..Open::transient() })
    }
}

impl Endpoint {
    /// Whether the session is open for this request. If not, the request waits or was refused.
    pub(crate) fn enter_session(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        to: ReplyTo,
        out: &mut dyn Sink,
    ) -> bool {
        match &self.session {
            Session::Open(login) if asked.login.is_empty() || login.as_deref() == Some(&asked.login) => {
                return true;
            }
            Session::Open(_) => {
                let text = "this address has a session under other credentials";
                self.refuse(now, to, &Refused::new(Code::UNAUTHORIZED, text), out);
                return false;
            }
            Session::Opening(_) => {}
            Session::Closed => {
                let receive_maximum =
                    u16::try_from(self.config.observe_waiting_max).unwrap_or(u16::MAX).max(1);
                let open = match asked.login.open(receive_maximum) {
                    Ok(open) => open,
                    Err(refused) => {
                        self.refuse(now, to, &refused, out);
                        return false;
                    }
                };
                let login = (!asked.login.is_empty()).then(|| Box::new(asked.login.clone()));
                self.session = Session::Opening(login);
                out.request(Ticket::default(), Request::Open(Box::new(open)));
            }
        }
        self.wait(now, to, What::Session(asked.datagram.as_bytes().into()), out);
        false
    }

    pub(crate) fn session_opened(
        &mut self,
        now: Instant,
        opened: Result<Opened, Refusal>,
        out: &mut dyn Sink,
    ) {
        let Session::Opening(login) = std::mem::replace(&mut self.session, Session::Closed) else { return };
        if opened.is_ok() {
            self.session = Session::Open(login);
        }
        for pending in self.pending.take_waiting_for_session() {
            let What::Session(bytes) = pending.what else { continue };
            match &opened {
                Ok(_) => self.request_again(now, &bytes, pending.to.origin, out),
                Err(refusal) => self.refuse_session(now, &bytes, pending.to, refusal, out),
            }
        }
    }

    fn refuse_session(
        &mut self,
        now: Instant,
        bytes: &[u8],
        to: ReplyTo,
        refusal: &Refusal,
        out: &mut dyn Sink,
    ) {
        // What exists is no secret: discovery shows the entry point even to strangers.
        if let Ok(datagram) = crate::datagram::Datagram::parse(bytes)
            && let Ok(asked) = Asked::parse(datagram, &mut RawTopic::new())
            && asked.resource == Resource::Discovery
        {
            return self.list_topics(now, to, &asked.into(), &[], out);
        }
        let mut refused = Refused::because(refusal.reason);
        refused.code = code_for_refusal(refusal.reason);
        refused.text = refusal.text.clone();
        self.refuse(now, to, &refused, out);
    }
}
