use std::hash::BuildHasher;
use std::net::SocketAddr;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// The connections of one datagram socket by the source addresses of their peers.
///
/// It holds numbers of slots only, as the address is in the connection: five bytes for each place where
/// a map of addresses takes forty. `address_of` says what the address of a slot is.
#[derive(Default)]
pub(crate) struct Peers {
    slots: HashTable<u32>,
    hasher: RandomState,
}

impl Peers {
    pub(crate) fn find(
        &self,
        address: SocketAddr,
        address_of: impl Fn(u32) -> Option<SocketAddr>,
    ) -> Option<u32> {
        let is_it = |slot: &u32| address_of(*slot) == Some(address);
        self.slots.find(self.hasher.hash_one(address), is_it).copied()
    }

    /// The address must be new.
    pub(crate) fn insert(&mut self, slot: u32, address_of: impl Fn(u32) -> Option<SocketAddr>) {
        let hash = |slot: &u32| self.hasher.hash_one(address_of(*slot).expect("a peer has an address"));
        self.slots.insert_unique(hash(&slot), slot, hash);
    }

    /// The slot may be empty already.
    pub(crate) fn remove(
        &mut self,
        slot: u32,
        address: SocketAddr,
        address_of: impl Fn(u32) -> Option<SocketAddr>,
    ) {
        if let Ok(present) = self.slots.find_entry(self.hasher.hash_one(address), |present| *present == slot)
        {
            present.remove();
        }
        // A fleet that has gone leaves no room behind.
        const SPARE: usize = 64;
        let (count, capacity) = (self.slots.len(), self.slots.capacity());
        if count * 8 + SPARE < capacity {
            let hash = |slot: &u32| self.hasher.hash_one(address_of(*slot).expect("a peer has an address"));
            self.slots.shrink_to(count * 2, hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_found_by_address_as_they_come_and_go() {
        const COUNT: u32 = 10_000;
        let address = |slot: u32| SocketAddr::from(([10, 0, 0, 1], slot as u16));
        let address_of = |slot: u32| Some(address(slot));
        let mut peers = Peers::default();
        for slot in 0..COUNT {
            assert_eq!(peers.find(address(slot), address_of), None);
            peers.insert(slot, address_of);
        }
        assert!((0..COUNT).all(|slot| peers.find(address(slot), address_of) == Some(slot)));
        for slot in 0..COUNT - 10 {
            // The connection has left its slot when its peer is forgotten.
            peers.remove(slot, address(slot), |other| (other != slot).then(|| address(other)));
            assert_eq!(peers.find(address(slot), address_of), None);
        }
        assert!((COUNT - 10..COUNT).all(|slot| peers.find(address(slot), address_of) == Some(slot)));
        assert!(peers.slots.capacity() < 200, "{}", peers.slots.capacity());
    }
}
