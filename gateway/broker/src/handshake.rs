//! What comes before a protocol's first byte: a PROXY header, TLS, the upgrade to a WebSocket.
//!
//! Only connections that need one of them pass here, each as a task of its shard until it is done.
//! They count among the listener's connections, and have its `handshake_timeout_secs` for all of it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_rustls::TlsAcceptor;

use crate::carrier::{Carrier, Watched};
use crate::direct::DirectSocket;
use crate::forwarded::is_trusted;
use crate::gauges::Handshake;
use crate::listener::{self, Listener};
use crate::proxy_protocol::{self, Header, HeaderError};
use crate::stream::{Socket, Stream};
use crate::upgrade::UpgradeError;
use crate::websocket;

/// A connection on which the protocol may begin.
pub(crate) struct Greeted {
    pub(crate) carrier: Carrier,
    /// Where the client is, by what a trusted proxy says.
    pub(crate) address: SocketAddr,
    pub(crate) certificate_name: Option<Arc<str>>,
}

#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("{0}")]
    Proxy(#[from] HeaderError),
    #[error("it is not in trusted_proxies")]
    Untrusted,
    #[error("no PROXY header came: {0}")]
    Ended(io::Error),
    #[error("{0}")]
    Tls(io::Error),
    #[error("{0}")]
    WebSocket(UpgradeError),
    #[error("it took longer than handshake_timeout_secs")]
    TimedOut,
}

impl HandshakeError {
    fn step(&self) -> Handshake {
        match self {
            Self::Proxy(_) | Self::Untrusted | Self::Ended(_) => Handshake::Proxy,
            Self::Tls(_) => Handshake::Tls,
            Self::WebSocket(_) => Handshake::WebSocket,
            Self::TimedOut => Handshake::TimedOut,
        }
    }
}

/// Whether a connection has to pass here.
pub(crate) fn is_needed(listener: &Listener) -> bool {
    let plain = matches!(listener.carrier, listener::Carrier::Stream);
    listener.proxy_protocol || listener.tls.is_some() || !plain
}

/// Does all of it. A failure is counted and logged; the connection is closed then.
pub(crate) async fn greet(socket: Socket, address: SocketAddr, listener: &Listener) -> Option<Greeted> {
    let all = tokio::time::timeout(listener.handshake_timeout, steps(socket, address, listener));
    let failure = match all.await {
        Ok(Ok(greeted)) => return Some(greeted),
        Ok(Err(failure)) => failure,
        Err(_) => HandshakeError::TimedOut,
    };
    let step = failure.step();
    if let Some(failed) = listener.gauges.handshakes_failed[step as usize].add() {
        tracing::warn!(
            peer = %address, listener = %listener.name, step = step.name(), failed,
            "a connection was closed before its protocol began: {failure}"
        );
    }
    None
}

async fn steps(
    mut socket: Socket,
    sender: SocketAddr,
    listener: &Listener,
) -> Result<Greeted, HandshakeError> {
    let mut address = sender;
    if listener.proxy_protocol {
        if !listener.trusted_proxies.is_empty() && !is_trusted(&listener.trusted_proxies, sender.ip()) {
            return Err(HandshakeError::Untrusted);
        }
        address = read_header(&mut socket).await?.unwrap_or(sender);
    }
    let (stream, certificate_name) = match &listener.tls {
        None => (Stream::Plain(socket), None),
        Some(tls) => {
            let accepted = TlsAcceptor::from(tls.config()).accept(socket).await;
            let stream = accepted.map_err(HandshakeError::Tls)?;
            let name = tls.name_of(stream.get_ref().1);
            (Stream::Tls(Box::new(stream)), name)
        }
    };
    let listener::Carrier::WebSocket { upgrade, message_bytes_max, stranger_bytes_max } = &listener.carrier
    else {
        let carrier = match stream {
            // Nothing of the runtime's is needed any more.
            Stream::Plain(socket) => {
                Carrier::Direct(DirectSocket::new(socket.loosen().map_err(HandshakeError::Ended)?))
            }
            stream => Carrier::Stream(Box::new(Watched::new(stream))),
        };
        return Ok(Greeted { carrier, address, certificate_name });
    };
    let bytes_max = (*message_bytes_max, *stranger_bytes_max);
    let upgraded = websocket::open(stream, address, listener, upgrade, bytes_max).await;
    let (socket, address) = upgraded.map_err(HandshakeError::WebSocket)?;
    Ok(Greeted { carrier: Carrier::WebSocket(Box::new(Watched::new(socket))), address, certificate_name })
}

/// Reads a PROXY header and not a byte more: what follows belongs to TLS or the protocol.
async fn read_header(socket: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HandshakeError> {
    let mut bytes = Vec::new();
    let mut socket = Pin::new(socket);
    loop {
        match proxy_protocol::parse(&bytes)? {
            Header::Complete(client) => return Ok(client),
            Header::Missing(count) => {
                let have = bytes.len();
                bytes.resize(have + count, 0);
                let read = socket.read(&mut bytes[have..]).await.map_err(HandshakeError::Ended)?;
                if read == 0 {
                    return Err(HandshakeError::Ended(io::ErrorKind::UnexpectedEof.into()));
                }
                bytes.truncate(have + read);
            }
        }
    }
}
