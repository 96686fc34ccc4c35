//! A client identifier, its session as far as it knows, and its connection.

use crate::faults::crash::ledger::{Fault, Tick};
use crate::faults::crash::link::Link;
use crate::faults::crash::packet;
use crate::faults::crash::stage::Stage;
use crate::harness::Outcome;

pub struct Client {
    pub id: String,
    /// Whether its session outlives its connections.
    pub persistent: bool,
    pub link: Option<Link>,
    /// CONNACK has been seen on the link.
    pub open: bool,
    /// It does not come back before.
    pub away_until: Tick,
    /// CONNACK has been seen on some link, so that the session exists.
    known: bool,
    /// The CONNECT on the link asked to begin anew.
    clean_start: bool,
    receive_maximum: u16,
}

/// A session that outlives its connection does so for an hour.
const EXPIRY_SECS: u32 = 3600;

impl Client {
    pub fn new(id: String, persistent: bool, receive_maximum: u16) -> Self {
        Self {
            id,
            persistent,
            link: None,
            open: false,
            away_until: 0,
            known: false,
            clean_start: false,
            receive_maximum,
        }
    }

    pub fn connect(&mut self, stage: &mut Stage, clean_start: bool) -> Outcome {
        let expiry = if self.persistent { EXPIRY_SECS } else { 0 };
        let mut link = stage.connect()?;
        link.send(&packet::connect(&self.id, clean_start, expiry, self.receive_maximum));
        let anew = if clean_start { ", to begin anew" } else { "" };
        stage.ledger.note(&self.id, None, format!("connects{anew}"));
        (self.link, self.open, self.clean_start) = (Some(link), false, clean_start);
        Ok(())
    }

    /// Sees CONNACK. Whether the session goes on.
    pub fn accept(&mut self, stage: &mut Stage, present: bool, reason: u8) -> bool {
        let ledger = &mut stage.ledger;
        ledger.acknowledgements += 1;
        ledger.note(&self.id, None, format!("sees CONNACK, session present {present}"));
        if reason != 0 {
            ledger.violate(Fault::Refused, &self.id, None, format!("CONNACK has reason {reason:#04x}"));
        }
        if self.clean_start || !self.persistent {
            if present {
                ledger.violate(Fault::SessionStays, &self.id, None, "its session should be over".into());
            }
        } else if self.known && !present {
            ledger.violate(Fault::SessionGone, &self.id, None, "its session is gone".into());
        }
        (self.open, self.known) = (true, true);
        present
    }

    pub fn send(&mut self, bytes: &[u8]) {
        if let Some(link) = &mut self.link {
            link.send(bytes);
        }
    }

    /// Ends the connection, with a word or without.
    pub fn leave(&mut self, stage: &mut Stage, politely: bool) {
        if politely {
            self.send(&packet::disconnect());
        }
        let how = if politely { "DISCONNECT" } else { "no word" };
        stage.ledger.note(&self.id, None, format!("leaves with {how}"));
        (self.link, self.open) = (None, false);
    }

    /// The other side has ended the connection.
    pub fn lose(&mut self, stage: &mut Stage) {
        stage.ledger.note(&self.id, None, "its connection has ended".into());
        (self.link, self.open) = (None, false);
    }

    pub fn is_on(&self, link: u32) -> bool {
        self.link.as_ref().is_some_and(|own| own.number == link)
    }

    pub fn link_number(&self) -> u32 {
        self.link.as_ref().map_or(0, |link| link.number)
    }
}
