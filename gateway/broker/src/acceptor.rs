use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, UnixListener};

use crate::direct::LooseSocket;
use crate::listener::Listener;
use crate::poller::Poller;

/// A shard's share in a listening socket. Every shard has one, so that whichever has time accepts,
/// and none can keep others waiting.
pub(crate) struct Acceptor {
    socket: ListeningSocket,
    pub(crate) listener: Arc<Listener>,
    /// The system could not give us a connection; when to ask again.
    pub(crate) paused_until: Option<Instant>,
}

enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A listening socket that nobody watches yet.
pub(crate) enum LooseListener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// Gives others time to close when there are no more descriptors.
const PAUSE: Duration = Duration::from_millis(50);

impl LooseListener {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }
}

impl Acceptor {
    pub(crate) fn new(
        socket: LooseListener,
        listener: Arc<Listener>,
        poller: &Poller,
        key: u32,
    ) -> io::Result<Self> {
        let socket = match socket {
            LooseListener::Tcp(socket) => {
                let mut socket = TcpListener::from_std(socket);
                poller.watch_reading(&mut socket, key)?;
                ListeningSocket::Tcp(socket)
            }
            LooseListener::Unix(socket) => {
                let mut socket = UnixListener::from_std(socket);
                poller.watch_reading(&mut socket, key)?;
                ListeningSocket::Unix(socket)
            }
        };
        Ok(Self { socket, listener, paused_until: None })
    }

    /// The next connection, or `None` if there is none now; then the poller says when there is, or a
    /// pause is due.
    pub(crate) fn accept(&mut self, now: Instant) -> Option<(LooseSocket, SocketAddr)> {
        loop {
            let error = match self.try_accept() {
                Ok(accepted) => return Some(accepted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => error,
            };
            // The peer is gone already; that says nothing of the next one.
            if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
                continue;
            }
            if let Some(failed) = self.listener.gauges.accepts_failed.add() {
                tracing::warn!(listener = %self.listener.name, failed, "cannot accept: {error}");
            }
            self.paused_until = Some(now + PAUSE);
            return None;
        }
    }

    fn try_accept(&self) -> io::Result<(LooseSocket, SocketAddr)> {
        Ok(match &self.socket {
            ListeningSocket::Tcp(socket) => {
                let (stream, address) = socket.accept()?;
                (LooseSocket::Tcp(stream), address)
            }
            // Whoever may open the file is on this machine.
            ListeningSocket::Unix(socket) => {
                (LooseSocket::Unix(socket.accept()?.0), SocketAddr::from(([127, 0, 0, 1], 0)))
            }
        })
    }
}
