use gateway_config::Secret;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use crate::argon2id::Argon2id;
use crate::pbkdf2::Pbkdf2;
use crate::scram::Verifier;
use crate::secret_bytes;

/// A user's password as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Password {
    Plain(Secret),
    Argon2id(Argon2id),
    Pbkdf2(Pbkdf2),
    /// mosquitto's `$6$salt$hash`: SHA-512 of the password and the salt, once.
    Salted {
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    Scram(Verifier),
}

/// The text begins like a stored hash and does not go on like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a whole hash: {0}")]
pub struct HashError(&'static str);

/// How `tidegate passwd` stores passwords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashForm {
    #[default]
    Argon2id,
    ScramSha256,
}

const FORMS: [(&str, &str); 14] = [
    ("$argon2id$", "$argon2id$v=19$m=19456,t=2,p=1$salt$hash is wanted"),
    ("$6$", "$6$salt$hash is wanted"),
    ("$7$", "$7$iterations$salt$hash is wanted"),
    ("PBKDF2$", "PBKDF2$sha512$iterations$salt$hash is wanted (or sha256)"),
    ("$pbkdf2-", "$pbkdf2-sha512$i=iterations$salt$hash is wanted (or sha256)"),
    ("SCRAM-SHA-256$", "SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey is wanted"),
    ("SCRAM-SHA-1$", "SCRAM is understood with SHA-256 only"),
    // Taken for plain passwords they would be hashed a second time, and lost.
    ("$2a$", "bcrypt is not understood; set the password anew"),
    ("$2b$", "bcrypt is not understood; set the password anew"),
    ("$2y$", "bcrypt is not understood; set the password anew"),
    ("$5$", "SHA-256 crypt is not understood; set the password anew"),
    ("$argon2i$", "of Argon2 only argon2id is understood"),
    ("$argon2d$", "of Argon2 only argon2id is understood"),
    ("$scrypt$", "scrypt is not understood; set the password anew"),
];

impl HashForm {
    /// A hash with a salt of its own, as a text for a file of passwords.
    pub fn hash(self, password: &[u8]) -> String {
        match self {
            Self::Argon2id => Argon2id::make(password).to_text(),
            Self::ScramSha256 => Verifier::make(password).to_text(),
        }
    }
}

impl Password {
    /// A hash in one of the forms that are known; `None` for what does not begin like one.
    pub(crate) fn parse_hash(text: &str) -> Result<Option<Self>, HashError> {
        let Some((prefix, wanted)) = FORMS.iter().find(|(prefix, _)| text.starts_with(prefix)) else {
            return Ok(None);
        };
        let parsed = match *prefix {
            "$argon2id$" => Argon2id::parse(text).map(Self::Argon2id),
            "$6$" => Self::parse_salted(text),
            "$7$" => Pbkdf2::parse_mosquitto(text).map(Self::Pbkdf2),
            "PBKDF2$" => Pbkdf2::parse_plugin(text).map(Self::Pbkdf2),
            "$pbkdf2-" => Pbkdf2::parse_phc(text).map(Self::Pbkdf2),
            "SCRAM-SHA-256$" => Verifier::parse(text).map(Self::Scram),
            _ => None,
        };
        parsed.map(Some).ok_or(HashError(wanted))
    }

    fn parse_salted(text: &str) -> Option<Self> {
        let (salt, hash) = text.strip_prefix("$6$")?.split_once('$')?;
        let hash = secret_bytes::decode(hash).filter(|hash| hash.len() == 64)?;
        Some(Self::Salted { salt: secret_bytes::decode(salt)?, hash })
    }

    /// Whether `verify` takes so long that nobody should wait for it.
    pub(crate) fn is_slow(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Salted { .. } => false,
            Self::Argon2id(_) | Self::Scram(_) => true,
            Self::Pbkdf2(pbkdf2) => pbkdf2.is_slow(),
        }
    }

    pub(crate) fn verify(&self, offered: &[u8]) -> bool {
        match self {
            Self::Plain(expected) => is_equal_in_constant_time(offered, expected.expose().as_bytes()),
            Self::Argon2id(argon2id) => argon2id.verify(offered),
            Self::Pbkdf2(pbkdf2) => pbkdf2.verify(offered),
            Self::Salted { salt, hash } => {
                let computed = Sha512::new().chain_update(offered).chain_update(salt).finalize();
                computed.ct_eq(hash).into()
            }
            Self::Scram(verifier) => verifier.verify(offered),
        }
    }
}

