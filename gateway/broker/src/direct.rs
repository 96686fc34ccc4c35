use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};

use gateway_model::WireBuffer;
use mio::net::{TcpStream, UnixStream};

use crate::carrier::Read;
use crate::poller::{Poller, Ready};

/// A connected socket that nobody watches yet, on its way to a shard.
pub(crate) enum LooseSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connected socket that the shard's [`Poller`] watches: what most connections are.
///
/// The system says that a socket can be written again only when a third of its buffer is free, which
/// on a slow line may be minutes. One that insists writes without having been told.
pub(crate) struct DirectSocket {
    socket: LooseSocket,
    /// Bytes that it has taken, wrapping: they say whether a peer takes anything at all.
    taken: u32,
    is_readable: bool,
    is_writable: bool,
    is_read_closed: bool,
    insists: bool,
}

/// Slices of one vectored write.
const SLICES_MAX: usize = 64;

impl AsRawFd for LooseSocket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl LooseSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, wire: &WireBuffer) -> io::Result<usize> {
        let Some(bytes) = wire.as_contiguous() else {
            let slices: Vec<IoSlice<'_>> = wire.slices().take(SLICES_MAX).map(IoSlice::new).collect();
            return match self {
                Self::Tcp(stream) => stream.write_vectored(&slices),
                Self::Unix(stream) => stream.write_vectored(&slices),
            };
        };
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }
}

impl DirectSocket {
    /// What can be read and written is said by the first look of the poller.
    pub(crate) fn new(socket: LooseSocket) -> Self {
        Self {
            socket,
            taken: 0,
            is_readable: false,
            is_writable: true,
            is_read_closed: false,
            insists: false,
        }
    }

    pub(crate) fn watch(&mut self, poller: &Poller, key: u32) -> io::Result<()> {
        match &mut self.socket {
            LooseSocket::Tcp(stream) => poller.watch(stream, key),
            LooseSocket::Unix(stream) => poller.watch(stream, key),
        }
    }

    pub(crate) fn note(&mut self, ready: Ready) {
        self.is_readable |= ready.is_readable;
        self.is_writable |= ready.is_writable;
        self.is_read_closed |= ready.is_read_closed;
    }

    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> Read {
        // What has ended can always be read: the end itself is not said twice.
        while self.is_readable || self.is_read_closed {
            match self.socket.read(scratch) {
                Ok(0) => return Read::Closed,
                Ok(count) => {
                    // There was no more, and if more comes the system says so.
                    self.is_readable = count == scratch.len();
                    return Read::Scratch(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_readable = false;
                    return Read::Pending;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Read::Closed,
            }
        }
        Read::Pending
    }

    /// Writes as much as the socket takes; true when everything is out, else the poller says when to go on.
    pub(crate) fn write(&mut self, wire: &mut WireBuffer) -> io::Result<bool> {
        while !wire.is_empty() {
            if !self.is_writable && !self.insists {
                return Ok(false);
            }
            match self.socket.write(wire) {
                Ok(count) => {
                    self.taken = self.taken.wrapping_add(count as u32);
                    if count == wire.len() { wire.clear() } else { wire.advance(count) }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_writable = false;
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Bytes that the peer's system has taken so far, wrapping.
    pub(crate) fn taken(&self) -> u32 {
        self.taken
    }

    /// Whether it writes also where the system has not said that it may.
    pub(crate) fn set_insists(&mut self, value: bool) {
        self.insists = value;
    }

    /// Says that nothing more will be written.
    pub(crate) fn shutdown(&self) {
        // It may be gone already.
        let _ = match &self.socket {
            LooseSocket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            LooseSocket::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}
