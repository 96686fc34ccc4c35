use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use foldhash::fast::RandomState;
use gateway_model::WireBuffer;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use crate::listener::Listener;
use crate::signal::Signal;

/// A datagram socket of one shard and the peers that talk to it.
pub(crate) struct DatagramSocket {
    medium: Medium,
    pub(crate) listener: Arc<Listener>,
    pub(crate) signal: Arc<Signal>,
    /// The connection of each source address.
    pub(crate) peers: HashMap<SocketAddr, u32, RandomState>,
}

/// What datagrams travel through.
pub(crate) enum Medium {
    System(UdpSocket),
    #[cfg(any(test, feature = "testing"))]
    Memory(crate::memory::Air),
}

impl Medium {
    /// Registers a socket with the current runtime.
    pub(crate) fn system(socket: std::net::UdpSocket) -> io::Result<Self> {
        UdpSocket::from_std(socket).map(Self::System)
    }

    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<SocketAddr>> {
        match self {
            Self::System(socket) => socket.poll_recv_from(cx, buffer),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(air) => air.lock().poll_receive(cx, buffer).map(Ok),
        }
    }

    fn try_send(&self, datagram: &[u8], address: SocketAddr) -> io::Result<usize> {
        match self {
            Self::System(socket) => socket.try_send_to(datagram, address),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(air) => Ok(air.lock().send(datagram, address)),
        }
    }
}

impl DatagramSocket {
    pub(crate) fn new(medium: Medium, listener: Arc<Listener>, signal: Arc<Signal>) -> Self {
        Self { medium, listener, signal, peers: HashMap::default() }
    }

    /// The next datagram, or `None` if there is none now; then the waker is registered.
    pub(crate) fn receive(&self, scratch: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let waker = self.signal.waker();
        let mut cx = Context::from_waker(&waker);
        loop {
            let mut buffer = ReadBuf::new(scratch);
            match self.medium.poll_receive(&mut cx, &mut buffer) {
                Poll::Ready(Ok(address)) => return Some((buffer.filled().len(), address)),
                // An ICMP error of an earlier datagram; it says nothing of the next one.
                Poll::Ready(Err(_)) => {}
                Poll::Pending => return None,
            }
        }
    }

    /// Sends what is written. A datagram that the socket cannot take now is lost, as the network
    /// may lose any; protocols that care retransmit.
    pub(crate) fn send(&self, address: SocketAddr, wire: &WireBuffer) {
        for datagram in wire.datagrams() {
            match self.medium.try_send(datagram, address) {
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
