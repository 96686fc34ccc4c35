use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use gateway_model::WireBuffer;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

/// What bytes travel on. Protocols never see the difference between the streams.
pub(crate) enum Carrier {
    Tcp(TcpStream),
    /// Boxed: the WebSocket state is much larger than everything else.
    WebSocket(Box<WebSocketStream<TcpStream>>),
    /// One source address of a datagram socket of this shard.
    Datagram {
        socket: u32,
        address: SocketAddr,
    },
    #[cfg(feature = "testing")]
    Memory(crate::memory::Memory),
}

/// What one read brought.
pub(crate) enum Read {
    /// So many bytes stand at the beginning of the scratch buffer.
    Scratch(usize),
    Frame(Bytes),
    Closed,
    /// Nothing now; the waker is registered.
    Pending,
}

impl Carrier {
    pub(crate) fn read(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Read {
        match self {
            Self::Tcp(stream) => {
                let mut buffer = ReadBuf::new(scratch);
                match Pin::new(stream).poll_read(cx, &mut buffer) {
                    Poll::Ready(Ok(())) if buffer.filled().is_empty() => Read::Closed,
                    Poll::Ready(Ok(())) => Read::Scratch(buffer.filled().len()),
                    Poll::Ready(Err(_)) => Read::Closed,
                    Poll::Pending => Read::Pending,
                }
            }
            Self::WebSocket(stream) => match Pin::new(&mut **stream).poll_next(cx) {
                Poll::Ready(Some(Ok(Message::Binary(frame)))) => Read::Frame(frame),
                // Answered by the library.
                Poll::Ready(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => Read::Frame(Bytes::new()),
                // Control packets travel in binary frames only (MQTT-6.0.0-1).
                Poll::Ready(Some(Ok(Message::Text(_)))) => {
                    say_goodbye(stream, cx, Some(CloseCode::Unsupported));
                    Read::Closed
                }
                Poll::Ready(Some(_) | None) => {
                    // The library has queued the answer to a Close (RFC 6455 section 5.5.1).
                    let _ = Pin::new(&mut **stream).poll_flush(cx);
                    Read::Closed
                }
                Poll::Pending => Read::Pending,
            },
            Self::Datagram { .. } => Read::Pending,
            #[cfg(feature = "testing")]
            Self::Memory(memory) => memory.read(cx, scratch),
        }
    }

    /// Writes as much as the socket takes; true when everything is out, else the waker is
    /// registered. Datagrams are not written here.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>, wire: &mut WireBuffer) -> io::Result<bool> {
        match self {
            Self::Tcp(stream) => write_tcp(stream, cx, wire),
            Self::WebSocket(stream) => write_websocket(stream, cx, wire),
            Self::Datagram { .. } => Ok(true),
            #[cfg(feature = "testing")]
            Self::Memory(memory) => memory.write(cx, wire),
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn shutdown(&mut self, cx: &mut Context<'_>) {
        let socket = match self {
            Self::Tcp(stream) => stream,
            Self::WebSocket(stream) => {
                say_goodbye(stream, cx, None);
                stream.get_mut()
            }
            Self::Datagram { .. } => return,
            #[cfg(feature = "testing")]
            Self::Memory(memory) => return memory.shutdown(),
        };
        let _ = socket2::SockRef::from(&*socket).shutdown(std::net::Shutdown::Write);
    }

    /// Whether the carrier has a goodbye of its own.
    pub(crate) fn says_goodbye(&self) -> bool {
        matches!(self, Self::WebSocket(_))
    }

    pub(crate) fn is_datagram(&self) -> bool {
        matches!(self, Self::Datagram { .. })
    }
}

/// Sends a Close frame if the socket takes it now; the connection ends either way.
fn say_goodbye(stream: &mut WebSocketStream<TcpStream>, cx: &mut Context<'_>, code: Option<CloseCode>) {
    let frame = code.map(|code| CloseFrame { code, reason: Default::default() });
    let mut stream = Pin::new(stream);
    if matches!(stream.as_mut().poll_ready(cx), Poll::Ready(Ok(()))) {
        let _ = stream.as_mut().start_send(Message::Close(frame));
        let _ = stream.poll_flush(cx);
    }
}

fn write_tcp(stream: &TcpStream, cx: &mut Context<'_>, wire: &mut WireBuffer) -> io::Result<bool> {
    const SLICES_MAX: usize = 64;
    while !wire.is_empty() {
        let written = match wire.as_contiguous() {
            Some(bytes) => stream.try_write(bytes),
            None => {
                let slices: Vec<IoSlice<'_>> = wire.slices().take(SLICES_MAX).map(IoSlice::new).collect();
                stream.try_write_vectored(&slices)
            }
        };
        match written {
            Ok(count) if count == wire.len() => wire.clear(),
            Ok(count) => wire.advance(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match stream.poll_write_ready(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(ready) => ready?,
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn write_websocket(
    stream: &mut WebSocketStream<TcpStream>,
    cx: &mut Context<'_>,
    wire: &mut WireBuffer,
) -> io::Result<bool> {
    let mut stream = Pin::new(stream);
    if !wire.is_empty() {
        match stream.as_mut().poll_ready(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(ready) => ready.map_err(into_io)?,
        }
        let mut frame = Vec::with_capacity(wire.len());
        wire.slices().for_each(|slice| frame.extend_from_slice(slice));
        wire.clear();
        stream.as_mut().start_send(Message::Binary(frame.into())).map_err(into_io)?;
    }
    match stream.poll_flush(cx) {
        Poll::Pending => Ok(false),
        Poll::Ready(flushed) => flushed.map(|()| true).map_err(into_io),
    }
}

fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// The server's side of a WebSocket handshake (RFC 6455 section 4.2).
pub(crate) async fn handshake(
    stream: TcpStream,
    upgrade: crate::listener::Upgrade,
    message_bytes_max: usize,
) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    use tungstenite::handshake::server::{ErrorResponse, Request, Response};
    use tungstenite::http::{HeaderValue, StatusCode, header};

    let config = tungstenite::protocol::WebSocketConfig::default()
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(usize::MAX);
    // The library's callback type is what it is.
    #[allow(clippy::result_large_err)]
    let check = move |request: &Request, mut response: Response| {
        let text = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let offered: Vec<&str> = text(header::SEC_WEBSOCKET_PROTOCOL)
            .map(|all| all.split(',').map(str::trim).collect())
            .unwrap_or_default();
        match upgrade(request.uri().path(), &offered, text(header::ORIGIN)) {
            Ok(Some(protocol)) => {
                response
                    .headers_mut()
                    .insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
                Ok(response)
            }
            Ok(None) => Ok(response),
            Err((status, text)) => {
                let mut refusal = ErrorResponse::new(Some(text));
                *refusal.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
                Err(refusal)
            }
        }
    };
    tokio_tungstenite::accept_hdr_async_with_config(stream, check, Some(config)).await
}
