//! SCRAM-SHA-256 as a client (RFC 5802, RFC 7677): both sides prove that they know the password,
//! and neither says it. Names and passwords are used as they are, which for ASCII is what SASLprep
//! makes of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The name of the method in MQTT 5.
pub const METHOD: &str = "SCRAM-SHA-256";

/// RFC 7677 section 4 wants 4,096; a server that wants very many keeps us busy on purpose.
const ITERATIONS_MAX: u32 = 10_000_000;

/// Without channel binding: the GS2 header `n,,` in base64 (RFC 5802 section 7).
const BINDING: &str = "c=biws";

type Key = [u8; 32];

/// One login.
pub struct Scram {
    password: String,
    nonce: String,
    client_first_bare: String,
    /// What the server has to prove, once the password is known to be used.
    server_signature: Option<Key>,
}

impl Scram {
    /// The nonce is printable and different each time.
    pub fn new(username: &str, password: &str, nonce: String) -> Self {
        // RFC 5802 section 5.1: these two separate the attributes.
        let name = username.replace('=', "=3D").replace(',', "=2C");
        let client_first_bare = format!("n={name},r={nonce}");
        Self { password: password.to_owned(), nonce, client_first_bare, server_signature: None }
    }

    /// The client's first message.
    pub fn first(&self) -> String {
        format!("n,,{}", self.client_first_bare)
    }

    /// The client's answer to the server's first message.
    pub fn answer(&mut self, server_first: &[u8]) -> Result<String, &'static str> {
        let text = std::str::from_utf8(server_first).map_err(|_| "it is not UTF-8")?;
        let attribute = |name| text.split(',').find_map(|part| part.strip_prefix(name));
        let nonce = attribute("r=").ok_or("it has no nonce")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("its nonce does not continue ours");
        }
        let salt = attribute("s=").and_then(|salt| STANDARD.decode(salt).ok()).ok_or("it has no salt")?;
        let iterations = attribute("i=").and_then(|count| count.parse().ok()).unwrap_or(0);
        if !(1..=ITERATIONS_MAX).contains(&iterations) {
            return Err("its iteration count is out of bounds");
        }
        let salted = salted_password(self.password.as_bytes(), &salt, iterations);
        let client_key = mac(&salted, &[b"Client Key"]);
        let stored_key = Sha256::digest(client_key);
        let without_proof = format!("{BINDING},r={nonce}");
        let all = format!("{},{text},{without_proof}", self.client_first_bare);
        let signature = mac(&stored_key, &[all.as_bytes()]);
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, signed)| key ^ signed).collect();
        let server_key = mac(&salted, &[b"Server Key"]);
        self.server_signature = Some(mac(&server_key, &[all.as_bytes()]));
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)))
    }

    /// Whether the server's last message proves that it knows the password too.
    pub fn is_proven_by(&self, server_final: &[u8]) -> bool {
        let signature = std::str::from_utf8(server_final)
            .ok()
            .and_then(|text| text.split(',').find_map(|part| part.strip_prefix("v=")))
            .and_then(|signature| STANDARD.decode(signature).ok());
        signature.is_some() && signature.as_deref() == self.server_signature.as_ref().map(|key| &key[..])
    }
}

/// Hi of RFC 5802 section 2.2, which is PBKDF2 with one block.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    let mut last = mac(password, &[salt, &1u32.to_be_bytes()]);
    let mut sum = last;
    for _ in 1..iterations {
        last = mac(password, &[&last]);
        sum.iter_mut().zip(last).for_each(|(sum, next)| *sum ^= next);
    }
    sum
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const SERVER_FINAL: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    #[test]
    fn rfc_7677_3_the_example() {
        let mut scram = Scram::new("user", "pencil", NONCE.to_owned());
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(
            scram.answer(SERVER_FIRST).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(scram.is_proven_by(SERVER_FINAL));
        assert!(!scram.is_proven_by(b"v=AAAA"));
        assert!(!scram.is_proven_by(b""));
    }

    #[test]
    fn a_server_that_does_not_play_by_the_rules_is_refused() {
        for wrong in [
            &b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"[..],
            b"r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
            b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            b"r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096",
            b"\xff",
            b"",
        ] {
            assert!(Scram::new("user", "pencil", NONCE.to_owned()).answer(wrong).is_err());
        }
        assert!(!Scram::new("user", "pencil", NONCE.to_owned()).is_proven_by(SERVER_FINAL));
    }

    #[test]
    fn a_name_keeps_its_commas() {
        assert_eq!(Scram::new("a,b=c", "", "x".to_owned()).first(), "n,,n=a=2Cb=3Dc,r=x");
    }
}
