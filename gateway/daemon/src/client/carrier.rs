use std::future::poll_fn;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

use super::broker_options::BrokerOptions;
use super::error::ClientError;
use super::tls;

/// How long until the bytes of MQTT can flow.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Bytes in order, both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What carries the bytes of MQTT to the broker and back.
pub enum Carrier {
    Plain(Box<dyn Stream>),
    /// One binary message per write; packets may span messages (MQTT 5.0 section 6).
    WebSocket(Box<WebSocketStream<Box<dyn Stream>>>),
}

impl Carrier {
    pub async fn connect(options: &BrokerOptions) -> Result<Self, ClientError> {
        match timeout(CONNECT_WITHIN, Self::connect_patiently(options)).await {
            Ok(result) => result,
            Err(_) => Err(unreachable(options, format!("no answer within {} s", CONNECT_WITHIN.as_secs()))),
        }
    }

    async fn connect_patiently(options: &BrokerOptions) -> Result<Self, ClientError> {
        // Files that cannot be read are told before the broker is bothered.
        let security = Security::of(options)?;
        let stream: Box<dyn Stream> = match &options.unix {
            Some(path) => {
                let stream = UnixStream::connect(path).await;
                Box::new(stream.map_err(|error| unreachable(options, no_socket(&error)))?)
            }
            None => {
                let stream = TcpStream::connect((options.host(), options.port())).await;
                let stream = stream.map_err(|error| unreachable(options, no_socket(&error)))?;
                stream.set_nodelay(true).map_err(|error| unreachable(options, error.to_string()))?;
                Box::new(stream)
            }
        };
        let stream = security.secure(options, stream).await?;
        match options.web_path() {
            Some(path) => Ok(Self::WebSocket(Box::new(upgrade(options, path, stream).await?))),
            None => Ok(Self::Plain(stream)),
        }
    }

    /// Reads some bytes; 0 is the end.
    pub async fn read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read_buf(into).await,
            Self::WebSocket(stream) => loop {
                match stream.next().await {
                    Some(Ok(Message::Binary(bytes))) if bytes.is_empty() => {}
                    Some(Ok(Message::Binary(bytes))) => {
                        into.extend_from_slice(&bytes);
                        return Ok(bytes.len());
                    }
                    Some(Ok(Message::Close(_))) | None => return Ok(0),
                    Some(Ok(Message::Text(_))) => {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "a text message is not MQTT"));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(as_io_error(error)),
                }
            },
        }
    }

    /// Writes everything and empties `from`.
    pub async fn write(&mut self, from: &mut BytesMut) -> io::Result<()> {
        match self {
            Self::Plain(stream) => {
                while from.has_remaining() {
                    stream.write_buf(from).await?;
                }
                // TLS may still hold some of it.
                stream.flush().await
            }
            Self::WebSocket(stream) => {
                if !from.is_empty() {
                    // Ready first: whoever gives up waiting has then lost nothing.
                    poll_fn(|context| stream.poll_ready_unpin(context)).await.map_err(as_io_error)?;
                    let message = Message::Binary(from.split().freeze());
                    stream.start_send_unpin(message).map_err(as_io_error)?;
                }
                stream.flush().await.map_err(as_io_error)
            }
        }
    }

    /// Says that nothing more will be written.
    pub async fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown().await,
            // By its type: a box is a sink as well, if some crate asks for that.
            Self::WebSocket(stream) => WebSocketStream::close(stream, None).await.map_err(as_io_error),
        }
    }
}

/// What makes TLS of a stream, if it is to be.
pub struct Security(Option<(TlsConnector, ServerName<'static>)>);

impl Security {
    /// Reads the files.
    pub fn of(options: &BrokerOptions) -> Result<Self, ClientError> {
        Ok(Self(match options.is_tls() {
            true => Some((options.tls.connector()?, options.tls.name(options.host())?)),
            false => None,
        }))
    }

    pub async fn secure(
        &self,
        options: &BrokerOptions,
        stream: Box<dyn Stream>,
    ) -> Result<Box<dyn Stream>, ClientError> {
        let Some((connector, name)) = &self.0 else { return Ok(stream) };
        match connector.connect(name.clone(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(unreachable(options, format!("TLS: {}", tls::explained(&error)))),
        }
    }

    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

/// Asks for a WebSocket.
pub async fn upgrade(
    options: &BrokerOptions,
    path: &str,
    stream: Box<dyn Stream>,
) -> Result<WebSocketStream<Box<dyn Stream>>, ClientError> {
    let scheme = if options.is_tls() { "wss" } else { "ws" };
    let mut request = format!("{scheme}://{}/{}", address(options), path.trim_start_matches('/'))
        .into_client_request()
        .map_err(|error| ClientError::Usage(format!("the WebSocket's path: {error}")))?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((stream, _)) => Ok(stream),
        Err(error) => Err(unreachable(options, no_web_socket(&error, path))),
    }
}

pub fn unreachable(options: &BrokerOptions, error: String) -> ClientError {
    ClientError::Unreachable { address: address(options), error }
}

/// Where it goes, for people and for the Host header.
fn address(options: &BrokerOptions) -> String {
    match (&options.unix, options.host(), options.port()) {
        (Some(path), ..) => path.display().to_string(),
        (None, host, port) if host.contains(':') => format!("[{host}]:{port}"),
        (None, host, port) => format!("{host}:{port}"),
    }
}

pub fn no_socket(error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => "; is a broker running there? (tidegate serve)",
        io::ErrorKind::NotFound => "; is it the socket of a running broker?",
        _ => "",
    };
    format!("{error}{hint}")
}

fn no_web_socket(error: &WebSocketError, path: &str) -> String {
    match error {
        WebSocketError::Http(response) if response.status().as_u16() == 404 => {
            format!("no WebSocket at the path {path}; name another with --ws=PATH")
        }
        WebSocketError::Http(response) => format!("it answers HTTP {}", response.status()),
        WebSocketError::Protocol(_) => format!("WebSocket: {error}; is it a port for WebSocket?"),
        _ => format!("WebSocket: {error}"),
    }
}

fn as_io_error(error: WebSocketError) -> io::Error {
    match error {
        WebSocketError::Io(error) => error,
        other => io::Error::other(other),
    }
}
