//! TLS towards a broker: whom to trust, and who we are.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
};

use super::error::ClientError;

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub struct TlsOptions {
    /// TLS, trusting whom this machine trusts; port 8883 implies it
    #[arg(long, alias = "tls-use-os-certs")]
    pub tls: bool,
    /// TLS, trusting the authorities (PEM) in this file, or this very certificate
    #[arg(long, value_name = "FILE")]
    pub cafile: Option<PathBuf>,
    /// TLS, trusting the authorities in this directory
    #[arg(long, value_name = "DIR")]
    pub capath: Option<PathBuf>,
    /// Certificate (PEM) of the client, with what leads to its authority
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Private key (PEM) of the client
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Do not check that the certificate is for the host's name; who signed it is still checked
    #[arg(long)]
    pub insecure: bool,
    /// Protocol to ask for (ALPN), such as mqtt or x-amzn-mqtt-ca
    #[arg(long, value_name = "PROTOCOL")]
    pub tls_alpn: Option<String>,
    /// Name to ask for and to check, instead of the host's
    #[arg(long, value_name = "NAME")]
    pub servername: Option<String>,
    /// Only this version: tlsv1.2 or tlsv1.3
    #[arg(long, value_name = "VERSION", value_parser = ["tlsv1.2", "tlsv1.3"])]
    pub tls_version: Option<String>,
}

impl TlsOptions {
    pub fn is_asked_for(&self) -> bool {
        self.tls || self.cafile.is_some() || self.capath.is_some()
    }

    /// Options that would have no effect are a mistake.
    pub fn check(&self, is_tls: bool) -> Result<(), ClientError> {
        let named = [
            ("--cert", self.cert.is_some()),
            ("--insecure", self.insecure),
            ("--tls-alpn", self.tls_alpn.is_some()),
            ("--servername", self.servername.is_some()),
            ("--tls-version", self.tls_version.is_some()),
        ];
        match named.into_iter().find(|(_, is_given)| *is_given && !is_tls) {
            Some((name, _)) => {
                Err(ClientError::Usage(format!("{name} needs TLS: --cafile FILE, --tls or an mqtts:// URL")))
            }
            None => Ok(()),
        }
    }

    /// The name that the certificate has to be for.
    pub fn name(&self, host: &str) -> Result<ServerName<'static>, ClientError> {
        let text = self.servername.as_deref().unwrap_or(host);
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(ServerName::IpAddress(address.into()));
        }
        ServerName::try_from(text.to_owned())
            .map_err(|_| ClientError::Usage(format!("{text:?} is no name of a server")))
    }

    /// Reads the files and makes what opens connections.
    pub fn connector(&self) -> Result<TlsConnector, ClientError> {
        let provider = Arc::new(ring::default_provider());
        let trusted = self.trusted()?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(trusted.iter().cloned());
        if added == 0 {
            return Err(ClientError::Input(
                "no authority's certificate: name one with --cafile FILE".to_owned(),
            ));
        }
        let broken = |error: &dyn std::fmt::Display| ClientError::Usage(format!("TLS: {error}"));
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| broken(&error))?;
        // What the machine trusts are authorities, never the server itself.
        let pinned = if self.cafile.is_some() { trusted } else { Vec::new() };
        let verifier = Verifier { verifier, pinned, any_name: self.insecure };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions())
            .map_err(|error| broken(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.identity()? {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain, key).map_err(|error| broken(&error))?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.tls_alpn.iter().map(|name| name.clone().into_bytes()).collect();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn trusted(&self) -> Result<Vec<CertificateDer<'static>>, ClientError> {
        let mut trusted = match &self.cafile {
            Some(file) => certificates(file)?,
            None => Vec::new(),
        };
        let found = match (&self.cafile, &self.capath) {
            (_, Some(dir)) => rustls_native_certs::load_certs_from_paths(None, Some(dir)),
            (None, None) => rustls_native_certs::load_native_certs(),
            (Some(_), None) => return Ok(trusted),
        };
        trusted.extend(found.certs);
        match (trusted.is_empty(), found.errors.first()) {
            (true, Some(error)) => Err(ClientError::Input(format!("certificates: {error}"))),
            _ => Ok(trusted),
        }
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        match self.tls_version.as_deref() {
            Some("tlsv1.2") => vec![&TLS12],
            Some(_) => vec![&TLS13],
            None => vec![&TLS13, &TLS12],
        }
    }

    fn identity(
        &self,
    ) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, ClientError> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else { return Ok(None) };
        let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
        let chain = certificates(cert)?;
        Ok(Some((chain, key_der)))
    }
}

/// All certificates of a PEM file, of which there is one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let read: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect());
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(ClientError::Input(format!("a certificate from {}: there is none", path.display())))
        }
        other => other.map_err(|error| unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &pem::Error) -> ClientError {
    let text = match error {
        pem::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    ClientError::Input(format!("{}: {text}", path.display()))
}

/// Checks as rustls does, but knows two exceptions that the command line can ask for.
#[derive(Debug)]
struct Verifier {
    verifier: Arc<WebPkiServerVerifier>,
    /// Certificates that were named: a server may have one of them as its own. What
    /// `openssl req -x509` makes calls itself an authority, so the rules for servers refuse it.
    pinned: Vec<CertificateDer<'static>>,
    any_name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let result =
            self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match result {
            Err(Error::InvalidCertificate(error)) if self.any_name && is_wrong_name(&error) => {
                Ok(ServerCertVerified::assertion())
            }
            // Its dates have been checked before this error comes, its name not.
            Err(Error::InvalidCertificate(error))
                if is_authority(&error) && self.pinned.iter().any(|known| known == end_entity) =>
            {
                let certificate = tokio_rustls::rustls::server::ParsedCertificate::try_from(end_entity)?;
                match tokio_rustls::rustls::client::verify_server_name(&certificate, server_name) {
                    Err(error) if !self.any_name => Err(error),
                    _ => Ok(ServerCertVerified::assertion()),
                }
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

fn is_wrong_name(error: &CertificateError) -> bool {
    matches!(error, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
}

/// The certificate says that it is an authority's. rustls has no word of its own for that.
fn is_authority(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity"))
}

/// What failed, and what to do about it.
pub fn explained(error: &io::Error) -> String {
    let advice = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "name the authority that signed the server's certificate: --cafile FILE"
        }
        Some(Error::InvalidCertificate(error)) if is_wrong_name(error) => {
            "--servername NAME checks another name, --insecure none"
        }
        Some(Error::InvalidCertificate(error)) if is_authority(error) => {
            "to trust this very certificate, name it: --cafile FILE"
        }
        Some(Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure,
        )) => "the server may want a certificate of yours: --cert FILE --key FILE",
        Some(Error::InvalidMessage(_)) => "is it a port for TLS?",
        None if error.kind() == io::ErrorKind::UnexpectedEof => "is it a port for TLS?",
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}
