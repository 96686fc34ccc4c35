use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};

use gateway_model::WireBuffer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::direct::LooseSocket;

/// A connected socket of this shard's runtime, with the bytes that it has taken, wrapping: they say
/// whether a peer takes anything at all.
///
/// The system says that a socket can be written again only when a third of its buffer is free, which
/// on a slow line may be minutes. One that insists writes without having been told.
pub(crate) enum Socket {
    Tcp { stream: TcpStream, taken: u32, insists: bool },
    Unix { stream: UnixStream, taken: u32, insists: bool },
}

/// A byte stream, encrypted or not.
pub(crate) enum Stream {
    Plain(Socket),
    /// Boxed: the state of TLS is much larger than everything else.
    Tls(Box<TlsStream<Socket>>),
}

/// Slices of one vectored write.
const SLICES_MAX: usize = 64;

impl Socket {
    /// Takes it from the runtime.
    pub(crate) fn loosen(self) -> io::Result<LooseSocket> {
        Ok(match self {
            Self::Tcp { stream, .. } => LooseSocket::Tcp(mio::net::TcpStream::from_std(stream.into_std()?)),
            Self::Unix { stream, .. } => {
                LooseSocket::Unix(mio::net::UnixStream::from_std(stream.into_std()?))
            }
        })
    }

    fn try_write(&mut self, wire: &WireBuffer) -> io::Result<usize> {
        let count = match wire.as_contiguous() {
            Some(bytes) => match self {
                Self::Tcp { stream, .. } => stream.try_write(bytes),
                Self::Unix { stream, .. } => stream.try_write(bytes),
            },
            None => {
                let slices: Vec<IoSlice<'_>> = wire.slices().take(SLICES_MAX).map(IoSlice::new).collect();
                match self {
                    Self::Tcp { stream, .. } => stream.try_write_vectored(&slices),
                    Self::Unix { stream, .. } => stream.try_write_vectored(&slices),
                }
            }
        }?;
        self.took(count);
        Ok(count)
    }

    fn taken(&self) -> u32 {
        match self {
            Self::Tcp { taken, .. } | Self::Unix { taken, .. } => *taken,
        }
    }

    fn took(&mut self, count: usize) {
        match self {
            Self::Tcp { taken, .. } | Self::Unix { taken, .. } => *taken = taken.wrapping_add(count as u32),
        }
    }

    fn insists(&self) -> bool {
        match self {
            Self::Tcp { insists, .. } | Self::Unix { insists, .. } => *insists,
        }
    }

    fn set_insists(&mut self, value: bool) {
        match self {
            Self::Tcp { insists, .. } | Self::Unix { insists, .. } => *insists = value,
        }
    }

    /// Writes past the runtime, which waits to be told by the system.
    fn insist(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.insists() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = match self {
            Self::Tcp { stream, .. } => socket2::SockRef::from(&*stream).send_vectored(slices),
            Self::Unix { stream, .. } => socket2::SockRef::from(&*stream).send_vectored(slices),
        }?;
        self.took(count);
        Ok(count)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp { stream, .. } => stream.poll_write_ready(cx),
            Self::Unix { stream, .. } => stream.poll_write_ready(cx),
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, wire: &mut WireBuffer) -> io::Result<bool> {
        while !wire.is_empty() {
            match self.try_write(wire) {
                Ok(count) if count == wire.len() => wire.clear(),
                Ok(count) => wire.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.poll_write_ready(cx) {
                    Poll::Pending if !self.insists() => return Ok(false),
                    Poll::Pending => {
                        let slices: Vec<_> = wire.slices().take(SLICES_MAX).map(IoSlice::new).collect();
                        match self.insist(&slices) {
                            Ok(count) => wire.advance(count),
                            Err(_) => return Ok(false),
                        }
                    }
                    Poll::Ready(ready) => ready?,
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Says that nothing more will be written.
    fn shutdown(&self) {
        let _ = match self {
            Self::Tcp { stream, .. } => socket2::SockRef::from(stream).shutdown(Shutdown::Write),
            Self::Unix { stream, .. } => socket2::SockRef::from(stream).shutdown(Shutdown::Write),
        };
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp { stream, taken: 0, insists: false }
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix { stream, taken: 0, insists: false }
    }
}

impl TryFrom<LooseSocket> for Socket {
    type Error = io::Error;

    /// Registers it with the current runtime.
    fn try_from(socket: LooseSocket) -> io::Result<Self> {
        Ok(match socket {
            LooseSocket::Tcp(stream) => TcpStream::from_std(stream.into())?.into(),
            LooseSocket::Unix(stream) => UnixStream::from_std(stream.into())?.into(),
        })
    }
}

impl Stream {
    /// Writes as much as the socket takes; true when everything is out, else the waker is
    /// registered.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>, wire: &mut WireBuffer) -> io::Result<bool> {
        match self {
            Self::Plain(socket) => socket.write(cx, wire),
            Self::Tls(stream) => write_tls(stream, cx, wire),
        }
    }

    pub(crate) fn shutdown(&mut self, cx: &mut Context<'_>) {
        if let Self::Tls(stream) = self {
            // The close_notify alert (RFC 8446 section 6.1), if the socket takes it now.
            let _ = Pin::new(&mut **stream).poll_shutdown(cx);
        }
        self.socket().shutdown();
    }

    /// Bytes that the peer's system has taken so far, wrapping.
    pub(crate) fn taken(&self) -> u32 {
        self.socket().taken()
    }

    /// Whether it writes also where the system has not said that it may.
    pub(crate) fn set_insists(&mut self, value: bool) {
        match self {
            Self::Plain(socket) => socket.set_insists(value),
            Self::Tls(stream) => stream.get_mut().0.set_insists(value),
        }
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// All of it is one write into TLS, so that it becomes as few records as possible.
fn write_tls(
    stream: &mut TlsStream<Socket>,
    cx: &mut Context<'_>,
    wire: &mut WireBuffer,
) -> io::Result<bool> {
    let mut stream = Pin::new(stream);
    while !wire.is_empty() {
        let written = match wire.as_contiguous() {
            Some(bytes) => stream.as_mut().poll_write(cx, bytes),
            None => {
                let slices: Vec<IoSlice<'_>> = wire.slices().take(SLICES_MAX).map(IoSlice::new).collect();
                stream.as_mut().poll_write_vectored(cx, &slices)
            }
        };
        match written {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(count) => wire.advance(count?),
            Poll::Pending => return Ok(false),
        }
    }
    match stream.poll_flush(cx) {
        Poll::Ready(flushed) => flushed.map(|()| true),
        Poll::Pending => Ok(false),
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp { stream, .. } => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix { stream, .. } => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.as_mut().poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut *self {
            Self::Tcp { stream, .. } => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix { stream, .. } => Pin::new(stream).poll_write_vectored(cx, slices),
        };
        match written {
            Poll::Ready(Ok(count)) => self.took(count),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                return self.insist(slices).map_or(Poll::Pending, |count| Poll::Ready(Ok(count)));
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        }
    }
}

/// For the WebSocket, which writes by itself.
impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().shutdown(cx);
        Poll::Ready(Ok(()))
    }
}
