use std::num::NonZeroU16;

/// The packet identifiers of a publisher: which are in use, and since when.
#[derive(Debug, Default)]
pub struct PacketIds {
    /// By identifier, less one: when it was taken, 0 if it is free.
    taken_at: Vec<u64>,
    free: Vec<u16>,
    in_use: u16,
}

impl PacketIds {
    /// One that is free; `None`: all are in use.
    #[inline]
    pub fn take(&mut self, now: u64) -> Option<NonZeroU16> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = u16::try_from(self.taken_at.len() + 1).ok()?;
                self.taken_at.push(0);
                id
            }
        };
        *self.taken_at.get_mut(usize::from(id - 1))? = now.max(1);
        self.in_use += 1;
        NonZeroU16::new(id)
    }

    /// It is free again; when it was taken, unless it was free already.
    #[inline]
    pub fn release(&mut self, id: NonZeroU16) -> Option<u64> {
        let taken_at = self.taken_at.get_mut(usize::from(id.get() - 1)).filter(|at| **at > 0)?;
        let at = std::mem::take(taken_at);
        self.free.push(id.get());
        self.in_use -= 1;
        Some(at)
    }

    #[inline]
    pub fn in_use(&self) -> u16 {
        self.in_use
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_use_once() {
        let mut ids = PacketIds::default();
        for expected in 1..=u16::MAX {
            assert_eq!(ids.take(u64::from(expected)).map(NonZeroU16::get), Some(expected));
        }
        assert_eq!((ids.take(9), ids.in_use()), (None, u16::MAX));
        let id = NonZeroU16::new(300).unwrap();
        assert_eq!(ids.release(id), Some(300));
        assert_eq!(ids.release(id), None, "an acknowledgement that came twice");
        assert_eq!(ids.take(0), Some(id));
        assert_eq!((ids.release(id), ids.in_use()), (Some(1), u16::MAX - 1));
    }

    #[test]
    fn what_was_never_taken_is_not_released() {
        let mut ids = PacketIds::default();
        assert_eq!(ids.release(NonZeroU16::MAX), None);
        assert_eq!(ids.in_use(), 0);
    }
}
