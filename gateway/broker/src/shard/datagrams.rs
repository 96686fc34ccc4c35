//! The way of a datagram: from the one socket to the connection of its source address.

use std::net::SocketAddr;
use std::sync::Arc;

use gateway_bus::Moment;

use super::{SOCKET_KEY, Shard};
use crate::carrier::Carrier;
use crate::connection::Connection;
use crate::listener::Listener;
use crate::ready_queue::IO;
use crate::sockets::{DatagramSocket, Medium};

/// Datagrams of one socket in one pass, so that a flood leaves time for the others.
const DATAGRAMS_MAX: usize = 256;

impl Shard {
    pub(super) fn open_socket(&mut self, medium: Medium, listener: Arc<Listener>) {
        let key = SOCKET_KEY | self.sockets.len() as u32;
        match DatagramSocket::new(medium, listener.clone(), &self.poller, key) {
            Ok(socket) => {
                self.sockets.push(socket);
                self.handle().queue.raise(key, IO);
            }
            Err(error) => tracing::error!(listener = %listener.name, "listening ended: {error}"),
        }
    }

    pub(super) fn receive_datagrams(&mut self, index: u32, moment: Moment) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for count in 0.. {
            if count == DATAGRAMS_MAX {
                self.handle().queue.raise(SOCKET_KEY | index, IO);
                break;
            }
            let Some((length, address)) = self.sockets[index as usize].receive(&mut scratch) else { break };
            let Some(key) = self.peer(index, address, moment) else { continue };
            self.with(key, |connection, world, pool, _| {
                connection.receive(world, pool, moment, &scratch[..length]);
            });
            self.touch(key);
        }
        self.scratch = scratch;
    }

    /// The connection of a source address, made if there is room for it.
    fn peer(&mut self, index: u32, address: SocketAddr, moment: Moment) -> Option<u32> {
        let socket = &self.sockets[index as usize];
        if let Some(key) = socket.peers.find(address, address_of(&self.slots)) {
            return Some(key);
        }
        let listener = socket.listener.clone();
        if self.stopping || !listener.enter(moment.instant) {
            return None;
        }
        let carrier = Carrier::Datagram(index);
        let key = self.connect(carrier, listener.peer(address), &listener, moment)?;
        self.sockets[index as usize].peers.insert(key, address_of(&self.slots));
        Some(key)
    }
}

/// The address of the peer in a slot.
pub(super) fn address_of(slots: &[Option<Box<Connection>>]) -> impl Fn(u32) -> Option<SocketAddr> + '_ {
    |slot| Some(slots.get(slot as usize)?.as_ref()?.client.peer.address)
}

/// A datagram peer that has no session and waits for nothing: its datagram was noise, or one that
/// needed no memory.
pub(super) fn is_forgettable(connection: &Connection) -> bool {
    connection.carrier.is_datagram()
        && connection.client.principal.is_none()
        && connection.next_timeout().is_none()
}
