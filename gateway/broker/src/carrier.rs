use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use gateway_model::WireBuffer;
use tokio::io::{AsyncRead, ReadBuf};

use crate::direct::DirectSocket;
use crate::poller::Poller;
use crate::ready_queue::ReadyQueue;
use crate::stream::Stream;
use crate::websocket::WebSocket;

/// What bytes travel on. Protocols never see the difference between the streams.
pub(crate) enum Carrier {
    Direct(DirectSocket),
    /// Boxed, as the next: TLS and the WebSocket have much larger states than everything else.
    Stream(Box<Watched<Stream>>),
    WebSocket(Box<Watched<WebSocket>>),
    /// One source address, that of the peer, of the datagram socket with this number in the shard.
    Datagram(u32),
    #[cfg(any(test, feature = "testing"))]
    Memory(crate::memory::Memory),
}

/// What one read brought.
pub(crate) enum Read {
    /// So many bytes stand at the beginning of the scratch buffer.
    Scratch(usize),
    Frame(Bytes),
    Closed,
    /// Nothing now; the connection's key is raised when there is.
    Pending,
}

impl Carrier {
    /// Has the connection's key raised whenever the socket can be read or written again.
    pub(crate) fn watch(&mut self, poller: &Poller, queue: &Arc<ReadyQueue>, key: u32) -> io::Result<()> {
        match self {
            Self::Direct(socket) => return socket.watch(poller, key),
            Self::Stream(stream) => stream.waker = queue.waker(key),
            Self::WebSocket(socket) => socket.waker = queue.waker(key),
            Self::Datagram(_) => {}
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(memory) => memory.watch(queue, key),
        }
        Ok(())
    }

    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> Read {
        match self {
            Self::Direct(socket) => socket.read(scratch),
            Self::Stream(stream) => {
                let mut buffer = ReadBuf::new(scratch);
                match stream.watched(|stream, cx| Pin::new(stream).poll_read(cx, &mut buffer)) {
                    Poll::Ready(Ok(())) if buffer.filled().is_empty() => Read::Closed,
                    Poll::Ready(Ok(())) => Read::Scratch(buffer.filled().len()),
                    Poll::Ready(Err(_)) => Read::Closed,
                    Poll::Pending => Read::Pending,
                }
            }
            Self::WebSocket(socket) => socket.watched(WebSocket::read),
            Self::Datagram(_) => Read::Pending,
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(memory) => memory.read(scratch),
        }
    }

    /// Writes as much as the socket takes; true when everything is out, else the connection's key
    /// is raised when it takes more. Datagrams are not written here.
    pub(crate) fn write(&mut self, wire: &mut WireBuffer) -> io::Result<bool> {
        match self {
            Self::Direct(socket) => socket.write(wire),
            Self::Stream(stream) => stream.watched(|stream, cx| stream.write(cx, wire)),
            Self::WebSocket(socket) => socket.watched(|socket, cx| socket.write(cx, wire)),
            Self::Datagram(_) => Ok(true),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(memory) => memory.write(wire),
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn shutdown(&mut self) {
        match self {
            Self::Direct(socket) => socket.shutdown(),
            Self::Stream(stream) => stream.watched(Stream::shutdown),
            Self::WebSocket(socket) => socket.watched(|socket, cx| {
                socket.say_goodbye(cx, None);
                socket.stream_mut().shutdown(cx);
            }),
            Self::Datagram(_) => {}
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(memory) => memory.shutdown(),
        }
    }

    /// Bytes that the socket has taken so far, wrapping.
    pub(crate) fn taken(&self) -> u32 {
        match self {
            Self::Direct(socket) => socket.taken(),
            Self::Stream(stream) => stream.inner.taken(),
            Self::WebSocket(socket) => socket.inner.stream().taken(),
            Self::Datagram(_) => 0,
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(_) => 0,
        }
    }

    /// Whether it writes also where the system has not said that it may.
    pub(crate) fn set_insists(&mut self, value: bool) {
        match self {
            Self::Direct(socket) => socket.set_insists(value),
            Self::Stream(stream) => stream.inner.set_insists(value),
            Self::WebSocket(socket) => socket.inner.stream_mut().set_insists(value),
            Self::Datagram(_) => {}
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(_) => {}
        }
    }

    /// The client has a session: it may send messages of any size that is allowed.
    #[inline]
    pub(crate) fn lift_bound(&mut self) {
        if let Self::WebSocket(socket) = self {
            socket.inner.lift_bound();
        }
    }

    /// Whether the carrier has a goodbye of its own.
    pub(crate) fn says_goodbye(&self) -> bool {
        match self {
            Self::WebSocket(_) => true,
            Self::Stream(stream) => matches!(stream.inner, Stream::Tls(_)),
            _ => false,
        }
    }

    pub(crate) fn is_datagram(&self) -> bool {
        matches!(self, Self::Datagram(_))
    }
}

/// What the runtime watches, and whom it wakes.
pub(crate) struct Watched<T> {
    inner: T,
    waker: Waker,
}

impl<T> Watched<T> {
    /// Nobody is woken yet.
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, waker: Waker::noop().clone() }
    }

    fn watched<R>(&mut self, call: impl FnOnce(&mut T, &mut Context<'_>) -> R) -> R {
        call(&mut self.inner, &mut Context::from_waker(&self.waker))
    }
}
