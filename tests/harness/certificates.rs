//! A certification authority of a case's own.

use std::path::{Path, PathBuf};

use base64::Engine;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::harness::Outcome;

/// An authority and the folder with its PEM files; its own is `ca.pem`.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    folder: PathBuf,
}

impl Authority {
    pub fn new(folder: PathBuf, name: &str) -> Outcome<Self> {
        std::fs::create_dir_all(&folder)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        write_pem(&folder.join("ca.pem"), "CERTIFICATE", params.self_signed(&key)?.der())?;
        Ok(Self { params, key, folder })
    }

    /// Writes `NAME.pem` and `NAME.key`: a new certificate with this common name, for 127.0.0.1.
    pub fn issue(&self, name: &str) -> Outcome {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key))?;
        write_pem(&self.folder.join(format!("{name}.key")), "PRIVATE KEY", key.serialized_der())?;
        write_pem(&self.folder.join(format!("{name}.pem")), "CERTIFICATE", signed.der())
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// Writes `NAME.pem` and `NAME.key` as `openssl req -x509` would: signed by itself, and calling
/// itself an authority.
pub fn self_signed(folder: &Path, name: &str) -> Outcome {
    std::fs::create_dir_all(folder)?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    write_pem(&folder.join(format!("{name}.key")), "PRIVATE KEY", key.serialized_der())?;
    write_pem(&folder.join(format!("{name}.pem")), "CERTIFICATE", params.self_signed(&key)?.der())
}

fn write_pem(path: &Path, label: &str, der: &[u8]) -> Outcome {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (position, character) in body.chars().enumerate() {
        text.extend((position > 0 && position % 64 == 0).then_some('\n'));
        text.push(character);
    }
    Ok(std::fs::write(path, format!("{text}\n-----END {label}-----\n"))?)
}
