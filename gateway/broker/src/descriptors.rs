//! Room for descriptors before they are needed.
//!
//! The system's table of a process's descriptors grows by doubling. In a process of several threads Linux
//! waits for all of them meanwhile (`synchronize_rcu` in `expand_fdtable`): whoever accepts the 257th
//! connection, the 513th and so on stands for up to 20 ms, and all clients of its shard with it.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};

/// Makes room while there is one thread, which costs nothing: for all that are allowed, if those are few.
/// Later on it grows on a thread of its own.
pub fn reserve_descriptors(allowed: u64) {
    grow(u32::try_from(allowed).unwrap_or(RESERVED).min(RESERVED));
}

/// How large the table is, as far as we made it so.
pub(crate) struct Descriptors(AtomicU32);

/// 8 bytes each.
const RESERVED: u32 = 4096;

impl Default for Descriptors {
    fn default() -> Self {
        Self(AtomicU32::new(RESERVED))
    }
}

impl Descriptors {
    /// One was given out. From the middle of the table on it is time for a larger one.
    pub(crate) fn note(&self, descriptor: RawFd) {
        let (size, used) = (self.0.load(Ordering::Relaxed), descriptor as u32);
        if used < size / 2 {
            return;
        }
        let larger = size.saturating_mul(2);
        if self.0.compare_exchange(size, larger, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let thread = std::thread::Builder::new().name("descriptors".to_owned());
            // Without a thread it grows when it has to.
            let _ = thread.spawn(move || grow(larger));
        }
    }
}

/// The table has as many places as its highest descriptor needs, and never fewer again.
fn grow(size: u32) {
    // Where so many are not allowed, so many are not needed.
    let _ = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), size.saturating_sub(1) as RawFd);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_from_the_middle_on() {
        let descriptors = Descriptors::default();
        for (descriptor, size) in
            [(3, 4096), (2047, 4096), (2048, 8192), (2049, 8192), (4095, 8192), (4096, 16384)]
        {
            descriptors.note(descriptor);
            assert_eq!(descriptors.0.load(Ordering::Relaxed), size, "after {descriptor}");
        }
    }
}
