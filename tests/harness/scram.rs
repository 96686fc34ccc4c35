//! A client of SCRAM-SHA-256 (RFC 5802, RFC 7677), on its own feet: neither the gateway's code nor its client's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub const METHOD: &str = "SCRAM-SHA-256";

const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";

pub struct Scram {
    bare: String,
    password: String,
    /// What the server's last message has to say, once it is known.
    pub signature: String,
}

impl Scram {
    pub fn new(name: &str, password: &str) -> Self {
        let bare = format!("n={name},r={NONCE}");
        Self { bare, password: password.into(), signature: String::new() }
    }

    pub fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The answer to the server's challenge.
    ///
    /// # Panics
    /// If it is none, or does not continue our nonce.
    pub fn last(&mut self, challenge: &str) -> String {
        let field = |name: &str| {
            let value = challenge.split(',').find_map(|field| field.strip_prefix(name));
            value.unwrap_or_else(|| panic!("no {name} in {challenge}"))
        };
        assert!(field("r=").starts_with(NONCE), "the nonce begins with ours: {challenge}");
        let salt = STANDARD.decode(field("s=")).expect("base64");
        let rounds: u32 = field("i=").parse().expect("a number");
        let mut block = hmac(self.password.as_bytes(), &[&salt[..], &[0, 0, 0, 1]].concat());
        let mut salted = block;
        for _ in 1..rounds {
            block = hmac(self.password.as_bytes(), &block);
            salted.iter_mut().zip(block).for_each(|(sum, byte)| *sum ^= byte);
        }
        let without_proof = format!("c=biws,r={}", field("r="));
        let message = format!("{},{challenge},{without_proof}", self.bare);
        let client_key = hmac(&salted, b"Client Key");
        let signature = hmac(&Sha256::digest(client_key), message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, byte)| key ^ byte).collect();
        let server_key = hmac(&salted, b"Server Key");
        self.signature = format!("v={}", STANDARD.encode(hmac(&server_key, message.as_bytes())));
        format!("{without_proof},p={}", STANDARD.encode(proof))
    }
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}
