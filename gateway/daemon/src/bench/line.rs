use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::web::{self, FrameReader};
use crate::client::Stream;

/// What carries the bytes of one client, and what of them is not whole or not sent yet.
///
/// An idle one holds no buffer: reading goes into the thread's buffer, writing into one that is given
/// back as soon as it is empty.
pub struct Line {
    socket: Socket,
    /// What frames what comes, if it is a WebSocket.
    pub web: Option<Box<FrameReader>>,
    /// The beginning of a packet whose end has not come.
    pub partial: Vec<u8>,
    out: Vec<u8>,
    sent: usize,
    /// The socket took less than it was given, and will say when it takes more.
    pub is_blocked: bool,
    /// The thread knows that there is something to send.
    pub is_dirty: bool,
}

pub enum Socket {
    Tcp(TcpStream),
    /// TLS, or a Unix socket.
    Other(Box<dyn Stream>),
}

/// Output buffers that nobody uses.
#[derive(Default)]
pub struct Spare(Vec<Vec<u8>>);

/// What a thread keeps of them, and how large one may be to be kept.
const SPARE_MAX: usize = 256;
const SPARE_BYTES_MAX: usize = 256 * 1024;

impl Line {
    pub fn new(socket: Socket, is_web: bool) -> Self {
        Self {
            socket,
            web: is_web.then(Box::default),
            partial: Vec::new(),
            out: Vec::new(),
            sent: 0,
            is_blocked: false,
            is_dirty: false,
        }
    }

    pub fn poll_read(&mut self, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(into);
        let read = match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(context, &mut into),
            Socket::Other(stream) => Pin::new(stream).poll_read(context, &mut into),
        };
        read.map_ok(|()| into.filled().len())
    }

    /// Appends one packet; it leaves with the next [`Line::send`].
    #[inline]
    pub fn put(&mut self, spare: &mut Spare, packet: impl FnOnce(&mut Vec<u8>)) {
        if self.out.capacity() == 0 {
            self.out = spare.0.pop().unwrap_or_default();
        }
        let start = self.out.len();
        packet(&mut self.out);
        if self.web.is_some() {
            web::frame_binary(&mut self.out, start);
        }
    }

    pub fn put_pong(&mut self, spare: &mut Spare, ping: &[u8]) {
        if self.out.capacity() == 0 {
            self.out = spare.0.pop().unwrap_or_default();
        }
        web::put_pong(&mut self.out, ping);
    }

    /// Bytes that have not been sent.
    #[inline]
    pub fn backlog(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Sends as much as goes; [`Line::is_blocked`] says whether that was all.
    pub fn send(&mut self, context: &mut Context<'_>, spare: &mut Spare) -> io::Result<()> {
        self.is_blocked = false;
        while self.sent < self.out.len() {
            let rest = &self.out[self.sent..];
            let written = match &mut self.socket {
                Socket::Tcp(stream) => Pin::new(stream).poll_write(context, rest),
                Socket::Other(stream) => Pin::new(stream).poll_write(context, rest),
            };
            match written {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.sent += count,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.is_blocked = true;
                    return Ok(());
                }
            }
        }
        self.sent = 0;
        let mut buffer = std::mem::take(&mut self.out);
        if (1..=SPARE_BYTES_MAX).contains(&buffer.capacity()) && spare.0.len() < SPARE_MAX {
            buffer.clear();
            spare.0.push(buffer);
        }
        if let Socket::Other(stream) = &mut self.socket {
            // TLS may still hold some of it.
            match Pin::new(stream).poll_flush(context) {
                Poll::Ready(result) => result?,
                Poll::Pending => self.is_blocked = true,
            }
        }
        Ok(())
    }
}
