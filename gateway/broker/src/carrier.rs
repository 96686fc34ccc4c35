use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use gateway_model::WireBuffer;
use tokio::io::{AsyncRead, ReadBuf};

use crate::stream::Stream;
use crate::websocket::WebSocket;

/// What bytes travel on. Protocols never see the difference between the streams.
pub(crate) enum Carrier {
    Stream(Stream),
    /// Boxed: the WebSocket state is much larger than everything else.
    WebSocket(Box<WebSocket>),
    /// One source address of a datagram socket of this shard.
    Datagram {
        socket: u32,
        address: SocketAddr,
    },
    #[cfg(any(test, feature = "testing"))]
    Memory(crate::memory::Memory),
}

/// What one read brought.
pub(crate) enum Read {
    /// So many bytes stand at the beginning of the scratch buffer.
    Scratch(usize),
    Frame(Bytes),
    Closed,
    /// Nothing now; the waker is registered.
    Pending,
}

impl Carrier {
    pub(crate) fn read(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Read {
        match self {
            Self::Stream(stream) => {
                let mut buffer = ReadBuf::new(scratch);
                match Pin::new(stream).poll_read(cx, &mut buffer) {
                    Poll::Ready(Ok(())) if buffer.filled().is_empty() => Read::Closed,
                    Poll::Ready(Ok(())) => Read::Scratch(buffer.filled().len()),
                    Poll::Ready(Err(_)) => Read::Closed,
                    Poll::Pending => Read::Pending,
                }
            }
            Self::WebSocket(socket) => socket.read(cx),
            Self::Datagram { .. } => Read::Pending,
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(memory) => memory.read(cx, scratch),
        }
    }

    /// Writes as much as the socket takes; true when everything is out, else the waker is
    /// registered. Datagrams are not written here.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>, wire: &mut WireBuffer) -> io::Result<bool> {
        match self {
            Self::Stream(stream) => stream.write(cx, wire),
            Self::WebSocket(socket) => socket.write(cx, wire),
            Self::Datagram { .. } => Ok(true),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(memory) => memory.write(cx, wire),
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn shutdown(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Stream(stream) => stream.shutdown(cx),
            Self::WebSocket(socket) => {
                socket.say_goodbye(cx, None);
                socket.stream_mut().shutdown(cx);
            }
            Self::Datagram { .. } => {}
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(memory) => memory.shutdown(),
        }
    }

    /// Bytes that the socket has taken so far, wrapping.
    pub(crate) fn taken(&self) -> u32 {
        match self {
            Self::Stream(stream) => stream.taken(),
            Self::WebSocket(socket) => socket.stream().taken(),
            Self::Datagram { .. } => 0,
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(_) => 0,
        }
    }

    /// Whether it writes also where the system has not said that it may.
    pub(crate) fn set_insists(&mut self, value: bool) {
        match self {
            Self::Stream(stream) => stream.set_insists(value),
            Self::WebSocket(socket) => socket.stream_mut().set_insists(value),
            Self::Datagram { .. } => {}
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(_) => {}
        }
    }

    /// The client has a session: it may send messages of any size that is allowed.
    #[inline]
    pub(crate) fn lift_bound(&mut self) {
        if let Self::WebSocket(socket) = self {
            socket.lift_bound();
        }
    }

    /// Whether the carrier has a goodbye of its own.
    pub(crate) fn says_goodbye(&self) -> bool {
        matches!(self, Self::WebSocket(_) | Self::Stream(Stream::Tls(_)))
    }

    pub(crate) fn is_datagram(&self) -> bool {
        matches!(self, Self::Datagram { .. })
    }
}
