use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};

use crate::listener::Listener;
use crate::signal::Signal;
use crate::stream::Socket;

/// A shard's share in a listening socket. Every shard has one, so that whichever has time accepts,
/// and none can keep others waiting.
pub(crate) struct Acceptor {
    socket: ListeningSocket,
    pub(crate) listener: Arc<Listener>,
    pub(crate) signal: Arc<Signal>,
    /// The system could not give us a connection; when to ask again.
    pub(crate) paused_until: Option<Instant>,
}

enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A listening socket of no runtime.
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
    /// Registers the socket with the current runtime.
    pub(crate) fn new(
        socket: LooseListener,
        listener: Arc<Listener>,
        signal: Arc<Signal>,
    ) -> io::Result<Self> {
        let socket = match socket {
            LooseListener::Tcp(socket) => ListeningSocket::Tcp(TcpListener::from_std(socket)?),
            LooseListener::Unix(socket) => ListeningSocket::Unix(UnixListener::from_std(socket)?),
        };
        Ok(Self { socket, listener, signal, paused_until: None })
    }

    /// The next connection, or `None` if there is none now; then the waker is registered, or a
    /// pause is due.
    pub(crate) fn accept(&mut self, now: Instant) -> Option<(Socket, SocketAddr)> {
        let waker = self.signal.waker();
        let mut cx = Context::from_waker(&waker);
        loop {
            let error = match self.poll_accept(&mut cx) {
                Poll::Ready(Ok(accepted)) => return Some(accepted),
                Poll::Ready(Err(error)) => error,
                Poll::Pending => return None,
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

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, SocketAddr)>> {
        match &self.socket {
            ListeningSocket::Tcp(socket) => {
                socket.poll_accept(cx).map_ok(|(stream, address)| (stream.into(), address))
            }
            // Whoever may open the file is on this machine.
            ListeningSocket::Unix(socket) => socket
                .poll_accept(cx)
                .map_ok(|(stream, _)| (stream.into(), SocketAddr::from(([127, 0, 0, 1], 0)))),
        }
    }
}
