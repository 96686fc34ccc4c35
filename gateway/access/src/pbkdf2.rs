use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

use crate::secret_bytes;

/// A password stored as a key of PBKDF2 (RFC 8018 section 5.2).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pbkdf2 {
    digest: Digest,
    iterations: u32,
    salts: Vec<Vec<u8>>,
    key: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Digest {
    Sha256,
    Sha512,
}

/// More would keep a thread busy for minutes with one login.
const ITERATIONS_MAX: u32 = 10_000_000;
/// Up to here it is quicker than handing the work to another thread.
const ITERATIONS_QUICK: u32 = 200;

impl Pbkdf2 {
    /// `$7$iterations$salt$key`: what mosquitto_passwd writes.
    pub(crate) fn parse_mosquitto(text: &str) -> Option<Self> {
        let [iterations, salt, key] = fields(text.strip_prefix("$7$")?)?;
        Self::new(Digest::Sha512, iterations, vec![secret_bytes::decode(salt)?], key)
    }

    /// `PBKDF2$sha512$iterations$salt$key`: mosquitto-go-auth and mosquitto-auth-plug. The former
    /// means the bytes that the salt encodes, the latter its letters: either is right.
    pub(crate) fn parse_plugin(text: &str) -> Option<Self> {
        let [digest, iterations, salt, key] = fields(text.strip_prefix("PBKDF2$")?)?;
        let mut salts: Vec<_> = secret_bytes::decode(salt).into_iter().collect();
        salts.push(salt.as_bytes().to_vec());
        Self::new(Digest::parse(digest)?, iterations, salts, key)
    }

    /// `$pbkdf2-sha512$i=iterations,l=64$salt$key` (the PHC string format), and passlib's
    /// `$pbkdf2-sha512$iterations$salt$key`, which has a dot in place of a plus.
    pub(crate) fn parse_phc(text: &str) -> Option<Self> {
        let [digest, parameters, salt, key] = fields(text.strip_prefix("$pbkdf2-")?)?;
        let iterations = parameters.split(',').next()?;
        let iterations = iterations.strip_prefix("i=").unwrap_or(iterations);
        let salt = secret_bytes::decode(&salt.replace('.', "+"))?;
        Self::new(Digest::parse(digest)?, iterations, vec![salt], &key.replace('.', "+"))
    }

    fn new(digest: Digest, iterations: &str, salts: Vec<Vec<u8>>, key: &str) -> Option<Self> {
        let iterations = iterations.parse().ok().filter(|count| (1..=ITERATIONS_MAX).contains(count))?;
        let key = secret_bytes::decode(key).filter(|key| (16..=128).contains(&key.len()))?;
        Some(Self { digest, iterations, salts, key })
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.iterations > ITERATIONS_QUICK
    }

    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        self.salts.iter().any(|salt| {
            let mut key = vec![0; self.key.len()];
            match self.digest {
                Digest::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, self.iterations, &mut key),
                Digest::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, self.iterations, &mut key),
            }
            key.ct_eq(&self.key).into()
        })
    }
}

impl Digest {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "sha256" => Some(Self::Sha256),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }
}

/// Exactly `N` texts between dollars.
fn fields<const N: usize>(text: &str) -> Option<[&str; N]> {
    text.split('$').collect::<Vec<_>>().try_into().ok()
}
