use gateway_model::Ticket;

use super::Endpoint;
use super::keeping::Waiting;
use super::send::PendingSend;

/// What a device is told when the store has come so far.
#[derive(Default)]
pub(super) struct Owed {
    /// The registration as it is now is not kept yet, but will be under this ticket.
    pub(super) keeping: Option<Ticket>,
    /// Answers that wait until the registration is kept.
    pub(super) waiting: Vec<Waiting>,
    /// Sends whose values are not yet durable.
    pub(super) sends: Vec<PendingSend>,
}

impl Owed {
    /// Of answers.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.sends.len()
    }
}

impl Endpoint {
    pub(super) fn owed(&mut self) -> &mut Owed {
        self.owed.get_or_insert_default()
    }

    /// Holds nothing where nothing waits.
    pub(super) fn rest(&mut self) {
        self.owed.take_if(|owed| owed.keeping.is_none() && owed.len() == 0);
    }

    /// Whether the device knows how its registration stands.
    pub(super) fn is_answered(&self) -> bool {
        self.owed.as_ref().is_none_or(|owed| owed.waiting.is_empty())
    }

    pub(super) fn forget_answers(&mut self) {
        if let Some(owed) = &mut self.owed {
            (owed.keeping, owed.waiting) = (None, Vec::new());
        }
        self.rest();
    }
}
