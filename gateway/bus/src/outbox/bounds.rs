use crate::{DropPolicy, QueueLimits};

/// [`QueueLimits`] in little space: there is one for every session.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// The number of messages, and flags above it.
    messages_max: u32,
    bytes_max: u32,
}

const FLAGS: u32 = 27;
/// More messages than this no queue holds.
const MESSAGES_MAX: u32 = (1 << FLAGS) - 1;
const NEWEST: u32 = 1 << FLAGS;
const STORE_QOS0: u32 = 2 << FLAGS;
const UPGRADE_QOS: u32 = 4 << FLAGS;
const DURABLE: u32 = 8 << FLAGS;
const AWAY: u32 = 16 << FLAGS;

impl Bounds {
    pub(super) fn new(limits: QueueLimits, durable: bool) -> Self {
        let QueueLimits { messages_max, bytes_max, drop, store_qos0, upgrade_qos } = limits;
        let flag = |flag: u32, is_set: bool| if is_set { flag } else { 0 };
        let flags = flag(NEWEST, drop == DropPolicy::Newest)
            | flag(STORE_QOS0, store_qos0)
            | flag(UPGRADE_QOS, upgrade_qos)
            | flag(DURABLE, durable);
        Self { messages_max: messages_max.min(MESSAGES_MAX) | flags, bytes_max }
    }

    #[inline]
    pub(super) fn limits(self) -> QueueLimits {
        let is_set = |flag: u32| self.messages_max & flag != 0;
        QueueLimits {
            messages_max: self.messages_max & MESSAGES_MAX,
            bytes_max: self.bytes_max,
            drop: if is_set(NEWEST) { DropPolicy::Newest } else { DropPolicy::Oldest },
            store_qos0: is_set(STORE_QOS0),
            upgrade_qos: is_set(UPGRADE_QOS),
        }
    }

    /// The session outlives its connection, and the process.
    pub(super) fn is_durable(self) -> bool {
        self.messages_max & DURABLE != 0
    }

    /// No connection holds the session.
    pub(super) fn is_away(self) -> bool {
        self.messages_max & AWAY != 0
    }

    pub(super) fn set_away(&mut self, is_away: bool) {
        let flag = if is_away { AWAY } else { 0 };
        self.messages_max = self.messages_max & !AWAY | flag;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_come_back() {
        for bits in 0..16 {
            let limits = QueueLimits {
                messages_max: 12_345,
                bytes_max: u32::MAX - bits,
                drop: if bits & 1 == 0 { DropPolicy::Oldest } else { DropPolicy::Newest },
                store_qos0: bits & 2 != 0,
                upgrade_qos: bits & 4 != 0,
            };
            let bounds = Bounds::new(limits, bits & 8 != 0);
            assert_eq!(format!("{:?}", bounds.limits()), format!("{limits:?}"));
            assert_eq!(bounds.is_durable(), bits & 8 != 0);
            let mut away = bounds;
            away.set_away(true);
            assert!(away.is_away() && !bounds.is_away());
            assert_eq!(format!("{:?}", away.limits()), format!("{limits:?}"));
            away.set_away(false);
            assert!(!away.is_away());
        }
        let many = QueueLimits { messages_max: u32::MAX, ..QueueLimits::default() };
        assert_eq!(Bounds::new(many, false).limits().messages_max, MESSAGES_MAX);
    }
}