/// Compares without telling by its duration where the difference is; the length of what is
/// expected may show.
fn is_equal_in_constant_time(offered: &[u8], expected: &[u8]) -> bool {
    let mut difference = usize::from(offered.len() != expected.len());
    for (position, expected) in expected.iter().enumerate() {
        let offered = offered.get(position).copied().unwrap_or_default();
        difference |= usize::from(std::hint::black_box(offered ^ expected));
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifies(text: &str, password: &str) -> bool {
        let stored = Password::parse_hash(text).unwrap().expect("a hash");
        assert!(!stored.verify(b"wrong") && !stored.verify(b""), "{text}");
        stored.verify(password.as_bytes())
    }

    #[test]
    fn what_mosquitto_passwd_2_0_11_writes() {
        assert!(verifies(
            "$7$101$+sPnFDENNtnyQWua$30nG6VmTqVLPCCrUIooyanLGwanoVFsOAd5N1MbzJ0c5iq94h5rOc9j3k+volN0Buj2Yigw9\
             nFWoqjv1kgVw3g==",
            "word"
        ));
        assert!(verifies(
            "$6$/ycJ5LqbZQwfhW8Y$8eJ8uzzj8hj70DkFzR+KOgABFVVwIUZGLOT0HGJ/zMtDbHgVQj0s02X2HCNpEyZDSCxHe31ThMmk\
             FOaYj5vO5w==",
            "pass phrase"
        ));
    }

    /// Computed by Python's hashlib, the salt decoded and not.
    #[test]
    fn what_plugins_of_mosquitto_write() {
        assert!(verifies(
            "PBKDF2$sha256$1000$c2FsdHNhbHRzYWx0c2FsdA==$37aiRehHQOohtLjIYkpJox0FrPyaazrasDJTxxAlijQ=",
            "word"
        ));
        assert!(verifies(
            "PBKDF2$sha512$1000$c2FsdHNhbHRzYWx0c2FsdA==$lOAnD7Vq4hkJnWVkRn9mqqE/3WlUKhJd0d28a9dVGivDbJR3r72\
             dNa83+pz9YeYwmFfwzmrLKFef3P4pbqQEwQ==",
            "word"
        ));
    }

    #[test]
    fn what_libargon2_and_python_write() {
        for text in [
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$224h23n3L8RnHc0oW2IuHrIaeNnHMeumvb/Q2rHBowc",
            "$pbkdf2-sha256$i=1000,l=32$c2FsdHNhbHRzYWx0c2FsdA$37aiRehHQOohtLjIYkpJox0FrPyaazrasDJTxxAlijQ",
            "$pbkdf2-sha512$1000$c2FsdHNhbHRzYWx0c2FsdA$jYtit4mRl5We0SZwzHRgKav7ndgA4TDLQSmMM605dUQ.X4O\
             8BIuCOisNcSBRucvOvldfQm9xZkig.z2tK9Uspw",
        ] {
            assert!(verifies(text, "word"));
        }
    }

    #[test]
    fn what_we_write_is_what_we_read() {
        for form in [HashForm::Argon2id, HashForm::ScramSha256] {
            let (one, other) = (form.hash("wörd".as_bytes()), form.hash("wörd".as_bytes()));
            assert_ne!(one, other, "each has a salt of its own");
            assert!(verifies(&one, "wörd"));
            assert!(Password::parse_hash(&one).unwrap().unwrap().is_slow());
        }
    }

    #[test]
    fn a_broken_hash_is_not_a_plain_password() {
        for broken in [
            "$argon2id$v=19$m=19456,t=2,p=1$salt",
            "$argon2id$v=16$m=19456,t=2,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=4294967295,t=2,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
            "$7$0$c2FsdA==$AAAAAAAAAAAAAAAAAAAAAA==",
            "$7$101$c2FsdA==",
            "$6$c2FsdA==$c2hvcnQ=",
            "PBKDF2$md5$1000$c2FsdA==$AAAAAAAAAAAAAAAAAAAAAA==",
            "PBKDF2$sha256$1000$c2FsdA==$",
            "SCRAM-SHA-256$4096:c2FsdA==$c2hvcnQ=:c2hvcnQ=",
            "SCRAM-SHA-1$4096:c2FsdA==$a:b",
            "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
            "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(Password::parse_hash(broken).is_err(), "{broken}");
        }
        assert!(Password::parse_hash("$ecret").unwrap().is_none());
    }
}
