use argon2::{Algorithm, Argon2, Block, Params, Version};
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
    let count = params.block_count();
    let mut blocks = Vec::with_capacity(count.max(MAPPED_BLOCKS));
    blocks.resize(count, Block::new());
    argon2.hash_password_into_with_memory(password, salt, &mut hash, &mut blocks).ok()?;
    Some(hash)
}

/// Room for so many blocks is always mapped for itself, and goes back to the system when it is freed:
/// what is larger than 32 MiB never comes from the heap of glibc, where a storm of logins left a
/// dozen times the memory of one. What is not used of it costs nothing.
const MAPPED_BLOCKS: usize = 33 * 1024 * 1024 / Block::SIZE;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn resident_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// On a thread of its own, as logins are checked. Other tests may hold the memory of a check or two.
    #[test]
    fn the_memory_of_many_checks_is_given_back() {
        let stored = Argon2id::make(b"secret");
        let checks = std::thread::spawn(move || {
            let before = resident_kib();
            assert!((0..10).all(|_| !stored.verify(b"wrong")));
            resident_kib().saturating_sub(before)
        });
        let kept_kib = checks.join().unwrap();
        assert!(kept_kib < 100 * 1024, "{kept_kib} KiB are kept");
    }
}
