use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kept::Kept;

/// Registrations from before a restart of the gateway whose devices were not heard of since. Each
/// leaves when its device comes back, by whatever request, or when its lifetime, which starts anew
/// with the gateway, is over.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    by_location: HashMap<Arc<str>, Entry>,
    by_endpoint: HashMap<Box<str>, Arc<str>>,
    by_address: HashMap<SocketAddr, Arc<str>>,
    deadlines: BTreeSet<(Instant, Arc<str>)>,
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    until: Instant,
}

impl Absent {
    pub(crate) fn insert(&mut self, now: Instant, kept: Kept) {
        self.remove_endpoint(&kept.registration.endpoint);
        self.remove(&kept.location);
        let location: Arc<str> = (&*kept.location).into();
        let lifetime = Duration::from_secs(kept.registration.lifetime_secs.into());
        let until = now + lifetime;
        self.by_endpoint.insert(kept.registration.endpoint.clone(), location.clone());
        self.by_address.insert(kept.address, location.clone());
        self.deadlines.insert((until, location.clone()));
        self.by_location.insert(location, Entry { kept, until });
    }

    pub(crate) fn get(&self, location: &str) -> Option<&Kept> {
        self.by_location.get(location).map(|entry| &entry.kept)
    }

    /// The one whose device was last heard from exactly this address.
    pub(crate) fn at(&self, address: SocketAddr) -> Option<&Kept> {
        self.get(self.by_address.get(&address)?)
    }

    pub(crate) fn remove(&mut self, location: &str) -> Option<Kept> {
        let (location, Entry { kept, until }) = self.by_location.remove_entry(location)?;
        // Of several devices that were behind one address, the last has it.
        if self.by_address.get(&kept.address) == Some(&location) {
            self.by_address.remove(&kept.address);
        }
        self.by_endpoint.remove(&kept.registration.endpoint);
        self.deadlines.remove(&(until, location));
        Some(kept)
    }

    pub(crate) fn remove_endpoint(&mut self, endpoint: &str) {
        if let Some(location) = self.by_endpoint.get(endpoint).cloned() {
            self.remove(&location);
        }
    }

    /// Forgets those whose lifetime is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((_, location)) = self.deadlines.first().filter(|(until, _)| *until <= now) {
            let location = location.clone();
            self.remove(&location);
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
