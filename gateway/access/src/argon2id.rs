use argon2::{Algorithm, Argon2, Params, Version};
use subtle::ConstantTimeEq;

use crate::secret_bytes;

/// A password stored by Argon2id (RFC 9106) in the PHC string format:
/// `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Argon2id {
    params: Params,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

const PREFIX: &str = "$argon2id$v=19$";
/// OWASP's password storage cheat sheet: the least memory, with its number of passes.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// One login may not take the gateway's memory, nor a thread for minutes.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 64;

impl Argon2id {
    pub(crate) fn make(password: &[u8]) -> Self {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are legal");
        let salt = secret_bytes::random::<16>().to_vec();
        let hash = hash(&params, password, &salt, Params::DEFAULT_OUTPUT_LEN).expect("they still are");
        Self { params, salt, hash }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let [parameters, salt, hash]: [&str; 3] =
            text.strip_prefix(PREFIX)?.split('$').collect::<Vec<_>>().try_into().ok()?;
        let [memory, passes, lanes]: [&str; 3] = parameters.split(',').collect::<Vec<_>>().try_into().ok()?;
        let number = |text: &str, name: &str| text.strip_prefix(name)?.parse::<u32>().ok();
        let memory = number(memory, "m=").filter(|memory| *memory <= MEMORY_KIB_MAX)?;
        let passes = number(passes, "t=").filter(|passes| *passes <= PASSES_MAX)?;
        let params = Params::new(memory, passes, number(lanes, "p=")?, None).ok()?;
        let salt = secret_bytes::decode(salt).filter(|salt| (8..=64).contains(&salt.len()))?;
        let hash = secret_bytes::decode(hash).filter(|hash| (16..=64).contains(&hash.len()))?;
        Some(Self { params, salt, hash })
    }

    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        hash(&self.params, password, &self.salt, self.hash.len())
            .is_some_and(|hash| hash.ct_eq(&self.hash).into())
    }

    pub(crate) fn to_text(&self) -> String {
        let Self { params, salt, hash } = self;
        let (salt, hash) = (secret_bytes::encode_unpadded(salt), secret_bytes::encode_unpadded(hash));
        format!("{PREFIX}m={},t={},p={}${salt}${hash}", params.m_cost(), params.t_cost(), params.p_cost())
    }
}

/// `None` if the password is longer than Argon2 takes (4 GiB).
fn hash(params: &Params, password: &[u8], salt: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut hash = vec![0; length];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    argon2.hash_password_into(password, salt, &mut hash).ok()?;
    Some(hash)
}
