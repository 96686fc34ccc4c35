use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use gateway_model::{Peer, Protocol};

use crate::Broker;
use crate::gauges::ListenerGauges;
use crate::shard::{Arrival, Shards};

/// A place to listen at, as the composition root describes it.
pub struct ListenerSettings {
    /// The name in the configuration; a metric label.
    pub name: Arc<str>,
    pub bind: SocketAddr,
    pub carrier: Carrier,
    pub protocol: Arc<dyn Protocol>,
    /// Connections, or source addresses of datagrams, at a time.
    pub connections_max: usize,
}

/// How bytes arrive.
#[derive(Clone)]
pub enum Carrier {
    Tcp,
    /// A message of more bytes than the maximum ends the connection: the library holds it whole.
    WebSocket {
        upgrade: Upgrade,
        message_bytes_max: usize,
    },
    Udp,
}

/// Decides on a WebSocket handshake: from path, offered subprotocols and Origin to the
/// subprotocol to answer with, or the HTTP status and text to refuse with.
pub type Upgrade =
    Arc<dyn Fn(&str, &[&str], Option<&str>) -> Result<Option<&'static str>, (u16, String)> + Send + Sync>;

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("listener.{name}.bind: {address} is in use by another program")]
    InUse { name: Arc<str>, address: SocketAddr },
    #[error("listener.{name}.bind: cannot listen on {address}: {source}")]
    Refused { name: Arc<str>, address: SocketAddr, source: io::Error },
}

/// An open listener, shared by its connections.
pub(crate) struct Listener {
    pub(crate) name: Arc<str>,
    pub(crate) carrier: Carrier,
    pub(crate) protocol: Arc<dyn Protocol>,
    pub(crate) connections_max: usize,
    /// Bound to a loopback address.
    pub(crate) local: bool,
    pub(crate) gauges: Arc<ListenerGauges>,
}

impl Listener {
    pub(crate) fn peer(&self, address: SocketAddr) -> Peer {
        Peer::new(address, self.name.clone())
    }
}

/// Opens a listener and hands what arrives to the shards. Must be called inside a tokio runtime,
/// on which a stream listener then accepts. Returns the address bound (port 0 asks for any).
pub fn bind(
    broker: &Arc<Broker>,
    shards: &Shards,
    settings: ListenerSettings,
) -> Result<SocketAddr, ListenError> {
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => {
            ListenError::InUse { name: settings.name.clone(), address: settings.bind }
        }
        _ => ListenError::Refused { name: settings.name.clone(), address: settings.bind, source },
    };
    let listener = Arc::new(Listener {
        name: settings.name.clone(),
        carrier: settings.carrier.clone(),
        protocol: settings.protocol.clone(),
        connections_max: settings.connections_max,
        local: settings.bind.ip().is_loopback(),
        gauges: broker.gauges.listener(&settings.name),
    });
    match settings.carrier {
        Carrier::Udp => {
            let socket = UdpSocket::bind(settings.bind).map_err(fail)?;
            socket.set_nonblocking(true).map_err(fail)?;
            enlarge(&socket);
            let address = socket.local_addr().map_err(fail)?;
            // One shard owns the socket and all its peers, so a peer is never in two places.
            shards.next().send(Arrival::Socket(socket, listener));
            Ok(address)
        }
        Carrier::Tcp | Carrier::WebSocket { .. } => {
            let socket = TcpListener::bind(settings.bind).map_err(fail)?;
            socket.set_nonblocking(true).map_err(fail)?;
            let address = socket.local_addr().map_err(fail)?;
            // The standard library's backlog of 128 is too short for a fleet that reconnects.
            let _ = socket2::SockRef::from(&socket).listen(4096);
            let socket = tokio::net::TcpListener::from_std(socket).map_err(fail)?;
            tokio::spawn(accept(socket, listener, shards.clone()));
            Ok(address)
        }
    }
}

/// A burst of datagrams must fit while the shard is busy.
fn enlarge(socket: &UdpSocket) {
    const BYTES: usize = 4 * 1024 * 1024;
    let socket = socket2::SockRef::from(socket);
    let _ = socket.set_recv_buffer_size(BYTES);
    let _ = socket.set_send_buffer_size(BYTES);
}

async fn accept(socket: tokio::net::TcpListener, listener: Arc<Listener>, shards: Shards) {
    loop {
        match socket.accept().await {
            Ok((stream, address)) => {
                if !listener.gauges.enter(listener.connections_max) {
                    continue;
                }
                // The shard registers it with its own runtime.
                match stream.set_nodelay(true).and_then(|()| stream.into_std()) {
                    Ok(stream) => shards.next().send(Arrival::Stream(stream, address, listener.clone())),
                    Err(_) => listener.gauges.leave(),
                }
            }
            Err(error) => {
                // Out of descriptors, or the peer is gone already: give others time to close.
                tracing::warn!(listener = %listener.name, "cannot accept: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}
