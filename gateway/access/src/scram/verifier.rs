use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::secret_bytes::{self, hmac_sha256};

/// What a server keeps of a password for SCRAM-SHA-256 (RFC 5802 section 3), in PostgreSQL's form:
/// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verifier {
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    pub(crate) keys: Keys,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) stored: [u8; 32],
    pub(crate) server: [u8; 32],
}

const PREFIX: &str = "SCRAM-SHA-256$";
/// RFC 7677 section 4: at least this many.
pub(crate) const ITERATIONS: u32 = 4096;
/// The client has to do them too.
const ITERATIONS_MAX: u32 = 10_000_000;

impl Verifier {
    pub(crate) fn make(password: &[u8]) -> Self {
        let salt = secret_bytes::random::<16>().to_vec();
        Self { iterations: ITERATIONS, keys: Keys::derive(password, &salt, ITERATIONS), salt }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (parameters, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|count| (1..=ITERATIONS_MAX).contains(count))?;
        let salt = secret_bytes::decode(salt).filter(|salt| (1..=64).contains(&salt.len()))?;
        let key = |text| secret_bytes::decode(text)?.try_into().ok();
        Some(Self { iterations, salt, keys: Keys { stored: key(stored)?, server: key(server)? } })
    }

    /// Whether a password that came in the clear is the right one.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        let keys = Keys::derive(password, &self.salt, self.iterations);
        keys.stored.ct_eq(&self.keys.stored).into()
    }

    pub(crate) fn to_text(&self) -> String {
        let encode = secret_bytes::encode;
        let (salt, stored, server) =
            (encode(&self.salt), encode(&self.keys.stored), encode(&self.keys.server));
        format!("{PREFIX}{}:{salt}${stored}:{server}", self.iterations)
    }
}

impl Keys {
    /// SaltedPassword, and from it StoredKey and ServerKey.
    pub(crate) fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let mut salted = [0; 32];
        pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
        let client = hmac_sha256(&salted, &[b"Client Key"]);
        Self { stored: Sha256::digest(client).into(), server: hmac_sha256(&salted, &[b"Server Key"]) }
    }

    /// The server's signature, if the client's proof is right (RFC 5802 section 3).
    pub(crate) fn check(&self, authentication_message: &str, proof: &[u8]) -> Option<[u8; 32]> {
        let message = [authentication_message.as_bytes()];
        let proof: [u8; 32] = proof.try_into().ok()?;
        let signature = hmac_sha256(&self.stored, &message);
        let client: [u8; 32] = std::array::from_fn(|at| proof[at] ^ signature[at]);
        let is_right: bool = Sha256::digest(client).ct_eq(&self.stored).into();
        is_right.then(|| hmac_sha256(&self.server, &message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgresql_s_form() {
        let made = Verifier::make(b"pencil");
        let text = made.to_text();
        assert!(text.starts_with("SCRAM-SHA-256$4096:") && text.len() == 19 + 24 + 1 + 44 + 1 + 44);
        let parsed = Verifier::parse(&text).unwrap();
        assert!(parsed == made && parsed.verify(b"pencil") && !parsed.verify(b"pencils"));
    }
}
