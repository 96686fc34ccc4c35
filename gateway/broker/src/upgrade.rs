//! The server's side of a WebSocket handshake (RFC 6455 section 4.2).
//!
//! The library judges the request and reads and writes frames. Reading the request and answering it
//! is done here, because the library just hangs up on a request that is none, and whoever opens the
//! address with a browser is to see what it is.

use std::io;
use std::net::SocketAddr;

use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response, create_response, write_response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};

use crate::forwarded;
use crate::listener::Upgrade;

/// A request that was answered with 101.
pub(crate) struct Upgraded {
    /// What came behind the request.
    pub(crate) rest: Vec<u8>,
    /// Where the client is: at the other end of the socket, or where a trusted proxy says.
    pub(crate) client: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("answered with {status}: {text}")]
    Refused { status: StatusCode, text: String },
}

/// Bytes of a request. Browsers send one or two thousand, cookies included.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Reads a request and answers it.
pub(crate) async fn accept(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    sender: SocketAddr,
    trusted_proxies: &[IpNet],
    upgrade: &Upgrade,
) -> Result<Upgraded, UpgradeError> {
    let accepted = match read_request(stream).await {
        Ok((request, rest)) => judge(&request, upgrade).map(|response| (request, rest, response)),
        Err(error) => Err(error),
    };
    match accepted {
        Ok((request, rest, response)) => {
            let mut bytes = Vec::new();
            write_response(&mut bytes, &response).map_err(io::Error::other)?;
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            let forwarded = request.headers().get_all("x-forwarded-for").iter();
            let forwarded = forwarded.map(HeaderValue::as_bytes);
            let client = forwarded::client(sender, forwarded, trusted_proxies);
            Ok(Upgraded { rest, client })
        }
        Err(UpgradeError::Refused { status, text }) => {
            refuse(stream, status, &text).await?;
            Err(UpgradeError::Refused { status, text })
        }
        Err(error) => Err(error),
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Result<(Request, Vec<u8>), UpgradeError> {
    let mut bytes = Vec::new();
    loop {
        match Request::try_parse(&bytes) {
            Ok(Some((length, request))) => return Ok((request, bytes.split_off(length))),
            Ok(None) if bytes.len() >= REQUEST_BYTES_MAX => {
                let text = "the request is too long".to_owned();
                return Err(refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text));
            }
            Ok(None) => {}
            Err(error) => return Err(refused(StatusCode::BAD_REQUEST, format!("this is not HTTP: {error}"))),
        }
        let room = REQUEST_BYTES_MAX - bytes.len();
        if (&mut *stream).take(room as u64).read_buf(&mut bytes).await? == 0 {
            return Err(UpgradeError::Socket(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// The response that agrees, or why there is none.
fn judge(request: &Request, upgrade: &Upgrade) -> Result<Response, UpgradeError> {
    let text = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offered: Vec<&str> = offered.filter_map(|value| value.to_str().ok()).collect();
    let mut response = create_response(request).map_err(|error| match error {
        // RFC 6455 section 4.2.2, step 4.
        Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
            refused(StatusCode::UPGRADE_REQUIRED, "the version of WebSocket is 13".to_owned())
        }
        Error::Protocol(
            ProtocolError::MissingConnectionUpgradeHeader | ProtocolError::MissingUpgradeWebSocketHeader,
        ) => refused(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket, for MQTT clients".to_owned()),
        error => refused(StatusCode::BAD_REQUEST, error.to_string()),
    })?;
    match upgrade(request.uri().path(), &offered, text(header::ORIGIN)) {
        Ok(Some(protocol)) => {
            let protocol = HeaderValue::from_static(protocol);
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
            Ok(response)
        }
        Ok(None) => Ok(response),
        Err((status, text)) => {
            Err(refused(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), text))
        }
    }
}

fn refused(status: StatusCode, text: String) -> UpgradeError {
    UpgradeError::Refused { status, text }
}

async fn refuse(stream: &mut (impl AsyncWrite + Unpin), status: StatusCode, text: &str) -> io::Result<()> {
    // RFC 9110 section 15.5.22: 426 names what to upgrade to.
    let upgrade = match status {
        StatusCode::UPGRADE_REQUIRED => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        _ => "",
    };
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         {upgrade}Connection: close\r\n\r\n{text}\n",
        text.len() + 1,
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const GOOD: &str = "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    /// What is answered to the bytes, and what was found behind the request.
    async fn answer(bytes: &[u8]) -> (String, Option<Vec<u8>>) {
        let upgrade: Upgrade = Arc::new(|path, _, _| match path {
            "/mqtt" => Ok(Some("mqtt")),
            _ => Err((404, "not here".to_owned())),
        });
        let (mut ours, mut theirs) = tokio::io::duplex(256 * 1024);
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let accepted = accept(&mut ours, ([127, 0, 0, 1], 1).into(), &[], &upgrade).await;
        drop(ours);
        let mut said = String::new();
        theirs.read_to_string(&mut said).await.unwrap();
        (said, accepted.ok().map(|upgraded| upgraded.rest))
    }

    #[tokio::test]
    async fn a_good_request_is_agreed_to_and_what_follows_is_kept() {
        let (said, rest) = answer(&[GOOD.as_bytes(), b"\x82\x80"].concat()).await;
        assert!(said.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{said}");
        // RFC 6455 section 1.3.
        assert!(
            said.to_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"),
            "{said}"
        );
        assert!(
            said.to_lowercase().contains("sec-websocket-protocol: mqtt\r\n") && said.ends_with("\r\n\r\n")
        );
        assert_eq!(rest.as_deref(), Some(&b"\x82\x80"[..]));
    }

    #[tokio::test]
    async fn every_other_request_is_told_what_is_wrong() {
        let without = |line: &str| GOOD.replace(line, "");
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "426"),
            (without("Upgrade: websocket\r\n"), "426"),
            (GOOD.replace("Version: 13", "Version: 8"), "426"),
            (without("Sec-WebSocket-Version: 13\r\n"), "426"),
            (GOOD.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), "400"),
            (without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), "400"),
            (GOOD.replace("GET", "POST"), "400"),
            (GOOD.replace("HTTP/1.1", "HTTP/1.0"), "400"),
            (GOOD.replace("/mqtt", "/other"), "404"),
            ("\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0".to_owned(), "400"),
            (GOOD.replace("Host: x", &format!("Host: {}", "x".repeat(REQUEST_BYTES_MAX))), "431"),
        ] {
            let (said, rest) = answer(request.as_bytes()).await;
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said} for {request}");
            assert!(rest.is_none());
            if status == "426" {
                assert!(said.contains("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"), "{said}");
            }
        }
    }

    #[tokio::test]
    async fn half_a_request_is_not_answered() {
        let (said, rest) = answer(&GOOD.as_bytes()[..50]).await;
        assert_eq!((said.as_str(), rest), ("", None));
    }
}
