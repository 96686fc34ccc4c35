use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::registration::Registration;

/// The registrations of all addresses, by location: some clients say goodbye from another port
/// than they registered from. Locked for a lookup at most, and only by registrations.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    by_location: Mutex<HashMap<Box<str>, (IpAddr, Registration)>>,
}

/// A registration's place in the registry; it ends with this.
pub(crate) struct Listed {
    registry: Arc<Registry>,
    pub(crate) location: Box<str>,
}

impl Registry {
    pub(crate) fn list(
        self: &Arc<Self>,
        location: Box<str>,
        host: IpAddr,
        registration: &Registration,
    ) -> Listed {
        self.lock().insert(location.clone(), (host, registration.clone()));
        Listed { registry: self.clone(), location }
    }

    /// The registration at a location, if it was made from that host: without security the
    /// location alone must not be enough for strangers.
    pub(crate) fn find(&self, location: &str, host: IpAddr) -> Option<Registration> {
        let by_location = self.lock();
        let (owner, registration) = by_location.get(location)?;
        (*owner == host).then(|| registration.clone())
    }

    /// The map is whole at every step, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, (IpAddr, Registration)>> {
        self.by_location.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.location);
    }
}
