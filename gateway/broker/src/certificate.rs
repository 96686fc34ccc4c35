use std::sync::Arc;

use gateway_config::CertificateIdentity;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

/// The name in a certificate, DER, that has been verified. Without one the client has no name.
pub(crate) fn name(der: &[u8], identity: CertificateIdentity) -> Option<Arc<str>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let name = match identity {
        CertificateIdentity::None => None,
        CertificateIdentity::CommonName => common_name(&certificate),
        CertificateIdentity::San => alternative_name(&certificate),
    };
    name.filter(|name| !name.is_empty())
}

/// Days until a certificate, DER, is no longer valid, counted from a moment in Unix time; negative
/// afterwards. `None` if it cannot be read.
pub(crate) fn days_left(der: &[u8], unix_millis: u64) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let now = i64::try_from(unix_millis / 1000).ok()?;
    Some((certificate.validity().not_after.timestamp() - now).div_euclid(24 * 60 * 60))
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<Arc<str>> {
    let name = certificate.subject().iter_common_name().next()?;
    Some(name.as_str().ok()?.into())
}

fn alternative_name(certificate: &X509Certificate<'_>) -> Option<Arc<str>> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
            Some((*name).into())
        }
        _ => None,
    })
}
