use std::io;

use bytes::{Buf, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

use super::error::ClientError;
use super::options::ConnectOptions;

/// What carries the bytes of MQTT to the broker and back.
pub enum Carrier {
    Tcp(TcpStream),
    /// One binary message per write; packets may span messages (MQTT 5.0 section 6).
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

impl Carrier {
    pub async fn connect(options: &ConnectOptions) -> Result<Self, ClientError> {
        let address = if options.host.contains(':') {
            format!("[{}]:{}", options.host, options.port())
        } else {
            format!("{}:{}", options.host, options.port())
        };
        let unreachable = |error: String| ClientError::Unreachable { address: address.clone(), error };
        let stream = TcpStream::connect((options.host.as_str(), options.port())).await.map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::ConnectionRefused => "; is a broker running there? (tidegate serve)",
                _ => "",
            };
            unreachable(format!("{error}{hint}"))
        })?;
        stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
        if !options.ws {
            return Ok(Self::Tcp(stream));
        }
        let path = options.ws_path.trim_start_matches('/');
        let mut request = format!("ws://{address}/{path}")
            .into_client_request()
            .map_err(|error| ClientError::Usage(format!("--ws-path: {error}")))?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((stream, _)) => Ok(Self::WebSocket(Box::new(stream))),
            Err(error) => Err(unreachable(format!("WebSocket: {error}"))),
        }
    }

    /// Reads some bytes; 0 is the end.
    pub async fn read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read_buf(into).await,
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
            Self::Tcp(stream) => {
                while from.has_remaining() {
                    stream.write_buf(from).await?;
                }
                Ok(())
            }
            Self::WebSocket(stream) if from.is_empty() => stream.flush().await.map_err(as_io_error),
            Self::WebSocket(stream) => {
                stream.send(Message::Binary(from.split().freeze())).await.map_err(as_io_error)
            }
        }
    }

    /// Says that nothing more will be written.
    pub async fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown().await,
            Self::WebSocket(stream) => stream.close(None).await.map_err(as_io_error),
        }
    }
}

fn as_io_error(error: WebSocketError) -> io::Error {
    match error {
        WebSocketError::Io(error) => error,
        other => io::Error::other(other),
    }
}
