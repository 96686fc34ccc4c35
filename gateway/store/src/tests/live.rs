use crate::tests::domain::Turn;
use crate::{Appending, Place, Record};

/// A turn at a real log.
pub(super) struct Live<'a>(pub Appending<'a>);

impl Turn for Live<'_> {
    fn append(&mut self, record: &Record, is_lazy: bool) -> Place {
        if is_lazy { self.0.append_lazily(record) } else { self.0.append(record) }
    }

    fn let_go(&mut self, place: Place) {
        self.0.let_go([place]);
    }
}
