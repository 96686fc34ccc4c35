use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gateway_model::WireBuffer;
use mio::net::UdpSocket;

use crate::listener::Listener;
use crate::outgoing::{Outgoing, Sent};
use crate::peers::Peers;
use crate::poller::Poller;

/// A datagram socket of one shard and the peers that talk to it.
pub(crate) struct DatagramSocket {
    medium: Medium,
    pub(crate) listener: Arc<Listener>,
    /// The connection of each source address.
    pub(crate) peers: Peers,
    outgoing: Outgoing,
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

    fn send(&self, outgoing: &mut Outgoing) -> Sent {
        match self {
            Self::System(socket) => outgoing.send(socket),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(air) => {
                let (mut air, mut sent) = (air.lock(), Sent::default());
                outgoing.drain(|address, datagram| sent.bytes += air.send(datagram, address) as u64);
                sent
            }
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
        Ok(Self { medium, listener, peers: Peers::default(), outgoing: Outgoing::default() })
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

    /// Puts what is written on its way; it is sent with the rest of the pass.
    pub(crate) fn send(&mut self, address: SocketAddr, wire: &WireBuffer) {
        for datagram in wire.datagrams() {
            self.outgoing.push(address, datagram);
            if self.outgoing.is_full() {
                self.flush();
            }
        }
    }

    /// Sends what is on its way.
    pub(crate) fn flush(&mut self) {
        if self.outgoing.is_empty() {
            return;
        }
        let Sent { bytes, lost } = self.medium.send(&mut self.outgoing);
        self.listener.gauges.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        self.listener.gauges.datagrams_lost.fetch_add(lost, Ordering::Relaxed);
    }
}
