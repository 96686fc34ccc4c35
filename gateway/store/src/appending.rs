use std::marker::PhantomData;

use crate::{Place, Record};

/// A turn at the end of the log. Nobody else appends until it is dropped.
pub struct Appending<'a> {
    log: PhantomData<&'a mut ()>,
}

impl Appending<'_> {
    /// Makes sure that a record of up to `bytes` bytes fits where the log is now, and says where it
    /// will be. `Record::size_max` tells how many a record may need.
    pub fn reserve(&mut self, bytes: usize) -> Place {
        let _ = bytes;
        unimplemented!()
    }

    /// Appends a record; it is at the place returned. Somebody waits for it: the next sync starts as
    /// soon as the last one has ended.
    pub fn append(&mut self, record: &Record) -> Place {
        let _ = record;
        unimplemented!()
    }

    /// Appends what nobody waits for: it goes to the disk with what comes next, or after a while.
    pub fn append_lazily(&mut self, record: &Record) -> Place {
        let _ = record;
        unimplemented!()
    }

    /// One holder of the message stored there has let go.
    pub fn let_go(&mut self, place: Place) {
        let _ = place;
        unimplemented!()
    }

    /// All that was appended until now is durable when [`crate::Store::durable`] has reached this.
    pub fn end(&self) -> Place {
        unimplemented!()
    }
}
