use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gateway_model::WireBuffer;
use mio::net::UdpSocket;

use crate::listener::Listener;
use crate::peers::Peers;
use crate::poller::Poller;

/// A datagram socket of one shard and the peers that talk to it.
pub(crate) struct DatagramSocket {
    medium: Medium,
    pub(crate) listener: Arc<Listener>,
    /// The connection of each source address.
    pub(crate) peers: Peers,
}

/// What datagrams travel through.
pub(crate) enum Medium {
    System(UdpSocket),
    #[cfg(any(test, feature = "testing"))]
    Memory(crate::memory::Air),
}

impl Medium {
    fn receive(&self, scratch: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match self {
            Self::System(socket) => socket.recv_from(scratch),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(air) => air.lock().receive(scratch).ok_or(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn send(&self, datagram: &[u8], address: SocketAddr) -> io::Result<usize> {
        match self {
            Self::System(socket) => socket.send_to(datagram, address),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(air) => Ok(air.lock().send(datagram, address)),
        }
    }
}

impl DatagramSocket {
    pub(crate) fn new(
        mut medium: Medium,
        listener: Arc<Listener>,
        poller: &Poller,
        key: u32,
    ) -> io::Result<Self> {
        match &mut medium {
            Medium::System(socket) => poller.watch_reading(socket, key)?,
            #[cfg(any(test, feature = "testing"))]
            Medium::Memory(_) => {}
        }
        Ok(Self { medium, listener, peers: Peers::default() })
    }

    /// The next datagram, or `None` if there is none now; then the poller says when there is.
    pub(crate) fn receive(&self, scratch: &mut [u8]) -> Option<(usize, SocketAddr)> {
        loop {
            match self.medium.receive(scratch) {
                Ok(received) => return Some(received),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // An ICMP error of an earlier datagram; it says nothing of the next one.
                Err(_) => {}
            }
        }
    }

    /// Sends what is written. A datagram that the socket cannot take now is lost, as the network
    /// may lose any; protocols that care retransmit.
    pub(crate) fn send(&self, address: SocketAddr, wire: &WireBuffer) {
        for datagram in wire.datagrams() {
            match self.medium.send(datagram, address) {
                Ok(count) => {
                    self.listener.gauges.bytes_out.fetch_add(count as u64, Ordering::Relaxed);
                }
                Err(_) => {
                    self.listener.gauges.datagrams_lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}
