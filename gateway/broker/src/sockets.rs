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
    pub(crate) socket: UdpSocket,
    pub(crate) listener: Arc<Listener>,
    pub(crate) signal: Arc<Signal>,
    /// The connection of each source address.
    pub(crate) peers: HashMap<SocketAddr, u32, RandomState>,
}

impl DatagramSocket {
    pub(crate) fn new(
        socket: std::net::UdpSocket,
        listener: Arc<Listener>,
        signal: Arc<Signal>,
    ) -> io::Result<Self> {
        Ok(Self { socket: UdpSocket::from_std(socket)?, listener, signal, peers: HashMap::default() })
    }

    /// The next datagram, or `None` if there is none now; then the waker is registered.
    pub(crate) fn receive(&self, scratch: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let waker = self.signal.waker();
        let mut cx = Context::from_waker(&waker);
        loop {
            let mut buffer = ReadBuf::new(scratch);
            match self.socket.poll_recv_from(&mut cx, &mut buffer) {
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
            match self.socket.try_send_to(datagram, address) {
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
