use gateway_model::Qos;

use super::Item;

/// What some items amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) count: u32,
    /// Sizes of their messages.
    pub(crate) bytes: u32,
    pub(crate) replayed: u32,
    /// At QoS 0.
    pub(crate) qos0: u32,
}

impl Sums {
    pub(super) fn of(item: &Item) -> Self {
        Self {
            count: 1,
            bytes: item.size(),
            replayed: item.is_replayed().into(),
            qos0: (item.qos() == Qos::AtMostOnce).into(),
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.replayed += other.replayed;
        self.qos0 += other.qos0;
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.count -= other.count;
        self.bytes -= other.bytes;
        self.replayed -= other.replayed;
        self.qos0 -= other.qos0;
    }
}
