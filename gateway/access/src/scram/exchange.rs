use std::sync::Arc;

use bytes::Bytes;
use gateway_config::Secret;
use gateway_model::Reason;

use super::message::{ClientFinal, ClientFirst, Malformed};
use super::verifier::{ITERATIONS, Keys};
use crate::identity::Way;
use crate::password::Password;
use crate::secret_bytes::{self, hmac_sha256};
use crate::users::{Found, Users};
use crate::verdict::refuse;
use crate::{Allowed, Exchange, Identity, Verdict};

/// A login by SCRAM-SHA-256 (RFC 5802, RFC 7677):
///
/// ```text
///   client                                server
///   n,,n=user,r=nonce          ──▶
///                              ◀──        r=nonce+ours,s=salt,i=iterations
///   c=biws,r=nonce+ours,p=...  ──▶                                        (this waits for it)
///                              ◀──        v=signature
/// ```
///
/// An unknown user name is answered like one that exists, with another user's way of storing
/// passwords; the proof is then wrong whatever it is.
pub(crate) struct Scram {
    username: Box<str>,
    proof_of: ProofOf,
    header: Box<[u8]>,
    nonce: Box<str>,
    /// `client-first-message-bare,server-first-message,`
    authentication_message: String,
}

enum ProofOf {
    Keys(Keys),
    /// The keys are still to be derived: deliberately late, and also for nobody, so that the answer
    /// to a name takes the same time whether it is known or not.
    Plain {
        password: Secret,
        salt: Vec<u8>,
    },
    Nobody {
        derive: bool,
    },
}

pub(crate) const METHOD: &str = "SCRAM-SHA-256";

impl Scram {
    /// The challenge that answers a client's first message. `other_name` is the name that the client
    /// has given elsewhere: there can be only one.
    pub(crate) fn begin(users: &Arc<Users>, data: &[u8], other_name: Option<&str>) -> Verdict {
        let first = match ClientFirst::parse(data) {
            Ok(first) => first,
            Err(malformed) => return refuse_malformed(malformed),
        };
        if other_name.is_some_and(|name| name != first.username) {
            let text = "the user name in the SCRAM message is not the one given otherwise";
            return Verdict::Refused(refuse(Reason::BadUserNameOrPassword, text));
        }
        let (stored, is_known) = match users.find(&first.username) {
            Found::User(stored) => (Some(stored), true),
            Found::Decoy(stored) => (stored, false),
        };
        let (salt, iterations, proof_of) = match stored {
            Some(Password::Scram(verifier)) if is_known => {
                (verifier.salt.clone(), verifier.iterations, ProofOf::Keys(verifier.keys))
            }
            Some(Password::Scram(verifier)) => {
                let salt = users.salt_of(&first.username, verifier.salt.len());
                (salt, verifier.iterations, ProofOf::Nobody { derive: false })
            }
            Some(Password::Plain(password)) if is_known => {
                let salt = users.salt_of(&first.username, 16);
                (salt.clone(), ITERATIONS, ProofOf::Plain { password: password.clone(), salt })
            }
            Some(Password::Plain(_)) | None => {
                let salt = users.salt_of(&first.username, 16);
                (salt, ITERATIONS, ProofOf::Nobody { derive: true })
            }
            Some(_) => {
                let text = "SCRAM-SHA-256 needs a user whose password is stored in plain or as a \
                            SCRAM-SHA-256 entry (tidegate passwd --hash scram-sha-256)";
                return Verdict::Refused(refuse(Reason::NotAuthorized, text));
            }
        };
        let ours = secret_bytes::encode(&secret_bytes::random::<18>());
        Self::challenge(&first, &salt, iterations, &ours, proof_of)
    }

    fn challenge(
        first: &ClientFirst<'_>,
        salt: &[u8],
        iterations: u32,
        ours: &str,
        proof_of: ProofOf,
    ) -> Verdict {
        let nonce = format!("{}{ours}", first.nonce);
        let server_first = format!("r={nonce},s={},i={iterations}", secret_bytes::encode(salt));
        let exchange = Self {
            username: first.username.as_str().into(),
            proof_of,
            header: first.header.as_bytes().into(),
            nonce: nonce.into(),
            authentication_message: format!("{},{server_first},", first.bare),
        };
        Verdict::Challenge(Bytes::from(server_first), Box::new(exchange))
    }

