use std::collections::VecDeque;
use std::num::NonZeroU16;

use gateway_model::Reason;

use crate::codec::PacketType;

/// Answers to the client's publishes and releases that wait until they are true, in the order in
/// which their packets came.
///
/// MQTT-4.6.0-2 and -3: PUBACKs go out in the order of the publishes, and so do PUBRECs. So what is
/// durable waits here behind what is not yet. PUBCOMPs wait in the same line: then none can pass the
/// PUBREC that it is about, even if the client did not wait for that.
#[derive(Debug, Default)]
pub(crate) struct Acknowledgements {
    waiting: VecDeque<Waiting>,
    /// The number of the first in `waiting`; the others follow without gaps. Numbers wrap around.
    first_number: u32,
    at_least_once: u32,
}

/// An answer and, once known, how the matter went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) packet_id: NonZeroU16,
    /// PUBACK, PUBREC or PUBCOMP.
    pub(crate) answer: PacketType,
    pub(crate) reason: Option<Reason>,
}

impl Acknowledgements {
    /// The number that the next one pushed will have.
    pub(crate) fn next_number(&self) -> u64 {
        self.first_number.wrapping_add(self.waiting.len() as u32).into()
    }

    pub(crate) fn push(&mut self, waiting: Waiting) {
        self.at_least_once += u32::from(waiting.answer == PacketType::Puback);
        self.waiting.push_back(waiting);
    }

    /// Says how the matter with this number went; an unknown number is ignored.
    pub(crate) fn resolve(&mut self, number: u64, reason: Reason) {
        let index = (number as u32).wrapping_sub(self.first_number) as usize;
        if let Some(waiting) = self.waiting.get_mut(index) {
            waiting.reason = Some(reason);
        }
    }

    /// Takes the first one, if it is known how it went.
    pub(crate) fn pop_ready(&mut self) -> Option<(Waiting, Reason)> {
        let reason = self.waiting.front()?.reason?;
        let waiting = self.waiting.pop_front()?;
        self.first_number = self.first_number.wrapping_add(1);
        self.at_least_once -= u32::from(waiting.answer == PacketType::Puback);
        Some((waiting, reason))
    }

    pub(crate) fn is_waiting(&self, packet_id: NonZeroU16) -> bool {
        self.waiting.iter().any(|waiting| waiting.packet_id == packet_id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many of them are at QoS 1. Those at QoS 2 are counted by [`crate::received::Received`].
    pub(crate) fn at_least_once(&self) -> usize {
        self.at_least_once as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_around() {
        let mut acknowledgements = Acknowledgements { first_number: u32::MAX, ..Default::default() };
        let packet_id = NonZeroU16::MIN;
        let numbers = [(); 3].map(|()| {
            let number = acknowledgements.next_number();
            acknowledgements.push(Waiting { packet_id, answer: PacketType::Puback, reason: None });
            number
        });
        assert_eq!(numbers, [u32::MAX.into(), 0, 1]);
        acknowledgements.resolve(numbers[1], Reason::Success);
        assert_eq!(acknowledgements.pop_ready(), None);
        acknowledgements.resolve(numbers[0], Reason::Success);
        assert!(acknowledgements.pop_ready().is_some() && acknowledgements.pop_ready().is_some());
        acknowledgements.resolve(numbers[0], Reason::Success);
        assert_eq!((acknowledgements.pop_ready(), acknowledgements.at_least_once()), (None, 1));
    }
}
