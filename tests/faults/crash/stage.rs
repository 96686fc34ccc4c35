//! What all clients of a run share: the ledger, chance, and the way out.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Sender, SyncSender};

use crate::faults::crash::ledger::{Ledger, MessageId, Tick};
use crate::faults::crash::link::{Event, Link};
use crate::harness::random::Random;

pub struct Stage {
    pub ledger: Ledger,
    pub random: Random,
    /// What is put off, by when it is due.
    pub later: BTreeMap<(Tick, u64), Deed>,
    /// Nothing new is begun, and nothing is put off.
    pub calm: bool,
    port: u16,
    serial: u64,
    events: Sender<Event>,
}

/// Something that a client or the sink does some time after it could.
pub enum Deed {
    Send { link: u32, who: String, bytes: Vec<u8>, about: Option<MessageId>, what: &'static str },
    Answer { answer: SyncSender<u16>, status: u16, message: MessageId },
}

impl Stage {
    pub fn new(seed: u64, port: u16, events: Sender<Event>) -> Self {
        Self {
            ledger: Ledger::default(),
            random: Random::new(seed),
            later: BTreeMap::new(),
            calm: false,
            port,
            serial: 0,
            events,
        }
    }

    pub fn connect(&mut self) -> io::Result<Link> {
        self.serial += 1;
        Link::open(self.port, self.serial as u32, self.events.clone())
    }

    /// Puts it off by up to so many ticks, but not before `not_before`. Returns when it is due.
    pub fn put_off(&mut self, deed: Deed, ticks: usize, not_before: Tick) -> Tick {
        let delay = if self.calm { 0 } else { self.random.below(ticks + 1) as Tick };
        let due = not_before.max(self.ledger.now + delay);
        self.put_off_until(deed, due);
        due
    }

    pub fn put_off_until(&mut self, deed: Deed, due: Tick) {
        self.serial += 1;
        self.later.insert((due, self.serial), deed);
    }

    /// The first that is due, or with `early` the first that will ever be.
    pub fn due(&mut self, early: bool) -> Option<Deed> {
        let first = self.later.first_entry()?;
        let due = first.key().0;
        (due <= self.ledger.now || (early && due < Tick::MAX)).then(|| first.remove())
    }
}
