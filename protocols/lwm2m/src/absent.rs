use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Instant;

use crate::kept::Kept;
use crate::location::Location;

/// Registrations from before a restart of the gateway whose devices were not heard of since. Each
/// leaves when its device comes back, by whatever request, or when its lifetime, which starts anew
/// with the gateway, is over.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    by_location: HashMap<Location, Entry>,
    by_endpoint: HashMap<Box<str>, Location>,
    by_address: HashMap<SocketAddr, Location>,
    deadlines: BTreeSet<(Instant, Location)>,
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    until: Instant,
}

impl Absent {
    pub(crate) fn insert(&mut self, now: Instant, kept: Kept) {
        self.remove_endpoint(kept.registration.endpoint());
        let location = kept.location;
        self.remove(location);
        let until = now + kept.registration.lifetime();
        self.by_endpoint.insert(kept.registration.endpoint().into(), location);
        self.by_address.insert(kept.registration.peer(), location);
        self.deadlines.insert((until, location));
        self.by_location.insert(location, Entry { kept, until });
    }

    pub(crate) fn get(&self, location: Location) -> Option<&Kept> {
        self.by_location.get(&location).map(|entry| &entry.kept)
    }

    /// The one whose device was last heard from exactly this address.
    pub(crate) fn at(&self, address: SocketAddr) -> Option<&Kept> {
        self.get(*self.by_address.get(&address)?)
    }

    pub(crate) fn remove(&mut self, location: Location) -> Option<Kept> {
        let Entry { kept, until } = self.by_location.remove(&location)?;
        let peer = kept.registration.peer();
        // Of several devices that were behind one address, the last has it.
        if self.by_address.get(&peer) == Some(&location) {
            self.by_address.remove(&peer);
        }
        self.by_endpoint.remove(kept.registration.endpoint());
        self.deadlines.remove(&(until, location));
        Some(kept)
    }

    pub(crate) fn remove_endpoint(&mut self, endpoint: &str) {
        if let Some(location) = self.by_endpoint.get(endpoint).copied() {
            self.remove(location);
        }
    }

    /// Forgets those whose lifetime is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((_, location)) = self.deadlines.first().copied().filter(|(until, _)| *until <= now) {
            self.remove(location);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let len = self.by_location.len();
        assert_eq!((self.by_endpoint.len(), self.deadlines.len()), (len, len));
        assert!(self.by_address.len() <= len);
        len
    }
}
