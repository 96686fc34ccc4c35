use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use protocol_mqtt::codec::{Connect, Properties};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;

use super::line::{Line, Socket};
use super::options::ClientOptions;
use crate::client::{
    BrokerOptions, ClientError, Credentials, Security, Stream, no_socket, unreachable, upgrade,
};

/// The broker: where it is, and how one gets in.
pub struct Target {
    pub options: BrokerOptions,
    pub credentials: Credentials,
    security: Security,
    /// Looked up once. `None`: a Unix socket.
    address: Option<SocketAddr>,
    source: Option<IpNet>,
}

impl Target {
    pub async fn new(clients: &ClientOptions) -> Result<Self, ClientError> {
        let options = clients.broker.clone();
        options.check()?;
        let within = clients.connect_timeout;
        let address = match &options.unix {
            Some(_) => None,
            None => Some(address(&options, within).await?),
        };
        if let (Some(address), Some(source)) = (address, clients.source)
            && address.is_ipv4() != source.addr().is_ipv4()
        {
            let text = format!("--source {source} cannot reach {}: mixed IPv4 and IPv6", address.ip());
            return Err(ClientError::Usage(text));
        }
        let (security, credentials) = (Security::of(&options)?, options.credentials()?);
        Ok(Self { options, credentials, security, address, source: clients.source })
    }

    /// Opens the connection of one client, up to where MQTT begins.
    pub async fn open(&self, client: u32) -> Result<Line, ClientError> {
        let options = &self.options;
        let path = options.web_path();
        let stream: Box<dyn Stream> = match (&options.unix, self.address) {
            (Some(path), _) => Box::new(
                UnixStream::connect(path).await.map_err(|error| unreachable(options, no_socket(&error)))?,
            ),
            (None, None) => return Err(ClientError::Usage("no address".to_owned())),
            (None, Some(address)) => {
                let stream = self.connect(address, client).await;
                let stream = stream.map_err(|error| unreachable(options, explained(&error)))?;
                if self.security.is_none() && path.is_none() {
                    return Ok(Line::new(Socket::Tcp(stream), false));
                }
                Box::new(stream)
            }
        };
        let stream = self.security.secure(options, stream).await?;
        match path {
            // A server says nothing before the CONNECT, so nothing is lost with its buffers.
            Some(path) => {
                let stream = upgrade(options, path, stream).await?.into_inner();
                Ok(Line::new(Socket::Other(stream), true))
            }
            None => Ok(Line::new(Socket::Other(stream), false)),
        }
    }

    /// Appends the CONNECT of a client.
    pub fn put_connect(&self, client_id: &str, into: &mut Vec<u8>) {
        let connect = Connect {
            version: self.options.version,
            clean_start: true,
            keep_alive_secs: self.options.keep_alive,
            properties: Properties::default(),
            client_id,
            will: None,
            username: self.credentials.username.as_deref(),
            password: self.credentials.password.as_deref().map(str::as_bytes),
        };
        connect.encode(into);
    }

    async fn connect(&self, address: SocketAddr, client: u32) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_nodelay(true)?;
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(host(source, client), 0))?;
        }
        socket.connect(address).await
    }
}

/// The first address at which somebody answers.
async fn address(options: &BrokerOptions, within: Duration) -> Result<SocketAddr, ClientError> {
    let failed = |error: &io::Error| unreachable(options, no_socket(error));
    let found = tokio::net::lookup_host((options.host(), options.port())).await;
    let found: Vec<SocketAddr> = found.map_err(|error| failed(&error))?.collect();
    match found[..] {
        [] => Err(unreachable(options, "the name has no address".to_owned())),
        [address] => Ok(address),
        _ => match timeout(within, TcpStream::connect(&found[..])).await {
            Ok(stream) => stream.and_then(|stream| stream.peer_addr()).map_err(|error| failed(&error)),
            Err(_) => Err(unreachable(options, "no answer".to_owned())),
        },
    }
}

/// The address of a client: those of the network in turn, without the first and the last, which are
/// the network's own and for broadcasts.
fn host(network: IpNet, client: u32) -> IpAddr {
    let place = |hosts: u128| if hosts > 3 { 1 + u128::from(client) % (hosts - 2) } else { 0 };
    match network {
        IpNet::V4(network) if network.prefix_len() < 31 => {
            let place = place(1 << (32 - network.prefix_len())) as u32;
            IpAddr::V4(Ipv4Addr::from(u32::from(network.network()) + place))
        }
        IpNet::V6(network) if network.prefix_len() < 127 => {
            let place = place(1_u128.checked_shl(128 - u32::from(network.prefix_len())).unwrap_or(u128::MAX));
            IpAddr::V6(Ipv6Addr::from(u128::from(network.network()) + place))
        }
        network => network.addr(),
    }
}

fn explained(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "{error}; if its ports are used up, --source 127.0.0.0/8 has more for a broker on this machine"
            )
        }
        _ => no_socket(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_source_take_turns() {
        for (network, client, expected) in [
            ("127.0.0.0/8", 0, "127.0.0.1"),
            ("127.0.0.0/8", 256, "127.0.1.1"),
            ("127.0.0.5/32", 7, "127.0.0.5"),
            ("10.0.0.8/31", 7, "10.0.0.8"),
            ("10.0.0.0/30", 0, "10.0.0.1"),
            ("10.0.0.0/30", 1, "10.0.0.2"),
            ("10.0.0.3/30", 2, "10.0.0.1"),
            ("::1/128", 7, "::1"),
            ("fd00::/64", 1, "fd00::2"),
            ("0.0.0.0/0", 0, "0.0.0.1"),
            ("::/0", 0, "::1"),
        ] {
            let network: IpNet = network.parse().unwrap();
            assert_eq!(host(network, client).to_string(), expected, "{network} {client}");
        }
    }
}
