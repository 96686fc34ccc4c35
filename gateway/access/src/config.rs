use gateway_config::Secret;
use serde::{Deserialize, Serialize};

/// The `[access]` section.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who may connect without a user name.
    pub anonymous: Anonymous,
    /// `[[access.user]]`: who may connect with one.
    pub user: Vec<User>,
}

/// Who may connect without a user name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// Clients on this machine, through a listener that is bound to it.
    #[default]
    Loopback,
    Never,
    /// Everybody who reaches a listener.
    Always,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    pub password: Secret,
}

impl Config {
    /// What no type says: names are not empty and are used once, passwords are not empty.
    ///
    /// An error is the key, relative to the section, and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, String)> {
        for (index, user) in self.user.iter().enumerate() {
            let key = |leaf: &str| format!("user.{index}.{leaf}");
            if user.name.is_empty() {
                return Err((key("name"), "is empty".to_owned()));
            }
            if self.user[..index].iter().any(|other| other.name == user.name) {
                return Err((key("name"), format!("{:?} is the name of another user", user.name)));
            }
            if user.password.expose().is_empty() {
                return Err((key("password"), "is empty".to_owned()));
            }
        }
        Ok(())
    }
}
