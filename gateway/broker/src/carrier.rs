use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use gateway_model::WireBuffer;
use tokio::io::{AsyncRead, ReadBuf};

use crate::direct::DirectSocket;
use crate::signal::Signal;
use crate::stream::Stream;
use crate::websocket::WebSocket;

/// What bytes travel on. Protocols never see the difference between the streams.
pub(crate) enum Carrier {
    Direct(DirectSocket),
    /// Boxed, as the next: TLS and the WebSocket have much larger states than everything else.
    Stream(Box<Stream>),
    WebSocket(Box<WebSocket>),
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
    /// Nothing now; the signal is raised when there is.
    Pending,
}

impl Carrier {
    pub(crate) fn read(&mut self, signal: &Arc<Signal>, scratch: &mut [u8]) -> Read {
        match self {
            Self::Direct(socket) => socket.read(scratch),
            Self::Stream(stream) => {
                let mut buffer = ReadBuf::new(scratch);
                match raising(signal, |cx| Pin::new(&mut **stream).poll_read(cx, &mut buffer)) {
                    Poll::Ready(Ok(())) if buffer.filled().is_empty() => Read::Closed,
                    Poll::Ready(Ok(())) => Read::Scratch(buffer.filled().len()),
                    Poll::Ready(Err(_)) => Read::Closed,
                    Poll::Pending => Read::Pending,
                }
            }
            Self::WebSocket(socket) => raising(signal, |cx| socket.read(cx)),
            Self::Datagram(_) => Read::Pending,
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(memory) => raising(signal, |cx| memory.read(cx, scratch)),
        }
    }

    /// Writes as much as the socket takes; true when everything is out, else the signal is raised
    /// when it takes more. Datagrams are not written here.
    pub(crate) fn write(&mut self, signal: &Arc<Signal>, wire: &mut WireBuffer) -> io::Result<bool> {
        match self {
            Self::Direct(socket) => socket.write(wire),
            Self::Stream(stream) => raising(signal, |cx| stream.write(cx, wire)),
            Self::WebSocket(socket) => raising(signal, |cx| socket.write(cx, wire)),
            Self::Datagram(_) => Ok(true),
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(memory) => raising(signal, |cx| memory.write(cx, wire)),
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn shutdown(&mut self, signal: &Arc<Signal>) {
        match self {
            Self::Direct(socket) => socket.shutdown(),
            Self::Stream(stream) => raising(signal, |cx| stream.shutdown(cx)),
            Self::WebSocket(socket) => raising(signal, |cx| {
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
            Self::Stream(stream) => stream.taken(),
            Self::WebSocket(socket) => socket.stream().taken(),
            Self::Datagram(_) => 0,
            #[cfg(any(test, feature = "testing"))]
            Self::Memory(_) => 0,
        }
    }

    /// Whether it writes also where the system has not said that it may.
    pub(crate) fn set_insists(&mut self, value: bool) {
        match self {
            Self::Direct(socket) => socket.set_insists(value),
            Self::Stream(stream) => stream.set_insists(value),
            Self::WebSocket(socket) => socket.stream_mut().set_insists(value),
            Self::Datagram(_) => {}
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
        match self {
            Self::WebSocket(_) => true,
            Self::Stream(stream) => matches!(**stream, Stream::Tls(_)),
            _ => false,
        }
    }

    pub(crate) fn is_datagram(&self) -> bool {
        matches!(self, Self::Datagram(_))
    }
}

/// Calls what the runtime watches: it raises the signal when it is worth another try.
fn raising<R>(signal: &Arc<Signal>, call: impl FnOnce(&mut Context<'_>) -> R) -> R {
    call(&mut Context::from_waker(&signal.waker()))
}
