use std::time::Duration;

use gateway_model::Notify;
use parking_lot::{Condvar, Mutex};

/// Waits until the store has moved.
#[derive(Default)]
pub(crate) struct Pause {
    has_moved: Mutex<bool>,
    bell: Condvar,
}

impl Pause {
    /// Until it is told the next time, or for so long. `is_over` says that there is nothing to wait
    /// for any more.
    pub fn wait(&self, longest: Duration, is_over: impl FnOnce() -> bool) {
        let mut has_moved = self.has_moved.lock();
        *has_moved = false;
        if !is_over() {
            self.bell.wait_while_for(&mut has_moved, |has_moved| !*has_moved, longest);
        }
    }
}

impl Notify for Pause {
    fn notify(&self) {
        *self.has_moved.lock() = true;
        self.bell.notify_all();
    }
}
