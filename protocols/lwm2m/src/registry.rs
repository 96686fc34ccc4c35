use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::absent::Absent;
use crate::config::Config;
use crate::kept::Kept;
use crate::location::Location;
use crate::path::Path;
use crate::registration::{Registration, canonical};

/// The registrations of all addresses, by location: a device behind a NAT that rebinds, or one that
/// opens a new socket each time, updates and says goodbye from another port than it registered
/// from. And the first message of a device after a restart of the gateway finds here what it had
/// registered before. Locked when a registration or its observations change, and for a lookup; never per message.
#[derive(Debug)]
pub(crate) struct Registry {
    /// What all of them are offered.
    pub(crate) config: Config,
    directory: Mutex<Directory>,
}

#[derive(Debug, Default)]
struct Directory {
    /// Each belongs to the [`Listed`] that has the very same.
    registrations: HashMap<Location, Arc<Registration>>,
    rare: HashMap<Location, Rare>,
    absent: Absent,
}

/// What few of those registrations have.
#[derive(Debug, Default)]
struct Rare {
    observed: Box<[Path]>,
    /// How many wait to take it over.
    pins: u32,
    /// It belongs to nobody: it ends with its last pin.
    is_left: bool,
}

/// A registration's place in the registry; it ends with this, unless it was moved.
pub(crate) struct Listed {
    registry: Arc<Registry>,
    registration: Arc<Registration>,
    location: Location,
}

/// A registration that an address is about to take over. It does not end while this is held, even if
/// the address that has it is told at once that its session was taken over.
pub(crate) struct Pin {
    registry: Arc<Registry>,
    location: Location,
}

/// A registration taken over from another address.
pub(crate) struct Moved {
    pub(crate) listed: Listed,
    /// The paths that were observed from the address it had.
    pub(crate) observed: Box<[Path]>,
}

impl Registry {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, directory: Mutex::default() }
    }

    /// Knows a registration from before a restart again.
    pub(crate) fn restore(&self, now: Instant, kept: Kept) {
        self.lock().absent.insert(now, kept);
    }

    pub(crate) fn list(self: &Arc<Self>, location: Location, registration: Arc<Registration>) -> Listed {
        let mut directory = self.lock();
        directory.absent.remove_endpoint(registration.endpoint());
        directory.registrations.insert(location, registration.clone());
        Listed { registry: self.clone(), registration, location }
    }

    /// The registration at a location, if it was made from that host, or hosts do not matter.
    pub(crate) fn find(
        &self,
        now: Instant,
        location: Location,
        from: SocketAddr,
    ) -> Option<Arc<Registration>> {
        let mut directory = self.lock();
        directory.absent.expire(now);
        let registration = match directory.registrations.get(&location) {
            Some(registration) => registration,
            None => &directory.absent.get(location)?.registration,
        };
        let is_allowed =
            self.config.update_from_other_address || registration.peer().ip() == canonical(from).ip();
        is_allowed.then(|| registration.clone())
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
        let kept = directory.absent.at(canonical(address))?;
        Some((kept.location, kept.registration.clone()))
    }

    pub(crate) fn pin(self: &Arc<Self>, location: Location) -> Option<Pin> {
        let mut directory = self.lock();
        directory.registrations.get(&location)?;
        directory.with_rare(location, |rare| rare.pins += 1);
        Some(Pin { registry: self.clone(), location })
    }

    /// Makes a registration the caller's, at the same location and another address.
    pub(crate) fn take(self: &Arc<Self>, location: Location, address: SocketAddr) -> Option<Moved> {
        let mut directory = self.lock();
        if let Some(Kept { registration, observed, .. }) = directory.absent.remove(location) {
            directory.registrations.insert(location, registration);
            directory.with_rare(location, |rare| rare.observed = observed);
        }
        let registration = directory.registrations.get_mut(&location)?;
        *registration = Arc::new(registration.moved(address));
        let listed = Listed { registry: self.clone(), registration: registration.clone(), location };
        let mut observed = Box::default();
        directory.with_rare(location, |rare| {
            rare.is_left = false;
            observed = rare.observed.clone();
        });
        Some(Moved { listed, observed })
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        let directory = self.lock();
        assert!(directory.rare.keys().all(|location| directory.registrations.contains_key(location)));
        (directory.registrations.len(), directory.absent.len())
    }

    /// The directory is whole at every step, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory {
    fn owned(&mut self, listed: &Listed) -> Option<&mut Arc<Registration>> {
        let registration = self.registrations.get_mut(&listed.location)?;
        Arc::ptr_eq(registration, &listed.registration).then_some(registration)
    }

    /// Changes what is rare, which is held only where there is something, and ends what is over then.
    fn with_rare(&mut self, location: Location, change: impl FnOnce(&mut Rare)) {
        let rare = self.rare.entry(location).or_default();
        change(rare);
        match rare {
            Rare { pins: 0, is_left: true, .. } => self.remove(location),
            Rare { pins: 0, observed, .. } if observed.is_empty() => drop(self.rare.remove(&location)),
            _ => {}
        }
    }

    fn remove(&mut self, location: Location) {
        self.registrations.remove(&location);
        self.rare.remove(&location);
    }
}

impl Listed {
    pub(crate) fn registration(&self) -> &Arc<Registration> {
        &self.registration
    }

    pub(crate) fn location(&self) -> Location {
        self.location
    }

    pub(crate) fn config(&self) -> &Config {
        &self.registry.config
    }

    /// The device said something else about itself. The next address must know, if the registration is
    /// still here.
    pub(crate) fn change(&mut self, registration: Arc<Registration>) {
        if let Some(owned) = self.registry.lock().owned(self) {
            *owned = registration.clone();
        }
        self.registration = registration;
    }

    pub(crate) fn note_observed(&self, observed: Box<[Path]>) {
        let mut directory = self.registry.lock();
        if directory.owned(self).is_some() {
            directory.with_rare(self.location, |rare| rare.observed = observed);
        }
    }

    /// The device said goodbye: it ends whoever waits to take it over.
    pub(crate) fn end(&self) {
        let mut directory = self.registry.lock();
        if directory.owned(self).is_some() {
            directory.remove(self.location);
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut directory = self.registry.lock();
        if directory.owned(self).is_some() {
            directory.with_rare(self.location, |rare| rare.is_left = true);
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.registry.lock().with_rare(self.location, |rare| rare.pins = rare.pins.saturating_sub(1));
    }
}
