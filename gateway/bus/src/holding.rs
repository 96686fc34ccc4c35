use gateway_store::{CopyState, Holder, Holders, Place, SessionRecord};

use crate::Bus;

/// What the store asks when it tidies up, under the lock of the log.
impl Holders for Bus {
    fn holds(&self, holder: Holder<'_>, place: Place) -> Option<CopyState> {
        match holder {
            Holder::Copy { session, ordinal } => {
                let session = self.durable.lock().get(&session).cloned()?;
                let state = session.state.lock();
                state.outbox.held(ordinal, place, &mut self.lookups.lock())
            }
            Holder::Retained(topic) => {
                (self.retained.lock().place(topic)? == place).then_some(CopyState::Waiting)
            }
            Holder::Delayed { serial } => {
                (self.delayed.lock().place(serial)? == place).then_some(CopyState::Waiting)
            }
        }
    }

    fn moved(&self, holder: Holder<'_>, _: Place, to: Place) {
        match holder {
            Holder::Copy { session, ordinal } => {
                let session = self.durable.lock().get(&session).cloned();
                if let Some(session) = session {
                    session.state.lock().outbox.moved(ordinal, to);
                }
            }
            Holder::Retained(topic) => self.retained.lock().moved(topic, to),
            Holder::Delayed { serial } => self.delayed.lock().moved(serial, to),
        }
    }

    fn session(&self, number: u64) -> Option<SessionRecord> {
        let session = self.durable.lock().get(&number).cloned()?;
        Some(session.record(self.clock()?))
    }
}
