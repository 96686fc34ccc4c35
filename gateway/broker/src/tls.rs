use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use gateway_config::{CertificateIdentity, ClientAuth, ListenerTls};
use parking_lot::{Mutex, RwLock};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::{certificate, clock};

/// What a listener encrypts with, read from its files and read again when they change.
pub struct Tls {
    listener: Arc<str>,
    settings: ListenerTls,
    config: RwLock<Arc<ServerConfig>>,
    /// When the files were last written, as of the last attempt to read them.
    written: Mutex<Vec<Option<SystemTime>>>,
}

/// Which file cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("listener.{listener}.tls.{key}: {path}: {text}")]
pub struct TlsError {
    pub listener: Arc<str>,
    pub key: &'static str,
    pub path: String,
    pub text: String,
}

impl Tls {
    pub fn load(listener: &str, settings: ListenerTls) -> Result<Self, TlsError> {
        let listener: Arc<str> = listener.into();
        let written = written(&settings);
        let config = read(&listener, &settings)?;
        Ok(Self { listener, settings, config: RwLock::new(config), written: Mutex::new(written) })
    }

    /// Reads the files again if they have changed, or `always`. If they are wrong now, the log says
    /// so and what was read before stays in use. Connections keep what they began with.
    pub fn reload(&self, always: bool) {
        let now = written(&self.settings);
        let before = std::mem::replace(&mut *self.written.lock(), now.clone());
        if !always && before == now {
            return;
        }
        match read(&self.listener, &self.settings) {
            Ok(config) => {
                *self.config.write() = config;
                tracing::info!(listener = %self.listener, "certificates were read again");
            }
            Err(error) => tracing::error!("{error}; what was read before stays in use"),
        }
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.read().clone()
    }

    /// The name in the certificate that a client has shown.
    pub(crate) fn name_of(&self, connection: &ServerConnection) -> Option<Arc<str>> {
        if self.settings.identity == CertificateIdentity::None {
            return None;
        }
        let shown = connection.peer_certificates()?.first()?;
        certificate::name(shown, self.settings.identity)
    }
}

fn written(settings: &ListenerTls) -> Vec<Option<SystemTime>> {
    let files = [Some(&settings.cert_file), Some(&settings.key_file), settings.client_ca_file.as_ref()];
    let written = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    files.into_iter().flatten().map(written).collect()
}

/// TLS 1.2 and 1.3 with the library's choice of algorithms.
fn read(listener: &Arc<str>, settings: &ListenerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let wrong = |key: &'static str, path: &Path, text: String| TlsError {
        listener: listener.clone(),
        key,
        path: path.display().to_string(),
        text,
    };
    let (cert_file, key_file) = (&settings.cert_file, &settings.key_file);
    let chain = certificates(cert_file).map_err(|text| wrong("cert_file", cert_file, text))?;
    warn_of_expiry(listener, cert_file, &chain);
    let key = private_key(key_file).map_err(|text| wrong("key_file", key_file, text))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("cert_file", cert_file, error.to_string()))?;
    let builder = match &settings.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = client_verifier(path, settings.client_auth, provider);
            let verifier = verifier.map_err(|text| wrong("client_ca_file", path, text))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            wrong("key_file", key_file, format!("is not the key of {}", cert_file.display()))
        }
        error => wrong("cert_file", cert_file, error.to_string()),
    })?;
    // What a client needs to resume its session it keeps itself. The key of these tickets is new with
    // every reading, so that nobody resumes on the word of an authority that is gone.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer =
        ring::Ticketer::new().map_err(|error| wrong("cert_file", cert_file, error.to_string()))?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// Clients will not accept a certificate that is no longer valid.
fn warn_of_expiry(listener: &str, path: &Path, chain: &[CertificateDer<'_>]) {
    const SOON_DAYS: i64 = 14;
    let now = clock::moment().unix_millis;
    let days = chain.first().and_then(|own| certificate::days_left(own, now));
    match days {
        Some(days) if days < 0 => {
            tracing::error!(listener, "{}: the certificate has expired, {} days ago", path.display(), -days);
        }
        Some(days) if days < SOON_DAYS => {
            tracing::warn!(listener, "{}: the certificate expires in {days} days", path.display());
        }
        _ => {}
    }
}

fn client_verifier(
    path: &Path,
    client_auth: ClientAuth,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
    let builder = match client_auth {
        ClientAuth::Required => builder,
        ClientAuth::None | ClientAuth::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| error.to_string())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err("holds no certificate in PEM".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("is not PEM: {error}")),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if contains(&text, b"ENCRYPTED PRIVATE KEY") => {
            "the key is encrypted; give one that is not, and keep its file from others".to_owned()
        }
        pem::Error::NoItemsFound => "holds no private key in PEM".to_owned(),
        error => format!("is not PEM: {error}"),
    })
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}
