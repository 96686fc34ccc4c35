//! From a client's proof to its session, which may take several steps and milliseconds of CPU.
//!
//! ```text
//!   Request::Open ──▶ Access ──▶ Allowed ──▶ Bus::open ──▶ Reply::Opened
//!                       ▲  │├──▶ Refused ────────────────▶ Reply::Opened(Err)
//!     Exchange::answer ─┘  │├──▶ Slow: on another thread, then again from its verdict
//!                          └┴──▶ Challenge ──▶ Reply::Challenge … Request::Authenticate
//! ```
//!
//! `Request::Reauthenticate` goes the same way and ends in `Reply::Reauthenticated`.

use bytes::Bytes;
use gateway_access::{Allowed, Exchange, Login, Verdict};
use gateway_model::{Authentication, Credentials, Open, Reason, Refusal, Reply, Ticket};

use crate::turn::Turn;

/// A login that is not decided yet.
pub(crate) struct PendingLogin {
    ticket: Ticket,
    /// What to open; `None` if the session is open and its client proves itself anew.
    open: Option<Box<Open>>,
    /// What the client's answer goes to; `None` while another thread decides.
    exchange: Option<Box<dyn Exchange>>,
}

impl PendingLogin {
    /// Whether another thread decides it, rather than the client's answer.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.exchange.is_none()
    }
}

/// Work for a thread that nobody waits for; its verdict belongs to the connection in that slot.
pub(crate) struct SlowLogin {
    pub(crate) key: u32,
    pub(crate) generation: u32,
    pub(crate) work: Box<dyn FnOnce() -> Verdict + Send>,
}

impl Turn<'_> {
    pub(crate) fn open(&mut self, ticket: Ticket, open: Box<Open>) {
        if self.client.principal.is_some() || self.client.login.is_some() {
            let text = "the connection has a session already".into();
            let refusal = Refusal { reason: Reason::ProtocolError, text };
            return self.reply(ticket, Reply::Opened(Err(refusal)));
        }
        let verdict = self.world.broker.authenticate(&self.client.peer, self.client.local, &open);
        self.decide(PendingLogin { ticket, open: Some(open), exchange: None }, verdict);
    }

    /// The client's answer to a challenge.
    pub(crate) fn authenticate(&mut self, ticket: Ticket, data: &Bytes) {
        let pending = self.client.login.take().map(|login| *login);
        match pending {
            Some(PendingLogin { ticket, open, exchange: Some(exchange) }) => {
                let verdict = exchange.answer(data);
                self.decide(PendingLogin { ticket, open, exchange: None }, verdict);
            }
            pending => {
                self.client.login = pending.map(Box::new);
                self.reply(ticket, Reply::Reauthenticated(Err(not_asked())));
            }
        }
    }

    /// The client of an open session proves itself anew (MQTT 5.0 section 4.12.1).
    pub(crate) fn reauthenticate(&mut self, ticket: Ticket, authentication: &Authentication) {
        let Some(principal) = self.client.principal.as_ref().filter(|_| self.client.login.is_none()) else {
            return self.reply(ticket, Reply::Reauthenticated(Err(not_asked())));
        };
        let login = Login {
            peer: &self.client.peer,
            listener_is_loopback: self.client.local,
            client_id: Some(principal.attachment.client_id()),
            credentials: &Credentials::default(),
            authentication: Some(authentication),
        };
        let verdict = self.world.broker.authenticate_again(login);
        self.decide(PendingLogin { ticket, open: None, exchange: None }, verdict);
    }

    /// The verdict of another thread.
    pub(crate) fn resume(&mut self, verdict: Verdict) {
        if let Some(login) = self.client.login.take() {
            self.decide(*login, verdict);
        }
    }

    fn decide(&mut self, login: PendingLogin, verdict: Verdict) {
        match verdict {
            Verdict::Allowed(allowed) => self.allowed(login, allowed),
            Verdict::Refused(refusal) => self.refused(login, refusal),
            Verdict::Challenge(data, exchange) => {
                let ticket = login.ticket;
                self.client.login = Some(Box::new(PendingLogin { exchange: Some(exchange), ..login }));
                self.reply(ticket, Reply::Challenge(data));
            }
            Verdict::Slow(work) => {
                if !self.world.broker.may_start_login() {
                    let text = "too many logins at a time: limits.logins_pending_max".into();
                    return self.refused(login, Refusal { reason: Reason::ServerBusy, text });
                }
                self.client.login = Some(Box::new(login));
                let (key, generation) = (self.client.key, self.client.generation);
                (self.world.offload)(SlowLogin { key, generation, work });
            }
        }
    }

    fn allowed(&mut self, login: PendingLogin, allowed: Allowed) {
        let broker = self.world.broker.clone();
        let Some(open) = login.open else {
            return self.allowed_again(login.ticket, allowed);
        };
        let notifier = self.world.notifier(self.client);
        let opened = broker.admit(self.moment, &self.client.peer, *open, allowed, notifier);
        match opened {
            Ok((principal, opened)) => {
                self.client.principal = Some(principal);
                self.promise(login.ticket, opened.map(|opened| Reply::Opened(Ok(opened))));
            }
            Err(refusal) => self.reply(login.ticket, Reply::Opened(Err(refusal))),
        }
    }

    /// A session stays with whom it was opened by: another name needs another connection.
    fn allowed_again(&mut self, ticket: Ticket, allowed: Allowed) {
        let known = self.client.principal.as_ref().map(|principal| &principal.identity.username);
        let result = if known == Some(&allowed.identity.username) {
            Ok(allowed.data)
        } else {
            let text = "re-authentication under another user name".into();
            let refusal = Refusal { reason: Reason::NotAuthorized, text };
            Err(self.world.broker.refuse(self.moment, &self.client.peer, refusal))
        };
        self.reply(ticket, Reply::Reauthenticated(result));
    }

    fn refused(&mut self, login: PendingLogin, refusal: Refusal) {
        let refusal = self.world.broker.refuse(self.moment, &self.client.peer, refusal);
        self.reply(
            login.ticket,
            match login.open {
                Some(_) => Reply::Opened(Err(refusal)),
                None => Reply::Reauthenticated(Err(refusal)),
            },
        );
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.world.replies.push_back((ticket, reply));
    }
}

