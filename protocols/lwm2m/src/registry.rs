use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::absent::Absent;
use crate::kept::Kept;
use crate::location::Location;
use crate::path::Path;
use crate::registration::Registration;

/// The registrations of all addresses, by location: a device behind a NAT that rebinds, or one that
/// opens a new socket each time, updates and says goodbye from another port than it registered
/// from. And the first message of a device after a restart of the gateway finds here what it had
/// registered before. Locked when a registration or its observations change, and for a lookup; never per message.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    directory: Mutex<Directory>,
}

#[derive(Debug, Default)]
struct Directory {
    /// Boxed, as the table has room for twice as many.
    by_location: HashMap<Location, Box<Entry>>,
    absent: Absent,
    next_owner: u64,
}

#[derive(Debug)]
struct Entry {
    /// Which [`Listed`] it belongs to: it outlives the address that a device moved away from.
    owner: u64,
    /// How many wait to take it over.
    pins: u32,
    host: IpAddr,
    registration: Arc<Registration>,
    observed: Box<[Path]>,
}

/// A registration's place in the registry; it ends with this, unless it was moved.
pub(crate) struct Listed {
    registry: Arc<Registry>,
    pub(crate) location: Location,
    owner: u64,
}

/// A registration that an address is about to take over. It does not end while this is held, even if
/// the address that has it is told at once that its session was taken over.
pub(crate) struct Pin {
    registry: Arc<Registry>,
    location: Location,
}

/// The owner of a registration that ended but for its pins.
const NOBODY: u64 = 0;

/// A registration taken over from another address.
pub(crate) struct Moved {
    pub(crate) listed: Listed,
    pub(crate) registration: Arc<Registration>,
    /// The paths that were observed from the address it had.
    pub(crate) observed: Box<[Path]>,
}

impl Registry {
    /// Knows a registration from before a restart again.
    pub(crate) fn restore(&self, now: Instant, kept: Kept) {
        self.lock().absent.insert(now, kept);
    }

    pub(crate) fn list(
        self: &Arc<Self>,
        location: Location,
        host: IpAddr,
        registration: &Arc<Registration>,
    ) -> Listed {
        let mut directory = self.lock();
        directory.absent.remove_endpoint(&registration.endpoint);
        let owner = directory.new_owner();
        let (registration, observed) = (registration.clone(), Box::default());
        let entry = Entry { owner, pins: 0, host, registration, observed };
        directory.by_location.insert(location, Box::new(entry));
        Listed { registry: self.clone(), location, owner }
    }

    /// The registration at a location, if it was made from that host, or hosts do not matter.
    pub(crate) fn find(
        &self,
        now: Instant,
        location: Location,
        host: IpAddr,
        any_host: bool,
    ) -> Option<Arc<Registration>> {
        let mut directory = self.lock();
        directory.absent.expire(now);
        let (from, registration) = match directory.by_location.get(&location) {
            Some(entry) => (entry.host, &entry.registration),
            None => {
                let kept = directory.absent.get(location)?;
                (kept.address.ip(), &kept.registration)
            }
        };
        (any_host || from == host).then(|| registration.clone())
    }

    /// The registration of the device that had this address before a restart and was not heard of
    /// since, and its location.
    pub(crate) fn find_absent(
        &self,
        now: Instant,
        address: SocketAddr,
    ) -> Option<(Location, Arc<Registration>)> {
        let mut directory = self.lock();
        directory.absent.expire(now);
        let kept = directory.absent.at(address)?;
        Some((kept.location, kept.registration.clone()))
    }

    pub(crate) fn pin(self: &Arc<Self>, location: Location) -> Option<Pin> {
        self.lock().by_location.get_mut(&location)?.pins += 1;
        Some(Pin { registry: self.clone(), location })
    }

    /// Makes a registration the caller's, at the same location.
    pub(crate) fn take(self: &Arc<Self>, location: Location, host: IpAddr) -> Option<Moved> {
        let mut directory = self.lock();
        let owner = directory.new_owner();
        if let Some(Kept { address, registration, observed, .. }) = directory.absent.remove(location) {
            let entry = Entry { owner, pins: 0, host: address.ip(), registration, observed };
            directory.by_location.insert(location, Box::new(entry));
        }
        let entry = directory.by_location.get_mut(&location)?;
        (entry.owner, entry.host) = (owner, host);
        let (registration, observed) = (entry.registration.clone(), entry.observed.clone());
        Some(Moved { listed: Listed { registry: self.clone(), location, owner }, registration, observed })
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        let directory = self.lock();
        (directory.by_location.len(), directory.absent.len())
    }

    /// The directory is whole at every step, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory {
    fn new_owner(&mut self) -> u64 {
        self.next_owner += 1;
        self.next_owner
    }
}

impl Listed {
    /// Notes what the next address must know, if the registration is still here.
    pub(crate) fn note_registration(&self, registration: &Arc<Registration>) {
        self.with_entry(|entry| entry.registration = registration.clone());
    }

    pub(crate) fn note_observed(&self, observed: Box<[Path]>) {
        self.with_entry(|entry| entry.observed = observed);
    }

    /// The device said goodbye: it ends whoever waits to take it over.
    pub(crate) fn end(&self) {
        let mut directory = self.registry.lock();
        if directory.by_location.get(&self.location).is_some_and(|entry| entry.owner == self.owner) {
            directory.by_location.remove(&self.location);
        }
    }

    fn with_entry(&self, note: impl FnOnce(&mut Entry)) {
        let mut directory = self.registry.lock();
        let entry = directory.by_location.get_mut(&self.location);
        if let Some(entry) = entry.filter(|entry| entry.owner == self.owner) {
            note(entry);
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut directory = self.registry.lock();
        match directory.by_location.get_mut(&self.location) {
            Some(entry) if entry.owner == self.owner && entry.pins > 0 => entry.owner = NOBODY,
            Some(entry) if entry.owner == self.owner => {
                directory.by_location.remove(&self.location);
            }
            _ => {}
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut directory = self.registry.lock();
        let Some(entry) = directory.by_location.get_mut(&self.location) else { return };
        entry.pins = entry.pins.saturating_sub(1);
        if entry.pins == 0 && entry.owner == NOBODY {
            directory.by_location.remove(&self.location);
        }
    }
}
