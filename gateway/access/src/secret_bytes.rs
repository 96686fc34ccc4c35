use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Standard base64. Decodes with and without padding: the forms of hashes do not agree on it.
const PADDED: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const UNPADDED: GeneralPurpose =
    GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_encode_padding(false));

pub(crate) fn encode(bytes: &[u8]) -> String {
    PADDED.encode(bytes)
}

/// As the PHC string format wants it.
pub(crate) fn encode_unpadded(bytes: &[u8]) -> String {
    UNPADDED.encode(bytes)
}

pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    PADDED.decode(text).ok()
}

/// Unpredictable bytes from the system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness neither salts nor nonces are worth anything.
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}
