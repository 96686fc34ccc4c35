use std::collections::HashMap;
use std::sync::Arc;

use gateway_model::{Message, Notify};
use gateway_store::{Appending, Figures, Holders, Pages, Place, ReadError, Room, Store};
use parking_lot::Mutex;

/// The store while the bus recovers: a message that several hold is read, and kept, once.
pub(super) struct Library {
    store: Arc<dyn Store>,
    /// What has several holders, once it has been read.
    shared: Mutex<HashMap<Place, Option<Arc<Message>>>>,
    errors: Mutex<Vec<ReadError>>,
}

/// Of how many messages it is told why they cannot be read.
const ERRORS_MAX: usize = 16;

impl Library {
    /// `places` are those of all holders.
    pub(super) fn new(store: Arc<dyn Store>, mut places: Vec<Place>) -> Self {
        places.sort_unstable();
        let several = places.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| (pair[0], None));
        Self { store, shared: Mutex::new(several.collect()), errors: Mutex::default() }
    }

    /// Why what could not be read could not.
    pub(super) fn take_errors(&self) -> Vec<ReadError> {
        std::mem::take(&mut self.errors.lock())
    }
}

impl Store for Library {
    fn begin(&self) -> Option<Appending<'_>> {
        self.store.begin()
    }

    fn durable(&self) -> Place {
        self.store.durable()
    }

    fn read(&self, place: Place) -> Result<Arc<Message>, ReadError> {
        if let Some(Some(message)) = self.shared.lock().get(&place) {
            return Ok(message.clone());
        }
        let read = self.store.read(place);
        match &read {
            Ok(message) => {
                message.stored.set(place.number());
                if let Some(known) = self.shared.lock().get_mut(&place) {
                    *known = Some(message.clone());
                }
            }
            Err(error) => {
                let mut errors = self.errors.lock();
                if errors.len() < ERRORS_MAX {
                    errors.push(error.clone());
                }
            }
        }
        read
    }

    fn room(&self) -> Room {
        self.store.room()
    }

    fn clean(&self, holders: &dyn Holders) -> bool {
        self.store.clean(holders)
    }

    fn watch(&self, watcher: Arc<dyn Notify>) {
        self.store.watch(watcher);
    }

    fn pages(&self) -> Option<&dyn Pages> {
        self.store.pages()
    }

    fn figures(&self) -> Figures {
        self.store.figures()
    }
}
