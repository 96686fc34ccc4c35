use std::collections::HashMap;
use std::sync::Arc;

use gateway_model::Message;
use gateway_store::{Place, ReadError, Store};

/// Reads messages while the bus recovers: one that several hold is read, and kept, once.
pub(super) struct Library {
    store: Arc<dyn Store>,
    /// What has several holders, once it has been read.
    shared: HashMap<Place, Option<Arc<Message>>>,
    errors: Vec<ReadError>,
}

/// Of how many messages it is told why they cannot be read.
const ERRORS_MAX: usize = 16;

impl Library {
    /// `places` are those of all holders.
    pub(super) fn new(store: Arc<dyn Store>, mut places: Vec<Place>) -> Self {
        places.sort_unstable();
        let several = places.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| (pair[0], None));
        Self { store, shared: several.collect(), errors: Vec::new() }
    }

    pub(super) fn read(&mut self, place: Place) -> Result<Arc<Message>, ReadError> {
        if let Some(Some(message)) = self.shared.get(&place) {
            return Ok(message.clone());
        }
        let read = self.store.read(place);
        match &read {
            Ok(message) => {
                message.stored.set(place.number());
                if let Some(known) = self.shared.get_mut(&place) {
                    *known = Some(message.clone());
                }
            }
            Err(error) if self.errors.len() < ERRORS_MAX => self.errors.push(error.clone()),
            Err(_) => {}
        }
        read
    }

    /// Why what could not be read could not.
    pub(super) fn into_errors(self) -> Vec<ReadError> {
        self.errors
    }
}
