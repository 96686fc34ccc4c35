use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_config::Bind;
use gateway_model::{Origin, Peer, Protocol};
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::acceptor::LooseListener;
use crate::bucket::Bucket;
use crate::gauges::ListenerGauges;
use crate::shard::{Arrival, Shards};
use crate::socket_file::SocketFile;
use crate::{Broker, Tls, clock};

/// A place to listen at, as the composition root describes it.
pub struct ListenerSettings {
    /// The name in the configuration; a metric label.
    pub name: Arc<str>,
    pub bind: Bind,
    pub carrier: Carrier,
    pub protocol: Arc<dyn Protocol>,
    /// Connections, or source addresses of datagrams, at a time.
    pub connections_max: usize,
    /// New connections per second; none beyond.
    pub connect_rate_max: Option<u32>,
    /// For all that comes before the protocol's first byte.
    pub handshake_timeout: Duration,
    /// Connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Who may say for whom it speaks.
    pub trusted_proxies: Vec<IpNet>,
    /// Permissions of a Unix socket's file.
    pub unix_mode: u32,
    pub tls: Option<Arc<Tls>>,
}

impl ListenerSettings {
    /// Without limits, encryption and proxies.
    pub fn new(name: &str, bind: Bind, carrier: Carrier, protocol: Arc<dyn Protocol>) -> Self {
        Self {
            name: name.into(),
            bind,
            carrier,
            protocol,
            connections_max: usize::MAX,
            connect_rate_max: None,
            handshake_timeout: Duration::from_secs(10),
            proxy_protocol: false,
            trusted_proxies: Vec::new(),
            unix_mode: 0o660,
            tls: None,
        }
    }
}

/// How bytes arrive.
#[derive(Clone)]
pub enum Carrier {
    /// Over TCP or a Unix socket, encrypted or not.
    Stream,
    /// Upon a stream. A message of more bytes than the maximum ends the connection: the library
    /// holds it whole.
    WebSocket {
        upgrade: Upgrade,
        message_bytes_max: usize,
        /// All that a client may send before it has a session.
        stranger_bytes_max: usize,
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
    #[error("listener.{name}.bind: {bind} is in use by another program")]
    InUse { name: Arc<str>, bind: Bind },
    #[error("listener.{name}.bind: cannot listen on {bind}: {error}")]
    Refused { name: Arc<str>, bind: Bind, error: io::Error },
}

/// An open listener, shared by its connections.
pub(crate) struct Listener {
    pub(crate) name: Arc<str>,
    pub(crate) carrier: Carrier,
    pub(crate) protocol: Arc<dyn Protocol>,
    pub(crate) connections_max: usize,
    pub(crate) handshake_timeout: Duration,
    pub(crate) proxy_protocol: bool,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) tls: Option<Arc<Tls>>,
    /// Only this machine can reach it.
    pub(crate) local: bool,
    /// Of all its peers that show no certificate.
    origin: Arc<Origin>,
    pub(crate) gauges: Arc<ListenerGauges>,
    connect_rate: Option<Mutex<Bucket>>,
    _file: Option<SocketFile>,
}

impl Listener {
    pub(crate) fn new(
        settings: &ListenerSettings,
        gauges: Arc<ListenerGauges>,
        file: Option<SocketFile>,
    ) -> Arc<Self> {
        let now = clock::moment().instant;
        Arc::new(Self {
            name: settings.name.clone(),
            carrier: settings.carrier.clone(),
            protocol: settings.protocol.clone(),
            connections_max: settings.connections_max,
            handshake_timeout: settings.handshake_timeout,
            proxy_protocol: settings.proxy_protocol,
            trusted_proxies: settings.trusted_proxies.clone(),
            tls: settings.tls.clone(),
            local: settings.bind.is_local(),
            origin: Arc::new(Origin { listener: settings.name.clone(), certificate_name: None }),
            gauges,
            connect_rate: settings.connect_rate_max.map(|rate| Mutex::new(Bucket::new(now, rate))),
            _file: file,
        })
    }

    pub(crate) fn peer(&self, address: SocketAddr) -> Peer {
        Peer { address, origin: self.origin.clone() }
    }

    /// Takes a place for a new connection if there is one. If not, it is counted and logged.
    pub(crate) fn enter(&self, now: Instant) -> bool {
        if self.connect_rate.as_ref().is_some_and(|rate| !rate.lock().try_take(now)) {
            if let Some(refused) = self.gauges.over_rate.add() {
                tracing::warn!(listener = %self.name, refused, "listener.{}.connect_rate_max is reached", self.name);
            }
            return false;
        }
        self.gauges.enter(self.connections_max)
    }
}

/// Opens a listener and hands what arrives to the shards. Returns the address bound (port 0 asks for
/// any).
pub fn bind(broker: &Arc<Broker>, shards: &Shards, settings: ListenerSettings) -> Result<Bind, ListenError> {
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            ListenError::InUse { name: settings.name.clone(), bind: settings.bind.clone() }
        }
        _ => ListenError::Refused { name: settings.name.clone(), bind: settings.bind.clone(), error },
    };
    let gauges = broker.gauges.listener(&settings.name);
    match (&settings.carrier, &settings.bind) {
        (Carrier::Udp, Bind::Internet(address)) => {
            let socket = UdpSocket::bind(address).map_err(fail)?;
            socket.set_nonblocking(true).map_err(fail)?;
            enlarge(&socket);
            let address = socket.local_addr().map_err(fail)?;
            // One shard owns the socket and all its peers, so a peer is never in two places.
            shards.next().send(Arrival::Socket(socket, Listener::new(&settings, gauges, None)));
            Ok(address.into())
        }
        (Carrier::Udp, Bind::Unix(_)) => Err(fail(io::ErrorKind::Unsupported.into())),
        (_, Bind::Internet(address)) => {
            let (socket, address) = listen(*address).map_err(fail)?;
            let listener = Listener::new(&settings, gauges, None);
            shards.listen(&LooseListener::Tcp(socket), &listener).map_err(fail)?;
            Ok(address.into())
        }
        (_, Bind::Unix(path)) => {
            let (socket, file) = SocketFile::listen(path, settings.unix_mode).map_err(fail)?;
            socket.set_nonblocking(true).map_err(fail)?;
            let _ = socket2::SockRef::from(&socket).listen(BACKLOG);
            let listener = Listener::new(&settings, gauges, Some(file));
            shards.listen(&LooseListener::Unix(socket), &listener).map_err(fail)?;
            Ok(settings.bind.clone())
        }
    }
}

/// The standard library's backlog of 128 is too short for a fleet that reconnects.
const BACKLOG: i32 = 4096;

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    let options = socket2::SockRef::from(&socket);
    let _ = options.listen(BACKLOG);
    // Connections inherit it.
    options.set_tcp_nodelay(true)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// A burst of datagrams must fit while the shard is busy.
fn enlarge(socket: &UdpSocket) {
    const BYTES: usize = 4 * 1024 * 1024;
    let socket = socket2::SockRef::from(socket);
    let _ = socket.set_recv_buffer_size(BYTES);
    let _ = socket.set_send_buffer_size(BYTES);
}