    fn finish(self, data: &[u8]) -> Verdict {
        let last = match ClientFinal::parse(data) {
            Ok(last) => last,
            Err(malformed) => return refuse_malformed(malformed),
        };
        if *last.header != *self.header || *last.nonce != *self.nonce {
            return refuse_malformed("the SCRAM message does not belong to this exchange");
        }
        let message = format!("{}{}", self.authentication_message, last.without_proof);
        let (username, proof) = (self.username, last.proof);
        match self.proof_of {
            ProofOf::Keys(keys) => judge(username, keys.check(&message, &proof)),
            ProofOf::Nobody { derive: false } => {
                let nobody = Keys { stored: [0; 32], server: [0; 32] };
                let _ = nobody.check(&message, &proof);
                judge(username, None)
            }
            ProofOf::Plain { password, salt } => Verdict::Slow(Box::new(move || {
                let keys = Keys::derive(password.expose().as_bytes(), &salt, ITERATIONS);
                judge(username, keys.check(&message, &proof))
            })),
            ProofOf::Nobody { derive: true } => Verdict::Slow(Box::new(move || {
                let _ = Keys::derive(b"", &message.as_bytes()[..16], ITERATIONS).check(&message, &proof);
                judge(username, None)
            })),
        }
    }
}

impl Exchange for Scram {
    fn answer(self: Box<Self>, data: &[u8]) -> Verdict {
        self.finish(data)
    }
}

fn judge(username: Box<str>, signature: Option<[u8; 32]>) -> Verdict {
    let Some(signature) = signature else {
        let text = "unknown user name or wrong password";
        return Verdict::Refused(refuse(Reason::BadUserNameOrPassword, text));
    };
    let identity = Identity { username: Some(username), way: Way::User };
    let data = Bytes::from(format!("v={}", secret_bytes::encode(&signature)));
    Verdict::Allowed(Allowed { identity, data: Some(data) })
}

fn refuse_malformed(malformed: Malformed) -> Verdict {
    Verdict::Refused(refuse(Reason::NotAuthorized, malformed))
}

/// The salt of a name that has none of its own.
pub(crate) fn invented_salt(secret: &[u8; 32], username: &str, length: usize) -> Vec<u8> {
    let mut salt = hmac_sha256(secret, &[b"salt 1", username.as_bytes()]).to_vec();
    salt.extend(hmac_sha256(secret, &[b"salt 2", username.as_bytes()]));
    salt.truncate(length);
    salt
}

#[cfg(test)]
mod tests {
    use super::super::verifier::Verifier;
    use super::*;

    /// RFC 7677 section 3.
    #[test]
    fn the_example_of_the_standard() {
        let salt = secret_bytes::decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        let keys = Keys::derive(b"pencil", &salt, 4096);
        let ours = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let verdict = Scram::challenge(&first, &salt, 4096, ours, ProofOf::Keys(keys));
        let Verdict::Challenge(challenge, exchange) = verdict else { panic!("a challenge") };
        assert_eq!(
            challenge,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let Verdict::Allowed(allowed) = exchange.answer(last.as_bytes()) else { panic!("allowed") };
        assert_eq!(allowed.identity.username.as_deref(), Some("user"));
        assert_eq!(allowed.data.unwrap(), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn invented_salts_are_stable_and_differ() {
        let (one, other) = ([1; 32], [2; 32]);
        assert_eq!(invented_salt(&one, "a", 16), invented_salt(&one, "a", 16));
        assert_ne!(invented_salt(&one, "a", 16), invented_salt(&one, "b", 16));
        assert_ne!(invented_salt(&one, "a", 16), invented_salt(&other, "a", 16));
        assert_eq!(invented_salt(&one, "a", 64).len(), 64);
        assert!(Verifier::make(b"x").salt.len() == 16);
    }
}
