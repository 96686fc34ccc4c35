use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use gateway_access::{Access, Config};
use gateway_broker::Broker;
use gateway_config::{Key, Origin, Settings};

use crate::reload::Reload;

/// Who may do what, by the settings and the files that they name. The data directory is there.
pub fn open(settings: &Settings) -> Result<Access> {
    let secret = secret(settings)?;
    read(settings, |access| access.with_secret(secret))
}

/// What only this gateway knows, and knows again after a restart. The data directory is there.
pub fn secret(settings: &Settings) -> Result<[u8; 32]> {
    let path = settings.node.data_dir.join("access.secret");
    read_or_make(&path).with_context(|| format!("{} cannot be kept", path.display()))
}

/// Whether the files are right.
pub fn check(settings: &Settings) -> Result<()> {
    read(settings, |access| access).map(|_| ())
}

fn read(settings: &Settings, prepare: impl FnOnce(Access) -> Access) -> Result<Access> {
    let own = |listener: &gateway_config::Listener| Some((listener.name.clone(), listener.anonymous?));
    let access = Access::new(config(settings)?).with_listeners(settings.listeners().iter().filter_map(own));
    let access = prepare(access);
    access.reload().context("access")?;
    Ok(access)
}

/// The secret of this gateway, made when there is none.
fn read_or_make(path: &Path) -> io::Result<[u8; 32]> {
    match std::fs::read(path) {
        Ok(bytes) => {
            if let Ok(secret) = bytes.try_into() {
                return Ok(secret);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // None, or what a crash has left of one.
    let secret = Access::new_secret();
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&secret)?;
    // Sessions on the disk will be known by it.
    file.sync_all()?;
    Ok(secret)
}

/// The `[access]` section; relative paths are seen from the settings file that names them.
fn config(settings: &Settings) -> Result<Config> {
    let config: Config = settings.section("access")?;
    let seen = |key: &str, path: PathBuf| match settings.origin(&Key::new(["access", key])) {
        _ if path.as_os_str().is_empty() => path,
        Origin::File { path: file, .. } => file.parent().unwrap_or(Path::new("")).join(path),
        _ => path,
    };
    Ok(Config {
        password_file: seen("password_file", config.password_file),
        acl_file: seen("acl_file", config.acl_file),
        ..config
    })
}

/// Reads the users and the rules again when that is asked for. Not by itself when a file changes: rules
/// are edited in several steps.
pub fn reload(broker: Arc<Broker>) -> Reload {
    Reload::new(move |always| {
        if !always {
            return;
        }
        match broker.reload_access() {
            Ok(loaded) => {
                tracing::info!(users = loaded.users, rules = loaded.rules, "access: read again");
            }
            Err(error) => tracing::error!("access: nothing has changed: {error}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn a_secret_is_made_once() {
        let path = std::env::temp_dir().join(format!("tidegate-secret-{}", std::process::id()));
        let first = read_or_make(&path).unwrap();
        assert_eq!(read_or_make(&path).unwrap(), first);
        std::fs::write(&path, "torn").unwrap();
        assert_ne!(read_or_make(&path).unwrap(), first);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn files_are_seen_from_the_settings_that_name_them() {
        let text = "[access]\nacl_file = \"rules.acl\"\npassword_file = \"/abs\"\n";
        let load = |layers: gateway_config::Layers| {
            let settings = layers.load(&catalog::known()).unwrap_or_else(|problems| panic!("{problems}"));
            let config = config(&settings).unwrap();
            (config.acl_file, config.password_file)
        };
        let layers = gateway_config::Layers::new().text(Path::new("/etc/tidegate/t.toml"), text);
        assert_eq!(load(layers), ("/etc/tidegate/rules.acl".into(), "/abs".into()));
        let layers = gateway_config::Layers::new().set("access.acl_file=rules.acl");
        assert_eq!(load(layers), ("rules.acl".into(), "".into()));
    }
}
