use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Sink, Stream as _};
use gateway_model::WireBuffer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::carrier::Read;
use crate::listener::{Listener, Upgrade};
use crate::stream::Stream;
use crate::upgrade::{self, UpgradeError, Upgraded};

/// A WebSocket whose handshake is done.
pub(crate) struct WebSocket {
    stream: WebSocketStream<Bounded>,
    /// Pings whose answers the socket has perhaps not taken.
    pongs: u8,
}

/// A stream that gives so many bytes and then fails: the library holds a message until it is whole.
struct Bounded {
    stream: Stream,
    left: usize,
}

/// The library keeps every answer that the socket does not take. Beyond so many nothing is read: a peer
/// that only pings may not make us store its pings.
const PONGS_MAX: u8 = 32;

/// A WebSocket on a stream, and where its client is.
pub(crate) async fn open(
    stream: Stream,
    sender: SocketAddr,
    listener: &Listener,
    upgrade: &Upgrade,
    (message_bytes_max, stranger_bytes_max): (usize, usize),
) -> Result<(WebSocket, SocketAddr), UpgradeError> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(usize::MAX);
    let mut stream = Bounded { stream, left: usize::MAX };
    let Upgraded { rest, client } =
        upgrade::accept(&mut stream, sender, &listener.trusted_proxies, upgrade).await?;
    stream.left = stranger_bytes_max.saturating_sub(rest.len());
    let stream = WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(config)).await;
    Ok((WebSocket::new(stream), client))
}

impl WebSocket {
    fn new(stream: WebSocketStream<Bounded>) -> Self {
        Self { stream, pongs: 0 }
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream.get_ref().stream
    }

    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream.get_mut().stream
    }

    /// The client is no stranger any more.
    pub(crate) fn lift_bound(&mut self) {
        self.stream.get_mut().left = usize::MAX;
    }

    pub(crate) fn read(&mut self, cx: &mut Context<'_>) -> Read {
        if self.pongs > 0 {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(_) => self.pongs = 0,
                Poll::Pending if self.pongs >= PONGS_MAX => return Read::Pending,
                Poll::Pending => {}
            }
        }
        match Pin::new(&mut self.stream).poll_next(cx) {
            Poll::Ready(Some(Ok(Message::Binary(frame)))) => Read::Frame(frame),
            Poll::Ready(Some(Ok(Message::Ping(_)))) => {
                // The library answers.
                self.pongs += 1;
                Read::Frame(Bytes::new())
            }
            Poll::Ready(Some(Ok(Message::Pong(_)))) => Read::Frame(Bytes::new()),
            // Control packets travel in binary frames only (MQTT-6.0.0-1).
            Poll::Ready(Some(Ok(Message::Text(_)))) => {
                self.say_goodbye(cx, Some(CloseCode::Unsupported));
                Read::Closed
            }
            Poll::Ready(Some(Err(error))) => {
                // RFC 6455 section 7.1.7: a client that breaks the rules is told which.
                let code = match self.stream.get_ref().left {
                    0 => Some(CloseCode::Size),
                    _ => code_of(&error),
                };
                if code.is_some() {
                    self.say_goodbye(cx, code);
                }
                Read::Closed
            }
            Poll::Ready(Some(_) | None) => {
                // The library has queued the answer to a Close (RFC 6455 section 5.5.1).
                let _ = Pin::new(&mut self.stream).poll_flush(cx);
                Read::Closed
            }
            Poll::Pending => Read::Pending,
        }
    }

    pub(crate) fn write(&mut self, cx: &mut Context<'_>, wire: &mut WireBuffer) -> io::Result<bool> {
        let mut stream = Pin::new(&mut self.stream);
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

    /// Sends a Close frame if the socket takes it now; the connection ends either way.
    pub(crate) fn say_goodbye(&mut self, cx: &mut Context<'_>, code: Option<CloseCode>) {
        let frame = code.map(|code| CloseFrame { code, reason: Default::default() });
        let mut stream = Pin::new(&mut self.stream);
        if matches!(stream.as_mut().poll_ready(cx), Poll::Ready(Ok(()))) {
            let _ = stream.as_mut().start_send(Message::Close(frame));
            let _ = stream.poll_flush(cx);
        }
    }
}

/// What a violation is called (RFC 6455 section 7.4.1); `None` if the connection is gone.
fn code_of(error: &tungstenite::Error) -> Option<CloseCode> {
    match error {
        // The peer ended without a Close.
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        tungstenite::Error::Protocol(_) => Some(CloseCode::Protocol),
        tungstenite::Error::Utf8(_) => Some(CloseCode::Invalid),
        tungstenite::Error::Capacity(_) => Some(CloseCode::Size),
        _ => None,
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if self.left != usize::MAX {
            self.left = self.left.saturating_sub(buffer.filled().len() - before);
        }
        read
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::net::UnixStream;

    use super::*;

    /// As many of `bytes` as the socket takes, again and again.
    fn fill(peer: &UnixStream, bytes: &[u8]) -> usize {
        std::iter::from_fn(|| peer.try_write(bytes).ok()).sum()
    }

    #[tokio::test]
    async fn who_pings_and_does_not_read_is_not_read_either() {
        let (ours, peer) = UnixStream::pair().unwrap();
        let stream = Bounded { stream: Stream::Plain(ours.into()), left: usize::MAX };
        let mut socket = WebSocket::new(WebSocketStream::from_raw_socket(stream, Role::Server, None).await);
        let mut cx = Context::from_waker(Waker::noop());
        // Masked with zeroes (RFC 6455 section 5.3).
        let pings = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'x'; 125]].concat().repeat(100);
        let mut sent = 0;
        loop {
            let more = fill(&peer, &pings);
            sent += more;
            assert!(sent < 16 * 1024 * 1024, "it goes on reading");
            while matches!(socket.read(&mut cx), Read::Frame(_)) {}
            if socket.pongs == PONGS_MAX && more == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        // As soon as it takes its answers it is heard again.
        let mut scratch = [0; 64 * 1024];
        loop {
            peer.readable().await.unwrap();
            while peer.try_read(&mut scratch).is_ok() {}
            tokio::task::yield_now().await;
            if matches!(socket.read(&mut cx), Read::Frame(_)) {
                break;
            }
        }
    }
}
