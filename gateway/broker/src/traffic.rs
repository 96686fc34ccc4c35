use std::sync::atomic::{AtomicU64, Ordering};

use gateway_model::Qos;

/// Messages by QoS that one shard took in and sent out.
///
/// Only that shard adds, so adding is no more than an addition; anybody may read.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Traffic {
    received: [AtomicU64; 3],
    sent: [AtomicU64; 3],
    acknowledged: AtomicU64,
}

impl Traffic {
    #[inline]
    pub(crate) fn received(&self, qos: Qos) {
        add(&self.received[qos as usize], 1);
    }

    /// By QoS.
    #[inline]
    pub(crate) fn sent(&self, counts: [u32; 3]) {
        self.sent.iter().zip(counts).for_each(|(cell, count)| add(cell, count.into()));
    }

    #[inline]
    pub(crate) fn acknowledged(&self) {
        add(&self.acknowledged, 1);
    }

    /// Received and sent, each by QoS, and acknowledged by receivers.
    pub(crate) fn read(&self) -> ([u64; 3], [u64; 3], u64) {
        let read = |cells: &[AtomicU64; 3]| std::array::from_fn(|qos| cells[qos].load(Ordering::Relaxed));
        (read(&self.received), read(&self.sent), self.acknowledged.load(Ordering::Relaxed))
    }
}

#[inline]
fn add(cell: &AtomicU64, count: u64) {
    cell.store(cell.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}
