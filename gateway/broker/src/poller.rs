use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use mio::event::{Event, Source};
use mio::{Events, Interest, Registry, Token};
use tokio::io::unix::AsyncFd;

/// Tells a shard which of its sockets are ready.
///
/// The runtime would keep 300 bytes for each of them and wake a task by its own waker. Here a socket
/// costs nothing beyond its descriptor, and what is ready comes as a list of the shard's own keys. The
/// runtime watches one descriptor: that of the poller.
pub(crate) struct Poller {
    poll: AsyncFd<mio::Poll>,
    events: Events,
}

/// What the system says of the socket with a key. It is said once: until the socket has refused to be
/// read, or written, it is not said again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) key: u32,
    pub(crate) is_readable: bool,
    pub(crate) is_writable: bool,
    /// Behind what can be read is the end.
    pub(crate) is_read_closed: bool,
}

/// Sockets in one look. Those behind them are in the next.
const EVENTS_MAX: usize = 1024;

impl Poller {
    /// In the runtime of its shard.
    pub(crate) fn new() -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe; mio::Poll has one descriptor as long as it lives"
        )]
        let poll = AsyncFd::with_interest(mio::Poll::new()?, tokio::io::Interest::READABLE)?;
        Ok(Self { poll, events: Events::with_capacity(EVENTS_MAX) })
    }

    /// Watches a socket for both directions, until it is closed.
    pub(crate) fn watch(&self, socket: &mut impl Source, key: u32) -> io::Result<()> {
        self.registry().register(socket, Token(key as usize), Interest::READABLE | Interest::WRITABLE)
    }

    /// Watches a socket that is only read.
    pub(crate) fn watch_reading(&self, socket: &mut impl Source, key: u32) -> io::Result<()> {
        self.registry().register(socket, Token(key as usize), Interest::READABLE)
    }

    fn registry(&self) -> &Registry {
        self.poll.get_ref().registry()
    }

    /// Adds what has become ready to `found`. If that is all, the task is woken when there is more;
    /// false if it is to look again.
    pub(crate) fn look(&mut self, cx: &mut Context<'_>, found: &mut Vec<Ready>) -> bool {
        let Poll::Ready(Ok(mut guard)) = self.poll.poll_read_ready_mut(cx) else { return true };
        if let Err(error) = guard.get_inner_mut().poll(&mut self.events, Some(Duration::ZERO)) {
            debug_assert_eq!(error.kind(), io::ErrorKind::Interrupted);
            return false;
        }
        let mut count = 0;
        found.extend(self.events.iter().inspect(|_| count += 1).map(Ready::from));
        if count == EVENTS_MAX {
            return false;
        }
        guard.clear_ready();
        // Now the runtime knows whom to wake.
        self.poll.poll_read_ready_mut(cx).is_pending()
    }
}

impl From<&Event> for Ready {
    fn from(event: &Event) -> Self {
        let is_over = event.is_error() || event.is_read_closed();
        Self {
            key: event.token().0 as u32,
            is_readable: event.is_readable() || is_over,
            is_writable: event.is_writable() || event.is_error() || event.is_write_closed(),
            is_read_closed: is_over,
        }
    }
}