fn not_asked() -> Refusal {
    Refusal { reason: Reason::ProtocolError, text: "no authentication is under way".into() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use gateway_access::Identity;
    use gateway_model::{Adapter, Deliveries, Event, Opened, Sink};
    use parking_lot::Mutex;

    use super::*;
    use crate::carrier::Carrier;
    use crate::clock;
    use crate::connection::{Connection, Pool};
    use crate::memory::{Memory, Pipe};
    use crate::ready_queue::IO;
    use crate::tests::desk::Desk;

    /// Lets in whoever says "please".
    struct Politeness;

    impl Exchange for Politeness {
        fn answer(self: Box<Self>, data: &[u8]) -> Verdict {
            match data {
                b"please" => allowed("press"),
                b"more" => Verdict::Challenge("again".into(), self),
                _ => Verdict::Refused(Refusal { reason: Reason::NotAuthorized, text: "rude".into() }),
            }
        }
    }

    fn allowed(name: &str) -> Verdict {
        let identity = Identity { username: Some(name.into()), ..Identity::default() };
        Verdict::Allowed(Allowed { identity, data: Some("welcome".into()) })
    }

    fn opening() -> PendingLogin {
        PendingLogin { ticket: Ticket(7), open: Some(Box::new(Open::transient())), exchange: None }
    }

    #[test]
    fn a_slow_verdict_comes_from_elsewhere_and_opens_the_session() {
        let mut desk = Desk::new();
        let slow = Verdict::Slow(Box::new(|| allowed("press")));
        assert!(desk.turn(|turn| turn.decide(opening(), slow)).is_none());
        let SlowLogin { key, generation, work } = desk.offloaded.try_recv().unwrap();
        assert_eq!((key, generation), (5, 3));
        let again = desk.turn(|turn| turn.open(Ticket(7), Box::new(Open::transient())));
        assert!(matches!(again, Some(Reply::Opened(Err(_)))), "one login at a time");
        let verdict = work();
        desk.world.broker.login_decided();
        let opened = desk.turn(|turn| turn.resume(verdict));
        let Some(Reply::Opened(Ok(Opened { authentication_data, .. }))) = opened else {
            panic!("{opened:?}")
        };
        assert_eq!(authentication_data.as_deref(), Some(&b"welcome"[..]));
        assert_eq!(desk.client.principal.unwrap().identity.username.as_deref(), Some("press"));
    }

    /// A stranger could else make the gateway hold whatever it sends behind its CONNECT.
    #[test]
    fn nothing_is_read_from_a_client_whose_login_another_thread_decides() {
        let Desk { mut world, mut client, offloaded: _offloaded } = Desk::new();
        client.login = Some(Box::new(opening()));
        let pipe = Arc::<Mutex<Pipe>>::default();
        let carrier = Carrier::Memory(Memory(pipe.clone()));
        let gauges = world.broker.gauges.listener("lines");
        let mut connection = Connection::new(carrier, Box::new(Glutton), client, gauges);
        let (mut pool, mut scratch, moment) = (Pool::default(), [0; 1024], clock::moment());
        pipe.lock().put(&[0; 4096]);
        connection.read(&mut world, &mut pool, &mut scratch, moment);
        assert_eq!((pipe.lock().unread(), connection.client.raised), (4096, 0));
        connection.decided(&mut world, &mut pool, moment, allowed("press"));
        assert_eq!(connection.client.raised & IO, IO, "what came meanwhile is looked at");
        connection.read(&mut world, &mut pool, &mut scratch, moment);
        assert!(pipe.lock().unread() < 4096);
    }

    /// Takes whatever comes.
    struct Glutton;

    impl Adapter for Glutton {
        fn receive(&mut self, _: Instant, bytes: &[u8], _: &mut dyn Sink) -> usize {
            bytes.len()
        }

        fn handle(&mut self, _: Instant, _: Event, _: &mut dyn Sink) {}

        fn deliver(&mut self, _: Instant, _: &mut dyn Deliveries, _: &mut dyn Sink) {}

        fn next_timeout(&self) -> Option<Instant> {
            None
        }

        fn protocol(&self) -> &'static str {
            "glutton"
        }
    }

    #[test]
    fn no_more_logins_than_allowed_wait_for_another_thread() {
        let mut desk = Desk::new();
        let slow = || Verdict::Slow(Box::new(|| allowed("press")));
        assert!(desk.turn(|turn| turn.decide(opening(), slow())).is_none());
        desk.client.login = None;
        let refused = desk.turn(|turn| turn.decide(opening(), slow()));
        let Some(Reply::Opened(Err(refusal))) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal.reason, Reason::ServerBusy);
        assert!(refusal.text.contains("limits.logins_pending_max"));
        desk.world.broker.login_decided();
        assert!(desk.turn(|turn| turn.decide(opening(), slow())).is_none());
    }

    #[test]
    fn a_challenge_goes_on_until_the_exchange_decides() {
        let mut desk = Desk::new();
        let challenge = || Verdict::Challenge("say".into(), Box::new(Politeness));
        let reply = desk.turn(|turn| turn.decide(opening(), challenge()));
        assert!(matches!(reply, Some(Reply::Challenge(data)) if &data[..] == b"say"));
        let reply = desk.turn(|turn| turn.authenticate(Ticket(8), &"more".into()));
        assert!(matches!(reply, Some(Reply::Challenge(data)) if &data[..] == b"again"));
        let reply = desk.turn(|turn| turn.authenticate(Ticket(8), &"please".into()));
        assert!(matches!(reply, Some(Reply::Opened(Ok(_)))));
        let again = |name: &'static str| {
            let login = PendingLogin { ticket: Ticket(7), open: None, exchange: None };
            move |turn: &mut Turn<'_>| turn.decide(login, allowed(name))
        };
        assert!(matches!(desk.turn(again("press")), Some(Reply::Reauthenticated(Ok(Some(_))))));
        let other = desk.turn(again("other"));
        let Some(Reply::Reauthenticated(Err(refusal))) = other else { panic!("{other:?}") };
        assert_eq!(refusal.reason, Reason::NotAuthorized);
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_a_protocol_error() {
        let mut desk = Desk::new();
        for call in [
            |turn: &mut Turn<'_>| turn.authenticate(Ticket(7), &"please".into()),
            |turn: &mut Turn<'_>| {
                let authentication = Authentication { method: "polite".into(), data: None };
                turn.reauthenticate(Ticket(7), &authentication);
            },
        ] {
            let Some(Reply::Reauthenticated(Err(refusal))) = desk.turn(call) else { panic!() };
            assert_eq!(refusal.reason, Reason::ProtocolError);
        }
    }
}
