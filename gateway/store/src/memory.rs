use std::sync::Arc;

use gateway_model::{Message, Notify};

use crate::{Appending, Figures, Holders, Pages, Place, ReadError, Room, Store};

/// Keeps nothing: a restart begins empty.
pub struct Memory;

impl Store for Memory {
    fn begin(&self) -> Option<Appending<'_>> {
        None
    }

    fn durable(&self) -> Place {
        Place::NOWHERE
    }

    fn read(&self, place: Place) -> Result<Arc<Message>, ReadError> {
        Err(ReadError::Nowhere(place))
    }

    fn room(&self) -> Room {
        Room::Open
    }

    fn clean(&self, _: &dyn Holders) -> bool {
        false
    }

    fn watch(&self, _: Arc<dyn Notify>) {}

    fn pages(&self) -> Option<&dyn Pages> {
        None
    }

    fn figures(&self) -> Figures {
        Figures::default()
    }
}
