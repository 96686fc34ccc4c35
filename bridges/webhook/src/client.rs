use std::error::Error;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::config::{Config, ConfigError};

/// How much of an answer's body is read so that its connection can be used again, and how long
/// that may take. The body means nothing.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN: Duration = Duration::from_secs(1);
/// How long a connection is kept without requests; servers commonly close at 60 seconds or later.
const IDLE: Duration = Duration::from_secs(30);

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// What a lane needs to know of an answer.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub retry_after: Option<Box<str>>,
}

/// Where lanes send requests: HTTP, or a script in tests.
pub(crate) trait Endpoint: Send + Sync + 'static {
    /// The error is the whole chain of causes, for people.
    fn post(&self, request: Request<Full<Bytes>>) -> impl Future<Output = Result<Answer, String>> + Send;
}

/// HTTP/1.1 with connections kept alive, shared by the lanes of one bridge.
pub(crate) struct Http {
    client: Client<Connector, Full<Bytes>>,
}

impl Http {
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(config.lanes.into())
            .build(connector(config)?);
        Ok(Self { client })
    }
}

impl Endpoint for Http {
    async fn post(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let response = self.client.request(request).await.map_err(|error| chain(&error))?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let answer = Answer { status, retry_after: retry_after.map(Into::into) };
        // The verdict stands with the head; a body that is slow or endless costs the connection.
        let _ = tokio::time::timeout(DRAIN, drain(response.into_body())).await;
        Ok(answer)
    }
}

async fn drain(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > DRAIN_BYTES {
            return;
        }
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg_attr(not(feature = "tls"), expect(clippy::unnecessary_wraps, reason = "its sibling can fail"))]
#[cfg(not(feature = "tls"))]
fn connector(_: &Config) -> Result<Connector, ConfigError> {
    Ok(tcp())
}

#[cfg(feature = "tls")]
fn connector(config: &Config) -> Result<Connector, ConfigError> {
    let mut tcp = tcp();
    tcp.enforce_http(false);
    let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls(config)?);
    Ok(https.https_or_http().enable_http1().wrap_connector(tcp))
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(Duration::from_secs(60)));
    tcp
}

/// The certificate authorities to trust are read only if TLS is wanted: not every machine has them.
#[cfg(feature = "tls")]
fn tls(config: &Config) -> Result<rustls::ClientConfig, ConfigError> {
    use std::sync::Arc;

    use hyper_rustls::ConfigBuilderExt as _;
    use rustls::RootCertStore;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks the default versions");
    let mut roots = RootCertStore::empty();
    let builder = match &config.ca_file {
        Some(path) => {
            let wrong = |reason: String| ConfigError::Authorities { path: path.clone(), reason };
            for certificate in
                CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?
            {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("holds no certificate".into()));
            }
            builder.with_root_certificates(roots)
        }
        None if config.is_https() => builder.with_native_roots().map_err(ConfigError::SystemAuthorities)?,
        None => builder.with_root_certificates(roots),
    };
    Ok(builder.with_no_client_auth())
}
