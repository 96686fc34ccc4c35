use std::time::Instant;

use bytes::Bytes;
use gateway_model::{Authentication, Close, Reason, Refusal, Request, Sink};

use crate::codec::{Auth, Disconnect, PacketType, Properties, Property, PropertyBuffer};
use crate::connection::{Connection, Kind, Stage};
use crate::violation::Violation;

/// An authentication of several steps (MQTT 5.0 section 4.12), and its repetition while the session
/// is open.
///
/// ```text
///   Idle ──AUTH 0x19──▶ Server ──Challenge: AUTH 0x18──▶ Client
///    ▲                   │  ▲                             │
///    │ Reauthenticated:  │  └──────────AUTH 0x18──────────┘
///    └─────AUTH 0x00─────┘
/// ```
///
/// Before the CONNACK it begins with `Server`, and ends with the CONNACK.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The same in every packet (MQTT-4.12.0-5, MQTT-4.12.1-1).
    method: Box<str>,
    turn: Turn,
    /// Before the CONNACK: when the client has used up its time. What the gateway needs to think is
    /// not counted.
    pub(crate) deadline: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Idle,
    Server,
    Client,
}

impl Exchange {
    pub(crate) fn new(method: &str, deadline: Option<Instant>) -> Self {
        Self { method: method.into(), turn: Turn::Server, deadline }
    }

    /// What CONNACK and AUTH carry of it.
    pub(crate) fn push(&self, properties: &mut PropertyBuffer, data: Option<&Bytes>) {
        properties.push(Property::AuthenticationMethod(&self.method));
        if let Some(data) = data {
            properties.push(Property::AuthenticationData(data));
        }
    }

    /// The session is open.
    pub(crate) fn rest(&mut self) {
        self.turn = Turn::Idle;
        self.deadline = None;
    }

    /// Reads the method and the data of an AUTH, which must name this method.
    fn data<'a>(&self, properties: Properties<'a>) -> Result<Option<&'a [u8]>, Violation> {
        let (mut method, mut data) = (None, None);
        for property in properties.iter() {
            match property {
                Property::AuthenticationMethod(named) => method = Some(named),
                Property::AuthenticationData(bytes) => data = Some(bytes),
                _ => {}
            }
        }
        match method {
            // MQTT 5.0 section 3.15.2.2.2: it is a protocol error to omit it.
            None => Err(Violation::protocol("AUTH does not name its method")),
            Some(method) if method == &*self.method => Ok(data),
            // MQTT 5.0 section 2.4: 0x8C, "does not match the method currently in use".
            Some(_) => {
                Err(Violation::new(Reason::BadAuthenticationMethod, "AUTH names another method than CONNECT"))
            }
        }
    }
}

impl Connection {
    /// AUTH, before the CONNACK or in an open session.
    pub(crate) fn auth(&mut self, body: &[u8], out: &mut dyn Sink) -> Result<(), Violation> {
        let packet = Auth::decode(body)?;
        let is_open = self.stage == Stage::Open;
        let Some(exchange) = self.extras.as_mut().and_then(|extras| extras.exchange.as_mut()) else {
            return Err(Violation::protocol("AUTH without an authentication method")); // MQTT-4.12.0-7
        };
        let data = exchange.data(packet.properties)?.map(Bytes::copy_from_slice);
        match (packet.reason, exchange.turn) {
            (Reason::ContinueAuthentication, Turn::Client) => {
                exchange.turn = Turn::Server;
                if is_open {
                    out.request(
                        Kind::Authentication.ticket(0),
                        Request::Authenticate(data.unwrap_or_default()),
                    );
                } else {
                    self.stage = Stage::Opening;
                    out.request(Kind::Open.ticket(0), Request::Authenticate(data.unwrap_or_default()));
                }
                Ok(())
            }
            (Reason::ReAuthenticate, Turn::Idle) => {
                exchange.turn = Turn::Server;
                let authentication = Authentication { method: exchange.method.clone(), data };
                out.request(Kind::Authentication.ticket(0), Request::Reauthenticate(authentication));
                Ok(())
            }
            // MQTT 5.0 table 3-11: 0x00 is the server's word, and 0x18 answers a 0x18.
            _ => Err(Violation::protocol("AUTH out of turn")),
        }
    }

    /// What a client that owes an answer may send before its CONNACK (MQTT-3.1.2-30).
    pub(crate) fn authenticating(
        &mut self,
        first: u8,
        body: &[u8],
        out: &mut dyn Sink,
    ) -> Result<(), Violation> {
        match PacketType::of(self.version, first)? {
            PacketType::Auth => self.auth(body, out),
            PacketType::Disconnect => {
                let packet = Disconnect::decode(self.version, body)?;
                // There is no session whose will or expiry it could concern.
                self.close(Close { reason: packet.reason, publish_will: false, expiry: None }, out);
                Ok(())
            }
            _ => Err(Violation::protocol("only AUTH and DISCONNECT may precede the CONNACK")),
        }
    }

    /// The gateway wants to know more.
    pub(crate) fn challenged(&mut self, now: Instant, data: &Bytes, out: &mut dyn Sink) {
        let thought = self.last_receive.elapsed(now);
        let exchange = self.extras.as_mut().and_then(|extras| extras.exchange.as_mut());
        let Some(exchange) = exchange.filter(|exchange| exchange.turn == Turn::Server) else {
            debug_assert!(false, "challenged without asking"); // MQTT-4.12.0-6
            return;
        };
        exchange.turn = Turn::Client;
        exchange.deadline = exchange.deadline.and_then(|deadline| deadline.checked_add(thought));
        if self.stage == Stage::Opening {
            self.stage = Stage::Authenticating;
        }
        self.write_auth(Reason::ContinueAuthentication, Some(data), out);
    }

    /// The answer to `Request::Reauthenticate`, after any number of challenges.
    pub(crate) fn reauthenticated(&mut self, result: Result<Option<Bytes>, Refusal>, out: &mut dyn Sink) {
        if self.stage != Stage::Open {
            return;
        }
        match result {
            Ok(data) => {
                let exchange = self.extras.as_mut().and_then(|extras| extras.exchange.as_mut());
                if let Some(exchange) = exchange {
                    exchange.rest();
                    self.write_auth(Reason::Success, data.as_ref(), out);
                }
            }
            // MQTT-4.12.1-2. DISCONNECT has no word for a wrong password.
            Err(Refusal { reason: Reason::BadUserNameOrPassword, text }) => {
                self.dismiss(Reason::NotAuthorized, &text, out);
            }
            Err(refusal) => self.dismiss(refusal.reason, &refusal.text, out),
        }
    }

    fn write_auth(&mut self, reason: Reason, data: Option<&Bytes>, out: &mut dyn Sink) {
        let mut properties = PropertyBuffer::default();
        if let Some(exchange) = self.extras.as_ref().and_then(|extras| extras.exchange.as_ref()) {
            exchange.push(&mut properties, data);
        }
        let fits = self.write(properties, "", out, |properties, into| {
            Auth { reason, properties }.encode(into);
        });
        if !fits {
            self.fail(Violation::new(Reason::PacketTooLarge, "AUTH is larger than the client takes"), out);
        }
    }
}
