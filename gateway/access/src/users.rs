use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::password::Password;
use crate::proven::Proven;
use crate::scram::invented_salt;
use crate::secret_bytes::hmac_sha256;
use crate::{FileError, PasswordFile};

/// Everybody who can log in by name.
pub(crate) struct Users {
    passwords: HashMap<Box<str>, Password>,
    /// The names again, to choose a decoy among them.
    names: Vec<Box<str>>,
    /// Where decoys, and the salts of names that have none, come from.
    secret: [u8; 32],
    pub(crate) proven: Proven,
}

/// What there is for a name.
pub(crate) enum Found<'a> {
    User(&'a Password),
    /// The name is unknown: here is what to compute in vain, so that it cannot be told from a known one
    /// by the time it takes. `None` if there are no users at all.
    Decoy(Option<&'a Password>),
}

impl Users {
    /// Those in the settings, and those in the file that they name.
    pub(crate) fn load(config: &Config, secret: [u8; 32]) -> Result<Self, FileError> {
        let mut users = Self::in_settings(config, secret);
        if !config.password_file.as_os_str().is_empty() {
            let path: &Path = &config.password_file;
            let file = PasswordFile::parse(&read(path)?);
            for (name, password) in file.users(path)? {
                if users.passwords.contains_key(&name) {
                    let text = format!("{name:?} is in [[access.user]] too");
                    return Err(FileError { path: path.into(), line: None, text });
                }
                users.passwords.insert(name, password);
            }
        }
        users.arrange();
        Ok(users)
    }

    pub(crate) fn in_settings(config: &Config, secret: [u8; 32]) -> Self {
        // `Config::check` refuses broken hashes; here such a user just cannot log in.
        let passwords = config.user.iter().filter_map(|user| {
            let password = match Password::parse_hash(user.password.expose()).ok()? {
                Some(hash) => hash,
                None => Password::Plain(user.password.clone()),
            };
            Some((user.name.as_str().into(), password))
        });
        let lifetime = Duration::from_secs(config.remember_secs.into());
        let mut users = Self {
            passwords: passwords.collect(),
            names: Vec::new(),
            secret,
            proven: Proven::new(lifetime, config.remember_max as usize),
        };
        users.arrange();
        users
    }

    fn arrange(&mut self) {
        self.names = self.passwords.keys().cloned().collect();
        self.names.sort();
    }

    pub(crate) fn find(&self, username: &str) -> Found<'_> {
        match self.passwords.get(username) {
            Some(password) => Found::User(password),
            // The same name always meets the same decoy, and names meet the ways of storing passwords
            // as often as users have them.
            None if self.names.is_empty() => Found::Decoy(None),
            None => {
                let [a, b, c, d, ..] = hmac_sha256(&self.secret, &[b"decoy", username.as_bytes()]);
                let at = u32::from_be_bytes([a, b, c, d]) as usize % self.names.len();
                Found::Decoy(self.passwords.get(&self.names[at]))
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn salt_of(&self, username: &str, length: usize) -> Vec<u8> {
        invented_salt(&self.secret, username, length)
    }

    /// Whether a password is right; computes in vain for an unknown name.
    pub(crate) fn verify(&self, username: &str, password: &[u8]) -> bool {
        match self.find(username) {
            Found::User(stored) => stored.verify(password),
            Found::Decoy(decoy) => {
                std::hint::black_box(decoy.is_some_and(|decoy| decoy.verify(password)));
                false
            }
        }
    }

    /// The same for one whose verification is slow; success is remembered.
    pub(crate) fn verify_slowly(&self, username: &str, password: &[u8]) -> bool {
        let is_right = self.verify(username, password);
        if is_right {
            self.proven.insert(Instant::now(), username, password);
        }
        is_right
    }
}

/// At first there is no such file yet.
fn read(path: &Path) -> Result<String, FileError> {
    FileError::read(path).map_err(|mut error| {
        if !path.exists() {
            error.text.push_str("; `tidegate passwd FILE USER` makes it");
        }
        error
    })
}
