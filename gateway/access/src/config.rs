use std::path::PathBuf;

use gateway_config::{Anonymous, Secret};
use gateway_model::ClientId;
use serde::{Deserialize, Serialize};

use crate::password::Password;

/// The `[access]` section.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who may connect without a user name, unless the listener says otherwise.
    pub anonymous: Anonymous,
    /// `name:hash` lines; empty for none. Read anew at a reload.
    pub password_file: PathBuf,
    /// How long a successful login with a costly hash is remembered; 0 for not at all.
    pub remember_secs: u32,
    /// How many of them at most.
    pub remember_max: u32,
    /// Rules for topics; empty for none. Read anew at a reload.
    pub acl_file: PathBuf,
    /// What happens where no rule of `acl_file` matches.
    pub acl_default: AclDefault,
    /// `[[access.user]]`: who may connect with a name.
    pub user: Vec<User>,
    /// `[[access.client]]`: client identifiers that need no user name.
    pub client: Vec<Client>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            anonymous: Anonymous::default(),
            password_file: PathBuf::new(),
            remember_secs: 300,
            remember_max: 10_000,
            acl_file: PathBuf::new(),
            acl_default: AclDefault::default(),
            user: Vec::new(),
            client: Vec::new(),
        }
    }
}

/// What happens where no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AclDefault {
    #[default]
    Deny,
    Allow,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    /// Plain, or a hash in one of the forms that a password file may hold.
    pub password: Secret,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    pub id: String,
    /// Without one, naming the identifier is enough.
    #[serde(default)]
    pub password: Option<Secret>,
}

impl Config {
    /// What no type says: names are not empty and are used once, passwords are not empty, hashes are
    /// whole. The files are for [`crate::Access::reload`] to judge.
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
            check_password(&user.password).map_err(|text| (key("password"), text))?;
        }
        for (index, client) in self.client.iter().enumerate() {
            let key = |leaf: &str| format!("client.{index}.{leaf}");
            ClientId::parse(&client.id).map_err(|error| (key("id"), error.to_string()))?;
            if client.id.starts_with('$') {
                let text = "identifiers that begin with $ belong to the gateway".to_owned();
                return Err((key("id"), text));
            }
            if self.client[..index].iter().any(|other| other.id == client.id) {
                return Err((key("id"), format!("{:?} is in the list already", client.id)));
            }
            if let Some(password) = &client.password {
                check_password(password).map_err(|text| (key("password"), text))?;
            }
        }
        Ok(())
    }

    /// Whether there is anybody who could connect by name.
    pub fn has_users(&self) -> bool {
        !self.user.is_empty() || !self.password_file.as_os_str().is_empty()
    }

    pub fn has_acl(&self) -> bool {
        !self.acl_file.as_os_str().is_empty()
    }
}

fn check_password(password: &Secret) -> Result<(), String> {
    if password.expose().is_empty() {
        return Err("is empty".to_owned());
    }
    Password::parse_hash(password.expose()).map(|_| ()).map_err(|error| error.to_string())
}
