use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[listener.NAME.tls]`: what a listener encrypts with. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// The gateway's certificate, followed by those between it and the authority.
    pub cert_file: PathBuf,
    /// Its private key, not encrypted.
    pub key_file: PathBuf,
    /// The authorities that clients' certificates must come from.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    #[serde(default)]
    pub client_auth: ClientAuth,
    #[serde(default)]
    pub identity: CertificateIdentity,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// A wrong one is refused, none is not.
    Optional,
    /// Nobody comes in without.
    Required,
}

/// What of a client's certificate is its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateIdentity {
    #[default]
    None,
    /// The subject's common name.
    CommonName,
    /// The first DNS name, URI or mail address among the subject's alternative names.
    San,
}

impl ListenerTls {
    /// The key that contradicts another, and what is wrong with it.
    pub(crate) fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let asks = self.client_auth != ClientAuth::None;
        match &self.client_ca_file {
            None if asks => Some(("client_ca_file", "is missing: client_auth needs authorities to trust")),
            Some(_) if !asks => Some(("client_auth", "is \"none\": client_ca_file would have no effect")),
            _ if !asks && self.identity != CertificateIdentity::None => {
                Some(("identity", "needs client_auth = \"optional\" or \"required\""))
            }
            _ => None,
        }
    }
}
