use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Standard Webhooks 1.0, "Signature scheme": how secrets are written.
const SECRET_PREFIX: &str = "whsec_";
/// The same: between 24 bytes (192 bits) and 64 bytes (512 bits).
const SECRET_LEN: std::ops::RangeInclusive<usize> = 24..=64;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a secret cannot be used. Never holds the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("must begin with whsec_ (make one: echo whsec_$(openssl rand -base64 32))")]
    Prefix,
    #[error("what follows whsec_ is not base64")]
    Base64,
    #[error("holds {0} bytes, not 24 to 64")]
    Length(usize),
}

/// Signs requests with every secret in use.
pub(crate) struct Signer {
    /// Keyed, to be cloned for each request.
    keyed: Vec<Hmac<Sha256>>,
}

impl Signer {
    pub fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Result<Self, SecretError> {
        let keyed = secrets.map(|secret| {
            let text = secret.trim().strip_prefix(SECRET_PREFIX).ok_or(SecretError::Prefix)?;
            let key = LENIENT.decode(text).map_err(|_| SecretError::Base64)?;
            if !SECRET_LEN.contains(&key.len()) {
                return Err(SecretError::Length(key.len()));
            }
            Hmac::new_from_slice(&key).map_err(|_| SecretError::Length(key.len()))
        });
        Ok(Self { keyed: keyed.collect::<Result<_, _>>()? })
    }

    /// The value of `webhook-signature`: one `v1,` signature of `id.timestamp.body` per secret,
    /// separated by spaces. `None` without secrets.
    pub fn sign(&self, id: &str, timestamp_unix_secs: u64, body: &[u8]) -> Option<String> {
        let timestamp = timestamp_unix_secs.to_string();
        let signatures: Vec<String> = self
            .keyed
            .iter()
            .map(|keyed| {
                let mut mac = keyed.clone();
                for piece in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                    mac.update(piece);
                }
                format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
            })
            .collect();
        (!signatures.is_empty()).then(|| signatures.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn sign(secrets: &[&str]) -> Option<String> {
        let signer = Signer::new(secrets.iter().copied()).unwrap();
        signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#)
    }

    /// The example that the reference libraries of Standard Webhooks test with.
    #[test]
    fn standard_webhooks_v1_is_hmac_sha256_of_id_timestamp_body() {
        assert_eq!(sign(&[SECRET]).unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn standard_webhooks_rotation_sends_a_signature_of_each_secret() {
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let both = sign(&[SECRET, other]).unwrap();
        let parts: Vec<_> = both.split(' ').collect();
        assert_eq!(parts, [sign(&[SECRET]).unwrap(), sign(&[other]).unwrap()]);
        assert_eq!(sign(&[]), None);
    }

    #[test]
    fn secrets_that_are_none() {
        let error = |secret| Signer::new([secret].into_iter()).err();
        assert_eq!(error("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Some(SecretError::Prefix));
        assert_eq!(error("whsec_!!!"), Some(SecretError::Base64));
        assert_eq!(error("whsec_AAAA"), Some(SecretError::Length(3)));
    }
}
